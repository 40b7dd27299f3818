"""Producers and consumers of a stream are killed at random, and every item is accounted for."""

import random

import pytest

from tests import evidence
from tests.groups import storm

KILLS = evidence.scaled(40, 400)


@pytest.mark.watchdog(600)
def test_whoever_is_killed_each_group_gets_every_item_once_and_in_order(run_id):
    seed = random.randrange(1 << 32)
    try:
        figures = storm.rage("stream", run_id, KILLS, seed)
    except AssertionError as error:
        raise AssertionError(f"{error}; of the storm with the seed {seed}") from error
    assert figures["kills"] == KILLS + len(storm.CREW)
    assert figures["items"] >= KILLS
