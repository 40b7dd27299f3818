"""What the runs of each queue came to, and the page of it."""

import platform
from collections import Counter
from statistics import median


def summary(rival, runs, massacre):
    """Return the figures of one queue."""
    good = [run for run in runs if "error" not in run]
    stopped = [run["kills"] for run in good if run["stopped"]]
    survived = len(good) - len(stopped)
    first_still = [run["first_still"] for run in good if run["first_still"] is not None]
    told = {
        "label": rival.label,
        "version": rival.version() or f"Python {platform.python_version()}",
        "ours": rival.module == "shmqueue",
        "runs": len(runs),
        "runs_that_survived": survived,
        "kills": [run["kills"] for run in good],
        "kills_until_stopped": _range(stopped) if stopped else "never",
        "kills_until_first_still": _range(first_still) if first_still else "never",
        "healed_by_starting_all_anew": sum(run["healed"] for run in good),
        "close_stood_still": sum(run["creator"] == "stands still" for run in good),
        "left_after_closing": sorted({_kind(name) for run in good for name in run["left_files"]}),
        "runs_that_left_files": sum(bool(run["left_files"]) for run in good),
        "left_files": sum(len(run["left_files"]) for run in good),
        "left_after_sigkill_of_all": len(massacre.get("left_files", [])),
        "errors": [run["error"] for run in [*runs, massacre] if "error" in run],
    }
    for name in ("put", "received", "in_hands", "lost_beyond_hands", "duplicates", "torn"):
        told[name] = sum(run[name] for run in good)
    told["crashes"] = dict(sum((Counter(run["crashes"]) for run in good), Counter()))
    told["unfinished"] = sum(run.get("unfinished", 0) for run in good)
    wrong = ("lost_beyond_hands", "duplicates", "torn", "crashes", "errors", "left_files")
    told["is_clean"] = (
        bool(good)
        and not stopped
        and not first_still
        and not told["close_stood_still"]
        and not any(told[name] for name in wrong)
    )
    return told


def _range(values):
    if len(values) == 1:
        return f"{values[0]:,}"
    return f"{median(values):,.0f} ({min(values):,} to {max(values):,})"


def _kind(name):
    """Return where a file was, without what differs from run to run."""
    return "socket or temporary file" if "/" in name else "/dev/shm"


def _stops(told, most_kills):
    if told["runs_that_survived"] == told["runs"]:
        return f"**never** in {told['runs']} runs of {most_kills:,}"
    text = told["kills_until_stopped"]
    if told["runs_that_survived"]:
        text += f"; {told['runs_that_survived']} of {told['runs']} runs went on to {most_kills:,}"
    return text


def _crashes(told):
    return ", ".join(f"{count} {name}" for name, count in told["crashes"].items()) or "0"


def as_markdown(figures, machine):
    """Return the page."""
    rows = []
    for told in figures["rivals"].values():
        left = f"{told['left_files']}"
        if told["close_stood_still"]:
            left += f" (closing hung in {told['close_stood_still']})"
        rows.append(
            [
                told["label"],
                told["version"],
                _stops(told, figures["most_kills"]),
                f"{told['lost_beyond_hands']:,}",
                f"{told['duplicates'] + told['torn']:,}",
                _crashes(told),
                left,
                f"{told['left_after_sigkill_of_all']}",
                f"{told['received']:,}",
            ]
        )
    header = [
        "Queue",
        "Version",
        "Kills until it stops for good",
        "Lost beyond those in killed hands",
        "Torn or twice",
        "Crashed survivors",
        "Files left, after closing",
        "Files left, after SIGKILL of all",
        "Items received",
    ]
    errors = [
        f"- {told['label']}: `{error.splitlines()[-1] if error else 'no result'}`"
        for told in figures["rivals"].values()
        for error in told["errors"]
    ]
    lines = [
        "# The same kills for other queues",
        "",
        "Written by `make rivals`; no number is typed by hand.",
        "",
        _table(header, rows),
        "",
        *(["Runs that gave no result:", "", *errors, ""] if errors else []),
        METHOD.strip().format(**figures, **machine),
    ]
    return "\n".join(lines) + "\n"


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


METHOD = """
## What was done

Three producers and three consumers work on one queue; every 20 to 60 ms one of the six, drawn at
random, gets SIGKILL, and another is forked in its place. All queues go through the same code
(`benchmarks/kills/siege.py`), by the adapters of the other benchmarks: each worker opens the queue
as the library has it (by name, or inherited over fork), and calls the library's own blocking put
and get, one item of 64 bytes a call. Where such a call cannot wait for ever (faster-fifo: 10 s),
it is repeated.

*Stops for good*: nobody received anything for 5 s after a kill, although three producers and three
consumers were there; then all six were killed and started anew, and again nobody received anything
for 5 s. The count is that of the random kills up to then. A run ends there, or after
{most_kills:,} kills; the figure is the median of the runs that stopped, with the least and the
most.

*Lost*: `put` returned for it, and it never came. Each consumer that was killed inside `get` may
take one item with it; what is lost beyond that is counted here. In a run that stopped, an item
counts only if a later one of the same producer came, as the others may still be in the queue.
PUSH/PULL has no queue in the middle: what lies in the sockets of a killed process is lost. The
`put` of multiprocessing.Queue returns before its thread has written the item.

*Crashed survivors*: workers that nobody had killed and that ended, by the signal or the exit code.

*Files left*: what is in /dev/shm (semaphores are there, too) and in the folder for temporary files
and sockets, over all runs, once the creator had closed the queue in order, or was killed because
closing it hung; and after one further run in which everybody got SIGKILL, the creator included. A
*named* queue of shmqueue outlives that on purpose: the next who opens it finds every item; the
unnamed one is gone.

PUSH/PULL has a pair of sockets for each producer and each consumer. hyperq is its BytesHyperQ.

Seed {seed}; Python {python}, Linux {kernel}, {architecture}, {cores} cores.
"""
