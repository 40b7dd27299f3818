"""Whoever is killed, wherever in a call, leaves a queue that the others go on using.

Each trial starts from the same bytes, has a process begin an operation, kills it by SIGKILL at one
instruction, and lets the living put, get, sweep and attach. Then the account is exact: what a put
returned from is in, in its order; what was being put is whole or absent; at most what was being got
is gone; every word, every block and every byte of memory can be had again; who slept got on.
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
STARTS = [("cells", state) for state in BOTH] + [("regions", state) for state in BOTH + GROWING]

# Who is killed between two changes of shared memory leaves the same behind: so once for each, in
# all ways; and beside that at instructions evenly spread. `make killpoints` goes through them all.
LEVELS = {
    "commit": [{"every": "change"}],
    "full": [{"every": "change", "ways": 4}, {"every": "instruction", "trials": 100}],
}


def run_each(program, kind, runs, **options):
    """Run them, as many at a time as there are cores."""
    cores = sorted(os.sched_getaffinity(0))
    with ThreadPoolExecutor(len(cores)) as pool:
        numbered = list(enumerate(runs))
        return list(
            pool.map(
                lambda run: killpoints.run(
                    program, kind, *run[1], cpu=cores[run[0] % len(cores)], **options
                ),
                numbered,
            )
        )


def test_every_state_of_the_program_is_a_test(operations):
    assert sorted(operations) == sorted(STARTS)


@pytest.mark.watchdog(600)
@pytest.mark.parametrize(("geometry", "state"), STARTS, ids=["-".join(start) for start in STARTS])
def test_whoever_is_killed_leaves_a_sound_queue(program, operations, tally, geometry, state):
    pairs = [(geometry, state, name) for name in operations[geometry, state]]
    outcomes = []
    for options in LEVELS[evidence.level()]:
        outcomes += run_each(program, "run", pairs, **options)
    tally.add(outcomes)
    for outcome in outcomes:
        assert not outcome.findings, f"\n{outcome}"
        assert outcome.figures["kills"] == outcome.figures["trials"] - 1 > 0
    # Where its path was another one, because a clock ticked, it was killed elsewhere on it: seldom.
    off_path = sum(outcome.figures["off_path"] for outcome in outcomes)
    assert off_path <= sum(outcome.figures["trials"] for outcome in outcomes) / 2


def test_who_waits_is_killed_in_its_sleep_too(program):
    """Asleep on either bell, for one or for many, and on the count of what is done."""
    for state, operation in [
        ("empty", "get"),
        ("full", "put"),
        ("full", "put_batch"),
        ("several", "put_batch"),
        ("one", "join"),
    ]:
        outcome = killpoints.run(program, "run", "cells", state, operation, every="change")
        assert not outcome.findings, f"\n{outcome}"
        assert outcome.figures["asleep"] > 0, f"{operation} never slept"
