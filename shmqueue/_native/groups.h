/* Groups: many heads on one ring, which is called a stream then.
 *
 * Each group has a head of its own, so each sees every item; its consumers share that head, so each
 * item goes to one of them. Head 0 belongs to no consumer here: it is the *floor*, the end that the
 * tail may not pass by more than the capacity. It follows the slowest head, and is moved by whoever
 * finds no room (floor.h). So producers know one head, as in a queue, and pay for groups once a lap.
 *
 *   end            gated by                                            moved by
 *   tail           the floor, `capacity` behind                        producers
 *   head, after    each group that it comes after, as far as that has  its consumers
 *     others         finished its items
 *   head, else     the tail                                            its consumers
 *   floor          the heads of groups that block; of the others as    whoever needs room, or
 *                    far as their policy goes                          memory of large items
 *
 * A sleeper waits for the one end that gates it, the slowest, and sets its flag there: then the same
 * holds as in ends.h. If another is the slowest by the second look, it doesn't sleep, and waits for
 * that one.
 *
 * Finished. A take from a group that nobody comes after finishes its items: it has copied them out. In
 * one that is followed, each consumer has a row of `holds`, which names the first item that it still
 * works on; a group has finished what is below its head and below all these. A row is stored before
 * the head moves, so who reads the head first and then the rows misses none. What the dead hold
 * counts as finished: they work on nothing.
 *
 * Opening and removing groups goes under the floor's owner word, and that of the head concerned.
 *
 *   head's state    bit in `open`   a group that is                      next
 *   not open        0               not there                            opening: state, then bit
 *   open            0               about to be there, or its maker      another opening: the count in
 *                                     died                                 the state grows
 *   open            1               there                                removing: state, then bit
 *   not open        1               about to go, or its remover died     whoever finds it: the bit
 *
 * The state has a count of openings above its bits. A consumer compares the whole, under the head's
 * owner word, so it never takes from a group that is another by now, nor from one that doesn't gate.
 */
#ifndef SHMQ_GROUPS_H
#define SHMQ_GROUPS_H

#include "ends.h"

static inline shmq_end *shmq_group_head(const shmq_view *view, uint32_t group) {
  return &view->ends[SHMQ_END_HEAD0 + 1 + group];
}

/* Whose head an end is; SHMQ_MAX_GROUPS if it is no group's. */
static inline uint32_t shmq_group_of_head(const shmq_view *view, const shmq_end *end) {
  const shmq_end *heads = shmq_group_head(view, 0);
  if (view->stream == NULL || end < heads || end >= heads + SHMQ_MAX_GROUPS) return SHMQ_MAX_GROUPS;
  return (uint32_t)(end - heads);
}

static inline uint64_t shmq_group_bit(uint32_t group) { return UINT64_C(1) << group; }

/* The bit of the futex's bitset that the consumers of a group sleep with. */
static inline uint32_t shmq_group_class(uint32_t group) {
  return 4u << group % SHMQ_WAKE_GROUPS;
}

static inline uint64_t shmq_groups_open(const shmq_view *view) {
  /* acquire: pairs with the release stores in shmq_group_open and shmq_group_remove: a group before
   * its bit. */
  return load_acquire(&view->stream->open);
}

/* ---- what is finished, and what gates ------------------------------------------------------------ */

/* How many rows of holds were ever in use; bounded, whatever stands there. */
static inline uint32_t shmq_holds_granted(const shmq_view *view) {
  /* acquire: pairs with the exchange in shmq_hold_take: a row that counts is looked at. */
  uint32_t granted = load_acquire(&view->stream->holds_granted);
  return granted < SHMQ_MAX_HOLDS ? granted : SHMQ_MAX_HOLDS;
}

/* What a row of holds names a group by: its number, and how often that was opened. */
static inline uint64_t shmq_group_identity(const shmq_view *view, uint32_t group) {
  /* relaxed: constant while it is open. */
  return (load_relaxed(&shmq_group_head(view, group)->state) & ~SHMQ_END_BITS) | group;
}

