/* The account of the items, kept beside the protocol, and what must be true in every state.
 *
 * The account knows what each call meant to put, sees the two ends move, and compares what a call
 * hands out with what stood at the sequences that it took. So an item that a returned put had, and
 * that nobody got, is missed; one that two got is seen; and the order is that of the sequences.
 */
#ifndef EXPLORED_ACCOUNT_H
#define EXPLORED_ACCOUNT_H

#include "group_account.h"

#define EX_ITEM_BYTES 16u /* the item and its complement: half a payload is seen */
#define EX_LARGE_BYTES 5000u
#define EX_VIEW (&views[running->process])

static const shmq_handle ex_never;
static uint32_t ex_payload_bytes = EX_ITEM_BYTES;

static void ex_encode(uint32_t item, uint64_t payload[2]) {
  payload[0] = item;
  payload[1] = ~(uint64_t)item;
}

static int ex_is_item(uint32_t item, const uint64_t payload[2]) {
  return payload[0] == item && (ex_payload_bytes < EX_ITEM_BYTES || payload[1] == ~(uint64_t)item);
}

/* ---- what the ends do --------------------------------------------------------------------------- */

static void ex_tail_moved(ex_actor *who, uint64_t from, uint64_t to) {
  ex_call *call = &who->call;
  if (to <= from || to - from > EX_BATCH || to > EX_ITEMS) {
    ex_violation("the tail went from %llu to %llu", (unsigned long long)from,
                 (unsigned long long)to);
    return;
  }
  if (call->deed != EX_PUT || call->committed + (to - from) > call->count) {
    ex_violation("commits what it did not put");
    return;
  }
  if (call->committed > 0 && world.item_of[from - 1] != call->items[call->committed - 1])
    ex_violation("puts a batch with another item in the middle");
  for (uint64_t sequence = from; sequence < to; sequence++)
    world.item_of[sequence] = call->items[call->committed++];
  world.tail = (uint32_t)to;
}

static void ex_head_moved(ex_actor *who, uint64_t from, uint64_t to) {
  ex_call *call = &who->call;
  if (to <= from || to > world.tail) {
    ex_violation("the head went from %llu to %llu", (unsigned long long)from,
                 (unsigned long long)to);
    return;
  }
  if (call->deed != EX_TAKE || call->taken + (to - from) > call->count) {
    ex_violation("takes what it did not ask for");
    return;
  }
  if (call->taken == 0) call->from = (uint32_t)from;
  call->taken = (uint8_t)(call->taken + (to - from));
  world.head = (uint32_t)to;
}

/* The process of the actor is killed in the middle of its call. */
static void ex_account_for_killed(ex_actor *actor) {
  const ex_call *call = &actor->call;
  if (call->deed == EX_PUT && call->committed != 0 && call->committed != call->count)
    ex_violation("killed in put, actor %u leaves %u of %u items", ex_index(actor), call->committed,
                 call->count);
  if (call->deed == EX_TAKE && call->group > 0) world.groups[call->group - 1].lost += call->taken;
  else if (call->deed == EX_TAKE) world.lost += call->taken;
}

/* ---- in every state ------------------------------------------------------------------------------- */

static int ex_slot_of(uint64_t sequence, uint64_t *position, const shmq_slot **slot) {
  uint64_t at = *position;
  if (geometry.region_count == 0) {
    *slot = (const shmq_slot *)(geometry.slots + sequence % geometry.capacity * geometry.slot_bytes);
    return 1;
  }
  for (int jumps = 0; jumps < 64; jumps++) {
    if (at % SHMQ_RECORD_ALIGNMENT != 0 || at > geometry.slots_bytes - SHMQ_JUMP_BYTES) return 0;
    *slot = (const shmq_slot *)(geometry.slots + at);
    if (!((*slot)->flags & SHMQ_SLOT_JUMP)) {
      *position = at + shmq_record_bytes((*slot)->length);
      return 1;
    }
    at = ((const shmq_jump *)(*slot + 1))->target;
  }
  return 0;
}

