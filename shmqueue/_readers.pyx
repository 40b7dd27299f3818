# cython: binding=False
"""A consumer of a group, as the protocol knows it: a row for what it holds, a number to pin by.

Whatever uses the memory of a large item keeps the reader alive that has pinned it.
"""

cimport cython
from libc.stdint cimport uint32_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport (
    SHMQ_MAX_PINNERS,
    SHMQ_NO_PINNER,
    shmq_pinner_leave,
    shmq_pinner_take,
    shmq_reader_begin,
    shmq_reader_end,
    shmq_reader_finish,
    shmq_view_is_mine,
)

from shmqueue.errors import NoFreeSeatError


@cython.final
@cython.no_gc
cdef class Reader:
    """Takes from the group of this number.

    Parameters
    ----------
    attachment : Attachment
    group, state : int
        Its number, and the state of its row, which tells it from others that had the number.
    writes : bool
        Whether it may change large payloads in place.
    """

    def __cinit__(self, Attachment attachment not None, uint32_t group, uint32_t state,
                  bint writes):
        self.attachment = attachment
        self.writes = writes
        shmq_reader_begin(&self.reader, attachment.view, group, state)

    def __dealloc__(self):
        if self.attachment is None:
            return
        # A forked child's are the parent's.
        if not shmq_view_is_mine(self.attachment.view):
            return
        if self.reader.epoch != self.attachment.view.epoch:
            return
        shmq_reader_end(self.attachment.view, &self.reader)
        if self.reader.pinner != SHMQ_NO_PINNER:
            shmq_pinner_leave(self.attachment.view, self.reader.pinner)

    cdef int see_to_pinner(self) except -1:
        """Have a number to pin large items by."""
        if not shmq_view_is_mine(self.attachment.view):
            self.attachment.take_seat()
        with cython.critical_section(self):
            if self.reader.pinner == SHMQ_NO_PINNER:
                self.reader.pinner = shmq_pinner_take(self.attachment.view)
        if self.reader.pinner == SHMQ_NO_PINNER:
            raise NoFreeSeatError(
                f"as many consumers get large items of {self.attachment.path} as can be,"
                f" {SHMQ_MAX_PINNERS}: share groups, or close some"
            )
        return 0

    def finish(self):
        """Finish what was taken, so that the groups that come after may take it."""
        if shmq_view_is_mine(self.attachment.view):
            shmq_reader_finish(self.attachment.view, &self.reader)

    @property
    def group(self):
        """The number of the group."""
        return self.reader.group