/* How far a group has finished. It only grows, but for what a scribbler does. */
static inline uint64_t shmq_group_finished(const shmq_view *view, uint32_t group) {
  /* acquire, before the rows: whoever moved it there had stored its row (shmq_try_take_from). */
  uint64_t finished = load_acquire(&shmq_group_head(view, group)->sequence);
  const uint64_t identity = shmq_group_identity(view, group);
  const uint32_t granted = shmq_holds_granted(view);
  for (uint32_t i = 0; i < granted; i++) {
    const shmq_hold *hold = &view->stream->holds[i];
    /* relaxed, all: what counts of a row was stored before the head, if it was below. */
    if (load_relaxed(&hold->tag) == 0 || load_relaxed(&hold->group) != identity) continue;
    uint64_t sequence = load_relaxed(&hold->sequence);
    if (sequence < finished) finished = sequence;
  }
  /* acquire: pairs with the release stores by which rows are emptied, of those that were passed over as
   * well: what was done to the items is seen. */
  fence_acquire();
  return finished;
}

/* How far the head of a group may go, and the end that it has to wait for beyond. */
static inline uint64_t shmq_gate_of_group(const shmq_view *view, uint32_t group, shmq_end **slowest) {
  /* relaxed: constant while the group is open. */
  uint64_t after = load_relaxed(&view->stream->groups[group].after);
  uint64_t gate = 0;
  *slowest = NULL;
  for (; after != 0; after &= after - 1) {
    const uint32_t other = (uint32_t)__builtin_ctzll(after);
    uint64_t finished = shmq_group_finished(view, other);
    if (*slowest == NULL || (int64_t)(finished - gate) < 0) {
      gate = finished;
      *slowest = shmq_group_head(view, other);
    }
  }
  if (*slowest != NULL) return gate;
  *slowest = shmq_tail(view);
  return load_acquire(&shmq_tail(view)->sequence); /* acquire: pairs with the commit of a put */
}

/* How many items, from `sequence` on and below `needed`, are too old to be kept any longer. A look at
 * slots that may be written over meanwhile, then they count as old, which they are. */
static inline uint64_t shmq_first_kept(const shmq_view *view, uint32_t group, uint64_t sequence,
                                       uint64_t needed) {
  /* relaxed: constant while the group is open. */
  const uint64_t keep_ns = load_relaxed(&view->stream->groups[group].keep_ns);
  const uint64_t now = coarse_now_ns();
  /* No more than there can be, whatever stands in the ends. */
  if (needed - sequence > view->capacity) sequence = needed - view->capacity;
  while ((int64_t)(needed - sequence) > 0) {
    const shmq_slot *slot = (const shmq_slot *)shmq_slot_at(view, sequence);
    uint64_t put_ns = load_relaxed(&slot->put_ns); /* relaxed: of a published slot, or see above */
    if (load_relaxed(&slot->stamp) == 2 * sequence + 2 && (int64_t)(now - put_ns) < (int64_t)keep_ns)
      break;
    sequence++;
  }
  return sequence;
}

/* How far the floor may go: as far as all groups allow; and, of what lagging groups would rather keep,
 * as far as `needed`. *slowest: the end to wait for, if that is less than needed. */
static inline uint64_t shmq_gate_of_floor(const shmq_view *view, uint64_t needed,
                                          shmq_end **slowest) {
  const shmq_stream *stream = view->stream;
  shmq_end *floor = shmq_head(view);
  uint64_t at_least = load_acquire(&floor->sequence); /* acquire: pairs with its commit */
  uint64_t open = shmq_groups_open(view);
  uint64_t gate = 0;
  *slowest = NULL;
  for (uint64_t left = open; left != 0; left &= left - 1) {
    const uint32_t group = (uint32_t)__builtin_ctzll(left);
    /* acquire: pairs with the commit of a take: it is done with the slots below (I3). */
    uint64_t sequence = load_acquire(&shmq_group_head(view, group)->sequence);
    if ((int64_t)(needed - sequence) > 0) {
      /* relaxed, both: stored before the group's bit, which was acquired. */
      if (load_relaxed(&stream->lagging) & shmq_group_bit(group)) {
        sequence = needed;
      } else if (load_relaxed(&stream->dropping) & shmq_group_bit(group)) {
        if ((int64_t)(at_least - sequence) > 0) sequence = at_least;
        sequence = shmq_first_kept(view, group, sequence, needed);
      }
    }
    if (*slowest == NULL || (int64_t)(sequence - gate) < 0) {
      gate = sequence;
      *slowest = shmq_group_head(view, group);
    }
  }
  if (*slowest == NULL) {
    *slowest = floor;
    gate = view->ungrouped == SHMQ_UNGROUPED_DROP ? needed : at_least;
  }
  return (int64_t)(gate - at_least) < 0 ? at_least : gate;
}

