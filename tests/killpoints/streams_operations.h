/* What a process is killed in on a stream: what groups, their consumers and writers do, beside what a
 * stream has in common with a queue. */
#ifndef KILLPOINTS_STREAMS_OPERATIONS_H
#define KILLPOINTS_STREAMS_OPERATIONS_H

#include "operations.h"

/* The groups of a starting state, by what they are for; the killed may open one more. */
#define FIRST_GROUP 0u
#define SECOND_GROUP 1u

/* ---- joining and leaving ------------------------------------------------------------------------- */

/* A group as it should be; those it comes after as they are now. Without a name: a subscription. */
static shmq_join_wish group_wish(const shmq_view *view, const char *name, uint64_t after,
                                 uint32_t policy, uint64_t keep_ns, uint32_t start) {
  shmq_join_wish wish = {0};
  wish.group.name = name == NULL ? "" : name;
  wish.group.name_bytes = strlen(wish.group.name);
  wish.group.is_subscriber = name == NULL;
  wish.group.after = after;
  for (uint32_t group = 0; group < SHMQ_MAX_GROUPS; group++)
    /* acquire: as any look at a state. */
    wish.group.after_states[group] = load_acquire(&shmq_group_head(view, group)->state);
  wish.group.policy = policy;
  wish.group.keep_ns = keep_ns;
  wish.start = start;
  wish.may_open = 1;
  return wish;
}

static shmq_status join_group(actor *who, shmq_join_wish *wish) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_join_group(who->view, wish, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  if (status != SHMQ_OK) return status;
  who->joined = wish->index;
  /* acquire: as any look at a state. */
  who->joined_state = load_acquire(&shmq_group_head(who->view, wish->index)->state);
  return SHMQ_OK;
}

