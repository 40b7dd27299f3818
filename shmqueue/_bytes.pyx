# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Bytes out of the ring without a codec, copied or where they lie."""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from shmqueue._blocks cimport Loan, copy_of_loan
from shmqueue._buffers cimport copy_unlocked, is_only_a_variables
from shmqueue._codec cimport KIND_BYTES, POLICY_BYTES, is_of_objects
from shmqueue._consumer cimport Consumer, take_with
from shmqueue._core cimport Attachment
from shmqueue._deadlines cimport deadline_ns_of
from shmqueue._kept cimport raise_kept
from shmqueue._protocol cimport SHMQ_NO_BLOCK, SHMQ_OK, shmq_taken
from shmqueue._readers cimport Reader


cdef enum:
    SCRATCH_BYTES = 16384


@cython.final
cdef class ItemView:
    """A bytes item where it arrived; see `BytesConsumer.get_view`.

    A context manager whose value is a memoryview. The memory goes back to the queue when it is
    left, or when the last object that was made of the memoryview is gone.
    """

    cdef object view
    cdef bint was_entered

    def __init__(self, *args, **kwargs):
        raise TypeError("views are made by the get_view method of a queue")

    def __enter__(self):
        """Return the memoryview; ValueError once it was released."""
        if self.view is None:
            raise ValueError("the view was released already")
        self.was_entered = True
        return self.view

    def __exit__(self, exc_type, exc, traceback):
        """Release the memoryview."""
        self.release()

    def release(self):
        """Release the memoryview, which can't be used afterwards; again it does nothing.

        If more than the variable of the context refers to it, such as a tensor, it stays, and so
        does its memory until that is gone.
        """
        cdef object view = self.view
        self.view = None
        if view is None or not is_only_a_variables(view, self.was_entered):
            return
        try:
            view.release()
        except BufferError:
            pass  # an array of it is in use, and keeps the memory


