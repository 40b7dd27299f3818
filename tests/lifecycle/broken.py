"""Twins of segment.py that a kill finds at a bad moment: the trials must notice each."""

import os

from shmqueue import segment
from shmqueue.queue import SharedMemoryQueue


def named_before_it_is_whole():
    """What `shm_open` leads to: the name first, then what it stands for."""

    def create(path, wanted):
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        segment._build(fd, wanted, 1 << 20)
        os.close(fd)
        return segment.attach(path)

    segment.create = create


def built_under_another_name():
    """The usual way where files can't be nameless: a kill leaves the other name."""

    def create(path, wanted):
        fd = os.open(path + ".tmp", os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        segment._build(fd, wanted, 1 << 20)
        os.close(fd)
        os.link(path + ".tmp", path)
        os.unlink(path + ".tmp")
        return segment.attach(path)

    segment.create = create


def emptied_before_it_is_unlinked():
    """Gives the memory back at once, and shows everybody a truncated segment."""

    def unlink(queue):
        os.truncate(queue._path, 0)
        os.unlink(queue._path)

    SharedMemoryQueue.unlink = unlink


def shut_without_a_word():
    """Takes what is there before it says that nothing more comes: a kill loses items."""

    def shutdown(queue, immediate=False):
        queue.get_batch(2)
        super(SharedMemoryQueue, queue).shutdown(immediate)

    SharedMemoryQueue.shutdown = shutdown
