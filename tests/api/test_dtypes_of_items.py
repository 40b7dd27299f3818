"""Arrays of unusual dtypes: what is reserved, what is remembered of them, and their assignment."""

import gc
import sys
import weakref

import numpy
import pytest

pytestmark = pytest.mark.usefixtures("all_free")


@pytest.mark.parametrize("serializer", ["multiprocessing", "bytes"])
@pytest.mark.parametrize(("shape", "dtype"), [(5, "(2,3)f4"), ((4, 2), "3u1"), (9000, "(2,)u4")])
def test_an_array_of_arrays_may_be_reserved(create, shape, dtype, serializer):
    queue = create(serializer=serializer)
    wanted = numpy.zeros(shape, dtype)
    wanted.flat[:] = numpy.arange(wanted.size) % 251
    with queue.reserve_array(shape, dtype) as array:
        assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype)
        array[:] = wanted
    del array
    got = queue.get()
    if serializer == "bytes":
        assert got == wanted.tobytes()
    else:
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        assert numpy.array_equal(got, wanted)
    del got


class Token:
    """What only a dtype refers to."""


def _with_metadata():
    token = Token()
    return numpy.dtype("f8", metadata={"token": token}), weakref.ref(token), 1.5


def _of_strings():
    if not hasattr(getattr(numpy, "dtypes", None), "StringDType"):
        pytest.skip("this numpy has no StringDType")
    token = Token()
    return numpy.dtypes.StringDType(na_object=token), weakref.ref(token), "a string " * 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make_dtype", [_with_metadata, _of_strings])
@pytest.mark.parametrize("count", [3, 10_000])
def test_what_dtypes_refer_to_lives_no_longer_than_arrays(create, make_dtype, count):
    queue = create()
    tokens = []
    for _ in range(3):
        dtype, token, value = make_dtype()
        tokens.append(token)
        queue.put(numpy.full(count, value, dtype))
        got = queue.get()
        assert got.tolist() == [value] * count
        del dtype, token, got
    gc.collect()
    assert [token() for token in tokens] == [None] * 3


RACE = """
import sys, threading, warnings
import numpy
from shmqueue import SharedMemoryQueue

warnings.simplefilter("ignore")
sys.setswitchinterval(1e-6)
queue = SharedMemoryQueue("q", run_id=sys.argv[1])
array = (numpy.arange(8000) % 251).astype("uint8")
wanted = array.tobytes()
plain = array.dtype
is_over = False

def flip():
    number = 0
    while not is_over:
        number += 1
        array.dtype = numpy.dtype([(f"f{number}", "V8000")])
        for _ in range(20):
            pass
        array.dtype = plain

thread = threading.Thread(target=flip)
thread.start()
try:
    for _ in range(20_000):
        queue.put(array, timeout=30)
        got = queue.get(timeout=30)
        assert got.tobytes() == wanted
        assert (got.dtype == plain) == (got.shape == (8000,))
        assert got.dtype == plain or (got.dtype.itemsize, got.shape) == (8000, (1,))
finally:
    is_over = True
    thread.join()
print("whole")
"""


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="numpy itself would race"
)
def test_an_array_whose_dtype_another_thread_assigns_is_put_whole(create, programs, run_id):
    create(capacity=4)
    assert programs.run(RACE, run_id) == "whole\n"
