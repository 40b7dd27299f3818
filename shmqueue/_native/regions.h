/* Regions: a ring that grows. Where the slots of an unnamed queue are.
 *
 * In a ring of cells the sequence says where a slot is. Here slots have the length of their items,
 * and follow each other through a region, round and round, as long as what is in the ring fits it.
 * If it doesn't, the tail goes on in a larger region, and the head follows it there. Each region is
 * twice as large as the one before, at an address of its own in the sparse file; once there is little
 * left, the tail comes back to the first one, which is small and warm, and the others lose their
 * memory.
 *
 * A jump leads from one slot to the next that is not right behind it: at the end of a region, and
 * from region to region. It stands where the slot of its sequence would, with the stamp of it, and
 * is published by the same store of the tail as that slot. So a commit is still one store.
 *
 * Where the next slot goes is not in the sequence, so each end keeps it beside: in that one of its
 * two `place` entries which names its sequence. The other one is written before the commit; killed
 * anywhere, the entry of the sequence that counts is whole.
 *
 * R1  Slots lie within a region and what it has `backed`. Behind the last slot of the tail there is
 *     always room for a jump.
 * R2  In use are the region that the tail is in, the one that the head is in, and those between:
 *     `entered` at a sequence in [head, tail). The tail enters none of them. A head that was read a
 *     while ago, from which all this is judged, is further back: it makes more of them in use.
 * R3  `backed` grows and falls to 0 under the pool's owner word; it falls only while the tail's is
 *     held as well, and only of regions that are not in use. Then, with the pool's word alone, the
 *     memory goes. `dirty` stays until it is gone: a kill in between is made good by the next trim.
 */
#ifndef SHMQ_REGIONS_H
#define SHMQ_REGIONS_H

#include "poll.h"

#define SHMQ_JUMP_BYTES (sizeof(shmq_slot) + sizeof(shmq_jump))
_Static_assert(SHMQ_JUMP_BYTES == SHMQ_RECORD_ALIGNMENT, "a jump fits where any slot does");

/* What a put needs before it can be tried again: SHMQ_GROW. */
typedef struct {
  uint32_t region;
  uint32_t is_refused; /* by the caller: there is no more memory, what there is must do */
  uint64_t bytes;      /* that the region must have backed */
} shmq_growth;

static inline uint64_t shmq_record_bytes(uint64_t length) {
  return shmq_round_up(sizeof(shmq_slot) + length, SHMQ_RECORD_ALIGNMENT);
}

/* The region that a position, in bytes from the start of the slots, lies in. */
static inline uint32_t shmq_region_of(uint64_t position) {
  return 63 - (uint32_t)__builtin_clzll(position / SHMQ_FIRST_REGION + 1);
}

/* Is it a place for a slot, whatever may stand there? To be asked before every access. */
static inline int shmq_position_is_sound(const shmq_view *view, uint64_t position) {
  return position % SHMQ_RECORD_ALIGNMENT == 0 && position <= view->slots_bytes - SHMQ_JUMP_BYTES;
}

/* ---- places ---------------------------------------------------------------------------------- */

/* Where the end is, read by its owner; 0 if the segment contradicts itself. */
static inline int shmq_own_place(const shmq_view *view, const shmq_end *end, uint64_t sequence,
                                 uint64_t *position) {
  /* relaxed: ordered by the owner word, which we hold. */
  const shmq_place *place = &end->place[load_relaxed(&end->place[0].sequence) != sequence];
  if (load_relaxed(&place->sequence) != sequence) return 0; /* relaxed: as above */
  *position = load_relaxed(&place->position);               /* relaxed: as above */
  return shmq_position_is_sound(view, *position);
}

