"""A storm over a stream: its producers and consumers are killed, and every item is accounted for.

    python -m tests.groups.storm --kills 5000 --seed 7 --reports docs/reports

It comes in rounds, each over a stream of its own. `--from` begins with the round that a kill is in,
as a run with the same seed came to it. The exit status is 0 if nothing was found.
"""

import collections
import itertools
import multiprocessing
import os
import random
import signal
import struct
import sys
import time

from shmqueue import ShutDown, Stream, _repair
from tests import evidence
from tests.storm.options import parsed
from tests.support import LIMIT, Thread

ROUND_KILLS = 250
FORK = multiprocessing.get_context("fork")
SIZES = (8, 60, 3000, 20_000, 200_000)
GROUPS = {
    "witness": {},
    "shared": {},
    "after": {"after": "shared"},
    "lagging": {"policy": "lag"},
    "dropping": {"drop_after": 0.001},
}
CREW = ("writer", "writer", "shared", "shared", "lagging", "dropping")
BATCH = 4


def item_of(writer, number):
    head = struct.pack("<QQ", writer, number)
    size = max(len(head), SIZES[(writer + number) % len(SIZES)])
    return (head * (size // len(head) + 1))[:size]


def read(item):
    writer, number = struct.unpack_from("<QQ", item)
    assert item == item_of(writer, number), "torn"
    return writer, number


def write(run_id, writer):
    with Stream("stream", run_id=run_id) as stream:
        for number in itertools.count():
            stream.put(item_of(writer, number), timeout=LIMIT)


def consume(run_id, group, seed, out):
    """Get one by one or in batches; say what it was, in one system call for each."""
    rng = random.Random(seed)
    with Stream("stream", run_id=run_id) as stream, stream.group(group, create=False) as taken:
        while True:
            items = taken.get_batch(BATCH) if rng.random() < 0.5 else [taken.get()]
            os.write(out, b"".join(struct.pack("<QQ", *read(item)) for item in items))


def collect(group, kept):
    while True:
        try:
            kept.append(read(group.get(timeout=LIMIT)))
        except ShutDown:
            return


class Storm:
    """One round, over a stream that has these groups and capacity for a few items.

    Two threads of this process see all that is put: one in a group that the others wait for, one in
    a group that comes after the killed.
    """

    def __init__(self, stream, run_id, seed):
        self.stream = stream
        self.killed = collections.Counter()
        self.witnessed, self.followed, self.left = [], [], []
        self._run_id = run_id
        self._rng = random.Random(seed)
        self._numbers = itertools.count()
        self._threads = [
            Thread(collect, stream.group("witness"), self.witnessed),
            Thread(collect, stream.group("after"), self.followed),
        ]
        self._outputs = {group: os.pipe() for group in ("shared", "lagging", "dropping")}
        self._told = {group: bytearray() for group in self._outputs}
        for source, _ in self._outputs.values():
            os.set_blocking(source, False)

    def rage(self, kills):
        """Kill so many, one after the other; each time it is seen that all go on."""
        crew = [self._start(role) for role in CREW]
        try:
            for _ in range(kills):
                until = time.monotonic() + self._rng.uniform(0.001, 0.03)
                while time.monotonic() < until:
                    hear(self._outputs, self._told)
                at = self._rng.randrange(len(crew))
                self._kill(*crew[at])
                crew[at] = self._start(crew[at][0])
                self._await_progress()
        finally:
            for role, process in crew:
                self._kill(role, process)
        self.stream.shutdown()
        hear(self._outputs, self._told)
        with self.stream.group("shared") as rest:
            collect(rest, self.left)
        for thread in self._threads:
            thread.result()
        for pipe in self._outputs.values():
            os.close(pipe[0]), os.close(pipe[1])

    def _start(self, role):
        number = next(self._numbers)
        if role == "writer":
            process = FORK.Process(target=write, args=(self._run_id, number))
        else:
            out = self._outputs[role][1]
            process = FORK.Process(target=consume, args=(self._run_id, role, number, out))
        process.start()
        return role, process

    def _kill(self, role, process):
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        self.killed[role] += 1

    def _await_progress(self):
        progress = len(self.witnessed)
        deadline = time.monotonic() + LIMIT
        while len(self.witnessed) == progress:
            hear(self._outputs, self._told)
            if time.monotonic() > deadline:
                raise AssertionError("nothing moves any more")

    def account(self):
        """Return the figures of the round; AssertionError if something is wrong with it."""
        assert len(set(self.witnessed)) == len(self.witnessed), "twice"
        by_writer = collections.defaultdict(list)
        for writer, number in self.witnessed:
            by_writer[writer].append(number)
        for numbers in by_writer.values():
            assert numbers == list(range(len(numbers))), "a gap"
        assert self.followed == self.witnessed, "who comes after saw something else"
        taken = {
            group: list(struct.iter_unpack("<QQ", bytes(text)))
            for group, text in self._told.items()
        }
        taken["shared"] += self.left
        for group, got in taken.items():
            assert len(set(got)) == len(got), f"{group}: twice"
            assert set(got) <= set(self.witnessed), f"{group}: nobody put it"
        lost = len(self.witnessed) - len(taken["shared"])
        assert lost <= BATCH * self.killed["shared"], "more than those had who were killed"
        # These may have what nobody took of them, as long as they are there.
        self.stream.remove_group("lagging")
        self.stream.remove_group("dropping")
        _repair.repair(self.stream._attachment, True)
        metrics = self.stream.get_metrics()
        assert metrics["pool_bytes"] == metrics["pool_free_bytes"], "leaked"
        return {
            "kills": self.killed.total(),
            "items": len(self.witnessed),
            "lost": lost,
            "takeovers": metrics["takeovers"],
        }


def hear(outputs, told):
    """Read what consumers said."""
    for group, (source, _) in outputs.items():
        try:
            told[group] += os.read(source, 1 << 16)
        except BlockingIOError:
            continue
    time.sleep(0.0005)


def rage(name, run_id, kills, seed):
    """Make a stream, have a storm over it, and return the figures of its account."""
    with Stream(
        name, create=True, run_id=run_id, capacity=16, item_size=64, groups=GROUPS
    ) as stream:
        try:
            storm = Storm(stream, run_id, seed)
            storm.rage(kills)
            return storm.account()
        finally:
            stream.unlink()


def main():
    """Run as a program."""
    options = parsed("tests.groups.storm", __doc__)
    seed = options.seed
    total, findings = collections.Counter(), 0
    begun = time.monotonic()
    for first in range(options.first // ROUND_KILLS * ROUND_KILLS, options.kills, ROUND_KILLS):
        kills = min(ROUND_KILLS, options.kills - first)
        try:
            total.update(rage("stream", f"storm-{os.getpid()}", kills, f"{seed}-{first}"))
        except AssertionError as finding:
            findings += 1
            print(f"found: {finding}; again: --seed {seed} --from {first}", file=sys.stderr)
        if sys.stdout.isatty():
            print(f"\r{total['kills']:,} kills, {total['items']:,} items", end="", flush=True)
    figures = {**total, "findings": findings, "seconds": round(time.monotonic() - begun)}
    print("\r" + ", ".join(f"{name} {value:,}" for name, value in figures.items()))
    if options.reports:
        evidence.report("groups", figures, options.reports)
    return 1 if findings or not total else 0


if __name__ == "__main__":
    sys.exit(main())
