"""What other extension modules cimport: the class that all handles derive from."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_handle, shmq_reader, shmq_taken
from shmqueue._readers cimport Reader


cdef enum:
    BATCH_CHUNK = 1024  # items taken at once, at most


cdef inline shmq_reader *reader_at(Reader reader) noexcept:
    return NULL if reader is None else &reader.reader


cdef inline int take_with(
    Attachment attachment, Reader reader, uint64_t max_items, uint8_t *buffer,
    uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken, uint64_t *count,
    uint64_t deadline_ns, const shmq_handle *handle
) except -1:
    """`Attachment.take`, or `take_of_group` with a reader."""
    if reader is None:
        return attachment.take(max_items, buffer, buffer_bytes, block_bytes, taken, count,
                               deadline_ns, handle)
    return attachment.take_of_group(&reader.reader, max_items, buffer, buffer_bytes, block_bytes,
                                    taken, count, deadline_ns, handle)


cdef inline int set_takes_more(Reader reader, bint takes_more) noexcept:
    """Whether what is taken comes to what was taken before, which is not finished then."""
    if reader is not None:
        reader.reader.takes_more = takes_more
    return 0


cdef class Consumer:
    cdef Attachment attachment
    cdef str label
    cdef int policy
    # Of a custom serializer; None for the codec's own policies.
    cdef object dumps
    cdef object loads
    # An `ItemType`, if all items are of one.
    cdef object item_type
    cdef bint copies
    # Of a group of a stream; None: the only head of a queue, or closed.
    cdef Reader reader
    # Read without a lock by whoever waits in another thread.
    cdef shmq_handle handle
    # Taken from the ring in a batch but not delivered, because one before them failed to load. May
    # be compared with None without a lock; all else is in critical sections.
    cdef list pending
    cdef uint64_t pending_epoch
    cdef object __weakref__

    cpdef _bind(self, Attachment attachment, str label)
    cpdef _read_from(self, Reader reader)
    cpdef _set_copies(self, bint copies)
    cpdef _set_item_type(self, item_type)
    cpdef _be_like(self, Consumer other)
    cdef Reader _open_reader(self)
    cdef Attachment _open(self)
    cdef int _raise_closed(self) except -1
    cdef object _get(self, uint64_t deadline_ns, bint copy)
    cdef object _load_or_keep(self, Attachment attachment, const shmq_taken *taken,
                              const uint8_t *data)
    cdef tuple _take_large(self, Attachment attachment, Reader reader, shmq_taken *taken,
                           uint64_t deadline_ns)
    cdef object _get_batch(self, object max_items, uint64_t deadline_ns, bint copies)
    cdef int _append_batch(self, list batches, object max_items, uint64_t deadline_ns) except -1
    cdef bint _decode_taken(self, Attachment attachment, list items, const shmq_taken *taken,
                            uint64_t count, unsigned char *scratch) except -1
    cdef bint _append_large(self, Attachment attachment, Reader reader, list items,
                            shmq_taken *taken, bint copy) except -1
    cdef bint _is_found_out_again(self, object error) except -1
    cdef int _keep_all(self, Attachment attachment, list kept, bint are_first) except -1
    cdef int _keep(self, Attachment attachment, tuple kept) except -1
    cdef int _keep_first(self, Attachment attachment, tuple kept) except -1
    cdef int _keep_behind(self, Attachment attachment, list items, list rest, object error,
                          bint are_first) except -1
    cdef list _all_made(self, list items)
    cdef tuple _pop_pending(self, Attachment attachment)
    cdef Py_ssize_t _count_pending(self, Attachment attachment) noexcept
    cdef object _deliver(self, tuple kept, bint copy)
    cdef object _loaded(self, uint32_t kind, object item)
    cdef object _deliver_or_keep(self, Attachment attachment, tuple kept, bint copy)
    cdef int _deliver_pending(self, Attachment attachment, list items, Py_ssize_t wanted,
                              bint copy) except -1
    cdef int _raise_not_bytes(self, uint32_t kind) except -1
