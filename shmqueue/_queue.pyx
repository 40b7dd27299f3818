# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Objects into the ring, and out of it: the codec on one side, the protocol on the other.

An item is encoded before the tail is claimed: no call into Python ever happens while an owner word
is held. What is larger than a slot goes through a block.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from shmqueue._batch cimport Batch
from shmqueue._blocks cimport fits_slot, write_block
from shmqueue._bytes cimport BytesConsumer
from shmqueue._codec cimport Payload, encode, payload_clear, payload_detach
from shmqueue._core cimport AT_ONCE, Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._ending cimport join, shutdown, task_done
from shmqueue._pool cimport block_drop
from shmqueue._protocol cimport (
    SHMQ_NO_DEADLINE,
    SHMQ_OK,
    shmq_block_ref,
    shmq_end,
    shmq_has_room,
    shmq_make_room_in_stream,
    shmq_record,
)


cdef class ObjectQueue(BytesConsumer):
    """Put and get objects on an attached ring; what every queue of this package stands on."""

    # ---- one item ----

    def put(self, item, block=True, timeout=None):
        """Put an item at the tail; it is serialised now and seen by others when this returns.

        Parameters
        ----------
        item : object
            None, bool, int, float, complex, str, bytes, bytearray and tuples, lists, dicts and
            sets of them are encoded directly, anything else is pickled. Any size.
        block : bool, default True
            Whether to wait for room.
        timeout : float, optional
            Seconds to wait at most; None waits for ever, 0 or less makes one attempt. Ignored
            unless `block`.

        Raises
        ------
        queue.Full
            If there was no room in time.
        ValueError
            If the queue is closed, also while this call waits, or if `timeout` is not a number.
        OSError
            With errno ENOSPC, if shared memory has no room for an item larger than `item_size`.
        Exception
            Whatever serialising the item raises, with its type named. The queue is as before.
        """
        self._put(item, deadline_ns_of(block, timeout))

    def put_nowait(self, item):
        """Put an item if there is room now, or raise queue.Full; as ``put(item, block=False)``."""
        self._put(item, AT_ONCE)

    cdef int _put(self, object item, uint64_t deadline_ns) except -1:
        cdef Payload payload
        cdef Attachment attachment = self._open()
        # Before it is pickled: what that does beyond, such as duplicating a descriptor for somebody
        # to fetch, can't be undone when there is no room in time. Plain items have none of that.
        if deadline_ns != SHMQ_NO_DEADLINE and not _is_plain(item):
            attachment.await_room(1, deadline_ns, &self.handle)
        self._encode(item, &payload)
        return self._put_payload(attachment, &payload, deadline_ns)

    cdef int _encode(self, object item, Payload *payload) except -1:
        if self.dumps is not None:
            item = _dumped(self.dumps, item)
        return encode(item, self.policy, payload)

    cdef int _put_payload(self, Attachment attachment, Payload *payload,
                          uint64_t deadline_ns) except -1:
        """Put what was encoded, and clear it in any case."""
        try:
            return self._put_encoded(attachment, payload, deadline_ns)
        finally:
            payload_clear(payload)

    cdef int _put_encoded(self, Attachment attachment, Payload *payload,
                          uint64_t deadline_ns) except -1:
        """Put what was encoded, which stays as it is."""
        cdef shmq_record record
        if not fits_slot(payload, attachment):
            return self._put_large(attachment, payload, deadline_ns)
        record.data = payload.data
        record.length = <uint32_t>payload.size
        record.kind = payload.kind
        record.flags = 0
        record.item_bytes = payload.size
        return attachment.put(&record, 1, deadline_ns, &self.handle)

    cdef int _put_large(self, Attachment attachment, Payload *payload,
                        uint64_t deadline_ns) except -1:
        cdef shmq_block_ref ref
        cdef shmq_record record
        if deadline_ns == AT_ONCE:
            attachment.await_room(1, AT_ONCE, &self.handle)
        write_block(attachment, payload, &ref, &record, deadline_ns, &self.handle)
        record.data = &ref
        try:
            attachment.put(&record, 1, deadline_ns, &self.handle)
        except BaseException:
            block_drop(attachment, ref.block)
            raise
        return 0

    # ---- batches ----

    def put_batch(self, items, block=True, timeout=None):
        """Put all items, contiguously and at once: every one of them, or none.

        Parameters
        ----------
        items : iterable
            At most `capacity` items. None at all is no error and does nothing.
        block, timeout
            As in `put`; the wait is for room for all of them.

        Raises
        ------
        ValueError
            If there are more items than the queue has slots, or it is closed.
        queue.Full, OSError, Exception
            As in `put`.
        """
        cdef uint64_t deadline_ns = deadline_ns_of(block, timeout)
        cdef Attachment attachment = self._open()
        cdef Batch batch
        if self.item_type is not None:
            self.item_type.put_batch(self, items, deadline_ns)
            return
        items = list(items)
        if not self._may_put(attachment, len(items), deadline_ns):
            return
        batch = Batch(attachment, len(items))
        for item in items:
            if self.dumps is not None:
                item = _dumped(self.dumps, item)
            batch.append(item, self.policy, deadline_ns, &self.handle)
        batch.put(deadline_ns, &self.handle)

    cdef bint _may_put(self, Attachment attachment, uint64_t count, uint64_t deadline_ns) except -1:
        """Raise if so many items can't be put, ever or at once; False if there is none to put."""
        if count > attachment.view.capacity:
            raise ValueError(
                f"a batch of {count} items can never fit a queue of capacity"
                f" {attachment.view.capacity}; put it in parts, or create a larger queue"
            )
        if count > 0 and deadline_ns != SHMQ_NO_DEADLINE:
            attachment.await_room(count, deadline_ns, &self.handle)
        return count > 0

    # ---- looking, waiting, ending ----

    def full(self):
        """Return True if there was no room for an item at this moment."""
        cdef shmq_end *slowest
        cdef Attachment attachment = self._open()
        # In a stream there may be room for who raises the floor, or finds a subscriber dead.
        return not shmq_has_room(attachment.view, 1) and not (
            attachment.view.stream != NULL
            and attachment.is_mine()
            and shmq_make_room_in_stream(attachment.view, 1, &slowest) == SHMQ_OK
        )

    def shutdown(self, immediate=False):
        """End the queue for everybody: nothing is put any more, by whatever process.

        Parameters
        ----------
        immediate : bool, default False
            Whether to discard the items that are still in it. Otherwise they can be got; whoever
            gets more than there are raises ShutDown.

        Raises
        ------
        ValueError
            If the queue is closed.

        Notes
        -----
        As ``queue.Queue.shutdown`` of Python 3.13. All who are blocked in any process wake up: puts
        raise ShutDown, gets do once the queue is empty.
        """
        cdef Attachment attachment = self._open()
        shutdown(attachment, bool(immediate), &self.handle)
        # Taken, but never delivered: discarded like the rest.
        while immediate and self._pop_pending(attachment) is not None:
            task_done(attachment)

    def _task_done(self):
        """Count an item that was got as done; ValueError when all are done already."""
        cdef Attachment attachment = self._open()
        task_done(attachment)

    def _join(self):
        """Wait until as many items are done as were put."""
        cdef Attachment attachment = self._open()
        join(attachment, &self.handle)

    def _fileno(self):
        """Return the descriptor that polls readable while there is an item, or after a shutdown.

        Only queues without a name have one.
        """
        cdef Attachment attachment = self._open()
        if attachment.view.poll_fd < 0:
            raise ValueError(f"{self.label} has a name, and so no descriptor that can be polled")
        attachment.begin_to_poll(&self.handle)
        return attachment.view.poll_fd


