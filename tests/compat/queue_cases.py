"""The classes of test.test_queue, with our queues in place of ``queue.Queue``."""

import importlib
import multiprocessing
import queue
import threading
import types
import unittest

from tests.compat import pointing

_setup, _subject = pointing.apply()
_tests = importlib.import_module(pointing.MODULES["queue"])
if _setup.sabotage == "absent":
    _subject = types.SimpleNamespace(
        **{kind: getattr(multiprocessing.queues, kind) for kind in pointing.KINDS}
    )


class _Queue(_subject.JoinableQueue):
    """A queue as the tests expect it: called ``Queue``, with two more attributes to read."""

    def __init__(self, maxsize=0):
        self.maxsize = maxsize
        self.unfinished_tasks = 0
        self._counting = threading.Lock()
        super().__init__(maxsize, ctx=multiprocessing.get_context(_setup.method))

    def put(self, item, block=True, timeout=None):
        super().put(item, block, timeout)
        with self._counting:
            self.unfinished_tasks += 1

    def task_done(self):
        super().task_done()
        with self._counting:
            self.unfinished_tasks -= 1


_Queue.__name__ = _Queue.__qualname__ = "Queue"


def _simple_queue():
    # queue.SimpleQueue has the timeouts and the qsize that a multiprocessing.SimpleQueue lacks.
    return _subject.Queue(ctx=multiprocessing.get_context(_setup.method))


_names = types.SimpleNamespace(
    Queue=_Queue,
    SimpleQueue=_simple_queue,
    Empty=queue.Empty,
    Full=queue.Full,
    ShutDown=getattr(_subject, "ShutDown", getattr(queue, "ShutDown", None)),
)


class QueueTest(_tests.QueueTest, unittest.TestCase):
    """Those that CPython runs for queue.Queue."""

    queue = _names


class FailingQueueTest(_tests.FailingQueueTest, unittest.TestCase):
    """Those of a queue whose storage fails."""

    queue = _names


class SimpleQueueTest(_tests.CSimpleQueueTest):
    """Those that CPython runs for queue.SimpleQueue."""

    queue = _names
