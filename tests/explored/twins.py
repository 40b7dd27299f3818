"""Broken twins of the protocol, each with the scenario that shows what is wrong with it.

They are tests of the explorer: where one of them passes, it would not notice that mistake.
"""

from typing import NamedTuple

from tests.explored.build import LATE_SLOTS, SMALL_REGIONS, SMALL_STREAM
from tests.explored.exploring import Run

TAIL_COMMIT = "  store_release(&tail->sequence, sequence + count);\n"
HEAD_COMMIT = "  store_release(&head->sequence, sequence + done);\n"
SECOND_LOOK = """\
  shmq_end_flag(waiter->end, batch ? SHMQ_BATCH_AWAITED : SHMQ_AWAITED);
  if (shmq_may_go_on(view, waiter)) return SHMQ_OK;
"""
PASS_ON = """\
    shmq_end_flag(waiter->bell_end, SHMQ_AWAITED);
    if (shmq_may_go_on(view, waiter))
      futex_wake(&waiter->bell_end->bell, 1, shmq_waiter_class(waiter));
"""
HOLD_IF = "  if (of_group && reader->hold != NULL &&\n"
REMOVED = "  store_release(&head->state, state & ~SHMQ_END_BITS);\n  shmq_end_release(head);\n"


class Twin(NamedTuple):
    """What is broken, where it shows, and a word of how."""

    changes: tuple
    run: Run
    shows: str


def _twin(run, shows, *changes):
    more = SMALL_REGIONS if run.scenario == "regions" else ()
    more += SMALL_STREAM if run.scenario.startswith("stream-") else ()
    more += LATE_SLOTS if run.weak else ()
    return Twin(changes, run._replace(changes=more + changes), shows)


# The five of which every commit must know that they are noticed, and those that found something.
AT_EVERY_COMMIT = {
    "tag-without-generation",
    "no-takeover",
    "batch-in-two-stores",
    "passed-on-after-the-look",
    "relaxed-commit",
    "stream-one-class-is-woken",
    "stream-head-after-the-rows",
    "stream-read-without-a-second-look",
}

