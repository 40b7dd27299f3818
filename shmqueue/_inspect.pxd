"""What other extension modules cimport: the rows of seats and groups."""

from libc.stdint cimport uint32_t

from shmqueue._protocol cimport shmq_view


cdef list rows_of(const shmq_view *view)

cdef dict group_row(const shmq_view *view, uint32_t group)
