/* Waiting: the one loop between an attempt that could not go on and the next one.
 *
 * First it polls, at intervals that grow with the time already waited: each look at a word that
 * another core is writing takes the line from that core, so who looks too often slows down the one
 * it waits for. Then it lets others have its core, once, and then it sleeps on a futex. Every sleep is
 * bounded (reliability needs it: a process killed between its commit and its wake-up rings for
 * nobody): 50 ms where somebody else should act, growing to 250 ms where nothing is going on.
 *
 * A handle may rather poll on (handle.h). Then it sets no flag, so nobody makes a system call for it,
 * and in rounds it sees to what a sleeper sees to between two sleeps.
 */
#ifndef SHMQ_WAIT_H
#define SHMQ_WAIT_H

#include "done.h"
#include "growth.h"
#include "handle.h"
#include "writers.h"

#include <sched.h>

#define SHMQ_SLEEP_SHORT (1 * SHMQ_MS) /* on an owner word: held for less than a microsecond */
#define SHMQ_SPIN_HALVINGS 3u
#define SHMQ_SPIN_RETRY 8u
#define SHMQ_YIELD_LONG SHMQ_MS
#define SHMQ_YIELD_DOUBLINGS 12u
#define SHMQ_YIELD_ROOM (100 * SHMQ_MS)
#define SHMQ_SLEEP_BUSY (50 * SHMQ_MS)
#define SHMQ_SLEEP_IDLE (250 * SHMQ_MS)
#define SHMQ_POLL_ROUND (10 * SHMQ_MS)
/* A call that may not block still gives a holder of the owner word the time to finish its copy, be
 * it preempted meanwhile: else get_nowait would say "empty" of a queue that is only in use. */
#define SHMQ_BUSY_GRACE (10 * SHMQ_MS)

typedef struct {
  uint64_t deadline_ns;  /* CLOCK_MONOTONIC, or SHMQ_NO_DEADLINE */
  uint64_t started_ns;   /* of this wait; 0 before it */
  uint64_t first_ns;     /* of the first wait of the call */
  uint64_t accounted_ns; /* how far the seat's counter of blocked time has come */
  uint64_t sleep_ns;     /* bound of the next sleep */
  uint64_t count;        /* slots wanted: more than 1 for a batch */
  uint64_t target;       /* who joins: the tail when it began */
  const shmq_handle *handle;
  shmq_reader *reader;   /* of a consumer of a group; NULL: of a queue, or a producer */
  shmq_end *end;         /* what is waited for: an end to move, or its owner word to be free */
  shmq_status why;       /* FULL, EMPTY, UNFINISHED or BUSY */
  shmq_end *bell_end;    /* the end whose bell it slept on for a single item, if it did */
  shmq_status bell_why;  /* and what for */
  shmq_end *owner_end;   /* the end on whose owner word it slept, if it did */
  int slept;
  int yielded;
  int is_written; /* all writers had finished, when it was about to sleep */
  int saw_shut; /* and made the attempt that it was worth */
  uint32_t growth_is_refused; /* the machine has no more memory for the ring */
  unsigned counted; /* the states that this call was counted for, as bits */
} shmq_waiter;

static inline void shmq_waiter_init(shmq_waiter *waiter, uint64_t deadline_ns, uint64_t count,
                                    const shmq_handle *handle) {
  shmq_waiter fresh = {0};
  fresh.deadline_ns = deadline_ns;
  fresh.sleep_ns = SHMQ_SLEEP_SHORT;
  fresh.count = count;
  fresh.handle = handle;
  *waiter = fresh;
}

/* In a stream: is the end that is waited for not the one that gates us, or not any more? */
static inline int shmq_waits_elsewhere(const shmq_view *view, const shmq_waiter *waiter) {
  shmq_end *slowest = waiter->end;
  if (waiter->why == SHMQ_FULL) {
    uint64_t needed = shmq_needed_gone(view, waiter->count);
    if ((int64_t)(shmq_gate_of_floor(view, needed, &slowest) - needed) >= 0) return 1;
  } else if (waiter->reader != NULL) {
    /* acquire: as in shmq_reader_renew. */
    if (load_acquire(&waiter->reader->head->state) != waiter->reader->state) return 1;
    shmq_gate_of_group(view, waiter->reader->group, &slowest);
  }
  return slowest != waiter->end;
}

