"""Programs that share nothing but names, and programs as they were written for the predecessor."""

import json
import os
import signal

from shmqueue import SharedMemoryQueue
from tests import support
from tests.support import LIMIT, drain


class TestUnrelatedPrograms:
    def test_one_program_creates_and_others_attach_by_name(self, programs, run_id):
        programs.run(
            """
            import sys
            from shmqueue import SharedMemoryQueue
            queue = SharedMemoryQueue("tasks", create=True, capacity=50, run_id=sys.argv[1])
            queue.put_batch([{"n": n, "data": "x" * n} for n in range(20)])
            """,
            run_id,
        )
        output = programs.run(
            """
            import json, sys
            from shmqueue import SharedMemoryQueue
            with SharedMemoryQueue("tasks", run_id=sys.argv[1]) as queue:
                assert queue.capacity == 50
                print(json.dumps([queue.get(timeout=10)["n"] for _ in range(20)]))
                queue.unlink()
            """,
            run_id,
        )
        assert json.loads(output) == list(range(20))

    def test_neither_an_exit_nor_a_kill_destroys_the_queue(self, programs, create, run_id):
        queue = create()
        for end in ("pass", "sys.exit(0)", "os._exit(0)", "queue.close()", "del queue"):
            programs.run(
                f"""
                import os, sys
                from multiprocessing import resource_tracker
                from shmqueue import SharedMemoryQueue
                resource_tracker.ensure_running()
                queue = SharedMemoryQueue("q", run_id=sys.argv[1])
                queue.put({end!r})
                {end}
                """,
                run_id,
            )
            assert queue.get_nowait() == end
        program = programs.start(
            """
            import sys
            from shmqueue import SharedMemoryQueue
            queue = SharedMemoryQueue("q", run_id=sys.argv[1])
            queue.put("to be killed")
            sys.stdin.read()
            """,
            run_id,
        )
        assert queue.get(timeout=LIMIT) == "to be killed"
        program.kill()
        program.wait()
        with SharedMemoryQueue("q", run_id=run_id) as again:
            again.put("still there")
        assert queue.get_nowait() == "still there"

    def test_attaching_wakes_no_resource_tracker(self, programs, create, run_id):
        create()
        output = programs.run(
            """
            import sys
            from multiprocessing import resource_tracker
            from shmqueue import SharedMemoryQueue
            with SharedMemoryQueue("q", run_id=sys.argv[1]) as queue:
                queue.put(1)
            print(resource_tracker._resource_tracker._pid)
            """,
            run_id,
        )
        assert output.strip() == "None"

    def test_runs_are_apart(self, programs, create, run_id):
        create(run_id=run_id + ".1").put("one")
        create(run_id=run_id + ".2").put("two")
        source = """
            import sys
            from shmqueue import SharedMemoryQueue
            print(SharedMemoryQueue("q", run_id=sys.argv[1]).get_nowait())
        """
        assert programs.run(source, run_id + ".2").strip() == "two"
        assert programs.run(source, run_id + ".1").strip() == "one"

    def test_a_program_that_ends_by_an_exception_ends_normally(self, programs, create, run_id):
        create()
        program = programs.start(
            """
            import sys
            from shmqueue import SharedMemoryQueue
            queue = SharedMemoryQueue("q", run_id=sys.argv[1])
            queue.get(timeout=0)
            """,
            run_id,
        )
        _output, errors = program.communicate(timeout=LIMIT)
        assert program.returncode == 1
        assert errors.strip().endswith("Empty")

    def test_ctrl_c_in_a_program_leaves_a_working_queue(self, programs, create, run_id):
        queue = create()
        program = programs.start(
            """
            import signal, sys
            from shmqueue import SharedMemoryQueue
            signal.signal(signal.SIGINT, signal.default_int_handler)
            queue = SharedMemoryQueue("q", run_id=sys.argv[1])
            queue.put("ready")
            while queue.qsize():
                pass
            queue.get()
            """,
            run_id,
        )
        assert queue.get(timeout=LIMIT) == "ready"
        support.await_asleep(f"/proc/{program.pid}")
        os.kill(program.pid, signal.SIGINT)
        _output, errors = program.communicate(timeout=LIMIT)
        assert "KeyboardInterrupt" in errors
        queue.put("after")
        assert queue.get_nowait() == "after"

    def test_a_program_may_end_with_a_thread_blocked_in_get(self, programs, create, run_id):
        create()
        output = programs.run(
            """
            import sys, threading
            from shmqueue import SharedMemoryQueue
            queue = SharedMemoryQueue("q", run_id=sys.argv[1])
            threading.Thread(target=queue.get, daemon=True).start()
            print("done")
            """,
            run_id,
        )
        assert output.strip() == "done"


