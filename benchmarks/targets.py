"""The floors that shmqueue is held to, on a machine with two cores.

Each is a ratio, ours to theirs, within the same round; its median over the rounds must reach the
floor. It is taken so that above 1 shmqueue is faster, for rates and for times alike. A ceiling is
a figure of ours alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Floor:
    """`case` of ours must be at least `ratio` times `peer` on the case `against`."""

    case: str
    peer: str
    ratio: float
    against: str = ""
    ours: str = "shmqueue"

    @property
    def other_case(self):
        return self.against or self.case


@dataclass(frozen=True)
class Ceiling:
    """The value of ours on `case` must stay below `limit`."""

    case: str
    limit: float
    unit: str = "ms"
    ours: str = "shmqueue"


OURS = "shmqueue"

TARGETS = (
    Floor("local/bytes8", "hyperq-bytes", 1.2),
    Floor("local/bytes8", "zeroq", 3.5),
    Floor("local/bytes8", "mp-queue", 120),
    Floor("local/int", "mp-queue", 60),
    Floor("local/str", "mp-queue", 60),
    Floor("local/dict", "mp-queue", 12),
    Floor("spsc/bytes8", "hyperq-bytes", 2),
    Floor("spsc/bytes8", "zeroq", 5),
    Floor("spsc/bytes8", "mp-queue", 45),
    Floor("spsc/int", "mp-queue", 30),
    Floor("spsc/dict", "mp-queue", 12),
    Floor("spsc/object", "mp-queue", 4),
    Floor("batch/int", OURS, 2.5, against="spsc/int"),
    Floor("mpmc/4x4", "mp-queue", 10),
    Floor("mpmc/8x1", "mp-queue", 10),
    Floor("mpmc/1x8", "mp-queue", 10),
    Floor("mpmc/4x4", OURS, 0.4, against="spsc/int"),
    Floor("mpmc/8x1", OURS, 0.4, against="spsc/int"),
    Floor("mpmc/1x8", OURS, 0.4, against="spsc/int"),
    Floor("pingpong/bytes8", "hyperq-bytes", 1),
    Floor("wake/bytes8", "hyperq-bytes", 1),
    Ceiling("idle/bytes8", 2.0),
)

LARGE_TARGETS = (
    Floor("frames/1080p", "pyzmq", 3),
    Floor("frames/1080p", "hyperq-bytes", 5),
    Floor("frames/1080p", "mp-queue", 12),
    Floor("frames/1080p", "memcpy", 0.75),
    Floor("frames/1080p-sum", "pyzmq", 1.6),
    Floor("frames/vga", "pyzmq", 2),
    Floor("frames/vga", "hyperq-bytes", 4),
    Ceiling("reserve/6.2MB", 20, "µs"),  # 50,000 a second
    Floor("reserve/64MiB", OURS, 0.8, against="reserve/1MiB"),  # no matter what size
    Floor("bytes/256KiB", "zeroq", 2),
    Floor("bytes/8MiB", "zeroq", 2),
    Floor("bytes/32MiB", "zeroq", 2),
    Floor("dict/arrays", "mp-queue", 5),
    # Now and then a waiter makes sure that the other process is alive.
    Ceiling("steady/calls", 0.01, "calls an item"),
    # Less than one item.
    Ceiling("steady/memory", 1000, "KiB"),
)

# A drop-in's promise is to be no slower than what a program would have used otherwise.
DROPIN_TARGETS = (
    *(
        Floor(f"dropin-{where}/{payload}", "named", 0.9, ours="dropin")
        for where in ("local", "spsc")
        for payload in ("bytes8", "int", "dict", "object")
    ),
    Floor("pool/imap", "standard", 1.3, ours="context"),
    Floor("executor/map", "standard", 1.2, ours="context"),
    Floor("executor/map", "standard", 1.5, ours="installed"),
    Floor("loader/tensors", "standard", 1.0, ours="context"),
    Floor("loader/numpy", "standard", 1.2, ours="context"),
    Ceiling("life/make", 300, "µs", ours="dropin-unbounded"),
    Ceiling("life/drop", 200, "µs", ours="dropin-unbounded"),
    Floor("burst/int", "named", 0.85, ours="dropin-unbounded"),
    # The first region and what stands before it, with a page to spare.
    Ceiling("memory/left", 1200, "KiB", ours="dropin-unbounded"),
)

# What a group costs, and what lies between a stream's readers and others'.
STREAM_TARGETS = (
    Floor("broadcast/3", "lock-ring", 20),
    Floor("broadcast/3", "lock-ring", 20, ours="shmqueue-chunks"),
    Floor("broadcast/3", "pyzmq", 4),
    Floor("broadcast/3", "pyzmq", 4, ours="shmqueue-chunks"),
    Floor("arrays/3", "pyzmq", 6),
    # Nothing is copied for a reader: within 25 % of the time for one.
    *(
        Floor(f"arrays/{readers}", OURS, 0.8, against="arrays/1", ours=OURS)
        for readers in (2, 3, 4, 8)
    ),
    *(
        Floor("pipeline/3", "mp-queue", 3, ours=ours)
        for ours in (OURS, "shmqueue-chunks", "shmqueue-queues")
    ),
    *(
        Ceiling(f"single/{where}-{payload}", 1.03, "x", ours="shmqueue-pair")
        for where in ("local", "spsc")
        for payload in ("bytes8", "int")
    ),
    # Each item is there before the next one, at 24 a second.
    Ceiling("crowd/50", 41.6, "ms"),
)

TARGETS_OF = {
    "queues": TARGETS,
    "dropins": DROPIN_TARGETS,
    "large": LARGE_TARGETS,
    "streams": STREAM_TARGETS,
}
"""By group."""
