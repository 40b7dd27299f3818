/* One trial: put the starting state back, let a process begin an operation, kill it at an instruction
 * of it, and let the others go on. */
#ifndef KILLPOINTS_TRIAL_H
#define KILLPOINTS_TRIAL_H

#include "streams_account.h"

/* Long enough to be asleep for a while, where the operation has to wait for what never comes. */
#define PATIENCE_NS (4 * SHMQ_MS)
/* While it is stepped it must come as far as to sleep before that is over. */
#define STEPPED_PATIENCE_NS (40 * SHMQ_MS)
/* On a machine that has much else to do. */
#define LONGEST_PATIENCE_NS (5000 * SHMQ_MS)

typedef struct {
  bench *on;
  shmq_view view;
} victim;

static void run_victim(void *argument) {
  victim *self = argument;
  bench *on = self->on;
  actor who;
  if (on->what->has_seat && take_seat(&self->view) != SHMQ_OK) _exit(3);
  actor_init(&who, &self->view, on->first_id, on->base.limit_ns);
  who.buffer_bytes = STEPPED_BUFFER;
  if (on->what->reads != 0) read_from(&who, on->what->reads - 1);
  /* What an attaching process has mapped and checked by then is nobody else's. */
  if (on->what->prepare != NULL && on->what->prepare(&who) != SHMQ_OK) _exit(4);
  who.deadline_ns = now_ns() + on->patience_ns;
  on->victim->reads = who.reader == NULL ? 0 : who.reader->group + 1;
  MARK();
  shmq_status status = on->what->act(&who);
  ((volatile report *)on->victim)->status = status;
  ((volatile report *)on->victim)->is_over = 1;
  MARK();
  if (on->what->prepare != view_item) actor_read(&who);
  on->victim->count = who.count;
  memcpy(on->victim->ids, who.ids, sizeof(who.ids));
}

static pid_t start_victim(bench *on) {
  victim self = {on, on->base.view};
  memset(on->victim, 0, sizeof(*on->victim));
  self.view.anchor = NULL;
  self.view.own_views = NULL;
  return start_stopped(run_victim, &self);
}

/* ---- those who sleep ----------------------------------------------------------------------------- */

static pid_t start_sleeper(const bench *on, scene *of) {
  errand asleep = {of, on->other, on->base.sleeps, WAITERS_ITEM};
  return of->sleeps == NOBODY ? 0 : send_on_errand(&asleep);
}

/* After the kill: gives the sleeper what it sleeps for, if the killed has not, and sees that it wakes. */
static int sleeper_goes_on(bench *on, scene *of, actor *who, pid_t pid) {
  const shmq_view *view = &of->view;
  const report *says = on->other;
  uint64_t tail = of->tail;
  int is_put = of->sleeps == FOR_ROOM || of->sleeps == FOR_BATCH_ROOM;
  uint64_t wanted = of->sleeps == FOR_BATCH_ROOM ? BATCH : 1;
  if (of->sleeps == FOR_ITEM) {
    tail = sequence_of(shmq_tail(view));
    CHECK(tail == of->tail || tail == on->whole.tail, "the tail moved to %lu", tail);
    CHECK(!has_put(on) || tail == on->whole.tail, "put returned, but the tail is %lu", tail);
    if (!is_shut(shmq_tail(view)) && !survivor_puts(of, who, FIRST_SURVIVORS, 0)) return 0;
  }
  if (is_put)
    CHECK(sequence_of(shmq_head(view)) == of->head ||
              sequence_of(shmq_head(view)) == on->whole.head,
          "the head moved to %lu", sequence_of(shmq_head(view)));
  if (is_put && !survivor_gets(of, who, of->head + wanted, 1)) return 0;
  if (of->sleeps == FOR_DONE && shmq_unfinished(view) > 0)
    CHECK(shmq_tasks_done(view, 1), "nothing is left to be done");
  CHECK(is_back(of, pid), "the sleeper doesn't wake");
  if (is_shut(shmq_tail(view)) && says->status == SHMQ_SHUTDOWN) return 1;
  CHECK(says->status == SHMQ_OK, "the sleeper's call ended with status %d", says->status);
  if (of->sleeps == FOR_ITEM)
    CHECK(says->count == 1 && says->ids[0] == *id_at(of, of->head), "the sleeper got %ld, not %lu",
          (long)says->ids[0], *id_at(of, of->head));
  if (is_put) {
    CHECK(sequence_of(shmq_tail(view)) == of->tail + wanted, "the sleeper put nothing");
    for (uint64_t i = 0; i < wanted; i++) *id_at(of, of->tail + i) = WAITERS_ITEM + i;
  }
  return 1;
}