cdef class BytesConsumer(Consumer):
    """What takes bytes as they are, beside `get`."""

    def get_bytes(self, block=True, timeout=None):
        """Take the oldest item, which must be bytes.

        Parameters
        ----------
        block, timeout
            As in `get`.

        Returns
        -------
        bytes

        Raises
        ------
        TypeError
            If the item is not bytes; this handle keeps it, for its next `get`.
        queue.Empty, ValueError, CorruptItemError
            As in `get`.
        """
        cdef Reader reader = self._open_reader()
        cdef Attachment attachment = self._open()
        payload = self._next_bytes(attachment, reader, deadline_ns_of(block, timeout))
        return self._copied(attachment, payload) if type(payload) is Loan else payload

    def get_into(self, buffer, block=True, timeout=None):
        """Take the oldest item, which must be bytes, into a buffer of the caller's.

        Parameters
        ----------
        buffer : bytes-like object
            Writable and contiguous.
        block, timeout
            As in `get`.

        Returns
        -------
        int
            How many bytes the item has; they are at the start of the buffer.

        Raises
        ------
        ValueError
            If the item is larger than the buffer; it stays, for the next `get`.
        TypeError
            If the item is not bytes; this handle keeps it, for its next `get`, though it may have
            been copied out before. Or if the buffer can't be written.
        queue.Empty, CorruptItemError
            As in `get`.
        """
        cdef Py_buffer target
        cdef Reader reader = self._open_reader()
        cdef Attachment attachment = self._open()
        cdef uint64_t deadline_ns = deadline_ns_of(block, timeout)
        try:
            PyObject_GetBuffer(buffer, &target, PyBUF_WRITABLE)
        except BufferError as error:
            raise TypeError(f"the buffer must be writable and contiguous: {error}") from None
        try:
            if is_of_objects(buffer):
                raise TypeError("the buffer holds references to objects: bytes can't replace them")
            return self._get_into(attachment, reader, &target, deadline_ns)
        finally:
            PyBuffer_Release(&target)

    def get_view(self, block=True, timeout=None):
        """Take the oldest item, which must be bytes, without copying it.

        Parameters
        ----------
        block, timeout
            As in `get`.

        Returns
        -------
        context manager
            Entering gives a memoryview of the item; leaving releases it, and gives its memory back
            to the queue. It can be written to; one that a group of a stream has, only if the group
            was opened with `writes`. An item that fits into a slot is copied; a group's copy
            can't be written to.

        Raises
        ------
        TypeError
            If the item is not bytes; this handle keeps it, for its next `get`.
        queue.Empty, ValueError, CorruptItemError
            As in `get`.
        """
        cdef ItemView item = ItemView.__new__(ItemView)
        cdef Reader reader = self._open_reader()
        cdef Attachment attachment = self._open()
        cdef bint is_copied = True
        attachment.see_to_views()  # before an item is taken: it runs code that can be interrupted
        payload = self._next_bytes(attachment, reader, deadline_ns_of(block, timeout))
        if type(payload) is Loan:
            is_copied = not (<Loan>payload).lend()
            (<Loan>payload).count(not is_copied)
            if is_copied:
                payload = self._copied(attachment, payload)
        if is_copied and reader is None:
            try:
                payload = bytearray(payload)
            except MemoryError:
                self._keep_first(attachment, (KIND_BYTES, payload))
                raise
        item.view = memoryview(payload)
        return item

    cdef object _next_bytes(self, Attachment attachment, Reader reader, uint64_t deadline_ns):
        """Take the payload of the next item, if it is bytes: bytes, or a loan."""
        cdef uint8_t scratch[SCRATCH_BYTES]
        cdef shmq_taken taken
        cdef uint64_t count
        cdef tuple kept = None
        if self.pending is not None:
            kept = self._pop_pending(attachment)
        if kept is not None:
            pass  # it comes before what is in the ring
        elif take_with(attachment, reader, 1, scratch, SCRATCH_BYTES, 0, &taken, &count,
                       deadline_ns, &self.handle) != SHMQ_OK:
            kept = self._take_large(attachment, reader, &taken, deadline_ns)
        else:
            kept = taken.kind, (<char *>scratch)[: taken.length]
        self._check_bytes(attachment, kept)
        return kept[1]

    cdef bytes _copied(self, Attachment attachment, Loan loan):
        """The bytes of a block; without memory for them, the next get tries again."""
        try:
            return copy_of_loan(loan)
        except MemoryError:
            self._keep_first(attachment, (KIND_BYTES, loan))
            raise

    cdef int _check_bytes(self, Attachment attachment, tuple kept) except -1:
        """Raise, and keep the item, if it is not bytes."""
        raise_kept(kept)
        if kept[0] == KIND_BYTES:
            return 0
        if self.policy == POLICY_BYTES:
            self._raise_not_bytes(kept[0])
        self._keep_first(attachment, kept)
        raise TypeError("the next item is not bytes: get() returns it")

    cdef object _get_into(self, Attachment attachment, Reader reader, Py_buffer *target,
                          uint64_t deadline_ns):
        cdef shmq_taken taken
        cdef uint64_t count
        cdef uint8_t *memory = <uint8_t *>target.buf
        cdef uint64_t room = target.len
        cdef Loan loan = None
        while True:
            if self.pending is not None:
                size = self._pending_into(attachment, memory, room)
                if size is not None:
                    return size
            if take_with(attachment, reader, 1, memory, room, 0 if loan is None else room, &taken,
                         &count, deadline_ns, &self.handle) == SHMQ_OK:
                break
            if taken.length > room:
                raise ValueError(
                    f"the next item has {taken.length} bytes, the buffer only {room}"
                )
            # It lies in a block, unless somebody else takes it first.
            loan = Loan(attachment)
            if reader is not None:
                reader.see_to_pinner()
        if taken.block != SHMQ_NO_BLOCK:
            loan.begin(taken.block, taken.length, taken.kind, False, reader)
            self._check_bytes(attachment, (taken.kind, loan))
            copy_unlocked(memory, loan.memory, loan.size)
        elif taken.kind != KIND_BYTES:
            self._check_bytes(attachment, (taken.kind, (<char *>memory)[: taken.length]))
        return taken.length

    cdef object _pending_into(self, Attachment attachment, uint8_t *memory, uint64_t room):
        """As `_get_into`, of what was kept; None if nothing was."""
        cdef tuple kept = self._pop_pending(attachment)
        cdef Loan loan
        if kept is None:
            return None
        self._check_bytes(attachment, kept)
        if type(kept[1]) is Loan:
            loan = kept[1]
            size = loan.size
        else:
            size = PyBytes_GET_SIZE(kept[1])
        if size > room:
            self._keep_first(attachment, kept)
            raise ValueError(f"the next item has {size} bytes, the buffer only {room}")
        if type(kept[1]) is Loan:
            copy_unlocked(memory, loan.memory, loan.size)
        else:
            memcpy(memory, PyBytes_AS_STRING(kept[1]), size)
        return size
