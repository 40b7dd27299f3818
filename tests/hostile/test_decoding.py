"""Damaged encodings of everything: loaded as something else or refused, never a crash."""

import json

import pytest

from shmqueue._codec import loads
from tests import evidence
from tests.hostile.crew import Crew
from tests.hostile.decoding import Decodings
from tests.hostile.encodings import encodings, load, safe_pickles

SEED = 3


@pytest.mark.watchdog(300)
def test_damaged_encodings_are_loaded_or_refused():
    crew = Crew(SEED, evidence.scaled(20_000, 150_000), kind=Decodings)
    account = crew.run()
    assert not crew.findings, json.dumps(crew.findings, indent=1)
    crew.close()
    # Both happen often: what is damaged gets far into the decoders.
    assert account["refused"] > account["trials"] / 5
    assert account["loaded"] > account["trials"] / 5
    evidence.report("hostile", {f"decoding_{name}": n for name, n in account.items()})


def test_all_of_them_load_while_they_are_sound():
    with safe_pickles():
        for kind, data in encodings():
            for in_place in (False, True):
                assert load(kind, data, in_place), (kind, data[:40])


def test_what_a_pickle_may_name_is_held_to_what_is_safe():
    with safe_pickles(), pytest.raises(Exception, match="not to be loaded"):
        loads(6, b"cos\nsystem\n(S'true'\ntR.")
