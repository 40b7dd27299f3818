"""Owner words and blocks of the dead are taken over; those of the living never are."""

import os
import signal
import time
from queue import Empty, Full

import pytest

from tests import support
from tests.protocol.raw import (
    AWAITED,
    BATCH_AWAITED,
    CONTENDED,
    FLAGS,
    HEAD,
    HELD,
    POOL,
    QUEUED,
    TAIL,
    tag,
)
from tests.support import CLOCK_SLACK, LIMIT, Thread, wait_until

LARGE = bytes(range(256)) * 64


def _use(queue):
    """Do what needs a seat and leaves the queue as it was."""
    queue.put("seated")
    assert queue.get() == "seated"


def _use_and_die(queue):
    _use(queue)
    os.kill(os.getpid(), signal.SIGKILL)


def _use_and_stop(queue):
    _use(queue)
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture
def queue(create):
    return create(capacity=4, item_size=64)


@pytest.fixture
def raw(queue, open_raw):
    return open_raw()


@pytest.fixture
def dead_tag(queue, raw, forks):
    """Return the tag of a process that had a seat and is no more."""
    pid = forks.start(_use_and_die, queue)
    assert forks.wait(pid) == -signal.SIGKILL
    return raw.seat_of(pid)[1]


@pytest.fixture
def stopped(queue, forks):
    """Return the pid of a process that has a seat and stands still."""
    pid = forks.start(_use_and_stop, queue)
    os.waitpid(pid, os.WUNTRACED)
    return pid


@pytest.fixture
def live_tag(raw, stopped):
    return raw.seat_of(stopped)[1]


@pytest.fixture
def sweep(programs, run_id):
    """Let a new program attach, which sweeps after the dead, and leave."""
    return lambda: programs.run(
        """
        import sys
        from shmqueue import SharedMemoryQueue

        SharedMemoryQueue("q", run_id=sys.argv[1]).close()
        """,
        run_id,
    )


def _takeovers(queue):
    return queue.get_metrics()["takeovers"]


# For each end: what needs it, what the call raises when it doesn't get it, and what undoes it.
CALLS = {
    "put": (TAIL, lambda q, t: q.put(1, timeout=t), Full),
    "put_batch": (TAIL, lambda q, t: q.put_batch([1, 2], timeout=t), Full),
    "put large": (POOL, lambda q, t: q.put(LARGE, timeout=t), Full),
    "put_batch large": (POOL, lambda q, t: q.put_batch([LARGE, 2], timeout=t), Full),
    "get": (HEAD, lambda q, t: q.get(timeout=t), Empty),
    "get_batch": (HEAD, lambda q, t: q.get_batch(2, timeout=t), Empty),
}


@pytest.fixture(params=CALLS)
def call(request, queue):
    """Return an end, a call that needs it, and what that raises at its timeout."""
    end, function, error = CALLS[request.param]
    if end == HEAD:
        queue.put("there")
    return end, lambda timeout: function(queue, timeout), error