static void ex_check_slots(uint64_t head, uint64_t tail) {
  uint64_t position = 0, payload[2] = {0, 0};
  uint64_t blocks = 0;
  if (geometry.region_count > 0) {
    const shmq_end *end = &geometry.ends[SHMQ_END_HEAD0];
    const shmq_place *place = &end->place[end->place[0].sequence != head];
    if (place->sequence != head) ex_violation("no place names the head's sequence");
    position = place->position;
  }
  for (uint64_t sequence = head; sequence < tail; sequence++) {
    const shmq_slot *slot;
    if (!ex_slot_of(sequence, &position, &slot)) {
      ex_violation("there is no way to the slot of sequence %llu", (unsigned long long)sequence);
      return;
    }
    if (slot->stamp != 2 * sequence + 2)
      ex_violation("the slot of sequence %llu is in, with stamp %llu", (unsigned long long)sequence,
                   (unsigned long long)slot->stamp);
    /* Below what the floor has passed they are about to be free, or are. */
    if (slot->flags & SHMQ_SLOT_IN_BLOCK && ex_is_stream() &&
        sequence < shmq_head(&geometry)->passed)
      continue;
    if (slot->flags & SHMQ_SLOT_IN_BLOCK) {
      const shmq_block_ref *ref = (const shmq_block_ref *)(slot + 1);
      if (ref->block >= EX_BLOCKS || blocks >> ref->block & 1) {
        ex_violation("two slots refer to one block");
        return;
      }
      blocks |= UINT64_C(1) << ref->block;
      if (geometry.blocks[ref->block].state == SHMQ_BLOCK_FREE)
        ex_violation("block %u is free, and sequence %llu refers to it", ref->block,
                     (unsigned long long)sequence);
      memcpy(payload, geometry.pool + geometry.blocks[ref->block].offset, EX_ITEM_BYTES);
    } else {
      if (slot->length != ex_payload_bytes)
        ex_violation("the slot of sequence %llu has length %u", (unsigned long long)sequence,
                     slot->length);
      memcpy(payload, slot + 1, ex_payload_bytes);
    }
    if (!ex_is_item(world.item_of[sequence], payload))
      ex_violation("the slot of sequence %llu does not hold what was put",
                   (unsigned long long)sequence);
  }
}

static void ex_check_state(void) {
  const shmq_end *ends = geometry.ends;
  const uint64_t head = ends[SHMQ_END_HEAD0].sequence, tail = ends[SHMQ_END_TAIL].sequence;
  if (head != world.head || tail != world.tail) ex_violation("an end moved by itself");
  if (head > tail || tail - head > geometry.capacity) {
    ex_violation("head %llu, tail %llu, and %llu slots", (unsigned long long)head,
                 (unsigned long long)tail, (unsigned long long)geometry.capacity);
    return;
  }
  for (uint32_t end = 0; end < EX_ENDS; end++) {
    if (world.holder[end] == 0) continue;
    const uint32_t process = world.actors[world.holder[end] - 1].process;
    if ((ends[end].owner & SHMQ_TAG) != views[process].tag)
      ex_violation("actor %u is inside, and the owner word does not say so",
                   world.holder[end] - 1u);
  }
  if (ends[SHMQ_END_DONE].sequence > tail) ex_violation("more is done than was put");
  if (ex_is_stream()) ex_check_groups();
  ex_check_slots(head, tail);
}

static int ex_was_killed(void) { return world.kills > 0 || rules.began_with_death; }

/* Is there nothing to do for a sleeper, so that it may sleep for ever? */
static int ex_sleeps_rightly(const ex_actor *actor) {
  const shmq_end *ends = geometry.ends;
  const uint64_t depth = world.tail - world.head;
  const int is_shut = (ends[SHMQ_END_TAIL].state & SHMQ_END_SHUT) != 0;
  const uint8_t *word = (const uint8_t *)actor->sleeps_on;
  /* Of who polls: a kill may keep it asleep until somebody puts or attaches (poll.h). */
  if (word == NULL) return ex_was_killed() || (depth == 0 && !is_shut);
  const ex_place place = ex_locate(word);
  if (EX_IS(place, end, owner)) return world.holder[place.index] != 0;
  switch (actor->call.deed) {
    case EX_PUT:
      if (ex_is_stream()) return !is_shut && !ex_is_room(actor->call.count);
      return !is_shut && depth + actor->call.count > geometry.capacity;
    case EX_TAKE:
      if (ex_is_stream()) return ex_awaits_item_rightly(actor);
      return !is_shut && depth == 0;
    case EX_JOIN:
      return ends[SHMQ_END_DONE].sequence < world.tail &&
             ends[SHMQ_END_DONE].high_water_mark < ((const shmq_waiter *)actor->waiter)->target;
    default:
      return 0;
  }
}

/* What of a wait makes no difference, made equal: what it was counted for, whether it would poll, and how
 * long it sleeps where time doesn't go on. */
