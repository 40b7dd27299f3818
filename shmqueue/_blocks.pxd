"""What other extension modules cimport: payloads in blocks."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shmqueue._codec cimport Payload, payload_is_flat
from shmqueue._core cimport Attachment
from shmqueue._loans cimport shmq_loan
from shmqueue._protocol cimport shmq_block_ref, shmq_handle, shmq_record
from shmqueue._readers cimport Reader


cdef inline bint fits_slot(const Payload *payload, Attachment attachment) noexcept:
    """Whether the item is for a slot. What may stay where it arrives is for a block."""
    return payload.size <= attachment.view.slot_payload_bytes and payload_is_flat(payload)


cdef int write_block(Attachment attachment, Payload *payload, shmq_block_ref *ref,
                     shmq_record *record, uint64_t deadline_ns,
                     const shmq_handle *handle) except -1
cdef int refer_to_block(uint32_t block, uint64_t size, uint32_t kind, shmq_block_ref *ref,
                        shmq_record *record) noexcept
cdef object open_loan(Loan loan, bint copy)
cdef bytes copy_of_loan(Loan loan)


cdef class Loan:
    cdef Attachment attachment
    cdef shmq_loan *loan    # NULL: not yet, or no more
    cdef shmq_loan *spare   # memory for it
    cdef uint8_t *memory    # of the payload: where it is copied from, or what is lent
    cdef uint64_t size
    cdef uint32_t kind
    cdef Reader reader      # of the group it was taken from, which has pinned it; or None
    cdef bint has_run_code  # of the item's own: loading it isn't tried a second time

    cdef int begin(self, uint32_t block, uint64_t size, uint32_t kind, bint is_draft,
                   Reader reader) except -1
    cdef bint lend(self) except -1
    cdef int count(self, bint in_place) noexcept
    cdef int end(self) noexcept
    cdef uint32_t take_block(self) noexcept
    cdef int keep(self) noexcept