TWINS = {
    "sleeps-without-bound": _twin(
        Run("full", kills=1),
        "sleeps for ever",
        (
            "wait.h",
            "uint64_t until = now + waiter->sleep_ns;",
            "uint64_t until = SHMQ_NO_DEADLINE;",
        ),
    ),
    "tag-without-generation": _twin(
        Run("reborn", kills=1),
        "sleeps for ever",
        (
            "seats.h",
            "return generation << SHMQ_GENERATION_SHIFT | (uint64_t)(seat + 1) << SHMQ_SEAT_SHIFT;",
            "return (uint64_t)(seat + 1) << SHMQ_SEAT_SHIFT | (generation & 0);",
        ),
        (
            "seats.h",
            "  if (load_acquire(&view->seats[seat].generation) << SHMQ_GENERATION_SHIFT !=",
            "  if (0 && load_acquire(&view->seats[seat].generation) << SHMQ_GENERATION_SHIFT !=",
        ),
    ),
    "no-takeover": _twin(
        Run("takeover"),
        "sleeps for ever",
        ("ends.h", "if (!shmq_tag_is_dead(view, seen)) return 0;", "return 0;"),
    ),
    "batch-in-two-stores": _twin(
        Run("batches", kills=1),
        "leaves 1 of 2 items",
        (
            "ring.h",
            TAIL_COMMIT,
            "  for (uint64_t i = 1; i <= count; i++)\n"
            "    store_release(&tail->sequence, sequence + i);\n",
        ),
    ),
    "count-beside-the-ends": _twin(
        Run("pair", kills=1),
        "gets nowhere",
        (
            "ring.h",
            TAIL_COMMIT,
            TAIL_COMMIT + "  fetch_add_release((uint32_t *)tail->reserved1, (uint32_t)count);\n",
        ),
        (
            "ring.h",
            HEAD_COMMIT,
            HEAD_COMMIT
            + "  fetch_add_release((uint32_t *)shmq_tail(view)->reserved1, -(uint32_t)done);\n",
        ),
        (
            "ring.h",
            "  return load_acquire(&shmq_tail(view)->sequence) !="
            " load_acquire(&shmq_head(view)->sequence);",
            "  return load_acquire((uint32_t *)shmq_tail(view)->reserved1) != 0;",
        ),
    ),
    "time-proves-death": _twin(
        Run("stopped"),
        "which is alive",
        (
            "wait.h",
            "    if (waiter->sleep_ns < SHMQ_SLEEP_BUSY) waiter->sleep_ns *= 2;\n",
            "    if (result == ETIMEDOUT)\n"
            "      cas_acq_rel(&waiter->end->owner, &seen, seen & SHMQ_FLAGS);\n",
        ),
    ),
    "any-word-is-evicted": _twin(
        Run("takeover"),
        "which is alive",
        (
            "ends.h",
            "  if (cas_acq_rel(&end->owner, &seen, seen & SHMQ_FLAGS))\n",
            "  xchg_acq_rel(&end->owner, seen & SHMQ_FLAGS);\n  if (1)\n",
        ),
    ),
    "flag-after-the-second-look": _twin(
        Run("pair"),
        "a wake-up was lost",
        ("wait.h", SECOND_LOOK, "\n".join(reversed(SECOND_LOOK.splitlines())) + "\n"),
    ),
    "passed-on-after-the-look": _twin(
        Run("empty"),
        "a wake-up was lost",
        (
            "wait.h",
            PASS_ON,
            "    int more = shmq_may_go_on(view, waiter);\n"
            + PASS_ON.replace("shmq_may_go_on(view, waiter)", "more"),
        ),
    ),
    "owner-word-looked-at-again": _twin(
        Run("two-producers"),
        "a wake-up was lost",
        (
            "wait.h",
            "uint64_t seen = shmq_end_flag(waiter->end, SHMQ_CONTENDED);",
            "shmq_end_flag(waiter->end, SHMQ_CONTENDED);\n"
            "    uint64_t seen = load_relaxed(&waiter->end->owner);",
        ),
    ),
    "bell-that-does-not-change": _twin(
        Run("pair"),
        "a wake-up was lost",
        ("ends.h", "    fetch_add_release(&end->bell, 1);\n  }\n", "    (void)end;\n  }\n"),
    ),
    "owner-word-not-passed-on": _twin(
        Run("shrink"),
        "a wake-up was lost",
        (
            "wait.h",
            "  if (gave_up || (load_relaxed(&waiter->owner_end->owner) &"
            " (SHMQ_TAG | SHMQ_CONTENDED)) ==\n"
            "                     SHMQ_CONTENDED)\n",
            "  if (gave_up)\n",
        ),
    ),
    "nobody-passes-on": _twin(
        Run("empty"),
        "a wake-up was lost",
        ("wait.h", PASS_ON, ""),
    ),
    "block-freed-before-the-head": _twin(
        Run("blocks"),
        "is free, and sequence",
        (
            "ring.h",
            "        shmq_block_hold(view, ref.block);",
            "        store_release(&view->blocks[ref.block].state, 0);",
        ),
    ),
    "queued-block-is-swept": _twin(
        Run("sweep"),
        "is free, and sequence",
        (
            "blocks.h",
            "  if (sequence - head >= tail - head) return 0;\n",
            "  if (sequence - head >= 0) return 0;\n",
        ),
    ),
    "head-committed-before-the-copy": _twin(
        Run("pair"),
        "gets ",
        (
            "ring.h",
            "      if (buffer != NULL) copy_out(buffer + used, slot + 1, length);\n",
            "      store_release(&head->sequence, sequence + done + 1);\n"
            "      if (buffer != NULL) copy_out(buffer + used, slot + 1, length);\n",
        ),
        ("ring.h", HEAD_COMMIT, "\n"),
    ),
    "place-written-over": _twin(
        Run("regions", kills=1),
        "no place names",
        (
            "regions.h",
            "shmq_place *place = &end->place[load_relaxed(&end->place[0].sequence) == sequence];",
            "shmq_place *place = &end->place[load_relaxed(&end->place[0].sequence) != sequence];",
        ),
    ),
    "descriptor-settled-without-the-word": _twin(
        Run("poll-start"),
        "whose owner word it does not hold",
        (
            "ring.h",
            "  if (__builtin_expect(state & SHMQ_END_ARMED, 0)) shmq_poll_signal(view);\n"
            "  shmq_end_release(tail);\n",
            "  shmq_end_release(tail);\n"
            "  if (__builtin_expect(state & SHMQ_END_ARMED, 0)) shmq_poll_signal(view);\n",
        ),
    ),
    "relaxed-commit": _twin(
        Run("pair", weak=True),
        "is in, with stamp",
        ("ring.h", TAIL_COMMIT, "  store_relaxed(&tail->sequence, sequence + count);\n"),
    ),
    "stream-one-class-is-woken": _twin(
        Run("stream-wakes"),
        "a wake-up was lost",
        (
            "ends.h",
            "    for (; classes != 0; classes &= classes - 1)\n",
            "    for (; classes != 0; classes = 0)\n",
        ),
    ),
    "stream-flag-after-the-second-look": _twin(
        Run("stream-first"),
        "a wake-up was lost",
        ("wait.h", SECOND_LOOK, "\n".join(reversed(SECOND_LOOK.splitlines())) + "\n"),
    ),
    "stream-waits-for-who-was-slowest": _twin(
        Run("stream-slowest"),
        "a wake-up was lost",
        ("wait.h", "  return slowest != waiter->end;\n", "  return 0;\n"),
    ),
    "stream-bell-left-in-silence": _twin(
        Run("stream-two-producers"),
        "a wake-up was lost",
        ("wait.h", "    shmq_leave_bell(waiter);\n", ""),
    ),
    "stream-row-after-the-head": _twin(
        Run("stream-follow"),
        "are finished before it",
        ("ring.h", HEAD_COMMIT, "\n"),
        ("ring.h", HOLD_IF, HEAD_COMMIT + HOLD_IF),
    ),
    "stream-head-after-the-rows": _twin(
        Run("stream-follow"),
        "are finished before it",
        (
            "groups.h",
            "  uint64_t finished = load_acquire(&shmq_group_head(view, group)->sequence);\n"
            "  const uint64_t identity",
            "  uint64_t finished = UINT64_MAX;\n  const uint64_t identity",
        ),
        (
            "groups.h",
            "    if (sequence < finished) finished = sequence;\n  }\n",
            "    if (sequence < finished) finished = sequence;\n  }\n"
            "  uint64_t at = load_acquire(&shmq_group_head(view, group)->sequence);\n"
            "  if (at < finished) finished = at;\n",
        ),
    ),
    "stream-finished-in-silence": _twin(
        Run("stream-follow"),
        "a wake-up was lost",
        ("groups.h", "  if (was != 0) shmq_end_ring(head, was);\n", ""),
    ),
    "stream-dead-hold-on": _twin(
        Run("stream-follow", kills=1),
        "sleeps for ever",
        (
            "groups.h",
            "        !shmq_tag_is_dead(view, seen))\n      continue;\n    /* acq_rel: as in",
            "        shmq_tag_is_dead(view, seen))\n      continue;\n    /* acq_rel: as in",
        ),
    ),
    "stream-bit-removed-first": _twin(
        Run("stream-leave", kills=1),
        "which is not there",
        ("groups.h", REMOVED, ""),
        (
            "groups.h",
            "  store_release(&stream->open, open);\n",
            "  store_release(&stream->open, open);\n" + REMOVED,
        ),
    ),
    "stream-floor-passes-all": _twin(
        Run("stream-pair"),
        "the floor passes group 0",
        (
            "groups.h",
            "      if (load_relaxed(&stream->lagging) & shmq_group_bit(group)) {\n",
            "      if (load_relaxed(&stream->lagging) | shmq_group_bit(group)) {\n",
        ),
    ),
    "stream-floor-not-completed": _twin(
        Run("stream-open-behind", kills=1),
        "the floor passes group 1",
        (
            "floor.h",
            "  if (__builtin_expect(to == from || to - from > tail - from ||",
            "  if (__builtin_expect(1 || to == from || to - from > tail - from ||",
        ),
    ),
    "stream-dead-subscriber-gates": _twin(
        Run("stream-dead-subscriber"),
        "sleeps for ever",
        (
            "floor.h",
            "(subscriber == 0 || !shmq_tag_is_dead(view, subscriber))) return 0;\n",
            "(subscriber == 0 || shmq_tag_is_dead(view, subscriber))) return 0;\n",
        ),
    ),
    "stream-read-without-a-second-look": _twin(
        Run("stream-lag"),
        "gets ",
        (
            "ring.h",
            "load_relaxed(&slot->stamp) != stamp || status == SHMQ_CORRUPT, 0",
            "status == SHMQ_CORRUPT, 0",
        ),
    ),
    "stream-lost-and-not-counted": _twin(
        Run("stream-lag"),
        "what it did not ask for",
        (
            "ring.h",
            "shmq_group_lapped(head, begun) + (sequence - begun)",
            "shmq_group_lapped(head, begun)",
        ),
    ),
    "stream-pinned-without-a-look": _twin(
        Run("stream-lag-blocks"),
        "which is given away",
        (
            "floor.h",
            "  if ((int64_t)(load_relaxed(&shmq_head(view)->passed) - sequence) <= 0) return 1;\n",
            "  return 1;\n",
        ),
    ),
    "stream-freed-while-viewed": _twin(
        Run("stream-block"),
        "which is given away",
        ("floor.h", " && !shmq_block_is_pinned(view, index))\n", ")\n"),
    ),
    "stream-unpinned-without-a-look": _twin(
        Run("stream-block"),
        "was passed, nobody views it",
        (
            "floor.h",
            "  if ((int64_t)(load_relaxed(&floor->passed) - sequence) <= 0) return;",
            "  return;",
        ),
    ),
    "stream-unpinned-while-the-floor-is-busy": _twin(
        Run("stream-blocks"),
        "was passed, nobody views it",
        (
            "floor.h",
            "    store_relaxed(&view->stream->left_behind, 1);"
            " /* relaxed: a hint for the next raiser */\n    return;",
            "    return;",
        ),
    ),
    "stream-pins-of-the-dead": _twin(
        Run("stream-block", kills=1),
        "is not free",
        (
            "floor.h",
            "    if (seen == 0 || !shmq_tag_is_dead(view, seen)) continue;\n    /* acq_rel: ours",
            "    if (seen == 0 || shmq_tag_is_dead(view, seen)) continue;\n    /* acq_rel: ours",
        ),
    ),
    "stream-ended-in-silence": _twin(
        Run("stream-written-shared"),
        "a wake-up was lost",
        ("wait.h", "      shmq_stream_ring_all(view);\n      return 1;\n", "      return 1;\n"),
    ),
    "stream-no-second-look-at-the-writers": _twin(
        Run("stream-nothing-written", preemptions=4),
        "a wake-up was lost",
        (
            "wait.h",
            "      shmq_stream_ring_all(view);\n      return 1;\n    }\n",
            "      shmq_stream_ring_all(view);\n    }\n    return 1;\n",
        ),
    ),
}