/* The oldest sequence that `count` more items need gone. */
static inline uint64_t shmq_needed_gone(const shmq_view *view, uint64_t count) {
  /* acquire: as any look at the tail. */
  return load_acquire(&shmq_tail(view)->sequence) + count - view->capacity;
}

/* ---- what consumers hold ------------------------------------------------------------------------ */

/* A row for a consumer of a group; NULL when all are taken. States of a row: free (tag 0, nothing
 * held), taken (by the seat of the tag). From the dead it is taken by CAS from the exact word, and is
 * then made to hold nothing: killed in between, it is a dead one's again. */
static inline shmq_hold *shmq_hold_take(const shmq_view *view, uint32_t group) {
  for (uint32_t i = 0; i < SHMQ_MAX_HOLDS; i++) {
    shmq_hold *hold = &view->stream->holds[i];
    uint64_t seen = load_relaxed(&hold->tag); /* relaxed: the exchange decides */
    if (seen != 0 && !shmq_tag_is_dead(view, seen)) continue;
    /* acq_rel: whoever had it is done with it. */
    if (!cas_acq_rel(&hold->tag, &seen, view->tag)) continue;
    store_release(&hold->sequence, UINT64_MAX); /* release: as in shmq_hold_end */
    /* release: the emptied row, before it is another group's; pairs with the fence in
     * shmq_group_finished. */
    store_release(&hold->group, shmq_group_identity(view, group));
    uint32_t granted = load_relaxed(&view->stream->holds_granted); /* relaxed: only ever a bound */
    while (granted < i + 1 && /* acq_rel: counted before anything is held */
           !cas_acq_rel(&view->stream->holds_granted, &granted, i + 1)) {
    }
    return hold;
  }
  return NULL;
}

/* Finishes what a consumer holds, and rings for those who wait for that. */
static inline void shmq_hold_end(shmq_end *head, shmq_hold *hold) {
  if (load_relaxed(&hold->sequence) == UINT64_MAX) return; /* relaxed: our own */
  /* release: what was done to the items; pairs with the acquire in shmq_group_finished. */
  store_release(&hold->sequence, UINT64_MAX);
  /* acq_rel: pairs with shmq_end_flag of a sleeper, as the exchange in shmq_end_release does: either
   * the flag is seen here, or the row by the sleeper's second look. The tag, if there is one, stays. */
  uint64_t was = fetch_and_acq_rel(&head->owner, ~(SHMQ_AWAITED | SHMQ_BATCH_AWAITED));
  was &= SHMQ_AWAITED | SHMQ_BATCH_AWAITED;
  if (was != 0) shmq_end_ring(head, was);
}

/* Frees the rows of the dead that hold a group back; nonzero if there were any. */
static inline int shmq_holds_bury(const shmq_view *view, uint32_t group) {
  int buried = 0;
  const uint32_t granted = shmq_holds_granted(view);
  for (uint32_t i = 0; i < granted; i++) {
    shmq_hold *hold = &view->stream->holds[i];
    uint64_t seen = load_relaxed(&hold->tag); /* relaxed: the exchange decides */
    if (seen == 0 || load_relaxed(&hold->group) != shmq_group_identity(view, group) ||
        !shmq_tag_is_dead(view, seen))
      continue;
    /* acq_rel: as in shmq_hold_take; ours for a moment, so that nobody takes it while it holds. */
    if (!cas_acq_rel(&hold->tag, &seen, view->tag)) continue;
    store_release(&hold->sequence, UINT64_MAX); /* release: as in shmq_hold_end */
    store_release(&hold->tag, 0); /* release: what it held, before it is anybody's */
    buried = 1;
  }
  if (buried) shmq_end_ring_all(shmq_group_head(view, group));
  return buried;
}

/* ---- opening and removing ------------------------------------------------------------------------ */

typedef struct {
  const char *name;
  uint64_t name_bytes;
  uint64_t after;
  uint32_t after_states[SHMQ_MAX_GROUPS]; /* of those, as they were seen */
  uint64_t keep_ns;
  uint64_t start; /* checked by the caller, under the floor's owner word */
  uint32_t policy;
  uint32_t is_subscriber;
} shmq_group_wish;

