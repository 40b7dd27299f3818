/* Loans: blocks in the hands of this process, whose memory objects of the user may use.
 *
 * A block that was taken from the ring, or that is being filled for it, is held by the seat
 * (blocks.h). While it is, a record here says so, and says whether its memory is lent: whether an
 * array of the user lies in it. All of this is private to the process; the segment knows a block
 * that the seat holds, and a sum of bytes.
 *
 * The protocol copies through the mapping of the segment. What is lent is lent from a second mapping
 * of the pool, so that the memory of an object can be made something else without the protocol's
 * notice: that is what a fork asks for. Parent and child would share the memory of every view, and
 * would see each other's writes, and the next item once the parent had dropped it. So before a fork,
 * whoever calls it, each view's range is mapped anew, private, and every page of it is copied by the
 * kernel, in place:
 *
 *   loan                 block     memory                     before a fork   in the child
 *   held, not lent       ours      not used by objects        unchanged       not its own
 *   view                 ours      the block                  -> private      (private)
 *   view of a stage      ours      the block                  copied          -> the copy, not its own
 *     that writes
 *   draft, being filled  ours      the block                  copied          -> the copy, not its own
 *   private              none      anonymous, at the same     unchanged       unchanged
 *                                  addresses
 *
 * No write of another thread is lost on the way: a write before the page was copied is in the copy,
 * one after it goes there. What is to be seen by others, a draft or what a stage writes, stays the
 * parent's and in its block: the child gets a copy that was made before the fork, since the parent may give
 * the block to others before the child has run at all. The block of a view that became private is free at
 * once. When the last object drops private memory, the pool is mapped there again; until then no block that
 * lies there is lent by this process (in a child, its parent's blocks live on). But for what a stage writes,
 * which would be of no use as a copy: that is mapped once more, elsewhere, and alone.
 *
 * Several groups of a stream may have got the same item: then several loans have the same memory, each with
 * a pin of its own. They become private together, and the last of them maps the pool there again; and if
 * one of them stays since it is written, all do.
 *
 * Kill points: none that blocks.h doesn't have. A dead process holds its blocks by its tag; what it
 * had lent went with its memory.
 *
 * How much may be viewed at all is limited (views.h); drafts are not counted.
 */
#ifndef SHMQ_LOANS_H
#define SHMQ_LOANS_H

#include "floor.h"
#include "views.h"

#include <pthread.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; refused before */
#endif

/* From here on a look at the file costs nothing beside the payload. */
#define SHMQ_LOAN_LARGE (UINT64_C(1) << 20)

typedef struct shmq_loan {
  struct shmq_loan *next; /* in the list of this process */
  struct shmq_loan **link;
  shmq_view *view;
  uint64_t epoch;   /* of the process that holds the block */
  uint64_t block_bytes; /* that are backed */
  uint64_t offset;      /* of its memory in the pool, and how much of it is used, in whole pages */
  uint64_t bytes;
  uint32_t block;   /* SHMQ_NO_BLOCK: not ours, or none any more */
  uint32_t is_lent;
  uint32_t is_draft;
  uint32_t is_remapped;
  uint32_t is_counted; /* in viewed_bytes and viewed_blocks */
  uint32_t pinner;     /* of a stream's block, which is pinned, not held; or SHMQ_NO_PINNER */
  uint8_t *elsewhere;  /* a mapping of its own, where private memory lies in the second one of the pool */
  uint32_t is_written; /* pinned, and changed in place for those who come after: stays, before a fork */
  void *copy;          /* during a fork, of what stays: for the child */
} shmq_loan;

/* Guards the list and the records; never held across a call into Python. */
static pthread_mutex_t shmq_loans_lock = PTHREAD_MUTEX_INITIALIZER;
static shmq_loan *shmq_loans = NULL;

/* ---- memory ------------------------------------------------------------------------------------ */

static inline uint8_t *shmq_loan_memory(const shmq_loan *loan) {
  if (loan->elsewhere != NULL) return loan->elsewhere;
  return (loan->is_lent ? loan->view->lent_pool : loan->view->pool) + loan->offset;
}

