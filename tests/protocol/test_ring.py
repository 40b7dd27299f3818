"""The ring, walked by one process: raw payloads in and out, and the segment's bytes between."""

import random
from collections import deque
from queue import Empty, Full

import pytest

from shmqueue import _inspect
from shmqueue._payloads import put_payloads, take_payloads
from shmqueue.errors import CorruptSegmentError
from tests.protocol.raw import HEAD, TAIL
from tests.support import LIMIT

CAPACITIES = [1, 2, 3, 7]
LARGE = bytes(range(256)) * 64


def payload(number, size=40):
    """Return a payload that tells its number at every place."""
    return number % 60000, bytes((number * 31 + n) % 256 for n in range(size))


def payloads(first, count, size=40):
    return [payload(first + n, size) for n in range(count)]


@pytest.fixture
def ring(create):
    """Make a queue and return its attachment: ``ring(capacity, item_size=64)``."""

    def make(capacity, item_size=64):
        return create(capacity=capacity, item_size=item_size)._attachment

    return make


@pytest.mark.parametrize("capacity", CAPACITIES)
class TestWalks:
    def test_as_many_as_the_capacity_go_in_and_not_one_more(self, ring, capacity):
        attachment = ring(capacity)
        for number in range(capacity):
            put_payloads(attachment, [payload(number)], timeout=0)
        with pytest.raises(Full):
            put_payloads(attachment, [payload(99)], timeout=0)
        assert attachment.qsize() == capacity
        assert take_payloads(attachment, capacity + 5, timeout=0) == payloads(0, capacity)
        with pytest.raises(Empty):
            take_payloads(attachment, 1, timeout=0)

    def test_many_laps_one_at_a_time(self, ring, capacity):
        attachment = ring(capacity)
        for number in range(10 * capacity + 3):
            put_payloads(attachment, [payload(number)])
            assert take_payloads(attachment) == [payload(number)]

    def test_many_laps_at_every_depth(self, ring, capacity):
        attachment = ring(capacity)
        for depth in range(capacity):
            put_payloads(attachment, payloads(0, depth))
            for number in range(depth, depth + 5 * capacity):
                put_payloads(attachment, [payload(number)], timeout=0)
                assert take_payloads(attachment, timeout=0) == [payload(number - depth)]
            assert attachment.qsize() == depth
            if depth:
                take_payloads(attachment, depth)

    def test_a_batch_crosses_the_wrap_from_every_place(self, ring, capacity):
        attachment = ring(capacity)
        number = 0
        for place in range(2 * capacity):
            for count in range(1, capacity + 1):
                batch = payloads(number, count)
                put_payloads(attachment, batch, timeout=0)
                assert take_payloads(attachment, count, timeout=0) == batch
                number += count
            put_payloads(attachment, [payload(place)])
            assert take_payloads(attachment) == [payload(place)]

    def test_a_batch_without_room_for_all_of_it_leaves_nothing(self, ring, capacity):
        attachment = ring(capacity)
        put_payloads(attachment, [payload(0)])
        before = _inspect.snapshot(attachment)
        with pytest.raises(Full):
            put_payloads(attachment, payloads(1, capacity), timeout=0)
        after = _inspect.snapshot(attachment)
        assert (after["head"], after["tail"]) == (before["head"], before["tail"])
        assert after["bytes_put"] == before["bytes_put"]
        assert take_payloads(attachment, capacity) == [payload(0)]

    def test_a_batch_longer_than_the_ring_is_refused(self, ring, capacity):
        attachment = ring(capacity)
        with pytest.raises(ValueError):
            put_payloads(attachment, payloads(0, capacity + 1), timeout=0)
        assert attachment.qsize() == 0

    def test_an_empty_batch_moves_nothing(self, ring, capacity):
        attachment = ring(capacity)
        put_payloads(attachment, [])
        assert _inspect.snapshot(attachment)["tail"] == 0

    def test_more_than_there_is_gives_what_there_is(self, ring, capacity):
        attachment = ring(capacity)
        for count in range(1, capacity + 1):
            put_payloads(attachment, payloads(count, count))
            assert take_payloads(attachment, 1000, timeout=0) == payloads(count, count)

    def test_less_than_there_is_leaves_the_rest(self, ring, capacity):
        attachment = ring(capacity)
        put_payloads(attachment, payloads(0, capacity))
        taken = []
        while len(taken) < capacity:
            taken += take_payloads(attachment, 2, timeout=0)
        assert taken == payloads(0, capacity)

    @pytest.mark.parametrize("seed", range(3))
    def test_a_random_walk_agrees_with_a_deque(self, ring, capacity, seed):
        rng = random.Random(1000 * capacity + seed)
        attachment = ring(capacity)
        model = deque()
        put = got = bytes_put = bytes_got = high = 0
        for _ in range(1000):
            if rng.random() < 0.5:
                count = rng.randint(1, capacity)
                batch = [payload(put + n, rng.randrange(65)) for n in range(count)]
                try:
                    put_payloads(attachment, batch, timeout=0)
                except Full:
                    assert len(model) + count > capacity
                else:
                    model.extend(batch)
                    put += count
                    bytes_put += sum(len(data) for _, data in batch)
                    high = max(high, len(model))
            else:
                count = rng.randint(1, capacity + 2)
                try:
                    taken = take_payloads(attachment, count, timeout=0)
                except Empty:
                    assert not model
                else:
                    assert taken == [model.popleft() for _ in range(min(count, len(model)))]
                    got += len(taken)
                    bytes_got += sum(len(data) for _, data in taken)
            seen = _inspect.snapshot(attachment)
            assert (seen["tail"], seen["head"]) == (put, got)
            assert (seen["items_put"], seen["items_got"]) == (put, got)
            assert (seen["bytes_put"], seen["bytes_got"]) == (bytes_put, bytes_got)
            assert seen["high_water_mark"] == high
            assert (seen["oldest_age_ns"] is None) == (not model)
            assert attachment.qsize() == len(model)


