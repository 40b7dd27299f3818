"""Arrays of numpy as items: what arrives is the array, in memory of its own or in the given one."""

import copyreg
import ctypes
import json
import multiprocessing.reduction
import os
import subprocess
import sys

import pytest

from shmqueue._arrays import head_of, let_go_of_only
from shmqueue._codec import dumps, loads

numpy = pytest.importorskip("numpy")

PICKLE, ARRAY, PARTS = 6, 7, 8
IN_PLACE_BYTES = 16384
POLICIES = ["cloudpickle", "multiprocessing"]

NESTED = numpy.dtype(
    [("id", "<i2"), ("at", [("x", ">f8"), ("y", "<f4", (2, 3))]), ("name", "S5"), ("é", "U3")]
)
DTYPES = [
    *("?", "i1", "u1", "<i2", ">i2", "u4", ">i8", "f2", "<f4", ">f8", "g", "F", ">c16", "G"),
    *("S1", "S7", "<U1", ">U5", "V9", "q", "Q"),
    *("<M8[ns]", ">M8[us]", "M8[D]", "m8", "<m8[25s]", "M8[10ms]"),
    [("a", "i1"), ("b", "f8")],
    numpy.dtype([("a", "i1"), ("b", "f8"), ("c", "M8[s]")], align=True),
    NESTED,
    numpy.dtype({"names": ["b", "a"], "formats": ["f8", "i1"], "offsets": [8, 0], "itemsize": 40}),
    numpy.dtype({"names": ["all", "low"], "formats": ["<u4", "u1"], "offsets": [0, 0]}),
    numpy.dtype([("", "i4"), ("", "f4")]),
    numpy.dtype([("grid", numpy.dtype([("v", "f4", 3)], align=True), (2, 2)), ("empty", "S0")]),
]


