"""A chain of stages over one ring, in the manner of a disruptor.

Orders go through a stage that checks them; behind it, two stages see each order that was checked,
side by side: one adds up, the other looks for large ones. Each stage is an object with
`consume(items)`.

    python examples/disruptor.py [--orders 200000]
"""

import argparse
import os

from shmqueue import Consumers, Stream


def say(line):
    """Print a line at once: other threads print as well."""
    print(f"{line}\n", end="", flush=True)


class Check:
    """Refuse what is no order."""

    def consume(self, orders):
        """Look at each order of a list."""
        for number, amount in orders:
            if amount < 0:
                raise ValueError(f"order {number} has a negative amount")


class AddUp:
    """Know the sum of all orders."""

    def __init__(self):
        self.total = 0

    def consume(self, orders):
        """Add a list of orders."""
        self.total += sum(amount for _, amount in orders)

    def close(self):
        """Say what it came to."""
        say(f"total: {self.total}")


class Largest:
    """Know the largest order."""

    def __init__(self):
        self.largest = (0, -1)

    def consume(self, orders):
        """Look for a larger one in a list of orders."""
        self.largest = max(self.largest, max((amount, number) for number, amount in orders))

    def close(self):
        """Say which it was."""
        say(f"largest: order {self.largest[1]}, {self.largest[0]}")


def main():
    """Put orders, and print what each stage did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=200_000)
    orders = parser.parse_args().orders
    graph = {"check": {}, "total": {"after": "check"}, "largest": {"after": "check"}}
    stages = {"check": Check, "total": AddUp, "largest": Largest}
    run_id = str(os.getpid())
    with Stream("orders", create=True, capacity=4096, run_id=run_id, groups=graph) as stream:
        try:
            running = {
                name: Consumers(stream, name, make, max_items=512).start()
                for name, make in stages.items()
            }
            with stream.writer() as out:
                for first in range(0, orders, 512):
                    out.put_batch(
                        [(number, number * 7919 % 1000) for number in range(first, first + 512)]
                    )
            for consumers in running.values():
                consumers.join()
            for name, consumers in running.items():
                (seen,) = consumers.statistics()
                print(
                    f"{name}: {seen['items']} orders in {seen['batches']} lists,"
                    f" {seen['consuming_seconds']:.2f} s at work, {seen['blocked_seconds']:.2f} s"
                    f" waiting, {seen['lag_max']} behind at most"
                )
        finally:
            stream.unlink()


if __name__ == "__main__":
    main()
