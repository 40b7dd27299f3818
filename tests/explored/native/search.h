/* The search: depth first, over all that can happen next, leaving out what was seen before.
 *
 * What can happen, and how a schedule writes it:
 *
 *   2      actor 2 makes its next access, and goes on to the one after
 *   k2     process 2 is killed
 *   t2     the bound of actor 2's sleep passes
 *   f2.0   the first of the stores that actor 2 has made, and nobody saw, is seen (weak memory)
 *
 * A bound passes where everybody who lives is asleep and somebody was killed, or the call has a
 * deadline; elsewhere as often as the run allows. Where everybody is asleep, nobody was killed, and
 * there is work for a sleeper, its wake-up was lost.
 */
#ifndef EXPLORED_SEARCH_H
#define EXPLORED_SEARCH_H

#include "states.h"

typedef struct {
  char what; /* 'a', 'k', 't', 'f' */
  uint8_t who, which;
} ex_choice;

enum { EX_CHOICES = 40, EX_DEPTH = 1 << 16, EX_MOST_STATES = 90 << 20 /* 2 GiB */ };

typedef struct {
  size_t state; /* where its bytes are */
  uint32_t depth;
  uint8_t count, next;
  uint8_t last;
  int16_t preemptions;
  ex_choice choices[EX_CHOICES];
} ex_frame;

static ex_choice path[EX_DEPTH];
static uint32_t depth;

/* Where the run stands apart from the state. */
static uint8_t last_actor;
static int16_t preemptions;

static struct {
  uint64_t states, steps, schedules, ends, kills, deepest, healed;
} counts;

/* ---- what can happen ---------------------------------------------------------------------------------- */

static int ex_may_kill(uint32_t process) {
  if (!world.is_alive[process] || world.kills >= options.kills ||
      scenario->immortal >> process & 1)
    return 0;
  for (uint32_t i = 0; i < actor_count; i++) {
    const ex_actor *actor = &world.actors[i];
    if (actor->process != process) continue;
    if (actor->status == EX_ASLEEP || actor->status == EX_STOPPED ||
        (actor->status == EX_READY && !actor->only_looks) ||
        (actor->status == EX_DONE && scenario->flags & IDLE_MAY_DIE))
      return 1;
  }
  return 0;
}

static uint32_t ex_list_kill(uint32_t count, uint32_t process, ex_choice choices[EX_CHOICES]) {
  if (ex_may_kill(process)) choices[count++] = (ex_choice){'k', (uint8_t)process, 0};
  return count;
}

static int ex_is_quiet(void) {
  for (uint32_t i = 0; i < actor_count; i++)
    if (world.actors[i].status == EX_READY || world.actors[i].buffered_count > 0) return 0;
  return 1;
}

static uint32_t ex_list_actor(uint32_t count, uint32_t index, ex_choice choices[EX_CHOICES]) {
  if (world.actors[index].status == EX_READY)
    choices[count++] = (ex_choice){'a', (uint8_t)index, 0};
  return count;
}

/* Where an actor does what nobody else can tell, the others wait until it has. */
static uint32_t ex_list_lonely(ex_choice choices[EX_CHOICES]) {
  for (uint32_t i = 0; i < actor_count; i++) {
    const ex_actor *actor = &world.actors[i];
    if (actor->status == EX_READY && actor->pending == EX_LONELY)
      return ex_list_kill(ex_list_actor(0, i, choices), actor->process, choices);
  }
  return 0;
}

static uint32_t ex_list(ex_choice choices[EX_CHOICES]) {
  uint32_t count = ex_list_lonely(choices);
  const int is_quiet = ex_is_quiet();
  if (count > 0) return count;
  const int may_switch =
      options.preemptions < 0 || preemptions < options.preemptions ||
      last_actor >= actor_count || world.actors[last_actor].status != EX_READY;
  if (last_actor < actor_count) count = ex_list_actor(count, last_actor, choices);
  for (uint32_t i = 0; i < actor_count; i++)
    if (i != last_actor && may_switch) count = ex_list_actor(count, i, choices);
  for (uint32_t i = 0; i < actor_count; i++) {
    const ex_actor *actor = &world.actors[i];
    for (uint32_t store = 0; store < actor->buffered_count; store++)
      if (ex_may_arrive(actor, store))
        choices[count++] = (ex_choice){'f', (uint8_t)i, (uint8_t)store};
    if (actor->status != EX_ASLEEP || actor->until_ns == EX_FOREVER) continue;
    if (is_quiet ? ex_was_killed() || actor->is_timed || scenario->flags & LEANS_ON_BOUNDS
                 : world.expiries < options.expiries)
      choices[count++] = (ex_choice){'t', (uint8_t)i, 0};
  }
  for (uint32_t process = 0; process < process_count; process++)
    count = ex_list_kill(count, process, choices);
  return count;
}

