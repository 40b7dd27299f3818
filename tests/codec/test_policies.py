import collections
import copyreg
import enum
import functools
import io
import multiprocessing
import multiprocessing.reduction
import os
import pickle
import subprocess
import sys
import threading
import types

import cloudpickle
import pytest

from shmqueue._codec import dumps, loads
from tests import support

PICKLE = 6
POLICIES = ["cloudpickle", "multiprocessing"]


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(other) is Point and (self.x, self.y) == (other.x, other.y)

    __hash__ = None

    def norm(self):
        return abs(self.x) + abs(self.y)


class Plug:
    """Has no reducer until one is registered."""

    def __init__(self, name):
        self.name = name

    def __reduce_ex__(self, protocol):
        raise TypeError("a Plug travels by a registered reducer alone")


def make_plug(name):
    return Plug(name + " again")


@pytest.fixture
def registered():
    """Register a reducer in a table of the caller's choice, for the time of a test."""
    undo = []

    def register(table, kind, reducer):
        undo.append((table, kind, table.get(kind)))
        table[kind] = reducer

    yield register
    for table, kind, before in reversed(undo):
        table.pop(kind)
        if before is not None:
            table[kind] = before


EXTRA = multiprocessing.reduction.ForkingPickler._extra_reducers


# What both policies do alike


@pytest.mark.parametrize("policy", POLICIES)
def test_an_importable_object_is_pickled_as_plain_pickle_does(policy):
    item = [Point(1, 2.5), {Point, collections.OrderedDict}, len, sys.getsizeof]
    kind, data = dumps(item, policy)
    assert kind == PICKLE
    assert pickle.loads(data) == item
    assert len(data) == len(pickle.dumps(item, 5))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_pickle_of_an_item_of_any_size_is_whole(policy):
    for size in (0, 100, 1 << 10, 1 << 16, (1 << 16) + 1, 1 << 20, 3_000_000):
        for content in (
            b"x" * size,
            "€" * (size // 3),
            bytearray(size),
            [Point(i, "y" * 9) for i in range(size >> 6)],
        ):
            item = Point(content, content)
            back = loads(*dumps(item, policy))
            assert back == item
            assert back.x is back.y


@pytest.mark.parametrize("policy", POLICIES)
def test_arrays_come_back_writable_and_equal(policy):
    numpy = pytest.importorskip("numpy")
    for array in (
        numpy.arange(12).reshape(3, 4),
        numpy.zeros((300, 300, 3), "u1"),
        numpy.asfortranarray(numpy.eye(99)),
    ):
        back = loads(*dumps({"frame": array}, policy))["frame"]
        assert back.dtype == array.dtype
        assert (back == array).all()
        back[0] = 1


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_pickled_does_not_depend_on_what_was_pickled_before(policy):
    first, second = Point(1, "shared" * 20), Point(2, "shared" * 20)
    alone = dumps(second, policy)
    for before in (first, [Point(i, i) for i in range(1000)], Point(1, b"x" * 100_000)):
        dumps(before, policy)
        assert dumps(second, policy) == alone


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [10, 10_000])
def test_an_object_that_is_serialised_while_another_is_keeps_apart(policy, size):
    class_ = Nested
    item = [class_(policy, "inner" * size), class_(policy, "other" * size)]
    back = loads(*dumps(item, policy))
    assert [part.content for part in back] == ["inner" * size, "other" * size]


class Nested:
    """Serialises its content by the codec itself while it is being pickled."""

    def __init__(self, policy, content):
        self.policy, self.content = policy, content

    def __reduce__(self):
        return rebuild_nested, (self.policy, *dumps(Point(self.content, 0), self.policy))


def rebuild_nested(policy, kind, data):
    return Nested(policy, loads(kind, data).x)


@pytest.mark.parametrize("policy", POLICIES)
def test_threads_serialise_at_the_same_time(policy):
    def work(number):
        for i in range(300):
            item = [Point(number, i), "x" * (i * 100)]
            assert loads(*dumps(item, policy)) == item

    for thread in [support.Thread(work, number) for number in range(6)]:
        thread.result()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_bound_method_comes_back(policy):
    assert loads(*dumps(Point(3, -4).norm, policy))() == 7
    assert loads(*dumps([1].append, policy)).__self__ == [1]


# Registered reducers


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "table", [EXTRA, copyreg.dispatch_table], ids=["ForkingPickler", "copyreg"]
)
def test_a_reducer_counts_from_the_moment_it_is_registered(policy, table, registered):
    with pytest.raises(TypeError, match="registered reducer"):
        dumps(Plug("a"), policy)
    dumps(Point(1, 2), policy)  # leaves a pickler to be used again
    registered(table, Plug, lambda plug: (make_plug, (plug.name,)))
    assert loads(*dumps(Plug("a"), policy)).name == "a again"
    registered(table, Plug, lambda plug: (make_plug, (plug.name + " and",)))
    assert loads(*dumps(Plug("a"), policy)).name == "a and again"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_reducer_no_longer_counts_once_it_is_gone(policy, registered):
    registered(EXTRA, Plug, lambda plug: (make_plug, (plug.name,)))
    dumps(Plug("a"), policy)
    del EXTRA[Plug]
    with pytest.raises(TypeError, match="registered reducer"):
        dumps(Plug("a"), policy)
    EXTRA[Plug] = None