class TestSequences:
    @pytest.mark.parametrize("capacity", CAPACITIES)
    @pytest.mark.parametrize("boundary", [2**31, 2**32, 2**40])
    def test_they_cross_the_width_of_smaller_words(self, ring, open_raw, capacity, boundary):
        attachment = ring(capacity)
        start = boundary - 3 * capacity - 1
        open_raw().set_sequences(start)
        with pytest.raises(Empty):
            take_payloads(attachment, timeout=0)
        for number in range(7 * capacity):
            batch = payloads(number, 1 + number % capacity)
            put_payloads(attachment, batch, timeout=0)
            assert attachment.qsize() == len(batch)
            assert take_payloads(attachment, capacity, timeout=0) == batch
        seen = _inspect.snapshot(attachment)
        assert seen["tail"] == seen["head"] > boundary
        put_payloads(attachment, payloads(0, capacity), timeout=0)
        with pytest.raises(Full):
            put_payloads(attachment, [payload(0)], timeout=0)

    def test_large_items_cross_it_too(self, create, open_raw):
        queue = create(capacity=3, item_size=64)
        open_raw().set_sequences(2**32 - 5)
        for number in range(10):
            queue.put_batch([LARGE, number])
            assert [queue.get(timeout=LIMIT), queue.get(timeout=LIMIT)] == [LARGE, number]
        metrics = queue.get_metrics()
        assert metrics["pool_free_bytes"] == metrics["pool_bytes"] > 0

    @pytest.mark.parametrize("end", [HEAD, TAIL], ids=["head beyond tail", "tail too far ahead"])
    def test_an_end_out_of_bounds_is_an_error_and_no_endless_wait(self, create, open_raw, end):
        attachment = create(capacity=3)._attachment
        open_raw().set("end", end, "sequence", 10)
        with pytest.raises(CorruptSegmentError):
            take_payloads(attachment, timeout=LIMIT)
        with pytest.raises(CorruptSegmentError):
            put_payloads(attachment, [payload(0)], timeout=LIMIT)


