"""Which queues there are, who has them, what the dead left in them; and clearing that up.

A look takes no seat and writes nothing. What it finds is repaired on request; and when a named
queue is created, those that everybody left by dying are cleared up as well, since the memory they
keep for nobody is what the new one may be short of.
"""

from __future__ import annotations

import os
import random
import stat
import time
from typing import Any
from urllib.parse import unquote

from shmqueue import segment
from shmqueue._examine import examine, is_held, lock_out, was_abandoned
from shmqueue._repair import repair
from shmqueue.errors import (
    ForeignSegmentError,
    NoFreeSeatError,
    SegmentError,
    SegmentVersionError,
)
from shmqueue.stats import name_of, row

__all__ = [
    "clear_up_abandoned",
    "count",
    "fix",
    "look",
    "look_at_named",
    "look_at_unnamed",
    "remove_orphan",
    "size",
]

# States of a queue.
IN_USE = "in use"
UNATTENDED = "unattended"  # nobody is attached
DAMAGED = "damaged"
FOREIGN = "foreign"
UNREADABLE = "unreadable"

# Who creates a queue looks at so many others, at most.
ABANDONED_LOOKED_AT = 16
CLEAR_UP_PAUSE_SECONDS = 1.0
# A living holder of the head is in a copy, or stopped: then the rest is left to the next one.
REPAIR_ATTEMPTS = 200
MEMORY_FILE = "/memfd:shmqueue (deleted)"

_last_clear_up = float("-inf")


def look_at_named() -> list[dict[str, Any]]:
    """Look at every file in /dev/shm that has the name of a queue.

    Returns
    -------
    list of dict
        As `look`, sorted by name.
    """
    return [look(os.path.join(segment.DIRECTORY, file)) for file in sorted(_file_names())]


def _file_names() -> list[str]:
    try:
        return [file for file in os.listdir(segment.DIRECTORY) if file.startswith(segment.PREFIX)]
    except OSError:
        return []  # there is none, or it is not ours to read


def look(path: str) -> dict[str, Any]:
    """Say what is known of a named segment.

    Parameters
    ----------
    path : str
        Where its file is.

    Returns
    -------
    dict
        ``path``, ``name``, ``run_id``, ``state``, ``problems`` (sentences; empty if all is well);
        where it can be read ``uid``, ``mode`` and ``inode`` (with the device, what tells it from
        another of its name); and if it is sound what `examine` tells.
    """
    name, _, run_id = os.path.basename(path)[len(segment.PREFIX) :].partition("@")
    told: dict[str, Any] = {
        "path": path,
        "uid": None,
        "name": unquote(name),
        "run_id": unquote(run_id),
        "state": UNREADABLE,
        "problems": [],
    }
    try:
        told["uid"] = os.lstat(path).st_uid
        fd = segment.open_regular(path, os.O_RDONLY)
    except ForeignSegmentError as error:
        return told | {"state": FOREIGN, "problems": [str(error)]}
    except OSError as error:
        return told | {"problems": [f"cannot be opened: {error.strerror}"]}
    try:
        return told | _look_through(fd, path)
    finally:
        os.close(fd)


def _look_through(fd: int, path: str, blocks: bool = True) -> dict[str, Any]:
    """Return what can be told by way of a descriptor that holds no seat."""
    status = os.fstat(fd)
    told: dict[str, Any] = {
        "uid": status.st_uid,
        "mode": stat.S_IMODE(status.st_mode),
        "inode": (status.st_dev, status.st_ino),
    }
    try:
        seen = examine(fd, path, blocks)
    except (ForeignSegmentError, SegmentVersionError) as error:
        return told | {"state": FOREIGN, "problems": [str(error)]}
    except (SegmentError, OSError) as error:
        held = "; processes are attached to it" if is_held(fd) else "; no process is attached to it"
        state = DAMAGED if isinstance(error, SegmentError) else UNREADABLE
        return told | {"state": state, "is_held": is_held(fd), "problems": [f"{error}{held}"]}
    names = {group["index"]: name_of(group) for group in seen["groups"]}
    seen["groups"] = [
        row(group, names) | {key: group[key] for key in ("subscriber", "dead_holds")}
        for group in seen["groups"]
    ]
    state = IN_USE if any(row["alive"] for row in seen["seats"]) else UNATTENDED
    return told | {"state": state, "problems": _problems(seen)} | seen