/* One that began to put while the killed still lived, and found its word held, perhaps. */
static int waiter_goes_on(bench *on, scene *of, actor *who, pid_t pid) {
  const shmq_view *view = &of->view;
  if (!shmq_has_room(view, 1) && !survivor_gets(of, who, sequence_of(shmq_head(view)) + 1, 1))
    return 0;
  CHECK(is_back(of, pid), "one who waited does not go on");
  uint64_t tail = sequence_of(shmq_tail(view));
  if (is_shut(shmq_tail(view)) && on->other->status == SHMQ_SHUTDOWN) return 1;
  CHECK(on->other->status == SHMQ_OK, "the put of one who waited ended with status %d",
        on->other->status);
  /* The killed had committed, if ever, before this one began. */
  CHECK(tail == of->tail + 1 || tail == on->whole.tail + 1, "the tail moved from %lu to %lu",
        of->tail, tail);
  CHECK(!has_put(on) || tail == on->whole.tail + 1, "put returned, but the tail is %lu",
        tail);
  *id_at(of, tail - 1) = WAITERS_ITEM;
  return 1;
}

/* ---- the account --------------------------------------------------------------------------------- */

static int account_for_queue(bench *on, scene *of, const shot *what, pid_t sleeping,
                             pid_t waiting) {
  shmq_view *view = &of->view, newcomer;
  shmq_end *head = shmq_head(view), *tail = shmq_tail(view);
  actor who;
  if (sleeping == 0 && waiting == 0) {
    if (!check_words(of, on->fixed_bytes) ||
        !check_outcome(on, sequence_of(head), sequence_of(tail)))
      return 0;
  }
  if (sleeping != 0 && !sleeper_goes_on(on, of, &who, sleeping)) return 0;
  if (waiting != 0 && !waiter_goes_on(on, of, &who, waiting)) return 0;
  /* acquire, here and below: as any look at an end. */
  int was_shut = is_shut(tail), was_shut_at_once = on->what->gradual && was_shut;
  if (what->begins == SWEEPS_FIRST && !newcomer_sweeps(of, &newcomer)) return 0;
  if (what->begins == PUTS_FIRST && !was_shut && shmq_has_room(view, 1) &&
      !survivor_puts(of, &who, FIRST_SURVIVORS + 1, what->k % 2 ? BLOCK_BYTES : 0))
    return 0;
  if (!was_shut_at_once &&
      !survivor_gets(of, &who, sequence_of(tail), what->k % 3 ? 1 : MOST_TAKEN))
    return 0;
  if (of->kept_block != SHMQ_NO_BLOCK) {
    CHECK(item_read(shmq_block_bytes(view, of->kept_block, BLOCK_BYTES), BLOCK_BYTES) ==
              of->kept_id, "what the survivor holds was written over");
    shmq_block_free(view, of->kept_block);
  }
  if (!(was_shut ? complete_shutdown(of, &who, was_shut_at_once) : use_as_ever(of, &who)))
    return 0;
  if (!newcomer_sweeps(of, &newcomer)) return 0;
  shmq_sweep_after_the_dead(view);
  return check_words_are_free(of) && check_pool(of, &who, on->fixed_bytes) &&
         check_done(of, &who) && check_polling(of, was_shut) && check_snapshot(of);
}

static int account(bench *on, scene *of, const shot *what, pid_t sleeping, pid_t waiting) {
  return of->view.stream == NULL ? account_for_queue(on, of, what, sleeping, waiting)
                                 : account_for_stream(on, of, what, sleeping, waiting);
}

/* ---- trials -------------------------------------------------------------------------------------- */

static void set_up(bench *on, scene *of) {
  image_restore(&on->start, &on->base.view);
  *of = on->base;
  for (uint64_t i = 0; i < on->what->puts; i++) *id_at(of, of->tail + i) = on->first_id + i;
}

/* Could it not do otherwise than wait in vain? */
static int may_give_up(const bench *on) {
  const scene *of = &on->base;
  if (of->view.stream != NULL) return may_give_up_in_stream(on);
  uint64_t wanted = on->what->puts > 0 ? on->what->puts : 1;
  switch (on->what->waits_for) {
    case AN_ITEM: return of->head == of->tail;
    case ROOM: return of->tail - of->head + wanted > of->view.capacity;
    case ALL_DONE: return of->done != of->tail;
    default: return 0;
  }
}

/* Of an operation that nobody killed: did it do what it should? */
static int check_completion(bench *on, scene *of) {
  CHECK(on->whole.status != SHMQ_TIMEOUT || may_give_up(on), "it gave up, and need not have");
  CHECK(on->whole.status >= 0, "it failed with status %d", on->whole.status);
  if (on->whole.status == SHMQ_OK && of->sleeps == NOBODY)
    CHECK(on->whole.tail == of->tail + on->what->puts, "it put %lu items",
          on->whole.tail - of->tail);
  if (of->view.stream != NULL) return check_completion_in_stream(on, of);
  for (uint64_t i = 0; i < on->victim->count && of->sleeps != FOR_ITEM; i++)
    CHECK(on->victim->ids[i] == *id_at(of, of->head + i), "it got %ld, not %lu",
          (long)on->victim->ids[i], *id_at(of, of->head + i));
  return 1;
}

