# cython: binding=False
"""Looking at a queue from outside, without a lock: what metrics are made of."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shmqueue._core cimport Attachment
from shmqueue._protocol cimport (
    SHMQ_GROUP_NAME,
    now_ns,
    shmq_counters,
    shmq_group_look,
    shmq_group_seen,
    shmq_seat_is_held,
    shmq_seat_snapshot,
    shmq_seats_granted,
    shmq_snapshot,
    shmq_snapshot_ends,
    shmq_snapshot_seat,
    shmq_snapshot_take,
    shmq_view,
)


def snapshot(Attachment attachment not None):
    """Sequences, marks and totals, in items, bytes and nanoseconds.

    Returns
    -------
    dict
        ``oldest_age_ns`` is None when the ring is empty.
    """
    cdef shmq_snapshot seen
    shmq_snapshot_take(attachment.view, &seen)
    result = _counters_dict(&seen.totals)
    result["tail"] = seen.tail
    result["head"] = seen.head
    result["high_water_mark"] = seen.high_water_mark
    result["pool_bytes"] = seen.pool_bytes
    result["pool_free_bytes"] = seen.pool_free_bytes
    result["view_bytes"] = seen.view_bytes
    result["oldest_age_ns"] = (
        max(0, <int64_t>(now_ns() - seen.oldest_put_ns)) if seen.oldest_put_ns else None
    )
    return result


def seat_rows(Attachment attachment not None):
    """A dict for each seat that is taken, or that its last holder left by dying."""
    return rows_of(attachment.view)


cdef list rows_of(const shmq_view *view):
    cdef shmq_seat_snapshot row
    cdef uint32_t index
    cdef uint64_t now = now_ns()
    rows = []
    for index in range(shmq_seats_granted(view)):
        if not shmq_snapshot_seat(view, index, &row):
            continue
        is_held = shmq_seat_is_held(view, index) != 0
        # Who leaves in order says so before the seat is free.
        if not is_held and view.seats[index].pid != row.pid:
            continue
        seen = _counters_dict(&row.own)
        seen["seat"] = index
        seen["pid"] = row.pid
        seen["view_bytes"] = row.view_bytes
        seen["alive"] = is_held
        seen["attached_ns"] = max(0, <int64_t>(now - row.attached_ns))
        seen["idle_ns"] = max(0, <int64_t>(now - row.active_ns))
        rows.append(seen)
    return rows


cdef dict group_row(const shmq_view *view, uint32_t group):
    """What a group of a stream is like, in items and nanoseconds; None if it is not open."""
    cdef shmq_group_seen seen
    cdef uint64_t head, tail, now
    if not shmq_group_look(view, group, &seen):
        return None
    shmq_snapshot_ends(view, &head, &tail)
    now = now_ns()
    return {
        "index": group,
        "state": seen.state,
        "name": seen.group.name[: min(seen.group.name_bytes, SHMQ_GROUP_NAME)],
        "is_subscriber": seen.group.subscriber != 0,
        "policy": seen.group.policy,
        "keep_ns": seen.group.keep_ns,
        "after": seen.group.after,
        "joined_sequence": seen.group.joined_sequence,
        "sequence": seen.sequence,
        "finished": seen.finished,
        "lapped": seen.lapped,
        "ready": max(0, <int64_t>(seen.gate - seen.sequence)),
        "lag": max(0, <int64_t>(tail - seen.sequence)),
        "gates_tail": bool(seen.gates_floor),
        "opened_ns": seen.group.opened_ns,
        "blocked_full_ns": seen.group.blocked_full_ns,
        "seen_ns": now,
        "oldest_age_ns": (
            max(0, <int64_t>(now - seen.oldest_put_ns)) if seen.oldest_put_ns else None
        ),
    }


cdef _counters_dict(const shmq_counters *counters):
    return {
        "items_put": counters.items_put,
        "items_got": counters.items_got,
        "bytes_put": counters.bytes_put,
        "bytes_got": counters.bytes_got,
        "blocked_full_count": counters.blocked_full_count,
        "blocked_full_ns": counters.blocked_full_ns,
        "blocked_empty_count": counters.blocked_empty_count,
        "blocked_empty_ns": counters.blocked_empty_ns,
        "takeovers": counters.takeovers,
        "items_viewed": counters.items_viewed,
        "items_copied": counters.items_copied,
    }
