/* The ring: put at the tail, take at a head. Attempts only: nothing here sleeps (see wait.h).
 *
 * Promise: items leave in the order in which they were committed, whole, once; a process may die
 * between any two instructions without changing that for the others.
 *
 * I1  Content is [head, tail): those slots are complete, all others undefined. It is moved by two
 *     stores: tail by the tail's owner, head by the head's owner. There is no count beside them.
 * I2  0 <= tail - head <= capacity.
 * I3  A slot is written before tail passes it, and copied out before head passes it.
 * I4  An end is stored only by the holder of its owner word; the word is held for a bounded copy:
 *     no call into Python, no system call but a wake after letting go.
 * I5  stamp = 2 * sequence + 2 in every slot of [head, tail), odd while a slot is written.
 * I6  A block that a slot of [head, tail) refers to is never free (blocks.h).
 *
 * Slot of sequence s       stamp          written by
 *   of an earlier lap      2 (s - capacity) + 2
 *   claimed                2 s + 1        the tail's owner; again by the next, if that one died
 *   published (tail > s)   2 s + 2        nobody, until tail comes round: that needs head > s
 *
 * Killed in put before the store of tail: the slots are rubbish that nobody reads, the next
 * producer writes over them. After it: the item is in. Killed in take before the store of head: the
 * item is still in. After it: it was delivered to a process that is no more.
 * The same for n slots and one store: a batch is atomic by construction.
 */
#ifndef SHMQ_RING_H
#define SHMQ_RING_H

#include "groups.h"
#include "regions.h"

/* One item to put, encoded. */
typedef struct {
  const void *data;
  uint32_t length;
  uint16_t kind;
  uint16_t flags;
  uint64_t item_bytes; /* what the user put: differs from `length` for a block_ref */
} shmq_record;

/* One item taken. `offset`: where in the caller's buffer its bytes begin. */
typedef struct {
  uint64_t offset;
  uint64_t length;
  uint32_t kind;
  uint32_t block; /* SHMQ_NO_BLOCK, or the block that now belongs to the caller (NEED: not yet) */
} shmq_taken;

#define SHMQ_NO_BLOCK UINT32_MAX

/* Blocks: see blocks.h. */
static inline int shmq_block_ref_is_sound(const shmq_view *view, const shmq_block_ref *ref);
static inline void shmq_block_hold(const shmq_view *view, uint32_t index);
static inline int shmq_block_pin(const shmq_view *view, uint32_t index, uint32_t pinner,
                                 uint64_t sequence);
static inline void shmq_block_queue(const shmq_view *view, uint32_t index, uint64_t sequence,
                                    uint64_t slot_position);

/* Of a group that may be overrun, whose head is at `sequence`: where it begins now. */
static inline uint64_t shmq_begin_after_lapse(const shmq_view *view, uint64_t sequence) {
  /* acquire: pairs with the store in shmq_floor_raise. */
  uint64_t passed = load_acquire(&shmq_head(view)->passed);
  return (int64_t)(passed - sequence) > 0 ? passed : sequence;
}

/* Is there room for `count` items? From the words alone; for whoever decides whether to sleep. */
static inline int shmq_has_room(const shmq_view *view, uint64_t count) {
  if (view->stream != NULL) {
    shmq_end *slowest;
    uint64_t needed = shmq_needed_gone(view, count);
    return (int64_t)(shmq_gate_of_floor(view, needed, &slowest) - needed) >= 0;
  }
  /* acquire, head first: it only grows, so an old head can only say "full" too often. Pairs with
   * the release store of head in shmq_try_take. */
  uint64_t head = load_acquire(&shmq_head(view)->sequence);
  uint64_t tail = load_acquire(&shmq_tail(view)->sequence); /* acquire: not before head */
  return tail - head + count <= view->capacity;
}

