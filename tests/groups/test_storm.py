"""Producers and consumers of a stream are killed at random, and every item is accounted for."""

import collections
import itertools
import multiprocessing
import os
import random
import signal
import struct
import time

import pytest

from shmqueue import ShutDown, Stream, _repair
from tests import evidence
from tests.support import LIMIT, Thread

KILLS = evidence.scaled(40, 400)
FORK = multiprocessing.get_context("fork")
SIZES = (8, 60, 3000, 20_000, 200_000)
GROUPS = {
    "witness": {},
    "shared": {},
    "after": {"after": "shared"},
    "lagging": {"policy": "lag"},
    "dropping": {"drop_after": 0.001},
}


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
            items = taken.get_batch(4) if rng.random() < 0.5 else [taken.get()]
            os.write(out, b"".join(struct.pack("<QQ", *read(item)) for item in items))


def collect(group, kept):
    while True:
        try:
            kept.append(read(group.get(timeout=LIMIT)))
        except ShutDown:
            return


@pytest.mark.watchdog(600)
def test_whoever_is_killed_each_group_gets_every_item_once_and_in_order(make_stream, run_id):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    stream = make_stream(capacity=16, item_size=64, groups=GROUPS)
    witnessed, followed = [], []
    threads = [
        Thread(collect, stream.group("witness"), witnessed),
        Thread(collect, stream.group("after"), followed),
    ]
    outputs = {group: os.pipe() for group in ("shared", "lagging", "dropping")}
    told = {group: bytearray() for group in outputs}
    numbers = itertools.count()

    def start(role):
        number = next(numbers)
        if role == "writer":
            process = FORK.Process(target=write, args=(run_id, number))
        else:
            process = FORK.Process(target=consume, args=(run_id, role, number, outputs[role][1]))
        process.start()
        return role, process

    for pipe in outputs.values():
        os.set_blocking(pipe[0], False)
    crew = [start(role) for role in ("writer", "writer", "shared", "shared", "lagging", "dropping")]
    killed = collections.Counter()
    try:
        for _ in range(KILLS):
            until = time.monotonic() + rng.uniform(0.001, 0.03)
            while time.monotonic() < until:
                hear(outputs, told)
            at = rng.randrange(len(crew))
            role, process = crew[at]
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            process.close()
            killed[role] += 1
            crew[at] = start(role)
            progress = len(witnessed)
            deadline = time.monotonic() + LIMIT
            while len(witnessed) == progress:
                hear(outputs, told)
                assert time.monotonic() < deadline, f"nothing moves any more, seed {seed}"
    finally:
        for role, process in crew:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            process.close()
            killed[role] += 1
    stream.shutdown()
    hear(outputs, told)
    rest = stream.group("shared")
    left = []
    collect(rest, left)
    rest.close()
    for thread in threads:
        thread.result()
    for pipe in outputs.values():
        os.close(pipe[0]), os.close(pipe[1])

    assert len(set(witnessed)) == len(witnessed), "twice"
    by_writer = collections.defaultdict(list)
    for writer, number in witnessed:
        by_writer[writer].append(number)
    for numbers_of in by_writer.values():
        assert numbers_of == list(range(len(numbers_of))), f"a gap, seed {seed}"
    assert followed == witnessed, f"seed {seed}"
    place = {item: at for at, item in enumerate(witnessed)}
    for group, text in told.items():
        got = list(struct.iter_unpack("<QQ", bytes(text)))
        if group == "shared":
            got += left
            # At most a batch for each that was killed.
            assert len(witnessed) - len(got) <= 4 * killed["shared"], f"lost, seed {seed}"
        assert len(set(got)) == len(got), f"{group}: twice, seed {seed}"
        assert set(got) <= set(place), f"{group}: nobody put it, seed {seed}"
    # These may have what nobody took of them, as long as they are there.
    stream.remove_group("lagging")
    stream.remove_group("dropping")
    _repair.repair(stream._attachment, True)
    metrics = stream.get_metrics()
    assert metrics["pool_bytes"] == metrics["pool_free_bytes"], f"leaked, seed {seed}"
    evidence.report("groups", {"kills": sum(killed.values()), "items": len(witnessed)})


def hear(outputs, told):
    """Read what consumers said."""
    for group, (source, _) in outputs.items():
        try:
            told[group] += os.read(source, 1 << 16)
        except BlockingIOError:
            continue
    time.sleep(0.0005)
