"""A /dev/shm that is too small or unusable, limits of the process: an OSError, never a signal."""

import errno
import json
import re
import resource
import textwrap

import pytest

from shmqueue import SharedMemoryQueue
from tests import mounts, support

# What every program here begins with: names, and a way to report.
PRELUDE = """
import errno, json, os, sys
from shmqueue import SharedMemoryQueue

report = {}

def attempt(name, call):
    try:
        report[name] = repr(call())[:100]
    except OSError as error:
        report[name] = {"errno": error.errno, "message": str(error)}

def finish():
    report["left"] = os.listdir("/dev/shm")
    print(json.dumps(report))
"""


def _run(programs, options, source):
    program = PRELUDE + textwrap.dedent(source) + "\nfinish()\n"
    return json.loads(programs.run(program, prefix=mounts.with_shared_memory(options)))


def _assert_tells_wanted_and_available(failure, wanted, available):
    assert failure["errno"] == errno.ENOSPC
    numbers = [
        int(re.sub(r"[,_]", "", text)) for text in re.findall(r"\d[\d,_]*", failure["message"])
    ]
    assert any(number >= wanted for number in numbers), failure["message"]
    assert any(number <= available for number in numbers if number != errno.ENOSPC)
    assert "bytes" in failure["message"]


@mounts.needs_mount
class TestTooSmall:
    @pytest.mark.parametrize(
        ("size", "bytes_"), [("4k", 4096), ("64k", 65536), ("256k", 262144), ("1M", 1 << 20)]
    )
    def test_creating_a_queue_that_does_not_fit_tells_wanted_and_available(
        self, programs, size, bytes_
    ):
        report = _run(
            programs,
            f"size={size}",
            """
            attempt("create", lambda: SharedMemoryQueue("q", create=True))
            attempt("again", lambda: SharedMemoryQueue("q", create=True, exist_ok=True))
            """,
        )
        for name in ("create", "again"):
            _assert_tells_wanted_and_available(report[name], 1000 * 4096, bytes_)
        assert report["left"] == []

    @pytest.mark.parametrize("size", ["256k", "1M"])
    def test_a_queue_that_fits_works_there(self, programs, size):
        report = _run(
            programs,
            f"size={size}",
            """
            queue = SharedMemoryQueue("q", create=True, capacity=64, item_size=512)
            for _ in range(3):
                queue.put_batch([bytes(500)] * 64)
                assert queue.full()
                assert queue.get_batch(64) == [bytes(500)] * 64
            queue.close()
            queue.unlink()
            """,
        )
        assert report == {"left": []}

    @pytest.mark.parametrize("block", [True, False])
    def test_a_large_item_raises_at_once_and_the_queue_goes_on(self, programs, block):
        report = _run(
            programs,
            "size=1M",
            f"""
            queue = SharedMemoryQueue("q", create=True, capacity=16, item_size=512)
            queue.put("before")
            attempt("put", lambda: queue.put(bytes(4 << 20), block={block}))
            attempt("batch", lambda: queue.put_batch(["x", bytes(4 << 20)], block={block}))
            assert queue.qsize() == 1
            queue.put_batch(["after", b"s" * 500])
            assert queue.get_batch(5) == ["before", "after", b"s" * 500]
            queue.put(bytes(200_000))
            assert queue.get() == bytes(200_000)
            queue.close()
            queue.unlink()
            """,
        )
        _assert_tells_wanted_and_available(report["put"], 4 << 20, 1 << 20)
        _assert_tells_wanted_and_available(report["batch"], 4 << 20, 1 << 20)
        assert report["left"] == []

    def test_memory_that_items_filled_serves_again_once_they_are_gone(self, programs):
        report = _run(
            programs,
            "size=1M",
            """
            queue = SharedMemoryQueue("q", create=True, capacity=64, item_size=512)
            counts = []
            for _ in range(4):
                count = 0
                while True:
                    try:
                        queue.put(bytes([count]) * 50_000)
                    except OSError as error:
                        assert error.errno == errno.ENOSPC
                        break
                    count += 1
                counts.append(count)
                assert queue.qsize() == count
                for number in range(count):
                    assert queue.get_nowait() == bytes([number]) * 50_000
            report["counts"] = counts
            queue.close()
            queue.unlink()
            """,
        )
        assert report["left"] == []
        assert report["counts"][0] >= 5
        assert len(set(report["counts"])) == 1

    def test_items_of_another_size_find_the_memory_of_those_that_are_gone(self, programs):
        report = _run(
            programs,
            "size=1M",
            """
            queue = SharedMemoryQueue("q", create=True, capacity=64, item_size=512)
            for size in (20_000, 60_000, 300_000, 5_000, 150_000):
                count = 0
                while not queue.full():
                    try:
                        queue.put(bytes(size))
                    except OSError as error:
                        assert error.errno == errno.ENOSPC
                        break
                    count += 1
                report[str(size)] = count
                for _ in range(count):
                    assert queue.get_nowait() == bytes(size)
            queue.close()
            queue.unlink()
            """,
        )
        for size in (20_000, 60_000, 300_000, 5_000, 150_000):
            assert report[str(size)] >= 1, size

    def test_room_that_comes_back_is_used(self, programs):
        report = _run(
            programs,
            "size=1M",
            """
            queue = SharedMemoryQueue("q", create=True, capacity=16, item_size=512)
            filler = os.open("/dev/shm/filler", os.O_CREAT | os.O_WRONLY)
            try:
                while True:
                    os.write(filler, bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
            queue.put_batch([bytes(500)] * 16)
            assert queue.get_batch(16) == [bytes(500)] * 16
            attempt("full", lambda: queue.put(bytes(100_000)))
            os.close(filler)
            os.unlink("/dev/shm/filler")
            queue.put(bytes(100_000))
            assert queue.get() == bytes(100_000)
            queue.close()
            queue.unlink()
            """,
        )
        assert report["full"]["errno"] == errno.ENOSPC
        assert report["left"] == []

    def test_the_inodes_may_run_out_too(self, programs):
        report = _run(
            programs,
            "size=1M,nr_inodes=1",
            """
            attempt("create", lambda: SharedMemoryQueue("q", create=True, capacity=4, item_size=64))
            """,
        )
        assert report["create"]["errno"] == errno.ENOSPC
        assert report["left"] == []


