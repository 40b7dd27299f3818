"""What a kill leaves in a ring that grows: each state is written down here, and then lived with.

The states are those that the essays of regions.h, growth.h and poll.h name.
"""

import os
from queue import Empty

import pytest

from shmqueue._inspect import snapshot
from tests import unnamed
from tests.protocol.raw import FLAGS, HEAD, HELD, POOL, QUEUED, TAIL
from tests.support import LIMIT, Thread, drain, wait_until
from tests.unnamed import FIRST_BACKED, FIRST_REGION, region_start, slot_bytes

SIZE = 3000
LARGE = bytes(range(256)) * 64


class Numbers:
    """Items that tell their number, put and got in order."""

    def __init__(self, queue, raw):
        self.queue, self.raw = queue, raw
        self.put_count = self.got_count = 0

    def put(self, count=1):
        for _ in range(count):
            self.queue.put(self.put_count.to_bytes(8, "little") * (SIZE // 8))
            self.put_count += 1

    def get(self, count=1):
        for _ in range(count):
            item = self.queue.get(timeout=LIMIT)
            assert int.from_bytes(item[:8], "little") == self.got_count
            assert item == item[:8] * (SIZE // 8)
            self.got_count += 1

    def fill_to_region(self, region):
        while self.raw.regions()[1] < region:
            self.put()

    def drain(self):
        self.get(self.put_count - self.got_count)
        assert self.queue.empty()


@pytest.fixture
def numbers(queue, raw):
    return Numbers(queue, raw)


def _takeovers(queue):
    return snapshot(queue._attachment)["takeovers"]


def _assert_all_given_back(queue, raw):
    """Assert that a drained ring has its first region, and no more memory than that."""
    with pytest.raises(Empty):
        queue.get_nowait()
    assert raw.regions() == (0, 0)
    assert raw.backed()[1:] == [(0, 0)] * (raw.region_count - 1)
    assert raw.slots_memory_bytes() <= FIRST_REGION


class TestHalfAPut:
    def test_a_place_that_was_written_but_not_committed_is_written_over(
        self, queue, raw, dead, numbers
    ):
        numbers.put(3)
        sequence, position = raw.get("end", TAIL, "sequence"), raw.position(TAIL)
        other = 1 - raw.entry_that_counts(TAIL)
        raw.set_entry(TAIL, other, sequence + 1, position + 64)
        raw.set_owner(TAIL, dead)
        numbers.put(3)
        assert raw.position(TAIL) == position + 3 * slot_bytes(SIZE)
        numbers.drain()
        assert _takeovers(queue) == 1

    @pytest.mark.parametrize("end", [TAIL, HEAD])
    def test_a_place_of_which_only_the_sequence_was_written_is_too(
        self, queue, raw, dead, numbers, end
    ):
        numbers.put(5)
        numbers.get(2)
        sequence = raw.get("end", end, "sequence")
        other = 1 - raw.entry_that_counts(end)
        raw.set_entry(end, other, sequence + 1, raw.entries(end)[other][1])
        raw.set_owner(end, dead)
        numbers.put(2)
        numbers.drain()
        assert _takeovers(queue) == 1

    @pytest.mark.parametrize("published", [0, 1], ids=["odd stamp", "even stamp"])
    @pytest.mark.parametrize("region", [0, 1, 2])
    def test_a_jump_that_was_written_but_not_committed_leads_nowhere(
        self, raw, dead, numbers, region, published
    ):
        numbers.fill_to_region(region)
        numbers.put()
        sequence, position = raw.get("end", TAIL, "sequence"), raw.position(TAIL)
        raw.write_jump(sequence, position, region_start(region + 1))
        raw.set_slot_at(position, "stamp", 2 * sequence + 1 + published)
        raw.set_owner(TAIL, dead)
        numbers.put(2)
        assert raw.regions()[1] == region
        numbers.drain()

    def test_a_jump_to_a_region_that_was_given_back_meanwhile_leads_nowhere(
        self, queue, raw, dead, numbers
    ):
        """Killed with the jump written, and then everything was taken and trimmed."""
        numbers.fill_to_region(1)
        numbers.put()
        sequence, position = raw.get("end", TAIL, "sequence"), raw.position(TAIL)
        raw.write_jump(sequence, position, region_start(2))
        raw.set_owner(TAIL, dead)
        numbers.drain()
        _assert_all_given_back(queue, raw)
        numbers.put(700)
        numbers.drain()

    def test_slots_that_were_written_but_not_committed_are_written_over(self, raw, dead, numbers):
        numbers.put(2)
        sequence, position = raw.get("end", TAIL, "sequence"), raw.position(TAIL)
        for ahead in range(5):
            at = position + ahead * 64
            raw.set_slot_at(at, "stamp", 2 * (sequence + ahead) + 2)
            raw.set_slot_at(at, "length", 2**32 - 1)
        raw.set_owner(TAIL, dead)
        numbers.get(2)
        with pytest.raises(Empty):
            numbers.queue.get_nowait()
        numbers.put(5)
        numbers.drain()


class TestHalfATake:
    @pytest.mark.parametrize("region", [0, 1, 2])
    def test_what_was_copied_out_but_not_committed_is_still_in(self, raw, dead, numbers, region):
        numbers.fill_to_region(region)
        numbers.put(5)
        numbers.get(numbers.put_count - 5)
        sequence, position = raw.get("end", HEAD, "sequence"), raw.position(HEAD)
        other = 1 - raw.entry_that_counts(HEAD)
        raw.set_entry(HEAD, other, sequence + 3, position + 3 * slot_bytes(SIZE))
        raw.set_owner(HEAD, dead)
        numbers.drain()
        numbers.put(5)
        numbers.drain()


class TestHalfAGoBack:
    def _empty_ring_in(self, raw, numbers, region, living):
        """Empty the ring in a larger region while the pool is another's: nobody trims."""
        numbers.fill_to_region(region)
        raw.set_owner(POOL, living)
        numbers.drain()
        assert raw.regions() == (region, region)

    def _all_words_to(self, raw, word):
        for end in (TAIL, POOL, HEAD):
            raw.set_owner(end, word)

    @pytest.mark.parametrize("region", [1, 3])
    @pytest.mark.parametrize("point", ["before", "jump", "tail", "both"])
    @pytest.mark.parametrize("more", [0, 1, 3000])
    def test_items_go_on_and_memory_is_given_back(
        self, queue, raw, numbers, living, dead, region, point, more
    ):
        self._empty_ring_in(raw, numbers, region, living)
        sequence, position = raw.get("end", TAIL, "sequence"), raw.position(TAIL)
        if point != "before":
            raw.write_jump(sequence, position, 0)
        if point in ("tail", "both"):
            raw.move_place(TAIL, 0)
        if point == "both":
            raw.move_place(HEAD, 0)
        self._all_words_to(raw, dead)
        numbers.put(more)
        assert queue.qsize() == more
        numbers.drain()
        # What a kill left is found by the next who comes back from a larger region.
        numbers.fill_to_region(1)
        numbers.drain()
        _assert_all_given_back(queue, raw)

    @pytest.mark.parametrize("region", [1, 2, 3])
    @pytest.mark.parametrize("top", [2, 4])
    def test_no_trim_takes_a_region_that_the_head_has_still_to_visit(
        self, queue, raw, numbers, living, dead, region, top
    ):
        """The head in its old region, the tail back in the first and up from there."""
        self._empty_ring_in(raw, numbers, region, living)
        raw.write_jump(raw.get("end", TAIL, "sequence"), raw.position(TAIL), 0)
        raw.move_place(TAIL, 0)
        self._all_words_to(raw, dead)
        while raw.regions()[1] < top:
            numbers.put()
        # A batch with which the head moves from its old region: whoever takes it trims.
        taken = queue.get_batch(10, timeout=LIMIT)
        for item in taken:
            assert int.from_bytes(item[:8], "little") == numbers.got_count
            numbers.got_count += 1
        numbers.put(10)
        numbers.drain()
        numbers.fill_to_region(1)
        numbers.drain()
        _assert_all_given_back(queue, raw)

    @pytest.mark.parametrize("region", [1, 2, 3])
    def test_a_look_from_outside_finds_the_oldest_item(
        self, queue, raw, numbers, living, dead, region
    ):
        self._empty_ring_in(raw, numbers, region, living)
        raw.write_jump(raw.get("end", TAIL, "sequence"), raw.position(TAIL), 0)
        raw.move_place(TAIL, 0)
        self._all_words_to(raw, dead)
        assert snapshot(queue._attachment)["oldest_age_ns"] is None
        numbers.put()
        assert snapshot(queue._attachment)["oldest_age_ns"] is not None
        numbers.drain()


class TestHalfAGrowth:
    @pytest.mark.parametrize("is_reserved", [True, False])
    def test_dirty_without_backed_is_grown_again(self, queue, raw, numbers, dead, is_reserved):
        while raw.position(TAIL) + 2 * slot_bytes(SIZE) < FIRST_BACKED:
            numbers.put()
        raw.set("region", 0, "dirty", 2 * FIRST_BACKED)
        if is_reserved:
            os.posix_fallocate(raw.fd, raw.slots_offset + FIRST_BACKED, FIRST_BACKED)
        raw.set_owner(POOL, dead)
        numbers.put(100)
        assert raw.backed()[0][0] > FIRST_BACKED
        assert raw.owner(POOL) & ~FLAGS == 0
        assert _takeovers(queue) == 1
        numbers.drain()

    @pytest.mark.parametrize("is_reserved", [True, False])
    def test_what_a_dead_one_reserved_is_given_back(self, queue, raw, numbers, dead, is_reserved):
        """Killed while it made the second region: nobody ever used that."""
        raw.set("region", 2, "dirty", FIRST_BACKED)
        if is_reserved:
            os.posix_fallocate(raw.fd, raw.slots_offset + region_start(2), FIRST_BACKED)
        raw.set_owner(POOL, dead)
        numbers.fill_to_region(1)
        numbers.drain()
        _assert_all_given_back(queue, raw)

    def test_who_has_room_waits_for_no_pool(self, queue, raw, numbers, living):
        raw.set_owner(POOL, living)
        numbers.put(5)
        numbers.drain()
        assert raw.owner(POOL) == living
        raw.set_owner(POOL, 0)

    def test_who_has_no_room_waits_for_the_living_and_goes_on_after_it(
        self, queue, raw, numbers, living
    ):
        raw.set_owner(POOL, living)
        putting = Thread(numbers.put, 100)
        wait_until(lambda: raw.owner(POOL) & 1, "the put to wait for the pool's word")
        before = queue.qsize()
        assert 0 < before < 100
        numbers.get(before)
        raw.set_owner(POOL, 0)
        putting.result()
        numbers.drain()

    def test_a_pool_whose_holder_dies_is_taken_over_by_who_waits(self, queue, raw, numbers):
        other, word = raw.living(queue)
        raw.set_owner(POOL, word)
        putting = Thread(numbers.put, 100)
        wait_until(lambda: raw.owner(POOL) & 1, "the put to wait for the pool's word")
        # The lock on the seat is what tells who lives: it goes with the other's mapping.
        del other
        putting.result()
        assert _takeovers(queue) == 1
        numbers.drain()


class TestHalfATrim:
    @pytest.fixture
    def trimmed_without_its_memory(self, raw, numbers):
        """Leave region 2 as a kill does before its memory went; the ring is back in the first."""
        numbers.fill_to_region(2)
        numbers.drain()
        os.posix_fallocate(raw.fd, raw.slots_offset + region_start(2), 4 * FIRST_BACKED)
        raw.set("region", 2, "dirty", 4 * FIRST_BACKED)
        assert raw.slots_memory_bytes() == FIRST_REGION + 4 * FIRST_BACKED

    @pytest.mark.parametrize("tail_too", [True, False])
    def test_the_next_trim_gives_the_memory_back(
        self, queue, raw, numbers, dead, trimmed_without_its_memory, tail_too
    ):
        raw.set_owner(POOL, dead)
        if tail_too:
            raw.set_owner(TAIL, dead)
        numbers.fill_to_region(1)
        numbers.drain()
        _assert_all_given_back(queue, raw)
        assert raw.slots_memory_bytes() == FIRST_REGION

    def test_the_region_may_be_used_again_before_that(
        self, queue, raw, numbers, dead, trimmed_without_its_memory
    ):
        raw.set_owner(POOL, dead)
        numbers.fill_to_region(3)
        numbers.drain()
        _assert_all_given_back(queue, raw)

    def test_dirty_without_memory_is_put_right(self, queue, raw, numbers, dead):
        raw.set("region", 3, "dirty", FIRST_BACKED)
        raw.set_owner(POOL, dead)
        numbers.fill_to_region(1)
        numbers.drain()
        _assert_all_given_back(queue, raw)

    @pytest.mark.parametrize("end", [TAIL, POOL, HEAD])
    def test_a_trim_takes_words_from_the_dead(self, queue, raw, numbers, living, dead, end):
        numbers.fill_to_region(2)
        raw.set_owner(POOL, living)
        numbers.drain()
        raw.set_owner(POOL, 0)
        raw.set_owner(end, dead)
        _assert_all_given_back(queue, raw)
        assert _takeovers(queue) == 1

    @pytest.mark.parametrize("end", [TAIL, POOL])
    def test_and_waits_for_no_living_one(self, queue, raw, numbers, living, end):
        numbers.fill_to_region(2)
        raw.set_owner(end, living)
        numbers.drain()
        with pytest.raises(Empty):
            queue.get_nowait()
        assert raw.owner(end) == living
        raw.set_owner(end, 0)
        _assert_all_given_back(queue, raw)


class TestBlocks:
    """Large items that slots in regions refer to: the sweep asks the slot where it is."""

    def _pool(self, queue):
        seen = snapshot(queue._attachment)
        return seen["pool_bytes"], seen["pool_free_bytes"]

    def _sweep(self, queue):
        """Attach once more, which sweeps after the dead, and leave."""
        unnamed.another(queue).close()

    @pytest.mark.parametrize("region", [0, 1, 2])
    def test_a_block_names_the_slot_that_refers_to_it(self, queue, raw, numbers, region):
        numbers.fill_to_region(region)
        position = raw.position(TAIL)
        queue.put_batch([LARGE, LARGE[::-1]])
        step = slot_bytes(16)
        assert raw.get("block", 0, "slot_position") == position
        assert raw.get("block", 1, "slot_position") == position + step
        sequence = raw.get("end", TAIL, "sequence") - 2
        assert raw.get("block", 0, "sequence") == sequence
        numbers.get(numbers.put_count)
        assert drain(queue, 2) == [LARGE, LARGE[::-1]]

    @pytest.mark.parametrize("region", [0, 1, 2])
    @pytest.mark.parametrize("state", [HELD, QUEUED])
    def test_what_a_dead_producer_put_is_kept_and_received(
        self, queue, raw, numbers, dead, region, state
    ):
        numbers.fill_to_region(region)
        queue.put_batch([LARGE, b"small", LARGE[::-1]])
        for block in (0, 1):
            raw.set("block", block, "state", dead | state)
        self._sweep(queue)
        assert [raw.get("block", block, "state") for block in (0, 1)] == [dead | state] * 2
        numbers.get(numbers.put_count)
        assert drain(queue, 3) == [LARGE, b"small", LARGE[::-1]]
        reserved, free = self._pool(queue)
        assert reserved == free > 0

    @pytest.mark.parametrize("region", [0, 1, 2])
    def test_what_a_dead_consumer_took_is_found_again(self, queue, raw, numbers, dead, region):
        numbers.fill_to_region(region)
        queue.put(LARGE)
        numbers.get(numbers.put_count)
        assert queue.get() == LARGE
        raw.set("block", 0, "state", dead | HELD)
        assert self._pool(queue)[1] == 0
        self._sweep(queue)
        assert raw.get("block", 0, "state") == 0
        reserved, free = self._pool(queue)
        assert reserved == free > 0

    def test_what_a_dead_producer_filled_but_did_not_put_is_found_again(
        self, queue, raw, numbers, dead
    ):
        """Its slot was written, the tail did not move, and others wrote other slots there."""
        queue.put(LARGE)
        assert queue.get() == LARGE
        sequence, position = raw.get("end", TAIL, "sequence"), raw.position(TAIL)
        raw.set("block", 0, "state", dead | QUEUED)
        raw.set("block", 0, "sequence", sequence)
        raw.set("block", 0, "slot_position", position)
        numbers.put(3)
        self._sweep(queue)
        assert raw.get("block", 0, "state") == 0
        numbers.drain()

    def test_another_block_in_the_slot_it_names_does_not_keep_it(self, queue, raw, dead):
        queue.put_batch([LARGE, LARGE])
        sequence, position = raw.get("block", 1, "sequence"), raw.get("block", 1, "slot_position")
        assert drain(queue, 1) == [LARGE]
        raw.set("block", 0, "state", dead | QUEUED)
        raw.set("block", 0, "sequence", sequence)
        raw.set("block", 0, "slot_position", position)
        self._sweep(queue)
        assert raw.get("block", 0, "state") == 0
        assert queue.get() == LARGE

    @pytest.mark.parametrize("position", [7, 2**63, 2**64 - 8, None])
    def test_a_slot_that_can_not_be_is_never_looked_at(self, queue, raw, dead, position):
        queue.put(LARGE)
        end = unnamed.region_start(raw.region_count)
        raw.set("block", 0, "slot_position", end - 32 if position is None else position)
        raw.set("block", 0, "state", dead | QUEUED)
        self._sweep(queue)
        assert raw.get("block", 0, "state") in (0, dead | QUEUED)


class TestTrimThatHadToWait:
    @pytest.mark.parametrize("end", [POOL, TAIL], ids=["pool", "tail"])
    def test_a_later_take_makes_good_for_it(self, queue, raw, living, end):
        numbers = Numbers(queue, raw)
        numbers.fill_to_region(3)
        grown = raw.memory_bytes()
        while numbers.got_count < numbers.put_count - 1:
            numbers.get()
        # Its holder lives, so nobody takes it away, and the get that empties the ring goes on.
        raw.set("end", end, "owner", living)
        numbers.get()
        raw.set("end", end, "owner", 0)
        numbers.put(3)
        numbers.get(3)
        assert raw.regions() == (0, 0)
        assert raw.memory_bytes() <= FIRST_REGION + (64 << 10) < grown
