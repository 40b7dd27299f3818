# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Objects into the ring, and out of it: the codec on one side, the protocol on the other.

An item is encoded before the tail is claimed: no call into Python ever happens while an owner word
is held. What is larger than a slot goes through a block.
"""

from queue import Full

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._batch cimport Batch
from shmqueue._blocks cimport fits_slot, write_block
from shmqueue._bytes cimport BytesConsumer
from shmqueue._codec cimport Payload, encode, payload_clear
from shmqueue._core cimport AT_ONCE, Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._ending cimport join, shutdown, task_done
from shmqueue._protocol cimport shmq_block_ref, shmq_record


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
        # to fetch, can't be undone when there is no room. Plain items have nothing of the kind.
        if deadline_ns == AT_ONCE and not _is_plain(item) and not attachment.has_room(1):
            raise Full
        if self.dumps is not None:
            item = _dumped(self.dumps, item)
        encode(item, self.policy, &payload)
        return self._put_payload(attachment, &payload, deadline_ns)

    cdef int _put_payload(self, Attachment attachment, Payload *payload,
                          uint64_t deadline_ns) except -1:
        """Put what was encoded, and clear it in any case."""
        cdef shmq_record record
        try:
            if fits_slot(payload, attachment):
                record.data = payload.data
                record.length = <uint32_t>payload.size
                record.kind = payload.kind
                record.flags = 0
                record.item_bytes = payload.size
                attachment.put(&record, 1, deadline_ns, &self.handle)
            else:
                self._put_large(attachment, payload, deadline_ns)
        finally:
            payload_clear(payload)
        return 0

    cdef int _put_large(self, Attachment attachment, Payload *payload,
                        uint64_t deadline_ns) except -1:
        cdef shmq_block_ref ref
        cdef shmq_record record
        if deadline_ns == AT_ONCE and not attachment.has_room(1):
            raise Full
        write_block(attachment, payload, &ref, &record, deadline_ns, &self.handle)
        record.data = &ref
        try:
            attachment.put(&record, 1, deadline_ns, &self.handle)
        except BaseException:
            attachment.block_drop(ref.block)
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
        if count > 0 and deadline_ns == AT_ONCE and not attachment.has_room(count):
            raise Full
        return count > 0

    # ---- looking, waiting, ending ----

    def full(self):
        """Return True if there was no room for an item at this moment."""
        cdef Attachment attachment = self._open()
        return not attachment.has_room(1)

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
