# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Objects out of the ring: what every handle has that takes items.

An item is decoded after the head was moved: no call into Python ever happens while an owner word is
held. What was taken and could not be delivered is kept for the next call, in `pending`: _kept.pyx
says in which form. The list is read and changed by `_pop_pending`, `_keep_all` and `_count_pending`
alone, in critical sections in which no code of anybody else runs.
"""

from queue import Empty

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_SetSlice
from libc.stdint cimport UINT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from shmqueue._blocks cimport Loan, open_loan
from shmqueue._codec cimport (
    KIND_ARRAY,
    KIND_BYTES,
    KIND_PARTS,
    KIND_PICKLE,
    POLICY_BYTES,
    POLICY_MULTIPROCESSING,
    decode,
)
from shmqueue._core cimport AT_ONCE, Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._kept cimport Made, raise_kept, to_keep, to_retry
from shmqueue._pool cimport block_read
from shmqueue._readers cimport Reader
from shmqueue._protocol cimport (
    SHMQ_CORRUPT,
    SHMQ_NEED,
    SHMQ_NO_BLOCK,
    SHMQ_OK,
    SHMQ_WAIT_BLOCK,
    SHMQ_WAIT_SPIN,
    SHMQ_WAIT_YIELD,
    shmq_is_closed,
    shmq_set_closed,
    shmq_set_wait,
    shmq_taken,
    shmq_wait_strategy,
)

from shmqueue.errors import (
    CorruptItemError,
    CorruptSegmentError,
    GroupRemovedError,
    NoFreeSeatError,
    ShutDown,
)

_STRATEGIES = {"block": SHMQ_WAIT_BLOCK, "spin": SHMQ_WAIT_SPIN, "yield": SHMQ_WAIT_YIELD}

cdef enum:
    SCRATCH_BYTES = 16384        # on the stack: most items are decoded from here
    BATCH_SCRATCH_BYTES = 65536  # on the heap, for many items taken at once


cdef class Consumer:
    """Get objects from an attached ring."""

    def __cinit__(self, *args, **kwargs):
        self.handle.closed = 1

    cpdef _bind(self, Attachment attachment, str label):
        """Start to work on `attachment`; `label` stands for the queue in messages."""
        self.attachment = attachment
        if attachment.custom is None:
            self.policy = attachment.serializer
        else:
            # What it makes are bytes or a str, which the codec needs no policy for.
            self.policy = POLICY_MULTIPROCESSING
            self.dumps = attachment.custom.dumps
            self.loads = attachment.custom.loads
        self.label = label
        self.handle.closed = 0

    cpdef _read_from(self, Reader reader):
        """Take from a group of the stream, rather than from the only head of a queue."""
        self.reader = reader

    cpdef _set_item_type(self, item_type):
        """Have all items of one type: an `ItemType`."""
        self.item_type = item_type
        self.policy = POLICY_BYTES  # nothing is ever unpickled
        self.dumps = item_type.dumps
        self.loads = item_type.loads

    cpdef _set_copies(self, bint copies):
        """Whether get copies large buffers out by default."""
        self.copies = copies

    cdef Attachment _open(self):
        """Return the attachment, which the call keeps alive even if another thread closes."""
        cdef Attachment attachment
        with cython.critical_section(self):
            attachment = self.attachment
        if shmq_is_closed(&self.handle):
            self._raise_closed()
        return attachment

    cdef Reader _open_reader(self):
        """Return the reader, which the call keeps alive; to be asked for before `_open`.

        None: a queue, or a group that is closed, which `_open` says.
        """
        cdef Reader reader
        with cython.critical_section(self):
            reader = self.reader
        return reader

    cdef int _raise_closed(self) except -1:
        raise self._closed_error()

    def _closed_error(self):
        """Return what calls on a closed handle raise; other faces have another kind."""
        return ValueError(f"{self.label or type(self).__name__} is closed")

    # ---- one item ----

    def get(self, block=True, timeout=None, *, copy=None):
        """Take the oldest item off the head and return it.

        Parameters
        ----------
        block : bool, default True
            Whether to wait for an item.
        timeout : float, optional
            Seconds to wait at most; None waits for ever, 0 or less makes one attempt. Ignored
            unless `block`.
        copy : bool, optional
            Whether large buffers of the item (numpy arrays and whatever else pickles its buffers
            out of band, from 16 KiB on) are copied to memory of their own. Otherwise they stay
            where they arrived, writable and nobody else's, and that memory goes back to the queue
            when the last object that uses it is gone. By default what the queue was opened with.

        Returns
        -------
        object
            Equal to what was put, of the same type.

        Raises
        ------
        queue.Empty
            If there was no item in time.
        ValueError
            If the queue is closed, also while this call waits, or if `timeout` is not a number.
        CorruptItemError
            If the bytes of the item are damaged.
        Exception
            Whatever loading the item raises; the item is gone, the next get goes on.
        """
        return self._get(deadline_ns_of(block, timeout), self.copies if copy is None else copy)

    def get_nowait(self):
        """Return the oldest item, or raise queue.Empty; as ``get(block=False)``."""
        return self._get(AT_ONCE, self.copies)

    cdef object _get(self, uint64_t deadline_ns, bint copy):
        cdef uint8_t scratch[SCRATCH_BYTES]
        cdef shmq_taken taken
        cdef uint64_t count
        cdef Reader reader = self._open_reader()
        cdef Attachment attachment = self._open()
        cdef tuple kept
        if self.pending is not None:
            kept = self._pop_pending(attachment)
            if kept is not None:
                return self._deliver_or_keep(attachment, kept, copy)
        if take_with(attachment, reader, 1, scratch, SCRATCH_BYTES, SCRATCH_BYTES, &taken, &count,
                     deadline_ns, &self.handle) != SHMQ_OK:
            return self._deliver_or_keep(
                attachment, self._take_large(attachment, reader, &taken, deadline_ns), copy
            )
        if taken.block != SHMQ_NO_BLOCK:
            block_read(attachment, reader_at(reader), &taken, scratch)
        if self.loads is not None:
            if self.policy == POLICY_BYTES and taken.kind != KIND_BYTES:
                self._raise_not_bytes(taken.kind)
            return self._load_or_keep(attachment, &taken, scratch)
        if taken.kind == KIND_BYTES:  # spares the cheapest kind the call into another module
            return PyBytes_FromStringAndSize(<const char *>scratch, taken.length)
        if self.policy == POLICY_BYTES:
            self._raise_not_bytes(taken.kind)
        if taken.kind in (KIND_PICKLE, KIND_ARRAY, KIND_PARTS):  # Python makes those
            return self._load_or_keep(attachment, &taken, scratch)
        return decode(taken.kind, <const char *>scratch, taken.length)

    cdef object _load_or_keep(self, Attachment attachment, const shmq_taken *taken,
                              const uint8_t *data):
        """Make what came in a slot, by code that can be interrupted: the next get tries again."""
        cdef tuple again
        try:
            item = decode(taken.kind, <const char *>data, taken.length)
            return item if self.loads is None else self._loaded(taken.kind, item)
        except BaseException as error:
            again = to_retry(error, (taken.kind, (<const char *>data)[: taken.length]))
            if again is not None:
                self._keep_first(attachment, again)
            raise

    cdef tuple _take_large(self, Attachment attachment, Reader reader, shmq_taken *taken,
                           uint64_t deadline_ns):
        """Take an item of which `taken` tells only the size, as what `_deliver` takes.

        Memory first, so that none is lost to it.
        """
        cdef uint64_t count, wanted_bytes
        cdef Loan loan
        cdef bytes buffer
        while True:
            # Somebody else may take that item, and the one behind it lie elsewhere, or be larger.
            loan = None
            if taken.block != SHMQ_NO_BLOCK:
                loan = Loan(attachment)
                if reader is not None:
                    reader.see_to_pinner()
            wanted_bytes = taken.length if loan is None else 0
            buffer = PyBytes_FromStringAndSize(NULL, wanted_bytes)
            if take_with(attachment, reader, 1, <uint8_t *>PyBytes_AS_STRING(buffer), wanted_bytes,
                         0 if loan is None else UINT64_MAX, taken, &count, deadline_ns,
                         &self.handle) == SHMQ_OK:
                break
        if taken.block != SHMQ_NO_BLOCK:
            loan.begin(taken.block, taken.length, taken.kind, False, reader)
            return taken.kind, loan
        return taken.kind, buffer[: taken.length]

    # ---- batches ----

    def get_batch(self, max_items, block=True, timeout=None, *, copy=None):
        """Take what is there, up to `max_items`, as soon as there is something.

        Parameters
        ----------
        max_items : int
            At most this many, at least 1.
        block, timeout, copy
            As in `get`; the wait is for the first item only.

        Returns
        -------
        list
            1 to `max_items` items, oldest first; of items of one `dtype` an array.

        Raises
        ------
        ValueError
            If `max_items` is less than 1, or the queue is closed.
        queue.Empty
            If there was no item in time.
        Exception
            Whatever loading the first item raises. If a later one fails to load, those before it
            are returned and the next call raises.
        BaseException
            What is no Exception, such as KeyboardInterrupt, or SystemExit of a signal's handler, is
            raised at once, whichever item was being loaded; the next call goes on with the first.
        """
        return self._get_batch(
            max_items, deadline_ns_of(block, timeout), self.copies if copy is None else copy
        )

    cdef object _get_batch(self, object max_items, uint64_t deadline_ns, bint copies):
        cdef Reader reader = self._open_reader()
        cdef Attachment attachment = self._open()
        cdef Py_ssize_t wanted
        cdef shmq_taken *taken
        cdef uint8_t *scratch
        cdef uint64_t count = 0
        cdef int status
        cdef list items = []
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items}")
        # What is there is never more than the capacity; a producer that keeps up doesn't hold us.
        wanted = min(max_items, attachment.view.capacity)
        if self.item_type is not None:
            return self.item_type.get_batch(self, wanted, deadline_ns)
        if self.pending is not None:
            self._deliver_pending(attachment, items, wanted, copies)
            if items:
                return items
        taken = <shmq_taken *>malloc(BATCH_CHUNK * sizeof(shmq_taken) + BATCH_SCRATCH_BYTES)
        if taken == NULL:
            raise MemoryError
        scratch = <uint8_t *>(taken + BATCH_CHUNK)
        try:
            if take_with(attachment, reader, min(wanted, BATCH_CHUNK), scratch, BATCH_SCRATCH_BYTES,
                         0, taken, &count, deadline_ns, &self.handle) != SHMQ_OK:
                kept = self._take_large(attachment, reader, taken, deadline_ns)
                items.append(self._deliver_or_keep(attachment, kept, copies))
            elif not self._decode_taken(attachment, items, taken, count, scratch):
                return items
            set_takes_more(reader, True)
            while len(items) < wanted:
                status = attachment.try_take(
                    reader_at(reader), min(wanted - len(items), BATCH_CHUNK), scratch,
                    BATCH_SCRATCH_BYTES, 0, taken, &count
                )
                if status == SHMQ_CORRUPT:
                    # Passed over already: the next call says so.
                    self._keep(attachment, (0, b""))
                if status == SHMQ_NEED:
                    if not self._append_large(attachment, reader, items, taken, copies):
                        break
                elif status != SHMQ_OK or not self._decode_taken(attachment, items, taken, count,
                                                                 scratch):
                    break
        finally:
            set_takes_more(reader, False)
            free(taken)
        return items

    def _add_batch(self, list batches not None, max_items, timeout):
        """Add the batch that `get_batch` would get, to a list that its caller holds already.

        Here, so that no signal is looked at while nobody has it. Copies that a writing handle has
        are made read-only by `_joined`.
        """
        self._append_batch(batches, max_items, deadline_ns_of(True, timeout))

    cdef int _append_batch(self, list batches, object max_items, uint64_t deadline_ns) except -1:
        cdef Reader reader = self._open_reader()
        # As `get_batch` of who writes: it asks for no copies, however the stream was opened.
        cdef bint copies = self.copies and not (reader is not None and reader.writes)
        batches.append(self._get_batch(max_items, deadline_ns, copies))
        return 0

    def _add_more(self, list batches not None, max_items, timeout):
        """Add a batch to those that were got, which are not finished by it; an error is kept."""
        cdef Reader reader = self._open_reader()
        cdef Attachment attachment = None
        try:
            attachment = self._open()
            set_takes_more(reader, True)
            self._append_batch(batches, max_items, deadline_ns_of(True, timeout))
        except (Empty, ShutDown):
            return False
        except Exception as error:
            # For want of memory the item itself may be gone. None: it is closed.
            if isinstance(error, MemoryError) or not self._is_found_out_again(error):
                if attachment is not None:
                    self._keep_first(attachment, (0, error))
            return False
        finally:
            set_takes_more(reader, False)
        return True

    def _keep_batches(self, list batches not None):
        """Keep batches that were got for the next calls, before all else, unless it is closed."""
        cdef Attachment attachment
        cdef list kept = []
        cdef Py_ssize_t i, size = 0 if self.item_type is None else self.item_type.item_bytes
        for batch in batches:
            if self.item_type is None:
                kept += self._all_made(batch)
            else:
                data = batch.tobytes() if hasattr(batch, "tobytes") else bytes(batch)
                kept += [(KIND_BYTES, data[i : i + size]) for i in range(0, len(data), size)]
        with cython.critical_section(self):
            attachment = self.attachment
        if attachment is not None:
            self._keep_all(attachment, kept, True)

    def _drop_kept(self, Py_ssize_t keep):
        """Drop what is kept but for the newest `keep`; return how many were dropped."""
        cdef Attachment attachment = self._open()
        cdef Py_ssize_t dropped = 0
        while self._count_pending(attachment) > keep and self._pop_pending(attachment) is not None:
            dropped += 1
        return dropped

    def _joined(self, list batches not None):
        """Return several batches as one; they stay as they are."""
        if len(batches) == 1:
            return batches[0]
        if self.item_type is not None:
            return self.item_type.joined(batches)
        return [item for batch in batches for item in batch]

    cdef bint _decode_taken(self, Attachment attachment, list items, const shmq_taken *taken,
                            uint64_t count, uint8_t *scratch) except -1:
        """Decode what was taken onto `items`; False when one failed and the rest was kept.

        Raises what the first item of the call raises, and what is no Exception; the rest is kept
        then, too.
        """
        cdef uint64_t i, k
        cdef list rest
        for i in range(count):
            try:
                if self.policy == POLICY_BYTES and taken[i].kind != KIND_BYTES:
                    self._raise_not_bytes(taken[i].kind)
                item = decode(
                    taken[i].kind, <const char *>scratch + taken[i].offset, taken[i].length
                )
                items.append(item if self.loads is None else self._loaded(taken[i].kind, item))
            except BaseException as error:
                rest = [
                    (taken[k].kind, (<const char *>scratch + taken[k].offset)[: taken[k].length])
                    for k in range(i, count)
                ]
                if items or not isinstance(error, Exception):
                    rest[0] = to_keep(error, rest[0])
                else:
                    del rest[0]
                self._keep_behind(attachment, items, rest, error, False)
                if not items or not isinstance(error, Exception):
                    raise
                return False
        return True

    cdef bint _append_large(self, Attachment attachment, Reader reader, list items,
                            shmq_taken *taken, bint copy) except -1:
        """Take the large item that is next, too; False if it is gone, or failed and was kept."""
        cdef tuple kept
        try:
            kept = self._take_large(attachment, reader, taken, AT_ONCE)
        except BaseException as error:
            if isinstance(error, CorruptSegmentError):
                self._keep(attachment, (0, error))  # passed over already: only this call knows
            elif not self._is_found_out_again(error):
                self._keep_all(attachment, self._all_made(items), False)
                raise
            return False
        try:
            items.append(self._deliver(kept, copy))
        except BaseException as error:
            self._keep_behind(attachment, items, [to_keep(error, kept)], error, False)
            if not isinstance(error, Exception):
                raise
            return False
        return True

    cdef bint _is_found_out_again(self, object error) except -1:
        """Whether the next call fails with this as well, unless it is past by then.

        All else is a signal's handler's, and would not come a second time.
        """
        if not isinstance(error, Exception):
            return False
        # Of a closed handle nothing could be got later.
        return shmq_is_closed(&self.handle) or isinstance(
            error, (Empty, ShutDown, GroupRemovedError, NoFreeSeatError, MemoryError)
        )

    # ---- kept items ----

    cdef int _keep_all(self, Attachment attachment, list kept, bint are_first) except -1:
        """Keep what was taken from the ring for the next calls: before all else, or behind it."""
        cdef list _others = None
        with cython.critical_section(self):
            if self.pending is None or self.pending_epoch != attachment.view.epoch:
                _others = self.pending  # of a parent process; dropped outside the section
                self.pending = []
                self.pending_epoch = attachment.view.epoch
            if are_first:
                PyList_SetSlice(self.pending, 0, 0, kept)
            else:
                self.pending.extend(kept)
        return 0

    cdef int _keep(self, Attachment attachment, tuple kept) except -1:
        """Keep a payload that was taken from the ring for the next get."""
        return self._keep_all(attachment, [kept], False)

    cdef int _keep_first(self, Attachment attachment, tuple kept) except -1:
        """Keep what was taken from the ring just now: it is before all that is kept."""
        return self._keep_all(attachment, [kept], True)

    cdef int _keep_behind(self, Attachment attachment, list items, list rest, object error,
                          bint are_first) except -1:
        """Keep what is behind the items that a call has in hand; these as well, if it raises."""
        if rest and rest[0] is None:
            del rest[0]  # nothing is left of it
        if not isinstance(error, Exception):
            rest = self._all_made(items) + rest
        return self._keep_all(attachment, rest, are_first)

    cdef list _all_made(self, list items):
        """What to keep of items that were made."""
        cdef Made made
        cdef list kept = []
        for item in items:
            if type(item) is bytes and self.loads is None:
                kept.append((KIND_BYTES, item))  # as it came, also for who gets bytes
                continue
            made = Made.__new__(Made)
            made.item = item
            kept.append((0, made))
        return kept

    cdef tuple _pop_pending(self, Attachment attachment):
        """Return what was kept first, which is the caller's then; None if there is nothing."""
        cdef tuple kept = None
        # A forked child's copy is the parent's.
        if attachment.is_mine():
            with cython.critical_section(self):
                if self.pending and self.pending_epoch == attachment.view.epoch:
                    kept = self.pending.pop(0)
        return kept

    cdef Py_ssize_t _count_pending(self, Attachment attachment) noexcept:
        """How many items are kept by this process."""
        cdef Py_ssize_t count = 0
        if attachment.is_mine():
            with cython.critical_section(self):
                if self.pending is not None and self.pending_epoch == attachment.view.epoch:
                    count = len(self.pending)
        return count

    cdef object _deliver(self, tuple kept, bint copy):
        """Make the item of a payload: bytes, or a loan."""
        cdef uint32_t kind = kept[0]
        raise_kept(kept)
        if type(kept[1]) is Made:
            return (<Made>kept[1]).item
        if self.policy == POLICY_BYTES and kind != KIND_BYTES:
            self._raise_not_bytes(kind)
        if type(kept[1]) is Loan:
            item = open_loan(<Loan>kept[1], copy)
        elif kind == KIND_BYTES:
            item = kept[1]
        else:
            item = decode(kind, PyBytes_AS_STRING(kept[1]), len(<bytes>kept[1]))
        return item if self.loads is None else self._loaded(kind, item)

    cdef object _loaded(self, uint32_t kind, object item):
        """What the custom serializer makes of an item; arrays of reservations are not its work."""
        return item if kind == KIND_ARRAY else self.loads(item)

    cdef object _deliver_or_keep(self, Attachment attachment, tuple kept, bint copy):
        """Deliver; where it could not begin, or was interrupted, the next get tries again."""
        cdef tuple again
        try:
            item = self._deliver(kept, copy)
        except BaseException as error:
            again = to_retry(error, kept)
            if again is not None:
                self._keep_first(attachment, again)
            raise
        if len(kept) == 3 and kept[2] is not None:
            # It can be loaded: what it failed with was not its own, but a signal's handler's, say.
            self._keep_all(attachment, self._all_made([item]), True)
            raise kept[2]
        return item

    cdef int _deliver_pending(self, Attachment attachment, list items, Py_ssize_t wanted,
                              bint copy) except -1:
        cdef tuple kept
        while len(items) < wanted:
            # Taken first: decoding may let another thread in, which then takes the next one.
            kept = self._pop_pending(attachment)
            if kept is None:
                break
            if not items:
                items.append(self._deliver_or_keep(attachment, kept, copy))
                continue
            if len(kept) == 3:
                # Only as the first of a call: what it does again shall not hold these back.
                self._keep_first(attachment, kept)
                break
            try:
                items.append(self._deliver(kept, copy))
            except BaseException as error:
                self._keep_behind(attachment, items, [to_keep(error, kept)], error, True)
                if not isinstance(error, Exception):
                    raise
                break
        return 0

    cdef int _raise_not_bytes(self, uint32_t kind) except -1:
        raise CorruptItemError(
            f"an item of {self.label} is not bytes but of kind {kind}: this queue never unpickles"
        )

    # ---- how to wait ----

    def set_wait_strategy(self, strategy, spin_seconds=None):
        """Choose how calls of this handle wait; also those that poll already.

        Parameters
        ----------
        strategy : {"block", "spin", "yield"}
            ``"block"``: poll for a moment, then sleep until somebody rings. ``"spin"``: poll, and
            keep a core busy with it: nobody needs a system call to wake this handle, and it sees
            an item soonest. ``"yield"``: poll, but let others have the core between two looks.
        spin_seconds : float, optional
            How long a call polls at most before it sleeps. By default ``"block"`` polls for 20
            microseconds, less where that was in vain lately, and not at all where there is one
            core only; the others never sleep.

        Raises
        ------
        TypeError, ValueError
            If there is no such strategy, or `spin_seconds` is no number, or negative, or NaN.
        """
        cdef uint64_t poll_ns = 0
        if not isinstance(strategy, str) or strategy not in _STRATEGIES:
            there = ", ".join(repr(known) for known in _STRATEGIES)
            raise ValueError(f"wait_strategy must be one of {there}, not {strategy!r}")
        if spin_seconds is not None:
            if not spin_seconds >= 0:
                raise ValueError(f"spin_seconds must be a number from 0 on, not {spin_seconds!r}")
            # None at all is a look, and so is a nanosecond.
            poll_ns = max(<uint64_t>(min(spin_seconds, 1e9) * 1e9), 1)
        shmq_set_wait(&self.handle, _STRATEGIES[strategy], poll_ns)

    cpdef _be_like(self, Consumer other):
        """Wait as another handle of the segment does, and have its type of items."""
        shmq_set_wait(&self.handle, shmq_wait_strategy(&other.handle), other.handle.poll_ns)
        if other.item_type is not None:
            self._set_item_type(other.item_type)

    @property
    def wait_strategy(self):
        """How calls of this handle wait: ``"block"``, ``"spin"`` or ``"yield"``."""
        cdef uint32_t number = shmq_wait_strategy(&self.handle)
        return next(name for name, known in _STRATEGIES.items() if known == number)

    # ---- looking, ending ----

    @property
    def dtype(self):
        """The type of all items, as the handle was opened with it; None where any may be put."""
        return None if self.item_type is None else self.item_type.given

    def qsize(self):
        """Return how many items are in the queue at this moment; exact, and already past."""
        cdef Attachment attachment = self._open()
        return attachment.size() + <uint64_t>self._count_pending(attachment)

    def _kept(self):
        """Return how many items this handle has taken, but not delivered yet."""
        return self._count_pending(self._open())

    def empty(self):
        """Return True if there was no item at this moment."""
        return self.qsize() == 0

    @property
    def is_shutdown(self):
        """Whether the queue was shut down, by whatever process; ValueError when closed."""
        return self._open().is_shut

    @property
    def closed(self):
        """Whether this handle was closed."""
        return shmq_is_closed(&self.handle)

    @property
    def _attachment(self):
        """The attachment; ValueError when closed."""
        return self._open()

    def close(self):
        """Let go of the queue in this process; its items stay for the others.

        Calls that wait in other threads of this handle raise ValueError. Closing it again does
        nothing. What this handle keeps is lost with it, so get it first (`qsize` counts it): items
        that `get_batch` took together with one that failed, and one that `get_bytes` refused.
        The process detaches once all of its handles on the queue are closed or gone.
        """
        cdef Attachment attachment
        with cython.critical_section(self):
            attachment = self.attachment
            shmq_set_closed(&self.handle)
            self.attachment = None
            self.reader = None
        if attachment is not None:
            attachment.ring_bells()
