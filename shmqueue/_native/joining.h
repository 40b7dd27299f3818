/* Joining and leaving groups, and what else is done to a stream as a whole: calls that may wait for an
 * owner word. Each does its work in one stretch, without a call into Python in between. */
#ifndef SHMQ_JOINING_H
#define SHMQ_JOINING_H

#include "wait.h"

/* Where a new group begins. */
enum { SHMQ_START_NEXT = 0, SHMQ_START_OLDEST = 1, SHMQ_START_AT = 2 };

typedef struct {
  shmq_group_wish group;
  uint32_t start;     /* one of the above; group.start says where, if it is the last */
  uint32_t may_open;  /* if there is none of that name */
  uint32_t index;     /* the group, when there is one */
  uint32_t is_new;
  uint32_t state;     /* of one that is new: as it was opened */
  uint64_t oldest;    /* what there is to begin with, when that was asked for in vain */
  uint64_t newest;
} shmq_join_wish;

/* Waits for the end's owner word. */
static inline shmq_status shmq_end_own(shmq_view *view, shmq_end *end, shmq_waiter *waiter) {
  while (!shmq_end_try_acquire(view, end)) {
    shmq_status status = shmq_wait(view, waiter, SHMQ_BUSY, end);
    if (status != SHMQ_OK) return status;
  }
  return SHMQ_OK;
}

/* The open group of that name, or SHMQ_MAX_GROUPS; under the floor's owner word. */
static inline uint32_t shmq_group_find(const shmq_view *view, const char *name, uint64_t bytes) {
  for (uint64_t left = shmq_groups_open(view); left != 0; left &= left - 1) {
    const uint32_t group = (uint32_t)__builtin_ctzll(left);
    const shmq_group *row = &view->stream->groups[group];
    /* relaxed: constant while it is open, which it is while we hold the word. */
    if (load_relaxed(&shmq_group_head(view, group)->state) & SHMQ_END_OPEN &&
        load_relaxed(&row->subscriber) == 0 && load_relaxed(&row->name_bytes) == bytes &&
        bytes <= sizeof(row->name) && memcmp(row->name, name, bytes) == 0)
      return group;
  }
  return SHMQ_MAX_GROUPS;
}

/* Completes what a remover was killed in; under the floor's owner word. The groups that are gone by that:
 * those who wait for them are to be rung for, once the word is released. */
static inline uint64_t shmq_groups_complete(const shmq_view *view) {
  uint64_t gone = 0;
  shmq_floor_complete(view);
  for (uint64_t left = shmq_groups_open(view); left != 0; left &= left - 1) {
    const uint32_t group = (uint32_t)__builtin_ctzll(left);
    /* relaxed: changed under the word that we hold. */
    if (!(load_relaxed(&shmq_group_head(view, group)->state) & SHMQ_END_OPEN) &&
        shmq_floor_leave(view, group) == SHMQ_OK)
      gone |= shmq_group_bit(group);
  }
  return gone;
}

/* Releases the floor's owner word, and rings for those who wait for groups that went under it. */
static inline void shmq_floor_release(const shmq_view *view, uint64_t gone) {
  shmq_end_release(shmq_head(view));
  for (; gone != 0; gone &= gone - 1) shmq_group_ring(view, (uint32_t)__builtin_ctzll(gone));
}

/* Joins the group of a name, or opens it: OK; EMPTY when there is none, and it is not to be opened; FULL
 * when there are as many as can be; NEED when it should begin where there is nothing; GONE when one that
 * it should come after is not there any more; or what a wait ends with. */
