"""Handles on groups: taking in batches and in loops, and in other processes."""

import multiprocessing
import time
from queue import Empty, Full

import pytest

from tests import support
from tests.groups.test_groups import everything
from tests.support import Thread, run_in_fork

SPAWN = multiprocessing.get_context("spawn")


class TestBatches:
    @pytest.mark.parametrize(
        ("options", "kind", "said"),
        [
            ({"max_items": 0}, ValueError, "max_items must be at least 1"),
            ({"linger": -1}, ValueError, "linger must be seconds"),
            ({"linger": float("nan")}, ValueError, "linger must be seconds"),
            ({"linger": float("inf")}, ValueError, "linger must be seconds"),
            ({"linger": 1e10}, ValueError, "linger must be seconds"),
            ({"linger": None}, TypeError, "linger must be a number of seconds"),
            ({"linger": "1"}, TypeError, "linger must be a number of seconds"),
        ],
    )
    def test_arguments_that_cannot_be_are_refused_at_the_call(
        self, make_stream, options, kind, said
    ):
        group = make_stream(groups=["a"]).group("a")
        with pytest.raises(kind, match=said):
            group.batches(**{"max_items": 3, **options})

    def test_a_very_long_wait_may_be_asked_for(self, make_stream):
        stream = make_stream(groups=["a"])
        with stream.writer() as out:
            out.put(0)
        assert list(stream.group("a").batches(2, linger=999_999_999)) == [[0]]


def test_an_iteration_tells_that_another_thread_has_closed_the_handle(make_stream):
    group = make_stream(groups=["a"]).group("a")
    waiting = Thread(list, group)
    support.await_thread_asleep(waiting)
    group.close()
    with pytest.raises(ValueError, match="closed"):
        waiting.result()


class TestTravelling:
    def test_a_group_is_not_sent_to_another_process_but_its_stream_is(self, make_stream):
        stream = make_stream()
        handles = {"group('a')": stream.group("a"), "subscribe()": stream.subscribe()}
        for call, handle in handles.items():
            with pytest.raises(TypeError, match="pass the stream, and call ") as caught:
                SPAWN.Process(target=everything, args=(handle,)).start()
            assert call in str(caught.value)

    def test_a_forked_child_uses_the_handle_that_it_inherited(self, make_stream):
        stream = make_stream(groups=["a"])
        stream.put("item")
        assert run_in_fork(stream.group("a").get) == "item"


def test_calls_that_wait_leave_the_core_to_others(make_stream):
    stream = make_stream(capacity=1, groups={"a": {}, "b": {"after": "a"}})
    before, begun = time.thread_time(), time.monotonic()
    with stream.group("a") as first, stream.group("b") as second:
        with pytest.raises(Empty):
            first.get(timeout=0.3)
        stream.put("fills it")
        with pytest.raises(Empty):
            second.get(timeout=0.3)
        with pytest.raises(Full):
            stream.put("too much", timeout=0.3)
    assert time.monotonic() - begun >= 0.9 - 3 * support.CLOCK_SLACK
    assert time.thread_time() - before < 0.2
