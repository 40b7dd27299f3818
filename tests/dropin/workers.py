"""What the children of these tests do; importable by name, as spawn and forkserver need."""

import functools
import os
import pickle
import signal
import sys

from tests.support import LIMIT


def put_each(queue, items):
    for item in items:
        queue.put(item)


def put_each_and_leave(queue, items, how):
    """Leave in the given way as soon as the last put has returned."""
    put_each(queue, items)
    if how == "sys.exit":
        sys.exit(0)
    if how == "os._exit":
        os._exit(0)
    if how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "close":
        queue.close()


def get_some(queue, count):
    return [queue.get(timeout=LIMIT) for _ in range(count)]


def get_through(carrier):
    """Get a queue out of a queue and answer through it."""
    queue = carrier.get(timeout=LIMIT)
    queue.put(("answer", queue.get(timeout=LIMIT)))
    return type(queue).__name__


def same_queue_twice(first, second):
    """Tell whether what was put to one handle comes out of the other."""
    first.put("x")
    return second.get(timeout=LIMIT), first is second


def attributes_of(queue, names):
    return [getattr(queue, name, None) for name in names]


def finish_tasks(queue):
    """Take tasks until a None, and say of each that it is done."""
    while True:
        item = queue.get(timeout=LIMIT)
        queue.task_done()
        if item is None:
            return


def finish_one_and_wait(queue, sender, finish):
    queue.get(timeout=LIMIT)
    sender.send("got")
    finish.poll(LIMIT)
    queue.task_done()


def join_saying_so(queue, sender):
    sender.send("joining")
    queue.join()
    return "joined"


def use_pipe_ends(queue, answers):
    """Do what Pool's workers do: close the ends that are not theirs, go on with the queue."""
    queue._writer.close()
    answers._reader.close()
    answers.put(("got", queue.get()))


def make_queues_by(ctx_name):
    """Tell which classes a child's own queues are of."""
    import multiprocessing

    made = [
        getattr(where, name)()
        for where in (multiprocessing, multiprocessing.get_context(ctx_name))
        for name in ("Queue", "JoinableQueue", "SimpleQueue")
    ]
    kinds = [type(queue).__module__ for queue in made]
    for queue in made:
        queue.close()
    return kinds


# What a pool's workers compute


def double(number):
    return number * 2


def own_pid(_=None):
    return os.getpid()


def die(_=None):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(message):
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError(message) from error


def make_generator(_=None):
    return (n for n in range(3))


def make_closure(factor):
    return lambda number: number * factor


def call(function, *args):
    return function(*args)


def length_of(data):
    return len(data)


def initialise(value):
    global _initialised
    _initialised = value


def initialised(_=None):
    return _initialised


class Counter:
    def __init__(self, step):
        self.step = step

    def add(self, number):
        return number + self.step


add_three = functools.partial(double)


class Reversing:
    """A serializer that has no name, and so travels with its queue."""

    def dumps(self, item):
        return pickle.dumps(item)[::-1]

    def loads(self, data):
        return pickle.loads(bytes(data)[::-1])


# Objects that are used where they arrive


def use_socket(queue):
    with queue.get(timeout=LIMIT) as sock:
        sock.sendall(sock.recv(5).upper())


def use_connection(queue):
    with queue.get(timeout=LIMIT) as connection:
        connection.send(connection.recv() + 1)


def use_shared_memory(queue):
    memory = queue.get(timeout=LIMIT)
    memory.buf[0] += 1
    memory.close()


def use_proxy(queue):
    shared = queue.get(timeout=LIMIT)
    shared["answer"] = shared["question"] + 1


def call_item(queue, *args):
    return queue.get(timeout=LIMIT)(*args)


def log_some(queue, count):
    import logging
    import logging.handlers

    handler = logging.handlers.QueueHandler(queue)
    logger = logging.getLogger("tests.dropin")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    for number in range(count):
        logger.info("record %d", number)
    logger.removeHandler(handler)
