"""Metrics: what an attachment sees, in the words and units that users read."""

from typing import Any

from shmqueue import _inspect
from shmqueue._core import Attachment

__all__ = ["POLICIES", "SUBSCRIBER", "metrics", "name_of", "row"]

NS_PER_SECOND = 1e9
# Of a group: as a segment numbers them.
POLICIES = ("block", "lag", "drop")
SUBSCRIBER = "subscriber-"


def _counters(seen: dict[str, Any]) -> dict[str, Any]:
    return {
        "items_put": seen["items_put"],
        "items_got": seen["items_got"],
        "bytes_put": seen["bytes_put"],
        "bytes_got": seen["bytes_got"],
        "blocked_full_count": seen["blocked_full_count"],
        "blocked_full_seconds": seen["blocked_full_ns"] / NS_PER_SECOND,
        "blocked_empty_count": seen["blocked_empty_count"],
        "blocked_empty_seconds": seen["blocked_empty_ns"] / NS_PER_SECOND,
        "takeovers": seen["takeovers"],
        "items_viewed": seen["items_viewed"],
        "items_copied": seen["items_copied"],
    }


def _seat(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "seat": row["seat"],
        "pid": row["pid"],
        "alive": row["alive"],
        **_counters(row),
        "view_bytes": row["view_bytes"],
        "attached_seconds": row["attached_ns"] / NS_PER_SECOND,
        "idle_seconds": row["idle_ns"] / NS_PER_SECOND,
    }


def metrics(attachment: Attachment) -> dict[str, Any]:
    """Return the metrics of a queue, as `SharedMemoryQueue.get_metrics` documents them."""
    seen = _inspect.snapshot(attachment)
    size = seen["tail"] - seen["head"]
    oldest = seen["oldest_age_ns"]
    return {
        "queue_size": size,
        "queue_capacity": attachment.capacity,
        "queue_utilization_percent": 100.0 * size / attachment.capacity,
        "queue_item_size_bytes": attachment.item_size,
        **_counters(seen),
        "high_water_mark": seen["high_water_mark"],
        "oldest_item_age_seconds": None if oldest is None else oldest / NS_PER_SECOND,
        "pool_bytes": seen["pool_bytes"],
        "pool_free_bytes": seen["pool_free_bytes"],
        "view_bytes": seen["view_bytes"],
        "seats": [_seat(row) for row in _inspect.seat_rows(attachment)],
    }


def row(seen: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """Return what a group is like in the words and units that users read.

    Parameters
    ----------
    seen : dict
        A row of `_groups.rows`.
    names : dict of int to str
        What the groups are called, by number.
    """
    age, keep = seen["oldest_age_ns"], seen["keep_ns"]
    return {
        "group": names[seen["index"]],
        "policy": POLICIES[seen["policy"]] if seen["policy"] < len(POLICIES) else "unknown",
        "drop_after_seconds": keep / NS_PER_SECOND if seen["policy"] == 2 else None,
        "after": [name for index, name in names.items() if seen["after"] >> index & 1],
        "next_sequence": seen["sequence"],
        "items_got": seen["sequence"] - seen["joined_sequence"] - seen["lapped"],
        "depth": seen["ready"],
        "lag": seen["lag"],
        "held": max(0, seen["sequence"] - seen["finished"]),
        "lapped": seen["lapped"],
        "oldest_item_age_seconds": age / NS_PER_SECOND if age is not None and seen["lag"] else None,
        "gates_tail": seen["gates_tail"],
        "blocked_full_seconds": seen["blocked_full_ns"] / NS_PER_SECOND,
    }


def name_of(seen: dict[str, Any]) -> str:
    """Return what a row of `_groups.rows` is called."""
    if seen["is_subscriber"]:
        return f"{SUBSCRIBER}{seen['index']}"
    return str(seen["name"].decode(errors="replace"))
