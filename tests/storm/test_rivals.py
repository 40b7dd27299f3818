"""`make rivals` can tell a queue that goes on from one that stands still, or spoils its items."""

import multiprocessing

import pytest

from benchmarks.kills import siege
from benchmarks.kills.rivals import Case, DropIn, Named
from benchmarks.kills.siege import Siege
from benchmarks.peers.base import Channel, End
from tests import support

KILLS = 6


@pytest.fixture
def besiege(monkeypatch):
    """Besiege a channel for a few kills; return what became of it."""
    monkeypatch.setattr(siege, "ENDING_SECONDS", support.LIMIT)

    def run(channel, kills=KILLS, still_seconds=support.LIMIT):
        monkeypatch.setattr(siege, "STILL_SECONDS", still_seconds)
        made = Siege(channel, kills, "7")
        try:
            made.begin()
            made.rage()
            if not made.told["stopped"]:
                made.calm_down()
            made.end()
            return made.result()
        finally:
            made.end()
            made.ledger.close()
            channel.close()

    return run


@pytest.mark.parametrize("rival", [Named(), DropIn()], ids=["named", "unnamed"])
def test_ours_goes_on(besiege, rival, run_id, tmp_path):
    told = besiege(rival.create(run_id, Case(), str(tmp_path)))
    assert (told["kills"], told["stopped"], told["unfinished"]) == (KILLS, False, 0)
    assert (told["lost_beyond_hands"], told["duplicates"], told["torn"]) == (0, 0, 0)
    assert told["crashes"] == {}
    assert told["received"] > 0


class Wrapped(Channel):
    """Our queue, with something wrong about it."""

    def __init__(self, run_id, tmp_path):
        self._inner = Named().create(run_id, Case(), str(tmp_path))

    def open(self, role, index):
        return self.spoil(self._inner.open(role, index))

    def close(self):
        self._inner.close()

    def open_local(self):
        raise NotImplementedError


class Locked(Wrapped):
    """Whoever gets holds a lock, and takes it along when it dies."""

    def __init__(self, run_id, tmp_path):
        super().__init__(run_id, tmp_path)
        self._lock = multiprocessing.get_context("fork").Lock()

    def spoil(self, end):
        def get():
            with self._lock:
                return end.get()

        return End(put=end.put, get=get, close=end.close)


def test_a_queue_whose_lock_dies_stands_still(besiege, run_id, tmp_path):
    told = besiege(Locked(run_id, tmp_path), kills=500, still_seconds=2.0)
    assert told["stopped"]
    assert told["first_still"] <= told["kills"] < 500


class Twice(Wrapped):
    def spoil(self, end):
        def put(item):
            end.put(item)
            if item != siege.LAST:
                end.put(item)

        return End(put=put, get=end.get, close=end.close)


class Torn(Wrapped):
    def spoil(self, end):
        def get():
            item = end.get()
            return item if item == siege.LAST else item[:-1] + b"?"

        return End(put=end.put, get=get, close=end.close)


class Forgetful(Wrapped):
    """What is put as the fifth of any five is gone."""

    def spoil(self, end):
        count = 0

        def put(item):
            nonlocal count
            count += 1
            if item == siege.LAST or count % 5:
                end.put(item)

        return End(put=put, get=end.get, close=end.close)


def test_items_that_come_twice_are_told(besiege, run_id, tmp_path):
    assert besiege(Twice(run_id, tmp_path))["duplicates"] > 0


def test_items_that_are_torn_are_told(besiege, run_id, tmp_path):
    told = besiege(Torn(run_id, tmp_path), kills=1)
    assert told["torn"] > 0
    assert told["received"] < told["torn"]


def test_items_that_are_lost_are_told(besiege, run_id, tmp_path):
    assert besiege(Forgetful(run_id, tmp_path))["lost_beyond_hands"] > 0
