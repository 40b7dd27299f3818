/* Which of the items that were put are also done: the count behind task_done and join.
 *
 * The `done` end counts calls of task_done in its sequence; it never passes the tail. Nobody owns
 * it: its owner word holds nothing but the flag of those who sleep until both are equal. Its mark
 * remembers the last sequence at which they were, for a joiner that wakes up later than the next put.
 */
#ifndef SHMQ_DONE_H
#define SHMQ_DONE_H

#include "ends.h"

static inline int shmq_all_done(const shmq_view *view) {
  /* acquire, done first: it never passes the tail, so equality with a tail that was read later is
   * equality at the time of the first read. Pairs with the CAS in shmq_tasks_done. */
  uint64_t done = load_acquire(&shmq_done(view)->sequence);
  return load_acquire(&shmq_tail(view)->sequence) == done; /* acquire: not before done */
}

/* By whoever made the last one done. The exchange comes after the store of the sequence, the flag
 * before a sleeper's second look at it: one of the two sees the other (as in ends.h). */
static inline void shmq_done_ring(const shmq_view *view) {
  /* acq_rel: pairs with shmq_end_flag of a sleeper. */
  if (xchg_acq_rel(&shmq_done(view)->owner, 0) != 0) shmq_end_ring_all(shmq_done(view));
}

/* Is it all done, or was it at a moment when at least `target` items had been put? */
static inline int shmq_was_done(const shmq_view *view, uint64_t target) {
  /* acquire: pairs with the CAS in shmq_tasks_done. */
  return shmq_all_done(view) ||
         (int64_t)(load_acquire(&shmq_done(view)->high_water_mark) - target) >= 0;
}

/* How many items were put and not done yet. */
static inline uint64_t shmq_unfinished(const shmq_view *view) {
  uint64_t done = load_acquire(&shmq_done(view)->sequence); /* acquire: as in shmq_all_done */
  int64_t left = (int64_t)(load_acquire(&shmq_tail(view)->sequence) - done); /* acquire: as there */
  return left > 0 ? (uint64_t)left : 0;
}

/* Counts items as done; 0 when there are not so many that aren't. */
static inline int shmq_tasks_done(const shmq_view *view, uint64_t count) {
  shmq_end *done = shmq_done(view);
  uint64_t seen = load_acquire(&done->sequence); /* acquire: pairs with the CAS below */
  do {
    /* acquire: only grows, so an old tail refuses at worst what was not put when we began. */
    if ((int64_t)(load_acquire(&shmq_tail(view)->sequence) - seen) < (int64_t)count) return 0;
    /* acq_rel: what was done before the count, for those who join. */
  } while (!cas_acq_rel(&done->sequence, &seen, seen + count));
  if (shmq_all_done(view)) {
    /* acq_rel: pairs with shmq_was_done: who joins returns at the first moment at which all was done,
     * even if more was put before it woke. Only ever raised: another may have done more meanwhile.
     * relaxed: the CAS looks again. */
    uint64_t mark = load_relaxed(&done->high_water_mark);
    while ((int64_t)(seen + count - mark) > 0 &&
           !cas_acq_rel(&done->high_water_mark, &mark, seen + count)) {
    }
    shmq_done_ring(view);
  }
  return 1;
}

#endif
