"""Rings that grow: walks through regions by one process, and the segment's words between."""

import random
from collections import deque
from queue import Empty, Full

import pytest

from shmqueue._inspect import snapshot
from shmqueue._payloads import put_payloads, take_payloads
from tests import unnamed
from tests.protocol.raw import HEAD, POOL, TAIL
from tests.unnamed import (
    FIRST_BACKED,
    FIRST_REGION,
    INLINE,
    IS_JUMP,
    JUMP,
    RawUnnamed,
    region_of,
    region_start,
    slot_bytes,
)

NOISE = random.Random(7).randbytes(1 << 18)
LARGE = 100_000


def item_of(number, size):
    """Return bytes that tell their number, as far as the size allows."""
    start = number * 37 % (len(NOISE) - size)
    return (number.to_bytes(8, "little") + NOISE[start : start + size])[:size]


class Stream:
    """Numbered items of one size, through the whole test in order."""

    def __init__(self, queue, size=3000):
        self.queue, self.size = queue, size
        self.put_count = self.got_count = 0

    def put(self, count=1):
        for _ in range(count):
            self.queue.put(item_of(self.put_count, self.size))
            self.put_count += 1

    def get(self, count=1):
        for _ in range(count):
            assert self.queue.get(timeout=0) == item_of(self.got_count, self.size)
            self.got_count += 1

    def fill_to_region(self, raw, region):
        while raw.regions()[1] < region:
            self.put()

    def drain(self):
        self.get(self.put_count - self.got_count)
        assert self.queue.empty()


@pytest.fixture
def stream(queue):
    return Stream(queue)


SIZES = [
    lambda rng: 0,
    lambda rng: rng.randrange(65),
    lambda rng: rng.randrange(INLINE + 1),
    lambda rng: INLINE - rng.randrange(33),
    lambda rng: rng.randrange(LARGE),
]


class Walk:
    """A queue and a deque that do the same, at random, and must agree after each step."""

    def __init__(self, queue, raw, capacity, rng):
        self._queue, self._raw, self._capacity, self._rng = queue, raw, capacity, rng
        self.model = deque()
        self._number = 0
        self.regions = set()
        self.high = 0

    def step(self, chance_to_put):
        rng = self._rng
        is_batch = rng.random() < 0.3
        if rng.random() < chance_to_put:
            self._put(rng.randint(2, 40) if is_batch else 1, is_batch)
        else:
            self._get(rng.randint(1, 60) if is_batch else 1, is_batch)
        assert self._queue.qsize() == len(self.model)
        assert self._queue.empty() == (not self.model)
        assert self._queue.full() == (len(self.model) >= self._capacity)

    def _put(self, count, is_batch):
        weights = (2, 10, 5, 2, 1)
        items = []
        for _ in range(count):
            (size,) = self._rng.choices(SIZES, weights)
            items.append(item_of(self._number + len(items), size(self._rng)))
        try:
            if is_batch:
                self._queue.put_batch(items, block=False)
            else:
                self._queue.put_nowait(items[0])
        except Full:
            assert len(self.model) + count > self._capacity
        except ValueError:
            assert count > self._capacity
        else:
            assert len(self.model) + count <= self._capacity
            self.model.extend(items)
            self._number += count
            self.high = max(self.high, len(self.model))

    def _get(self, count, is_batch):
        try:
            items = self._queue.get_batch(count, False) if is_batch else [self._queue.get_nowait()]
        except Empty:
            assert not self.model
            return
        assert 1 <= len(items) <= count
        for item in items:
            assert item == self.model.popleft()

    def look(self):
        """Compare everything that can be seen from outside."""
        head, tail = self._raw.regions()
        self.regions |= {head, tail}
        backed = self._raw.backed()
        for region, (bytes_, dirty) in enumerate(backed):
            assert bytes_ <= dirty <= FIRST_REGION << region
        for end in (HEAD, TAIL):
            position = self._raw.position(end)
            assert position % JUMP == 0
            region = region_of(position)
            assert position + JUMP <= region_start(region) + backed[region][0]
        seen = snapshot(self._queue._attachment)
        assert seen["tail"] == seen["items_put"] == self._number
        assert seen["head"] == seen["items_got"] == self._number - len(self.model)
        assert seen["high_water_mark"] <= self.high
        assert (seen["oldest_age_ns"] is None) == (not self.model)


