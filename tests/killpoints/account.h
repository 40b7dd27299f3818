/* After the kill: what the living do, and whether all that there was can be accounted for. */
#ifndef KILLPOINTS_ACCOUNT_H
#define KILLPOINTS_ACCOUNT_H

#include "stepper.h"
#include "streams_operations.h"

#define MOST_ITEMS 256u
#define FIRST_SURVIVORS 900u /* ids of what the survivor puts */
#define WAITERS_ITEM 700u    /* ... and of what one puts who waited while the killed still lived */

/* What the survivor does first. */
typedef enum { PUTS_FIRST, GETS_FIRST, SWEEPS_FIRST, WAITED, BEGINNINGS } beginning;
static const char *const beginning_names[] = {"puts", "gets", "sweeps", "waited"};

/* What another process sleeps for. */
typedef enum { NOBODY, FOR_ITEM, FOR_ROOM, FOR_BATCH_ROOM, FOR_DONE } sleeper;

/* What a process in another one's hands says of itself, in memory that both share. */
typedef struct {
  uint32_t is_ready;
  uint32_t is_over;
  shmq_status status;
  uint64_t count;
  uint64_t ids[MOST_TAKEN];
  uint32_t reads; /* of a stream: the group that it takes from, and one; or 0 */
} report;

#define MOST_GROUPS 6u /* of a stream here; the other rows stay as they are */

/* What is known of a group of a stream. */
typedef struct {
  uint32_t exists;    /* its bit, and its state */
  uint32_t opening;   /* how often its row was opened: which group it is */
  uint64_t sequence;  /* of its head */
  uint64_t begins;    /* where its next take does, after what was lost to it */
  uint64_t seen;      /* how many items its consumers took, or skipped */
  uint64_t finished;  /* by its consumers, as those see it who come after it */
  uint64_t ready;     /* up to where it can be taken from, once the dead hold nothing back */
  uint64_t after;
  uint64_t subscriber;
  uint64_t keep_ns;
  uint32_t policy;
  uint32_t reserved;
} group_place;

/* A starting state, and all that is expected of it. */
typedef struct {
  shmq_view view;            /* the survivor's */
  uint64_t ids[MOST_ITEMS];  /* of the item at a sequence, or what it will be if it is put */
  uint64_t first_kept;       /* ids[0] is that of this sequence */
  uint64_t head, tail;       /* where the ends stand at the beginning */
  uint64_t done;
  uint32_t kept_block;       /* in the survivor's hand, with item kept_id, or SHMQ_NO_BLOCK */
  uint64_t kept_id;
  sleeper sleeps;
  uint64_t limit_ns;         /* how long anything may take before it counts as a hang */
  /* Of a stream: */
  group_place groups[MOST_GROUPS];
  uint32_t sleeps_in;        /* the group whose item the sleeper waits for */
  uint32_t kept_pinner;      /* by which kept_block is pinned, or SHMQ_NO_PINNER */
  uint32_t spare_pinner;     /* the survivor's: the first that is given */
  shmq_hold *spare_hold;     /* ... and so is this row */
  uint32_t is_writing;       /* the survivor has registered as a writer, in this row */
  uint32_t writer;
} scene;

/* Where an operation that nobody killed left the ends, and what it said. */
typedef struct {
  shmq_status status;
  uint64_t head, tail, done;
  group_place groups[MOST_GROUPS];
} completion;

/* What all trials of a state and an operation have in common. */
typedef struct {
  scene base;
  image start;
  const operation *what;
  uint64_t first_id;    /* of what the killed puts */
  uint64_t patience_ns; /* of the killed */
  uint64_t fixed_bytes; /* of the segment, that always have memory */
  report *victim, *other;
  path way;
  completion whole;
  completion prepared; /* where the ends stand at the first mark */
  uint8_t *changes; /* changes[k]: was what others can see made another by the k-th instruction? */
} bench;

typedef struct {
  uint32_t k; /* instructions done when it is killed */
  manner how;
  beginning begins;
} shot;

/* Did its call return, and without an error? */
static int has_put(const bench *on) {
  return on->victim->is_over && on->victim->status == SHMQ_OK;
}

static char finding[2048];

static int __attribute__((format(printf, 1, 2))) blame(const char *text, ...) {
  va_list arguments;
  va_start(arguments, text);
  vsnprintf(finding, sizeof(finding), text, arguments);
  va_end(arguments);
  return 0;
}
#define CHECK(condition, ...) \
  do {                        \
    if (!(condition)) return blame(__VA_ARGS__); \
  } while (0)

static uint64_t *id_at(scene *of, uint64_t sequence) {
  if (sequence - of->first_kept >= MOST_ITEMS) give_up("too many items");
  return &of->ids[sequence - of->first_kept];
}

