/* The simulated kernel: what system.h declares.
 *
 * Time. Nobody compares the clocks of two actors, so each has its own, which starts anew with each
 * call. It goes on only where a sleep is over because its bound passed, and then only in calls that
 * have a deadline: without one, nothing depends on how late it is. So the states stay finite.
 *
 * Death. The kernel lets go of the locks of a dead process at once: that it happens later is the same
 * as a kill that happens later.
 */
#ifndef EXPLORED_KERNEL_H
#define EXPLORED_KERNEL_H

#include "access.h"

/* ---- what the protocol asks for; see system.h --------------------------------------------------- */

static long ex_futex(uint32_t *word, int operation, uint32_t value, const struct timespec *until,
                     uint32_t bitset) {
  running->bitset = bitset;
  if (operation != FUTEX_WAIT_BITSET) return (long)ex_ask(ASK_WAKE, word, 4, value, 0, 0);
  const uint64_t until_ns = (uint64_t)until->tv_sec >= EX_FOREVER / UINT64_C(1000000000)
                                ? EX_FOREVER
                                : (uint64_t)until->tv_sec * UINT64_C(1000000000) +
                                      (uint64_t)until->tv_nsec;
  const int result = (int)ex_ask(ASK_SLEEP, word, 4, value, until_ns, 0);
  errno = result;
  return result == 0 ? 0 : -1;
}

static void ex_forget_of_wait(void);

static int ex_clock(struct timespec *now) {
  ex_forget_of_wait();
  now->tv_sec = (time_t)(running->now_ns / UINT64_C(1000000000));
  now->tv_nsec = (long)(running->now_ns % UINT64_C(1000000000));
  return 0;
}

static int ex_pid(void) { return 1000 + running->process; }

static int ex_lock(int fd, int command, struct flock *lock) {
  const uint32_t seat = (uint32_t)(lock->l_start - SHMQ_LOCK_OFFSET);
  if (command == F_OFD_GETLK) {
    if (!ex_ask(ASK_IS_LOCKED, NULL, 0, seat, 0, 0)) lock->l_type = F_UNLCK;
    return 0;
  }
  if (ex_ask(ASK_LOCK, NULL, 0, seat, (uint64_t)(fd - EX_SEAT_FD), 0)) return 0;
  errno = EAGAIN;
  return -1;
}

/* The only mapping that is asked for is the anchor, a page of the description of the lock. */
static void *ex_map(int fd) {
  world.lock_is_anchored[fd - EX_SEAT_FD] = 1;
  return &world.lock_is_anchored[fd - EX_SEAT_FD];
}

static int ex_unmap(void *page) {
  ex_ask(ASK_UNLOCK, NULL, 0, (uint64_t)((uint8_t *)page - world.lock_is_anchored), 0, 0);
  return 0;
}

static int ex_close(int fd) {
  if (fd >= EX_SEAT_FD && fd < EX_POLL_FD && !world.lock_is_anchored[fd - EX_SEAT_FD])
    ex_ask(ASK_UNLOCK, NULL, 0, (uint64_t)(fd - EX_SEAT_FD), 0, 0);
  return 0;
}

static int ex_stat(int fd, struct stat *status) {
  memset(status, 0, sizeof(*status));
  status->st_ino = fd == EX_POLL_FD ? EX_POLL_INODE : EX_INODE;
  if (fd != EX_POLL_FD) status->st_mode = S_IFREG;
  return 0;
}

static int ex_allocate(int fd, int mode, uint64_t offset, uint64_t length) {
  (void)fd;
  ex_ask(ASK_ALLOCATE, NULL, 0, offset, length, (mode & FALLOC_FL_PUNCH_HOLE) != 0);
  return 0;
}

/* It is asked of the descriptors of blocks only: where the first page is that was never written to. */
static off_t ex_seek_hole(uint64_t from) {
  return (off_t)(from + ex_ask(ASK_HOLE, NULL, 0, from, 0, 0));
}

