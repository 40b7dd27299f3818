"""Groups over processes: each sees every item once, in order, whoever comes, goes or dies."""

import multiprocessing
import os
import signal
import time
from queue import Empty

import pytest

from shmqueue import GroupRemovedError, NoFreeSeatError, ShutDown, _repair
from tests import support
from tests.groups import workers
from tests.protocol.raw import HEAD, TAIL
from tests.support import CLOCK_SLACK, LIMIT, Thread, run_in_fork, wait_until

FORK = multiprocessing.get_context("fork")
WRITERS = 3
ITEMS = 400
PATTERNS = 200_000
SHARED_PATTERNS = 10_000
# Seconds.
PATIENCE = 0.2
# How many consumers may hold items of groups that others come after.
MAX_HOLDS = 256


def of_each_writer(items):
    return {w: [number for writer, number in items if writer == w] for w in range(WRITERS)}


def test_every_group_gets_every_item_of_all_writers_in_order(
    make_stream, run_id, ctx, start, signs
):
    stream = make_stream(capacity=16, groups=["alone", "shared"])
    said = signs(ctx)
    groups = ["alone", "shared", "shared"]
    readers = [start(ctx, workers.get_all, run_id, group, said.sender) for group in groups]
    for _ in readers:
        said.await_word("joined")
    # One more, or the first to be done before another begins would end the stream.
    with stream.writer():
        writers = [start(ctx, workers.put_each, run_id, number, ITEMS) for number in range(WRITERS)]
        for writer in writers:
            writer.result()
    alone, *shared = [reader.result() for reader in readers]
    assert of_each_writer(alone) == {w: list(range(ITEMS)) for w in range(WRITERS)}
    for items in shared:
        assert all(numbers == sorted(numbers) for numbers in of_each_writer(items).values())
    assert sorted(shared[0] + shared[1]) == sorted(alone)


def test_groups_join_and_leave_while_items_pass(make_stream):
    stream = make_stream(capacity=8, groups=["stays"])
    stays = Thread(list, stream.group("stays"))
    with stream.writer() as out:
        for number in range(100):
            out.put((0, number), timeout=LIMIT)
            with stream.group("comes and goes", start="next") as passing:
                out.put((1, number), timeout=LIMIT)
                assert passing.get(timeout=LIMIT) == (1, number)
                passing.remove()
    expected = [(kind, number) for number in range(100) for kind in (0, 1)]
    assert stays.result() == expected


