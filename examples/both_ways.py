"""Run the same work with the standard context and with shmqueue's, and print both times."""

import multiprocessing
import time
from statistics import median

import shmqueue


def compare(work, rounds, unit, amount):
    """Time `work(context)` with both contexts, in turn, and print medians and their ratio."""
    method = multiprocessing.get_context().get_start_method()
    contexts = {
        "multiprocessing": multiprocessing.get_context(method),
        "shmqueue": shmqueue.get_context(method),
    }
    seconds = {name: [] for name in contexts}
    for _ in range(rounds):
        for name, context in contexts.items():
            start = time.perf_counter()
            work(context)
            seconds[name].append(time.perf_counter() - start)

    for name, times in seconds.items():
        rate = amount / median(times)
        print(f"{name:16} {median(times):8.3f} s  {rate:12,.0f} {unit}/s")
    ratios = [old / new for old, new in zip(*seconds.values(), strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"ratio            {median(ratios):8.2f}x ({spread}, {rounds} rounds, {method})")
