/* Starting states: what is in the ring and the pool, who died before and of what, and who sleeps. */
#ifndef KILLPOINTS_STATES_H
#define KILLPOINTS_STATES_H

#include "trial.h"

#define SMALL_RING 4u
#define LARGE_RING 128u
#define FIRST_IDS 100u
#define CELLS 1u
#define REGIONS 2u
#define LONG_IN_SLOT 16000u

typedef struct {
  const char *name;
  uint32_t geometries;
  uint32_t capacity;
  uint32_t is_polled;
  sleeper sleeps;
  void (*build)(scene *);
  const char *operations;
} state;

/* ---- by the survivor ----------------------------------------------------------------------------- */

static void must(int worked, const char *what) {
  errno = 0;
  if (!worked) give_up("a state can't be built: %s: %s", what, finding);
}

static void add(scene *of, uint64_t bytes) {
  actor who;
  uint64_t id = FIRST_IDS + sequence_of(shmq_tail(&of->view)) % 100;
  must(survivor_puts(of, &who, id, bytes), "put");
}

static void add_several(scene *of, uint32_t count) {
  while (count-- > 0) add(of, 0);
}

static void drop(scene *of, uint32_t count) {
  actor who;
  must(survivor_gets(of, &who, sequence_of(shmq_head(&of->view)) + count, 1), "get");
}

static void add_and_drop(scene *of, uint32_t count) {
  while (count-- > 0) {
    add(of, 0);
    drop(of, 1);
  }
}

/* An item of this length, whatever it is, in a slot of a region. */
static void add_long(scene *of, uint32_t bytes) {
  actor who;
  uint64_t sequence = sequence_of(shmq_tail(&of->view));
  shmq_record record = {buffer, bytes, KIND_OF_ITEM, 0, bytes};
  actor_init(&who, &of->view, 0, of->limit_ns);
  item_fill(buffer, FIRST_IDS + sequence % 100, bytes);
  must(put_records(&who, &record, 1) == SHMQ_OK, "put a long item");
  *id_at(of, sequence) = FIRST_IDS + sequence % 100;
}

/* Takes without what else a get sees to, which would take the ring back to its first region. */
static void only_take(scene *of, uint32_t count) {
  while (count-- > 0) {
    shmq_taken taken;
    uint64_t one;
    must(shmq_try_take(&of->view, 1, NULL, UINT64_MAX, 0, &taken, &one) == SHMQ_OK, "take");
  }
}

/* ---- by those who died of it ---------------------------------------------------------------------- */

static pid_t start_holder(scene *of) {
  report *says = mmap(NULL, SHMQ_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (says == MAP_FAILED) give_up("no shared page");
  pid_t pid = fork();
  if (pid < 0) give_up("no process");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (take_seat(&of->view) != SHMQ_OK) _exit(3);
    ((volatile report *)says)->is_ready = 1;
    for (;;) pause();
  }
  while (!((volatile report *)says)->is_ready && state_of(pid) != 'Z') sched_yield();
  must(((volatile report *)says)->is_ready != 0, "hold a seat");
  munmap(says, SHMQ_PAGE);
  return pid;
}

/* The kernel lets a lock go with the last who has the memory of the dead: that may be one who just looks
 * at it in /proc, and is put off its core meanwhile. */
static void await_deaths(const scene *of) {
  uint64_t until = now_ns() + of->limit_ns;
  for (uint32_t seat = 0; seat < MAX_SEATS; seat++)
    while (seat != of->view.seat_index && shmq_seat_is_held(&of->view, seat) != 0) {
      if (now_ns() > until) give_up("seat %u has the lock of one who is dead", seat);
      sched_yield();
    }
}

/* Takes a seat, does something, and is killed. Its seat is not the next one that is given, so that its
 * tags are those of a free lock; or, `by_generation`, it is: then they are those of a holder gone by. */
static void die_of(scene *of, int by_generation, void (*what)(scene *)) {
  pid_t holders[2], pid;
  int status;
  for (int i = 0; i < 2 && !by_generation; i++) holders[i] = start_holder(of);
  pid = fork();
  if (pid < 0) give_up("no process");
  if (pid == 0) {
    if (take_seat(&of->view) != SHMQ_OK) _exit(3);
    what(of);
    kill(getpid(), SIGKILL);
  }
  must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "die of it");
  for (int i = 0; i < 2 && !by_generation; i++) kill_and_reap(holders[i]);
  await_deaths(of);
}