def filled(shape, dtype):
    """An array in which each item differs from its neighbours."""
    dtype = numpy.dtype(dtype)
    size = int(numpy.prod(shape)) * dtype.itemsize
    if dtype.kind == "U":
        codes = numpy.arange(size // 4, dtype=dtype.byteorder + "u4") % 0xD000
        return codes.view(dtype).reshape(shape)
    if dtype.names is None and dtype.kind in "fFGg":
        return numpy.arange(size // dtype.itemsize).astype(dtype).reshape(shape)
    if dtype.kind == "b":
        return (numpy.arange(size) % 3 == 0).reshape(shape)
    return (numpy.arange(size) % 251).astype("u1").view(dtype).reshape(shape)


def as_bytes(array):
    """The items of an array in C order, with what lies between their fields."""
    if array.dtype.names is not None:
        array = array.view(numpy.dtype((numpy.void, array.dtype.itemsize)))
    return array.tobytes()


def assert_same(back, array):
    assert type(back) is numpy.ndarray
    assert back.dtype == array.dtype
    assert back.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert back.shape == array.shape
    assert as_bytes(back) == as_bytes(array)
    assert back.flags.writeable
    assert back.flags.aligned


def aligned(data):
    """A copy of the data in writable memory, from a multiple of 64 on."""
    memory = bytearray(len(data) + 64)
    start = -address_of(memory) % 64
    view = memoryview(memory)[start : start + len(data)]
    view[:] = data
    return view


def address_of(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def lies_in(array, memory):
    start, end = numpy.lib.array_utils.byte_bounds(array) if BOUNDS else numpy.byte_bounds(array)
    return address_of(memory) <= start and end <= address_of(memory) + len(memory)


BOUNDS = hasattr(numpy.lib, "array_utils")


def assert_travels(array, policy="cloudpickle"):
    before = as_bytes(array)
    kind, data = dumps(array, policy)
    assert kind == ARRAY
    memory = aligned(data)
    for back in (loads(kind, data), loads(kind, memory, in_place=True)):
        assert_same(back, array)
    if array.nbytes >= IN_PLACE_BYTES:
        assert lies_in(back, memory)
        assert back.__array_interface__["data"][0] % 64 == 0
    else:
        assert back.flags.owndata
    assert as_bytes(array) == before
    return back


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_array_of_any_plain_dtype_comes_back_as_it_was(dtype):
    for shape in ((), 1, 7, (3, 4), (2, 3, 5), 20_000, (90, 200), (1, 1, 4096, 5)):
        assert_travels(filled(shape, dtype))


@pytest.mark.parametrize("policy", POLICIES)
def test_both_policies_send_arrays_alike(policy):
    assert dumps(filled(5000, "f8"), policy) == dumps(filled(5000, "f8"))
    assert_travels(filled((30, 40), ">i4"), policy)


@pytest.mark.parametrize("shape", [0, (0, 3), (3, 0, 2), (1 << 40, 0), (0,) * 32])
@pytest.mark.parametrize("dtype", ["f8", "S3", NESTED], ids=str)
def test_an_array_without_items_keeps_its_shape_and_dtype(shape, dtype):
    assert_travels(numpy.zeros(shape, dtype))


@pytest.mark.parametrize("size", [3, 200])
@pytest.mark.parametrize("dtype", ["u1", ">f8", "M8[s]", NESTED], ids=str)
def test_arrays_in_any_order_come_back_equal(size, dtype):
    whole = filled((size, size + 1, 3), dtype)
    for array in (
        numpy.asfortranarray(whole),
        whole.T,
        whole[::2],
        whole[:, 1:-1],
        whole[..., ::-1],
        whole[::-1],
        whole.transpose(2, 0, 1),
        whole[:, :1],
        numpy.broadcast_to(whole[0], whole.shape),
    ):
        assert_travels(array)


def test_the_order_of_a_fortran_array_is_kept():
    for size in (5, 500):
        back = assert_travels(numpy.asfortranarray(filled((size, 7), "f8")))
        assert back.flags.f_contiguous
        assert not back.flags.c_contiguous


def test_an_array_that_is_not_contiguous_becomes_so():
    for size in (20, 300):
        assert assert_travels(filled((size, size), "u1")[:, ::3]).flags.c_contiguous


def test_a_read_only_array_arrives_writable():
    for size in (5, 50_000):
        array = filled(size, "i4")
        array.flags.writeable = False
        assert_travels(array)
        assert not array.flags.writeable


def test_an_array_over_unaligned_memory_comes_back_aligned():
    for size in (8 * 5, 8 * 5000):
        memory = bytearray(size + 1)
        assert_travels(numpy.frombuffer(memory, "f8", offset=1))


def test_an_array_with_the_most_dimensions_comes_back():
    most = 64 if numpy.lib.NumpyVersion(numpy.__version__) >= "2.0.0" else 32
    assert_travels(filled((1,) * (most - 1) + (3,), "i2"))


def test_a_large_array_stays_where_it_arrives_and_a_small_one_does_not():
    for size in (IN_PLACE_BYTES - 1, IN_PLACE_BYTES):
        kind, data = dumps(filled(size, "u1"))
        memory = aligned(data)
        back = loads(kind, memory, in_place=True)
        assert lies_in(back, memory) == (size == IN_PLACE_BYTES)
        assert back.flags.owndata == (size < IN_PLACE_BYTES)


def test_an_array_keeps_the_memory_that_it_lies_in():
    kind, data = dumps(filled(50_000, "u1"))
    memory = bytearray(data)
    references = sys.getrefcount(memory)
    back = loads(kind, memory, in_place=True)
    assert back.base is memory
    part = back[10:20]
    del back
    assert sys.getrefcount(memory) == references + 1
    assert part.tolist() == list(range(10, 20))
    del part
    assert sys.getrefcount(memory) == references


def test_a_copy_does_not_need_the_bytes_that_it_was_made_of():
    kind, data = dumps(filled(50_000, "u1"))
    memory = bytearray(data)
    back = loads(kind, memory)
    memory[:] = bytes(len(memory))
    assert back[7] == 7
    back[:] = 0
    assert memory[-1] == 0


def test_what_is_sent_does_not_change_with_the_array_afterwards():
    for array in (filled(10, "u1"), filled(50_000, "u1"), filled(100_000, "u1")[::2]):
        before = array.copy()
        kind, data = dumps(array)
        array[:] = 99
        assert_same(loads(kind, data), before)


# dtypes


@pytest.mark.parametrize(
    "array",
    [
        numpy.array([1, None, "x"], object),
        numpy.array([(1, [2])], [("a", "i4"), ("b", object)]),
        numpy.ma.masked_array([1, 2, 3], [0, 1, 0]),
        numpy.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        numpy.array([1, 2], numpy.dtype("i4", metadata={"unit": "m"})),
        numpy.array([(1,)], numpy.dtype([(("a title", "a"), "i4")])),
        numpy.zeros(3, []),
    ],
    ids=["object", "field of objects", "subclass", "record", "metadata", "title", "no fields"],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_text_cannot_describe_goes_the_way_of_pickle(array, policy):
    kind, data = dumps(array, policy)
    assert kind == PICKLE
    back = loads(kind, data)
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert back.dtype.metadata == array.dtype.metadata
    assert back.tolist() == array.tolist()


@pytest.mark.skipif(not hasattr(numpy.dtypes, "StringDType"), reason="this numpy has none")
def test_strings_of_any_length_go_the_way_of_pickle():
    array = numpy.array(["a", "b" * 100], numpy.dtypes.StringDType())
    kind, data = dumps(array)
    assert kind == PICKLE
    assert loads(kind, data).tolist() == array.tolist()


def test_a_dtype_of_another_library_goes_the_way_of_pickle():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = numpy.arange(30_000).astype(ml_dtypes.bfloat16)
    kind, data = dumps(array)
    assert kind != ARRAY
    back = loads(kind, data)
    assert back.dtype == array.dtype
    assert (back == array).all()


def test_fields_that_are_renamed_are_sent_by_their_new_names():
    array = numpy.zeros(2, [("a", "i4"), ("in", [("b", "i4")])])
    dumps(array)
    array.dtype.names = ("c", "in")
    assert loads(*dumps(array)).dtype.names == ("c", "in")
    array.dtype["in"].names = ("d",)
    assert loads(*dumps(array)).dtype["in"].names == ("d",)


def test_fields_that_a_receiver_renames_are_renamed_in_that_array_only():
    kind, data = dumps(numpy.zeros(2, [("a", "i4"), ("in", [("b", "i4")])]))
    first, second = loads(kind, data), loads(kind, data)
    first.dtype.names = ("x", "in")
    assert second.dtype.names == ("a", "in")
    first.dtype["in"].names = ("y",)
    assert loads(kind, data).dtype == numpy.dtype([("a", "i4"), ("in", [("b", "i4")])])


def test_more_dtypes_than_are_remembered_come_back():
    for _ in range(2):
        for size in range(1, 600):
            assert loads(*dumps(numpy.zeros(1, f"S{size}"))).dtype == numpy.dtype(f"S{size}")


# reducers of others


@pytest.mark.parametrize(
    "table",
    [multiprocessing.reduction.ForkingPickler._extra_reducers, copyreg.dispatch_table],
    ids=["ForkingPickler", "copyreg"],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_reducer_that_is_registered_for_arrays_counts(table, policy):
    table[numpy.ndarray] = lambda array: (str, (f"array of {array.size}",))
    try:
        assert loads(*dumps(numpy.zeros(5), policy)) == "array of 5"
        assert loads(*dumps([numpy.zeros(6)], policy)) == ["array of 6"]
    finally:
        del table[numpy.ndarray]
    assert dumps(numpy.zeros(5), policy)[0] == ARRAY


WITHOUT = """
import json, sys
from shmqueue._codec import dumps, loads
class Plain:
    pass
Plain.__module__ = "elsewhere"
loads(*dumps([1, {"k": bytearray(100_000)}]))
loads(*dumps(range(5)))
before = "numpy" in sys.modules
kind, data = json.loads(sys.stdin.read())
array = loads(kind, bytes.fromhex(data))
assert array.tolist() == [0, 1, 2], array
print(json.dumps([before, dumps([array, array])[0]]))
"""


def test_numpy_is_imported_only_when_an_array_arrives():
    kind, data = dumps(numpy.arange(3))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        input=json.dumps([kind, data.hex()]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert json.loads(done.stdout) == [False, PICKLE]


# reservations


def reserved(shape, dtype):
    head, size = head_of(shape, dtype)
    memory = bytearray(head + bytes(size))
    return memory, loads(ARRAY, memory, in_place=True)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        (5000, "f8", (5000,)),
        ((100, 200), numpy.uint8, (100, 200)),
        ([300, numpy.int64(30)], [("a", "i1"), ("b", "f8")], (300, 30)),
        ((), "S40000", ()),
        (numpy.int32(9000), float, (9000,)),
    ],
)
def test_a_head_and_its_data_are_an_array(shape, dtype, expected):
    memory, array = reserved(shape, dtype)
    assert len(head_of(shape, dtype)[0]) % 64 == 0
    assert array.shape == expected
    assert array.dtype == numpy.dtype(dtype)
    assert array.flags.c_contiguous
    assert array.base is memory
    memory[-array.nbytes :] = bytes([7]) * array.nbytes
    assert array.tobytes() == bytes([7]) * array.nbytes
    assert_same(loads(ARRAY, bytes(memory)), array)


def test_a_small_array_can_be_built_in_place_as_well():
    head, size = head_of((2, 3), "i2")
    back = loads(ARRAY, head + bytes(range(size)))
    assert back.tolist() == numpy.frombuffer(bytes(range(size)), "i2").reshape(2, 3).tolist()


@pytest.mark.parametrize("dtype", [object, [("a", object)], "S", "U", "V", []], ids=str)
def test_a_dtype_that_is_no_raw_bytes_cannot_be_reserved(dtype):
    with pytest.raises(TypeError, match="raw bytes"):
        head_of(5, dtype)


@pytest.mark.parametrize(
    "shape",
    [-1, (3, -1), (1 << 62, 8), (1 << 63,), (-(1 << 70),), (0, 1 << 62, 1 << 62), (1,) * 65],
    ids=lambda shape: str(shape)[:40],
)
def test_a_shape_that_cannot_be_is_refused(shape):
    with pytest.raises(ValueError):
        head_of(shape, "f8")


@pytest.mark.parametrize("shape", [1.5, "5", (2, "x"), None, (None,)], ids=str)
def test_a_shape_that_is_no_numbers_is_refused(shape):
    with pytest.raises(TypeError):
        head_of(shape, "f8")


@pytest.mark.parametrize("dtype", DTYPES[::3], ids=str)
def test_an_array_lets_go_of_its_memory_while_the_user_still_has_it(dtype):
    memory, array = reserved(20_000, dtype)
    references = sys.getrefcount(memory)
    array[...] = array[0]
    assert let_go_of_only([array])
    assert array.shape == (0,)
    assert array.base is None
    assert sys.getrefcount(memory) == references - 1
    memory.clear()  # a BufferError, if it were still in use
    assert array.tolist() == []


def test_an_array_that_nobody_has_lets_go_of_its_memory():
    memory, array = reserved(20_000, "f8")
    holder = [array]
    del array
    assert let_go_of_only(holder)
    memory.clear()


@pytest.mark.parametrize(
    "use",
    [
        lambda array: array[5:],
        lambda array: array.T,
        lambda array: array.reshape(2, -1),
        lambda array: array.view("u1"),
        lambda array: array.view(numpy.recarray),
        memoryview,
        lambda array: [array],
        lambda array: array.flat,
        lambda array: array.tolist.__self__,
    ],
)
def test_an_array_that_others_use_does_not_let_go(use):
    memory, array = reserved(20_000, "f8")
    user = use(array)
    assert not let_go_of_only([array])
    assert array.shape == (20_000,)
    assert array.base is memory
    del user
    assert let_go_of_only([array])


def test_of_a_view_nothing_else_may_be_made_either():
    memory, whole = reserved(20_000, "f8")
    holder = [whole.view()]
    del whole
    part = holder[0][5:]  # refers to the whole, not to the view
    assert not let_go_of_only(holder[:])
    del part
    assert let_go_of_only(holder)
    memory.clear()


def test_how_many_may_refer_to_it_is_the_callers_to_say():
    _, array = reserved(20_000, "f8")
    assert not let_go_of_only([array], 0)
    assert let_go_of_only([array], 1)


def test_what_keeps_the_memory_stays():
    memory, array = reserved(20_000, "f8")
    assert let_go_of_only([array], 1, memory)
    assert array.base is memory
    references = sys.getrefcount(memory)
    del array
    assert sys.getrefcount(memory) == references - 1


def test_only_an_exact_array_is_let_go_of():
    assert not let_go_of_only([object()])
    assert not let_go_of_only([numpy.ma.zeros(5)])
