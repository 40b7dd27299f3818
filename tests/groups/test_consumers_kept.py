"""Consumers and what they hold: items behind one that failed, errors, the log of what happened."""

import builtins
import contextlib
import functools
import logging
import sys

import pytest

from shmqueue import Consumers, ShutDown
from shmqueue.errors import ConsumerDiedError
from shmqueue.groups import Group
from tests.groups.test_consumers import (
    WAYS,
    BadItemError,
    Keeping,
    Summing,
    Unloadable,
    put_all_of,
    way,
)
from tests.groups.test_kept_items import Notes
from tests.support import LIMIT, wait_until

pytestmark = pytest.mark.usefixtures("heap")


def fail():
    raise BadItemError("no good")


@pytest.fixture
def log():
    """Return where this process's consumers log."""
    logger = logging.getLogger("shmqueue.consumers")
    yield logger
    for there in list(logger.filters):
        logger.removeFilter(there)


# Items that were taken together with one that fails to load


class Stopping:
    """Has all consumers stop while it consumes."""

    def __init__(self, batches, consumers):
        self.batches = batches
        self.consumers = consumers

    def consume(self, items):
        self.batches.append(list(items))
        self.consumers[0].stop()


@pytest.mark.parametrize("linger", [0, LIMIT])
@pytest.mark.parametrize("on_error", ["raise", "shutdown", "stop", "skip", print])
def test_what_was_taken_behind_an_item_that_fails_to_load_is_consumed(stream, on_error, linger):
    batches = []
    put_all_of(stream, [1, 2, Unloadable(), 4, 5, 6])
    consumers = Consumers(
        stream, "sum", lambda: Keeping(batches), on_error=on_error, linger=linger
    ).start()
    with contextlib.nullcontext() if on_error == "stop" else pytest.raises(ValueError):
        consumers.join(LIMIT)
    assert batches == [[1, 2], [4, 5, 6]]
    assert [str(error)[-11:] for error in consumers.errors] == ["'no number'"]


@way
def test_what_was_taken_is_consumed_by_processes_too(stream, total, processes):
    put_all_of(stream, [Unloadable(), 2, Unloadable(), 4, 5, 6])
    make = functools.partial(Summing, total)
    consumers = Consumers(stream, "sum", make, processes=processes).start()
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert total.value == 2 + 4 + 5 + 6 + 1_000_000
    assert len(consumers.errors) == 2


@pytest.mark.parametrize("linger", [0, LIMIT])
def test_who_is_stopped_has_consumed_what_was_taken_and_tells_what_failed(stream, linger):
    """And takes no more."""
    batches, made = [], []
    make = functools.partial(Stopping, batches, made)
    consumers = Consumers(stream, "sum", make, max_items=5, linger=linger)
    made.append(consumers)
    stream.put_batch([1, 2, Unloadable(), 4, 5, 6])
    consumers.start()
    with pytest.raises(ValueError, match="no number"):
        consumers.drain(LIMIT)
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert batches == [[1, 2], [4, 5]]


def test_who_is_stopped_tells_what_came_in_and_failed_while_a_batch_lingered(stream):
    batches, made = [], []
    consumers = Consumers(stream, "sum", lambda: Stopping(batches, made), linger=LIMIT)
    made.append(consumers)
    stream.put("good")
    consumers.start()
    wait_until(lambda: stream.get_metrics()["groups"][0]["lag"] == 0, "it to be taken")
    stream.put(Unloadable())
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert batches == [["good"]]


def test_who_shuts_the_stream_because_an_item_fails_to_load_gives_those_behind_it_nothing(
    make_stream,
):
    stream = make_stream(groups={"check": {}, "keep": {"after": "check"}})
    batches = []
    stream.put_batch([1, 2, Unloadable(), 4])
    consumers = Consumers(stream, "check", lambda: Keeping(batches), on_error="shutdown").start()
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert batches == [[1, 2], [4]]
    with pytest.raises(ShutDown):
        stream.group("keep").get_nowait()


def test_a_consumer_that_fails_tells_how_much_of_what_was_taken_it_leaves(stream, caplog):
    class Failing:
        def consume(self, items):
            fail()

    put_all_of(stream, [1, 2, Unloadable(), 4, 5])
    consumers = Consumers(stream, "sum", Failing).start()
    with pytest.raises(BadItemError):
        consumers.join(LIMIT)
    assert "3 more items that consumer 0 of group 'sum' had taken are lost" in caplog.messages


def exits(*args):
    raise SystemExit(3)


@pytest.mark.parametrize("is_counting", [False, True])
def test_a_consumer_that_is_interrupted_just_as_it_has_items_tells_how_many(
    stream, exiting, log, tmp_path, monkeypatch, is_counting
):
    """As they come out of the take, or a little later, while they are counted."""
    handler = logging.FileHandler(tmp_path / "log")
    log.addHandler(handler)
    try:
        stream.put_batch([1, 2, 3 if is_counting else Notes()])
        consumers = Consumers(stream, "sum", functools.partial(Keeping, []), processes=WAYS[1])
        if is_counting:
            monkeypatch.setattr(Group, "lag", exits)
        consumers.start()
        monkeypatch.undo()
        with pytest.raises(ConsumerDiedError):
            consumers.join(LIMIT)
    finally:
        log.removeHandler(handler)
        handler.close()
    told = (tmp_path / "log").read_text()
    assert "3 more items that consumer 0 of group 'sum' had taken are lost" in told