/* Is it worth another attempt? */
static inline int shmq_may_go_on(const shmq_view *view, const shmq_waiter *waiter) {
  if (view->stream != NULL && (waiter->why == SHMQ_FULL || waiter->why == SHMQ_EMPTY))
    return (waiter->why == SHMQ_EMPTY && shmq_has_item(view, waiter->reader)) ||
           shmq_waits_elsewhere(view, waiter);
  if (waiter->why == SHMQ_FULL) return shmq_has_room(view, waiter->count);
  if (waiter->why == SHMQ_EMPTY) return shmq_has_item(view, NULL);
  if (waiter->why == SHMQ_UNFINISHED) return shmq_was_done(view, waiter->target);
  return (load_relaxed(&waiter->end->owner) & SHMQ_TAG) == 0; /* relaxed: a look before a CAS */
}

/* Adds what was waited since the last call to the seat's counters. */
static inline void shmq_waiter_account(const shmq_view *view, shmq_waiter *waiter, uint64_t now) {
  shmq_seat *seat = view->seat;
  uint64_t waited = now - waiter->accounted_ns;
  waiter->accounted_ns = now;
  /* relaxed: statistics; several threads of this process may wait at once, hence the addition. */
  if (waiter->why == SHMQ_FULL) {
    uint32_t group = shmq_group_of_head(view, waiter->end);
    fetch_add_relaxed(&seat->blocked_full_ns, waited);
    if (group < SHMQ_MAX_GROUPS)
      fetch_add_relaxed(&view->stream->groups[group].blocked_full_ns, waited);
  }
  if (waiter->why == SHMQ_EMPTY) fetch_add_relaxed(&seat->blocked_empty_ns, waited);
}

static inline void shmq_waiter_begin(const shmq_view *view, shmq_waiter *waiter, shmq_status why) {
  waiter->started_ns = waiter->accounted_ns = now_ns();
  if (waiter->first_ns == 0) waiter->first_ns = waiter->started_ns;
  waiter->sleep_ns = why == SHMQ_BUSY ? SHMQ_SLEEP_SHORT : SHMQ_SLEEP_BUSY;
  waiter->why = why;
  if (waiter->counted & 1u << why) return;
  waiter->counted |= 1u << why;
  /* relaxed: statistics. */
  if (why == SHMQ_FULL) fetch_add_relaxed(&view->seat->blocked_full_count, 1);
  if (why == SHMQ_EMPTY) fetch_add_relaxed(&view->seat->blocked_empty_count, 1);
}

/* Polls for `budget_ns`; 1 as soon as it is worth another attempt. */
static inline int shmq_poll(const shmq_view *view, const shmq_waiter *waiter, uint64_t budget_ns) {
  uint64_t begun = now_ns();
  for (uint32_t pauses = 24;; pauses += pauses / 2) {
    for (uint32_t i = 0; i < pauses; i++) cpu_pause();
    if (shmq_may_go_on(view, waiter)) return 1;
    if (now_ns() - begun >= budget_ns) return 0;
  }
}

/* Polls for as long as it has been worth it lately; 1 as soon as it is worth another attempt. Who
 * polls in vain takes the core from those whom it waits for, if they are more than there are cores:
 * each time in vain halves the next one, down to what a quick answer takes; once it was worth it, and
 * every few times anyhow, the whole is tried again. */
static inline int shmq_spin(shmq_view *view, const shmq_waiter *waiter) {
  uint32_t in_vain = load_relaxed(&view->spins_in_vain); /* relaxed: private, and a guess */
  uint32_t halvings = in_vain < SHMQ_SPIN_HALVINGS ? in_vain : SHMQ_SPIN_HALVINGS;
  if (view->spin_ns == 0) return 0;
  if (in_vain % SHMQ_SPIN_RETRY == 0) halvings = 0;
  if (shmq_poll(view, waiter, view->spin_ns >> halvings)) {
    if (in_vain > 0) store_relaxed(&view->spins_in_vain, 0); /* relaxed: as above */
    return 1;
  }
  store_relaxed(&view->spins_in_vain, in_vain + 1); /* relaxed: as above */
  return 0;
}

/* Once a call, before it first sleeps for an end to move. Where there are more processes than cores, the
 * one that is waited for is often only off its core: it gets ours, and we need nobody to wake us. 1 if it
 * is worth another attempt then.
 * Beside strangers that compute, it may be some of the scheduler's turns before we have a core again,
 * and one who sleeps is woken sooner: after a yield that took long the next ones are left out, twice as
 * many each time. Nor is there one where it could use up the time that a call has, which looks after the
 * dead before it sleeps. */
