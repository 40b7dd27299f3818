/* What can be seen from outside, without a lock: a past but consistent view for metrics. */
#ifndef SHMQ_SNAPSHOT_H
#define SHMQ_SNAPSHOT_H

#include "views.h"

typedef struct {
  uint64_t items_put;
  uint64_t bytes_put;
  uint64_t blocked_full_count;
  uint64_t blocked_full_ns;
  uint64_t items_got;
  uint64_t bytes_got;
  uint64_t blocked_empty_count;
  uint64_t blocked_empty_ns;
  uint64_t takeovers;
  uint64_t items_viewed;
  uint64_t items_copied;
} shmq_counters;

typedef struct {
  uint64_t tail;
  uint64_t head;
  uint64_t high_water_mark;
  uint64_t oldest_put_ns;
  uint64_t pool_bytes;
  uint64_t pool_free_bytes;
  uint64_t view_bytes;
  shmq_counters totals; /* over all who ever sat anywhere; items from the ends, which are exact */
} shmq_snapshot;

typedef struct {
  shmq_counters own; /* since the seat was granted */
  uint64_t attached_ns;
  uint64_t active_ns; /* last put or get, or the grant */
  uint64_t view_bytes; /* of blocks that its objects use */
  uint32_t pid;       /* 0: left in order */
} shmq_seat_snapshot;

/* The two sequences as they stood at one moment: head is read again, and only a tail that was read
 * between two equal heads counts (a seqlock, with the sequence as its own stamp). */
static inline void shmq_snapshot_ends(const shmq_view *view, uint64_t *head, uint64_t *tail) {
  /* acquire, all three: the order of the reads is what makes it consistent; pairs with the commits. */
  *head = load_acquire(&shmq_head(view)->sequence);
  for (int attempt = 0; attempt < 1000; attempt++) {
    *tail = load_acquire(&shmq_tail(view)->sequence);
    uint64_t again = load_acquire(&shmq_head(view)->sequence);
    if (again == *head) return;
    *head = again;
  }
  if (*tail - *head > view->capacity) *tail = *head; /* takers outran us a thousand times */
}

static inline void shmq_counters_read(const shmq_view *view, uint32_t index,
                                      shmq_counters *counters) {
  const shmq_seat *seat = &view->seats[index];
  const shmq_views *views = shmq_views_of(view, index);
  /* relaxed, all of these: statistics, each of which only grows. */
  counters->items_put = load_relaxed(&seat->items_put);
  counters->bytes_put = load_relaxed(&seat->bytes_put);
  counters->blocked_full_count = load_relaxed(&seat->blocked_full_count);
  counters->blocked_full_ns = load_relaxed(&seat->blocked_full_ns);
  counters->items_got = load_relaxed(&seat->items_got);
  counters->bytes_got = load_relaxed(&seat->bytes_got);
  counters->blocked_empty_count = load_relaxed(&seat->blocked_empty_count);
  counters->blocked_empty_ns = load_relaxed(&seat->blocked_empty_ns);
  counters->takeovers = load_relaxed(&seat->takeovers);
  counters->items_viewed = views == NULL ? 0 : load_relaxed(&views->items_viewed);
  counters->items_copied = views == NULL ? 0 : load_relaxed(&views->items_copied);
}

static inline void shmq_snapshot_take(const shmq_view *view, shmq_snapshot *snapshot) {
  memset(snapshot, 0, sizeof(*snapshot));
  shmq_snapshot_ends(view, &snapshot->head, &snapshot->tail);
  snapshot->high_water_mark =
      load_relaxed(&shmq_tail(view)->high_water_mark); /* relaxed: a statistic */
  if (snapshot->tail - snapshot->head > snapshot->high_water_mark) {
    snapshot->high_water_mark = snapshot->tail - snapshot->head;
    /* relaxed: a sample beside the owner's own, so that what was once shown doesn't go back. */
    store_relaxed(&shmq_tail(view)->high_water_mark, snapshot->high_water_mark);
  }
  snapshot->oldest_put_ns = shmq_oldest_put_ns(view);
  shmq_pool_usage(view, &snapshot->pool_bytes, &snapshot->pool_free_bytes);
  for (uint32_t seat = 0; seat < shmq_seats_granted(view); seat++) {
    shmq_counters row;
    shmq_counters_read(view, seat, &row);
    snapshot->totals.bytes_put += row.bytes_put;
    snapshot->totals.blocked_full_count += row.blocked_full_count;
    snapshot->totals.blocked_full_ns += row.blocked_full_ns;
    snapshot->totals.bytes_got += row.bytes_got;
    snapshot->totals.blocked_empty_count += row.blocked_empty_count;
    snapshot->totals.blocked_empty_ns += row.blocked_empty_ns;
    snapshot->totals.takeovers += row.takeovers;
    snapshot->totals.items_viewed += row.items_viewed;
    snapshot->totals.items_copied += row.items_copied;
  }
  snapshot->view_bytes = shmq_viewed_by_the_living(view).bytes;
  snapshot->totals.items_put = snapshot->tail;
  snapshot->totals.items_got = snapshot->head;
}

/* One row; 0 for a seat that nobody sits in, or that its last holder left in order. */
static inline int shmq_snapshot_seat(const shmq_view *view, uint32_t index,
                                     shmq_seat_snapshot *row) {
  const shmq_seat *seat = &view->seats[index];
  const shmq_views *views = shmq_views_of(view, index);
  uint64_t put_ns, got_ns;
  /* relaxed, all of these: as above. */
  row->pid = load_relaxed(&seat->pid);
  if (row->pid == 0) return 0;
  shmq_counters_read(view, index, &row->own);
  row->own.items_put -= load_relaxed(&seat->base[0]);
  row->own.bytes_put -= load_relaxed(&seat->base[1]);
  row->own.blocked_full_count -= load_relaxed(&seat->base[2]);
  row->own.blocked_full_ns -= load_relaxed(&seat->base[3]);
  row->own.items_got -= load_relaxed(&seat->base[4]);
  row->own.bytes_got -= load_relaxed(&seat->base[5]);
  row->own.blocked_empty_count -= load_relaxed(&seat->base[6]);
  row->own.blocked_empty_ns -= load_relaxed(&seat->base[7]);
  row->own.takeovers -= load_relaxed(&seat->base_takeovers);
  row->view_bytes = 0;
  if (views != NULL) {
    if ((int64_t)load_relaxed(&views->bytes) > 0) row->view_bytes = load_relaxed(&views->bytes);
    row->own.items_viewed -= load_relaxed(&views->base_viewed);
    row->own.items_copied -= load_relaxed(&views->base_copied);
  }
  row->attached_ns = load_relaxed(&seat->attached_ns);
  put_ns = load_relaxed(&seat->last_put_ns);
  got_ns = load_relaxed(&seat->last_get_ns);
  row->active_ns = put_ns > got_ns ? put_ns : got_ns;
  if (row->active_ns < row->attached_ns) row->active_ns = row->attached_ns;
  return 1;
}

#endif
