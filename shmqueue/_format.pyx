# cython: binding=False
"""What a segment looks like: its geometry, its header, and the table of its fields."""

import os

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport errno as c_errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from shmqueue._protocol cimport (
    SHMQ_CORRUPT,
    SHMQ_FIELD_COUNT,
    SHMQ_FIRST_BACKED,
    SHMQ_LAYOUT_VERSION,
    SHMQ_OK,
    SHMQ_TRUNCATED,
    SHMQ_VERSION,
    SHMQ_WRONG_BYTE_ORDER,
    shmq_fields,
    shmq_format,
    shmq_header,
    shmq_header_check,
    shmq_plan,
    shmq_region_start,
)

from shmqueue.errors import (
    CorruptSegmentError,
    ForeignSegmentError,
    SegmentVersionError,
    TruncatedSegmentError,
)

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *, size_t, int, int, int, int64_t)
    int munmap(void *, size_t)
    enum: PROT_READ
    enum: PROT_WRITE
    enum: MAP_SHARED

HEADER_BYTES = sizeof(shmq_header)


def layout_fields():
    """The memory layout: (structure, field, offset, size, meaning) of every field."""
    return [
        (
            shmq_fields[i].structure.decode(),
            shmq_fields[i].field.decode(),
            shmq_fields[i].offset,
            shmq_fields[i].size,
            shmq_fields[i].meaning.decode(),
        )
        for i in range(SHMQ_FIELD_COUNT)
    ]


def layout_version():
    """The version of the memory layout that this build reads and writes."""
    return SHMQ_LAYOUT_VERSION


def plan_segment(capacity, item_size, max_processes, pool_limit_bytes, region_count=0,
                 is_stream=False, uint32_t type_bytes=0):
    """Say how large a segment of this geometry is.

    Returns
    -------
    int
        Length of the file in bytes.
    list of tuple of int
        What of it is reserved from the start: offsets and lengths in bytes.

    Raises
    ------
    ValueError
        If no segment can have this geometry.
    """
    cdef shmq_header header
    memset(&header, 0, sizeof(header))
    header.type_bytes = type_bytes
    if not shmq_plan(&header, capacity, item_size, max_processes, pool_limit_bytes, region_count,
                     is_stream):
        raise ValueError(
            f"capacity={capacity} slots for items of {item_size} bytes are more than one segment"
            " can hold (64 TiB); larger items than item_size need no larger slots"
        )
    if region_count == 0:
        return header.segment_bytes, [(0, header.views_offset)]
    return header.segment_bytes, [
        (0, (header.seats_offset + 4095) // 4096 * 4096),
        (header.slots_offset, SHMQ_FIRST_BACKED),
    ]


def region_limit_bytes(region_count):
    """How many bytes of items a ring of so many regions holds, at most."""
    return shmq_region_start(region_count)


def format_segment(int fd, capacity, item_size, max_processes, pool_limit_bytes, region_count,
                   is_stream, uint32_t type_bytes, uint32_t ungrouped, int serializer,
                   bytes serializer_name not None, bytes type_text not None, bytes uuid not None,
                   created_realtime_ns):
    """Write the header of a new segment into a file whose memory is already reserved."""
    cdef shmq_header header
    memset(&header, 0, sizeof(header))
    header.type_bytes = type_bytes
    if (
        len(uuid) != 16
        or len(type_text) != <Py_ssize_t>type_bytes
        or not shmq_plan(&header, capacity, item_size, max_processes, pool_limit_bytes,
                         region_count, is_stream)
    ):
        raise ValueError("no segment can have this geometry")
    if len(serializer_name) >= sizeof(header.serializer_name):
        raise ValueError(
            f"the serializer's name must be shorter than {sizeof(header.serializer_name)} bytes:"
            f" {serializer_name!r}"
        )
    memcpy(header.serializer_name, PyBytes_AS_STRING(serializer_name), len(serializer_name))
    memcpy(header.uuid, PyBytes_AS_STRING(uuid), 16)
    header.serializer = serializer
    header.ungrouped = ungrouped
    header.created_realtime_ns = created_realtime_ns
    # What is written here: header, ends, regions and type, at the beginning of what is reserved.
    cdef void *base = mmap(NULL, header.seats_offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if base == <void *>-1:
        error = c_errno
        raise OSError(error, f"cannot map a new segment: {os.strerror(error)}")
    memcpy(<uint8_t *>base + header.type_offset, PyBytes_AS_STRING(type_text), type_bytes)
    shmq_format(<uint8_t *>base, &header)
    munmap(base, header.seats_offset)


def check_header(bytes text not None, file_bytes, str path not None):
    """Raise unless these are the first bytes of a sound segment of this layout.

    Parameters
    ----------
    text : bytes
        As many as the file has, up to `HEADER_BYTES`.
    file_bytes : int
        How long the file is.
    path : str
        What to call it in messages.

    Raises
    ------
    ForeignSegmentError, TruncatedSegmentError, SegmentVersionError, CorruptSegmentError
        If they are not.
    """
    cdef shmq_header header
    cdef int status
    memset(&header, 0, sizeof(header))
    memcpy(&header, PyBytes_AS_STRING(text), min(len(text), sizeof(header)))
    status = shmq_header_check(&header, file_bytes)
    if status == SHMQ_OK:
        return
    if status == SHMQ_TRUNCATED:
        raise TruncatedSegmentError(
            f"{path} is cut off: it has {file_bytes} bytes"
            + (
                f", its header says {header.segment_bytes}"
                if file_bytes >= <uint64_t>sizeof(shmq_header)
                else f", a header alone has {sizeof(shmq_header)}"
            )
        )
    if status == SHMQ_VERSION:
        raise SegmentVersionError(
            f"{path} has layout version {header.layout_version}, this build of shmqueue reads"
            f" version {SHMQ_LAYOUT_VERSION}: use one version of shmqueue in all processes, or"
            " unlink the segment and create it anew"
        )
    if status == SHMQ_WRONG_BYTE_ORDER:
        raise SegmentVersionError(f"{path} was made by a machine of another byte order")
    if status == SHMQ_CORRUPT:
        raise CorruptSegmentError(
            f"the header of {path} was overwritten: its fields don't agree with its checksum"
        )
    raise ForeignSegmentError(f"{path} is not a shmqueue segment: something else made it")
