"""Files that are no queue, planted at a queue's name: refused, untouched, never waited for (P7)."""

import contextlib
import os
import pathlib
import socket
import stat
from multiprocessing import shared_memory

import pytest

import shmqueue
from shmqueue import SharedMemoryQueue, errors
from tests import support
from tests.support import SHM

NOBODY = 65534

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="makes devices and files of another user, which this user may not"
)


class Plants:
    """What can be planted: each method plants one thing and returns what must stay as it is."""

    def __init__(self, path, folder):
        self.path = path
        self._folder = folder
        self._closing = contextlib.ExitStack()
        # On the same file system, as a hard link has to be; with a name that the leak guard knows.
        self.victim = SHM / f"{path.name}.victim"
        self._closing.callback(self._remove, self.victim)
        self._closing.callback(self._remove, path)

    def _remove(self, path):
        if path.is_dir() and not path.is_symlink():
            for child in path.iterdir():
                child.unlink()
            path.rmdir()
        else:
            path.unlink(missing_ok=True)

    def close(self):
        self._closing.close()

    def _victim(self):
        self.victim.write_bytes(b"precious" * 1000)
        return self.victim

    # ---- regular files ----

    def empty_file(self):
        self.path.touch()

    def zeros(self):
        self.path.write_bytes(bytes(8192))

    def a_text(self):
        self.path.write_text("#!/bin/sh\n# of another tool\n" * 100)

    def noise(self):
        self.path.write_bytes(os.urandom(1 << 20))

    def a_segment_of_multiprocessing(self):
        memory = shared_memory.SharedMemory(name=self.path.name, create=True, size=50_000)
        memory.buf[:11] = b"some stuff!"
        memory.close()
        self._closing.callback(_unregister, memory)

    def nothing_but_a_magic(self):
        self.path.write_bytes(b"SHMQUEUE")

    def a_file_without_rights(self):
        self.path.write_bytes(bytes(8192))
        self.path.chmod(0)

    def a_hard_link(self):
        os.link(self._victim(), self.path)

    def a_hard_link_to_another_users_file(self):
        os.chown(self._victim(), NOBODY, NOBODY)
        os.link(self.victim, self.path)

    def a_sparse_file_of_terabytes(self):
        self.path.touch()
        os.truncate(self.path, 1 << 42)

    # ---- others ----

    def a_directory(self):
        self.path.mkdir()

    def a_full_directory(self):
        self.path.mkdir()
        (self.path / "kept").write_text("precious")

    def a_fifo(self):
        os.mkfifo(self.path)

    def a_socket(self):
        here = socket.socket(socket.AF_UNIX)
        self._closing.callback(here.close)
        # The path of a socket is short, and a descriptor's is.
        folder = os.open(SHM, os.O_PATH)
        self._closing.callback(os.close, folder)
        here.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        here.listen()

    def a_device(self):
        os.mknod(self.path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))

    def a_block_device(self):
        os.mknod(self.path, 0o600 | stat.S_IFBLK, os.makedev(7, 200))

    def a_symlink_to_nothing(self):
        self.path.symlink_to(self.victim)

    def a_symlink_to_a_file(self):
        self.path.symlink_to(self._victim())

    def a_symlink_to_a_directory(self):
        self.path.symlink_to(self._folder)

    def a_symlink_to_a_device(self):
        self.path.symlink_to("/dev/zero")

    def a_symlink_to_itself(self):
        self.path.symlink_to(self.path)

    def a_symlink_in_a_circle(self):
        self.victim.symlink_to(self.path)
        self.path.symlink_to(self.victim)

    def a_symlink_to_a_sound_queue(self):
        with SharedMemoryQueue(self.victim.name[5:], create=True) as queue:
            queue.put("precious")
        sound = SHM / queue.segment_name
        self._closing.callback(self._remove, sound)
        self.path.symlink_to(sound)


def _unregister(memory):
    with contextlib.suppress(FileNotFoundError):
        memory.unlink()


REGULAR = [
    *("empty_file", "zeros", "a_text", "noise", "a_segment_of_multiprocessing"),
    *("nothing_but_a_magic", "a_hard_link", "a_sparse_file_of_terabytes"),
]
OTHERS = [
    *("a_directory", "a_full_directory", "a_fifo", "a_socket", "a_symlink_to_nothing"),
    *("a_symlink_to_a_file", "a_symlink_to_a_directory", "a_symlink_to_a_device"),
    *("a_symlink_to_itself", "a_symlink_in_a_circle", "a_symlink_to_a_sound_queue"),
]
OF_ROOT = [
    pytest.param(name, marks=needs_root)
    for name in ("a_device", "a_block_device", "a_hard_link_to_another_users_file")
]
EVERYTHING = [*REGULAR, *OTHERS, *OF_ROOT]


