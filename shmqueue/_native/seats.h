/* Seats: who is attached, and whether they live.
 *
 * An owner word names a seat and its generation, never a pid: pids repeat across containers and
 * after a while. Whether a seat lives is asked of the kernel. The seat's holder has an open file
 * description lock on the seat's byte, and a page mapped of that same description, and no
 * descriptor. So the lock lives exactly as long as the memory of the process: gone on SIGKILL, exec
 * and detach; not inherited by a forked child (MADV_DONTFORK), not dropped by whoever closes
 * descriptors, true across pid namespaces.
 *
 * States of a seat, and who may write it:
 *
 *   free       nobody holds the lock             nobody
 *   granted    locked, generation still old      the grantee: it counts the generation up
 *   in use     locked, generation new            the grantee: its counters and pid
 *   dead       unlocked, pid not 0               the next grantee of the seat; who clears up, with
 *                                                the lock: its pid
 *
 * A tag is dead if its generation is not the seat's, or if the seat's lock is free. Kill points of
 * a grant: before the generation is stored the old tags are dead by the free lock, after it by the
 * mismatch; sweeping the old tags away is a convenience that the next who needs a word repeats.
 */
#ifndef SHMQ_SEATS_H
#define SHMQ_SEATS_H

#include "futex.h"
#include "view.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_OFD_GETLK
#error "shmqueue needs open file description locks (Linux 3.15 or later)"
#endif
#ifndef MADV_WIPEONFORK
#error "shmqueue needs MADV_WIPEONFORK (Linux 4.14 or later)"
#endif

/* An owner word: flags in the low byte, seat + 1 in the next two, generation above. The state of a
 * block is tagged the same way. */
#define SHMQ_FLAGS UINT64_C(0xFF)
#define SHMQ_TAG (~SHMQ_FLAGS)
#define SHMQ_SEAT_SHIFT 8
#define SHMQ_GENERATION_SHIFT 24

static inline uint64_t shmq_tag(uint32_t seat, uint64_t generation) {
  return generation << SHMQ_GENERATION_SHIFT | (uint64_t)(seat + 1) << SHMQ_SEAT_SHIFT;
}

/* The seat that a word names; may be out of range in a scribbled segment. */
static inline uint32_t shmq_tag_seat(uint64_t word) {
  return (uint32_t)(word >> SHMQ_SEAT_SHIFT & 0xFFFF) - 1;
}

/* Descriptors may be closed behind our back (daemonisers do): is this still our segment's? */
static inline int shmq_fd_is_ours(const shmq_view *view) {
  struct stat status;
  return fstat(view->fd, &status) == 0 && status.st_dev == view->device &&
         status.st_ino == view->inode;
}

/* Does anybody hold the seat's lock? 1 yes, 0 no, -1 can't tell (counts as alive). */
static inline int shmq_seat_is_held(const shmq_view *view, uint32_t seat) {
  struct flock lock = {0};
  if (!shmq_fd_is_ours(view)) return -1;
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = (off_t)(SHMQ_LOCK_OFFSET + seat);
  lock.l_len = 1;
  if (fcntl(view->fd, F_OFD_GETLK, &lock) != 0) return -1;
  return lock.l_type != F_UNLCK;
}

/* Proved dead: never a guess by time. A word that no process can have written counts as dead. */
static inline int shmq_tag_is_dead(const shmq_view *view, uint64_t word) {
  uint32_t seat = shmq_tag_seat(word);
  if ((word & SHMQ_TAG) == (view->tag & SHMQ_TAG)) return 0;
  if (seat >= view->max_seats) return 1;
  /* acquire: pairs with the release store in shmq_seat_take: who sees the new generation also sees
   * that the lock had been free in between. */
  if (load_acquire(&view->seats[seat].generation) << SHMQ_GENERATION_SHIFT !=
      (word & SHMQ_TAG) >> SHMQ_GENERATION_SHIFT << SHMQ_GENERATION_SHIFT)
    return 1;
  return shmq_seat_is_held(view, seat) == 0;
}

/* ---- forks: a word that reads 0 in a child ------------------------------------------------- */

/* The page is private to this process and zeroed in a child by the kernel. */
static uint64_t *shmq_epoch_page = NULL;
static uint64_t shmq_last_epoch = 0;

/* The epoch of this process: differs from any value that an ancestor's view remembers. Called with
 * the interpreter's module lock held; 0 when the system has no memory. */
