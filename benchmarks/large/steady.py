"""Long runs once warm: which system calls they make, and whether memory grows.

``python -m benchmarks.large.steady NAME COUNT`` is what runs under strace.
"""

import multiprocessing
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.large.items import Arrays
from benchmarks.large.loops import hold_when_full, produce
from benchmarks.peers.ours import NamedChannel, shared_bytes

ITEMS = Arrays((1024**2,))
SLOTS, SLOT_BYTES = 8, 256
WARM_UP = 1000
PARTS = 10
_ROOT = Path(__file__).resolve().parents[2]
_MARK = "shmqueue-benchmark-mark"
_CALL = re.compile(r"(?:\[pid +)?\d+\]? +(\w+)\(")


def calls(peer, count, name):
    """System calls for each item, of both processes; futexes are how they wait for each other."""
    log = Path(os.environ.get("TMPDIR", "/tmp"), f"{name}strace")
    program = [sys.executable, "-m", "benchmarks.large.steady", name, str(count)]
    try:
        subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=!futex", "-o", log, *program],
            cwd=_ROOT,
            check=True,
        )
        lines = log.read_text().splitlines()
    finally:
        log.unlink(missing_ok=True)
    marks = [number for number, line in enumerate(lines) if _MARK in line]
    if len(marks) != PARTS + 1:
        raise ValueError(f"{len(marks)} marks in the log instead of {PARTS + 1}")
    window = [line for line in lines[marks[0] : marks[-1]] if _MARK not in line]
    made = Counter(match[1] for match in map(_CALL.match, window) if match)
    return {"value": made.total() / count, "calls": dict(made.most_common())}


def memory(peer, count, name):
    """KiB by which both processes and the segment grow, at most, from when they are warm."""
    sizes = []

    def watch(queue, producer):
        resident = [_resident_bytes(pid) for pid in (os.getpid(), producer)]
        sizes.append((shared_bytes(queue), *resident))

    _receive(name, count, watch)
    totals = [sum(each) for each in sizes]
    return {"value": (max(totals) - totals[0]) / 1024, "bytes": sizes}


def _receive(name, count, watch):
    """Get what a child puts; `watch` is called when all is warm, and after each part."""
    channel = NamedChannel(name, SLOTS, SLOT_BYTES)
    # It puts more than is got: at the last look it still is at work.
    total = WARM_UP + count + SLOTS
    context = multiprocessing.get_context("fork")
    producer = context.Process(target=_send, args=(channel, total))
    producer.start()
    try:
        end = channel.open("consumer", 0)
        _drop(end, WARM_UP - len(hold_when_full(end)))
        watch(end.queue, producer.pid)
        for _ in range(PARTS):
            _drop(end, count // PARTS)
            watch(end.queue, producer.pid)
        _drop(end, total - WARM_UP - count // PARTS * PARTS)
        producer.join()
        end.close()
    finally:
        producer.kill()
        producer.join()
        channel.close()


def _send(channel, total):
    end = channel.open("producer", 0)
    produce(end, total, ITEMS)
    end.close()


def _drop(end, count):
    get = end.get
    for _ in range(count):
        get()


def _resident_bytes(pid):
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    _receive(sys.argv[1], int(sys.argv[2]), lambda queue, producer: os.access(_MARK, os.F_OK))
