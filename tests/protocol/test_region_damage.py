"""Scribbled places, jumps, slots and regions: an error or a wrong answer, never a crash or hang."""

import contextlib
import os
import pathlib
import random
import struct
from queue import Empty, Full

import pytest

from shmqueue import errors
from shmqueue._inspect import seat_rows, snapshot
from tests import support, unnamed
from tests.protocol.raw import HEAD, POOL, TAIL
from tests.protocol.regions import (
    LARGE,
    SIZE,
    STATES,
    in_one_region,
    round_its_region,
    through_regions,
)
from tests.support import run_in_fork
from tests.unnamed import FIRST_REGION, IS_JUMP, RawUnnamed, region_start, slot_bytes

DONE = 2

# What a call on a segment that something wrote into may raise.
CLEAR = (errors.SegmentError, errors.ShutDown, Empty, Full, ValueError, OSError)

# What is left to a child for all of its damages; only a hang reaches it.
CHILD_LIMIT = 40

WILD = [
    1,
    32,
    2**16,
    FIRST_REGION - 32,
    FIRST_REGION,
    2**40,
    2**62,
    2**63 - 32,
    2**64 - 32,
    2**64 - 1,
]


def _use(queue):
    """Do a little of everything; each call returns or raises a clear error."""
    attachment = queue._attachment
    calls = [
        lambda: snapshot(attachment),
        queue.qsize,
        queue.full,
        lambda: queue.get(timeout=0.002),
        lambda: queue.put(b"three"),
        lambda: queue.put(LARGE),
        lambda: queue.put_batch([b"four", bytes(SIZE), LARGE]),
        lambda: queue.get_batch(10, timeout=0.002),
        queue._task_done,
        queue._fileno,
        lambda: snapshot(attachment),
        lambda: seat_rows(attachment),
        # Another one attaches, sweeps, and leaves.
        lambda: unnamed.another(queue).close(),
        lambda: [queue.put(bytes(SIZE)) for _ in range(30)],
        lambda: [queue.get_nowait() for _ in range(2000)],
        lambda: queue.shutdown(immediate=True),
        queue.get_nowait,
    ]
    refused = 0
    for call in calls:
        try:
            call()
        except CLEAR as error:
            # What a batch ran into is told by the next call, as an item that can't be.
            refused += isinstance(error, (errors.SegmentError, errors.CorruptItemError))
    return refused


def _use_each_damage(state, damages, progress):
    """Make a ring, write (offset, bytes) into it, use it; for each of the damages."""
    refused = 0
    for number, (offset, data) in enumerate(damages):
        pathlib.Path(progress).write_text(str(number))
        queue = state()
        raw = RawUnnamed(queue._attachment)
        raw.write_bytes(offset, data)
        refused += _use(queue) > 0
        raw.close()
        queue.close()
    return refused


@pytest.fixture
def refusals(tmp_path):
    """Try damages in a child; return how many were refused, fail where it died or hung."""

    def count_refusals(state, damages):
        progress = tmp_path / "progress"
        try:
            return run_in_fork(_use_each_damage, state, damages, str(progress), limit=CHILD_LIMIT)
        except support.ChildError as error:
            offset, data = damages[int(progress.read_text())]
            raise AssertionError(f"{state.__name__}, {data} at {offset}: {error}") from None

    return count_refusals


def _words(where, size=8):
    """Return damages: each wild number at each of these offsets."""
    return [(at, struct.pack("<Q", value)[:size]) for at in where for value in WILD]


@pytest.fixture
def look():
    """Return a raw view of a ring in some state, and its queue."""
    opened = []

    def open_state(state):
        queue = state()
        opened.append((queue, RawUnnamed(queue._attachment)))
        return opened[-1]

    yield open_state
    for queue, raw in opened:
        raw.close()
        queue.close()


@pytest.mark.parametrize("state", STATES)
class TestWildNumbers:
    @pytest.mark.parametrize("end", [TAIL, HEAD])
    def test_in_places(self, state, look, refusals, end):
        _, raw = look(state)
        start = raw.offset_of("end", end, "place")
        assert refusals(state, _words(range(start, start + 32, 8))) > 0

    def test_in_sequences(self, state, look, refusals):
        _, raw = look(state)
        where = [raw.offset_of("end", end, "sequence") for end in (TAIL, DONE, HEAD)]
        assert refusals(state, _words(where)) > 0

    def test_in_the_count_of_blocks(self, state, look, refusals):
        """Each sweep looks at as many as there may be: few numbers, since that takes a while."""
        _, raw = look(state)
        at = raw.offset_of("end", POOL, "sequence")
        refusals(state, [(at, struct.pack("<Q", value)) for value in (1, 1000, 2**64 - 1)])

    def test_in_the_table_of_regions(self, state, look, refusals):
        _, raw = look(state)
        start = raw.offset_of("region", 0, "backed")
        end = raw.offset_of("region", 4, "backed")
        refusals(state, _words(range(start, end, 8)))

    def test_in_the_slots_at_both_ends(self, state, look, refusals):
        _, raw = look(state)
        where = [
            raw.slots_offset + raw.position(end) + word for end in (HEAD, TAIL) for word in (0, 16)
        ]
        refusals(state, _words(where))


