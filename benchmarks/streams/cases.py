"""The cases, and which contenders each of them compares."""

from dataclasses import dataclass
from statistics import median

from benchmarks.large.items import Arrays, Items
from benchmarks.payloads import LABELS
from benchmarks.scenarios import RATE, Case, Job, Unit, produce
from benchmarks.streams import loops

TIMES = Unit("x", False)
DELAY = Unit("ms, longest", False)

OURS, CHUNKS, PAIR = "shmqueue", "shmqueue-chunks", "shmqueue-pair"
SWEPT = (OURS, CHUNKS, "pyzmq", "lock-ring")
BROADCASTERS = (*SWEPT, "lock-ring-polled")
ARRAY_BROADCASTERS = (OURS, "pyzmq", "lock-ring")
STAGERS = (OURS, CHUNKS, "shmqueue-queues", "mp-queue")

KIB_SLOT = 1100
"""Bytes of a slot for 1 KiB of bytes."""

MIB = 1024**2
ARRAY_SLOTS = 8
STAGES = 3
READERS = (1, 2, 3, 4, 5, 6, 7, 8, 16)
ARRAY_READERS = (1, 2, 3, 4, 8, 16)
CROWD, CROWD_SLOTS, CROWD_RATE, CROWD_S = 50, 50, 24, 3
TURNS = 40
_SWEEP_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class Broadcast(Case):
    """One producer; every consumer gets every item. Counted are the items at each of them."""

    peers: tuple

    @property
    def count_multiple(self):
        return 1

    def jobs(self, count):
        return self._jobs((produce, count, self.payload), (loops.consume, count, self.payload))

    def _jobs(self, producer, consumer):
        """One of the first and one of the second for each reader: a function, its arguments."""
        return [
            Job(producer[0], producer[1:], ((0, "producer", 0),)),
            *(
                Job(consumer[0], consumer[1:], ((0, "consumer", index),))
                for index in range(self.consumers)
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class ArrayBroadcast(Broadcast):
    """The same with arrays; as many as the ring holds go before and come after those counted."""

    items: Items

    @property
    def first_count(self):
        return 4 * self.slots

    def jobs(self, count):
        return self._jobs(
            (loops.produce_arrays, count + 2 * self.slots, self.items),
            (loops.consume_arrays, count, self.slots, self.items),
        )

    def evaluate(self, count, results):
        """The rate, and what an array costs: at the producer, at each reader, in memory."""
        total = count + 2 * self.slots
        producer = next(each for each in results if "producer_cpu_ns" in each)
        readers = [each["cpu_ns"] for each in results if "cpu_ns" in each]
        return {
            **super().evaluate(count, results),
            "producer_cpu_us": producer["producer_cpu_ns"] / 1e3 / total,
            "reader_cpu_us": sum(readers) / len(readers) / 1e3 / total,
            "pool_bytes": producer["pool_bytes"],
        }


@dataclass(frozen=True, kw_only=True)
class Crowd(Broadcast):
    """Very many readers, and a producer that keeps to a rate: do all keep up, at what expense?

    The items of a second go before those that count.
    """

    items: Items
    rate: int
    seconds: float
    is_calibrated = False

    def fixed_amount(self, share):
        return max(2, round(self.seconds * self.rate * share))

    def jobs(self, count):
        return self._jobs(
            (loops.produce_at, count, self.rate, self.items, self.rate),
            (loops.consume_at, count, self.rate, self.items),
        )

    def evaluate(self, count, results):
        """The longest time from when an item was due to when a reader had it, and the expense."""
        seconds = super().evaluate(count, results)["seconds"]
        producer = next(each for each in results if "due" in each)
        readers = [each for each in results if "times" in each]
        delays = sorted(
            time - due
            for reader in readers
            for time, due in zip(reader["times"], producer["due"], strict=True)
        )
        return {
            "value": delays[-1] / 1e6,
            "seconds": seconds,
            "median_delay_ms": delays[len(delays) // 2] / 1e6,
            "producer_cpu": producer["producer_cpu_ns"] / 1e9 / seconds,
            "readers_cpu": sum(reader["cpu_ns"] for reader in readers) / 1e9 / seconds,
        }


@dataclass(frozen=True, kw_only=True)
class Single(Case):
    """A stream with one group and a plain queue by turns, in the same processes.

    They differ by less than two runs do.
    """

    peers: tuple
    is_local = True
    is_calibrated = False

    def fixed_amount(self, share):
        return max(loops.LEAST_TURNS, round(TURNS * share))

    def local(self, end, count):
        return loops.both_local(end, count, self.payload)

    def jobs(self, count):
        return [
            Job(loops.produce_both, (count, self.payload), ((0, "producer", 0),)),
            Job(loops.consume_both, (count, self.payload), ((0, "consumer", 0),)),
        ]

    def evaluate(self, count, results):
        """The median over the turns of the stream's time by the queue's."""
        told = super().evaluate(count, results)
        turns = next(each["turns"] for each in results if "turns" in each)
        ratios = [stream / plain for stream, plain in turns]
        return {"value": median(ratios), "seconds": told["seconds"], "turns_ns": turns}


class SingleAcross(Single):
    """The same with a process at each end."""

    is_local = False


def _readers(count):
    return f"{count} reader{'s' if count > 1 else ''}"


def _of_bytes(scenario, readers, peers, **options):
    return Broadcast(
        scenario=scenario,
        variant=str(readers),
        payload="bytes1k",
        producers=1,
        consumers=readers,
        unit=RATE,
        title=f"{LABELS['bytes1k']}, {_readers(readers)}",
        slot_bytes=KIB_SLOT,
        peers=peers,
        **options,
    )


def _of_arrays(kind, scenario, readers, slots, **options):
    items = Arrays((MIB,))
    return kind(
        scenario=scenario,
        variant=str(readers),
        payload=items.kind,
        producers=1,
        consumers=readers,
        slots=slots,
        slot_bytes=items.nbytes,
        items=items,
        peers=ARRAY_BROADCASTERS,
        **options,
    )


def _single_cases():
    for payload in ("bytes8", "int"):
        for kind, variant, where in (
            (Single, "local", "put + get in one process"),
            (SingleAcross, "spsc", "1 → 1 processes"),
        ):
            yield kind(
                scenario="single",
                variant=f"{variant}-{payload}",
                payload=payload,
                producers=1,
                consumers=1,
                unit=TIMES,
                title=f"{where}, {LABELS[payload]}: time by that of the plain queue",
                peers=(PAIR,),
            )


def _cases():
    yield _of_bytes("broadcast", 3, BROADCASTERS)
    # What is compared with each other stands together.
    for readers in ARRAY_READERS:
        title = f"arrays of 1 MiB, {_readers(readers)}"
        yield _of_arrays(ArrayBroadcast, "arrays", readers, ARRAY_SLOTS, unit=RATE, title=title)
    yield Broadcast(
        scenario="pipeline",
        variant=str(STAGES),
        payload="dict",
        producers=1,
        consumers=STAGES,
        unit=RATE,
        title=f"{STAGES} stages, {LABELS['dict']}",
        peers=STAGERS,
    )
    yield from _single_cases()
    title = f"{CROWD} readers, {CROWD_RATE} arrays of 1 MiB a second: longest delay"
    yield _of_arrays(
        Crowd,
        "crowd",
        CROWD,
        CROWD_SLOTS,
        unit=DELAY,
        title=title,
        rate=CROWD_RATE,
        seconds=CROWD_S,
    )
    for readers in READERS:
        yield _of_bytes("readers", readers, SWEPT, share=_SWEEP_SHARE)


CASES = tuple(_cases())