/* Is there no room for `count` items because something else wrote over an end? Not of a stream. */
static inline int shmq_ends_contradict(const shmq_view *view, uint64_t count) {
  /* acquire, all: in this order. The head only grows: where it stood still, the tail was read while it
   * was there, and can't have been further ahead of it than the capacity. */
  uint64_t head = load_acquire(&shmq_head(view)->sequence);
  uint64_t depth = load_acquire(&shmq_tail(view)->sequence) - head;
  if (load_acquire(&shmq_head(view)->sequence) != head || depth + count <= view->capacity) return 0;
  return depth > view->capacity || view->capacity >= SHMQ_UNBOUNDED;
}

static inline int shmq_has_item(const shmq_view *view, const shmq_reader *reader) {
  if (reader != NULL) {
    shmq_end *slowest;
    uint64_t sequence = load_relaxed(&reader->head->sequence); /* relaxed: a look at our own head */
    if (reader->may_lapse) sequence = shmq_begin_after_lapse(view, sequence);
    return (int64_t)(shmq_gate_of_group(view, reader->group, &slowest) - sequence) > 0;
  }
  /* acquire: pairs with the release stores of the two sequences. */
  return load_acquire(&shmq_tail(view)->sequence) != load_acquire(&shmq_head(view)->sequence);
}

/* Puts all `count` records or none: OK, FULL, BUSY, SHUTDOWN or CORRUPT; in regions also GROW, which
 * says in *growth what is needed, and NO_MEMORY. */
