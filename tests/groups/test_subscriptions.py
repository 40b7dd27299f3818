"""Subscriptions end with their handle, whatever other threads do with it."""

import gc

import pytest

from shmqueue import Stream, _groups
from tests import support
from tests.support import LIMIT, Thread


class TestClosingASubscription:
    @pytest.mark.parametrize("dtype", [None, "<i4"])
    @pytest.mark.parametrize("call", ["get", "get_batch", "get_bytes", "get_view"])
    def test_tells_who_waits_that_it_is_closed(self, make_stream, call, dtype):
        stream = make_stream(dtype=dtype)
        for _ in range(10):
            subscription = stream.subscribe()
            waiting = Thread(getattr(subscription, call), *[5] * (call == "get_batch"))
            support.await_thread_asleep(waiting)
            subscription.close()
            with pytest.raises(ValueError, match="closed"):
                waiting.result()

    def test_tells_who_waits_before_the_group_ends(self, make_stream, monkeypatch):
        stream = make_stream()
        subscription = stream.subscribe()
        waiting = Thread(subscription.get)
        support.await_thread_asleep(waiting)
        leave, is_told = _groups.leave, []

        def leave_late(*group):
            waiting.join(LIMIT / 10)
            is_told.append(not waiting.is_alive())
            leave(*group)

        monkeypatch.setattr(_groups, "leave", leave_late)
        subscription.close()
        assert is_told == [True]
        with pytest.raises(ValueError, match="closed"):
            waiting.result()
        assert stream.groups() == []

    def test_may_be_done_again_if_it_was_interrupted(self, make_stream, monkeypatch):
        stream = make_stream()
        subscription = stream.subscribe()
        with monkeypatch.context() as patched:
            patched.setattr(_groups, "leave", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                subscription.close()
        assert subscription.closed
        assert len(stream.groups()) == 1
        subscription.close()
        assert stream.groups() == []


class TestOpening:
    def test_what_is_interrupted_leaves_no_group(self, make_stream, monkeypatch):
        stream = make_stream()
        for call in ("row_of", "Subscription"):
            with monkeypatch.context() as patched:
                if call == "row_of":
                    patched.setattr(_groups, "row_of", _interrupt)
                else:
                    # As if a signal's handler had raised when it returned.
                    opened = _groups.Subscription
                    patched.setattr(
                        _groups, "Subscription", lambda *of, made=opened: _interrupt(made(*of))
                    )
                with pytest.raises(KeyboardInterrupt):
                    stream.subscribe()
            gc.collect()
            assert stream.groups() == []

    def test_what_is_interrupted_again_while_it_leaves_leaves_no_group(
        self, make_stream, monkeypatch
    ):
        stream = make_stream()
        leave, calls = _groups.leave, []

        def leave_at_the_second_call(*group):
            calls.append(group)
            if len(calls) == 1:
                raise KeyboardInterrupt
            leave(*group)

        with monkeypatch.context() as patched:
            patched.setattr(Stream, "_handle", _interrupt)
            patched.setattr(_groups, "leave", leave_at_the_second_call)
            with pytest.raises(KeyboardInterrupt):
                stream.subscribe()
            gc.collect()
        assert len(calls) == 2
        assert stream.groups() == []

    def test_it_may_be_left_again_if_that_was_interrupted(self, make_stream, monkeypatch):
        stream = make_stream()
        opened = _groups.Subscription(stream._attachment, {}, _groups.POLICY_BLOCK, 0, 0, 0)
        with monkeypatch.context() as patched:
            patched.setattr(_groups, "leave", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                opened.leave()
        assert len(stream.groups()) == 1
        for _ in range(2):
            opened.leave()
            assert stream.groups() == []

    def test_a_child_that_was_forked_meanwhile_leaves_it_to_its_parent(self, make_stream):
        stream = make_stream()
        opened = _groups.Subscription(stream._attachment, {}, _groups.POLICY_BLOCK, 0, 0, 0)

        def child():
            stream.put("has a seat")
            opened.leave()

        support.run_in_fork(child)
        assert len(stream.groups()) == 1
        opened.leave()
        assert stream.groups() == []


def _interrupt(*group):
    raise KeyboardInterrupt
