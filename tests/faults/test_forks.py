"""A fork in the middle of anything; daemonisers; exec; a parent that dies before its child."""

import os
import signal
import sys
import threading

import pytest

from shmqueue import SharedMemoryQueue
from tests import support
from tests.protocol.raw import FLAGS, TAIL
from tests.support import LIMIT, Thread, drain, wait_until

FORKS = 50
LARGE = bytes(range(256)) * 64


def _row_of(queue, pid):
    (row,) = [row for row in queue.get_metrics()["seats"] if row["pid"] == pid]
    return row


class TestWhileThreadsWork:
    def test_children_use_the_queue_and_leave(self, create, forks):
        busy = create("busy", capacity=8, item_size=64)
        down = create("down", capacity=FORKS)
        stop = threading.Event()
        got = []

        def put_numbers():
            number = 0
            while not stop.is_set():
                busy.put(LARGE if number % 16 == 0 else number)
                number += 1
            return number

        def get_everything():
            while (item := busy.get()) != "end":
                got.append(item)

        def child():
            token = down.get(timeout=LIMIT)
            busy.put(("child", token), timeout=LIMIT)
            busy.put_batch([("child", token, LARGE), ("child", token)], timeout=LIMIT)

        threads = [Thread(get_everything), Thread(put_numbers)]
        try:
            children = []
            for token in range(FORKS):
                down.put(token)
                children.append(forks.start(child))
                if len(children) == 4:
                    assert [forks.wait(pid) for pid in children] == [0] * 4
                    children.clear()
            assert [forks.wait(pid) for pid in children] == [0] * len(children)
        finally:
            stop.set()
            numbers = threads[1].result()
            busy.put("end")
            threads[0].result()

        own = [item for item in got if not isinstance(item, tuple)]
        assert own == [LARGE if number % 16 == 0 else number for number in range(numbers)]
        theirs = [item for item in got if isinstance(item, tuple)]
        expected = [("child", t) for t in range(FORKS)] * 2
        assert sorted(item for item in theirs if len(item) == 2) == sorted(expected)
        assert sorted(item[1] for item in theirs if len(item) == 3) == list(range(FORKS))
        assert all(item[2] == LARGE for item in theirs if len(item) == 3)
        metrics = busy.get_metrics()
        assert metrics["pool_bytes"] == metrics["pool_free_bytes"] > 0

    def test_a_child_is_not_held_up_by_calls_that_wait_in_the_parent(self, create, forks):
        queue = create(capacity=2)
        waiting = [Thread(queue.get) for _ in range(3)]
        for thread in waiting:
            support.await_thread_asleep(thread)
        pids = [forks.start(queue.put, number) for number in range(3)]
        assert [forks.wait(pid) for pid in pids] == [0, 0, 0]
        assert sorted(thread.result() for thread in waiting) == [0, 1, 2]


class TestSeats:
    def test_a_child_has_its_own_and_the_parent_keeps_its(self, create, forks):
        queue = create()
        own = _row_of(queue, os.getpid())["seat"]
        ready, go = os.pipe(), os.pipe()

        def child():
            queue.put("seated")
            os.write(ready[1], b"x")
            os.read(go[0], 1)

        try:
            pid = forks.start(child)
            assert os.read(ready[0], 1) == b"x"
            row = _row_of(queue, pid)
            assert row["alive"]
            assert row["seat"] != own
            assert _row_of(queue, os.getpid())["alive"]
            os.write(go[1], b"x")
            assert forks.wait(pid) == 0
            assert not _row_of(queue, pid)["alive"]
            assert _row_of(queue, os.getpid())["alive"]
        finally:
            for fd in (*ready, *go):
                os.close(fd)

    def test_a_child_that_never_uses_it_takes_none_and_frees_none(self, create, forks):
        queue = create(max_processes=1)

        def child():
            queue.close()

        assert forks.wait(forks.start(child)) == 0
        assert forks.wait(forks.start(lambda: None)) == 0
        (row,) = queue.get_metrics()["seats"]
        assert (row["pid"], row["alive"]) == (os.getpid(), True)
        queue.put(1)
        assert queue.get() == 1

    def test_many_children_in_turn_need_few(self, create, forks):
        queue = create(max_processes=3)
        for number in range(30):
            assert forks.wait(forks.start(queue.put, number)) == 0
        assert drain(queue, 30) == list(range(30))

    def test_grandchildren_have_their_own(self, create, forks):
        queue = create()

        def descend(depth):
            queue.put((depth, os.getpid()))
            if depth:
                assert forks.wait(forks.start(descend, depth - 1)) == 0

        assert forks.wait(forks.start(descend, 4)) == 0
        items = drain(queue, 5)
        assert [depth for depth, _ in items] == [4, 3, 2, 1, 0]
        assert len({pid for _, pid in items}) == 5

    def test_items_kept_for_a_later_get_stay_with_the_parent(self, create, forks):
        queue = create()
        queue.put_batch([1, 2, 3])
        assert queue.get_batch(2) == [1, 2]

        def child():
            assert queue.get_batch(5) == [3]
            assert queue.empty()

        assert forks.wait(forks.start(child)) == 0
        assert queue.empty()


