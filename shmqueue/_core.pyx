# cython: binding=False
"""The protocol over shared memory, for Python: mappings, seats, the GIL, statuses as exceptions.

What two processes do to one segment stands in the headers of ``_native``; the essays there say why
it is right. This module maps a segment, takes a seat in it, and calls the protocol: with the GIL
held while an attempt takes nanoseconds, without it while one waits or copies much.
Payloads go in and out as bytes with a kind; what they mean is the codec's business.
"""

import errno
import os
import threading
import time
from queue import Empty, Full

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno as c_errno
from libc.stdint cimport UINT64_MAX, int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from shmqueue._protocol cimport (
    SHMQ_ASK, SHMQ_CLOSED, SHMQ_CORRUPT, SHMQ_DO_POLL, SHMQ_DO_SETTLE, SHMQ_END_DONE,
    SHMQ_END_HEAD0, SHMQ_END_POOL, SHMQ_END_TAIL, SHMQ_FULL, SHMQ_GONE, SHMQ_INTERRUPTED,
    SHMQ_MAX_HOLDS, SHMQ_NEED, SHMQ_NO_MEMORY, SHMQ_NO_SEAT, SHMQ_OK, SHMQ_SHUTDOWN,
    SHMQ_SLOT_IN_BLOCK, SHMQ_SYSTEM, SHMQ_TIMEOUT, SHMQ_UNBOUNDED, now_ns, shmq_allow,
    shmq_asked_bytes, shmq_await_room, shmq_block_is_held, shmq_block_ref, shmq_deed, shmq_end_do,
    shmq_end_ring_all, shmq_epoch_begin, shmq_fd_is_ours, shmq_growth, shmq_has_room, shmq_header,
    shmq_is_closed, shmq_is_polled, shmq_is_shut, shmq_is_to_trim, shmq_no_handle,
    shmq_poll_fd_is_eventfd, shmq_poll_is_settled, shmq_pool_give_back, shmq_pool_trim, shmq_put,
    shmq_ring_trim, shmq_seat_leave, shmq_seat_take, shmq_snapshot_ends, shmq_stream_ring_all,
    shmq_sweep_after_the_dead, shmq_take, shmq_try_put, shmq_try_take, shmq_try_take_from,
    shmq_try_take_of_group, shmq_unfinished, shmq_view_forget_cursors, shmq_view_is_mine,
    shmq_view_set, shmq_view_set_mine, shmq_views_begin, shmq_waiter_end, shmq_waiter_init,
)

from shmqueue import _format, memory
from shmqueue.errors import CorruptSegmentError, GroupRemovedError, NoFreeSeatError, ShutDown

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *, size_t, int, int, int, int64_t)
    int munmap(void *, size_t)
    int madvise(void *, size_t, int)
    enum: PROT_READ
    enum: PROT_WRITE
    enum: MAP_SHARED
    enum: MADV_DONTDUMP

cdef extern from "<unistd.h>" nogil:
    int c_close "close" (int)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t, size_t)

cdef enum:
    SPIN_NS = 20000
    IDLE_NS = 1000000000  # a get that waits for longer gives unused memory back
    # A get waits so long for a put that was stopped in the middle, where the queue is polled.
    SETTLE_NS = 1000000000

_FORKED = ("this process was forked, by a signal handler, from one that was putting an item that it"
           " alone can put: that one puts it")
# Where all seats are taken, it is tried again for a tenth of a second.
_SEAT_ATTEMPTS = 20
_SEAT_PAUSE_SECONDS = 0.005

# One thread at a time gives this process an epoch or a seat.
_process_lock = threading.RLock()


def _after_fork_in_child():
    # Another thread of the parent may have held it; that thread is not here to let go.
    global _process_lock
    _process_lock = threading.RLock()


# No other thread may fork while a seat is being taken: the child would inherit the descriptor that
# holds the seat's lock, and keep a dead parent alive.
os.register_at_fork(
    before=lambda: _process_lock.acquire(),
    after_in_parent=lambda: _process_lock.release(),
    after_in_child=_after_fork_in_child,
)


cdef inline bint _is_to_tidy(const shmq_view *view) noexcept:
    return shmq_is_polled(view) or shmq_is_to_trim(view)


