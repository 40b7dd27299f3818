"""What other extension modules cimport: a batch on its way into the ring."""

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_handle, shmq_record


cdef class Batch:
    cdef Attachment attachment
    cdef shmq_record *records
    cdef uint64_t count
    cdef char *arena             # the payloads, one behind the other, each from a multiple of 8
    cdef size_t arena_bytes
    cdef size_t used
    cdef bint done

    cdef int append(self, object item, int policy, uint64_t deadline_ns,
                    const shmq_handle *handle) except -1
    cdef size_t reserve(self, size_t size) except? 1
    cdef int put(self, uint64_t deadline_ns, const shmq_handle *handle) except -1