class TestDeadOwners:
    @pytest.mark.parametrize("flags", [0, CONTENDED, AWAITED, BATCH_AWAITED, 7], ids=str)
    def test_their_word_is_taken_and_the_call_goes_on(self, queue, raw, dead_tag, call, flags):
        end, function, _ = call
        raw.set_owner(end, dead_tag | flags)
        function(LIMIT)
        assert _takeovers(queue) == 1
        assert raw.owner(end) & ~FLAGS == 0

    def test_calls_that_may_not_block_go_on_too(self, queue, raw, dead_tag):
        raw.set_owner(TAIL, dead_tag)
        queue.put_nowait("x")
        raw.set_owner(HEAD, dead_tag)
        assert queue.get_nowait() == "x"
        assert _takeovers(queue) == 2

    @pytest.mark.parametrize("strategy", ["spin", "yield"])
    def test_a_handle_that_polls_goes_on_too(self, queue, raw, dead_tag, call, strategy):
        queue.set_wait_strategy(strategy)
        end, function, _ = call
        raw.set_owner(end, dead_tag)
        function(LIMIT)
        assert _takeovers(queue) == 1

    def test_again_and_again(self, queue, raw, dead_tag):
        for number in range(20):
            raw.set_owner(TAIL, dead_tag)
            queue.put(number, timeout=LIMIT)
            raw.set_owner(HEAD, dead_tag)
            assert queue.get(timeout=LIMIT) == number
        assert _takeovers(queue) == 40

    def test_what_a_dead_producer_half_wrote_is_written_over(self, queue, raw, dead_tag):
        queue.put("whole")
        at = raw.get("end", TAIL, "sequence") % 4
        raw.set("slot", at, "stamp", 2 * raw.get("end", TAIL, "sequence") + 1)
        raw.set("slot", at, "length", 2**32 - 1)
        raw.set_owner(TAIL, dead_tag)
        queue.put("next", timeout=LIMIT)
        assert support.drain(queue, 2) == ["whole", "next"]

    @pytest.mark.parametrize("seat", [256, 300, 4095, 65534])
    def test_a_seat_that_does_not_exist_counts_as_dead(self, queue, raw, call, seat):
        end, function, _ = call
        raw.set_owner(end, tag(seat, 1))
        function(LIMIT)
        assert _takeovers(queue) == 1

    def test_a_former_holder_of_a_living_seat_counts_as_dead(self, queue, raw, live_tag, call):
        end, function, _ = call
        raw.set_owner(end, live_tag - (1 << 24))
        function(LIMIT)
        assert _takeovers(queue) == 1

    def test_a_seat_that_was_never_granted_counts_as_dead(self, queue, raw, call):
        end, function, _ = call
        raw.set_owner(end, tag(200, 0))
        function(LIMIT)
        assert _takeovers(queue) == 1

    def test_a_call_that_waits_already_sees_the_owner_die(
        self, queue, raw, forks, stopped, live_tag, call
    ):
        end, function, _ = call
        raw.set_owner(end, live_tag)
        waiting = Thread(function, None)
        wait_until(lambda: raw.owner(end) & CONTENDED, "the call to wait for the word")
        assert _takeovers(queue) == 0
        forks.kill(stopped)
        waiting.result()
        assert _takeovers(queue) == 1

    def test_a_new_process_sweeps_their_words(self, queue, raw, dead_tag, sweep):
        for end in (TAIL, POOL, HEAD):
            raw.set_owner(end, dead_tag | AWAITED)
        sweep()
        assert [raw.owner(end) & ~FLAGS for end in (TAIL, POOL, HEAD)] == [0, 0, 0]
        _use(queue)


