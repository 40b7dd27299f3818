"""The loans of blocks as Cython sees them; cimported by _blocks.pyx alone, since the list of a
process's loans is that module's own."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shmqueue._protocol cimport shmq_view

cdef extern from "_native/loans.h" nogil:
    ctypedef struct shmq_loan:
        uint64_t block_bytes
        uint32_t block
        uint32_t is_lent
        uint32_t is_written

    bint shmq_loan_begin(shmq_loan *, shmq_view *, uint32_t block, uint64_t size, bint is_draft,
                         uint32_t pinner)
    void shmq_block_let_go(const shmq_view *, uint32_t block, uint32_t pinner)
    bint shmq_loan_lend(shmq_loan *)
    void shmq_loan_end(shmq_loan *)
    void shmq_loan_keep(shmq_loan *)
    uint32_t shmq_loan_take_block(shmq_loan *)
    uint8_t *shmq_loan_memory(const shmq_loan *)
    void shmq_count_large(const shmq_view *, bint in_place)
    int shmq_loans_watch_forks()