@mounts.needs_mount
class TestUnusable:
    def test_a_read_only_one_is_an_os_error(self, programs):
        report = _run(
            programs,
            "size=16M,ro",
            """
            attempt("create", lambda: SharedMemoryQueue("q", create=True))
            attempt("attach", lambda: SharedMemoryQueue("q"))
            """,
        )
        assert report["create"]["errno"] == errno.EROFS
        assert report["attach"]["errno"] == errno.ENOENT
        assert report["left"] == []

    def test_one_that_forbids_execution_is_fine(self, programs):
        report = _run(
            programs,
            "size=16M,noexec,nosuid,nodev",
            """
            with SharedMemoryQueue("q", create=True) as queue:
                queue.put(bytes(100_000))
                report["length"] = len(queue.get())
                queue.unlink()
            """,
        )
        assert report == {"length": 100_000, "left": []}


def _create_under_limit(limit, value, run_id):
    hard = resource.getrlimit(limit)[1]
    resource.setrlimit(limit, (value, hard))
    try:
        queue = SharedMemoryQueue("q", create=True, run_id=run_id)
    except OSError as error:
        return error.errno
    finally:
        resource.setrlimit(limit, (hard, hard))
    queue.close()
    return 0


class TestLimits:
    def test_a_limit_on_the_size_of_files_is_an_os_error(self, run_id):
        code = support.run_in_fork(_create_under_limit, resource.RLIMIT_FSIZE, 65536, run_id)
        assert code == errno.EFBIG
        assert support.segment_files(run_id) == []

    def test_no_descriptor_left_is_an_os_error(self, run_id):
        code = support.run_in_fork(_create_under_limit, resource.RLIMIT_NOFILE, 3, run_id)
        assert code == errno.EMFILE
        assert support.segment_files(run_id) == []
