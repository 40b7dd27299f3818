/* The account of a stream's groups: where each head is, what it took, and what it lost.
 *
 *   what must be true                                    looked at
 *   the floor passes no group that blocks                where the floor moves, and in every state
 *   a group takes only what those before it have         where a group's head moves; who finished, and
 *     finished                                             when, is noted beside the protocol
 *   what a lagging group lost had been passed            where a group's head moves
 *   each group got, lost or was killed with every item   at the end
 *     since it was opened, each once, in order
 */
#ifndef EXPLORED_GROUP_ACCOUNT_H
#define EXPLORED_GROUP_ACCOUNT_H

#include "kernel.h"

static shmq_reader readers[EX_ACTORS + 1]; /* of each actor, if it consumes for a group */
#define EX_READER (&readers[ex_index(running)])

static const shmq_end *ex_group_end(uint32_t group) {
  return &geometry.ends[SHMQ_END_HEAD0 + 1 + group];
}

/* ---- what stands in the stream's table ----------------------------------------------------------- */

static int ex_has_bit(uint32_t group) {
  return ex_is_stream() && (geometry.stream->open & shmq_group_bit(group)) != 0;
}

static int ex_group_is_open(uint32_t group) {
  return ex_has_bit(group) && (ex_group_end(group)->state & SHMQ_END_OPEN) != 0;
}

static int ex_group_blocks(uint32_t group) {
  return !((geometry.stream->lagging | geometry.stream->dropping) & shmq_group_bit(group));
}

/* As shmq_tag_is_dead, by one who sees everything. */
static int ex_is_dead(uint64_t tag) {
  const uint32_t seat = shmq_tag_seat(tag);
  return seat >= EX_SEATS || world.lock_of_seat[seat] == 0 ||
         shmq_tag(seat, geometry.seats[seat].generation) != (tag & SHMQ_TAG);
}

static int ex_is_subscription_of_the_dead(uint32_t group) {
  const uint64_t subscriber = geometry.stream->groups[group].subscriber;
  return subscriber != 0 && ex_is_dead(subscriber);
}

/* What a group has finished: what is below its head, but for what is in the hands of the living. */
static uint32_t ex_finished(uint32_t group) {
  uint32_t finished = world.groups[group].head;
  for (uint32_t i = 0; i <= EX_ACTORS; i++)
    if (world.actors[i].works_for == group + 1 && world.actors[i].held < finished)
      finished = world.actors[i].held;
  return finished;
}

static uint32_t ex_gate_of_group(uint32_t group) {
  uint32_t gate = world.tail;
  for (uint32_t other = 0; other < rules.groups; other++) {
    if (!(geometry.stream->groups[group].after & shmq_group_bit(other))) continue;
    if (ex_finished(other) < gate) gate = ex_finished(other);
  }
  return gate;
}

/* ---- what the heads do ---------------------------------------------------------------------------- */

static void ex_floor_moved(uint64_t from, uint64_t to) {
  if (to <= from || to > world.tail)
    ex_violation("the floor went from %llu to %llu", (unsigned long long)from,
                 (unsigned long long)to);
  for (uint32_t group = 0; group < rules.groups; group++)
    if (ex_group_is_open(group) && ex_group_blocks(group) && to > world.groups[group].head)
      ex_violation("the floor passes group %u, which is at %u and blocks", group,
                   world.groups[group].head);
  world.head = (uint32_t)to;
}

/* Its sequence was stored before. */
static void ex_group_opened(uint32_t group) {
  const uint32_t begin = (uint32_t)ex_group_end(group)->sequence;
  world.groups[group] = (ex_group){.begin = begin, .head = begin};
}

/* What stands there of how many it lost until its head is at `sequence`. */
static uint64_t ex_lapped(uint32_t group, uint64_t sequence) {
  const shmq_place *places = ex_group_end(group)->place;
  return places[places[0].sequence != sequence].position;
}