class TestLivingOwners:
    def test_a_stopped_one_is_not_robbed_and_timeouts_hold(self, queue, raw, live_tag, call):
        end, function, error = call
        raw.set_owner(end, live_tag)
        begun = time.monotonic()
        with pytest.raises(error):
            function(0.2)
        assert time.monotonic() - begun >= 0.2 - CLOCK_SLACK
        assert raw.owner(end) & ~FLAGS == live_tag
        assert _takeovers(queue) == 0
        raw.set_owner(end, 0)
        function(LIMIT)
        assert _takeovers(queue) == 0

    def test_who_waits_for_a_stopped_one_leaves_the_core_to_others(self, raw, live_tag, call):
        end, function, error = call
        raw.set_owner(end, live_tag)
        before, begun = time.thread_time(), time.monotonic()
        with pytest.raises(error):
            function(0.5)
        assert time.monotonic() - begun >= 0.5 - CLOCK_SLACK
        assert time.thread_time() - before < 0.2
        raw.set_owner(end, 0)

    def test_calls_that_may_not_block_give_up(self, queue, raw, live_tag):
        queue.put("x")
        raw.set_owner(TAIL, live_tag)
        raw.set_owner(HEAD, live_tag)
        with pytest.raises(Full):
            queue.put_nowait(1)
        with pytest.raises(Empty):
            queue.get_nowait()
        assert (raw.owner(TAIL) & ~FLAGS, raw.owner(HEAD) & ~FLAGS) == (live_tag, live_tag)
        raw.set_owner(TAIL, 0)
        raw.set_owner(HEAD, 0)
        assert queue.get_nowait() == "x"

    def test_who_waits_goes_on_when_the_owner_lets_go(self, queue, raw, live_tag, call):
        end, function, _ = call
        raw.set_owner(end, live_tag)
        waiting = Thread(function, None)
        wait_until(lambda: raw.owner(end) & CONTENDED, "the call to wait for the word")
        assert waiting.is_alive()
        raw.set_owner(end, 0)
        waiting.result()
        assert _takeovers(queue) == 0

    def test_a_thread_of_this_process_is_not_robbed_either(self, queue, raw, call):
        end, function, error = call
        own = raw.seat_of(os.getpid())[1]
        raw.set_owner(end, own)
        with pytest.raises(error):
            function(0.1)
        assert raw.owner(end) & ~FLAGS == own
        raw.set_owner(end, 0)
        function(LIMIT)
        assert _takeovers(queue) == 0

    def test_a_new_process_does_not_sweep_their_words(self, queue, raw, live_tag, sweep):
        raw.set_owner(TAIL, live_tag)
        sweep()
        assert raw.owner(TAIL) == live_tag
        raw.set_owner(TAIL, 0)

    def test_a_stopped_process_counts_as_alive(self, queue, stopped):
        (row,) = [row for row in queue.get_metrics()["seats"] if row["pid"] == stopped]
        assert row["alive"]


def _pool(queue):
    metrics = queue.get_metrics()
    return metrics["pool_bytes"], metrics["pool_free_bytes"]


class TestBlocks:
    @pytest.fixture
    def free_block(self, queue):
        """Make the pool have one block, number 0, which is free."""
        queue.put(LARGE)
        assert queue.get() == LARGE
        reserved, free = _pool(queue)
        assert reserved == free > 0

    @pytest.mark.parametrize("state", [HELD, QUEUED])
    def test_what_the_dead_held_is_found_again(
        self, queue, raw, free_block, dead_tag, sweep, state
    ):
        raw.set("block", 0, "state", dead_tag | state)
        assert _pool(queue)[1] == 0
        sweep()
        assert raw.get("block", 0, "state") == 0
        reserved, free = _pool(queue)
        assert reserved == free > 0
        queue.put(LARGE)
        assert queue.get() == LARGE
        assert _pool(queue)[0] == reserved

    def test_what_the_living_hold_is_theirs(self, queue, raw, free_block, live_tag, sweep):
        raw.set("block", 0, "state", live_tag | HELD)
        sweep()
        assert raw.get("block", 0, "state") == live_tag | HELD
        queue.put(LARGE)
        assert queue.get() == LARGE
        assert raw.get("block", 0, "state") == live_tag | HELD
        raw.set("block", 0, "state", 0)

    def test_what_the_dead_put_is_received_whole(self, queue, raw, forks, sweep):
        pid = forks.start(queue.put_batch, [LARGE, "small", LARGE[::-1]])
        assert forks.wait(pid) == 0
        sweep()
        assert _pool(queue)[1] == 0
        assert support.drain(queue, 3) == [LARGE, "small", LARGE[::-1]]
        reserved, free = _pool(queue)
        assert reserved == free > 0

    def test_what_a_dead_consumer_marked_but_did_not_take_is_received(
        self, queue, raw, dead_tag, sweep
    ):
        queue.put(LARGE)
        raw.set("block", 0, "state", dead_tag | HELD)
        raw.set_owner(HEAD, dead_tag)
        sweep()
        assert raw.get("block", 0, "state") != 0
        assert queue.get(timeout=LIMIT) == LARGE
        assert raw.get("block", 0, "state") == 0
