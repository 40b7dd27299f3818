# cython: binding=False
"""Items of one fixed size, between a ring and memory in which they lie one behind the other."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from shmqueue._codec cimport KIND_BYTES
from shmqueue._consumer cimport BATCH_CHUNK, Consumer, raise_kept, reader_at, set_takes_more
from shmqueue._core cimport AT_ONCE, Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._protocol cimport SHMQ_CORRUPT, SHMQ_OK, shmq_record, shmq_taken
from shmqueue._queue cimport ObjectQueue
from shmqueue._readers cimport Reader

from shmqueue.errors import CorruptItemError


def put_items(ObjectQueue queue not None, items, size_t item_bytes, block, timeout):
    """Put all items of a buffer, contiguously and at once: every one of them, or none.

    Parameters
    ----------
    queue : ObjectQueue
        An item fits its slots.
    items : bytes-like object
        Contiguous.
    item_bytes : int
        Bytes of an item.
    block, timeout
        As in `ObjectQueue.put_batch`.
    """
    cdef uint64_t deadline_ns = deadline_ns_of(block, timeout)
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


def take_items(Consumer consumer not None, memory, size_t item_bytes, block, timeout):
    """Take what is there, up to what there is room for, as soon as there is something.

    Parameters
    ----------
    consumer : Consumer
    memory : bytes-like object
        Writable and contiguous; has room for an item at least.
    item_bytes : int
        Bytes of an item.
    block, timeout
        As in `Consumer.get_batch`.

    Returns
    -------
    int
        How many items there are at the start of the memory.
    """
    cdef Py_buffer target
    cdef _Taking taking = _Taking.__new__(_Taking)
    cdef uint64_t deadline_ns = deadline_ns_of(block, timeout)
    PyObject_GetBuffer(memory, &target, PyBUF_WRITABLE)
    try:
        taking.memory = <uint8_t *>target.buf
        taking.wanted = target.len // item_bytes
        taking.item_bytes = item_bytes
        taking.take_from(consumer, deadline_ns)
        return taking.count
    finally:
        PyBuffer_Release(&target)


@cython.final
@cython.internal
cdef class _Taking:
    """One call of `take_items`."""

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
        if consumer.pending is not None and consumer._has_pending(attachment):
            return self._take_pending(consumer)
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
                    status = attachment.take(
                        reader_at(reader), limit, buffer, limit * self.item_bytes, 0, self.taken,
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
                    if self.count == 0:
                        self._pass_over(consumer, attachment, reader)
                    break
                set_takes_more(reader, True)
                if not self._check(consumer, attachment, buffer, count):
                    break
        finally:
            set_takes_more(reader, False)
        return 0

    cdef bint _check(self, Consumer consumer, Attachment attachment, const uint8_t *buffer,
                     uint64_t count) except -1:
        """Count what was taken; False if it has something in it that is no item of this size.

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
        error = _not_of_size(self.taken[bad].length, self.item_bytes)
        self.count += bad
        if self.count > 0:
            consumer._keep(attachment, (0, error))
        for i in range(bad + 1, count):
            data = (<const char *>buffer + self.taken[i].offset)[: self.taken[i].length]
            consumer._keep(attachment, (self.taken[i].kind, data))
        if self.count == 0:
            raise error
        return False

    cdef int _pass_over(self, Consumer consumer, Attachment attachment, Reader reader) except -1:
        """Take what is larger than an item of this size, and raise."""
        length = self.taken[0].length
        consumer._take_large(attachment, reader, self.taken, AT_ONCE)
        raise _not_of_size(length, self.item_bytes)

    cdef int _take_pending(self, Consumer consumer) except -1:
        """Deliver one that was kept by an earlier call."""
        cdef tuple kept = consumer.pending.pop(0)
        raise_kept(kept)
        if type(kept[1]) is not bytes or len(<bytes>kept[1]) != <Py_ssize_t>self.item_bytes:
            raise _not_of_size(len(kept[1]), self.item_bytes)
        memcpy(self.memory, PyBytes_AS_STRING(kept[1]), self.item_bytes)
        self.count = 1
        return 0


def _not_of_size(length, item_bytes):
    return CorruptItemError(
        f"an item of {length} bytes was passed over: those of this type have {item_bytes}"
    )
