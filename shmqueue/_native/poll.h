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
 * Who polls, and gets without a limit because the descriptor was readable, must not find the ring
 * empty; so a taker does not return before the descriptor tells the truth (shmq_poll_is_settled): it
 * waits for the word, which the putter of that very item may still hold.
 *
 * Kill points. After the commit and before the write: the next put finds ARMED and writes. After the
 * write: it writes once more. A taker killed before it settled the descriptor leaves it readable
 * until another one looks at the empty ring; UNSETTLED tells that one of a taker that was killed
 * while it settled. Only the first case can keep a poller asleep, until somebody puts or attaches; a
 * blocked get is not concerned. (Writing before the commit would turn it into a descriptor that is
 * readable for nothing, which is worse for those who get without a limit then.)
 */
#ifndef SHMQ_POLL_H
#define SHMQ_POLL_H

#include "ends.h"

/* Is it still our eventfd? A number that was closed behind our back may be another file by now. To
 * this look all files without a name of their own are alike; see shmq_poll_fd_is_eventfd. */
static inline int shmq_poll_fd_is_ours(const shmq_view *view) {
  struct stat status;
  return view->poll_fd >= 0 && fstat(view->poll_fd, &status) == 0 &&
         status.st_ino == view->poll_inode && (status.st_mode & S_IFMT) == 0;
}

/* Before it is closed: is it an eventfd at all, rather than somebody's epoll or timer? */
static inline int shmq_poll_fd_is_eventfd(const shmq_view *view) {
  static const char wanted[] = "anon_inode:[eventfd]";
  char path[32], target[sizeof(wanted)];
  if (!shmq_poll_fd_is_ours(view)) return 0;
  snprintf(path, sizeof(path), "/proc/self/fd/%d", view->poll_fd);
  return readlink(path, target, sizeof(target)) == (ssize_t)sizeof(wanted) - 1 &&
         memcmp(target, wanted, sizeof(wanted) - 1) == 0;
}

/* By the tail's owner: makes the descriptor readable. */
static void __attribute__((noinline, unused)) shmq_poll_signal(const shmq_view *view) {
  const uint64_t one = 1;
  shmq_end *tail = shmq_tail(view);
  uint32_t state = load_relaxed(&tail->state); /* relaxed: we are its owner */
  if (!shmq_poll_fd_is_ours(view)) return;
  /* release, both: as every store of it, for shmq_why_empty. Killed on the return from the call, which
   * is where kills come: unsettled, for a taker that finds the word free again. */
  store_release(&tail->state, state | SHMQ_END_UNSETTLED);
  /* EAGAIN, the only failure of a full counter, means that it is readable. */
  if (write(view->poll_fd, &one, sizeof(one)) < 0 && errno != EAGAIN) return;
  store_release(&tail->state, state & ~(uint32_t)(SHMQ_END_ARMED | SHMQ_END_UNSETTLED));
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
    /* release, both: as in shmq_poll_signal. */
    store_release(&tail->state, state | SHMQ_END_ARMED | SHMQ_END_UNSETTLED);
    /* EAGAIN: it was not readable. EINTR can't be: it doesn't block. */
    if (read(view->poll_fd, &count, sizeof(count)) >= 0 || errno == EAGAIN)
      store_release(&tail->state, (state | SHMQ_END_ARMED) & ~(uint32_t)SHMQ_END_UNSETTLED);
  }
}

/* Does the descriptor tell the truth, as far as what was taken is concerned? */
static inline int shmq_poll_is_settled(const shmq_view *view) {
  const shmq_end *tail = shmq_tail(view);
  /* acquire, tail first: if they differ there was an item after what we took, and whoever takes that
   * one comes here as well. */
  uint64_t sequence = load_acquire(&tail->sequence);
  if (load_acquire(&shmq_head(view)->sequence) != sequence) return 1;
  /* acquire: the putters of what was taken have let go of the word, and what they did to the state
   * before they did so is seen. */
  if (load_acquire(&tail->owner) & SHMQ_TAG) return 0;
  uint32_t state = load_acquire(&tail->state); /* acquire: not before the owner */
  return (state & (SHMQ_END_ARMED | SHMQ_END_UNSETTLED)) == SHMQ_END_ARMED ||
         (state & SHMQ_END_SHUT) != 0;
}

#endif
