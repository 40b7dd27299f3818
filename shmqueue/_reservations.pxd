"""What other extension modules cimport: items that are made in the memory of the queue."""

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._blocks cimport Loan
from shmqueue._core cimport Attachment
from shmqueue._queue cimport ObjectQueue


cdef Reservation reserve_bytes(ObjectQueue queue, object nbytes, uint64_t deadline_ns)
cdef Reservation reserve_array(ObjectQueue queue, object shape, object dtype, uint64_t deadline_ns)


cdef class Reservation:
    cdef ObjectQueue queue
    cdef Attachment attachment
    cdef Loan loan              # None: in private memory
    cdef object _buffer         # what the user writes to; None once it was taken away
    cdef bytearray private
    cdef uint64_t epoch         # of the process that made it
    cdef uint64_t deadline_ns
    cdef uint64_t size          # of the payload: a head, perhaps, and the data
    cdef uint32_t kind
    cdef bint was_entered       # so that a variable of the user's may refer to the buffer
    cdef str fate               # None while it is open

    cdef object _memory(self, object size, uint32_t kind)
    cdef int _check_open(self) except -1
    cdef int _decide(self, str fate) except -1
    cdef int _give_up(self) except -1
    cdef bint _let_go(self) except -1
    cdef uint32_t _block_to_put(self, uint64_t size) except? 0xFFFFFFFF
    cdef int _put(self, uint64_t size) except -1
    cdef int _put_in_slot(self, const char *data, uint64_t size) except -1
