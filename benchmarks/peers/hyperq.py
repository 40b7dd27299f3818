"""hyperq: a byte ring under a pthread mutex, attached by name.

Its two classes are two peers. HyperQ pickles what is not bytes, and unpickles whatever arrives: a
bytes item that happens to be a valid pickle comes out as another object. So bytes are measured
with BytesHyperQ alone.
"""

from benchmarks.peers.base import Channel, End, Peer


class BytesHyperQ(Peer):
    key = "hyperq-bytes"
    label = "hyperq BytesHyperQ"
    module = "hyperq"
    distribution = "hyperq"
    payloads = frozenset({"bytes8"})
    carries = "bytes"

    def create(self, name, case, directory):
        from hyperq import BytesHyperQ as Queue

        return _Channel(Queue, name, case.ring_bytes)


class HyperQ(Peer):
    key = "hyperq"
    label = "hyperq HyperQ"
    module = "hyperq"
    distribution = "hyperq"
    payloads = frozenset({"int", "str", "dict", "object"})
    carries = "pickled objects"

    def create(self, name, case, directory):
        from hyperq import HyperQ as Queue

        return _Channel(Queue, name, case.ring_bytes)


class _Channel(Channel):
    def __init__(self, queue_class, name, ring_bytes):
        self._class = queue_class
        self._queue = queue_class(ring_bytes, name=name)

    def open(self, role, index):
        queue = self._class(self._queue.shm_name)
        return End(put=queue.put, get=queue.get)

    def open_local(self):
        return End(put=self._queue.put, get=self._queue.get)

    def close(self):
        del self._queue  # the last handle removes the files
