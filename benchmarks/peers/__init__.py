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
