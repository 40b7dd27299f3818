"""The cases, and the loops that are timed.

Every loop checks what it receives, so that a queue which loses, repeats, tears or reorders items
is reported as an error and not as fast. Where one producer meets one consumer each item is compared
with the one expected at that position; where several meet, the sum over all consumers is checked.
The check costs every queue the same.

A loop takes bound methods straight from the library, without a wrapper in between. Its times are
``time.monotonic_ns`` (CLOCK_MONOTONIC, one clock for all processes of the machine).
"""

from dataclasses import dataclass
from itertools import cycle, islice, repeat
from struct import Struct
from time import monotonic_ns, process_time_ns, sleep

from benchmarks.payloads import LABELS, table

SLOTS = 1024
"""Items that a queue may hold, for queues that count items."""

SLOT_BYTES = 256
"""Bytes of a slot where slots have a size."""

BATCH = 100
"""Items in one call of the batch scenario."""

PRODUCER_STRIDE = 10_000_000
"""Difference between the ints of two producers, so that their items cannot be confused."""

WAKE_PAUSE_S = 0.010
"""How long the producer lets the consumer sleep before each item of the wake scenario."""

_STAMP = Struct("<q")


@dataclass(frozen=True)
class Unit:
    """What the value of a round means."""

    name: str
    higher_is_better: bool


RATE = Unit("items/s", True)
ROUND_TRIP = Unit("us per round trip", False)
WAKE = Unit("us, median", False)
CPU = Unit("ms of CPU", False)


@dataclass(frozen=True)
class Case:
    """One line of the results: a scenario with a payload and a topology."""

    scenario: str
    variant: str
    payload: str
    producers: int
    consumers: int
    unit: Unit
    title: str
    slots: int = SLOTS
    slot_bytes: int = SLOT_BYTES
    share: float = 1.0  # of the rounds, and of the time of a run

    @property
    def key(self):
        return f"{self.scenario}/{self.variant}"

    @property
    def ring_bytes(self):
        """Size of the buffer, for queues that count bytes: the same memory."""
        return self.slots * self.slot_bytes

    @property
    def element_bytes(self):
        """Size of an item, for queues whose items all have one."""
        return len(table(self.payload)[0])

    @property
    def is_calibrated(self):
        """Whether the item count is chosen so that a run takes the intended time."""
        return self.scenario not in ("wake", "idle")

    @property
    def first_count(self):
        """Items of the first run of the calibration."""
        return 200 if self.scenario == "pingpong" else 2000

    @property
    def count_multiple(self):
        """Counts are multiples of this, so that every process gets an equal whole share."""
        if self.scenario == "batch":
            return BATCH
        return self.producers * self.consumers

    @property
    def queues(self):
        return 2 if self.scenario == "pingpong" else 1

    @property
    def is_local(self):
        """Whether one process does it all: `local` runs it, and there are no `jobs`."""
        return self.scenario == "local"

    def local(self, end, count):
        """Run the loop of a case in one process."""
        loop = local_objects if self.payload == "object" else local
        return loop(end, count, self.payload)

    def jobs(self, count):
        """The workers; each call moves its share of `count` items."""
        return jobs(self, count)

    def evaluate(self, count, results):
        """What the round's result is, of what the workers returned."""
        return evaluate(self, count, results)


def _cases():
    for payload in ("bytes8", "int", "str", "dict"):
        title = f"put + get in one process, {LABELS[payload]}"
        yield Case("local", payload, payload, 1, 1, RATE, title)
    for payload in ("bytes8", "dict", "object", "int"):
        title = f"1 producer to 1 consumer, {LABELS[payload]}"
        yield Case("spsc", payload, payload, 1, 1, RATE, title)
    yield Case("batch", "int", "int", 1, 1, RATE, f"1 to 1 in batches of {BATCH} ints")
    for producers, consumers in ((4, 4), (8, 1), (1, 8)):
        title = f"{producers} producers to {consumers} consumers, int"
        title = title.replace("1 producers", "1 producer").replace("1 consumers", "1 consumer")
        yield Case("mpmc", f"{producers}x{consumers}", "int", producers, consumers, RATE, title)
    yield Case("pingpong", "bytes8", "bytes8", 1, 1, ROUND_TRIP, "ping-pong over two queues")
    yield Case("wake", "bytes8", "bytes8", 1, 1, WAKE, "waking a consumer that slept 10 ms")
    yield Case("idle", "bytes8", "bytes8", 1, 1, CPU, "CPU of a consumer blocked on an empty queue")