static inline int shmq_yield(shmq_view *view, shmq_waiter *waiter) {
  uint64_t begun = now_ns();
  /* relaxed, all: private, and guesses. */
  uint32_t left_out = load_relaxed(&view->yields_left_out);
  uint32_t in_a_row = load_relaxed(&view->long_yields);
  if (waiter->yielded || waiter->why == SHMQ_BUSY ||
      waiter->deadline_ns < begun + SHMQ_YIELD_ROOM)
    return 0;
  waiter->yielded = 1;
  if (left_out > 0) {
    store_relaxed(&view->yields_left_out, left_out - 1); /* relaxed: as above */
    return 0;
  }
  sched_yield();
  if (now_ns() - begun > SHMQ_YIELD_LONG) {
    /* relaxed, both: as above. */
    store_relaxed(&view->yields_left_out, 1u << in_a_row);
    if (in_a_row < SHMQ_YIELD_DOUBLINGS) store_relaxed(&view->long_yields, in_a_row + 1);
  } else if (in_a_row > 0) {
    store_relaxed(&view->long_yields, 0); /* relaxed: as above */
  }
  return shmq_may_go_on(view, waiter);
}

/* With which bits of the futex's bitset a waiter sleeps. */
static inline uint32_t shmq_waiter_class(const shmq_waiter *waiter) {
  if (waiter->count > 1) return SHMQ_WAKE_BATCH;
  return waiter->reader == NULL ? SHMQ_WAKE_ONE_ITEM : shmq_group_class(waiter->reader->group);
}

/* In a stream, before it sleeps on another bell than before: a wake-up that came to it there is passed on,
 * whatever there is to do, for all who sleep there wait for the wrong end. */
static inline void shmq_leave_bell(shmq_waiter *waiter) {
  if (waiter->bell_end == NULL || waiter->bell_end == waiter->end) return;
  shmq_end_flag(waiter->bell_end, SHMQ_AWAITED);
  futex_wake(&waiter->bell_end->bell, 1, shmq_waiter_class(waiter));
}

/* After sleeps on an owner word, for good: who is woken there takes it, most likely, and rings when it lets
 * go. It may have done without (a block was freed, another made the ring larger): then nobody would.
 * `gave_up`: without having acted. */
static inline void shmq_leave_owner(const shmq_waiter *waiter, int gave_up) {
  if (waiter->owner_end == NULL) return;
  /* relaxed: the flag that we set after our sleep; if another holds the word by now, that one rings. */
  if (gave_up || (load_relaxed(&waiter->owner_end->owner) & (SHMQ_TAG | SHMQ_CONTENDED)) ==
                     SHMQ_CONTENDED)
    futex_wake(shmq_owner_futex(waiter->owner_end), 1, SHMQ_WAKE_ANY);
}

/* Before it waits for a group: until when the answer can't change by itself. */
static inline uint64_t shmq_stream_look_again_ns(const shmq_view *view, const shmq_waiter *waiter,
                                                 uint64_t now) {
  const uint32_t group = shmq_group_of_head(view, waiter->end);
  if (waiter->why != SHMQ_FULL || group >= SHMQ_MAX_GROUPS) return SHMQ_NO_DEADLINE;
  /* relaxed, all: what it comes to is when to look again. */
  if (!(load_relaxed(&view->stream->dropping) & shmq_group_bit(group))) return SHMQ_NO_DEADLINE;
  uint64_t sequence = load_relaxed(&waiter->end->sequence);
  uint64_t floor = load_relaxed(&shmq_head(view)->sequence);
  if ((int64_t)(floor - sequence) > 0) sequence = floor;
  const shmq_slot *slot = (const shmq_slot *)shmq_slot_at(view, sequence);
  uint64_t due = load_relaxed(&slot->put_ns) + load_relaxed(&view->stream->groups[group].keep_ns);
  return due > now + SHMQ_MS ? due : now + SHMQ_MS;
}

/* Before an end is waited for: OK when there is something to do that no end tells of, or CLOSED; else
 * what is waited for, still. */