class TestDaemonisers:
    def test_who_closes_every_descriptor_first_goes_on(self, create, forks):
        queue = create(item_size=64)
        queue.put_batch(["first", LARGE])

        def child():
            os.closerange(3, 4096)
            assert drain(queue, 2) == ["first", LARGE]
            queue.put_batch(["second", LARGE[::-1], LARGE * 4])

        assert forks.wait(forks.start(child)) == 0
        assert drain(queue, 3) == ["second", LARGE[::-1], LARGE * 4]

    def test_who_closes_every_descriptor_later_goes_on(self, create, forks):
        queue = create(item_size=64)
        queue.put("first")

        def child():
            assert queue.get(timeout=LIMIT) == "first"
            os.closerange(3, 4096)
            queue.put("second", timeout=LIMIT)
            assert queue.get(timeout=LIMIT) == "second"
            queue.put("third", timeout=LIMIT)

        assert forks.wait(forks.start(child)) == 0
        assert queue.get() == "third"

    def test_the_seat_of_who_closed_every_descriptor_is_still_held(self, create, forks):
        queue = create()
        ready, go = os.pipe(), os.pipe()

        def child():
            queue.put("seated")
            os.dup2(ready[1], 1)
            os.dup2(go[0], 0)
            os.closerange(3, 4096)
            os.write(1, b"x")
            os.read(0, 1)

        try:
            pid = forks.start(child)
            assert os.read(ready[0], 1) == b"x"
            assert _row_of(queue, pid)["alive"]
            os.write(go[1], b"x")
            assert forks.wait(pid) == 0
            assert not _row_of(queue, pid)["alive"]
        finally:
            for fd in (*ready, *go):
                os.close(fd)

    def test_another_file_in_place_of_the_descriptor_is_left_alone(self, create, forks, tmp_path):
        queue = create(item_size=64)
        other = tmp_path / "other"
        other.write_bytes(b"untouched")

        def child():
            limit = 64
            os.closerange(3, limit)
            kept = [os.open(other, os.O_RDWR) for _ in range(3, limit)]
            queue.put_batch(["small", LARGE])
            assert drain(queue, 2) == ["small", LARGE]
            queue.close()
            for fd in kept:
                os.fstat(fd)

        assert forks.wait(forks.start(child)) == 0
        assert other.read_bytes() == b"untouched"


EXEC = """
    import os, sys
    from shmqueue import SharedMemoryQueue

    queue = SharedMemoryQueue("q", run_id=sys.argv[1])
    queue.put("before exec")
    code = "import sys; print('ran', flush=True); sys.stdin.readline()"
    os.execv(sys.executable, [sys.executable, "-c", code])
"""


class TestDeaths:
    def test_exec_frees_the_seat_though_the_process_lives(self, create, programs, run_id, open_raw):
        queue = create()
        raw = open_raw()
        program = programs.start(EXEC, run_id)
        assert program.stdout.readline() == "ran\n"
        assert queue.get(timeout=LIMIT) == "before exec"
        assert not _row_of(queue, program.pid)["alive"]
        raw.set_owner(TAIL, raw.seat_of(program.pid)[1])
        queue.put("goes on", timeout=LIMIT)
        assert queue.get_metrics()["takeovers"] == 1
        assert program.poll() is None
        programs.finish(program)

    @pytest.mark.parametrize("used_by_child", [False, True])
    def test_a_parents_death_is_seen_while_its_child_lives(
        self, create, forks, open_raw, used_by_child
    ):
        queue = create()
        raw = open_raw()
        ready, hold = os.pipe(), os.pipe()

        def grandchild():
            os.close(hold[1])
            if used_by_child:
                queue.put("from the grandchild")
            os.write(ready[1], os.getpid().to_bytes(4, sys.byteorder))
            os.read(hold[0], 1)

        def child():
            queue.put("from the child")
            forks.start(grandchild)
            signal.pause()

        try:
            parent = forks.start(child)
            pid = int.from_bytes(os.read(ready[0], 4), sys.byteorder)
            assert queue.get() == "from the child"
            assert _row_of(queue, parent)["alive"]
            forks.kill(parent)
            forks.adopt(pid)
            wait_until(lambda: not _row_of(queue, parent)["alive"], "the parent to be seen dead")
            raw.set_owner(TAIL, raw.seat_of(parent)[1])
            queue.put("goes on", timeout=LIMIT)
            assert raw.owner(TAIL) & ~FLAGS == 0
            if used_by_child:
                assert _row_of(queue, pid)["alive"]
                assert queue.get() == "from the grandchild"
            assert forks.poll(pid) is None
            os.close(hold[1])
            hold = (hold[0],)
            assert forks.wait(pid) == 0
        finally:
            for fd in (*ready, *hold):
                os.close(fd)

    def test_a_queue_that_all_others_died_on_is_used_by_whoever_comes(self, create, forks, run_id):
        queue = create(capacity=3)

        def fill_and_die():
            mine = SharedMemoryQueue("q", run_id=run_id)
            mine.put_batch([1, LARGE, 3])
            os.kill(os.getpid(), signal.SIGKILL)

        assert forks.wait(forks.start(fill_and_die)) == -signal.SIGKILL
        queue.close()
        with SharedMemoryQueue("q", run_id=run_id) as late:
            assert drain(late, 3) == [1, LARGE, 3]
            assert late.get_metrics()["seats"][0]["alive"]
