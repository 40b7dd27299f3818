/* The account of a stream: for each group, what it has seen, and what it is yet to see.
 *
 * What a group should be able to do is worked out here anew, from the words of the segment and from what
 * the policies promise, and not by asking the gates of the protocol. */
#ifndef KILLPOINTS_STREAMS_ACCOUNT_H
#define KILLPOINTS_STREAMS_ACCOUNT_H

#include "account.h"

#define LONG_KEPT (3600000 * SHMQ_MS) /* of a policy that drops: kept for longer than any trial lasts */

/* ---- what the groups are like --------------------------------------------------------------------- */

/* Below which sequence no living consumer of a group holds anything. */
static uint64_t finished_by_the_living(const shmq_view *view, uint32_t group) {
  uint64_t finished = sequence_of(shmq_group_head(view, group));
  uint64_t state = shmq_group_head(view, group)->state;
  for (uint32_t i = 0; i < view->stream->holds_granted; i++) {
    const shmq_hold *hold = &view->stream->holds[i];
    if (hold->tag != 0 && hold->group == ((state & ~SHMQ_END_BITS) | group) &&
        !shmq_tag_is_dead(view, hold->tag) && hold->sequence < finished)
      finished = hold->sequence;
  }
  return finished;
}

static void note_group(const shmq_view *view, uint32_t group, group_place *place) {
  const shmq_end *head = shmq_group_head(view, group);
  const shmq_group *row = &view->stream->groups[group];
  memset(place, 0, sizeof(*place));
  place->exists = (view->stream->open & shmq_group_bit(group)) && (head->state & SHMQ_END_OPEN);
  place->opening = head->state & ~SHMQ_END_BITS;
  place->sequence = sequence_of(head);
  place->seen = place->sequence - row->joined_sequence - shmq_group_lapped(head, place->sequence);
  place->begins = place->sequence;
  if (row->policy != SHMQ_POLICY_BLOCK && shmq_head(view)->passed > place->begins)
    place->begins = shmq_head(view)->passed;
  place->finished = shmq_group_finished(view, group);
  place->after = row->after;
  place->subscriber = row->subscriber;
  place->keep_ns = row->keep_ns;
  place->policy = row->policy;
  place->ready = sequence_of(shmq_tail(view));
  for (uint32_t other = 0; other < MOST_GROUPS; other++) {
    if (!(row->after & shmq_group_bit(other))) continue;
    uint64_t finished = finished_by_the_living(view, other);
    if (finished < place->ready) place->ready = finished;
  }
}

static void note_groups(const shmq_view *view, group_place *places) {
  for (uint32_t group = 0; view->stream != NULL && group < MOST_GROUPS; group++)
    note_group(view, group, &places[group]);
}

/* Does it belong to a process that is no more? */
static int is_left_by_the_dead(const shmq_view *view, const group_place *place) {
  return place->exists && place->subscriber != 0 && shmq_tag_is_dead(view, place->subscriber);
}

/* Is the floor not to pass its head? */
static int is_gating(const group_place *place) {
  return place->policy == SHMQ_POLICY_BLOCK ||
         (place->policy == SHMQ_POLICY_DROP && place->keep_ns >= LONG_KEPT);
}

/* Has a put of so many room, or can it make some, with the groups as they stand? The dead gate nobody. */
static int may_put(const shmq_view *view, uint64_t count) {
  int is_any = 0;
  uint64_t needed = sequence_of(shmq_tail(view)) + count - view->capacity;
  if ((int64_t)(needed - sequence_of(shmq_head(view))) <= 0) return 1;
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    group_place place;
    note_group(view, group, &place);
    if (!place.exists || is_left_by_the_dead(view, &place)) continue;
    is_any = 1;
    if (is_gating(&place) && (int64_t)(needed - place.sequence) > 0) return 0;
  }
  return is_any || view->ungrouped == SHMQ_UNGROUPED_DROP;
}

/* ---- what holds at every moment ------------------------------------------------------------------- */

