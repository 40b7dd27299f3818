"""The doctor sees who has a queue and what the dead hold in it, and clears that up on request."""

import json
import os
import random
import signal
import stat
import subprocess
import sys

import numpy
import pytest

from shmqueue import SharedMemoryQueue, _examine, doctor, segment
from shmqueue.errors import NoFreeSeatError
from tests import support, unnamed
from tests.faults.processes import Turns
from tests.protocol.raw import HEAD, POOL, TAIL
from tests.support import LIMIT, Thread, drain

ARRAY = numpy.arange(1 << 17)
LARGE = ARRAY.nbytes


@pytest.fixture
def queue(create):
    return create(capacity=8, item_size=64)


@pytest.fixture
def raw(queue, open_raw):
    return open_raw()


def _look(queue):
    return doctor.look(segment.path_of(queue.name, queue.run_id))


def _row(told, pid):
    (row,) = [row for row in told["seats"] if row["pid"] == pid]
    return row


def _view_and_die(queue):
    kept = queue.get()
    assert kept[1] == 1
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def lower():
    """Return a descriptor below those to come: closed, it is the one that a listing of them has."""
    return os.open(os.devnull, os.O_RDONLY)


@pytest.fixture
def dead_viewer(queue, forks):
    """Return the pid of a process that died with an array of the queue in its hands."""
    queue.put(ARRAY)
    pid = forks.start(_view_and_die, queue)
    assert forks.wait(pid) == -signal.SIGKILL
    return pid


