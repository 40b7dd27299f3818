/* Sleeping on a word of shared memory, and the clocks that bound the sleep. */
#ifndef SHMQ_FUTEX_H
#define SHMQ_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHMQ_NO_DEADLINE UINT64_MAX
#define SHMQ_MS UINT64_C(1000000) /* nanoseconds */

/* Deadlines and durations: CLOCK_MONOTONIC, which no clock step moves. */
static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The same clock at the resolution of a tick (1 to 10 ms), for a fifth of the price. */
static inline uint64_t coarse_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Sleeps while *word == expected, until `until_ns` at the latest. 0 when woken or when the word
 * differs, ETIMEDOUT, or EINTR. Wake-ups may be spurious: the caller looks again. */
static inline int futex_wait(uint32_t *word, uint32_t expected, uint64_t until_ns,
                             uint32_t bitset) {
  struct timespec until;
  until.tv_sec = (time_t)(until_ns / UINT64_C(1000000000));
  until.tv_nsec = (long)(until_ns % UINT64_C(1000000000));
  if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &until, NULL, bitset) == 0) return 0;
  return errno == EAGAIN ? 0 : errno;
}

/* Wakes up to `count` of those asleep under any bit of `bitset`; how many it woke. */
static inline int futex_wake(uint32_t *word, int count, uint32_t bitset) {
  long woken = syscall(SYS_futex, word, FUTEX_WAKE_BITSET, count, NULL, NULL, bitset);
  return woken < 0 ? 0 : (int)woken;
}

#endif
