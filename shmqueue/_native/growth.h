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
  if (backed < growth->bytes) {
    /* As much again as there is, so that a burst asks seldom; in steps that nobody waits for long. */
    uint64_t step = backed < largest_step ? backed : largest_step;
    if (step < SHMQ_FIRST_BACKED) step = SHMQ_FIRST_BACKED;
    uint64_t wanted = shmq_round_up(backed + step, SHMQ_PAGE);
    if (wanted < growth->bytes) wanted = shmq_round_up(growth->bytes, SHMQ_PAGE);
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

/* By the owner of pool and tail, with the ring empty: both ends go back to the first region. */
static inline void shmq_ring_go_back(const shmq_view *view, uint64_t sequence, uint64_t position) {
  shmq_end *head = shmq_head(view), *tail = shmq_tail(view);
  uint64_t head_position;
  if (!shmq_end_try_acquire_or_evict(view, head)) return;
  /* relaxed: we own both ends. */
  if (load_relaxed(&head->sequence) == sequence &&
      shmq_own_place(view, head, sequence, &head_position) && head_position == position) {
    /* Killed between the two stores, the head still finds the way: by this jump. */
    shmq_write_jump(view, sequence, position, 0);
    /* relaxed: we own both ends; the jump is read by whoever acquires a tail beyond it. */
    store_relaxed(&tail->place[load_relaxed(&tail->place[0].sequence) != sequence].position, 0);
    store_relaxed(&head->place[load_relaxed(&head->place[0].sequence) != sequence].position, 0);
  }
  shmq_end_release(head);
}

/* Takes an empty ring back to its first region, and gives the memory of regions that are not in use
 * back to the system. Waits for nobody: if a word is held, the next who empties the ring does it. */
static void __attribute__((noinline, unused)) shmq_ring_trim(const shmq_view *view) {
  shmq_end *pool = shmq_pool_end(view), *tail = shmq_tail(view);
  uint64_t head_sequence, position, head_position;
  uint32_t idle[SHMQ_MAX_REGIONS], idle_count = 0;
  if (!shmq_end_try_acquire_or_evict(view, pool)) return;
  if (!shmq_end_try_acquire_or_evict(view, tail)) {
    shmq_end_release(pool);
    return;
  }
  uint64_t sequence = load_relaxed(&tail->sequence); /* relaxed: we are its owner */
  if (shmq_own_place(view, tail, sequence, &position) && shmq_region_of(position) > 0 &&
      load_acquire(&shmq_head(view)->sequence) == sequence) /* acquire: it was emptied */
    shmq_ring_go_back(view, sequence, position);
  if (shmq_own_place(view, tail, sequence, &position) &&
      shmq_seen_place(view, shmq_head(view), &head_sequence, &head_position)) {
    uint32_t first = shmq_region_of(head_position), last = shmq_region_of(position);
    for (uint32_t region = 1; region < view->region_count; region++) {
      /* relaxed: changed under the pool's word, which we hold. */
      if (load_relaxed(&view->regions[region].dirty) == 0) continue;
      int in_use = first <= last ? first <= region && region <= last /* R2 */
                                 : region == first || region <= last;
      if (in_use) continue;
      store_relaxed(&view->regions[region].backed, 0); /* relaxed: we own the tail (R3) */
      idle[idle_count++] = region;
    }
  }
  shmq_end_release(tail);
  for (uint32_t i = 0; i < idle_count; i++) {
    shmq_region *region = &view->regions[idle[i]];
    uint64_t bytes = load_relaxed(&region->dirty); /* relaxed: as above */
    if (bytes > shmq_region_bytes(idle[i])) bytes = shmq_region_bytes(idle[i]);
    if (!shmq_fd_is_ours(view) ||
        fallocate(view->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(view->slots_offset + shmq_region_start(idle[i])), (off_t)bytes) != 0)
      continue;
    store_relaxed(&region->dirty, 0); /* relaxed: as above */
  }
  shmq_end_release(pool);
}

#endif