class TestLooking:
    def test_it_tells_what_is_in_a_queue_and_who_has_it(self, queue):
        queue.put_batch([1, 2, 3])
        queue.get()
        queue.put(ARRAY)
        told = _look(queue)
        assert (told["name"], told["run_id"]) == (queue.name, queue.run_id)
        assert (told["state"], told["problems"]) == (doctor.IN_USE, [])
        assert (told["capacity"], told["items"], told["items_put"]) == (8, 3, 4)
        assert (told["uid"], told["mode"]) == (os.geteuid(), 0o600)
        assert told["pool_bytes"] >= LARGE > told["pool_free_bytes"]
        assert [row["pid"] for row in told["seats"] if row["alive"]] == [os.getpid()]

    def test_it_takes_no_seat(self, create):
        full = create("full", max_processes=1)
        assert _look(full)["state"] == doctor.IN_USE
        assert len(full.get_metrics()["seats"]) == 1

    def test_it_changes_not_a_byte(self, queue, dead_viewer, raw):
        queue.put_batch(["a", ARRAY])
        raw.set_owner(TAIL, raw.seat_of(dead_viewer)[1])
        path = segment.path_of(queue.name, queue.run_id)

        def everything():
            status = os.stat(path)
            with open(path, "rb") as file:
                return file.read(raw.mapped_bytes), status.st_blocks, status.st_mtime_ns

        before = everything()
        assert _look(queue)["problems"]
        assert everything() == before

    @pytest.mark.parametrize("name", ["plain", "with@sign", "ä b%41", "a@b@c"])
    def test_it_reads_the_name_back_from_the_file(self, create, name):
        queue = create(name, run_id="")
        try:
            told = _look(queue)
            assert (told["name"], told["run_id"]) == (name, "")
        finally:
            queue.unlink()

    def test_it_tells_who_died_and_what_they_hold(self, queue, dead_viewer, raw):
        raw.set_owner(HEAD, raw.seat_of(dead_viewer)[1])
        told = _look(queue)
        row = _row(told, dead_viewer)
        assert not row["alive"]
        assert (row["blocks"], row["block_bytes"]) == (1, told["pool_bytes"])
        assert (told["lost_blocks"], told["lost_bytes"]) == (1, told["pool_bytes"])
        (owner,) = told["owners"]
        assert (owner["end"], owner["pid"], owner["alive"]) == ("head", dead_viewer, False)
        text = "\n".join(told["problems"])
        assert f"process {dead_viewer} ended with 1 block in its hands" in text
        assert f"the head is in the hands of process {dead_viewer} that ended" in text
        assert "1 block" in text
        raw.set_owner(HEAD, 0)

    def test_what_an_earlier_holder_of_a_seat_left_is_not_laid_to_the_last(
        self, queue, dead_viewer, raw
    ):
        seat, word = raw.seat_of(dead_viewer)
        generation = raw.get("seat", seat, "generation")
        raw.set("seat", seat, "generation", generation + 1)
        raw.set_owner(HEAD, word)
        told = _look(queue)
        assert _row(told, dead_viewer)["blocks"] == 0
        assert told["lost_blocks"] == 1
        assert (told["owners"][0]["pid"], told["owners"][0]["alive"]) == (0, False)
        assert not any(str(dead_viewer) in problem for problem in told["problems"])
        raw.set_owner(HEAD, 0)

    def test_what_the_living_hold_is_no_problem(self, queue, raw):
        queue.put(ARRAY)
        kept = queue.get()
        raw.set_owner(TAIL, raw.seat_of(os.getpid())[1])
        told = _look(queue)
        assert told["problems"] == []
        assert _row(told, os.getpid())["blocks"] == 1
        assert [owner["end"] for owner in told["owners"]] == ["tail"]
        raw.set_owner(TAIL, 0)
        del kept

    def test_what_the_dead_put_is_an_item_and_not_lost(self, queue, forks):
        assert forks.wait(forks.start(queue.put, ARRAY)) == 0
        told = _look(queue)
        assert (told["items"], told["lost_blocks"]) == (1, 0)
        assert queue.get()[1] == 1

    def test_a_queue_that_nobody_has_is_unattended_however_they_left(self, programs, run_id):
        for ending in ("queue.close()", "os._exit(0)", "os.kill(os.getpid(), 9)"):
            program = programs.start(
                f"""
                import os, sys
                from shmqueue import SharedMemoryQueue
                queue = SharedMemoryQueue("q", create=True, exist_ok=True, run_id=sys.argv[1])
                queue.put(1)
                {ending}
                """,
                run_id,
            )
            program.communicate(timeout=LIMIT)
            told = doctor.look(segment.path_of("q", run_id))
            assert (told["state"], told["problems"]) == (doctor.UNATTENDED, [])
        assert told["items"] == 3
        assert segment.unlink("q", run_id)

    def test_those_who_come_and_go_in_order_are_not_called_dead(self, queue, attach, forks):
        def come_and_go():
            while True:
                with SharedMemoryQueue(queue.name, run_id=queue.run_id) as one:
                    one.put(ARRAY)
                    one.get()

        pids = [forks.start(come_and_go) for _ in range(3)]
        support.wait_until(lambda: queue.get_metrics()["items_got"] > 10, "them to begin")
        problems = [problem for _ in range(1500) for problem in _look(queue)["problems"]]
        dead = [
            row for _ in range(1500) for row in queue.get_metrics()["seats"] if not row["alive"]
        ]
        assert (problems, dead) == ([], [])
        for pid in pids:
            forks.kill(pid)

    def test_unnamed_queues_are_found_with_the_processes_that_have_them(self, make):
        mine = make()
        for number in range(5):
            mine.put(number)
        inode = mine._attachment.inode
        (told,) = [one for one in doctor.look_at_unnamed() if one["inode"] == inode]
        assert told["pids"] == [os.getpid()]
        assert (told["state"], told["items"], told["capacity"]) == ("in use", 5, unnamed.UNBOUNDED)

    def test_a_descriptor_that_closes_meanwhile_hides_no_unnamed_queue(self, lower, make):
        mine = make()
        os.close(lower)
        inode = mine._attachment.inode
        (told,) = [one for one in doctor.look_at_unnamed() if one["inode"] == inode]
        assert told["pids"] == [os.getpid()]


