"""Closing, counting what is done, and processes that leave as soon as they have put."""

import signal

import pytest

import shmqueue
from shmqueue import JoinableQueue, Queue, SimpleQueue
from tests import support
from tests.dropin import workers
from tests.support import LIMIT, drain


class TestLeavingAfterPut:
    """What `put` returned from survives the putter: in multiprocessing the feeder loses it."""

    @pytest.mark.parametrize("how", ["return", "close", "sys.exit", "os._exit", "SIGKILL"])
    def test_nothing_is_lost_by_any_kind_of_exit(self, make, kind, ctx, start, how):
        queue = make(kind)
        items = [*range(200), b"x" * 100_000, {"last": None}]
        child = start(ctx, workers.put_each_and_leave, queue, items, how)
        code = child.wait()
        assert drain(queue, len(items)) == items
        assert queue.empty()
        assert code == (-signal.SIGKILL if how == "SIGKILL" else 0)

    def test_a_child_that_has_put_and_was_not_read_can_be_joined_at_once(self, make, ctx):
        queue = make(Queue)
        process = ctx.Process(target=workers.put_each, args=(queue, [bytes(1000)] * 1000))
        process.start()
        # With a feeder thread and a pipe this join would wait for ever.
        process.join(LIMIT)
        assert process.exitcode == 0
        process.close()
        assert queue.qsize() == 1000

    def test_a_program_may_end_with_queues_in_global_variables(self, programs):
        assert (
            programs.run(
                """
                import multiprocessing, sys
                import shmqueue
                import shmqueue.context

                made = [shmqueue.Queue(), shmqueue.JoinableQueue(), shmqueue.SimpleQueue()]
                for one in made:
                    one.put(1)
                made[0].fileno()
                print("end")
                """
            )
            == "end\n"
        )


class TestClosing:
    @pytest.mark.parametrize("kind", [Queue, JoinableQueue])
    def test_a_closed_queue_says_which_it_is(self, kind):
        queue = kind()
        name = f"{kind.__module__}.{kind.__qualname__} object"
        queue.close()
        for call in (
            lambda: queue.put(1),
            lambda: queue.put_nowait(1),
            queue.get,
            queue.get_nowait,
        ):
            with pytest.raises(ValueError, match=rf"Queue <{name} at 0x\w+> is closed"):
                call()

    def test_a_closed_simple_queue_raises_what_a_closed_pipe_does(self):
        queue = SimpleQueue()
        queue.close()
        queue.close()
        for call in (lambda: queue.put(1), queue.get, queue.empty):
            with pytest.raises(OSError, match="handle is closed"):
                call()

    def test_closing_closes_the_parts(self, kind):
        queue = kind()
        assert not queue._reader.closed
        assert not queue._writer.closed
        queue.close()
        assert queue._reader.closed
        assert queue._writer.closed

    def test_other_handles_go_on(self, make, kind, ctx, start):
        queue, answers = make(kind), make(kind)
        child = start(ctx, workers.call, _echo, queue, answers)
        for number in range(3):
            queue.put(number)
        queue.close()
        assert drain(answers, 3) == [0, 1, 2]
        child.result()

    @pytest.mark.parametrize("kind", [Queue, JoinableQueue])
    def test_join_thread_is_for_closed_queues(self, kind):
        queue = kind()
        queue.put(1)
        with pytest.raises(AssertionError, match="not closed"):
            queue.join_thread()
        queue.cancel_join_thread()
        queue.close()
        queue.join_thread()
        queue.join_thread()
        queue.cancel_join_thread()

    def test_cancel_join_thread_may_come_before_anything_else(self, make):
        queue = make(Queue)
        queue.cancel_join_thread()
        queue.put(1)
        assert queue.get() == 1

    def test_closed_tells_whether_it_is(self, kind):
        queue = kind()
        assert not queue.closed
        queue.close()
        assert queue.closed

    def test_what_can_be_asked_of_a_closed_queue_is_as_in_multiprocessing(self):
        unused, used = Queue(2), Queue(1)
        used.put(1)
        for queue in (unused, used):
            queue.close()
            assert queue._closed
        assert (unused.qsize(), unused.empty(), unused.full()) == (0, True, False)
        assert (used.qsize(), used.full()) == (1, True)
        with pytest.raises(OSError, match="is closed"):
            used.empty()

    def test_close_ends_a_get_that_waits_in_another_thread(self, kind):
        queue = kind()
        getter = support.Thread(queue.get)
        support.await_thread_asleep(getter)
        queue.close()
        with pytest.raises((ValueError, OSError), match="is closed"):
            getter.result()

    def test_terminate_broken_closes(self):
        queue = Queue()
        queue.put(1)
        queue._terminate_broken()
        assert queue.closed


