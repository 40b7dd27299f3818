# cython: binding=False
"""The ring without the codec, for tests and tools: payloads are bytes with a kind."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc

from shmqueue._core cimport Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._pool cimport block_read
from shmqueue._protocol cimport SHMQ_NO_BLOCK, SHMQ_OK, shmq_no_handle, shmq_record, shmq_taken


def put_payloads(Attachment attachment not None, payloads, timeout=None):
    """Put (kind, bytes) pairs, each of which fits a slot, as one batch."""
    cdef uint64_t i, count = len(payloads)
    if count > attachment.view.capacity:
        raise ValueError(f"{count} payloads are more than {attachment.view.capacity} slots")
    if count == 0:
        return
    cdef shmq_record *records = <shmq_record *>malloc(count * sizeof(shmq_record))
    if records == NULL:
        raise MemoryError
    try:
        for i in range(count):
            kind, data = payloads[i]
            if len(data) > attachment.view.slot_payload_bytes:
                raise ValueError(f"{len(data)} bytes don't fit a slot")
            records[i].data = PyBytes_AS_STRING(data)
            records[i].length = records[i].item_bytes = len(data)
            records[i].kind = kind
            records[i].flags = 0
        attachment.put(records, count, deadline_ns_of(True, timeout), &shmq_no_handle)
    finally:
        free(records)


def take_payloads(Attachment attachment not None, max_items=1, timeout=None, buffer_bytes=65536):
    """Take 1..max_items as a list of (kind, bytes)."""
    cdef uint64_t i, count = 0
    cdef uint64_t limit = min(max(1, max_items), attachment.view.capacity)
    cdef uint64_t deadline_ns = deadline_ns_of(True, timeout)
    cdef shmq_taken *taken = <shmq_taken *>malloc(limit * sizeof(shmq_taken))
    if taken == NULL:
        raise MemoryError
    try:
        while True:
            buffer = PyBytes_FromStringAndSize(NULL, buffer_bytes)
            if attachment.take(limit, <uint8_t *>PyBytes_AS_STRING(buffer), buffer_bytes,
                               buffer_bytes, taken, &count, deadline_ns,
                               &shmq_no_handle) == SHMQ_OK:
                break
            buffer_bytes = taken[0].length
        if taken[0].block != SHMQ_NO_BLOCK:
            block_read(attachment, NULL, &taken[0], <uint8_t *>PyBytes_AS_STRING(buffer))
        return [
            (taken[i].kind, buffer[taken[i].offset : taken[i].offset + taken[i].length])
            for i in range(count)
        ]
    finally:
        free(taken)
