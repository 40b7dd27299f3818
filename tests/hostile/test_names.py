"""No pair of name and run_id leaves the directory, and no two share a file (P9): random pairs."""

import os
import random
import string
import urllib.parse

import pytest

import shmqueue
from shmqueue import SharedMemoryQueue
from shmqueue.segment import DIRECTORY, MAX_FILE_NAME_BYTES, PREFIX, path_of
from tests import evidence

# What has a meaning to a shell, a path, an escape, or to ourselves; and what has two forms.
PARTS = [
    *("a", "b", "-", "_", ".", "..", "@", "%", "%2F", "%2f", "%252F", "%00", "%40", "shmq.", "~"),
    *("A", " ", "\n", "\\", "*", "$HOME", "é", "e\u0301", "\u2215", "\uff0f", "日", "\U0001f600"),
]
NO_NAMES = ["", "/", "a/b", "/a", "../a", "..//", "a/", "\0", "a\0b", "\ud800", "n" * 256, "é" * 90]


def _random_text(source, most):
    if source.random() < 0.3:
        return "".join(source.choices(string.printable, k=source.randrange(most)))
    return "".join(source.choice(PARTS) for _ in range(source.randrange(most)))


def _pairs(count):
    source = random.Random(17)
    for _ in range(count):
        whole = _random_text(source, 10)
        # Two ways to cut a text in two, and one with another sign between the parts.
        for _ in range(2):
            at = source.randrange(len(whole) + 1)
            yield whole[:at], whole[at:]
        yield whole[:at] + source.choice("-@.%_") + whole[at:], ""
        yield whole, _random_text(source, 4)


def _pair_of(file_name):
    """Return the pair that a file name stands for, by the rule that the docs tell."""
    name, at, run_id = file_name.removeprefix(PREFIX).partition("@")
    assert bool(at) == bool(run_id)
    return urllib.parse.unquote(name), urllib.parse.unquote(run_id)


def test_random_pairs_stay_in_the_directory_and_never_share_a_file():
    taken, refused = {}, 0
    for pair in _pairs(evidence.scaled(3_000, 30_000)):
        try:
            path = path_of(*pair)
        except ValueError:
            refused += 1
            name, run_id = pair
            assert not name or set(name + run_id) & {"/", "\0"} or len(name + run_id) > 20
            continue
        directory, file_name = os.path.split(path)
        assert directory == DIRECTORY
        assert os.path.normpath(path) == path
        assert len(file_name.encode()) <= MAX_FILE_NAME_BYTES
        assert file_name.isascii()
        assert file_name.isprintable()
        assert _pair_of(file_name) == pair
        assert taken.setdefault(path, pair) == pair
    assert len(taken) > 2 * refused
    evidence.report("hostile", {"names": len(taken)})


@pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: repr(name[:12]))
def test_what_is_no_name_is_refused_by_whatever_takes_one(name):
    calls = [
        lambda: SharedMemoryQueue(name, run_id="r"),
        lambda: SharedMemoryQueue(name, create=True, run_id="r"),
        lambda: SharedMemoryQueue(name, create=True, exist_ok=True, run_id="r"),
        lambda: shmqueue.unlink(name, "r"),
    ]
    if name:  # no run_id at all is one
        calls += [
            lambda: SharedMemoryQueue("q", run_id=name),
            lambda: SharedMemoryQueue("q", create=True, run_id=name),
            lambda: shmqueue.unlink("q", name),
        ]
    before = sorted(os.listdir("/dev"))
    for call in calls:
        with pytest.raises(ValueError):
            call()
    assert sorted(os.listdir("/dev")) == before