PREDECESSOR_STYLE = """
    import multiprocessing
    import sys
    import time

    from shmqueue import SharedMemoryQueue


    def worker(worker_id, run_id):
        queue = SharedMemoryQueue("tasks", create=False, run_id=run_id)
        results = SharedMemoryQueue("results", create=False, run_id=run_id)
        while True:
            try:
                task = queue.get(timeout=1.0)
            except queue.Empty:
                break
            try:
                results.put({"id": task["id"], "worker": worker_id, "sum": sum(task["numbers"])})
            except results.Full:
                sys.exit("no room for results")
        queue.close()
        results.close()


    def main(method, run_id):
        context = multiprocessing.get_context(method)
        lock = context.Lock()
        queue = SharedMemoryQueue(
            "tasks", create=True, capacity=1000, item_size=4096, run_id=run_id, lock=lock
        )
        results = SharedMemoryQueue(
            name="results", create=True, capacity=1000, item_size=4096, run_id=run_id
        )
        try:
            for number in range(50):
                queue.put({"id": number, "numbers": list(range(number))})
            queue.put_batch([{"id": n, "numbers": [n, n]} for n in range(50, 100)])
            metrics = queue.get_metrics()
            print(
                f"{metrics['queue_size']}/{metrics['queue_capacity']}"
                f" {metrics['queue_utilization_percent']:.1f}%"
                f" {metrics['queue_item_size_bytes']}"
            )
            workers = [
                context.Process(target=worker, args=(number, run_id)) for number in range(2)
            ]
            for process in workers:
                process.start()
            for process in workers:
                process.join()
            print([process.exitcode for process in workers], queue.empty(), results.qsize())
            sums = {}
            while not results.empty():
                result = results.get()
                sums[result["id"]] = result["sum"]
            expected = {n: sum(range(n)) if n < 50 else 2 * n for n in range(100)}
            print(sums == expected)
        finally:
            for one in (queue, results):
                one.close()
                one.unlink()


    if __name__ == "__main__":
        main(*sys.argv[1:])
"""


def _outcome(queue, call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except queue.Full:
        return "full"
    except queue.Empty:
        return "empty"


class TestPredecessorStyle:
    def test_a_producer_with_workers_that_attach_by_name(self, programs, run_id):
        # One start method is enough here: the workers get only names.
        lines = programs.run(PREDECESSOR_STYLE, "fork", run_id).splitlines()
        assert lines == ["100/1000 10.0% 4096", "[0, 0] True 100", "True"]

    def test_the_same_with_spawn(self, programs, run_id):
        lines = programs.run(PREDECESSOR_STYLE, "spawn", run_id).splitlines()
        assert lines == ["100/1000 10.0% 4096", "[0, 0] True 100", "True"]

    def test_full_and_empty_are_caught_through_the_instance(self, create):
        queue = create("tasks", capacity=2)
        outcomes = [_outcome(queue, queue.put, item, block=False) for item in range(3)]
        outcomes += [_outcome(queue, queue.get, block=False) for _ in range(3)]
        assert outcomes == [None, None, "full", 0, 1, "empty"]

    def test_a_worker_in_another_program_is_told_to_stop_by_an_item(self, programs, create, run_id):
        tasks, results = create("tasks", capacity=10), create("results")
        program = programs.start(
            """
            import sys
            from shmqueue import SharedMemoryQueue
            tasks = SharedMemoryQueue("tasks", create=False, run_id=sys.argv[1])
            results = SharedMemoryQueue("results", create=False, run_id=sys.argv[1])
            while (task := tasks.get()) is not None:
                results.put(task * task)
            """,
            run_id,
        )
        for number in range(100):
            tasks.put(number, timeout=LIMIT)
        tasks.put(None)
        assert drain(results, 100) == [n * n for n in range(100)]
        programs.finish(program)
