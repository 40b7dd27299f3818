"""The demo comes to its end, tells what it checked, and leaves nothing behind."""

import os
import signal

import pytest

from tests import support

LIMIT = 120.0


def segments_of(demo):
    return support.segment_files(f"@{demo.pid}-")


@pytest.mark.watchdog(LIMIT)
def test_the_demo_checks_the_work_against_a_serial_computation(start_command):
    demo = start_command("demo", "--files", "60", "--workers", "2")
    output, errors = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, errors) == (0, "")
    assert "SIGKILL to w1" in output
    assert "Check: equal to the serial computation" in output
    assert "Check: the results of every round are equal to the serial computation" in output
    assert "DIFFERS" not in output
    assert "multiprocessing.Queue, 2 workers" in output
    assert "\x1b" not in output, "colours are for terminals"
    assert segments_of(demo) == []


@pytest.mark.watchdog(LIMIT)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_queue_and_no_worker(start_command, number):
    demo = start_command("demo", "--files", "400", "--workers", "2")
    support.wait_until(lambda: len(segments_of(demo)) == 2, "the demo's queues", LIMIT)
    workers = support.wait_until(
        lambda: [p for p, line in support.descendants().items() if "shmqueue.demo.worker" in line],
        "a worker of the demo",
    )
    os.kill(demo.pid, number)
    _, errors = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, errors) == (128 + number, "")
    assert segments_of(demo) == []
    assert set(workers).isdisjoint(support.living())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["demo", "--workers", "1"], "at least 2"),
        (["demo", "--files", "none"], "none"),
    ],
)
def test_a_wrong_command_line_is_told_on_one_line_of_usage(start_command, options, told):
    demo = start_command(*options)
    output, errors = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, output) == (2, "")
    assert told in errors
    assert "usage: python -m shmqueue" in errors
