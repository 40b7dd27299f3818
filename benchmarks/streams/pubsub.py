"""pyzmq over ipc: one PUB, a SUB for each reader.

The publisher is an XPUB, which is a PUB that hears of its subscribers: that all are there is known
before the first item. A PUB drops what a slow subscriber has no room for; with XPUB_NODROP it waits
instead, so that every reader has every item, and none is counted that did not arrive.
"""

import os
from functools import partial

from benchmarks.peers import pyzmq
from benchmarks.peers.base import Channel, End


class PubSub(pyzmq.PushPull):
    key = "pyzmq"
    label = "pyzmq PUB/SUB ipc"
    payloads = frozenset({"bytes1k", "array"})
    carries = "bytes"

    def create(self, name, case, directory):
        return _Sockets(f"ipc://{os.path.join(directory, name)}", case)


class _Sockets(Channel):
    def __init__(self, endpoint, case):
        self._endpoint = endpoint
        self._readers = case.consumers
        self._items = getattr(case, "items", None)
        # A limit counts for each of the two sockets: together they hold its slots.
        self._limit = case.slots // 2

    def open(self, role, index):
        import zmq

        context = zmq.Context()
        socket = context.socket(zmq.XPUB if role == "producer" else zmq.SUB)
        socket.set_hwm(self._limit)
        if role == "producer":
            socket.setsockopt(zmq.XPUB_NODROP, 1)
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # tell of each, not only of the first
            socket.bind(self._endpoint)
            for _ in range(self._readers):
                socket.recv()
        else:
            socket.subscribe(b"")
            socket.connect(self._endpoint)

        def close():
            socket.close()
            context.term()  # waits until everything is sent

        put, get = self._calls(socket)
        return End(put=put, close=close) if role == "producer" else End(get=get, close=close)

    def open_local(self):
        raise NotImplementedError("several readers are several processes")

    def _calls(self, socket):
        """What puts an item into a socket, and what gets one; arrays are not copied by pyzmq."""
        if self._items is None:
            return socket.send, socket.recv
        receive, from_buffer = partial(socket.recv, copy=False), self._items.from_buffer
        return partial(socket.send, copy=False), lambda: from_buffer(receive())
