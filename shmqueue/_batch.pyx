# cython: binding=False
"""Several items put at once: encoded one behind the other, then one commit for them all."""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from shmqueue._blocks cimport fits_slot, write_block
from shmqueue._codec cimport Payload, encode, payload_clear
from shmqueue._core cimport Attachment
from shmqueue._pool cimport block_drop
from shmqueue._protocol cimport SHMQ_SLOT_IN_BLOCK, shmq_block_ref, shmq_record


@cython.final
cdef class Batch:
    """Encoded items on their way into the ring; gives back what it holds however it ends."""

    def __cinit__(self, Attachment attachment not None, size_t expected):
        self.attachment = attachment
        self.records = <shmq_record *>malloc(expected * sizeof(shmq_record))
        self.arena_bytes = 64 * expected
        self.arena = <char *>malloc(self.arena_bytes)
        if self.records == NULL or self.arena == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint64_t i
        cdef const shmq_block_ref *ref
        if not self.done:
            for i in range(self.count):
                if self.records[i].flags & SHMQ_SLOT_IN_BLOCK:
                    ref = <const shmq_block_ref *>(self.arena + <size_t>self.records[i].data)
                    block_drop(self.attachment, ref.block)
        free(self.records)
        free(self.arena)

    cdef int append(self, object item, int policy, uint64_t deadline_ns,
                    const shmq_handle *handle) except -1:
        cdef Payload payload
        cdef shmq_block_ref ref
        cdef shmq_record *record = &self.records[self.count]
        encode(item, policy, &payload)
        try:
            if fits_slot(&payload, self.attachment):
                # Until the arena stands still, `data` is an offset into it.
                record.data = <const void *>self.reserve(payload.size)
                memcpy(self.arena + <size_t>record.data, payload.data, payload.size)
                record.length = <uint32_t>payload.size
                record.kind = payload.kind
                record.flags = 0
                record.item_bytes = payload.size
            else:
                record.data = <const void *>self.reserve(sizeof(ref))
                write_block(self.attachment, &payload, &ref, record, deadline_ns, handle)
                memcpy(self.arena + <size_t>record.data, &ref, sizeof(ref))
        finally:
            payload_clear(&payload)
        self.count += 1
        return 0

    cdef size_t reserve(self, size_t size) except? 1:
        """Make room for `size` bytes and return their offset."""
        cdef size_t offset = self.used
        cdef size_t wanted = offset + (size + 7) // 8 * 8
        cdef char *larger
        if wanted > self.arena_bytes:
            larger = <char *>realloc(self.arena, wanted * 2)
            if larger == NULL:
                raise MemoryError
            self.arena = larger
            self.arena_bytes = wanted * 2
        self.used = wanted
        return offset

    cdef int put(self, uint64_t deadline_ns, const shmq_handle *handle) except -1:
        cdef uint64_t i
        for i in range(self.count):
            self.records[i].data = self.arena + <size_t>self.records[i].data
        try:
            self.attachment.put(self.records, self.count, deadline_ns, handle)
            self.done = True
        finally:
            for i in range(self.count):
                self.records[i].data = <const void *>(<char *>self.records[i].data - self.arena)
        return 0
