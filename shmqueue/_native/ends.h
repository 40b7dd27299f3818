/* Ends and their owner words: who may move an end now, and how the others learn that it moved.
 *
 *   owner word           meaning                                       who writes it next
 *   0                    free                                          anyone: CAS to its tag
 *   flags                free, somebody sleeps                         anyone: CAS to tag | flags
 *   tag | flags          being moved by the seat that the tag names    that seat: exchange by 0;
 *                                                                      sleepers: add flags;
 *                        ... which is proved dead                      anyone: CAS to flags
 *
 * Taking the word from the dead repairs nothing, because an end moves by one store: it moved or it
 * didn't. A kill at any point of the takeover leaves one of the rows above.
 *
 * No wake-up is lost while everybody runs. A sleeper reads the bell, sets a flag in the owner word of
 * the end it waits for, looks once more, and sleeps on the bell. Whoever moves the end stores the
 * sequence, then exchanges the owner word. Both touch the same word with read-modify-writes, so one
 * comes first: either the exchange sees the flag, and rings; or the flag comes after the exchange,
 * and the second look sees the sequence. One sleeper is woken, and wakes the next in its turn: it sets
 * the flag again, looks, and wakes the next one if there is something to do; in this order, for the
 * same reason. Those who die or are stopped in between, with a wake-up in their hands, are why every
 * sleep is bounded.
 */
#ifndef SHMQ_ENDS_H
#define SHMQ_ENDS_H

#include "seats.h"

#define SHMQ_CONTENDED UINT64_C(1)     /* somebody sleeps on the owner word itself */
#define SHMQ_AWAITED UINT64_C(2)       /* somebody sleeps on the bell, for one slot or item */
#define SHMQ_BATCH_AWAITED UINT64_C(4) /* ... for room for a batch */

/* Bits of the futex's bitset: who is meant. Above the first two: the consumers of a group. */
#define SHMQ_WAKE_ONE_ITEM 1u
#define SHMQ_WAKE_BATCH 2u
#define SHMQ_WAKE_ANY UINT32_MAX
#define SHMQ_WAKE_GROUPS 30u

static inline shmq_end *shmq_tail(const shmq_view *view) { return &view->ends[SHMQ_END_TAIL]; }
static inline shmq_end *shmq_done(const shmq_view *view) { return &view->ends[SHMQ_END_DONE]; }
static inline shmq_end *shmq_head(const shmq_view *view) { return &view->ends[SHMQ_END_HEAD0]; }

/* The word to sleep on for an owner word: its half that holds flags and seat. */
static inline uint32_t *shmq_owner_futex(shmq_end *end) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return (uint32_t *)&end->owner;
#else
  return (uint32_t *)&end->owner + 1;
#endif
}

/* One attempt; 0 when another holds the word. */
static inline int shmq_end_try_acquire(const shmq_view *view, shmq_end *end) {
  uint64_t seen = 0;
  do {
    /* acquire: pairs with the exchange in shmq_end_release, so that this owner sees all that the
     * last one did: the cursor of this process too, when it was another thread. */
    if (__builtin_expect(cas_acquire(&end->owner, &seen, view->tag | (seen & SHMQ_FLAGS)), 1))
      return 1;
  } while ((seen & SHMQ_TAG) == 0);
  return 0;
}

/* Wakes who sleeps on the bell of `end` for one slot or item: one of them, who wakes the next. In a
 * stream one of each class: what one group waits for is there for the others as well. Too many
 * classes, or more groups than bits: all of them. */
static void __attribute__((noinline)) shmq_end_wake(shmq_end *end) {
  /* relaxed: stored before the first of a class could set the flag that brought us here. A wrong one
   * costs a sleep to its bound. */
  uint32_t classes = load_relaxed(&end->bell_classes);
  if (classes == 0) {
    futex_wake(&end->bell, 1, SHMQ_WAKE_ONE_ITEM);
  } else if (classes == SHMQ_WAKE_ANY) {
    futex_wake(&end->bell, INT32_MAX, SHMQ_WAKE_ANY & ~SHMQ_WAKE_BATCH);
  } else {
    for (; classes != 0; classes &= classes - 1)
      futex_wake(&end->bell, 1, classes & (0u - classes));
  }
}