class TestDeaths:
    def test_what_a_killed_consumer_held_counts_as_finished(self, make_stream, run_id):
        stream = make_stream(groups={"work": {}, "then": {"after": "work"}})
        stream.put_batch(range(3))
        child = support.Child(FORK, workers.get_and_die, run_id, "work", 2)
        assert child.wait() == -signal.SIGKILL
        then = stream.group("then")
        assert then.get(timeout=LIMIT) == 0
        assert then.get(timeout=LIMIT) == 1
        with pytest.raises(Empty):
            then.get_nowait()
        assert stream.group("work").get(timeout=LIMIT) == 2

    def test_who_waits_for_a_stage_goes_on_when_its_consumer_is_killed(self, make_stream, run_id):
        stream = make_stream(groups={"work": {}, "then": {"after": "work"}})
        waiting = Thread(stream.group("then").get)
        support.await_thread_asleep(waiting)
        child = support.Child(FORK, workers.get_and_die, run_id, "work", 1)
        stream.put("item")
        assert child.wait() == -signal.SIGKILL
        assert waiting.result() == "item"

    @pytest.mark.parametrize("block", [True, False])
    @pytest.mark.parametrize("item", ["plain", {"not": "plain"}, b"large" * 50_000])
    def test_a_killed_subscriber_holds_nobody_back(self, make_stream, run_id, signs, item, block):
        stream = make_stream(capacity=1, ungrouped="drop")
        said = signs(FORK)
        child = support.Child(FORK, workers.subscribe_and_die, run_id, said.sender)
        said.await_word("subscribed")
        stream.put("taken, and then the end")
        assert child.wait() == -signal.SIGKILL
        assert len(stream.groups()) == 1
        stream.put("fills the ring", timeout=LIMIT)
        stream.put(item, block=block, timeout=LIMIT)
        assert stream.groups() == []

    def test_a_killed_subscriber_keeps_no_memory_from_large_items(self, run_id):
        done = support.run_in_fork(workers.put_large_beside_a_dead_subscriber, run_id, 20)
        assert done == (list(range(20)), ["g"])

    def test_a_stopped_subscriber_holds_producers_back_as_any_that_lives(
        self, make_stream, run_id, signs
    ):
        stream = make_stream(capacity=1)
        said = signs(FORK)
        child = support.Child(FORK, workers.subscribe_and_stop, run_id, said.sender)
        said.await_word("subscribed")
        wait_until(lambda: stopped(child.pid), "the child to stop")
        stream.put("first")
        with pytest.raises(stream.Full):
            stream.put("second", timeout=0.2)
        os.kill(child.pid, signal.SIGCONT)
        assert child.result() == "first"
        stream.put("second", timeout=LIMIT)

    def test_a_stopped_consumer_holds_producers_back_for_the_seconds_that_its_group_was_given(
        self, make_stream, run_id, start, signs
    ):
        stream = make_stream(capacity=4, groups={"others": {}, "slow": {"drop_after": PATIENCE}})
        slow, said = stream.group("slow"), signs(FORK)
        child = start(FORK, workers.get_all_and_count_lost, run_id, "slow", said.sender)
        said.await_word("joined")
        others = Thread(list, stream.group("others"))
        with stream.writer() as out:
            out.put("first")
            wait_until(lambda: slow.lag() == 0, "the child to take the first")
            support.await_asleep(f"/proc/{child.pid}")
            os.kill(child.pid, signal.SIGSTOP)
            wait_until(lambda: stopped(child.pid), "the child to stop")
            begun = time.monotonic()
            for number in range(12):
                out.put(number, timeout=LIMIT)
            waited = time.monotonic() - begun
        assert waited >= 2 * PATIENCE - CLOCK_SLACK, "for 0 to 3, and for 4 to 7"
        assert others.result() == ["first", *range(12)]
        os.kill(child.pid, signal.SIGCONT)
        assert child.result() == (["first", 8, 9, 10, 11], 8)

    def test_a_killed_writer_has_finished(self, make_stream, run_id):
        stream = make_stream(groups=["a"])
        taking = Thread(list, stream.group("a"))
        support.await_thread_asleep(taking)
        child = support.Child(FORK, workers.write_and_die, run_id, 5)
        assert child.wait() == -signal.SIGKILL
        assert taking.result() == list(range(5))
        with pytest.raises(ShutDown):
            stream.put("late")

    def test_a_writer_killed_with_the_tail_in_its_hands_has_finished(self, make_stream, open_raw):
        stream = make_stream(groups=["a"])
        writer = support.Child(FORK, workers.write_and_die, stream.run_id, 3)
        pid = writer.pid
        assert writer.wait() == -signal.SIGKILL
        raw = open_raw()
        raw.set_owner(TAIL, raw.seat_of(pid)[1])
        assert list(stream.group("a")) == [0, 1, 2]

    def test_what_a_killed_raiser_had_passed_stays_passed(self, make_stream, run_id, open_raw):
        """It had given blocks back, and died before it said where the floor is."""
        stream = make_stream(capacity=8, item_size=64, groups={"lagging": {"policy": "lag"}})
        lagging = stream.group("lagging")
        for number in range(8):
            stream.put(bytes([number]) * 1000)
        raw = open_raw()
        raw.set("end", HEAD, "passed", 5)
        late = stream.group("late", start="oldest")
        assert lagging.get(timeout=LIMIT) == late.get(timeout=LIMIT) == bytes([5]) * 1000
        assert lagging.lapped == 5
        stream.put_batch([bytes([number]) * 1000 for number in range(8, 13)])
        assert raw.get("end", HEAD, "passed") == raw.get("end", HEAD, "sequence") >= 5
        assert [item[0] for item in late.get_batch(20)] == list(range(6, 13))

    def test_who_raises_the_floor_next_does_not_go_back_behind_it(self, make_stream, open_raw):
        stream = make_stream(capacity=8, item_size=64, groups={"lagging": {"policy": "lag"}})
        lagging = stream.group("lagging")
        for number in range(8):
            stream.put(bytes([number]) * 1000)
        open_raw().set("end", HEAD, "passed", 5)
        stream.put(bytes([8]) * 1000)
        assert lagging.get(timeout=LIMIT) == bytes([5]) * 1000
        assert lagging.lapped == 5

    def test_what_a_killed_remover_left_is_completed_by_who_joins(self, make_stream, open_raw):
        stream = make_stream(groups=["a", "b"])
        raw = open_raw()
        raw.set("end", HEAD + 1, "state", raw.get("end", HEAD + 1, "state") & ~0xFF)
        stream.put("item")
        again = stream.group("a", start="oldest")
        assert again.get(timeout=LIMIT) == "item"
        assert sorted(stream.groups()) == ["a", "b"]

    def test_what_a_killed_consumer_viewed_is_memory_again(self, make_stream, run_id):
        numpy = pytest.importorskip("numpy")
        stream = make_stream(capacity=2, groups=["a", "b"])
        other = stream.group("b")
        for _ in range(30):
            stream.put(numpy.zeros(50_000), timeout=LIMIT)
            child = support.Child(FORK, workers.view_and_die, run_id, "a")
            assert child.wait() == -signal.SIGKILL
            other.get(timeout=LIMIT)
        before = stream.get_metrics()["pool_bytes"]
        _repair.repair(stream._attachment, False)
        metrics = stream.get_metrics()
        assert metrics["pool_free_bytes"] >= before - 3 * 500_000

    def test_a_forked_child_takes_as_one_more_consumer_of_the_group(self, make_stream):
        stream = make_stream(groups={"work": {}, "then": {"after": "work"}})
        work, then = stream.group("work"), stream.group("then")
        stream.put_batch(range(3))
        assert work.get() == 0
        assert run_in_fork(work.get) == 1
        assert then.qsize() == 0
        work.done()
        assert [then.get(timeout=LIMIT), then.get(timeout=LIMIT)] == [0, 1]


