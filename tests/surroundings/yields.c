/* For LD_PRELOAD: sched_yield counts its calls, takes as long as is wanted, and may do something. */
#define _GNU_SOURCE
#include <sched.h>
#include <time.h>

long shmq_test_yields;
long shmq_test_yield_ns;
void (*shmq_test_on_yield)(void);

int sched_yield(void) {
  struct timespec pause = {0, shmq_test_yield_ns};
  __atomic_add_fetch(&shmq_test_yields, 1, __ATOMIC_RELAXED);
  if (shmq_test_on_yield != NULL) shmq_test_on_yield();
  if (shmq_test_yield_ns > 0) nanosleep(&pause, NULL);
  return 0;
}
