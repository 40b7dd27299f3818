"""The cases, and which contenders each of them compares."""

from benchmarks.dropins import frameworks, lives
from benchmarks.payloads import LABELS, TABLE_LENGTH
from benchmarks.scenarios import RATE, Case, Unit
from benchmarks.work import Work

CALLS = Unit("calls/s", True)
BATCHES = Unit("batches/s", True)
MICROSECONDS = Unit("us", False)
MEMORY = Unit("KiB", False)

QUEUES = ("dropin", "dropin-unbounded", "named", "mp-queue")
CONTEXTS = ("context", "standard")


def _queue_cases():
    for scenario, what in (("local", "put + get in one process"), ("spsc", "1 → 1 processes")):
        for payload in ("bytes8", "int", "dict", "object"):
            title = f"{what}, {LABELS[payload]}"
            loops = Case(scenario, payload, payload, 1, 1, RATE, title)
            yield Work(
                f"dropin-{scenario}",
                payload,
                title,
                RATE,
                QUEUES,
                queue_case=loops,
                payload=payload,
            )


def _in_context(function, *options):
    def run(peer, amount, name):
        with peer.context() as context:
            return function(context, amount, *options)

    return run


def _framework_cases():
    title = "Pool.imap, {amount:,} trivial calls, chunksize=1"
    run = _in_context(frameworks.pool)
    yield Work("pool", "imap", title, CALLS, CONTEXTS, 20_000, 1000, run)

    title = "ProcessPoolExecutor.map, {amount:,} trivial calls, chunksize=1"
    run = _in_context(frameworks.executor)
    contenders = ("context", "installed", "standard")
    yield Work("executor", "map", title, CALLS, contenders, 20_000, 1000, run)

    for variant, as_numpy in (("tensors", False), ("numpy", True)):
        kind = "numpy arrays" if as_numpy else "tensors"
        title = f"DataLoader, batches of 64 x 3x224x224 float32 as {kind}, 2 workers"
        run = _in_context(frameworks.loader, as_numpy)
        yield Work("loader", variant, title, BATCHES, CONTEXTS, 40, 8, run, needs="torch")


def _life_cases():
    contenders = ("dropin-unbounded", "mp-queue")
    for function, what in ((lives.make, "making"), (lives.drop, "dropping")):
        yield Work(
            "life",
            function.__name__,
            f"{what} a queue, {{amount}} of them alive",
            MICROSECONDS,
            contenders,
            200,
            50,
            lambda peer, amount, name, function=function: function(peer, amount),
        )

    many, few = 15_625 * TABLE_LENGTH, 1600 * TABLE_LENGTH
    title = "burst of {amount:,} ints that nobody gets"
    contenders = ("dropin-unbounded", "named")
    yield Work("burst", "int", title, RATE, contenders, many, few, lives.burst)
    for when, what in (
        ("peak", "memory at the peak of it"),
        ("left", "memory when the burst is drained"),
    ):
        yield Work(
            "memory",
            when,
            what,
            MEMORY,
            ("dropin-unbounded",),
            many,
            few,
            lambda peer, amount, name, when=when: lives.memory(peer, amount, when),
        )


CASES = (*_queue_cases(), *_framework_cases(), *_life_cases())
