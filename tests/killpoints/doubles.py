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

COMBINATIONS = [(*first, second) for first in FIRSTS for second in SECONDS]

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
