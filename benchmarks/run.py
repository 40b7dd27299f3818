"""Measure: ``python -m benchmarks.run --out build/benchmarks.json``.

Every measurement runs in a fresh process. A first pass finds the item count at which a run takes
the intended time; then come the rounds. Within a round all peers run one case before the next case
begins, and each round starts with another peer, so that a disturbance of the machine hits all of
them and ratios are taken between neighbours in time.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.groups import GROUPS, find

FORMAT = 1
_ROOT = Path(__file__).resolve().parent.parent
_FAILURES_BEFORE_GIVING_UP = 2


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    rounds: int
    run_s: float
    wakes: int
    idle_s: float
    share: float  # of the amounts that are not calibrated
    watchdog_s: float


FULL = Plan(rounds=5, run_s=0.5, wakes=100, idle_s=2.0, share=1.0, watchdog_s=30.0)
QUICK = Plan(rounds=2, run_s=0.1, wakes=20, idle_s=0.5, share=0.1, watchdog_s=20.0)


class Runner:
    """Runs single measurements and leaves nothing behind, whatever they do."""

    def __init__(self, plan, directory, interrupts):
        self._plan = plan
        self._interrupts = interrupts
        self._directory = directory
        self._started = 0

    def measure(self, case, peer, amount, intended_s):
        """Run one case in a fresh process and return its result, a dict with a "status"."""
        self._started += 1
        name = f"shmqb-{os.getpid()}-{self._started:05d}-"
        directory = os.path.join(self._directory, f"{self._started:05d}")
        os.mkdir(directory)
        result_path = os.path.join(directory, "result.json")
        request = {
            "case": case.key,
            "peer": peer.key,
            "amount": amount,
            "name": name,
            "directory": directory,
            "result": result_path,
            "parent": os.getpid(),
        }
        with open(os.path.join(directory, "stderr"), "w+b") as stderr:
            with self._interrupts.held():
                process = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.case", json.dumps(request)],
                    cwd=_ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    start_new_session=True,
                )
                timeout_s = self._plan.watchdog_s + 4 * intended_s
                ended = _wait_unreaped(process, timeout_s, self._interrupts)
                # The process is not reaped yet, so its group still is the one started here.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                left = _sweep(name, process.pid)
            stderr.seek(0)
            last_words = stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        result = {"status": "hang"} if not ended else _read_result(result_path, process, last_words)
        shutil.rmtree(directory, ignore_errors=True)
        if left and result["status"] == "ok":
            result["left_behind"] = left
        return result

    def calibrate(self, case, peer):
        """Return (amount, failure): items for a run of the intended time, or why there are none."""
        plan = self._plan
        run_s = plan.run_s * case.share
        if case.scenario == "wake":
            return plan.wakes, None
        if case.scenario == "idle":
            return plan.idle_s, None
        if not case.is_calibrated:
            return case.fixed_amount(plan.share), None
        multiple = case.count_multiple
        count = case.first_count
        while True:
            count = max(multiple, round(count / multiple) * multiple)
            result = self.measure(case, peer, count, run_s)
            if result["status"] != "ok":
                return count, result
            factor = run_s / result["seconds"]
            if factor < 8:
                return max(multiple, round(count * factor / multiple) * multiple), None
            count *= min(factor / 2, 200)


class Interrupts:
    """Ctrl-C and SIGTERM end the program, but not between starting a process and killing it.

    An exception in that stretch would leave the process running: `subprocess.Popen` may already
    have started it when it is interrupted.
    """

    def __init__(self):
        self.pending = 0
        self._holding = False
        # A byte for each signal, so that a wait can be ended by one.
        self.readable, self._writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number, frame):
        if not self._holding:
            raise SystemExit(128 + number)
        self.pending = number

    @contextmanager
    def held(self):
        """Keep what arrives meanwhile until the block ends."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self.pending:
                raise SystemExit(128 + self.pending)


