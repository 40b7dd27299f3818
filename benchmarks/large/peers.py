"""The contenders: the adapters of the other groups, each carrying arrays in its best way.

Where a library takes bytes only, an array is made into bytes and back, without a copy where that
is possible. Sizes follow the case: all hold the same number of items, or of bytes.
"""

import os
import pickle
import shutil
from dataclasses import replace
from functools import partial

from benchmarks.large.memcpy import Memcpy
from benchmarks.peers import faster_fifo, hyperq, mp_queue, ours, pyzmq, zeroq
from benchmarks.peers.base import Channel

ITEM_SIZE = 4096
"""Bytes of our slots, as by default: large items lie in blocks, which are not part of a slot."""


class Ours(ours.Ours):
    payloads = frozenset({"array", "bytes", "dict"})

    def create(self, name, case, directory):
        return ours.NamedChannel(name, case.slots, ITEM_SIZE)

    def unsupported(self, case):
        if case.scenario == "steady":
            return None if shutil.which("strace") else "strace is not installed"
        return super().unsupported(case)


class Converted(Channel):
    """A channel of raw bytes whose ends put and get arrays."""

    def __init__(self, channel, items):
        self._channel = channel
        self._items = items

    def open(self, role, index):
        return self._converted(self._channel.open(role, index))

    def open_local(self):
        return self._converted(self._channel.open_local())

    def close(self):
        self._channel.close()

    def _converted(self, end):
        raw_put, raw_get = end.put, end.get
        to_bytes, from_buffer = self._items.to_bytes, self._items.from_buffer
        return replace(
            end,
            put=lambda array: raw_put(to_bytes(array)),
            get=lambda: from_buffer(raw_get()),
        )


class OfBytes:
    """Mixed into the adapter of a queue that carries nothing but bytes."""

    payloads = frozenset({"array", "bytes"})

    def create(self, name, case, directory):
        channel = super().create(name, case, directory)
        return Converted(channel, case.items) if case.items.kind == "array" else channel


class HyperQ(OfBytes, hyperq.BytesHyperQ):
    pass


class ZeroQ(OfBytes, zeroq.ZeroQ):
    pass


class PushPull(pyzmq.PushPull):
    """Messages that share the memory of what is sent and of what has arrived.

    A pickle goes with its arrays left out of it, as messages of their own.
    """

    payloads = frozenset({"array", "bytes", "dict"})

    def create(self, name, case, directory):
        return _Sockets(os.path.join(directory, name), case)


class _Sockets(pyzmq.SocketChannel):
    def __init__(self, path, case):
        super().__init__(path, case)
        self._items = case.items

    def calls(self, socket):
        send, receive = partial(socket.send, copy=False), partial(socket.recv, copy=False)
        if self._items.kind == "bytes":
            return send, socket.recv
        if self._items.kind == "array":
            from_buffer = self._items.from_buffer
            return send, lambda: from_buffer(receive())

        def put(item):
            buffers = []
            pickled = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
            socket.send_multipart([pickled, *buffers], copy=False)

        def get():
            pickled, *buffers = socket.recv_multipart(copy=False)
            return pickle.loads(pickled, buffers=buffers)

        return put, get


class FasterFifo(faster_fifo.FasterFifo):
    payloads = frozenset({"array", "bytes", "dict"})


class Queue(mp_queue.Queue):
    payloads = frozenset({"array", "bytes", "dict"})


PEERS = (Ours(), HyperQ(), ZeroQ(), PushPull(), FasterFifo(), Queue(), Memcpy())
