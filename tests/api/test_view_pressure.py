"""Who keeps every array that it gets never stops the producers: under pressure, get copies."""

import json
import textwrap

import pytest

from tests import mounts

pytestmark = mounts.needs_mount

MEGABYTE = 1 << 20
POOL = 64 * MEGABYTE

# What every program here begins with: a producer in a process of its own, and a way to report.
PRELUDE = """
import gc, json, os, threading
import numpy
from shmqueue import SharedMemoryQueue

MEGABYTE = 1 << 20
LIMIT = 30
report = {}

def numbered(number, nbytes=MEGABYTE):
    return numpy.arange(number, number + nbytes // 4, dtype="uint32")

def is_whole(array, number):
    return bool((array == numbered(number, array.nbytes)).all())

def produce(queue, first, count, nbytes=MEGABYTE, hold=lambda a: a):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for number in range(first, first + count):
                queue.put(hold(numbered(number, nbytes)), timeout=LIMIT)
            code = 0
        finally:
            os._exit(code)
    return pid

def end_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def look(queue, name):
    metrics = queue.get_metrics()
    keys = ("items_viewed", "items_copied", "view_bytes", "pool_bytes", "pool_free_bytes")
    report[name] = {key: metrics[key] for key in keys}

queue = SharedMemoryQueue("q", create=True, capacity=8, item_size=256)
"""


def _run(programs, source):
    program = PRELUDE + textwrap.dedent(source) + "\nqueue.unlink()\nprint(json.dumps(report))\n"
    return json.loads(programs.run(program, prefix=mounts.with_shared_memory("size=64M")))


def _assert_some_of_both(seen, count):
    assert seen["items_viewed"] + seen["items_copied"] == count
    assert seen["items_viewed"] > 0
    assert seen["items_copied"] > 0
    assert 0 < seen["view_bytes"] <= POOL / 4 + 2 * MEGABYTE


def _assert_free(seen):
    assert seen["view_bytes"] == 0
    assert seen["pool_free_bytes"] == seen["pool_bytes"] <= POOL


def test_a_consumer_that_keeps_all_gets_all_and_the_producer_goes_on(programs):
    report = _run(
        programs,
        """
        producer = produce(queue, 0, 200)
        kept = [queue.get(timeout=LIMIT) for _ in range(200)]
        report["producer"] = end_of(producer)
        report["whole"] = sum(is_whole(array, number) for number, array in enumerate(kept))
        report["writeable"] = all(array.flags.writeable for array in kept)
        look(queue, "kept")
        kept.clear()
        look(queue, "dropped")
        """,
    )
    assert report["producer"] == 0
    assert report["whole"] == 200
    assert report["writeable"]
    _assert_some_of_both(report["kept"], 200)
    _assert_free(report["dropped"])


def test_also_when_the_arrays_are_parts_of_items(programs):
    report = _run(
        programs,
        """
        producer = produce(queue, 0, 150, hold=lambda a: {"n": 1, "frame": a})
        kept = [queue.get(timeout=LIMIT) for _ in range(150)]
        report["producer"] = end_of(producer)
        report["whole"] = sum(is_whole(item["frame"], n) for n, item in enumerate(kept))
        look(queue, "kept")
        kept.clear()
        look(queue, "dropped")
        """,
    )
    assert (report["producer"], report["whole"]) == (0, 150)
    assert report["kept"]["items_copied"] > 0
    _assert_free(report["dropped"])


