"""What the children of these tests do; importable by name, as spawn and forkserver need."""

import os
import resource
import signal

from shmqueue import ShutDown, Stream
from tests.support import LIMIT


def put_each(run_id, writer, count):
    with Stream("stream", run_id=run_id) as stream, stream.writer() as out:
        for number in range(count):
            out.put((writer, number), timeout=LIMIT)


def get_all(run_id, group, sender):
    """Take what this consumer gets of a group, until the stream is at its end."""
    with Stream("stream", run_id=run_id) as stream, stream.group(group, create=False) as taken:
        sender.send("joined")
        items = []
        while True:
            try:
                items.append(taken.get(timeout=LIMIT))
            except ShutDown:
                return items


def get_and_die(run_id, group, count):
    """Take so many items, and be killed with the last of them in hand."""
    stream = Stream("stream", run_id=run_id)
    taken = stream.group(group, create=False)
    for _ in range(count):
        taken.get(timeout=LIMIT)
    os.kill(os.getpid(), signal.SIGKILL)


def subscribe_and_die(run_id, sender):
    stream = Stream("stream", run_id=run_id)
    subscription = stream.subscribe()
    sender.send("subscribed")
    subscription.get(timeout=LIMIT)
    os.kill(os.getpid(), signal.SIGKILL)


def subscribe_and_stop(run_id, sender):
    stream = Stream("stream", run_id=run_id)
    subscription = stream.subscribe()
    sender.send("subscribed")
    os.kill(os.getpid(), signal.SIGSTOP)
    return subscription.get(timeout=LIMIT)


def write_and_die(run_id, count):
    stream = Stream("stream", run_id=run_id)
    out = stream.writer()
    for number in range(count):
        out.put(number, timeout=LIMIT)
    os.kill(os.getpid(), signal.SIGKILL)


def view_and_die(run_id, group):
    stream = Stream("stream", run_id=run_id)
    array = stream.group(group, create=False).get(timeout=LIMIT)
    assert not array.flags.owndata
    os.kill(os.getpid(), signal.SIGKILL)


def put_patterns(run_id, item_bytes, count):
    """Put items that repeat their number."""
    with Stream("stream", run_id=run_id) as stream:
        for number in range(count):
            stream.put(number.to_bytes(4, "little") * (item_bytes // 4), timeout=LIMIT)


def put_large_beside_a_dead_subscriber(run_id, count):
    """In little memory: each item fits, but not beside those that the dead one has not taken."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
    with Stream("stream", run_id=run_id, create=True, capacity=100, groups=["g"]) as stream:
        try:
            group, seen = stream.group("g"), []  # before: who joins clears up after the dead
            child = os.fork()
            if child == 0:
                subscription = stream.subscribe()
                assert subscription.closed is False
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(child, 0)
            assert len(stream.groups()) == 2, "the dead one's is there still"
            for number in range(count):
                stream.put(bytes([number]) * (1 << 20), timeout=LIMIT)
                seen.append(group.get(timeout=LIMIT)[0])
            return seen, stream.groups()
        finally:
            stream.unlink()