/* Right after the kill, before anybody else acted. */
static int check_stream_words(const scene *of, uint64_t fixed_bytes) {
  const shmq_view *view = &of->view;
  uint64_t floor = sequence_of(shmq_head(view)), tail = sequence_of(shmq_tail(view));
  uint64_t passed = shmq_head(view)->passed;
  CHECK(tail - floor <= view->capacity, "floor %lu and tail %lu can't both be", floor, tail);
  CHECK(passed - floor <= tail - floor, "the floor is at %lu and has passed %lu", floor, passed);
  for (uint64_t sequence = floor; sequence < tail; sequence++) {
    const shmq_slot *slot = (const shmq_slot *)shmq_slot_at(view, sequence);
    CHECK(slot->stamp == 2 * sequence + 2, "slot %lu has stamp %lu", sequence, slot->stamp);
    if (sequence >= passed && !check_reference(view, slot, sequence)) return 0;
  }
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    group_place place;
    note_group(view, group, &place);
    if (!place.exists) continue;
    CHECK(place.sequence <= tail, "group %u is at %lu, and the tail at %lu", group, place.sequence,
          tail);
    CHECK(!is_gating(&place) || place.sequence >= passed,
          "the floor has passed %lu, and group %u is at %lu", passed, group, place.sequence);
  }
  for (uint32_t index = 0; index < shmq_block_count(view); index++)
    for (uint32_t pinner = 0; pinner < SHMQ_MAX_PINNERS; pinner++)
      CHECK(!(view->blocks[index].pins[pinner / 64] >> pinner % 64 & 1) ||
                view->stream->pinners[pinner] != 0,
            "block %u is pinned by %u, who is nobody", index, pinner);
  CHECK(view->stream->open >> MOST_GROUPS == 0, "groups %#lx were never opened",
        view->stream->open);
  return check_reserved(view, fixed_bytes);
}

static int is_same_place(const group_place *a, const group_place *b) {
  return a->exists == b->exists && (!a->exists || (a->opening == b->opening &&
                                                   a->sequence == b->sequence && a->seen == b->seen));
}

/* The same group at both moments? */
static int is_same_group(const group_place *a, const group_place *b) {
  return a->exists && b->exists && a->opening == b->opening;
}

/* What consumers have finished only grows on the way; so nobody who comes after them is ever let in before
 * a consumer that lives has finished. */
static int check_finished(const bench *on, const group_place *now) {
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    const group_place *first = &on->prepared.groups[group], *last = &on->whole.groups[group];
    if (!is_same_group(&now[group], first) || !is_same_group(first, last)) continue;
    CHECK(now[group].finished >= first->finished && now[group].finished <= last->finished,
          "group %u has finished up to %lu: not between %lu and %lu", group, now[group].finished,
          first->finished, last->finished);
  }
  return 1;
}

static int is_followed(const group_place *places, uint32_t group) {
  for (uint32_t other = 0; other < MOST_GROUPS; other++)
    if (places[other].exists && places[other].after & shmq_group_bit(group)) return 1;
  return 0;
}

/* While the one who will be killed stands still, alive. */
static int check_while_it_lives(const bench *on, const scene *of) {
  group_place now[MOST_GROUPS];
  if (of->view.stream == NULL) return 1;
  note_groups(&of->view, now);
  if (on->what->waits_for == AN_ITEM && on->victim->reads != 0) {
    const uint32_t group = on->victim->reads - 1;
    /* Whatever it takes now, it hasn't finished. */
    CHECK(!is_followed(on->prepared.groups, group) ||
              now[group].finished <= on->prepared.groups[group].sequence,
          "group %u has finished up to %lu, which it took just now", group, now[group].finished);
  }
  return check_finished(on, now);
}

/* What the killed may have done: for the tail, and for each group, all of the operation or nothing. */
static int check_stream_outcome(const bench *on, const scene *of) {
  const completion *whole = &on->whole;
  uint64_t tail = sequence_of(shmq_tail(&of->view));
  group_place now[MOST_GROUPS];
  note_groups(&of->view, now);
  CHECK(tail == of->tail || tail == whole->tail, "the tail moved from %lu to %lu, not to %lu",
        of->tail, tail, whole->tail);
  CHECK(!has_put(on) || tail == whole->tail, "put returned, but the tail is %lu, not %lu", tail,
        whole->tail);
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    const group_place *first = &on->prepared.groups[group], *last = &whole->groups[group];
    const group_place *is = &now[group];
    int is_between = on->what->gradual && is_same_group(is, first) && is_same_group(is, last) &&
                     is->sequence >= first->sequence && is->sequence <= last->sequence;
    int is_buried = !is->exists && is_left_by_the_dead(&of->view, first);
    CHECK(is_same_place(is, last) || is_buried ||
              (!has_put(on) && (is_same_place(is, first) || is_between)),
          "group %u is %s at %lu after %lu items: it was at %lu after %lu, and should come to %lu "
          "after %lu", group, is->exists ? "there" : "gone", is->sequence, is->seen,
          first->sequence, first->seen, last->sequence, last->seen);
  }
  return check_finished(on, now);
}

