"""What a reader notices of the items that it takes, and what is kept of their latencies."""

import random

import pytest

numpy = pytest.importorskip("numpy")

from shmqueue.load.histogram import Histogram  # noqa: E402
from shmqueue.load.payload import HEADER_BYTES, VARIANTS, Filler, Ledger  # noqa: E402

SLOT_BYTES = 1000


def items(count, writer=0, sums=True):
    filler = Filler(writer, SLOT_BYTES, sums)
    made = []
    for number in range(count):
        slot = numpy.zeros(SLOT_BYTES, "uint8")
        filler.fill(slot, number)
        made.append(slot)
    return made


def ledger_of(taken, writers=1, sums=True):
    ledger = Ledger(writers, SLOT_BYTES, sums)
    for item in taken:
        ledger.take(item)
    return ledger


def test_whole_items_in_order_are_right():
    ledger = ledger_of(items(3 * VARIANTS))
    assert (ledger.items, ledger.wrong) == (3 * VARIANTS, 0)
    assert ledger.tallies() == [
        {"items": 93, "next": 93, "doubled": 0, "out_of_order": 0},
    ]


def test_the_items_of_several_writers_are_told_apart():
    first, second = items(2, writer=0), items(2, writer=1)
    ledger = ledger_of([first[0], second[0], second[1], first[1]], writers=2)
    assert ledger.wrong == 0
    assert [tally["items"] for tally in ledger.tallies()] == [2, 2]


@pytest.mark.parametrize("place", [0, 8, 16, 20, HEADER_BYTES, SLOT_BYTES // 2, SLOT_BYTES - 1])
def test_an_item_with_one_changed_bit_is_torn(place):
    (item,) = items(1)
    item[place] ^= 4
    assert ledger_of([item]).torn == 1


def test_an_item_with_the_end_of_the_next_one_is_torn():
    first, second = items(2)
    first[SLOT_BYTES // 2 :] = second[SLOT_BYTES // 2 :]
    ledger = ledger_of([first])
    assert (ledger.torn, ledger.wrong) == (1, 1)
    assert ledger.tallies()[0]["items"] == 0


def test_without_checksums_the_numbers_are_checked_all_the_same():
    made = items(2, sums=False)
    made[0][-1] ^= 1
    ledger = ledger_of([made[0], made[1], made[1]], sums=False)
    assert (ledger.torn, ledger.tallies()[0]["doubled"]) == (0, 1)


@pytest.mark.parametrize("item", [b"not an array", numpy.zeros(10, "uint8"), numpy.zeros(125)])
def test_what_is_no_payload_is_torn(item):
    assert ledger_of([item]).torn == 1


def test_the_payload_of_a_writer_that_there_is_not_is_torn():
    assert ledger_of(items(1, writer=7), writers=2).torn == 1


def test_an_item_that_comes_twice_is_doubled():
    made = items(3)
    tally = ledger_of([made[0], made[1], made[0], made[2]]).tallies()[0]
    assert tally == {"items": 3, "next": 3, "doubled": 1, "out_of_order": 0}


def test_an_item_behind_a_later_one_is_out_of_order_and_then_doubled():
    made = items(5)
    order = [made[index] for index in (0, 4, 2, 2, 1)]
    tally = ledger_of(order).tallies()[0]
    assert tally == {"items": 4, "next": 5, "doubled": 1, "out_of_order": 2}


def test_percentiles_are_within_three_percent():
    chance = random.Random(7)
    values = sorted(int(10 ** chance.uniform(2, 10)) for _ in range(2000))
    histogram, other = Histogram(), Histogram()
    for value in values[::2]:
        histogram.add(value)
    for value in values[1::2]:
        other.add(value)
    histogram.merge(other.counts)
    for percent in (1, 50, 99, 100):
        exact = values[max(0, int(len(values) * percent / 100) - 1)] / 1e9
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.032)


def test_there_is_no_percentile_of_nothing():
    assert Histogram().percentile(50) is None