static void ex_forget_of_wait(void) {
  shmq_waiter *waiter = running->waiter;
  if (waiter == NULL) return;
  waiter->counted = UINT32_MAX;
  waiter->slept = 1;
  if (running->is_timed) return;
  waiter->sleep_ns = SHMQ_SLEEP_SHORT;
}

static void __attribute__((noinline)) ex_attempt(void) {
  shmq_waiter *waiter = running->waiter;
  volatile uint64_t *at = (volatile uint64_t *)((uint8_t *)__builtin_frame_address(0) - 128);
  if (ex_is_direct()) return;
  for (int i = 0; i < EX_BELOW / 8; i++) *--at = 0;
  if (waiter == NULL || running->is_timed) return;
  /* The next wait begins anew. */
  waiter->why = SHMQ_OK;
  waiter->end = NULL;
  waiter->started_ns = waiter->accounted_ns = EX_START_NS;
}

/* ---- the calls, as the extension module makes them ---------------------------------------------- */

static void ex_begin(ex_deed deed, uint32_t count, uint64_t patience_ns, shmq_waiter *waiter) {
  const uint64_t deadline = patience_ns == EX_FOREVER ? SHMQ_NO_DEADLINE
                            : patience_ns == 0        ? 0
                                                      : EX_START_NS + patience_ns;
  memset(&running->call, 0, sizeof(running->call));
  running->call.deed = (uint8_t)deed;
  running->call.count = (uint8_t)count;
  running->now_ns = EX_START_NS;
  running->is_timed = patience_ns != EX_FOREVER;
  running->waiter = waiter;
  shmq_waiter_init(waiter, deadline, deed == EX_PUT ? count : 1, &ex_never);
}

static void ex_end(void) {
  memset(&running->call, 0, sizeof(running->call));
  running->now_ns = EX_START_NS;
  running->is_timed = 0;
  running->waiter = NULL;
}

static void ex_settle_poll(void);

/* What a take leaves to do: Attachment._tidy_up. */
static void ex_tidy_up(void) {
  if (EX_VIEW->trim_is_due) shmq_ring_trim(EX_VIEW);
  if (geometry.ends[SHMQ_END_HEAD0].state & SHMQ_END_POLLED) ex_settle_poll();
}