def _echo(queue, answers):
    for _ in range(3):
        answers.put(queue.get(timeout=LIMIT))


class TestTasks:
    def test_join_returns_at_once_when_nothing_was_put(self, make):
        make(JoinableQueue).join()

    def test_task_done_is_refused_when_all_are_done(self, make):
        queue = make(JoinableQueue)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
                queue.task_done()
            queue.put(1)
            queue.get()
            queue.task_done()
        queue.join()

    def test_join_waits_for_what_was_got_but_is_not_done(self, make):
        queue = make(JoinableQueue)
        queue.put(1)
        queue.put(2)
        queue.get()
        queue.get()
        queue.task_done()
        joiner = support.Thread(queue.join)
        support.await_thread_asleep(joiner)
        queue.task_done()
        joiner.result()

    def test_join_ends_at_the_first_moment_even_if_more_is_put_before_it_wakes(self, make):
        queue = make(JoinableQueue)
        for _ in range(50):
            queue.put(1)
            joiner = support.Thread(queue.join)
            support.await_thread_asleep(joiner)
            queue.task_done()
            queue.put(2)
            joiner.result()
            queue.task_done()

    def test_workers_of_several_processes_finish_it(self, make, ctx, start):
        queue = make(JoinableQueue)
        children = [start(ctx, workers.finish_tasks, queue) for _ in range(3)]
        for number in range(300):
            queue.put(number)
        queue.join()
        assert queue.empty()
        for _ in children:
            queue.put(None)
        queue.join()
        for child in children:
            child.result()

    def test_join_in_a_child_waits_for_this_process(self, make, ctx, start, signs):
        queue, words = make(JoinableQueue), signs(ctx)
        queue.put(1)
        child = start(ctx, workers.join_saying_so, queue, words.sender)
        words.await_word("joining")
        support.await_asleep(f"/proc/{child.pid}")
        queue.get()
        queue.task_done()
        assert child.result() == "joined"

    def test_puts_of_the_batch_kind_count_too(self, make):
        queue = make(JoinableQueue)
        queue.put_batch([1, 2, 3])
        queue.get_batch(3)
        for _ in range(3):
            queue.task_done()
        queue.join()

    def test_tasks_can_be_counted_and_awaited_after_close(self):
        queue = JoinableQueue()
        queue.put(1)
        queue.get()
        queue.close()
        joiner = support.Thread(queue.join)
        support.await_thread_asleep(joiner)
        queue.task_done()
        joiner.result()
        with pytest.raises(ValueError, match="too many times"):
            queue.task_done()


class TestShuttingDown:
    def test_gets_drain_it_and_puts_are_refused(self, make, kind):
        queue = make(kind)
        queue.put(1)
        queue.shutdown()
        with pytest.raises(shmqueue.ShutDown):
            queue.put(2)
        assert queue.get() == 1
        assert queue._reader.poll(), "as a pipe at its end"
        for receive in (queue.get, queue._reader.recv):
            with pytest.raises(shmqueue.ShutDown):
                receive()

    def test_at_once_it_discards_what_is_there(self, make, kind):
        queue = make(kind)
        queue.put(1)
        queue.shutdown(immediate=True)
        with pytest.raises(shmqueue.ShutDown):
            queue.get()

    def test_it_wakes_a_child_that_waits(self, make, kind, ctx, start, signs):
        queue, words = make(kind), signs(ctx)
        child = start(ctx, _get_until_shut_down, queue, words.sender)
        words.await_word("getting")
        support.await_asleep(f"/proc/{child.pid}")
        queue.shutdown()
        assert child.result() == "shut down"

    def test_the_hook_for_errors_does_not_hide_it(self, make):
        class Hooked(Queue):
            def _on_queue_feeder_error(self, e, obj):
                raise AssertionError("called")

        queue = make(Hooked)
        queue.shutdown()
        with pytest.raises(shmqueue.ShutDown):
            queue.put(1)


def _get_until_shut_down(queue, sender):
    sender.send("getting")
    try:
        queue.get()
    except shmqueue.ShutDown:
        return "shut down"
    return "got something"
