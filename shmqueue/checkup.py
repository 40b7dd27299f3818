"""``python -m shmqueue doctor``: what the doctor finds, in words or as JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

from shmqueue.doctor import count, fix, look, look_at_named, look_at_unnamed, remove_orphan, size
from shmqueue.segment import UNBOUNDED, path_of

__all__ = ["check_up", "path_of"]


def check_up(
    path: str | None = None,
    *,
    repairs: bool = False,
    removes_orphans: bool = False,
    as_json: bool = False,
) -> int:
    """Look at queues, repair what is asked for, and print what there is.

    Parameters
    ----------
    path : str, optional
        Only the queue of this path; by default all, also the unnamed ones.
    repairs : bool
        Whether to free what the dead held, and to remove damaged segments that nobody has.
    removes_orphans : bool
        Whether to remove queues that nobody is attached to, with their items.
    as_json : bool
        Whether to print JSON.

    Returns
    -------
    int
        Exit status: 1 if a named queue has a problem left.
    """
    if path is None:
        named, unnamed = look_at_named(), look_at_unnamed()
    else:
        named, unnamed = [look(path)], []
    named = [_treated(told, repairs, removes_orphans) for told in named]
    # What another user has is told; it counts if it was asked for.
    own = [told for told in named if path is not None or told["uid"] in (os.geteuid(), None)]
    left = [told for told in own if told["problems"]]
    if as_json:
        print(json.dumps({"named": named, "unnamed": unnamed}, indent=2))
        return 1 if left else 0
    for told in [*named, *unnamed]:
        print("\n".join(_printable(line) for line in as_text(told).splitlines()) + "\n")
    print(f"{count(len(named), 'named queue')}, {count(len(unnamed), 'unnamed one')}: ", end="")
    print(f"{count(len(left), 'queue')} with problems" if left else "all well")
    if left and not repairs:
        print("python -m shmqueue doctor --fix frees what the dead hold.")
    return 1 if left else 0


def _printable(line: str) -> str:
    """Return a line without what a name could do to a terminal, or what can't be encoded for it."""
    # What is no file has none, and there is no stdout where the command was started without.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return printable.encode(encoding, "backslashreplace").decode(encoding)


def _treated(told: dict[str, Any], repairs: bool, removes_orphans: bool) -> dict[str, Any]:
    """Return what is to be said of a named queue after its treatment."""
    deeds: list[str] = []
    if repairs:
        deeds += fix(told)
    if removes_orphans:
        deeds += remove_orphan(told)
    if any(deed.startswith("removed") for deed in deeds):
        told = told | {"state": "removed", "problems": []}
    elif deeds:
        told = look(told["path"])
    return told | {"deeds": deeds}


def as_text(told: dict[str, Any]) -> str:
    """Return what was said of a queue as lines for people."""
    lines = [f"{_title(told)}: {told['state']}"]
    if "items" in told:
        capacity = told["capacity"]
        bound = "" if capacity >= UNBOUNDED else f" of {capacity:,}"
        items = "?" if told["items"] is None else f"{told['items']:,}{bound}"
        memory = size(told["memory_bytes"])
        large = (
            f", of it {size(told['pool_bytes'])} for large items"
            f" ({size(told['pool_free_bytes'])} free)"
            if told["pool_bytes"]
            else ""
        )
        shut = ", shut down" if told["is_shut"] else ""
        lines.append(f"  items {items}{shut}; memory {memory}{large}")
        lines += [f"  {line}" for line in _seat_lines(told)]
        lines += [f"  {_group_line(group)}" for group in told["groups"]]
    lines += [f"  ! {problem}" for problem in told["problems"]]
    lines += [f"  > {deed}" for deed in told.get("deeds", [])]
    return "\n".join(lines)


def _group_line(group: dict[str, Any]) -> str:
    after = f", after {', '.join(map(repr, group['after']))}" if group["after"] else ""
    lost = f", {group['lapped']:,} lost to it" if group["lapped"] else ""
    gates = "; producers wait for it" if group["gates_tail"] else ""
    behind = f"{group['lag']:,} behind"
    return f"group {group['group']!r} ({group['policy']}{after}): {behind}{lost}{gates}"


def _title(told: dict[str, Any]) -> str:
    if "path" not in told:
        return f"unnamed, of {', '.join(f'process {pid}' for pid in told['pids'])}"
    run = f" (run_id {told['run_id']!r})" if told["run_id"] else ""
    return f"{told['name']!r}{run}"


def _seat_lines(told: dict[str, Any]) -> list[str]:
    if not told["seats"]:
        return []
    ends: dict[int, list[str]] = {}
    for owner in told["owners"]:
        ends.setdefault(owner["seat"], []).append(f"the {owner['end']}")
    rows = [("seat", "process", "", "put", "got", "holds")]
    for row in told["seats"]:
        holds = ends.get(row["seat"], [])
        if row["blocks"]:
            holds = [*holds, f"{count(row['blocks'], 'block')} ({size(row['block_bytes'])})"]
        state = "alive" if row["alive"] else "dead"
        put, got = f"{row['items_put']:,}", f"{row['items_got']:,}"
        rows.append((str(row["seat"]), str(row["pid"]), state, put, got, ", ".join(holds)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numbers = re.compile(r"[\d,]+|put|got|seat|process")
    return [
        "  ".join(
            cell.rjust(width) if numbers.fullmatch(cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