class TestRandomWalks:
    @pytest.mark.parametrize("seed", range(12))
    def test_an_unbounded_one_agrees_with_a_deque(self, queue, raw, seed):
        rng = random.Random(seed)
        walk = Walk(queue, raw, unnamed.UNBOUNDED, rng)
        for _ in range(8):
            # Up to some height and down again, or hovering.
            for chance in (rng.uniform(0.5, 1), rng.uniform(0, 0.5)):
                for _ in range(rng.choice((40, 400, 800))):
                    walk.step(chance)
                    if rng.random() < 0.05:
                        walk.look()
            if rng.random() < 0.5:
                while walk.model:
                    walk.step(0)
                walk.look()
                assert raw.regions() == (0, 0)
                assert [bytes_ for bytes_, _ in raw.backed()[1:]] == [0] * (raw.region_count - 1)
        assert max(walk.regions) >= 1

    @pytest.mark.parametrize("maxsize", [1, 2, 3, 50, 1000, 2**31])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_bounded_one_agrees_with_a_deque_and_its_bound(self, make, maxsize, seed):
        queue = make(maxsize)
        raw = RawUnnamed(queue._attachment)
        rng = random.Random(100 * maxsize + seed)
        walk = Walk(queue, raw, maxsize, rng)
        for _ in range(3):
            for chance in (rng.uniform(0.5, 0.9), rng.uniform(0.1, 0.5)):
                for _ in range(400):
                    walk.step(chance)
                walk.look()
        raw.close()

    @pytest.mark.parametrize("seed", range(4))
    def test_payloads_of_every_length_keep_their_kind_and_bytes(self, queue, seed):
        rng = random.Random(seed)
        attachment = queue._attachment
        model = deque()
        for _ in range(150):
            batch = [
                (rng.randrange(1 << 16), item_of(n, rng.randrange(INLINE + 1)))
                for n in range(rng.randint(1, 60))
            ]
            put_payloads(attachment, batch)
            model.extend(batch)
            if rng.random() < 0.4:
                for _ in range(rng.randint(1, 8)):
                    if model:
                        taken = take_payloads(attachment, rng.randint(1, 50), timeout=0)
                        assert taken == [model.popleft() for _ in taken]
        while model:
            taken = take_payloads(attachment, 50, timeout=0, buffer_bytes=10_000)
            assert taken == [model.popleft() for _ in taken]


class TestBounds:
    @pytest.mark.parametrize("maxsize", [1, 2, 3, 100, 2000])
    def test_as_many_as_maxsize_go_in_and_not_one_more(self, make, maxsize):
        queue = make(maxsize)
        stream = Stream(queue)
        for _ in range(3):
            for number in range(maxsize):
                assert not queue.full()
                assert queue.qsize() == number
                stream.put()
            assert queue.full()
            with pytest.raises(Full):
                queue.put_nowait(b"one too many")
            with pytest.raises(Full):
                queue.put(bytes(LARGE), timeout=0.01)
            with pytest.raises(Full):
                queue.put_batch([b"one too many"], block=False)
            if maxsize > 1:
                stream.get()
                with pytest.raises(Full):
                    queue.put_batch([b"one fits", b"two don't"], timeout=0.01)
            stream.drain()

    @pytest.mark.parametrize("maxsize", [2**31 - 1, 2**31, 2**40, 2**62 - 1])
    def test_a_bound_beyond_any_memory_is_a_bound_like_any_other(self, make, maxsize):
        queue = make(maxsize)
        assert queue._attachment.capacity == maxsize
        stream = Stream(queue, 100)
        stream.put(20_000)
        assert not queue.full()
        assert queue.qsize() == 20_000
        stream.drain()

    @pytest.mark.parametrize("maxsize", [0, -1, -(2**40)])
    def test_none_is_no_bound(self, make, maxsize):
        queue = make(maxsize)
        assert queue._attachment.capacity == unnamed.UNBOUNDED
        Stream(queue, 10).put(5000)
        assert not queue.full()

    def test_a_bound_that_no_word_can_hold_is_refused(self, make):
        with pytest.raises(ValueError):
            make(2**62 + 1)


