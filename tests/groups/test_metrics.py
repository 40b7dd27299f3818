"""What the metrics of a stream tell of its groups."""

from queue import Full

import pytest

from tests.support import LIMIT, Thread, wait_until

WAITED_SECONDS = 0.02


def _row(stream, name):
    return next(row for row in stream.get_metrics()["groups"] if row["group"] == name)


def test_a_group_has_what_it_got_what_it_lacks_and_what_it_lost(make_stream):
    stream = make_stream(capacity=4, groups={"a": {}, "b": {"policy": "lag", "after": "a"}})
    with stream.group("a") as a, stream.group("b") as b:
        for number in range(6):
            stream.put(number)
            assert a.get() == number
        a.done()
        assert b.get() == 2
        seen = _row(stream, "b")
        assert (seen["policy"], seen["after"]) == ("lag", ["a"])
        assert (seen["items_got"], seen["depth"], seen["lag"], seen["lapped"]) == (1, 3, 3, 2)
        assert seen["oldest_item_age_seconds"] >= 0
        assert (_row(stream, "a")["items_got"], _row(stream, "a")["lag"]) == (6, 0)


def test_it_is_told_for_which_group_producers_have_waited(make_stream):
    stream = make_stream(capacity=2, groups=["quick", "slow"])
    stream.put_batch([1, 2])
    with stream.group("quick") as quick, stream.group("slow") as slow:
        assert quick.get_batch(2) == [1, 2]
        putter = Thread(stream.put, 3, timeout=LIMIT)
        wait_until(
            lambda: _row(stream, "slow")["blocked_full_seconds"] > WAITED_SECONDS,
            "the wait to be counted",
        )
        assert _row(stream, "slow")["gates_tail"]
        assert slow.get() == 1
        putter.result()
        assert _row(stream, "quick")["blocked_full_seconds"] == 0
        metrics = stream.get_metrics()
        assert metrics["blocked_full_seconds"] >= _row(stream, "slow")["blocked_full_seconds"]


def test_a_wait_is_counted_for_the_group_that_was_the_slowest_at_the_time(make_stream):
    stream = make_stream(capacity=2, groups=["first", "second"])
    stream.put_batch([1, 2])
    with stream.group("first") as first, stream.group("second") as second:
        assert second.get() == 1
        putter = Thread(stream.put_batch, [3, 4], timeout=LIMIT)

        def waited(name):
            return _row(stream, name)["blocked_full_seconds"] > WAITED_SECONDS

        wait_until(lambda: waited("first"), "the wait for the first")
        assert not waited("second")
        assert first.get_batch(2) == [1, 2]
        wait_until(lambda: waited("second"), "the wait for the second")
        assert second.get() == 2
        putter.result()


def test_a_rate_is_of_the_time_since_it_was_asked_for_last(make_stream):
    stream = make_stream(capacity=100, groups=["g"])
    with stream.group("g") as group:
        assert _row(stream, "g")["items_per_second"] == 0
        stream.put_batch(range(50))
        assert len(group.get_batch(50)) == 50
        assert _row(stream, "g")["items_per_second"] > 0
        assert _row(stream, "g")["items_per_second"] == 0


def test_another_handle_has_rates_of_its_own(make_stream, run_id):
    stream = make_stream(capacity=100, groups=["g"])
    with stream.group("g") as group, type(stream)("stream", run_id=run_id) as other:
        stream.put_batch(range(50))
        group.get_batch(50)
        assert _row(stream, "g")["items_per_second"] > 0
        assert _row(other, "g")["items_per_second"] > 0


def test_a_group_opened_again_under_its_name_begins_anew(make_stream):
    stream = make_stream(capacity=2, groups=["g"])
    stream.put_batch([1, 2])
    with pytest.raises(Full):
        stream.put(3, timeout=WAITED_SECONDS)
    stream.group("g").get_batch(2)
    assert _row(stream, "g")["items_got"] == 2
    assert _row(stream, "g")["blocked_full_seconds"] > 0
    stream.remove_group("g")
    stream.group("g")
    seen = _row(stream, "g")
    assert (seen["items_got"], seen["items_per_second"]) == (0, 0)
    assert seen["blocked_full_seconds"] == 0


@pytest.mark.parametrize("start", ["next", "oldest"])
def test_what_a_removed_group_had_lost_is_not_lost_to_the_next_one(make_stream, start):
    """It has the same row; one that blocks loses nothing, ever."""
    stream = make_stream(capacity=4, groups={"old": {"policy": "lag"}})
    for number in range(7):
        stream.put(number)
    old = stream.group("old")
    assert (old.get(), old.lapped) == (3, 3)
    old.remove()
    new = stream.group("new", start=start)
    stream.skip_to_latest()
    stream.get_metrics()
    stream.put_nowait("x") if start == "next" else None
    new.get()
    seen = _row(stream, "new")
    assert (new.lapped, seen["lapped"]) == (0, 0)
    assert seen["items_got"] >= 1
    assert seen["items_per_second"] > 0


def test_threads_that_take_from_different_groups_count_every_item(make_stream):
    stream = make_stream(capacity=64, groups=["a", "b"])

    def take(name):
        with stream.group(name) as group:
            return sum(map(len, group.batches(8)))

    threads = [Thread(take, name) for name in ("a", "b")]
    with stream.writer() as out:
        for first in range(0, 64_000, 64):
            out.put_batch(range(first, first + 64), timeout=LIMIT)
    assert [thread.result() for thread in threads] == [64_000, 64_000]
    (seen,) = stream.get_metrics()["seats"]
    assert seen["items_got"] == 128_000


def _oldest(stream):
    return stream.get_metrics()["oldest_item_age_seconds"]


def test_items_that_every_group_has_got_are_not_counted(make_stream):
    stream = make_stream(capacity=50, groups=["g"])
    with stream.group("g") as group:
        for number in range(60):
            stream.put(number)
            assert group.get() == number
            metrics = stream.get_metrics()
            assert metrics["queue_size"] == stream.qsize() == 0
            assert metrics["oldest_item_age_seconds"] is None


def test_the_oldest_item_is_that_of_the_group_that_is_furthest_behind(make_stream):
    stream = make_stream(capacity=8, groups=["quick", "slow"])
    stream.put_batch([1, 2])
    wait_until(lambda: _oldest(stream) > WAITED_SECONDS, "the items to age")
    stream.put(3)
    with stream.group("quick") as quick, stream.group("slow") as slow:
        quick.get_batch(2)
        metrics = stream.get_metrics()
        assert metrics["oldest_item_age_seconds"] > WAITED_SECONDS
        quicks, slows = metrics["groups"]
        assert metrics["oldest_item_age_seconds"] == slows["oldest_item_age_seconds"]
        assert quicks["oldest_item_age_seconds"] < slows["oldest_item_age_seconds"]
        slow.get_batch(3)
        metrics = stream.get_metrics()
        assert metrics["oldest_item_age_seconds"] == metrics["groups"][0]["oldest_item_age_seconds"]
        quick.get()
        assert _oldest(stream) is None


def test_without_a_group_the_oldest_item_is_the_oldest_held(make_stream):
    stream = make_stream(capacity=4)
    assert _oldest(stream) is None
    stream.put(1)
    assert _oldest(stream) >= 0


def test_the_high_water_mark_counts_slots_that_are_not_given_back_yet(make_stream):
    stream = make_stream(capacity=50, groups=["g"])
    with stream.group("g") as group:
        for number in range(60):
            stream.put(number)
            assert group.get() == number
    assert stream.get_metrics()["high_water_mark"] == 50
