"""Metrics: what an attachment sees, in the words and units that users read."""

from typing import Any

from shmqueue import _inspect
from shmqueue._core import Attachment

__all__ = ["metrics"]

NS_PER_SECOND = 1e9


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