static void own_tail(scene *of) { shmq_end_try_acquire(&of->view, shmq_tail(&of->view)); }
static void own_head(scene *of) { shmq_end_try_acquire(&of->view, shmq_head(&of->view)); }
static void own_pool(scene *of) { shmq_end_try_acquire(&of->view, shmq_pool_end(&of->view)); }
static void own_all(scene *of) {
  own_tail(of);
  own_head(of);
  own_pool(of);
}

/* Dies with a slot half-written, over which it had the tail. */
static void write_half(scene *of) {
  shmq_view *view = &of->view;
  uint64_t tail = sequence_of(shmq_tail(view)), position;
  own_tail(of);
  uint8_t *at = shmq_slot_at(view, tail);
  if (view->region_count > 0) {
    if (!shmq_own_place(view, shmq_tail(view), tail, &position)) _exit(4);
    at = view->slots + position;
  }
  memset(at, 0xA5, 64);
  ((shmq_slot *)at)->stamp = 2 * tail + 1;
}

/* Evicts one who died with the tail, takes it, and dies with it as well. */
static void take_over(scene *of) {
  shmq_end_evict_dead(&of->view, shmq_tail(&of->view));
  own_tail(of);
}

static void hoard(scene *of) {
  actor who;
  uint32_t block;
  actor_init(&who, &of->view, 0, 0);
  while (take_block(&who, SHMQ_PAGE, &block) == SHMQ_OK) {
  }
}

static void bequeath(scene *of) {
  actor who;
  actor_init(&who, &of->view, FIRST_IDS + 50, of->limit_ns);
  if (put_block(&who) != SHMQ_OK || put_short(&who, FIRST_IDS + 51) != SHMQ_OK) _exit(4);
}

static void half_get(scene *of) {
  own_head(of);
  shmq_block_hold(&of->view, 0);
}

/* ---- the states ----------------------------------------------------------------------------------- */

static void build_empty(scene *of) { (void)of; }
static void build_one(scene *of) { add(of, 0); }
static void build_several(scene *of) { add_several(of, 3); }
static void build_full(scene *of) { add_several(of, SMALL_RING); }

/* The next slot is the last of the ring; in a region, there is no room behind the last one. */
static void build_wrap(scene *of) {
  if (of->view.region_count == 0) {
    add_and_drop(of, 2 * SMALL_RING - 1);
    return;
  }
  const uint64_t limit = shmq_region_limit(&of->view, 0);
  for (uint64_t position = 0; position + SHMQ_JUMP_BYTES < limit;) {
    uint64_t left = limit - position - SHMQ_JUMP_BYTES;
    uint32_t bytes = left < LONG_IN_SLOT + 32 ? (uint32_t)(left - sizeof(shmq_slot)) : LONG_IN_SLOT;
    add_long(of, bytes);
    drop(of, 1);
    position += shmq_record_bytes(bytes);
  }
}
static void build_wrapped(scene *of) {
  build_wrap(of);
  add_several(of, 3);
}

static void build_block(scene *of) {
  add(of, BLOCK_BYTES);
  add(of, 0);
}
static void build_warm(scene *of) {
  add(of, BLOCK_BYTES);
  drop(of, 1);
}
static void build_spent(scene *of) {
  uint32_t blocks[POOL_PAGES];
  actor who;
  actor_init(&who, &of->view, 0, 0);
  for (uint32_t i = 0; i < POOL_PAGES; i++)
    must(take_block(&who, SHMQ_PAGE, &blocks[i]) == SHMQ_OK, "take a block");
  for (uint32_t i = 0; i < POOL_PAGES; i++) shmq_block_free(&of->view, blocks[i]);
}
static void build_hoarded(scene *of) { die_of(of, 0, hoard); }
static void build_bequest(scene *of) {
  die_of(of, 0, bequeath);
  of->ids[0] = FIRST_IDS + 50;
  of->ids[1] = FIRST_IDS + 51;
}
static void build_half_got(scene *of) {
  add(of, BLOCK_BYTES);
  die_of(of, 0, half_get);
}
static void build_lent(scene *of) {
  actor who;
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(take_block(&who, BLOCK_BYTES, &of->kept_block) == SHMQ_OK, "take a block");
  of->kept_id = 77;
  item_fill(shmq_block_bytes(&of->view, of->kept_block, BLOCK_BYTES), 77, BLOCK_BYTES);
  add(of, BLOCK_BYTES);
}

