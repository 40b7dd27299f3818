"""Queues whose items are of one dtype: records in, records out, whole batches as arrays."""

import ctypes
import datetime
import multiprocessing
import pickle
from queue import Empty, Full

import numpy
import pytest

from shmqueue import (
    CorruptItemError,
    CorruptSegmentError,
    SharedMemoryQueue,
    Stream,
)
from shmqueue.item_types import ItemType
from tests.protocol.raw import HEAD, SIZES, TAIL
from tests.support import LIMIT, Thread, wait_until

FORK = multiprocessing.get_context("fork")

TRADE = numpy.dtype([("time", "<i8"), ("price", "<f8"), ("venue", "S3"), ("sizes", "<u2", (2,))])
ROWS = [(1, 2.5, b"XLO", (3, 4)), (5, 6.5, b"N", (7, 8)), (9, 0.5, b"", (0, 65535))]


class Tick(ctypes.Structure):
    _fields_ = [("time", ctypes.c_int64), ("price", ctypes.c_double), ("side", ctypes.c_char)]


class Other(ctypes.Structure):
    _fields_ = [("time", ctypes.c_int32)]


class Sub(Other):
    _fields_ = [("more", ctypes.c_int32)]


class Either(ctypes.Union):
    _fields_ = [("a", ctypes.c_int32), ("b", ctypes.c_float)]


class Pointing(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p * 2)]


class Bare(ctypes.Structure):
    pass


class Void(ctypes.Structure):
    _fields_ = []


class Holding(ctypes.Structure):
    _fields_ = [("bare", Bare), ("a", ctypes.c_int32)]


class Big(ctypes.BigEndianStructure):
    _fields_ = [("a", ctypes.c_uint16), ("parts", ctypes.c_int32 * 3)]


def _array(count=3):
    return numpy.array([ROWS[number % len(ROWS)] for number in range(count)], TRADE)


@pytest.fixture
def queue(create):
    return create(capacity=8, dtype=TRADE)


# ---- one item


@pytest.mark.parametrize(
    "given",
    [
        ROWS[0],
        _array()[0],
        dict(zip(TRADE.names, ROWS[0], strict=True)),
        numpy.array(ROWS[0], TRADE),
    ],
    ids=["tuple", "record", "dict", "array without dimensions"],
)
def test_a_record_arrives_as_a_record(queue, given):
    queue.put(given)
    got = queue.get()
    assert type(got) is numpy.void
    assert got.dtype == TRADE
    assert got == _array()[0]


def test_what_arrives_can_be_changed_and_shares_nothing(queue):
    queue.put(ROWS[0])
    queue.put(ROWS[1])
    first, second = queue.get(), queue.get()
    first["price"] = 0
    assert (first["price"], second["price"]) == (0, 6.5)


@pytest.mark.parametrize(
    ("dtype", "item"),
    [
        ("<f8", 2.5),
        ("<i2", -3),
        ("S5", b"hello"),
        ("<U2", "hé"),
        ("<M8[ns]", numpy.datetime64(5, "ns")),
        (("<f4", (2, 3)), numpy.arange(6, dtype="<f4").reshape(2, 3)),
        ((("<f4", (3,)), (2,)), numpy.arange(6, dtype="<f4").reshape(2, 3)),
        (">u4", 5),
        ([("a", ">f8"), ("b", [("c", "?"), ("d", "<m8[s]")])], (1.5, (True, numpy.timedelta64(3)))),
        (numpy.dtype({"names": ["a", "b"], "formats": ["u1", "<f8"], "offsets": [3, 16]}), (1, 2)),
    ],
)
def test_any_dtype_without_objects_will_do(create, dtype, item):
    queue = create(dtype=dtype)
    queue.put(item)
    queue.put_batch([item, item])
    base = numpy.dtype(dtype).base.base
    expected = numpy.array(item, base)
    assert numpy.array_equal(queue.get(), expected)
    batch = queue.get_batch(5)
    assert batch.dtype == base
    assert numpy.array_equal(batch, numpy.stack([expected, expected]))


