"""The short form: some of each group under one start method, and that the suite can fail."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.compat import __main__, pointing, report, selection, supervise

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "compat.md"

# Seconds for one of CPython's tests, on sound queues and on broken ones.
LIMIT = 40
LIMIT_OF_BROKEN = 5
# A case here is several of them.
pytestmark = pytest.mark.watchdog(110)

SHORT = [
    ("multiprocessing", "context", "fork", ["_TestQueue.*", "TestSimpleQueue.*", "_TestPool.*"]),
    ("multiprocessing", "install", "forkserver", ["_TestQueue.*", "TestSimpleQueue.*"]),
    ("queue", "direct", "fork", ["QueueTest.*", "SimpleQueueTest.test_[!m]*"]),
    ("logging", "install", "fork", []),
    ("concurrent_futures", "context", "spawn", ["ProcessPoolExecutorTest.test_[ks]*"]),
    (
        "concurrent_futures",
        "install",
        "fork",
        ["ProcessPoolExecutorTest.test_[mt]*", "*Deadlock*pickle*", "*FailingInitializer*"],
    ),
]


@pytest.fixture(scope="module")
def lenders():
    """Return interpreters that may have tests which this one was installed without."""
    found = subprocess.run(
        ["sh", "tools/find_python.sh", "3.10"],
        cwd=pointing.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.split()


@pytest.fixture
def run(lenders):
    """Run some of CPython's tests: ``run(group, face, method, only, sabotage="")``."""

    def run_some(group, face, method, only, sabotage=""):
        setup = pointing.Setup(group, face, method, sabotage=sabotage)
        limit = LIMIT_OF_BROKEN if sabotage else LIMIT
        outcome = supervise.run(setup, lenders=lenders, only=only, limit=limit)
        if outcome.missing:
            pytest.skip(outcome.missing)
        return outcome

    return run_some


def failures(outcome):
    return "\n".join(
        f"{test}\n{textwrap.indent(outcome.tests[test]['detail'], '    ')}"
        for test in outcome.names("failed")
    )


@pytest.mark.parametrize(
    ("group", "face", "method", "only"), SHORT, ids=lambda value: value if str(value) else None
)
def test_cpythons_own_tests_pass(run, group, face, method, only):
    outcome = run(group, face, method, only)
    assert outcome.names("passed")
    assert not outcome.names("failed"), failures(outcome)


@pytest.mark.parametrize(
    ("group", "face", "only", "why"),
    [
        ("multiprocessing", "context", ["_TestQueue.test_qsize"], "AssertionError"),
        ("multiprocessing", "install", ["_TestQueue.test_qsize"], "AssertionError"),
        ("queue", "direct", ["SimpleQueueTest.test_basic"], "AssertionError"),
        ("logging", "install", ["QueueListenerTest.test_*_mp_queue"], "AssertionError"),
    ],
)
def test_a_queue_that_puts_twice_is_found_out(run, group, face, only, why):
    outcome = run(group, face, "fork", only, sabotage="twice")
    assert not outcome.names("passed")
    assert why in failures(outcome)


def test_a_spawned_child_has_the_same_broken_queue(run):
    outcome = run("multiprocessing", "context", "spawn", ["_TestQueue.test_get"], sabotage="twice")
    assert "AssertionError" in failures(outcome)


def test_a_test_that_hangs_fails_and_the_rest_is_run(run):
    only = ["_TestQueue.test_qsize", "TestSimpleQueue.test_close"]
    outcome = run("multiprocessing", "context", "fork", only, sabotage="hang")
    assert outcome.names("failed") == ["_TestQueue.test_qsize"]
    assert "took more than 5 s" in failures(outcome)
    assert outcome.names("passed") == ["TestSimpleQueue.test_close"]


def test_a_process_that_stays_fails_the_run_and_is_ended(run):
    outcome = run("multiprocessing", "context", "fork", ["_TestQueue.test_qsize"], "leave")
    assert outcome.names("failed") == ["(afterwards)"]
    assert "sleep 600" in failures(outcome)  # the leak guard sees whether it is gone


@pytest.mark.parametrize(
    ("group", "face", "only"),
    [
        ("multiprocessing", "context", ["_TestQueue.test_qsize", "_TestPool.test_map"]),
        ("multiprocessing", "install", ["_TestQueue.test_qsize", "_TestPool.test_map"]),
        ("queue", "direct", ["QueueTest.test_queue_join"]),
        ("logging", "install", ["QueueListenerTest.*"]),
        ("concurrent_futures", "install", ["ProcessPoolExecutorTest.test_submit"]),
    ],
)
def test_a_test_that_used_other_queues_has_not_passed(run, group, face, only):
    outcome = run(group, face, "fork", only, sabotage="absent")
    assert not outcome.names("passed")
    assert "made none of our queues" in failures(outcome)


def test_an_interpreter_without_the_tests_is_said_to_have_none(monkeypatch):
    monkeypatch.setitem(pointing.MODULES, "queue", "test.test_that_no_python_has")
    outcome = supervise.run(pointing.Setup("queue", "direct", "fork"), lenders=[sys.executable])
    assert outcome.missing == "this Python was installed without test.test_that_no_python_has"
    assert not outcome.tests
    assert outcome.missing in __main__.summary(outcome)


def test_a_left_out_test_that_does_not_exist_is_found_out(monkeypatch):
    real = selection.LEFT_OUT[0]
    ghost = selection.LeftOut("queue", "QueueTest.test_that_was_renamed", "no reason")
    monkeypatch.setattr(selection, "LEFT_OUT", (real, ghost))
    seen = supervise.Run(real.group, "context", "fork", left_out=[real.test])
    assert report.unmatched([SimpleNamespace(runs=[seen])]) == [ghost]


def test_what_is_left_out_is_left_out_once_and_in_the_docs():
    keys = [(entry.group, entry.test, face) for entry in selection.LEFT_OUT for face in entry.faces]
    assert len(set(keys)) == len(keys)
    text = PAGE.read_text()
    for line in report.left_out_table():
        assert line in text, "docs/compat.md is not of this table: make compat"
