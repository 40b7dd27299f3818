"""What other extension modules cimport: the ends of a queue."""

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_handle


cdef int shutdown(Attachment attachment, bint immediate, const shmq_handle *handle) except -1
cdef int task_done(Attachment attachment) except -1
cdef int join(Attachment attachment, const shmq_handle *handle) except -1