/* Ring for those who wait for `end` to move: `flags` is what stood in its owner word. */
static void __attribute__((noinline)) shmq_end_ring(shmq_end *end, uint64_t flags) {
  if (flags & SHMQ_CONTENDED) futex_wake(shmq_owner_futex(end), 1, SHMQ_WAKE_ANY);
  if (flags & (SHMQ_AWAITED | SHMQ_BATCH_AWAITED)) {
    /* release: a sleeper that reads the new bell, and therefore doesn't sleep, sees the sequence. */
    fetch_add_release(&end->bell, 1);
  }
  /* One is woken and passes it on (shmq_waiter_end), so that whoever moves the end pays for one
   * system call, not for one with each item while there are sleepers. */
  if (flags & SHMQ_AWAITED) shmq_end_wake(end);
  if (flags & SHMQ_BATCH_AWAITED) {
    /* relaxed: hints. A batch that is not woken here looks again by itself. */
    uint64_t wanted = load_relaxed(&end->batch_wake_sequence);
    if ((int64_t)(load_relaxed(&end->sequence) - wanted) >= 0)
      futex_wake(&end->bell, INT32_MAX, SHMQ_WAKE_BATCH);
    else {
      fetch_or_acq_rel(&end->owner, SHMQ_BATCH_AWAITED); /* acq_rel: still asleep */
      /* acquire: whoever moved the end before it could see the flag has left the ringing to us. */
      if ((int64_t)(load_acquire(&end->sequence) - wanted) >= 0)
        futex_wake(&end->bell, INT32_MAX, SHMQ_WAKE_BATCH);
    }
  }
}

static inline void shmq_end_release(shmq_end *end) {
  /* release: what we wrote, before the word is free; pairs with the CAS in shmq_end_try_acquire.
   * acquire: a flag seen here was set by a sleeper that found the end as it was. */
  uint64_t was = xchg_acq_rel(&end->owner, 0);
  if (__builtin_expect((was & SHMQ_FLAGS) != 0, 0)) shmq_end_ring(end, was);
}

/* If the holder of the word is proved dead, frees it, keeping the flags. 1 if the word is (or was
 * meanwhile) free to be taken. */
static inline int shmq_end_evict_dead(const shmq_view *view, shmq_end *end) {
  uint64_t seen = load_acquire(&end->owner); /* acquire: pairs with the release of the last owner */
  if ((seen & SHMQ_TAG) == 0) return 1;
  if (!shmq_tag_is_dead(view, seen)) return 0;
  /* acq_rel: whoever takes the word next must see what the dead one stored, which the kernel
   * ordered before the end of its lock. From the exact word: a flag that came in between, or a new
   * owner, makes this fail, and the caller looks again. */
  if (cas_acq_rel(&end->owner, &seen, seen & SHMQ_FLAGS))
    fetch_add_relaxed(&view->seat->takeovers, 1); /* relaxed: a statistic */
  return 1;
}

/* Sets `flag` in the owner word, whoever holds it; returns the word as it is then. */
static inline uint64_t shmq_end_flag(shmq_end *end, uint64_t flag) {
  /* acq_rel: pairs with the exchange in shmq_end_release; see the essay above. */
  return fetch_or_acq_rel(&end->owner, flag) | flag;
}

/* By the end's owner. */
static inline void shmq_end_mark(shmq_end *end, uint32_t bits) {
  /* relaxed: we are its owner. release: the last commit before the word that says that it was the
   * last; pairs with the acquire load in shmq_why_empty. */
  store_release(&end->state, load_relaxed(&end->state) | bits);
}

/* By the end's owner: it moves no more. Whoever sleeps on it is to be woken afterwards. */
static inline void shmq_end_shut(shmq_end *end) { shmq_end_mark(end, SHMQ_END_SHUT); }

/* Wakes everyone who sleeps on this end, in any process: they look again. */
static inline void shmq_end_ring_all(shmq_end *end) {
  fetch_add_release(&end->bell, 1); /* release: pairs with the sleeper's load of the bell */
  futex_wake(&end->bell, INT32_MAX, SHMQ_WAKE_ANY);
  futex_wake(shmq_owner_futex(end), INT32_MAX, SHMQ_WAKE_ANY);
}

#endif
