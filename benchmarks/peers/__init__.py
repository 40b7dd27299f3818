"""The queues that are compared, ours first."""

from benchmarks.peers import (
    faster_fifo,
    hyperq,
    mp_queue,
    mp_simplequeue,
    ours,
    pyzmq,
    zeroq,
)

PEERS = (
    ours.Ours(),
    hyperq.BytesHyperQ(),
    hyperq.HyperQ(),
    zeroq.ZeroQ(),
    pyzmq.PushPull(),
    faster_fifo.FasterFifo(),
    mp_simplequeue.SimpleQueue(),
    mp_queue.Queue(),
)


def peer_by_key(key):
    for peer in PEERS:
        if peer.key == key:
            return peer
    raise ValueError(f"no peer is called {key!r}; there are {', '.join(p.key for p in PEERS)}")