def test_what_all_processes_keep_counts_together(programs):
    report = _run(
        programs,
        """
        done, said = os.pipe(), os.pipe()

        def consume():
            pid = os.fork()
            if pid == 0:
                code = 1
                os.close(done[1])
                try:
                    kept = []
                    while (item := queue.get(timeout=LIMIT)) is not None:
                        kept.append((int(item[0]), item))
                    os.write(said[1], b".")
                    os.read(done[0], 1)
                    code = 0 if all(is_whole(item, n) for n, item in kept) else 2
                finally:
                    os._exit(code)
            return pid

        consumers = [consume() for _ in range(3)]
        producers = [produce(queue, 1000 * n, 100) for n in range(3)]
        report["producers"] = [end_of(pid) for pid in producers]
        for _ in consumers:
            queue.put(None)
        for _ in consumers:
            os.read(said[0], 1)
        look(queue, "kept")
        for _ in consumers:
            os.write(done[1], b".")
        report["consumers"] = [end_of(pid) for pid in consumers]
        # A newcomer sweeps after who left by os._exit.
        newcomer = produce(queue, 0, 1, 100)
        assert end_of(newcomer) == 0 and len(queue.get()) == 25
        look(queue, "dropped")
        """,
    )
    assert report["producers"] == report["consumers"] == [0, 0, 0]
    _assert_some_of_both(report["kept"], 300)
    _assert_free(report["dropped"])


def test_once_arrays_were_dropped_they_come_in_place_again(programs):
    report = _run(
        programs,
        """
        for turn in ("first", "second"):
            producer = produce(queue, 0, 60)
            kept = [queue.get(timeout=LIMIT) for _ in range(60)]
            assert end_of(producer) == 0
            look(queue, turn)
            kept.clear()
        look(queue, "dropped")
        """,
    )
    _assert_some_of_both(report["first"], 60)
    _assert_some_of_both(report["second"], 120)
    assert report["second"]["items_viewed"] > report["first"]["items_viewed"]
    _assert_free(report["dropped"])


def test_one_item_larger_than_a_quarter_is_copied(programs):
    report = _run(
        programs,
        """
        for _ in range(3):
            queue.put(numbered(1, 24 * MEGABYTE))
            kept = queue.get()
            report["whole"] = is_whole(kept, 1)
            look(queue, "kept")
        del kept
        look(queue, "dropped")
        """,
    )
    assert report["whole"]
    assert report["kept"]["items_copied"] == 3
    _assert_free(report["dropped"])


def test_what_is_asked_for_in_place_is_copied_under_pressure_too(programs):
    report = _run(
        programs,
        """
        producer = produce(queue, 0, 100)
        kept = [queue.get(timeout=LIMIT, copy=False) for _ in range(100)]
        report["producer"] = end_of(producer)
        report["whole"] = sum(is_whole(array, number) for number, array in enumerate(kept))
        look(queue, "kept")
        kept.clear()
        look(queue, "dropped")
        """,
    )
    assert (report["producer"], report["whole"]) == (0, 100)
    _assert_some_of_both(report["kept"], 100)
    _assert_free(report["dropped"])


@pytest.mark.parametrize("size", ["30_000", "300_000", "MEGABYTE + 4", "3 * MEGABYTE"])
def test_a_window_of_arrays_slides_over_items_of_every_size(programs, size):
    """The last few are kept always, in blocks and out of them, and each block is used again."""
    report = _run(
        programs,
        f"""
        producer = produce(queue, 0, 100, {size})
        window, report["whole"] = [], 0
        for number in range(100):
            window.append((number, queue.get(timeout=LIMIT)))
            if len(window) > 6:
                first, array = window.pop(0)
                report["whole"] += is_whole(array, first)
                del array
        report["producer"] = end_of(producer)
        window.clear()
        look(queue, "dropped")
        """,
    )
    assert (report["producer"], report["whole"]) == (0, 94)
    _assert_free(report["dropped"])


def test_a_reservation_finds_its_room_although_others_keep_all(programs):
    report = _run(
        programs,
        """
        producer = produce(queue, 0, 100)
        kept = [queue.get(timeout=LIMIT) for _ in range(100)]
        assert end_of(producer) == 0
        with queue.reserve_array((4 * MEGABYTE,), "uint8", timeout=LIMIT) as array:
            array[:] = 5
        report["sum"] = int(queue.get().sum(dtype="int64"))
        kept.clear()
        look(queue, "dropped")
        """,
    )
    assert report["sum"] == 5 * 4 * MEGABYTE
    _assert_free(report["dropped"])
