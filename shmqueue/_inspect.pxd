"""What other extension modules cimport: the rows of the seats."""

from shmqueue._protocol cimport shmq_view


cdef list rows_of(const shmq_view *view)