# Cases that are compared with each other within a round (spsc/int, batch, mpmc) stand together.
CASES = tuple(_cases())


# What a process does. Each function returns a dict: "start"/"end" in ns where it has one to give,
# "wrong" (items that differ from what was expected), "total" (sum of ints), "samples" ...


def local(end, count, payload):
    put, get = end.put, end.get
    wrong = 0
    start = monotonic_ns()
    for item in islice(cycle(table(payload)), count):
        put(item)
        if get() != item:
            wrong += 1
    return {"start": start, "end": monotonic_ns(), "wrong": wrong}


def local_objects(end, count, payload):
    put, get = end.put, end.get
    wrong = 0
    start = monotonic_ns()
    for item in islice(cycle(table(payload)), count):
        put(item)
        if get().serial != item.serial:
            wrong += 1
    return {"start": start, "end": monotonic_ns(), "wrong": wrong}


def produce(end, count, payload):
    put = end.put
    items = islice(cycle(table(payload)), count)
    start = monotonic_ns()
    for item in items:
        put(item)
    return {"start": start}


def consume_in_order(end, count, payload):
    get = end.get
    wrong = 0
    for item in islice(cycle(table(payload)), count):
        if get() != item:
            wrong += 1
    return {"end": monotonic_ns(), "wrong": wrong}


def consume_objects_in_order(end, count, payload):
    get = end.get
    wrong = 0
    for item in islice(cycle(table(payload)), count):
        if get().serial != item.serial:
            wrong += 1
    return {"end": monotonic_ns(), "wrong": wrong}


def produce_ints(end, count, index):
    put = end.put
    items = islice(cycle(_ints_of(index)), count)
    start = monotonic_ns()
    for item in items:
        put(item)
    return {"start": start}


def consume_ints(end, count):
    get = end.get
    total = 0
    for _ in repeat(None, count):
        total += get()
    return {"end": monotonic_ns(), "total": total}