class TestWhatIsNoQueue:
    @pytest.fixture
    def path(self, run_id):
        path = segment.path_of("q", run_id)
        yield path
        if os.path.lexists(path):
            os.unlink(path)

    def test_a_damaged_one_is_told_and_removed_when_nobody_has_it(self, create, path):
        queue = create()
        with open(path, "r+b") as file:
            file.seek(40)
            file.write(b"\xff")
        told = doctor.look(path)
        assert (told["state"], told["is_held"]) == (doctor.DAMAGED, True)
        assert "overwritten" in told["problems"][0]
        assert "processes are attached" in told["problems"][0]
        assert doctor.fix(told) == []
        queue.close()
        told = doctor.look(path)
        assert not told["is_held"]
        assert doctor.fix(told) == ["removed, as it can't be opened"]
        assert not os.path.lexists(path)

    def test_one_of_another_version_is_left_alone(self, create, path, open_raw):
        create().close()
        with open(path, "r+b") as file:
            file.seek(8)
            file.write(b"\xff")
        told = doctor.look(path)
        assert told["state"] == doctor.FOREIGN
        assert "layout version" in told["problems"][0]
        assert doctor.fix(told) == doctor.remove_orphan(told) == []
        assert os.path.exists(path)

    def test_a_file_of_another_program_is_left_alone(self, path):
        with open(path, "wb") as file:
            file.write(b"not a queue" * 100)
        told = doctor.look(path)
        assert told["state"] == doctor.FOREIGN
        assert doctor.fix(told) == doctor.remove_orphan(told) == []
        assert os.path.getsize(path) == 1100

    @pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/etc/passwd", path)])
    def test_what_is_no_regular_file_is_told_and_left_alone(self, path, make):
        make(path)
        told = doctor.look(path)
        assert told["state"] == doctor.FOREIGN
        assert doctor.fix(told) == doctor.remove_orphan(told) == []
        assert stat.S_IFMT(os.lstat(path).st_mode) != stat.S_IFREG

    def test_a_scribbled_count_of_blocks_costs_no_memory(self, queue, raw):
        raw.set("end", POOL, "sequence", 1 << 60)
        told = _look(queue)
        assert told["blocks"] <= told["memory_bytes"] // 64
        raw.set("end", POOL, "sequence", 0)

    def test_ends_that_contradict_each_other_are_a_problem(self, queue, raw):
        raw.set("end", HEAD, "sequence", 5)
        told = _look(queue)
        assert told["items"] is None
        assert any("contradict" in problem for problem in told["problems"])
        raw.set("end", HEAD, "sequence", 0)