static inline shmq_status shmq_look_around(const shmq_view *view, shmq_waiter *waiter) {
  if (view->stream != NULL && waiter->why != SHMQ_UNFINISHED) {
    uint64_t begun;
    int was_written = waiter->is_written;
    waiter->is_written = waiter->why == SHMQ_EMPTY && shmq_all_written(view, &begun);
    /* Once: where the tail's word is in use, its holder is waited for. */
    if (waiter->is_written && !was_written) return SHMQ_OK;
  }
  /* acquire: who shuts the tail rings the bell afterwards, which the futex compares; if that came
   * before our look at the bell, the state is seen here. */
  if (waiter->why != SHMQ_UNFINISHED && load_acquire(&shmq_tail(view)->state) & SHMQ_END_SHUT &&
      !waiter->saw_shut) {
    waiter->saw_shut = 1;
    return SHMQ_OK;
  }
  return shmq_is_closed(waiter->handle) ? SHMQ_CLOSED : waiter->why;
}

/* One round of polling, by a handle that doesn't sleep. OK, INTERRUPTED or CLOSED. */
static inline shmq_status shmq_poll_on(const shmq_view *view, shmq_waiter *waiter, uint64_t now,
                                       uint64_t deadline) {
  const int yields = shmq_wait_strategy(waiter->handle) == SHMQ_WAIT_YIELD;
  const int is_busy = waiter->why == SHMQ_BUSY;
  uint64_t until = now + (is_busy ? SHMQ_SLEEP_SHORT : SHMQ_POLL_ROUND);
  if (until > deadline) until = deadline;
  if (is_busy) {
    if (shmq_end_evict_dead(view, waiter->end)) return SHMQ_OK;
  } else {
    shmq_status status = shmq_look_around(view, waiter);
    if (status != waiter->why) return status;
    uint64_t look_again = shmq_stream_look_again_ns(view, waiter, now);
    if (look_again < until) until = look_again;
  }
  while (!shmq_may_go_on(view, waiter)) {
    if (shmq_is_closed(waiter->handle)) return SHMQ_CLOSED;
    if (now_ns() >= until) return SHMQ_INTERRUPTED;
    if (yields) sched_yield();
    for (int i = 0; i < 24 && !yields; i++) cpu_pause();
  }
  return SHMQ_OK;
}

/* One bounded sleep. OK, INTERRUPTED or CLOSED. */
static inline shmq_status shmq_sleep(const shmq_view *view, shmq_waiter *waiter, uint64_t now,
                                     uint64_t deadline) {
  uint64_t until = now + waiter->sleep_ns;
  int result;
  if (until > deadline) until = deadline;
  if (waiter->why == SHMQ_BUSY) {
    /* What the flag was set in is what the futex compares: the word that a later look finds may be
     * another owner's, who doesn't know of us. */
    uint64_t seen = shmq_end_flag(waiter->end, SHMQ_CONTENDED);
    if ((seen & SHMQ_TAG) == 0) return SHMQ_OK;
    if (shmq_end_evict_dead(view, waiter->end)) return SHMQ_OK;
    waiter->slept = 1;
    if (waiter->owner_end != waiter->end) shmq_leave_owner(waiter, 0);
    waiter->owner_end = waiter->end;
    result = futex_wait(shmq_owner_futex(waiter->end), (uint32_t)seen, until, SHMQ_WAKE_ANY);
    /* There may be more who sleep here: whoever takes the word next, we most likely, rings again. */
    shmq_end_flag(waiter->end, SHMQ_CONTENDED);
    if (waiter->sleep_ns < SHMQ_SLEEP_BUSY) waiter->sleep_ns *= 2;
    return result == 0 ? SHMQ_OK : SHMQ_INTERRUPTED;
  }
  /* acquire: the bell before the look at the ends; pairs with the release in shmq_end_ring. */
  uint32_t bell = load_acquire(&waiter->end->bell);
  int batch = waiter->count > 1;
  if (batch) {
    /* relaxed: a hint. The earliest wish counts; one that is lost looks again by itself. */
    uint64_t wanted = load_relaxed(&shmq_tail(view)->sequence) + waiter->count - view->capacity;
    uint64_t old = load_relaxed(&waiter->end->batch_wake_sequence);
    if ((int64_t)(old - wanted) > 0 ||
        (int64_t)(old - load_relaxed(&waiter->end->sequence)) <= 0)
      store_relaxed(&waiter->end->batch_wake_sequence, wanted);
  }
  shmq_end_flag(waiter->end, batch ? SHMQ_BATCH_AWAITED : SHMQ_AWAITED);
  if (shmq_may_go_on(view, waiter)) return SHMQ_OK;
  shmq_status status = shmq_look_around(view, waiter);
  if (status != waiter->why) return status;
  uint64_t look_again = shmq_stream_look_again_ns(view, waiter, now);
  if (look_again < until) until = look_again;
  waiter->slept = 1;
  if (!batch) {
    shmq_leave_bell(waiter);
    waiter->bell_end = waiter->end;
    waiter->bell_why = waiter->why;
  }
  result = futex_wait(&waiter->end->bell, bell, until, shmq_waiter_class(waiter));
  if (result == ETIMEDOUT && waiter->sleep_ns < SHMQ_SLEEP_IDLE) {
    waiter->sleep_ns *= 2;
    if (waiter->sleep_ns > SHMQ_SLEEP_IDLE) waiter->sleep_ns = SHMQ_SLEEP_IDLE;
  }
  /* A bound that passed is a chance to look for signals, too: one that came while this thread was
   * polling, or to another thread, interrupts no futex. */
  return result == 0 ? SHMQ_OK : SHMQ_INTERRUPTED;
}