static int is_any_writer(const shmq_view *view) {
  for (uint32_t i = 0; i < SHMQ_MAX_WRITERS; i++) {
    uint64_t tag = view->stream->writers[i];
    if (tag != 0 && !shmq_tag_is_dead(view, tag)) return 1;
  }
  return 0;
}

/* Were there writers, and is none of them left? */
static int is_written(const shmq_view *view) {
  return (shmq_tail(view)->state & SHMQ_END_WRITTEN) && !is_any_writer(view);
}

/* Could it not do otherwise than wait in vain? */
static int may_give_up_in_stream(const bench *on) {
  const group_place *place = &on->prepared.groups[on->victim->reads - 1];
  switch (on->what->waits_for) {
    case AN_ITEM:
      /* Where all writers have finished there is an end to be found. */
      return place->begins >= place->ready && !is_written(&on->base.view);
    case ROOM: return !may_put(&on->base.view, on->what->puts > 0 ? on->what->puts : 1);
    default: return 0;
  }
}

/* Of an operation that nobody killed: did it do what it should? */
static int check_completion_in_stream(bench *on, scene *of) {
  const uint32_t reads = on->victim->reads, is_first = on->prepared.groups[FIRST_GROUP].exists;
  const group_place *from = &on->prepared.groups[reads - 1], *to = &on->whole.groups[reads - 1];
  const shmq_status status = on->whole.status;
  const int is_removed =
      on->what->act == remove_second ? !on->prepared.groups[SECOND_GROUP].exists : !is_first;
  switch (status) {
    case SHMQ_OK:
    case SHMQ_TIMEOUT: break;
    case SHMQ_SHUTDOWN:
      CHECK(shmq_is_shut(&of->view), "it found an end that is none");
      break;
    case SHMQ_GONE:
      CHECK(reads != 0 ? !from->exists : is_removed, "it found a group gone that is there");
      break;
    case SHMQ_EMPTY: CHECK(!is_first, "it did not find a group that is there"); break;
    case SHMQ_FULL:
      CHECK(is_followed(on->prepared.groups, FIRST_GROUP),
            "a group was not removed that nobody comes after");
      break;
    default: return blame("it ended with status %d", status);
  }
  if (reads != 0 && of->sleeps == NOBODY && is_same_group(from, to) && to->sequence != from->sequence)
    CHECK(to->seen - from->seen == to->sequence - from->begins,
          "it took or skipped %lu items, and %lu of them count", to->sequence - from->begins,
          to->seen - from->seen);
  for (uint64_t i = 0; reads != 0 && i < on->victim->count && of->sleeps != FOR_ITEM; i++) {
    uint64_t sequence = to->sequence - on->victim->count + i;
    CHECK(on->victim->ids[i] == *id_at(of, sequence), "it got %ld, not %lu",
          (long)on->victim->ids[i], *id_at(of, sequence));
  }
  return 1;
}

/* ---- the survivor --------------------------------------------------------------------------------- */

/* Takes what a group has up to `until`, as another consumer of it: each item has to be the right one, and
 * what was lost to the group is told exactly. */
