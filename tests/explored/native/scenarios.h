/* What the actors do. Each program runs in an actor of its own; the calls are those of account.h. */
#ifndef EXPLORED_SCENARIOS_H
#define EXPLORED_SCENARIOS_H

#include "group_calls.h"

enum {
  LEANS_ON_BOUNDS = 1, /* some sleepers are woken by their bound alone, which the essays say */
  IDLE_MAY_DIE = 2,    /* also who has nothing left to do may be killed */
  SLOTS_ARE_LOOKED_AT = 4,
  STATES_CHANGE = 8, /* of ends: somebody shuts down, or polls */
  BEGINS_WITH_DEATH = 16, /* EX_VICTIM is dead when the schedule begins; else it left in order */
  STREAM = 32,
  GROUPS_CHANGE = 64, /* somebody opens or removes one */
};

typedef struct {
  const char *name, *about;
  uint32_t capacity;
  void (*programs[EX_ACTORS])(void);
  uint8_t process_of[EX_ACTORS]; /* all 0: each actor is a process */
  uint32_t prefilled;            /* items in the ring at the start */
  uint32_t region_count, pool_pages;
  void (*reborn)(void);  /* what follows a killed process, in a seat of its own */
  void (*prepare)(void); /* directly, before the schedule begins, as EX_VICTIM */
  uint8_t attach_themselves; /* bits: processes that have no seat at first */
  uint8_t immortal;          /* bits: processes that are not killed */
  int flags;
  uint8_t putters, takers; /* bits: actors that may move the tail, the head; 0: all */
  uint32_t group_count;
  ex_group_wish groups[EX_GROUPS]; /* that there are from the start */
  uint8_t reads[EX_ACTORS];        /* for which of them an actor consumes, plus one */
} ex_scenario;

/* ---- programs ------------------------------------------------------------------------------------ */

static void put_one(void) { ex_put(1, EX_FOREVER); }
static void put_two(void) { put_one(); put_one(); }
static void put_three(void) { put_two(); put_one(); }
static void put_batch(void) { ex_put(2, EX_FOREVER); }
static void put_batch_and_one(void) { put_batch(); put_one(); }
static void put_batch_of_three(void) { ex_put(3, EX_FOREVER); }
static void put_within_limit(void) { ex_put(1, 3 * SHMQ_MS); }

static void take(uint32_t items, uint32_t at_most) {
  while (items > 0) items -= ex_take(at_most < items ? at_most : items, EX_FOREVER);
}
static void take_one(void) { take(1, 1); }
static void take_two(void) { take(2, 1); }
static void take_three(void) { take(3, 1); }
static void take_four(void) { take(4, 1); }
static void take_up_to_two(void) { take(3, 2); }
static void take_five_by_two(void) { take(5, 2); }
static void take_within_limit(void) { ex_take(1, 3 * SHMQ_MS); }
static void take_at_once(void) { ex_take(1, 0); }

static void attach_and_put(void) { ex_attach(); put_one(); }
static void attach_and_take(void) { ex_attach(); take_one(); }
static void attach_put_and_leave(void) { ex_attach(); put_one(); ex_leave(); }

static void put_and_shut_down(void) { put_one(); ex_shut_down(); }
static void shut_down(void) { ex_shut_down(); }
static void take_until_shut_down(void) { while (ex_take(1, EX_FOREVER) > 0) continue; }

static void put_and_join(void) { put_two(); ex_join(); }
static void join(void) { ex_join(); }
static void take_and_tell(void) {
  for (int i = 0; i < 2; i++) {
    take_one();
    if (!shmq_tasks_done(EX_VIEW, 1)) ex_violation("task_done refuses an item that was taken");
  }
}
static void take_one_and_tell(void) {
  take_one();
  if (!shmq_tasks_done(EX_VIEW, 1)) ex_violation("task_done refuses an item that was taken");
}

static void look_twice(void) {
  ex_look_at_oldest();
  ex_look_at_oldest();
}

static void put_large(void) { ex_put_large(EX_LARGE_BYTES, EX_FOREVER); }
static void put_two_large(void) { put_large(); put_large(); }
static void put_and_take(uint64_t bytes) {
  ex_put_large(bytes, EX_FOREVER);
  ex_take(1, 0);
}
static void put_small_and_take(void) { put_and_take(100); }
static void put_largest_and_take(void) { put_and_take(3 * SHMQ_PAGE); }
static void put_take_put_large(void) { put_and_take(EX_LARGE_BYTES); put_large(); }
static void sweep(void) { ex_sweep(); }

