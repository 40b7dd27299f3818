"""get_metrics: exact, consistent, and never going back."""

import multiprocessing
import os
import threading
import time

import pytest

from tests import support
from tests.api import workers
from tests.support import CLOCK_SLACK, LIMIT, drain

FORK = multiprocessing.get_context("fork")

KEYS = {
    "queue_size",
    "queue_capacity",
    "queue_utilization_percent",
    "queue_item_size_bytes",
    "items_put",
    "items_got",
    "bytes_put",
    "bytes_got",
    "blocked_full_count",
    "blocked_full_seconds",
    "blocked_empty_count",
    "blocked_empty_seconds",
    "takeovers",
    "high_water_mark",
    "oldest_item_age_seconds",
    "pool_bytes",
    "pool_free_bytes",
    "view_bytes",
    "items_viewed",
    "items_copied",
    "seats",
}

SEAT_KEYS = {
    "seat",
    "pid",
    "alive",
    "items_put",
    "items_got",
    "bytes_put",
    "bytes_got",
    "blocked_full_count",
    "blocked_full_seconds",
    "blocked_empty_count",
    "blocked_empty_seconds",
    "takeovers",
    "items_viewed",
    "items_copied",
    "view_bytes",
    "attached_seconds",
    "idle_seconds",
}

GROWING = [
    "items_put",
    "items_got",
    "bytes_put",
    "bytes_got",
    "blocked_full_count",
    "blocked_full_seconds",
    "blocked_empty_count",
    "blocked_empty_seconds",
    "takeovers",
    "items_viewed",
    "items_copied",
    "high_water_mark",
]


def _seat_of(queue, pid):
    rows = [row for row in queue.get_metrics()["seats"] if row["pid"] == pid and row["alive"]]
    assert len(rows) == 1
    return rows[0]


class TestKeys:
    def test_all_are_there_from_the_start(self, create):
        metrics = create(capacity=17, item_size=333).get_metrics()
        assert set(metrics) == KEYS
        assert metrics["queue_capacity"] == 17
        assert metrics["queue_item_size_bytes"] == 333
        assert metrics["queue_size"] == 0
        assert metrics["queue_utilization_percent"] == 0
        assert metrics["oldest_item_age_seconds"] is None
        for key in GROWING:
            assert metrics[key] == 0

    def test_each_seat_has_a_full_row(self, create):
        queue = create()
        queue.put(1)
        rows = queue.get_metrics()["seats"]
        assert rows
        for row in rows:
            assert set(row) == SEAT_KEYS

    def test_numbers_have_their_types(self, create):
        queue = create()
        queue.put(1)
        metrics = queue.get_metrics()
        for key, value in metrics.items():
            if key.endswith(("seconds", "percent")):
                assert isinstance(value, (int, float)), key
            elif key != "seats":
                assert type(value) is int, key

    def test_they_can_be_written_as_json(self, create):
        import json

        queue = create()
        queue.put(1)
        assert json.loads(json.dumps(queue.get_metrics()))["queue_size"] == 1


class TestTotals:
    def test_items_are_counted_exactly(self, create):
        queue = create(capacity=50)
        for number in range(30):
            queue.put(number)
        queue.put_batch(range(10))
        drain(queue, 5)
        queue.get_batch(7)
        metrics = queue.get_metrics()
        assert metrics["items_put"] == 40
        assert metrics["items_got"] == 12
        assert metrics["queue_size"] == 28
        assert metrics["queue_utilization_percent"] == pytest.approx(56)

    def test_what_failed_counts_nothing(self, create):
        queue = create(capacity=1)
        queue.put("x")
        before = queue.get_metrics()
        with pytest.raises(queue.Full):
            queue.put_nowait("y")
        with pytest.raises(ValueError):
            queue.put_batch("ab")
        with pytest.raises(TypeError):
            queue.put(threading.Lock())
        after = queue.get_metrics()
        for key in ("items_put", "items_got", "bytes_put", "bytes_got", "queue_size"):
            assert after[key] == before[key]

    def test_bytes_are_those_of_the_payloads(self, create):
        queue = create(item_size=64)
        payload = 0
        for size in (10, 60, 100, 1_000_000):
            queue.put(bytes(size))
            payload += size
        put = queue.get_metrics()["bytes_put"]
        assert payload <= put <= payload + 4 * 64
        drain(queue, 4)
        assert queue.get_metrics()["bytes_got"] == put

    def test_the_high_water_mark_is_the_deepest_ever(self, create):
        queue = create(capacity=16)
        queue.put_batch(range(5))
        drain(queue, 4)
        queue.put(1)
        assert queue.get_metrics()["high_water_mark"] == 5
        queue.put_batch(range(10))
        assert queue.get_metrics()["high_water_mark"] == 12

    def test_pool_numbers_follow_large_items(self, create):
        queue = create(item_size=64)
        queue.put(bytes(500_000))
        metrics = queue.get_metrics()
        assert metrics["pool_bytes"] - metrics["pool_free_bytes"] >= 500_000
        queue.get()
        metrics = queue.get_metrics()
        assert metrics["pool_bytes"] == metrics["pool_free_bytes"] >= 500_000