class TestJumps:
    def _jumps(self, raw):
        """Return the positions of jumps that the head has still to follow."""
        position, sequence = raw.position(HEAD), raw.get("end", HEAD, "sequence")
        tail, found = raw.get("end", TAIL, "sequence"), []
        while sequence < tail:
            if raw.slot_at(position, "flags") == IS_JUMP:
                found.append(position)
                position = raw.word_at(position + unnamed.SLOT)
                continue
            position += slot_bytes(raw.slot_at(position, "length"))
            sequence += 1
        return found

    @pytest.mark.parametrize("state", [round_its_region, through_regions])
    def test_with_wild_targets(self, look, refusals, state):
        _, raw = look(state)
        jumps = self._jumps(raw)
        assert jumps
        where = [raw.slots_offset + at + unnamed.SLOT for at in jumps]
        assert refusals(state, _words(where)) > 0

    @pytest.mark.parametrize("state", [round_its_region, through_regions])
    def test_that_lead_in_a_circle(self, look, refusals, state):
        _, raw = look(state)
        damages = [
            (raw.slots_offset + at + unnamed.SLOT, struct.pack("<Q", target))
            for at in self._jumps(raw)
            for target in (at, raw.position(HEAD), raw.position(TAIL), region_start(2))
        ]
        assert refusals(state, damages) > 0

    def test_one_that_leads_to_itself_is_an_error_and_the_queue_goes_on(self, look):
        queue, raw = look(in_one_region)
        position, sequence = raw.position(HEAD), raw.get("end", HEAD, "sequence")
        raw.write_jump(sequence, position, position)
        with pytest.raises(errors.CorruptSegmentError):
            queue.get(timeout=1)
        queue.put("on")
        assert queue.get(timeout=1) == "on"


class TestWithoutAWay:
    """A slot without a length to trust: nothing behind it can be found, and nothing is invented."""

    @pytest.mark.parametrize("field", ["stamp", "length"])
    def test_what_is_behind_a_damaged_slot_is_passed_over(self, look, field):
        queue, raw = look(through_regions)
        count = queue.qsize()
        assert count > 10
        raw.set_slot_at(raw.position(HEAD), field, 2**32 - 1)
        with pytest.raises(errors.CorruptSegmentError):
            queue.get_nowait()
        assert queue.qsize() == 0
        with pytest.raises(Empty):
            queue.get_nowait()
        for number in range(1000):
            queue.put(bytes([number % 256]) * SIZE)
        for number in range(1000):
            assert queue.get_nowait() == bytes([number % 256]) * SIZE

    def test_what_came_before_it_is_delivered_first(self, look):
        queue, raw = look(in_one_region)
        at = raw.position(HEAD) + slot_bytes(20)
        raw.set_slot_at(at, "stamp", 1)
        assert queue.get_batch(10) == [b"a" * 20]
        with pytest.raises((errors.CorruptSegmentError, errors.CorruptItemError)):
            queue.get_batch(10)
        with pytest.raises(Empty):
            queue.get_batch(10, block=False)

    def test_a_tail_beyond_its_memory_is_no_wish_for_more(self, look):
        """Nothing lies there: no put reserves the memory of all that would be before it."""
        queue, raw = look(in_one_region)
        before_bytes = 512 * os.fstat(queue._attachment.fd).st_blocks
        for which in (0, 1):
            sequence = raw.get("end", TAIL, "sequence")
            raw.set_entry(TAIL, which, sequence, region_start(8) + (64 << 20))
        for item in ("x", bytes(5000)):
            with pytest.raises(errors.CorruptSegmentError):
                queue.put(item)
        after_bytes = 512 * os.fstat(queue._attachment.fd).st_blocks
        assert after_bytes - before_bytes < FIRST_REGION

    def test_a_tail_without_a_place_refuses_both_ways_and_for_good(self, look):
        queue, raw = look(in_one_region)
        for which in (0, 1):
            raw.set_entry(TAIL, which, 2**63, 0)
        for _ in range(3):
            with pytest.raises(errors.CorruptSegmentError):
                queue.put("x")
        for _ in range(3):
            with contextlib.suppress(errors.CorruptSegmentError):
                queue.get_batch(1, timeout=0)
        assert snapshot(queue._attachment)["tail"] == 3


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_anywhere_in_what_is_written(look, refusals, seed):
    rng = random.Random(seed)
    state = STATES[seed % len(STATES)]
    _, raw = look(state)
    # Ends, classes, regions and the first seats; then the slots at the head and the tail.
    table = range(256, raw.get("header", 0, "seats_offset") + 3 * 192)
    slots = [
        range(raw.slots_offset + raw.position(end), raw.slots_offset + raw.position(end) + 200)
        for end in (HEAD, TAIL)
    ]
    damages = []
    own = set()
    for end in range(4):
        # Not the owner words: one may come to name this very process, which lives.
        at = raw.offset_of("end", end, "owner")
        own |= set(range(at, at + 8))
    while len(damages) < 80:
        at = rng.choice(rng.choice([table, table, *slots]))
        if at not in own:
            damages.append((at, bytes([rng.randrange(256)])))
    refusals(state, damages)
