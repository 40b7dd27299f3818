"""The page of streams: ``python -m benchmarks.streams.report build/benchmarks-streams.json``."""

from statistics import median

from benchmarks.page import Page, main
from benchmarks.report import table_text
from benchmarks.stats import number
from benchmarks.streams.cases import OURS
from benchmarks.streams.plot import draw

SECTIONS = (
    (
        "One producer, three readers",
        ("broadcast",),
        "Every reader gets every item, and compares all its bytes. Counted are the items at each "
        "reader. pyzmq waits where it would drop, so none is missing.",
    ),
    (
        "Arrays that all readers look at",
        ("arrays",),
        "An array is written where it will lie, once, and every reader looks at its first and last "
        "byte in place. So neither memory nor time should depend on how many readers there are, "
        "as long as there are cores for them.",
    ),
    (
        "Stages after each other",
        ("pipeline",),
        "One process a stage. In a stream a stage is a group that comes after the one before; with "
        "queues each stage puts what it got into the queue of the next.",
    ),
    (
        "One group",
        ("single",),
        "A stream with one group and the queue that it could have been, by turns in the same "
        "processes: how many times the queue's time the stream takes.",
    ),
    (
        "Fifty readers",
        ("crowd",),
        "A reader keeps up if it has each item before the next is due, 42 ms later. The longest "
        "delay is that of all items at all readers, from when an item was due.",
    ),
    (
        "Over the number of readers",
        ("readers",),
        "What the picture shows of 1 KiB of bytes.",
    ),
)


def _expense_text(results):
    return "\n\n".join(filter(None, [_arrays_text(results), _crowd_text(results)]))


def _arrays_text(results):
    """What an array costs, by the number of readers: medians over the rounds of the streams'."""
    rows = []
    for case in results.cases:
        entry = case["peers"].get(OURS) if case["scenario"] == "arrays" else None
        runs = [run for run in entry["rounds"] if run["status"] == "ok"] if entry else []
        if runs:
            producer, reader, rate = (
                median(run[key] for run in runs)
                for key in ("producer_cpu_us", "reader_cpu_us", "value")
            )
            readers = int(case["variant"])
            in_use = (producer + readers * reader) * rate / 1e6
            pool = max(run["pool_bytes"] for run in runs) / 2**20
            shown = [number(producer), number(reader), number(in_use), number(pool)]
            rows.append([case["variant"], *shown])
    header = [
        "readers of arrays of 1 MiB",
        "CPU of the producer, µs an array",
        "CPU of each reader, µs an array",
        "cores in use",
        "shared memory, MiB",
    ]
    text = (
        "What an array costs in a stream (medians over the rounds; of memory the most). Where the "
        "cores in use come near those of the machine, more readers get less each:"
    )
    return f"{text}\n\n{table_text(header, rows)}" if rows else ""


def _crowd_text(results):
    """What the crowd costs, of every contender: medians over the rounds."""
    case = next((case for case in results.cases if case["scenario"] == "crowd"), None)
    if case is None:
        return ""
    rows = []
    for peer, entry in case["peers"].items():
        runs = [run for run in entry["rounds"] if run["status"] == "ok"]
        if runs:
            delay, *cpu = (
                median(run[key] for run in runs)
                for key in ("median_delay_ms", "producer_cpu", "readers_cpu")
            )
            shares = [f"{number(100 * share)} %" for share in cpu]
            rows.append([results.labels[peer], f"{number(delay)} ms", *shares])
    header = ["crowd of readers", "median delay", "CPU of the producer", "CPU of all readers"]
    text = "What the fifty readers cost, as shares of one core (medians over the rounds):"
    return f"{text}\n\n{table_text(header, rows)}" if rows else ""


PAGE = Page(
    "streams",
    "benchmarks.streams.report",
    "Benchmarks of streams",
    SECTIONS,
    draw,
    "throughput at each reader over the number of readers",
    more=_expense_text,
)


if __name__ == "__main__":
    main(PAGE)