/* Maps memory of the pool once more, anywhere or at `at`. Of a shared mapping, an old size of 0 asks for
 * another one of the same memory, without a descriptor; where that is refused, as under valgrind, the
 * descriptor will do. */
static inline void *shmq_map_pool_again(const shmq_view *view, uint64_t offset, uint64_t bytes,
                                        void *at) {
  void *base = mremap(view->pool + offset, 0, bytes, MREMAP_MAYMOVE | (at ? MREMAP_FIXED : 0), at);
  if (base != MAP_FAILED || errno != EINVAL || !shmq_fd_is_ours(view)) return base;
  return mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), view->fd,
              (off_t)(view->pool_offset + offset));
}

/* Maps the pool a second time, once for each process: nonzero if it is there. Under the lock. */
static inline int shmq_map_lent_pool(shmq_view *view) {
  void *base;
  if (view->lent_pool != NULL) return !view->lends_no_more;
  base = shmq_map_pool_again(view, 0, view->pool_limit_bytes, NULL);
  if (base == MAP_FAILED) return 0;
  view->lent_pool = base;
  return 1;
}

/* Does memory of this process that is not the pool's any more lie there, in the second mapping? Under the
 * lock. */
static inline int shmq_is_remapped(const shmq_view *view, uint64_t offset, uint64_t bytes) {
  if (view->remapped_loans == 0) return 0;
  for (const shmq_loan *loan = shmq_loans; loan != NULL; loan = loan->next)
    if (loan->view == view && loan->is_remapped && loan->elsewhere == NULL && loan->offset < offset + bytes &&
        offset < loan->offset + loan->bytes)
      return 1;
  return 0;
}

/* Has another loan the same memory, and made it private already? Only pinned blocks are lent twice. */
static inline int shmq_loan_is_remapped_by_another(const shmq_loan *loan) {
  return loan->pinner != SHMQ_NO_PINNER && !loan->is_remapped && loan->elsewhere == NULL &&
         shmq_is_remapped(loan->view, loan->offset, loan->bytes);
}

/* Makes the loan's memory private to this process, where it is; its content stays. With `now`, at
 * once and for good: nonzero if that worked. Else each page when it is written to. Under the lock. */
static inline int shmq_loan_remap(shmq_loan *loan, int now) {
  shmq_view *view = loan->view;
  uint8_t *memory = shmq_loan_memory(loan);
  if (!loan->is_remapped) {
    if (!shmq_loan_is_remapped_by_another(loan) &&
        (!shmq_fd_is_ours(view) ||
         mmap(memory, loan->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, view->fd,
              (off_t)(view->pool_offset + loan->offset)) == MAP_FAILED))
      return 0;
    loan->is_remapped = 1;
    view->remapped_loans++;
  }
  if (!now || madvise(memory, loan->bytes, MADV_POPULATE_WRITE) == 0) return 1;
  if (errno != EINVAL) return 0;
  for (uint64_t at = 0; at < loan->bytes; at += SHMQ_PAGE) {
    uint8_t seen = load_relaxed(memory + at); /* relaxed: memory of this process */
    /* acq_rel: of no use; the fault copies. It changes nothing, so that no write of another thread is
     * lost; where it fails there was one, which copied as well. */
    cas_acq_rel(memory + at, &seen, seen);
  }
  return 1;
}

