"""Pool, ProcessPoolExecutor, logging and Manager work on our queues unmodified."""

import contextlib
import logging
import logging.config
import logging.handlers
import queue as stdlib_queue
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.pool import MaybeEncodingError

import pytest

from shmqueue import JoinableQueue, Queue, SimpleQueue
from tests import support
from tests.dropin import workers
from tests.support import LIMIT


@contextlib.contextmanager
def running_pool(ctx):
    # No fixture: that would hold on to the pool, and so to its descriptors, beyond the test.
    with ctx.Pool(2) as pool:
        yield pool
    pool.join()


def _has_two_others(pool, before):
    return len(pool._pool) == 2 and not before & {worker.pid for worker in pool._pool}


class TestPool:
    def test_it_works_on_our_queues(self, ctx):
        with running_pool(ctx) as pool:
            assert type(pool._inqueue) is type(pool._outqueue) is SimpleQueue
            assert type(pool._change_notifier) is SimpleQueue

    def test_its_methods(self, ctx):
        with running_pool(ctx) as pool:
            assert pool.apply(workers.double, (21,)) == 42
            assert pool.map(workers.double, range(100)) == [2 * n for n in range(100)]
            assert list(pool.imap(workers.double, range(100))) == [2 * n for n in range(100)]
            assert sorted(pool.imap_unordered(workers.double, range(50), 7)) == [*range(0, 100, 2)]
            assert pool.starmap(divmod, [(7, 2), (9, 4)]) == [(3, 1), (2, 1)]
            assert pool.map_async(workers.double, [1, 2]).get(LIMIT) == [2, 4]

    def test_large_tasks_and_results(self, ctx):
        with running_pool(ctx) as pool:
            data = bytes(3_000_000)
            assert pool.apply_async(workers.length_of, (data,)).get(LIMIT) == len(data)
            assert pool.apply_async(workers.call, (bytes, 3_000_000)).get(LIMIT) == data

    def test_an_error_arrives_with_its_cause(self, ctx):
        with running_pool(ctx) as pool:
            with pytest.raises(ValueError, match="bad") as caught:
                pool.apply_async(workers.fail, ("bad",)).get(LIMIT)
            assert "the cause" in str(caught.value.__cause__)

    def test_a_task_that_cannot_be_pickled_fails_alone(self, ctx):
        with running_pool(ctx) as pool:
            with pytest.raises(TypeError, match="generator"):
                pool.apply_async(workers.double, (n for n in range(3))).get(LIMIT)
            with pytest.raises(TypeError, match="generator"):
                pool.apply_async(workers.length_of, [(n for n in range(3))]).get(LIMIT)
            assert pool.apply_async(workers.double, (1,)).get(LIMIT) == 2

    def test_a_result_that_cannot_be_pickled_fails_alone(self, ctx):
        with running_pool(ctx) as pool:
            with pytest.raises(MaybeEncodingError, match="generator"):
                pool.apply_async(workers.make_generator).get(LIMIT)
            assert pool.apply_async(workers.double, (1,)).get(LIMIT) == 2

    def test_a_lambda_is_a_task_like_any_other(self, ctx):
        with running_pool(ctx) as pool:
            assert pool.map(lambda number: number + 1, [1, 2]) == [2, 3]

    def test_a_worker_that_is_killed_is_replaced(self, ctx):
        with running_pool(ctx) as pool:
            before = {worker.pid for worker in pool._pool}
            pool.apply_async(workers.die)
            support.wait_until(
                lambda: len({worker.pid for worker in pool._pool} - before) > 0, "a new worker"
            )
            pids = set()
            support.wait_until(
                lambda: pids.add(pool.apply_async(workers.own_pid).get(LIMIT)) or pids - before,
                "a result of the new worker",
            )

    def test_killing_all_its_workers_again_and_again_does_not_stop_it(self, ctx):
        with running_pool(ctx) as pool:
            for _ in range(5):
                before = {worker.pid for worker in pool._pool}
                for worker in list(pool._pool):
                    worker.kill()
                support.wait_until(partial(_has_two_others, pool, before), "two new workers")
                assert pool.apply_async(workers.double, (4,)).get(LIMIT) == 8

    def test_workers_with_a_limit_of_tasks_are_replaced(self, ctx):
        with ctx.Pool(2, maxtasksperchild=3) as pool:
            pids = pool.map(workers.own_pid, range(20), chunksize=1)
            assert len(set(pids)) >= 6
            pool.close()
            pool.join()

    def test_close_and_join_finish_what_was_given(self, ctx):
        with ctx.Pool(2, workers.initialise, ("set",)) as pool:
            result = pool.map_async(workers.initialised, range(200), chunksize=1)
            pool.close()
            pool.join()
            assert result.get(LIMIT) == ["set"] * 200

    def test_terminate_in_the_midst_of_work_returns(self, ctx):
        for _ in range(5):
            pool = ctx.Pool(2)
            results = pool.imap(workers.double, range(100_000))
            next(results)
            pool.terminate()
            pool.join()