/* ---- and what it does ----------------------------------------------------------------------------------- */

static void ex_kill(uint32_t process) {
  world.kills++;
  for (uint32_t i = 0; i < actor_count; i++) {
    ex_actor *actor = &world.actors[i];
    if (actor->process != process) continue;
    ex_flush(actor); /* what it has executed is executed */
    ex_account_for_killed(actor);
    for (uint32_t end = 0; end < EX_ENDS; end++)
      if (world.holder[end] == i + 1) world.holder[end] = 0;
    memset(&readers[i], 0, sizeof(readers[i]));
    if (actor->status == EX_ASLEEP) ex_wake(actor, 0);
    const uint8_t is_reborn = actor->is_reborn, serial = actor->serial;
    memset(actor, 0, sizeof(*actor));
    actor->process = (uint8_t)process;
    actor->is_reborn = is_reborn;
    actor->serial = serial;
    actor->status = EX_DEAD;
  }
  ex_end_process(process);
  memset(&views[process], 0, sizeof(shmq_view));
  for (uint32_t i = 0; i < actor_count; i++) {
    ex_actor *actor = &world.actors[i];
    if (actor->process != process || scenario->reborn == NULL || actor->is_reborn) continue;
    actor->is_reborn = 1;
    actor->serial = 0;
    ex_be_born(process);
    ex_begin_program(actor, scenario->reborn);
    break;
  }
}

static void ex_say_choice(ex_choice choice) {
  static const char *const what[] = {['a'] = "", ['k'] = "k", ['t'] = "t", ['f'] = "f"};
  if (!options.tracing) return;
  printf("%5u %s%u", depth, what[(int)choice.what], choice.who);
  if (choice.what == 'f') printf(".%u", choice.which);
  if (choice.what == 'k') printf("   process %u is killed", choice.who);
  if (choice.what == 't') printf("   the bound of actor %u's sleep passes", choice.who);
  putchar('\n');
}

/* Does what was chosen, and looks at what came of it: 0 if that is a violation. */
static int ex_take_choice(ex_choice choice) {
  ex_actor *actor = &world.actors[choice.who];
  if (depth + 1 >= EX_DEPTH) ex_violation("the schedule is too long");
  else path[depth] = choice;
  ex_say_choice(choice);
  depth++;
  counts.steps++;
  if (choice.what == 'k') {
    ex_kill(choice.who);
  } else if (choice.what == 'f') {
    ex_flush_one(actor, choice.which);
  } else {
    if (choice.what == 't') {
      if (!ex_is_quiet()) world.expiries++;
      ex_wake(actor, ETIMEDOUT);
    }
    if (choice.who != last_actor && last_actor < actor_count &&
        world.actors[last_actor].status == EX_READY && actor->pending != EX_LONELY)
      preemptions++;
    last_actor = choice.who;
    ex_step(actor);
  }
  if (options.violation[0] == 0) ex_check_state();
  return options.violation[0] == 0;
}

/* ---- where a schedule ends ------------------------------------------------------------------------------ */

static uint32_t ex_count_asleep(int also_rightly) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < actor_count; i++)
    count += world.actors[i].status == EX_ASLEEP &&
             (also_rightly || !ex_sleeps_rightly(&world.actors[i]));
  return count;
}

static int ex_run_until_quiet(void) {
  for (uint32_t steps = 0; steps < 300; steps++) {
    if (ex_is_quiet()) return 1;
    for (uint32_t i = 0; i < actor_count; i++) {
      ex_choice choice = {'a', (uint8_t)i, 0};
      if (world.actors[i].buffered_count > 0) choice.what = 'f';
      else if (world.actors[i].status != EX_READY) continue;
      if (!ex_take_choice(choice)) return 0;
    }
  }
  ex_violation("runs on and on, and gets nowhere");
  return 0;
}

/* Everybody is asleep after a kill: do the bounds of the sleeps make good for it? */
static void ex_heal(void) {
  for (int round = 0; round < 16; round++) {
    if (ex_count_asleep(0) == 0) return;
    for (uint32_t i = 0; i < actor_count; i++) {
      if (world.actors[i].status != EX_ASLEEP || world.actors[i].until_ns == EX_FOREVER) continue;
      if (!ex_take_choice((ex_choice){'t', (uint8_t)i, 0}) || !ex_run_until_quiet()) return;
    }
  }
  for (uint32_t i = 0; i < actor_count; i++)
    if (world.actors[i].status == EX_ASLEEP && !ex_sleeps_rightly(&world.actors[i]))
      ex_violation("actor %u sleeps for ever, and there is work for it", i);
}

