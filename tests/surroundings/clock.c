/* For LD_PRELOAD: a wall clock that jumps by an hour at every look, to and fro, or only one way.
 *
 * SHMQ_TEST_CLOCK names the clock ("realtime" or "monotonic") and the way: "+", "-" or "~". The
 * twin that steps the monotonic clock shows that the shim is what the code under test looks at.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long looks;

static time_t step(clockid_t clock) {
  const char *how = getenv("SHMQ_TEST_CLOCK");
  if (how == NULL) return 0;
  int wanted = strncmp(how, "realtime", 8) == 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC;
  if ((int)clock != wanted) return 0;
  long count = __atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED);
  switch (how[strlen(how) - 1]) {
    case '+': return 3600 * count;
    case '-': return -3600 * count;
    default: return count % 2 ? 3600 : -3600;
  }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = (int)syscall(SYS_clock_gettime, clock, now);
  if (result == 0) now->tv_sec += step(clock);
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec precise;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where != NULL) *where = now.tv_sec;
  return now.tv_sec;
}