# ---- many


def test_a_batch_arrives_as_one_array(queue):
    queue.put_batch(_array(5))
    queue.put_batch(ROWS)
    got = queue.get_batch(100)
    assert got.dtype == TRADE
    assert numpy.array_equal(got, numpy.concatenate([_array(5), _array()]))
    got["price"] = 0  # it is the caller's


def test_a_batch_has_no_more_than_was_asked_for_and_order_holds(queue):
    queue.put_batch(_array(7))
    got = [queue.get_batch(2) for _ in range(4)]
    assert [len(batch) for batch in got] == [2, 2, 2, 1]
    assert numpy.array_equal(numpy.concatenate(got), _array(7))


def test_parts_of_arrays_can_be_put(queue):
    queue.put_batch(_array(8)[1::2])
    assert numpy.array_equal(queue.get_batch(8), _array(8)[1::2])


def test_batches_are_all_or_nothing(queue):
    queue.put_batch(_array(5))
    with pytest.raises(Full):
        queue.put_batch(_array(4), block=False)
    with pytest.raises(ValueError, match="a batch of 9 items can never fit"):
        queue.put_batch(_array(9))
    queue.put_batch(_array(0))
    queue.put_batch([])
    assert len(queue.get_batch(100)) == 5
    with pytest.raises(Empty):
        queue.get_batch(1, timeout=0.01)
    with pytest.raises(ValueError, match="max_items must be at least 1"):
        queue.get_batch(0)


def test_a_batch_can_have_more_than_are_taken_at_once(create):
    queue = create(capacity=5000, dtype="<u4")
    queue.put_batch(numpy.arange(5000, dtype="<u4"))
    assert numpy.array_equal(queue.get_batch(10**15), numpy.arange(5000))


def test_values_that_are_as_good_are_taken(create):
    queue = create(dtype=[("a", "<f4"), ("b", "<i8"), ("c", "S4"), ("d", "<M8[D]")])
    day = datetime.date(2026, 11, 21)
    queue.put((1, True, b"ab", day))
    got = queue.get()
    assert (got["a"], got["b"], got["c"], got["d"].item()) == (1.0, 1, b"ab", day)


def test_nobodys_memory_travels_in_what_pads_an_item(create):
    queue = create(dtype=numpy.dtype([("a", "u1"), ("b", "<f8"), ("c", "u1")], align=True))
    for number in range(50):
        numpy.full(24, 0xAB, "u1")  # freed at once: the next allocation of its size has its memory
        queue.put((number, 0.0, 0))
        assert queue.get_bytes() == bytes([number]) + bytes(23)


# ---- structures of ctypes


def test_structures_arrive_as_their_class(create):
    queue = create(capacity=8, dtype=Tick)
    assert queue.dtype is Tick
    queue.put(Tick(1, 2.5, b"b"))
    got = queue.get()
    assert type(got) is Tick
    assert (got.time, got.price, got.side) == (1, 2.5, b"b")
    queue.put_batch((Tick * 2)(Tick(1, 1.5, b"b"), Tick(2, 2.5, b"s")))
    queue.put_batch([Tick(3, 3.5, b"b"), (4, 4.5, b"s")])
    batch = queue.get_batch(8)
    assert type(batch[0]) is Tick
    assert [(tick.time, tick.price, tick.side) for tick in batch] == [
        (1, 1.5, b"b"),
        (2, 2.5, b"s"),
        (3, 3.5, b"b"),
        (4, 4.5, b"s"),
    ]


def test_the_bytes_of_a_structure_may_be_in_either_order(create, run_id):
    queue = create(capacity=8, dtype=Big)
    queue.put(Big(258))
    queue.put((259, (4, 5, 6)))
    assert queue.get().a == 258
    with SharedMemoryQueue("q", run_id=run_id) as other:
        got = other.get()
        assert (got["a"], got["parts"].tolist()) == (259, [4, 5, 6])


class Named(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_int32),
        ("name", ctypes.c_char * 4),
        ("codes", (ctypes.c_char * 2) * 2),
    ]