def _problems(seen: dict[str, Any]) -> list[str]:
    problems = _left_by_the_dead(seen)
    if seen["items"] is None:
        problems.append("head and tail contradict each other: something else wrote into it")
    return problems


def _left_by_the_dead(seen: dict[str, Any]) -> list[str]:
    """Return the problems that a repair ends."""
    problems = [
        f"process {row['pid']} ended with {count(row['blocks'], 'block')} in its hands"
        f" ({size(row['block_bytes'])})"
        for row in seen["seats"]
        if row["blocks"] and not row["alive"]
    ]
    problems += [
        f"the {owner['end']} is in the hands of {_who(owner)} that ended: whoever needs it next"
        " takes it over"
        for owner in seen["owners"]
        if not owner["alive"]
    ]
    for group in seen["groups"]:
        name = group["group"]
        if group["subscriber"] and not group["subscriber"]["alive"]:
            problems.append(
                f"{name} belongs to {_who(group['subscriber'])} that ended: whoever needs room"
                " removes it"
            )
        if group["dead_holds"]:
            problems.append(
                f"{count(group['dead_holds'], 'consumer')} of group {name!r} ended with items"
                " unfinished: who comes after goes on as soon as it looks"
            )
    if seen["writers"] and not any(writer["alive"] for writer in seen["writers"]):
        problems.append("all writers ended without finishing: whoever gets sees to the end")
    if seen["lost_blocks"]:
        problems.append(
            f"{count(seen['lost_blocks'], 'block')} ({size(seen['lost_bytes'])}) that the dead"
            " held are not free yet"
        )
    return problems


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']}" if holder["pid"] else "one"


def look_at_unnamed() -> list[dict[str, Any]]:
    """Look at the unnamed queues of all processes that this user may look into.

    Returns
    -------
    list of dict
        As `look`, with ``pids``, the processes that have a descriptor of it, instead of a path and
        a name. There are no problems in them to be repaired: what the dead hold is taken when it is
        needed, and goes with the last process.
    """
    found: dict[int, dict[str, Any]] = {}
    for pid in _pids():
        for path in _memory_files(pid):
            try:
                # O_NONBLOCK: any file can have any name.
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                inode = os.fstat(fd).st_ino
                if inode not in found:
                    found[inode] = {"inode": inode, "pids": []} | _look_through(fd, segment.UNNAMED)
                if pid not in found[inode]["pids"]:
                    found[inode]["pids"].append(pid)
            finally:
                os.close(fd)
    return list(found.values())


def _memory_files(pid: int) -> list[str]:
    paths = []
    for path in _descriptors(pid):
        try:
            if os.readlink(path) == MEMORY_FILE and stat.S_ISREG(os.stat(path).st_mode):
                paths.append(path)
        except OSError:
            continue  # closed since: the others may be open
    return paths


