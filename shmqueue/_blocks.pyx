# cython: binding=False
"""Large items: payloads that lie in blocks of the pool, and the slots that refer to them."""

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._codec cimport Payload
from shmqueue._core cimport Attachment
from shmqueue._protocol cimport SHMQ_SLOT_IN_BLOCK, shmq_block_ref, shmq_record


cdef int write_block(Attachment attachment, const Payload *payload, shmq_block_ref *ref,
                     shmq_record *record, uint64_t deadline_ns,
                     const uint32_t *closed) except -1:
    """Put a payload into a block and describe the slot that refers to it, but for its data."""
    attachment.block_write(payload.data, payload.size, ref, deadline_ns, closed)
    record.length = sizeof(shmq_block_ref)
    record.kind = payload.kind
    record.flags = SHMQ_SLOT_IN_BLOCK
    record.item_bytes = payload.size
    return 0
