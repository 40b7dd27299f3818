"""`_reader`, `_writer`, `_rlock`, `_wlock` and `fileno`: what clients reach for behind a queue."""

import pickle
import queue as stdlib_queue
import select
import selectors
import time
from multiprocessing import connection

import pytest

from shmqueue import Queue
from tests import support
from tests.dropin import workers
from tests.support import CLOCK_SLACK, LIMIT


class TestReader:
    def test_recv_is_get(self, make, kind):
        queue = make(kind)
        queue.put({"a": 1})
        assert queue._reader.recv() == {"a": 1}
        getter = support.Thread(queue._reader.recv)
        support.await_thread_asleep(getter)
        queue.put(2)
        assert getter.result() == 2

    def test_poll_tells_whether_there_is_something(self, make, kind):
        queue = make(kind)
        assert queue._reader.poll() is False
        assert queue._poll() is False
        queue.put(None)
        assert queue._reader.poll() is True
        assert queue._reader.poll(5) is True
        assert queue._reader.poll(None) is True
        assert queue._poll(0.0) is True
        queue.get()
        assert queue._reader.poll(0) is False

    def test_poll_waits_as_long_as_asked(self, make):
        reader = make(Queue)._reader
        started = time.monotonic()
        assert reader.poll(0.1) is False
        assert time.monotonic() - started >= 0.1 - CLOCK_SLACK

    def test_an_item_ends_a_poll(self, make, kind):
        queue = make(kind)
        poller = support.Thread(queue._reader.poll, None)
        support.await_thread_asleep(poller)
        queue.put("x")
        assert poller.result() is True
        assert queue.get() == "x"

    def test_recv_bytes_gives_bytes_as_they_are_and_the_rest_pickled(self, make, kind):
        queue = make(kind)
        queue._writer.send_bytes(b"raw")
        queue.put([1, 2])
        assert queue._reader.recv_bytes() == b"raw"
        assert pickle.loads(queue._reader.recv_bytes()) == [1, 2]
        queue.put(b"long")
        with pytest.raises(OSError, match="maxlength"):
            queue._reader.recv_bytes(3)

    def test_it_is_one_lasting_object(self, make, kind):
        queue = make(kind)
        assert queue._reader is queue._reader
        assert queue._reader.fileno() == queue._reader.fileno() == queue.fileno()

    def test_it_works_on_when_the_queue_object_is_gone(self, kind):
        queue = kind()
        queue.put(1)
        reader = queue._reader
        del queue
        assert reader.recv() == 1
        reader.close()

    def test_closing_it_closes_nothing_else(self, make, kind):
        queue = make(kind)
        queue._reader.close()
        assert queue._reader.closed
        assert not queue._writer.closed
        for call in (
            queue._reader.recv,
            queue._reader.recv_bytes,
            queue._reader.poll,
            queue._reader.fileno,
        ):
            with pytest.raises(OSError, match="handle is closed"):
                call()
        queue.put(1)
        assert queue.get() == 1

    def test_it_says_what_it_is_for(self, make):
        queue = make(Queue)
        assert (queue._reader.readable, queue._reader.writable) == (True, False)
        assert (queue._writer.readable, queue._writer.writable) == (False, True)

    def test_with_closes_it(self):
        queue = Queue()
        with queue._reader as reader, queue._writer as writer:
            writer.send(1)
            assert reader.recv() == 1
        assert reader.closed
        assert writer.closed
        queue.close()


class TestWriter:
    def test_send_is_put(self, make, kind):
        queue = make(kind)
        queue._writer.send({"a": 1})
        assert queue.get() == {"a": 1}

    def test_send_raises_in_the_caller_for_what_cannot_be_pickled(self, make, kind):
        queue = make(kind)
        with pytest.raises(TypeError, match="generator"):
            queue._writer.send(n for n in range(3))
        assert queue.empty()

    def test_send_bytes_takes_a_part(self, make):
        queue = make(Queue)
        queue._writer.send_bytes(bytearray(b"0123456789"), 2, 3)
        queue._writer.send_bytes(memoryview(b"0123"), 2)
        assert [queue.get(), queue.get()] == [b"234", b"23"]
        for arguments in [(b"01", 3), (b"01", 0, 3), (b"01", -1), (b"01", 0, -1)]:
            with pytest.raises(ValueError):
                queue._writer.send_bytes(*arguments)

    def test_closing_it_closes_nothing_else(self, make, kind):
        queue = make(kind)
        queue._writer.close()
        for call in (
            lambda: queue._writer.send(1),
            lambda: queue._writer.send_bytes(b""),
            queue._writer.fileno,
        ):
            with pytest.raises(OSError, match="handle is closed"):
                call()
        assert not queue._reader.closed
        queue.put(1)
        assert queue.get() == 1

    def test_it_has_a_descriptor(self, make):
        assert isinstance(make(Queue)._writer.fileno(), int)

    def test_a_child_that_closes_ends_closes_only_its_own(self, make, kind, ctx, start):
        questions, answers = make(kind), make(kind)
        child = start(ctx, workers.use_pipe_ends, questions, answers)
        questions._writer.send("question")
        assert answers._reader.recv() == ("got", "question")
        child.result()
        assert not questions._writer.closed
        assert not answers._reader.closed