static int survivor_takes(scene *of, actor *who, uint32_t group, uint64_t until, uint64_t most) {
  const shmq_view *view = &of->view;
  const shmq_end *head = shmq_group_head(view, group);
  actor_init(who, &of->view, 0, of->limit_ns);
  read_from(who, group);
  for (;;) {
    group_place place;
    note_group(view, group, &place);
    const uint64_t begun = place.sequence, begins = place.begins;
    uint64_t lapped = shmq_group_lapped(head, begun);
    if ((int64_t)(until - begins) <= 0) break;
    who->deadline_ns = now_ns() + of->limit_ns;
    shmq_status status = get_items(who, most < until - begins ? most : until - begins);
    CHECK(status == SHMQ_OK, "a get from group %u ended with status %d at item %lu", group, status,
          begins);
    actor_read(who);
    uint64_t first = sequence_of(head) - who->count;
    /* One who waited may make room meanwhile. */
    CHECK(first == begins || (who->reading.may_lapse && first > begins),
          "group %u went from %lu to %lu with %lu items", group, begun, sequence_of(head),
          who->count);
    CHECK(shmq_group_lapped(head, first + who->count) - lapped == first - begun,
          "group %u lost %lu items, and was told of %lu", group, first - begun,
          shmq_group_lapped(head, first + who->count) - lapped);
    for (uint64_t i = 0; i < who->count; i++)
      CHECK(who->ids[i] == *id_at(of, first + i), "item %lu of group %u is %ld, not %lu", first + i,
            group, (long)who->ids[i], *id_at(of, first + i));
  }
  stop_reading(who);
  return 1;
}

/* Joins a group by its name: it has to be found where it is. */
static int survivor_joins(scene *of, actor *who, uint32_t group) {
  const shmq_group *row = &of->view.stream->groups[group];
  char name[SHMQ_GROUP_NAME + 1] = {0};
  memcpy(name, row->name, row->name_bytes % sizeof(name));
  shmq_join_wish wish = group_wish(&of->view, name, 0, SHMQ_POLICY_BLOCK, 0, SHMQ_START_NEXT);
  wish.may_open = 0;
  actor_init(who, &of->view, 0, of->limit_ns);
  shmq_status status = join_group(who, &wish);
  CHECK(status == SHMQ_OK && who->joined == group, "group %u is not found: status %d", group,
        status);
  return 1;
}

/* Every group sees what there is up to `until`, those that come after others as well. */
static int survivor_drains(scene *of, actor *who, uint64_t until, uint64_t most, int joins) {
  int is_done = 0;
  for (uint32_t round = 0; round < MOST_GROUPS && !is_done; round++) {
    is_done = 1;
    for (uint32_t group = 0; group < MOST_GROUPS; group++) {
      group_place place;
      note_group(&of->view, group, &place);
      if (!place.exists || is_left_by_the_dead(&of->view, &place)) continue;
      if (joins && place.subscriber == 0 && !survivor_joins(of, who, group)) return 0;
      if (!survivor_takes(of, who, group, place.ready < until ? place.ready : until, most))
        return 0;
      note_group(&of->view, group, &place);
      is_done &= place.begins >= until;
    }
  }
  CHECK(is_done, "a group doesn't come as far as those that it comes after");
  return 1;
}

/* Whoever was a consumer of a group that is no more, or is another by now, is told so. */
static int check_old_consumers(const bench *on, scene *of, actor *who) {
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    const group_place *first = &on->prepared.groups[group];
    group_place now;
    note_group(&of->view, group, &now);
    if (!first->exists || is_same_group(first, &now)) continue;
    actor_init(who, &of->view, 0, of->limit_ns);
    shmq_reader_begin(&who->reading, &of->view, group, first->opening | SHMQ_END_OPEN);
    who->reader = &who->reading;
    shmq_status status = get_items(who, 1);
    CHECK(status == SHMQ_GONE, "a get from group %u, which is gone, ended with status %d", group,
          status);
  }
  return 1;
}

static int is_without_groups(const shmq_view *view) {
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    group_place place;
    note_group(view, group, &place);
    if (place.exists && !is_left_by_the_dead(view, &place)) return 0;
  }
  return 1;
}

/* Somebody opens a group that begins with the oldest item: what the floor has not passed is all there. */
static int newcomer_opens(scene *of, actor *who) {
  shmq_join_wish wish =
      group_wish(&of->view, "late", 0, SHMQ_POLICY_BLOCK, 0, SHMQ_START_OLDEST);
  actor_init(who, &of->view, 0, of->limit_ns);
  shmq_status status = join_group(who, &wish);
  CHECK(status == SHMQ_OK, "a group can't be opened: status %d", status);
  CHECK(!wish.is_new || wish.group.start == shmq_head(&of->view)->passed, "a group begins at %lu, not at %lu",
        wish.group.start, shmq_head(&of->view)->passed);
  return 1;
}

