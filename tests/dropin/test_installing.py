"""Our queues in the place of the standard ones: install, uninstall, ``python -m shmqueue run``."""

import concurrent.futures.process
import contextlib
import multiprocessing
import multiprocessing.context
import multiprocessing.spawn
import subprocess
import sys
import textwrap
import zipfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import queues
from multiprocessing.reduction import ForkingPickler

import pytest

import shmqueue
from shmqueue import JoinableQueue, Queue, SimpleQueue
from tests import support
from tests.dropin import workers
from tests.support import LIMIT


@pytest.fixture
def installed():
    shmqueue.install()
    yield
    shmqueue.uninstall()


@pytest.fixture
def ctx(standard, installed):
    """Run the test with each of the standard contexts, while ours are installed."""
    return standard


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def standard(request):
    return multiprocessing.get_context(request.param)


def swapped():
    """Return all that `install` changes."""
    places = [multiprocessing.context.BaseContext, multiprocessing]
    return [
        *(getattr(place, name) for place in places for name in ("Queue", "JoinableQueue")),
        *(place.SimpleQueue for place in places),
        concurrent.futures.process._SafeQueue,
        multiprocessing.spawn.get_preparation_data,
    ]


class TestInstall:
    def test_every_way_to_make_a_queue_makes_ours(self, ctx):
        for where in (multiprocessing, ctx, multiprocessing.get_context()):
            for name, kind in [
                ("Queue", Queue),
                ("JoinableQueue", JoinableQueue),
                ("SimpleQueue", SimpleQueue),
            ]:
                queue = getattr(where, name)()
                assert type(queue) is kind
                queue.close()
        bounded = multiprocessing.Queue(maxsize=2)
        assert bounded._maxsize == 2
        bounded.close()

    def test_uninstall_restores_exactly_what_was_there(self):
        before = swapped()
        shmqueue.install()
        during = swapped()
        assert not any(new is old for new, old in zip(during, before, strict=True))
        shmqueue.install()
        assert swapped() == during, "twice is once"
        shmqueue.uninstall()
        after = swapped()
        assert after == before
        shmqueue.uninstall()
        assert swapped() == before
        queue = multiprocessing.SimpleQueue()
        assert type(queue) is queues.SimpleQueue
        queue.close()

    def test_queues_made_before_and_after_go_on(self):
        standard = multiprocessing.SimpleQueue()
        shmqueue.install()
        ours = multiprocessing.SimpleQueue()
        shmqueue.uninstall()
        for queue in (standard, ours):
            queue.put(1)
            assert queue.get() == 1
            queue.close()

    def test_the_standard_classes_stay_what_they_were(self, installed):
        assert queues.Queue.__module__ == "multiprocessing.queues"
        assert not issubclass(queues.Queue, Queue)

    def test_children_have_ours_too(self, ctx, start):
        child = start(ctx, workers.make_queues_by, ctx.get_start_method())
        assert child.result() == ["shmqueue.dropin"] * 6

    def test_children_have_the_standard_ones_after_uninstall(self, standard, start):
        shmqueue.install()
        shmqueue.uninstall()
        child = start(standard, workers.make_queues_by, standard.get_start_method())
        assert child.result() == ["multiprocessing.queues"] * 6

    def test_a_child_that_cannot_import_us_goes_on_with_the_standard_queues(self, installed):
        data = multiprocessing.spawn.get_preparation_data("name")
        code, arguments = data["shmqueue"].__reduce__()
        [source, namespace] = arguments
        assert code is exec
        path = list(sys.path)
        broken = source.replace("shmqueue.context", "no_such_package_of_ours")
        assert broken != source
        exec(broken, namespace)
        assert sys.path == path

    def test_pools_work_on_ours(self, ctx):
        with ctx.Pool(2) as pool:
            assert type(pool._inqueue) is SimpleQueue
            assert pool.map(workers.double, range(50)) == [2 * n for n in range(50)]
        pool.join()