@cython.final
cdef class Encoded:
    """An item that was encoded once, to be put as soon as there is room; for who waits in Python.

    It holds no memory of the queue. Large buffers of the item are its own, and read when it is put,
    until `detach` has copied them.

    Parameters
    ----------
    queue : ObjectQueue
        Where it is to go.
    item : object
        As in `ObjectQueue.put`, which says what this raises.
    """

    def __cinit__(self, ObjectQueue queue not None, item):
        # Before it is encoded the payload is zero, of which there is nothing to clear.
        queue._open()
        self.queue = queue
        queue._encode(item, &self.payload)

    def __dealloc__(self):
        payload_clear(&self.payload)

    def put_nowait(self):
        """Put it if there is room now, or raise queue.Full, after which it may be tried again."""
        self.queue._put_encoded(self.queue._open(), &self.payload, AT_ONCE)

    def detach(self):
        """Have the item be as it is now, whatever becomes of its buffers, which are let go of.

        Raises
        ------
        MemoryError
            If there is none for a copy of them. Again it does nothing.
        """
        payload_detach(&self.payload)


def deadline_ns(timeout):
    """Return the deadline of a call that waits in Python, with the limits of all other calls.

    Parameters
    ----------
    timeout : float or None
        As in `ObjectQueue.put`.

    Returns
    -------
    int
        Nanoseconds of ``time.monotonic_ns()``: 0 for one attempt, and what never comes for None.

    Raises
    ------
    TypeError, ValueError, OverflowError
        If it is no number, NaN, or beyond all measure.
    """
    return deadline_ns_of(True, timeout)


cdef inline bint _is_plain(object item):
    return type(item) is bytes or type(item) is str or type(item) is int or type(item) is float


cdef object _dumped(object dumps, object item):
    """What a custom serializer makes of an item."""
    data = dumps(item)
    if isinstance(data, (bytes, bytearray, str)):
        return data
    if isinstance(data, memoryview):
        return bytes(data)
    raise TypeError(
        f"the serializer's dumps returned {type(data).__name__!r} for an item of type"
        f" {type(item).__name__!r}; it must return bytes, a bytearray, a memoryview or a str"
    )