static shmq_status leave_group(actor *who, uint32_t group, uint32_t state) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_leave_group(who->view, group, state, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

/* From here on it takes from this group, as that is now; or was, if it is no more. */
static void read_from(actor *who, uint32_t group) {
  /* acquire: as any look at a state. */
  uint32_t state = load_acquire(&shmq_group_head(who->view, group)->state) | SHMQ_END_OPEN;
  shmq_reader_begin(&who->reading, who->view, group, state);
  who->reader = &who->reading;
}

/* Its handle is closed: what it took counts as finished, and its rows are free. */
static void stop_reading(actor *who) {
  if (who->reader == NULL) return;
  shmq_reader_end(who->view, who->reader);
  if (who->reader->pinner != SHMQ_NO_PINNER) shmq_pinner_leave(who->view, who->reader->pinner);
  who->reader = NULL;
}

static shmq_status open_as(actor *who, uint64_t after, uint32_t policy, uint32_t start) {
  shmq_join_wish wish = group_wish(who->view, "opened", after, policy, 0, start);
  return join_group(who, &wish);
}
static shmq_status open_oldest(actor *who) {
  return open_as(who, 0, SHMQ_POLICY_BLOCK, SHMQ_START_OLDEST);
}
static shmq_status open_next(actor *who) {
  return open_as(who, 0, SHMQ_POLICY_LAG, SHMQ_START_NEXT);
}
static shmq_status open_after(actor *who) {
  return open_as(who, shmq_group_bit(FIRST_GROUP), SHMQ_POLICY_BLOCK, SHMQ_START_OLDEST);
}

static shmq_status join_first(actor *who) {
  shmq_join_wish wish = group_wish(who->view, "first", 0, SHMQ_POLICY_BLOCK, 0, SHMQ_START_NEXT);
  wish.may_open = 0;
  return join_group(who, &wish);
}

static shmq_status subscribe(actor *who) {
  shmq_join_wish wish = group_wish(who->view, NULL, 0, SHMQ_POLICY_BLOCK, 0, SHMQ_START_OLDEST);
  shmq_status status = join_group(who, &wish);
  if (status == SHMQ_OK) read_from(who, who->joined);
  return status;
}
static shmq_status unsubscribe(actor *who) {
  stop_reading(who);
  return leave_group(who, who->joined, who->joined_state);
}

static shmq_status remove_numbered(actor *who, uint32_t group) {
  /* acquire: as any look at a state. */
  return leave_group(who, group, load_acquire(&shmq_group_head(who->view, group)->state));
}
static shmq_status remove_first(actor *who) { return remove_numbered(who, FIRST_GROUP); }
static shmq_status remove_second(actor *who) { return remove_numbered(who, SECOND_GROUP); }

/* ---- consumers ----------------------------------------------------------------------------------- */

/* What a batch does that goes on: the first take, and then what else is there. */
static shmq_status get_several(actor *who) {
  uint64_t ids[MOST_TAKEN], count = 0;
  shmq_status status;
  while ((status = get_items(who, 1)) == SHMQ_OK) {
    actor_read(who);
    ids[count++] = who->ids[0];
    who->reader->takes_more = 1;
    if (count == MOST_TAKEN || !shmq_has_item(who->view, who->reader)) break;
  }
  who->reader->takes_more = 0;
  memcpy(who->ids, ids, count * sizeof(ids[0]));
  /* They were read: none of them is in the buffer any more. */
  for (uint64_t i = 0; i < count; i++) who->taken[i].block = 0;
  who->count = count;
  return status;
}

static shmq_status finish_held(actor *who) {
  shmq_reader_finish(who->view, who->reader);
  return SHMQ_OK;
}

static shmq_status close_reader(actor *who) {
  stop_reading(who);
  return SHMQ_OK;
}

static shmq_status skip_to_latest(actor *who) {
  uint64_t skipped;
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_skip(who->view, who->reader, 1, &skipped, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

static shmq_status track(actor *who) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_track_group(who->view, who->reader, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

/* ---- the floor, writers, the end ----------------------------------------------------------------- */

/* As far as it goes, and of what lagging groups would rather keep, everything. */
static shmq_status raise_floor(actor *who) {
  shmq_end *slowest;
  /* acquire: as any look at the tail. */
  uint64_t tail = load_acquire(&shmq_tail(who->view)->sequence);
  shmq_status status = shmq_floor_raise(who->view, tail, &slowest);
  return status == SHMQ_FULL ? SHMQ_OK : status;
}

/* Views a large item that the floor has passed since: who lets go of it gives its block back. */
static shmq_status view_and_raise(actor *who) {
  shmq_status status = view_item(who);
  return status == SHMQ_OK ? raise_floor(who) : status;
}

static shmq_status give_back(actor *who) {
  shmq_pool_give_back(who->view);
  return SHMQ_OK;
}

static shmq_status begin_to_write(actor *who) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_begin_writing(who->view, &who->writer, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

static shmq_status finish_writing(actor *who) {
  shmq_finish_writing(who->view, who->writer);
  return SHMQ_OK;
}

static shmq_status shut_groups(actor *who) {
  shmq_group_seen seen;
  shmq_status status = do_to_end(who, shmq_tail(who->view), SHMQ_DO_SHUT);
  for (uint32_t group = 0; group < SHMQ_MAX_GROUPS && status == SHMQ_OK; group++)
    if (shmq_group_look(who->view, group, &seen))
      status = do_to_end(who, shmq_group_head(who->view, group), SHMQ_DO_SHUT);
  ring_bells(who->view);
  return status;
}

static shmq_status look_at_groups(actor *who) {
  shmq_group_seen seen;
  for (uint32_t group = 0; group <= SECOND_GROUP; group++)
    shmq_group_look(who->view, group, &seen);
  return look(who);
}

/* ---- the table ----------------------------------------------------------------------------------- */

static const operation stream_operations[] = {
    {"put", NULL, put_one, 1, 1, 0, ROOM, 0},
    {"put_batch", NULL, put_batch, BATCH, 1, 0, ROOM, 0},
    {"put_mixed", NULL, put_mixed, BATCH, 1, 0, ROOM, 0},
    {"put_block", NULL, put_block, 1, 1, 0, ROOM, 0},
    {"put_large", NULL, put_large, 1, 1, 0, ROOM, 0},
    {"reserve", NULL, reserve_item, 0, 1, 0, ROOM, 0},
    {"commit", reserve_item, commit_item, 1, 1, 0, ROOM, 0},
    {"abort", reserve_item, end_loan, 0, 1, 0, NOTHING, 0},
    {"get", NULL, get_one, 0, 1, 0, AN_ITEM, 1 + FIRST_GROUP},
    {"get_batch", NULL, get_batch, 0, 1, 0, AN_ITEM, 1 + FIRST_GROUP},
    {"get_several", NULL, get_several, 0, 1, 1, AN_ITEM, 1 + FIRST_GROUP},
    {"get_more", get_one, get_one, 0, 1, 0, AN_ITEM, 1 + FIRST_GROUP},
    {"view", NULL, view_item, 0, 1, 0, AN_ITEM, 1 + FIRST_GROUP},
    {"release", view_item, end_loan, 0, 1, 0, NOTHING, 1 + FIRST_GROUP},
    {"release_passed", view_and_raise, end_loan, 0, 1, 0, NOTHING, 1 + FIRST_GROUP},
    {"finish", get_one, finish_held, 0, 1, 0, NOTHING, 1 + FIRST_GROUP},
    {"close_reader", get_one, close_reader, 0, 1, 0, NOTHING, 1 + FIRST_GROUP},
    {"skip", NULL, skip_to_latest, 0, 1, 0, NOTHING, 1 + FIRST_GROUP},
    {"track", NULL, track, 0, 1, 0, NOTHING, 1 + FIRST_GROUP},
    {"follow", NULL, get_one, 0, 1, 0, AN_ITEM, 1 + SECOND_GROUP},
    {"follow_batch", NULL, get_batch, 0, 1, 0, AN_ITEM, 1 + SECOND_GROUP},
    {"open", NULL, open_oldest, 0, 1, 0, NOTHING, 0},
    {"open_next", NULL, open_next, 0, 1, 0, NOTHING, 0},
    {"open_after", NULL, open_after, 0, 1, 0, NOTHING, 0},
    {"join", NULL, join_first, 0, 1, 0, NOTHING, 0},
    {"remove", NULL, remove_first, 0, 1, 0, NOTHING, 0},
    {"remove_second", NULL, remove_second, 0, 1, 0, NOTHING, 0},
    {"subscribe", NULL, subscribe, 0, 1, 0, NOTHING, 0},
    {"unsubscribe", subscribe, unsubscribe, 0, 1, 0, NOTHING, 0},
    {"get_subscribed", subscribe, get_one, 0, 1, 0, AN_ITEM, 0},
    {"raise", NULL, raise_floor, 0, 1, 0, NOTHING, 0},
    {"give_back", NULL, give_back, 0, 1, 0, NOTHING, 0},
    {"register", NULL, begin_to_write, 0, 1, 0, NOTHING, 0},
    {"finish_writing", begin_to_write, finish_writing, 0, 1, 0, NOTHING, 0},
    {"attach", NULL, attach, 0, 0, 0, NOTHING, 0},
    {"close", NULL, leave, 0, 1, 0, NOTHING, 0},
    {"sweep", NULL, sweep, 0, 1, 0, NOTHING, 0},
    {"shutdown", NULL, shut, 0, 1, 0, NOTHING, 0},
    {"shutdown_now", NULL, shut_groups, 0, 1, 0, NOTHING, 0},
    {"trim_pool", NULL, trim_pool, 0, 1, 0, NOTHING, 0},
    {"look", NULL, look_at_groups, 0, 1, 0, NOTHING, 0},
};

#endif
