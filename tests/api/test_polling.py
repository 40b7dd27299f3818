"""The descriptor that polls readable exactly while there is something to get."""

import multiprocessing
import random
import select
import selectors
import subprocess
import sys
import textwrap
from queue import Empty

import pytest

from shmqueue import ShutDown
from tests import support, unnamed
from tests.protocol.raw import HEAD, TAIL
from tests.support import LIMIT, Thread
from tests.unnamed import ARMED, POLLED, is_readable

FORK = multiprocessing.get_context("fork")

LARGE = bytes(range(256)) * 400
LIMIT_MS = int(LIMIT * 1000)


def _poller(fd):
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return poller


class TestOneProcess:
    def test_it_is_one_lasting_descriptor(self, queue):
        fd = queue._fileno()
        for number in range(5):
            queue.put(number)
            assert queue._fileno() == fd
            queue.get()
            assert queue._fileno() == fd == queue._attachment.poll_fd

    def test_it_is_readable_exactly_while_there_is_an_item(self, queue):
        fd = queue._fileno()
        assert not is_readable(fd)
        for count in (1, 2, 50):
            for number in range(count):
                queue.put(number)
                assert is_readable(fd)
            for number in range(count):
                assert is_readable(fd)
                assert queue.get() == number
            assert not is_readable(fd)

    def test_looking_changes_nothing(self, queue):
        fd = queue._fileno()
        queue.put(1)
        for _ in range(5):
            assert is_readable(fd)
        assert queue.get() == 1

    def test_items_that_were_there_before_count(self, queue):
        queue.put(1)
        assert is_readable(queue._fileno())
        queue.get()
        assert not is_readable(queue._fileno())

    def test_it_stays_exact_in_every_way_to_put_and_get(self, queue):
        fd = queue._fileno()
        for put, get in (
            (lambda: queue.put(LARGE), queue.get),
            (lambda: queue.put_batch([1, LARGE, 3]), lambda: queue.get_batch(5)),
            (lambda: queue.put_nowait(1), queue.get_nowait),
            (lambda: queue.put_batch([bytes(3000)] * 1500), lambda: queue.get_batch(2000)),
        ):
            put()
            while not queue.empty():
                assert is_readable(fd)
                get()
            assert not is_readable(fd)
            with pytest.raises(Empty):
                queue.get_nowait()
            assert not is_readable(fd)

    @pytest.mark.parametrize("seed", range(5))
    def test_a_random_walk_agrees(self, make, seed):
        rng = random.Random(seed)
        queue = make(rng.choice((0, 3, 100)))
        fd = None
        for _ in range(2000):
            if fd is None and rng.random() < 0.01:
                fd = queue._fileno()
            if rng.random() < 0.5:
                if not queue.full():
                    queue.put(rng.choice((1, LARGE, bytes(3000))))
            elif not queue.empty():
                queue.get() if rng.random() < 0.5 else queue.get_batch(rng.randint(1, 5))
            if fd is not None:
                assert is_readable(fd) == (not queue.empty())

    def test_it_is_readable_for_good_after_a_shutdown(self, make):
        for items in (0, 2):
            for immediate in (False, True):
                for poll_first in (False, True):
                    queue = make()
                    fd = queue._fileno() if poll_first else None
                    queue.put_batch(range(items))
                    queue.shutdown(immediate)
                    fd = queue._fileno() if fd is None else fd
                    for _ in range(items + 3):
                        assert is_readable(fd)
                        try:
                            queue.get_nowait()
                        except ShutDown:
                            pass
                    assert is_readable(fd)
                    queue.close()

    def test_a_named_queue_has_none(self, create):
        with pytest.raises(ValueError, match="name"):
            create()._fileno()

    def test_a_closed_queue_has_none(self, queue):
        queue.close()
        with pytest.raises(ValueError, match="closed"):
            queue._fileno()

    def test_it_goes_into_selectors_and_wait(self, make):
        queues = [make() for _ in range(3)]
        with selectors.DefaultSelector() as selector:
            for at, queue in enumerate(queues):
                selector.register(queue._fileno(), selectors.EVENT_READ, at)
            assert selector.select(0) == []
            queues[1].put("x")
            assert [key.data for key, _ in selector.select(0)] == [1]
            queues[2].put("y")
            assert sorted(key.data for key, _ in selector.select(0)) == [1, 2]
            queues[1].get()
            assert [key.data for key, _ in selector.select(0)] == [2]
        fds = [queue._fileno() for queue in queues]
        assert multiprocessing.connection.wait(fds, 0) == [fds[2]]


