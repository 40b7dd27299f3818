"""What each wait strategy costs, and what it buys: ``python -m benchmarks.waits``.

One program puts an item a millisecond, stamped with the time; another gets it and looks at the
clock, which is the same for both. So every get waits, for most of a millisecond. A round measures
each strategy once, in a process pair of its own; rounds follow each other.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.report import replace_block, table_text, write
from benchmarks.stats import number
from shmqueue import SharedMemoryQueue

# As a handle is told to wait: strategy, spin_seconds; and how a table calls it.
WAYS = {
    '`"block"`': ("block", None),
    '`"block"`, `spin_seconds=0`': ("block", 0.0),
    '`"yield"`': ("yield", None),
    '`"spin"`': ("spin", None),
    '`"spin"`, `spin_seconds=0.0001`': ("spin", 0.0001),
}
INTERVAL_NS = 1_000_000
WATCHDOG_SECONDS = 60
FIGURES = {
    "median_us": "from put to get, median us",
    "p99_us": "99th percentile us",
    "put_us": "a put, median us",
    "cpu_percent": "CPU of who gets, %",
}


def _get_all(run_id, strategy, spin_seconds, count, sender):
    latencies = []
    with SharedMemoryQueue(
        "waits", run_id=run_id, wait_strategy=strategy, spin_seconds=spin_seconds
    ) as queue:
        sender.send("ready")
        queue.get(timeout=WATCHDOG_SECONDS)
        cpu, wall = time.process_time_ns(), time.monotonic_ns()
        for _ in range(count):
            stamp = queue.get(timeout=WATCHDOG_SECONDS)
            latencies.append(time.monotonic_ns() - stamp)
        cpu, wall = time.process_time_ns() - cpu, time.monotonic_ns() - wall
    sender.send((latencies, 100 * cpu / wall))


def measure(strategy, spin_seconds, count):
    """Measure one way to wait; return its figures by name."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    run_id = f"waits-{os.getpid()}-{time.monotonic_ns()}"
    puts = []
    with SharedMemoryQueue("waits", create=True, run_id=run_id) as queue:
        process = context.Process(
            target=_get_all, args=(run_id, strategy, spin_seconds, count, sender)
        )
        process.start()
        try:
            _received(receiver)
            queue.put(None)
            due = time.monotonic_ns()
            for _ in range(count):
                due += INTERVAL_NS
                time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
                begun = time.monotonic_ns()
                queue.put(begun)
                puts.append(time.monotonic_ns() - begun)
            latencies, cpu_percent = _received(receiver)
            process.join(WATCHDOG_SECONDS)
        finally:
            if process.is_alive():
                process.kill()
                process.join()
            queue.unlink()
    return {
        "median_us": statistics.median(latencies) / 1e3,
        "p99_us": statistics.quantiles(latencies, n=100)[98] / 1e3,
        "put_us": statistics.median(puts) / 1e3,
        "cpu_percent": cpu_percent,
    }


def _received(receiver):
    if not receiver.poll(WATCHDOG_SECONDS):
        raise TimeoutError("the other program says nothing")
    return receiver.recv()


def run(rounds, count):
    """Measure all ways to wait in turn, so many times; return the figures of each round."""
    found = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, (strategy, spin_seconds) in WAYS.items():
            found[way].append(measure(strategy, spin_seconds, count))
    return found


def table(found):
    """Medians of the rounds, with the lowest and the highest, as Markdown."""
    rows = []
    for way, figures in found.items():
        cells = [way]
        for name in FIGURES:
            values = [of_round[name] for of_round in figures]
            cells.append(
                f"{number(statistics.median(values))} ({number(min(values))} to"
                f" {number(max(values))})"
            )
        rows.append(cells)
    return table_text(["wait_strategy", *FIGURES.values()], rows)


def block(found, count):
    """Return what stands between the markers of docs/waiting.md."""
    of = machine.describe()
    commit = (machine.git_state(Path(__file__).parent) or {"commit": "unknown"})["commit"][:12]
    rounds = len(next(iter(found.values())))
    virtual = " (virtual)" if of["virtual"] else ""
    return (
        f"{table(found)}\n\nMedians of {rounds} interleaved rounds of {count:,} items, with the"
        f" lowest and the highest, on {of['cpu']}{virtual}, {of['cores']} cores, {of['kernel']},"
        f" {of['python']}; commit {commit}. Written by `make bench`."
    )


def main(arguments=None):
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--items", type=int, default=2000, help="of a measurement")
    parser.add_argument("--json", action="store_true", help="print the figures of each round")
    parser.add_argument("--markdown", type=Path, help="page whose marked block is replaced")
    options = parser.parse_args(arguments)
    for warning in machine.warnings():
        print(f"warning: {warning}")
    found = run(options.rounds, options.items)
    print(json.dumps(found) if options.json else table(found))
    if options.markdown:
        text = replace_block(options.markdown.read_text(), block(found, options.items))
        write(options.markdown, text)


if __name__ == "__main__":
    main()
