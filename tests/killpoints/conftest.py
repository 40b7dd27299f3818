import pytest

from tests import evidence
from tests.killpoints import program as killpoints


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Return the path of the program; skip where no process may be traced."""
    built = killpoints.build(tmp_path_factory.mktemp("killpoints"))
    try:
        killpoints.run(built, "run", "cells", "empty", "close", trials=1)
    except killpoints.NotPermitted as reason:
        pytest.skip(f"not shown here: {reason}")
    return built


@pytest.fixture(scope="session")
def operations(program):
    """Return {(geometry, state): names of operations} of the program."""
    return {(geometry, state): names for geometry, state, names in killpoints.start_points(program)}


class Tally:
    """The sums over all runs, for the account."""

    def __init__(self):
        self.figures = {"trials": 0, "kills": 0, "findings": 0, "kills_in_system_calls": 0}
        self.figures["kills_asleep"] = 0
        self.pairs = set()
        self.instructions = {}

    def add(self, outcomes):
        sums = self.figures
        for figures in (outcome.figures for outcome in outcomes):
            sums["trials"] += figures["trials"]
            sums["kills"] += figures["kills"]
            sums["findings"] += figures["findings"]
            sums["kills_in_system_calls"] += figures["in_calls"]
            sums["kills_asleep"] += figures["asleep"]
            self.pairs.add((figures["geometry"], figures["state"], figures["first"]))
            longest = self.instructions.get(figures["first"], 0)
            self.instructions[figures["first"]] = max(longest, figures["instructions"])


@pytest.fixture(scope="session")
def tally():
    kept = Tally()
    yield kept
    evidence.report(
        "killpoints",
        {
            **kept.figures,
            "level": evidence.level(),
            "starting_states": len({pair[:2] for pair in kept.pairs}),
            "operations": len(kept.instructions),
            "pairs_of_state_and_operation": len(kept.pairs),
            "longest_path_in_instructions": dict(sorted(kept.instructions.items())),
        },
    )
