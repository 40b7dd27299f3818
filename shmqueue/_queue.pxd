"""What other extension modules cimport: the class that all queues derive from."""

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._codec cimport Payload
from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_taken


cdef class ObjectQueue:
    cdef Attachment attachment
    cdef str label
    cdef int policy
    # Of a custom serializer; None for the codec's own policies.
    cdef object dumps
    cdef object loads
    # Read without a lock by whoever waits in another thread.
    cdef uint32_t closed_flag
    # Taken from the ring in a batch but not delivered, because one before them failed to load.
    cdef list pending
    cdef uint64_t pending_epoch
    cdef object __weakref__

    cpdef _bind(self, Attachment attachment, str label)
    cdef Attachment _open(self)
    cdef int _raise_closed(self) except -1
    cdef int _put(self, object item, uint64_t deadline_ns) except -1
    cdef int _put_large(self, Attachment attachment, Payload *payload,
                        uint64_t deadline_ns) except -1
    cdef object _get(self, uint64_t deadline_ns)
    cdef object _get_large(self, Attachment attachment, uint64_t wanted_bytes,
                           uint64_t deadline_ns)
    cdef bint _decode_taken(self, Attachment attachment, list items, const shmq_taken *taken,
                            uint64_t count, unsigned char *scratch) except -1
    cdef int _keep(self, Attachment attachment, uint32_t kind, bytes data) except -1
    cdef bint _has_pending(self, Attachment attachment) noexcept
    cdef object _deliver(self, tuple kept)
    cdef int _deliver_pending(self, list items, Py_ssize_t wanted) except -1
