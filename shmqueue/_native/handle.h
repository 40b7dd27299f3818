/* A handle, as its calls know it while they wait: is it closed, and how do they wait. */
#ifndef SHMQ_HANDLE_H
#define SHMQ_HANDLE_H

#include "view.h"

/* How a call waits, once an attempt could not go on. */
enum {
  SHMQ_WAIT_BLOCK = 0, /* polls for a moment, for as long as that was worth it lately, then sleeps */
  SHMQ_WAIT_SPIN = 1,  /* polls, and keeps its core */
  SHMQ_WAIT_YIELD = 2  /* polls, and lets others have the core between two looks */
};

/* Of one process; any of its threads may change a word of it while others wait. All zero: a handle that
 * is open, and blocks. */
typedef struct {
  uint32_t closed;
  uint32_t strategy;
  uint64_t poll_ns; /* how long a call polls before it sleeps; 0: what is usual with the strategy */
} shmq_handle;

/* For calls that nobody's handle makes. */
static const shmq_handle shmq_no_handle __attribute__((unused));

/* Whoever closes it rings the bells afterwards, which the futex of a sleeper compares. */
static inline void shmq_set_closed(shmq_handle *handle) {
  store_relaxed(&handle->closed, 1); /* relaxed: see above */
}

static inline int shmq_is_closed(const shmq_handle *handle) {
  return load_relaxed(&handle->closed) != 0; /* relaxed: a look; a call that began before goes on */
}

static inline void shmq_set_wait(shmq_handle *handle, uint32_t strategy, uint64_t poll_ns) {
  /* relaxed, both: a wait that sees one of them only is a wait of either kind, for a while. */
  store_relaxed(&handle->poll_ns, poll_ns);
  store_relaxed(&handle->strategy, strategy);
}

static inline uint32_t shmq_wait_strategy(const shmq_handle *handle) {
  return load_relaxed(&handle->strategy); /* relaxed: as above */
}

/* How long the waits of a call may poll because the handle says so; 0: not for that reason. */
static inline uint64_t shmq_poll_budget_ns(const shmq_handle *handle) {
  uint64_t budget = load_relaxed(&handle->poll_ns); /* relaxed: as above */
  if (budget > 0) return budget;
  return shmq_wait_strategy(handle) == SHMQ_WAIT_BLOCK ? 0 : UINT64_MAX;
}

#endif