static inline shmq_status shmq_join_group(shmq_view *view, shmq_join_wish *wish,
                                          shmq_waiter *waiter) {
  shmq_end *floor = shmq_head(view);
  shmq_groups_bury(view); /* so that their rows can be had */
  for (;;) {
    shmq_group_wish *group = &wish->group;
    shmq_end *busy = floor;
    shmq_status status = shmq_end_own(view, floor, waiter);
    if (status != SHMQ_OK) return status;
    const uint64_t gone = shmq_groups_complete(view);
    wish->is_new = 0;
    wish->index = group->is_subscriber ? SHMQ_MAX_GROUPS
                                       : shmq_group_find(view, group->name, group->name_bytes);
    if (wish->index == SHMQ_MAX_GROUPS && !wish->may_open) {
      shmq_floor_release(view, gone);
      return SHMQ_EMPTY;
    }
    if (wish->index == SHMQ_MAX_GROUPS) {
      /* relaxed: we are its owner, and nothing below is given away while we are. acquire: as any look
       * at the tail. */
      wish->oldest = load_relaxed(&floor->sequence);
      wish->newest = load_acquire(&shmq_tail(view)->sequence);
      if (wish->start == SHMQ_START_NEXT) group->start = wish->newest;
      if (wish->start == SHMQ_START_OLDEST) group->start = wish->oldest;
      if (group->start - wish->oldest > wish->newest - wish->oldest) {
        shmq_floor_release(view, gone);
        return SHMQ_NEED;
      }
      status = shmq_group_open(view, group, &wish->index, &busy);
      wish->is_new = status == SHMQ_OK;
      if (wish->is_new) /* relaxed: under the word that its opening went under */
        wish->state = load_relaxed(&shmq_group_head(view, wish->index)->state);
    }
    shmq_floor_release(view, gone);
    if (wish->is_new) shmq_group_ring(view, wish->index);
    if (status != SHMQ_BUSY) return status;
    /* A head that it needs is being moved: for less than a microsecond. */
    status = shmq_wait(view, waiter, SHMQ_BUSY, busy);
    if (status != SHMQ_OK) return status;
  }
}

/* Removes a group as it was opened (`state`): OK; GONE when it was removed already; FULL when others come
 * after it; or what a wait ends with. */
static inline shmq_status shmq_leave_group(shmq_view *view, uint32_t group, uint32_t state,
                                           shmq_waiter *waiter) {
  shmq_end *floor = shmq_head(view), *head = shmq_group_head(view, group);
  for (;;) {
    shmq_status status = shmq_end_own(view, floor, waiter);
    if (status != SHMQ_OK) return status;
    /* relaxed: changed under the word that we hold. */
    uint32_t now = load_relaxed(&head->state);
    if (!(shmq_groups_open(view) & shmq_group_bit(group)) ||
        (now & ~SHMQ_END_BITS) != (state & ~SHMQ_END_BITS))
      status = SHMQ_GONE;
    else if (shmq_group_followers(view, group) != 0)
      status = SHMQ_FULL;
    else
      status = shmq_floor_leave(view, group);
    shmq_end_release(floor);
    if (status == SHMQ_OK) shmq_group_ring(view, group);
    if (status != SHMQ_BUSY) return status;
    status = shmq_wait(view, waiter, SHMQ_BUSY, head);
    if (status != SHMQ_OK) return status;
  }
}

/* Has the consumers of a group note what they hold, as if others came after it, so that who asks can tell
 * what it has finished. OK, or what a take answers. */
static inline shmq_status shmq_track_group(shmq_view *view, shmq_reader *reader,
                                           shmq_waiter *waiter) {
  shmq_status status = shmq_end_own(view, reader->head, waiter);
  if (status != SHMQ_OK) return status;
  /* relaxed: we are its owner. */
  uint32_t state = load_relaxed(&reader->head->state);
  if ((state & ~SHMQ_END_BITS) != (reader->state & ~SHMQ_END_BITS) || !(state & SHMQ_END_OPEN))
    status = SHMQ_GONE;
  else
    shmq_end_mark(reader->head, SHMQ_END_FOLLOWED);
  shmq_end_release(reader->head);
  return status;
}

/* How far a group has finished, not counting what the dead held. */
static inline uint64_t shmq_finished_by_the_living(const shmq_view *view, uint32_t group) {
  uint64_t finished = shmq_group_finished(view, group);
  /* acquire: as any look at an end. */
  if (finished != load_acquire(&shmq_group_head(view, group)->sequence) &&
      shmq_holds_bury(view, group))
    finished = shmq_group_finished(view, group);
  return finished;
}

/* Skips what a group could take, but for the newest `keep`: OK, with *skipped; or what a take answers. */
static inline shmq_status shmq_skip(shmq_view *view, shmq_reader *reader, uint64_t keep,
                                    uint64_t *skipped, shmq_waiter *waiter) {
  shmq_end *slowest;
  *skipped = 0;
  for (;;) {
    shmq_status status = shmq_end_own(view, reader->head, waiter);
    if (status != SHMQ_OK) return status;
    /* relaxed, both: we are its owner. */
    if (load_relaxed(&reader->head->state) == reader->state && reader->epoch == view->epoch) break;
    if (reader->epoch != view->epoch) shmq_reader_forget(reader, view);
    shmq_end_release(reader->head);
    status = shmq_reader_renew(view, reader);
    if (status != SHMQ_OK) return status;
  }
  const uint64_t begun = load_relaxed(&reader->head->sequence); /* relaxed: as above */
  const uint64_t from = reader->may_lapse ? shmq_begin_after_lapse(view, begun) : begun;
  uint64_t gate = shmq_gate_of_group(view, reader->group, &slowest);
  if ((int64_t)(gate - keep - from) > 0) {
    *skipped = gate - keep - from;
    if (reader->may_lapse)
      shmq_set_place(reader->head, begun, gate - keep,
                     shmq_group_lapped(reader->head, begun) + (from - begun));
    store_release(&reader->head->sequence, gate - keep); /* release: as any commit of a head */
  }
  shmq_end_release(reader->head);
  return SHMQ_OK;
}