class TestFixing:
    def test_what_the_dead_held_is_free_and_they_are_forgotten(self, queue, dead_viewer, raw):
        word = raw.seat_of(dead_viewer)[1]
        for end in (TAIL, HEAD, POOL):
            raw.set_owner(end, word)
        assert doctor.fix(_look(queue)) == ["what the dead held is free"]
        told = _look(queue)
        assert (told["problems"], told["owners"], told["lost_blocks"]) == ([], [], 0)
        assert [row["pid"] for row in told["seats"]] == [os.getpid()]
        assert told["pool_free_bytes"] == told["pool_bytes"]
        queue.put(ARRAY)
        assert queue.get()[1] == 1

    def test_items_stay(self, queue, dead_viewer):
        queue.put_batch([1, 2, ARRAY])
        doctor.fix(_look(queue))
        one, two, three = drain(queue, 3)
        assert (one, two, three[1]) == (1, 2, 1)

    def test_the_counts_of_the_dead_stay_in_the_totals(self, queue, forks):
        def put_and_die():
            queue.put_batch([1, 2, 3])
            os.kill(os.getpid(), signal.SIGKILL)

        forks.wait(forks.start(put_and_die))
        before = queue.get_metrics()
        doctor.fix(_look(queue))
        after = queue.get_metrics()
        assert (after["items_put"], after["bytes_put"]) == (3, before["bytes_put"])

    def test_a_stopped_process_keeps_what_it_holds(self, queue, raw, forks):
        def get_and_stop():
            kept = queue.get()
            os.kill(os.getpid(), signal.SIGSTOP)
            del kept

        queue.put(ARRAY)
        pid = forks.start(get_and_stop)
        os.waitpid(pid, os.WUNTRACED)
        raw.set_owner(HEAD, raw.seat_of(pid)[1])
        told = _look(queue)
        assert told["problems"] == doctor.fix(told) == []
        # Nor when there is something else to repair, for which the head is needed.
        forks.wait(forks.start(lambda: os.kill(os.getpid(), signal.SIGKILL)))
        again = _look(queue)
        assert _row(again, pid)["blocks"] == 1
        assert again["owners"][0]["alive"]
        raw.set_owner(HEAD, 0)
        os.kill(pid, signal.SIGCONT)
        assert forks.wait(pid) == 0
        assert _look(queue)["pool_free_bytes"] > 0

    def test_a_living_holder_of_the_head_is_told(self, queue, dead_viewer, raw):
        raw.set_owner(HEAD, raw.seat_of(os.getpid())[1])
        (said,) = doctor.fix(_look(queue))
        assert "a living process holds the head" in said
        assert _look(queue)["lost_blocks"] == 1
        raw.set_owner(HEAD, 0)
        doctor.fix(_look(queue))
        assert _look(queue)["lost_blocks"] == 0

    def test_a_seat_of_the_dead_is_free_for_others_meanwhile(self, queue, dead_viewer, raw):
        doctor.fix(_look(queue))
        same = unnamed.another(queue)
        assert raw.get("header", 0, "seats_granted") == 2
        same.close()