/* ---- states to start from ------------------------------------------------------------------------- */

/* Died inside: its tag stands in the word, somebody may have slept on it. */
static void die_inside(uint32_t end, uint64_t flags) {
  if (!shmq_end_try_acquire(EX_VIEW, &EX_VIEW->ends[end])) ex_violation("cannot begin");
  EX_VIEW->ends[end].owner |= flags;
}
static void die_inside_tail(void) { die_inside(SHMQ_END_TAIL, 0); }
static void die_inside_both(void) {
  die_inside(SHMQ_END_TAIL, SHMQ_AWAITED);
  die_inside(SHMQ_END_HEAD0, SHMQ_CONTENDED);
}
/* Held one block, queued another, and died. */
static void die_with_blocks(void) {
  if (ex_put_large(EX_LARGE_BYTES, 0) != SHMQ_OK) ex_violation("cannot begin");
  if (ex_fill_block(EX_LARGE_BYTES, 9999, 0) == SHMQ_NO_BLOCK) ex_violation("cannot begin");
}
static void begin_to_poll(void) { ex_begin_to_poll(); }

/* Alive, inside, and stopped: by a signal, or under a debugger. */
static void stop_inside_tail(void) {
  if (shmq_end_try_acquire(EX_VIEW, shmq_tail(EX_VIEW))) {
    running->status = EX_STOPPED;
    ex_yield(); /* for good */
  }
}

/* ---- polling ---------------------------------------------------------------------------------------- */

/* Gets what the descriptor says is there; alone, so that there must be something. */
static void poll_and_take_two(void) {
  for (int i = 0; i < 2; i++) {
    memset(&running->call, 0, sizeof(running->call));
    running->call.deed = EX_POLL;
    ex_poll();
    ex_end();
    if (ex_take(1, 0) == 0 && world.kills == 0)
      ex_violation("the descriptor was readable, and there was nothing");
  }
}

/* ---- streams ----------------------------------------------------------------------------------------- */

static void get(uint32_t items) {
  while (items > 0) items -= ex_get(1);
}
static void get_one(void) { get(1); ex_end_reading(); }
static void get_two(void) { get(2); ex_end_reading(); }
static void get_three(void) { get(3); ex_end_reading(); }
static void get_four(void) { get(4); ex_end_reading(); }
static void get_up_to_two(void) { ex_get_up_to(2, 1); ex_end_reading(); }
static void get_up_to_three(void) { ex_get_up_to(3, 1); ex_end_reading(); }
static void get_up_to_four(void) { ex_get_up_to(4, 1); ex_end_reading(); }
static void get_by_two_up_to_five(void) { ex_get_up_to(5, 2); ex_end_reading(); }
static void get_until_the_end(void) {
  while (ex_get(1) > 0) continue;
  ex_end_reading();
}
static void get_and_finish(void) { get(1); ex_finish(); get(1); ex_end_reading(); }

static void open_group(uint32_t name, uint8_t start) {
  ex_join_group(name, (ex_group_wish){.start = start});
}
static void open_and_get_one(void) { open_group(0, SHMQ_START_OLDEST); get_one(); }
static void open_and_get_three(void) { open_group(0, SHMQ_START_OLDEST); get_three(); }
static void open_second_and_get(void) { open_group(1, SHMQ_START_OLDEST); get_up_to_three(); }
static void open_next_and_get(void) { open_group(1, SHMQ_START_NEXT); get_up_to_two(); }
static void subscribe(void) {
  ex_join_group(0, (ex_group_wish){.start = SHMQ_START_OLDEST, .is_subscriber = 1});
}
static void subscribe_and_get(void) {
  subscribe();
  get_two();
  ex_remove_group(EX_READER->group);
}
static void shut_stream(void) { ex_shut_stream(); }
static void get_and_remove_first(void) { get_one(); ex_remove_group(0); }
static void get_and_remove_second(void) { get_one(); ex_remove_group(1); }
static void write_one(void) {
  const uint32_t writer = ex_begin_writing();
  if (writer == SHMQ_MAX_WRITERS) return;
  put_one();
  ex_finish_writing(writer);
}

static void write_nothing(void) {
  const uint32_t writer = ex_begin_writing();
  if (writer != SHMQ_MAX_WRITERS) ex_finish_writing(writer);
}