/* Every group takes what was there at the beginning; and if there is none, somebody opens one. */
static int survivor_makes_room(scene *of, actor *who) {
  if (is_without_groups(&of->view) && !newcomer_opens(of, who)) return 0;
  return survivor_drains(of, who, of->tail, 1, 0);
}

/* ---- others who wait meanwhile -------------------------------------------------------------------- */

/* A consumer of a group that found nothing to take. */
static int consumer_goes_on(bench *on, scene *of, actor *who, pid_t pid) {
  const shmq_view *view = &of->view;
  const report *says = on->other;
  uint64_t tail = sequence_of(shmq_tail(view));
  group_place place;
  CHECK(tail == of->tail || tail == on->whole.tail, "the tail moved to %lu", tail);
  CHECK(!has_put(on) || tail == on->whole.tail, "put returned, but the tail is %lu", tail);
  /* Where the last of the writers is dead nothing comes any more, and that it finds out by itself. */
  if (!shmq_is_shut(view) && !is_written(view) && may_put(view, 1) &&
      !survivor_puts(of, who, FIRST_SURVIVORS, 0))
    return 0;
  tail = sequence_of(shmq_tail(view));
  for (uint32_t group = 0; group < MOST_GROUPS; group++)
    if (of->groups[of->sleeps_in].after & shmq_group_bit(group) &&
        !survivor_takes(of, who, group, tail, 1))
      return 0;
  CHECK(is_back(of, pid), "the sleeper doesn't wake");
  note_group(view, of->sleeps_in, &place);
  if (says->status == SHMQ_GONE && !place.exists) return 1;
  if (says->status == SHMQ_SHUTDOWN && shmq_is_shut(view) && place.sequence == tail) return 1;
  CHECK(says->status == SHMQ_OK, "the sleeper's call ended with status %d", says->status);
  uint64_t first = of->groups[of->sleeps_in].sequence;
  CHECK(says->count == 1 && says->ids[0] == *id_at(of, first), "the sleeper got %ld, not %lu",
        (long)says->ids[0], *id_at(of, first));
  return 1;
}

/* A producer that found no room, or the killed in its way: what it put is the last. */
static int producer_goes_on(bench *on, scene *of, actor *who, pid_t pid) {
  const shmq_view *view = &of->view;
  const uint64_t count = of->sleeps == FOR_BATCH_ROOM ? BATCH : 1;
  const uint64_t with_put = of->tail + (on->whole.status == SHMQ_OK ? on->what->puts : 0);
  if (!may_put(view, count) && !survivor_makes_room(of, who)) return 0;
  CHECK(is_back(of, pid), "one who waited for room does not go on");
  uint64_t tail = sequence_of(shmq_tail(view));
  if (shmq_is_shut(view) && on->other->status == SHMQ_SHUTDOWN) return 1;
  CHECK(on->other->status == SHMQ_OK, "the put of one who waited ended with status %d",
        on->other->status);
  CHECK(tail == of->tail + count || tail == with_put + count, "the tail moved to %lu", tail);
  CHECK(!has_put(on) || tail == with_put + count, "put returned, but the tail is %lu", tail);
  for (uint64_t i = 0; i < count; i++) *id_at(of, tail - count + i) = WAITERS_ITEM + i;
  return 1;
}

/* ---- the end of it -------------------------------------------------------------------------------- */