/* Who may sleep on which bell, from what there is. Under the floor's owner word, which the caller
 * holds: bits are set before a group is open, and taken away after it was removed. */
static inline void shmq_bells_sort(const shmq_view *view, uint64_t open) {
  /* More than the bitset tells apart. */
  int is_many = __builtin_popcountll(open) > (int)SHMQ_WAKE_GROUPS / 2;
  uint32_t seen_classes = 0;
  for (uint64_t left = open; left != 0; left &= left - 1) {
    const uint32_t its = shmq_group_class((uint32_t)__builtin_ctzll(left));
    if (seen_classes & its) is_many = 1;
    seen_classes |= its;
  }
  uint32_t at_tail = 0;
  /* relaxed, all: before the group's bit, or hints (shmq_end_wake). */
  for (uint64_t left = open; left != 0; left &= left - 1) {
    const uint32_t group = (uint32_t)__builtin_ctzll(left);
    uint32_t classes = SHMQ_WAKE_ONE_ITEM;
    at_tail |= shmq_group_class(group);
    for (uint64_t others = open; others != 0; others &= others - 1) {
      const uint32_t other = (uint32_t)__builtin_ctzll(others);
      if (load_relaxed(&view->stream->groups[other].after) & shmq_group_bit(group))
        classes |= shmq_group_class(other);
    }
    store_relaxed(&shmq_group_head(view, group)->bell_classes, is_many ? SHMQ_WAKE_ANY : classes);
  }
  store_relaxed(&shmq_tail(view)->bell_classes, is_many ? SHMQ_WAKE_ANY : at_tail);
}

/* Takes the word of a group's head, from a dead owner as well; 0 while it is in use. */
static inline int shmq_group_try_own(const shmq_view *view, uint32_t group) {
  shmq_end *head = shmq_group_head(view, group);
  return shmq_end_try_acquire(view, head) ||
         (shmq_end_evict_dead(view, head) && shmq_end_try_acquire(view, head));
}

/* May others come after this group, which was seen in that state? It must stay until they are gone. */
static inline int shmq_group_may_be_followed(const shmq_view *view, uint32_t group,
                                             uint32_t seen_state) {
  /* relaxed, all: changed under the floor's word, which the caller holds. */
  uint32_t state = load_relaxed(&shmq_group_head(view, group)->state);
  return load_relaxed(&view->stream->open) & shmq_group_bit(group) && state & SHMQ_END_OPEN &&
         (state & ~SHMQ_END_BITS) == (seen_state & ~SHMQ_END_BITS) &&
         load_relaxed(&view->stream->groups[group].subscriber) == 0;
}

/* Opens a group as wished, under the floor's owner word; afterwards producers are to be rung for, who
 * may have waited for a first group on the floor's bell. OK, BUSY (the word of *busy is in use: nothing
 * was done), GONE (one that it should come after is not as it was seen), or FULL: there are as many as
 * can be. */