static inline __attribute__((always_inline)) shmq_status shmq_try_put_in(
    const int in_regions, shmq_view *view, const shmq_record *records, uint64_t count,
    shmq_growth *growth) {
  shmq_end *tail = shmq_tail(view);
  shmq_cursor *cursor = &view->producer;
  if (!shmq_end_try_acquire(view, tail)) return SHMQ_BUSY;

  /* relaxed: only the owner stores it, and we are the owner (ordered by the owner word). */
  uint64_t sequence = load_relaxed(&tail->sequence);
  uint32_t state = load_relaxed(&tail->state);          /* relaxed: as above */
  uint64_t high = load_relaxed(&tail->high_water_mark); /* relaxed: as above */
  uint64_t depth = sequence + count - cursor->gate_sequence;
  uint64_t exact_from = view->mark_exact_from;
  if (__builtin_expect(state & SHMQ_END_SHUT, 0)) {
    shmq_end_release(tail);
    return SHMQ_SHUTDOWN;
  }
  if (__builtin_expect(depth > view->capacity || depth > (high > exact_from ? high : exact_from),
                       0)) {
    /* acquire: pairs with the release store of head in shmq_try_take: the takers are done with the
     * slots that we are about to write (I3). */
    cursor->gate_sequence = load_acquire(&shmq_head(view)->sequence);
    depth = sequence + count - cursor->gate_sequence;
    if (depth > view->capacity) {
      /* More than there can be: then it is never full, however it may look. */
      int corrupt = depth - count > view->capacity || view->capacity >= SHMQ_UNBOUNDED;
      shmq_end_release(tail);
      return corrupt ? SHMQ_CORRUPT : SHMQ_FULL;
    }
    if (depth > high) store_relaxed(&tail->high_water_mark, depth); /* relaxed: a statistic */
  }

  uint8_t *const end = view->slots + view->slots_bytes;
  uint64_t step = view->slot_bytes;
  uint8_t *at = cursor->next_slot;
  if (in_regions) {
    uint64_t position;
    if (!shmq_own_place(view, tail, sequence, &position)) {
      shmq_end_release(tail);
      return SHMQ_CORRUPT;
    }
    /* Another moved the tail: what is known of the room behind it is void. */
    if (sequence != cursor->next_sequence || at != view->slots + position) cursor->room_end = 0;
    at = view->slots + position;
  } else if (__builtin_expect(sequence != cursor->next_sequence || at == NULL, 0)) {
    at = shmq_slot_at(view, sequence);
  }
  uint64_t now = coarse_now_ns();
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < count; i++) {
    const shmq_record *record = &records[i];
    if (in_regions) {
      uint64_t position = (uint64_t)(at - view->slots);
      step = shmq_record_bytes(record->length);
      if (__builtin_expect(position + step > cursor->room_end, 0)) {
        shmq_status status = shmq_make_room(view, sequence, sequence + i, step, &position,
                                            &cursor->room_end, &cursor->gate_sequence, growth);
        if (status != SHMQ_OK) {
          cursor->next_slot = NULL; /* no place is this one: the room that was found is not kept */
          /* No slot refers to their blocks: who put them has them again, to put or to free. */
          for (uint64_t done = 0; done < i; done++)
            if (records[done].flags & SHMQ_SLOT_IN_BLOCK)
              shmq_block_hold(view, ((const shmq_block_ref *)records[done].data)->block);
          shmq_end_release(tail);
          /* For the rest of the batch at once: each attempt begins with its first item. */
          while (status == SHMQ_GROW && ++i < count)
            growth->bytes += shmq_record_bytes(records[i].length);
          return status;
        }
        at = view->slots + position;
      }
    }
    shmq_slot *slot = (shmq_slot *)at;
    /* relaxed, then a release fence: whoever reads the slot without a lock and sees any of the new
     * bytes sees the odd stamp too (I5); pairs with the acquire fence in shmq_oldest_put_ns. */
    store_relaxed(&slot->stamp, 2 * (sequence + i) + 1);
    fence_release();
    store_relaxed(&slot->put_ns, now); /* relaxed: read by lock-free readers, under the stamp */
    slot->length = record->length;
    slot->kind = record->kind;
    slot->flags = record->flags;
    copy_in(slot + 1, record->data, record->length);
    if (__builtin_expect(record->flags & SHMQ_SLOT_IN_BLOCK, 0)) {
      shmq_block_queue(view, ((const shmq_block_ref *)record->data)->block, sequence + i,
                       (uint64_t)(at - view->slots));
      /* relaxed: before the commit, which whoever raises the floor past it has seen. */
      if (view->stream != NULL) store_relaxed(&view->stream->large_until, sequence + i + 1);
    }
    bytes += record->item_bytes;
    /* release: the slot's content before the stamp that vouches for it. */
    store_release(&slot->stamp, 2 * (sequence + i) + 2);
    at += step;
    if (at == end) at = view->slots; /* of cells; a slot in a region is never the last thing there */
  }
  cursor->next_sequence = sequence + count;
  cursor->next_slot = at;
  if (in_regions) shmq_set_place(tail, sequence, sequence + count, (uint64_t)(at - view->slots));

  /* relaxed: our own row, and the owner word lets one thread of us in at a time. Readers sum the
   * rows as a snapshot. */
  shmq_seat *seat = view->seat;
  store_relaxed(&seat->items_put, load_relaxed(&seat->items_put) + count);
  store_relaxed(&seat->bytes_put, load_relaxed(&seat->bytes_put) + bytes);
  store_relaxed(&seat->last_put_ns, now);

  /* The commit. release: slots before tail (I3); pairs with the acquire load in shmq_try_take. */
  store_release(&tail->sequence, sequence + count);
  if (__builtin_expect(state & SHMQ_END_ARMED, 0)) shmq_poll_signal(view);
  shmq_end_release(tail);
  __builtin_prefetch(at, 1); /* the next slot's line is in the cache of whoever took from it */
  return SHMQ_OK;
}

/* Each geometry has code of its own: a ring has one for life. */
static inline __attribute__((always_inline)) shmq_status shmq_try_put(
    shmq_view *view, const shmq_record *records, uint64_t count, shmq_growth *growth) {
  return view->region_count > 0 ? shmq_try_put_in(1, view, records, count, growth)
                                : shmq_try_put_in(0, view, records, count, growth);
}

