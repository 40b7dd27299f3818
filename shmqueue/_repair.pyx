# cython: binding=False
"""Clearing up after the dead, on request."""

import os

from libc.stdint cimport uint32_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport (
    SHMQ_BUSY,
    shmq_pool_sweep,
    shmq_pool_trim,
    shmq_seat_forget,
    shmq_seat_is_held,
    shmq_seats_granted,
    shmq_stream_bury,
    shmq_sweep_after_the_dead,
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
        False if somebody who lives held the head, so that there may be more: to be tried again.
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
    if status == SHMQ_BUSY:
        return False
    _forget_the_dead(attachment)
    return True


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