static inline shmq_status shmq_group_open(const shmq_view *view, const shmq_group_wish *wish,
                                          uint32_t *index, shmq_end **busy) {
  shmq_stream *stream = view->stream;
  uint64_t open = load_relaxed(&stream->open); /* relaxed: changed under the word that we hold */
  if (~open == 0) return SHMQ_FULL;
  const uint32_t group = (uint32_t)__builtin_ctzll(~open);
  const uint64_t bit = shmq_group_bit(group);
  shmq_group *row = &stream->groups[group];
  shmq_end *head = shmq_group_head(view, group);
  for (uint64_t left = wish->after; left != 0; left &= left - 1) {
    const uint32_t other = (uint32_t)__builtin_ctzll(left);
    if (!shmq_group_may_be_followed(view, other, wish->after_states[other])) return SHMQ_GONE;
  }
  /* First those it comes after: from here on they note what they hold. */
  for (uint64_t left = wish->after; left != 0; left &= left - 1) {
    const uint32_t other = (uint32_t)__builtin_ctzll(left);
    *busy = shmq_group_head(view, other);
    if (!shmq_group_try_own(view, other)) return SHMQ_BUSY;
    shmq_end_mark(shmq_group_head(view, other), SHMQ_END_FOLLOWED);
    shmq_end_release(shmq_group_head(view, other));
  }
  *busy = head;
  if (!shmq_group_try_own(view, group)) return SHMQ_BUSY;
  /* relaxed, all of these: the state, and then the bit, publish them. */
  store_relaxed(&row->after, wish->after);
  store_relaxed(&row->subscriber, wish->is_subscriber ? view->tag : 0);
  store_relaxed(&row->keep_ns, wish->keep_ns);
  store_relaxed(&row->joined_sequence, wish->start);
  store_relaxed(&row->opened_ns, now_ns());
  store_relaxed(&row->blocked_full_ns, 0);
  store_relaxed(&row->policy, wish->policy);
  store_relaxed(&row->name_bytes, (uint32_t)wish->name_bytes);
  memset(row->name, 0, sizeof(row->name));
  memcpy(row->name, wish->name, wish->name_bytes);
  store_relaxed(&head->sequence, wish->start);
  store_relaxed(&head->place[0].sequence, wish->start);
  store_relaxed(&head->place[0].position, 0);
  store_relaxed(&head->place[1].sequence, UINT64_MAX);
  /* Nobody writes it for a group that can't be lapped: what the one before had lost is not its loss. */
  store_relaxed(&head->place[1].position, 0);
  uint32_t state = load_relaxed(&head->state) & ~SHMQ_END_BITS;
  /* Of a stream that was shut at once nothing is taken any more, which the floor says. relaxed: changed
   * under its word, which we hold. */
  state |= load_relaxed(&shmq_head(view)->state) & SHMQ_END_SHUT;
  /* release: what it is, before it is; pairs with the comparison under the owner word. */
  store_release(&head->state, (state + SHMQ_END_OPENING) | SHMQ_END_OPEN);
  shmq_end_release(head);
  uint64_t lagging = load_relaxed(&stream->lagging) & ~bit;
  uint64_t dropping = load_relaxed(&stream->dropping) & ~bit;
  store_relaxed(&stream->lagging, wish->policy == SHMQ_POLICY_LAG ? lagging | bit : lagging);
  store_relaxed(&stream->dropping, wish->policy == SHMQ_POLICY_DROP ? dropping | bit : dropping);
  store_relaxed(&stream->followed, load_relaxed(&stream->followed) | wish->after);
  shmq_bells_sort(view, open | bit);
  /* The commit. release: all of the above; pairs with shmq_groups_open. */
  store_release(&stream->open, open | bit);
  *index = group;
  return SHMQ_OK;
}

/* The groups that come after this one. */
static inline uint64_t shmq_group_followers(const shmq_view *view, uint32_t group) {
  uint64_t followers = 0;
  for (uint64_t left = shmq_groups_open(view); left != 0; left &= left - 1) {
    const uint32_t other = (uint32_t)__builtin_ctzll(left);
    /* relaxed: constant while it is open. */
    if (load_relaxed(&view->stream->groups[other].after) & shmq_group_bit(group))
      followers |= shmq_group_bit(other);
  }
  return followers;
}

/* Removes a group that nobody comes after, under the floor's owner word: OK, or BUSY; afterwards those
 * who wait on its bell, and on the tail's, are to be rung for (shmq_group_ring). Killed after the
 * first store: it takes nothing and gates still, until somebody finds it so and comes here again. */
static inline shmq_status shmq_group_remove(const shmq_view *view, uint32_t group) {
  shmq_stream *stream = view->stream;
  shmq_end *head = shmq_group_head(view, group);
  if (!shmq_group_try_own(view, group)) return SHMQ_BUSY;
  /* relaxed: we own the head. release: pairs with the comparison of the next owner. */
  uint32_t state = load_relaxed(&head->state);
  store_release(&head->state, state & ~SHMQ_END_BITS);
  shmq_end_release(head);
  /* relaxed: we own the floor. The commit, release: no take is under way; who doesn't see the bit any
   * more may write over what was kept for the group. */
  uint64_t open = load_relaxed(&stream->open) & ~shmq_group_bit(group);
  store_release(&stream->open, open);
  shmq_bells_sort(view, open);
  return SHMQ_OK;
}

/* After a group was opened or removed: its consumers, and those who waited for it. */
static inline void shmq_group_ring(const shmq_view *view, uint32_t group) {
  shmq_end_ring_all(shmq_group_head(view, group));
  shmq_end_ring_all(shmq_tail(view));
  shmq_end_ring_all(shmq_head(view));
}

/* ---- a consumer's knowledge of its group ---------------------------------------------------------- */

