"""The loops that are timed, where the other groups have none: in chunks, in stages, by turns."""

from itertools import cycle, islice
from operator import ne
from time import monotonic_ns, process_time_ns, sleep

from benchmarks.large import loops as large
from benchmarks.payloads import table
from benchmarks.scenarios import consume_in_order, local, produce

CHUNK = 100
"""Most items that are got by one call, where several are."""

TURN = 20_000
"""Items that go over one of two queues before it is the other's turn."""

LEAST_TURNS = 3

NS_PER_SECOND = 1_000_000_000


def consume(end, count, payload):
    """Get all items, in the way that the end offers, and compare each with the one that is due."""
    if end.get is None:
        result = _consume_chunks(end, count, payload)
    elif end.put is not None:
        result = _hand_on(end, count, payload)
    else:
        result = consume_in_order(end, count, payload)
    end.done()
    return result


def _consume_chunks(end, count, payload):
    get_batch, expected = end.get_batch, cycle(table(payload))
    wrong = 0
    while count > 0:
        items = get_batch()
        wrong += sum(map(ne, items, expected))
        count -= len(items)
    return {"end": monotonic_ns(), "wrong": wrong}


def _hand_on(end, count, payload):
    """What is got is put into the queue of the next stage."""
    get, put = end.get, end.put
    wrong = 0
    for due in islice(cycle(table(payload)), count):
        item = get()
        if item != due:
            wrong += 1
        put(item)
    return {"end": monotonic_ns(), "wrong": wrong}


def produce_arrays(end, count, items):
    """Put as many arrays; tell at what expense, and, of ours, how much memory they had."""
    cpu = process_time_ns()
    large.produce(end, count, items)
    cpu = process_time_ns() - cpu
    metrics = getattr(end.queue, "get_metrics", dict)()
    return {"producer_cpu_ns": cpu, "pool_bytes": metrics.get("pool_bytes")}


def consume_arrays(end, count, lead, items):
    """Look at both ends of each array; the time counts between the leads, the expense all over."""
    cpu = process_time_ns()
    result = large.consume(end, count, lead, items, items.stamp)
    return {**result, "cpu_ns": process_time_ns() - cpu}


def produce_at(end, count, lead, items, rate):
    """Put an item each time the clock says so; of those after `lead`, when, and at what expense."""
    supply = cycle(items.table())
    _put_at(end.put, islice(supply, lead), rate)
    start, cpu = monotonic_ns(), process_time_ns()
    due = _put_at(end.put, islice(supply, count), rate)
    return {"start": start, "due": due, "producer_cpu_ns": process_time_ns() - cpu}


def _put_at(put, items, rate):
    begun, due = monotonic_ns(), []
    for number, item in enumerate(items):
        due.append(begun + number * NS_PER_SECOND // rate)
        sleep(max(0, due[-1] - monotonic_ns()) / NS_PER_SECOND)
        put(item)
    # The next one is not due before its time.
    sleep(max(0, begun + len(due) * NS_PER_SECOND // rate - monotonic_ns()) / NS_PER_SECOND)
    return due


def consume_at(end, count, lead, items):
    """Look at both ends of each item; of those after `lead`, when, and at what expense."""
    expected = cycle([items.stamp(item) for item in items.table()])
    _, wrong = _got_at(end.get, islice(expected, lead), items.stamp)
    cpu = process_time_ns()
    times, wrong_later = _got_at(end.get, islice(expected, count), items.stamp)
    cpu = process_time_ns() - cpu
    return {"end": times[-1], "times": times, "wrong": wrong + wrong_later, "cpu_ns": cpu}


def _got_at(get, expected, look):
    times, wrong = [], 0
    for due in expected:
        if look(get()) != due:
            wrong += 1
        times.append(monotonic_ns())
    return times, wrong


def both_local(end, count, payload):
    """Put and get over the end and over its queue by turns; tell how long each took."""
    start = monotonic_ns()
    turns, wrong = [], 0
    for _ in range(count + 1):
        results = [local(each, TURN, payload) for each in (end, end.queue)]
        turns.append([result["end"] - result["start"] for result in results])
        wrong += sum(result["wrong"] for result in results)
    # The first ones paid for first use.
    return {"start": start, "end": monotonic_ns(), "wrong": wrong, "turns": turns[1:]}


def produce_both(end, count, payload):
    start = monotonic_ns()
    for _ in range(count + 1):
        for each in (end, end.queue):
            produce(each, TURN, payload)
    return {"start": start}


def consume_both(end, count, payload):
    """Get from the end and from its queue by turns.

    A turn begins where the one before ended: then the producer has filled the other one already,
    whichever it is.
    """
    turns, wrong = [], 0
    before = monotonic_ns()
    for _ in range(count + 1):
        turn = []
        for each in (end, end.queue):
            result = consume_in_order(each, TURN, payload)
            turn.append(result["end"] - before)
            before = result["end"]
            wrong += result["wrong"]
        turns.append(turn)
    return {"end": before, "wrong": wrong, "turns": turns[1:]}
