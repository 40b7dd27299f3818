/* A descriptor that polls readable while there is something to take: an eventfd which all processes
 * of an unnamed queue share. Costs nothing until somebody asks for it.
 *
 *   tail's state   head's state   descriptor                   who changes it
 *   -              -              untouched: nobody polls      the first who asks: to a row below
 *   ARMED          POLLED         not readable: the ring is    the next put: readable, not armed
 *                                 empty
 *   -              POLLED         readable: there are items    the take that empties the ring: armed
 *
 * Both changes are made by the holder of the tail's owner word, so neither can overtake the other:
 * a put writes to the descriptor after its commit and before it lets go of the word, and a taker
 * looks at the two sequences under the same word. This is the one system call under an owner word
 * that a put may make; it takes a fraction of a microsecond, and one in a burst makes it.
 *
 * Kill points. After the commit and before the write: the next put finds ARMED and writes. After the
 * write: it writes once more. A taker arms first and reads then: killed in between, or before it got
 * to either, it leaves a descriptor that is readable although the ring is empty, until the next who
 * looks at the empty ring. Only the first case can keep a poller asleep, until somebody puts; a
 * blocked get is not concerned.
 */
#ifndef SHMQ_POLL_H
#define SHMQ_POLL_H

#include "ends.h"

/* Is it still our eventfd? A number that was closed behind our back may be another file by now; all
 * eventfds look alike, but writing to one of those does no harm. */
static inline int shmq_poll_fd_is_ours(const shmq_view *view) {
  struct stat status;
  return view->poll_fd >= 0 && fstat(view->poll_fd, &status) == 0 &&
         status.st_ino == view->poll_inode && (status.st_mode & S_IFMT) == 0;
}

/* By the tail's owner: makes the descriptor readable. */
static void __attribute__((noinline, unused)) shmq_poll_signal(const shmq_view *view) {
  const uint64_t one = 1;
  shmq_end *tail = shmq_tail(view);
  if (!shmq_poll_fd_is_ours(view)) return;
  /* EAGAIN, the only failure of a full counter, means that it is readable. */
  if (write(view->poll_fd, &one, sizeof(one)) < 0 && errno != EAGAIN) return;
  /* relaxed: we are its owner. release: pairs with shmq_why_empty, as every store of it does. */
  store_release(&tail->state, load_relaxed(&tail->state) & ~(uint32_t)SHMQ_END_ARMED);
}

/* By the tail's owner: the descriptor is readable exactly if there is something to take. */
static inline void shmq_poll_settle(const shmq_view *view) {
  shmq_end *tail = shmq_tail(view);
  uint64_t count;
  uint32_t state = load_relaxed(&tail->state); /* relaxed: we are its owner */
  /* acquire: a head that reached the tail. relaxed: we are the tail's owner. */
  if (state & SHMQ_END_SHUT ||
      load_acquire(&shmq_head(view)->sequence) != load_relaxed(&tail->sequence)) {
    shmq_poll_signal(view);
  } else if (shmq_poll_fd_is_ours(view)) {
    store_release(&tail->state, state | SHMQ_END_ARMED); /* release: as in shmq_poll_signal */
    if (read(view->poll_fd, &count, sizeof(count)) < 0) return; /* it was not readable: as wanted */
  }
}

/* By a taker that left the ring empty, or found it so. A tail that is being moved is let be: a put
 * is under way, and whoever takes what it puts comes here again. */
static void __attribute__((noinline, unused)) shmq_poll_clear(const shmq_view *view) {
  shmq_end *tail = shmq_tail(view);
  /* relaxed, both: a look; armed means clear, and what is not empty is not to be cleared. */
  if (load_relaxed(&tail->state) & SHMQ_END_ARMED ||
      load_relaxed(&shmq_head(view)->sequence) != load_relaxed(&tail->sequence))
    return;
  if (!shmq_end_try_acquire(view, tail)) {
    if (!shmq_end_evict_dead(view, tail) || !shmq_end_try_acquire(view, tail)) return;
  }
  /* acquire, relaxed: as in shmq_poll_settle. Anew: it may have filled meanwhile. */
  if (load_acquire(&shmq_head(view)->sequence) == load_relaxed(&tail->sequence))
    shmq_poll_settle(view);
  shmq_end_release(tail);
}

#endif
