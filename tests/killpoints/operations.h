/* What a process is killed in: the operations, as the extension modules put them together out of the
 * protocol, without Python in between. `prepare` comes before the first mark, `act` is stepped. */
#ifndef KILLPOINTS_OPERATIONS_H
#define KILLPOINTS_OPERATIONS_H

#include "items.h"
#include "segment.h"

#define BATCH 3u
#define MOST_TAKEN 16u
#define FIRST_PUT 500u /* ids of what the killed put; those of one who took over from the killed: */
#define FIRST_PUT_AGAIN 600u

static const shmq_handle never_closed;

/* Whoever does an operation: the one who is killed, a sleeper, or the survivor. */
typedef struct {
  shmq_view *view;
  uint64_t deadline_ns;
  uint64_t first_id; /* of what it puts */
  uint32_t block;    /* in hand from `prepare`, or SHMQ_NO_BLOCK */
  shmq_loan loan;
  uint64_t count; /* items that it took */
  shmq_taken taken[MOST_TAKEN];
  uint64_t ids[MOST_TAKEN]; /* what they were, those in slots by actor_read */
  uint64_t buffer_bytes;
  /* In a stream: */
  shmq_reader *reader; /* of the group that it takes from: `reading`, or NULL */
  shmq_reader reading;
  uint32_t joined; /* the group that it joined or opened, and the state of that one's head */
  uint32_t joined_state;
  uint32_t writer; /* its row among the writers */
} actor;

/* Where each process has what it took from slots. Who is stepped uses little of it: else most of its
 * instructions would be those of one copy. */
static uint8_t buffer[MOST_TAKEN << 14];
#define STEPPED_BUFFER 2048u

static void actor_init(actor *who, shmq_view *view, uint64_t first_id, uint64_t patience_ns) {
  memset(who, 0, sizeof(*who));
  who->view = view;
  who->first_id = first_id;
  who->block = SHMQ_NO_BLOCK;
  who->buffer_bytes = sizeof(buffer);
  who->deadline_ns = patience_ns == 0 ? 0 : now_ns() + patience_ns;
}

/* ---- putting ------------------------------------------------------------------------------------- */

