/* The floor of a stream: the end that the tail is gated by. Raising it gives slots to be written over,
 * and the blocks that they refer to back to the pool.
 *
 * Whoever finds no room, or wants memory, raises it, under its owner word: as far as the groups allow
 * (groups.h). Two stores: `passed`, below which no consumer begins from then on, and `sequence`, below
 * which producers may write. Between them the blocks of those slots are freed, but for the pinned.
 *
 * A large payload is viewed by many. Who takes it from a group pins the block: a bit of its own, in
 * the block. It is taken away when nobody in that process uses the memory any more.
 *
 *   block of slot s     floor             freed by
 *   queued              passed <= s       nobody
 *   queued, not pinned  s < passed        the raiser, before it stores the sequence
 *   queued, pinned      s < passed        whoever takes the last pin away, under the floor's word
 *
 * From a group that gates the floor, s is at or above its head, so it isn't passed while it is being
 * pinned. From one that may be overrun it may be: pin, then look at `passed`; raise `passed`, then look
 * at the pins. With a full fence between the two on either side one of them sees the other.
 *
 * Kill points. Raising: killed after `passed`, whoever has the word next walks the same slots again, and
 * completes it before anything else, so `passed` never goes back; a block that was freed already is
 * free, or is another slot's by now, which its `sequence` tells. Pinning: what the dead pinned stays
 * until a sweep, which takes the bits of dead pinners away first. Unpinning: killed between the bit and
 * the free, it is a queued block that was passed and that nobody pins: for the sweep as well; so is one
 * whose unpinner found the floor's word in use (`left_behind`).
 */
#ifndef SHMQ_FLOOR_H
#define SHMQ_FLOOR_H

#include "blocks.h"

/* ---- pins ---------------------------------------------------------------------------------------- */

static inline uint64_t *shmq_pins_of(const shmq_view *view, uint32_t index, uint32_t pinner) {
  return &view->blocks[index].pins[pinner / 64 % (SHMQ_MAX_PINNERS / 64)];
}

/* By the holder of the floor's word: frees a block of slot `sequence`, which the floor has passed. */
static inline void shmq_block_free_passed(const shmq_view *view, uint32_t index, uint64_t sequence) {
  /* acquire: pairs with shmq_block_queue. relaxed: ordered by it. Queued blocks of slots below the
   * tail are freed under the word that we hold, so none changes in between. */
  uint64_t state = load_acquire(&view->blocks[index].state);
  if ((state & SHMQ_FLAGS) == SHMQ_BLOCK_QUEUED && (state & SHMQ_TAG) != 0 &&
      load_relaxed(&view->blocks[index].sequence) == sequence && !shmq_block_is_pinned(view, index))
    shmq_block_free(view, index);
}

/* Takes a pin away; frees the block if the floor has passed it, and if that needs no waiting. */
static inline void shmq_block_unpin(const shmq_view *view, uint32_t index, uint32_t pinner) {
  shmq_end *floor = shmq_head(view);
  /* acq_rel: our reads of the block, before it is anybody's; pairs with shmq_block_is_pinned. */
  fetch_and_acq_rel(shmq_pins_of(view, index, pinner), ~(UINT64_C(1) << pinner % 64));
  fence_seq_cst(); /* seq_cst: the bit, then the looks; pairs with that in shmq_floor_raise */
  /* relaxed: as it is by now. Where the pin came too late (shmq_block_pin), the block may be another slot's
   * already, whose raiser has found it pinned and left it to us. */
  uint64_t sequence = load_relaxed(&view->blocks[index].sequence);
  if ((int64_t)(load_relaxed(&floor->passed) - sequence) <= 0) return; /* relaxed: see the fence */
  if (!shmq_end_try_acquire(view, floor) &&
      !(shmq_end_evict_dead(view, floor) && shmq_end_try_acquire(view, floor))) {
    store_relaxed(&view->stream->left_behind, 1); /* relaxed: a hint for the next raiser */
    return;
  }
  if ((int64_t)(load_relaxed(&floor->sequence) - sequence) > 0) /* relaxed: we are its owner */
    shmq_block_free_passed(view, index, sequence);
  shmq_end_release(floor);
}

/* By the owner of a group's head at `sequence`, which may be below the floor by now if the group may be
 * overrun: 0 then. */
static inline int shmq_block_pin(const shmq_view *view, uint32_t index, uint32_t pinner,
                                 uint64_t sequence) {
  /* acq_rel: before the head moves, for those whom that holds back. */
  fetch_or_acq_rel(shmq_pins_of(view, index, pinner), UINT64_C(1) << pinner % 64);
  fence_seq_cst(); /* seq_cst: the bit, then the look; pairs with that in shmq_floor_raise */
  /* relaxed: see the fence. */
  if ((int64_t)(load_relaxed(&shmq_head(view)->passed) - sequence) <= 0) return 1;
  shmq_block_unpin(view, index, pinner);
  return 0;
}

