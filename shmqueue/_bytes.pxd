"""What other extension modules cimport: what takes bytes as they are."""

from libc.stdint cimport uint8_t, uint64_t

from shmqueue._blocks cimport Loan
from shmqueue._consumer cimport Consumer
from shmqueue._core cimport Attachment
from shmqueue._readers cimport Reader


cdef class BytesConsumer(Consumer):
    cdef object _next_bytes(self, Attachment attachment, Reader reader, uint64_t deadline_ns)
    cdef bytes _copied(self, Attachment attachment, Loan loan)
    cdef int _check_bytes(self, Attachment attachment, tuple kept) except -1
    cdef object _get_into(self, Attachment attachment, Reader reader, Py_buffer *target,
                          uint64_t deadline_ns)
    cdef object _pending_into(self, Attachment attachment, uint8_t *memory, uint64_t room)
