"""The protocol's C side, as far as other extension modules use it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shmqueue._protocol cimport (
    SHMQ_NO_DEADLINE,
    shmq_handle,
    shmq_reader,
    shmq_record,
    shmq_taken,
    shmq_view,
    shmq_waiter,
)

# Deadlines are nanoseconds of CLOCK_MONOTONIC, or SHMQ_NO_DEADLINE, or this: one attempt.
cdef enum:
    AT_ONCE = 0


cdef class Attachment:
    cdef shmq_view *view
    cdef readonly str path
    cdef readonly bytes uuid
    cdef readonly int serializer
    cdef readonly str serializer_name
    # The type of all items, if they have one in common.
    cdef readonly bytes type_text
    # What has `dumps` and `loads`, if the serializer is a custom one.
    cdef public object custom
    cdef readonly bint named
    cdef uint64_t file_system_bytes  # of the one that the segment is in, if one bounds it
    cdef bint polls  # this process has asked for the poll descriptor
    cdef object __weakref__

    cdef int take_seat(self) except -1
    cdef bint _try_take_seat(self) except -1
    cdef int put(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                 const shmq_handle *handle) except -1
    cdef int take(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                  uint64_t block_bytes, shmq_taken *taken, uint64_t *count, uint64_t deadline_ns,
                  const shmq_handle *handle) except -1
    cdef int take_of_group(self, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
                           uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                           uint64_t *count, uint64_t deadline_ns,
                           const shmq_handle *handle) except -1
    cdef int try_take(self, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
                      uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                      uint64_t *count) except -1000
    cdef int await_room(self, uint64_t count, uint64_t deadline_ns,
                        const shmq_handle *handle) except -1
    cdef int see_to_views(self) except -1
    cdef uint64_t size(self) noexcept
    cdef int begin_to_poll(self, const shmq_handle *handle) except -1
    cdef int do(self, uint32_t end, int deed, uint64_t deadline_ns,
                const shmq_handle *handle) except -1000
    cdef int _settle_poll(self) except -1
    cdef int _tidy_up(self) except -1
    cdef bint is_mine(self) noexcept
    cdef bint _allow_memory(self, shmq_waiter *waiter) except -1
    cdef int _see_to_descriptor(self) except -1
    cdef int _check_blocks(self, const shmq_record *records, uint64_t count,
                           shmq_waiter *waiter) except -1
    cdef int _put_or_wait(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                          const shmq_handle *handle) except -1
    cdef int _take_or_wait(self, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
                           uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                           uint64_t *count, uint64_t deadline_ns,
                           const shmq_handle *handle) except -1
    cdef int _look_at_signals(self, shmq_waiter *waiter) except -1
    cdef int _raise_for(self, int status, int error=*) except -1