static uint64_t sequence_of(const shmq_end *end) {
  return load_acquire(&end->sequence); /* acquire: as any look at an end */
}

/* ---- what holds at every moment ------------------------------------------------------------------ */

/* Bytes that the segment's own words say have memory, beside those that always have. */
static uint64_t accounted_bytes(const shmq_view *view, uint64_t *at_most) {
  uint64_t reserved, unused, bytes = 0, dirty = 0;
  shmq_pool_usage(view, &reserved, &unused);
  for (uint32_t region = 0; region < view->region_count; region++) {
    uint64_t backed = view->regions[region].backed, was = view->regions[region].dirty;
    bytes += backed;
    dirty += was > backed ? was : backed;
  }
  uint64_t tables = shmq_round_up(shmq_block_count(view) * sizeof(shmq_block), SHMQ_PAGE) +
                    shmq_round_up(shmq_pool_end(view)->view_rows * sizeof(shmq_views), SHMQ_PAGE);
  *at_most = reserved + dirty + tables;
  return reserved + bytes + tables;
}

/* Of a published slot: is what it refers to somebody's (I6)? */
static int check_reference(const shmq_view *view, const shmq_slot *slot, uint64_t sequence) {
  shmq_block_ref ref;
  if (!(slot->flags & SHMQ_SLOT_IN_BLOCK)) return 1;
  memcpy(&ref, slot + 1, sizeof(ref));
  CHECK(shmq_block_ref_is_sound(view, &ref), "slot %lu refers to nothing", sequence);
  CHECK(view->blocks[ref.block].state != SHMQ_BLOCK_FREE, "slot %lu refers to a free block",
        sequence);
  return 1;
}

/* The slots from head to tail are complete, and what they refer to is there (I5, I6). */
static int check_slots(const shmq_view *view, uint64_t head, uint64_t tail) {
  uint64_t position = 0;
  CHECK(view->region_count == 0 || shmq_own_place(view, shmq_tail(view), tail, &position),
        "no place names the tail's sequence %lu", tail);
  CHECK(view->region_count == 0 || shmq_own_place(view, shmq_head(view), head, &position),
        "no place names the head's sequence %lu", head);
  for (uint64_t sequence = head; sequence < tail; sequence++) {
    const shmq_slot *slot = (const shmq_slot *)shmq_slot_at(view, sequence);
    if (view->region_count > 0) {
      CHECK(shmq_follow_jumps(view, sequence, &position), "no way leads to slot %lu", sequence);
      slot = (const shmq_slot *)(view->slots + position);
      position += shmq_record_bytes(slot->length);
    }
    CHECK(slot->stamp == 2 * sequence + 2, "slot %lu has stamp %lu", sequence, slot->stamp);
    if (!check_reference(view, slot, sequence)) return 0;
  }
  return 1;
}

/* Who writes to memory that is not reserved is killed by the kernel when there is none. */
static int check_reserved(const shmq_view *view, uint64_t fixed_bytes) {
  uint64_t most, least = fixed_bytes + accounted_bytes(view, &most);
  uint64_t has = (uint64_t)file_blocks(view) * 512;
  CHECK(has >= least, "%lu bytes count as reserved, %lu are", least, has);
  return 1;
}

/* Right after the kill, before anybody else acted. */
static int check_words(scene *of, uint64_t fixed_bytes) {
  const shmq_view *view = &of->view;
  uint64_t head = sequence_of(shmq_head(view)), tail = sequence_of(shmq_tail(view));
  CHECK(tail - head <= view->capacity, "head %lu and tail %lu can't both be", head, tail);
  CHECK(sequence_of(shmq_done(view)) <= tail, "more items are done than were put");
  return check_slots(view, head, tail) && check_reserved(view, fixed_bytes);
}

/* What the killed may have done: all of the operation or nothing. */
static int check_outcome(const bench *on, uint64_t head, uint64_t tail) {
  const completion *whole = &on->whole;
  uint64_t first_head = on->prepared.head;
  CHECK(tail == on->base.tail || tail == whole->tail, "the tail moved from %lu to %lu, not to %lu",
        on->base.tail, tail, whole->tail);
  CHECK(head == first_head || head == whole->head ||
            (on->what->gradual && head >= first_head && head <= whole->head),
        "the head moved from %lu to %lu, not to %lu", first_head, head, whole->head);
  CHECK(!has_put(on) || tail == whole->tail, "put returned, but the tail is %lu, not %lu", tail,
        whole->tail);
  return 1;
}

/* ---- the survivor -------------------------------------------------------------------------------- */

static int survivor_puts(scene *of, actor *who, uint64_t id, uint64_t bytes) {
  uint64_t sequence = sequence_of(shmq_tail(&of->view));
  actor_init(who, &of->view, id, of->limit_ns);
  shmq_status status = bytes == 0 ? put_short(who, id) : put_in_block(who, id, bytes);
  CHECK(status == SHMQ_OK, "a put of the survivor's ended with status %d", status);
  *id_at(of, sequence) = id;
  return 1;
}

