"""How much memory may still be taken before the kernel kills for it.

A file in memory that no file system bounds has no limit of its own: where the machine's memory
ends, or that of a control group, there is no error but the out-of-memory killer. So whoever grows
asks here first, and stops in time.
"""

import errno
import os
from pathlib import Path

__all__ = ["headroom_bytes", "shortage", "total_bytes"]

# What is left to everybody else: a sixteenth, but no more than this.
MARGIN_BYTES = 128 << 20

CGROUP_ROOT = Path("/sys/fs/cgroup")
UNLIMITED_FROM = 1 << 60  # a limit of version 1 that is none reads as nearly 2**63


def headroom_bytes() -> int:
    """Return how many bytes may be taken now, by the machine's account and the control group's."""
    meminfo = _meminfo()
    room, whole = meminfo.get("MemAvailable", 1 << 62), meminfo.get("MemTotal", 1 << 62)
    for limit, used in _control_groups():
        room, whole = min(room, limit - used), min(whole, limit)
    return max(0, room - min(MARGIN_BYTES, whole // 16))


def total_bytes() -> int:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def shortage(
    wanted: int, fd: int, directory: str | None, pool_limit: int, ring_limit: int | None
) -> OSError:
    """Return the error that says how much memory was wanted of a segment, and how much there is.

    Parameters
    ----------
    wanted : int
        Bytes of the item.
    fd : int
        The segment.
    directory : str or None
        Of a named segment, where it is.
    pool_limit : int
        Bytes that its large items may take together.
    ring_limit : int or None
        The same of its small ones, if the ring grows.
    """
    limits = f"{pool_limit} for all large items of this queue"
    if ring_limit is not None:
        limits += f", {ring_limit} for all small ones"
    available = headroom_bytes()
    where = "to this machine or control group"
    if directory is not None:
        system = os.fstatvfs(fd)
        if system.f_bavail * system.f_frsize <= available:
            available = system.f_bavail * system.f_frsize
            where = f"in {directory}"
    return OSError(
        errno.ENOSPC,
        f"no shared memory for the item: wanted {wanted} bytes, available {available} {where};"
        f" at most {limits}; the queue is as before",
    )


def _meminfo() -> dict[str, int]:
    """Read /proc/meminfo, in bytes; empty where there is none."""
    found = {}
    for line in _text(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        number, _, unit = value.strip().partition(" ")
        if unit == "kB":
            found[name] = int(number) * 1024
    return found


def _control_groups() -> list[tuple[int, int]]:
    """Return (limit, bytes in use that can't be reclaimed) of each group that has a limit."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            return _levels(CGROUP_ROOT, path, "memory.max", "memory.current")
        if "memory" in controllers.split(","):
            return _levels(
                CGROUP_ROOT / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes"
            )
    return []


def _levels(root: Path, path: str, limit_name: str, used_name: str) -> list[tuple[int, int]]:
    found = []
    group = root / path.lstrip("/")
    if not group.is_dir():
        group = root  # a container sees its own group as the root of all
    for level in [group, *group.parents]:
        if not level.is_relative_to(root):
            break
        limit = _text(level / limit_name).strip()
        used = _text(level / used_name).strip()
        if not limit.isdigit() or not used.isdigit() or int(limit) >= UNLIMITED_FROM:
            continue
        reclaimable = 0
        for line in _text(level / "memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                reclaimable = int(value)
        found.append((int(limit), max(0, int(used) - reclaimable)))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
