"""Runs tests of one group, under one face and start method, and reports each as a line of JSON.

``python -m tests.compat.worker TASK``: TASK is JSON with ``descriptor`` to report to, ``limit``,
``only``, ``done``, ``everything``; the set-up stands in the environment. Processes that the tests
spawn import this module as their ``__main__``, and so are pointed at our queues too.
"""

import faulthandler
import importlib
import json
import multiprocessing
import os
import sys
import unittest

from tests.compat import pointing, selection

setup, _ = pointing.apply()


class _Result(unittest.TestResult):
    """Tells what happens to each test as it happens."""

    def __init__(self, say, names, limit):
        super().__init__()
        self._say = say
        self._names = names
        self._limit = limit
        self._outcome = None
        self._class = None
        # Queues made before this test, before the one before it ended, and by the class's fixture.
        self._before = self._at_end = pointing.made()
        self._by_class = 0

    def startTest(self, test):
        super().startTest(test)
        # A traceback of all threads goes to the log shortly before the supervisor ends this.
        faulthandler.dump_traceback_later(self._limit, file=sys.__stderr__)
        self._before = pointing.made()
        if type(test) is not self._class:
            self._class = type(test)
            self._by_class = self._before - self._at_end
        self._outcome = ("passed", "")
        self._say(event="start", test=self._names[test.id()])

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        # Some set it aside in a thread, and put it back only if that thread was slow enough.
        sys.stderr = sys.__stderr__
        self._at_end = pointing.made()
        outcome, detail = self._outcome
        if _is_altered() and outcome == "passed":
            outcome = "altered"
        self._say(
            event="end",
            test=self._names[test.id()],
            outcome=outcome,
            detail=detail,
            queues=self._at_end - self._before or self._by_class,
        )
        super().stopTest(test)

    def _note(self, test, outcome, detail):
        if test.id() in self._names:
            self._outcome = (outcome, detail)
        else:
            # A fixture of a class or a module, which has no start and end.
            self._say(event="fixture", test=str(test), outcome=outcome, detail=detail)

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "failed", self._exc_info_to_string(err, test))

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "failed", self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._outcome = ("failed", self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note(test, "failed", "passed unexpectedly")


def _is_altered():
    """Return whether a test has left threads or processes since this was asked last."""
    support = importlib.import_module("test.support")
    altered, support.environment_altered = support.environment_altered, False
    return bool(altered)


def _flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flatten(test)
        else:
            yield test


def _modules():
    if setup.group == "concurrent_futures":
        return pointing.futures_modules()
    own = {"multiprocessing": "multiprocessing_cases", "queue": "queue_cases"}
    if setup.group in own:
        return [importlib.import_module(f"tests.compat.{own[setup.group]}")]
    return [importlib.import_module(pointing.MODULES[setup.group])]


def _tests(everything):
    """Return those that are to be run, and the names of those that are left out."""
    chosen, left_out = {}, []
    for module in _modules():
        for test in _flatten(unittest.defaultTestLoader.loadTestsFromModule(module)):
            name = selection.name_of(setup, test, everything=everything)
            if name is None:
                continue
            if selection.reason_to_leave_out(setup, name) and not everything:
                left_out.append(name)
            else:
                chosen[test] = name
    return chosen, left_out


def main():
    task = json.loads(sys.argv[1])
    os.set_inheritable(task["descriptor"], False)
    report = os.fdopen(task["descriptor"], "w")
    owner = os.getpid()

    def say(**words):
        if os.getpid() == owner:
            print(json.dumps(words), file=report, flush=True)

    faulthandler.enable()
    multiprocessing.set_start_method(setup.method, force=True)
    chosen, left_out = _tests(task["everything"])
    chosen = {test: name for test, name in chosen.items() if selection.wanted(name, task["only"])}
    say(event="tests", tests=sorted(chosen.values()), left_out=sorted(left_out))
    pending = [test for test, name in chosen.items() if name not in task["done"]]
    result = _Result(say, {test.id(): name for test, name in chosen.items()}, task["limit"])
    unittest.TestSuite(pending).run(result)
    say(event="done", altered=_is_altered())


if __name__ == "__main__":
    main()
