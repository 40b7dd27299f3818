"""concurrent.futures.ProcessPoolExecutor over shmqueue: by context, or by install().

A context reaches the queue that brings the results back. The one that takes the calls there is out
of a context's reach; `--install` swaps it too, for all executors of the program.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from both_ways import compare

import shmqueue


def square(number):
    """Stand for a small piece of work."""
    return number * number


@contextmanager
def installed():
    """Have our queues in the place of the standard ones while the block lasts."""
    shmqueue.install()
    try:
        yield
    finally:
        shmqueue.uninstall()


def main():
    """Sum the squares of many numbers in an executor, both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--install", action="store_true", help="swap the call queue as well")
    options = parser.parse_args()

    def work(context):
        with ProcessPoolExecutor(options.workers, mp_context=context) as executor:
            total = sum(executor.map(square, range(options.calls), chunksize=1))
        assert total == sum(map(square, range(options.calls)))

    def work_installed(context):
        if context is not shmqueue.get_context(context.get_start_method()):
            return work(context)
        with installed():
            return work(context)

    compare(work_installed if options.install else work, options.rounds, "calls", options.calls)


if __name__ == "__main__":
    main()
