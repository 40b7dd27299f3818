"""logging from several processes over shmqueue: one queue, one listener, records in order."""

import argparse
import logging
import logging.handlers

from both_ways import compare


class Counting(logging.Handler):
    """Count what arrives and hold each process to its own order; yours would write a file."""

    def __init__(self):
        super().__init__()
        self.last = {}

    def handle(self, record):
        """Take one record from the listener."""
        number = int(record.getMessage().rpartition(" ")[2])
        assert number == self.last.get(record.name, 0) + 1, record.getMessage()
        self.last[record.name] = number


def log(queue, name, records):
    """Run in a worker process: log through the queue."""
    logger = logging.getLogger(name)
    logger.handlers = [logging.handlers.QueueHandler(queue)]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for number in range(1, records + 1):
        logger.info("record %d", number)


def main():
    """Log from several processes to one listener, both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000, help="of each process")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    def work(context):
        queue = context.Queue()
        counting = Counting()
        listener = logging.handlers.QueueListener(queue, counting)
        listener.start()
        workers = [
            context.Process(target=log, args=(queue, f"worker-{i}", options.records))
            for i in range(options.workers)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        listener.stop()
        queue.close()
        assert counting.last == {f"worker-{i}": options.records for i in range(options.workers)}

    compare(work, options.rounds, "records", options.records * options.workers)


if __name__ == "__main__":
    main()
