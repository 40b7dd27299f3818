"""Consumers that fail, leave or are killed: nobody takes that for the end of their work."""

import functools
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import types

import pytest

from shmqueue import Consumers, ShutDown, Stream
from shmqueue.errors import ConsumerDiedError, GroupRemovedError
from tests.api.test_examples import EXAMPLES
from tests.groups.test_consumers import WAYS, BadItemError, Keeping, Summing, put_all, way
from tests.support import (
    LIMIT,
    Child,
    Thread,
    await_thread_asleep,
    program_environment,
    segment_files,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("heap")
process_way = pytest.mark.parametrize("processes", WAYS[1:], ids=["fork", "spawn"])


class Doing:
    """Does to itself what a test wants, at an item."""

    def __init__(self, what, at=0):
        self.what = what
        self.at = at

    def consume(self, items):
        if self.at in items:
            self.what()


def leave_by_exit():
    raise SystemExit(0)


def leave_by_exit_with_3():
    raise SystemExit(3)


def be_interrupted():
    raise KeyboardInterrupt


def leave_at_once():
    os._exit(0)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise BadItemError("no good")


def pass_on(items, error):
    raise error


def pass_over(items, error):
    pass


# A failure shuts the stream down


@way
def test_a_producer_that_waits_is_told_when_a_consumer_shuts_the_stream(make_stream, processes):
    stream = make_stream(capacity=4, groups=["sum"])
    consumers = Consumers(
        *(stream, "sum", functools.partial(Doing, fail, at=3)),
        max_items=1,
        on_error="shutdown",
        processes=processes,
    )
    producer = Thread(lambda: [stream.put(number, timeout=LIMIT) for number in range(100)])
    await_thread_asleep(producer)
    consumers.start()
    with pytest.raises(ShutDown):
        producer.result()
    with pytest.raises(BadItemError, match="no good"):
        consumers.join(LIMIT)
    assert [type(error) for error in consumers.errors] == [BadItemError]


@way
def test_stages_after_one_that_shuts_the_stream_end_without_what_it_failed_on(
    make_stream, total, processes
):
    stream = make_stream(groups={"check": {}, "sum": {"after": "check"}})
    put_all(stream, 100)
    behind = Consumers(stream, "sum", functools.partial(Summing, total)).start()
    check = Consumers(
        *(stream, "check", functools.partial(Doing, fail, at=10)),
        max_items=10,
        on_error="shutdown",
        processes=processes,
    ).start()
    behind.join(LIMIT)
    with pytest.raises(BadItemError):
        check.join(LIMIT)
    assert 0 <= total.value - 1_000_000 <= sum(range(10))
    assert behind.errors == []


def test_a_consumer_that_cannot_be_made_shuts_the_stream_as_well(stream):
    consumers = Consumers(stream, "sum", fail, on_error="shutdown").start()
    with pytest.raises(BadItemError):
        consumers.join(LIMIT)
    with pytest.raises(ShutDown):
        stream.put(1)


@way
def test_leaving_the_block_of_a_stream_that_was_shut_raises_what_failed(make_stream, processes):
    stream = make_stream(capacity=4, groups=["sum"])
    make = functools.partial(Doing, fail, at=3)
    consumers = Consumers(
        stream, "sum", make, max_items=1, on_error="shutdown", processes=processes
    )

    def put_within():
        with consumers:
            put_for_ever(stream)

    with pytest.raises(BadItemError):
        put_within()


@pytest.mark.parametrize("on_error", ["raise", "stop"])
def test_a_group_whose_consumers_stopped_waits_for_others_to_go_on(make_stream, total, on_error):
    stream = make_stream(capacity=4, groups=["sum"])
    stream.put_batch(range(4))
    failing = functools.partial(Doing, fail, at=0)
    stopped = Consumers(stream, "sum", failing, max_items=2, on_error=on_error).start()
    wait_until(lambda: stopped.errors, "the failure")
    stream.put_batch([4, 5])
    with pytest.raises(stream.Full):
        stream.put(6, block=False)
    with Consumers(stream, "sum", functools.partial(Summing, total)) as others:
        others.drain(LIMIT)
    assert total.value == 2 + 3 + 4 + 5 + 1_000_000
    if on_error == "raise":
        with pytest.raises(BadItemError):
            stopped.join(LIMIT)
    else:
        stopped.join(LIMIT)


@pytest.mark.parametrize("on_error", ["raise", "stop", "skip"])
def test_stages_after_one_that_failed_get_what_it_failed_on(make_stream, on_error):
    stream = make_stream(groups={"check": {}, "keep": {"after": "check"}})
    put_all(stream, 3)
    batches = []
    behind = Consumers(stream, "keep", lambda: Keeping(batches)).start()
    make = functools.partial(Doing, fail, at=0)
    Consumers(stream, "check", make, max_items=3, on_error=on_error).start()
    behind.join(LIMIT)
    assert batches == [[0, 1, 2]]


# Leaving by what is no Exception


@pytest.mark.parametrize("on_error", ["raise", "shutdown", "stop", "skip", pass_over])
@pytest.mark.parametrize(
    ("leave", "code"), [(leave_by_exit, 0), (leave_by_exit_with_3, 3), (be_interrupted, 1)]
)
def test_a_thread_that_is_left_is_told_of(stream, on_error, leave, code):
    put_all(stream, 100)
    make = functools.partial(Doing, leave)
    consumers = Consumers(stream, "sum", make, workers=2, max_items=10, on_error=on_error).start()
    with pytest.raises(ConsumerDiedError, match=r"ended by (SystemExit|KeyboardInterrupt)") as told:
        consumers.join(LIMIT)
    assert told.value.exitcode == code
    assert isinstance(told.value.__cause__, (SystemExit, KeyboardInterrupt))
    assert len(consumers.errors) == 1
    assert sum(row["errors"] for row in consumers.statistics()) == 1


@process_way
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("leave", [leave_by_exit, leave_by_exit_with_3, be_interrupted])
def test_a_process_that_is_left_is_told_of(stream, processes, on_error, leave):
    put_all(stream, 100)
    make = functools.partial(Doing, leave)
    consumers = Consumers(stream, "sum", make, processes=processes, on_error=on_error).start()
    with pytest.raises(ConsumerDiedError, match=r"ended by (SystemExit|KeyboardInterrupt)"):
        consumers.join(LIMIT)
    assert len(consumers.errors) == 1


@process_way
def test_a_process_that_ends_without_a_word_is_told_of_though_its_exit_code_is_0(stream, processes):
    put_all(stream, 100)
    make = functools.partial(Doing, leave_at_once)
    consumers = Consumers(stream, "sum", make, processes=processes, on_error="skip").start()
    with pytest.raises(ConsumerDiedError, match="ended by exit code 0"):
        consumers.join(LIMIT)


@way
def test_what_ends_a_consumer_is_raised_also_where_errors_of_items_are_passed_over(
    stream, processes
):
    consumers = Consumers(stream, "sum", fail, processes=processes, on_error="skip").start()
    with pytest.raises(BadItemError):
        consumers.join(LIMIT)


def test_being_interrupted_is_not_hidden_by_what_the_consumers_raise(stream):
    def interrupted():
        with Consumers(stream, "sum", functools.partial(Doing, fail)) as consumers:
            stream.put(0)
            wait_until(lambda: consumers.errors, "the failure")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


# Draining tells of what was lost


@process_way
def test_draining_tells_of_a_killed_consumer_whose_items_are_lost(stream, processes):
    make = functools.partial(Doing, be_killed, at=5)
    consumers = Consumers(stream, "sum", make, processes=processes).start()
    stream.put_batch(range(10))
    with pytest.raises(ConsumerDiedError, match="ended by signal 9"):
        consumers.drain(LIMIT)
    with pytest.raises(ConsumerDiedError):
        consumers.join(LIMIT)
    assert len(consumers.errors) == 1


@way
def test_draining_raises_what_a_consumer_failed_with_though_it_had_the_last_items(
    stream, processes
):
    make = functools.partial(Doing, fail)
    consumers = Consumers(stream, "sum", make, processes=processes).start()
    stream.put(0)
    with pytest.raises(BadItemError):
        consumers.drain(LIMIT)
    with pytest.raises(BadItemError):
        consumers.join(LIMIT)


class Quiet:
    def consume(self, items):
        pass


class FailingAtLength:
    def consume(self, items):
        raise BadItemError("x" * 2000)


@process_way
def test_many_errors_that_nobody_asks_for_hold_no_consumer_up(stream, processes):
    """More than there is room for in the pipes by which they are told."""
    with Consumers(
        stream, "sum", FailingAtLength, workers=2, processes=processes, max_items=1, on_error="skip"
    ) as consumers:
        stream.put_batch(range(300))
        with stream.group("sum") as watched:
            wait_until(lambda: watched.lag() == 0, "all is taken")
        consumers.drain(LIMIT)
    assert len(consumers.errors) == 300


class FailingAtHome:
    """Raises what only this process can load."""

    def consume(self, items):
        module = types.ModuleType("only_here")
        module.OnlyHereError = type("OnlyHereError", (Exception,), {"__module__": "only_here"})
        sys.modules["only_here"] = module
        raise module.OnlyHereError("tells why")


@process_way
def test_an_error_that_only_its_process_can_load_is_told_in_words(stream, processes):
    consumers = Consumers(stream, "sum", FailingAtHome, processes=processes).start()
    stream.put(0)
    with pytest.raises(RuntimeError, match="OnlyHereError: tells why"):
        consumers.join(LIMIT)


def _run_consumers_and_die(run_id, sender):
    """Be killed once the consumers have consumed something; they go on."""
    with Stream("stream", run_id=run_id) as stream:
        Consumers(
            stream, "sum", FailingAtLength, processes=True, max_items=1, on_error="skip"
        ).start()
        stream.put(0)
        wait_until(lambda: stream.group("sum").lag() == 0, "an item is consumed")
        sender.send(multiprocessing.active_children()[0].pid)
        os.kill(os.getpid(), signal.SIGKILL)


def test_consumers_go_on_when_whoever_made_them_is_killed(make_stream, run_id):
    """Also with errors, of which nobody is told any more, and more than a pipe has room for."""
    stream = make_stream(groups=["sum"])
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    with receiver, sender:
        child = Child(fork, _run_consumers_and_die, run_id, sender)
        assert receiver.poll(LIMIT)
        worker = receiver.recv()
        # Its worker has the pipe that would tell of its end.
        wait_until(lambda: child.process.exitcode is not None, "it is killed")
        assert child.wait() == -signal.SIGKILL
    try:
        stream.put_batch(range(300), timeout=LIMIT)
        wait_until(lambda: stream.group("sum").lag() == 0, "all is consumed")
    finally:
        os.kill(worker, signal.SIGKILL)  # an orphan, which the tests inherit
        os.waitpid(worker, 0)


@pytest.mark.parametrize(
    "options", [{"linger": float("inf")}, {"linger": -1}, {"writes": True, "copy": True}]
)
def test_what_cannot_be_is_told_before_anything_is_started(stream, options):
    with pytest.raises(ValueError):
        Consumers(stream, "sum", Quiet, **options)


def test_a_batch_is_consumed_though_its_group_was_removed_meanwhile(stream):
    got = []

    class Lingering:
        def consume(self, items):
            got.extend(items)

    consumers = Consumers(stream, "sum", Lingering, linger=LIMIT, max_items=4).start()
    stream.put_batch([1, 2, 3])
    wait_until(lambda: stream.group("sum").lag() == 0, "the items are taken")
    stream.remove_group("sum")
    with pytest.raises(GroupRemovedError):
        consumers.join(LIMIT)
    assert got == [1, 2, 3]


@way
def test_draining_passes_over_what_the_consumers_do(stream, processes):
    make = functools.partial(Doing, fail)
    consumers = Consumers(stream, "sum", make, processes=processes, on_error="skip").start()
    stream.put(0)
    consumers.drain(LIMIT)
    assert [type(error) for error in consumers.errors] == [BadItemError]
    consumers.stop()
    consumers.join(LIMIT)


@pytest.mark.parametrize("max_items", [1, 100], ids=["with items left", "with the last items"])
def test_draining_what_an_error_has_stopped_says_so(stream, max_items):
    make = functools.partial(Doing, fail)
    consumers = Consumers(stream, "sum", make, max_items=max_items, on_error="stop")
    stream.put_batch(range(10))
    consumers.start()
    with pytest.raises(RuntimeError, match="an error ended them, see `errors`") as told:
        consumers.drain(LIMIT)
    assert not isinstance(told.value, ShutDown)
    consumers.join(LIMIT)
    assert [type(error) for error in consumers.errors] == [BadItemError]


# Figures


def test_the_lag_is_what_it_is_now(stream):
    may_go_on, began = threading.Event(), threading.Event()

    class Slow:
        def consume(self, items):
            began.set()
            may_go_on.wait(LIMIT)

    consumers = Consumers(stream, "sum", Slow).start()
    stream.put(0)
    assert began.wait(LIMIT)
    stream.put_batch(range(500))
    assert consumers.statistics()[0]["lag"] == 500
    consumers.stop()
    may_go_on.set()
    consumers.join(LIMIT)
    stream.remove_group("sum")
    (seen,) = consumers.statistics()
    assert (seen["lag"], seen["lag_max"]) == (500, 0)


def test_the_lag_of_a_group_that_is_gone_is_what_was_seen_last(stream, total):
    stream.put_batch(range(5))
    consumers = Consumers(stream, "sum", functools.partial(Summing, total))
    stream.remove_group("sum")
    assert consumers.statistics()[0]["lag"] == 5


@pytest.mark.parametrize("on_error", ["raise", "stop", "skip"])
def test_a_batch_that_failed_is_counted_like_the_others(stream, on_error):
    put_all(stream, 10)
    waits = threading.Event()

    class Failing:
        def consume(self, items):
            waits.wait(0.01)
            raise BadItemError

    consumers = Consumers(stream, "sum", Failing, max_items=10, on_error=on_error).start()
    wait_until(lambda: consumers.statistics()[0]["errors"], "the failure")
    consumers.stop()
    if on_error == "raise":
        with pytest.raises(BadItemError):
            consumers.join(LIMIT)
    else:
        consumers.join(LIMIT)
    (seen,) = consumers.statistics()
    assert (seen["items"], seen["batches"], seen["errors"]) == (10, 1, 1)
    assert seen["consuming_seconds"] >= 0.005


def test_the_mean_lag_is_of_all_batches_that_were_taken(stream, total):
    put_all(stream, 20)
    make = functools.partial(Summing, total, fails_at=10)
    consumers = Consumers(stream, "sum", make, max_items=10, on_error="stop").start()
    consumers.join(LIMIT)
    (seen,) = consumers.statistics()
    assert (seen["lag_max"], seen["lag_mean"]) == (10, 5)


def test_an_error_that_is_handed_on_counts_once(stream):
    put_all(stream, 10)
    consumers = Consumers(stream, "sum", functools.partial(Doing, fail), on_error=pass_on).start()
    with pytest.raises(BadItemError):
        consumers.join(LIMIT)
    assert consumers.statistics()[0]["errors"] == 1
    assert len(consumers.errors) == 1


@process_way
def test_an_error_larger_than_a_pipe_shuts_the_stream_all_the_same(make_stream, processes):
    stream = make_stream(capacity=4, groups=["sum"])
    make = functools.partial(Doing, fail_at_length)
    consumers = Consumers(stream, "sum", make, on_error="shutdown", processes=processes).start()
    with pytest.raises(ShutDown):
        put_for_ever(stream)
    with pytest.raises(BadItemError):
        consumers.join(LIMIT)


def fail_at_length():
    raise BadItemError("no good" * 100_000)


def put_for_ever(stream):
    for number in itertools.count():
        stream.put(number, timeout=LIMIT)


class UnloadableError(Exception):
    """Pickles, but to what cannot be loaded."""

    def __init__(self, one, other):
        super().__init__(one)


def fail_unloadably():
    raise UnloadableError("both", "needed")


@process_way
def test_an_error_that_cannot_be_loaded_is_told_in_words(stream, processes):
    stream.put(0)
    make = functools.partial(Doing, fail_unloadably)
    consumers = Consumers(stream, "sum", make, processes=processes).start()
    with pytest.raises(RuntimeError, match="UnloadableError: both"):
        consumers.join(LIMIT)


# Calls out of order


@pytest.mark.parametrize("call", ["join", "drain"])
def test_what_was_not_started_cannot_be_waited_for(stream, call):
    consumers = Consumers(stream, "sum", lambda: Keeping([]))
    with pytest.raises(RuntimeError, match=r"start\(\) them first"):
        getattr(consumers, call)(LIMIT)


@way
def test_consumers_start_once(stream, total, processes):
    make = functools.partial(Summing, total)
    with Consumers(stream, "sum", make, processes=processes) as consumers:
        with pytest.raises(RuntimeError, match="started already"):
            consumers.start()
        consumers.stop()
        consumers.join(LIMIT)
        with pytest.raises(RuntimeError, match="started already"):
            consumers.start()


@way
def test_waiting_again_for_what_has_ended_changes_nothing(stream, total, processes):
    put_all(stream, 10)
    make = functools.partial(Summing, total)
    consumers = Consumers(stream, "sum", make, processes=processes).start()
    consumers.join(LIMIT)
    consumers.join(LIMIT)
    assert consumers.errors == []
    consumers.drain(LIMIT)


@way
def test_draining_what_was_stopped_before_all_was_consumed_says_so(stream, total, processes):
    make = functools.partial(Summing, total)
    consumers = Consumers(stream, "sum", make, processes=processes).start()
    consumers.stop()
    consumers.join(LIMIT)
    stream.put(1)
    with pytest.raises(RuntimeError, match="they were stopped"):
        consumers.drain(LIMIT)


def test_waiting_again_for_what_has_failed_raises_the_same_again(stream):
    stream.put(0)
    consumers = Consumers(stream, "sum", functools.partial(Doing, fail)).start()
    for _ in range(2):
        with pytest.raises(BadItemError):
            consumers.join(LIMIT)
    assert len(consumers.errors) == 1


@way
def test_consumers_that_cannot_be_started_leave_nothing(stream, processes):
    def cannot_be_pickled():
        return Keeping([])

    consumers = Consumers(stream, "sum", cannot_be_pickled, workers=2, processes=processes)
    if getattr(processes, "_name", None) == "spawn":
        with pytest.raises((AttributeError, TypeError)):
            consumers.start()
        with pytest.raises(RuntimeError, match="not started"):
            consumers.join(LIMIT)
    else:
        with consumers:
            pass


# What a handle may be asked for


@way
def test_a_stage_may_write_for_those_after_it(make_stream, processes):
    np = pytest.importorskip("numpy")
    stream = make_stream(item_size=1 << 16, groups={"double": {}, "keep": {"after": "double"}})
    stream.put(np.arange(4096.0))
    stream.shutdown()
    Consumers(stream, "double", Doubling, processes=processes, writes=True).start().join(LIMIT)
    with stream.group("keep") as keep:
        assert (keep.get(timeout=LIMIT) == 2 * np.arange(4096.0)).all()


class Doubling:
    def consume(self, items):
        for item in items:
            item *= 2


def test_a_stage_does_not_write_unless_it_says_so(stream):
    np = pytest.importorskip("numpy")
    stream.put(np.arange(4096.0))
    with pytest.raises(ValueError, match="read-only"):
        Consumers(stream, "sum", Doubling).start().join(LIMIT)


@pytest.mark.parametrize("copy", [True, False])
def test_a_stage_may_have_copies(stream, copy):
    np = pytest.importorskip("numpy")
    stream.put(np.arange(4096.0))
    stream.shutdown()
    consumers = Consumers(stream, "sum", lambda: Keeping([]), copy=copy)
    consumers.start().join(LIMIT)
    assert stream.get_metrics()["items_copied"] == copy


# The example


@pytest.mark.parametrize("number", [0, 30_000])
def test_the_disruptor_example_ends_with_the_error_of_the_stage_that_refused(number):
    program = subprocess.Popen(
        [sys.executable, EXAMPLES / "disruptor.py", "--orders", "60000", "--negative", str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=program_environment(),
    )
    try:
        output, errors = program.communicate(timeout=LIMIT)
    finally:
        program.kill()
        program.communicate()
    assert program.returncode == 1
    assert errors.endswith(f"ValueError: order {number} has a negative amount\n")
    assert "During handling" not in errors
    assert "orders in" not in output
    assert segment_files(f"orders@{program.pid}") == []
