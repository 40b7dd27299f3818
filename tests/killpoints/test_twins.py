"""The tests of the test: whatever is broken on purpose is noticed."""

import pytest

from tests import evidence
from tests.killpoints import program as killpoints
from tests.killpoints.twins import STREAM_TWINS, TWINS, headers_of

ALL = TWINS + STREAM_TWINS
CHOSEN = evidence.scaled(TWINS[:2] + STREAM_TWINS[:2], ALL)

# Waiting for a second in vain is enough where it is in vain on purpose.
HASTE = {"every": "change", "ways": 4, "limit": 1000}


@pytest.fixture(scope="module", autouse=True)
def noticed():
    names = []
    yield names
    evidence.report("killpoints", {"broken_twins": len(CHOSEN), "broken_twins_noticed": len(names)})


@pytest.mark.usefixtures("program")
@pytest.mark.watchdog(300)
@pytest.mark.parametrize("twin", CHOSEN, ids=[twin.name for twin in CHOSEN])
def test_a_broken_protocol_is_noticed(tmp_path, noticed, twin):
    broken = killpoints.build(
        tmp_path, headers_of(twin, tmp_path / "broken"), name="twin", optimise="-O1"
    )
    outcome = killpoints.run(broken, "run", *twin.trial, **HASTE)
    assert outcome.findings, f"nobody noticed that {twin.name}"
    print(outcome)
    noticed.append(twin.name)


def test_the_same_trials_find_nothing_in_the_protocol_as_it_is(program):
    for twin in CHOSEN:
        outcome = killpoints.run(program, "run", *twin.trial, every="change", ways=4)
        assert not outcome.findings, f"\n{outcome}"


@pytest.mark.parametrize("twin", ALL, ids=[twin.name for twin in ALL])
def test_what_a_twin_breaks_is_still_there(tmp_path, twin):
    """Not every twin is built at every commit; that its change applies is seen at each."""
    headers_of(twin, tmp_path)