/* Where an end is of which we don't hold the word: of a moment that may be past. */
static inline int shmq_seen_place(const shmq_view *view, const shmq_end *end, uint64_t *sequence,
                                  uint64_t *position) {
  for (int attempt = 0; attempt < 1000; attempt++) {
    *sequence = load_acquire(&end->sequence); /* acquire: pairs with the commits */
    /* relaxed: if this entry is already that of a later sequence, the read below differs. */
    const shmq_place *place = &end->place[load_relaxed(&end->place[0].sequence) != *sequence];
    uint64_t named = load_relaxed(&place->sequence); /* relaxed: as above */
    /* acquire: pairs with the release store in shmq_set_place: who reads a new position reads the
     * sequence below that came before it. */
    *position = load_acquire(&place->position);
    if (load_relaxed(&end->sequence) == *sequence && named == *sequence) /* relaxed: see acquire */
      return shmq_position_is_sound(view, *position);
  }
  return 0;
}

/* By the owner, before it commits `next`: the entry of `sequence` stays as it is. */
static inline void shmq_set_place(shmq_end *end, uint64_t sequence, uint64_t next,
                                  uint64_t position) {
  /* relaxed: ordered by the owner word. */
  shmq_place *place = &end->place[load_relaxed(&end->place[0].sequence) == sequence];
  store_relaxed(&place->sequence, next);
  /* release: the end's sequence, as it was committed before this entry was written over; pairs with
   * the acquire load in shmq_seen_place. */
  store_release(&place->position, position);
}

/* ---- jumps ----------------------------------------------------------------------------------- */

static inline void shmq_write_jump(const shmq_view *view, uint64_t sequence, uint64_t from,
                                   uint64_t to) {
  shmq_slot *slot = (shmq_slot *)(view->slots + from);
  const shmq_jump jump = {to};
  /* relaxed, then a release fence: as in shmq_try_put. */
  store_relaxed(&slot->stamp, 2 * sequence + 1);
  fence_release();
  store_relaxed(&slot->put_ns, 0); /* relaxed: as above */
  slot->length = sizeof(jump);
  slot->kind = 0;
  slot->flags = SHMQ_SLOT_JUMP;
  copy_in(slot + 1, &jump, sizeof(jump));
  /* release: as in shmq_try_put. */
  store_release(&slot->stamp, 2 * sequence + 2);
}

