"""How far the fault tests go, and where their figures are kept.

SHMQUEUE_FAULTS=commit   as many trials as every commit can have (the default)
SHMQUEUE_FAULTS=full     as many as `make faults` has
SHMQUEUE_REPORTS=FOLDER  keep the figures there, one file for each topic, for docs/reliability.md
"""

import fcntl
import json
import os
import platform
from pathlib import Path

LEVELS = ("commit", "full")


def level():
    """Return how far the tests go: "commit" or "full"."""
    chosen = os.environ.get("SHMQUEUE_FAULTS", "commit")
    assert chosen in LEVELS, f"SHMQUEUE_FAULTS must be one of {LEVELS}, not {chosen!r}"
    return chosen


def scaled(commit, full):
    """Return the number of trials of the level."""
    return full if level() == "full" else commit


def report(topic, figures, folder=None):
    """Keep what was found: `figures` are numbers and texts by name.

    The file names the topic; what else the topic has there stays, but for the names given here.
    """
    folder = folder or os.environ.get("SHMQUEUE_REPORTS")
    if not folder:
        return
    path = Path(folder) / f"{topic}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Tests run side by side: one at a time adds to a topic.
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        kept = json.loads(text)["figures"] if text else {}
        whole = {"machine": machine(), "figures": kept | figures}
        file.truncate(0)
        file.write(json.dumps(whole, indent=2, sort_keys=True) + "\n")


def machine():
    """Return what the figures were found on."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
    }
