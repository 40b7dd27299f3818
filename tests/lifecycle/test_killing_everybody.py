"""SIGKILL of every process at once, while they create, open, fill, close and unlink one name."""

import json
import random
from collections import Counter

import pytest

from tests import evidence, mounts
from tests.support import LIMIT

ROUNDS = evidence.scaled(300, 500)
TOGETHER = 20 * LIMIT

RUN = """
from tests.lifecycle import broken, races
if {twin!r}:
    getattr(broken, {twin!r})()
races.main({run_id!r}, {rounds}, {seed}, {memory_is_own})
"""


def _begin(programs, run_id, rounds, seed, twin=""):
    own = mounts.can_mount()
    source = RUN.format(twin=twin, run_id=run_id, rounds=rounds, seed=seed, memory_is_own=own)
    prefix = mounts.with_shared_memory("size=256M") if own else ()
    return programs.start(source, prefix=prefix)


def _end(programs, program):
    return json.loads(programs.finish(program, TOGETHER))


@pytest.mark.watchdog(TOGETHER + LIMIT)
def test_when_everybody_is_killed_the_name_has_all_items_or_is_free(programs, run_id):
    seeds = [random.randrange(1 << 32) for _ in range(2)]
    # Two races at once, each for a name of its own.
    started = [_begin(programs, f"{run_id}{seed}", ROUNDS // 2, seed) for seed in seeds]
    found = Counter()
    for seed, program in zip(seeds, started, strict=True):
        one = _end(programs, program)
        assert one.pop("failures") == [], f"seed {seed}"
        found += Counter(one)
    # Both outcomes, and items to account for, or the kills came at the same place always.
    assert ROUNDS // 20 < found["whole"] < ROUNDS - ROUNDS // 20
    assert found["items"] > ROUNDS
    evidence.report(
        "lifecycle",
        {
            "rounds_in_which_everybody_was_killed": ROUNDS,
            "names_found_whole": found["whole"],
            "items_accounted_for": found["items"],
        },
    )


def test_a_race_of_a_broken_twin_is_noticed(programs, run_id):
    program = _begin(programs, run_id, ROUNDS, random.random(), "named_before_it_is_whole")
    found = _end(programs, program)
    # Somebody met a half-built queue: one of those that were killed, or who came afterwards.
    assert found["failures"] != []
