"""Streams: one ring on which every group of consumers sees every item."""

import contextlib
import graphlib
import os
from collections.abc import Iterable, Mapping
from queue import Empty, Full
from types import TracebackType
from typing import Any, ClassVar, NoReturn

from shmqueue import _groups
from shmqueue._declared import check_name, declared, listed, policy_of, policy_text, start_of
from shmqueue._readers import Reader
from shmqueue.groups import Group, WritingGroup
from shmqueue.named import NamedQueue
from shmqueue.stats import NS_PER_SECOND, name_of, row

__all__ = ["Stream", "Writer"]

UNGROUPED = {"hold": 0, "drop": 1}


class Stream(NamedQueue):
    """A ring in shared memory on which every group of consumers sees every item.

    Producers put as on a queue. Each `group` has every item, once, in order; within a group the
    consumers share them. Any number of processes; any of them may die at any moment.

    Parameters
    ----------
    name, create, capacity, item_size, run_id, exist_ok, mode, serializer, max_processes, \
allow_other_owner, copy, wait_strategy, spin_seconds, dtype
        As of `SharedMemoryQueue`.
    groups : iterable of str, or mapping of str to dict, optional
        Groups to declare at once, which see the items from the first one on: names, or names and
        their `policy`, `drop_after`, `after` (names) and `start`, as `group` takes them, in any
        order. Only with `create`.
    ungrouped : {"hold", "drop"}, optional
        What becomes of items while there is no group at all, once the ring is full: producers
        wait for the first group (``"hold"``, the default where a stream is created), or the oldest
        items are dropped. Of a stream that exists, it must be what that one does.

    Attributes
    ----------
    Empty, Full : type
        ``queue.Empty`` and ``queue.Full``.

    Raises
    ------
    ValueError
        If the groups come after each other in a circle, or after unknown ones, an argument cannot
        be, or a stream that exists is not as asked for.
    FileNotFoundError, FileExistsError, TypeError, PermissionError, NoFreeSeatError, SegmentError, \
OSError
        As `SharedMemoryQueue` does.

    Examples
    --------
    >>> from shmqueue import Stream
    >>> with Stream("frames", create=True, run_id="docs", groups=["detect", "record"]) as stream:
    ...     stream.put("frame 1")
    ...     with stream.group("detect") as detect, stream.group("record") as record:
    ...         detect.get(), record.get()
    ...     stream.unlink()
    ('frame 1', 'frame 1')
    """

    _KIND = "Stream"

    Empty: ClassVar[type[Empty]] = Empty
    Full: ClassVar[type[Full]] = Full

    def __init__(
        self,
        name: str,
        create: bool = False,
        capacity: int = 1000,
        item_size: int | None = None,
        run_id: str = "",
        *,
        groups: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
        ungrouped: str | None = None,
        exist_ok: bool = False,
        mode: int = 0o600,
        serializer: Any = None,
        max_processes: int = 256,
        allow_other_owner: bool = False,
        copy: bool = False,
        wait_strategy: str = "block",
        spin_seconds: float | None = None,
        dtype: Any = None,
    ) -> None:
        if ungrouped is not None and ungrouped not in UNGROUPED:
            raise ValueError(f'ungrouped must be "hold" or "drop", not {ungrouped!r}')
        # Of each group at the last look, by number and time of opening: when, and what it had got.
        self._got: dict[tuple[int, int], tuple[int, int]] = {}
        wanted = declared(groups)
        if wanted and not create:
            raise ValueError("groups are declared where the stream is created; join one by group()")
        self._open_named(
            name,
            run_id,
            create=create,
            exist_ok=exist_ok,
            allow_other_owner=allow_other_owner,
            serializer=serializer,
            copy=copy,
            wait_strategy=wait_strategy,
            spin_seconds=spin_seconds,
            dtype=dtype,
            capacity=capacity,
            item_size=item_size,
            max_processes=max_processes,
            mode=mode,
            ungrouped=UNGROUPED[ungrouped or "hold"],
        )
        try:
            self._check_ungrouped(ungrouped)
            for group, options in wanted.items():
                self.group(group, **options).close()
        except BaseException:
            if create and not exist_ok:
                self.unlink()
            self.close()
            raise

    def _check_ungrouped(self, wanted: str | None) -> None:
        there = _groups.ungrouped_of(self._attachment)
        if wanted is None or there == UNGROUPED[wanted]:
            return
        names = {number: name for name, number in UNGROUPED.items()}
        raise ValueError(
            f"{self._label()} exists with ungrouped={names.get(there, there)!r}, not {wanted!r}:"
            " leave it out to use it as it is"
        )

    # ---- groups ----

    def group(
        self,
        name: str,
        *,
        policy: str | None = None,
        drop_after: float | None = None,
        after: str | Group | Iterable[str | Group] | None = (),
        start: str | int | None = None,
        create: bool = True,
        writes: bool = False,
        copy: bool | None = None,
    ) -> Group:
        """Join a group, opening it if there is none of that name.

        Parameters
        ----------
        name : str
            At most 64 bytes of UTF-8.
        policy : {"block", "lag", "drop"}, optional
            What becomes of items that it has not taken when the ring is full. ``"block"``, the
            default: producers wait for it. ``"lag"``: it loses the oldest. ``"drop"``: producers
            wait for it until the oldest is `drop_after` seconds old, then it loses that.
        drop_after : float, optional
            Seconds; implies ``"drop"``.
        after : str or Group, or iterable of them, optional
            Groups that must have finished an item before this one may take it.
        start : {"next", "oldest"} or int, optional
            Where a new group begins: with the next item put, the oldest that is still in the
            ring, or that of this sequence. By default ``"next"``; but the first group of a stream
            gets what was held for it. Ignored if the group exists: it goes on where it is.
        create : bool, default True
            Whether to open it if there is none.
        writes : bool, default False
            Whether this consumer changes large items in place, for the groups that come after: see
            `WritingGroup`.
        copy : bool, optional
            Whether large buffers are copied out by default, as `SharedMemoryQueue.get` says.

        Returns
        -------
        Group

        Raises
        ------
        LookupError
            If there is no such group and `create` is false, or one that it should come after.
        ValueError
            If it exists and is not as asked for, there are 64 already, `start` is not in the ring,
            a group of `after` is another stream's, or an argument cannot be.
        TypeError
            If an argument is of another kind than these.
        """
        attachment = self._attachment
        check_name(name)
        if writes and copy:
            raise ValueError("writes=True is to change items in place, copy=True to get copies")
        wanted = policy_of(policy, drop_after)
        rows = self._rows()
        before = self._before(after, rows)
        if not create:
            self._row_of(name, rows)
        index, is_new = _groups.join(
            attachment,
            name.encode(),
            before,
            *(wanted or (_groups.POLICY_BLOCK, 0)),
            *start_of(start, bool(rows)),
            create,
        )
        seen = _groups.row_of(attachment, index)
        if seen is None:
            raise _groups.GroupRemovedError(
                f"group {name!r} of {self._label()} was removed again at once"
            )
        if not is_new:
            self._check_same(name, seen, wanted, before)
        return self._handle(seen, writes, copy)

    def subscribe(
        self,
        *,
        policy: str | None = None,
        drop_after: float | None = None,
        after: str | Group | Iterable[str | Group] | None = (),
        start: str | int | None = None,
        copy: bool | None = None,
    ) -> Group:
        """Open a group of this handle alone, which ends with it or with its process.

        Parameters
        ----------
        policy, drop_after, after, start, copy
            As in `group`.

        Returns
        -------
        Group

        Raises
        ------
        LookupError, TypeError, ValueError
            As in `group`.
        """
        attachment = self._attachment
        rows = self._rows()
        subscription = _groups.Subscription(
            attachment,
            self._before(after, rows),
            *(policy_of(policy, drop_after) or (_groups.POLICY_BLOCK, 0)),
            *start_of(start, bool(rows)),
        )
        seen = _groups.row_of(attachment, subscription.index)
        if seen is None:
            raise _groups.GroupRemovedError(
                f"the subscription of {self._label()} was removed again at once"
            )
        try:
            group = self._handle(seen, False, copy)._end_with_handle()
            subscription.hand_over()
            return group
        except BaseException:
            subscription.leave()
            raise

    def groups(self) -> list[str]:
        """Return the names of the groups that there are; a subscriber's tells its number."""
        return [name_of(seen) for seen in self._rows()]

    def remove_group(self, name: str) -> None:
        """Remove a group, for all its consumers: their next take raises GroupRemovedError.

        Parameters
        ----------
        name : str

        Raises
        ------
        LookupError
            If there is none of that name.
        ValueError
            If other groups come after it.
        """
        seen = self._row_of(name, self._rows())
        _groups.leave(self._attachment, seen["index"], seen["state"])

    def skip_to_latest(self) -> int:
        """Have every group skip all items but the newest; return how many were skipped, at most.

        In a pipeline, the newest comes through all of it. Behind what a consumer has in hand,
        nothing is skipped by the groups that come after its own; and what it finishes during this
        call may be skipped by them, though it is the newest.
        """
        attachment = self._attachment
        most = 0
        for index, state in _pipelined(self._rows()):
            with contextlib.suppress(_groups.GroupRemovedError):
                reader = Reader(attachment, index, state, False)
                most = max(most, _groups.skip(attachment, reader, self._to_keep(index)))
        return most

    def _to_keep(self, index: int) -> int:
        """Return how many of the items that a group can take are the newest: one, or none yet.

        None: those that it comes after have not finished it. What is put during the look counts as
        that, and comes through them.
        """
        seen = _groups.row_of(self._attachment, index)
        return int(seen is None or not seen["after"] or seen["ready"] == seen["lag"])

    def _handle(self, seen: dict[str, Any], writes: bool, copy: bool | None) -> Group:
        label = f"group {name_of(seen)!r} of {self._label()}"
        if copy is None:
            copy = self._copy and not writes
        kind = WritingGroup if writes else Group
        handle = kind(self._attachment, seen, label, writes, copy)
        handle._be_like(self)
        return handle

    def _rows(self) -> list[dict[str, Any]]:
        return _groups.rows(self._attachment)

    def _row_of(self, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        for seen in rows:
            if name_of(seen) == name:
                return seen
        there = ", ".join(repr(name_of(seen)) for seen in rows) or "none at all"
        raise LookupError(f"{self._label()} has no group {name!r}; there is {there}")

    def _before(
        self, after: str | Group | Iterable[str | Group] | None, rows: list[dict[str, Any]]
    ) -> dict[int, int]:
        """Return number and state of each group that another should come after."""
        found = [self._row_of(self._name_of(other), rows) for other in listed(after)]
        for seen in found:
            if seen["is_subscriber"]:
                raise ValueError(
                    f"{name_of(seen)!r} is a subscription, which ends when its process does: come"
                    " after a group that has a name"
                )
        return {seen["index"]: seen["state"] for seen in found}

    def _name_of(self, other: Any) -> str:
        """Return the name of a group that was given by it, or by a handle."""
        if isinstance(other, str):
            return other
        if not isinstance(other, Group):
            raise TypeError(
                f"`after` is the name of a group, a Group, or an iterable of these, not {other!r}"
            )
        if other._attachment.uuid != self._attachment.uuid:
            raise ValueError(f"group {other.name!r} is another stream's, not {self._label()}'s")
        return other.name

    def _check_same(
        self,
        name: str,
        seen: dict[str, Any],
        wanted: tuple[int, int] | None,
        before: dict[int, int],
    ) -> None:
        if wanted is not None and wanted != (seen["policy"], seen["keep_ns"]):
            raise ValueError(
                f"group {name!r} exists with policy"
                f" {policy_text(seen['policy'], seen['keep_ns'])}, not {policy_text(*wanted)}:"
                " leave it out to join the group as it is"
            )
        if before and seen["after"] != sum(1 << index for index in before):
            after = [
                name_of(other) for other in self._rows() if seen["after"] >> other["index"] & 1
            ]
            raise ValueError(
                f"group {name!r} exists and comes after {', '.join(after) or 'no other'}: leave"
                " `after` out to join it as it is"
            )

    # ---- writers ----

    def writer(self) -> "Writer":
        """Register a writer: with the last of them to finish, or to die, the stream is at its end.

        A context manager. Consumers get what there is and then ShutDown; iterating over a group
        ends. Where writers begin at different times, whoever starts them registers one as well,
        and finishes it when they are done.

        Raises
        ------
        ShutDown
            If the stream is at its end already.
        ValueError
            If 256 writers are registered, or the handle is closed.
        """
        return Writer(self)

    def shutdown(self, immediate: bool = False) -> None:
        """End the stream for everybody: nothing is put any more, by whatever process.

        Parameters
        ----------
        immediate : bool, default False
            Whether the groups get nothing any more; otherwise each gets what there is, and then
            ShutDown.

        Raises
        ------
        ValueError
            If the handle is closed.
        """
        _groups.shut(self._attachment, bool(immediate))

    # ---- looking ----

    def _next_sequence(self) -> int:
        """Return the sequence of the next item to be put."""
        return _groups.tail_of(self._attachment)

    def qsize(self) -> int:
        """Return how many items are in the ring for some group, or held for the first one."""
        rows = self._rows()
        return max(seen["lag"] for seen in rows) if rows else super().qsize()

    def get_metrics(self) -> dict[str, Any]:
        """Return a snapshot of the stream's state and counters, as of a queue, and of its groups.

        Returns
        -------
        dict
            As `SharedMemoryQueue.get_metrics`. ``queue_size`` and ``oldest_item_age_seconds`` are
            those of the group that is furthest behind; without any group, of what is held.
            ``items_got`` is the sum over the groups. ``high_water_mark`` counts the slots in use,
            which producers take back when they find no room, about once a lap: it comes to the
            capacity after as many items, however quick the groups are.
            ``groups``: a dict for each with ``group``, ``policy``, ``drop_after_seconds``,
            ``after``, ``next_sequence``, ``items_got`` (or skipped), ``depth`` (what it could
            take), ``lag`` (what was put and not taken), ``held`` (taken and not finished),
            ``lapped`` (lost), ``oldest_item_age_seconds``, ``gates_tail`` (whether it is the one
            that producers wait for, if they wait), ``blocked_full_seconds`` (how long producers
            have waited for it, together) and ``items_per_second`` (got since this handle asked
            last; the first time since the group was opened).
        """
        seen = self._rows()
        names = {each["index"]: name_of(each) for each in seen}
        rates = self._rates_of(seen)
        rows = [{**row(each, names), "items_per_second": rates[each["index"]]} for each in seen]
        whole = super().get_metrics()
        if rows:
            # The ring's own figures are those of the floor, which follows the groups later.
            last = max(rows, key=lambda each: each["lag"])
            whole["queue_size"] = last["lag"]
            whole["queue_utilization_percent"] = 100.0 * last["lag"] / self._capacity
            whole["oldest_item_age_seconds"] = last["oldest_item_age_seconds"]
        return {
            **whole,
            "items_got": sum(each["items_got"] for each in rows),
            "groups": rows,
        }

    def _rates_of(self, rows: list[dict[str, Any]]) -> dict[int, float]:
        """Return how many items a second each group has got since this was asked last."""
        before, self._got = self._got, {}
        rates = {}
        for seen in rows:
            opened_ns, group = seen["opened_ns"], (seen["index"], seen["opened_ns"])
            since_ns, had = before.get(group, (opened_ns, seen["joined_sequence"]))
            now_ns, got = seen["seen_ns"], seen["sequence"] - seen["lapped"]
            self._got[group] = now_ns, got
            elapsed_ns = max(1, now_ns - since_ns)
            rates[seen["index"]] = (got - had) * NS_PER_SECOND / elapsed_ns
        return rates

    # ---- what a stream has not: its items are its groups' ----

    def _no_get(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise TypeError: the items of a stream are got from its groups.

        Parameters
        ----------
        *args, **kwargs
            Whatever they are.
        """
        raise TypeError(
            f"the items of {self._label()} are got from its groups: stream.group(name).get()"
        )

    get = get_nowait = get_batch = get_bytes = get_into = get_view = _no_get


class Writer:
    """A registered writer of a stream; see `Stream.writer`. It puts as the stream does."""

    def __init__(self, stream: Stream) -> None:
        self._pid = os.getpid()
        self._registration: _groups.Registration | None = _groups.Registration(stream._attachment)
        self.put = stream.put
        self.put_nowait = stream.put_nowait
        self.put_batch = stream.put_batch
        self.put_bytes = stream.put_bytes
        self.reserve = stream.reserve
        self.reserve_array = stream.reserve_array

    def finish(self) -> None:
        """Finish: nothing more comes from this writer.

        Raises
        ------
        ValueError
            If it has finished already.
        RuntimeError
            In another process than the one that registered it.
        """
        if os.getpid() != self._pid:
            raise RuntimeError(
                "a writer belongs to the process that registered it, which finishes it: register"
                " one here by stream.writer()"
            )
        registration, self._registration = self._registration, None
        if registration is None:
            raise ValueError("the writer has finished already")
        self.put = self.put_nowait = self.put_batch = self.put_bytes = _has_finished
        self.reserve = self.reserve_array = _has_finished
        registration.finish()

    def _finish_if_mine(self) -> None:
        """Finish, unless that was done, or is for the process that this one was forked from."""
        if self._registration is not None and self._pid == os.getpid():
            self.finish()

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: it would be finished twice."""
        raise TypeError("a writer is not pickled: pass the stream, and call writer() there")

    def __enter__(self) -> "Writer":
        """Return the writer."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish, unless that was done."""
        self._finish_if_mine()


def _has_finished(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise ValueError: what the puts of a writer are once it has finished."""
    raise ValueError("the writer has finished")


def _pipelined(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return number and state of groups, each behind those that it comes after."""
    states = {seen["index"]: seen["state"] for seen in rows}
    before = {
        seen["index"]: [other for other in states if seen["after"] >> other & 1] for seen in rows
    }
    return [(index, states[index]) for index in graphlib.TopologicalSorter(before).static_order()]