class TestOrphans:
    @pytest.fixture(autouse=True)
    def _each_time(self, monkeypatch):
        """Let each creation look at others, however soon it comes."""
        monkeypatch.setattr(doctor, "CLEAR_UP_PAUSE_SECONDS", 0)
        monkeypatch.delenv("SHMQUEUE_CLEAR_UP")
        # Nothing of other tests.
        monkeypatch.setattr(doctor, "_file_names", list)

    @pytest.fixture
    def orphan(self, programs, run_id):
        """Return the path of a queue with two items, that everybody left by dying."""
        program = programs.start(
            """
            import numpy, os, sys
            from shmqueue import SharedMemoryQueue
            queue = SharedMemoryQueue("orphan", create=True, run_id=sys.argv[1])
            queue.put_batch(["first", numpy.arange(1 << 17), "second"])
            queue.get()
            kept = queue.get()
            queue.put("third")
            os.kill(os.getpid(), 9)
            """,
            run_id,
        )
        program.communicate(timeout=LIMIT)
        assert program.returncode == -signal.SIGKILL
        path = segment.path_of("orphan", run_id)
        yield path
        if os.path.exists(path):
            os.unlink(path)

    def test_fixing_one_gives_its_unused_memory_back_and_keeps_its_items(self, orphan, run_id):
        before = doctor.look(orphan)
        assert (before["state"], before["lost_blocks"]) == (doctor.UNATTENDED, 1)
        doctor.fix(before)
        told = doctor.look(orphan)
        assert (told["state"], told["pool_bytes"], told["problems"]) == ("unattended", 0, [])
        assert told["memory_bytes"] <= before["memory_bytes"] - LARGE
        with SharedMemoryQueue("orphan", run_id=run_id) as queue:
            assert drain(queue, 2) == ["second", "third"]

    def test_creating_another_queue_does_the_same(self, orphan, create, run_id, monkeypatch):
        monkeypatch.setattr(doctor, "_file_names", lambda: [os.path.basename(orphan)])
        create("another")
        told = doctor.look(orphan)
        assert (told["state"], told["pool_bytes"], told["items"]) == ("unattended", 0, 2)

    def test_creating_looks_at_a_few_of_many(self, create, monkeypatch):
        looked = []
        monkeypatch.setattr(doctor, "_file_names", lambda: [f"shmq.{n}" for n in range(500)])
        monkeypatch.setattr(doctor, "_is_abandoned", looked.append)
        monkeypatch.setattr(doctor, "_last_clear_up", float("-inf"))
        create("one")
        assert len(set(looked)) == doctor.ABANDONED_LOOKED_AT

    def test_creating_does_not_touch_what_somebody_has(
        self, queue, dead_viewer, create, monkeypatch
    ):
        monkeypatch.setattr(doctor, "_file_names", lambda: [queue.segment_name])
        create("another")
        assert _look(queue)["lost_blocks"] == 1

    def test_creating_does_not_attach_to_what_was_left_in_order(self, create, monkeypatch):
        create("first").close()
        attached = []
        monkeypatch.setattr(segment, "look_at", attached.append)
        create("second")
        assert attached == []

    def test_a_damaged_name_does_not_keep_others_from_creating(self, create, run_id, monkeypatch):
        path = segment.path_of("bad", run_id)
        monkeypatch.setattr(doctor, "_file_names", lambda: [os.path.basename(path), "shmq.none"])
        with open(path, "wb") as file:
            file.write(bytes(10))
        create("good").put(1)
        os.unlink(path)

    def test_a_queue_without_a_free_seat_does_not_either(self, create, orphan, monkeypatch):
        def full(path, trim, allow_other_owner=False):
            raise NoFreeSeatError("all seats are taken")

        monkeypatch.setattr(doctor, "_file_names", lambda: [os.path.basename(orphan)])
        monkeypatch.setattr(doctor, "_cleared", full)
        create("good").put(1)
        (said,) = doctor.fix(doctor.look(orphan))
        assert "all seats are taken" in said

    def test_creating_often_looks_at_others_once_in_a_while(self, create, monkeypatch):
        monkeypatch.setattr(doctor, "CLEAR_UP_PAUSE_SECONDS", 3600)
        looks = []
        monkeypatch.setattr(doctor, "_file_names", lambda: looks.append(1) or [])
        monkeypatch.setattr(doctor, "_last_clear_up", float("-inf"))
        for number in range(5):
            create(str(number))
        assert looks == [1]

    def test_creating_leaves_others_alone_where_the_environment_says_so(
        self, orphan, create, monkeypatch
    ):
        monkeypatch.setenv("SHMQUEUE_CLEAR_UP", "0")
        monkeypatch.setattr(doctor, "_file_names", lambda: [os.path.basename(orphan)])
        create("another")
        assert doctor.look(orphan)["lost_blocks"] == 1

    def test_one_is_left_to_a_forked_process_that_has_not_used_it_yet(self, create, forks):
        turns = Turns()
        queue = create("early")

        def use_later():
            turns.swap()
            queue.put("late")

        pid = forks.start(use_later)
        turns.hear_from(forks, pid)
        path = segment.path_of(queue.name, queue.run_id)
        queue.close()
        told = doctor.look(path)
        assert told["state"] == doctor.UNATTENDED
        assert doctor.remove_orphan(told) == [f"left alone: process {pid} has a descriptor of it"]
        turns.say()
        assert forks.wait(pid) == 0
        assert doctor.look(path)["items"] == 1
        turns.close()

    def test_a_descriptor_that_closes_meanwhile_hides_no_other(self, orphan, lower):
        fd = os.open(orphan, os.O_RDONLY)
        os.close(lower)
        said = doctor.remove_orphan(doctor.look(orphan))
        os.close(fd)
        assert said == [f"left alone: process {os.getpid()} has a descriptor of it"]
        assert os.path.exists(orphan)

    def test_one_that_got_items_since_is_left(self, create, run_id):
        create("growing").close()
        path = segment.path_of("growing", run_id)
        told = doctor.look(path)
        with SharedMemoryQueue("growing", run_id=run_id) as queue:
            queue.put("new")
        (said,) = doctor.remove_orphan(told)
        assert "left alone" in said

    def test_creating_does_not_touch_the_random_numbers_of_the_program(self, create, monkeypatch):
        monkeypatch.setattr(doctor, "_file_names", lambda: [f"shmq.none{n}" for n in range(50)])
        random.seed(7)
        expected = random.random()
        random.seed(7)
        create("one")
        assert random.random() == expected

    def test_threads_that_make_named_and_unnamed_queues_do_not_block_each_other(self, create, make):
        queue = create("named")

        def attach_often():
            for _ in range(200):
                SharedMemoryQueue(queue.name, run_id=queue.run_id).close()
                create(f"other{random.random()}").unlink()

        def make_often():
            for _ in range(200):
                unnamed.make_queue().close()

        queue.close()
        threads = [Thread(attach_often), Thread(make_often), Thread(make_often)]
        for thread in threads:
            thread.result()

    def test_one_that_somebody_is_just_attaching_to_is_left(self, orphan, monkeypatch):
        told = doctor.look(orphan)
        fd = os.open(orphan, os.O_RDWR)
        monkeypatch.setattr(doctor, "_pids_with", lambda inode: [])
        assert _examine.enter(fd)
        (said,) = doctor.remove_orphan(told)
        assert "left alone" in said
        _examine.entered(fd)
        assert doctor.remove_orphan(told) == ["removed, as nobody has it, with 2 items"]
        os.close(fd)

    def test_one_that_is_just_being_created_is_left(self, create, run_id, monkeypatch):
        said = []
        opened = segment._opened_by_name

        monkeypatch.setattr(doctor, "_pids_with", lambda inode: [])

        def look_first(fd, path):
            said.extend(doctor.remove_orphan(doctor.look(path)))
            return opened(fd, path)

        monkeypatch.setattr(segment, "_opened_by_name", look_first)
        create("new")
        assert "left alone" in said[0]
        SharedMemoryQueue("new", run_id=run_id).close()

    def test_who_attaches_to_one_that_was_just_removed_is_told(self, orphan, run_id, monkeypatch):
        enter = segment.enter

        def remove_first(fd):
            assert doctor.remove_orphan(doctor.look(orphan))[0].startswith("removed")
            return enter(fd)

        monkeypatch.setattr(segment, "enter", remove_first)
        monkeypatch.setattr(doctor, "_pids_with", lambda inode: [])
        with pytest.raises(FileNotFoundError, match="unlinked already"):
            SharedMemoryQueue("orphan", run_id=run_id)

    def test_what_became_another_queue_since_is_left(self, create, run_id):
        for harm in (b"\xff", b""):
            queue = create("again")
            queue.close()
            path = segment.path_of("again", run_id)
            with open(path, "r+b") as file:
                file.seek(40)
                file.write(harm)
            told = doctor.look(path)
            assert told["state"] == (doctor.DAMAGED if harm else doctor.UNATTENDED)
            os.unlink(path)
            with SharedMemoryQueue("again", create=True, run_id=run_id) as queue:
                queue.put("precious")
            (said,) = doctor.fix(told) if harm else doctor.remove_orphan(told)
            assert "left alone" in said
            with SharedMemoryQueue("again", run_id=run_id) as queue:
                assert queue.get_nowait() == "precious"
                queue.unlink()

    def test_removing_one_takes_its_items_along_and_says_so(self, orphan):
        assert doctor.remove_orphan(doctor.look(orphan)) == [
            "removed, as nobody has it, with 2 items"
        ]
        assert not os.path.exists(orphan)

    def test_one_that_somebody_attached_to_meanwhile_is_left(self, orphan, run_id):
        told = doctor.look(orphan)
        with SharedMemoryQueue("orphan", run_id=run_id):
            (said,) = doctor.remove_orphan(told)
            assert "left alone" in said
        assert os.path.exists(orphan)


