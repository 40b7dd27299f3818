"""zeroq, first published as fastqueue: fixed elements of raw bytes, attached by name."""

from benchmarks.peers.base import Channel, End, Peer


class ZeroQ(Peer):
    key = "zeroq"
    label = "zeroq (fastqueue)"
    module = "zeroq"
    distribution = "zeroq"
    payloads = frozenset({"bytes8"})
    carries = "bytes of one fixed size"

    def create(self, name, case, directory):
        return _Channel(name, case.element_bytes, case.slots)


class _Channel(Channel):
    def __init__(self, name, element_size, slots):
        from zeroq import Queue

        self._class = Queue
        self._name = name
        self._queue = Queue(name, element_size, slots, True)

    def open(self, role, index):
        # No close of this end: close() ends the queue for everybody.
        queue = self._class(self._name, create=False)
        return End(put=queue.put, get=queue.get)

    def open_local(self):
        return End(put=self._queue.put, get=self._queue.get)

    def close(self):
        self._queue.close()