/* After an attempt answered `why` about `end`: returns OK when the attempt is worth repeating,
 * INTERRUPTED when a signal should be looked at first, TIMEOUT or CLOSED. */
static inline shmq_status shmq_wait(shmq_view *view, shmq_waiter *waiter, shmq_status why,
                                    shmq_end *end) {
  uint64_t now, deadline;
  uint64_t budget = shmq_poll_budget_ns(waiter->handle);
  /* What was waited until now was for the end that was the slowest then. */
  if (waiter->end != end && waiter->started_ns != 0) shmq_waiter_account(view, waiter, now_ns());
  waiter->end = end;
  if (why != SHMQ_BUSY && waiter->deadline_ns == 0) return SHMQ_TIMEOUT; /* nothing to count */
  if (waiter->why != why || waiter->started_ns == 0) {
    if (waiter->started_ns != 0) shmq_waiter_account(view, waiter, now_ns());
    shmq_waiter_begin(view, waiter, why);
    if (!waiter->slept && budget == 0 && (shmq_spin(view, waiter) || shmq_yield(view, waiter)))
      return SHMQ_OK;
  }
  now = now_ns();
  shmq_waiter_account(view, waiter, now);
  if (shmq_is_closed(waiter->handle)) return SHMQ_CLOSED;
  deadline = waiter->deadline_ns;
  if (why == SHMQ_BUSY && deadline < waiter->started_ns + SHMQ_BUSY_GRACE)
    deadline = waiter->started_ns + SHMQ_BUSY_GRACE;
  if (now >= deadline) return SHMQ_TIMEOUT;
  if (!waiter->slept && now - waiter->first_ns < budget) {
    budget -= now - waiter->first_ns;
    return shmq_poll_on(view, waiter, now, deadline - now < budget ? deadline : now + budget);
  }
  return shmq_sleep(view, waiter, now, deadline);
}

/* Ends a wait, however it ended: a wake-up that came to us is passed on to the next sleeper. There may
 * be more who sleep, so the next who moves the end rings again; and if there is something to do
 * already, the next one is woken now. First the flag, then the look: whoever moves the end in between
 * rings, or is seen. A process killed before it gets here leaves the others to their bounded sleeps.
 * `gave_up`: without having acted. */
static inline void shmq_waiter_end(const shmq_view *view, shmq_waiter *waiter, int gave_up) {
  if (waiter->started_ns == 0) return;
  shmq_waiter_account(view, waiter, now_ns());
  if (waiter->bell_end != NULL) {
    waiter->why = waiter->bell_why;
    waiter->end = waiter->bell_end;
    waiter->count = 1;
    shmq_end_flag(waiter->bell_end, SHMQ_AWAITED);
    if (shmq_may_go_on(view, waiter))
      futex_wake(&waiter->bell_end->bell, 1, shmq_waiter_class(waiter));
  }
  shmq_leave_owner(waiter, gave_up);
}

/* ---- words that other threads and processes change, for callers that only look --------------------- */

