"""The doctor sees the groups of a stream, and what the dead have of them."""

import json
import os
import signal
import time

import numpy
import pytest

from shmqueue import Stream, checkup, doctor, segment
from tests.faults.processes import Turns
from tests.lifecycle import tracing
from tests.protocol.raw import HEAD
from tests.support import LIMIT

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


def _put_and_stay(stream, turns):
    stream.put(1, timeout=LIMIT)
    turns.swap()


def test_who_takes_the_seat_of_a_dead_subscriber_removes_the_group(make, kill, forks, turns):
    stream = make(capacity=4, groups=["stays"])
    kill(_subscribe_and_die, stream)
    heir = forks.start(_put_and_stay, stream, turns)
    turns.hear_from(forks, heir)
    assert stream.groups() == ["stays"]
    assert _look(stream)["problems"] == []
    turns.say()
    assert forks.wait(heir) == 0


def test_who_sits_where_the_dead_sat_is_not_taken_for_them(make, kill, forks, turns, open_raw):
    stream = make(capacity=4, groups=["stays"])
    dead = kill(_subscribe_and_die, stream)
    raw = open_raw()
    raw.set_owner(HEAD, raw.seat_of(os.getpid())[1])  # so that nobody clears up on the way
    heir = forks.start(_put_and_stay, stream, turns)
    turns.hear_from(forks, heir)
    raw.set_owner(HEAD, 0)
    told = _look(stream)
    assert [row["pid"] for row in told["seats"]] == [os.getpid(), heir]
    (problem,) = told["problems"]
    assert "belongs to one that ended" in problem
    assert str(heir) not in problem
    assert str(dead) not in problem
    assert doctor.fix(told) == ["what the dead held is free"]
    assert _look(stream)["problems"] == []
    assert stream.groups() == ["stays"]
    turns.say()
    assert forks.wait(heir) == 0


def test_one_repair_is_enough_where_the_dead_held_the_floor_as_well(make, kill, open_raw):
    stream = make(capacity=4, groups=["stays"])
    pid = kill(_subscribe_and_die, stream)
    raw = open_raw()
    raw.set_owner(HEAD, raw.seat_of(pid)[1])
    told = _look(stream)
    assert len(told["problems"]) == 2
    assert doctor.fix(told) == ["what the dead held is free"]
    assert _look(stream)["problems"] == []
    assert stream.groups() == ["stays"]


def test_what_a_living_process_keeps_from_being_freed_is_told(make, kill, open_raw):
    stream = make(capacity=4)
    kill(_subscribe_and_die, stream)
    raw = open_raw()
    raw.set_owner(HEAD, raw.seat_of(os.getpid())[1])
    (said,) = doctor.fix(_look(stream))
    raw.set_owner(HEAD, 0)
    assert "a living process holds the head" in said
    assert doctor.fix(_look(stream)) == ["what the dead held is free"]
    assert _look(stream)["problems"] == []


def test_ends_that_contradict_each_other_are_not_called_repaired(make, open_raw):
    stream = make(capacity=4)
    raw = open_raw()
    raw.set("end", HEAD, "sequence", 5)
    told = _look(stream)
    assert len(told["problems"]) == 1
    assert doctor.fix(told) == []
    raw.set("end", HEAD, "sequence", 0)


def _write_and_finish(stream, turns):
    with stream.writer() as out:
        out.put(1, timeout=LIMIT)
        turns.swap()


def _get_and_finish(stream, turns):
    with stream.group("a") as a:
        a.get(timeout=LIMIT)
        turns.swap()
        a.done()


def _subscribe_and_leave(stream, turns):
    with stream.subscribe():
        turns.swap()


def _tell_problems(stream, pipe):
    os.write(pipe, json.dumps(_look(stream)["problems"]).encode())


