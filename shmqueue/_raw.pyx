# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Bytes into the ring without a codec, and memory of the queue to write to."""

from libc.stdint cimport uint64_t

from shmqueue._codec cimport Payload, encode_bytes
from shmqueue._core cimport AT_ONCE, Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._queue cimport ObjectQueue
from shmqueue._reservations cimport reserve_array, reserve_bytes


cdef class RawQueue(ObjectQueue):
    """What queues of bytes are used by, beside `put` and `get`."""

    def put_bytes(self, data, block=True, timeout=None):
        """Put the bytes of a buffer, whatever the serializer: `get` returns them as bytes.

        With a custom serializer `get` hands them to its ``loads``; `get_bytes` doesn't.

        Parameters
        ----------
        data : bytes-like object
            Anything contiguous: bytes, bytearray, memoryview, an array. Any size.
        block, timeout
            As in `put`.

        Raises
        ------
        TypeError
            If it is no buffer.
        ValueError
            If it is not contiguous, or the queue is closed.
        queue.Full, OSError
            As in `put`.
        """
        cdef Payload payload
        cdef uint64_t deadline_ns = deadline_ns_of(block, timeout)
        cdef Attachment attachment = self._open()
        self._check_any("put_bytes")
        encode_bytes(data, &payload)
        self._put_payload(attachment, &payload, deadline_ns)

    def reserve(self, nbytes, block=True, timeout=None):
        """Reserve memory of the queue, to be filled and published as an item without a copy.

        ``with queue.reserve(n) as buffer:`` gives a writable memoryview; leaving it publishes
        what is in it, an exception gives it up. Nothing is seen of it before, and nothing is left
        of it if this process dies.

        Parameters
        ----------
        nbytes : int
            How many bytes the item has, or at most (see `Reservation.commit`).
        block, timeout
            As in `put`: the wait is for room in the queue, and what is left of the timeout is for
            publishing, if others took the room meanwhile.

        Returns
        -------
        Reservation
            `get` will return bytes.

        Raises
        ------
        ValueError
            If `nbytes` is negative, or the queue is closed.
        queue.Full
            If there was no room in time.
        OSError
            With errno ENOSPC, if there is not that much memory. The queue is as before.
        """
        self._check_any("reserve")
        return reserve_bytes(self, nbytes, deadline_ns_of(block, timeout))

    def reserve_array(self, shape, dtype=float, block=True, timeout=None):
        """Reserve memory of the queue as an array of numpy, to be filled and published.

        ``with queue.reserve_array((1080, 1920, 3), "uint8") as frame:`` gives the array, whatever
        was in its memory; leaving it publishes the array and empties it.

        Parameters
        ----------
        shape : int or tuple of int
        dtype : data-type, default float
            Anything but a dtype with objects in it.
        block, timeout
            As in `reserve`.

        Returns
        -------
        Reservation
            `get` will return the array; on a queue of bytes, its bytes.

        Raises
        ------
        TypeError
            If there can be no such array without objects.
        ValueError
            If a length is negative, or the queue is closed.
        queue.Full, OSError
            As in `reserve`.
        """
        self._check_any("reserve_array")
        return reserve_array(self, shape, dtype, deadline_ns_of(block, timeout))

    def _check_any(self, call):
        """Raise unless items of any size may be put."""
        if self.item_type is not None:
            raise TypeError(
                f"{call}() can't put items of one dtype: put() and put_batch() take them"
            )


cdef class StandardQueue(RawQueue):
    """A queue whose `put` calls its item what multiprocessing does."""

    def put(self, obj, block=True, timeout=None):
        """Put an item at the tail; it is serialised now and seen by others when this returns.

        Parameters
        ----------
        obj : object
            Any, of any size. What is not of a built-in type is pickled.
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
            With errno ENOSPC, if there is no shared memory for the item.
        Exception
            Whatever pickling the item raises. The queue is as before.
        """
        self._put(obj, deadline_ns_of(block, timeout))

    def put_nowait(self, obj):
        """Put an item if there is room now, or raise queue.Full; as ``put(obj, block=False)``."""
        self._put(obj, AT_ONCE)