static void note_ends(const scene *of, completion *ends) {
  ends->head = sequence_of(shmq_head(&of->view));
  ends->tail = sequence_of(shmq_tail(&of->view));
  ends->done = sequence_of(shmq_done(&of->view));
  note_groups(&of->view, ends->groups);
}

/* What is compared with it after each instruction, to tell those that change anything. */
typedef struct {
  bench *on;
  image last;
  uint32_t room;
} watch;

static void watch_changes(uint32_t k, void *argument) {
  watch *over = argument;
  bench *on = over->on;
  if (k >= over->room) {
    over->room = over->room * 2 + 1024;
    on->changes = realloc(on->changes, over->room);
    if (on->changes == NULL) give_up("no memory to watch with");
  }
  on->changes[k] = !image_is_same(&over->last, &on->base.view);
  if (on->changes[k]) image_renew(&over->last, &on->base.view, on->base.sleeps == NOBODY);
}

/* Runs the whole operation, records the path, and accounts for it as for a trial. */
static int run_whole(bench *on, const shot *what) {
  scene of;
  int how;
  pid_t pid, sleeping;
  watch over = {.on = on};
  for (on->patience_ns = STEPPED_PATIENCE_NS;; on->patience_ns *= 2) {
    set_up(on, &of);
    on->whole.tail = on->base.tail + on->what->puts; /* until it is known better */
    sleeping = start_sleeper(on, &of);
    pid = start_victim(on);
    image_copy(&over.last, &on->start);
    note_ends(&of, &on->prepared);
    stance now = path_record(&on->way, pid, watch_changes, &over, &how);
    image_drop(&over.last);
    if (now == IS_GONE) {
      if (WIFSTOPPED(how)) kill_and_reap(pid);
      if (sleeping != 0) kill_and_reap(sleeping);
      return blame("it ended with status %#x", how);
    }
    if (on->victim->status != SHMQ_TIMEOUT || on->patience_ns >= LONGEST_PATIENCE_NS ||
        (may_give_up(on) && path_sleeps(&on->way) < on->way.length))
      break;
    /* It gave up before it slept, or before what it slept for: it is slow under our hands. */
    kill_and_reap(pid);
    if (sleeping != 0) kill_and_reap(sleeping);
    path_drop(&on->way);
  }
  on->whole.status = on->victim->status;
  note_ends(&of, &on->whole);
  set_pc(pid, PC(registers_of(pid)) + MARK_BYTES);
  if (go_on(pid, PTRACE_CONT, &how) != IS_GONE || !WIFEXITED(how) || WEXITSTATUS(how) != 0) {
    if (WIFSTOPPED(how)) kill_and_reap(pid);
    if (sleeping != 0) kill_and_reap(sleeping);
    return blame("it failed after its end: status %#x", how);
  }
  if (!check_completion(on, &of)) {
    if (sleeping != 0) kill_and_reap(sleeping);
    return 0;
  }
  return account(on, &of, what, sleeping, 0);
}

typedef struct {
  uint64_t trials, kills, off_path, sleeps, calls;
} tally;

/* 1: as it should be. 0: a finding. */
static int run_trial(bench *on, const shot *what, tally *sum, uint64_t *pc) {
  scene of;
  int how;
  set_up(on, &of);
  pid_t waiting = 0, sleeping = start_sleeper(on, &of);
  /* Killed before it has slept it waits for nothing, however slowly it gets there. */
  on->patience_ns = what->k <= path_sleeps(&on->way) ? LONGEST_PATIENCE_NS : PATIENCE_NS;
  pid_t pid = start_victim(on);
  stance now = go_to(pid, &on->way, what->k, &how);
  *pc = now == IS_GONE ? 0 : PC(registers_of(pid));
  /* At its end, or on another way: it is killed where it is, which is a trial as well. */
  int is_there = now == STANDS && *pc == on->way.pcs[what->k];
  if (is_there && what->how != BEFORE) {
    now = enter_call(pid, what->how, &how);
    (*(what->how == ASLEEP ? &sum->sleeps : &sum->calls))++;
  }
  sum->trials++;
  if (!is_there && what->k != on->way.length) sum->off_path++;
  if (now == IS_GONE) {
    if (WIFSTOPPED(how)) kill_and_reap(pid);
    if (sleeping != 0) kill_and_reap(sleeping);
    return blame("it ended by itself with status %#x", how);
  }
  if (sleeping == 0 && !check_while_it_lives(on, &of)) {
    kill_and_reap(pid);
    return 0;
  }
  if (what->begins == WAITED) {
    errand put = {&of, on->other, NOBODY, WAITERS_ITEM};
    waiting = send_on_errand(&put);
  }
  kill_and_reap(pid);
  sum->kills++;
  int is_sound = account(on, &of, what, sleeping, waiting);
  /* After a finding they may still be there. */
  if (!is_sound && sleeping != 0 && waitpid(sleeping, &how, WNOHANG) == 0) kill_and_reap(sleeping);
  if (!is_sound && waiting != 0 && waitpid(waiting, &how, WNOHANG) == 0) kill_and_reap(waiting);
  return is_sound;
}

#endif
