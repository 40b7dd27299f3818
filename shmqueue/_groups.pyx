# cython: binding=False
"""The groups of a stream, for Python: joining, leaving, skipping, writers, looking."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from shmqueue._core cimport Attachment
from shmqueue._inspect cimport group_row
from shmqueue._protocol cimport (
    SHMQ_DO_SHUT,
    SHMQ_EMPTY,
    SHMQ_END_HEAD0,
    SHMQ_END_TAIL,
    SHMQ_FULL,
    SHMQ_GONE,
    SHMQ_GROUP_NAME,
    SHMQ_INTERRUPTED,
    SHMQ_MAX_GROUPS,
    SHMQ_MAX_WRITERS,
    SHMQ_NEED,
    SHMQ_NO_DEADLINE,
    SHMQ_OK,
    SHMQ_POLICY_BLOCK,
    SHMQ_POLICY_DROP,
    SHMQ_POLICY_LAG,
    SHMQ_SHUTDOWN,
    SHMQ_START_AT,
    SHMQ_START_NEXT,
    SHMQ_START_OLDEST,
    shmq_begin_writing,
    shmq_finished_by_the_living,
    shmq_finish_writing,
    shmq_group_look,
    shmq_group_seen,
    shmq_header,
    shmq_join_group,
    shmq_join_wish,
    shmq_leave_group,
    shmq_no_handle,
    shmq_skip,
    shmq_track_group,
    shmq_snapshot_ends,
    shmq_view_is_mine,
    shmq_waiter,
    shmq_waiter_end,
    shmq_waiter_init,
)
from shmqueue._readers cimport Reader

from shmqueue.errors import GroupRemovedError, ShutDown

POLICY_BLOCK = SHMQ_POLICY_BLOCK
POLICY_LAG = SHMQ_POLICY_LAG
POLICY_DROP = SHMQ_POLICY_DROP
START_NEXT = SHMQ_START_NEXT
START_OLDEST = SHMQ_START_OLDEST
START_AT = SHMQ_START_AT
MAX_GROUPS = SHMQ_MAX_GROUPS
MAX_WRITERS = SHMQ_MAX_WRITERS
MAX_NAME_BYTES = SHMQ_GROUP_NAME


class NoSuchStartError(ValueError):
    """A group should begin where there is nothing any more, or not yet.

    Parameters
    ----------
    start, oldest, newest : int
        Sequences: the one that was asked for, and what there is.
    """

    def __init__(self, start, oldest, newest):
        super().__init__(start, oldest, newest)
        self.start = start
        self.oldest = oldest
        self.newest = newest

    def __str__(self):
        """Say which, and what there is."""
        there = (
            f"it holds the sequences {self.oldest} to {self.newest - 1}, and {self.newest} is the"
            " next one"
            if self.newest > self.oldest
            else f"it is empty, and {self.newest} is the next sequence"
        )
        return f"start={self.start} is not in the ring: {there}"


cdef int _begin(Attachment attachment, shmq_waiter *waiter) except -1:
    if attachment.view.stream == NULL:
        raise ValueError(f"{attachment.path} is a queue, not a stream: it has no groups")
    if not shmq_view_is_mine(attachment.view):
        attachment.take_seat()
    shmq_waiter_init(waiter, SHMQ_NO_DEADLINE, 1, &shmq_no_handle)
    return 0


cdef bint _goes_on(Attachment attachment, shmq_waiter *waiter, int status) except -1:
    """Whether a call was only interrupted, by a signal that was looked at; else its wait ends."""
    if status == SHMQ_INTERRUPTED:
        attachment._look_at_signals(waiter)
        return True
    shmq_waiter_end(attachment.view, waiter, status != SHMQ_OK)
    return False


@cython.final
cdef class Subscription:
    """A group of this process alone, which ends with this object unless a handle has taken it over.

    Opened as it is made: whatever a signal's handler raises, somebody answers for the group.

    Parameters
    ----------
    attachment, after, policy, keep_ns, start_kind, start
        As for `join`, which also says what is raised.
    """

    cdef Attachment attachment
    cdef readonly uint32_t index
    cdef uint32_t state
    cdef uint64_t epoch
    cdef bint is_ours

    def __init__(self, Attachment attachment not None, dict after, uint32_t policy,
                 uint64_t keep_ns, uint32_t start_kind, uint64_t start):
        cdef shmq_join_wish wish
        _join(attachment, None, after, policy, keep_ns, start_kind, start, True, &wish)
        self.attachment = attachment
        self.index = wish.index
        self.state = wish.state
        self.epoch = attachment.view.epoch
        self.is_ours = True

    def hand_over(self):
        """Have another answer for the group from here on."""
        self.is_ours = False

    def leave(self):
        """Leave the group, unless it was handed over, or this is a forked child."""
        if (self.is_ours and shmq_view_is_mine(self.attachment.view)
                and self.attachment.view.epoch == self.epoch):
            try:
                leave(self.attachment, self.index, self.state)
            except GroupRemovedError:
                pass
            # Not before: what is interrupted is left to the next call, and to whoever drops it.
            self.is_ours = False

    def __del__(self):
        self.leave()


def join(Attachment attachment not None, name, dict after, uint32_t policy, uint64_t keep_ns,
         uint32_t start_kind, uint64_t start, bint may_open=True):
    """Join the group of a name, opening it if there is none.

    Parameters
    ----------
    attachment : Attachment
    name : bytes
        UTF-8.
    after : dict of int to int
        The groups that it comes after: number and state of their rows.
    policy : int
    keep_ns : int
        With `POLICY_DROP`.
    start_kind, start : int
        Where a new group begins.
    may_open : bool, default True
        Whether to open it if there is none.

    Returns
    -------
    tuple of (int, bool)
        Its number, and whether it is new.

    Raises
    ------
    LookupError
        If there is none and it is not to be opened, or a group that it should come after is gone.
    NoSuchStartError
        If there is nothing at `start`.
    ValueError
        If there are as many groups as can be.
    """
    cdef shmq_join_wish wish
    _join(attachment, name, after, policy, keep_ns, start_kind, start, may_open, &wish)
    return wish.index, bool(wish.is_new)


cdef int _join(Attachment attachment, name, dict after, uint32_t policy, uint64_t keep_ns,
               uint32_t start_kind, uint64_t start, bint may_open, shmq_join_wish *wish) except -1:
    cdef shmq_waiter waiter
    cdef int status
    cdef bytes text = b"" if name is None else name
    if len(text) > SHMQ_GROUP_NAME:
        raise ValueError(f"a group's name has at most {SHMQ_GROUP_NAME} bytes, not {len(text)}")
    memset(wish, 0, sizeof(wish[0]))
    wish.group.name = text
    wish.group.name_bytes = len(text)
    for other, state in after.items():
        wish.group.after |= <uint64_t>1 << <uint32_t>other
        wish.group.after_states[<uint32_t>other] = state
    wish.may_open = may_open
    wish.group.keep_ns = keep_ns
    wish.group.start = start
    wish.group.policy = policy
    wish.group.is_subscriber = name is None
    wish.start = start_kind
    _begin(attachment, &waiter)
    while True:
        with nogil:
            status = shmq_join_group(attachment.view, wish, &waiter)
        if not _goes_on(attachment, &waiter, status):
            break
    if status == SHMQ_EMPTY:
        raise LookupError(f"the stream on {attachment.path} has no group {text.decode()!r}")
    if status == SHMQ_GONE:
        raise LookupError(
            f"a group of the stream on {attachment.path} that it should come after was removed, or"
            " is a subscription"
        )
    if status == SHMQ_NEED:
        raise NoSuchStartError(start, wish.oldest, wish.newest)
    if status == SHMQ_FULL:
        raise ValueError(f"there are {SHMQ_MAX_GROUPS} groups already: remove one")
    if status != SHMQ_OK:
        attachment._raise_for(status)
    return 0


def leave(Attachment attachment not None, uint32_t group, uint32_t state):
    """Remove a group, as it was opened: `state` of its row.

    Raises
    ------
    GroupRemovedError
        If it was removed already.
    ValueError
        If others come after it.
    """
    cdef shmq_waiter waiter
    cdef int status
    _begin(attachment, &waiter)
    while True:
        with nogil:
            status = shmq_leave_group(attachment.view, group, state, &waiter)
        if not _goes_on(attachment, &waiter, status):
            break
    if status == SHMQ_GONE:
        raise GroupRemovedError(f"the group was removed from the stream on {attachment.path}")
    if status == SHMQ_FULL:
        raise ValueError("other groups come after it: remove them first")
    if status != SHMQ_OK:
        attachment._raise_for(status)


def skip(Attachment attachment not None, Reader reader not None, uint64_t keep):
    """Skip what a group could take, but for the newest `keep`; return how many were skipped."""
    cdef shmq_waiter waiter
    cdef int status
    cdef uint64_t skipped
    _begin(attachment, &waiter)
    while True:
        with nogil:
            status = shmq_skip(attachment.view, &reader.reader, keep, &skipped, &waiter)
        if not _goes_on(attachment, &waiter, status):
            break
    if status != SHMQ_OK:
        attachment._raise_for(status)
    return skipped


def track(Attachment attachment not None, Reader reader not None):
    """Have the consumers of a group note what they hold, so that `finished` is exact."""
    cdef shmq_waiter waiter
    cdef int status
    _begin(attachment, &waiter)
    while True:
        with nogil:
            status = shmq_track_group(attachment.view, &reader.reader, &waiter)
        if not _goes_on(attachment, &waiter, status):
            break
    if status != SHMQ_OK:
        attachment._raise_for(status)


def finished(Attachment attachment not None, Reader reader not None):
    """Up to which sequence a group has finished, not counting what the dead held."""
    if not shmq_view_is_mine(attachment.view):
        attachment.take_seat()
    return shmq_finished_by_the_living(attachment.view, reader.reader.group)


@cython.final
cdef class Registration:
    """A registered writer of this process, which finishes with this object.

    Registered as it is made: whatever a signal's handler raises, somebody answers for the writer.

    Raises
    ------
    ShutDown
        If the stream is at its end.
    ValueError
        If there are too many.
    """

    cdef Attachment attachment
    cdef uint32_t writer
    cdef uint64_t epoch
    cdef bint is_writing

    def __init__(self, Attachment attachment not None):
        cdef shmq_waiter waiter
        cdef int status
        _begin(attachment, &waiter)
        while True:
            with nogil:
                status = shmq_begin_writing(attachment.view, &self.writer, &waiter)
            if not _goes_on(attachment, &waiter, status):
                break
        if status == SHMQ_FULL:
            raise ValueError(f"there are {SHMQ_MAX_WRITERS} writers already")
        if status == SHMQ_SHUTDOWN:
            raise ShutDown(f"{attachment.path} is at its end")
        if status != SHMQ_OK:
            attachment._raise_for(status)
        self.attachment = attachment
        self.epoch = attachment.view.epoch
        self.is_writing = True

    def finish(self):
        """Finish the writer, unless this is a forked child; with the last one the stream ends."""
        # A child that has a seat of its own may have a writer of its own in the same row.
        if (self.is_writing and shmq_view_is_mine(self.attachment.view)
                and self.attachment.view.epoch == self.epoch):
            with nogil:
                shmq_finish_writing(self.attachment.view, self.writer)
        self.is_writing = False

    def __del__(self):
        """Finish what nobody finished: consumers would wait for it."""
        self.finish()


def shut(Attachment attachment not None, bint immediate):
    """End the stream for everybody; if `immediate`, its consumers get nothing any more."""
    cdef shmq_group_seen seen
    cdef uint32_t group
    attachment.do(SHMQ_END_TAIL, SHMQ_DO_SHUT, SHMQ_NO_DEADLINE, &shmq_no_handle)
    if immediate:
        # The floor first: a group that is opened from here on is shut from the start.
        attachment.do(SHMQ_END_HEAD0, SHMQ_DO_SHUT, SHMQ_NO_DEADLINE, &shmq_no_handle)
        for group in range(SHMQ_MAX_GROUPS):
            if shmq_group_look(attachment.view, group, &seen):
                attachment.do(SHMQ_END_HEAD0 + 1 + group, SHMQ_DO_SHUT, SHMQ_NO_DEADLINE,
                              &shmq_no_handle)
    attachment.ring_bells()


def tail_of(Attachment attachment not None):
    """Sequence of the next item to be put."""
    cdef uint64_t head, tail
    shmq_snapshot_ends(attachment.view, &head, &tail)
    return tail


def ungrouped_of(Attachment attachment not None):
    """What becomes of items while there is no group, as the header has it."""
    return (<const shmq_header *>attachment.view.base).ungrouped


def row_of(Attachment attachment not None, uint32_t group):
    """What a group is like now, in items and nanoseconds; None if it is not open."""
    if attachment.view.stream == NULL:
        return None
    return group_row(attachment.view, group)


def rows(Attachment attachment not None):
    """What each group is like now, as `row_of`."""
    seen = [row_of(attachment, group) for group in range(SHMQ_MAX_GROUPS)]
    return [row for row in seen if row is not None]
