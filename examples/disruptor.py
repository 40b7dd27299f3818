"""A chain of stages over one ring, in the manner of a disruptor.

Orders go through a stage that checks them; behind it, two stages see each order that was checked,
side by side: one adds up, the other looks for large ones. Each stage is an object with
`consume(items)`.

A stage cannot take an order out of the ring: those behind it see all that it has finished, refused
or not. Here the one that refuses an order shuts the stream down, so that nobody sees that order or
waits for the next one, and the program ends with the error. `--negative 1000` shows it.

    python examples/disruptor.py [--orders 200000] [--negative NUMBER]
"""

import argparse
import contextlib
import os

from shmqueue import Consumers, ShutDown, Stream


def say(line):
    """Print a line at once: other threads print as well."""
    print(f"{line}\n", end="", flush=True)


class Check:
    """Refuse what is no order."""

    def consume(self, orders):
        """Look at each order of a batch."""
        for number, amount in orders:
            if amount < 0:
                raise ValueError(f"order {number} has a negative amount")


class AddUp:
    """Know the sum of all orders."""

    def __init__(self):
        self.total = 0

    def consume(self, orders):
        """Add a batch of orders."""
        self.total += sum(amount for _, amount in orders)

    def close(self):
        """Say what it came to."""
        say(f"total: {self.total}")


class Largest:
    """Know the largest order."""

    def __init__(self):
        self.largest = (0, -1)

    def consume(self, orders):
        """Look for a larger one in a batch of orders."""
        self.largest = max(self.largest, max((amount, number) for number, amount in orders))

    def close(self):
        """Say which it was."""
        say(f"largest: order {self.largest[1]}, {self.largest[0]}")


def make_orders(count, negative):
    """Make batches of orders."""
    for first in range(0, count, 512):
        yield [
            (number, -1 if number == negative else number * 7919 % 1000)
            for number in range(first, min(first + 512, count))
        ]


def main():
    """Put orders, and print what each stage did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--negative", type=int, metavar="NUMBER", help="make this order negative")
    options = parser.parse_args()
    graph = {"check": {}, "total": {"after": "check"}, "largest": {"after": "check"}}
    stages = {"check": Check, "total": AddUp, "largest": Largest}
    run_id = str(os.getpid())
    with (
        Stream("orders", create=True, capacity=4096, run_id=run_id, groups=graph) as stream,
        contextlib.ExitStack() as at_the_end,
    ):
        at_the_end.callback(stream.unlink)
        running = {
            name: at_the_end.enter_context(
                Consumers(stream, name, make, max_items=512, on_error="shutdown")
            )
            for name, make in stages.items()
        }
        try:
            with stream.writer() as out:
                for orders in make_orders(options.orders, options.negative):
                    out.put_batch(orders)
        except ShutDown:
            pass  # a stage failed: waiting for it tells why
        for consumers in running.values():
            consumers.join()
        for name, consumers in running.items():
            (seen,) = consumers.statistics()
            print(
                f"{name}: {seen['items']} orders in {seen['batches']} lists,"
                f" {seen['consuming_seconds']:.2f} s at work, {seen['blocked_seconds']:.2f} s"
                f" waiting, {seen['lag_max']} behind at most"
            )


if __name__ == "__main__":
    main()
