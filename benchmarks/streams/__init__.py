"""Benchmarks of streams: one producer and many readers, stages, and a crowd.

- ``cases``      the cases, and which contenders each compares
- ``loops``      the loops that are timed, where the other groups have none that fits
- ``peers``      the contenders: streams, and what a program would use without them
- ``pubsub``     pyzmq PUB/SUB;  ``lock_ring``  the ring buffer that streams descend from
- ``report``     docs/benchmarks-streams.md;  ``plot``  its picture
"""

from benchmarks.streams.cases import CASES
from benchmarks.streams.peers import PEERS

__all__ = ["CASES", "PEERS"]
