"""What the children of these tests do; importable by name, as spawn and forkserver need."""

import os
import resource
import signal
import time

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
        return _all_of(taken)


def _all_of(group):
    items = []
    while True:
        try:
            items.append(group.get(timeout=LIMIT))
        except ShutDown:
            return items


def get_all_and_count_lost(run_id, group, sender):
    with Stream("stream", run_id=run_id) as stream, stream.group(group, create=False) as taken:
        sender.send("joined")
        return _all_of(taken), taken.lapped


def get_patterns(run_id, group, sender):
    """Take items that repeat their number; return the numbers."""
    numbers = []
    for item in get_all(run_id, group, sender):
        assert item == item[:4] * (len(item) // 4)
        numbers.append(int.from_bytes(item[:4], "little"))
    return numbers


def open_and_get_all(run_id, group, start, sender):
    """Open a group that begins there, and take until the stream is at its end."""
    with Stream("stream", run_id=run_id) as stream, stream.group(group, start=start) as opened:
        sender.send("joined")
        return _all_of(opened)


def open_and_remove(run_id, group, count, sender):
    """Open a group that begins with the oldest item, take so many, and remove it."""
    with Stream("stream", run_id=run_id) as stream, stream.group(group, start="oldest") as opened:
        sender.send("joined")
        items = [opened.get(timeout=LIMIT) for _ in range(count)]
        opened.remove()
        return items


def open_one_in_each_round(run_id, policy, rounds, arrived, place):
    """Open a group in each round, once all have arrived; return the error of each, or None."""
    errors = []
    with Stream("stream", run_id=run_id) as stream:
        for number in range(rounds):
            arrived[place] += 1
            deadline = time.monotonic() + LIMIT
            while min(arrived) <= number:
                assert time.monotonic() < deadline, "the others do not come"
            try:
                stream.group(f"round {number}", policy=policy).close()
                errors.append(None)
            except ValueError as error:
                errors.append(str(error))
    return errors


def note_each(run_id, group, path, sender):
    """Take item by item, and write each down, until killed."""
    stream = Stream("stream", run_id=run_id)
    taken = stream.group(group, create=False)
    with open(path, "ab", buffering=0) as notes:
        sender.send("joined")
        while True:
            writer, number = taken.get(timeout=LIMIT)
            notes.write(b"%d %d\n" % (writer, number))


def subscribe_and_hold(run_id, count, sender):
    """Take so many items, tell which, and keep the last in hand until killed."""
    stream = Stream("stream", run_id=run_id)
    subscription = stream.subscribe()
    sender.send("subscribed")
    sender.send([subscription.get(timeout=LIMIT) for _ in range(count)])
    signal.pause()


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
