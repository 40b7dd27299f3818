"""How far the fault tests go, and where their figures are kept.

SHMQUEUE_FAULTS=commit   as many trials as every commit can have (the default)
SHMQUEUE_FAULTS=full     as many as `make faults` has
SHMQUEUE_REPORTS=FOLDER  keep the figures there, one file for each topic, for docs/reliability.md
"""

import fcntl
import functools
import json
import os
import platform
import subprocess
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

    The file names the topic. What else the same commit has found of it stays, but for the names
    given here; what another has found does not.
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
        kept = json.loads(text) if text else {}
        now = commit()
        if kept.get("commit") == now:
            figures = kept["figures"] | figures
        whole = {"commit": now, "machine": machine(), "figures": figures}
        file.truncate(0)
        file.write(json.dumps(whole, indent=2, sort_keys=True) + "\n")


@functools.cache
def commit():
    """Return the commit that is tested, with a plus sign where files differ from it."""
    changed = ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs"]
    try:
        there, changes = (
            subprocess.run(
                ["git", "-C", Path(__file__).parent, *arguments],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for arguments in (["rev-parse", "--short=10", "HEAD"], changed)
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return there + "+" * bool(changes)


def machine():
    """Return what the figures were found on."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
    }
