/* Actors as coroutines, and states: taken, put back, compared.
 *
 * A state is the used part of the arena, the world, the views, and of each actor's stack what lies
 * above its stack pointer; registers are in the jmp_buf that the switch leaves. What lies below is
 * cleared before an actor goes on, so that a new frame doesn't begin with what an old one left.
 */
#ifndef EXPLORED_STATES_H
#define EXPLORED_STATES_H

#include "scenarios.h"

#include <ucontext.h>

static uint8_t stacks[EX_ACTORS][EX_STACK_BYTES] __attribute__((aligned(64)));
static jmp_buf scheduler_at, direct_at, registers[EX_ACTORS];
static ucontext_t scheduler_context;
static int is_starting;
static const ex_scenario *scenario;

/* ---- coroutines ---------------------------------------------------------------------------------- */

static void __attribute__((noinline)) ex_note_stack_pointer(void) {
  running->stack_pointer = __builtin_frame_address(0);
}

static void __attribute__((noinline)) ex_switch_back(void) {
  if (is_starting) {
    is_starting = 0;
    setcontext(&scheduler_context);
  }
  _longjmp(scheduler_at, 1);
}

/* To the scheduler, until the actor is scheduled again. */
static void __attribute__((noinline)) ex_yield(void) {
  ex_forget_of_wait();
  ex_note_stack_pointer();
  if (_setjmp(registers[ex_index(running)]) == 0) ex_switch_back();
}

/* Lets an actor go on to what it asks for next. */
static void __attribute__((noinline)) ex_resume_once(ex_actor *actor) {
  uint8_t *below = actor->stack_pointer - EX_BELOW;
  if (below < stacks[ex_index(actor)]) below = stacks[ex_index(actor)];
  memset(below, 0, (size_t)(actor->stack_pointer - below));
  if (_setjmp(scheduler_at) == 0) _longjmp(registers[ex_index(actor)], 1);
}

/* Lets it go on to its next point, whose class is noted. */
static void ex_go_on(ex_actor *actor) {
  int only_looks;
  for (uint32_t free = 0; free < 100000; free++) {
    memset(&actor->request, 0, sizeof(actor->request));
    ex_resume_once(actor);
    if (actor->status != EX_READY || actor->request.kind == ASK_NOTHING ||
        options.violation[0] != 0)
      return;
    actor->pending = (uint8_t)ex_class_of(&actor->request, &only_looks);
    actor->only_looks = (uint8_t)(only_looks && !options.weak);
    if (actor->pending != EX_FREE) return;
    ex_answer = ex_perform();
  }
  ex_violation("runs on for ever without a shared access");
}

/* Does what an actor asked for, and lets it go on. */
static void ex_step(ex_actor *actor) {
  running = actor;
  ex_answer = ex_perform();
  if (options.violation[0] == 0 && actor->status == EX_READY) ex_go_on(actor);
  if (actor->status == EX_DONE) actor->stack_pointer = NULL; /* it has none any more */
  running = NULL;
}

static void ex_actor_main(void) {
  ex_yield(); /* where each incarnation begins */
  running->program();
  running->status = EX_DONE;
  running->pending = EX_FREE;
  running->only_looks = 0;
  ex_yield();
}

/* Each actor's stack and registers as they are where its program begins. */
static struct {
  uint8_t stack[1024];
  jmp_buf at;
  uint8_t *stack_pointer;
} beginnings[EX_ACTORS];

static void ex_make_coroutine(uint32_t index) {
  ucontext_t context;
  ex_actor *actor = &world.actors[index];
  getcontext(&context);
  context.uc_stack.ss_sp = stacks[index];
  context.uc_stack.ss_size = EX_STACK_BYTES;
  context.uc_link = NULL;
  makecontext(&context, ex_actor_main, 0);
  running = actor;
  is_starting = 1;
  swapcontext(&scheduler_context, &context);
  running = NULL;
  memcpy(beginnings[index].at, registers[index], sizeof(jmp_buf));
  beginnings[index].stack_pointer = actor->stack_pointer;
  memcpy(beginnings[index].stack, stacks[index] + EX_STACK_BYTES - sizeof(beginnings[index].stack),
         sizeof(beginnings[index].stack));
}

