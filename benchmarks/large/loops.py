"""The loops that are timed.

What counts is the steady state: as many items as a queue holds go before the clock starts, and as
many come after it has stopped, so that neither a filled queue nor first use of memory is counted.
Items are dropped as soon as they have been looked at, as by a program that works on one at a time.
"""

from itertools import cycle, islice
from time import monotonic_ns, sleep

HELD = 3


def produce(end, count, items):
    put = end.put
    for item in islice(cycle(items.table()), count):
        put(item)
    return {}


def produce_reserved(end, count, items):
    """Produce in place; all that is written is the first byte of an array."""
    reserve_array = end.queue.reserve_array
    shape = items.shape
    for item in islice(cycle(items.table()), count):
        with reserve_array(shape, "uint8") as array:
            array[0] = item[0]
    return {}


def hold_when_full(end):
    """Get a few items, each from a full queue: that is as many blocks as will ever be in use.

    One is in the hands of who looks at it, one is being filled.
    """
    held = []
    for _ in range(HELD):
        while not end.queue.full():
            sleep(0.001)
        held.append(end.get())
    return held


def consume(end, count, lead, items, look):
    """Look at all that arrives; `lead` items before and after those that are timed."""
    return _consume(end.get, count, (lead, lead), _stamps(items, look), look)


def consume_warm(end, count, lead, items, look):
    """The same over blocks of ours that all exist when the clock starts."""
    expected = _stamps(items, look)
    wrong = _wrong(iter(hold_when_full(end)).__next__, expected, HELD, look)
    result = _consume(end.get, count, (lead - HELD, lead), expected, look)
    return {**result, "wrong": result["wrong"] + wrong}


def _stamps(items, look):
    return cycle([look(item) for item in items.table()])


def _consume(get, count, leads, expected, look):
    wrong = _wrong(get, expected, leads[0], look)
    start = monotonic_ns()
    wrong += _wrong(get, expected, count, look)
    stop = monotonic_ns()
    wrong += _wrong(get, expected, leads[1], look)
    return {"start": start, "end": stop, "wrong": wrong}


def _wrong(get, expected, count, look):
    wrong = 0
    for due in islice(expected, count):
        if look(get()) != due:
            wrong += 1
    return wrong


def alone(end, count, lead, items, look):
    """Put and get in one process."""
    put, get = end.put, end.get
    supply = cycle([(item, look(item)) for item in items.table()])
    wrong, start = 0, 0
    for number, (item, due) in enumerate(islice(supply, lead + count)):
        if number == lead:
            start = monotonic_ns()
        put(item)
        if look(get()) != due:
            wrong += 1
    return {"start": start, "end": monotonic_ns(), "wrong": wrong}