@pytest.mark.parametrize("policy", POLICIES)
def test_the_reducers_of_forking_pickler_come_before_those_of_copyreg(policy, registered):
    registered(copyreg.dispatch_table, Plug, lambda plug: (make_plug, ("copyreg",)))
    registered(EXTRA, Plug, lambda plug: (make_plug, ("ForkingPickler",)))
    assert loads(*dumps(Plug("a"), policy)).name == "ForkingPickler again"


@pytest.mark.parametrize("policy", POLICIES)
def test_registered_reducers_count_beside_what_travels_by_value(policy, registered):
    registered(EXTRA, Plug, lambda plug: (make_plug, (plug.name,)))
    function, plug = loads(*dumps((lambda: 7, Plug("a")), policy))
    assert function() == 7
    assert plug.name == "a again"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_replaced_table_of_reducers_counts(policy, monkeypatch):
    replaced = {**EXTRA, Plug: lambda plug: (make_plug, (plug.name,))}
    monkeypatch.setattr(multiprocessing.reduction.ForkingPickler, "_extra_reducers", replaced)
    assert loads(*dumps(Plug("a"), policy)).name == "a again"


# The policy of cloudpickle


@pytest.mark.parametrize("policy", POLICIES)
def test_lambdas_and_closures_travel(policy):
    count = 5
    for item in (lambda x: x + count, functools.partial(lambda x, y: x + y, count)):
        assert loads(*dumps(item, policy))(1) == 6
        assert loads(*dumps([item, {"k": item}], policy))[1]["k"](2) == 7


@pytest.mark.parametrize("policy", POLICIES)
def test_classes_made_in_functions_travel(policy):
    class Local:
        def __init__(self):
            self.value = 3

    back = loads(*dumps([Local(), Local], policy))
    assert back[0].value == 3
    assert type(back[0]).__name__ == "Local"


def test_a_method_made_of_a_lambda_keeps_its_function_under_cloudpickle():
    method = types.MethodType(lambda self: self.x * 2, Point(4, 0))
    assert loads(*dumps(method))() == 8


def test_a_module_registered_by_value_travels_by_value():
    module = types.ModuleType("a_module_of_this_test")
    exec("def answer():\n    return 42\n", vars(module))
    sys.modules[module.__name__] = module
    try:
        by_name = dumps(module.answer)
        cloudpickle.register_pickle_by_value(module)
        try:
            by_value = dumps(module.answer)
        finally:
            cloudpickle.unregister_pickle_by_value(module)
        assert dumps(module.answer) == by_name
    finally:
        del sys.modules[module.__name__]
    assert loads(*by_value)() == 42
    with pytest.raises(ModuleNotFoundError):
        loads(*by_name)


def run(*args):
    """Run another interpreter; return what it wrote."""
    done = subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        timeout=support.LIMIT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


MAIN = """
import enum, sys
from shmqueue._codec import dumps
class Shape:
    side = 3
    def area(self):
        return helper(self.side)
class Colour(enum.Enum):
    RED = 1
def helper(side):
    return side * side
items = {"object": Shape(), "class": Shape, "function": helper, "method": Shape().area,
         "member": Colour.RED,
         "inside": [1, {"k": (Shape(), helper)}],
         "big": [Shape(), b"x" * 300_000]}
kind, data = dumps(items[sys.argv[1]], sys.argv[2])
sys.stdout.buffer.write(data)
"""


def from_main(item, policy):
    return run("-c", MAIN, item, policy)


def test_what_main_defines_travels_by_value_under_cloudpickle():
    assert loads(PICKLE, from_main("object", "cloudpickle")).area() == 9
    assert loads(PICKLE, from_main("class", "cloudpickle"))().area() == 9
    assert loads(PICKLE, from_main("function", "cloudpickle"))(5) == 25
    assert loads(PICKLE, from_main("method", "cloudpickle"))() == 9
    assert loads(PICKLE, from_main("member", "cloudpickle")).name == "RED"
    shape, helper = loads(PICKLE, from_main("inside", "cloudpickle"))[1]["k"]
    assert shape.area() == helper(3)
    shape, content = loads(PICKLE, from_main("big", "cloudpickle"))
    assert shape.area() == 9
    assert content == b"x" * 300_000


@pytest.mark.parametrize(
    "item", ["object", "class", "function", "method", "member", "inside", "big"]
)
def test_what_main_defines_travels_by_name_under_multiprocessing(item):
    data = from_main(item, "multiprocessing")
    with pytest.raises(AttributeError, match=r"Shape|helper|Colour"):
        loads(PICKLE, data)


MIXED = """
import enum, sys
from shmqueue._codec import dumps, loads
class Colour(enum.Enum):
    RED = 1
class Failure(Exception):
    pass
known = lambda colour: colour is Colour.RED
known, colour, failure = loads(*dumps((known, Colour.RED, Failure("x")), "multiprocessing"))
assert colour is Colour.RED
assert known(colour)
assert type(failure) is Failure
"""


