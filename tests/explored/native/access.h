/* What an access to shared memory does here: where it goes, who can tell, and what it breaks.
 *
 * Not every access is a point at which the schedule branches. These are none, because no other actor
 * can tell the difference (`python -m tests.explored --every-access` drops the last five rules; the
 * verdicts stay):
 *
 *   private memory and constants     nobody else looks, or nobody writes
 *   statistics                       not kept at all: a store is dropped, a load reads 0
 *   of a stream: its table           nobody opens or removes a group, which is checked at every store
 *   a look at what only the holder   the looker is that holder, and that nobody else writes it is
 *   of an owner word may write       checked at every store (I4) and in every state (I1)
 *   a look at an end that only the   as the scenario tells, which is checked at every store
 *   looker may move, or at a state
 *   that nobody changes
 *   a look at a published slot by    nobody writes those, which is checked in every state
 *   the holder of a head
 *   a write to a slot by the tail's  not published yet; a kill at this point is explored, other
 *   holder                           actors are not
 *   of a stream: what a group lost   the same: only the next holder of that word reads it; where somebody
 *   and what the floor passed,       else does (who may be lapped, or views blocks), it is a point
 *   written by the word's holder
 */
#ifndef EXPLORED_ACCESS_H
#define EXPLORED_ACCESS_H

#include "wait.h"

#include <stdarg.h>

static shmq_view views[EX_PROCESSES];
static shmq_view geometry; /* addresses only */

typedef enum {
  IN_PRIVATE, IN_HEADER, IN_END, IN_CLASS, IN_REGION, IN_SEAT, IN_SLOT, IN_VIEWS, IN_BLOCK, IN_POOL,
  IN_STREAM, IN_GROUP, IN_HOLD, IN_WRITER, IN_PINNER
} ex_area;

typedef struct {
  ex_area area;
  uint32_t index; /* which of them */
  uint32_t field; /* bytes from its beginning */
} ex_place;

/* What differs between scenarios, as far as accesses go. */
static struct {
  int slots_are_looked_at; /* by some who hold no word */
  int states_change;       /* of ends: somebody shuts down, or polls */
  int began_with_death;
  int seats_change;        /* somebody comes after the start */
  int groups_change;       /* somebody opens or removes one */
  int floor_is_looked_at;  /* some ask without its word what it has passed */
  uint32_t groups;         /* how many there may be */
  uint32_t ends;           /* how many are in use */
  uint32_t storers[EX_ENDS]; /* bits: actors that may move this end */
} rules = {.ends = 4};

static int ex_is_stream(void) { return geometry.stream != NULL; }

/* In a queue, which has none, it is nowhere. */
#define EX_PART_OF_STREAM(area, name)                                              \
  {area, stream + offsetof(shmq_stream, name),                                     \
   stream == 0 ? 0 : stream + offsetof(shmq_stream, name) + sizeof(geometry.stream->name), \
   sizeof(geometry.stream->name[0])}

static ex_place ex_locate(const volatile void *at) {
  const uint64_t offset = (uint64_t)((const uint8_t *)at - arena);
  ex_place place = {IN_PRIVATE, 0, 0};
  const uint64_t stream = geometry.header->stream_offset;
  const struct {
    ex_area area;
    uint64_t from, to, size;
  } areas[] = {
      {IN_END, geometry.header->ends_offset, geometry.header->classes_offset, sizeof(shmq_end)},
      {IN_SLOT, geometry.slots_offset, geometry.slots_offset + geometry.slots_bytes,
       geometry.slot_bytes},
      {IN_BLOCK, geometry.blocks_offset, geometry.pool_offset, sizeof(shmq_block)},
      {IN_POOL, geometry.pool_offset, geometry.mapped_bytes, SHMQ_PAGE},
      {IN_SEAT, geometry.seats_offset,
       geometry.seats_offset + geometry.max_seats * sizeof(shmq_seat), sizeof(shmq_seat)},
      {IN_CLASS, geometry.header->classes_offset, geometry.header->regions_offset,
       sizeof(shmq_class)},
      EX_PART_OF_STREAM(IN_GROUP, groups),
      EX_PART_OF_STREAM(IN_HOLD, holds),
      EX_PART_OF_STREAM(IN_WRITER, writers),
      EX_PART_OF_STREAM(IN_PINNER, pinners),
      {IN_STREAM, stream, stream + offsetof(shmq_stream, groups), sizeof(shmq_stream)},
      {IN_REGION, geometry.header->regions_offset, geometry.seats_offset, sizeof(shmq_region)},
      {IN_VIEWS, geometry.views_offset, geometry.blocks_offset, sizeof(shmq_views)},
      {IN_HEADER, 0, sizeof(shmq_header), sizeof(shmq_header)},
  };
  if (offset >= geometry.mapped_bytes) return place;
  for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
    if (offset < areas[i].from || offset >= areas[i].to) continue;
    place.area = areas[i].area;
    place.index = (uint32_t)((offset - areas[i].from) / areas[i].size);
    place.field = (uint32_t)((offset - areas[i].from) % areas[i].size);
    break;
  }
  return place;
}

