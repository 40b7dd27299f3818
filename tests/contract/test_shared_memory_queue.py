"""The contract kept by shmqueue.SharedMemoryQueue."""

import itertools

import pytest

from tests.contract import behaviours


class Shared:
    @pytest.fixture
    def make_queue(self, create):
        numbers = itertools.count()

        def make(capacity=1000):
            return create(f"q{next(numbers)}", capacity=capacity)

        return make


class TestOrdering(Shared, behaviours.Ordering):
    pass


class TestLimits(Shared, behaviours.Limits):
    pass


class TestCounting(Shared, behaviours.Counting):
    pass


class TestClosing(Shared, behaviours.Closing):
    pass


class TestObjects(Shared, behaviours.Objects):
    pass


class TestThreads(Shared, behaviours.Threads):
    pass


class TestProcesses(Shared, behaviours.Processes):
    pass


class TestInterrupts(Shared, behaviours.Interrupts):
    pass