/* Bits of actors. */
enum { A = 1, B = 2, C = 4 };

static const ex_scenario scenarios[] = {
    {"two-producers", "two producers fill a ring of 2 for one consumer", 2,
     {put_two, put_one, take_three}, .putters = A | B, .takers = C},
    {"two-consumers", "two consumers empty a ring of 2 that one producer fills", 2,
     {put_three, take_two, take_one}, .putters = A, .takers = B | C},
    {"batches", "a batch, single items and a consumer that takes up to 2", 2,
     {put_batch, put_one, take_up_to_two}, .putters = A | B, .takers = C},
    {"batches-long", "batches of 2 and 3 in a ring of 3", 3,
     {put_batch_of_three, put_batch, take_five_by_two}, .putters = A | B, .takers = C},
    {"full", "two producers sleep on a full ring", 2, {put_one, put_one, take_two},
     .prefilled = 2, .putters = A | B, .takers = C},
    {"empty", "two consumers sleep on an empty ring", 2, {take_one, take_one, put_two},
     .putters = C, .takers = A | B},
    {"takeover", "two producers contend for the tail of a dead one", 2,
     {put_one, put_one, take_two}, .prepare = die_inside_tail, .flags = BEGINS_WITH_DEATH, .putters = A | B, .takers = C},
    {"takeover-both", "both ends in dead hands, with flags of sleepers", 2,
     {put_one, take_one, NULL}, .prepare = die_inside_both, .flags = BEGINS_WITH_DEATH, .putters = A, .takers = B},
    {"reborn", "a killed producer comes back, in the same seat", 2,
     {put_one, take_one}, .reborn = attach_and_put, .immortal = 2, .putters = A, .takers = B},
    {"reborn-consumer", "a killed consumer comes back", 2,
     {put_two, take_one, take_one}, .reborn = attach_and_take, .immortal = 1, .putters = A,
     .takers = B | C},
    {"limits", "calls with a time limit on a full and an empty ring", 1,
     {put_within_limit, put_within_limit, take_within_limit}, .putters = A | B, .takers = C},
    {"at-once", "calls that don't wait, beside those that do", 1,
     {put_two, take_one, take_at_once}, .putters = A, .takers = B | C},
    {"stopped", "one stops for good inside the tail: nobody robs it", 2,
     {stop_inside_tail, put_within_limit, put_within_limit}, .immortal = A, .putters = A | B | C},
    {"threads", "two threads of one process, and another process", 2,
     {put_one, put_two, take_three}, .process_of = {0, 0, 1}, .putters = A | B, .takers = C},
    {"attach", "one comes and sweeps while two work", 2,
     {attach_put_and_leave, put_one, take_two}, .attach_themselves = A, .putters = A | B,
     .takers = C},
    {"attach-two", "two come at once, after one that died inside", 2,
     {attach_and_put, attach_and_take}, .attach_themselves = A | B, .prepare = die_inside_both,
     .flags = BEGINS_WITH_DEATH, .putters = A, .takers = B},
    {"blocks", "large items: filled, queued, held, freed", 2,
     {put_two_large, take_one, take_one}, .pool_pages = 8, .putters = A, .takers = B | C},
    {"sweep", "one sweeps after the dead while others work", 2,
     {put_large, take_two, sweep}, .pool_pages = 8, .prepare = die_with_blocks, .flags = BEGINS_WITH_DEATH, .putters = A,
     .takers = B},
    {"shrink", "blocks of one size are unmade for another, while others look for them", 4,
     {put_take_put_large, put_largest_and_take, put_small_and_take}, .pool_pages = 3},
    {"shutdown", "shut down with items in the ring and sleepers on it", 1,
     {put_and_shut_down, put_one, take_until_shut_down}, .flags = STATES_CHANGE,
     .putters = A | B, .takers = C},
    {"shutdown-waiters", "shut down while consumers sleep", 2,
     {shut_down, take_until_shut_down, take_until_shut_down}, .flags = STATES_CHANGE},
    {"join", "join waits for what was put to be done", 2, {put_and_join, take_and_tell},
     .putters = A, .takers = B},
    {"join-two", "one joins, two take and tell", 2, {take_one_and_tell, take_one_and_tell, join},
     .prefilled = 2, .takers = A | B, .putters = A},
    {"regions", "a ring that grows by regions, and goes back", 64,
     {put_three, put_three, take_four}, .region_count = 3, .prefilled = 1, .putters = A | B,
     .takers = C},
    {"poll", "one polls the descriptor and takes what is there", 2,
     {poll_and_take_two, put_one, put_one}, .prepare = begin_to_poll, .flags = STATES_CHANGE,
     .putters = B | C, .takers = A},
    {"poll-start", "the first who asks for the descriptor comes while others work", 2,
     {begin_to_poll, put_two, take_two}, .flags = STATES_CHANGE, .putters = B, .takers = C},
    {"oldest", "one looks at the oldest item without a word", 1,
     {put_two, take_two, look_twice}, .flags = SLOTS_ARE_LOOKED_AT, .putters = A, .takers = B},
    {"pair", "one producer, one consumer, a ring of 2", 2, {put_three, take_three}, .putters = A,
     .takers = B},
    {"pair-large", "one producer, one consumer, large items", 2, {put_two_large, take_two},
     .pool_pages = 4, .putters = A, .takers = B},
    {"stream-wakes", "consumers of two groups sleep on the tail", 2, {put_one, get_one, get_one},
     .putters = A, .flags = STREAM, .group_count = 2, .reads = {0, 1, 2}},
    {"stream-pair", "a producer and a consumer, through a group", 1, {put_two, get_three},
     .prefilled = 1, .putters = A, .flags = STREAM, .group_count = 1, .reads = {0, 1}},
    {"stream-shared", "two consumers of a group sleep", 2, {put_two, get_one, get_one},
     .putters = A, .flags = STREAM, .group_count = 1, .reads = {0, 1, 1}},
    {"stream-slowest", "a producer waits for the slowest of two groups, which is another by then", 2,
     {put_two, get_four, get_four}, .prefilled = 2, .putters = A, .flags = STREAM, .group_count = 2,
     .reads = {0, 1, 2}},
    {"stream-two-producers", "two producers wait for the slowest of two groups", 1,
     {put_one, put_one, get_three, get_three}, .prefilled = 1, .putters = A | B, .flags = STREAM,
     .group_count = 2, .reads = {0, 0, 1, 2}},
    {"stream-batch", "a batch waits for two groups", 2, {put_batch, get_four, get_four},
     .prefilled = 2, .putters = A, .flags = STREAM, .group_count = 2, .reads = {0, 1, 2}},
    {"stream-follow", "a group takes what the one before it has finished", 2,
     {get_and_finish, get_two}, .prefilled = 2, .flags = STREAM, .group_count = 2,
     .groups = {{0}, {.after = 1}}, .reads = {1, 2}},
    {"stream-stages", "a producer and two stages", 2, {put_two, get_and_finish, get_two},
     .putters = A, .flags = STREAM, .group_count = 2, .groups = {{0}, {.after = 1}},
     .reads = {0, 1, 2}},
    {"stream-stage-shared", "two share the work of a stage that another comes after", 2,
     {get_one, get_one, get_two}, .prefilled = 2, .flags = STREAM, .group_count = 2,
     .groups = {{0}, {.after = 1}}, .reads = {1, 1, 2}},
    {"stream-lag", "a group is lapped while it reads", 2, {put_two, get_up_to_four},
     .prefilled = 2, .putters = A, .flags = STREAM, .group_count = 1,
     .groups = {{SHMQ_POLICY_LAG}}, .reads = {0, 1}},
    {"stream-lag-beside", "a group that lags beside one that blocks", 1,
     {put_two, get_up_to_three, get_three}, .prefilled = 1, .putters = A,
     .flags = STREAM, .group_count = 2, .groups = {{SHMQ_POLICY_LAG}, {0}}, .reads = {0, 1, 2}},
    {"stream-lag-batch", "batches are lapped while they are read", 2,
     {put_three, get_by_two_up_to_five}, .prefilled = 2, .putters = A, .flags = STREAM,
     .group_count = 1, .groups = {{SHMQ_POLICY_LAG}}, .reads = {0, 1}},
    {"stream-lag-stages", "two stages are lapped", 1, {put_two, get_up_to_three, get_up_to_three},
     .prefilled = 1, .putters = A, .flags = STREAM, .group_count = 2,
     .groups = {{SHMQ_POLICY_LAG}, {SHMQ_POLICY_LAG, .after = 1}}, .reads = {0, 1, 2}},
    {"stream-first", "the first group comes while a producer waits for it", 2,
     {put_one, open_and_get_three}, .prefilled = 2, .putters = A, .flags = STREAM | GROUPS_CHANGE},
    {"stream-open", "a group is opened while another passes items on", 2,
     {put_one, get_two, open_next_and_get}, .prefilled = 1, .putters = A,
     .flags = STREAM | GROUPS_CHANGE, .group_count = 1, .reads = {0, 1}},
    {"stream-open-behind", "a group that blocks is opened while one that lags is overrun", 2,
     {put_one, open_second_and_get}, .prefilled = 2, .putters = A, .flags = STREAM | GROUPS_CHANGE,
     .group_count = 1, .groups = {{SHMQ_POLICY_LAG}}},
    {"stream-open-two", "two open the same group", 2, {open_and_get_one, open_and_get_one},
     .prefilled = 2, .flags = STREAM | GROUPS_CHANGE},
    {"stream-remove", "a group is removed that a producer waits for", 2,
     {put_one, get_and_remove_second}, .prefilled = 2, .putters = A,
     .flags = STREAM | GROUPS_CHANGE, .group_count = 2, .reads = {0, 1}},
    {"stream-leave", "a group is removed while it is taken from", 1,
     {put_one, get_until_the_end, get_and_remove_first}, .prefilled = 1, .putters = A,
     .flags = STREAM | GROUPS_CHANGE, .group_count = 2, .reads = {0, 1, 2}},
    {"stream-subscribe", "a subscriber comes, takes and goes", 2, {put_one, subscribe_and_get},
     .prefilled = 1, .putters = A, .flags = STREAM | GROUPS_CHANGE},
    {"stream-dead-subscriber", "a dead subscriber gates", 2, {put_one, get_three}, .prefilled = 2,
     .prepare = subscribe, .flags = STREAM | GROUPS_CHANGE | BEGINS_WITH_DEATH, .putters = A,
     .group_count = 1, .reads = {0, 1}},
    {"stream-written", "a writer finishes while two groups wait", 2,
     {write_one, get_until_the_end, get_until_the_end}, .putters = A,
     .flags = STREAM | STATES_CHANGE, .group_count = 2, .reads = {0, 1, 2}},
    {"stream-written-shared", "a writer finishes while two of a group wait", 2,
     {write_one, get_until_the_end, get_until_the_end}, .putters = A,
     .flags = STREAM | STATES_CHANGE, .group_count = 1, .reads = {0, 1, 1}},
    {"stream-writers", "two writers finish", 2, {write_one, write_one, get_until_the_end},
     .putters = A | B, .flags = STREAM | STATES_CHANGE, .group_count = 1, .reads = {0, 0, 1}},
    {"stream-nothing-written", "two writers write nothing and finish", 2,
     {write_nothing, write_nothing, get_until_the_end}, .flags = STREAM | STATES_CHANGE,
     .group_count = 1, .reads = {0, 0, 1}},
    {"stream-shutdown", "shut down while two groups wait", 2,
     {shut_down, get_until_the_end, get_until_the_end}, .flags = STREAM | STATES_CHANGE,
     .group_count = 2, .reads = {0, 1, 2}},
    {"stream-shutdown-at-once", "shut down at once, with items for two groups", 2,
     {shut_stream, get_until_the_end, get_until_the_end}, .prefilled = 1,
     .flags = STREAM | STATES_CHANGE, .group_count = 2, .reads = {0, 1, 2}},
    {"stream-blocks", "two groups view large items", 1, {put_two_large, get_two, get_two},
     .pool_pages = 6, .putters = A, .flags = STREAM, .group_count = 2, .reads = {0, 1, 2}},
    {"stream-block", "a group views large items", 1, {put_two_large, get_two}, .pool_pages = 4,
     .putters = A, .flags = STREAM, .group_count = 1, .reads = {0, 1}},
    {"stream-sweep", "one sweeps while large items are viewed", 2, {put_large, get_one, sweep},
     .pool_pages = 4, .putters = A, .flags = STREAM, .group_count = 1, .reads = {0, 1}},
    {"stream-lag-blocks", "a group is lapped while it views large items", 1,
     {put_two_large, get_up_to_two}, .pool_pages = 6, .putters = A,
     .flags = STREAM, .group_count = 1, .groups = {{SHMQ_POLICY_LAG}},
     .reads = {0, 1}},
};
#define EX_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

#endif
