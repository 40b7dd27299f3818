"""The cases, and which contenders each of them compares."""

from dataclasses import dataclass
from math import prod

from benchmarks.large import loops, steady
from benchmarks.large.items import (
    Arrays,
    Bytes,
    Dicts,
    Items,
    first_of_array,
    total_of_array,
    total_of_words,
)
from benchmarks.scenarios import RATE, Case, Job, Unit
from benchmarks.work import Work

MICROSECONDS = Unit("us per item", False)
CALLS = Unit("calls per item", False)
MEMORY = Unit("KiB", False)

OURS = ("shmqueue",)
QUEUES = ("shmqueue", "hyperq-bytes", "zeroq", "pyzmq", "faster-fifo", "mp-queue")
OBJECT_QUEUES = ("shmqueue", "pyzmq", "faster-fifo", "mp-queue")
BYTES_QUEUES = ("shmqueue", "hyperq-bytes", "zeroq", "pyzmq", "mp-queue")
SUMMED_BY = ("shmqueue", "pyzmq", "memcpy")
SWEPT = ("shmqueue", "hyperq-bytes", "pyzmq", "mp-queue", "memcpy")

KIB, MIB = 1024, 1024**2
FULL_HD, VGA = (1080, 1920, 3), (480, 640, 3)
SLOTS = 8
HUGE_SLOTS, MOST_SLOTS = 4, 1024
_FIRST_BYTES = 64 * MIB
_SMALL_ITEMS = 10_000
_SWEEP_SHARE, _ONCE = 0.4, 0.2


@dataclass(frozen=True, kw_only=True)
class Transfer(Case):
    """Items from one process to another, or put and got by one."""

    items: Items
    peers: tuple
    look: object
    produce: object = loops.produce
    consume: object = loops.consume
    is_local: bool = False

    element_bytes = property(lambda self: self.items.nbytes)

    @property
    def first_count(self):
        return min(_SMALL_ITEMS, max(self.slots, _FIRST_BYTES // self.items.nbytes))

    def local(self, end, count):
        return loops.alone(end, count, self.slots, self.items, self.look)

    def jobs(self, count):
        total = count + 2 * self.slots
        return [
            Job(self.produce, (total, self.items), ((0, "producer", 0),)),
            Job(self.consume, (count, self.slots, self.items, self.look), ((0, "consumer", 0),)),
        ]


def _transfer(scenario, variant, title, items, peers, slots=SLOTS, unit=RATE, **options):
    options = {"look": items.stamp, **options}
    return Transfer(
        scenario=scenario,
        variant=variant,
        payload=items.kind,
        producers=1,
        consumers=1,
        unit=unit,
        title=title,
        slots=slots,
        slot_bytes=items.nbytes,
        items=items,
        peers=peers,
        **options,
    )


def size_text(nbytes):
    """The size in the largest unit that gives a whole number."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if nbytes >= unit:
            return f"{nbytes // unit} {name}"
    return f"{nbytes} B"


def _frame_cases():
    full_hd, vga = Arrays(FULL_HD), Arrays(VGA)
    title = "1080p frames of 6.2 MB, 1 → 1"
    yield _transfer("frames", "1080p", title, full_hd, (*QUEUES, "memcpy"))
    for variant, look, how in (("sum", total_of_array, ""), ("words", total_of_words, " by words")):
        summed = f"{title}, summed{how}"
        yield _transfer("frames", f"1080p-{variant}", summed, full_hd, SUMMED_BY, look=look)
    yield _transfer("frames", "vga", "VGA frames of 0.9 MB, 1 → 1", vga, SWEPT)


def _object_cases():
    title = "dict of three arrays of 1 MiB and ten scalars, 1 → 1"
    yield _transfer("dict", "arrays", title, Dicts(MIB), OBJECT_QUEUES)
    for nbytes in (256 * KIB, 8 * MIB, 32 * MIB):
        size = size_text(nbytes)
        title = f"put + get in one process, {size} of bytes"
        yield _transfer(
            "bytes", size.replace(" ", ""), title, Bytes(nbytes), BYTES_QUEUES, is_local=True
        )


def _reserve_cases():
    for variant, nbytes in (("1MiB", MIB), ("6.2MB", prod(FULL_HD)), ("64MiB", 64 * MIB)):
        yield _transfer(
            "reserve",
            variant,
            f"reserve an array of {variant.replace('M', ' M')}, fill one byte, 1 → 1",
            Arrays((nbytes,)),
            OURS,
            unit=MICROSECONDS,
            produce=loops.produce_reserved,
            consume=loops.consume_warm,
            look=first_of_array,
        )


def _sweep_cases():
    for power in range(11):
        nbytes = 64 * 4**power
        size = size_text(nbytes)
        # A few small items are gone before who waits for them wakes up.
        slots = HUGE_SLOTS if nbytes >= 16 * MIB else max(SLOTS, min(MOST_SLOTS, MIB // nbytes))
        yield _transfer(
            "sweep",
            size.replace(" ", ""),
            f"arrays of {size}, 1 → 1",
            Arrays((nbytes,)),
            SWEPT,
            slots,
            share=_SWEEP_SHARE,
        )


def _steady_cases():
    title = "system calls but futex, {amount:,} arrays of 1 MiB"
    yield Work("steady", "calls", title, CALLS, OURS, 10_000, 1000, steady.calls, share=_ONCE)
    title = "growth of memory, {amount:,} arrays of 1 MiB"
    yield Work("steady", "memory", title, MEMORY, OURS, 100_000, 5000, steady.memory, share=_ONCE)


CASES = (
    *_frame_cases(),
    *_object_cases(),
    *_reserve_cases(),
    *_sweep_cases(),
    *_steady_cases(),
)