class TestTheCommand:
    def _run(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "shmqueue", "doctor", *arguments],
            env=support.program_environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def test_it_shows_a_queue_to_people_and_fixes_it(self, queue, dead_viewer):
        which = [queue.name, "--run-id", queue.run_id]
        shown = self._run(*which)
        assert shown.returncode == 1
        assert f"{queue.name!r} (run_id {queue.run_id!r}): in use" in shown.stdout
        assert f"! process {dead_viewer} ended with 1 block in its hands" in shown.stdout
        assert "1 named queue, 0 unnamed ones: 1 queue with problems" in shown.stdout
        assert "\033" not in shown.stdout
        fixed = self._run(*which, "--fix")
        assert fixed.returncode == 0
        assert "> what the dead held is free" in fixed.stdout
        assert "all well" in fixed.stdout

    def test_it_speaks_json(self, queue, make):
        queue.put(1)
        unnamed_queue = make()
        shown = self._run("--json")
        everything = json.loads(shown.stdout)
        (told,) = [one for one in everything["named"] if one["run_id"] == queue.run_id]
        assert (told["name"], told["items"], told["problems"]) == (queue.name, 1, [])
        inode = list(unnamed_queue._attachment.inode)
        assert inode in [one["inode"] for one in everything["unnamed"]]

    def test_a_name_does_nothing_to_a_terminal(self, create, run_id):
        path = segment.path_of("q", run_id) + "\udcff\033[31m\n"
        os.mkdir(path)
        shown = subprocess.run(
            [sys.executable, "-m", "shmqueue", "doctor"],
            env=support.program_environment() | {"PYTHONIOENCODING": "utf-8:strict"},
            capture_output=True,
            timeout=LIMIT,
        )
        os.rmdir(path)
        assert shown.stderr == b""
        (line,) = [line for line in shown.stdout.splitlines() if run_id.encode() in line][:1]
        assert b"\\udcff\\x1b[31m\\n" in line

    def test_a_name_that_cannot_be_encoded_is_told_all_the_same(self, create, run_id):
        create("é€")
        shown = subprocess.run(
            [sys.executable, "-m", "shmqueue", "doctor", "é€", "--run-id", run_id],
            env=support.program_environment() | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=LIMIT,
        )
        assert (shown.returncode, shown.stderr) == (0, b"")
        assert shown.stdout.startswith(rb"'\xe9\u20ac' (run_id ")

    @pytest.mark.parametrize("options", [[], ["--json"], ["--fix"]])
    def test_it_does_its_work_although_there_is_nowhere_to_print(self, queue, dead_viewer, options):
        doctor_of_it = [sys.executable, "-m", "shmqueue", "doctor", queue.name]
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *doctor_of_it, "--run-id", queue.run_id, *options],
            env=support.program_environment(),
            stderr=subprocess.PIPE,
            timeout=LIMIT,
        )
        assert (done.returncode, done.stderr) == (int("--fix" not in options), b"")
        assert (_look(queue)["problems"] == []) == ("--fix" in options)

    def test_it_removes_orphans_only_when_asked(self, create):
        queue = create("orphan")
        queue.put_batch([1, 2])
        queue.close()
        which = ["orphan", "--run-id", queue.run_id]
        assert "unattended" in self._run(*which, "--fix").stdout
        shown = self._run(*which, "--remove-orphans")
        assert shown.returncode == 0
        assert "> removed, as nobody has it, with 2 items" in shown.stdout
        assert support.segment_files(queue.run_id) == []

    @pytest.mark.parametrize(("name", "status"), [("no-such-queue", 1), ("a/b", 2), ("", 2)])
    def test_it_says_what_is_wrong_with_a_name(self, name, status):
        shown = self._run(name)
        assert shown.returncode == status
        assert "No such file" in shown.stdout or "name" in shown.stderr