static ssize_t ex_write(int fd, const void *buffer) {
  (void)fd, (void)buffer;
  ex_ask(ASK_SIGNAL, NULL, 0, 0, 0, 0);
  return 8;
}

static ssize_t ex_read(int fd, void *buffer) {
  (void)fd, (void)buffer;
  if (ex_ask(ASK_DRAIN, NULL, 0, 0, 0, 0)) return 8;
  errno = EAGAIN;
  return -1;
}

/* By who polls: sleeps until the descriptor is readable, however long that is. */
static void ex_poll(void) { ex_ask(ASK_POLL, NULL, 0, 0, EX_FOREVER, 0); }

/* ---- sleeping and waking ------------------------------------------------------------------------- */

static uint64_t ex_go_to_sleep(const ex_request *request) {
  running->status = EX_ASLEEP;
  running->sleeps_on = (uint32_t *)request->at;
  running->until_ns = request->other;
  running->rank = 0;
  for (uint32_t i = 0; i < EX_ACTORS; i++)
    if (&world.actors[i] != running && world.actors[i].status == EX_ASLEEP &&
        world.actors[i].sleeps_on == running->sleeps_on)
      running->rank++;
  running->request = (ex_request){.kind = ASK_AWAKE};
  return 0;
}

static uint64_t ex_sleep(const ex_request *request) {
  char name[64];
  if (ex_is_direct()) {
    ex_violation("has to sleep on %s, with nobody else at work", ex_name(request->at, name));
    return 0;
  }
  if (ex_raw(request->at, 4) != request->value) {
    ex_say_word("sleep", request->at, "not as it was");
    return EAGAIN;
  }
  ex_say_word("sleep", request->at, "");
  return ex_go_to_sleep(request);
}

/* Out of its sleep; it goes on when it is scheduled. */
static void ex_wake(ex_actor *actor, int result) {
  for (uint32_t i = 0; i < EX_ACTORS; i++)
    if (world.actors[i].status == EX_ASLEEP && world.actors[i].sleeps_on == actor->sleeps_on &&
        world.actors[i].rank > actor->rank)
      world.actors[i].rank--;
  if (result == ETIMEDOUT && actor->is_timed) actor->now_ns = actor->until_ns;
  actor->status = EX_READY;
  actor->pending = EX_SHARED;
  actor->only_looks = 0;
  actor->sleep_result = result;
  actor->sleeps_on = NULL;
  actor->bitset = 0;
  actor->rank = 0;
  actor->until_ns = 0;
}

static uint64_t ex_wake_sleepers(const ex_request *request) {
  uint64_t woken = 0;
  while (woken < request->value) { /* who sleeps longest comes first */
    ex_actor *next = NULL;
    for (uint32_t i = 0; i < EX_ACTORS; i++) {
      ex_actor *actor = &world.actors[i];
      if (actor->status == EX_ASLEEP && actor->sleeps_on == request->at &&
          actor->bitset & running->bitset && (next == NULL || actor->rank < next->rank))
        next = actor;
    }
    if (next == NULL) break;
    ex_wake(next, 0);
    woken++;
  }
  running->bitset = 0;
  ex_say_word("wake", request->at, woken == 0 ? "nobody" : woken == 1 ? "one" : "all");
  return woken;
}

/* ---- seats, memory, the poll descriptor ----------------------------------------------------------- */

static void ex_unlock(uint32_t process) {
  for (uint32_t seat = 0; seat < EX_SEATS; seat++)
    if (world.lock_of_seat[seat] == process + 1) world.lock_of_seat[seat] = 0;
  world.lock_is_anchored[process] = 0;
}

static uint64_t ex_take_lock(const ex_request *request) {
  uint8_t *held = &world.lock_of_seat[request->value];
  if (request->value >= EX_SEATS) ex_violation("asks for a seat that there is not");
  if (request->kind == ASK_IS_LOCKED) {
    ex_say("%-9s seat %-23u %s", "asks", (unsigned)request->value, *held ? "held" : "free");
    return *held != 0;
  }
  ex_say("%-9s seat %-23u %s", "locks", (unsigned)request->value, *held ? "is held" : "done");
  if (*held != 0) return 0;
  *held = (uint8_t)(request->other + 1);
  return 1;
}