/* A copy in anonymous memory, or NULL where there is none for it. */
static inline void *shmq_loan_copy(const shmq_loan *loan) {
  void *copy = mmap(NULL, loan->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return NULL;
  memcpy(copy, shmq_loan_memory(loan), loan->bytes);
  return copy;
}

/* Moves a copy to where the loan's memory is: nonzero if that worked. What another thread wrote since it
 * was made is lost: for a child, which has one. */
static inline int shmq_loan_replace(shmq_loan *loan, void *copy) {
  if (copy == NULL) return 0;
  if (mremap(copy, loan->bytes, loan->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, shmq_loan_memory(loan)) ==
      MAP_FAILED) {
    munmap(copy, loan->bytes);
    return 0;
  }
  if (!loan->is_remapped) loan->view->remapped_loans++;
  loan->is_remapped = 1;
  return 1;
}

/* ---- from hand to hand ------------------------------------------------------------------------- */

/* Is the block this process's to give away? A child has its parent's records, not its blocks. */
static inline int shmq_loan_is_ours(const shmq_loan *loan) {
  return loan->block != SHMQ_NO_BLOCK && shmq_view_is_mine(loan->view) &&
         loan->epoch == loan->view->epoch;
}

/* Can a payload of this size be backed? A damaged descriptor may claim any size, and reading what was
 * never written takes memory: so none that is larger than all that the segment has. */
static inline int shmq_loan_is_plausible(const shmq_view *view, uint64_t size) {
  struct stat status;
  if (size < SHMQ_LOAN_LARGE || fstat(view->fd, &status) != 0 || status.st_dev != view->device ||
      status.st_ino != view->inode)
    return 1;
  return size <= (uint64_t)status.st_blocks * 512;
}

/* Lets go of a block that was taken: held, or pinned. */
static inline void shmq_block_let_go(const shmq_view *view, uint32_t block, uint32_t pinner) {
  if (pinner == SHMQ_NO_PINNER)
    shmq_block_free(view, block);
  else
    shmq_block_unpin(view, block, pinner);
}

/* Records a block that this seat holds, or has pinned, for a payload of `size` bytes: 1, or 0 where it
 * has fewer. */
static inline int shmq_loan_begin(shmq_loan *loan, shmq_view *view, uint32_t block, uint64_t size,
                                  int is_draft, uint32_t pinner) {
  shmq_loan fresh = {0};
  *loan = fresh;
  loan->block_bytes = shmq_block_backed_bytes(view, block);
  if (shmq_block_extent(view, block, &loan->offset) < size || loan->block_bytes < size ||
      !shmq_loan_is_plausible(view, size))
    return 0;
  loan->view = view;
  loan->epoch = view->epoch;
  loan->block = block;
  loan->is_draft = (uint32_t)is_draft;
  loan->pinner = pinner;
  loan->bytes = shmq_round_up(size, SHMQ_PAGE);
  pthread_mutex_lock(&shmq_loans_lock);
  loan->next = shmq_loans;
  loan->link = &shmq_loans;
  if (loan->next != NULL) loan->next->link = &loan->next;
  shmq_loans = loan;
  pthread_mutex_unlock(&shmq_loans_lock);
  return 1;
}

/* Nonzero if that worked. Under the lock. */
static inline int shmq_loan_map_elsewhere(shmq_loan *loan) {
  void *base = shmq_map_pool_again(loan->view, loan->offset, loan->bytes, NULL);
  if (base != MAP_FAILED) loan->elsewhere = base;
  return base != MAP_FAILED;
}

/* Lends its memory to objects: 1, or 0 when it should rather be copied out. */
static inline int shmq_loan_lend(shmq_loan *loan) {
  shmq_view *view = loan->view;
  /* What is to be changed in place is of no use elsewhere. */
  if (!loan->is_draft && !loan->is_written && !shmq_may_view(view, loan->block_bytes)) return 0;
  pthread_mutex_lock(&shmq_loans_lock);
  loan->is_lent =
      shmq_map_lent_pool(view) && (!shmq_is_remapped(view, loan->offset, loan->bytes) ||
                                   (loan->is_written && shmq_loan_map_elsewhere(loan)));
  if (loan->is_lent && !loan->is_draft)
    loan->is_counted = (uint32_t)shmq_viewed_add(view, loan->block_bytes);
  pthread_mutex_unlock(&shmq_loans_lock);
  return (int)loan->is_lent;
}

/* Gives the block back, if it is ours to give. Under the lock. */
static inline void shmq_loan_free_block(shmq_loan *loan) {
  if (shmq_loan_is_ours(loan)) {
    if (loan->is_counted) shmq_viewed_subtract(loan->view, loan->block_bytes);
    shmq_block_let_go(loan->view, loan->block, loan->pinner);
  }
  loan->is_counted = 0;
  loan->block = SHMQ_NO_BLOCK;
}

/* Ends the loan: nobody uses its memory any more. */
static inline void shmq_loan_end(shmq_loan *loan) {
  shmq_view *view = loan->view;
  pthread_mutex_lock(&shmq_loans_lock);
  if (loan->is_remapped) {
    loan->is_remapped = 0;
    view->remapped_loans--;
    if (loan->elsewhere == NULL && !shmq_loan_is_remapped_by_another(loan) &&
        shmq_map_pool_again(view, loan->offset, loan->bytes, view->lent_pool + loan->offset) ==
            MAP_FAILED)
      view->lends_no_more = 1;
  }
  if (loan->elsewhere != NULL) munmap(loan->elsewhere, loan->bytes);
  shmq_loan_free_block(loan);
  *loan->link = loan->next;
  if (loan->next != NULL) loan->next->link = loan->link;
  pthread_mutex_unlock(&shmq_loans_lock);
}

/* Of a draft: the block, which is the caller's from then on, to be put or given back; or
 * SHMQ_NO_BLOCK where it is another process's. */
static inline uint32_t shmq_loan_take_block(shmq_loan *loan) {
  pthread_mutex_lock(&shmq_loans_lock);
  uint32_t block = shmq_loan_is_ours(loan) ? loan->block : SHMQ_NO_BLOCK;
  if (block != SHMQ_NO_BLOCK) loan->block = SHMQ_NO_BLOCK;
  pthread_mutex_unlock(&shmq_loans_lock);
  return block;
}

/* Makes a draft a view: its memory stays with the objects that use it. */
static inline void shmq_loan_keep(shmq_loan *loan) {
  pthread_mutex_lock(&shmq_loans_lock);
  if (loan->is_draft && shmq_loan_is_ours(loan))
    loan->is_counted = (uint32_t)shmq_viewed_add(loan->view, loan->block_bytes);
  loan->is_draft = 0;
  pthread_mutex_unlock(&shmq_loans_lock);
}

/* ---- forks --------------------------------------------------------------------------------------- */

/* Must the loan's memory stay the pool's in this process, for others are to see what is written there? */
static inline int shmq_loan_stays(const shmq_loan *loan) {
  if (loan->is_draft || loan->is_written) return 1;
  if (loan->pinner == SHMQ_NO_PINNER) return 0;
  for (const shmq_loan *other = shmq_loans; other != NULL; other = other->next)
    if (other->is_written && other->is_lent && other->view == loan->view &&
        other->offset == loan->offset && shmq_loan_is_ours(other))
      return 1;
  return 0;
}

/* In the order of the table above. Where the system refuses the memory, a view stays as it is: its
 * block is held until the parent drops it. The child tries again, for what it sees from then on. */
static void shmq_loans_before_fork(void) {
  pthread_mutex_lock(&shmq_loans_lock);
  for (shmq_loan *loan = shmq_loans; loan != NULL; loan = loan->next) {
    if (!loan->is_lent || !shmq_loan_is_ours(loan)) continue;
    if (shmq_loan_stays(loan))
      loan->copy = shmq_loan_copy(loan);
    else if (shmq_loan_remap(loan, 1))
      shmq_loan_free_block(loan);
  }
}

static void shmq_loans_after_fork_in_parent(void) {
  for (shmq_loan *loan = shmq_loans; loan != NULL; loan = loan->next) {
    if (loan->copy != NULL) munmap(loan->copy, loan->bytes);
    loan->copy = NULL;
  }
  pthread_mutex_unlock(&shmq_loans_lock);
}

static void shmq_loans_after_fork_in_child(void) {
  for (shmq_loan *loan = shmq_loans; loan != NULL; loan = loan->next) {
    if (loan->block == SHMQ_NO_BLOCK) continue;
    /* Of several at one place each has a copy of the same, and the last one's is used. */
    if (loan->is_lent && !shmq_loan_replace(loan, loan->copy) && !shmq_loan_remap(loan, 0))
      shmq_loan_replace(loan, shmq_loan_copy(loan)); /* the file can't be reached any more */
    loan->copy = NULL;
    loan->block = SHMQ_NO_BLOCK;
    loan->is_counted = 0;
  }
  pthread_mutex_unlock(&shmq_loans_lock);
}

/* Once for each process; nonzero on failure, as pthread_atfork. */
static inline int shmq_loans_watch_forks(void) {
  return pthread_atfork(shmq_loans_before_fork, shmq_loans_after_fork_in_parent,
                        shmq_loans_after_fork_in_child);
}

#endif