/* Gets the items up to `until`, each of which has to be the right one. */
static int survivor_gets(scene *of, actor *who, uint64_t until, uint64_t most) {
  while (sequence_of(shmq_head(&of->view)) < until) {
    uint64_t sequence = sequence_of(shmq_head(&of->view));
    uint64_t left = until - sequence;
    actor_init(who, &of->view, 0, of->limit_ns);
    shmq_status status = get_items(who, most < left ? most : left);
    CHECK(status == SHMQ_OK, "a get of the survivor's ended with status %d at item %lu", status,
          sequence);
    actor_read(who);
    for (uint64_t i = 0; i < who->count; i++)
      CHECK(who->ids[i] == *id_at(of, sequence + i), "item %lu is %ld, not %lu", sequence + i,
            (long)who->ids[i], *id_at(of, sequence + i));
  }
  return 1;
}

static int is_shut(const shmq_end *end) {
  return (load_acquire(&end->state) & SHMQ_END_SHUT) != 0; /* acquire: as any look at it */
}

static int check_polling(const scene *of, int is_readable) {
  const shmq_view *view = &of->view;
  if (!(shmq_head(view)->state & SHMQ_END_POLLED)) return 1;
  CHECK((poll_count(view) > 0) == is_readable, "the poll descriptor is %sreadable",
        is_readable ? "not " : "");
  return 1;
}

/* Somebody comes, takes the first seat that is free, most likely the dead's, and goes. */
static int newcomer_sweeps(scene *of, shmq_view *newcomer) {
  *newcomer = of->view;
  newcomer->own_views = NULL;
  actor who;
  actor_init(&who, newcomer, 0, of->limit_ns);
  CHECK(attach(&who) == SHMQ_OK, "nobody can attach any more");
  leave(&who);
  /* What is due by its sweep, is due by ours. */
  if (newcomer->trim_is_due) of->view.trim_is_due = 1;
  const shmq_end *tail = shmq_tail(&of->view);
  return check_polling(of, shmq_has_item(&of->view, NULL) || is_shut(tail));
}

/* ---- others who wait meanwhile ------------------------------------------------------------------- */

typedef struct {
  scene *of;
  report *says;
  sleeper what;
  uint64_t id;
} errand;

static _Noreturn void run_errand(const errand *mine) {
  shmq_view *view = &mine->of->view;
  actor who;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (take_seat(view) != SHMQ_OK) _exit(3);
  actor_init(&who, view, mine->id, 0);
  who.deadline_ns = SHMQ_NO_DEADLINE;
  if (view->stream != NULL && mine->what == FOR_ITEM) read_from(&who, mine->of->sleeps_in);
  mine->says->is_ready = 1;
  switch (mine->what) {
    case FOR_ITEM: mine->says->status = get_items(&who, 1); break;
    case FOR_BATCH_ROOM: mine->says->status = put_several(&who, 0); break;
    case FOR_DONE: mine->says->status = join(&who); break;
    default: mine->says->status = put_short(&who, mine->id);
  }
  actor_read(&who);
  mine->says->count = who.count;
  memcpy(mine->says->ids, who.ids, sizeof(who.ids));
  mine->says->is_over = 1;
  _exit(0);
}

/* Starts a process that does what it can, and then sleeps for what it can't do yet; or is over. */
static pid_t send_on_errand(const errand *what) {
  memset(what->says, 0, sizeof(*what->says));
  pid_t pid = fork();
  if (pid < 0) give_up("no process");
  if (pid == 0) run_errand(what);
  while (!((volatile report *)what->says)->is_ready && state_of(pid) != 'Z') sched_yield();
  await_rest(pid);
  return pid;
}

/* Waits for its end; kills it, and says no, if it doesn't come. */
static int is_back(const scene *of, pid_t pid) {
  int status;
  uint64_t until = now_ns() + of->limit_ns;
  for (;;) {
    pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (now_ns() > until) break;
    sched_yield();
  }
  kill_and_reap(pid);
  return 0;
}

/* ---- the end of it -------------------------------------------------------------------------------- */

static int check_words_are_free(const scene *of) {
  for (uint32_t end = 0; end < SHMQ_ENDS; end++) {
    uint64_t owner = of->view.ends[end].owner;
    CHECK((owner & SHMQ_TAG) == 0, "end %u is still owned by %#lx", end, owner);
  }
  return 1;
}