static void build_stale_tail(scene *of) {
  add(of, 0);
  die_of(of, 0, own_tail);
}
static void build_stale_head(scene *of) {
  add(of, BLOCK_BYTES);
  die_of(of, 0, own_head);
}
static void build_stale_pool(scene *of) { die_of(of, 0, own_pool); }
static void build_stale(scene *of) {
  add(of, 0);
  die_of(of, 0, own_all);
}
static void build_outlived(scene *of) {
  add(of, 0);
  die_of(of, 1, own_all);
}
static void build_half_put(scene *of) {
  add(of, 0);
  die_of(of, 0, write_half);
}
static void build_taken_over(scene *of) {
  add(of, 0);
  die_of(of, 0, own_tail);
  die_of(of, 1, take_over);
}

static void build_joined(scene *of) { add_and_drop(of, 1); }
static void build_polled(scene *of) {
  actor who;
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(begin_to_poll(&who) == SHMQ_OK, "poll");
}
static void build_polled_one(scene *of) {
  build_polled(of);
  add(of, 0);
}
static void build_polled_stale(scene *of) {
  build_polled(of);
  die_of(of, 0, own_all);
}
static void build_shut(scene *of) {
  actor who;
  add_several(of, 2);
  actor_init(&who, &of->view, 0, of->limit_ns);
  must(shut(&who) == SHMQ_OK, "shut");
}

/* Fills what a region has up to `limit`, but for a jump; the head stays at its beginning. */
static void fill_region(scene *of, uint32_t region, uint64_t limit) {
  uint64_t position;
  for (;;) {
    must(shmq_own_place(&of->view, shmq_tail(&of->view), sequence_of(shmq_tail(&of->view)),
                        &position),
         "find the tail");
    position -= shmq_region_start(region);
    uint64_t left = limit - 2 * SHMQ_JUMP_BYTES - position;
    if (left == 0) return;
    add_long(of, left < LONG_IN_SLOT + 32 ? (uint32_t)(left - sizeof(shmq_slot)) : LONG_IN_SLOT);
  }
}

/* The next put needs more memory for the first region. */
static void build_grow(scene *of) {
  add(of, 0);
  fill_region(of, 0, SHMQ_FIRST_BACKED);
}
/* ... needs the next region, and a jump to it. */
static void build_enter(scene *of) {
  add(of, 0);
  fill_region(of, 0, SHMQ_FIRST_REGION);
}
/* The next get follows that jump. */
static void build_entered(scene *of) {
  build_enter(of);
  uint64_t count = sequence_of(shmq_tail(&of->view)) - sequence_of(shmq_head(&of->view));
  add_several(of, 2);
  only_take(of, (uint32_t)count);
}
/* Empty, and in a larger region than it should be. */
static void build_far(scene *of) {
  build_entered(of);
  only_take(of, 2);
}
/* Nearly so; and the next put finds no room there. */
static void build_return(scene *of) {
  build_entered(of);
  uint64_t position = 0;
  do {
    shmq_own_place(&of->view, shmq_tail(&of->view), sequence_of(shmq_tail(&of->view)), &position);
    position -= shmq_region_start(1);
    uint64_t left = SHMQ_FIRST_BACKED - 2 * SHMQ_JUMP_BYTES - position;
    if (left == 0) break;
    add_long(of, left < LONG_IN_SLOT + 32 ? (uint32_t)(left - sizeof(shmq_slot)) : LONG_IN_SLOT);
    only_take(of, 1);
  } while (1);
  only_take(of, 1);
}

#define ANY (CELLS | REGIONS)
#define STALE_OPERATIONS                                                                       \
  "put put_batch put_mixed put_block get get_batch view reserve sweep shutdown shutdown_now trim_ring " \
  "look"

