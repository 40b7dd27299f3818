# cython: binding=False
"""Large items: payloads that lie in blocks of the pool, and the objects that lie there, too.

A payload is written into its block before the tail is claimed, and read from it after the head was
moved. What arrives as an array stays in the block: the array's memory is the block's, and a `Loan`
that it refers to gives the block back when nobody uses it any more (see _native/loans.h).
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from shmqueue._buffers cimport Run, copy_unlocked, fresh_bytes, fresh_run
from shmqueue._codec cimport (
    KIND_ARRAY,
    KIND_BYTEARRAY,
    KIND_BYTES,
    KIND_PARTS,
    KIND_PICKLE,
    Payload,
    decode,
    decode_in_place,
    in_place_bytes,
    payload_write,
)
from shmqueue._core cimport Attachment
from shmqueue._loans cimport (
    shmq_block_let_go,
    shmq_count_large,
    shmq_loan,
    shmq_loan_begin,
    shmq_loan_end,
    shmq_loan_keep,
    shmq_loan_lend,
    shmq_loan_memory,
    shmq_loan_take_block,
    shmq_loans_watch_forks,
)
from shmqueue._pool cimport block_drop, block_take
from shmqueue._protocol cimport (
    SHMQ_CORRUPT,
    SHMQ_NO_PINNER,
    SHMQ_SLOT_IN_BLOCK,
    shmq_block_ref,
    shmq_pool_is_to_settle,
    shmq_pool_settle,
    shmq_record,
)


if shmq_loans_watch_forks() != 0:
    raise MemoryError("no memory to be told of forks with")


cdef int write_block(Attachment attachment, Payload *payload, shmq_block_ref *ref,
                     shmq_record *record, uint64_t deadline_ns,
                     const shmq_handle *handle) except -1:
    """Put a payload into a block and describe the slot that refers to it, but for its data."""
    cdef uint32_t block
    cdef uint8_t *target = block_take(attachment, payload.size, &block, deadline_ns, handle)
    try:
        payload_write(payload, <char *>target)
    except BaseException:
        block_drop(attachment, block)
        raise
    refer_to_block(block, payload.size, payload.kind, ref, record)
    return 0


cdef int refer_to_block(uint32_t block, uint64_t size, uint32_t kind, shmq_block_ref *ref,
                        shmq_record *record) noexcept:
    """Describe the slot that refers to a block, but for its data, which is `ref`."""
    ref.block = block
    ref.reserved = 0
    ref.length = size
    record.length = sizeof(shmq_block_ref)
    record.kind = kind
    record.flags = SHMQ_SLOT_IN_BLOCK
    record.item_bytes = size
    return 0


# Without the collector's help: it refers to nothing that could refer to it, and its references are
# needed until it is deallocated.
@cython.final
@cython.no_gc
cdef class Loan:
    """A block in this process's hands; its memory as a buffer, writable, if it is lent.

    Whatever uses the memory keeps the loan alive, and the loan keeps the segment mapped. So the
    block goes back when the last of them dies, in whichever thread, whatever became of the queue.
    """

    def __cinit__(self, Attachment attachment not None):
        self.attachment = attachment
        # Before a block is taken: a block in hand without a record of it would be lost.
        self.spare = <shmq_loan *>malloc(sizeof(shmq_loan))
        if self.spare == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.end()
        free(self.spare)

    cdef int begin(self, uint32_t block, uint64_t size, uint32_t kind, bint is_draft,
                   Reader reader) except -1:
        """Make a block that this seat holds, or that `reader` has pinned, this loan's."""
        cdef uint32_t pinner = SHMQ_NO_PINNER if reader is None else reader.reader.pinner
        self.size = size
        self.kind = kind
        self.reader = reader
        if not shmq_loan_begin(self.spare, self.attachment.view, block, size, is_draft, pinner):
            shmq_block_let_go(self.attachment.view, block, pinner)
            self.attachment._raise_for(SHMQ_CORRUPT)
        self.loan = self.spare
        self.loan.is_written = reader is not None and reader.writes
        self.memory = shmq_loan_memory(self.loan)
        return 0

    cdef bint lend(self) except -1:
        """Have `memory` be what objects may use, in place; False if they rather shouldn't."""
        if not shmq_loan_lend(self.loan):
            return False
        self.memory = shmq_loan_memory(self.loan)
        return True

    cdef int count(self, bint in_place) noexcept:
        """Count it as an item that was got in place, or copied."""
        shmq_count_large(self.attachment.view, in_place)
        return 0

    cdef int end(self) noexcept:
        """Give the block back, if it is still held; nobody uses its memory any more."""
        if self.loan != NULL:
            shmq_loan_end(self.loan)
            self.loan = NULL
        return 0

    cdef uint32_t take_block(self) noexcept:
        """Take the block out of a draft that is ours, to put it."""
        return shmq_loan_take_block(self.loan)

    cdef int keep(self) noexcept:
        """Leave a draft to the objects that use its memory."""
        shmq_loan_keep(self.loan)
        return 0

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.loan == NULL or not self.loan.is_lent:
            raise BufferError("the block is not lent")
        PyBuffer_FillInfo(buffer, self, self.memory, self.size, self.is_read_only, flags)

    @property
    def is_read_only(self):
        """Whether others see the memory as well, so that nobody writes to it: it is a stream's."""
        return self.reader is not None and not self.reader.writes


cdef object open_loan(Loan loan, bint copy):
    """Make the item of a block that was taken from the ring.

    Afterwards the block is given back, or in the hands of the item. After an error it may be tried
    again; what the first attempt made in place, if anything, keeps the memory, and the second one
    copies.
    """
    cdef Attachment attachment = loan.attachment
    cdef const char *data = <const char *>loan.memory
    cdef bint was_lent = loan.loan.is_lent
    cdef uint64_t lent
    cdef Run run
    attachment.see_to_views()
    # What a burst left goes back.
    if shmq_pool_is_to_settle(attachment.view, loan.size):
        with nogil:
            shmq_pool_settle(attachment.view, loan.size)
    lent = in_place_bytes(loan.kind, data, loan.size)
    # What keeps a block for a small part of it is rather copied; but not what is to be changed.
    if (not copy and not was_lent and lent > 0
            and (2 * lent >= loan.loan.block_bytes or loan.loan.is_written) and loan.lend()):
        loan.has_run_code = loan.kind == KIND_PARTS
        item = decode_in_place(loan.kind, <const char *>loan.memory, loan.size, loan)
        loan.count(True)
        return item
    if loan.kind == KIND_BYTES:
        item = copy_of_loan(loan)
    elif loan.kind == KIND_ARRAY or loan.kind == KIND_BYTEARRAY:
        item = decode(loan.kind, data, loan.size)
    elif loan.kind == KIND_PARTS:
        run = fresh_run(loan.size)
        copy_unlocked(run.data, data, loan.size)
        loan.has_run_code = True
        item = decode_in_place(loan.kind, run.data, loan.size, run)
    else:
        # Their decoders look twice at some of it: from memory that nobody else can write to.
        private = copy_of_loan(loan)
        loan.has_run_code = loan.kind == KIND_PICKLE
        item = decode(loan.kind, PyBytes_AS_STRING(private), loan.size)
    if lent > 0:
        loan.count(False)
    if not was_lent:
        loan.end()
    return item


cdef bytes copy_of_loan(Loan loan):
    """The payload as bytes of their own."""
    cdef bytes private = fresh_bytes(loan.size)
    copy_unlocked(PyBytes_AS_STRING(private), loan.memory, loan.size)
    return private