def test_classes_of_main_keep_their_identity_beside_a_lambda_under_multiprocessing():
    run("-c", MIXED)


def in_spawned_child(policy):
    """Serialise what the main program of a spawned child defines."""
    main = sys.modules["__mp_main__"]
    data = [
        dumps(item, policy)[1]
        for item in (main.Shape(), main.helper, [main.Shape, lambda: main.helper(2)])
    ]
    assert cloudpickle.list_registry_pickle_by_value() == set()
    return data


SPAWNING = """
import multiprocessing, pickle, sys
class Shape:
    def area(self):
        return helper(3)
def helper(side):
    return side * side
if __name__ == "__main__":
    from tests.codec.test_policies import in_spawned_child
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sys.stdout.buffer.write(pickle.dumps(pool.apply(in_spawned_child, [sys.argv[1]])))
        pool.close()
        pool.join()
"""


def from_spawned_child(tmp_path, policy):
    """Run the program from a file, so that its child has a main program to import."""
    program = tmp_path / "program.py"
    program.write_text(SPAWNING)
    return pickle.loads(run(str(program), policy))


def test_what_the_main_of_a_spawned_child_defines_travels_by_value_under_cloudpickle(tmp_path):
    shape, helper, both = (
        loads(PICKLE, data) for data in from_spawned_child(tmp_path, "cloudpickle")
    )
    assert shape.area() == 9
    assert helper(4) == 16
    assert both[0]().area() == 9


def test_what_the_main_of_a_spawned_child_defines_travels_by_name_under_multiprocessing(tmp_path):
    for data in from_spawned_child(tmp_path, "multiprocessing")[:2]:
        assert b"__mp_main__" in data
        with pytest.raises(
            (AttributeError, ModuleNotFoundError), match=r"__mp_main__|Shape|helper"
        ):
            loads(PICKLE, data)


def test_a_process_forked_while_a_thread_pickles_by_value_can_do_so_itself():
    holding, finish = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self):
            holding.set()
            assert finish.wait(support.LIMIT)
            return int, ()

    thread = support.Thread(dumps, [lambda: 1, Slow()])
    try:
        assert holding.wait(support.LIMIT)
        child = support.Child(multiprocessing.get_context("fork"), pickle_by_value)
        assert child.result() == 42
    finally:
        finish.set()
    thread.result()


def pickle_by_value():
    return loads(*dumps(lambda: 42))()


# What the policies refuse


@pytest.mark.parametrize("policy", POLICIES)
def test_a_lock_is_refused(policy):
    with pytest.raises(
        TypeError,
        match=r"cannot pickle '_thread.lock' object \(while serialising an item of type 'dict'\)",
    ):
        dumps({"k": threading.Lock()}, policy)


def test_an_open_file_is_refused_under_multiprocessing():
    with open(__file__) as file:
        with pytest.raises(TypeError, match="TextIOWrapper"):
            dumps([file], "multiprocessing")
        with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
            dumps([lambda: 1, file], "multiprocessing")


def test_an_open_file_travels_as_its_content_under_cloudpickle(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    with open(path) as file:
        assert loads(*dumps(file)).read() == "content"
    assert isinstance(loads(*dumps(io.StringIO("x"))), io.StringIO)


def test_a_lock_of_multiprocessing_is_refused_as_multiprocessing_does():
    lock = multiprocessing.get_context("spawn").Lock()
    for policy in POLICIES:
        with pytest.raises(RuntimeError, match="through inheritance"):
            dumps([lock], policy)


def test_the_first_error_is_the_one_raised_when_cloudpickle_fails_too():
    class Local:
        def __reduce__(self):
            raise pickle.PicklingError(f"refused {next(calls)}")

    calls = iter(range(1, 10))
    with pytest.raises(pickle.PicklingError, match="refused 1") as caught:
        dumps(Local(), "multiprocessing")
    assert caught.value.__context__ is None
    assert next(calls) == 3


def test_an_error_of_another_kind_is_raised_at_once():
    class Local:
        def __reduce__(self):
            raise LookupError(f"call {next(calls)}")

    for policy in POLICIES:
        calls = iter(range(1, 10))
        with pytest.raises(LookupError, match="call 1"):
            dumps(Local(), policy)
        assert next(calls) == 2


class Once:
    """Counts how often it is reduced."""

    calls = 0

    def __reduce__(self):
        Once.calls += 1
        return Once, ()


@pytest.mark.parametrize("policy", POLICIES)
def test_an_importable_object_is_reduced_once(policy):
    Once.calls = 0
    dumps([Once()], policy)
    assert Once.calls == 1


def test_enum_members_of_modules_keep_their_identity():
    for policy in POLICIES:
        assert loads(*dumps([Suit.HEARTS], policy))[0] is Suit.HEARTS


class Suit(enum.Enum):
    HEARTS = 1


def test_an_unknown_serializer_is_refused():
    with pytest.raises(ValueError, match="'json'"):
        dumps(1, "json")
