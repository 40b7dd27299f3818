"""Producers and consumers die at random in every way that there is; every item is accounted for.

What a process did is written into memory that survives it, on both sides of each call. An item that
``put`` returned for must then have been received, once, unless a consumer died with it in its
hands: at most as many as the call that it was in may take. `make storm` has thousands of kills.
"""

import json
import os
import secrets
import subprocess
import sys

import pytest

from tests import evidence, support
from tests.storm import deaths, queues, storm
from tests.storm.figures import figures

SEED = int(os.environ.get("SHMQUEUE_STORM_SEED", "0")) or secrets.randbits(32)
KILLS = evidence.scaled(100, 110)  # of each kind of queue


@pytest.fixture(scope="module")
def rounds():
    """Collect the rounds of the module: their figures are reported together."""
    made = []
    yield made
    if len(made) == len(queues.KINDS):
        evidence.report("storm-short", figures(made, SEED))


@pytest.mark.watchdog(300)
@pytest.mark.parametrize("queue", queues.KINDS)
def test_nothing_hangs_tears_or_vanishes_whatever_processes_die_of(queue, rounds):
    print(f"seed {SEED}")
    told = storm.rage(queue, KILLS, f"{SEED}-{queue}")
    print(told.deaths, f"{told.items_received} items, {told.lost} of {told.may_be_lost} lost")
    assert told.findings == []
    rounds.append(told)
    # It was a storm.
    assert told.deaths.total() >= KILLS
    assert set(told.deaths) == set(deaths.CODES)
    assert set(told.deaths_by_role) == {"producer", "consumer"}
    assert told.items_received > 0
    assert all(count > 0 for calls in told.calls.values() for count in calls.values())


def test_a_seed_says_what_comes():
    def first_events(seed):
        coming = storm.events(seed)
        return [next(coming) for _ in range(50)]

    assert first_events("7-0") == first_events("7-0")
    assert first_events("7-0") != first_events("7-1")


def test_the_command_ends_with_an_account(tmp_path):
    command = [sys.executable, "-m", "tests.storm", "--kills", "12", "--seed", "5"]
    done = subprocess.run(
        [*command, "--reports", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=3 * support.LIMIT,
        cwd=support._ROOT,
        env=support.program_environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seed 5\nkills")
    told = json.loads((tmp_path / "storm.json").read_text())["figures"]
    assert told["kills"] >= 12
    assert told["findings"] == []
    assert told["items_put"] == told["items_received"] + told["lost"] > 0
