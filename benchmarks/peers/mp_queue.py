"""multiprocessing.Queue: a pipe, a feeder thread in each producer; inherited by fork."""

import multiprocessing

from benchmarks.peers.base import Channel, End, Peer


class Queue(Peer):
    key = "mp-queue"
    label = "multiprocessing.Queue"
    module = "multiprocessing"

    def create(self, name, case, directory):
        return QueueChannel(multiprocessing.get_context("fork").Queue(maxsize=case.slots))


class QueueChannel(Channel):
    def __init__(self, queue):
        self._queue = queue

    def open(self, role, index):
        return End(put=self._queue.put, get=self._queue.get, close=self.close)

    def open_local(self):
        return End(put=self._queue.put, get=self._queue.get)

    def close(self):
        self._queue.close()
        self._queue.join_thread()
