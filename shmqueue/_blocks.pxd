"""What other extension modules cimport: payloads in blocks."""

from libc.stdint cimport uint32_t, uint64_t

from shmqueue._codec cimport Payload
from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_block_ref, shmq_record


cdef int write_block(Attachment attachment, const Payload *payload, shmq_block_ref *ref,
                     shmq_record *record, uint64_t deadline_ns,
                     const uint32_t *closed) except -1