class TestOldestItem:
    def test_its_age_lies_between_what_was_measured(self, create):
        queue = create()
        before = time.monotonic()
        queue.put("old")
        put = time.monotonic()
        with pytest.raises(queue.Full):
            _fill_and_wait(queue, 0.1)
        asked = time.monotonic()
        age = queue.get_metrics()["oldest_item_age_seconds"]
        answered = time.monotonic()
        assert asked - put - CLOCK_SLACK <= age <= answered - before + CLOCK_SLACK

    def test_it_is_that_of_the_next_item_to_come_out(self, create):
        queue = create(capacity=2)
        queue.put("older")
        with pytest.raises(queue.Full):
            _fill_and_wait(queue, 0.1)
        queue.get()
        put = time.monotonic()
        queue.get()
        queue.put("younger")
        age = queue.get_metrics()["oldest_item_age_seconds"]
        assert 0 <= age <= time.monotonic() - put + CLOCK_SLACK

    def test_it_is_none_once_the_queue_is_empty(self, create):
        queue = create()
        queue.put(1)
        assert queue.get_metrics()["oldest_item_age_seconds"] >= 0
        queue.get()
        assert queue.get_metrics()["oldest_item_age_seconds"] is None


def _fill_and_wait(queue, seconds):
    """Let time pass in a put that finds no room."""
    while not queue.full():
        queue.put("filler")
    queue.put("too much", timeout=seconds)


class TestBlocking:
    def test_a_get_that_waits_is_counted_with_its_time(self, create):
        queue = create()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.2)
        metrics = queue.get_metrics()
        assert metrics["blocked_empty_count"] == 1
        assert metrics["blocked_empty_seconds"] >= 0.2 - 5 * CLOCK_SLACK
        assert metrics["blocked_full_count"] == 0
        assert metrics["blocked_full_seconds"] == 0

    def test_a_put_that_waits_is_counted_with_its_time(self, create):
        queue = create(capacity=1)
        queue.put(1)
        with pytest.raises(queue.Full):
            queue.put(2, timeout=0.2)
        metrics = queue.get_metrics()
        assert metrics["blocked_full_count"] == 1
        assert metrics["blocked_full_seconds"] >= 0.2 - 5 * CLOCK_SLACK
        assert metrics["blocked_empty_count"] == 0

    def test_what_need_not_wait_is_not_counted(self, create):
        queue = create(capacity=1)
        for _ in range(5):
            queue.put(1)
            queue.get()
            with pytest.raises(queue.Empty):
                queue.get_nowait()
        metrics = queue.get_metrics()
        assert metrics["blocked_empty_count"] == metrics["blocked_full_count"] == 0

    def test_a_woken_get_is_counted_once(self, create):
        queue = create()
        getter = support.Thread(queue.get)
        support.await_thread_asleep(getter)
        queue.put(1)
        getter.result()
        metrics = queue.get_metrics()
        assert metrics["blocked_empty_count"] == 1
        assert metrics["blocked_empty_seconds"] > 0


