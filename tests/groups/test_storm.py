"""Whoever is on a stream is killed at random, and every item is accounted for."""

import os
import random
from typing import ClassVar

import pytest

pytest.importorskip("numpy")

from tests import evidence
from tests.groups import storm
from tests.groups import storm_crew as crew
from tests.groups import storm_items as items
from tests.groups.storm_account import Account, Death, key_of

SEED = int(os.environ.get("SHMQUEUE_STORM_SEED", "0")) or random.randrange(1 << 32)
KILLS = evidence.scaled(20, 400)


@pytest.mark.watchdog(600)
def test_whoever_is_killed_each_group_gets_every_item_once_and_in_order(run_id):
    try:
        figures = storm.rage("stream", run_id, KILLS, SEED)
    except AssertionError as error:
        raise AssertionError(f"{error}; of the storm with the seed {SEED}") from error
    assert figures["kills"] >= KILLS
    assert figures["items"] >= crew.CAPACITY
    assert figures["takeovers"] >= figures["deaths_of_holders"]


def test_a_seed_says_what_comes():
    def first_events(seed):
        coming = storm.events(seed)
        return [next(coming) for _ in range(50)]

    assert first_events("7-0") == first_events("7-0")
    assert first_events("7-0") != first_events("7-250")


class Calm:
    """What the account gets of a round in which nothing went wrong, with two deaths."""

    ITEMS = 40
    PRODUCER = 2
    LAPPED = (12, 13)
    # In hands of the killed: one of two that share, and the stage, which had begun with an array.
    LOST: ClassVar[dict] = {"shared": 20, "stage": 18}

    def __init__(self):
        self.begun = self.returned = self.ITEMS
        self.witnessed = [key_of(self.PRODUCER, 1 + at) for at in range(self.ITEMS)]
        states = [items.CHANGED if self._is_array(at) else 0 for at in range(self.ITEMS)]
        self.last = list(zip(self.witnessed, states, strict=True))
        self.last[self.LOST["stage"]] = self.witnessed[self.LOST["stage"]], items.IN_PART
        self.logs = [[] for _ in crew.CREW]
        for role in ("shared", "stage", "after", "lagging", "dropping"):
            places = [place for place, its in enumerate(crew.CREW) if its == role]
            for at in range(self.ITEMS):
                if at != self.LOST.get(role) and not (role == "lagging" and at in self.LAPPED):
                    seen = self.last[at][1] if role in ("stage", "after") else 0
                    self.logs[places[at % len(places)]].append(self.entry(at, seen))
        for place in (crew.CREW.index("subscriber"), crew.CREW.index("comer")):
            for visit, (first, end) in enumerate([(0, 3), (2, 9)]):
                self.logs[place].append((crew.VISIT, 0, 1 + visit))
                self.logs[place] += [self.entry(at) for at in range(first, end)]
        self.lapped = dict.fromkeys(crew.GROUPS, 0) | {"lagging": len(self.LAPPED)}
        self.deaths = [
            Death(crew.CREW.index(role), in_hand=1, noted=at // 2, since=0, until=at + 1)
            for role, at in self.LOST.items()
        ]

    def _is_array(self, at):
        return items.size_of(self.PRODUCER, 1 + at) == items.ARRAY

    def entry(self, at, state=0):
        return state, self.PRODUCER, 1 + at

    def log_of(self, role):
        return self.logs[crew.CREW.index(role)]

    def findings(self):
        ledger = crew.new_ledger(4)
        try:
            ledger.begun[self.PRODUCER] = self.begun
            ledger.returned[self.PRODUCER] = self.returned
            for place, log in enumerate(self.logs):
                for state, producer, number in log:
                    ledger.note(place, state << crew.STATE_SHIFT | producer, number)
            account = Account(ledger, self.witnessed, self.last)
            end = {"next_sequence": len(self.witnessed), "lag": 0, "held": 0}
            rows = [{"group": name, "lapped": self.lapped[name], **end} for name in crew.GROUPS]
            account.take(rows, self.deaths)
            return account.findings
        finally:
            ledger.close()


def lose_one_of_nobodys(calm):
    calm.log_of("shared").pop(3)


def lose_one_after_the_death(calm):
    calm.log_of("shared").pop()
    calm.deaths[0] = calm.deaths[0]._replace(in_hand=2)


def lose_two_with_one_in_hand(calm):
    calm.log_of("stage").pop(calm.LOST["stage"] // 2 - 1)


def get_one_twice(calm):
    calm.logs[crew.CREW.index("after") + 1].insert(0, calm.log_of("after")[0])


def get_one_too_late(calm):
    log = calm.log_of("lagging")
    log[5], log[6] = log[6], log[5]


def get_what_nobody_put(calm):
    calm.log_of("dropping")[-1] = calm.entry(calm.ITEMS)


def miss_one_in_a_visit(calm):
    calm.log_of("subscriber").pop(2)


def lose_what_put_returned_for(calm):
    calm.begun = calm.returned = calm.ITEMS + 1


def put_half_a_batch(calm):
    calm.begun, calm.returned = calm.ITEMS + 2, calm.ITEMS - 3


def tell_of_a_loss_too_many(calm):
    calm.lapped["lagging"] += 1


def tell_of_a_loss_too_few(calm):
    calm.lapped["lagging"] -= 1


def lose_some_where_others_wait(calm):
    calm.log_of("shared").pop(3)
    calm.lapped["shared"] = 1


def see_another_order_behind(calm):
    calm.last[0], calm.last[1] = calm.last[1], calm.last[0]


def see_an_array_before_it_is_finished(calm):
    log = calm.log_of("after")
    at = next(at for at, (state, *_) in enumerate(log) if state == items.CHANGED)
    log[at] = (items.UNCHANGED, *log[at][1:])


def undo_what_a_stage_did(calm):
    at = next(at for at, (_, state) in enumerate(calm.last) if state == items.CHANGED)
    calm.last[at] = calm.last[at][0], items.IN_PART


FAULTS = [
    lose_one_of_nobodys,
    lose_one_after_the_death,
    lose_two_with_one_in_hand,
    get_one_twice,
    get_one_too_late,
    get_what_nobody_put,
    miss_one_in_a_visit,
    lose_what_put_returned_for,
    put_half_a_batch,
    tell_of_a_loss_too_many,
    tell_of_a_loss_too_few,
    lose_some_where_others_wait,
    see_another_order_behind,
    see_an_array_before_it_is_finished,
    undo_what_a_stage_did,
]


class TestTheAccount:
    def test_has_nothing_to_say_of_a_calm(self):
        assert Calm().findings() == []

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
    def test_notices(self, fault):
        calm = Calm()
        fault(calm)
        assert calm.findings() != []


class TestAnArray:
    @pytest.fixture
    def array(self):
        return items.made(2, 3).copy()

    def test_is_read_as_far_as_it_is_changed(self, array):
        assert items.read_settled(array) == (2, 3, items.UNCHANGED)
        for chunk in items.chunks(array):
            chunk += 1
            assert items.read(array) == (2, 3)
        assert items.read_settled(array) == (2, 3, items.CHANGED)

    def test_may_be_half_changed_by_the_killed(self, array):
        first, second, *_ = items.chunks(array)
        first += 1
        second[7:9] += 1
        assert items.read_settled(array) == (2, 3, items.IN_PART)

    def test_is_not_changed_here_and_there(self, array):
        first, second, *_ = items.chunks(array)
        first[0] += 1
        second += 1
        assert items.read(array) == (2, 3)
        with pytest.raises(items.TornError):
            items.read_settled(array)

    @pytest.mark.parametrize("at", [0, 1, items.FIXED - 1])
    def test_has_a_part_that_nobody_changes(self, array, at):
        array[at] += 1
        with pytest.raises(items.TornError):
            items.read(array)

    def test_is_changed_once(self, array):
        for _ in range(2):
            items.chunks(array)[0][5] += 1
        with pytest.raises(items.TornError):
            items.read(array)
