"""Writers: they put as their stream does, until they or their process are done."""

import multiprocessing

import pytest

from shmqueue import ShutDown, _groups
from tests import support
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