static shmq_status ex_put_records(const shmq_record *records, const uint32_t *items,
                                  uint32_t count, uint64_t patience_ns) {
  shmq_waiter waiter;
  shmq_status status;
  ex_begin(EX_PUT, count, patience_ns, &waiter);
  memcpy(running->call.items, items, count * sizeof(items[0]));
  if (!running->is_timed) running->now_ns = EX_START_NS + items[0]; /* each item has its time */
  do status = shmq_put(EX_VIEW, records, count, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  if (running->call.committed != (status == SHMQ_OK ? count : 0))
    ex_violation("put answers %d, and %u of %u items are in", status, running->call.committed,
                 count);
  ex_say("put answers %d", status);
  ex_end();
  return status;
}

static uint32_t ex_next_item(void) {
  return (ex_index(running) + 1) * 1000 + running->is_reborn * 100u + ++running->serial;
}

static shmq_status ex_put(uint32_t count, uint64_t patience_ns) {
  uint64_t payloads[EX_BATCH][2];
  uint32_t items[EX_BATCH];
  shmq_record records[EX_BATCH];
  for (uint32_t i = 0; i < count; i++) {
    items[i] = ex_next_item();
    ex_encode(items[i], payloads[i]);
    records[i] = (shmq_record){payloads[i], ex_payload_bytes, 1, 0, ex_payload_bytes};
  }
  return ex_put_records(records, items, count, patience_ns);
}

/* A block for an item of so many bytes, filled: its index, or SHMQ_NO_BLOCK. */
static uint32_t ex_fill_block(uint64_t bytes, uint32_t item, uint64_t patience_ns) {
  uint64_t payload[2];
  uint32_t block = SHMQ_NO_BLOCK;
  shmq_waiter waiter;
  shmq_status status;
  ex_begin(EX_NOTHING, 1, patience_ns, &waiter);
  do status = shmq_block_take(EX_VIEW, bytes, &block, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_end();
  ex_say("block_take answers %d, block %u", status, block);
  if (status != SHMQ_OK) return SHMQ_NO_BLOCK;
  ex_encode(item, payload);
  uint8_t *target = shmq_block_bytes(EX_VIEW, block, bytes);
  if (target == NULL) ex_violation("the block that it got is too small");
  else copy_in(target, payload, sizeof(payload));
  return block;
}

static shmq_status ex_put_large(uint64_t bytes, uint64_t patience_ns) {
  const uint32_t item = ex_next_item();
  const uint32_t block = ex_fill_block(bytes, item, patience_ns);
  if (block == SHMQ_NO_BLOCK) return SHMQ_NO_MEMORY;
  const shmq_block_ref ref = {block, 0, bytes};
  const shmq_record record = {&ref, sizeof(ref), 1, SHMQ_SLOT_IN_BLOCK, bytes};
  shmq_status status = ex_put_records(&record, &item, 1, patience_ns);
  if (status != SHMQ_OK) shmq_block_free(EX_VIEW, block);
  return status;
}

static void ex_check_received(const uint64_t *payload, uint32_t which) {
  const uint32_t sequence = running->call.from + which;
  if (!ex_is_item(world.item_of[sequence], payload))
    ex_violation("gets %llu at sequence %u, where item %u was put",
                 (unsigned long long)payload[0], sequence, world.item_of[sequence]);
}

/* A payload that was left in its block. */
static void ex_receive_in_place(const shmq_taken *taken, shmq_reader *reader) {
  uint64_t payload[2] = {0, 0};
  const uint8_t *source = shmq_block_bytes(EX_VIEW, taken->block, taken->length);
  if (reader != NULL) running->pinned = (uint8_t)(taken->block + 1);
  if (source == NULL) ex_violation("gets an item whose block is too small");
  else copy_out(payload, source, sizeof(payload));
  ex_check_received(payload, 0);
  running->pinned = 0;
  if (reader == NULL) shmq_block_free(EX_VIEW, taken->block);
  else shmq_block_unpin(EX_VIEW, taken->block, reader->pinner);
}

/* As Reader.see_to_pinner. */
static int ex_see_to_pinner(shmq_reader *reader) {
  if (reader == NULL || reader->pinner != SHMQ_NO_PINNER) return 0;
  reader->pinner = shmq_pinner_take(EX_VIEW);
  if (reader->pinner >= EX_ROWS) ex_violation("gets pinner %u of so few", reader->pinner);
  return 1;
}

/* Takes 1..max_items, from a group if there is a reader; how many, or 0 where there were none (or none
 * any more). */
static uint32_t ex_take_from(shmq_reader *reader, uint32_t max_items, uint64_t patience_ns) {
  uint64_t buffer[EX_BATCH * 2] = {0};
  uint64_t count = 0;
  shmq_taken taken[EX_BATCH];
  shmq_waiter waiter;
  shmq_status status;
  ex_begin(EX_TAKE, max_items, patience_ns, &waiter);
  if (reader != NULL) {
    waiter.reader = reader;
    running->call.group = (uint8_t)(reader->group + 1);
    ex_note_finished(running); /* who asks for more has finished what it had */
  }
  do
    status = shmq_take(EX_VIEW, max_items, (uint8_t *)buffer, sizeof(buffer), UINT64_MAX, taken,
                       &count, &waiter);
  while (status == SHMQ_INTERRUPTED || (status == SHMQ_NEED && ex_see_to_pinner(reader)));
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_tidy_up();
  if (status != SHMQ_OK) count = 0;
  if (status != SHMQ_OK && status != SHMQ_TIMEOUT && status != SHMQ_SHUTDOWN &&
      !(status == SHMQ_GONE && rules.groups_change))
    ex_violation("take answers %d", status);
  if (running->call.taken != count)
    ex_violation("take hands out %llu items, and the head passed %u", (unsigned long long)count,
                 running->call.taken);
  if (count > 0 && taken[0].block != SHMQ_NO_BLOCK) {
    ex_receive_in_place(&taken[0], reader);
  } else {
    for (uint32_t i = 0; i < count; i++)
      ex_check_received(buffer + taken[i].offset / sizeof(buffer[0]), i);
  }
  if (reader != NULL) world.groups[reader->group].received += (uint32_t)count;
  else world.received += (uint32_t)count;
  ex_say("take answers %d, %llu items", status, (unsigned long long)count);
  ex_end();
  return (uint32_t)count;
}

static uint32_t ex_take(uint32_t max_items, uint64_t patience_ns) {
  return ex_take_from(NULL, max_items, patience_ns);
}

/* Without a word: when was the oldest item put? It must have been the oldest at some moment. */
static void ex_look_at_oldest(void) {
  const uint32_t from = world.head;
  const uint64_t put_ns = shmq_oldest_put_ns(EX_VIEW);
  int is_right = put_ns == 0;
  for (uint32_t sequence = from; sequence <= world.head && sequence < world.tail; sequence++)
    is_right |= put_ns == EX_START_NS + world.item_of[sequence];
  ex_say("the oldest is that of %llu",
         (unsigned long long)(put_ns == 0 ? 0 : put_ns - EX_START_NS));
  if (!is_right) ex_violation("tells a time that the oldest item never had");
}

static shmq_status ex_do(uint32_t end, shmq_deed deed, uint64_t patience_ns) {
  shmq_waiter waiter;
  shmq_status status;
  const ex_call call = running->call; /* that it is part of, perhaps */
  ex_begin(EX_NOTHING, 1, patience_ns, &waiter);
  running->call = call;
  do status = shmq_end_do(EX_VIEW, &EX_VIEW->ends[end], deed, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_end();
  running->call = call;
  return status;
}

static void ex_settle_poll(void) {
  if (!shmq_poll_is_settled(EX_VIEW)) ex_do(SHMQ_END_TAIL, SHMQ_DO_SETTLE, 1000 * SHMQ_MS);
}

/* As segment.create_unnamed and dropin.fileno have it. */
static void ex_begin_to_poll(void) {
  ex_do(SHMQ_END_HEAD0, SHMQ_DO_POLL, EX_FOREVER);
  ex_do(SHMQ_END_TAIL, SHMQ_DO_SETTLE, EX_FOREVER);
}

static void ex_shut_down(void) {
  ex_do(SHMQ_END_TAIL, SHMQ_DO_SHUT, EX_FOREVER);
  for (uint32_t end = 0; end <= SHMQ_END_HEAD0; end++) shmq_end_ring_all(&EX_VIEW->ends[end]);
  if (ex_is_stream()) shmq_stream_ring_all(EX_VIEW);
}

static void ex_join(void) {
  shmq_waiter waiter;
  shmq_status status;
  ex_begin(EX_JOIN, 1, EX_FOREVER, &waiter);
  do status = shmq_join(EX_VIEW, &waiter);
  while (status == SHMQ_INTERRUPTED);
  shmq_waiter_end(EX_VIEW, &waiter, status != SHMQ_OK);
  ex_say("join answers %d", status);
  if (geometry.ends[SHMQ_END_DONE].sequence < waiter.target)
    ex_violation("join returns before all of it was done");
  ex_end();
}

/* ---- processes -------------------------------------------------------------------------------------- */

static void ex_be_born(uint32_t process) {
  shmq_view *view = &views[process];
  const shmq_view fresh = {0};
  shmq_header header;
  memcpy(&header, arena, sizeof(header));
  *view = fresh;
  shmq_view_set(view, arena, &header);
  view->fd = EX_SEGMENT_FD + (int)process;
  view->inode = EX_INODE;
  view->poll_fd = EX_POLL_FD;
  view->poll_inode = EX_POLL_INODE;
  view->allowance_bytes = INT64_C(1) << 60;
  world.is_alive[process] = 1;
}

/* Attachment.take_seat. */
static void ex_attach(void) {
  const shmq_status status = shmq_seat_take(EX_VIEW, EX_SEAT_FD + running->process);
  if (status != SHMQ_OK) {
    ex_violation("takes no seat: %d", status);
    return;
  }
  ex_say("has seat %u", EX_VIEW->seat_index);
  shmq_views_begin(EX_VIEW, 0);
  shmq_sweep_after_the_dead(EX_VIEW);
}

/* Where somebody polls, and nobody is at work: does the descriptor tell the truth? */
static void ex_check_descriptor(void) {
  const int is_something = world.head != world.tail ||
                           geometry.ends[SHMQ_END_TAIL].state & SHMQ_END_SHUT;
  if (!(geometry.ends[SHMQ_END_HEAD0].state & SHMQ_END_POLLED)) return;
  if (world.is_readable != is_something)
    ex_violation("the poll descriptor is%s readable, and there %s",
                 world.is_readable ? "" : " not", is_something ? "are items" : "is nothing");
}

/* By one who noticed a death; waits for nobody. */
static void ex_sweep(void) { shmq_sweep_after_the_dead(EX_VIEW); }

static void ex_leave(void) { shmq_seat_leave(EX_VIEW); }

#endif
