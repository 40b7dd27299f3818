"""What other extension modules cimport: the ends of a queue."""

from libc.stdint cimport uint32_t

from shmqueue._core cimport Attachment


cdef int shutdown(Attachment attachment, bint immediate, const uint32_t *closed) except -1
cdef int task_done(Attachment attachment) except -1
cdef int join(Attachment attachment, const uint32_t *closed) except -1