@pytest.mark.parametrize("name", [b"abcd", b"ab", b"", [b"a", b"b", b"c", b"d"]])
def test_characters_are_put_as_bytes_in_tuples_and_dicts_as_well(create, name):
    queue = create(capacity=8, dtype=Named)
    queue.put((1, name, [b"xy", b"z"]))
    queue.put_batch([{"number": 1, "name": name, "codes": [b"xy", b"z"]}])
    wanted = Named(1, name if isinstance(name, bytes) else b"".join(name))
    wanted.codes[0].value, wanted.codes[1].value = b"xy", b"z"
    assert [bytes(got) for got in queue.get_batch(8)] == [bytes(wanted)] * 2


@pytest.mark.parametrize(
    "name", [b"abcde", b"ab\0", b"a\0b", "ab", bytearray(b"ab"), [b"ab", b"c"]]
)
def test_characters_that_a_field_would_change_are_refused(create, name):
    queue = create(capacity=8, dtype=Named)
    with pytest.raises((TypeError, ValueError), match=r"is too long|has a NUL|is no "):
        queue.put((1, name, [b"", b""]))
    with pytest.raises((TypeError, ValueError), match="is too long"):
        queue.put((1, b"", [b"abc", b""]))
    assert queue.empty()


class Printed(ctypes.Structure):
    _fields_ = [("a", ctypes.c_int32)]

    def __bytes__(self):
        return b"another text"


def test_what_a_structure_says_of_its_bytes_is_not_what_travels(create):
    queue = create(capacity=8, dtype=Printed)
    queue.put(Printed(1))
    queue.put_batch([Printed(2)])
    queue.put_batch((Printed * 1)(Printed(3)))
    assert [queue.get().a for _ in range(3)] == [1, 2, 3]
    records = create("records", dtype=[("a", "<i4")])
    records.put(Printed(4))
    assert records.get()["a"] == 4


def _put_ticks(queue):
    assert queue.dtype is Tick
    queue.put_batch([Tick(number, number / 2, b"x") for number in range(4)])


def test_a_handle_that_travels_keeps_the_class(create, ctx, start):
    queue = create(capacity=8, dtype=Tick)
    start(ctx, _put_ticks, queue).result()
    assert [tick.time for tick in queue.get_batch(4)] == [0, 1, 2, 3]


# ---- who attaches


def test_who_attaches_finds_the_dtype_in_the_segment(queue, run_id):
    queue.put(ROWS[0])
    with SharedMemoryQueue("q", run_id=run_id) as other:
        assert other.dtype == TRADE
        assert other.serializer == "dtype"
        assert other.get() == _array()[0]


def test_who_attaches_may_say_the_dtype_and_is_told_if_it_is_another(queue, run_id):
    SharedMemoryQueue("q", run_id=run_id, dtype=TRADE).close()
    with pytest.raises(ValueError, match=r"exists with dtype=.*leave it out"):
        SharedMemoryQueue("q", run_id=run_id, dtype="<f8")
    with pytest.raises(ValueError, match="exists with serializer='dtype', not 'bytes'"):
        SharedMemoryQueue("q", run_id=run_id, serializer="bytes")


def test_a_queue_of_objects_is_no_queue_of_a_dtype(create, run_id):
    queue = create()
    assert queue.dtype is None
    with pytest.raises(ValueError, match="exists with serializer='cloudpickle', not 'dtype'"):
        SharedMemoryQueue("q", run_id=run_id, dtype="<f8")


def test_slots_are_as_large_as_items(queue, create):
    assert queue.item_size == TRADE.itemsize
    assert create("roomy", dtype=TRADE, item_size=100).item_size == 100
    with pytest.raises(ValueError, match="item_size=10 is too small for items of 23 bytes"):
        create("small", dtype=TRADE, item_size=10)


def test_a_handle_of_a_dtype_can_be_pickled(queue):
    with pickle.loads(pickle.dumps(queue)) as other:
        other.put(ROWS[1])
    assert queue.get() == _array()[1]