@pytest.mark.parametrize("act", [_write_and_finish, _get_and_finish, _subscribe_and_leave])
def test_who_finishes_and_ends_while_it_looks_is_no_problem(make, forks, act):
    reason = tracing.why_not(forks)
    if reason:
        pytest.skip(reason)
    stops, is_over = 0, False
    while not is_over:
        stops += 1
        is_over = _finish_at_stop(stops, make, forks, act)
    assert stops > 10


def _finish_at_stop(number, make, forks, act):
    """Have a process finish at one of the stops of a look; return whether there were fewer."""
    with make(capacity=4, groups={"a": {}, "b": {"after": "a"}}) as stream:
        stream.put_batch([1, ARRAY])
        turns, (answer, pipe) = Turns(), os.pipe()
        actor = forks.start(act, stream, turns)
        turns.hear_from(forks, actor)
        looker = tracing.start(forks, lambda: None, lambda _: _tell_problems(stream, pipe))
        look = tracing.Stops(looker)
        look.begin()
        is_over = False
        for _ in range(number):
            is_over = is_over or look.go_on() is None
        turns.say()
        assert forks.wait(actor) == 0
        while not is_over and look.go_on() is not None:
            pass
        forks.kill(looker)
        problems = json.loads(os.read(answer, 1 << 16))
        assert problems == [], f"at stop {number}"
        turns.close()
        os.close(answer)
        os.close(pipe)
        stream.unlink()
    return is_over


def test_items_are_those_that_the_slowest_group_has_not_got(make, capsys):
    stream = make(capacity=8, groups=["quick", "slow"])
    path = segment.path_of(stream.name, stream.run_id)
    stream.put_batch([1, 2, 3])
    with stream.group("quick") as quick, stream.group("slow") as slow:
        quick.get_batch(3)
        assert _look(stream)["items"] == stream.qsize() == 3
        slow.get_batch(2)
        told = _look(stream)
        assert told["items"] == stream.qsize() == 1
        assert (told["items_put"], told["items_got"]) == (3, 5)
        assert segment.describe(path).startswith("it holds 1 of 8 items")
        slow.get()
        assert _look(stream)["items"] == stream.qsize() == 0
        stream.put(4)
    stream.close()
    assert doctor.remove_orphan(doctor.look(path)) == ["removed, as nobody has it, with 1 item"]


def test_without_a_group_items_are_those_that_are_held_for_the_first(make):
    stream = make(capacity=8)
    stream.put_batch([1, 2])
    assert _look(stream)["items"] == stream.qsize() == 2


def test_it_tells_of_a_group_what_the_metrics_tell(make):
    stream = make(
        capacity=4,
        groups={
            "blocks": {},
            "lags": {"policy": "lag"},
            "drops": {"policy": "drop", "drop_after": 3600},
            "forgets": {"policy": "drop", "drop_after": 0},
        },
    )
    stream.put_batch([1, 2, 3, 4])
    stream.group("blocks").get_batch(4)
    stream.group("drops").get()
    told, seen = _look(stream)["groups"], stream.get_metrics()["groups"]
    assert [group["gates_tail"] for group in told] == [group["gates_tail"] for group in seen]
    assert _group(_look(stream), "drops")["gates_tail"]
    for ours, theirs in zip(told, seen, strict=True):
        age, again = ours["oldest_item_age_seconds"], theirs["oldest_item_age_seconds"]
        assert (age is None) == (again is None)
        assert age is None or 0 <= age <= again


def test_a_group_that_keeps_only_what_is_young_gates_from_there_on(make, open_raw):
    half_ago = time.monotonic() / 2  # of the clock's own age, which may be minutes
    stream = make(capacity=8, groups={"drops": {"policy": "drop", "drop_after": half_ago}})
    stream.put_batch(range(8))
    raw = open_raw()
    for slot in range(8):
        assert _group(_look(stream), "drops")["gates_tail"]
        raw.set("slot", slot, "put_ns", 1)
    assert not _group(_look(stream), "drops")["gates_tail"]