static const state queue_states[] = {
    {"empty", ANY, SMALL_RING, 0, NOBODY, build_empty,
     "put put_batch put_mixed put_block put_large get reserve commit abort keep attach close sweep "
     "shutdown shutdown_now join trim_ring trim_pool look"},
    {"one", ANY, SMALL_RING, 0, NOBODY, build_one,
     "put get get_batch task_done sweep close shutdown shutdown_now join look"},
    {"several", ANY, SMALL_RING, 0, NOBODY, build_several,
     "put put_batch get get_batch view shutdown_now"},
    {"full", ANY, SMALL_RING, 0, NOBODY, build_full,
     "put put_batch put_block get get_batch reserve shutdown_now"},
    {"wrap", ANY, SMALL_RING, 0, NOBODY, build_wrap, "put put_batch put_mixed put_block commit"},
    {"wrapped", ANY, SMALL_RING, 0, NOBODY, build_wrapped, "get get_batch put view look"},
    {"block", ANY, SMALL_RING, 0, NOBODY, build_block,
     "get get_batch view release fork put put_mixed put_block shutdown_now sweep trim_pool"},
    {"warm", ANY, SMALL_RING, 0, NOBODY, build_warm,
     "put_block put_mixed put_large reserve commit abort keep trim_pool"},
    {"spent", ANY, SMALL_RING, 0, NOBODY, build_spent, "put_block put_large trim_pool"},
    {"hoarded", ANY, SMALL_RING, 0, NOBODY, build_hoarded,
     "put_block put_large reserve attach sweep"},
    {"bequest", ANY, SMALL_RING, 0, NOBODY, build_bequest,
     "get view release put_block attach sweep shutdown_now"},
    {"half_got", ANY, SMALL_RING, 0, NOBODY, build_half_got,
     "get view put_block sweep shutdown_now"},
    {"lent", ANY, SMALL_RING, 0, NOBODY, build_lent,
     "put_block put_large get view sweep trim_pool"},
    {"stale_tail", ANY, SMALL_RING, 0, NOBODY, build_stale_tail, STALE_OPERATIONS},
    {"stale_head", ANY, SMALL_RING, 0, NOBODY, build_stale_head, STALE_OPERATIONS},
    {"stale_pool", ANY, SMALL_RING, 0, NOBODY, build_stale_pool,
     "put put_mixed put_block reserve sweep trim_ring"},
    {"stale", ANY, SMALL_RING, 0, NOBODY, build_stale, STALE_OPERATIONS " attach"},
    {"outlived", ANY, SMALL_RING, 0, NOBODY, build_outlived, STALE_OPERATIONS " attach"},
    {"half_put", ANY, SMALL_RING, 0, NOBODY, build_half_put,
     "put put_batch put_block get sweep look"},
    {"taken_over", ANY, SMALL_RING, 0, NOBODY, build_taken_over,
     "put put_block get attach sweep shutdown"},
    {"getter_asleep", ANY, SMALL_RING, 0, FOR_ITEM, build_empty,
     "put put_batch put_block commit shutdown attach close"},
    {"putter_asleep", ANY, SMALL_RING, 0, FOR_ROOM, build_full, "get get_batch shutdown sweep"},
    {"batch_asleep", ANY, SMALL_RING, 0, FOR_BATCH_ROOM, build_full, "get get_batch sweep"},
    {"joiner_asleep", ANY, SMALL_RING, 0, FOR_DONE, build_joined, "task_done sweep"},
    {"pollable", REGIONS, SMALL_RING, 1, NOBODY, build_one, "poll get put shutdown_now"},
    {"polled", REGIONS, SMALL_RING, 1, NOBODY, build_polled,
     "put put_batch put_block get attach sweep shutdown shutdown_now poll"},
    {"polled_one", REGIONS, SMALL_RING, 1, NOBODY, build_polled_one,
     "get get_batch put sweep shutdown shutdown_now"},
    {"polled_stale", REGIONS, SMALL_RING, 1, NOBODY, build_polled_stale,
     "put get sweep shutdown poll"},
    {"shut", ANY, SMALL_RING, 0, NOBODY, build_shut,
     "put put_block get get_batch shutdown shutdown_now sweep"},
    {"grow", REGIONS, LARGE_RING, 0, NOBODY, build_grow, "put put_batch put_mixed get sweep"},
    {"enter", REGIONS, LARGE_RING, 0, NOBODY, build_enter, "put put_batch put_mixed get attach"},
    {"entered", REGIONS, LARGE_RING, 0, NOBODY, build_entered,
     "get get_batch put trim_ring sweep look"},
    {"far", REGIONS, LARGE_RING, 0, NOBODY, build_far,
     "put put_batch get trim_ring sweep look"},
    {"return", REGIONS, LARGE_RING, 0, NOBODY, build_return, "put put_batch get trim_ring look"},
};
/* A segment in its starting state, and what is known of it. */
static void build_state(bench *on, const geometry *kind, const state *from, uint64_t limit_ns) {
  scene *of = &on->base;
  uint64_t most;
  memset(of, 0, sizeof(*of));
  of->limit_ns = limit_ns;
  of->kept_block = SHMQ_NO_BLOCK;
  of->kept_pinner = SHMQ_NO_PINNER;
  of->sleeps = from->sleeps;
  make_segment(&of->view, kind, from->capacity, (int)from->is_polled);
  on->fixed_bytes = (uint64_t)file_blocks(&of->view) * 512 - accounted_bytes(&of->view, &most);
  if (of->view.stream != NULL) take_spare_rows(of);
  from->build(of);
  of->head = sequence_of(shmq_head(&of->view));
  of->tail = sequence_of(shmq_tail(&of->view));
  of->done = sequence_of(shmq_done(&of->view));
  note_groups(&of->view, of->groups);
  image_take(&on->start, &of->view);
}

#endif