class TestGrowth:
    def test_it_goes_up_region_by_region_and_the_order_stays(self, queue, raw, stream):
        seen = []
        while raw.regions()[1] < 4:
            stream.put()
            if not seen or raw.regions()[1] != seen[-1]:
                seen.append(raw.regions()[1])
            assert queue.qsize() == stream.put_count
        assert seen == [0, 1, 2, 3, 4]
        assert raw.regions()[0] == 0
        stream.drain()

    def test_the_head_follows_the_tail_region_by_region_and_leaves_no_memory(
        self, queue, raw, stream
    ):
        stream.fill_to_region(raw, 3)
        stream.put(50)
        seen = [0]
        while raw.regions()[0] < 3:
            stream.get()
            head = raw.regions()[0]
            if head != seen[-1]:
                seen.append(head)
                assert raw.backed()[1:head] == [(0, 0)] * (head - 1)
                assert raw.slots_memory_bytes() == sum(bytes_ for bytes_, _ in raw.backed())
        assert seen == [0, 1, 2, 3]
        stream.drain()
        assert raw.regions() == (0, 0)

    def test_nothing_is_backed_before_it_is_needed(self, raw, stream):
        assert raw.backed()[0] == (FIRST_BACKED, FIRST_BACKED)
        assert raw.slots_memory_bytes() == FIRST_BACKED
        while raw.regions()[1] < 3:
            stream.put()
            backed, position = raw.backed(), raw.position(TAIL)
            here = region_of(position)
            used = position - region_start(here) + JUMP
            assert used <= backed[here][0] <= max(2 * used, used + FIRST_BACKED + (4 << 20))
            assert all(bytes_ == 0 for bytes_, _ in backed[here + 1 :])
        assert raw.slots_memory_bytes() == sum(bytes_ for bytes_, _ in raw.backed())

    @pytest.mark.parametrize("size", [0, 8, 9, 40, 1000, 4095, 4096])
    def test_each_size_fills_a_region_to_its_end_and_goes_on(self, queue, raw, size):
        stream = Stream(queue, size)
        step = slot_bytes(size)
        stream.put((FIRST_REGION - JUMP) // step)
        assert raw.position(TAIL) == stream.put_count * step
        assert raw.regions() == (0, 0)
        stream.put()
        assert raw.regions() == (0, 1)
        jump = (stream.put_count - 1) * step
        assert raw.slot_at(jump, "flags") == IS_JUMP
        assert raw.word_at(jump + unnamed.SLOT) == FIRST_REGION
        assert raw.position(TAIL) == FIRST_REGION + step
        stream.drain()
        assert raw.regions() == (0, 0)

    def test_a_batch_larger_than_several_regions_goes_in_at_once(self, queue, raw):
        items = [item_of(number, 4000) for number in range(4000)]
        queue.put_batch(items)
        assert raw.regions() == (0, 4)
        assert queue.qsize() == 4000
        taken = []
        while len(taken) < 4000:
            taken += queue.get_batch(4000)
        assert taken == items
        assert raw.regions() == (0, 0)

    def test_what_is_in_it_fits_and_it_stays_where_it_is(self, queue, raw, stream):
        """A steady backlog goes round and round in its region."""
        stream.put(200)
        for _ in range(3000):
            stream.put()
            stream.get()
        assert raw.regions() == (0, 0)
        stream.fill_to_region(raw, 2)
        stream.get(300)
        for _ in range(10_000):
            stream.put()
            stream.get()
        head, tail = raw.regions()
        assert head == tail <= 3
        assert sum(bytes_ > 0 for bytes_, _ in raw.backed()[1:]) == 1
        stream.drain()

    @pytest.mark.parametrize(("high", "low"), [(1500, 1), (1500, 20), (1100, 1000), (3000, 300)])
    def test_a_ring_that_is_never_empty_does_not_climb(self, queue, raw, high, low):
        """However often its backlog rises and falls: what it needs depends on the backlog alone."""
        stream = Stream(queue, 1000)
        most = 0
        for _ in range(60):
            stream.put(high - queue.qsize())
            most = max(most, raw.slots_memory_bytes())
            stream.get(high - low)
        assert max(raw.regions()) <= 4
        assert most <= 6 * high * slot_bytes(1000) + FIRST_REGION
        stream.drain()
        assert raw.slots_memory_bytes() == FIRST_REGION

    def test_the_end_of_a_region_is_jumped_over_from_every_place(self, queue, raw):
        rng = random.Random(3)
        number = got = 0
        wraps = 0
        model = deque()
        before = 0
        while wraps < 40:
            while len(model) < 150:
                item = item_of(number, rng.randrange(INLINE + 1))
                queue.put(item)
                model.append(item)
                number += 1
            for _ in range(rng.randint(1, 149)):
                assert queue.get_nowait() == model.popleft()
                got += 1
            wraps += raw.position(TAIL) < before
            before = raw.position(TAIL)
        assert raw.regions() == (0, 0)


class TestReturn:
    def test_a_drained_ring_is_back_in_its_first_region(self, queue, raw, stream):
        for region in (1, 2, 3, 1, 2):
            stream.fill_to_region(raw, region)
            stream.drain()
            assert raw.regions() == (0, 0)
            assert raw.position(HEAD) == raw.position(TAIL) == 0
            stream.put(3)
            assert raw.position(TAIL) == 3 * slot_bytes(3000)
            stream.drain()

    def test_memory_is_given_back_but_for_the_first_region(self, queue, raw, stream):
        for _ in range(3):
            stream.fill_to_region(raw, 4)
            assert raw.slots_memory_bytes() > region_start(4)
            stream.drain()
            assert raw.slots_memory_bytes() == FIRST_REGION
            assert raw.backed()[1:] == [(0, 0)] * (raw.region_count - 1)

    def test_memory_is_given_back_by_batches_too(self, queue, raw):
        queue.put_batch([item_of(number, 4000) for number in range(2000)])
        while not queue.empty():
            queue.get_batch(1000)
        assert raw.slots_memory_bytes() == FIRST_REGION

    def test_who_finds_it_empty_gives_back_what_the_last_taker_could_not(self, queue, raw, stream):
        stream.fill_to_region(raw, 2)
        other, living = raw.living(queue)
        raw.set_owner(POOL, living)
        stream.drain()
        assert raw.regions() == (2, 2)
        raw.set_owner(POOL, 0)
        with pytest.raises(Empty):
            queue.get_nowait()
        assert raw.regions() == (0, 0)
        assert raw.slots_memory_bytes() == FIRST_REGION
        other.close()

    def test_another_process_that_knew_the_old_place_goes_on_at_the_new_one(self, queue, raw):
        other = unnamed.another(queue)
        for _ in range(5):
            for number in range(500):
                (queue, other)[number % 2].put(item_of(number, 3000))
            assert raw.regions()[1] > 0
            for number in range(500):
                assert (queue, other)[number // 3 % 2].get_nowait() == item_of(number, 3000)
            assert raw.regions() == (0, 0)
            other.put(b"one")
            queue.put(b"two")
            assert (queue.get_nowait(), other.get_nowait()) == (b"one", b"two")
        other.close()

    def test_a_shut_queue_gives_its_memory_back_when_it_is_emptied(self, queue, raw, stream):
        stream.fill_to_region(raw, 2)
        queue.shutdown()
        stream.drain()
        assert raw.regions() == (0, 0)
        assert raw.slots_memory_bytes() == FIRST_REGION

    def test_discarding_gives_it_back_as_well(self, queue, raw, stream):
        stream.fill_to_region(raw, 3)
        queue.shutdown(immediate=True)
        assert raw.slots_memory_bytes() == FIRST_REGION


class TestMetrics:
    def test_the_oldest_items_age_is_told_in_every_region(self, queue, raw, stream):
        attachment = queue._attachment
        stream.fill_to_region(raw, 3)
        ages = []
        while not queue.empty():
            ages.append(snapshot(attachment)["oldest_age_ns"])
            stream.get()
        assert all(age is not None for age in ages)
        assert snapshot(attachment)["oldest_age_ns"] is None

    def test_the_age_is_that_of_the_item_behind_a_jump(self, queue, raw, stream):
        per_region = (FIRST_REGION - JUMP) // slot_bytes(3000)
        stream.put(per_region + 1)
        first = snapshot(queue._attachment)["oldest_age_ns"]
        stream.get(per_region)
        assert raw.slot_at(raw.position(HEAD), "flags") == IS_JUMP
        assert 0 <= snapshot(queue._attachment)["oldest_age_ns"] < first + 60 * 10**9
        stream.drain()

    def test_bytes_are_those_of_the_payloads_in_all_regions(self, queue, raw, stream):
        stream.fill_to_region(raw, 2)
        seen = snapshot(queue._attachment)
        assert seen["bytes_put"] == 3000 * stream.put_count
        stream.drain()
        assert snapshot(queue._attachment)["bytes_got"] == seen["bytes_put"]