/* The actor begins a program, as a new thread of control, and goes to its first point. */
static void ex_begin_program(ex_actor *actor, void (*program)(void)) {
  const uint32_t index = ex_index(actor);
  memcpy(registers[index], beginnings[index].at, sizeof(jmp_buf));
  memcpy(stacks[index] + EX_STACK_BYTES - sizeof(beginnings[index].stack),
         beginnings[index].stack, sizeof(beginnings[index].stack));
  actor->stack_pointer = beginnings[index].stack_pointer;
  actor->program = program;
  actor->status = EX_READY;
  actor->now_ns = EX_START_NS;
  running = actor;
  ex_go_on(actor);
  running = NULL;
}

static int is_on_actors_stack(void) {
  const uint8_t *here = __builtin_frame_address(0);
  return here >= stacks[0] && here < stacks[EX_ACTORS - 1] + EX_STACK_BYTES;
}

/* What is wrong is noted. The step in which it was found goes no further. */
static void ex_violation(const char *text, ...) {
  va_list arguments;
  if (options.violation[0] == 0) {
    size_t used = 0;
    if (running != NULL && !ex_is_direct())
      used = (size_t)snprintf(options.violation, sizeof(options.violation), "actor %u: ",
                              ex_index(running));
    va_start(arguments, text);
    vsnprintf(options.violation + used, sizeof(options.violation) - used, text, arguments);
    va_end(arguments);
  }
  if (is_on_actors_stack()) _longjmp(scheduler_at, 1);
  if (running != NULL && ex_is_direct()) _longjmp(direct_at, 1);
}

/* Runs something by itself, as the process, without points: nonzero if it came to its end. */
static int __attribute__((noinline)) ex_directly(uint32_t process, void (*what)(void)) {
  ex_actor *direct = &world.actors[EX_DIRECT];
  direct->process = (uint8_t)process;
  direct->now_ns = EX_START_NS;
  running = direct;
  if (_setjmp(direct_at) == 0) what();
  running = NULL;
  return options.violation[0] == 0;
}

/* ---- states ---------------------------------------------------------------------------------------- */

static struct {
  uint8_t *at;
  size_t bytes;
} parts[48];
static uint32_t part_count;
static uint32_t actor_count, process_count;

static void ex_add_part(void *at, size_t bytes) {
  if (bytes == 0) return;
  parts[part_count].at = at;
  parts[part_count].bytes = (bytes + 7) / 8 * 8;
  part_count++;
}

/* Without the mask of signals, which is not kept. */
#ifdef __GLIBC__
#define EX_REGISTER_BYTES sizeof(registers[0][0].__jmpbuf)
#else
#define EX_REGISTER_BYTES sizeof(jmp_buf)
#endif

static size_t ex_live_bytes(uint32_t index) {
  const ex_actor *actor = &world.actors[index];
  if (actor->status != EX_READY && actor->status != EX_ASLEEP) return 0;
  return (size_t)(stacks[index] + EX_STACK_BYTES - actor->stack_pointer + 7) / 8 * 8;
}

static size_t ex_save(uint8_t *to) {
  uint8_t *at = to;
  for (uint32_t i = 0; i < part_count; i++) {
    memcpy(at, parts[i].at, parts[i].bytes);
    at += parts[i].bytes;
  }
  for (uint32_t i = 0; i < actor_count; i++) {
    const size_t bytes = ex_live_bytes(i);
    if (bytes == 0) continue;
    memcpy(at, stacks[i] + EX_STACK_BYTES - bytes, bytes);
    memcpy(at + bytes, registers[i], EX_REGISTER_BYTES);
    at += bytes + EX_REGISTER_BYTES;
  }
  return (size_t)(at - to);
}

static void ex_put_back(const uint8_t *from) {
  for (uint32_t i = 0; i < part_count; i++) {
    memcpy(parts[i].at, from, parts[i].bytes);
    from += parts[i].bytes;
  }
  for (uint32_t i = 0; i < actor_count; i++) {
    const size_t bytes = ex_live_bytes(i); /* of the world that was just put back */
    if (bytes == 0) continue;
    memcpy(stacks[i] + EX_STACK_BYTES - bytes, from, bytes);
    memcpy(registers[i], from + bytes, EX_REGISTER_BYTES);
    from += bytes + EX_REGISTER_BYTES;
  }
}

typedef struct {
  uint64_t low, high;
} ex_hash;

#define EX_FAST __attribute__((optimize("O2")))

static inline EX_FAST uint64_t ex_fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = (unsigned __int128)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* 128 bits: two states are taken for one with a chance of about 2^-80 in a run of 2^24 states. Each
 * word goes into one of two chains of products and one of four chains that mix less, so that no
 * multiplication waits for the one before. */
