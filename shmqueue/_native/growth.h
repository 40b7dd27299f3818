/* Memory for a growing ring, and its return: see regions.h for what holds. */
#ifndef SHMQ_GROWTH_H
#define SHMQ_GROWTH_H

#include "blocks.h"

/* Backs at least so much of a region: OK, BUSY (the pool's word), or what reserving memory says. */
static inline shmq_status shmq_ring_grow(const shmq_view *view, const shmq_growth *growth) {
  const uint64_t largest_step = UINT64_C(4) << 20;
  shmq_end *pool = shmq_pool_end(view);
  shmq_region *region = &view->regions[growth->region];
  const uint64_t whole = shmq_region_bytes(growth->region);
  shmq_status status = SHMQ_OK;
  if (!shmq_end_try_acquire(view, pool)) return SHMQ_BUSY;
  /* relaxed: changed under the pool's word, which we hold. */
  uint64_t backed = load_relaxed(&region->backed);
  const uint64_t least = growth->bytes < whole ? growth->bytes : whole;
  if (backed < least) {
    /* As much again as there is, so that a burst asks seldom; in steps that nobody waits for long. */
    uint64_t step = backed < largest_step ? backed : largest_step;
    if (step < SHMQ_FIRST_BACKED) step = SHMQ_FIRST_BACKED;
    uint64_t wanted = shmq_round_up(backed + step, SHMQ_PAGE);
    if (wanted < least) wanted = shmq_round_up(least, SHMQ_PAGE);
    if (wanted > whole) wanted = whole;
    uint64_t offset = view->slots_offset + shmq_region_start(growth->region) + backed;
    /* relaxed, before the call: whatever memory it leaves when we are killed in it is found (R3).
     * The kernel orders the two. */
    if (load_relaxed(&region->dirty) < wanted) store_relaxed(&region->dirty, wanted);
    status = shmq_reserve(view, offset, wanted - backed);
    /* release: memory before the word for it; pairs with shmq_region_limit. */
    if (status == SHMQ_OK) store_release(&region->backed, wanted);
  }
  shmq_end_release(pool);
  return status;
}

static inline int shmq_end_try_acquire_or_evict(const shmq_view *view, shmq_end *end) {
  return shmq_end_try_acquire(view, end) ||
         (shmq_end_evict_dead(view, end) && shmq_end_try_acquire(view, end));
}

/* By the owner of pool and tail, with the ring empty: both ends go back to the first region; or the head
 * does, if whoever took the tail there was killed half-way. */
static inline void shmq_ring_go_back(const shmq_view *view, uint64_t sequence, uint64_t position) {
  shmq_end *head = shmq_head(view), *tail = shmq_tail(view);
  uint64_t head_position;
  if (!shmq_end_try_acquire_or_evict(view, head)) return;
  /* relaxed: we own both ends. */
  if (load_relaxed(&head->sequence) == sequence &&
      shmq_own_place(view, head, sequence, &head_position)) {
    if (head_position == position && shmq_region_of(position) > 0) {
      /* Killed between the two stores, the head still finds the way: by this jump. */
      shmq_write_jump(view, sequence, position, 0);
      position = 0;
      /* relaxed: we own the tail; the jump is read by whoever acquires a tail beyond it. */
      store_relaxed(&tail->place[load_relaxed(&tail->place[0].sequence) != sequence].position, 0);
    }
    /* relaxed: we own the head, and no jump is between its place and the tail's any more. */
    store_relaxed(&head->place[load_relaxed(&head->place[0].sequence) != sequence].position,
                  position);
  }
  shmq_end_release(head);
}

/* Gives the memory of a region back that is not in use, in pieces, as long as nobody else wants the
 * pool's word. 0 when somebody does: then a later trim goes on. */
static inline int shmq_region_give_back(const shmq_view *view, uint32_t index) {
  const uint64_t piece = UINT64_C(16) << 20;
  shmq_end *pool = shmq_pool_end(view);
  shmq_region *region = &view->regions[index];
  for (;;) {
    /* relaxed, all: changed under the pool's word, which we hold. Backed again: in use again. */
    uint64_t bytes = load_relaxed(&region->dirty);
    if (bytes == 0 || load_relaxed(&region->backed) != 0) return 1;
    if (bytes > shmq_region_bytes(index)) bytes = shmq_region_bytes(index);
    uint64_t left = bytes > piece ? bytes - piece : 0;
    if (!shmq_fd_is_ours(view) ||
        fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(view->slots_offset + shmq_region_start(index) + left),
                  (off_t)(bytes - left)) != 0)
      return 1;
    store_relaxed(&region->dirty, left);
    if (left == 0) return 1;
    if (load_relaxed(&pool->owner) & SHMQ_CONTENDED) return 0; /* relaxed: a hint */
  }
}

/* Takes an empty ring back to its first region, and gives the memory of regions that are not in use
 * back to the system. Waits for nobody: if a word is held or wanted, it stays due. */
static void __attribute__((noinline, unused)) shmq_ring_trim(shmq_view *view) {
  shmq_end *pool = shmq_pool_end(view), *tail = shmq_tail(view);
  uint64_t head_sequence, position, head_position;
  store_relaxed(&view->trim_is_due, 0); /* relaxed: private */
  if (view->region_count == 0) return;
  if (!shmq_end_try_acquire_or_evict(view, pool)) {
    store_relaxed(&view->trim_is_due, 1); /* relaxed: private */
    return;
  }
  if (!shmq_end_try_acquire_or_evict(view, tail)) {
    store_relaxed(&view->trim_is_due, 1); /* relaxed: private */
    shmq_end_release(pool);
    return;
  }
  uint64_t sequence = load_relaxed(&tail->sequence); /* relaxed: we are its owner */
  if (shmq_own_place(view, tail, sequence, &position) &&
      shmq_seen_place(view, shmq_head(view), &head_sequence, &head_position) &&
      head_sequence == sequence && (shmq_region_of(position) | shmq_region_of(head_position)) > 0)
    shmq_ring_go_back(view, sequence, position);
  if (shmq_own_place(view, tail, sequence, &position) &&
      shmq_seen_place(view, shmq_head(view), &head_sequence, &head_position)) {
    uint32_t head_region = shmq_region_of(head_position), tail_region = shmq_region_of(position);
    for (uint32_t region = 1; region < view->region_count; region++) {
      /* relaxed: we own the tail (R3); the next who backs it has the pool's word after us. */
      if (region != tail_region &&
          !shmq_region_in_use(view, region, head_region, head_sequence, sequence))
        store_relaxed(&view->regions[region].backed, 0);
    }
  }
  shmq_end_release(tail);
  for (uint32_t region = 1; region < view->region_count; region++) {
    if (shmq_region_give_back(view, region)) continue;
    store_relaxed(&view->trim_is_due, 1); /* relaxed: private */
    break;
  }
  shmq_end_release(pool);
}

#endif