static inline int shmq_is_shut(const shmq_view *view) {
  /* acquire: as any look at a state that may be the last. */
  return (load_acquire(&shmq_tail(view)->state) & SHMQ_END_SHUT) != 0;
}

/* Do takers see to the poll descriptor? */
static inline int shmq_is_polled(const shmq_view *view) {
  /* relaxed: whoever set it settles the descriptor itself, after us or before. */
  return (load_relaxed(&shmq_head(view)->state) & SHMQ_END_POLLED) != 0;
}

static inline int shmq_is_to_trim(const shmq_view *view) {
  return load_relaxed(&view->trim_is_due) != 0; /* relaxed: private to the process, and a hint */
}

/* What was wanted when reserving memory last answered ASK: of another thread, it may be. */
static inline uint64_t shmq_asked_bytes(const shmq_view *view) {
  return load_relaxed(&view->asked_bytes); /* relaxed: if it is another's, ours is asked for again */
}

/* ---- the calls: an attempt, and the wait between attempts --------------------------------------
 * They return what the attempt or the wait said last; INTERRUPTED means: call again. */

/* After an attempt to put in a stream answered FULL: OK when it is worth another one; else FULL or BUSY,
 * and the end to wait for. A dead subscriber gates nobody. */
static inline shmq_status shmq_make_room_in_stream(const shmq_view *view, uint64_t count,
                                                   shmq_end **end) {
  for (;;) {
    shmq_status status = shmq_floor_raise(view, shmq_needed_gone(view, count), end);
    if (status != SHMQ_FULL || !shmq_group_bury(view, *end)) return status;
  }
}

static shmq_status shmq_put(shmq_view *view, const shmq_record *records, uint64_t count,
                            shmq_waiter *waiter) {
  for (;;) {
    shmq_growth growth = {0, waiter->growth_is_refused, 0};
    shmq_status status = shmq_try_put(view, records, count, &growth);
    shmq_end *end = status == SHMQ_FULL ? shmq_head(view) : shmq_tail(view);
    if (status == SHMQ_FULL && view->stream != NULL) {
      status = shmq_make_room_in_stream(view, count, &end);
      if (status == SHMQ_OK) continue;
    }
    if (status == SHMQ_GROW && waiter->growth_is_refused) return SHMQ_NO_MEMORY;
    if (status == SHMQ_GROW) {
      status = shmq_ring_grow(view, &growth);
      end = shmq_pool_end(view);
      if (status == SHMQ_OK) continue;
    }
    if (status != SHMQ_FULL && status != SHMQ_BUSY) return status;
    status = shmq_wait(view, waiter, status, end);
    if (status != SHMQ_OK) return status;
  }
}

/* Waits until there is room, without claiming it: somebody else may be quicker. */
static inline shmq_status shmq_await_room(shmq_view *view, shmq_waiter *waiter) {
  for (;;) {
    /* acquire: as any look at a state that may be the last. */
    if (load_acquire(&shmq_tail(view)->state) & SHMQ_END_SHUT) return SHMQ_SHUTDOWN;
    if (shmq_has_room(view, waiter->count)) return SHMQ_OK;
    shmq_status status = SHMQ_FULL;
    shmq_end *end = shmq_head(view);
    if (view->stream != NULL) {
      status = shmq_make_room_in_stream(view, waiter->count, &end);
      if (status == SHMQ_OK) continue;
      if (status != SHMQ_FULL && status != SHMQ_BUSY) return status;
    } else if (shmq_ends_contradict(view, waiter->count)) {
      return SHMQ_CORRUPT; /* as an attempt would answer */
    }
    status = shmq_wait(view, waiter, status, end);
    if (status != SHMQ_OK) return status;
  }
}

/* If all writers of the stream have finished: shuts it. 1 if that was done; 0 if there is a writer, or
 * another has the tail's word. */
static inline int shmq_end_written(const shmq_view *view) {
  shmq_end *tail = shmq_tail(view);
  uint64_t begun;
  while (shmq_all_written(view, &begun)) {
    if (!shmq_end_try_acquire(view, tail) &&
        !(shmq_end_evict_dead(view, tail) && shmq_end_try_acquire(view, tail)))
      return 0;
    int is_shut = shmq_shut_written(view, begun);
    shmq_end_release(tail);
    if (is_shut) {
      shmq_stream_ring_all(view);
      return 1;
    }
    /* A writer came meanwhile. If it has finished, too, it may have met the word in our hands, and so
     * may who waits: then nobody else looks again. */
  }
  return 0;
}