def _looks(path):
    """Return all that can be told of a path without following it, and of what is in it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    kept = [
        getattr(status, f"st_{name}")
        for name in ("ino", "mode", "uid", "size", "mtime_ns", "nlink")
    ]
    if stat.S_ISLNK(status.st_mode):
        kept.append(os.readlink(path))
    elif stat.S_ISREG(status.st_mode) and status.st_size < 1 << 30:
        kept.append(path.read_bytes())
    elif stat.S_ISDIR(status.st_mode):
        kept.append(sorted(os.listdir(path)))
    return kept


@pytest.fixture
def planted(request, run_id, tmp_path):
    """Plant what the test's parameter names; return where, and fail if anything of it changed."""
    plants = Plants(SHM / f"shmq.q@{run_id}", tmp_path)
    try:
        getattr(plants, request.param)()
        before = _looks(plants.path), _looks(plants.victim)
        yield plants.path
        assert (_looks(plants.path), _looks(plants.victim)) == before
    finally:
        plants.close()


@pytest.mark.parametrize("planted", EVERYTHING, indirect=True)
class TestAtAQueuesName:
    def test_attaching_is_refused_and_says_why(self, planted, run_id):
        for options in ({}, {"allow_other_owner": True}):
            kinds = errors.SegmentError if options else (errors.SegmentError, PermissionError)
            with pytest.raises(kinds) as caught:
                SharedMemoryQueue("q", run_id=run_id, **options)
            assert str(planted) in str(caught.value)

    def test_creating_is_refused_and_says_what_is_there(self, planted, run_id):
        with pytest.raises(FileExistsError) as caught:
            SharedMemoryQueue("q", create=True, run_id=run_id)
        assert str(planted) in str(caught.value)

    def test_creating_with_exist_ok_is_refused_as_attaching_is(self, planted, run_id):
        with pytest.raises((errors.SegmentError, PermissionError)) as caught:
            SharedMemoryQueue("q", create=True, exist_ok=True, run_id=run_id)
        assert str(planted) in str(caught.value)


@pytest.mark.parametrize("planted", [*OTHERS, *OF_ROOT[:2]], indirect=True)
def test_unlinking_a_name_that_is_no_file_is_refused(planted, run_id):
    with pytest.raises(errors.ForeignSegmentError) as caught:
        shmqueue.unlink("q", run_id)
    assert str(planted) in str(caught.value)


@pytest.mark.parametrize("plant", EVERYTHING)
def test_a_queue_whose_name_is_something_else_by_now_leaves_that_alone(run_id, tmp_path, plant):
    queue = SharedMemoryQueue("q", create=True, run_id=run_id)
    shmqueue.unlink("q", run_id)
    plants = Plants(SHM / queue.segment_name, tmp_path)
    try:
        getattr(plants, plant)()
        before = _looks(plants.path), _looks(plants.victim)
        queue.unlink()
        # It goes on, and a child finds its way to the segment past what has the name.
        queue.put("whole")
        assert support.run_in_fork(_get, queue) == "whole"
        queue.close()
        queue.unlink()
        assert (_looks(plants.path), _looks(plants.victim)) == before
    finally:
        queue.close()
        plants.close()


def _get(queue):
    return queue.get(timeout=support.LIMIT)


def test_a_file_without_rights_is_a_permission_error_of_another_user(run_id, tmp_path):
    plants = Plants(SHM / f"shmq.q@{run_id}", tmp_path)
    plants.a_file_without_rights()
    try:
        if os.geteuid() == 0:
            kind = support.run_in_fork(_refusal_as_nobody, run_id)
        else:
            kind = _refusal(run_id)
        assert kind == "PermissionError"
    finally:
        plants.close()


def _refusal(run_id):
    try:
        SharedMemoryQueue("q", run_id=run_id)
    except Exception as error:
        return type(error).__name__
    return "attached"


def _refusal_as_nobody(run_id):
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return _refusal(run_id)


def test_who_waits_for_the_writer_of_a_fifo_is_not_deceived(run_id, tmp_path):
    plants = Plants(SHM / f"shmq.q@{run_id}", tmp_path)
    plants.a_fifo()
    reader = support.Thread(os.open, plants.path, os.O_RDONLY)
    try:
        support.await_thread_asleep(reader)
        with pytest.raises(errors.ForeignSegmentError):
            SharedMemoryQueue("q", run_id=run_id)
        with pytest.raises(FileExistsError):
            SharedMemoryQueue("q", create=True, run_id=run_id)
        support.await_thread_asleep(reader)
        assert reader.is_alive()
    finally:
        os.close(os.open(plants.path, os.O_RDWR | os.O_NONBLOCK))
        os.close(reader.result())
        plants.close()


def test_unlinking_a_regular_file_that_is_no_queue_clears_the_name(run_id):
    """As one of another version, or a damaged one, that would be in the way for good otherwise."""
    path = pathlib.Path(SHM / f"shmq.q@{run_id}")
    path.write_bytes(b"garbage")
    assert shmqueue.unlink("q", run_id) is True
    assert not path.exists()
    assert shmqueue.unlink("q", run_id) is False