/* Takes the bits of a pinner that is dead, or ours and not yet used, away. */
static inline void shmq_pins_clear(const shmq_view *view, uint32_t pinner) {
  const uint32_t count = shmq_block_count(view);
  const uint64_t bit = UINT64_C(1) << pinner % 64;
  for (uint32_t index = 0; index < count; index++) {
    uint64_t *pins = shmq_pins_of(view, index, pinner);
    /* relaxed: a look. acq_rel: as in shmq_block_unpin, for one that is no more. */
    if (load_relaxed(pins) & bit) fetch_and_acq_rel(pins, ~bit);
  }
  store_relaxed(&view->stream->left_behind, 1); /* relaxed: a hint for the next raiser */
}

/* A number to pin with, or SHMQ_NO_PINNER when all are taken. */
static inline uint32_t shmq_pinner_take(const shmq_view *view) {
  for (uint32_t pinner = 0; pinner < SHMQ_MAX_PINNERS; pinner++) {
    uint64_t *word = &view->stream->pinners[pinner];
    uint64_t seen = load_relaxed(word); /* relaxed: the exchange decides */
    if (seen != 0 && !shmq_tag_is_dead(view, seen)) continue;
    /* acq_rel: whoever had it is done with it. */
    if (!cas_acq_rel(word, &seen, view->tag)) continue;
    /* Killed before this is done: a dead pinner again, with fewer pins. */
    if (seen != 0) shmq_pins_clear(view, pinner);
    return pinner;
  }
  return SHMQ_NO_PINNER;
}

/* Gives the number back; nothing is pinned with it. */
static inline void shmq_pinner_leave(const shmq_view *view, uint32_t pinner) {
  store_release(&view->stream->pinners[pinner], 0); /* release: pairs with the exchange above */
}

static inline void shmq_pinners_bury(const shmq_view *view) {
  for (uint32_t pinner = 0; pinner < SHMQ_MAX_PINNERS; pinner++) {
    uint64_t *word = &view->stream->pinners[pinner];
    uint64_t seen = load_relaxed(word); /* relaxed: the exchange decides */
    if (seen == 0 || !shmq_tag_is_dead(view, seen)) continue;
    /* acq_rel: ours for a moment, so that nobody takes it before its pins are gone. */
    if (!cas_acq_rel(word, &seen, view->tag)) continue;
    shmq_pins_clear(view, pinner);
    shmq_pinner_leave(view, pinner);
  }
}

/* ---- raising ------------------------------------------------------------------------------------- */

/* By the holder of the floor's word: frees the blocks of the slots [from, to). */
static void __attribute__((noinline)) shmq_floor_free_blocks(const shmq_view *view, uint64_t from,
                                                             uint64_t to) {
  const uint32_t count = shmq_block_count(view);
  for (; from != to; from++) {
    const shmq_slot *slot = (const shmq_slot *)shmq_slot_at(view, from);
    shmq_block_ref ref;
    /* relaxed, both: published slots, which nobody writes over before the floor's commit. */
    if (load_relaxed(&slot->stamp) != 2 * from + 2) continue;
    if (!(load_relaxed(&slot->flags) & SHMQ_SLOT_IN_BLOCK)) continue;
    copy_out(&ref, slot + 1, sizeof(ref));
    if (ref.block < count) shmq_block_free_passed(view, ref.block, from);
  }
}

/* By the same: frees what was passed while it was pinned, and is not any more. */
static void __attribute__((noinline)) shmq_floor_free_left_behind(const shmq_view *view) {
  const uint32_t count = shmq_block_count(view);
  uint64_t floor = load_relaxed(&shmq_head(view)->sequence); /* relaxed: we are its owner */
  store_relaxed(&view->stream->left_behind, 0); /* relaxed: the fence orders it */
  fence_seq_cst(); /* seq_cst: then the pins; who takes one away after that sets it again */
  for (uint32_t index = 0; index < count; index++) {
    uint64_t sequence = load_relaxed(&view->blocks[index].sequence); /* relaxed: looked at again */
    if ((int64_t)(floor - sequence) > 0) shmq_block_free_passed(view, index, sequence);
  }
}

/* By the holder of the floor's word, before anything else: completes what a raiser was killed in. What it
 * had passed stays passed, and who joins begins above. */
static inline void shmq_floor_complete(const shmq_view *view) {
  shmq_end *floor = shmq_head(view);
  /* relaxed, both: we are its owner. */
  uint64_t from = load_relaxed(&floor->sequence), to = load_relaxed(&floor->passed);
  /* acquire: as any look at the tail. */
  uint64_t tail = load_acquire(&shmq_tail(view)->sequence);
  if (__builtin_expect(to == from || to - from > tail - from || tail - from > view->capacity, 1))
    return;
  fence_seq_cst(); /* seq_cst: as in shmq_floor_move */
  shmq_floor_free_blocks(view, from, to);
  store_release(&floor->sequence, to); /* release: as in shmq_floor_move */
}

/* By the holder of the floor's word: raises it as far as it goes. OK if it is at `needed` then; FULL, with
 * the end to wait for in *slowest; or CORRUPT. */