# ---- groups


def test_groups_get_records_and_batches(run_id):
    with Stream("s", create=True, capacity=8, run_id=run_id, dtype=TRADE, groups=["a"]) as stream:
        stream.unlink()
        stream.put(ROWS[0])
        stream.put_batch(_array(4))
        with stream.group("a") as group:
            assert group.dtype == TRADE
            assert group.get() == _array()[0]
            assert numpy.array_equal(group.get_batch(8), _array(4))
            with stream.writer() as out:
                out.put_batch(_array(3))
                out.put(ROWS[0])
            batches = list(group.batches(3, linger=0.01))
            assert [len(batch) for batch in batches] == [3, 1]
            assert numpy.array_equal(numpy.concatenate(batches), _array(4))


@pytest.mark.parametrize(("dtype", "item"), [(Tick, Tick), ("<M8[s]", numpy.datetime64)])
def test_what_comes_in_while_lingering_is_one_array(run_id, dtype, item):
    def made(number):
        return item(number) if item is Tick else item(number, "s")

    with Stream("s", create=True, capacity=8, run_id=run_id, dtype=dtype, groups=["a"]) as stream:
        stream.unlink()
        stream.put(made(1))
        with stream.group("a") as group:

            def put_more():
                for number in (2, 3):
                    wait_until(lambda: group.lag() == 0, "what is there to be taken")
                    stream.put(made(number))

            putting = Thread(put_more)
            batch = next(group.batches(3, linger=LIMIT))
            putting.result()
    if item is Tick:
        assert [tick.time for tick in batch] == [1, 2, 3]
    else:
        assert batch.astype("i8").tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("f4", 1e300), ("f4", [1.0, -1e300]), ("f2", 10**6), ("c8", 1e300 + 1j)],
)
def test_a_number_too_large_for_its_field_is_refused(create, dtype, value):
    """It would arrive as infinity."""
    shape = f"({len(value)},)" if isinstance(value, list) else ""
    queue = create(capacity=4, dtype=f"{shape}{dtype}")
    with pytest.raises((ValueError, TypeError), match=f"out of bounds|is no {dtype[0]}"):
        queue.put(value)
    queue.put(numpy.full((2,), numpy.inf) if shape else numpy.inf)
    assert numpy.isinf(queue.get()).all()
    assert queue.empty()


# ---- what a field would change

RECORD = numpy.dtype([("a", "<i4")])
REAL = numpy.array([(1.5,), (2.5,)], [("a", "<f8")])
YEAR_3000 = datetime.datetime(3000, 1, 1)
NOON = datetime.datetime(2020, 1, 1, 12, 30)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("<f8", "2.5"),
        ("<f8", b"2.5"),
        ("<M8[ns]", YEAR_3000),
        ("<M8[ns]", YEAR_3000.date()),
        ("<M8[ns]", numpy.datetime64(YEAR_3000)),
        ("<M8[D]", NOON),
        ("<M8[D]", numpy.datetime64(NOON)),
        (("<M8[D]", (2,)), numpy.array([NOON, "NaT"], "<M8[s]")),
        ("<m8[s]", numpy.timedelta64(1500, "ms")),
        ("<m8[s]", datetime.timedelta(milliseconds=1500)),
        (("<m8[s]", (2,)), numpy.array([1000, 1500], "<m8[ms]")),
        ("<m8[s]", numpy.timedelta64(1, "M")),
        ("V4", b"abcdefgh"),
        ("V4", numpy.void(b"abcdefgh")),
        ("S4", b"a\0"),
        (("S4", (2,)), [b"a\0", b"b"]),
        (("<U4", (2, 1)), [["a"], ["b\0"]]),
        ((RECORD, (2,)), REAL),
        ((RECORD, (2,)), REAL["a"]),
        ((RECORD, (2,)), [REAL[0], REAL[1]]),
        ((RECORD, (2,)), [1, 2]),
        ((RECORD, (2,)), numpy.array([(1,), (2,)], [("other", "<i4")])),
    ],
)
@pytest.mark.parametrize("is_field", [False, True], ids=["item", "field"])
def test_a_value_that_would_change_on_the_way_is_refused(create, dtype, value, is_field):
    queue = create(capacity=4, dtype=[("f", dtype)] if is_field else dtype)
    item = (value,) if is_field else value
    with pytest.raises((TypeError, ValueError), match=r"is no |out of bounds|ends with a NUL"):
        queue.put(item)
    with pytest.raises((TypeError, ValueError)):
        queue.put_batch([item])
    assert queue.empty()


