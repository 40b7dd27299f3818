"""What the children of the contract suite do; importable by name, as spawn and forkserver need."""

import collections
import dataclasses
import queue as stdlib_queue
import signal
import time

from tests.support import LIMIT

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Order:
    number: int
    lines: list


class RefusedError(Exception):
    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def put_each(queue, items):
    for item in items:
        queue.put(item)


def produce(queue, producer, count):
    for number in range(count):
        queue.put((producer, number))


def consume(queue):
    """Return everything up to the first None."""
    return list(iter(queue.get, None))


def get_count(queue, count):
    return [queue.get(timeout=LIMIT) for _ in range(count)]


def echo(questions, answers):
    """Send everything back, up to the first None."""
    for item in iter(questions.get, None):
        answers.put(item)


def put_saying_so(queue, item, sender):
    sender.send("putting")
    queue.put(item)
    return "put"


def get_saying_so(queue, sender):
    sender.send("getting")
    return queue.get()


def get_until_interrupted(queue, timeout, sender):
    """Get for as long as nobody interrupts; then get once more, which must work."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sender.send("getting")
        queue.get(timeout=timeout)
    except KeyboardInterrupt:
        sender.send("interrupted")
        return queue.get(timeout=LIMIT)
    return "never interrupted"


def put_until_interrupted(queue, timeout, sender):
    """Put for as long as nobody interrupts; then put once more, which must work."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sender.send("putting")
        queue.put("interrupted", timeout=timeout)
    except KeyboardInterrupt:
        sender.send("interrupted")
        queue.put("after", timeout=LIMIT)
        return "interrupted"
    return "never interrupted"


def get_among_signals(queue, sender):
    """Get while a handler that raises nothing runs again and again."""
    count = 0

    def handle(signum, frame):
        nonlocal count
        count += 1
        sender.send("handled")

    signal.signal(signal.SIGUSR1, handle)
    sender.send("getting")
    return queue.get(), count


def time_out_among_signals(queue, method, args, timeout):
    """Return how long a call waits that ends in Empty or Full while signals interrupt it."""
    signal.signal(signal.SIGALRM, lambda signum, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    started = time.monotonic()
    try:
        getattr(queue, method)(*args, timeout=timeout)
    except (stdlib_queue.Empty, stdlib_queue.Full):
        return time.monotonic() - started
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None