cdef inline bint _is_answer(int status) noexcept:
    """Whether an attempt to take needs no wait, nor another one."""
    return status == SHMQ_OK or status == SHMQ_NEED or status == SHMQ_CORRUPT


cdef inline int _answered(Attachment attachment, int status) except -1:
    """Return what a take came to, or raise it."""
    if _is_to_tidy(attachment.view):
        attachment._tidy_up()
    if status == SHMQ_OK or status == SHMQ_NEED:
        return status
    if status == SHMQ_TIMEOUT:
        raise Empty
    return attachment._raise_for(status)


cdef class Attachment:
    """One process's hold on a segment: the mapping, and a seat in it.

    Shared by all handles that the process has on the segment. Detaches when the last of them lets
    go, so that no call in another thread ever loses its memory.

    Parameters
    ----------
    fd : int
        The segment, open for reading and writing; belongs to the attachment from here on.
    path : str
        Its name in the file system, for messages and for opening it again; of an unnamed queue,
        what to call it in messages.
    poll_fd : int, default -1
        Of an unnamed queue: the eventfd that its processes share; belongs to the attachment, too.

    Raises
    ------
    ForeignSegmentError, TruncatedSegmentError, SegmentVersionError, CorruptSegmentError
        If this is not a sound segment of this layout.
    NoFreeSeatError
        If as many processes are attached as the segment has seats.
    OSError
        If it can't be mapped.
    """

    def __cinit__(self, int fd, str path not None, int poll_fd=-1):
        cdef shmq_header header
        self.path = path
        self.named = poll_fd < 0
        self.view = <shmq_view *>aligned_alloc(64, (sizeof(shmq_view) + 63) // 64 * 64)
        if self.view == NULL:
            os.close(fd)
            if poll_fd >= 0:
                os.close(poll_fd)
            raise MemoryError
        memset(self.view, 0, sizeof(shmq_view))
        self.view.fd = fd
        self.view.poll_fd = poll_fd
        if poll_fd >= 0:
            self.view.poll_inode = os.fstat(poll_fd).st_ino
        system = os.fstatvfs(fd)
        self.file_system_bytes = system.f_blocks * system.f_frsize or UINT64_MAX
        status = os.fstat(fd)
        self.view.device = status.st_dev
        self.view.inode = status.st_ino
        text = os.pread(fd, _format.HEADER_BYTES, 0)
        _format.check_header(text, status.st_size, path)
        memcpy(&header, PyBytes_AS_STRING(text), sizeof(header))
        cdef void *base = mmap(NULL, header.segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                               0)
        if base == <void *>-1:
            error = c_errno
            raise OSError(
                error,
                f"cannot map the {header.segment_bytes} bytes of address range that {path} has"
                f" ({os.strerror(error)}); is RLIMIT_AS set?",
            )
        madvise(base, header.segment_bytes, MADV_DONTDUMP)
        shmq_view_set(self.view, <uint8_t *>base, &header)
        self.view.spin_ns = SPIN_NS if len(os.sched_getaffinity(0)) > 1 else 0
        self.uuid = bytes(header.uuid[:16])
        self.serializer = header.serializer
        header.serializer_name[sizeof(header.serializer_name) - 1] = 0
        self.serializer_name = header.serializer_name.decode(errors="replace")
        self.type_text = os.pread(fd, header.type_bytes, header.type_offset)
        self.take_seat()

    def __dealloc__(self):
        if self.view == NULL:
            return
        # In a forked child that never used it, the seat and its page are the parent's.
        if self.view.epoch != 0 and shmq_view_is_mine(self.view):
            shmq_seat_leave(self.view)
        # Where mapping it back failed, something else may be in its place by now.
        if self.view.lent_pool != NULL and not self.view.lends_no_more:
            munmap(self.view.lent_pool, self.view.pool_limit_bytes)
        if self.view.base != NULL:
            munmap(self.view.base, self.view.mapped_bytes)
        # Not os.close: a queue in a global variable may outlive the modules at exit.
        if shmq_fd_is_ours(self.view):
            c_close(self.view.fd)
        if shmq_poll_fd_is_eventfd(self.view):
            c_close(self.view.poll_fd)
        free(self.view)

    # ---- who we are ----

    cdef int take_seat(self) except -1:
        """Give this process a seat, unless it has one: on attaching, and first thing in a child."""
        for _ in range(_SEAT_ATTEMPTS):
            if self._try_take_seat():
                with nogil:
                    shmq_sweep_after_the_dead(self.view)
                return 0
            # Some may be in the hands of who clears up after the dead, for a moment.
            time.sleep(_SEAT_PAUSE_SECONDS)
        raise NoFreeSeatError(
            f"all {self.view.max_seats} seats of {self.path} are taken: create the queue"
            " with a larger max_processes, or close it in processes that are done with it"
        )

    cdef bint _try_take_seat(self) except -1:
        cdef uint64_t epoch
        cdef int status
        with _process_lock:
            epoch = shmq_epoch_begin()
            if epoch == 0:
                raise OSError(errno.ENOMEM, "no memory to notice forks with (MADV_WIPEONFORK)")
            if self.view.epoch == epoch:
                return True
            # Not unmapped: a child doesn't have the page; something else may be in its place.
            self.view.anchor = NULL
            shmq_view_forget_cursors(self.view)
            status = shmq_seat_take(self.view, self._open_again())
            error = c_errno
            if status == SHMQ_NO_SEAT:
                return False
            if status != SHMQ_OK:
                raise OSError(error, f"cannot take a seat in {self.path}: {os.strerror(error)}")
            shmq_views_begin(self.view, False)
            shmq_view_set_mine(self.view, epoch)
        return True

    def _open_again(self):
        """Open the segment once more, as a description of its own, whatever became of its name."""
        cdef bint fd_is_good = shmq_fd_is_ours(self.view)
        # By name first: so the mapping has a name that people find in /proc/PID/maps.
        ways = [self.path] if self.named else []
        if fd_is_good:
            ways.append(f"/proc/self/fd/{self.view.fd}")
        for way in ways:
            try:
                # What else has the name by now is not opened: a fifo, a device, another's file.
                if way is self.path and not self._is_of(os.lstat(way)):
                    continue
                fd = os.open(way, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    raise
                continue
            if self._is_of(os.fstat(fd)):
                if not fd_is_good:
                    self.view.fd = os.open(way, os.O_RDWR | os.O_CLOEXEC)
                return fd
            os.close(fd)
        raise OSError(
            errno.EBADF,
            f"cannot reach {self.path} any more: its name is gone or another's, and the descriptor"
            " to it was closed",
        )

    def _is_of(self, status):
        """Whether this is the status of the segment's file."""
        return status.st_ino == self.view.inode and status.st_dev == self.view.device

    cdef int _see_to_descriptor(self) except -1:
        """Find the segment again if somebody closed the descriptor to it behind our back."""
        if not shmq_fd_is_ours(self.view):
            with _process_lock:
                try:
                    # Opens it anew unless another thread just did.
                    os.close(self._open_again())
                except OSError:
                    pass  # its name is gone: go on, but nobody can be proved dead any more
        return 0

    cdef bint is_mine(self) noexcept:
        """Whether this process made the attachment its own, rather than its parent."""
        return shmq_view_is_mine(self.view)

    @property
    def fd(self):
        """The descriptor of the segment."""
        return self.view.fd

    @property
    def poll_fd(self):
        """The descriptor that polls readable, once `begin_to_poll` was called; -1 if named."""
        return self.view.poll_fd

    @property
    def inode(self):
        """Device and inode of the segment: what tells it from another of the same name."""
        return self.view.device, self.view.inode

    @property
    def capacity(self):
        """Slots of the ring."""
        return self.view.capacity

    @property
    def item_size(self):
        """Payload bytes that every slot is sure to hold itself."""
        return self.view.item_size

    @property
    def is_stream(self):
        """Whether the ring has groups, rather than one head for all."""
        return self.view.stream != NULL

    @property
    def max_processes(self):
        """Seats: how many processes may be attached at once."""
        return self.view.max_seats

    # ---- putting and taking ----

    cdef int put(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                 const shmq_handle *handle) except -1:
        """Put all records or none; raises Full, ValueError when closed, or what a signal raises."""
        cdef shmq_growth growth
        growth.is_refused = 0
        # The common case stands alone: without a loop, a waiter, or the GIL's release.
        if (shmq_view_is_mine(self.view) and count == 1
                and not records[0].flags & SHMQ_SLOT_IN_BLOCK):
            if shmq_try_put(self.view, records, 1, &growth) == SHMQ_OK:
                return 0
        return self._put_or_wait(records, count, deadline_ns, handle)

    cdef int _put_or_wait(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                          const shmq_handle *handle) except -1:
        cdef int status, error
        cdef uint64_t epoch
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        # Where there is always room, only an owner word can be in the way, and that is a lock like
        # any other: nobody expects Full of a queue without bounds.
        if self.view.capacity >= SHMQ_UNBOUNDED:
            deadline_ns = SHMQ_NO_DEADLINE
        shmq_waiter_init(&waiter, deadline_ns, count, handle)
        epoch = 0  # of nobody
        while True:
            if self.view.epoch != epoch:
                self._check_blocks(records, count, &waiter)
                epoch = self.view.epoch
            with nogil:
                status = shmq_put(self.view, records, count, &waiter)
            error = c_errno
            if status == SHMQ_INTERRUPTED:
                self._look_at_signals(&waiter)
            elif status == SHMQ_ASK:
                waiter.growth_is_refused = not self._allow_memory(&waiter)
            else:
                break
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status == SHMQ_OK:
            return 0
        if status == SHMQ_TIMEOUT:
            raise Full
        if status == SHMQ_NO_MEMORY:
            self._raise_no_memory(sum([records[i].length for i in range(count)]))
        self._raise_for(status, error)

    cdef int _check_blocks(self, const shmq_record *records, uint64_t count,
                           shmq_waiter *waiter) except -1:
        """Raise if what is put lies in blocks of the process from which this one was forked."""
        for record in records[:count]:
            if record.flags & SHMQ_SLOT_IN_BLOCK and not shmq_block_is_held(
                    self.view, (<const shmq_block_ref *>record.data).block):
                shmq_waiter_end(self.view, waiter, True)
                raise ValueError(_FORKED)
        return 0

    cdef int await_room(self, uint64_t count, uint64_t deadline_ns,
                        const shmq_handle *handle) except -1:
        """Wait until there is room for so many, without claiming it; raises as `put` does."""
        cdef int status
        cdef uint64_t epoch
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        # The common case stands alone, without the GIL's release.
        if not shmq_is_shut(self.view) and shmq_has_room(self.view, count):
            return 0
        epoch = self.view.epoch
        shmq_waiter_init(&waiter, deadline_ns, count, handle)
        while True:
            with nogil:
                status = shmq_await_room(self.view, &waiter)
            if status != SHMQ_INTERRUPTED:
                break
            self._look_at_signals(&waiter)
            if self.view.epoch != epoch:
                shmq_waiter_end(self.view, &waiter, True)
                raise ValueError(_FORKED)
        shmq_waiter_end(self.view, &waiter, True)
        if status == SHMQ_TIMEOUT:
            raise Full
        if status != SHMQ_OK:
            self._raise_for(status)
        return 0

    cdef bint _allow_memory(self, shmq_waiter *waiter) except -1:
        """Let the protocol reserve as much as it asked for, if the machine has it."""
        cdef uint64_t wanted = shmq_asked_bytes(self.view)
        try:
            headroom = memory.headroom_bytes()
            if headroom < wanted:
                # What the dead held, and what nobody uses, may be enough.
                with nogil:
                    shmq_sweep_after_the_dead(self.view)
                    shmq_pool_trim(self.view, 0)
                headroom = memory.headroom_bytes()
            if not shmq_view_is_mine(self.view):
                self.take_seat()  # a signal's handler forked meanwhile, and this is the child
        except BaseException:
            shmq_waiter_end(self.view, waiter, True)
            raise
        if headroom < wanted:
            return False
        # A little ahead, so that a burst doesn't ask at each step.
        shmq_allow(self.view, max(wanted, min(headroom // 64, 16 << 20)))
        return True

    cdef int take(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                  uint64_t block_bytes, shmq_taken *taken, uint64_t *count, uint64_t deadline_ns,
                  const shmq_handle *handle) except -1:
        """Take 1..max_items; SHMQ_OK, or SHMQ_NEED when the first one needs a larger buffer.

        An item in a block comes alone, if it has at most `block_bytes`, and is left there.

        Raises Empty, ValueError when closed, CorruptSegmentError, or what a signal handler raises.
        """
        cdef int status
        if shmq_view_is_mine(self.view) and max_items == 1:
            status = shmq_try_take(self.view, 1, buffer, buffer_bytes, block_bytes, taken, count)
            if _is_answer(status):
                return _answered(self, status)
        return self._take_or_wait(NULL, max_items, buffer, buffer_bytes, block_bytes, taken, count,
                                  deadline_ns, handle)

    # Not one with `take`: the compiler would keep more in memory for either.
    cdef int take_of_group(self, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
                           uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                           uint64_t *count, uint64_t deadline_ns,
                           const shmq_handle *handle) except -1:
        """Take from the group that `reader` is of, as `take` does from a queue."""
        cdef int status
        if shmq_view_is_mine(self.view) and max_items == 1:
            status = shmq_try_take_of_group(self.view, reader, 1, buffer, buffer_bytes, block_bytes,
                                            taken, count)
            if _is_answer(status):
                return _answered(self, status)
        return self._take_or_wait(reader, max_items, buffer, buffer_bytes, block_bytes, taken,
                                  count, deadline_ns, handle)

    cdef int _take_or_wait(self, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
                           uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                           uint64_t *count, uint64_t deadline_ns,
                           const shmq_handle *handle) except -1:
        cdef int status
        cdef bint is_idle = False
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        shmq_waiter_init(&waiter, deadline_ns, 1, handle)
        waiter.reader = reader
        while True:
            with nogil:
                status = shmq_take(self.view, max_items, buffer, buffer_bytes, block_bytes, taken,
                                   count, &waiter)
            if status != SHMQ_INTERRUPTED:
                break
            self._look_at_signals(&waiter)
            if not is_idle and now_ns() - waiter.started_ns > IDLE_NS:
                is_idle = True
                with nogil:
                    shmq_pool_give_back(self.view)
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status == SHMQ_GONE and shmq_is_closed(handle):
            status = SHMQ_CLOSED  # a subscription ends with its handle, which is why
        return _answered(self, status)

    cdef int try_take(self, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
                      uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                      uint64_t *count) except -1000:
        """One attempt, and the protocol's own answer to it."""
        cdef int status
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        status = shmq_try_take_from(self.view, reader, max_items, buffer, buffer_bytes,
                                    block_bytes, taken, count)
        if _is_to_tidy(self.view):
            self._tidy_up()
        return status

    cdef int _tidy_up(self) except -1:
        """See to what a take, or the try of one, left to do that is not its own business."""
        if shmq_is_to_trim(self.view):
            with nogil:
                shmq_ring_trim(self.view)
        if shmq_is_polled(self.view):
            self._settle_poll()
        return 0

    cdef int _look_at_signals(self, shmq_waiter *waiter) except -1:
        try:
            PyErr_CheckSignals()
            if not shmq_view_is_mine(self.view):
                self.take_seat()  # the handler forked, and this is the child
        except BaseException:
            shmq_waiter_end(self.view, waiter, True)
            raise
        # A sleep just ended for nothing: perhaps the one waited for is dead, which only the kernel
        # can tell, by way of the descriptor.
        self._see_to_descriptor()
        return 0

    cdef int _raise_for(self, int status, int error=0) except -1:
        """Raise what a status means; `error` is the errno of SHMQ_SYSTEM."""
        if status == SHMQ_CLOSED:
            raise ValueError(
                f"the queue on {self.path} is closed: another thread closed it during this call"
            )
        if status == SHMQ_CORRUPT:
            raise CorruptSegmentError(
                f"{self.path} contradicts itself: something else wrote into it"
            )
        if status == SHMQ_SHUTDOWN:
            raise ShutDown(f"{self.path} is at its end")
        if status == SHMQ_FULL:
            raise NoFreeSeatError(
                f"as many consumers hold items of {self.path} as can be, {SHMQ_MAX_HOLDS}: close"
                " some of those whose group others come after"
            )
        if status == SHMQ_GONE:
            raise GroupRemovedError(f"the group was removed from the stream on {self.path}")
        if status == SHMQ_SYSTEM:
            raise OSError(error, f"{self.path}: {os.strerror(error)}")
        raise SystemError(f"status {status} of the protocol was not expected here")

    # ---- what is viewed of the pool, and when there is no more ----

    cdef int see_to_views(self) except -1:
        """Before large items are got: how much of the pool all processes together may view."""
        if not shmq_view_is_mine(self.view):
            self.take_seat()  # the row of views goes with it
        if self.view.view_limit_bytes > 0 and self.view.own_views != NULL:
            return 0
        with _process_lock:
            if self.view.view_limit_bytes == 0:
                # A quarter of what there can be.
                self.view.view_limit_bytes = max(1, min(
                    memory.headroom_bytes(), self.view.pool_limit_bytes, self.file_system_bytes
                ) // 4)
            if self.view.own_views == NULL:
                shmq_views_begin(self.view, True)
        return 0

    def _raise_no_memory(self, wanted):
        # What a batch took on the way, before it was refused, goes back.
        with nogil:
            shmq_ring_trim(self.view)
        ring_limit = None if self.named else _format.region_limit_bytes(self.view.region_count)
        directory = os.path.dirname(self.path) if self.named else None
        raise memory.shortage(
            wanted, self.view.fd, directory, self.view.pool_limit_bytes, ring_limit
        )

    # ---- shutting down, being done, being polled ----

    cdef int do(self, uint32_t end, int deed, uint64_t deadline_ns,
                const shmq_handle *handle) except -1000:
        """Do something under an end's owner word; SHMQ_OK, or SHMQ_TIMEOUT if it wasn't to be had.

        Without a handle signals are not looked at either.
        """
        cdef int status
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        shmq_waiter_init(&waiter, deadline_ns, 1, &shmq_no_handle if handle == NULL else handle)
        while True:
            # In one stretch: nobody waits for the GIL with an owner word in hand.
            with nogil:
                status = shmq_end_do(self.view, &self.view.ends[end], <shmq_deed>deed, &waiter)
            if status != SHMQ_INTERRUPTED:
                break
            if handle != NULL:
                self._look_at_signals(&waiter)
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status != SHMQ_OK and status != SHMQ_TIMEOUT:
            self._raise_for(status)
        return status

    cdef int _settle_poll(self) except -1:
        """See that the poll descriptor says so if the ring is empty: after each take, or try.

        Signals are not looked at: an item that was taken must not be lost to a handler that raises.
        """
        if not shmq_poll_is_settled(self.view):
            # The putter of the last item is about to let go; or it was stopped in it.
            self.do(SHMQ_END_TAIL, SHMQ_DO_SETTLE, now_ns() + SETTLE_NS, NULL)
        return 0

    @property
    def is_shut(self):
        """Whether the queue was shut down."""
        return shmq_is_shut(self.view)

    @property
    def unfinished(self):
        """How many items were put for which nobody called task_done yet."""
        return shmq_unfinished(self.view)

    cdef int begin_to_poll(self, const shmq_handle *handle) except -1:
        """From here on `poll_fd` is readable while there is something to take."""
        # Not by the state alone: whoever set it may have been killed before it went on.
        if self.polls:
            return self._settle_poll()
        # Takers first, so that none empties the ring unnoticed once it is settled.
        self.do(SHMQ_END_HEAD0, SHMQ_DO_POLL, SHMQ_NO_DEADLINE, handle)
        self.do(SHMQ_END_TAIL, SHMQ_DO_SETTLE, SHMQ_NO_DEADLINE, handle)
        self.polls = True
        return 0

    # ---- looking ----

    cdef uint64_t size(self) noexcept:
        cdef uint64_t head, tail
        shmq_snapshot_ends(self.view, &head, &tail)
        return tail - head

    def qsize(self):
        """How many items were in the ring at one moment that is already past."""
        return self.size()

    def ring_bells(self):
        """Wake everyone who sleeps on this queue, so that they look whether they should."""
        shmq_end_ring_all(&self.view.ends[SHMQ_END_TAIL])
        shmq_end_ring_all(&self.view.ends[SHMQ_END_POOL])
        shmq_end_ring_all(&self.view.ends[SHMQ_END_DONE])
        shmq_end_ring_all(&self.view.ends[SHMQ_END_HEAD0])
        if self.view.stream != NULL:
            shmq_stream_ring_all(self.view)
