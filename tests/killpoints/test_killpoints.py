"""Whoever is killed, wherever in a call, leaves a queue that the others go on using.

Each trial starts from the same bytes, has a process begin an operation, kills it by SIGKILL at one
instruction, and lets the living put, get, sweep and attach. Then the account is exact: what a put
returned from is in, in its order; what was being put is whole or absent; at most what was being got
is gone; every word, every block and every byte of memory can be had again; who slept got on.

Of a stream there is such an account for each group: each sees every item once and in order, or is
told how many it lost; those that come after others are let in when these have finished, or are
dead, and not before; the dead gate nobody, pin nothing, and have finished writing.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import evidence
from tests.killpoints import program as killpoints

# Where the killed begins: (geometry, state). The program's own table says what it does there.
BOTH = [
    *("empty", "one", "several", "full", "wrap", "wrapped"),
    *("block", "warm", "spent", "hoarded", "bequest", "half_got", "lent"),
    *("stale_tail", "stale_head", "stale_pool", "stale", "outlived", "half_put", "taken_over"),
    *("getter_asleep", "putter_asleep", "batch_asleep", "joiner_asleep", "shut"),
]
# Of unnamed queues only: polled ones, and rings that grow and shrink.
GROWING = [
    *("pollable", "polled", "polled_one", "polled_stale"),
    *("grow", "enter", "entered", "far", "return"),
]
# Of streams without any group: those that hold what is put, and those that drop the oldest.
UNGROUPED = ["held", "held_full", "subscriber_alone"]
STREAMS = [
    *("group", "waiting", "gated", "taken", "taken_large", "large", "two"),
    *("lagging", "lagging_second", "late", "patient"),
    *("pipeline", "pipeline_large", "followed", "dead_holder", "dead_subscriber"),
    "dead_subscriber_no_memory",
    *("half_opened", "half_removed", "half_raised", "half_raised_lagging"),
    *("stale_floor", "stale_group", "stale_stream", "outlived_stream", "half_put_stream"),
    *("pinned", "viewed", "hoarded_stream", "written", "all_written", "writing", "ended"),
    *("consumer_asleep", "follower_asleep", "producer_asleep", "held_asleep"),
    "stream_batch_asleep",
]
STARTS = [
    *(("cells", state) for state in BOTH),
    *(("regions", state) for state in BOTH + GROWING),
    *(("stream", state) for state in UNGROUPED + STREAMS),
    *(("dropping", state) for state in UNGROUPED),
]

# Who is killed between two changes of shared memory leaves the same behind: so once for each, in
# two ways; and beside that at instructions evenly spread. `make killpoints` goes through them all.
LEVELS = {
    "commit": [{"every": "change"}],
    "full": [{"every": "change", "ways": 2}, {"every": "instruction", "trials": 50}],
}
# Of streams there are too many for every commit: some of the changes, others in each operation, and
# of those from each state every second one.
LEVELS_OF_STREAMS = {
    "commit": [{"every": "change", "trials": 8}],
    "full": [{"every": "change"}, {"every": "instruction", "trials": 25}],
}


def run_each(program, kind, runs, **options):
    """Run them, as many at a time as there are cores; if not all trials, then others in each."""
    cores = sorted(os.sched_getaffinity(0))

    def run(number, names):
        chosen = {"offset": 7 * number} if "trials" in options else {}
        cpu = cores[number % len(cores)]
        return killpoints.run(program, kind, *names, cpu=cpu, **chosen, **options)

    with ThreadPoolExecutor(len(cores)) as pool:
        return list(pool.map(run, range(len(runs)), runs))


def test_every_state_of_the_program_is_a_test(operations):
    assert sorted(operations) == sorted(STARTS)


@pytest.mark.watchdog(600)
@pytest.mark.parametrize(("geometry", "state"), STARTS, ids=["-".join(start) for start in STARTS])
def test_whoever_is_killed_leaves_a_sound_queue(program, operations, tally, geometry, state):
    pairs = [(geometry, state, name) for name in operations[geometry, state]]
    levels = LEVELS
    if geometry in ("stream", "dropping"):
        levels = LEVELS_OF_STREAMS
        pairs = evidence.scaled(pairs[STARTS.index((geometry, state)) % 2 :: 2], pairs)
    outcomes = []
    for options in levels[evidence.level()]:
        outcomes += run_each(program, "run", pairs, **options)
    tally.add(outcomes)
    for outcome in outcomes:
        assert not outcome.findings, f"\n{outcome}"
        assert outcome.figures["kills"] == outcome.figures["trials"] - 1 > 0
    # Where its path was another one, because a clock ticked, it was killed elsewhere on it: seldom.
    off_path = sum(outcome.figures["off_path"] for outcome in outcomes)
    assert off_path <= sum(outcome.figures["trials"] for outcome in outcomes) / 2


def test_who_waits_is_killed_in_its_sleep_too(program):
    """Asleep on either bell, for one or for many, on the count of what is done, and for a group."""
    for geometry, state, operation in [
        ("cells", "empty", "get"),
        ("cells", "full", "put"),
        ("cells", "full", "put_batch"),
        ("cells", "several", "put_batch"),
        ("cells", "one", "join"),
        ("stream", "group", "get"),
        ("stream", "gated", "put"),
        ("stream", "pipeline", "follow"),
        ("stream", "held_full", "put_batch"),
    ]:
        outcome = killpoints.run(program, "run", geometry, state, operation, every="change")
        assert not outcome.findings, f"\n{outcome}"
        assert outcome.figures["asleep"] > 0, f"{operation} never slept"
