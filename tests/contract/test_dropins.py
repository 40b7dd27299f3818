"""The contract kept by the drop-ins: Queue, JoinableQueue and, as far as it goes, SimpleQueue."""

import pytest

from shmqueue import JoinableQueue, Queue, SimpleQueue
from tests.contract import behaviours


class Dropin:
    @pytest.fixture(params=[Queue, JoinableQueue], ids=["Queue", "JoinableQueue"])
    def make_queue(self, request):
        made = []

        def make(capacity=1000):
            made.append(request.param(capacity))
            return made[-1]

        yield make
        while made:
            # The last reference must go: a JoinableQueue can be joined after close, so it holds on.
            queue = made.pop()
            queue.close()
            queue.join_thread()
            del queue


class Unbounded:
    @pytest.fixture(params=[Queue, JoinableQueue, SimpleQueue])
    def make_queue(self, request):
        made = []

        def make(capacity=None):
            made.append(request.param())
            return made[-1]

        yield make
        while made:
            made.pop().close()


class TestOrdering(Dropin, behaviours.Ordering):
    pass


class TestLimits(Dropin, behaviours.Limits):
    pass


class TestCounting(Dropin, behaviours.Counting):
    pass


class TestClosing(Dropin, behaviours.Closing):
    pass


class TestObjects(Dropin, behaviours.Objects):
    pass


class TestThreads(Dropin, behaviours.Threads):
    pass


class TestProcesses(Dropin, behaviours.Processes):
    pass


class TestInterrupts(Dropin, behaviours.Interrupts):
    pass


# Without a bound no put ever waits for room: what is about that does not apply.


class TestOrderingUnbounded(Unbounded, behaviours.Ordering):
    pass


class TestObjectsUnbounded(Unbounded, behaviours.Objects):
    pass


class TestThreadsUnbounded(Unbounded, behaviours.Threads):
    test_room_wakes_a_thread_blocked_in_put = None


class TestProcessesUnbounded(Unbounded, behaviours.Processes):
    test_a_consumer_wakes_a_blocked_producer = None
