"""The double fault: one is killed, and then the one who takes over from it as well.

The first is stepped through its operation, and the segment is kept as each of its instructions
left it: that is all that a process killed there leaves behind, beside the lock that the kernel
frees. Over each of these images a second one begins, and is killed at each of its instructions.
Images that are the same stand for one another, so that every pair of instructions is covered.
"""

# Where the first begins, and what it is killed in.
FIRSTS = [
    ("cells", "one", "put"),
    ("cells", "one", "get"),
    ("cells", "several", "get_batch"),
    ("cells", "wrap", "put_batch"),
    ("cells", "empty", "put_block"),
    ("cells", "block", "get"),
    ("cells", "block", "view"),
    ("cells", "block", "release"),
    ("cells", "spent", "put_large"),
    ("cells", "hoarded", "put_block"),
    ("cells", "stale", "put"),
    ("cells", "bequest", "sweep"),
    ("regions", "one", "put"),
    ("regions", "one", "get"),
    ("regions", "wrap", "put_mixed"),
    ("regions", "wrapped", "get"),
    ("regions", "block", "get"),
    ("regions", "polled", "put"),
    ("regions", "polled_one", "get"),
    ("regions", "grow", "put"),
    ("regions", "enter", "put"),
    ("regions", "entered", "get"),
    ("regions", "far", "trim_ring"),
    ("regions", "return", "put"),
]

# What the second does, who meets what the first one left.
SECONDS = ["put", "get", "put_block", "sweep"]

# The same of streams: over each word of theirs that the first can leave half-done.
STREAM_FIRSTS = [
    ("stream", "held_full", "open"),
    ("stream", "taken_large", "put"),
    ("stream", "taken_large", "put_large"),
    ("stream", "taken_large", "raise"),
    ("stream", "taken", "unsubscribe"),
    ("stream", "dead_subscriber", "put"),
    ("stream", "half_removed", "put"),
    ("stream", "half_raised", "put_block"),
    ("stream", "pinned", "sweep"),
    ("stream", "all_written", "get"),
    ("stream", "waiting", "shutdown_now"),
    ("dropping", "held_full", "put"),
]
# Of these there is something to take for the second.
STREAM_TAKERS = [
    ("stream", "large", "view"),
    ("stream", "large", "release"),
    ("stream", "large", "release_passed"),
    ("stream", "lagging", "get"),
    ("stream", "lagging", "put_block"),
    ("stream", "two", "remove_second"),
    ("stream", "two", "remove"),
    ("stream", "followed", "get_more"),
    ("stream", "pipeline_large", "get"),
    ("stream", "dead_holder", "follow"),
    ("stream", "written", "register"),
]
STREAM_SECONDS = ["put_block", "open", "sweep"]

COMBINATIONS = [
    *((*first, second) for first in FIRSTS for second in SECONDS),
    *((*first, second) for first in STREAM_FIRSTS + STREAM_TAKERS for second in STREAM_SECONDS),
    *((*first, second) for first in STREAM_TAKERS for second in ("get", "follow")),
]

# Of all that the report names, what is added up.
SUMS = ("images", "points", "pairs", "trials", "kills")


def add_up(outcomes):
    """Return the sums over all runs, and how many findings there are."""
    figures = {name: sum(outcome.figures.get(name, 0) for outcome in outcomes) for name in SUMS}
    return {
        "double_fault_" + name: value
        for name, value in {
            **figures,
            "combinations": len(outcomes),
            "findings": sum(len(outcome.findings) for outcome in outcomes),
        }.items()
    }