static inline uint64_t shmq_epoch_begin(void) {
  if (shmq_epoch_page == NULL) {
    void *page = mmap(NULL, SHMQ_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return 0;
    if (madvise(page, SHMQ_PAGE, MADV_WIPEONFORK) != 0) {
      munmap(page, SHMQ_PAGE);
      return 0;
    }
    shmq_epoch_page = page;
  }
  /* relaxed: private to the process; the lock orders it between threads. */
  if (load_relaxed(shmq_epoch_page) == 0) store_relaxed(shmq_epoch_page, ++shmq_last_epoch);
  return load_relaxed(shmq_epoch_page); /* relaxed: as above */
}

/* Was this view made by the process that asks, rather than by the one it was forked from? */
static inline int shmq_view_is_mine(const shmq_view *view) {
  /* relaxed: written once for each process, before any view of that process. acquire: pairs with
   * the release store in shmq_view_set_mine: who sees the epoch sees the new seat. */
  return load_relaxed(view->epoch_word) == load_acquire(&view->epoch);
}

/* Says so, once the view has a seat of this process. */
static inline void shmq_view_set_mine(shmq_view *view, uint64_t epoch) {
  view->epoch_word = shmq_epoch_page;
  store_release(&view->epoch, epoch); /* release: pairs with shmq_view_is_mine */
}

/* ---- taking and leaving a seat -------------------------------------------------------------- */

/* Field 22 of /proc/self/stat: for people who compare it with `ps`; 0 where it can't be read. */
static inline uint64_t shmq_own_start_ticks(void) {
  char text[1024];
  uint64_t ticks = 0;
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t size = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (size <= 0) return 0;
  text[size] = 0;
  const char *at = strrchr(text, ')'); /* the command's name may hold anything, even spaces */
  for (int field = 2; at != NULL && field < 22; field++) at = strchr(at + 1, ' ');
  if (at != NULL) ticks = strtoull(at, NULL, 10);
  return ticks;
}

/* Takes a free seat. `fd` must be a fresh open file description of the segment, opened for reading
 * and writing; it is closed here in any case. No other thread may fork meanwhile: a child that
 * inherited `fd` would keep the lock (the caller holds the interpreter's lock). */
static inline shmq_status shmq_seat_take(shmq_view *view, int fd) {
  struct flock lock = {0};
  shmq_status status = SHMQ_NO_SEAT;
  uint32_t seat;
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  for (seat = 0; seat < view->max_seats; seat++) {
    lock.l_start = (off_t)(SHMQ_LOCK_OFFSET + seat);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
      status = SHMQ_OK;
      break;
    }
    if (errno != EAGAIN && errno != EACCES) {
      status = SHMQ_SYSTEM;
      break;
    }
  }
  if (status == SHMQ_OK) {
    view->anchor = mmap(NULL, SHMQ_PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (view->anchor == MAP_FAILED) {
      view->anchor = NULL;
      status = SHMQ_SYSTEM;
    } else if (madvise(view->anchor, SHMQ_PAGE, MADV_DONTFORK) != 0) {
      munmap(view->anchor, SHMQ_PAGE);
      view->anchor = NULL;
      status = SHMQ_SYSTEM;
    }
  }
  if (status == SHMQ_OK && view->region_count > 0) {
    /* The table of an unnamed queue has room for many, and memory for those who came. */
    uint64_t from = view->seats_offset + seat * sizeof(shmq_seat);
    uint64_t to = shmq_round_up(from + sizeof(shmq_seat), SHMQ_PAGE);
    from -= from % SHMQ_PAGE;
    if (fallocate(fd, 0, (off_t)from, (off_t)(to - from)) != 0) {
      int why = errno;
      munmap(view->anchor, SHMQ_PAGE);
      view->anchor = NULL;
      errno = why;
      status = SHMQ_SYSTEM;
    }
  }
  int error = errno;
  close(fd);
  errno = error;
  if (status != SHMQ_OK) return status;

  shmq_seat *row = &view->seats[seat];
  /* relaxed: the kernel's lock made us the only writer, and ordered us after the last one. */
  uint64_t generation = load_relaxed(&row->generation) + 1;
  uint64_t *counters[8] = {&row->items_put, &row->bytes_put, &row->blocked_full_count,
                           &row->blocked_full_ns, &row->items_got, &row->bytes_got,
                           &row->blocked_empty_count, &row->blocked_empty_ns};
  /* relaxed: rows are read as a snapshot for people; a reader who mixes two holders of a seat sees
   * wrong "own" figures once, never wrong totals. */
  for (int i = 0; i < 8; i++) store_relaxed(&row->base[i], load_relaxed(counters[i]));
  store_relaxed(&row->base_takeovers, load_relaxed(&row->takeovers));
  store_relaxed(&row->last_put_ns, 0);
  store_relaxed(&row->last_get_ns, 0);
  store_relaxed(&row->attached_ns, now_ns());
  store_relaxed(&row->start_ticks, shmq_own_start_ticks());
  store_relaxed(&row->pid, (uint32_t)getpid());
  /* release: pairs with the acquire load in shmq_tag_is_dead. From here on old tags are dead. */
  store_release(&row->generation, generation);
  view->seat = row;
  view->seat_index = seat;
  view->tag = shmq_tag(seat, generation);

  uint32_t granted = load_relaxed(&view->header->seats_granted); /* relaxed: only ever a bound */
  while (granted < seat + 1 && /* acq_rel: it only grows; no data hangs on it */
         !cas_acq_rel(&view->header->seats_granted, &granted, seat + 1)) {
  }
  return SHMQ_OK;
}

/* Leaves the seat in order: nothing of this process is left to be swept. */
static inline void shmq_seat_leave(shmq_view *view) {
  if (view->anchor == NULL) return;
  store_relaxed(&view->seat->pid, 0); /* relaxed: for people */
  munmap(view->anchor, SHMQ_PAGE);
  view->anchor = NULL;
}

/* ---- the file as a whole ---------------------------------------------------------------------
 *
 * Who is about to take a seat in a file that it just opened or made holds the byte before those of the
 * seats, shared with others who do the same. Who removes a file that nobody has locks that byte and
 * all seats, so either finds the other: the remover leaves the file alone, or the newcomer finds
 * that it has no name any more. Such a lock is of the open file description `fd`, and nobody forks
 * while it is held (the caller sees to that), or a child would hold it too. */

#define SHMQ_COMING_OFFSET (SHMQ_LOCK_OFFSET - 1)

static inline int shmq_lock_bytes(int fd, int command, short type, int64_t offset, int64_t count,
                                  struct flock *lock) {
  struct flock wanted = {0};
  wanted.l_type = type;
  wanted.l_whence = SEEK_SET;
  wanted.l_start = (off_t)offset;
  wanted.l_len = (off_t)count;
  *lock = wanted;
  return fcntl(fd, command, lock);
}

/* By who is about to take a seat; 0 while somebody removes the file. */
static inline int shmq_file_enter(int fd) {
  struct flock lock;
  return shmq_lock_bytes(fd, F_OFD_SETLK, F_RDLCK, SHMQ_COMING_OFFSET, 1, &lock) == 0;
}

static inline void shmq_file_entered(int fd) {
  struct flock lock;
  shmq_lock_bytes(fd, F_OFD_SETLK, F_UNLCK, SHMQ_COMING_OFFSET, 1, &lock);
}

/* By who is about to remove it; 0 where somebody has a seat, or is about to take one. Lasts until `fd`,
 * which must be open for writing, is closed. */
static inline int shmq_file_lock_out(int fd) {
  struct flock lock;
  return shmq_lock_bytes(fd, F_OFD_SETLK, F_WRLCK, SHMQ_COMING_OFFSET, 1 + SHMQ_MAX_SEATS,
                         &lock) == 0;
}

/* Has anybody a seat in it, or is about to take one? If the kernel doesn't say: yes. */
static inline int shmq_file_is_held(int fd) {
  struct flock lock;
  return shmq_lock_bytes(fd, F_OFD_GETLK, F_WRLCK, SHMQ_COMING_OFFSET, 1 + SHMQ_MAX_SEATS,
                         &lock) != 0 ||
         lock.l_type != F_UNLCK;
}

/* Of a seat whose holder died: forgets who that was, so that nobody is told of it again. 0 if it is
 * held. `fd`: as in shmq_seat_take, but not closed. Killed here: the kernel lets the lock go. */
static inline int shmq_seat_forget(const shmq_view *view, int fd, uint32_t seat) {
  struct flock lock;
  if (load_relaxed(&view->seats[seat].pid) == 0) return 1; /* relaxed: a look */
  if (shmq_lock_bytes(fd, F_OFD_SETLK, F_WRLCK, SHMQ_LOCK_OFFSET + seat, 1, &lock) != 0) return 0;
  store_relaxed(&view->seats[seat].pid, 0); /* relaxed: for people; the lock keeps others away */
  shmq_lock_bytes(fd, F_OFD_SETLK, F_UNLCK, SHMQ_LOCK_OFFSET + seat, 1, &lock);
  return 1;
}

/* How many rows of the seat table were ever in use; bounded, whatever stands there. */
static inline uint32_t shmq_seats_granted(const shmq_view *view) {
  uint32_t granted = load_relaxed(&view->header->seats_granted); /* relaxed: a bound for looking */
  return granted < view->max_seats ? granted : view->max_seats;
}

#endif
