/* Views: how much of the pool the objects of consumers use, and how much they may.
 *
 * What a consumer got in place stays in its block until the consumer drops it, which may be never.
 * So all processes together may use so many bytes of blocks this way, and so many blocks; beyond
 * that, items are copied out, and a consumer that keeps every array can't keep the producers from
 * theirs.
 *
 * A row for each seat says what its process uses, the pool's end has their sum. All of it is hints:
 * who dies leaves the sum too large, which is found out by adding up the living, when the limit is
 * reached. A row is written by its seat's process alone, and by the next holder of the seat.
 *
 * The rows' memory is reserved when a process first gets a large item. `view_rows` counts those
 * that have it; no other is looked at, since there would be memory to be had for it first.
 */
#ifndef SHMQ_VIEWS_H
#define SHMQ_VIEWS_H

#include "blocks.h"

typedef struct {
  uint64_t bytes;
  uint64_t blocks;
} shmq_viewed;

/* Reserves the rows up to that of a seat; nonzero if they have memory then. */
static int __attribute__((noinline, unused)) shmq_views_reserve(const shmq_view *view,
                                                                uint32_t seat) {
  const uint64_t bytes = shmq_round_up((seat + UINT64_C(1)) * sizeof(shmq_views), SHMQ_PAGE);
  if (!shmq_fd_is_ours(view) ||
      fallocate(view->fd, 0, (off_t)view->views_offset, (off_t)bytes) != 0)
    return 0;
  /* relaxed: private; of two threads, the one that knows less may be later, and asks again. */
  store_relaxed((uint32_t *)&view->known_views, (uint32_t)(bytes / sizeof(shmq_views)));
  return 1;
}

/* The row of a seat, or NULL where there is no memory for it yet. What the segment says of that is
 * not enough: a process reserves once more what it has not reserved itself. */
static inline shmq_views *shmq_views_of(const shmq_view *view, uint32_t seat) {
  /* acquire: pairs with the release in shmq_views_begin: reserved, then counted. */
  uint64_t rows = load_acquire(&shmq_pool_end(view)->view_rows);
  if (seat >= rows || seat >= view->max_seats) return NULL;
  if (seat >= load_relaxed(&view->known_views) && /* relaxed: private */
      !shmq_views_reserve(view, seat))
    return NULL;
  return &view->views[seat];
}

/* Gives this process its seat's row, with nothing of the seat's last holder in it: on taking the seat
 * if the row is there, and before the first large item is got with `reserve`. Without memory for it
 * there is none, and nothing is viewed. */
static inline void shmq_views_begin(shmq_view *view, int reserve) {
  const uint32_t seat = view->seat_index;
  shmq_views *row;
  view->own_views = NULL;
  if (reserve && shmq_views_of(view, seat) == NULL) {
    uint64_t *rows = &shmq_pool_end(view)->view_rows;
    uint64_t seen = load_relaxed(rows); /* relaxed: the exchange looks again */
    if (!shmq_views_reserve(view, seat)) return;
    uint64_t reserved = load_relaxed(&view->known_views); /* relaxed: private */
    while (seen < reserved && /* acq_rel: reserved, then counted */
           !cas_acq_rel(rows, &seen, reserved)) {
    }
  }
  row = shmq_views_of(view, seat);
  if (row == NULL) return;
  /* relaxed, all of these: statistics and hints; the seat is ours. */
  store_relaxed(&row->bytes, 0);
  store_relaxed(&row->blocks, 0);
  store_relaxed(&row->base_viewed, load_relaxed(&row->items_viewed));
  store_relaxed(&row->base_copied, load_relaxed(&row->items_copied));
  view->own_views = row;
}

/* Would one block more be within the limits: bytes, and a quarter of the table? */
static inline int shmq_viewed_is_within(const shmq_view *view, shmq_viewed sum, uint64_t bytes) {
  return sum.bytes + bytes <= view->view_limit_bytes && sum.blocks < view->max_blocks / 4;
}

static inline shmq_viewed shmq_viewed_by_the_living(const shmq_view *view) {
  shmq_viewed sum = {0, 0};
  for (uint32_t seat = 0; seat < shmq_seats_granted(view); seat++) {
    const shmq_views *row = shmq_views_of(view, seat);
    if (row == NULL) break;
    /* relaxed, both: hints; of one who has just come they may be the last holder's. */
    int64_t bytes = (int64_t)load_relaxed(&row->bytes);
    int64_t blocks = (int64_t)load_relaxed(&row->blocks);
    if (bytes <= 0 || blocks <= 0 || shmq_seat_is_held(view, seat) == 0) continue;
    sum.bytes += (uint64_t)bytes;
    sum.blocks += (uint64_t)blocks;
  }
  return sum;
}

/* May this process view one block more? */
static inline int shmq_may_view(const shmq_view *view, uint64_t bytes) {
  shmq_end *pool = shmq_pool_end(view);
  /* relaxed, both: hints. */
  shmq_viewed sum = {load_relaxed(&pool->viewed_bytes), load_relaxed(&pool->viewed_blocks)};
  if (view->own_views == NULL) return 0;
  if (shmq_viewed_is_within(view, sum, bytes)) return 1;
  sum = shmq_viewed_by_the_living(view);
  /* relaxed, both: hints, corrected. */
  store_relaxed(&pool->viewed_bytes, sum.bytes);
  store_relaxed(&pool->viewed_blocks, sum.blocks);
  return shmq_viewed_is_within(view, sum, bytes);
}

/* Counts a block that is viewed from now on; 0 where there is no row to count it in. */
static inline int shmq_viewed_add(const shmq_view *view, uint64_t bytes) {
  shmq_end *pool = shmq_pool_end(view);
  if (view->own_views == NULL) return 0;
  /* relaxed, all of these: hints. The sum first: killed in between it is too large, which is found
   * out when the limit is reached. */
  fetch_add_relaxed(&pool->viewed_bytes, bytes);
  fetch_add_relaxed(&pool->viewed_blocks, 1);
  fetch_add_relaxed(&view->own_views->bytes, bytes);
  fetch_add_relaxed(&view->own_views->blocks, 1);
  return 1;
}

static inline void shmq_viewed_subtract(const shmq_view *view, uint64_t bytes) {
  shmq_end *pool = shmq_pool_end(view);
  /* relaxed, all of these: hints, in the other order for the same reason. */
  fetch_add_relaxed(&view->own_views->bytes, 0 - bytes);
  fetch_add_relaxed(&view->own_views->blocks, (uint64_t)-1);
  fetch_add_relaxed(&pool->viewed_bytes, 0 - bytes);
  fetch_add_relaxed(&pool->viewed_blocks, (uint64_t)-1);
}

/* Counts a large item that was got, one way or the other. */
static inline void shmq_count_large(const shmq_view *view, int in_place) {
  if (view->own_views == NULL) return;
  /* relaxed: a statistic; several threads of this process may count at once. */
  fetch_add_relaxed(in_place ? &view->own_views->items_viewed : &view->own_views->items_copied, 1);
}

#endif