/* Why there is nothing to take at `sequence`: EMPTY, or SHUTDOWN when nothing will ever come. */
static inline shmq_status shmq_why_empty(const shmq_view *view, uint64_t sequence) {
  /* acquire: pairs with the release store in shmq_shut: no commit comes after it, so the tail that
   * is read next is the last one. */
  if (!(load_acquire(&shmq_tail(view)->state) & SHMQ_END_SHUT)) return SHMQ_EMPTY;
  /* acquire: as any look at the tail. */
  return load_acquire(&shmq_tail(view)->sequence) == sequence ? SHMQ_SHUTDOWN : SHMQ_EMPTY;
}

/* Is the head of an empty ring where the ring should not stay? The caller owns the head. */
static inline int shmq_head_is_in_larger_region(const shmq_view *view, uint64_t sequence) {
  uint64_t position;
  return view->region_count > 0 && shmq_own_place(view, shmq_head(view), sequence, &position) &&
         position >= SHMQ_FIRST_REGION;
}

/* By the head's owner, in regions, where a scribbler left no way to the next slot: passes over all
 * that there is, since nothing in it can be found, and lets go of the head. CORRUPT. Never back: old
 * items lie there. */
static shmq_status __attribute__((noinline, unused)) shmq_abandon(const shmq_view *view,
                                                                  uint64_t sequence) {
  shmq_end *head = shmq_head(view);
  uint64_t tail_sequence, position;
  if (shmq_seen_place(view, shmq_tail(view), &tail_sequence, &position) &&
      (int64_t)(tail_sequence - sequence) >= 0) {
    /* relaxed: a place that named no sequence, or the other one, is written over as well. */
    store_relaxed(&head->place[0].sequence, sequence);
    shmq_set_place(head, sequence, tail_sequence, position);
    store_release(&head->sequence, tail_sequence); /* release: as any commit of the head */
  }
  shmq_end_release(head);
  return SHMQ_CORRUPT;
}

/* Takes 1..max_items items into `buffer`: OK (with *count), EMPTY, BUSY, SHUTDOWN, NEED (taken[0]
 * says how many bytes the first item wants; nothing was taken), or CORRUPT (a slot that contradicts
 * itself is passed over, so that the next call goes on).
 * Sets view->trim_is_due where shmq_ring_trim should be called now, which may take a while.
 * Without a buffer, what is taken is not copied: it is discarded.
 * An item in a block comes alone, if it has no more than `block_bytes`: OK with taken[0].block, which
 * is the caller's from then on, with the payload still in it.
 *
 * From a group (`reader`) also RENEW. A block is pinned then, not held; NEED if the reader has no
 * pinner. Of a group that may be overrun, each slot is read like a seqlock: what was copied counts if
 * the stamp still holds. */