static EX_FAST ex_hash ex_hash_of(const uint8_t *state, size_t bytes, uint64_t extra) {
  const uint64_t prime = UINT64_C(0xE7037ED1A0B428DB), salt = UINT64_C(0xA0761D6478BD642F);
  const uint64_t *word = (const uint64_t *)state, *const end = word + bytes / 8;
  uint64_t a = UINT64_C(0x9E3779B97F4A7C15) ^ extra, b = UINT64_C(0xC2B2AE3D27D4EB4F) + extra;
  uint64_t c = 1, d = 2, e = 3, f = 4;
  for (; word + 4 <= end; word += 4) {
    a = ex_fold(a ^ word[0], word[1] ^ salt);
    b = ex_fold(b ^ word[2], word[3] ^ salt);
    c = (c << 29 | c >> 35) * prime + word[0];
    d = (d << 29 | d >> 35) * prime + word[1];
    e = (e << 29 | e >> 35) * prime + word[2];
    f = (f << 29 | f >> 35) * prime + word[3];
  }
  for (; word < end; word++) {
    a = ex_fold(a ^ word[0], salt);
    c = (c << 29 | c >> 35) * prime + word[0];
  }
  const uint64_t low = ex_fold(ex_fold(a + c, prime ^ d), salt ^ e), high = ex_fold(b + f, salt ^ c);
  return (ex_hash){ex_fold(low ^ b, prime + f), ex_fold(high ^ a, prime ^ (d + e * 3)) ^ bytes};
}

/* ---- the start -------------------------------------------------------------------------------------- */

static void ex_prefill(void) {
  for (uint32_t i = 0; i < scenario->prefilled; i++)
    if (ex_put(1, 0) != SHMQ_OK) ex_violation("cannot fill the ring");
}

static void ex_open_groups(void) {
  for (uint32_t group = 0; group < scenario->group_count; group++)
    ex_join_group(group, scenario->groups[group]);
}

/* Bits of the actors that consume for this group. */
static uint32_t ex_readers_of(uint32_t group) {
  uint32_t actors = 0;
  for (uint32_t i = 0; i < EX_ACTORS; i++)
    if (scenario->reads[i] == group + 1) actors |= 1u << i;
  return actors;
}

/* As the actors' processes, one after the other: each consumes for the group that it should. */
static void ex_assign_group(void) {
  static uint32_t actor;
  if (scenario->reads[actor] > 0) {
    ex_read_of(scenario->reads[actor] - 1u);
    readers[actor] = *EX_READER;
  }
  actor++;
}

/* The kernel's part of a death. */
static void ex_end_process(uint32_t process) {
  world.is_alive[process] = 0;
  ex_unlock(process);
}

static void ex_format(void) {
  const uint64_t pool_bytes = (uint64_t)scenario->pool_pages * SHMQ_PAGE;
  shmq_header header = {0};
  if (!shmq_plan(&header, scenario->capacity, scenario->region_count > 0 ? 8 : EX_ITEM_BYTES,
                 EX_SEATS, pool_bytes, scenario->region_count, scenario->flags & STREAM)) {
    fprintf(stderr, "no segment can have this geometry\n");
    exit(2);
  }
  arena = mmap(NULL, header.segment_bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) exit(2);
  geometry.mapped_bytes = 0; /* until it is known, all of it is private */
  shmq_format(arena, &header);
  memcpy(&header, arena, sizeof(header));
  shmq_view_set(&geometry, arena, &header);
  if (header.region_count > 0) {
    world.slots_backed = ex_bits(0, geometry.slot_bytes, 0, SHMQ_FIRST_BACKED);
    ex_payload_bytes = 8;
  }
}

static void ex_name_parts_of_stream(void) {
  shmq_stream *stream = geometry.stream;
  if (!ex_is_stream()) return;
  ex_add_part(stream, offsetof(shmq_stream, groups));
  if (rules.groups_change) ex_add_part(stream->groups, rules.groups * sizeof(shmq_group));
  for (uint32_t i = 0; i < EX_ROWS; i++)
    ex_add_part(&stream->holds[i], offsetof(shmq_hold, reserved));
  ex_add_part(stream->writers, EX_ROWS * sizeof(uint64_t));
  ex_add_part(stream->pinners, EX_ROWS * sizeof(uint64_t));
  ex_add_part(readers, actor_count * sizeof(shmq_reader));
}

