"""Random mutations: errors or results, never a signal, a hang, or memory beyond bounds."""

import gc
import json
import secrets
import threading

import pytest

from tests import evidence
from tests.hostile.crew import Crew
from tests.hostile.scribbling import BUSY, SLICE_SECONDS, WANTED, Slices
from tests.hostile.trials import Finding
from tests.protocol.raw import HEAD
from tests.support import wait_until

WORKERS = 3
COMMIT_SEED = 5


@pytest.fixture
def carry_out():
    """Carry out trials: ``carry_out(kind, trials) -> account``; fail with what they found."""

    def run(trials, **options):
        seed = COMMIT_SEED if evidence.level() == "commit" else secrets.randbits(32)
        crew = Crew(seed, trials, WORKERS, **options)
        account = crew.run()
        assert not crew.findings, json.dumps(crew.findings, indent=1)
        assert account["trials"] == trials
        crew.close()
        return account

    return run


@pytest.mark.watchdog(300)
def test_a_mutated_segment_gives_errors_or_results(carry_out):
    account = carry_out(evidence.scaled(4000, 10_000))
    # The mutations hurt: many are refused at once, many more are noticed later.
    assert account["refused"] > account["trials"] / 100
    assert account["noticed"] > account["trials"] / 10
    # Who waits for the living is let go; that must be rare, or it would hide a word left in use.
    assert account["waited"] <= account["trials"] / 100
    evidence.report("hostile", {f"test_{name}": count for name, count in account.items()})


@pytest.mark.watchdog(300)
def test_a_queue_in_use_under_a_scribbler_gives_errors_or_results(carry_out):
    seconds = evidence.scaled(5, 12)
    account = carry_out(int(WORKERS * seconds / SLICE_SECONDS), kind=Slices)
    assert account["noticed"] > account["trials"] / 2
    assert account["waited"] <= account["trials"] / 10
    assert account["writes"] > 100 * account["trials"]
    evidence.report("hostile", {f"live_{name}": count for name, count in account.items()})


class SubscriptionsLeftBehind(Slices):
    """Slices in which a destructor waits for the living, and then the call itself."""

    def __init__(self, token, seed):
        super().__init__(token, seed)
        self._weights = [ground.label == "stream_followed" for ground in self._grounds]
        self._calls["stream_followed"] = {"leave behind": self._leave_behind}
        self._left = False

    def _leave_behind(self, used):
        if threading.current_thread() is not threading.main_thread() or self._left:
            return
        self._left = True
        self._words[WANTED] = 0
        wait_until(lambda: not self._words[BUSY], "the scribbler to rest")
        ground, _ = self._watched
        circle = [used.stream.subscribe(policy="lag")]
        circle.append(circle)
        ground.raw.set_owner(HEAD, max(self._tags))
        del circle
        gc.collect()
        if not self._has_waited:
            raise Finding("no destructor has waited")
        ground.raw.set_owner(HEAD, max(self._tags))
        used.stream.remove_group("second")


@pytest.mark.watchdog(120)
def test_a_slice_ends_though_a_destructor_waits_for_the_living(carry_out):
    assert carry_out(1, kind=SubscriptionsLeftBehind)["waited"] == 1