/* Registers a writer: OK with *writer, SHUTDOWN, FULL when there are too many, or what a wait ends
 * with. */
static inline shmq_status shmq_begin_writing(shmq_view *view, uint32_t *writer,
                                             shmq_waiter *waiter) {
  for (;;) {
    uint64_t seen;
    if (!shmq_writer_find(view, writer, &seen)) return SHMQ_FULL;
    shmq_status status = shmq_end_own(view, shmq_tail(view), waiter);
    if (status != SHMQ_OK) return status;
    status = shmq_writer_begin(view, *writer, seen);
    shmq_end_release(shmq_tail(view));
    if (status != SHMQ_BUSY) return status;
  }
}

/* Finishes a writer, and the stream with the last. Without waiting: where another has the tail's word,
 * the consumers notice by themselves. */
static inline void shmq_finish_writing(shmq_view *view, uint32_t writer) {
  shmq_writer_end(view, writer);
  for (int attempt = 0; attempt < 1000; attempt++) {
    uint64_t begun;
    if (!shmq_all_written(view, &begun) || shmq_end_written(view)) return;
    cpu_pause();
  }
}

/* What a group is like now, for people: 0 if it is not open. A look without a lock; what is constant is
 * that of one group. */
typedef struct {
  shmq_group group;
  uint64_t sequence;
  uint64_t gate;
  uint64_t lapped;
  uint64_t finished;
  uint64_t oldest_put_ns;
  uint32_t state;
  uint32_t gates_floor; /* of all groups it holds the floor back most */
} shmq_group_seen;

static inline int shmq_group_look(const shmq_view *view, uint32_t group, shmq_group_seen *seen) {
  const shmq_end *head = shmq_group_head(view, group);
  for (int attempt = 0; attempt < 100; attempt++) {
    shmq_end *slowest;
    /* acquire, and again at the end: the state counts openings, so what is between is one group's. */
    seen->state = load_acquire(&head->state);
    if (!(shmq_groups_open(view) & shmq_group_bit(group)) || !(seen->state & SHMQ_END_OPEN)) return 0;
    copy_out(&seen->group, &view->stream->groups[group], sizeof(seen->group));
    seen->sequence = load_acquire(&head->sequence); /* acquire: as any look at an end */
    seen->lapped = shmq_group_lapped(head, seen->sequence);
    if (seen->group.policy != SHMQ_POLICY_BLOCK) {
      /* What it will find lost when it takes next. */
      uint64_t begins = shmq_begin_after_lapse(view, seen->sequence);
      seen->lapped += begins - seen->sequence;
      seen->sequence = begins;
    }
    seen->finished = shmq_group_finished(view, group);
    seen->gate = shmq_gate_of_group(view, group, &slowest);
    uint64_t needed = shmq_needed_gone(view, view->capacity);
    seen->gates_floor =
        (int64_t)(shmq_gate_of_floor(view, needed, &slowest) - needed) < 0 && slowest == head;
    const shmq_slot *slot = (const shmq_slot *)shmq_slot_at(view, seen->sequence);
    uint64_t put_ns = load_relaxed(&slot->put_ns); /* relaxed: counts if the stamp holds after it */
    fence_acquire(); /* pairs with the fence in shmq_try_put */
    /* relaxed: see the fence. */
    seen->oldest_put_ns = load_relaxed(&slot->stamp) == 2 * seen->sequence + 2 ? put_ns : 0;
    if (load_relaxed(&head->state) == seen->state) return 1; /* relaxed: see the fence */
  }
  return 0;
}

/* Clears up after the dead where nobody has needed it yet: subscriptions, groups whose remover died,
 * rows of what consumers held, the end of a stream that no writer is left of. */
static inline void shmq_stream_bury(const shmq_view *view) {
  for (uint32_t group = 0; group < SHMQ_MAX_GROUPS; group++) {
    if (!(shmq_groups_open(view) & shmq_group_bit(group))) continue;
    if (!shmq_group_bury(view, shmq_group_head(view, group))) shmq_holds_bury(view, group);
  }
  shmq_end_written(view);
}

#endif
