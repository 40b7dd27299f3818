"""Broken twins of the protocol are noticed: tests of the explorer."""

import pytest

from tests import evidence
from tests.explored.build import HEADERS, BuildError, build, changed
from tests.explored.exploring import Run, explore, replay, shortest, story
from tests.explored.twins import AT_EVERY_COMMIT, TWINS

CHOSEN = sorted(TWINS if evidence.level() == "full" else AT_EVERY_COMMIT)


@pytest.fixture(scope="module")
def caught():
    names = []
    yield names
    if names:
        evidence.report(
            "explored",
            {"broken_twins": len(names), "broken_twins_caught": ", ".join(sorted(names))},
        )


@pytest.mark.watchdog(240)
@pytest.mark.parametrize("name", CHOSEN)
def test_a_broken_twin_is_caught_and_its_schedule_shows_it_again(name, caught):
    twin = TWINS[name]
    account = shortest(twin.run)
    assert account["violation"], f"{name} passes"
    assert twin.shows in account["violation"]
    again = replay(twin.run, account["schedule"])
    assert again["violation"] == account["violation"]
    caught.append(name)


def test_a_schedule_tells_who_touches_what():
    twin = TWINS["passed-on-after-the-look"]
    account = shortest(twin.run)
    text = story(twin.run, account, "passed-on-after-the-look")
    assert "a wake-up was lost" in text
    assert "actor 2, process 2 release   tail.sequence                0 -> 1" in text
    assert "actor 0, process 0 or        tail.owner                   free -> free+awaited" in text
    again = "--twin passed-on-after-the-look --kills 0 --expiries 0 --replay empty"
    assert f'{again} "{account["schedule"]}"' in text


def test_a_schedule_that_cannot_be_is_refused():
    with pytest.raises(BuildError, match="after 0 choices, t0 cannot be"):
        replay(Run("pair"), "t0")


def test_a_change_that_no_longer_applies_is_an_error():
    with pytest.raises(BuildError, match="out of date"):
        changed({"ring.h": "int a;"}, [("ring.h", "int b;", "int c;")])


def test_a_twin_that_does_not_compile_is_an_error():
    with pytest.raises(BuildError, match="nonsense"):
        build([("ring.h", '#include "regions.h"', '#include "nonsense.h"')])


def test_a_run_that_is_cut_short_says_so():
    account = explore(Run("two-producers", kills=1), seconds=0)
    assert account["violation"] is None
    assert not account["complete"]


@pytest.mark.parametrize("name", sorted(TWINS))
def test_what_a_twin_breaks_is_still_there(name):
    """Not every twin is built at every commit; that its changes apply is seen at each."""
    changed({path.name: path.read_text() for path in HEADERS.glob("*.h")}, TWINS[name].changes)
