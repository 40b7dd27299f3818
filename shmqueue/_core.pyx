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
from queue import Empty, Full

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno as c_errno
from libc.stdint cimport UINT64_MAX, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from shmqueue._protocol cimport (
    SHMQ_ASK,
    SHMQ_BYTE_ORDER,
    SHMQ_CLOSED,
    SHMQ_CORRUPT,
    SHMQ_END_DONE,
    SHMQ_END_HEAD0,
    SHMQ_END_OPEN,
    SHMQ_END_POLLED,
    SHMQ_END_POOL,
    SHMQ_END_SHUT,
    SHMQ_END_TAIL,
    SHMQ_FIELD_COUNT,
    SHMQ_FIRST_BACKED,
    SHMQ_INTERRUPTED,
    SHMQ_LAYOUT_VERSION,
    SHMQ_MAGIC,
    SHMQ_NEED,
    SHMQ_NO_BLOCK,
    SHMQ_NO_MEMORY,
    SHMQ_NO_SEAT,
    SHMQ_OK,
    SHMQ_SHUTDOWN,
    SHMQ_SYSTEM,
    SHMQ_TIMEOUT,
    SHMQ_TRUNCATED,
    SHMQ_UNBOUNDED,
    SHMQ_VERSION,
    SHMQ_WRONG_BYTE_ORDER,
    copy_in,
    copy_out,
    now_ns,
    shmq_acquire,
    shmq_block_bytes,
    shmq_block_free,
    shmq_block_take,
    shmq_counters,
    shmq_end,
    shmq_end_release,
    shmq_end_ring_all,
    shmq_end_shut,
    shmq_epoch_begin,
    shmq_fd_is_ours,
    shmq_fields,
    shmq_growth,
    shmq_has_room,
    shmq_header,
    shmq_header_check,
    shmq_header_checksum,
    shmq_join,
    shmq_plan,
    shmq_poll_fd_is_ours,
    shmq_poll_is_settled,
    shmq_poll_settle,
    shmq_pool_give_back,
    shmq_pool_is_to_settle,
    shmq_pool_settle,
    shmq_pool_trim,
    shmq_put,
    shmq_region_start,
    shmq_ring_trim,
    shmq_seat_is_held,
    shmq_seat_leave,
    shmq_seat_snapshot,
    shmq_seat_take,
    shmq_seats_granted,
    shmq_snapshot,
    shmq_snapshot_ends,
    shmq_snapshot_seat,
    shmq_snapshot_take,
    shmq_sweep_after_the_dead,
    shmq_take,
    shmq_tasks_done,
    shmq_try_put,
    shmq_try_take,
    shmq_unfinished,
    shmq_view_forget_cursors,
    shmq_view_is_mine,
    shmq_view_set,
    shmq_view_set_mine,
    shmq_waiter_end,
    shmq_waiter_init,
)

from shmqueue import memory
from shmqueue.errors import (
    CorruptSegmentError,
    ForeignSegmentError,
    NoFreeSeatError,
    SegmentVersionError,
    ShutDown,
    TruncatedSegmentError,
)

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

# Below this, releasing the GIL costs more than the copy.
cdef enum:
    LARGE_COPY_BYTES = 65536
    SPIN_NS = 20000
    # So many sleeps in vain make about a second.
    IDLE_SLEEPS = 6
    # A get waits so long for a put that was stopped in the middle, where the queue is polled.
    SETTLE_NS = 1000000000

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


def layout_fields():
    """The memory layout: (structure, field, offset, size, meaning) of every field."""
    return [
        (
            shmq_fields[i].structure.decode(),
            shmq_fields[i].field.decode(),
            shmq_fields[i].offset,
            shmq_fields[i].size,
            shmq_fields[i].meaning.decode(),
        )
        for i in range(SHMQ_FIELD_COUNT)
    ]


def layout_version():
    """The version of the memory layout that this build reads and writes."""
    return SHMQ_LAYOUT_VERSION