class TestExecutor:
    def test_its_result_queue_is_ours(self, ctx):
        with ProcessPoolExecutor(2, mp_context=ctx) as executor:
            assert type(executor._result_queue) is SimpleQueue
            assert list(executor.map(workers.double, range(200), timeout=LIMIT)) == [
                2 * n for n in range(200)
            ]
            assert executor.submit(len, bytes(2_000_000)).result(LIMIT) == 2_000_000
            assert executor.submit(bytes, 2_000_000).result(LIMIT) == bytes(2_000_000)

    def test_an_error_arrives_with_its_cause(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            with pytest.raises(ValueError, match="bad") as caught:
                executor.submit(workers.fail, "bad").result(LIMIT)
            assert "the cause" in str(caught.value.__cause__)

    def test_a_result_that_cannot_be_pickled_fails_alone(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            with pytest.raises(TypeError, match="generator"):
                executor.submit(workers.make_generator).result(LIMIT)
            assert executor.submit(workers.double, 2).result(LIMIT) == 4

    def test_a_killed_worker_breaks_it(self, ctx):
        # One: up to 3.11 the standard call queue hangs if another is just being started.
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            assert executor.submit(workers.double, 2).result(LIMIT) == 4
            with pytest.raises(BrokenProcessPool):
                executor.submit(workers.die).result(LIMIT)
            with pytest.raises(BrokenProcessPool):
                executor.submit(workers.double, 2)

    def test_cancelling_the_rest_on_shutdown(self, ctx):
        executor = ProcessPoolExecutor(1, mp_context=ctx)
        futures = [executor.submit(workers.double, n) for n in range(100)]
        executor.shutdown(wait=True, cancel_futures=True)
        assert all(future.done() for future in futures)
        assert any(future.cancelled() for future in futures)

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="max_tasks_per_child is new in 3.11")
    def test_workers_with_a_limit_of_tasks_are_replaced(self, ctx):
        if ctx.get_start_method() == "fork":
            with pytest.raises(ValueError, match="fork"):
                ProcessPoolExecutor(1, mp_context=ctx, max_tasks_per_child=1)
            return
        with ProcessPoolExecutor(1, mp_context=ctx, max_tasks_per_child=2) as executor:
            pids = [executor.submit(workers.own_pid).result(LIMIT) for _ in range(4)]
            assert len(set(pids)) == 2


class Collecting(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


class TestLogging:
    @pytest.mark.parametrize("kind", [Queue, JoinableQueue])
    def test_records_of_children_reach_the_listener(self, make, ctx, kind, start):
        queue, handler = make(kind), Collecting()
        listener = logging.handlers.QueueListener(queue, handler)
        listener.start()
        children = [start(ctx, workers.log_some, queue, 50) for _ in range(2)]
        for child in children:
            child.result()
        listener.stop()
        assert sorted(handler.messages) == sorted([f"record {n}" for n in range(50)] * 2)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="dictConfig knows queues since 3.12")
    def test_dict_config_makes_one_and_takes_one(self, ctx, make):
        made = []
        _factories["queue"] = lambda: made.append(make(Queue)) or made[-1]
        queue_spec = f"{__name__}.make_configured" if sys.version_info >= (3, 13) else None
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {
                    "kept": {"()": f"{__name__}.kept_handler"},
                    "queued": {
                        "class": "logging.handlers.QueueHandler",
                        "handlers": ["kept"],
                        **({"queue": queue_spec} if queue_spec else {}),
                    },
                },
                "loggers": {"tests.dropin.configured": {"handlers": ["queued"], "level": "INFO"}},
            }
        )
        logger = logging.getLogger("tests.dropin.configured")
        logger.propagate = False
        [handler] = logger.handlers
        handler.listener.start()
        logger.info("through")
        handler.listener.stop()
        logger.removeHandler(handler)
        assert _kept.messages[-1:] == ["through"]

    def test_a_handler_never_waits_for_room(self, make):
        queue = make(Queue, 1)
        handler = logging.handlers.QueueHandler(queue)
        record = logging.LogRecord("n", logging.INFO, "p", 1, "m", (), None)
        handler.enqueue(record)
        with pytest.raises(stdlib_queue.Full):
            handler.enqueue(record)
        handler.close()


_kept = Collecting()
_factories = {}


def kept_handler():
    return _kept


def make_configured():
    return _factories["queue"]()


class TestManager:
    def test_its_own_queues_work_beside_ours(self, ctx, make, kind, start):
        queue = make(kind)
        with ctx.Manager() as manager:
            theirs = manager.Queue()
            child = start(ctx, workers.call, _through, queue, theirs)
            theirs.put("by the manager")
            assert queue.get(timeout=LIMIT) == "by the manager"
            child.result()
            theirs = None


def _through(queue, theirs):
    queue.put(theirs.get(timeout=LIMIT))