static inline __attribute__((always_inline)) shmq_status shmq_try_take_in(
    const int in_regions, const int of_group, const int may_lapse, shmq_view *view,
    shmq_reader *reader, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
    uint64_t block_bytes, shmq_taken *taken, uint64_t *count) {
  shmq_end *head = of_group ? reader->head : shmq_head(view);
  shmq_cursor *cursor = of_group ? &reader->cursor : &view->consumer;
  shmq_end *slowest;
  if (!shmq_end_try_acquire(view, head)) return SHMQ_BUSY;

  /* relaxed: only the owner stores it, and we are the owner (ordered by the owner word). */
  const uint64_t begun = load_relaxed(&head->sequence);
  uint64_t sequence = begun;
  uint32_t state = load_relaxed(&head->state); /* relaxed: as above */
  if (of_group && __builtin_expect(state != reader->state || reader->epoch != view->epoch, 0)) {
    if (reader->epoch != view->epoch) shmq_reader_forget(reader, view);
    shmq_end_release(head);
    return SHMQ_RENEW;
  }
  if (may_lapse) sequence = shmq_begin_after_lapse(view, sequence);
  uint64_t depth = cursor->gate_sequence - sequence;
  if (!of_group && __builtin_expect(state & SHMQ_END_SHUT, 0)) {
    shmq_end_release(head);
    return SHMQ_SHUTDOWN;
  }
  if (depth - 1 >= view->capacity || depth < max_items) {
    /* acquire: pairs with the commit in shmq_try_put: the slots up to tail are complete (I3). */
    cursor->gate_sequence = of_group && reader->is_behind
                                ? shmq_gate_of_group(view, reader->group, &slowest)
                                : load_acquire(&shmq_tail(view)->sequence);
    depth = cursor->gate_sequence - sequence;
    if (depth - 1 >= view->capacity) {
      /* A group that began behind those it comes after waits for them. */
      int is_empty = depth == 0 || (of_group && (int64_t)depth < 0);
      if (!is_empty && may_lapse &&
          shmq_begin_after_lapse(view, sequence) != sequence) {
        shmq_end_release(head);
        return SHMQ_BUSY; /* the floor was raised in between, and the tail is a lap ahead */
      }
      shmq_status why = is_empty ? shmq_why_empty(view, sequence) : SHMQ_CORRUPT;
      int is_large = why != SHMQ_CORRUPT && shmq_head_is_in_larger_region(view, sequence);
      shmq_end_release(head);
      if (is_large) store_relaxed(&view->trim_is_due, 1); /* relaxed: private, as below */
      return why;
    }
  }
  if (depth < max_items) max_items = depth;

  uint8_t *const end = view->slots + view->slots_bytes;
  uint64_t step = view->slot_bytes;
  uint64_t first_position = 0;
  uint8_t *at = cursor->next_slot;
  if (in_regions) {
    if (!shmq_own_place(view, head, sequence, &first_position)) return shmq_abandon(view, sequence);
    at = view->slots + first_position;
  } else if (__builtin_expect(sequence != cursor->next_sequence || at == NULL, 0)) {
    at = shmq_slot_at(view, sequence);
  }
  shmq_status status = SHMQ_OK;
  uint64_t used = 0, bytes = 0, done = 0;
  while (done < max_items) {
    if (in_regions) {
      uint64_t position = (uint64_t)(at - view->slots);
      if (!shmq_position_is_sound(view, position) ||
          !shmq_follow_jumps(view, sequence + done, &position)) {
        if (done > 0) break; /* what came before it is delivered first */
        return shmq_abandon(view, sequence);
      }
      at = view->slots + position;
    }
    const shmq_slot *slot = (const shmq_slot *)at;
    shmq_taken *item = &taken[done];
    const uint64_t stamp = 2 * (sequence + done) + 2;
    int is_pinned = 0;
    /* relaxed: as below; a sanity check, not a synchronisation (I5); of a group that may be overrun the
     * beginning of a seqlock's read. */
    int is_sound = load_relaxed(&slot->stamp) == stamp;
    /* acquire: the stamp, then the rest; pairs with the fence in shmq_try_put. */
    if (may_lapse) fence_acquire();
    /* Read once: whatever a scribbler does meanwhile, we check the value that we use. */
    uint32_t length = load_relaxed(&slot->length); /* relaxed: complete, by the acquire of tail */
    uint16_t flags = load_relaxed(&slot->flags);   /* relaxed: as above */
    item->kind = load_relaxed(&slot->kind);        /* relaxed: as above */
    item->block = SHMQ_NO_BLOCK;
    item->offset = used;
    item->length = length;
    if (in_regions) step = shmq_record_bytes(length);
    if (__builtin_expect(length > view->slot_payload_bytes || !is_sound, 0)) {
      status = SHMQ_CORRUPT;
    } else if (__builtin_expect(flags & SHMQ_SLOT_IN_BLOCK, 0)) {
      if (done > 0) break;
      shmq_block_ref ref;
      copy_out(&ref, slot + 1, sizeof(ref));
      item->length = ref.length;
      item->block = ref.block;
      /* acquire: the reference, then the stamp; as below. */
      if (may_lapse) fence_acquire();
      if (length != sizeof(ref) || !shmq_block_ref_is_sound(view, &ref) ||
          (of_group && load_relaxed(&slot->stamp) != stamp)) /* relaxed: see the fence */
        status = SHMQ_CORRUPT;
      else if (ref.length > block_bytes || (of_group && reader->pinner == SHMQ_NO_PINNER))
        status = SHMQ_NEED;
      else if (!of_group)
        shmq_block_hold(view, ref.block);
      else if (shmq_block_pin(view, ref.block, reader->pinner, sequence))
        is_pinned = 1;
      else
        status = SHMQ_CORRUPT;
      max_items = 1;
    } else if (length > buffer_bytes - used) {
      if (done > 0) break;
      status = SHMQ_NEED;
    } else {
      if (buffer != NULL) copy_out(buffer + used, slot + 1, length);
      used += length;
    }
    if (may_lapse && !is_pinned) {
      fence_acquire(); /* acquire: what was read, then the stamp; pairs as the one above */
      /* relaxed: see the fence. A block that was not to be pinned is overrun as well. */
      if (__builtin_expect(load_relaxed(&slot->stamp) != stamp || status == SHMQ_CORRUPT, 0)) {
        status = SHMQ_CORRUPT;
        if (done == 0 && shmq_begin_after_lapse(view, sequence) != sequence) {
          shmq_end_release(head);
          return SHMQ_BUSY; /* overrun while it was read: begin again, further on */
        }
      }
    }
    if (__builtin_expect(status == SHMQ_NEED, 0)) {
      shmq_end_release(head);
      return SHMQ_NEED;
    }
    if (__builtin_expect(status == SHMQ_CORRUPT && done > 0, 0)) {
      status = SHMQ_OK; /* as above */
      break;
    }
    /* Without a length to trust there is no next slot. */
    if (__builtin_expect(status == SHMQ_CORRUPT && in_regions, 0))
      return shmq_abandon(view, sequence);
    done++;
    if (status == SHMQ_OK) bytes += item->length;
    at += step;
    if (at == end) at = view->slots;
    if (__builtin_expect(status == SHMQ_CORRUPT, 0)) break;
  }
  cursor->next_sequence = sequence + done;
  cursor->next_slot = at;
  int is_to_trim = 0;
  if (in_regions) {
    const uint64_t position = (uint64_t)(at - view->slots);
    shmq_set_place(head, sequence, sequence + done, position);
    if (__builtin_expect(position >= SHMQ_FIRST_REGION || first_position >= SHMQ_FIRST_REGION, 0))
      /* relaxed: a look; the trim looks again. */
      is_to_trim = load_relaxed(&shmq_tail(view)->sequence) == sequence + done ||
                   shmq_region_of(position) != shmq_region_of(first_position);
  }

  shmq_seat *seat = view->seat;
  /* relaxed: as in shmq_try_put; the word of one group's head keeps out no thread that takes from
   * another group. */
  if (of_group && __builtin_expect(load_relaxed(&view->takes_from_several) != 0, 0)) {
    fetch_add_relaxed(&seat->items_got, done);
    fetch_add_relaxed(&seat->bytes_got, bytes);
  } else {
    store_relaxed(&seat->items_got, load_relaxed(&seat->items_got) + done);
    store_relaxed(&seat->bytes_got, load_relaxed(&seat->bytes_got) + bytes);
  }
  /* time() is a quarter of the price of the coarse clock: here it says when to read that one. */
  time_t second = time(NULL);
  if (__builtin_expect(second != cursor->second, 0)) {
    cursor->second = second;
    store_relaxed(&seat->last_get_ns, coarse_now_ns());
  }

  if (may_lapse)
    shmq_set_place(head, begun, sequence + done,
                   shmq_group_lapped(head, begun) + (sequence - begun));
  /* release: what was done to the items before, as in shmq_hold_end; the commit orders it before what
   * it holds back. */
  if (of_group && reader->hold != NULL &&
      /* relaxed: our own row. */
      (!reader->takes_more || load_relaxed(&reader->hold->sequence) == UINT64_MAX))
    store_release(&reader->hold->sequence, sequence);
  /* The commit. release: the copies out before head (I3); pairs with the acquire load of head in
   * shmq_try_put. */
  store_release(&head->sequence, sequence + done);
  shmq_end_release(head);
  /* relaxed: private to this process, read by the caller. */
  if (__builtin_expect(is_to_trim, 0)) store_relaxed(&view->trim_is_due, 1);
  __builtin_prefetch(at, 0);
  *count = done;
  return status;
}