#define EX_IS(place, structure, name) \
  ((place).field - offsetof(shmq_##structure, name) < sizeof(((shmq_##structure *)0)->name))

static int ex_is_statistic(ex_place place) {
  return (place.area == IN_SEAT && !EX_IS(place, seat, generation)) || place.area == IN_VIEWS ||
         (place.area == IN_GROUP && EX_IS(place, group, blocked_full_ns));
}

static int ex_holds(uint32_t end) {
  return end < rules.ends && world.holder[end] == ex_index(running) + 1;
}

/* The word of a head: of a stream also the floor's, or a group's. */
static int ex_holds_a_head(void) {
  for (uint32_t end = SHMQ_END_HEAD0; end < rules.ends; end++)
    if (ex_holds(end)) return 1;
  return 0;
}

/* Is the actor the only one that may still move this end? */
static int ex_nobody_else_moves(uint32_t end) {
  const uint32_t others = rules.storers[end];
  if (ex_is_direct() || end == SHMQ_END_DONE) return 0;
  for (uint32_t i = 0; i < EX_ACTORS; i++)
    if (&world.actors[i] != running && others >> i & 1 && world.actors[i].status != EX_DONE &&
        world.actors[i].status != EX_DEAD && world.actors[i].status != EX_UNBORN)
      return 0;
  return 1;
}

/* Is the slot one of [head, tail)? */
static int ex_is_published(ex_place place) {
  if (geometry.region_count > 0) return ex_holds(SHMQ_END_HEAD0) && world.tail > world.head;
  return (place.index + geometry.capacity - world.head % geometry.capacity) % geometry.capacity <
         world.tail - world.head;
}

static ex_class ex_classify(ex_place place, int is_store) {
  const uint32_t tail = SHMQ_END_TAIL, head = SHMQ_END_HEAD0, pool = SHMQ_END_POOL;
  const int strict = options.every_access || options.weak;
  switch (place.area) {
    case IN_PRIVATE:
    case IN_VIEWS:
      return EX_FREE;
    case IN_HEADER:
      return EX_IS(place, header, seats_granted) && rules.seats_change ? EX_SHARED : EX_FREE;
    case IN_SEAT:
      return EX_IS(place, seat, generation) && rules.seats_change ? EX_SHARED : EX_FREE;
    case IN_END:
      if (place.index >= rules.ends) return EX_FREE; /* not in use */
      if (EX_IS(place, end, high_water_mark) && place.index != SHMQ_END_DONE) return EX_FREE;
      if (EX_IS(place, end, state) && !rules.states_change && !rules.groups_change) return EX_FREE;
      if (EX_IS(place, end, bell_classes) && !rules.groups_change) return EX_FREE;
      if (strict) return EX_SHARED;
      if (EX_IS(place, end, passed) && ex_holds(head))
        return !is_store ? EX_FREE : rules.floor_is_looked_at ? EX_SHARED : EX_LONELY;
      /* How many items it has lost, for whoever comes next. */
      if (is_store && place.index > head && EX_IS(place, end, place) && ex_holds(place.index))
        return EX_LONELY;
      if (is_store) return EX_SHARED;
      if (EX_IS(place, end, sequence) && ex_nobody_else_moves(place.index)) return EX_FREE;
      if (!ex_holds(place.index)) return EX_SHARED;
      return EX_IS(place, end, sequence) || EX_IS(place, end, state) || EX_IS(place, end, place)
                 ? EX_FREE
                 : EX_SHARED;
    case IN_SLOT:
      if (EX_IS(place, slot, put_ns) && geometry.region_count == 0 && !rules.slots_are_looked_at)
        return EX_FREE;
      if (strict || rules.slots_are_looked_at) return EX_SHARED;
      if (is_store) return ex_holds(tail) && !ex_is_published(place) ? EX_LONELY : EX_SHARED;
      return ex_holds_a_head() && ex_is_published(place) ? EX_FREE : EX_SHARED;
    case IN_REGION:
      if (strict || EX_IS(place, region, backed)) return EX_SHARED;
      if (!ex_holds(EX_IS(place, region, entered) ? tail : pool)) return EX_SHARED;
      return is_store ? EX_LONELY : EX_FREE;
    case IN_STREAM:
      if (EX_IS(place, stream, large_until) || EX_IS(place, stream, left_behind))
        return geometry.pool_limit_bytes > 0 ? EX_SHARED : EX_FREE;
      if (EX_IS(place, stream, writers_begun)) return rules.states_change ? EX_SHARED : EX_FREE;
      if (EX_IS(place, stream, holds_granted)) return EX_SHARED;
      return rules.groups_change ? EX_SHARED : EX_FREE;
    case IN_GROUP:
      if (!rules.groups_change) return EX_FREE;
      if (strict || EX_IS(place, group, after) || EX_IS(place, group, subscriber)) return EX_SHARED;
      if (!ex_holds(head)) return EX_SHARED;
      return is_store ? EX_LONELY : EX_FREE;
    default:
      return EX_SHARED;
  }
}

/* ---- what a schedule says of an access ---------------------------------------------------------- */

static const char *ex_name(const volatile void *at, char text[64]) {
  static const char *const ends[EX_ENDS] = {"tail", "pool", "done", "head", "group0", "group1",
                                            "group2"};
  static const char *const structures[] = {[IN_HEADER] = "header", [IN_END] = "end",
      [IN_CLASS] = "class", [IN_REGION] = "region", [IN_SEAT] = "seat", [IN_SLOT] = "slot",
      [IN_VIEWS] = "views", [IN_BLOCK] = "block", [IN_POOL] = "pool", [IN_STREAM] = "stream",
      [IN_GROUP] = "group", [IN_HOLD] = "hold", [IN_WRITER] = "writers", [IN_PINNER] = "pinners"};
  const ex_place place = ex_locate(at);
  const char *field = NULL;
  char number[24] = "";
  if (place.area == IN_PRIVATE) return "private";
  for (size_t i = 0; i < SHMQ_FIELD_COUNT && place.area != IN_POOL; i++)
    if (strcmp(shmq_fields[i].structure, structures[place.area]) == 0 &&
        place.field - shmq_fields[i].offset < shmq_fields[i].size)
      field = shmq_fields[i].field;
  if (field == NULL) {
    snprintf(number, sizeof(number), "byte %u", place.field);
    field = number;
  }
  if (place.area == IN_END && place.index < EX_ENDS)
    snprintf(text, 64, "%s.%s",
             ex_is_stream() && place.index == SHMQ_END_HEAD0 ? "floor" : ends[place.index], field);
  else
    snprintf(text, 64, "%s[%u].%s", structures[place.area], place.index, field);
  return text;
}

/* Words that name a seat are written as seat@generation and flags. */
static const char *ex_value(const volatile void *at, uint64_t value, char text[64]) {
  const ex_place place = ex_locate(at);
  const int is_owner = place.area == IN_END && EX_IS(place, end, owner);
  const int is_state = place.area == IN_BLOCK && EX_IS(place, block, state);
  const uint64_t low = value & SHMQ_FLAGS;
  text[0] = 0;
  if (!is_owner && !is_state) {
    snprintf(text, 64, value > 99999 ? "%#llx" : "%llu", (unsigned long long)value);
    return text;
  }
  if (value == 0) return "free";
  if (value & SHMQ_TAG)
    snprintf(text, 64, "seat %u@%llu", shmq_tag_seat(value),
             (unsigned long long)(value >> SHMQ_GENERATION_SHIFT));
  size_t used = strlen(text);
  if (is_state)
    snprintf(text + used, 64 - used, low == SHMQ_BLOCK_HELD ? " held" : " queued");
  else if (low)
    snprintf(text + used, 64 - used, "%s%s%s%s", used ? "" : "free",
             low & SHMQ_CONTENDED ? "+contended" : "", low & SHMQ_AWAITED ? "+awaited" : "",
             low & SHMQ_BATCH_AWAITED ? "+batch" : "");
  return text;
}

static void ex_say_actor(const ex_actor *actor) {
  if (actor == &world.actors[EX_DIRECT]) printf("      after the end      ");
  else printf("      actor %u, process %u ", ex_index(actor), actor->process);
}

static void __attribute__((format(printf, 1, 2))) ex_say(const char *text, ...) {
  va_list arguments;
  if (!options.tracing || running == NULL) return;
  ex_say_actor(running);
  va_start(arguments, text);
  vprintf(text, arguments);
  va_end(arguments);
  putchar('\n');
}

static void ex_say_word(const char *what, const volatile void *at, const char *outcome) {
  char name[64];
  if (options.tracing) ex_say("%-9s %-28s %s", what, ex_name(at, name), outcome);
}

static void ex_say_access(const char *what, const volatile void *at, uint64_t before,
                          uint64_t after) {
  char name[64], old[64], new[64], both[140];
  if (!options.tracing || running == NULL) return;
  if (ex_locate(at).area == IN_END && ex_locate(at).index >= rules.ends) return; /* not in use */
  snprintf(both, sizeof(both), "%s -> %s", ex_value(at, before, old), ex_value(at, after, new));
  ex_say("%-9s %-28s %s", what, ex_name(at, name),
         strcmp(what, "load") == 0 ? ex_value(at, before, old) : both);
}

/* ---- asking ----------------------------------------------------------------------------------- */

static void ex_yield(void);
static void ex_tail_moved(ex_actor *who, uint64_t from, uint64_t to);
static void ex_head_moved(ex_actor *who, uint64_t from, uint64_t to);
static void ex_floor_moved(uint64_t from, uint64_t to);
static void ex_group_moved(ex_actor *who, uint32_t group, uint64_t from, uint64_t to);
static void ex_group_opened(uint32_t group);
static uint64_t ex_perform(void);
static uint64_t ex_answer;

/* Asks the scheduler to do something for the actor that runs, when its turn comes. It is done on the
 * scheduler's stack, so that no trace of it is left on the actor's. */
static uint64_t __attribute__((noinline)) ex_ask(ex_ask_kind kind, const volatile void *at,
                                                 unsigned size, uint64_t value, uint64_t other,
                                                 int order) {
  ex_request *request = &running->request;
  request->kind = (uint8_t)kind;
  request->size = (uint8_t)size;
  request->order = (uint8_t)order;
  request->at = (volatile void *)at;
  request->value = value;
  request->other = other;
  if (ex_is_direct()) return ex_perform();
  ex_yield();
  return ex_answer;
}

static int ex_is_private(const volatile void *at) {
  return (uint64_t)((const uint8_t *)at - arena) >= geometry.mapped_bytes;
}

/* Memory that was not reserved, or was given back, is a SIGBUS. */
static void ex_touch(ex_place place, const volatile void *at) {
  int is_backed = 1;
  if (place.area == IN_BLOCK) is_backed = world.descriptors_backed;
  if (place.area == IN_POOL) is_backed = place.index < 64 && world.pool_backed >> place.index & 1;
  if (place.area == IN_SLOT && geometry.region_count > 0)
    is_backed = place.index < 64 && world.slots_backed >> place.index & 1;
  if (!is_backed) {
    char name[64];
    ex_violation("SIGBUS: %s has no memory", ex_name(at, name));
  }
}

static uint64_t ex_raw(const volatile void *at, unsigned size) {
  uint64_t value = 0;
  memcpy(&value, (const void *)at, size);
  return value;
}

/* What may be stored in a stream's table, by whom. */
static void ex_check_table(const ex_actor *who, ex_place place) {
  const int is_of_groups = place.area == IN_GROUP || EX_IS(place, stream, open) ||
                           EX_IS(place, stream, lagging) || EX_IS(place, stream, dropping);
  if (!is_of_groups || who == &world.actors[EX_DIRECT]) return;
  if (!rules.groups_change) ex_violation("changes a group, which the scenario does not tell of");
  if (world.holder[SHMQ_END_HEAD0] != ex_index(who) + 1)
    ex_violation("opens or removes a group without the floor's word");
}

/* A store gets to where all can see it. */
static void ex_arrive(ex_actor *who, uint8_t *at, unsigned size, uint64_t value) {
  const ex_place place = ex_locate(at);
  const uint64_t before = ex_raw(at, size);
  memcpy(at, &value, size);
  if (place.area == IN_STREAM || place.area == IN_GROUP) ex_check_table(who, place);
  if (place.area != IN_END || place.index == SHMQ_END_DONE || place.index >= rules.ends) return;
  const int is_sequence = EX_IS(place, end, sequence), is_state = EX_IS(place, end, state);
  if ((is_sequence || is_state || EX_IS(place, end, passed)) &&
      world.holder[place.index] != ex_index(who) + 1)
    ex_violation("stores %s of an end whose owner word it does not hold",
                 is_sequence ? "the sequence" : is_state ? "the state" : "what it passed");
  if (is_state && !rules.states_change && !rules.groups_change &&
      who != &world.actors[EX_DIRECT])
    ex_violation("changes a state, which the scenario does not tell of");
  if (is_sequence && who != &world.actors[EX_DIRECT] &&
      !(rules.storers[place.index] >> ex_index(who) & 1))
    ex_violation("moves an end, which the scenario does not tell of");
  if (is_sequence && place.index == SHMQ_END_TAIL) ex_tail_moved(who, before, value);
  if (is_sequence && place.index == SHMQ_END_HEAD0) {
    if (ex_is_stream()) ex_floor_moved(before, value);
    else ex_head_moved(who, before, value);
  }
  if (is_sequence && place.index > SHMQ_END_HEAD0)
    ex_group_moved(who, place.index - SHMQ_END_HEAD0 - 1, before, value);
  if (is_state && place.index > SHMQ_END_HEAD0 && value & ~before & SHMQ_END_OPEN)
    ex_group_opened(place.index - SHMQ_END_HEAD0 - 1);
}

/* ---- stores that wait, where memory is weak -------------------------------------------------- */

static int ex_overlap(const ex_buffered *a, uint32_t offset, unsigned size) {
  return a->offset < offset + size && offset < a->offset + a->size;
}

/* May this one arrive before those that were made before it? */
static int ex_may_arrive(const ex_actor *actor, uint32_t which) {
  const ex_buffered *store = &ex_buffers(actor)[which];
  for (uint32_t i = 0; i < which; i++) {
    const ex_buffered *earlier = &ex_buffers(actor)[i];
    if (store->is_release || earlier->fences < store->fences ||
        ex_overlap(earlier, store->offset, store->size))
      return 0;
  }
  return 1;
}

static void ex_flush_one(ex_actor *actor, uint32_t which) {
  const ex_buffered store = ex_buffers(actor)[which];
  for (uint32_t i = which; i + 1 < actor->buffered_count; i++)
    ex_buffers(actor)[i] = ex_buffers(actor)[i + 1];
  actor->buffered_count--;
  memset(&ex_buffers(actor)[actor->buffered_count], 0, sizeof(ex_buffered));
  if (actor->buffered_count == 0) actor->fences = 0;
  ex_arrive(actor, arena + store.offset, store.size, store.value);
}

static void ex_flush(ex_actor *actor) {
  while (actor->buffered_count > 0) ex_flush_one(actor, 0);
}

/* Before a read-modify-write: what was stored there before, and with release all the rest. */
static void ex_flush_for(ex_actor *actor, const volatile void *at, unsigned size, int is_release) {
  const uint32_t offset = (uint32_t)((const uint8_t *)at - arena);
  for (;;) {
    uint32_t which = 0;
    while (which < actor->buffered_count && !is_release &&
           !ex_overlap(&ex_buffers(actor)[which], offset, size))
      which++;
    if (which >= actor->buffered_count) return;
    /* With all that it waits for. */
    while (!ex_may_arrive(actor, which)) {
      uint32_t first = 0;
      while (!ex_may_arrive(actor, first)) first++;
      ex_flush_one(actor, first);
      which--;
    }
    ex_flush_one(actor, which);
  }
}

static void ex_buffer(uint8_t *at, unsigned size, uint64_t value, int is_release) {
  if (running->buffered_count == EX_BUFFERED) ex_flush_one(running, 0);
  ex_buffers(running)[running->buffered_count++] =
      (ex_buffered){(uint32_t)(at - arena), (uint8_t)size, (uint8_t)is_release, running->fences,
                    value};
}

/* As the actor sees it: its own stores first. */
static uint64_t ex_peek(const volatile void *at, unsigned size) {
  uint64_t value = ex_raw(at, size);
  const uint32_t offset = (uint32_t)((const uint8_t *)at - arena);
  if (!options.weak || ex_is_direct()) return value;
  for (uint32_t i = 0; i < running->buffered_count; i++) {
    const ex_buffered *store = &ex_buffers(running)[i];
    for (uint32_t byte = 0; byte < store->size; byte++)
      if (store->offset + byte - offset < size)
        memcpy((uint8_t *)&value + (store->offset + byte - offset),
               (const uint8_t *)&store->value + byte, 1);
  }
  return value;
}

/* ---- what is asked for, done -------------------------------------------------------------------- */

/* The owner word changed: who is inside, and was somebody robbed? */
static void ex_owner_changed(uint32_t end, uint64_t before, uint64_t after) {
  uint8_t *holder = &world.holder[end];
  if (end == SHMQ_END_DONE || end >= rules.ends) return;
  if ((before & SHMQ_TAG) == 0 && (after & SHMQ_TAG) != 0) {
    if (*holder != 0) ex_violation("two are inside: actor %u as well", *holder - 1u);
    *holder = (uint8_t)(ex_index(running) + 1);
  } else if ((before & SHMQ_TAG) != 0 && (after & SHMQ_TAG) == 0) {
    if (*holder != 0 && *holder != ex_index(running) + 1)
      ex_violation("took the word from actor %u, which is alive", *holder - 1u);
    *holder = 0;
  } else if ((before ^ after) & SHMQ_TAG) {
    ex_violation("changed the owner of an owner word that is not free");
  }
}

static uint64_t ex_narrow(uint64_t value, unsigned size) {
  return size == 8 ? value : value & ((UINT64_C(1) << size * 8) - 1);
}

/* All read-modify-writes. Answers what the word was. */
static uint64_t ex_modify(const ex_request *request, ex_place place) {
  const int is_release = request->order == EX_RELEASE || request->order == EX_ACQ_REL;
  static const char *const names[] = {[ASK_EXCHANGE] = "exchange", [ASK_ADD] = "add",
                                      [ASK_OR] = "or", [ASK_AND] = "and",
                                      [ASK_CAS] = "cas"};
  if (options.weak && !ex_is_direct())
    ex_flush_for(running, request->at, request->size, is_release);
  const uint64_t before = ex_raw(request->at, request->size);
  uint64_t after = request->value;
  if (request->kind == ASK_ADD) after = ex_narrow(before + request->value, request->size);
  if (request->kind == ASK_OR) after = before | request->value;
  if (request->kind == ASK_AND) after = before & request->value;
  if (request->kind == ASK_CAS && before != request->other) {
    ex_say_access("load", request->at, before, before);
    return before;
  }
  ex_say_access(names[request->kind], request->at, before, after);
  if (place.area == IN_END && EX_IS(place, end, owner))
    ex_owner_changed(place.index, before, after);
  ex_arrive(running, (uint8_t *)request->at, request->size, after);
  return before;
}

/* An access to shared memory. */
static uint64_t ex_access(const ex_request *request) {
  const ex_place place = ex_locate(request->at);
  uint64_t value;
  if (ex_is_statistic(place)) return 0;
  ex_touch(place, request->at);
  switch (request->kind) {
    case ASK_LOAD:
      value = ex_peek(request->at, request->size);
      ex_say_access("load", request->at, value, value);
      return value;
    case ASK_STORE:
      ex_say_access(request->order == EX_RELEASE ? "release" : "store", request->at,
                    ex_peek(request->at, request->size), request->value);
      if (options.weak && !ex_is_direct())
        ex_buffer((uint8_t *)request->at, request->size, request->value,
                  request->order == EX_RELEASE);
      else
        ex_arrive(running, (uint8_t *)request->at, request->size, request->value);
      return 0;
    default:
      return ex_modify(request, place);
  }
}

/* ---- the primitives: see points.h --------------------------------------------------------------- */

static uint64_t ex_load(const volatile void *at, unsigned size, int order) {
  return ex_is_private(at) ? ex_raw(at, size) : ex_ask(ASK_LOAD, at, size, 0, 0, order);
}

static void ex_store(volatile void *at, unsigned size, uint64_t value, int order) {
  if (ex_is_private(at)) memcpy((void *)at, &value, size);
  else ex_ask(ASK_STORE, at, size, value, 0, order);
}

static void ex_fence(void) {
  if (options.weak && running->buffered_count > 0) running->fences++;
}

/* A full fence: what was stored is there before anything is read. */
static void ex_drain(void) {
  if (options.weak && !ex_is_direct()) ex_flush(running);
}

static uint64_t ex_exchange(volatile void *at, unsigned size, uint64_t value) {
  return ex_ask(ASK_EXCHANGE, at, size, value, 0, EX_ACQ_REL);
}

static uint64_t ex_add(volatile void *at, unsigned size, uint64_t value, int order) {
  if (!ex_is_private(at)) return ex_ask(ASK_ADD, at, size, value, 0, order);
  const uint64_t before = ex_raw(at, size), after = ex_narrow(before + value, size);
  memcpy((void *)at, &after, size);
  return before;
}

static uint64_t ex_or(volatile void *at, unsigned size, uint64_t value) {
  return ex_ask(ASK_OR, at, size, value, 0, EX_ACQ_REL);
}

static uint64_t ex_and(volatile void *at, unsigned size, uint64_t value) {
  return ex_ask(ASK_AND, at, size, value, 0, EX_ACQ_REL);
}

static int ex_cas(volatile void *at, unsigned size, void *expected, uint64_t value, int order) {
  const uint64_t wanted = ex_raw(expected, size);
  const uint64_t before = ex_ask(ASK_CAS, at, size, value, wanted, order);
  if (before == wanted) return 1;
  memcpy(expected, &before, size);
  return 0;
}

/* Bytes, eight at a time: each piece is an access. */
static void ex_copy_in(void *shared, const void *from, size_t size) {
  for (size_t done = 0; done < size; done += 8) {
    const unsigned piece = size - done < 8 ? (unsigned)(size - done) : 8;
    ex_store((uint8_t *)shared + done, piece, ex_raw((const uint8_t *)from + done, piece),
             EX_RELAXED);
  }
}

static void ex_copy_out(void *to, const void *shared, size_t size) {
  for (size_t done = 0; done < size; done += 8) {
    const unsigned piece = size - done < 8 ? (unsigned)(size - done) : 8;
    const uint64_t value = ex_load((const uint8_t *)shared + done, piece, EX_RELAXED);
    memcpy((uint8_t *)to + done, &value, piece);
  }
}

#endif