class TestSleepers:
    def test_a_poll_that_sleeps_wakes_with_the_put_of_a_thread(self, queue):
        poller = _poller(queue._fileno())
        waiting = Thread(poller.poll, LIMIT_MS)
        support.await_thread_asleep(waiting)
        queue.put("x")
        assert waiting.result()
        assert queue.get_nowait() == "x"

    def test_and_with_that_of_another_process(self, queue, start):
        poller = _poller(queue._fileno())
        waiting = Thread(poller.poll, LIMIT_MS)
        support.await_thread_asleep(waiting)
        start(FORK, queue.put, "x").result()
        assert waiting.result()
        assert queue.get_nowait() == "x"

    def test_and_with_a_shutdown(self, queue, start):
        poller = _poller(queue._fileno())
        waiting = Thread(poller.poll, LIMIT_MS)
        support.await_thread_asleep(waiting)
        start(FORK, queue.shutdown).result()
        assert waiting.result()

    def test_one_that_was_there_first_is_told_by_those_who_came_later(self, queue, start):
        """A child asks for the descriptor; the parent's puts signal it from then on."""
        answers = unnamed.make_queue()
        child = start(FORK, _poll_and_get, queue, answers, 3)
        assert answers.get(timeout=LIMIT) == "polling"
        for number in range(3):
            queue.put(number)
            assert answers.get(timeout=LIMIT) == number
        child.result()
        answers.close()


def _poll_and_get(queue, answers, count):
    poller = _poller(queue._fileno())
    answers.put("polling")
    for _ in range(count):
        assert poller.poll(LIMIT_MS), "an item and no sign of it"
        answers.put(queue.get_nowait())


def _put_at_random(queue, producer, count, seed):
    """Put one, several, or nothing for a while: so that the ring is often empty, often not."""
    rng = random.Random(seed)
    number = 0
    while number < count:
        for _ in range(rng.randrange(rng.choice((1, 100, 3000)))):
            pass
        if rng.random() < 0.2:
            more = min(rng.randint(2, 6), count - number)
            queue.put_batch([(producer, number + at) for at in range(more)])
            number += more
        else:
            body = rng.choice((b"", b"", b"", bytes(3000), LARGE))
            queue.put((producer, number, body))
            number += 1


class TestManyProducers:
    COUNT = 6000

    @pytest.mark.parametrize("producers", [1, 2, 4])
    @pytest.mark.parametrize("way", ["one", "all", "batch", "blocking"])
    def test_one_consumer_that_waits_by_poll_alone_gets_everything(
        self, queue, start, producers, way
    ):
        """Not one item lies there while poll says nothing, and poll never promises too much."""
        count = self.COUNT // producers
        poller = _poller(queue._fileno())
        children = [start(FORK, _put_at_random, queue, at, count, at) for at in range(producers)]
        found = [[] for _ in range(producers)]
        total = for_nothing = 0
        while total < count * producers:
            if not poller.poll(LIMIT_MS):
                raise AssertionError(f"poll says nothing, {queue.qsize()} items are there")
            items = []
            try:
                if way == "one":
                    items = [queue.get_nowait()]
                elif way == "blocking":
                    items = [queue.get(timeout=LIMIT)]
                elif way == "batch":
                    items = queue.get_batch(4, block=False)
                else:
                    while True:
                        items.append(queue.get_nowait())
            except Empty:
                for_nothing += not items
            for item in items:
                found[item[0]].append(item[1])
            total += len(items)
        for child in children:
            child.result()
        assert found == [list(range(count))] * producers
        assert not poller.poll(0)
        # The only consumer empties the ring itself: it never finds it empty after a sign.
        assert for_nothing == 0

    def test_several_consumers_share_it(self, queue, start):
        """Each may be called in vain, since another was quicker; nothing is left lying."""
        children = [start(FORK, _put_at_random, queue, at, 2000, at) for at in range(2)]
        eaters = [start(FORK, _poll_until_none, queue) for _ in range(3)]
        for child in children:
            child.result()
        queue.put_batch([None] * 3)
        found = [item for eater in eaters for item in eater.result()]
        assert sorted(found) == [(at, number) for at in range(2) for number in range(2000)]

    def test_pollers_and_blocked_getters_share_it(self, queue, start):
        children = [start(FORK, _put_at_random, queue, at, 2000, at) for at in range(2)]
        eaters = [start(FORK, _poll_until_none, queue), start(FORK, _get_until_none, queue)]
        for child in children:
            child.result()
        queue.put_batch([None] * 2)
        found = [item for eater in eaters for item in eater.result()]
        assert sorted(found) == [(at, number) for at in range(2) for number in range(2000)]


