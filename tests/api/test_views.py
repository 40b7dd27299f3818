"""Large buffers stay where they arrive: in a block, private to who got them."""

import array
import dataclasses
import pickle

import numpy
import pytest

from shmqueue import JoinableQueue, Queue, SimpleQueue
from tests import views
from tests.support import LIMIT
from tests.views import (
    ALIGNMENT,
    IN_PLACE_BYTES,
    address_of,
    assert_in_place,
    is_numbered,
    lies_in,
    numbered,
    used_bytes,
)

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20


@dataclasses.dataclass
class Frame:
    number: int
    pixels: numpy.ndarray


class Buffered:
    """Hands pickle 5 its bytes out of band, and keeps what it is given back."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Buffered, (pickle.PickleBuffer(self.data),)


def _structured():
    record = numpy.dtype([("at", ">u8"), ("name", "S12"), ("place", "f4", (3,))])
    made = numpy.zeros(2000, record)
    made["at"] = range(2000)
    made["name"] = [b"n%d" % n for n in range(2000)]
    made["place"][:, 1] = 0.5
    return made


# Top-level arrays that arrive in place.
ARRAYS = {
    "bytes": lambda: numbered(1, MEGABYTE).view("uint8"),
    "as small as may be": lambda: numbered(3, IN_PLACE_BYTES),
    "an odd size": lambda: numbered(3, IN_PLACE_BYTES + 8).view("uint8")[:-3].copy(),
    "floats of three dimensions": lambda: numpy.linspace(0, 1, 64 * 48 * 3).reshape(64, 48, 3),
    "Fortran order": lambda: numpy.asfortranarray(numbered(5).reshape(256, 256)),
    "both orders": lambda: numbered(6).reshape(1, -1, 1),
    "big-endian": lambda: numbered(7).astype(">i4"),
    "complex": lambda: numbered(8).astype("complex128"),
    "bool": lambda: numbered(9, MEGABYTE) % 3 == 0,
    "datetime": lambda: numbered(9).astype("datetime64[ms]"),
    "timedelta": lambda: numbered(9).astype("timedelta64[us]"),
    "text": lambda: numpy.array([f"n{n}" for n in range(3000)]),
    "structured": _structured,
    "every second row": lambda: numbered(10, MEGABYTE).reshape(512, -1)[::2],
    "backwards": lambda: numbered(11)[::-1],
    "transposed": lambda: numbered(12).reshape(16, 64, 64).transpose(1, 2, 0),
    "one value repeated": lambda: numpy.broadcast_to(numpy.float64(2.5), (64, 64)),
}

# Items that hold arrays, made of one array, and where it is in them.
HOLDERS = {
    "a tuple": (lambda a: (1, a), lambda item: item[1]),
    "a list in a list": (lambda a: [[a], "x"], lambda item: item[0][0]),
    "a dict": (lambda a: {"n": 1, "frame": a}, lambda item: item["frame"]),
    "a dict in a dict": (lambda a: {"a": {"b": (a,)}}, lambda item: item["a"]["b"][0]),
    "a dataclass": (lambda a: Frame(7, a), lambda item: item.pixels),
    "dataclasses in a list": (lambda a: [Frame(7, a), Frame(8, 0)], lambda item: item[0].pixels),
    "an array of objects": (
        lambda a: numpy.array([None, a, "x"], dtype=object),
        lambda item: item[1],
    ),
    "a buffer of one's own class": (
        Buffered,
        lambda item: numpy.frombuffer(item.data, views.DTYPE),
    ),
}


class TestInPlace:
    @pytest.mark.parametrize("name", ARRAYS)
    def test_an_array_lies_in_its_block_and_is_what_was_put(self, create, name):
        queue = create()
        wanted = ARRAYS[name]()
        queue.put(wanted)
        got = queue.get()
        assert_in_place(queue, got)
        assert type(got) is numpy.ndarray
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.flags.c_contiguous or got.flags.f_contiguous
        numpy.testing.assert_array_equal(got, wanted)
        got[...] = got[::-1].copy()
        numpy.testing.assert_array_equal(got, wanted[::-1])
        del got
        assert used_bytes(queue) == 0

    @pytest.mark.parametrize("name", ["floats of three dimensions", "Fortran order"])
    def test_the_order_is_kept(self, create, name):
        queue = create()
        wanted = ARRAYS[name]()
        queue.put(wanted)
        flags = queue.get().flags
        assert flags.c_contiguous == wanted.flags.c_contiguous
        assert flags.f_contiguous == wanted.flags.f_contiguous

    @pytest.mark.parametrize("name", HOLDERS)
    def test_so_does_an_array_at_any_depth(self, create, name):
        hold, find = HOLDERS[name]
        queue = create()
        queue.put(hold(numbered(3)))
        item = queue.get()
        found = find(item)
        assert_in_place(queue, found)
        assert is_numbered(found, 3)
        found[:] = 0
        assert used_bytes(queue) >= found.nbytes
        del item, found
        assert used_bytes(queue) == 0

    def test_several_in_one_item_are_each_aligned_and_apart(self, create):
        queue = create()
        sizes = [IN_PLACE_BYTES, MEGABYTE + 4, 20_000, 3 * MEGABYTE]
        scalars = {f"s{n}": n for n in range(10)}
        queue.put({**{n: numbered(n, size) for n, size in enumerate(sizes)}, **scalars})
        item = queue.get()
        for n, size in enumerate(sizes):
            assert_in_place(queue, item[n])
            assert is_numbered(item[n], n, size)
        item[1][:] = 0
        assert is_numbered(item[0], 0, sizes[0])
        assert is_numbered(item[2], 2, sizes[2])
        assert {key: item[key] for key in scalars} == scalars

    def test_one_of_several_keeps_the_block_for_all(self, create):
        queue = create()
        queue.put([numbered(n) for n in range(3)])
        item = queue.get()
        used = used_bytes(queue)
        kept = item[1]
        del item
        assert used_bytes(queue) == used > 0
        assert is_numbered(kept, 1)
        del kept
        assert used_bytes(queue) == 0

    def test_small_ones_beside_large_ones_are_copied(self, create):
        queue = create()
        queue.put({"large": numbered(1), "small": numbered(2, 4000)})
        item = queue.get()
        assert_in_place(queue, item["large"])
        small = item.pop("small")
        assert not lies_in(queue, small)
        del item
        assert used_bytes(queue) == 0
        assert is_numbered(small, 2, 4000)

    def test_in_an_unnamed_queue(self, make):
        self._test_a_queue(make())

    @pytest.mark.parametrize("kind", [Queue, JoinableQueue, SimpleQueue])
    def test_in_the_drop_ins(self, kind):
        queue = kind()
        try:
            self._test_a_queue(queue)
        finally:
            queue.close()

    def _test_a_queue(self, queue):
        queue.put(numbered(1, MEGABYTE))
        queue.put({"deep": numbered(2)})
        first, second = queue.get(), queue.get()
        assert_in_place(queue, first)
        assert_in_place(queue, second["deep"])
        assert is_numbered(first, 1, MEGABYTE)
        assert is_numbered(second["deep"], 2)
        del first, second
        views.assert_all_free(queue)

    @pytest.mark.parametrize("item_size", [1 << 15, 1 << 20])
    def test_also_where_it_would_fit_a_slot(self, create, item_size):
        queue = create(capacity=3, item_size=item_size)
        queue.put(numbered(1, IN_PLACE_BYTES))
        queue.put({"deep": numbered(2, 20_000)})
        first, second = queue.get(), queue.get()
        assert_in_place(queue, first)
        assert_in_place(queue, second["deep"])
        assert is_numbered(first, 1, IN_PLACE_BYTES)
        assert is_numbered(second["deep"], 2, 20_000)

    @pytest.mark.parametrize("kind", ["cloudpickle", "multiprocessing", "pickle"])
    def test_by_every_policy_that_pickles(self, create, kind):
        queue = create(serializer=kind)
        queue.put(Frame(1, numbered(1)))
        queue.put(numbered(2))
        first, second = queue.get(), queue.get()
        assert_in_place(queue, first.pixels)
        assert_in_place(queue, second)

    def test_get_batch_and_its_arrays(self, create):
        queue = create()
        queue.put_batch([numbered(0), "small", {"deep": numbered(2)}, numbered(3, MEGABYTE)])
        found = []
        while len(found) < 4:
            found += queue.get_batch(10, timeout=LIMIT)
        first, text, second, third = found
        assert text == "small"
        for array_ in (first, second["deep"], third):
            assert_in_place(queue, array_)
        assert is_numbered(first, 0)
        assert is_numbered(second["deep"], 2)
        assert is_numbered(third, 3, MEGABYTE)
        del found, array_, first, second, third
        assert used_bytes(queue) == 0


class TestPrivate:
    def test_what_the_writer_does_later_is_not_seen(self, create):
        queue = create()
        mine = numbered(1)
        queue.put(mine)
        queue.put({"deep": mine})
        mine[:] = 0
        assert is_numbered(queue.get(), 1)
        got = queue.get()["deep"]
        mine[:] = 7
        assert is_numbered(got, 1)

    def test_what_a_receiver_does_is_not_seen_by_another(self, create):
        queue = create()
        mine = numbered(1)
        for _ in range(2):
            queue.put(mine)
        first, second = queue.get(), queue.get()
        first[:] = 0
        assert is_numbered(second, 1)
        assert is_numbered(mine, 1)

    def test_what_was_got_may_be_put_again(self, create):
        queue = create()
        queue.put(numbered(1))
        for _ in range(5):
            got = queue.get()
            queue.put(got)
            got[:] = 0
        assert is_numbered(queue.get(), 1)

    def test_nor_does_reusing_blocks_change_what_is_kept(self, create):
        queue = create()
        kept = []
        for number in range(60):
            queue.put(numbered(number))
            got = queue.get()
            if number % 3 == 0:
                kept.append((number, got))
            del got
        assert all(is_numbered(found, number) for number, found in kept)
        kept.clear()


# Items that own their memory: what a receiver does with them needs no block.
OWNERS = {
    "bytes": lambda: bytes(range(256)) * 4096,
    "bytearray": lambda: bytearray(range(256)) * 4096,
    "bytes in a dict": lambda: {"data": bytes(range(256)) * 4096},
    "str": lambda: "tëxt" * 50_000,
    "numbers": lambda: list(range(50_000)),
    "an array of objects": lambda: numpy.array([{"n": n} for n in range(3000)], dtype=object),
    "array.array": lambda: array.array("d", range(100_000)),
    "a small array": lambda: numbered(1, IN_PLACE_BYTES - 4),
    "an array of nothing": lambda: numpy.empty((0, 1000)),
    "an array without dimensions": lambda: numpy.array(2.5),
}


class TestCopied:
    @pytest.mark.parametrize("name", OWNERS)
    def test_what_owns_its_memory_is_copied_and_the_block_is_free_at_once(self, create, name):
        queue = create(item_size=64)
        wanted = OWNERS[name]()
        queue.put(wanted)
        got = queue.get()
        assert used_bytes(queue) == 0
        assert type(got) is type(wanted)
        if isinstance(got, numpy.ndarray):
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            numpy.testing.assert_array_equal(got, wanted)
        else:
            assert got == wanted

    def test_a_bytearray_may_grow(self, create):
        queue = create()
        queue.put(bytearray(MEGABYTE))
        got = queue.get()
        got += b"more"
        assert len(got) == MEGABYTE + 4

    @pytest.mark.parametrize("hold", [lambda a: a, lambda a: [a, Frame(1, a)]], ids=["top", "deep"])
    @pytest.mark.parametrize(
        ("opened", "asked", "in_place"),
        [
            (False, None, True),
            (False, False, True),
            (False, True, False),
            (True, None, False),
            (True, True, False),
            (True, False, True),
        ],
    )
    def test_copies_are_for_the_asking(self, create, hold, opened, asked, in_place):
        queue = create(copy=opened)
        for _ in range(2):
            queue.put(hold(numbered(1)))
        for item in (queue.get(copy=asked), *queue.get_batch(1, copy=asked)):
            found = item if isinstance(item, numpy.ndarray) else item[0]
            assert is_numbered(found, 1)
            assert lies_in(queue, found) == in_place
            found[:] = 0
        assert (used_bytes(queue) > 0) == in_place
        del item, found

    def test_the_choice_is_the_handles_own(self, create, attach):
        queue, other = create(copy=True), attach()
        for _ in range(2):
            queue.put(numbered(1))
        copied, viewed = queue.get(), other.get()
        assert not lies_in(queue, copied)
        assert_in_place(other, viewed)

    @pytest.mark.parametrize("kind", [Queue, JoinableQueue])
    def test_drop_ins_have_it_on_get(self, request, kind):
        queue = kind()
        request.addfinalizer(queue.close)
        for _ in range(2):
            queue.put(numbered(1))
        copied = queue.get(copy=True)
        assert not lies_in(queue, copied)
        viewed = queue.get(copy=False)
        assert_in_place(queue, viewed)
        del viewed
        views.assert_all_free(queue)


class TestMetrics:
    def test_they_tell_which_way_items_went(self, create):
        queue = create()
        for _ in range(5):
            queue.put(numbered(1, MEGABYTE))
        queue.put("small")
        kept = [queue.get(), queue.get()]
        queue.get(copy=True)
        metrics = queue.get_metrics()
        assert (metrics["items_viewed"], metrics["items_copied"]) == (2, 1)
        assert 2 * MEGABYTE <= metrics["view_bytes"] < 3 * MEGABYTE
        (row,) = metrics["seats"]
        assert (row["items_viewed"], row["items_copied"]) == (2, 1)
        assert row["view_bytes"] == metrics["view_bytes"]
        kept.clear()
        metrics = queue.get_metrics()
        assert metrics["view_bytes"] == 0
        assert metrics["items_viewed"] == 2

    def test_totals_stay_when_a_process_leaves(self, create, attach):
        queue = create()
        queue.put(numbered(1))
        other = attach()
        other.get()
        other.close()
        assert queue.get_metrics()["items_viewed"] == 1

    def test_an_array_that_nobody_kept_counts_as_viewed(self, create):
        queue = create()
        queue.put(numbered(1))
        queue.get()
        metrics = queue.get_metrics()
        assert (metrics["items_viewed"], metrics["view_bytes"]) == (1, 0)

    def test_what_is_too_small_to_be_viewed_counts_as_neither(self, create):
        queue = create(item_size=64)
        for item in (numbered(1, 4000), "x" * 10_000):
            queue.put(item)
            queue.get()
        metrics = queue.get_metrics()
        assert (metrics["items_viewed"], metrics["items_copied"]) == (0, 0)


def test_alignment_holds_for_every_size(create):
    queue = create()
    kept = []
    for extra in range(0, 4096, 60):
        queue.put(numbered(extra, IN_PLACE_BYTES + extra))
        kept.append((extra, queue.get()))
    for extra, found in kept:
        assert address_of(found) % ALIGNMENT == 0
        assert is_numbered(found, extra, IN_PLACE_BYTES + extra)
    del kept, found