def plan_segment(capacity, item_size, max_processes, pool_limit_bytes, region_count=0):
    """Say how large a segment of this geometry is.

    Returns
    -------
    int
        Length of the file in bytes.
    list of tuple of int
        What of it is reserved from the start: offsets and lengths in bytes.

    Raises
    ------
    ValueError
        If no segment can have this geometry.
    """
    cdef shmq_header header
    memset(&header, 0, sizeof(header))
    if not shmq_plan(&header, capacity, item_size, max_processes, pool_limit_bytes, region_count):
        raise ValueError(
            f"capacity={capacity} slots for items of {item_size} bytes are more than one segment"
            " can hold (64 TiB); larger items than item_size need no larger slots"
        )
    if region_count == 0:
        return header.segment_bytes, [(0, header.blocks_offset)]
    return header.segment_bytes, [
        (0, (header.seats_offset + 4095) // 4096 * 4096),
        (header.slots_offset, SHMQ_FIRST_BACKED),
    ]


def region_limit_bytes(region_count):
    """How many bytes of items a ring of so many regions holds, at most."""
    return shmq_region_start(region_count)


def format_segment(int fd, capacity, item_size, max_processes, pool_limit_bytes, region_count,
                   int serializer, bytes serializer_name not None, bytes uuid not None,
                   created_realtime_ns):
    """Write the header of a new segment into a file whose memory is already reserved."""
    cdef shmq_header header
    cdef shmq_header *shared
    cdef shmq_end *ends
    cdef uint32_t i
    memset(&header, 0, sizeof(header))
    if len(uuid) != 16 or not shmq_plan(&header, capacity, item_size, max_processes,
                                        pool_limit_bytes, region_count):
        raise ValueError("no segment can have this geometry")
    if len(serializer_name) >= sizeof(header.serializer_name):
        raise ValueError(
            f"the serializer's name must be shorter than {sizeof(header.serializer_name)} bytes:"
            f" {serializer_name!r}"
        )
    memcpy(header.serializer_name, PyBytes_AS_STRING(serializer_name), len(serializer_name))
    header.layout_version = SHMQ_LAYOUT_VERSION
    header.byte_order = SHMQ_BYTE_ORDER
    memcpy(header.uuid, PyBytes_AS_STRING(uuid), 16)
    header.serializer = serializer
    header.created_realtime_ns = created_realtime_ns
    header.head_count = 1
    header.magic = SHMQ_MAGIC
    header.checksum = shmq_header_checksum(header)
    # What is written here: header, ends and regions, at the beginning of what is reserved.
    cdef void *base = mmap(NULL, header.seats_offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if base == <void *>-1:
        error = c_errno
        raise OSError(error, f"cannot map a new segment: {os.strerror(error)}")
    shared = <shmq_header *>base
    cdef uint64_t magic = header.magic
    header.magic = 0
    shared[0] = header
    cdef shmq_view view
    shmq_view_set(&view, <uint8_t *>base, &header)
    ends = view.ends
    ends[SHMQ_END_TAIL].state = SHMQ_END_OPEN
    ends[SHMQ_END_TAIL].gate = SHMQ_END_HEAD0
    ends[SHMQ_END_POOL].state = SHMQ_END_OPEN
    ends[SHMQ_END_DONE].state = SHMQ_END_OPEN
    ends[SHMQ_END_HEAD0].state = SHMQ_END_OPEN
    ends[SHMQ_END_HEAD0].gate = SHMQ_END_TAIL
    ends[SHMQ_END_TAIL].place[1].sequence = UINT64_MAX
    ends[SHMQ_END_HEAD0].place[1].sequence = UINT64_MAX
    for i in range(region_count):
        view.regions[i].entered = UINT64_MAX
    if region_count > 0:
        view.regions[0].backed = view.regions[0].dirty = SHMQ_FIRST_BACKED
    # Last; and the segment has no name yet, so nobody sees a half-written one anyhow.
    shared.magic = magic
    munmap(base, header.seats_offset)


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
        status = os.fstat(fd)
        self.view.device = status.st_dev
        self.view.inode = status.st_ino
        text = os.pread(fd, sizeof(header), 0)
        memset(&header, 0, sizeof(header))
        memcpy(&header, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        _raise_for_header(shmq_header_check(&header, status.st_size), path, &header,
                          status.st_size)
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
        self.take_seat()

    def __dealloc__(self):
        if self.view == NULL:
            return
        # In a forked child that never used it, the seat and its page are the parent's.
        if self.view.epoch != 0 and shmq_view_is_mine(self.view):
            shmq_seat_leave(self.view)
        if self.view.base != NULL:
            munmap(self.view.base, self.view.mapped_bytes)
        # Not os.close: a queue in a global variable may outlive the modules at exit.
        if shmq_fd_is_ours(self.view):
            c_close(self.view.fd)
        if shmq_poll_fd_is_ours(self.view):
            c_close(self.view.poll_fd)
        free(self.view)

    # ---- who we are ----

    cdef int take_seat(self) except -1:
        """Give this process a seat, unless it has one: on attaching, and first thing in a child."""
        cdef uint64_t epoch
        cdef int status
        with _process_lock:
            epoch = shmq_epoch_begin()
            if epoch == 0:
                raise OSError(errno.ENOMEM, "no memory to notice forks with (MADV_WIPEONFORK)")
            if self.view.epoch == epoch:
                return 0
            # Not unmapped: a child doesn't have the page; something else may be in its place.
            self.view.anchor = NULL
            shmq_view_forget_cursors(self.view)
            status = shmq_seat_take(self.view, self._open_again())
            error = c_errno
            if status == SHMQ_NO_SEAT:
                raise NoFreeSeatError(
                    f"all {self.view.max_seats} seats of {self.path} are taken: create the queue"
                    " with a larger max_processes, or close it in processes that are done with it"
                )
            if status != SHMQ_OK:
                raise OSError(error, f"cannot take a seat in {self.path}: {os.strerror(error)}")
            shmq_view_set_mine(self.view, epoch)
            shmq_sweep_after_the_dead(self.view)
        return 0

    def _open_again(self):
        """Open the segment once more, as a description of its own, whatever became of its name."""
        cdef bint fd_is_good = shmq_fd_is_ours(self.view)
        # By name first: so the mapping has a name that people find in /proc/PID/maps.
        ways = [self.path] if self.named else []
        if fd_is_good:
            ways.append(f"/proc/self/fd/{self.view.fd}")
        for way in ways:
            try:
                fd = os.open(way, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                continue
            status = os.fstat(fd)
            if status.st_ino == self.view.inode and status.st_dev == self.view.device:
                if not fd_is_good:
                    self.view.fd = os.open(way, os.O_RDWR | os.O_CLOEXEC)
                return fd
            os.close(fd)
        raise OSError(
            errno.EBADF,
            f"cannot reach {self.path} any more: its name is gone or another's, and the descriptor"
            " to it was closed",
        )

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
    def max_processes(self):
        """Seats: how many processes may be attached at once."""
        return self.view.max_seats

    # ---- putting and taking ----

    cdef int put(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                 const uint32_t *closed) except -1:
        """Put all records or none; raises Full, ValueError when closed, or what a signal raises."""
        cdef shmq_growth growth
        # The common case stands alone: without a loop, a waiter, or the GIL's release.
        if shmq_view_is_mine(self.view) and count == 1:
            if shmq_try_put(self.view, records, 1, &growth) == SHMQ_OK:
                return 0
        return self._put_or_wait(records, count, deadline_ns, closed)

    cdef int _put_or_wait(self, const shmq_record *records, uint64_t count, uint64_t deadline_ns,
                          const uint32_t *closed) except -1:
        cdef int status
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        # Where there is always room, only an owner word can be in the way, and that is a lock like
        # any other: nobody expects Full of a queue without bounds.
        if self.view.capacity >= SHMQ_UNBOUNDED:
            deadline_ns = SHMQ_NO_DEADLINE
        shmq_waiter_init(&waiter, deadline_ns, count, closed)
        while True:
            with nogil:
                status = shmq_put(self.view, records, count, &waiter)
            if status == SHMQ_INTERRUPTED:
                self._look_at_signals(&waiter)
            elif status == SHMQ_ASK:
                self._allow_memory(&waiter)
            else:
                break
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status == SHMQ_OK:
            return 0
        if status == SHMQ_TIMEOUT:
            raise Full
        if status == SHMQ_NO_MEMORY:
            self._raise_no_memory(sum([records[i].length for i in range(count)]))
        self._raise_for(status)

    cdef int _allow_memory(self, shmq_waiter *waiter) except -1:
        """Let the protocol reserve as much as it asked for, if the machine has it."""
        cdef uint64_t wanted = self.view.asked_bytes
        headroom = memory.headroom_bytes()
        if headroom < wanted:
            # What the dead held, and what nobody uses, may be enough.
            with nogil:
                shmq_sweep_after_the_dead(self.view)
                shmq_pool_trim(self.view, 0)
            headroom = memory.headroom_bytes()
        if headroom < wanted:
            shmq_waiter_end(self.view, waiter, True)
            self._raise_no_memory(wanted, headroom)
        # A little ahead, so that a burst doesn't ask at each step.
        self.view.allowance_bytes += max(wanted, min(headroom // 16, 64 << 20))
        return 0

    cdef int take(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                  shmq_taken *taken, uint64_t *count, uint64_t deadline_ns,
                  const uint32_t *closed) except -1:
        """Take 1..max_items; SHMQ_OK, or SHMQ_NEED when the first one needs a larger buffer.

        Raises Empty, ValueError when closed, CorruptSegmentError, or what a signal handler raises.
        """
        cdef int status
        if shmq_view_is_mine(self.view) and max_items == 1:
            status = shmq_try_take(self.view, 1, buffer, buffer_bytes, taken, count)
            if status == SHMQ_OK or status == SHMQ_NEED:
                if self._is_to_tidy():
                    self._tidy_up()
                return status
            if status == SHMQ_CORRUPT:
                return self._raise_for(status)
        return self._take_or_wait(max_items, buffer, buffer_bytes, taken, count, deadline_ns,
                                  closed)

    cdef int _take_or_wait(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                           shmq_taken *taken, uint64_t *count, uint64_t deadline_ns,
                           const uint32_t *closed) except -1:
        cdef int status
        cdef int sleeps = 0
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        shmq_waiter_init(&waiter, deadline_ns, 1, closed)
        while True:
            with nogil:
                status = shmq_take(self.view, max_items, buffer, buffer_bytes, taken, count,
                                   &waiter)
            if status != SHMQ_INTERRUPTED:
                break
            self._look_at_signals(&waiter)
            sleeps += 1
            if sleeps == IDLE_SLEEPS:
                with nogil:
                    shmq_pool_give_back(self.view)
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if self._is_to_tidy():
            self._tidy_up()
        if status == SHMQ_OK or status == SHMQ_NEED:
            return status
        if status == SHMQ_TIMEOUT:
            raise Empty
        self._raise_for(status)

    cdef int try_take(self, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
                      shmq_taken *taken, uint64_t *count) except -1000:
        """One attempt, and the protocol's own answer to it."""
        cdef int status
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        status = shmq_try_take(self.view, max_items, buffer, buffer_bytes, taken, count)
        if self._is_to_tidy():
            self._tidy_up()
        return status

    cdef bint _is_to_tidy(self) noexcept:
        return self.view.ends[SHMQ_END_HEAD0].state & SHMQ_END_POLLED or self.view.trim_is_due

    cdef int _tidy_up(self) except -1:
        """See to what a take, or the try of one, left to do that is not its own business."""
        if self.view.trim_is_due:
            with nogil:
                shmq_ring_trim(self.view)
        if self.view.ends[SHMQ_END_HEAD0].state & SHMQ_END_POLLED:
            self._settle_poll()
        return 0

    cdef bint has_room(self, uint64_t count) noexcept:
        return shmq_has_room(self.view, count)

    cdef int _look_at_signals(self, shmq_waiter *waiter) except -1:
        try:
            PyErr_CheckSignals()
        except BaseException:
            shmq_waiter_end(self.view, waiter, True)
            raise
        if not shmq_view_is_mine(self.view):
            self.take_seat()  # the handler forked, and this is the child
        # A sleep just ended for nothing: perhaps the one waited for is dead, which only the kernel
        # can tell, by way of the descriptor.
        self._see_to_descriptor()
        return 0

    cdef int _raise_for(self, int status) except -1:
        cdef int error = c_errno
        if status == SHMQ_CLOSED:
            raise ValueError(
                f"the queue on {self.path} is closed: another thread closed it during this call"
            )
        if status == SHMQ_CORRUPT:
            raise CorruptSegmentError(
                f"{self.path} contradicts itself: something else wrote into it"
            )
        if status == SHMQ_SHUTDOWN:
            raise ShutDown
        if status == SHMQ_SYSTEM:
            raise OSError(error, f"{self.path}: {os.strerror(error)}")
        raise SystemError(f"status {status} of the protocol was not expected here")

    # ---- blocks: the payload of large items ----

    cdef int block_write(self, const void *data, uint64_t size, shmq_block_ref *ref,
                         uint64_t deadline_ns, const uint32_t *closed) except -1:
        """Copy a payload into a block of its own, which a record may then refer to."""
        cdef int status
        cdef uint8_t *target
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        # No block without the descriptor by which its memory is reserved.
        self._see_to_descriptor()
        if self.view.capacity >= SHMQ_UNBOUNDED:
            deadline_ns = SHMQ_NO_DEADLINE  # as in _put_or_wait
        shmq_waiter_init(&waiter, deadline_ns, 1, closed)
        while True:
            with nogil:
                status = shmq_block_take(self.view, size, &ref.block, &waiter)
            if status == SHMQ_INTERRUPTED:
                self._look_at_signals(&waiter)
            elif status == SHMQ_ASK:
                self._allow_memory(&waiter)
            else:
                break
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status == SHMQ_TIMEOUT:
            raise Full
        if status == SHMQ_NO_MEMORY:
            self._raise_no_memory(size)
        if status != SHMQ_OK:
            self._raise_for(status)
        ref.reserved = 0
        ref.length = size
        target = shmq_block_bytes(self.view, ref.block, size)
        if target == NULL:
            self._raise_for(SHMQ_CORRUPT)
        if size < LARGE_COPY_BYTES:
            copy_in(target, data, size)
        else:
            with nogil:
                copy_in(target, data, size)
        return 0

    cdef int block_drop(self, const shmq_block_ref *ref) except -1:
        """Give a block back that was not put after all."""
        shmq_block_free(self.view, ref.block)
        return 0

    cdef int block_read(self, const shmq_taken *taken, uint8_t *buffer) except -1:
        """Copy the payload of a taken item out of its block, and give the block back."""
        cdef const uint8_t *source = shmq_block_bytes(self.view, taken.block, taken.length)
        if source == NULL:
            self._raise_for(SHMQ_CORRUPT)
        if taken.length < LARGE_COPY_BYTES:
            copy_out(buffer, source, taken.length)
        else:
            with nogil:
                copy_out(buffer, source, taken.length)
        shmq_block_free(self.view, taken.block)
        if shmq_pool_is_to_settle(self.view):
            with nogil:
                shmq_pool_settle(self.view)
        return 0

    def _raise_no_memory(self, wanted, headroom=None):
        if headroom is not None:
            where = f"available {headroom} before this machine or control group runs out of memory"
        elif self.named:
            system = os.fstatvfs(self.view.fd)
            where = (
                f"available {system.f_bavail * system.f_frsize} in {os.path.dirname(self.path)}"
                f" and at most {self.view.pool_limit_bytes} for all large items of this queue"
            )
        else:
            where = (
                f"available {memory.headroom_bytes()}, and at most"
                f" {region_limit_bytes(self.view.region_count)} for the small items and"
                f" {self.view.pool_limit_bytes} for the large items of one queue"
            )
        raise OSError(
            errno.ENOSPC,
            f"no shared memory for the item: wanted {wanted} bytes, {where}; the queue is as"
            " before",
        )

    # ---- shutting down, being done, being polled ----

    cdef int _acquire(self, uint32_t end, const uint32_t *closed) except -1:
        """Take an end's owner word, however long another holds it."""
        cdef int status = self._try_acquire(end, SHMQ_NO_DEADLINE, closed)
        if status != SHMQ_OK:
            self._raise_for(status)
        return 0

    cdef int _try_acquire(self, uint32_t end, uint64_t deadline_ns,
                          const uint32_t *closed) except -1000:
        """Take an end's owner word; SHMQ_TIMEOUT if another held it all the time."""
        cdef int status
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        shmq_waiter_init(&waiter, deadline_ns, 1, closed)
        while True:
            with nogil:
                status = shmq_acquire(self.view, &self.view.ends[end], &waiter)
            if status != SHMQ_INTERRUPTED:
                break
            self._look_at_signals(&waiter)
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        return status

    cdef int _settle_poll(self) except -1:
        """See that the poll descriptor says so if the ring is empty: after each take, or try.

        Signals are not looked at: an item that was taken must not be lost to a handler that raises.
        """
        cdef int status
        cdef uint32_t never = 0
        cdef shmq_waiter waiter
        if shmq_poll_is_settled(self.view):
            return 0
        # The putter of the last item, which is about to let go; or one that was stopped in it.
        shmq_waiter_init(&waiter, now_ns() + SETTLE_NS, 1, &never)
        while True:
            with nogil:
                status = shmq_acquire(self.view, &self.view.ends[SHMQ_END_TAIL], &waiter)
            if status != SHMQ_INTERRUPTED:
                break
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status == SHMQ_OK:
            shmq_poll_settle(self.view)
            shmq_end_release(&self.view.ends[SHMQ_END_TAIL])
        return 0

    cdef int shutdown(self, bint immediate, const uint32_t *closed) except -1:
        """Shut the tail; if `immediate`, discard what is in the ring and shut the head as well.

        Each step leaves a state that makes sense; whoever calls again completes what a call that
        was interrupted or killed left undone.
        """
        cdef shmq_end *tail = &self.view.ends[SHMQ_END_TAIL]
        cdef shmq_end *head = &self.view.ends[SHMQ_END_HEAD0]
        self._acquire(SHMQ_END_TAIL, closed)
        shmq_end_shut(tail)
        if head.state & SHMQ_END_POLLED:
            shmq_poll_settle(self.view)
        shmq_end_release(tail)
        self.ring_bells()
        if not immediate:
            return 0
        try:
            self._discard_all(closed)
        finally:
            self._acquire(SHMQ_END_HEAD0, closed)
            shmq_end_shut(head)
            shmq_end_release(head)
            self.ring_bells()
        return 0

    cdef int _discard_all(self, const uint32_t *closed) except -1:
        """Take what is in the ring and count it as done, though nobody gets it."""
        cdef shmq_taken taken[64]
        cdef uint64_t count, head, tail, head_before
        shmq_snapshot_ends(self.view, &head, &tail)
        while True:
            head_before = head
            try:
                # Discarded: no buffer, so nothing is too large for it.
                self.take(64, NULL, UINT64_MAX, taken, &count, SHMQ_NO_DEADLINE, closed)
            except ShutDown:
                with nogil:
                    shmq_pool_trim(self.view, 0)
                return 0
            except CorruptSegmentError:
                shmq_snapshot_ends(self.view, &head, &tail)
                if head == head_before:
                    raise
                continue  # passed over
            if taken[0].block != SHMQ_NO_BLOCK:
                shmq_block_free(self.view, taken[0].block)
            shmq_tasks_done(self.view, count)
            shmq_snapshot_ends(self.view, &head, &tail)

    @property
    def is_shut(self):
        """Whether the queue was shut down."""
        return (self.view.ends[SHMQ_END_TAIL].state & SHMQ_END_SHUT) != 0

    @property
    def unfinished(self):
        """How many items were put for which nobody called task_done yet."""
        return shmq_unfinished(self.view)

    cdef int task_done(self) except -1:
        """Count an item as done; ValueError when every item that was put is done already."""
        if not shmq_tasks_done(self.view, 1):
            raise ValueError("task_done() called too many times")
        return 0

    cdef int join(self, const uint32_t *closed) except -1:
        """Wait until as many items are done as were put."""
        cdef int status
        cdef shmq_waiter waiter
        if not shmq_view_is_mine(self.view):
            self.take_seat()
        shmq_waiter_init(&waiter, SHMQ_NO_DEADLINE, 1, closed)
        while True:
            with nogil:
                status = shmq_join(self.view, &waiter)
            if status != SHMQ_INTERRUPTED:
                break
            self._look_at_signals(&waiter)
        shmq_waiter_end(self.view, &waiter, status != SHMQ_OK)
        if status != SHMQ_OK:
            self._raise_for(status)
        return 0

    cdef int begin_to_poll(self, const uint32_t *closed) except -1:
        """From here on `poll_fd` is readable while there is something to take."""
        cdef shmq_end *head = &self.view.ends[SHMQ_END_HEAD0]
        # Not by the state alone: whoever set it may have been killed before it went on.
        if self.polls:
            return 0
        # Takers first, so that none empties the ring unnoticed once it is settled.
        self._acquire(SHMQ_END_HEAD0, closed)
        head.state |= SHMQ_END_POLLED
        shmq_end_release(head)
        self._acquire(SHMQ_END_TAIL, closed)
        shmq_poll_settle(self.view)
        shmq_end_release(&self.view.ends[SHMQ_END_TAIL])
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

    def snapshot(self):
        """Sequences, marks and totals, in items, bytes and nanoseconds.

        Returns
        -------
        dict
            ``oldest_age_ns`` is None when the ring is empty.
        """
        cdef shmq_snapshot seen
        shmq_snapshot_take(self.view, &seen)
        result = _counters_dict(&seen.totals)
        result["tail"] = seen.tail
        result["head"] = seen.head
        result["high_water_mark"] = seen.high_water_mark
        result["pool_bytes"] = seen.pool_bytes
        result["pool_free_bytes"] = seen.pool_free_bytes
        result["oldest_age_ns"] = (
            max(0, <int64_t>(now_ns() - seen.oldest_put_ns)) if seen.oldest_put_ns else None
        )
        return result

    def seat_rows(self):
        """A dict for each seat that is taken, or that its last holder left by dying."""
        cdef shmq_seat_snapshot row
        cdef uint32_t index
        cdef uint64_t now = now_ns()
        rows = []
        for index in range(shmq_seats_granted(self.view)):
            if not shmq_snapshot_seat(self.view, index, &row):
                continue
            seen = _counters_dict(&row.own)
            seen["seat"] = index
            seen["pid"] = row.pid
            seen["alive"] = shmq_seat_is_held(self.view, index) != 0
            seen["attached_ns"] = max(0, <int64_t>(now - row.attached_ns))
            seen["idle_ns"] = max(0, <int64_t>(now - row.active_ns))
            rows.append(seen)
        return rows

    # ---- raw payloads, for tests and tools: no codec ----

    def put_payloads(self, payloads, timeout=None):
        """Put (kind, bytes) pairs, each of which fits a slot, as one batch."""
        cdef uint32_t never = 0
        cdef uint64_t i, count = len(payloads)
        if count > self.view.capacity:
            raise ValueError(f"{count} payloads are more than {self.view.capacity} slots")
        if count == 0:
            return
        cdef shmq_record *records = <shmq_record *>malloc(count * sizeof(shmq_record))
        if records == NULL:
            raise MemoryError
        try:
            for i in range(count):
                kind, data = payloads[i]
                if len(data) > self.view.slot_payload_bytes:
                    raise ValueError(f"{len(data)} bytes don't fit a slot")
                records[i].data = PyBytes_AS_STRING(data)
                records[i].length = records[i].item_bytes = len(data)
                records[i].kind = kind
                records[i].flags = 0
            self.put(records, count, _deadline(timeout), &never)
        finally:
            free(records)

    def take_payloads(self, max_items=1, timeout=None, buffer_bytes=65536):
        """Take 1..max_items as a list of (kind, bytes)."""
        cdef uint32_t never = 0
        cdef uint64_t i, count = 0
        cdef uint64_t limit = min(max(1, max_items), self.view.capacity)
        cdef shmq_taken *taken = <shmq_taken *>malloc(limit * sizeof(shmq_taken))
        if taken == NULL:
            raise MemoryError
        try:
            while True:
                buffer = PyBytes_FromStringAndSize(NULL, buffer_bytes)
                if self.take(limit, <uint8_t *>PyBytes_AS_STRING(buffer), buffer_bytes, taken,
                             &count, _deadline(timeout), &never) == SHMQ_OK:
                    break
                buffer_bytes = taken[0].length
            if taken[0].block != SHMQ_NO_BLOCK:
                self.block_read(&taken[0], <uint8_t *>PyBytes_AS_STRING(buffer))
            return [
                (taken[i].kind, buffer[taken[i].offset : taken[i].offset + taken[i].length])
                for i in range(count)
            ]
        finally:
            free(taken)


cdef uint64_t _deadline(timeout) except? 1:
    if timeout is None:
        return SHMQ_NO_DEADLINE
    if timeout <= 0:
        return AT_ONCE
    return now_ns() + <uint64_t>(timeout * 1e9)


cdef _counters_dict(const shmq_counters *counters):
    return {
        "items_put": counters.items_put,
        "items_got": counters.items_got,
        "bytes_put": counters.bytes_put,
        "bytes_got": counters.bytes_got,
        "blocked_full_count": counters.blocked_full_count,
        "blocked_full_ns": counters.blocked_full_ns,
        "blocked_empty_count": counters.blocked_empty_count,
        "blocked_empty_ns": counters.blocked_empty_ns,
        "takeovers": counters.takeovers,
    }


cdef int _raise_for_header(int status, str path, const shmq_header *header,
                           file_bytes) except -1:
    if status == SHMQ_OK:
        return 0
    if status == SHMQ_TRUNCATED:
        raise TruncatedSegmentError(
            f"{path} is cut off: it has {file_bytes} bytes"
            + (
                f", its header says {header.segment_bytes}"
                if file_bytes >= <uint64_t>sizeof(shmq_header)
                else f", a header alone has {sizeof(shmq_header)}"
            )
        )
    if status == SHMQ_VERSION:
        raise SegmentVersionError(
            f"{path} has layout version {header.layout_version}, this build of shmqueue reads"
            f" version {SHMQ_LAYOUT_VERSION}: use one version of shmqueue in all processes, or"
            " unlink the segment and create it anew"
        )
    if status == SHMQ_WRONG_BYTE_ORDER:
        raise SegmentVersionError(f"{path} was made by a machine of another byte order")
    if status == SHMQ_CORRUPT:
        raise CorruptSegmentError(
            f"the header of {path} was overwritten: its fields don't agree with its checksum"
        )
    raise ForeignSegmentError(f"{path} is not a shmqueue segment: something else made it")