static void ex_name_parts(void) {
  ex_add_part(&geometry.header->seats_granted, 8);
  ex_add_part(geometry.ends, rules.ends * sizeof(shmq_end));
  if (scenario->pool_pages > 0) ex_add_part(geometry.classes, 4 * sizeof(shmq_class));
  ex_add_part(geometry.regions, scenario->region_count * sizeof(shmq_region));
  for (uint32_t i = 0; i < EX_SEATS; i++) ex_add_part(&geometry.seats[i].generation, 8);
  ex_add_part(geometry.slots, geometry.slots_bytes);
  if (scenario->pool_pages > 0) ex_add_part(geometry.blocks, EX_BLOCKS * sizeof(shmq_block));
  for (uint32_t i = 0; i < scenario->pool_pages; i++)
    ex_add_part(geometry.pool + i * (uint64_t)SHMQ_PAGE, EX_ITEM_BYTES);
  ex_name_parts_of_stream();
  ex_add_part(world.actors, actor_count * sizeof(ex_actor));
  ex_add_part(world.is_alive,
              sizeof(world) - offsetof(ex_world, is_alive));
  if (options.weak) ex_add_part(buffers, actor_count * sizeof(buffers[0]));
  ex_add_part(views, process_count * sizeof(shmq_view));
}

/* Everything as it is before the first choice: nonzero if that worked. */
static int ex_set_up(void) {
  void (*const *programs)(void) = scenario->programs;
  while (actor_count < EX_ACTORS && programs[actor_count] != NULL) actor_count++;
  for (uint32_t i = 0; i < actor_count; i++) {
    const int is_own = scenario->process_of[1] == 0 && scenario->process_of[2] == 0;
    const uint32_t process = is_own ? i : scenario->process_of[i];
    world.actors[i].process = (uint8_t)process;
    if (process + 1 > process_count) process_count = process + 1;
  }
  ex_format();
  rules.slots_are_looked_at = scenario->flags & SLOTS_ARE_LOOKED_AT;
  rules.states_change = scenario->flags & STATES_CHANGE;
  rules.began_with_death = scenario->flags & BEGINS_WITH_DEATH;
  rules.seats_change = scenario->attach_themselves || scenario->reborn != NULL;
  rules.groups_change = scenario->flags & GROUPS_CHANGE;
  rules.groups = rules.groups_change ? EX_GROUPS : scenario->group_count;
  rules.ends = SHMQ_END_HEAD0 + 1 + rules.groups;
  rules.floor_is_looked_at = scenario->pool_pages > 0;
  for (uint32_t end = 0; end < EX_ENDS; end++) rules.storers[end] = UINT32_MAX;
  if (scenario->putters) rules.storers[SHMQ_END_TAIL] = scenario->putters;
  if (scenario->takers) rules.storers[SHMQ_END_HEAD0] = scenario->takers;
  for (uint32_t group = 0; group < scenario->group_count; group++) {
    if (scenario->groups[group].policy != SHMQ_POLICY_BLOCK)
      rules.floor_is_looked_at = rules.slots_are_looked_at = 1;
    if (!rules.groups_change) rules.storers[SHMQ_END_HEAD0 + 1 + group] = ex_readers_of(group);
  }
  for (uint32_t process = 0; process < process_count; process++) {
    ex_be_born(process);
    if (scenario->attach_themselves >> process & 1) continue;
    if (!ex_directly(process, ex_attach)) return 0;
  }
  if (!ex_directly(process_count - 1, ex_open_groups)) return 0;
  if (!ex_directly(process_count - 1, ex_prefill)) return 0;
  if (scenario->prepare != NULL) {
    ex_be_born(EX_VICTIM);
    if (!ex_directly(EX_VICTIM, ex_attach) || !ex_directly(EX_VICTIM, scenario->prepare)) return 0;
    if (rules.began_with_death) memset(world.holder, 0, sizeof(world.holder));
    else if (!ex_directly(EX_VICTIM, ex_leave)) return 0;
    ex_end_process(EX_VICTIM);
  }
  memset(&views[EX_VICTIM], 0, sizeof(views[0]));
  memset(&world.actors[EX_DIRECT], 0, sizeof(ex_actor));
  for (uint32_t i = 0; i < actor_count; i++)
    if (!ex_directly(world.actors[i].process, ex_assign_group)) return 0;
  memset(&readers[EX_DIRECT], 0, sizeof(readers[0]));
  ex_name_parts();
  for (uint32_t i = 0; i < actor_count; i++) {
    ex_make_coroutine(i);
    ex_begin_program(&world.actors[i], programs[i]);
  }
  return options.violation[0] == 0;
}

#endif
