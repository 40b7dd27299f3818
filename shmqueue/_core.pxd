"""The protocol's C side, as far as other extension modules use it."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "_native/wait.h" nogil:
    ctypedef struct shmq_end:
        uint32_t gate
        uint32_t state

    ctypedef struct shmq_view:
        uint8_t *base
        uint64_t mapped_bytes
        uint64_t capacity
        uint64_t item_size
        uint64_t slot_payload_bytes
        uint64_t pool_limit_bytes
        shmq_end *ends
        uint32_t max_seats
        void *anchor
        uint64_t epoch
        int fd
        uint64_t device
        uint64_t inode
        uint64_t spin_ns

    ctypedef struct shmq_record:
        const void *data
        uint32_t length
        uint16_t kind
        uint16_t flags
        uint64_t item_bytes

    ctypedef struct shmq_taken:
        uint64_t offset
        uint64_t length
        uint32_t kind
        uint32_t block

    ctypedef struct shmq_block_ref:
        uint32_t block
        uint32_t reserved
        uint64_t length

    enum: SHMQ_NO_BLOCK
    enum: SHMQ_SLOT_IN_BLOCK
    enum: SHMQ_OK
    enum: SHMQ_FULL
    enum: SHMQ_EMPTY
    enum: SHMQ_CORRUPT
    enum: SHMQ_NEED

    uint64_t SHMQ_NO_DEADLINE

    ctypedef struct shmq_waiter:
        pass

    uint64_t now_ns()

# Deadlines are nanoseconds of CLOCK_MONOTONIC, or SHMQ_NO_DEADLINE, or this: one attempt.
cdef enum:
    AT_ONCE = 0


cdef class Attachment:
    cdef shmq_view *view
    cdef readonly str path
    cdef readonly bytes uuid
    cdef readonly int serializer
    cdef object __weakref__

    cdef int take_seat(self) except -1
    cdef int put(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                 const uint32_t *closed) except -1
    cdef int take(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                  shmq_taken *taken, uint64_t *count, uint64_t deadline_ns,
                  const uint32_t *closed) except -1
    cdef int try_take(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                      shmq_taken *taken, uint64_t *count) except -1000
    cdef bint has_room(self, uint64_t count) noexcept
    cdef int block_write(self, const void *data, uint64_t size, shmq_block_ref *ref,
                         uint64_t deadline_ns, const uint32_t *closed) except -1
    cdef int block_drop(self, const shmq_block_ref *ref) except -1
    cdef int block_read(self, const shmq_taken *taken, uint8_t *buffer) except -1
    cdef uint64_t size(self) noexcept
    cdef int _look_at_signals(self, shmq_waiter *waiter) except -1
    cdef int _raise_for(self, int status) except -1
