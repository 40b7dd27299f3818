"""The contract kept by multiprocessing.Queue: shows that the suite asks for what the model does."""

import multiprocessing

import pytest

from tests.contract import behaviours


class Stdlib:
    @pytest.fixture
    def make_queue(self, request):
        by_name = "ctx" in request.fixturenames
        ctx = request.getfixturevalue("ctx") if by_name else multiprocessing.get_context("spawn")
        made = []

        def make(capacity=1000):
            made.append(ctx.Queue(capacity))
            return made[-1]

        yield make
        while made:
            # The last reference must go: one that nobody put into keeps a pipe open until then.
            queue = made.pop()
            queue.close()
            queue.join_thread()
            del queue


class TestOrdering(Stdlib, behaviours.Ordering):
    pass


class TestLimits(Stdlib, behaviours.Limits):
    pass


class TestCounting(Stdlib, behaviours.Counting):
    pass


class TestClosing(Stdlib, behaviours.Closing):
    pass


class TestObjects(Stdlib, behaviours.Objects):
    pass


class TestThreads(Stdlib, behaviours.Threads):
    pass


class TestProcesses(Stdlib, behaviours.Processes):
    pass


class TestInterrupts(Stdlib, behaviours.Interrupts):
    pass
