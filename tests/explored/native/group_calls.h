/* The calls on a stream's groups and writers, as the extension module makes them; and what is looked
 * after in the end. */
#ifndef EXPLORED_GROUP_CALLS_H
#define EXPLORED_GROUP_CALLS_H

#include "account.h"

/* A group as a scenario wants it. */
typedef struct {
  uint8_t policy; /* SHMQ_POLICY_... */
  uint8_t after;  /* bits of groups */
  uint8_t start;  /* SHMQ_START_... */
  uint8_t is_subscriber;
} ex_group_wish;

static const char *const ex_group_names[EX_GROUPS] = {"a", "b", "c"};

/* From here on the actor consumes for this group. */
static void ex_read_of(uint32_t group) {
  shmq_reader_begin(EX_READER, EX_VIEW, group, ex_group_end(group)->state);
}

/* Joins the group of a name, or opens it, and consumes for it: 0 if there are none any more. */
static int ex_join_group(uint32_t name, ex_group_wish wanted) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_join_wish wish = {
      .group = {.name = ex_group_names[name], .name_bytes = 1, .after = wanted.after,
                .policy = wanted.policy, .is_subscriber = wanted.is_subscriber},
      .start = wanted.start, .may_open = 1};
  for (uint32_t other = 0; other < EX_GROUPS; other++)
    if (wanted.after >> other & 1) wish.group.after_states[other] = ex_group_end(other)->state;
  ex_begin(EX_OPEN, 1, EX_FOREVER, &waiter);
  do status = shmq_join_group(EX_VIEW, &wish, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_end();
  ex_say("join_group answers %d, group %u", status, wish.index);
  if (status != SHMQ_OK || wish.index >= rules.groups) {
    ex_violation("cannot join a group: %d", status);
    return 0;
  }
  /* Somebody may have removed it since. */
  if (!ex_group_is_open(wish.index)) return 0;
  ex_read_of(wish.index);
  return 1;
}

static shmq_status ex_remove_group(uint32_t group) {
  shmq_waiter waiter;
  shmq_status status;
  const uint32_t state = ex_group_end(group)->state;
  ex_begin(EX_NOTHING, 1, EX_FOREVER, &waiter);
  do status = shmq_leave_group(EX_VIEW, group, state, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_end();
  ex_say("leave_group answers %d", status);
  return status;
}

static uint32_t ex_get(uint32_t max_items) { return ex_take_from(EX_READER, max_items, EX_FOREVER); }

/* Until the head of its group is there: those of a lagging one don't know how many that takes. */
static void ex_get_up_to(uint32_t sequence, uint32_t at_most) {
  while (world.groups[EX_READER->group].head < sequence) ex_get(at_most);
}

/* GroupHandle.done */
static void ex_finish(void) {
  ex_note_finished(running);
  shmq_reader_finish(EX_VIEW, EX_READER);
}

/* As the last handle goes. */
static void ex_end_reading(void) {
  ex_note_finished(running);
  shmq_reader_end(EX_VIEW, EX_READER);
  if (EX_READER->pinner != SHMQ_NO_PINNER) shmq_pinner_leave(EX_VIEW, EX_READER->pinner);
  EX_READER->pinner = SHMQ_NO_PINNER;
}

static uint32_t ex_begin_writing(void) {
  uint32_t writer = 0;
  shmq_waiter waiter;
  shmq_status status;
  ex_begin(EX_NOTHING, 1, EX_FOREVER, &waiter);
  do status = shmq_begin_writing(EX_VIEW, &writer, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_end();
  if (status == SHMQ_SHUTDOWN) return SHMQ_MAX_WRITERS; /* all others have finished */
  if (status != SHMQ_OK) ex_violation("cannot write: %d", status);
  return writer;
}

static void ex_finish_writing(uint32_t writer) { shmq_finish_writing(EX_VIEW, writer); }

/* As _groups.shut, immediately. */
static void ex_shut_stream(void) {
  ex_do(SHMQ_END_TAIL, SHMQ_DO_SHUT, EX_FOREVER);
  for (uint32_t group = 0; group < rules.groups; group++)
    if (ex_group_is_open(group)) ex_do(SHMQ_END_HEAD0 + 1 + group, SHMQ_DO_SHUT, EX_FOREVER);
  shmq_stream_ring_all(EX_VIEW);
}

/* ---- after the end --------------------------------------------------------------------------------- */

/* Takes all that is there, from the groups that have a name: those before others come first. */
static void ex_drain_groups(void) {
  for (uint32_t group = 0; group < rules.groups; group++) {
    if (!ex_group_is_open(group) || geometry.stream->groups[group].subscriber != 0) continue;
    const ex_group *account = &world.groups[group];
    ex_read_of(group);
    while (ex_take_from(EX_READER, 1, 0) > 0) continue;
    ex_end_reading();
    if (ex_group_end(group)->state & SHMQ_END_SHUT) continue; /* what is left is nobody's */
    if (ex_begins_at(group) != world.tail)
      ex_violation("%u items are not to be had in group %u", world.tail - account->head, group);
    if (account->received + account->lost + account->lapped != account->head - account->begin)
      ex_violation("group %u began at %u and is at %u: %u received, %u lapped, %u lost with who was"
                   " killed", group, account->begin, account->head, account->received,
                   account->lapped, account->lost);
  }
}

/* Is there a group whose consumers may come and go? */
static int ex_is_group_with_name(void) {
  for (uint32_t group = 0; group < rules.groups; group++)
    if (ex_group_is_open(group) && geometry.stream->groups[group].subscriber == 0) return 1;
  return 0;
}

/* Nobody was killed: what the floor has passed, and nobody views, is free without a sweep, as soon as
 * somebody raises the floor. */
static void ex_check_passed(void) {
  shmq_floor_yield(EX_VIEW, 0);
  for (uint32_t i = 0; i < geometry.ends[SHMQ_END_POOL].sequence && i < EX_BLOCKS; i++) {
    const shmq_block *block = &geometry.blocks[i];
    if ((block->state & SHMQ_FLAGS) == SHMQ_BLOCK_QUEUED && block->sequence < world.head &&
        (block->pins[0] | block->pins[1]) == 0)
      ex_violation("block %u was passed, nobody views it, and it is not free", i);
  }
}

/* Those of the living, who sleep: what is put afterwards would wait for them. */
static void ex_end_subscriptions(void) {
  for (uint32_t group = 0; group < rules.groups; group++)
    if (ex_group_is_open(group) && geometry.stream->groups[group].subscriber != 0 &&
        !ex_is_subscription_of_the_dead(group))
      ex_remove_group(group);
}

static void ex_look_after_stream(void) {
  ex_attach();
  ex_end_subscriptions();
  ex_drain_groups();
  if (geometry.ends[SHMQ_END_TAIL].state & SHMQ_END_SHUT) return;
  if (!ex_is_group_with_name()) { /* what was held is for the first that comes */
    ex_join_group(0, (ex_group_wish){.start = SHMQ_START_OLDEST});
    if (world.groups[EX_READER->group].begin != world.head)
      ex_violation("what was held is not to be had");
    ex_drain_groups();
  }
  for (uint32_t i = 0; i < geometry.capacity + 1 && world.tail + 1 < EX_ITEMS; i++) {
    if (ex_put(1, 0) != SHMQ_OK) ex_violation("no room, and there is nothing in it");
    if ((i + 1) % geometry.capacity == 0) ex_drain_groups();
  }
  ex_drain_groups();
}

#endif
