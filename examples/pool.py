"""multiprocessing.Pool over shmqueue: the context is all that changes."""

import argparse

from both_ways import compare


def square(number):
    """Stand for a small piece of work."""
    return number * number


def main():
    """Sum the squares of many numbers in a pool, both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    def work(context):
        with context.Pool(options.workers) as pool:
            total = sum(pool.imap(square, range(options.calls)))
        assert total == sum(map(square, range(options.calls)))

    compare(work, options.rounds, "calls", options.calls)


if __name__ == "__main__":
    main()