/* Every block is free; all addresses and all memory of the pool can be had, and given back. */
static int check_pool(scene *of, actor *who, uint64_t fixed_bytes) {
  shmq_view *view = &of->view;
  uint32_t blocks[POOL_PAGES * 2], count = 0;
  uint64_t reserved, unused, offset, bytes = 0, most;
  for (uint32_t index = 0; index < shmq_block_count(view); index++)
    CHECK(view->blocks[index].state == SHMQ_BLOCK_FREE, "block %u is in state %#lx", index,
          view->blocks[index].state);
  shmq_pool_usage(view, &reserved, &unused);
  CHECK(reserved == unused, "%lu bytes are reserved, of which %lu are free", reserved, unused);
  for (;;) {
    actor_init(who, view, 0, of->limit_ns);
    shmq_status status = take_block(who, 1, &blocks[count]);
    if (status == SHMQ_NO_MEMORY) break;
    CHECK(status == SHMQ_OK && count < POOL_PAGES, "block %u: status %d", count, status);
    /* Of whatever size it is: all of it can be written to. */
    uint64_t size = shmq_block_extent(view, blocks[count], &offset);
    CHECK(shmq_block_back(view, blocks[count], size) == SHMQ_OK, "no memory for block %u", count);
    memset(view->pool + offset, 0x55, size);
    bytes += size;
    count++;
  }
  CHECK(bytes == view->pool_limit_bytes, "of %lu bytes of the pool only %lu were found",
        view->pool_limit_bytes, bytes);
  while (count > 0) shmq_block_free(view, blocks[--count]);
  shmq_pool_trim(view, 0);
  /* What has memory, whether somebody was killed before he said so or not: */
  if (view->own_views == NULL) shmq_views_begin(view, 1);
  shmq_ring_trim(view);
  uint64_t least = fixed_bytes + accounted_bytes(view, &most);
  uint64_t has = (uint64_t)file_blocks(view) * 512;
  most += fixed_bytes;
  CHECK(has >= least && has <= most, "the file has %lu bytes, %lu to %lu are accounted for", has,
        least, most);
  for (uint32_t region = 1; region < view->region_count; region++)
    CHECK(view->regions[region].backed == 0 && view->regions[region].dirty == 0,
          "region %u of an empty ring still has memory", region);
  return 1;
}

static int check_done(scene *of, actor *who) {
  uint64_t unfinished = shmq_unfinished(&of->view);
  while (unfinished-- > 0)
    CHECK(shmq_tasks_done(&of->view, 1), "task_done was called too often with %lu left", unfinished);
  CHECK(!shmq_tasks_done(&of->view, 1), "task_done can be called too often");
  actor_init(who, &of->view, 0, of->limit_ns);
  CHECK(join(who) == SHMQ_OK, "join doesn't return though all is done");
  return 1;
}

static int check_snapshot(const scene *of) {
  shmq_snapshot seen;
  shmq_snapshot_take(&of->view, &seen);
  CHECK(seen.head == seen.tail && seen.tail == sequence_of(shmq_tail(&of->view)),
        "a snapshot has head %lu and tail %lu", seen.head, seen.tail);
  CHECK(seen.oldest_put_ns == 0, "an empty ring has an oldest item");
  CHECK(seen.view_bytes == 0, "%lu bytes count as viewed", seen.view_bytes);
  return 1;
}

/* A ring that was being shut: whoever shuts it again completes that, and there it ends. */
static int complete_shutdown(scene *of, actor *who, int at_once) {
  actor_init(who, &of->view, FIRST_SURVIVORS, of->limit_ns);
  shmq_status status = at_once ? shut_at_once(who) : shut(who);
  CHECK(status == SHMQ_OK, "shutting down again ended with status %d", status);
  status = put_short(who, FIRST_SURVIVORS);
  CHECK(status == SHMQ_SHUTDOWN, "a put after the shutdown ended with status %d", status);
  if (!survivor_gets(of, who, sequence_of(shmq_tail(&of->view)), 1)) return 0;
  status = get_items(who, 1);
  CHECK(status == SHMQ_SHUTDOWN, "a get after the shutdown ended with status %d", status);
  return 1;
}

static int use_as_ever(scene *of, actor *who) {
  if (!survivor_puts(of, who, FIRST_SURVIVORS + 10, 0) ||
      !survivor_puts(of, who, FIRST_SURVIVORS + 11, BLOCK_BYTES) ||
      !check_polling(of, 1) || !survivor_gets(of, who, sequence_of(shmq_tail(&of->view)), 1))
    return 0;
  uint64_t sequence = sequence_of(shmq_tail(&of->view));
  actor_init(who, &of->view, FIRST_SURVIVORS + 12, of->limit_ns);
  shmq_status status = put_several(who, 0);
  CHECK(status == SHMQ_OK, "a batch of the survivor's ended with status %d", status);
  for (uint32_t i = 0; i < BATCH; i++) *id_at(of, sequence + i) = FIRST_SURVIVORS + 12 + i;
  return survivor_gets(of, who, sequence + BATCH, BATCH);
}

#endif
