"""Writers: they put as their stream does, until they or their process are done."""

import errno
import multiprocessing

import pytest

from shmqueue import ShutDown, _groups
from tests import support
from tests.groups.test_groups import everything
from tests.support import LIMIT, run_in_fork

FORK, SPAWN = (multiprocessing.get_context(method) for method in ("fork", "spawn"))


def leave(writer):
    """Leave a block, and drop the last reference, of a writer that another process registered."""
    with writer:
        writer.put("of the child")


def finish(writer):
    with pytest.raises(RuntimeError, match="the process that registered it"):
        writer.finish()


def calls_of(writer):
    return [
        lambda: writer.put("late"),
        lambda: writer.put_nowait("late"),
        lambda: writer.put_batch(["late"]),
        lambda: writer.put_bytes(b"late"),
        lambda: writer.reserve(10),
        lambda: writer.reserve_array((2, 2)),
    ]


def test_a_writer_puts_whatever_its_stream_does(make_stream):
    pytest.importorskip("numpy")
    stream = make_stream(groups=["a"])
    with stream.writer() as out:
        out.put(1)
        out.put_nowait(2)
        out.put_batch([3, 4])
        out.put_bytes(b"five")
        with out.reserve(3) as memory:
            memory[:] = b"six"
        with out.reserve_array((2, 2), "uint8") as array:
            array[:] = 7
    *items, array = stream.group("a")
    assert items == [1, 2, 3, 4, b"five", b"six"]
    assert array.tolist() == [[7, 7], [7, 7]]


def test_a_writer_that_has_finished_puts_nothing_though_others_do(make_stream):
    stream = make_stream(groups=["a"])
    with stream.writer() as other:
        writer = stream.writer()
        writer.finish()
        for call in calls_of(writer):
            with pytest.raises(ValueError, match="the writer has finished"):
                call()
        other.put("of another")
    assert list(stream.group("a")) == ["of another"]


def test_a_forked_child_is_told_that_it_can_not_finish_its_parents_writer(make_stream):
    stream = make_stream(groups=["a"])
    with stream.writer() as out:
        run_in_fork(finish, out)
        out.put("still writing")
    assert list(stream.group("a")) == ["still writing"]


def test_a_forked_child_may_leave_the_block_of_its_parents_writer(make_stream):
    stream = make_stream(groups=["a"])
    with stream.writer() as out:
        run_in_fork(leave, out)
        out.put("still writing")
    assert list(stream.group("a")) == ["of the child", "still writing"]


def test_a_forked_child_that_drops_its_parents_writer_keeps_its_own(make_stream, turns):
    stream = make_stream(groups=["a"])
    writers, other = [stream.writer()], stream.writer()

    def child():
        turns.hear()
        own = stream.writer()
        writers.clear()
        turns.swap()
        own.put("after all others")
        own.finish()

    forked = support.Child(FORK, child)
    writers.pop().finish()
    turns.swap()  # its own stands where the parent's did
    other.finish()
    turns.say()
    forked.result()
    assert list(stream.group("a")) == ["after all others"]


def test_a_writer_is_not_sent_to_another_process_but_its_stream_is(make_stream):
    with (
        make_stream().writer() as writer,
        pytest.raises(TypeError, match=r"pass the stream, and call writer\(\) there"),
    ):
        SPAWN.Process(target=leave, args=(writer,)).start()


@pytest.fixture
def half_full(make_stream):
    """Return a stream with two items, and room for two more."""
    stream = make_stream(capacity=4, groups={"a": {}, "lagging": {"policy": "lag"}})
    stream.put_batch([0, 1])
    return stream


@pytest.fixture(params=["stream", "writer"])
def out(request, half_full):
    """Return what puts into that stream."""
    if request.param == "stream":
        yield half_full
    else:
        with half_full.writer() as writer:
            yield writer


def fill_and_account(stream, out):
    """Put what there is room for: every group has that and what there was; no memory is in use."""
    out.put_batch([2, 3], block=False)
    for name in ("a", "lagging"):
        with stream.group(name) as group:
            assert everything(group) == [0, 1, 2, 3]
            assert group.lapped == 0
    metrics = stream.get_metrics()
    assert metrics["pool_bytes"] == metrics["pool_free_bytes"]


class TestSizesThatDoNotFit:
    @pytest.mark.parametrize("wait", [{}, {"block": False}, {"timeout": 0.01}])
    def test_a_batch_that_is_longer_than_the_ring_is_refused_whole(self, half_full, out, wait):
        with pytest.raises(ValueError, match=r"of 5 items can never fit .* capacity 4"):
            out.put_batch(range(5), **wait)
        fill_and_account(half_full, out)

    @pytest.mark.parametrize("nbytes", [1 << 45, 1 << 62])
    def test_a_reservation_of_more_than_memory_has_changes_nothing(self, half_full, out, nbytes):
        for reserve in (out.reserve, lambda nbytes: out.reserve_array(nbytes, "u1")):
            with pytest.raises(OSError, match="bytes") as caught:
                reserve(nbytes)
            assert caught.value.errno == errno.ENOSPC
        fill_and_account(half_full, out)

    def test_a_reservation_of_less_than_nothing_changes_nothing(self, half_full, out):
        for reserve in (out.reserve, out.reserve_array):
            with pytest.raises(ValueError, match="negative"):
                reserve(-1)
        fill_and_account(half_full, out)

    @pytest.mark.parametrize("kind", ["bytes", "array"])
    def test_a_full_ring_keeps_what_a_group_would_lose_to_a_reservation_that_can_not_be(
        self, make_stream, kind
    ):
        stream = make_stream(capacity=4, groups={"lagging": {"policy": "lag"}})
        stream.put_batch(range(4))
        with stream.writer() as out:
            with pytest.raises(OSError, match="bytes"):
                out.reserve(1 << 62) if kind == "bytes" else out.reserve_array(1 << 62, "u1")
            lagging = stream.group("lagging")
            assert (everything(lagging), lagging.lapped) == ([0, 1, 2, 3], 0)


@pytest.mark.parametrize("immediate", [False, True])
def test_a_stream_that_is_at_its_end_is_named(make_stream, immediate):
    stream = make_stream(groups=["a"])
    group = stream.group("a")
    stream.shutdown(immediate)
    calls = [stream.writer, lambda: stream.put(0), lambda: group.get(timeout=LIMIT)]
    for call in calls:
        with pytest.raises(ShutDown, match=rf"^/dev/shm/{stream.segment_name} is at its end$"):
            call()
    assert support.segment_files(stream.run_id) == [stream.segment_name]


def test_a_writer_that_is_interrupted_while_it_begins_has_finished(make_stream, monkeypatch):
    stream = make_stream(groups=["a"])

    def interrupted(attachment, register=_groups.Registration):
        register(attachment)
        raise KeyboardInterrupt  # as if a signal's handler had raised when it returned

    with monkeypatch.context() as patched:
        patched.setattr(_groups, "Registration", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.writer()
    with pytest.raises(ShutDown):
        stream.group("a").get(timeout=LIMIT)
