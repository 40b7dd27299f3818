"""Workers that carry out trials, and a parent that survives whatever becomes of them.

A worker is forked, makes its own grounds, and does every n-th trial. What it is at stands in memory
that it shares with the parent: so a worker that is killed by a signal, or goes on for ever, tells
by that which trial did it, and another one goes on behind it.
"""

import contextlib
import faulthandler
import json
import mmap
import os
import pathlib
import resource
import secrets
import signal
import tempfile
import time

from tests import support
from tests.faults.processes import Forks
from tests.hostile.trials import Finding, Trials

# How long one trial may take before its worker is ended: it answers no signal.
HANG_SECONDS = 60.0
MOST_FINDINGS = 20
ROW_WORDS = 12

FOUND = 3  # exit code of a worker that wrote down what it found


class Row:
    """What a worker is at, in shared memory."""

    def __init__(self, words, worker, outcomes):
        fields = ("trial", "done", "began_ns", "writes", *outcomes)
        self._words = words
        self._places = {field: at for at, field in enumerate(fields, worker * ROW_WORDS)}

    def __getitem__(self, field):
        return self._words[self._places[field]]

    def __setitem__(self, field, value):
        self._words[self._places[field]] = value

    def begin(self, trial):
        self["began_ns"] = time.monotonic_ns()
        self["trial"] = trial

    def end(self, outcome, writes):
        self["done"] += 1
        self["writes"] += writes
        if outcome:
            self[outcome] += 1


class Crew:
    """Carries out trials 0 to `trials` - 1 of a seed, by some workers at a time.

    `kind` is what each of them makes from a token, for the names of its files, and the seed: a
    context manager that runs a trial by its number. A trial returns one of the kind's `outcomes`,
    or raises Finding; `story` and `writes` tell of the last one, and `tell` is told each step.
    """

    def __init__(self, seed, trials, workers=2, kind=Trials):
        self.seed = seed
        self.findings = []
        self._trials = trials
        self._workers = workers
        self._kind = kind
        self._token = f"hostile{os.getpid()}-{secrets.token_hex(3)}"
        self._shared = mmap.mmap(-1, 8 * ROW_WORDS * workers)
        self._words = memoryview(self._shared).cast("q")
        self._rows = [Row(self._words, worker, kind.outcomes) for worker in range(workers)]
        self._forks = Forks()

    def run(self, tell=lambda done, findings: None):
        """Do all trials and return the account; `tell` is called now and then."""
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            self._folder = pathlib.Path(folder)
            try:
                self._supervise(tell)
            finally:
                self._forks.end()
                self._clear_away(self._token)
        return self.account()

    def account(self):
        """Return how many trials were ended, and how many had which outcome."""
        names = ("writes", *self._kind.outcomes)
        counted = {name: sum(row[name] for row in self._rows) for name in names}
        return {"trials": self.done, "findings": len(self.findings), **counted}

    @property
    def done(self):
        """How many trials were ended so far."""
        return sum(row["done"] for row in self._rows)

    def close(self):
        self._words.release()
        self._shared.close()

    def _supervise(self, tell):
        running = {self._start(worker, worker): worker for worker in range(self._workers)}
        while running:
            for pid, worker in list(running.items()):
                ending = self._ending(pid, worker)
                if ending is None:
                    continue
                del running[pid]
                if ending == 0:
                    continue
                trial = self._rows[worker]["trial"]
                self._note(trial, ending)
                if len(self.findings) < MOST_FINDINGS:
                    self._rows[worker].end(None, 0)
                    running[self._start(worker, trial + self._workers)] = worker
            tell(self.done, len(self.findings))
            time.sleep(0.02)

    def _start(self, worker, first):
        self._clear_away(f"{self._token}-{worker}.")
        self._rows[worker].begin(first)
        return self._forks.start(self._work, worker, range(first, self._trials, self._workers))

    def _ending(self, pid, worker):
        """Return the exit code of a worker, "hang" if it had to be ended, None while it works."""
        code = self._forks.poll(pid)
        if (
            code is None
            and time.monotonic_ns() - self._rows[worker]["began_ns"] > HANG_SECONDS * 1e9
        ):
            self._forks.kill(pid)
            return "hang"
        return code

    def _note(self, trial, ending):
        """Keep what was found; where a signal did it, what led to it is found out by a replay."""
        finding = {"seed": self.seed, "trial": trial}
        path = self._folder / f"{trial}.json"
        if ending == FOUND:
            finding |= json.loads(path.read_text())
        else:
            finding["what"] = _in_words(ending)
            finding |= self.replay(trial)
        self.findings.append(finding)

    # ---- in a worker ----

    def _work(self, worker, trials):
        row = self._rows[worker]
        with self._subject(f"{self._token}-{worker}.") as subject:
            for trial in trials:
                row.begin(trial)
                try:
                    outcome = subject.run(trial)
                except Finding as error:
                    found = {"what": str(error), "story": subject.story}
                    (self._folder / f"{trial}.json").write_text(json.dumps(found))
                    os._exit(FOUND)
                row.end(outcome, subject.writes)

    def _subject(self, token):
        """Make what a worker tries."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        support.die_with_parent()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()  # a death is the parent's to tell
        return self._kind(token, self.seed)

    def replay(self, trial):
        """Carry out one trial in a worker of its own; return its story and how it ended."""
        with tempfile.NamedTemporaryFile("r", prefix="hostile-story-") as told:
            pid = self._forks.start(self._replay, trial, told.name)
            try:
                ending = self._forks.wait(pid, 2 * HANG_SECONDS)
            except AssertionError:
                self._forks.kill(pid)
                ending = "hang"
            self._clear_away(f"{self._token}-replay.")
            *story, last = [json.loads(line) for line in told] or [None]
        found = {"story": story, "replayed": _in_words(ending)}
        if ending in (0, FOUND):
            found["replayed"] = last["outcome"]
        else:
            found["story"].append(last)
        return found

    def _replay(self, trial, path):
        with open(path, "w") as told, self._subject(f"{self._token}-replay.") as subject:

            def tell(step):
                told.write(json.dumps(step) + "\n")
                told.flush()

            subject.tell = tell
            faulthandler.enable()
            try:
                tell({"outcome": subject.run(trial)})
            except Finding as error:
                tell({"outcome": str(error)})
                os._exit(FOUND)

    def _clear_away(self, token):
        for name in support.segment_files(token):
            with contextlib.suppress(FileNotFoundError):
                (support.SHM / name).unlink()


def _in_words(ending):
    if ending == "hang":
        return f"no end in {HANG_SECONDS:g} s"
    return f"killed by {signal.Signals(-ending).name}" if ending < 0 else f"exit code {ending}"
