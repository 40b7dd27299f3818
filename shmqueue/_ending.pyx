# cython: binding=False
"""How a queue comes to its end: shutting down, and waiting until all is done."""

from libc.stdint cimport UINT64_MAX, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport (
    SHMQ_DO_SHUT,
    SHMQ_END_HEAD0,
    SHMQ_END_TAIL,
    SHMQ_INTERRUPTED,
    SHMQ_NO_BLOCK,
    SHMQ_NO_DEADLINE,
    SHMQ_OK,
    now_ns,
    shmq_block_free,
    shmq_join,
    shmq_pool_trim,
    shmq_snapshot_ends,
    shmq_taken,
    shmq_tasks_done,
    shmq_waiter,
    shmq_waiter_end,
    shmq_waiter_init,
)

from shmqueue.errors import CorruptSegmentError, ShutDown

cdef enum:
    LAST_TRY_NS = 1000000000


cdef int shutdown(Attachment attachment, bint immediate, const shmq_handle *handle) except -1:
    """Shut the tail; if `immediate`, discard what is in the ring and shut the head as well.

    Each step leaves a state that makes sense, and whoever calls again completes what a call that
    was interrupted or killed left undone; but what a killed one had taken and not yet counted as
    done stays uncounted, as after any consumer that is killed with items in its hands.
    """
    attachment.do(SHMQ_END_TAIL, SHMQ_DO_SHUT, SHMQ_NO_DEADLINE, handle)
    attachment.ring_bells()
    if not immediate:
        return 0
    cdef uint64_t deadline_ns = SHMQ_NO_DEADLINE
    try:
        _discard_all(attachment, handle)
    except BaseException:
        # Interrupted, perhaps for waiting for the head in vain: it is not waited for as long again.
        deadline_ns = now_ns() + LAST_TRY_NS
        raise
    finally:
        attachment.do(SHMQ_END_HEAD0, SHMQ_DO_SHUT, deadline_ns, handle)
        attachment.ring_bells()
    return 0


cdef int _discard_all(Attachment attachment, const shmq_handle *handle) except -1:
    """Take what is in the ring and count it as done, though nobody gets it."""
    cdef shmq_taken taken[64]
    cdef uint64_t count, head, tail, head_before
    shmq_snapshot_ends(attachment.view, &head, &tail)
    while True:
        head_before = head
        try:
            # Discarded: no buffer, so nothing is too large for it.
            attachment.take(64, NULL, UINT64_MAX, UINT64_MAX, taken, &count, SHMQ_NO_DEADLINE,
                            handle)
        except ShutDown:
            with nogil:
                shmq_pool_trim(attachment.view, 0)
            return 0
        except CorruptSegmentError:
            shmq_snapshot_ends(attachment.view, &head, &tail)
            if head == head_before:
                raise
            continue  # passed over
        if taken[0].block != SHMQ_NO_BLOCK:
            shmq_block_free(attachment.view, taken[0].block)
        shmq_tasks_done(attachment.view, count)
        shmq_snapshot_ends(attachment.view, &head, &tail)


cdef int task_done(Attachment attachment) except -1:
    """Count an item as done; ValueError when every item that was put is done already."""
    if not shmq_tasks_done(attachment.view, 1):
        raise ValueError("task_done() called too many times")
    return 0


cdef int join(Attachment attachment, const shmq_handle *handle) except -1:
    """Wait until as many items are done as were put."""
    cdef int status
    cdef shmq_waiter waiter
    if not attachment.is_mine():
        attachment.take_seat()
    shmq_waiter_init(&waiter, SHMQ_NO_DEADLINE, 1, handle)
    while True:
        with nogil:
            status = shmq_join(attachment.view, &waiter)
        if status != SHMQ_INTERRUPTED:
            break
        attachment._look_at_signals(&waiter)
    shmq_waiter_end(attachment.view, &waiter, status != SHMQ_OK)
    if status != SHMQ_OK:
        attachment._raise_for(status)
    return 0
