"""What other extension modules cimport: blocks, taken, read and given back."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport shmq_handle, shmq_reader, shmq_taken

cdef uint8_t *block_take(Attachment attachment, uint64_t size, uint32_t *index,
                         uint64_t deadline_ns, const shmq_handle *handle) except NULL
cdef int block_drop(Attachment attachment, uint32_t index) except -1
cdef int block_read(Attachment attachment, const shmq_reader *reader, const shmq_taken *taken,
                    uint8_t *buffer) except -1
