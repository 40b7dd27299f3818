# cython: binding=False
"""Blocks of the pool, which hold the payloads of large items: taken, read and given back.

Who waits for one waits as for room in the ring: with the same timeouts, signals and wait strategy.
"""

from libc.errno cimport errno as c_errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport (
    SHMQ_ASK, SHMQ_CORRUPT, SHMQ_INTERRUPTED, SHMQ_NO_DEADLINE, SHMQ_NO_MEMORY, SHMQ_OK,
    SHMQ_SYSTEM, SHMQ_TIMEOUT, SHMQ_UNBOUNDED, copy_out, shmq_block_bytes, shmq_block_free,
    shmq_block_is_held, shmq_block_take, shmq_block_unpin, shmq_handle, shmq_reader, shmq_taken,
    shmq_view_is_mine, shmq_waiter, shmq_waiter_end, shmq_waiter_init,
)

import errno
from queue import Full

# Below this, releasing the GIL costs more than the copy.
cdef enum:
    LARGE_COPY_BYTES = 65536


cdef uint8_t *block_take(Attachment attachment, uint64_t size, uint32_t *index,
                         uint64_t deadline_ns, const shmq_handle *handle) except NULL:
    """Take a block for a payload; returns where to write it."""
    cdef int status, error
    cdef bint has_descriptor = False
    cdef uint8_t *target
    cdef shmq_waiter waiter
    if not shmq_view_is_mine(attachment.view):
        attachment.take_seat()
    if attachment.view.capacity >= SHMQ_UNBOUNDED:
        deadline_ns = SHMQ_NO_DEADLINE  # as in Attachment.put
    shmq_waiter_init(&waiter, deadline_ns, 1, handle)
    while True:
        with nogil:
            status = shmq_block_take(attachment.view, size, index, &waiter)
        error = c_errno
        if status == SHMQ_INTERRUPTED:
            attachment._look_at_signals(&waiter)
        elif status == SHMQ_ASK:
            if not attachment._allow_memory(&waiter):
                status = SHMQ_NO_MEMORY
                break
        elif status == SHMQ_SYSTEM and error == errno.EBADF and not has_descriptor:
            # The descriptor by which memory is reserved was closed behind our back.
            attachment._see_to_descriptor()
            has_descriptor = True
        else:
            break
    shmq_waiter_end(attachment.view, &waiter, status != SHMQ_OK)
    if status == SHMQ_TIMEOUT:
        raise Full
    if status == SHMQ_NO_MEMORY:
        attachment._raise_no_memory(size)
    if status != SHMQ_OK:
        attachment._raise_for(status, error)
    target = shmq_block_bytes(attachment.view, index[0], size)
    if target == NULL:
        shmq_block_free(attachment.view, index[0])
        attachment._raise_for(SHMQ_CORRUPT)
    return target


cdef int block_drop(Attachment attachment, uint32_t index) except -1:
    """Give a block back that was not put after all."""
    # A signal handler may have forked meanwhile: then it is the parent's, who puts it.
    if shmq_view_is_mine(attachment.view) and shmq_block_is_held(attachment.view, index):
        shmq_block_free(attachment.view, index)
    return 0


cdef int block_read(Attachment attachment, const shmq_reader *reader, const shmq_taken *taken,
                    uint8_t *buffer) except -1:
    """Copy the payload of a taken item out of its block, and give the block back."""
    cdef const uint8_t *source = shmq_block_bytes(attachment.view, taken.block, taken.length)
    if source == NULL:
        _let_go(attachment, reader, taken.block)
        attachment._raise_for(SHMQ_CORRUPT)
    if taken.length < LARGE_COPY_BYTES:
        copy_out(buffer, source, taken.length)
    else:
        with nogil:
            copy_out(buffer, source, taken.length)
    _let_go(attachment, reader, taken.block)
    return 0


cdef int _let_go(Attachment attachment, const shmq_reader *reader, uint32_t index) noexcept:
    if reader == NULL:
        shmq_block_free(attachment.view, index)
    else:
        shmq_block_unpin(attachment.view, index, reader.pinner)
    return 0