static shmq_status put_records(actor *who, const shmq_record *records, uint64_t count) {
  shmq_growth growth = {0};
  shmq_waiter waiter;
  shmq_status status;
  if (count == 1 && shmq_try_put(who->view, records, 1, &growth) == SHMQ_OK) return SHMQ_OK;
  shmq_waiter_init(&waiter, who->deadline_ns, count, &never_closed);
  do {
    status = shmq_put(who->view, records, count, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

static shmq_record short_record(void *bytes, uint64_t id) {
  shmq_record record = {bytes, (uint32_t)short_bytes(id), KIND_OF_ITEM, 0, short_bytes(id)};
  item_fill(bytes, id, short_bytes(id));
  return record;
}

static shmq_status take_block(actor *who, uint64_t bytes, uint32_t *block) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_block_take(who->view, bytes, block, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

static shmq_record block_record(shmq_block_ref *ref, uint32_t block, uint64_t bytes) {
  shmq_record record = {ref, sizeof(*ref), KIND_OF_ITEM, SHMQ_SLOT_IN_BLOCK, bytes};
  ref->block = block;
  ref->reserved = 0;
  ref->length = bytes;
  return record;
}

static shmq_status put_short(actor *who, uint64_t id) {
  uint8_t bytes[64];
  shmq_record record = short_record(bytes, id);
  return put_records(who, &record, 1);
}

static shmq_status put_in_block(actor *who, uint64_t id, uint64_t bytes) {
  shmq_block_ref ref;
  uint32_t block;
  shmq_status status = take_block(who, bytes, &block);
  if (status != SHMQ_OK) return status;
  item_fill(shmq_block_bytes(who->view, block, bytes), id, bytes);
  shmq_record record = block_record(&ref, block, bytes);
  status = put_records(who, &record, 1);
  if (status != SHMQ_OK) shmq_block_free(who->view, block);
  return status;
}

/* A batch of short items; with `in_block`, the middle one is a long one. */
static shmq_status put_several(actor *who, int in_block) {
  uint8_t bytes[BATCH][64];
  shmq_record records[BATCH];
  shmq_block_ref ref;
  uint32_t block = SHMQ_NO_BLOCK;
  for (uint32_t i = 0; i < BATCH; i++) records[i] = short_record(bytes[i], who->first_id + i);
  if (in_block) {
    shmq_status status = take_block(who, BLOCK_BYTES, &block);
    if (status != SHMQ_OK) return status;
    item_fill(shmq_block_bytes(who->view, block, BLOCK_BYTES), who->first_id + 1, BLOCK_BYTES);
    records[1] = block_record(&ref, block, BLOCK_BYTES);
  }
  shmq_status status = put_records(who, records, BATCH);
  if (status != SHMQ_OK && block != SHMQ_NO_BLOCK) shmq_block_free(who->view, block);
  return status;
}

/* ---- taking -------------------------------------------------------------------------------------- */

static void tidy_up(actor *who) {
  shmq_view *view = who->view;
  shmq_waiter waiter;
  if (view->trim_is_due) shmq_ring_trim(view);
  /* relaxed: as the core looks at it. */
  if (load_relaxed(&shmq_head(view)->state) & SHMQ_END_POLLED && !shmq_poll_is_settled(view)) {
    shmq_waiter_init(&waiter, now_ns() + 1000 * SHMQ_MS, 1, &never_closed);
    shmq_status status;
    do {
      status = shmq_end_do(view, shmq_tail(view), SHMQ_DO_SETTLE, &waiter);
    } while (status == SHMQ_INTERRUPTED);
    shmq_waiter_end(view, &waiter, status != SHMQ_OK);
  }
}

static shmq_status take_items(actor *who, uint64_t most, uint8_t *to, uint64_t bytes) {
  shmq_waiter waiter;
  shmq_status status = SHMQ_EMPTY;
  who->count = 0;
  if (most == 1 && who->reader == NULL)
    status = shmq_try_take(who->view, 1, to, bytes, UINT64_MAX, who->taken, &who->count);
  if (most == 1 && who->reader != NULL)
    status = shmq_try_take_of_group(who->view, who->reader, 1, to, bytes, UINT64_MAX, who->taken,
                                    &who->count);
  if (status != SHMQ_OK && status != SHMQ_NEED && status != SHMQ_CORRUPT) {
    shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
    waiter.reader = who->reader;
    do {
      status = shmq_take(who->view, most, to, bytes, UINT64_MAX, who->taken, &who->count,
                         &waiter);
    } while (status == SHMQ_INTERRUPTED);
    shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  }
  tidy_up(who);
  if (status != SHMQ_NEED || who->reader == NULL || who->reader->pinner != SHMQ_NO_PINNER)
    return status;
  /* A large item of a stream: only now a number to pin it by is needed. */
  who->reader->pinner = shmq_pinner_take(who->view);
  return who->reader->pinner == SHMQ_NO_PINNER ? SHMQ_NO_SEAT : take_items(who, most, to, bytes);
}

static uint32_t pinner_of(const actor *who) {
  return who->reader == NULL ? SHMQ_NO_PINNER : who->reader->pinner;
}

/* Takes items as a get does: what came in a block is looked at there, and the block given back. */
static shmq_status get_items(actor *who, uint64_t most) {
  shmq_status status = take_items(who, most, buffer, who->buffer_bytes);
  if (status != SHMQ_OK) {
    who->count = 0;
    return status;
  }
  shmq_taken *first = &who->taken[0];
  if (first->block != SHMQ_NO_BLOCK) {
    const uint8_t *bytes = shmq_block_bytes(who->view, first->block, first->length);
    who->ids[0] = bytes == NULL ? UINT64_MAX : item_read(bytes, first->length);
    shmq_block_let_go(who->view, first->block, pinner_of(who));
  }
  return status;
}

/* Says what the items in slots were: from private memory, afterwards. */
static void actor_read(actor *who) {
  for (uint64_t i = 0; i < who->count; i++)
    if (who->taken[i].block == SHMQ_NO_BLOCK)
      who->ids[i] = item_read(buffer + who->taken[i].offset, who->taken[i].length);
}

/* ---- blocks in hand ------------------------------------------------------------------------------ */

static shmq_status view_item(actor *who) {
  shmq_view *view = who->view;
  if (view->own_views == NULL) shmq_views_begin(view, 1);
  shmq_status status = take_items(who, 1, buffer, who->buffer_bytes);
  if (status != SHMQ_OK) return status;
  const shmq_taken *item = &who->taken[0];
  if (item->block == SHMQ_NO_BLOCK) return SHMQ_OK;
  if (!shmq_loan_begin(&who->loan, view, item->block, item->length, 0, pinner_of(who)))
    return SHMQ_CORRUPT;
  if (!shmq_loan_lend(&who->loan)) return SHMQ_NO_MEMORY;
  shmq_count_large(view, 1);
  who->ids[0] = item_read(shmq_loan_memory(&who->loan), item->length);
  return SHMQ_OK;
}

static shmq_status reserve_item(actor *who) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_await_room(who->view, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, 1);
  if (status != SHMQ_OK) return status;
  status = take_block(who, BLOCK_BYTES, &who->block);
  if (status != SHMQ_OK) return status;
  if (!shmq_loan_begin(&who->loan, who->view, who->block, BLOCK_BYTES, 1, SHMQ_NO_PINNER))
    return SHMQ_CORRUPT;
  if (!shmq_loan_lend(&who->loan)) return SHMQ_NO_MEMORY;
  if (who->view->own_views == NULL) shmq_views_begin(who->view, 1);
  item_fill(shmq_loan_memory(&who->loan), who->first_id, BLOCK_BYTES);
  return SHMQ_OK;
}

static shmq_status commit_item(actor *who) {
  shmq_block_ref ref;
  uint32_t block = shmq_loan_take_block(&who->loan);
  shmq_loan_end(&who->loan);
  if (block == SHMQ_NO_BLOCK) return SHMQ_CORRUPT;
  shmq_record record = block_record(&ref, block, BLOCK_BYTES);
  shmq_status status = put_records(who, &record, 1);
  if (status != SHMQ_OK) shmq_block_free(who->view, block);
  return status;
}

static shmq_status end_loan(actor *who) {
  if (who->loan.view != NULL) shmq_loan_end(&who->loan);
  return SHMQ_OK;
}

static shmq_status keep_draft(actor *who) {
  shmq_loan_keep(&who->loan);
  return SHMQ_OK;
}

/* What a process does with its views when it forks, and then drops what they became. */
static shmq_status fork_with_view(actor *who) {
  shmq_loans_before_fork();
  shmq_loans_after_fork_in_parent();
  return end_loan(who);
}

/* ---- the whole queue ----------------------------------------------------------------------------- */

static shmq_status attach(actor *who) {
  shmq_status status = take_seat(who->view);
  if (status == SHMQ_OK) shmq_sweep_after_the_dead(who->view);
  return status;
}

static shmq_status leave(actor *who) {
  shmq_seat_leave(who->view);
  return SHMQ_OK;
}

static shmq_status sweep(actor *who) {
  shmq_sweep_after_the_dead(who->view);
  return SHMQ_OK;
}

static shmq_status do_to_end(actor *who, shmq_end *end, shmq_deed deed) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_end_do(who->view, end, deed, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

static void ring_bells(const shmq_view *view) {
  static const uint32_t ends[] = {SHMQ_END_TAIL, SHMQ_END_POOL, SHMQ_END_DONE, SHMQ_END_HEAD0};
  for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
    shmq_end_ring_all(&view->ends[ends[i]]);
  if (view->stream != NULL) shmq_stream_ring_all(view);
}

static shmq_status shut(actor *who) {
  shmq_status status = do_to_end(who, shmq_tail(who->view), SHMQ_DO_SHUT);
  ring_bells(who->view);
  return status;
}

static shmq_status shut_at_once(actor *who) {
  shmq_status status = shut(who);
  while (status == SHMQ_OK) {
    status = take_items(who, MOST_TAKEN, NULL, UINT64_MAX);
    if (status != SHMQ_OK) break;
    if (who->taken[0].block != SHMQ_NO_BLOCK) shmq_block_free(who->view, who->taken[0].block);
    shmq_tasks_done(who->view, who->count);
  }
  who->count = 0;
  if (status != SHMQ_SHUTDOWN) return status;
  shmq_pool_trim(who->view, 0);
  status = do_to_end(who, shmq_head(who->view), SHMQ_DO_SHUT);
  ring_bells(who->view);
  return status;
}

static shmq_status task_done(actor *who) {
  return shmq_tasks_done(who->view, 1) ? SHMQ_OK : SHMQ_EMPTY;
}

static shmq_status join(actor *who) {
  shmq_waiter waiter;
  shmq_status status;
  shmq_waiter_init(&waiter, who->deadline_ns, 1, &never_closed);
  do {
    status = shmq_join(who->view, &waiter);
  } while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(who->view, &waiter, status != SHMQ_OK);
  return status;
}

static shmq_status begin_to_poll(actor *who) {
  shmq_status status = do_to_end(who, shmq_head(who->view), SHMQ_DO_POLL);
  return status != SHMQ_OK ? status : do_to_end(who, shmq_tail(who->view), SHMQ_DO_SETTLE);
}

static shmq_status trim_ring(actor *who) {
  shmq_ring_trim(who->view);
  return SHMQ_OK;
}

static shmq_status trim_pool(actor *who) {
  shmq_pool_trim(who->view, 0);
  return SHMQ_OK;
}

static shmq_status look(actor *who) {
  shmq_snapshot snapshot;
  shmq_snapshot_take(who->view, &snapshot);
  return SHMQ_OK;
}

static shmq_status put_one(actor *who) { return put_short(who, who->first_id); }
static shmq_status put_batch(actor *who) { return put_several(who, 0); }
static shmq_status put_mixed(actor *who) { return put_several(who, 1); }
static shmq_status put_block(actor *who) { return put_in_block(who, who->first_id, BLOCK_BYTES); }
static shmq_status put_large(actor *who) { return put_in_block(who, who->first_id, LARGE_BYTES); }
static shmq_status get_one(actor *who) { return get_items(who, 1); }
static shmq_status get_batch(actor *who) { return get_items(who, MOST_TAKEN); }

/* ---- the table ----------------------------------------------------------------------------------- */

/* What a process waits for where there is none. */
typedef enum { NOTHING, AN_ITEM, ROOM, ALL_DONE } need;

typedef struct {
  const char *name;
  shmq_status (*prepare)(actor *);
  shmq_status (*act)(actor *);
  uint32_t puts;     /* items that it puts, all or none */
  uint32_t has_seat; /* before it begins */
  uint32_t gradual;  /* takes items by more than one commit */
  need waits_for;    /* only for want of it may it give up */
  uint32_t reads;    /* of a stream, the group that it takes from: its number and one; 0: none */
} operation;

static const operation queue_operations[] = {
    {"put", NULL, put_one, 1, 1, 0, ROOM, 0},
    {"put_batch", NULL, put_batch, BATCH, 1, 0, ROOM, 0},
    {"put_mixed", NULL, put_mixed, BATCH, 1, 0, ROOM, 0},
    {"put_block", NULL, put_block, 1, 1, 0, ROOM, 0},
    {"put_large", NULL, put_large, 1, 1, 0, ROOM, 0},
    {"get", NULL, get_one, 0, 1, 0, AN_ITEM, 0},
    {"get_batch", NULL, get_batch, 0, 1, 0, AN_ITEM, 0},
    {"view", NULL, view_item, 0, 1, 0, AN_ITEM, 0},
    {"release", view_item, end_loan, 0, 1, 0, NOTHING, 0},
    {"fork", view_item, fork_with_view, 0, 1, 0, NOTHING, 0},
    {"reserve", NULL, reserve_item, 0, 1, 0, ROOM, 0},
    {"commit", reserve_item, commit_item, 1, 1, 0, ROOM, 0},
    {"abort", reserve_item, end_loan, 0, 1, 0, NOTHING, 0},
    {"keep", reserve_item, keep_draft, 0, 1, 0, NOTHING, 0},
    {"attach", NULL, attach, 0, 0, 0, NOTHING, 0},
    {"close", NULL, leave, 0, 1, 0, NOTHING, 0},
    {"sweep", NULL, sweep, 0, 1, 0, NOTHING, 0},
    {"shutdown", NULL, shut, 0, 1, 0, NOTHING, 0},
    {"shutdown_now", NULL, shut_at_once, 0, 1, 1, NOTHING, 0},
    {"task_done", NULL, task_done, 0, 1, 0, NOTHING, 0},
    {"join", NULL, join, 0, 1, 0, ALL_DONE, 0},
    {"poll", NULL, begin_to_poll, 0, 1, 0, NOTHING, 0},
    {"trim_ring", NULL, trim_ring, 0, 1, 0, NOTHING, 0},
    {"trim_pool", NULL, trim_pool, 0, 1, 0, NOTHING, 0},
    {"look", NULL, look, 0, 1, 0, NOTHING, 0},
};
#endif
