"""Who takes over from the killed may be killed in it, and the third goes on all the same."""

import pytest

from tests import evidence
from tests.killpoints import program as killpoints
from tests.killpoints.doubles import COMBINATIONS, add_up
from tests.killpoints.test_killpoints import run_each

# Per commit: over each word that the first can leave in one who is dead. `make double-faults` goes
# through all of them, at every instruction.
CHOSEN = evidence.scaled(
    [
        ("cells", "one", "put", "put"),
        ("cells", "one", "get", "get"),
        ("cells", "block", "get", "put_block"),
        ("cells", "empty", "put_block", "sweep"),
        ("regions", "one", "put", "get"),
        ("regions", "polled_one", "get", "put"),
        ("stream", "lagging", "get", "get"),
        ("stream", "two", "remove", "open"),
        ("stream", "followed", "get_more", "follow"),
    ],
    COMBINATIONS[::17],
)


@pytest.mark.watchdog(900)
def test_who_takes_over_from_the_killed_is_killed_as_well(program):
    outcomes = run_each(program, "double", CHOSEN, every="change")
    evidence.report("killpoints", {f"{name}_by_test": n for name, n in add_up(outcomes).items()})
    for outcome in outcomes:
        assert not outcome.findings, f"\n{outcome}"
        assert outcome.figures["images"] > 1
        assert outcome.figures["kills"] == outcome.figures["points"] > 0


def test_the_seat_of_the_first_may_be_given_to_the_second_or_not(program):
    """Its tags are dead by the generation then, or by the lock: with the same end."""
    for offset in (0, 1):
        outcome = killpoints.run(
            program, "double", "cells", "one", "put", "get", every="change", offset=offset
        )
        assert not outcome.findings, f"\n{outcome}"