class TestSlots:
    @pytest.mark.parametrize("capacity", CAPACITIES)
    def test_each_that_was_put_is_stamped_with_its_sequence(self, ring, open_raw, capacity):
        attachment = ring(capacity)
        raw = open_raw()
        for sequence in range(4 * capacity):
            put_payloads(attachment, [payload(sequence, 20)])
            slot = sequence % capacity
            assert raw.get("slot", slot, "stamp") == 2 * sequence + 2
            assert raw.get("slot", slot, "length") == 20
            assert raw.get("slot", slot, "kind") == payload(sequence)[0]
            assert raw.get("slot", slot, "flags") == 0
            assert raw.get("slot", slot, "put_ns") > 0
            take_payloads(attachment)
            assert raw.get("slot", slot, "stamp") == 2 * sequence + 2

    def test_all_of_a_batch_are_stamped_even(self, ring, open_raw):
        attachment = ring(7)
        raw = open_raw()
        put_payloads(attachment, payloads(0, 5))
        take_payloads(attachment, 5)
        put_payloads(attachment, payloads(5, 7))
        stamps = {raw.get("slot", slot, "stamp") for slot in range(7)}
        assert stamps == {2 * sequence + 2 for sequence in range(5, 12)}

    @pytest.mark.parametrize("item_size", [1, 16, 40, 63, 64, 1000, 4096])
    def test_a_slot_that_is_filled_to_its_end_leaves_its_neighbours(
        self, ring, open_raw, item_size
    ):
        attachment = ring(3, item_size)
        raw = open_raw()
        most = raw.slot_payload_bytes
        assert most >= item_size
        for size in (0, 1, item_size, most - 1, most):
            put_payloads(attachment, payloads(0, 3, most))
            assert take_payloads(attachment, 3) == payloads(0, 3, most)
            for number in range(3):
                place = _inspect.snapshot(attachment)["tail"] % 3
                before = [raw.slot_bytes(slot) for slot in range(3)]
                put_payloads(attachment, [payload(number + 7, size)])
                after = [raw.slot_bytes(slot) for slot in range(3)]
                assert after[place] != before[place]
                for slot in {0, 1, 2} - {place}:
                    assert after[slot] == before[slot]
                written = raw.get("slot", place, "length")
                assert written == size
                assert after[place][24 : 24 + size] == payload(number + 7, size)[1]
                assert take_payloads(attachment) == [payload(number + 7, size)]

    @pytest.mark.parametrize("capacity", CAPACITIES)
    def test_nothing_is_written_behind_the_last_one(self, ring, open_raw, capacity):
        attachment = ring(capacity, 100)
        raw = open_raw()
        for number in range(3 * capacity):
            put_payloads(attachment, [payload(number, raw.slot_payload_bytes)])
            take_payloads(attachment)
        end = raw.get("header", 0, "slots_offset") + capacity * raw.get("header", 0, "slot_bytes")
        rest = raw.bytes_at(end, raw.get("header", 0, "blocks_offset") - end)
        assert not any(rest)

    def test_a_payload_that_fits_no_slot_is_refused(self, ring, open_raw):
        attachment = ring(3)
        most = open_raw().slot_payload_bytes
        with pytest.raises(ValueError):
            put_payloads(attachment, [payload(0), payload(1, most + 1)])
        assert attachment.qsize() == 0

    def test_one_that_contradicts_itself_is_passed_over(self, ring, open_raw):
        attachment = ring(7)
        raw = open_raw()
        put_payloads(attachment, payloads(0, 5))
        raw.set("slot", 1, "stamp", 3)
        raw.set("slot", 3, "length", 2**32 - 1)
        assert take_payloads(attachment, 7) == [payload(0)]
        with pytest.raises(CorruptSegmentError):
            take_payloads(attachment, 7)
        assert take_payloads(attachment, 7) == [payload(2)]
        with pytest.raises(CorruptSegmentError):
            take_payloads(attachment, 7)
        assert take_payloads(attachment, 7) == [payload(4)]
        with pytest.raises(Empty):
            take_payloads(attachment, 7, timeout=0)


