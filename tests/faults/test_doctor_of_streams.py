"""The doctor sees the groups of a stream, and what the dead have of them."""

import json
import multiprocessing
import os
import signal

import numpy
import pytest

from shmqueue import Stream, checkup, doctor, segment
from tests.support import LIMIT

FORK = multiprocessing.get_context("fork")
ARRAY = numpy.arange(1 << 15)


@pytest.fixture
def make(run_id):
    made = []

    def make_stream(**options):
        made.append(Stream("s", create=True, run_id=run_id, **options))
        return made[-1]

    yield make_stream
    for stream in made:
        stream.close()
        stream.unlink()


def _look(stream):
    return doctor.look(segment.path_of(stream.name, stream.run_id))


def _group(told, name):
    (group,) = [group for group in told["groups"] if group["group"] == name]
    return group


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _subscribe_and_die(stream):
    kept = stream.subscribe(start="oldest")
    assert kept.name
    _die()


def _get_and_die(stream, group):
    kept = stream.group(group)
    assert kept.get(timeout=LIMIT) is not None
    _die()


def _write_and_die(stream):
    out = stream.writer()
    out.put(1, timeout=LIMIT)
    _die()


def _put_and_die(stream):
    stream.put(ARRAY, timeout=LIMIT)
    _die()


@pytest.fixture
def kill(forks):
    """Run a function in a child that is killed in it; return its pid."""

    def run(function, *args):
        pid = forks.start(function, *args)
        assert forks.wait(pid) == -signal.SIGKILL
        return pid

    return run


def test_it_tells_how_far_behind_each_group_is(make, capsys):
    stream = make(capacity=4, groups={"a": {}, "b": {"policy": "lag", "after": "a"}})
    stream.put_batch([1, 2, 3])
    with stream.group("a") as a:
        a.get()
        told = _look(stream)
        assert told["problems"] == []
        assert (_group(told, "a")["lag"], _group(told, "a")["items_got"]) == (2, 1)
        assert (_group(told, "b")["lag"], _group(told, "b")["after"]) == (3, ["a"])
        assert "group 'b' (lag, after 'a'): 3 behind" in checkup.as_text(told)
    checkup.check_up(told["path"], as_json=True)
    assert json.loads(capsys.readouterr().out)["named"][0]["groups"][0]["group"] == "a"


def test_it_tells_of_a_subscription_whose_process_is_dead_and_removes_it(make, kill):
    stream = make(capacity=4, groups=["stays"])
    pid = kill(_subscribe_and_die, stream)
    told = _look(stream)
    (problem,) = told["problems"]
    assert f"belongs to process {pid} that ended" in problem
    doctor.fix(told)
    assert stream.groups() == ["stays"]
    assert _look(stream)["problems"] == []


def test_it_tells_of_what_a_dead_consumer_left_unfinished_and_lets_others_go_on(make, kill):
    stream = make(capacity=4, groups={"a": {}, "b": {"after": "a"}})
    stream.put_batch([1, 2])
    kill(_get_and_die, stream, "a")
    told = _look(stream)
    (problem,) = told["problems"]
    assert problem.startswith("1 consumer of group 'a' ended with items unfinished")
    doctor.fix(told)
    assert _look(stream)["problems"] == []
    with stream.group("b") as b:
        assert b.qsize() == 1


def test_it_tells_that_all_writers_are_dead_and_ends_the_stream(make, kill):
    stream = make(capacity=4, groups=["a"])
    kill(_write_and_die, stream)
    told = _look(stream)
    assert told["problems"] == ["all writers ended without finishing: whoever gets sees to the end"]
    doctor.fix(told)
    assert _look(stream)["problems"] == []
    assert stream.is_shutdown
    assert list(stream.group("a")) == [1]


def test_what_a_living_consumer_views_is_not_lost_though_its_producer_died(make, kill):
    stream = make(capacity=1, groups=["a"])
    kill(_put_and_die, stream)
    with stream.group("a") as a:
        viewed = a.get(timeout=LIMIT)
        stream.put("passes it")
        told = _look(stream)
        assert told["problems"] == []
        assert told["lost_blocks"] == 0
        assert numpy.array_equal(viewed, ARRAY)
        del viewed