@pytest.mark.parametrize("value", [REAL[0], 1.5, 5, b"abc", None, [1], {"a": 1}])
def test_a_record_within_is_made_of_nothing_else(create, value):
    queue = create(capacity=4, dtype=[("p", RECORD)])
    with pytest.raises(TypeError, match="is no "):
        queue.put((value,))
    queue.put(((1,),))
    queue.put((numpy.array((2,), [("a", "<i8")])[()],))
    assert [got["p"]["a"] for got in queue.get_batch(2)] == [1, 2]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("<M8[ns]", numpy.datetime64("NaT"), "NaT"),
        ("<M8[ns]", numpy.datetime64("NaT", "D"), "NaT"),
        ("<M8[ns]", numpy.datetime64(2020 - 1970, "Y"), "2020-01-01"),
        ("<M8[D]", datetime.datetime(2020, 1, 1), "2020-01-01"),
        ("<M8[D]", numpy.datetime64("2020-01-01T00:00", "m"), "2020-01-01"),
        ("<M8[m]", NOON, "2020-01-01T12:30"),
        ("<m8[s]", numpy.timedelta64("NaT", "ms"), "NaT"),
        ("<m8[s]", numpy.timedelta64(3), 3),
        ("<m8[s]", numpy.timedelta64(2000, "ms"), 2),
        ("<m8[ms]", datetime.timedelta(days=-1), -86_400_000),
    ],
)
def test_a_time_that_stays_the_same_may_be_in_another_unit(create, dtype, value, expected):
    queue = create(dtype=[("f", dtype)])
    queue.put((value,))
    expected = numpy.array(expected, dtype)
    got = queue.get()["f"]
    assert got == expected or (numpy.isnat(got) and numpy.isnat(expected))


# ---- what can't be


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ((1, 2.5), "number of|size|expected|length"),
        ({"time": 1}, "an item has the fields time, price, venue, sizes, not time"),
        ("text", "an item must be a tuple of time, price, venue, sizes"),
        (None, "not NoneType"),
        ([1, 2.5, b"", (1, 2)], "not list"),
        (numpy.zeros((), [("other", "<i8")]), "not .*other"),
        (_array(2), r"shape \(\), not \(2,\): put_batch takes arrays"),
        (Other(1), "not .*time"),
        (Bare(), "not Bare"),
        ((1, 2.5, "XLO", (3, 4)), "'XLO' is no |S3"),
        ((1, 2.5, b"LONG", (3, 4)), "b'LONG' is no |S3, or too long"),
        ((1.5, 2.5, b"", (3, 4)), "1.5 is no int64"),
        (("1", 2.5, b"", (3, 4)), "'1' is no int64"),
        ((1, None, b"", (3, 4)), "None is no float64"),
        ((1, 2.5, b"", (3, 4.5)), "is no uint16"),
        ((1, 2.5, b"", (3, 70000)), "is out of bounds for uint16"),
        ((1, 2.5, b"X\0", (3, 4)), "ends with a NUL"),
    ],
)
def test_what_makes_no_item_is_refused_and_nothing_is_put(queue, item, told):
    with pytest.raises((TypeError, ValueError), match=told):
        queue.put(item)
    with pytest.raises((TypeError, ValueError)):
        queue.put_batch([ROWS[0], item])
    assert queue.empty()