static inline __attribute__((always_inline)) shmq_status shmq_try_take(
    shmq_view *view, uint64_t max_items, uint8_t *buffer, uint64_t buffer_bytes,
    uint64_t block_bytes, shmq_taken *taken, uint64_t *count) {
  return view->region_count > 0 ? shmq_try_take_in(1, 0, 0, view, NULL, max_items, buffer,
                                                   buffer_bytes, block_bytes, taken, count)
                                : shmq_try_take_in(0, 0, 0, view, NULL, max_items, buffer,
                                                   buffer_bytes, block_bytes, taken, count);
}

/* The same from the head of a group. It may be overrun or not for as long as it is there. */
static inline __attribute__((always_inline)) shmq_status shmq_try_take_of_group(
    shmq_view *view, shmq_reader *reader, uint64_t max_items, uint8_t *buffer,
    uint64_t buffer_bytes, uint64_t block_bytes, shmq_taken *taken, uint64_t *count) {
  return reader->may_lapse ? shmq_try_take_in(0, 1, 1, view, reader, max_items, buffer, buffer_bytes,
                                              block_bytes, taken, count)
                           : shmq_try_take_in(0, 1, 0, view, reader, max_items, buffer, buffer_bytes,
                                              block_bytes, taken, count);
}

/* From either: without a reader, from the head of a queue. */
static inline shmq_status shmq_try_take_from(shmq_view *view, shmq_reader *reader, uint64_t max_items,
                                             uint8_t *buffer, uint64_t buffer_bytes,
                                             uint64_t block_bytes, shmq_taken *taken,
                                             uint64_t *count) {
  if (reader == NULL)
    return shmq_try_take(view, max_items, buffer, buffer_bytes, block_bytes, taken, count);
  return shmq_try_take_of_group(view, reader, max_items, buffer, buffer_bytes, block_bytes, taken,
                                count);
}

