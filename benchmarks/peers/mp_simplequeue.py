"""multiprocessing.SimpleQueue: a locked pipe, bounded only by the pipe's 64 KiB."""

import multiprocessing

from benchmarks.peers.base import Channel, End, Peer


class SimpleQueue(Peer):
    key = "mp-simplequeue"
    label = "multiprocessing.SimpleQueue"
    module = "multiprocessing"

    def create(self, name, case, directory):
        return _Channel()


class _Channel(Channel):
    def __init__(self):
        self._queue = multiprocessing.get_context("fork").SimpleQueue()

    def open(self, role, index):
        return End(put=self._queue.put, get=self._queue.get)

    def open_local(self):
        return self.open("both", 0)

    def close(self):
        self._queue.close()