/* Follows the jumps at a published position to the slot of `sequence`; 0 where they lead astray. */
static inline int shmq_follow_jumps(const shmq_view *view, uint64_t sequence, uint64_t *position) {
  for (uint32_t jumps = 0; jumps <= 2 * SHMQ_MAX_REGIONS; jumps++) {
    const shmq_slot *slot = (const shmq_slot *)(view->slots + *position);
    shmq_jump jump;
    /* relaxed: published, by the acquire of tail. */
    if (__builtin_expect(!(load_relaxed(&slot->flags) & SHMQ_SLOT_JUMP), 1)) return 1;
    if (load_relaxed(&slot->stamp) != 2 * sequence + 2) return 0; /* relaxed: a sanity check */
    copy_out(&jump, slot + 1, sizeof(jump));
    if (!shmq_position_is_sound(view, jump.target)) return 0;
    *position = jump.target;
  }
  return 0;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Is the region on the way from the head, which is in `head_region` at `head`, to the tail at `tail`,
 * which is in another one (R2)? By the tail's owner. */
static inline int shmq_region_in_use(const shmq_view *view, uint32_t region, uint32_t head_region,
                                     uint64_t head, uint64_t tail) {
  /* relaxed: written by the tail's owners, ordered by the owner word. */
  uint64_t entered = load_relaxed(&view->regions[region].entered);
  return region == head_region || entered - head < tail - head;
}

/* How far slots may go in a region: what is backed, less the room for a jump (R1). */
static inline uint64_t shmq_region_limit(const shmq_view *view, uint32_t region) {
  /* acquire: pairs with the release store in shmq_ring_grow: memory before the word for it. */
  uint64_t backed = load_acquire(&view->regions[region].backed);
  if (backed > shmq_region_bytes(region)) backed = shmq_region_bytes(region);
  backed -= backed % SHMQ_RECORD_ALIGNMENT;
  return shmq_region_start(region) + backed - (backed < SHMQ_JUMP_BYTES ? backed : SHMQ_JUMP_BYTES);
}

/* By the owner of the tail, which stands at `tail`: finds room for a slot of `bytes` at or after
 * *position, where that of `sequence` would come (a later one, in a batch); writes the jump if it is not right there. OK, GROW (with *growth), NO_MEMORY
 * when the address range is used up, or CORRUPT. `head_sequence`: the head, as far as it is known to
 * have come, for the caller's own accounts. */
static shmq_status __attribute__((noinline, unused)) shmq_make_room(
    const shmq_view *view, uint64_t tail, uint64_t sequence, uint64_t bytes, uint64_t *position,
    uint64_t *room_end, uint64_t *head_sequence, shmq_growth *growth) {
  uint64_t head;
  uint32_t region = shmq_region_of(*position);
  uint64_t start = shmq_region_start(region), limit = shmq_region_limit(view, region);
  /* Beyond what is backed there is no slot (R1): growing up to there would be a scribbler's wish. */
  if (*position > limit) return SHMQ_CORRUPT;
  if (!shmq_seen_place(view, shmq_head(view), head_sequence, &head)) return SHMQ_CORRUPT;
  uint32_t head_region = shmq_region_of(head);
  int is_alone = head_region == region;         /* no other region is in use */
  int is_behind = is_alone && head > *position; /* we went round, the head did not */
  uint64_t end = is_behind ? head - SHMQ_JUMP_BYTES : limit;

  if (*position + bytes <= end) {
    *room_end = end;
    return SHMQ_OK;
  }
  if (!is_behind) {
    uint64_t before_head = is_alone ? head - start : 0;
    uint64_t wanted = *position - start + bytes + SHMQ_JUMP_BYTES;
    int is_whole = wanted > shmq_region_bytes(region);
    if (is_alone && region > 0 && *position - head < SHMQ_FIRST_REGION / 2) {
      /* Back to the first region, which is not in use: what is in the ring is little by now. */
      shmq_write_jump(view, sequence, *position, 0);
      *position = 0;
      *room_end = shmq_region_limit(view, 0);
      return SHMQ_OK;
    }
    /* Round, if there is no more to be had here; in the first region, which is to stay small, also
     * if most of it is free. A larger one is used up before the next is entered, so that a region
     * is entered for a backlog of its size and not for less. */
    if (bytes + SHMQ_JUMP_BYTES <= before_head &&
        (is_whole || growth->is_refused ||
         (region == 0 && before_head > (limit - start) / 2))) {
      shmq_write_jump(view, sequence, *position, start);
      *position = start;
      *room_end = head - SHMQ_JUMP_BYTES;
      return SHMQ_OK;
    }
    if (!is_whole) {
      growth->region = region;
      growth->bytes = wanted;
      return SHMQ_GROW;
    }
  }

  /* On to the next larger one that is not in use; those that this batch has entered are smaller. */
  uint32_t next = region + 1;
  while (next < view->region_count &&
         (shmq_region_in_use(view, next, head_region, *head_sequence, tail) ||
          bytes + SHMQ_JUMP_BYTES > shmq_region_bytes(next)))
    next++;
  if (next >= view->region_count) return SHMQ_NO_MEMORY;
  start = shmq_region_start(next);
  limit = shmq_region_limit(view, next);
  if (start + bytes > limit) {
    growth->region = next;
    growth->bytes = bytes + SHMQ_JUMP_BYTES;
    return SHMQ_GROW;
  }
  /* relaxed: ordered by the owner word. Killed before the commit: in use for longer than it is. */
  store_relaxed(&view->regions[next].entered, sequence);
  shmq_write_jump(view, sequence, *position, start);
  *position = start;
  *room_end = limit;
  return SHMQ_OK;
}

/* Back to the first region, and memory to the system: see growth.h. */
static void shmq_ring_trim(shmq_view *view);

#endif