static void ex_group_moved(ex_actor *who, uint32_t group, uint64_t from, uint64_t to) {
  ex_call *call = &who->call;
  ex_group *account = &world.groups[group];
  if (call->deed == EX_OPEN) return; /* where it begins */
  uint64_t lapped = 0;
  if (!ex_group_blocks(group)) lapped = ex_lapped(group, to) - account->lapped;
  const uint64_t begin = from + lapped;
  if (begin >= to || to > world.tail || lapped > to) {
    ex_violation("the head of group %u went from %llu to %llu, and %llu were lost", group,
                 (unsigned long long)from, (unsigned long long)to, (unsigned long long)lapped);
    return;
  }
  if (lapped > 0 && begin > shmq_head(&geometry)->passed)
    ex_violation("group %u loses items that are still there", group);
  if (call->deed != EX_TAKE || call->group != group + 1 || call->taken + (to - begin) > call->count)
    ex_violation("takes what it did not ask for");
  if (!ex_group_is_open(group)) ex_violation("takes from group %u, which is not there", group);
  if (to > ex_gate_of_group(group))
    ex_violation("group %u takes up to %llu, and only %u are finished before it", group,
                 (unsigned long long)to, ex_gate_of_group(group));
  if (call->taken == 0) call->from = (uint32_t)begin;
  call->taken = (uint8_t)(call->taken + (to - begin));
  account->lapped += (uint32_t)lapped;
  account->head = (uint32_t)to;
  if (who->works_for == 0) {
    who->works_for = (uint8_t)(group + 1);
    who->held = (uint32_t)begin;
  }
}

/* What the actor got is finished, as the protocol is about to be told. */
static void ex_note_finished(ex_actor *actor) {
  actor->works_for = 0;
  actor->held = 0;
}

/* ---- in every state ------------------------------------------------------------------------------- */

static void ex_check_groups(void) {
  const shmq_end *floor = shmq_head(&geometry);
  if (floor->passed < world.head || floor->passed > world.tail)
    ex_violation("passed is %llu, the floor is at %u and the tail at %u",
                 (unsigned long long)floor->passed, world.head, world.tail);
  for (uint32_t group = 0; group < rules.groups; group++) {
    const ex_group *account = &world.groups[group];
    if (!ex_group_is_open(group)) continue;
    if (ex_group_end(group)->sequence != account->head) ex_violation("a head moved by itself");
    if (ex_group_blocks(group) && floor->passed > account->head)
      ex_violation("the floor passes group %u, which is at %u and blocks", group, account->head);
  }
  for (uint32_t i = 0; i < EX_ACTORS; i++) {
    if (world.actors[i].pinned == 0) continue;
    const uint64_t state = geometry.blocks[world.actors[i].pinned - 1].state;
    if ((state & SHMQ_FLAGS) != SHMQ_BLOCK_QUEUED)
      ex_violation("actor %u views block %u, which is given away", i, world.actors[i].pinned - 1u);
  }
}

/* Could whoever wants room have it? What the dead hold back may be had. */
static int ex_is_room(uint32_t count) {
  uint64_t gate = UINT64_MAX;
  int is_any = 0;
  for (uint32_t group = 0; group < rules.groups; group++) {
    if (!ex_has_bit(group)) continue;
    is_any = 1;
    if (ex_group_is_open(group) && ex_group_blocks(group) && world.groups[group].head < gate &&
        !ex_is_subscription_of_the_dead(group))
      gate = world.groups[group].head;
  }
  if (!is_any || gate < world.head) gate = world.head;
  return gate >= world.tail || world.tail + count <= gate + geometry.capacity;
}

static int ex_all_are_written(void) {
  if (!(shmq_tail(&geometry)->state & SHMQ_END_WRITTEN)) return 0;
  for (uint32_t i = 0; i < EX_ROWS; i++)
    if (geometry.stream->writers[i] != 0 && !ex_is_dead(geometry.stream->writers[i])) return 0;
  return 1;
}

/* Where a group takes next: what it lost is told with that. */
static uint64_t ex_begins_at(uint32_t group) {
  const uint64_t head = world.groups[group].head, passed = shmq_head(&geometry)->passed;
  return !ex_group_blocks(group) && passed > head ? passed : head;
}

/* Is there nothing for it to take, and may there be something later? */
static int ex_awaits_item_rightly(const ex_actor *actor) {
  const uint32_t group = actor->call.group - 1u;
  const int is_shut = (shmq_tail(&geometry)->state & SHMQ_END_SHUT) != 0;
  if (!ex_group_is_open(group) || ex_group_end(group)->state & SHMQ_END_SHUT) return 0;
  const uint64_t at = ex_begins_at(group);
  if (ex_gate_of_group(group) > at || (is_shut && at == world.tail)) return 0;
  return is_shut || !ex_all_are_written();
}

#endif
