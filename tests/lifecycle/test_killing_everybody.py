"""SIGKILL of every process at once, while they create, open, fill, close and unlink one name."""

import json
import random

import pytest

from tests import evidence, mounts
from tests.support import LIMIT

ROUNDS = evidence.scaled(300, 2000)
TOGETHER = 20 * LIMIT

RUN = """
from tests.lifecycle import broken, races
if {twin!r}:
    getattr(broken, {twin!r})()
races.main({run_id!r}, {rounds}, {seed}, {memory_is_own})
"""


def _race(programs, run_id, rounds, twin=""):
    own = mounts.can_mount()
    seed = random.randrange(1 << 32)
    source = RUN.format(twin=twin, run_id=run_id, rounds=rounds, seed=seed, memory_is_own=own)
    prefix = mounts.with_shared_memory("size=256M") if own else ()
    program = programs.start(source, prefix=prefix)
    output = programs.finish(program, TOGETHER)
    return seed, json.loads(output)


@pytest.mark.watchdog(TOGETHER + LIMIT)
def test_when_everybody_is_killed_the_name_has_all_items_or_is_free(programs, run_id):
    seed, found = _race(programs, run_id, ROUNDS)
    assert found["failures"] == [], f"seed {seed}"
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
    _, found = _race(programs, run_id, ROUNDS, "named_before_it_is_whole")
    assert any("not sound" in failure for failure in found["failures"])
