# cython: binding=False
"""Items of one fixed size, between a ring and memory in which they lie one behind the other."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shmqueue._codec cimport KIND_BYTES
from shmqueue._consumer cimport BATCH_CHUNK, Consumer, reader_at, set_takes_more, take_with
from shmqueue._core cimport Attachment
from shmqueue._kept cimport raise_kept
from shmqueue._protocol cimport SHMQ_CORRUPT, SHMQ_OK, shmq_record, shmq_taken
from shmqueue._queue cimport ObjectQueue
from shmqueue._readers cimport Reader

from shmqueue.errors import CorruptItemError


def put_items(ObjectQueue queue not None, items, size_t item_bytes, uint64_t deadline_ns):
    """Put all items of a buffer, contiguously and at once: every one of them, or none.

    Parameters
    ----------
    queue : ObjectQueue
        An item fits its slots.
    items : bytes-like object
        Contiguous.
    item_bytes, deadline_ns : int
        Bytes of an item; until when to wait for room.
    """
    cdef Attachment attachment = queue._open()
    cdef Py_buffer source
    cdef shmq_record *records = NULL
    cdef size_t count, i
    PyObject_GetBuffer(items, &source, PyBUF_SIMPLE)
    try:
        count = source.len // item_bytes
        if not queue._may_put(attachment, count, deadline_ns):
            return
        records = <shmq_record *>malloc(count * sizeof(shmq_record))
        if records == NULL:
            raise MemoryError
        for i in range(count):
            records[i].data = <const char *>source.buf + i * item_bytes
            records[i].length = <uint32_t>item_bytes
            records[i].kind = KIND_BYTES
            records[i].flags = 0
            records[i].item_bytes = item_bytes
        attachment.put(records, count, deadline_ns, &queue.handle)
    finally:
        free(records)
        PyBuffer_Release(&source)


def take_array(item_type, Consumer consumer not None, size_t wanted, uint64_t deadline_ns):
    """Take what is there, up to so many items, as soon as there is something, as one array.

    No bytecode runs between the ring and whoever called: no signal's handler comes in between.

    Parameters
    ----------
    item_type : ItemType
    consumer : Consumer
    wanted, deadline_ns : int
        At least 1; until when to wait for the first one.

    Returns
    -------
    array
    """
    cdef _Taking taking = _Taking.__new__(_Taking)
    cdef Py_buffer target
    taking.item_bytes = item_type.item_bytes
    # What there is, and what may come in meanwhile: not all that the ring could hold.
    taking.wanted = min(wanted, min(consumer._open().size(), <uint64_t>wanted) + BATCH_CHUNK)
    # Bytes first: a view of them has the type, whatever its shape.
    memory = item_type.empty(taking.wanted * taking.item_bytes, "u1")
    PyObject_GetBuffer(memory, &target, PyBUF_WRITABLE)
    try:
        taking.memory = <uint8_t *>target.buf
        taking.take_from(consumer, deadline_ns)
    finally:
        PyBuffer_Release(&target)
    found = memory[: taking.count * taking.item_bytes]
    if taking.count * 2 < taking.wanted:
        try:
            found = found.copy()  # rather than keep the memory of all
        except MemoryError:
            pass
    return as_array(item_type, found)


cpdef as_array(item_type, memory):
    """Return the items that lie in an array of bytes: an array of numpy, or of ctypes."""
    count = len(memory) // item_type.item_bytes
    if item_type.structure is not None:
        return (item_type.structure * count).from_buffer(memory)
    return memory.view(item_type.base).reshape((count, *item_type.shape))


@cython.final
@cython.internal
cdef class _Taking:
    """What is taken into memory that has room for it."""

    cdef uint8_t *memory
    cdef shmq_taken *taken
    cdef size_t item_bytes
    cdef size_t wanted
    cdef size_t count  # of items that lie in the memory

    def __dealloc__(self):
        free(self.taken)

    cdef int take_from(self, Consumer consumer, uint64_t deadline_ns) except -1:
        cdef Reader reader = consumer._open_reader()
        cdef Attachment attachment = consumer._open()
        cdef uint64_t count, limit
        cdef uint8_t *buffer
        cdef int status
        self.wanted = min(self.wanted, attachment.view.capacity)
        if consumer.pending is not None:
            kept = consumer._pop_pending(attachment)
            if kept is not None:
                return self._take_one(kept)
        limit = min(self.wanted, <size_t>BATCH_CHUNK)
        self.taken = <shmq_taken *>malloc(limit * sizeof(shmq_taken))
        if self.taken == NULL:
            raise MemoryError
        try:
            while self.count < self.wanted:
                # What is taken lies there one behind the other, as it should.
                buffer = self.memory + self.count * self.item_bytes
                limit = min(self.wanted - self.count, <size_t>BATCH_CHUNK)
                if self.count == 0:
                    status = take_with(
                        attachment, reader, limit, buffer, limit * self.item_bytes, 0, self.taken,
                        &count, deadline_ns, &consumer.handle
                    )
                else:
                    status = attachment.try_take(
                        reader_at(reader), limit, buffer, limit * self.item_bytes, 0, self.taken,
                        &count
                    )
                if status == SHMQ_CORRUPT:
                    consumer._keep(attachment, (0, b""))  # passed over: the next call says so
                if status != SHMQ_OK:
                    # Larger than an item; unless somebody else was quicker to pass it over.
                    if self.count == 0:
                        self._take_one(
                            consumer._take_large(attachment, reader, self.taken, deadline_ns)
                        )
                    break
                set_takes_more(reader, True)
                if not self._check(consumer, attachment, buffer, count):
                    break
        finally:
            set_takes_more(reader, False)
        return 0

    cdef bint _check(self, Consumer consumer, Attachment attachment, const uint8_t *buffer,
                     uint64_t count) except -1:
        """Count what was taken; False if it has something in it that is no item of this type.

        Who scribbles over a segment can do that. The next call raises for it, or this one if there
        is nothing before it; what is behind it is kept.
        """
        cdef uint64_t i, bad
        for bad in range(count):
            if self.taken[bad].length != self.item_bytes or self.taken[bad].kind != KIND_BYTES:
                break
        else:
            self.count += count
            return True
        error = self._no_item(self.taken[bad].kind, self.taken[bad].length)
        self.count += bad
        kept = [] if self.count == 0 else [(0, error)]
        for i in range(bad + 1, count):
            data = (<const char *>buffer + self.taken[i].offset)[: self.taken[i].length]
            kept.append((self.taken[i].kind, data))
        consumer._keep_all(attachment, kept, False)  # at once: nothing comes between them
        if self.count == 0:
            raise error
        return False

    cdef int _take_one(self, tuple kept) except -1:
        """Have what was kept by an earlier call, or what looked too large, as the only item."""
        raise_kept(kept)
        payload = kept[1]
        if (
            kept[0] != KIND_BYTES
            or type(payload) is not bytes
            or len(<bytes>payload) != <Py_ssize_t>self.item_bytes
        ):
            raise self._no_item(kept[0], len(payload) if type(payload) is bytes else None)
        memcpy(self.memory, PyBytes_AS_STRING(payload), self.item_bytes)
        self.count = 1
        return 0

    cdef object _no_item(self, kind, length):
        size = "in a block" if length is None else f"of {length} bytes"
        return CorruptItemError(
            f"an item {size} and of kind {kind} was passed over: those of this type have"
            f" {self.item_bytes} bytes, of kind {KIND_BYTES}"
        )