def test_a_group_removed_by_another_process_is_gone_here(make_stream, run_id):
    stream = make_stream(groups=["a"])
    group = stream.group("a")
    run_in_fork(stream.remove_group, "a")
    with pytest.raises(GroupRemovedError):
        group.get(timeout=LIMIT)


@pytest.mark.parametrize("item_bytes", [8, 3000])
def test_a_lagging_reader_of_another_process_sees_whole_items_only(make_stream, run_id, item_bytes):
    stream = make_stream(capacity=2, item_size=4096)
    lagging = stream.group("lagging", policy="lag")
    writing = support.Child(FORK, workers.put_patterns, run_id, item_bytes, PATTERNS)
    seen = 0
    last = -1
    while last < PATTERNS - 1:
        item = lagging.get(timeout=LIMIT)
        number = int.from_bytes(item[:4], "little")
        assert item == number.to_bytes(4, "little") * (item_bytes // 4)
        assert number > last
        last = number
        seen += 1
    writing.result()
    assert seen + lagging.lapped == PATTERNS


@pytest.mark.parametrize("item_bytes", [8, 3000])
def test_the_consumers_of_a_lagging_group_see_between_them_what_it_has_not_lost(
    make_stream, run_id, ctx, start, signs, item_bytes
):
    stream = make_stream(capacity=4, item_size=64)
    lagging = stream.group("lagging", policy="lag")
    said = signs(ctx)
    with stream.writer() as out:
        for number in range(SHARED_PATTERNS):
            if number == 20:
                assert lagging.lapped == 16
                readers = [
                    start(ctx, workers.get_patterns, run_id, "lagging", said.sender)
                    for _ in range(2)
                ]
                for _ in readers:
                    said.await_word("joined")
            out.put(number.to_bytes(4, "little") * (item_bytes // 4), timeout=LIMIT)
    first, second = [reader.result() for reader in readers]
    for numbers in (first, second):
        assert numbers == sorted(numbers)
    assert len({*first, *second}) == len(first) + len(second), "none twice"
    assert len(first) + len(second) + lagging.lapped == SHARED_PATTERNS


class TestLargeItems:
    def test_all_groups_see_an_array_where_it_lies(self, make_stream):
        numpy = pytest.importorskip("numpy")
        stream = make_stream(groups=["a", "b"])
        stream.put({"frame": numpy.arange(20_000)})
        first, second = (stream.group(name).get()["frame"] for name in "ab")
        assert first.ctypes.data == second.ctypes.data
        assert not first.flags.writeable
        assert first.tolist() == list(range(20_000))

    def test_memory_comes_back_when_the_last_view_is_gone(self, make_stream):
        numpy = pytest.importorskip("numpy")
        stream = make_stream(capacity=4, groups=["a", "b"])
        a, b = stream.group("a"), stream.group("b")
        for number in range(50):
            stream.put(numpy.full(20_000, number), timeout=LIMIT)
            seen = a.get(), b.get()
            assert seen[0][0] == seen[1][-1] == number
            del seen
        metrics = stream.get_metrics()
        assert metrics["pool_bytes"] <= 4 * 200_000
        assert metrics["view_bytes"] == 0

    def test_a_view_that_is_kept_keeps_its_content(self, make_stream):
        numpy = pytest.importorskip("numpy")
        stream = make_stream(capacity=2, groups={"a": {}, "lagging": {"policy": "lag"}})
        a, lagging = stream.group("a"), stream.group("lagging")
        kept = []
        for number in range(20):
            stream.put(numpy.full(20_000, number), timeout=LIMIT)
            kept.append(a.get())
            if number % 3 == 0:
                kept.append(lagging.get())
        assert [int(array[0]) for array in kept if array[0] != array[-1]] == []
        numbers = sorted({int(array[0]) for array in kept})
        assert numbers == list(range(20))
        del kept
        stream.put(numpy.zeros(20_000))
        stream.put(a.get())
        assert stream.get_metrics()["pool_bytes"] > 0

    def test_an_array_that_was_reserved_is_published_to_all(self, make_stream):
        pytest.importorskip("numpy")
        stream = make_stream(groups=["a", "b"])
        with stream.reserve_array((200, 300)) as array:
            array[:] = 7
        first, second = stream.group("a").get(), stream.group("b").get()
        assert first.ctypes.data == second.ctypes.data
        assert first.sum() == 7 * 200 * 300

    def test_lagging_readers_of_large_items_are_lapped_not_torn(
        self, make_stream, ctx, start, run_id
    ):
        numpy = pytest.importorskip("numpy")
        stream = make_stream(capacity=2)
        lagging = stream.group("lagging", policy="lag")
        writing = Thread(put_arrays, stream, 3000)
        seen = []
        while writing.is_alive() or lagging.qsize():
            try:
                array = lagging.get(timeout=0.05)
            except stream.Empty:
                continue
            assert array[0] == array[-1] == array[numpy.random.randint(20_000)]
            seen.append(int(array[0]))
        writing.result()
        assert seen == sorted(set(seen))
        assert lagging.lapped + len(seen) == 3000


def put_arrays(stream, count):
    import numpy

    for number in range(count):
        stream.put(numpy.full(20_000, number), timeout=LIMIT)


def stopped(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


def take_twice(group):
    for _ in range(2):
        with pytest.raises(NoFreeSeatError, match="as many consumers hold items"):
            group.get(timeout=LIMIT)


def test_a_child_without_a_row_of_its_own_takes_nothing_of_a_group_that_is_followed(make_stream):
    stream = make_stream(capacity=300, groups={"first": {}, "second": {"after": "first"}})
    stream.put_batch(range(260))
    consumers = [stream.group("first") for _ in range(MAX_HOLDS)]
    for consumer in consumers:
        consumer.get(timeout=LIMIT)
    there = stream.group("first").qsize()
    run_in_fork(take_twice, consumers[0])
    assert stream.group("first").qsize() == there
    for consumer in consumers:
        consumer.close()
