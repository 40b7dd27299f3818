"""Every order of steps of the protocol, as far as small models go.

The first of these tests makes all searches.
"""

import concurrent.futures
import os

import pytest

from tests import evidence
from tests.models import cases, search

AT_A_TIME = 2

SOUND = [case for case in cases.SOUND if not case.is_long or evidence.level() == "full"]
TWINS = cases.TWINS


class Searches:
    """What came of the searches; the first question to it makes all of them, two at a time.

    Within a test, so that its limit holds for them and no process of theirs is left after it.
    """

    def __init__(self, wanted, folder_for):
        self._wanted = wanted
        self._folder_for = folder_for
        self._found = {}

    def __getitem__(self, case):
        if not self._found:
            folders = [self._folder_for(case.model) for case in self._wanted]
            with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
                outcomes = pool.map(search.search, self._wanted, folders)
                self._found = dict(zip(self._wanted, outcomes, strict=True))
            report(self._found)
        return self._found[case]


@pytest.fixture(scope="module")
def searches(request, tmp_path_factory):
    """Return the outcome of each search that this run of the tests asks for."""
    missing = search.missing_tool()
    if missing:
        why = f"there is no {missing} here: sh tools/get_spin.sh, or your system's package"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    wanted = [item.callspec.params["case"] for item in request.session.items if _is_ours(item)]
    # The long ones first: so that none is left alone at the end.
    wanted.sort(key=lambda case: not case.is_long)
    return Searches(wanted, tmp_path_factory.mktemp)


def _is_ours(item):
    return getattr(item, "module", None) is not None and item.module.__name__ == __name__


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