static void ex_look_after(void) {
  ex_attach();
  ex_check_descriptor();
  while (ex_take(1, 0) > 0) continue;
  if (world.head != world.tail) ex_violation("%u items are not to be had", world.tail - world.head);
  if (world.received + world.lost != world.head)
    ex_violation("%u items were put, %u received, %u lost with who was killed", world.tail,
                 world.received, world.lost);
  if (geometry.ends[SHMQ_END_TAIL].state & SHMQ_END_SHUT) return;
  for (uint32_t i = 0; i < geometry.capacity && i < 3 && world.tail + 1 < EX_ITEMS; i++) {
    if (ex_put(1, 0) != SHMQ_OK) ex_violation("no room in an empty ring");
    if (i % 2 == 1 && ex_take(1, 0) != 1) ex_violation("nothing in a ring that is not empty");
  }
  while (ex_take(1, 0) > 0) continue;
  if (world.head != world.tail) ex_violation("what was put afterwards is not to be had");
  ex_check_descriptor();
}

/* Has somebody filled it, who still waits to put it? */
static int ex_is_in_hands(uint64_t state) {
  for (uint32_t i = 0; i < actor_count; i++)
    if (world.actors[i].status != EX_DONE && world.actors[i].status != EX_DEAD &&
        (views[world.actors[i].process].tag | SHMQ_BLOCK_HELD) == state)
      return 1;
  return 0;
}

static void ex_look_after_blocks(void) {
  const uint32_t count = (uint32_t)geometry.ends[SHMQ_END_POOL].sequence;
  ex_sweep();
  for (uint32_t i = 0; i < count && i < EX_BLOCKS; i++)
    if (geometry.blocks[i].state != SHMQ_BLOCK_FREE &&
        !ex_is_in_hands(geometry.blocks[i].state))
      ex_violation("block %u belongs to nobody, and is not free", i);
  if (count > EX_BLOCKS) ex_violation("%u blocks for so few items", count);
  for (uint32_t i = 0; i < scenario->region_count; i++)
    if (i > 0 && geometry.regions[i].dirty != 0)
      ex_violation("region %u keeps its memory, and is not in use", i);
}

static int ex_inside_is_stopped(void) {
  for (uint32_t end = 0; end < EX_ENDS; end++)
    if (world.holder[end] != 0) return 1;
  return 0;
}

/* All have done what they could. Somebody comes, finds what is left, and goes on with it. */
static void ex_audit(void) {
  counts.ends++;
  if (ex_inside_is_stopped()) return; /* as it should be: it is alive */
  if (!ex_was_killed()) ex_check_descriptor();
  if (!ex_was_killed() && ex_is_stream() && !ex_directly(0, ex_check_passed)) return;
  if (options.tracing) printf("      afterwards\n");
  ex_be_born(EX_AUDITOR);
  if (ex_directly(EX_AUDITOR, ex_is_stream() ? ex_look_after_stream : ex_look_after)) ex_directly(EX_AUDITOR, ex_look_after_blocks);
}

/* Everybody is asleep, done or dead. 1 if the schedule ends here; the state is not kept then. */
static int ex_is_end(void) {
  const uint32_t wrongly = ex_count_asleep(0);
  int waits_for_limit = 0;
  for (uint32_t i = 0; i < actor_count; i++)
    waits_for_limit |= world.actors[i].status == EX_ASLEEP && world.actors[i].is_timed;
  if (wrongly == 0 && waits_for_limit) return 0;
  if (wrongly == 0) {
    if (!ex_was_killed() && ex_count_asleep(1) > 0 && !ex_inside_is_stopped())
      ex_violation("everybody sleeps, and nobody was killed");
    else
      ex_audit();
    return 1;
  }
  if (!ex_was_killed() && !(scenario->flags & LEANS_ON_BOUNDS)) {
    for (uint32_t i = 0; i < actor_count; i++)
      if (world.actors[i].status == EX_ASLEEP && !ex_sleeps_rightly(&world.actors[i]))
        ex_violation("a wake-up was lost: actor %u sleeps, there is work for it, and nobody was"
                     " killed", i);
    return 1;
  }
  return 0;
}

/* ---- depth first ---------------------------------------------------------------------------------------- */