/* Puts and gets for more than a lap; and where a group blocks, nobody puts more than there is room for. */
static int use_stream_as_ever(scene *of, actor *who) {
  const shmq_view *view = &of->view;
  int is_gated = 0, is_dropping = 0;
  if (!survivor_puts(of, who, FIRST_SURVIVORS + 10, 0) ||
      !survivor_puts(of, who, FIRST_SURVIVORS + 11, BLOCK_BYTES) ||
      !survivor_drains(of, who, sequence_of(shmq_tail(view)), 1, 0))
    return 0;
  uint64_t sequence = sequence_of(shmq_tail(view));
  actor_init(who, &of->view, FIRST_SURVIVORS + 12, of->limit_ns);
  shmq_status status = put_several(who, 1);
  CHECK(status == SHMQ_OK, "a batch of the survivor's ended with status %d", status);
  for (uint32_t i = 0; i < BATCH; i++) *id_at(of, sequence + i) = FIRST_SURVIVORS + 12 + i;
  if (!survivor_drains(of, who, sequence + BATCH, MOST_TAKEN, 0)) return 0;
  for (uint64_t i = 0; i < view->capacity; i++)
    if (!survivor_puts(of, who, FIRST_SURVIVORS + 20 + i, 0)) return 0;
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    group_place place;
    note_group(view, group, &place);
    is_gated |= place.exists && is_gating(&place) && !is_left_by_the_dead(view, &place);
    is_dropping |= place.exists && place.policy == SHMQ_POLICY_DROP;
  }
  actor_init(who, &of->view, 0, 0);
  status = put_short(who, FIRST_SURVIVORS + 30);
  *id_at(of, sequence_of(shmq_tail(view)) - (status == SHMQ_OK)) = FIRST_SURVIVORS + 30;
  /* What is dropped when it is old may be too young: the clock is a coarse one. */
  CHECK(status == (is_gated ? SHMQ_TIMEOUT : SHMQ_OK) || (is_dropping && status == SHMQ_TIMEOUT),
        "a put too many ended with status %d", status);
  return survivor_drains(of, who, sequence_of(shmq_tail(view)), MOST_TAKEN, 1);
}

/* With the last of the writers the stream is at its end, for every group. */
static int end_stream(scene *of, actor *writer, int is_immediate) {
  const shmq_view *view = &of->view;
  actor who;
  const int was_shut = shmq_is_shut(view);
  if (!was_shut) finish_writing(writer);
  if (of->is_writing) {
    CHECK(was_shut || !shmq_is_shut(view), "it ends before the last of the writers has finished");
    shmq_finish_writing(&of->view, of->writer);
  }
  CHECK(shmq_is_shut(view), "all writers have finished, and the stream goes on");
  actor_init(&who, &of->view, FIRST_SURVIVORS, of->limit_ns);
  if (is_immediate) CHECK(shut_groups(&who) == SHMQ_OK, "it can't be shut once more");
  shmq_status status = put_short(&who, FIRST_SURVIVORS);
  CHECK(status == SHMQ_SHUTDOWN, "a put after the end has status %d", status);
  for (uint32_t group = 0; group < MOST_GROUPS; group++) {
    group_place place;
    note_group(view, group, &place);
    if (!place.exists || is_left_by_the_dead(view, &place)) continue;
    actor_init(&who, &of->view, 0, of->limit_ns);
    read_from(&who, group);
    status = get_items(&who, 1);
    stop_reading(&who);
    CHECK(status == SHMQ_SHUTDOWN, "a get from group %u after the end has status %d", group, status);
  }
  return 1;
}

/* Removes all groups, those first that nobody comes after. */
static int remove_groups(scene *of, actor *who) {
  const shmq_view *view = &of->view;
  actor_init(who, &of->view, 0, of->limit_ns);
  CHECK(raise_floor(who) == SHMQ_OK, "the floor can't be raised");
  shmq_groups_bury(view);
  for (uint32_t round = 0; round < MOST_GROUPS; round++)
    for (uint32_t group = 0; group < MOST_GROUPS; group++) {
      group_place place;
      note_group(view, group, &place);
      if (!place.exists || shmq_group_followers(view, group) != 0) continue;
      shmq_status status = leave_group(who, group, place.opening);
      CHECK(status == SHMQ_OK, "group %u can't be removed: status %d", group, status);
    }
  CHECK(view->stream->open == 0, "groups %#lx stay for ever", view->stream->open);
  return 1;
}

/* Nobody pins, holds or writes any more, but for the dead, whose rows anybody takes. */
static int check_rows(const shmq_view *view) {
  for (uint32_t i = 0; i < SHMQ_MAX_PINNERS; i++)
    CHECK(view->stream->pinners[i] == 0, "pinner %u is still %#lx", i, view->stream->pinners[i]);
  for (uint32_t i = 0; i < shmq_block_count(view); i++)
    CHECK(!shmq_block_is_pinned(view, i), "block %u is still pinned", i);
  for (uint32_t i = 0; i < SHMQ_MAX_HOLDS; i++) {
    uint64_t tag = view->stream->holds[i].tag;
    CHECK(tag == 0 || shmq_tag_is_dead(view, tag), "row %u of the holds is lost", i);
  }
  CHECK(!is_any_writer(view), "a writer's row is lost");
  return 1;
}

