"""What other extension modules cimport: a process's part in a group of a stream."""

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_reader


cdef class Reader:
    cdef Attachment attachment
    cdef shmq_reader reader
    cdef bint writes  # it may change large payloads in place, for the groups that come after

    cdef int see_to_pinner(self) except -1