def _wait_unreaped(process, timeout_s, interrupts):
    """Wait for the process to end without reaping it; False if it did not in time."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(interrupts.readable, select.POLLIN)
        return any(ready == descriptor for ready, _ in poll.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def _read_result(path, process, last_words):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        words = f": {last_words[0]}" if last_words else ""
        return {"status": "error", "error": f"exit status {process.returncode}{words}"[:300]}


def _sweep(name, pid):
    """Remove what a case left in /dev/shm under its name, and say what that was."""
    shm = Path("/dev/shm")
    left = []
    if shm.is_dir():
        for path in shm.iterdir():
            # multiprocessing's arenas (of faster-fifo) carry the pid of their process.
            if name in path.name or path.name.startswith(f"pym-{pid}-"):
                path.unlink(missing_ok=True)
                left.append(path.name.replace(name, ""))
    return sorted(left)


def _sweep_after_the_dead():
    """Remove what runs left in /dev/shm that were killed before they could."""
    shm = Path("/dev/shm")
    for path in shm.iterdir() if shm.is_dir() else ():
        found = re.search(r"shmqb-(\d+)-\d{5}-", path.name)
        if found and not Path("/proc", found[1]).exists():
            path.unlink(missing_ok=True)


class Progress:
    """One line that is rewritten on a terminal, plain lines elsewhere."""

    def __init__(self, stream):
        self._stream = stream
        self._live = stream.isatty()
        self._start = time.monotonic()

    def step(self, text, fraction=0.0):
        """Show what is running now (terminals only)."""
        if self._live:
            elapsed = time.monotonic() - self._start
            left = ""
            if fraction > 0.02:
                left = f"  ~{_minutes(elapsed / fraction - elapsed)} left"
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{f'{text}{left}'[:width]}")
            self._stream.flush()

    def line(self, text):
        """Print a line that stays."""
        if self._live:
            self._stream.write("\r\x1b[K")
        self._stream.write(text + "\n")
        self._stream.flush()


def _minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def measure_all(chosen, plan, progress, interrupts):
    """Calibrate and run all rounds; return the "cases" part of the results.

    `chosen` are (group's key, case, contenders).
    """
    records = []
    with tempfile.TemporaryDirectory(prefix="shmqb-") as directory:
        runner = Runner(plan, directory, interrupts)
        for group, case, peers in chosen:
            entries = {}
            for peer in peers:
                progress.step(f"calibrating {case.key} {peer.label}")
                entries[peer.key] = entry = {"rounds": []}
                reason = peer.unsupported(case)
                if reason:
                    entry["unsupported"] = reason
                    continue
                entry["amount"], failure = runner.calibrate(case, peer)
                if failure:
                    entry["calibration"] = failure
            records.append(_record(group, case, entries))
            shown = (f"{key} {e['amount']:,}" for key, e in entries.items() if "amount" in e)
            if case.is_calibrated:
                progress.line(f"calibrated {case.key}: {', '.join(shown)}")
        for number in range(1, plan.rounds + 1):
            for position, ((_, case, _), record) in enumerate(zip(chosen, records, strict=True)):
                if number > math.ceil(plan.rounds * case.share):
                    continue
                done = (number - 1 + position / len(chosen)) / plan.rounds
                _run_round(runner, plan, case, record["peers"], number, done, progress)
    return records


def _record(group, case, entries):
    amounts = [entry["amount"] for entry in entries.values() if "amount" in entry]
    return {
        "group": group,
        "key": case.key,
        "scenario": case.scenario,
        "variant": case.variant,
        "title": case.title.format(amount=amounts[0] if amounts else 0),
        "payload": case.payload,
        "item_bytes": case.items.nbytes if hasattr(case, "items") else None,
        "producers": case.producers,
        "consumers": case.consumers,
        "unit": case.unit.name,
        "higher_is_better": case.unit.higher_is_better,
        "peers": entries,
    }


def _run_round(runner, plan, case, entries, number, done, progress):
    runnable = [key for key, entry in entries.items() if "amount" in entry]
    if not runnable:
        return
    shift = (number - 1) % len(runnable)
    shown = {}
    for order, key in enumerate(runnable[shift:] + runnable[:shift]):
        entry = entries[key]
        _, peer = find(case.key, key)
        if _has_given_up(entry):
            shown[key] = "given up"
            continue
        label = f"round {number}/{plan.rounds}  {case.key}"
        progress.step(f"{label}  {peer.label}", done)
        intended = plan.idle_s if case.scenario == "idle" else plan.run_s
        result = runner.measure(case, peer, entry["amount"], intended)
        entry["rounds"].append({"round": number, "order": order, **result})
        shown[key] = _value(result)
    # In the order of the peers, so that the lines of the rounds stand under each other.
    values = "  ".join(f"{key} {shown[key]}" for key in runnable)
    unit = f" [{case.unit.name}]"
    progress.line(f"round {number}/{plan.rounds} {case.key}{unit}: {values}")


def _has_given_up(entry):
    failures = [r for r in entry["rounds"] if r["status"] != "ok"]
    if "calibration" in entry:
        failures.append(entry["calibration"])
    return len(failures) >= _FAILURES_BEFORE_GIVING_UP


def _value(result):
    if result["status"] == "ok":
        value = result["value"]
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return result["status"].upper()


def _selected(only):
    """(group, case) of those that --only names: a group, a scenario (spsc) or a case (spsc/int)."""
    pairs = [(group, case) for group in GROUPS for case in group.cases]
    if not only:
        return pairs
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    names_of = {case: {group.key, case.scenario, case.key} for group, case in pairs}
    known = set().union(*names_of.values())
    unknown = [word for word in wanted if word not in known]
    if unknown:
        names = ", ".join(sorted(known))
        raise SystemExit(f"no such scenario: {', '.join(unknown)}; there are {names}")
    return [(group, case) for group, case in pairs if names_of[case] & set(wanted)]


def _chosen(options, warnings):
    """What is measured, as `measure_all` wants it, and all its contenders; warns of what is not."""
    pairs = _selected(options.only)
    for module in sorted({case.needs for _, case in pairs if getattr(case, "needs", None)}):
        if importlib.util.find_spec(module) is None:
            left_out = [case for _, case in pairs if getattr(case, "needs", None) == module]
            pairs = [(group, case) for group, case in pairs if case not in left_out]
            keys = ", ".join(case.key for case in left_out)
            warnings.append(f"{module} is not installed, so {keys} were left out")
    candidates = {p.key: p for group, case in pairs for p in group.peers_of(case)}
    wanted = options.peers.split(",") if options.peers else list(candidates)
    for key in wanted:
        if key not in candidates:
            raise SystemExit(f"no contender is called {key!r}; there are {', '.join(candidates)}")
    missing = [key for key in wanted if not candidates[key].is_installed()]
    warnings += [f"{candidates[key].label} is not installed and was left out" for key in missing]
    peers = {key: candidates[key] for key in wanted if key not in missing}
    if not peers:
        reasons = "; ".join(warnings)
        raise SystemExit(f"nothing can be measured: {reasons} (see benchmarks/README.md)")
    chosen = []
    for group, case in pairs:
        contenders = [p for p in group.peers_of(case) if p.key in peers]
        if contenders:
            chosen.append((group.key, case, contenders))
    return chosen, list(peers.values())


def _versions(chosen, peers):
    found = {p.distribution: p.version() for p in peers if p.distribution}
    for name in sorted({case.needs for _, case, _ in chosen if getattr(case, "needs", None)}):
        found[name] = importlib.metadata.version(name)
    return found


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--out", default="build/benchmarks.json", help="file for the results")
    parser.add_argument("--rounds", type=int, help=f"rounds (default {FULL.rounds})")
    parser.add_argument("--only", help="groups, scenarios or cases, as in dropins,spsc,local/int")
    parser.add_argument("--peers", help="keys of the contenders, as in shmqueue,zeroq")
    parser.add_argument("--quick", action="store_true", help="a first impression in two minutes")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(arguments=None):
    options = _parse(arguments)
    plan = QUICK if options.quick else FULL
    if options.rounds:
        plan = Plan(**{**vars(plan), "rounds": options.rounds})
    warnings = []
    chosen, peers = _chosen(options, warnings)

    interrupts = Interrupts()
    _sweep_after_the_dead()
    progress = Progress(sys.stderr)
    warnings += machine.warnings()
    for warning in warnings:
        progress.line(f"warning: {warning}")

    started = datetime.datetime.now(datetime.timezone.utc)
    begin = time.monotonic()
    results = {
        "format": FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "plan": {**vars(plan), "quick": options.quick},
        "machine": machine.describe(),
        "git": machine.git_state(_ROOT),
        "versions": _versions(chosen, peers),
        "labels": {p.key: p.label for p in peers},
        "warnings": warnings,
        "load_before": os.getloadavg(),
    }
    results["cases"] = measure_all(chosen, plan, progress, interrupts)
    results["seconds"] = round(time.monotonic() - begin, 1)
    results["load_after"] = os.getloadavg()
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    progress.line(f"{out}: {len(chosen)} cases, {_minutes(results['seconds'])} minutes")


if __name__ == "__main__":
    main()