/* The survivor has the first row of the holds and the first pinner: so those of the dead are others, which
 * nobody takes over by chance. */
static void take_spare_rows(scene *of) {
  of->spare_pinner = shmq_pinner_take(&of->view);
  of->spare_hold = shmq_hold_take(&of->view, FIRST_GROUP);
}

static void leave_spare_rows(scene *of) {
  if (of->spare_hold == NULL) return;
  shmq_pinner_leave(&of->view, of->spare_pinner);
  store_release(&of->spare_hold->tag, 0); /* release: as in shmq_reader_end */
  of->spare_hold = NULL;
}

/* Was the end to come at once for some group? */
static int is_any_group_shut(const shmq_view *view) {
  for (uint32_t group = 0; group < MOST_GROUPS; group++)
    if (is_shut(shmq_group_head(view, group))) return 1;
  return 0;
}

static int survivor_lets_go(scene *of) {
  const shmq_view *view = &of->view;
  if (of->kept_block == SHMQ_NO_BLOCK) return 1;
  CHECK(item_read(shmq_block_bytes(view, of->kept_block, BLOCK_BYTES), BLOCK_BYTES) == of->kept_id,
        "what the survivor views was written over");
  shmq_block_let_go(view, of->kept_block, of->kept_pinner);
  shmq_pinner_leave(view, of->kept_pinner);
  return 1;
}

/* Somebody shut it, or it was written to the end; else there is no end. */
static int check_end(const bench *on, const scene *of) {
  if (!shmq_is_shut(&of->view) || !of->is_writing) return 1;
  CHECK(on->what->act == shut || on->what->act == shut_groups, "it ends, and a writer lives");
  return 1;
}

static int account_for_stream(bench *on, scene *of, const shot *what, pid_t sleeping,
                              pid_t waiting) {
  shmq_view *view = &of->view, newcomer;
  actor who, writer;
  if (sleeping == 0 && waiting == 0 &&
      (!check_stream_words(of, on->fixed_bytes) || !check_stream_outcome(on, of)))
    return 0;
  if (sleeping != 0 && !(of->sleeps == FOR_ITEM ? consumer_goes_on(on, of, &who, sleeping)
                                                : producer_goes_on(on, of, &who, sleeping)))
    return 0;
  if (waiting != 0 && !producer_goes_on(on, of, &who, waiting)) return 0;
  if (!check_old_consumers(on, of, &who) || !check_end(on, of)) return 0;
  /* Else the first that is given now is one of the dead's. */
  if (what->k / 2 % 2) leave_spare_rows(of);
  /* From here on there is a writer that lives, so the end doesn't come by itself. */
  actor_init(&writer, view, 0, of->limit_ns);
  shmq_status status = begin_to_write(&writer);
  int was_shut = shmq_is_shut(view), is_immediate = was_shut && is_any_group_shut(view);
  CHECK(status == (was_shut ? SHMQ_SHUTDOWN : SHMQ_OK), "a writer can't register: status %d", status);
  if (what->begins == SWEEPS_FIRST && !newcomer_sweeps(of, &newcomer)) return 0;
  if (what->begins == PUTS_FIRST && !was_shut && may_put(view, 1) &&
      !survivor_puts(of, &who, FIRST_SURVIVORS + 1, what->k % 2 ? BLOCK_BYTES : 0))
    return 0;
  if (!is_immediate && (is_without_groups(view) || what->k % 4 == 1) && !newcomer_opens(of, &who))
    return 0;
  if (!is_immediate && !survivor_drains(of, &who, sequence_of(shmq_tail(view)),
                                        what->k % 3 ? 1 : MOST_TAKEN, (int)what->k % 2))
    return 0;
  if (!was_shut && !use_stream_as_ever(of, &who)) return 0;
  leave_spare_rows(of);
  if (!survivor_lets_go(of) || !end_stream(of, &writer, is_immediate) || !remove_groups(of, &who) ||
      !newcomer_sweeps(of, &newcomer))
    return 0;
  shmq_sweep_after_the_dead(view);
  return check_words_are_free(of) && check_rows(view) && check_pool(of, &who, on->fixed_bytes) &&
         (is_immediate || check_snapshot(of));
}

#endif