/* After an attempt to take from a group answered EMPTY: the end to wait for; or NULL, when the stream has
 * come to its end, or the dead held it back: then it is worth another attempt. */
static inline shmq_end *shmq_await_group(shmq_view *view, shmq_waiter *waiter) {
  shmq_end *slowest;
  uint64_t gate = shmq_gate_of_group(view, waiter->reader->group, &slowest);
  /* relaxed: a look; it is moved by others. */
  if (slowest != shmq_tail(view) && load_relaxed(&slowest->sequence) != gate &&
      shmq_holds_bury(view, shmq_group_of_head(view, slowest)))
    return NULL;
  if ((waiter->is_written || waiter->deadline_ns == 0) && shmq_end_written(view)) return NULL;
  return slowest;
}

static shmq_status shmq_take(shmq_view *view, uint64_t max_items, uint8_t *buffer,
                             uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken,
                             uint64_t *count, shmq_waiter *waiter) {
  for (;;) {
    shmq_reader *reader = waiter->reader;
    shmq_status status = shmq_try_take_from(view, reader, max_items, buffer, buffer_bytes, block_bytes,
                                            taken, count);
    shmq_end *end = status == SHMQ_EMPTY ? shmq_tail(view) : shmq_head(view);
    /* Who asks for more has finished what it had. */
    if (status != SHMQ_OK && reader != NULL && !reader->takes_more)
      shmq_reader_finish(view, reader);
    if (status == SHMQ_RENEW) {
      status = shmq_reader_renew(view, reader);
      if (status == SHMQ_OK) continue;
      return status;
    }
    if (status != SHMQ_EMPTY && status != SHMQ_BUSY) return status;
    if (reader != NULL) {
      end = reader->head;
      if (status == SHMQ_EMPTY) end = shmq_await_group(view, waiter);
      if (end == NULL) continue;
    }
    status = shmq_wait(view, waiter, status, end);
    if (status != SHMQ_OK) return status;
  }
}

/* Waits until task_done was called for every item that was put. */
static inline shmq_status shmq_join(shmq_view *view, shmq_waiter *waiter) {
  if (waiter->started_ns == 0)
    waiter->target = load_acquire(&shmq_tail(view)->sequence); /* acquire: as any look at the tail */
  while (!shmq_was_done(view, waiter->target)) {
    shmq_status status = shmq_wait(view, waiter, SHMQ_UNFINISHED, shmq_done(view));
    if (status != SHMQ_OK) return status;
  }
  return SHMQ_OK;
}

/* What is done to an end that doesn't move it. */
typedef enum {
  SHMQ_DO_SHUT,   /* the end moves no more */
  SHMQ_DO_POLL,   /* of the head: from now on its takers see to the poll descriptor */
  SHMQ_DO_SETTLE, /* of the tail: the poll descriptor tells the truth */
} shmq_deed;

/* Waits for the end's owner word and does it, without a call into Python in between. */
static inline shmq_status shmq_end_do(shmq_view *view, shmq_end *end, shmq_deed deed,
                                      shmq_waiter *waiter) {
  /* Without polling: who holds the word is in a system call, or was put off its core by us. */
  waiter->slept = 1;
  while (!shmq_end_try_acquire(view, end)) {
    shmq_status status = shmq_wait(view, waiter, SHMQ_BUSY, end);
    if (status != SHMQ_OK) return status;
  }
  if (deed == SHMQ_DO_SHUT) shmq_end_shut(end);
  if (deed == SHMQ_DO_POLL) shmq_end_mark(end, SHMQ_END_POLLED);
  /* relaxed: a head that is polled from later on settles the descriptor itself. */
  if (end == shmq_tail(view) && load_relaxed(&shmq_head(view)->state) & SHMQ_END_POLLED)
    shmq_poll_settle(view);
  shmq_end_release(end);
  return SHMQ_OK;
}

static shmq_status shmq_block_take(shmq_view *view, uint64_t bytes, uint32_t *index,
                                   shmq_waiter *waiter) {
  for (;;) {
    shmq_end *busy;
    shmq_status status = shmq_block_get(view, bytes, index, &busy);
    if (status != SHMQ_BUSY) return status;
    status = shmq_wait(view, waiter, status, busy);
    if (status != SHMQ_OK) return status;
  }
}

#endif
