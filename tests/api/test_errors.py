"""The exceptions of the package, wherever raised, arrive in other processes as they were."""

import importlib
import pickle
import pkgutil

import pytest

import shmqueue

# What makes one, where a text does not.
ARGUMENTS = {"ConsumerDiedError": (3, -9, "a signal"), "NoSuchStartError": (5, 7, 9)}


def _modules():
    for found in pkgutil.walk_packages(shmqueue.__path__, "shmqueue."):
        if not found.name.endswith("__main__"):
            try:
                yield importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                # What only some commands need may be missing.
                if error.name.startswith("shmqueue"):
                    raise


def _is_ours(value):
    return (
        isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__.startswith("shmqueue.")
        and not value.__name__.startswith("_")
    )


FOUND = {value for module in _modules() for value in vars(module).values() if _is_ours(value)}
ERRORS = sorted(FOUND, key=lambda error: error.__qualname__)


def test_those_that_the_package_shows_are_among_them():
    shown = {getattr(shmqueue, name) for name in shmqueue.__all__}
    assert {value for value in shown if _is_ours(value)} < FOUND


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ERRORS, ids=lambda error: error.__name__)
def test_an_error_that_is_pickled_keeps_its_text_and_what_it_tells(kind, protocol):
    error = kind(*ARGUMENTS.get(kind.__name__, ("a text",)))
    error.told = ["beside its text"]
    got = pickle.loads(pickle.dumps(error, protocol))
    assert type(got) is kind
    assert (str(got), got.args, vars(got)) == (str(error), error.args, vars(error))


def test_the_error_of_a_start_that_is_not_there_tells_it_and_what_there_is():
    from shmqueue._groups import NoSuchStartError

    error = pickle.loads(pickle.dumps(NoSuchStartError(5, 7, 9)))
    assert (error.start, error.oldest, error.newest) == (5, 7, 9)
    assert "start=5 is not in the ring: it holds the sequences 7 to 8" in str(error)
    assert "start=5 is not in the ring: it is empty, and 9 is" in str(NoSuchStartError(5, 9, 9))