@pytest.mark.parametrize(
    "dtype",
    [
        *(object, [("a", "O")], "V0", "no such", lambda: 1, ctypes.py_object),
        *(Bare, Void, Holding, Bare * 2),
        *(Sub, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), Either, Pointing),
        numpy.dtype([(("title", "a"), "<f8")]),
        [(f"field {number}", "u1") for number in range(4000)],
    ],
)
def test_what_is_no_type_of_fixed_size_is_refused(create, dtype):
    with pytest.raises(TypeError, match="dtype="):
        create(dtype=dtype)


def test_a_dtype_and_a_serializer_do_not_go_together(create):
    with pytest.raises(ValueError, match="leave the serializer out"):
        create(dtype=TRADE, serializer="bytes")


@pytest.mark.parametrize("call", ["put_bytes", "reserve", "reserve_array"])
def test_nothing_of_another_size_can_be_put(queue, call):
    with pytest.raises(TypeError, match=call):
        getattr(queue, call)(b"" if call == "put_bytes" else 3)
    assert queue.empty()


# ---- damage


def _damage(raw, index, length):
    at = raw.offset_of("slot", index, "length")
    raw._map[at : at + 4] = length.to_bytes(4, "little")


def test_a_damaged_item_is_passed_over_and_the_others_arrive(queue, open_raw):
    queue.put_batch(_array(4))
    _damage(open_raw(), 1, 5)
    assert numpy.array_equal(queue.get_batch(8), _array(1))
    with pytest.raises(CorruptItemError, match="an item of 5 bytes and of kind 1 was"):
        queue.get_batch(8)
    assert numpy.array_equal(queue.get_batch(8), _array(4)[2:3])
    assert numpy.array_equal(queue.get_batch(8), _array(4)[3:])


HARM = []


def _harm():
    HARM.append("done")


class Harmful:
    def __reduce__(self):
        return _harm, ()


def test_nothing_is_ever_unpickled(create, open_raw):
    """An item of the right size may be of another kind only where somebody scribbled."""
    text = pickle.dumps(Harmful())
    pickle.loads(text)
    assert HARM == ["done"]  # it would be seen
    HARM.clear()
    queue = create(capacity=8, dtype=f"V{len(text)}")
    raw = open_raw()
    for call in (queue.get, lambda: queue.get_batch(2)):
        at = raw.get("end", TAIL, "sequence") % 8
        queue.put(text)
        for kind in range(2, 20):
            place = raw.offset_of("slot", at, "kind")
            raw._map[place : place + 2] = kind.to_bytes(2, "little")
            with pytest.raises(CorruptItemError):
                call()
            raw.set("end", HEAD, "sequence", raw.get("end", HEAD, "sequence") - 1)
        raw.set("end", HEAD, "sequence", raw.get("end", HEAD, "sequence") + 1)
    assert HARM == []


@pytest.mark.parametrize("length", [5, TRADE.itemsize + 1], ids=["shorter", "longer"])
def test_a_damaged_item_in_front_is_passed_over_as_well(queue, open_raw, length):
    queue.put_batch(_array(2))
    _damage(open_raw(), 0, length)
    with pytest.raises(CorruptItemError, match="was passed over"):
        queue.get_batch(8)
    assert numpy.array_equal(queue.get_batch(8), _array(2)[1:])
    queue.put(ROWS[0])
    _damage(open_raw(), 2, length)
    with pytest.raises(CorruptItemError):
        queue.get()


def test_a_dtype_that_is_none_is_said_to_be_damaged(create, run_id):
    queue = create(dtype="<f8")
    path = queue._path
    queue.close()
    with open(path, "r+b") as file:
        text = file.read(SIZES["header"] + 65536)
        at = text.index(b"<f8", SIZES["header"])
        file.seek(at)
        file.write(b"<q8")
    with pytest.raises(CorruptSegmentError, match="not of which"):
        SharedMemoryQueue("q", run_id=run_id)


@pytest.mark.parametrize("text", [b"[" * 60_000, b"[", b"[1,2]", b'["<f8",[0]]', b"\xff", b"{}"])
def test_no_text_harms_who_reads_it(text):
    with pytest.raises(CorruptSegmentError):
        ItemType.of_text(text, "somewhere")
