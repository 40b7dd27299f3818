"""What the account of a run calls wrong, and whom it says did not keep up."""

import types

import pytest

from shmqueue.load.account import account
from shmqueue.load.course import Course, Outcome
from shmqueue.load.plan import Plan

PUT = 100


def course(role, number=0, code=0, **told):
    process = types.SimpleNamespace(pid=1000 + number, poll=lambda: code)
    made = Course(role, number, process)
    last = {"kind": "end", "at": 11.0, "cpu_seconds": 0.5, "bytes": 0, "latencies": {10: 1}, **told}
    made.enter({"kind": "ready"})
    made.enter(last)
    return made


def writer(items=PUT):
    return course("writer", items=items, blocked_seconds=0.25)


def reader(number=0, items=PUT, lapped=0, lag=0, lag_max=1, torn=0, doubled=0, out_of_order=0):
    return course(
        "reader",
        number,
        items=items,
        lapped=lapped,
        lag=lag,
        lag_max=lag_max,
        torn=torn,
        next_sequence=PUT - lag,
        tallies=[{"items": items, "next": PUT, "doubled": doubled, "out_of_order": out_of_order}],
    )


def account_of(*courses, policy="block", **numbers):
    plan = Plan("test", "a test", policy=policy, slots=8, **numbers)
    return account(Outcome(plan, list(courses), began=1.0, wrote_until=11.0, ended=11.0))


def test_a_run_in_which_every_item_came_is_right():
    told = account_of(writer(), reader(0), reader(1))
    assert told["problems"] == told["behind"] == []
    assert told["kept_up"]
    assert told["put"] == PUT
    assert told["cpu_seconds"] == 1.5
    assert told["cpu_percent"] == 15
    assert told["blocked_seconds"] == 0.25
    assert [row["items_per_second"] for row in told["readers"]] == [10, 10]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"items": 99}, "r1 lacks 1 item that nothing accounts for"),
        ({"items": 101}, "r1 got 1 item more than were put"),
        ({"items": 101, "doubled": 1}, "r1 got 1 item twice"),
        ({"out_of_order": 2}, "r1 got 2 items out of order"),
        ({"torn": 3}, "r1 got 3 items torn"),
        ({"items": 90, "lapped": 10}, "r1 was lapped, which its policy rules out"),
    ],
)
def test_what_should_not_be_is_a_problem(wrong, told):
    assert account_of(writer(), reader(**wrong))["problems"] == [told]


def test_what_a_lagging_reader_lost_is_no_problem_if_the_count_is_exact():
    told = account_of(writer(), reader(items=40, lapped=60), policy="lag")
    assert told["problems"] == []
    assert told["behind"] == ["r1 lost 60 items (60 %)"]
    told = account_of(writer(), reader(items=40, lapped=59), policy="lag")
    assert told["problems"] == ["r1 lacks 1 item that nothing accounts for"]


def test_what_is_left_in_the_ring_is_accounted_for():
    told = account_of(writer(), reader(items=95, lag=5))
    assert told["problems"] == []
    assert told["behind"] == ["r1 left 5 items in the ring"]


def test_a_reader_that_let_the_ring_fill_did_not_keep_up():
    assert account_of(writer(), reader(lag_max=7))["kept_up"]
    assert account_of(writer(), reader(lag_max=8))["behind"] == ["r1 was a whole ring behind"]


def test_writers_that_put_other_than_the_stream_says_are_a_problem():
    told = account_of(writer(items=PUT + 1), reader())
    assert told["problems"] == ["writers put 101 items, the stream says 100"]


def test_a_program_that_failed_or_hung_is_a_problem_and_a_killed_one_is_not():
    failed, hung, killed = (
        Course("reader", number, types.SimpleNamespace(pid=number, poll=lambda code=code: code))
        for number, code in ((1, 1), (2, -9), (3, -9))
    )
    hung.stuck = True
    told = account_of(writer(), reader(), failed, hung, killed)
    assert told["problems"] == ["r2 failed with exit status 1", "r3 did not end"]
    assert told["behind"] == [
        "r2 failed with exit status 1 after 0 items",
        "r3 did not end after 0 items",
        "r4 killed by SIGKILL after 0 items",
    ]
