"""Benchmarks of the drop-ins: programs that others wrote, with their queues and with ours.

- ``cases``       the cases, and which contenders each compares
- ``peers``       the contenders: contexts, the named queue, multiprocessing.Queue
- ``frameworks``  Pool, ProcessPoolExecutor and DataLoader at work
- ``lives``       making and dropping queues, bursts and the memory that they leave
- ``report``      docs/benchmarks-dropins.md
"""

from benchmarks.dropins.cases import CASES
from benchmarks.dropins.peers import PEERS

__all__ = ["CASES", "PEERS"]