class TestBuffers:
    def test_one_that_is_too_small_for_the_first_is_replaced(self, ring):
        attachment = ring(3, 1000)
        put_payloads(attachment, payloads(0, 2, 1000))
        assert take_payloads(attachment, 2, buffer_bytes=10) == [payload(0, 1000)]
        assert take_payloads(attachment, 2, buffer_bytes=10) == [payload(1, 1000)]

    def test_one_that_is_too_small_for_all_gives_some(self, ring):
        attachment = ring(7, 1000)
        put_payloads(attachment, payloads(0, 7, 1000))
        assert take_payloads(attachment, 7, buffer_bytes=3500) == payloads(0, 3, 1000)
        assert take_payloads(attachment, 7, buffer_bytes=4000) == payloads(3, 4, 1000)

    def test_empty_payloads_need_none(self, ring):
        attachment = ring(7)
        put_payloads(attachment, [(3, b"")] * 7)
        assert take_payloads(attachment, 7, buffer_bytes=1) == [(3, b"")] * 7

    def test_a_block_comes_alone_and_between_others(self, create):
        queue = create(capacity=7, item_size=64)
        queue.put_batch([b"a", b"b", LARGE, b"c", LARGE, LARGE])
        attachment = queue._attachment
        taken = [[data for _, data in take_payloads(attachment, 7)] for _ in range(5)]
        assert [len(batch) for batch in taken] == [2, 1, 1, 1, 1]
        assert [batch[0][-100:] for batch in taken[1::2]] == [LARGE[-100:]] * 2


class TestHighWaterMark:
    @pytest.mark.parametrize("capacity", CAPACITIES)
    def test_it_is_the_most_there_ever_was(self, ring, capacity):
        attachment = ring(capacity)
        for most in range(1, capacity + 1):
            put_payloads(attachment, payloads(0, most))
            assert _inspect.snapshot(attachment)["high_water_mark"] == most
            take_payloads(attachment, most)
            assert _inspect.snapshot(attachment)["high_water_mark"] == most
            put_payloads(attachment, [payload(0)])
            take_payloads(attachment)
            assert _inspect.snapshot(attachment)["high_water_mark"] == most

    def test_in_a_large_ring_it_is_exact_from_a_sixteenth_on(self, ring):
        attachment = ring(1600)
        for _ in range(20):
            put_payloads(attachment, payloads(0, 90))
            take_payloads(attachment, 90)
        assert _inspect.snapshot(attachment)["high_water_mark"] <= 90
        for number in range(250):
            put_payloads(attachment, [payload(number)])
        take_payloads(attachment, 250)
        assert _inspect.snapshot(attachment)["high_water_mark"] == 250


class TestSeats:
    def test_a_row_counts_what_its_process_did(self, ring):
        attachment = ring(7)
        put_payloads(attachment, payloads(0, 5, 10))
        take_payloads(attachment, 3)
        (row,) = _inspect.seat_rows(attachment)
        assert (row["items_put"], row["items_got"]) == (5, 3)
        assert (row["bytes_put"], row["bytes_got"]) == (50, 30)
        assert row["alive"]
        take_payloads(attachment, 2)
        for timeout in (0, 0.01, 0.02):
            with pytest.raises(Empty):
                take_payloads(attachment, timeout=timeout)
        (row,) = _inspect.seat_rows(attachment)
        # Only who waited was blocked.
        assert row["blocked_empty_count"] == 2
        assert row["blocked_empty_ns"] >= 29_000_000
