# cython: binding=False, embedsignature=True, embedsignature.format=clinic
"""Items that are made where they will lie: reserve memory of the queue, fill it, publish it.

A reservation is a block that this process holds, lent as a draft (_native/loans.h). Publishing it
puts a reference to it, so nothing is copied. What was written to must be nobody's then: the
buffer is taken away from the user first. Where that can't be done, because other objects use
the memory as well, they keep it, and what is published is a copy.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.ref cimport PyObject

from shmqueue._blocks cimport Loan, refer_to_block
from shmqueue._buffers cimport copy_unlocked, is_only_a_variables
from shmqueue._codec cimport (
    IN_PLACE_BYTES, KIND_ARRAY, KIND_BYTES, POLICY_BYTES, array_head, let_go_of_array,
)
from shmqueue._pool cimport block_drop, block_take
from shmqueue._protocol cimport shmq_block_ref, shmq_is_closed, shmq_record
from shmqueue._queue cimport ObjectQueue

import operator

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *) noexcept


@cython.final
@cython.no_gc_clear
cdef class Reservation:
    """Memory of a queue to be filled and then published as an item; see `reserve`.

    A context manager: entering gives the buffer, leaving publishes what is in it, and leaving by an
    exception gives it up. Without one: `buffer`, then `commit` or `abort`.

    The buffer can't be used afterwards: a memoryview is released, an array is empty. If more than
    the variable of the context refers to it then, or anything made of it is still there, that keeps
    its memory, and what is published is a copy. So the variable is to be left alone: put in its
    place, what was made of the buffer (a memoryview, a tensor, an array of another class) would be
    taken for it, and would see what becomes of the memory.
    """

    def __dealloc__(self):
        # Given up without a word: who still uses the buffer has it as a view.
        if self.loan is not None:
            self.loan.keep()

    def __init__(self, *args, **kwargs):
        raise TypeError("reservations are made by the reserve methods of a queue")

    cdef object _memory(self, object size, uint32_t kind):
        """Memory for a payload of this size, as what exports it."""
        cdef uint32_t block
        cdef Loan loan
        self.kind = kind
        if size > self.attachment.view.pool_limit_bytes:
            self.attachment._raise_no_memory(size)
        self.size = size
        self.epoch = self.attachment.view.epoch
        if size >= IN_PLACE_BYTES or size > self.attachment.item_size:
            loan = Loan(self.attachment)
            block_take(self.attachment, self.size, &block, self.deadline_ns, &self.queue.handle)
            loan.begin(block, self.size, kind, True, None)
            if loan.lend():
                self.attachment.see_to_views()  # it may become one
                self.loan = loan
                return loan
        # Small; or its addresses are not to be had now, as where an array is that was in use when
        # this process forked.
        self.private = bytearray(size)
        return self.private

    @property
    def buffer(self):
        """What to write to: a memoryview, or an array; ValueError once it was published."""
        self._check_open()
        return self._buffer

    def __enter__(self):
        """Return the buffer."""
        self._check_open()
        self.was_entered = True
        return self._buffer

    def __exit__(self, exc_type, exc, traceback):
        """Publish the item, or give it up if an exception came."""
        if self.fate is not None:
            return
        if exc_type is None:
            self.commit()
        else:
            self.abort()

    def commit(self, nbytes=None):
        """Publish what is in the buffer as an item; the buffer can't be used afterwards.

        Parameters
        ----------
        nbytes : int, optional
            How much of it, from its start on, if it is less than was reserved; not of an array.

        Raises
        ------
        ValueError
            If it was published or given up already, `nbytes` is not between 0 and what was
            reserved, the queue is closed, or another process reserved it, from which this one was
            forked.
        queue.Full
            If others took the room meanwhile, and there was none in what is left of the timeout.
            The item is given up then.
        """
        cdef uint64_t size = self.size
        self._check_open()
        if nbytes is not None:
            if self.kind == KIND_ARRAY or not isinstance(self._buffer, memoryview):
                raise ValueError("an array is published whole: leave nbytes out")
            nbytes = operator.index(nbytes)
            if not 0 <= nbytes <= self.size:
                raise ValueError(f"nbytes must be between 0 and {self.size}, not {nbytes}")
            size = nbytes
        self._decide("is being published")
        try:
            self._put(size)
        except BaseException:
            self._give_up()
            self.fate = "was given up already"
            raise
        self.fate = "was published already"

    def abort(self):
        """Give up the item: its memory goes back to the queue, or stays with who still uses it.

        Raises
        ------
        ValueError
            If it was published or given up already.
        """
        self._decide("was given up already")
        self._give_up()

    cdef int _check_open(self) except -1:
        if self.fate is not None:
            raise ValueError(f"the reservation {self.fate}")
        return 0

    cdef int _decide(self, str fate) except -1:
        """Close it, for one caller only, whichever thread comes first."""
        with cython.critical_section(self):
            self._check_open()
            self.fate = fate
        return 0

    cdef int _give_up(self) except -1:
        """Leave the memory to who still uses it, or to the queue."""
        if self._buffer is not None and not self._let_go() and self.loan is not None:
            self.loan.keep()
        self.loan = None
        self.private = None
        return 0

    cdef bint _let_go(self) except -1:
        """Take the buffer away from the user; False if other objects use its memory.

        Counts of references tell. One of the user's is taken for the variable of the context, since
        that is still there when it is left.
        """
        cdef object buffer = self._buffer
        self._buffer = None
        if isinstance(buffer, memoryview):
            if not is_only_a_variables(buffer, self.was_entered):
                return False
            try:
                buffer.release()
            except BufferError:
                return False
        else:
            keeper = self.attachment if self.private is None else self.private
            if not let_go_of_array(buffer, 1 if self.was_entered else 0, keeper):
                return False
        # What was made of the buffer, such as a part of a memoryview, has a reference of its own.
        return self.loan is not None and Py_REFCNT(<PyObject *>self.loan) == 1

    cdef int _put(self, uint64_t size) except -1:
        cdef shmq_block_ref ref
        cdef shmq_record record
        cdef uint32_t block
        if shmq_is_closed(&self.queue.handle):
            self.queue._raise_closed()
        if not self.attachment.is_mine() or self.attachment.view.epoch != self.epoch:
            raise ValueError(
                "another process made the reservation, from which this one was forked: only that"
                " one can publish it"
            )
        if self.private is not None and size <= self.attachment.item_size:
            self._let_go()
            return self._put_in_slot(PyByteArray_AS_STRING(self.private), size)
        if size == 0:
            # A slot without payload: no block refers to nothing.
            self._give_up()
            return self._put_in_slot(b"", 0)
        block = self._block_to_put(size)
        self.loan = None
        refer_to_block(block, size, self.kind, &ref, &record)
        record.data = &ref
        try:
            self.attachment.put(&record, 1, self.deadline_ns, &self.queue.handle)
        except BaseException:
            block_drop(self.attachment, block)
            raise
        return 0

    cdef uint32_t _block_to_put(self, uint64_t size) except? 0xFFFFFFFF:
        """The block with the item: the reserved one, or a copy of it if that is still in use."""
        cdef uint32_t block
        cdef uint8_t *target
        cdef const void *source
        if self._let_go():
            return self.loan.take_block()
        if self.loan is None:
            source = PyByteArray_AS_STRING(self.private)
        else:
            self.loan.keep()
            source = self.loan.memory
        target = block_take(self.attachment, size, &block, self.deadline_ns, &self.queue.handle)
        copy_unlocked(target, source, size)
        return block

    cdef int _put_in_slot(self, const char *data, uint64_t size) except -1:
        cdef shmq_record record
        record.data = data
        record.length = <uint32_t>size
        record.kind = self.kind
        record.flags = 0
        record.item_bytes = size
        return self.attachment.put(&record, 1, self.deadline_ns, &self.queue.handle)


cdef Reservation _new(ObjectQueue queue, uint64_t deadline_ns):
    """A reservation, once there is room for an item; raises Full otherwise."""
    cdef Reservation reservation = Reservation.__new__(Reservation)
    reservation.queue = queue
    reservation.attachment = queue._open()
    reservation.deadline_ns = deadline_ns
    reservation.attachment.await_room(1, deadline_ns, &queue.handle)
    return reservation


cdef Reservation reserve_bytes(ObjectQueue queue, object nbytes, uint64_t deadline_ns):
    cdef Reservation reservation
    nbytes = operator.index(nbytes)
    if nbytes < 0:
        raise ValueError(f"nbytes must not be negative: {nbytes}")
    reservation = _new(queue, deadline_ns)
    reservation._buffer = memoryview(reservation._memory(nbytes, KIND_BYTES))
    return reservation


cdef Reservation reserve_array(ObjectQueue queue, object shape, object dtype,
                               uint64_t deadline_ns):
    cdef Reservation reservation
    cdef bytes head
    cdef uint32_t kind = KIND_ARRAY
    import numpy
    head, data_bytes = array_head(shape, dtype)
    if queue.policy == POLICY_BYTES:
        # Bytes go in, bytes come out: the array is only a way to write them.
        head, kind = b"", KIND_BYTES
    reservation = _new(queue, deadline_ns)
    memory = reservation._memory(len(head) + data_bytes, kind)
    memoryview(memory)[: len(head)] = head
    # A view of it: what the user makes of that refers to the whole, which nobody else does.
    reservation._buffer = numpy.ndarray(shape, dtype, memory, len(head)).view()
    return reservation
