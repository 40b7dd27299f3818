# cython: binding=False
"""Clearing up after the dead, on request."""

import os

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport (
    SHMQ_BUSY,
    SHMQ_END_OPEN,
    SHMQ_MAX_GROUPS,
    shmq_all_written,
    shmq_group_head,
    shmq_groups_open,
    shmq_pool_sweep,
    shmq_pool_trim,
    shmq_seat_forget,
    shmq_seat_is_held,
    shmq_seats_granted,
    shmq_stream_bury,
    shmq_sweep_after_the_dead,
    shmq_tag_is_dead,
    shmq_view,
)

from shmqueue import _core


def repair(Attachment attachment not None, bint trim):
    """Free what the dead hold, and forget who they were.

    Parameters
    ----------
    attachment : Attachment
        Whose segment.
    trim : bool
        Whether memory of large items that is free goes back to the system, too: for a queue that
        nobody else uses.

    Returns
    -------
    bool
        False if somebody held the head or the tail, so that there may be more: to be tried again.
    """
    cdef int status
    if not attachment.is_mine():
        attachment.take_seat()
    with nogil:
        if attachment.view.stream != NULL:
            shmq_stream_bury(attachment.view)
        shmq_sweep_after_the_dead(attachment.view)
        status = shmq_pool_sweep(attachment.view)
        if trim:
            shmq_pool_trim(attachment.view, 0)
    if status == SHMQ_BUSY or (attachment.view.stream != NULL and _is_to_bury(attachment.view)):
        return False
    _forget_the_dead(attachment)
    return True


cdef bint _is_to_bury(const shmq_view *view):
    """Whether the dead still have groups of a stream, or its end."""
    cdef uint64_t begun, subscriber
    cdef uint32_t group
    for group in range(SHMQ_MAX_GROUPS):
        if not shmq_groups_open(view) >> group & 1:
            continue
        subscriber = view.stream.groups[group].subscriber
        if not shmq_group_head(view, group).state & SHMQ_END_OPEN:
            return True
        if subscriber != 0 and shmq_tag_is_dead(view, subscriber):
            return True
    return shmq_all_written(view, &begun)


cdef int _forget_the_dead(Attachment attachment) except -1:
    """Leave the seats of the dead in order, once nothing bears their tags any more."""
    cdef uint32_t seat
    # As when a seat is taken: no child shall inherit the descriptor that holds a lock.
    with _core._process_lock:
        fd = attachment._open_again()
        try:
            for seat in range(shmq_seats_granted(attachment.view)):
                if shmq_seat_is_held(attachment.view, seat) == 0:
                    shmq_seat_forget(attachment.view, fd, seat)
        finally:
            os.close(fd)
    return 0
