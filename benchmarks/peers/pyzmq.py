"""pyzmq over ipc: PUSH to PULL.

There is no queue in the middle, only a pair of sockets with a buffer each, so several producers
*and* several consumers would need a broker: unsupported. With one producer and several consumers
PUSH deals items out in turn; the buffers are unlimited there, because a limit makes it skip a
consumer that is behind, and the consumers count on equal shares.
"""

import os

from benchmarks.peers.base import Channel, End, Peer


class PushPull(Peer):
    key = "pyzmq"
    label = "pyzmq PUSH/PULL ipc"
    module = "zmq"
    distribution = "pyzmq"

    def create(self, name, case, directory):
        return SocketChannel(os.path.join(directory, name), case)

    def unsupported(self, case):
        if case.producers > 1 and case.consumers > 1:
            return "several producers and consumers need a broker"
        return super().unsupported(case)


class SocketChannel(Channel):
    def __init__(self, path, case):
        self._endpoints = [f"ipc://{path}{i}" for i in range(case.consumers)]
        self._raw = case.payload == "bytes8"
        # A limit counts for each of the two sockets: together they hold its slots.
        self._limit = case.slots // 2 if case.consumers == 1 else 0

    def open(self, role, index):
        return self._open(_context(), role, index)

    def open_local(self):
        context = _context()
        puller = self._open(context, "consumer", 0)
        pusher = self._open(context, "producer", 0)
        return End(put=pusher.put, get=puller.get)

    def _open(self, context, role, index):
        import zmq

        socket = context.socket(zmq.PUSH if role == "producer" else zmq.PULL)
        socket.set_hwm(self._limit)
        if role == "producer":
            for endpoint in self._endpoints:
                socket.connect(endpoint)
        else:
            socket.bind(self._endpoints[index])

        def close():
            socket.close()
            context.term()  # waits until everything is sent

        put, get = self.calls(socket)
        return End(put=put, get=get, close=close)

    def calls(self, socket):
        """What puts an item into a socket, and what gets one."""
        if self._raw:
            return socket.send, socket.recv
        return socket.send_pyobj, socket.recv_pyobj


def _context():
    import zmq

    return zmq.Context()