static inline shmq_status shmq_floor_move(const shmq_view *view, uint64_t needed,
                                          shmq_end **slowest) {
  shmq_end *floor = shmq_head(view);
  shmq_floor_complete(view);
  uint64_t from = load_relaxed(&floor->sequence); /* relaxed: we are its owner */
  /* acquire: as any look at the tail. */
  if (load_acquire(&shmq_tail(view)->sequence) - from > view->capacity) return SHMQ_CORRUPT;
  uint64_t gate = shmq_gate_of_floor(view, needed, slowest);
  /* acquire, after the heads: it can't be before any of them. */
  uint64_t tail = load_acquire(&shmq_tail(view)->sequence);
  if (gate - from > tail - from || tail - from > view->capacity) return SHMQ_CORRUPT;
  if (gate != from) {
    store_release(&floor->passed, gate); /* release: pairs with shmq_begin_after_lapse */
    fence_seq_cst(); /* seq_cst: then the pins; pairs with those in shmq_block_pin and _unpin */
    /* relaxed: the tail that was acquired came after it. */
    if ((int64_t)(load_relaxed(&view->stream->large_until) - from) > 0)
      shmq_floor_free_blocks(view, from, gate);
    /* The commit. release: our reads of the slots, and those of the consumers whose heads were
     * acquired, before a producer writes there; pairs with the acquire load in shmq_try_put. */
    store_release(&floor->sequence, gate);
  }
  /* relaxed: a hint. */
  if (__builtin_expect(load_relaxed(&view->stream->left_behind) != 0, 0))
    shmq_floor_free_left_behind(view);
  return (int64_t)(gate - needed) >= 0 ? SHMQ_OK : SHMQ_FULL;
}

/* The same by anybody; also BUSY, with the floor in *slowest: its owner word is in use. */
static inline shmq_status shmq_floor_raise(const shmq_view *view, uint64_t needed,
                                           shmq_end **slowest) {
  shmq_end *floor = shmq_head(view);
  *slowest = floor;
  if (!shmq_end_try_acquire(view, floor) &&
      !(shmq_end_evict_dead(view, floor) && shmq_end_try_acquire(view, floor)))
    return SHMQ_BUSY;
  shmq_status status = shmq_floor_move(view, needed, slowest);
  shmq_end_release(floor);
  return status;
}

/* By the holder of the floor's word: removes a group. What it has taken is passed first: without groups
 * the floor stays where it is, and that is done with. OK, or BUSY. */
static inline shmq_status shmq_floor_leave(const shmq_view *view, uint32_t group) {
  shmq_end *slowest;
  shmq_floor_move(view, load_relaxed(&shmq_head(view)->sequence), &slowest); /* relaxed: we own it */
  return shmq_group_remove(view, group);
}

/* Removes the group of this head, for which somebody waits, if its subscriber died, or its remover: 1
 * if it is gone. */
static inline int shmq_group_bury(const shmq_view *view, const shmq_end *head) {
  shmq_end *floor = shmq_head(view);
  const uint32_t group = (uint32_t)(head - floor) - 1;
  if (head <= floor || group >= SHMQ_MAX_GROUPS) return 0;
  /* relaxed, both: looked at again under the owner words. */
  const uint64_t *owner = &view->stream->groups[group].subscriber;
  uint64_t subscriber = load_relaxed(owner);
  uint32_t state = load_relaxed(&head->state);
  if (state & SHMQ_END_OPEN && (subscriber == 0 || !shmq_tag_is_dead(view, subscriber))) return 0;
  if (!shmq_end_try_acquire(view, floor)) return 0;
  /* relaxed, all: changed under the word that we hold. As it was seen, it is another's by now only if
   * it was opened again, which the state counts. */
  int is_gone = load_relaxed(&view->stream->open) & shmq_group_bit(group) &&
                load_relaxed(owner) == subscriber && load_relaxed(&head->state) == state &&
                shmq_floor_leave(view, group) == SHMQ_OK;
  shmq_end_release(floor);
  if (is_gone) shmq_group_ring(view, group);
  return is_gone;
}

/* Removes the groups whose subscribers died, or their removers. */
static inline void shmq_groups_bury(const shmq_view *view) {
  for (uint64_t left = shmq_groups_open(view); left != 0; left &= left - 1)
    shmq_group_bury(view, shmq_group_head(view, (uint32_t)__builtin_ctzll(left)));
}

/* Before memory is wanted for a large item: gives back what all groups are done with; for want of
 * memory also what only lagging ones have not seen, or dead subscribers. */
static inline void shmq_floor_yield(const shmq_view *view, int for_want_of_memory) {
  shmq_end *slowest;
  /* acquire, both: as any look at them. relaxed: a hint. */
  uint64_t floor = load_acquire(&shmq_head(view)->sequence);
  uint64_t tail = load_acquire(&shmq_tail(view)->sequence);
  if ((int64_t)(load_relaxed(&view->stream->large_until) - floor) <= 0 &&
      load_relaxed(&view->stream->left_behind) == 0)
    return;
  while (shmq_floor_raise(view, for_want_of_memory ? tail : floor, &slowest) == SHMQ_FULL &&
         for_want_of_memory && shmq_group_bury(view, slowest)) {
  }
}

#endif