def _poll_until_none(queue):
    poller = _poller(queue._fileno())
    found = []
    while True:
        if not poller.poll(LIMIT_MS):
            raise AssertionError(f"poll says nothing, {queue.qsize()} items are there")
        try:
            item = queue.get_nowait()
        except Empty:
            continue
        if item is None:
            return found
        found.append(tuple(item[:2]))


def _get_until_none(queue):
    found = []
    while (item := queue.get(timeout=LIMIT)) is not None:
        found.append(tuple(item[:2]))
    return found


class TestCosts:
    def test_nobody_marks_anything_before_the_first_poll(self, queue):
        raw = unnamed.RawUnnamed(queue._attachment)
        for number in range(10):
            queue.put(number)
            queue.get()
        assert not raw.get("end", TAIL, "state") & ARMED
        assert not raw.get("end", HEAD, "state") & POLLED
        queue._fileno()
        assert raw.get("end", TAIL, "state") & ARMED
        assert raw.get("end", HEAD, "state") & POLLED
        raw.close()

    SOURCE = """
        import os, sys
        sys.path.insert(0, {root!r})
        from tests.unnamed import make_queue

        queue = make_queue()
        if sys.argv[1] == "polled":
            queue._fileno()
        for number in range(10):
            queue.put(number)
            queue.get()
        os.write(1, b"begin")
        for number in range(1000):
            queue.put(number)
            if sys.argv[2] == "emptied":
                queue.get()
        os.write(1, b"end")
    """

    def _calls(self, tmp_path, *arguments):
        """Return the system calls between two marks of a program, as strace tells them."""
        root = str(support._ROOT)
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(self.SOURCE.format(root=root)))
        log = tmp_path / "log"
        command = ["strace", "-f", "-o", str(log), sys.executable, str(program), *arguments]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=LIMIT,
            env=support.program_environment(),
        )
        lines = log.read_text().splitlines()
        (first,) = [at for at, line in enumerate(lines) if 'write(1, "begin"' in line]
        (last,) = [at for at, line in enumerate(lines) if 'write(1, "end"' in line]
        return [line for line in lines[first + 1 : last] if "(" in line and "madvise" not in line]

    @pytest.fixture
    def calls(self, tmp_path):
        try:
            subprocess.run(["strace", "true"], check=True, capture_output=True, timeout=LIMIT)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"counts system calls with strace, which does not work here: {error}")
        return lambda *arguments: self._calls(tmp_path, *arguments)

    def test_puts_and_gets_make_no_system_call_while_nobody_polls(self, calls):
        assert len(calls("not polled", "emptied")) == 0

    def test_only_the_put_that_ends_the_emptiness_makes_some(self, calls):
        assert len(calls("polled", "filled")) <= 5 + 2

    def test_a_put_into_an_empty_one_makes_two_and_so_does_the_get(self, calls):
        assert len(calls("polled", "emptied")) <= 4 * 1000 + 10
