"""Benchmarks of large items: frames, dicts of arrays, raw bytes, beside the memcpy limit.

- ``items``    what is sent, and what is looked at where it arrives
- ``loops``    the loops that are timed
- ``cases``    the cases, and which contenders each compares
- ``peers``    the contenders, with room for large items, and what an array becomes in them
- ``memcpy``   the limit: a bare shared buffer
- ``steady``   system calls and memory of long runs
- ``report``   docs/benchmarks-large.md;  ``plot``  its picture
"""

from benchmarks.large.cases import CASES
from benchmarks.large.peers import PEERS

__all__ = ["CASES", "PEERS"]