/* Of the group as it was opened: `state` was seen with it. */
static inline void shmq_reader_begin(shmq_reader *reader, shmq_view *view, uint32_t group,
                                     uint32_t state) {
  uint32_t first = 0;
  memset(reader, 0, sizeof(*reader));
  shmq_cursor_forget(&reader->cursor);
  reader->head = shmq_group_head(view, group);
  reader->group = group;
  reader->pinner = SHMQ_NO_PINNER;
  reader->epoch = view->epoch;
  /* As if nobody came after it, and as if it had not been shut: the first take finds out, and takes a row,
   * or nothing. */
  reader->state = state & ~(uint32_t)(SHMQ_END_FOLLOWED | SHMQ_END_SHUT);
  /* relaxed: constant while it is open; if it is not, nothing is taken. */
  reader->may_lapse = load_relaxed(&view->stream->groups[group].policy) != SHMQ_POLICY_BLOCK;
  reader->is_behind = load_relaxed(&view->stream->groups[group].after) != 0;
  /* acq_rel, relaxed: before the first take; a take of another thread that is under way may miss it, and
   * the two add up wrongly, once. */
  if (!cas_acq_rel(&view->takes_from, &first, group + 1) && first != group + 1)
    store_relaxed(&view->takes_from_several, 1);
}

/* By the head's owner, in a forked child: the parent's row and number are the parent's. */
static inline void shmq_reader_forget(shmq_reader *reader, const shmq_view *view) {
  /* relaxed, both: who looks without the word looks at the epoch as well, and acts on its own alone. */
  store_relaxed(&reader->hold, NULL);
  store_relaxed(&reader->pinner, SHMQ_NO_PINNER);
  shmq_cursor_forget(&reader->cursor);
  /* As if nobody came after it, until it has a row of its own: without one it takes nothing. */
  reader->state &= ~(uint32_t)SHMQ_END_FOLLOWED;
  store_release(&reader->epoch, view->epoch); /* release: nothing of the parent's is seen with it */
}

/* After a take that answered RENEW: OK to try again, GONE, SHUTDOWN, or FULL: no
 * more consumers can hold items. */
static inline shmq_status shmq_reader_renew(const shmq_view *view, shmq_reader *reader) {
  /* acquire: pairs with the release stores of the state. */
  uint32_t state = load_acquire(&reader->head->state);
  if ((state & ~SHMQ_END_BITS) != (reader->state & ~SHMQ_END_BITS) || !(state & SHMQ_END_OPEN))
    return SHMQ_GONE;
  if (state & SHMQ_END_SHUT) return SHMQ_SHUTDOWN;
  if (state & SHMQ_END_FOLLOWED && reader->hold == NULL) {
    shmq_hold *none = NULL, *hold = shmq_hold_take(view, reader->group);
    if (hold == NULL) return SHMQ_FULL;
    /* acq_rel: another thread with this handle may be here as well; one row will do. */
    if (!cas_acq_rel(&reader->hold, &none, hold)) store_release(&hold->tag, 0);
  }
  reader->state = state;
  return SHMQ_OK;
}

/* Finishes what was taken before, if that counts. */
static inline void shmq_reader_finish(const shmq_view *view, shmq_reader *reader) {
  /* acquire, then the row: with this process's epoch it isn't the parent's; pairs with the release in
   * shmq_reader_forget. */
  if (load_acquire(&reader->epoch) == view->epoch && reader->hold != NULL)
    shmq_hold_end(reader->head, reader->hold);
}

/* By the last handle: gives the row back. */
static inline void shmq_reader_end(const shmq_view *view, shmq_reader *reader) {
  if (load_acquire(&reader->epoch) != view->epoch || reader->hold == NULL) return; /* acquire: as above */
  shmq_hold_end(reader->head, reader->hold);
  store_release(&reader->hold->tag, 0); /* release: what it held, before it is anybody's */
  reader->hold = NULL;
}

/* How many items the group lost until `sequence`, where its head is; by the head's owner, or as a look
 * that may be past. */
static inline uint64_t shmq_group_lapped(const shmq_end *head, uint64_t sequence) {
  /* relaxed, all: ordered by the owner word; or a statistic. */
  const shmq_place *place = &head->place[load_relaxed(&head->place[0].sequence) != sequence];
  return load_relaxed(&place->position);
}

#endif
