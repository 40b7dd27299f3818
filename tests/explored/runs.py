"""What is explored, and how far: at every commit, with `make faults`, and with `make explore`."""

from tests.explored.build import LATE_SLOTS, SMALL_REGIONS, SMALL_STREAM
from tests.explored.exploring import Run


def _run(scenario, **bounds):
    changes = SMALL_REGIONS if scenario == "regions" else ()
    changes += SMALL_STREAM if scenario.startswith("stream-") else ()
    changes += LATE_SLOTS if bounds.get("weak") else ()
    return Run(scenario, changes=changes, **bounds)


# Small enough for all interleavings, whoever is killed where.
WHOLE = [
    _run("pair", kills=1),
    _run("pair-large", kills=1),
    _run("takeover", kills=1),
    _run("takeover-both", kills=2, expiries=1),
    _run("reborn", kills=2, expiries=1),
    _run("limits", kills=1),
    _run("stopped", kills=1),
    _run("attach", kills=1),
    _run("attach-two", kills=2),
    _run("join", kills=1),
    _run("join-two", kills=1),
    _run("poll", kills=1),
    _run("stream-wakes", kills=1),
    _run("stream-pair", kills=1),
    _run("stream-follow", kills=1),
    _run("stream-lag", kills=1),
    _run("stream-first", kills=1),
    _run("stream-open-behind", kills=1),
    _run("stream-open-two", kills=1),
    _run("stream-remove", kills=1),
    _run("stream-subscribe", kills=1),
    _run("stream-dead-subscriber", kills=1),
    _run("stream-lag-blocks", kills=1),
]

# Too large for that: all interleavings with so many preemptions.
BOUNDED = [
    "two-producers",
    "two-consumers",
    "batches",
    "batches-long",
    "full",
    "empty",
    "reborn-consumer",
    "at-once",
    "threads",
    "blocks",
    "sweep",
    "shrink",
    "shutdown",
    "shutdown-waiters",
    "regions",
    "poll-start",
    "oldest",
    "stream-shared",
    "stream-slowest",
    "stream-batch",
    "stream-stages",
    "stream-stage-shared",
    "stream-lag-beside",
    "stream-lag-batch",
    "stream-lag-stages",
    "stream-open",
    "stream-leave",
    "stream-written",
    "stream-written-shared",
    "stream-writers",
    "stream-nothing-written",
    "stream-shutdown",
    "stream-shutdown-at-once",
    "stream-block",
    "stream-sweep",
]

# Of these: one preemption is what the time allows for.
LARGE = [
    "shrink",
    "regions",
    "stream-slowest",
    "stream-lag-beside",
    "stream-lag-stages",
    "stream-leave",
    "stream-written",
    "stream-writers",
]

COMMIT = [
    *WHOLE,
    *(_run(scenario, kills=1, preemptions=1) for scenario in BOUNDED),
    _run("pair", kills=1, every_access=True),
    _run("pair", kills=1, preemptions=1, weak=True),
    _run("takeover-both", kills=1, weak=True),
    _run("stream-two-producers", preemptions=0),
    _run("stream-blocks", preemptions=1),
    _run("stream-follow", kills=1, preemptions=1, weak=True),
]

FULL = [
    *WHOLE,
    _run("full", kills=1),
    _run("empty", kills=1),
    _run("batches", kills=1),
    _run("batches-long", kills=1),
    _run("two-producers"),
    _run("shutdown-waiters", kills=1),
    *(_run(scenario, kills=1, preemptions=2) for scenario in BOUNDED if scenario not in LARGE),
    *(_run(scenario, kills=1, preemptions=1) for scenario in LARGE),
    _run("stream-slowest", preemptions=2),
    _run("stream-nothing-written", preemptions=3),
    _run("stream-lag-beside", preemptions=2),
    _run("stream-two-producers", preemptions=1),
    _run("stream-blocks", kills=1, preemptions=1),
    _run("stream-lag", kills=2, expiries=1),
    _run("stream-follow", kills=1, expiries=1),
    _run("pair", kills=2, expiries=1),
    _run("join", kills=1, expiries=1),
    _run("poll", kills=1, expiries=1),
    _run("pair", kills=1, every_access=True),
    _run("takeover-both", kills=2, every_access=True),
    _run("pair", kills=1, preemptions=1, weak=True),
    _run("takeover-both", kills=1, weak=True),
    _run("reborn", kills=1, preemptions=1, weak=True),
    _run("join", kills=1, preemptions=1, weak=True),
    _run("poll", kills=1, preemptions=1, weak=True),
    _run("oldest", preemptions=2, weak=True),
    _run("stream-wakes", weak=True),
    _run("stream-follow", kills=1, preemptions=2, weak=True),
    _run("stream-lag", kills=1, preemptions=1, weak=True),
    _run("stream-pair", every_access=True),
    _run("stream-lag", kills=1, every_access=True),
]

# Too long for `make faults`: `make explore` goes through all of these, as through those before.
LONGEST = [
    _run("threads"),
    _run("pair", weak=True),
]

# As far as the time goes: what does not come to its end is told as cut short.
FURTHER = [
    *(_run(run.scenario, kills=2, expiries=1) for run in WHOLE),
    *(_run(scenario, kills=1) for scenario in BOUNDED),
    *(_run(scenario, kills=2, expiries=1, preemptions=3) for scenario in BOUNDED),
    *(_run(scenario, kills=1, preemptions=2, weak=True) for scenario in ("pair", "pair-large")),
    *(
        _run(scenario, kills=1, preemptions=1, weak=True)
        for scenario in (
            *("full", "empty", "two-producers", "two-consumers", "sweep", "regions"),
            *("stream-first", "stream-block", "stream-lag-blocks", "stream-written"),
        )
    ),
    *(
        _run(scenario, kills=2, expiries=1, preemptions=2)
        for scenario in ("stream-two-producers", "stream-blocks")
    ),
]