class TestExecutor:
    def test_both_its_queues_are_ours(self, ctx):
        with ProcessPoolExecutor(2, mp_context=ctx) as executor:
            assert isinstance(executor._call_queue, Queue)
            assert type(executor._result_queue) is SimpleQueue
            assert executor._call_queue._maxsize == 3
            results = executor.map(workers.double, range(500), timeout=LIMIT)
            assert list(results) == [2 * n for n in range(500)]

    def test_a_task_that_cannot_be_pickled_fails_alone(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            future = executor.submit(workers.double, (n for n in range(3)))
            with pytest.raises(TypeError, match="generator") as caught:
                future.result(LIMIT)
            assert "generator" in str(caught.value.__cause__)
            assert executor.submit(workers.double, 2).result(LIMIT) == 4

    def test_more_such_tasks_than_the_pipe_that_wakes_the_manager_holds(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            # Each reports by 4 bytes through a pipe of 64 KiB.
            futures = [executor.submit(workers.double, iter_of()) for _ in range(17_000)]
            for future in futures:
                assert isinstance(future.exception(LIMIT), TypeError)
            assert executor.submit(workers.double, 2).result(LIMIT) == 4

    def test_only_such_tasks_and_a_shutdown(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            futures = [executor.submit(workers.double, iter_of()) for _ in range(5)]
        assert all(isinstance(future.exception(), TypeError) for future in futures)

    def test_a_lambda_is_a_task_like_any_other(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            assert executor.submit(lambda: 3).result(LIMIT) == 3

    def test_a_killed_worker_breaks_it(self, ctx):
        with ProcessPoolExecutor(2, mp_context=ctx) as executor:
            assert executor.submit(workers.double, 2).result(LIMIT) == 4
            doomed = executor.submit(workers.die)
            others = []
            with contextlib.suppress(BrokenProcessPool):  # it may break that early
                others += [executor.submit(workers.double, n) for n in range(100)]
            with pytest.raises(BrokenProcessPool):
                doomed.result(LIMIT)
            for future in others:
                assert isinstance(future.exception(LIMIT), (BrokenProcessPool, type(None)))

    def test_a_worker_started_meanwhile_fails_as_what_is_submitted_later_does(self, ctx):
        with ProcessPoolExecutor(1, mp_context=ctx) as executor:
            assert executor.submit(workers.double, 2).result(LIMIT) == 4
            calls = executor._call_queue
        with pytest.raises(BrokenProcessPool, match="while it started a process"):
            ForkingPickler.dumps(calls)

    def test_an_initializer_that_fails_breaks_it(self, ctx):
        executor = ProcessPoolExecutor(1, mp_context=ctx, initializer=workers.die)
        with executor, pytest.raises(BrokenProcessPool):
            executor.submit(workers.double, 2).result(LIMIT)


def iter_of():
    return (n for n in range(3))


SCRIPT = """\
import multiprocessing
import sys
from multiprocessing import Process, Queue

class Order:
    pass

def child(queue):
    import multiprocessing
    own = multiprocessing.SimpleQueue()
    queue.put((type(own).__module__, Order(), type(Queue()).__module__))

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    queue = Queue()
    process = Process(target=child, args=(queue,))
    process.start()
    made, order, by_name = queue.get(timeout=30)
    process.join()
    assert type(order) is Order
    assert process.exitcode == 0
    print(type(queue).__module__, made, by_name, sys.argv[1:])
"""

SELF = """\
import os, sys
print(__name__, os.path.realpath(__file__), sys.argv, os.path.realpath(sys.path[0]), sep="|")
print(__package__, __spec__ and __spec__.name, sys.modules["__main__"].__dict__ is globals())
"""


def run(folder, *arguments, how=("-m", "shmqueue", "run"), status=0):
    """Run Python in a folder; return its output."""
    environment = support.program_environment()
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, *how, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


class TestRun:
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_a_program_has_ours_with_every_start_method(self, tmp_path, method):
        (tmp_path / "script.py").write_text(SCRIPT)
        expected = f"shmqueue.dropin shmqueue.dropin shmqueue.dropin {[method, '-x']}\n"
        assert run(tmp_path, "script.py", method, "-x") == expected

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_a_module_has_ours_with_every_start_method(self, tmp_path, method):
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "__init__.py").touch()
        (tmp_path / "package" / "tool.py").write_text(SCRIPT)
        expected = f"shmqueue.dropin shmqueue.dropin shmqueue.dropin {[method]}\n"
        assert run(tmp_path, "-m", "package.tool", method) == expected

    @pytest.mark.parametrize("arguments", [[], ["-m", "x"], ["--help"], ["a b", "--", "-x=1"]])
    def test_a_script_finds_itself_as_under_python(self, tmp_path, arguments):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "script.py").write_text(SELF)
        arguments = ["folder/script.py", *arguments]
        assert run(tmp_path, *arguments) == run(tmp_path, *arguments, how=())

    @pytest.mark.parametrize("name", ["tool", "package", "package.tool"])
    def test_a_module_finds_itself_as_under_python(self, tmp_path, name):
        (tmp_path / "tool.py").write_text(SELF)
        (tmp_path / "package").mkdir()
        (tmp_path / "package" / "__init__.py").touch()
        for file in ("tool.py", "__main__.py"):
            (tmp_path / "package" / file).write_text(SELF)
        expected = run(tmp_path, "-m", name, "--flag", "x", how=())
        assert run(tmp_path, "-m", name, "--flag", "x") == expected

    def test_a_folder_and_an_archive_with_a_main_are_run(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "__main__.py").write_text("import other; print(other.__name__)")
        (tmp_path / "folder" / "other.py").touch()
        with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
            for file in ("__main__.py", "other.py"):
                archive.write(tmp_path / "folder" / file, file)
        for name in ("folder", "archive.zip"):
            assert run(tmp_path, name) == run(tmp_path, name, how=()) == "other\n"

    def test_its_exit_status_is_the_programs(self, tmp_path):
        (tmp_path / "script.py").write_text("import sys; sys.exit(7)")
        run(tmp_path, "script.py", status=7)
        (tmp_path / "script.py").write_text("raise LookupError('of the program')")
        assert "LookupError: of the program" in run(tmp_path, "script.py", status=1)

    def test_main_stays_main_for_threads_and_exit_handlers(self, tmp_path):
        (tmp_path / "script.py").write_text(
            textwrap.dedent(
                """
                import atexit, pickle, threading

                class Order:
                    pass

                ended = threading.Event()

                def late():
                    ended.wait(30)
                    assert type(pickle.loads(pickle.dumps(Order()))) is Order
                    print("thread")

                def last():
                    assert type(pickle.loads(pickle.dumps(Order()))) is Order
                    print("exit")

                atexit.register(last)
                threading.Thread(target=late).start()
                threading._register_atexit(ended.set)
                """
            )
        )
        assert run(tmp_path, "script.py") == "thread\nexit\n"

    def test_what_cannot_be_run_is_said_so(self, tmp_path):
        assert "absent.py" in run(tmp_path, "absent.py", status=2)
        assert "no_such_module" in run(tmp_path, "-m", "no_such_module", status=1)
        assert "absent.sub" in run(tmp_path, "-m", "absent.sub", status=1)
        assert "name a script" in run(tmp_path, status=2)
        assert "name a script" in run(tmp_path, "-m", status=2)