/* Bits of what lies between two offsets, in units of `unit` bytes from `start`. */
static uint64_t ex_bits(uint64_t start, uint64_t unit, uint64_t from, uint64_t to) {
  uint64_t bits = 0;
  for (uint64_t bit = 0; bit < 64; bit++)
    if (start + bit * unit < to && start + (bit + 1) * unit > from) bits |= UINT64_C(1) << bit;
  return bits;
}

static void ex_set_memory(const ex_request *request) {
  const int is_hole = request->order;
  const uint64_t offset = request->value, end = offset + request->other;
  uint64_t *backed = NULL, bits = 0;
  ex_say("%-9s bytes %#llx to %#llx", is_hole ? "frees" : "reserves", (unsigned long long)offset,
         (unsigned long long)end);
  if (offset >= geometry.pool_offset) {
    backed = &world.pool_backed;
    bits = ex_bits(geometry.pool_offset, SHMQ_PAGE, offset, end);
  } else if (offset >= geometry.blocks_offset) {
    world.descriptors_backed = (uint8_t)!is_hole;
  } else if (offset >= geometry.slots_offset && offset < geometry.views_offset) {
    backed = &world.slots_backed;
    bits = ex_bits(geometry.slots_offset, geometry.slot_bytes, offset, end);
  }
  if (backed != NULL) *backed = is_hole ? *backed & ~bits : *backed | bits;
  if (is_hole) memset(arena + offset, 0, request->other);
}

static void ex_signal(void) {
  ex_say("makes the poll descriptor readable");
  world.is_readable = 1;
  for (uint32_t i = 0; i < EX_ACTORS; i++)
    if (world.actors[i].status == EX_ASLEEP && world.actors[i].sleeps_on == NULL)
      ex_wake(&world.actors[i], 0);
}

/* What the actor that runs has asked for. */
static uint64_t ex_perform(void) {
  const ex_request request = running->request;
  /* What the kernel does for one, others see by way of a lock of the kernel's: with all that the one
   * stored before. */
  if (options.weak && request.kind > ASK_CAS && !ex_is_direct()) ex_flush(running);
  switch (request.kind) {
    case ASK_SLEEP:
      return ex_sleep(&request);
    case ASK_AWAKE:
      ex_say("%s", running->sleep_result == 0 ? "is awake" : "is awake: its bound passed");
      return (uint64_t)running->sleep_result;
    case ASK_WAKE:
      return ex_wake_sleepers(&request);
    case ASK_LOCK:
    case ASK_IS_LOCKED:
      return ex_take_lock(&request);
    case ASK_UNLOCK:
      ex_say("lets go of its seat");
      ex_unlock((uint32_t)request.value);
      return 0;
    case ASK_ALLOCATE:
      ex_set_memory(&request);
      return 0;
    case ASK_SIGNAL:
      ex_signal();
      return 0;
    case ASK_DRAIN: {
      const int was = world.is_readable;
      ex_say("makes the poll descriptor not readable");
      world.is_readable = 0;
      return (uint64_t)was;
    }
    case ASK_HOLE:
      return geometry.blocks[0].pages != 0 && request.value == geometry.blocks_offset ? SHMQ_PAGE : 0;
    case ASK_POLL:
      if (world.is_readable) return 0;
      ex_say("polls");
      return ex_go_to_sleep(&request);
    default:
      return ex_access(&request);
  }
}

/* How far others can tell what an actor asks for, and whether it leaves a trace. */
static ex_class ex_class_of(const ex_request *request, int *only_looks) {
  *only_looks = request->kind == ASK_LOAD || request->kind == ASK_IS_LOCKED ||
                request->kind == ASK_POLL || request->kind == ASK_HOLE;
  if (request->kind > ASK_CAS) return EX_SHARED;
  return ex_classify(ex_locate(request->at), request->kind != ASK_LOAD);
}

#endif