class TestLocks:
    def test_they_never_block(self, make, kind):
        queue = make(kind)
        for lock in (queue._rlock, queue._wlock):
            for _ in range(3):
                assert lock.acquire() is True
                assert lock.acquire(False) is True
                assert lock.acquire(True, 0.1) is True
            lock.release()
            with lock, lock:
                pass

    def test_getting_and_putting_go_on_while_they_are_held(self, make, kind, ctx, start):
        queue = make(kind)
        queue._rlock.acquire()
        queue._wlock.acquire()
        child = start(ctx, workers.get_some, queue, 2)
        queue.put(1)
        queue.put(2)
        assert child.result() == [1, 2]

    def test_what_poll_has_seen_under_the_lock_nobody_else_takes(self, make, kind):
        queue = make(kind)
        queue.put("first")
        queue.put("second")
        queue._rlock.acquire()
        assert queue._reader.poll()
        assert queue._reader.poll()
        assert queue.get() == "second"
        assert queue.empty()
        assert queue._reader.recv() == "first"
        assert not queue._reader.poll()
        queue._rlock.release()
        queue.put("third")
        assert queue._reader.poll()
        assert queue.get() == "third"

    def test_an_item_seen_but_not_received_waits_for_the_next_recv(self, make):
        queue = make(Queue)
        queue.put("seen")
        with queue._rlock:
            assert queue._reader.poll(None)
        queue.put("later")
        assert queue._reader.recv() == "seen"
        assert queue._reader.recv() == "later"

    def test_an_item_that_fails_to_load_fails_in_recv(self, make):
        queue = make(Queue)
        queue.put(FailsToLoad())
        with queue._rlock:
            assert queue._reader.poll(1)
            with pytest.raises(LookupError, match="on loading"):
                queue._reader.recv()
            assert not queue._reader.poll()

    def test_poll_under_the_lock_waits_for_an_item_too(self, make):
        queue = make(Queue)
        with queue._rlock:
            assert not queue._reader.poll(0.01)
            poller = support.Thread(queue._reader.poll, LIMIT)
            support.await_thread_asleep(poller)
            queue.put(1)
            assert poller.result() is True
            assert queue._reader.recv() == 1

    def test_recv_under_the_lock_waits_as_always(self, make):
        queue = make(Queue)
        with queue._rlock:
            getter = support.Thread(queue._reader.recv)
            support.await_thread_asleep(getter)
            queue.put(1)
            assert getter.result() == 1


class FailsToLoad:
    def __reduce__(self):
        return _fail, ()


def _fail():
    raise LookupError("on loading")


class TestWaiting:
    def test_connection_wait_tells_which_queues_have_something(self, make, kind):
        queues = [make(kind) for _ in range(3)]
        readers = [queue._reader for queue in queues]
        assert connection.wait(readers, 0) == []
        queues[1].put("x")
        assert connection.wait(readers, LIMIT) == [readers[1]]
        assert connection.wait(readers, LIMIT) == [readers[1]], "level-triggered"
        queues[1].get()
        assert connection.wait(readers, 0) == []

    def test_connection_wait_on_queues_and_pipes_and_processes(self, make, kind, ctx):
        queue = make(kind)
        receiver, sender = ctx.Pipe(duplex=False)
        process = ctx.Process(target=workers.put_each, args=(queue, ["from the child"]))
        process.start()
        ready = set()
        while queue._reader not in ready or process.sentinel not in ready:
            found = connection.wait([queue._reader, receiver, process.sentinel], LIMIT)
            assert found
            ready |= set(found)
        assert receiver not in ready
        assert queue.get() == "from the child"
        process.join()
        process.close()
        receiver.close()
        sender.close()

    def test_an_item_put_by_a_child_ends_a_wait(self, make, kind, ctx, start):
        queue = make(kind)
        waiter = support.Thread(connection.wait, [queue._reader], LIMIT)
        support.await_thread_asleep(waiter)
        child = start(ctx, workers.put_each, queue, [1])
        assert waiter.result() == [queue._reader]
        child.result()

    @pytest.mark.parametrize(
        "selector", [selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector]
    )
    def test_each_selector_takes_the_queue_itself(self, make, kind, selector):
        queue = make(kind)
        with selector() as chosen:
            key = chosen.register(queue, selectors.EVENT_READ, "data")
            assert chosen.select(0) == []
            for number in range(3):
                queue.put(number)
            for number in range(3):
                [(found, _events)] = chosen.select(LIMIT)
                assert found is key
                assert queue.get() == number
            assert chosen.select(0) == []

    def test_an_event_loop_reads_a_queue(self, make, kind, ctx, start):
        import asyncio

        queue = make(kind)
        received = []

        async def receive():
            loop = asyncio.get_running_loop()
            done = loop.create_future()

            def readable():
                try:
                    while True:
                        received.append(queue.get(False))
                except stdlib_queue.Empty:
                    if len(received) == 50 and not done.done():
                        done.set_result(None)

            loop.add_reader(queue.fileno(), readable)
            child = start(ctx, workers.put_each, queue, range(50))
            await asyncio.wait_for(done, LIMIT)
            loop.remove_reader(queue.fileno())
            child.result()

        asyncio.run(receive())
        assert received == list(range(50))

    def test_what_was_put_before_the_first_look_is_seen(self, make, kind):
        queue = make(kind)
        queue.put(1)
        assert select.select([queue], [], [], LIMIT)[0] == [queue]
        queue.get()
        assert select.select([queue], [], [], 0)[0] == []

    def test_a_child_waits_on_its_own_descriptor(self, make, kind, ctx, start):
        queue, answers = make(kind), make(kind)
        child = start(ctx, _wait_and_get, queue, answers)
        assert answers.get(timeout=LIMIT) == "waiting"
        support.await_asleep(f"/proc/{child.pid}")
        queue.put("item")
        assert answers.get(timeout=LIMIT) == "item"
        child.result()


def _wait_and_get(queue, answers):
    answers.put("waiting")
    connection.wait([queue._reader], LIMIT)
    answers.put(queue.get(False))