def _descriptors(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    try:
        return [f"{folder}/{number}" for number in os.listdir(folder)]
    except OSError:
        return []  # gone, or another user's


# ---- clearing up ---------------------------------------------------------------------------------


def fix(told: dict[str, Any]) -> list[str]:
    """Repair what `look` found in a named segment.

    What the dead held becomes free; their seats are left in order. A damaged segment that nobody
    is attached to is removed: no program of this version can open it again.

    Parameters
    ----------
    told : dict
        What `look` said.

    Returns
    -------
    list of str
        What was done, in sentences; what could not be done raises nothing and is still there when
        it is looked at again.
    """
    path = told["path"]
    if told["state"] == DAMAGED and not told["is_held"]:
        return _removed(told, "as it can't be opened")
    if told["state"] not in (IN_USE, UNATTENDED):
        return []
    # What the dead left may be there when somebody else has their seats already.
    if not _left_by_the_dead(told) and all(row["alive"] for row in told["seats"]):
        return []
    try:
        return _cleared(path, trim=told["state"] != IN_USE, allow_other_owner=True)
    except (SegmentError, NoFreeSeatError, OSError, ValueError) as error:
        return [f"could not be repaired: {error}"]


def _cleared(path: str, trim: bool, allow_other_owner: bool = False) -> list[str]:
    attachment = segment.look_at(path, allow_other_owner)
    for _ in range(REPAIR_ATTEMPTS):
        if repair(attachment, trim):
            return ["what the dead held is free"]
        os.sched_yield()
    return [
        "not all that the dead held could be freed: a living process holds the head or the tail"
    ]


def remove_orphan(told: dict[str, Any]) -> list[str]:
    """Remove a queue that nobody is attached to, with the items that are in it.

    A process that was forked from one that had it, and has not used it yet, has no seat; it is
    found by its descriptor, as far as this user may look.

    Parameters
    ----------
    told : dict
        What `look` said.

    Returns
    -------
    list of str
        What was done, in sentences.
    """
    if told["state"] != UNATTENDED:
        return []
    pids = _pids_with(told["inode"])
    if pids:
        return [f"left alone: process {pids[0]} has a descriptor of it"]
    return _removed(told, "as nobody has it")


def _pids_with(inode: tuple[int, int]) -> list[int]:
    """Return the processes with a descriptor of a file, of those that this user may look into."""
    return [pid for pid in _pids() if inode in _inodes_of(pid)]


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _inodes_of(pid: int) -> set[tuple[int, int]]:
    found = set()
    for path in _descriptors(pid):
        try:
            status = os.stat(path)
        except OSError:
            continue  # closed since: the others may be open
        found.add((status.st_dev, status.st_ino))
    return found


def _removed(told: dict[str, Any], why: str) -> list[str]:
    """Remove what was looked at, unless it has changed since; nobody attaches meanwhile."""
    path = told["path"]
    try:
        fd = segment.open_regular(path, os.O_RDWR)
    except (SegmentError, OSError) as error:
        return [f"could not be removed: {error}"]
    try:
        if not lock_out(fd):
            return ["left alone: a process has just attached to it"]
        again = _look_through(fd, path, blocks=False)
        same = ("inode", "state", "items_put", "items_got")
        if [again.get(key) for key in same] != [told.get(key) for key in same]:
            return ["left alone: it is not what it was a moment ago"]
        segment.unlink_inode(path, told["inode"])
    except OSError as error:
        return [f"could not be removed: {error.strerror}"]
    finally:
        os.close(fd)
    items = f", with {count(again['items'], 'item')}" if again.get("items") else ""
    return [f"removed, {why}{items}"]


def clear_up_abandoned() -> None:
    """Free what the dead hold in queues of this user that nobody is attached to, without a word.

    Names and items stay. At most a few are looked at, others each time, and only once in a second.
    The environment variable SHMQUEUE_CLEAR_UP=0 turns it off.
    """
    global _last_clear_up
    now = time.monotonic()
    if now - _last_clear_up < CLEAR_UP_PAUSE_SECONDS or os.environ.get("SHMQUEUE_CLEAR_UP") == "0":
        return
    _last_clear_up = now
    files = _file_names()
    for file in random.SystemRandom().sample(files, min(len(files), ABANDONED_LOOKED_AT)):
        path = os.path.join(segment.DIRECTORY, file)
        try:
            if _is_abandoned(path):
                _cleared(path, trim=True)
        except (SegmentError, NoFreeSeatError, OSError, ValueError):
            pass  # not ours, not sound, or full: for the doctor to tell


def _is_abandoned(path: str) -> bool:
    fd = segment.open_regular(path, os.O_RDONLY)
    try:
        return os.fstat(fd).st_uid == os.geteuid() and was_abandoned(fd, path)
    finally:
        os.close(fd)


# ---- words ---------------------------------------------------------------------------------------


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(number: int) -> str:
    """Return a number of bytes in a unit that people read."""
    for unit, bytes_each in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if number >= bytes_each:
            return f"{number / bytes_each:.1f} {unit}"
    return f"{number} bytes"
