"""A queue of bytes gives back what looks like a pickle as it is: nothing is ever looked up (P9)."""

import os
import pickle
import random
import sys

import pytest

from shmqueue import SharedMemoryQueue, errors
from tests import evidence, support
from tests.hostile.encodings import encodings, mutated

PICKLE_KIND = 6
PAYLOADS = 10_000
AT_ONCE = 50


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


def _pickle_like(trap_path):
    """Return payloads that are pickles, or begin like them, or hold one."""
    source = random.Random(29)
    trap = Trap(trap_path)
    whole = [pickle.dumps(trap, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    whole += [pickle.dumps([trap] * 2000), b"cos\nmkdir\n(S'%s'\ntR." % trap_path.encode()]
    whole += [data for kind, data in encodings() if kind in (6, 8)]
    for number in range(PAYLOADS):
        data = source.choice(whole)
        deed = number % 5
        if deed == 1:
            data = mutated(data, source)
        elif deed == 2:
            data = b"\x80" + bytes([source.randrange(6)]) + source.randbytes(source.randrange(200))
        elif deed == 3:
            data = source.randbytes(source.randrange(8)) + data
        yield data


def _there_and_back(queue, batch):
    """Put each payload one way and get it another; return how many came back as they were."""
    good = 0
    for number, data in enumerate(batch):
        if number % 3 == 0:
            queue.put(data)
        elif number % 3 == 1:
            queue.put_bytes(bytearray(data))
        else:
            with queue.reserve(len(data)) as buffer:
                buffer[:] = data
        way = number % 4
        if way == 0:
            good += queue.get(timeout=5) == data
        elif way == 1:
            good += queue.get_bytes(timeout=5) == data
        elif way == 2:
            with queue.get_view(timeout=5) as view:
                good += view == data
        else:
            buffer = bytearray(100_000)
            good += buffer[: queue.get_into(buffer, timeout=5)] == data
    queue.put_batch(batch)
    got = []
    while len(got) < len(batch):
        got += queue.get_batch(len(batch), timeout=5)
    return good + sum(a == b for a, b in zip(got, batch, strict=True))


def _count_events(name, run_id, trap_path):
    """Send all of them through the queue; return (how many came back, the audit events)."""
    events, good = [], 0
    sys.addaudithook(lambda event, args: event.startswith("pickle.") and events.append(event))
    with SharedMemoryQueue(name, run_id=run_id) as queue:
        payloads = list(_pickle_like(trap_path))
        events.clear()  # what made them may have looked for names
        for at in range(0, len(payloads), AT_ONCE):
            good += _there_and_back(queue, payloads[at : at + AT_ONCE])
    return good, events


def test_ten_thousand_payloads_that_look_like_pickles_look_nothing_up(create, run_id, tmp_path):
    create("q", serializer="bytes", capacity=2 * AT_ONCE, item_size=500)
    trap_path = str(tmp_path / "sprung")
    good, events = support.run_in_fork(_count_events, "q", run_id, trap_path)
    assert good == 2 * PAYLOADS
    assert events == []
    assert not os.path.exists(trap_path)
    evidence.report("hostile", {"pickle_like_payloads": PAYLOADS, "pickle_events": len(events)})


def test_the_same_hook_counts_what_a_queue_of_objects_looks_up(create, run_id, tmp_path):
    trap_path = str(tmp_path / "sprung")
    create("q").put(Trap(trap_path))
    assert support.run_in_fork(_events_of_get, "q", run_id) == ["pickle.find_class"]
    assert os.path.exists(trap_path)


def _events_of_get(name, run_id):
    events = []
    sys.addaudithook(lambda event, args: event.startswith("pickle.") and events.append(event))
    with SharedMemoryQueue(name, run_id=run_id) as queue:
        queue.get(timeout=5)
    return events


def test_a_slot_that_says_that_its_bytes_are_a_pickle_is_refused(create, open_raw, tmp_path):
    trap_path = str(tmp_path / "sprung")
    queue = create("q", serializer="bytes", capacity=2)
    raw = open_raw()
    for number in range(4):
        queue.put(pickle.dumps(Trap(trap_path)))
        raw.set("slot", number % 2, "kind", PICKLE_KIND)
        with pytest.raises(errors.CorruptItemError):
            (queue.get, queue.get_bytes, lambda: queue.get_batch(2), queue.get_view)[number]()
    assert not os.path.exists(trap_path)