class TestSeats:
    def test_a_row_has_its_processs_own_counters(self, create, ctx, start, signs):
        queue, words = create(), signs(ctx)
        queue.put_batch(range(5))
        queue.get()
        child = start(ctx, workers.put_all_and_stay, queue, [1, 2, 3], words.sender)
        words.await_word("put")
        mine, childs = _seat_of(queue, os.getpid()), _seat_of(queue, child.pid)
        assert (mine["items_put"], mine["items_got"]) == (5, 1)
        assert (childs["items_put"], childs["items_got"]) == (3, 0)
        assert mine["seat"] != childs["seat"]
        assert childs["attached_seconds"] >= childs["idle_seconds"] >= 0
        child.kill()

    def test_no_row_of_the_dead_is_alive(self, create, ctx, start, signs):
        queue, words = create(), signs(ctx)
        child = start(ctx, workers.put_all_and_stay, queue, [1], words.sender)
        words.await_word("put")
        pid = child.pid
        assert _seat_of(queue, pid)
        child.kill()
        rows = queue.get_metrics()["seats"]
        assert [row for row in rows if row["pid"] == pid and row["alive"]] == []

    def test_a_new_process_starts_from_zero(self, create, ctx, start):
        queue = create(max_processes=2)
        for _ in range(3):
            counts = start(ctx, _put_and_see_own_row, queue, 4).result()
            assert counts == 4
        assert queue.get_metrics()["items_put"] == 12

    def test_idle_time_is_that_since_the_last_operation(self, create):
        queue = create(capacity=1)
        before = time.monotonic()
        queue.put(1)
        with pytest.raises(queue.Full):
            queue.put(2, timeout=0.1)
        idle = _seat_of(queue, os.getpid())["idle_seconds"]
        answered = time.monotonic()
        # Whether a put that found no room counts as activity is left open.
        assert 0 <= idle <= answered - before + CLOCK_SLACK


def _put_and_see_own_row(queue, count):
    workers.put_all(queue, range(count))
    return _seat_of(queue, os.getpid())["items_put"]


class TestComingAndGoing:
    def test_totals_are_exact_however_processes_leave(self, create, ctx, start, signs):
        queue, words = create(capacity=200, max_processes=3), signs(ctx)
        total = 0
        for _ in range(3):
            start(ctx, workers.put_all, queue, range(10)).result()
            start(ctx, workers.put_all_and_vanish, queue, range(10), words.sender).wait()
            words.await_word("put")
            child = start(ctx, workers.put_all_and_stay, queue, range(10), words.sender)
            words.await_word("put")
            child.kill()
            total += 30
            metrics = queue.get_metrics()
            assert metrics["items_put"] == metrics["queue_size"] == total
        start(ctx, workers.get_some, queue, total).result()
        metrics = queue.get_metrics()
        assert metrics["items_got"] == total
        assert metrics["bytes_got"] == metrics["bytes_put"]
        assert metrics["high_water_mark"] == total

    def test_totals_survive_the_last_process(self, create, attach):
        queue = create()
        queue.put_batch(range(5))
        queue.get()
        queue.close()
        metrics = attach().get_metrics()
        assert (metrics["items_put"], metrics["items_got"]) == (5, 1)

    def test_no_total_ever_goes_back(self, create, start, attach):
        queue = create(capacity=16, max_processes=6)
        stop = threading.Event()
        watcher = support.Thread(_watch, attach(), stop)
        for _ in range(6):
            putters = [start(FORK, workers.put_all, queue, range(150)) for _ in range(2)]
            getters = [start(FORK, workers.get_some, queue, 150) for _ in range(2)]
            for child in putters + getters:
                child.result()
        stop.set()
        looks = watcher.result()
        assert looks > 0
        metrics = queue.get_metrics()
        assert metrics["items_put"] == metrics["items_got"] == 1800

    def test_a_snapshot_is_consistent_while_others_work(self, create, attach):
        queue, other = create(capacity=8), attach()
        stop = threading.Event()
        worker = support.Thread(_pump, other, stop)
        for _ in range(300):
            metrics = queue.get_metrics()
            assert 0 <= metrics["queue_size"] <= 8
            size, percent = metrics["queue_size"], metrics["queue_utilization_percent"]
            assert percent == pytest.approx(size * 100 / 8)
            age = metrics["oldest_item_age_seconds"]
            assert age is None or age >= 0
            assert metrics["items_got"] <= metrics["items_put"]
        stop.set()
        worker.result()


def _watch(queue, stop):
    """Compare each look with the one before; return how many there were."""
    last, looks = queue.get_metrics(), 0
    while not stop.is_set():
        now = queue.get_metrics()
        back = {key: (last[key], now[key]) for key in GROWING if now[key] < last[key]}
        assert not back
        last = now
        looks += 1
        stop.wait(0.001)
    return looks


def _pump(queue, stop):
    while not stop.is_set():
        queue.put("x", timeout=LIMIT)
        queue.get(timeout=LIMIT)
