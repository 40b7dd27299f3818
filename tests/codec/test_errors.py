import collections
import pickle
import threading

import pytest

from shmqueue._codec import dumps, loads

POLICIES = ["cloudpickle", "multiprocessing"]


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


class Refusing:
    """Raises the given exception when it is pickled."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


REMARK = " (while serialising an item of type 'tests.codec.test_errors.Refusing')"


@pytest.mark.parametrize(
    "kind", [ValueError, TypeError, AttributeError, OSError, pickle.PicklingError, RuntimeError]
)
def test_an_error_keeps_its_type_and_names_the_item(kind, policy):
    error = kind("no way")
    with pytest.raises(kind) as caught:
        dumps(Refusing(error), policy)
    assert caught.value is error
    assert error.args == ("no way" + REMARK,)
    assert str(error) == "no way" + REMARK


def test_the_type_of_the_whole_item_is_named_with_its_module(policy):
    with pytest.raises(
        TypeError, match=r"'_thread\.lock' object \(while .* of type 'collections\.OrderedDict'\)$"
    ):
        dumps(collections.OrderedDict(a=threading.Lock()), policy)
    with pytest.raises(TypeError, match=r"of type 'list'\)$"):
        dumps([threading.Lock()], policy)


def test_an_error_that_is_raised_again_and_again_does_not_grow(policy):
    error = ValueError("no way")
    for _ in range(5):
        with pytest.raises(ValueError):
            dumps(Refusing(error), policy)
    assert error.args == ("no way" + REMARK,)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(5, "x"),
        OSError(2, "No such file"),
        KeyError(("a", 1)),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ],
    ids=repr,
)
def test_an_error_whose_first_argument_is_no_message_is_left_as_it_is(error, policy):
    args, text = error.args, str(error)
    with pytest.raises(type(error)) as caught:
        dumps(Refusing(error), policy)
    assert caught.value is error
    assert error.args == args
    assert str(error) == text


def test_further_arguments_of_an_error_stay(policy):
    error = ValueError("no way", 7)
    with pytest.raises(ValueError):
        dumps(Refusing(error), policy)
    assert error.args == ("no way" + REMARK, 7)


class Stubborn(Exception):
    @property
    def args(self):
        return ("stubborn",)

    @args.setter
    def args(self, value):
        raise TypeError("these args are not to be set")


def test_an_error_that_does_not_take_a_remark_is_raised_without(policy):
    with pytest.raises(Stubborn):
        dumps(Refusing(Stubborn("x")), policy)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt("x"), SystemExit("x"), MemoryError("x"), GeneratorExit("x")]
)
def test_what_is_not_about_the_item_passes_through_untouched(error, policy):
    with pytest.raises(type(error)) as caught:
        dumps(Refusing(error), policy)
    assert caught.value is error
    assert error.args == ("x",)


def test_the_codec_works_on_after_any_error(policy):
    for error in (ValueError("x"), pickle.PicklingError("x"), KeyboardInterrupt(), TypeError("x")):
        with pytest.raises(type(error)):
            dumps([Fine("before"), Refusing(error)], policy)
        assert loads(*dumps(Fine("after"), policy)).value == "after"


class Fine:
    def __init__(self, value):
        self.value = value


class FailsToLoad:
    def __reduce__(self):
        return int, ("not a number",)


def test_an_item_that_fails_to_load_raises_its_own_error(policy):
    kind, data = dumps(FailsToLoad(), policy)
    with pytest.raises(ValueError, match="not a number"):
        loads(kind, data)
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        loads(kind, data[:-1])


def test_data_that_is_no_buffer_is_refused():
    with pytest.raises(TypeError):
        loads(1, "text")
    with pytest.raises(TypeError):
        loads("kind", b"x")