def test_what_fails_once_items_were_taken_ends_the_consumer_and_is_told(
    stream, caplog, monkeypatch
):
    def fail_to_count(self):
        raise RuntimeError("no figures")

    consumers = Consumers(stream, "sum", lambda: Keeping([]))
    stream.put_batch([1, 2])
    monkeypatch.setattr(Group, "lag", fail_to_count)
    with pytest.raises(RuntimeError, match="no figures"):
        consumers.start().join(LIMIT)
    assert "2 more items that consumer 0 of group 'sum' had taken are lost" in caplog.messages


def test_what_there_is_no_memory_for_is_not_tried_for_ever(stream, monkeypatch):
    def fail_to_load(*args, **options):
        raise MemoryError

    consumers = Consumers(stream, "sum", lambda: Keeping([]))
    monkeypatch.setattr(Group, "_add_batch", fail_to_load)
    monkeypatch.setattr(Group, "_kept", lambda self: 1)
    consumers.start()
    with pytest.raises(MemoryError):
        consumers.join(LIMIT)


# What is told before anything else


def test_what_failed_while_a_batch_lingered_is_told_before_it_is_finished_or_logged(
    make_stream, log
):
    stream = make_stream(groups={"sum": {}, "after": {"after": "sum"}})
    seen = []

    def look(record):
        with stream.group("after") as after:
            seen.append(([type(error) for error in consumers.errors], after.qsize()))

    log.addFilter(look)
    consumers = Consumers(stream, "sum", lambda: Keeping([]), max_items=3, linger=LIMIT)
    stream.put("good")
    consumers.start()
    wait_until(lambda: stream.get_metrics()["groups"][0]["lag"] == 0, "it to be taken")
    stream.put(Unloadable())
    with pytest.raises(ValueError, match="no number"):
        consumers.drain(LIMIT)
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert seen == [([ValueError], 0)]


def refuse(record):
    raise RuntimeError("cannot be logged")


@pytest.mark.parametrize("on_error", ["raise", "shutdown", "stop"])
def test_an_error_that_cannot_be_logged_ends_all_and_is_told(stream, log, on_error):
    class Failing:
        def consume(self, items):
            fail()

    log.addFilter(refuse)
    stream.put(1)
    consumers = Consumers(stream, "sum", Failing, workers=2, on_error=on_error).start()
    with contextlib.nullcontext() if on_error == "stop" else pytest.raises(BadItemError):
        consumers.join(LIMIT)
    assert [type(error) for error in consumers.errors] == [BadItemError]
    if on_error == "shutdown":
        with pytest.raises(ShutDown):
            stream.put(2)


@pytest.mark.parametrize("is_called", [False, True])
def test_an_error_that_cannot_be_logged_is_passed_over_all_the_same(stream, log, is_called):
    class Failing:
        def consume(self, items):
            fail()

    told = []
    log.addFilter(refuse)
    put_all_of(stream, [1, 2, 3])
    on_error = (lambda items, error: told.append(error)) if is_called else "skip"
    consumers = Consumers(stream, "sum", Failing, max_items=1, on_error=on_error).start()
    consumers.join(LIMIT)
    assert [type(error) for error in told or consumers.errors] == [BadItemError] * 3


# What errors hold


def parse(frame):
    raise BadItemError(f"{len(frame)} numbers")


def fail_with_cause(frame):
    try:
        parse(frame)
    except BadItemError as error:
        raise RuntimeError("cannot be parsed") from error


def fail_in_context(frame):
    try:
        parse(frame)
    except BadItemError:
        raise RuntimeError("cannot be parsed")  # noqa: B904


def fail_in_a_circle(frame):
    try:
        fail_with_cause(frame)
    except RuntimeError as error:
        error.__cause__.__cause__ = error
        raise


def fail_in_a_group(frame):
    errors = []
    for call in (parse, fail_with_cause):
        try:
            call(frame)
        except Exception as error:
            errors.append(error)
    raise builtins.ExceptionGroup("cannot be parsed", errors)


def fail_with_what_looks_like_a_group(frame):
    error = RuntimeError("cannot be parsed")
    error.exceptions = "none"
    raise error


@pytest.mark.parametrize("on_error", ["skip", "stop"])
@pytest.mark.parametrize(
    "parse_frame",
    [
        *(fail_with_cause, fail_in_context, fail_in_a_circle, fail_with_what_looks_like_a_group),
        pytest.param(
            fail_in_a_group,
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="no ExceptionGroup"),
        ),
    ],
)
def test_errors_that_are_kept_keep_no_memory_of_the_stream(stream, on_error, parse_frame):
    np = pytest.importorskip("numpy")

    class Parsing:
        def consume(self, items):
            parse_frame(items[0])

    put_all_of(stream, [np.zeros(1 << 14) for _ in range(5)])
    consumers = Consumers(stream, "sum", Parsing, max_items=1, on_error=on_error).start()
    consumers.join(LIMIT)
    assert len(consumers.errors) == (5 if on_error == "skip" else 1)
    assert stream.get_metrics()["view_bytes"] == 0
