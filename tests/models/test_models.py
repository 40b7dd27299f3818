"""Every order of steps of the protocol, as far as small models go."""

import os

import pytest

from tests import evidence
from tests.models import cases, search

SOUND = [case for case in cases.SOUND if not case.is_long or evidence.level() == "full"]
TWINS = cases.TWINS


class Searches:
    """What came of the searches: each is made when its test asks for it, and once."""

    def __init__(self, folder_for):
        self._folder_for = folder_for
        self.found = {}

    def __getitem__(self, case):
        if case not in self.found:
            self.found[case] = search.search(case, self._folder_for(case.model))
        return self.found[case]


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    """Return the outcome of each search that a test asks for."""
    missing = search.missing_tool()
    if missing:
        why = f"there is no {missing} here: sh tools/get_spin.sh, or your system's package"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    searches = Searches(tmp_path_factory.mktemp)
    yield searches
    report(searches.found)


def report(found):
    sound = {case: outcome for case, outcome in found.items() if not case.breaks}
    twins = {case: outcome for case, outcome in found.items() if case.breaks}
    figures = {f"states, {case.model}: {case.name}": o.states for case, o in sound.items()}
    if set(found) == {*SOUND, *TWINS}:
        figures |= {
            "searches": len(sound),
            "states": sum(outcome.states for outcome in sound.values()),
            "errors": sum(outcome.errors for outcome in sound.values()),
            "twins": len(twins),
            "twins_caught": sum(outcome.errors > 0 for outcome in twins.values()),
        }
    evidence.report("models", figures)


def shown(outcome):
    """Return the steps that lead to what was found, and what pan said of it."""
    steps = [line for line in outcome.trail.splitlines() if "proc" in line and "[" in line]
    return "\n".join([*steps[-120:], outcome.output])


@pytest.mark.watchdog(search.LIMIT_SECONDS)
@pytest.mark.parametrize("case", SOUND, ids=lambda case: f"{case.model}: {case.name}")
def test_no_order_of_steps_breaks_a_promise(case, searches):
    outcome = searches[case]
    assert outcome.violated == "", shown(outcome)
    assert outcome.errors == 0, shown(outcome)
    assert outcome.is_complete, outcome.output
    assert outcome.states > 1000


@pytest.mark.watchdog(search.LIMIT_SECONDS)
@pytest.mark.parametrize("case", TWINS, ids=lambda case: case.name)
def test_a_broken_twin_is_caught(case, searches):
    outcome = searches[case]
    assert outcome.errors == 1
    assert "assertion violated" in outcome.violated, outcome.output
    assert case.caught_by in outcome.violated.replace(" ", "")