/* When the oldest item was put; 0 when there is none. Takes no lock: a seqlock read of the slot. It
 * may read what is being written over, and finds out before it uses it: in a ring of cells by the
 * stamp, in regions, where a payload may lie there by now that looks like one, by the head: as long as
 * that stands where it stood, its slot is published (I1). */
static inline uint64_t shmq_oldest_put_ns(const shmq_view *view) {
  for (int attempt = 0; attempt < 100; attempt++) {
    uint64_t head = load_acquire(&shmq_head(view)->sequence); /* acquire: pairs with the commits */
    if (load_acquire(&shmq_tail(view)->sequence) == head) return 0; /* acquire: as above */
    uint64_t position, sequence;
    const shmq_slot *slot;
    if (view->region_count == 0) {
      slot = (const shmq_slot *)shmq_slot_at(view, head);
    } else {
      if (!shmq_seen_place(view, shmq_head(view), &sequence, &position) || sequence != head ||
          !shmq_follow_jumps(view, head, &position))
        continue;
      slot = (const shmq_slot *)(view->slots + position);
    }
    uint64_t stamp = load_acquire(&slot->stamp); /* acquire: pairs with the stamp's release store */
    uint64_t put_ns = load_relaxed(&slot->put_ns); /* relaxed: the fence below orders it */
    fence_acquire(); /* pairs with the release fence in shmq_try_put: a new time has a new stamp */
    /* relaxed, both: not before what was read, by the fence. */
    if (stamp == 2 * head + 2 && load_relaxed(&slot->stamp) == stamp &&
        load_relaxed(&shmq_head(view)->sequence) == head)
      return put_ns;
  }
  return 0;
}

#endif