def produce_batches(end, count):
    put_batch = end.put_batch
    items = _ints_of(0)
    batches = [list(islice(cycle(items), first, first + BATCH)) for first in range(len(items))]
    # Batch k starts where batch k - 1 stopped in the endless repetition of the table.
    order = cycle([batches[k * BATCH % len(items)] for k in range(len(items))])
    batches = islice(order, count // BATCH)
    start = monotonic_ns()
    for batch in batches:
        put_batch(batch)
    return {"start": start}


def consume_batches(end, count):
    get_batch = end.get_batch
    total = 0
    left = count
    while left > 0:
        batch = get_batch()
        left -= len(batch)
        total += sum(batch)
    return {"end": monotonic_ns(), "total": total}


def ping(end, count, payload):
    put, get = end.put, end.get
    wrong = 0
    start = monotonic_ns()
    for item in islice(cycle(table(payload)), count):
        put(item)
        if get() != item:
            wrong += 1
    return {"start": start, "end": monotonic_ns(), "wrong": wrong}


def pong(end, count):
    put, get = end.put, end.get
    for _ in repeat(None, count):
        put(get())
    return {}


def wake_producer(end, count):
    put, pack = end.put, _STAMP.pack
    for _ in repeat(None, count + 1):
        sleep(WAKE_PAUSE_S)
        put(pack(monotonic_ns()))
    return {}


def wake_consumer(end, count):
    get, unpack = end.get, _STAMP.unpack
    samples = []
    for _ in repeat(None, count + 1):
        item = get()
        samples.append(monotonic_ns() - unpack(item)[0])
    return {"samples": samples[1:]}  # the first one also paid for first use


def idle_producer(end, seconds, payload):
    first, second = table(payload)[:2]
    end.put(first)
    sleep(seconds)
    end.put(second)
    return {}


def idle_consumer(end, payload):
    first, second = table(payload)[:2]
    wrong = int(end.get() != first)  # first use is over before the clock starts
    cpu, start = process_time_ns(), monotonic_ns()
    wrong += int(end.get() != second)
    return {
        "wrong": wrong,
        "cpu_ns": process_time_ns() - cpu,
        "blocked_ns": monotonic_ns() - start,
    }


def _ints_of(producer):
    return [PRODUCER_STRIDE * producer + item for item in table("int")]


def expected_total(producers, count):
    """The sum of all ints that `producers` send, `count` in all."""
    return sum(
        sum(islice(cycle(_ints_of(index)), count // producers)) for index in range(producers)
    )


@dataclass(frozen=True)
class Job:
    """What one worker process does: a function, its arguments, and the ends it needs.

    `ends` are (queue, role, index): the worker's `put` comes from the "producer" end and its
    `get` from the "consumer" end.
    """

    function: object
    arguments: tuple
    ends: tuple


def jobs(case, count):
    """The workers of a case; each call moves its share of `count` items."""
    name = case.scenario
    to_queue, from_queue = (0, "producer", 0), (0, "consumer", 0)
    if name == "spsc":
        consume = consume_objects_in_order if case.payload == "object" else consume_in_order
        return [
            Job(produce, (count, case.payload), (to_queue,)),
            Job(consume, (count, case.payload), (from_queue,)),
        ]
    if name == "batch":
        return [
            Job(produce_batches, (count,), (to_queue,)),
            Job(consume_batches, (count,), (from_queue,)),
        ]
    if name == "mpmc":
        producers = [
            Job(produce_ints, (count // case.producers, i), ((0, "producer", i),))
            for i in range(case.producers)
        ]
        consumers = [
            Job(consume_ints, (count // case.consumers,), ((0, "consumer", i),))
            for i in range(case.consumers)
        ]
        return producers + consumers
    if name == "pingpong":
        return [
            Job(ping, (count, case.payload), (to_queue, (1, "consumer", 0))),
            Job(pong, (count,), ((1, "producer", 0), from_queue)),
        ]
    if name == "wake":
        return [
            Job(wake_producer, (count,), (to_queue,)),
            Job(wake_consumer, (count,), (from_queue,)),
        ]
    if name == "idle":
        return [
            Job(idle_producer, (count, case.payload), (to_queue,)),
            Job(idle_consumer, (case.payload,), (from_queue,)),
        ]
    raise ValueError(f"scenario {name!r} has no workers")


def evaluate(case, count, results):
    """Turn what the workers returned into the value of the round.

    Raises
    ------
    ValueError
        If items were lost, repeated, torn or out of order.
    """
    wrong = sum(result.get("wrong", 0) for result in results)
    if wrong:
        raise ValueError(f"{wrong} of {count} items were not the expected ones")
    if case.scenario in ("mpmc", "batch"):
        total = sum(result.get("total", 0) for result in results)
        expected = expected_total(case.producers, count)
        if total != expected:
            raise ValueError(f"checksum {total} instead of {expected} over {count} items")
    if case.scenario == "wake":
        samples = sorted(next(r["samples"] for r in results if "samples" in r))
        if samples[0] < 0:
            raise ValueError(f"an item arrived {-samples[0]} ns before it was sent")
        return {"value": _median(samples) / 1e3, "samples_ns": samples}
    if case.scenario == "idle":
        result = next(r for r in results if "cpu_ns" in r)
        return {"value": result["cpu_ns"] / 1e6, "blocked_s": result["blocked_ns"] / 1e9}
    start = min(result["start"] for result in results if "start" in result)
    end = max(result["end"] for result in results if "end" in result)
    seconds = (end - start) / 1e9
    value = count / seconds if case.unit.higher_is_better else seconds / count * 1e6
    return {"value": value, "seconds": seconds}


def _median(ordered):
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
