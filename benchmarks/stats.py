"""Medians, ranges and ratios from the JSON that `run` writes.

A ratio is ours to theirs within one round, taken so that above 1 ours is better: rates divide ours
by theirs, times theirs by ours. What is shown is the median of the rounds' ratios with the lowest
and the highest, never a ratio of medians.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.targets import OURS, TARGETS_OF, Ceiling

_FORMAT = 1
_SCENARIOS = ("local", "spsc", "batch", "mpmc", "pingpong", "wake", "idle")
_PAYLOADS = ("bytes8", "int", "str", "dict", "object")


@dataclass(frozen=True)
class Spread:
    """A median with the lowest and the highest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        values = list(values)
        return cls(median(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Verdict:
    """A target with what was measured; `measured` is None where there is nothing to compare."""

    target: object
    measured: Spread | None

    @property
    def is_reached(self):
        if self.measured is None:
            return None
        if isinstance(self.target, Ceiling):
            return self.measured.median < self.target.limit
        return self.measured.median >= self.target.ratio


class Results:
    """What one file of results says about one group of cases."""

    def __init__(self, data, group="queues"):
        self.data = data
        self.group = group
        cases = [case for case in data["cases"] if case.get("group", "queues") == group]
        if not cases:
            raise ValueError(f"there is nothing about the {group} in these results")
        if group == "queues":
            cases.sort(key=_position)  # within equals, as they ran
        self.cases = cases
        self.labels = data["labels"]
        self.peers = [key for key in self.labels if any(key in case["peers"] for case in cases)]
        self._by_key = {case["key"]: case for case in self.cases}

    def case(self, key):
        """The case, or None if the run left it out."""
        return self._by_key.get(key)

    def entry(self, key, peer):
        case = self.case(key)
        return case["peers"].get(peer) if case else None

    def rounds(self, key, peer):
        """Value by round, of the rounds that succeeded."""
        entry = self.entry(key, peer)
        rounds = entry["rounds"] if entry else []
        return {r["round"]: r["value"] for r in rounds if r["status"] == "ok"}

    def spread(self, key, peer):
        return Spread.of(self.rounds(key, peer).values())

    def failures(self, key, peer):
        """What went wrong, in words, one for each failed run; empty if nothing did."""
        entry = self.entry(key, peer)
        if not entry:
            return []
        runs = [entry["calibration"]] if "calibration" in entry else []
        runs += [r for r in entry["rounds"] if r["status"] != "ok"]
        return [r.get("error", "hang") for r in runs]

    def unsupported(self, key, peer):
        entry = self.entry(key, peer)
        return entry.get("unsupported") if entry else "not measured"

    def ratio(self, key, peer, against=None, ours=OURS):
        """How many times better `ours` is on `key` than `peer` is on `against`."""
        against = against or key
        mine, theirs = self.rounds(key, ours), self.rounds(against, peer)
        case = self.case(key)
        if case is None:
            return None
        pairs = [(mine[number], theirs[number]) for number in sorted(mine.keys() & theirs.keys())]
        if case["higher_is_better"]:
            return Spread.of(m / t for m, t in pairs)
        return Spread.of(t / m for m, t in pairs)

    def verdicts(self):
        """Every target with what was measured."""
        found = []
        for target in TARGETS_OF[self.group]:
            if isinstance(target, Ceiling):
                measured = self.spread(target.case, target.ours)
            else:
                measured = self.ratio(target.case, target.peer, target.other_case, target.ours)
            found.append(Verdict(target, measured))
        return found

    def losses(self):
        """(case, peer, ratio) wherever another queue's median ratio is better, worst first."""
        found = []
        for case in self.cases:
            for peer in self.peers:
                ratio = self.ratio(case["key"], peer) if peer != OURS else None
                if ratio is not None and ratio.median < 1:
                    found.append((case, peer, ratio))
        return sorted(found, key=lambda loss: loss[2].median)

    def wake_samples_us(self, peer):
        """Latencies of all rounds together, in order."""
        samples = []
        for case in self.cases:
            if case["scenario"] == "wake" and peer in case["peers"]:
                for run in case["peers"][peer]["rounds"]:
                    samples += run.get("samples_ns", [])
        return sorted(sample / 1e3 for sample in samples)


def _position(case):
    return _SCENARIOS.index(case["scenario"]), _PAYLOADS.index(case["payload"])


def percentile(ordered, fraction):
    """The smallest sample that `fraction` of all do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * fraction) - 1)]


def load(path, group="queues"):
    """Read what a file of results says about a group.

    Raises
    ------
    ValueError
        If it is not one, is of another format, or says nothing about the group.
    """
    data = json.loads(Path(path).read_text())
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise ValueError(f"{path} is not a benchmark result of format {_FORMAT}")
    return Results(data, group)


def number(value):
    """Three significant digits, with thousands separated and no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _rate_text(value):
    for size, unit in ((1e6, "M/s"), (1e3, "k/s")):
        if value >= size:
            return f"{number(value / size)} {unit}"
    return f"{number(value)} /s"


def value_text(case, value):
    """A value of the case with its unit, short."""
    if case["unit"] in ("batches/s", "KiB", "calls per item", "x"):
        return f"{number(value)} {case['unit']}"
    if case["higher_is_better"]:
        return _rate_text(value)
    if case["unit"].startswith("ms"):
        return f"{number(value)} ms"
    return f"{number(value / 1e3)} ms" if value >= 1e4 else f"{number(value)} µs"