/* States that were seen, by their hash; with the fewest preemptions they were reached with. */
static struct {
  ex_hash *slots;
  uint64_t mask, used;
} seen;

static int ex_is_new(ex_hash hash) {
  const uint64_t cost = options.preemptions < 0 ? 0 : (uint64_t)preemptions;
  hash.high = (hash.high & ~UINT64_C(0xFF)) | 0x80;
  if (seen.used * 4 >= (seen.mask + 1) * 3 || seen.slots == NULL) {
    const uint64_t old_slots = seen.slots == NULL ? 0 : seen.mask + 1;
    ex_hash *old = seen.slots;
    const uint64_t slots = old_slots ? old_slots * 2 : 1 << 16;
    seen.slots = calloc(slots, sizeof(ex_hash));
    if (seen.slots == NULL) exit(3);
    seen.mask = slots - 1;
    for (uint64_t i = 0; i < old_slots; i++) {
      if (old[i].high == 0) continue;
      uint64_t at = old[i].low & seen.mask;
      while (seen.slots[at].high != 0) at = (at + 1) & seen.mask;
      seen.slots[at] = old[i];
    }
    free(old);
  }
  uint64_t at = hash.low & seen.mask;
  for (; seen.slots[at].high != 0; at = (at + 1) & seen.mask) {
    if (seen.slots[at].low != hash.low ||
        ((seen.slots[at].high ^ hash.high) & ~UINT64_C(0x7F)) != 0)
      continue;
    if ((seen.slots[at].high & 0x7F) <= cost) return 0;
    seen.slots[at].high = hash.high | cost;
    return 1;
  }
  seen.slots[at] = (ex_hash){hash.low, hash.high | cost};
  seen.used++;
  return 1;
}

static ex_frame frames[EX_DEPTH];
static uint8_t *saved; /* the states of the frames, one behind the other */
static uint64_t ex_extra(void) {
  return options.preemptions < 0 ? 0 : (uint64_t)last_actor + 1;
}

static int ex_stop_is_due(void);

/* 1 when all that the bounds allow was seen, 0 when stopped before; a violation ends it, too. */
static int ex_search(void) {
  uint32_t frame_count = 0;
  size_t saved_bytes = 0;
  int is_fresh = 1; /* the state at hand was not looked at yet */
  saved = mmap(NULL, (size_t)1 << 36, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (saved == MAP_FAILED) exit(3);
  last_actor = 0xFF;
  for (;;) {
    if (is_fresh) {
      ex_frame *frame = &frames[frame_count];
      is_fresh = 0;
      if (ex_list_lonely(frame->choices) == 1) { /* there is only one way to it as well: it is not kept */
        if (!ex_take_choice(frame->choices[0])) return 1;
        is_fresh = 1;
        continue;
      }
      const size_t bytes = ex_save(saved + saved_bytes);
      if (ex_is_new(ex_hash_of(saved + saved_bytes, bytes, ex_extra()))) {
        counts.states++;
        if (depth > counts.deepest) counts.deepest = depth;
        frame->count = 0;
        if (!ex_is_quiet() || !ex_is_end()) {
          if (ex_is_quiet() && ex_count_asleep(0) > 0) {
            const uint32_t here = depth;
            const uint8_t last = last_actor;
            const int16_t cost = preemptions;
            ex_heal();
            counts.healed++;
            if (options.violation[0] != 0) return 1;
            ex_put_back(saved + saved_bytes);
            depth = here, last_actor = last, preemptions = cost;
          }
          frame->count = (uint8_t)ex_list(frame->choices);
        }
        if (options.violation[0] != 0) return 1;
        if (frame->count > 0) {
          frame->state = saved_bytes;
          frame->depth = depth;
          frame->next = 0;
          frame->last = last_actor;
          frame->preemptions = preemptions;
          saved_bytes += bytes;
          frame_count++;
        } else {
          counts.schedules++;
        }
      } else {
        counts.schedules++;
      }
      if (ex_stop_is_due()) return 0;
    }
    if (frame_count == 0) return 1;
    ex_frame *frame = &frames[frame_count - 1];
    if (frame->next > 0 || depth != frame->depth) ex_put_back(saved + frame->state);
    depth = frame->depth;
    last_actor = frame->last;
    preemptions = frame->preemptions;
    const ex_choice choice = frame->choices[frame->next++];
    if (frame->next == frame->count) { /* nobody comes back to it */
      saved_bytes = frame->state;
      frame_count--;
    }
    if (choice.what == 'k') counts.kills++;
    if (!ex_take_choice(choice)) return 1;
    is_fresh = 1;
  }
}

#endif
