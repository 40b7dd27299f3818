"""What queues and streams that have a name have in common: making, finding, removing them."""

import errno
import os
from types import TracebackType
from typing import Any, TypeVar

from shmqueue import doctor, segment, serializers, stats
from shmqueue._core import Attachment
from shmqueue._raw import RawQueue
from shmqueue.errors import CorruptSegmentError
from shmqueue.item_types import ItemType

__all__ = ["NamedQueue"]

DEFAULT_SERIALIZER = "cloudpickle"
DEFAULT_ITEM_SIZE = 4096

Self = TypeVar("Self", bound="NamedQueue")


class NamedQueue(RawQueue):
    """A segment that has a name, and what its handles tell of it."""

    _KIND = "Queue"

    def _open_named(
        self,
        name: str,
        run_id: str,
        *,
        create: bool,
        exist_ok: bool,
        allow_other_owner: bool,
        serializer: Any,
        copy: bool,
        wait_strategy: str,
        spin_seconds: float | None,
        dtype: Any,
        capacity: int,
        item_size: int | None,
        max_processes: int,
        mode: int,
        ungrouped: int | None = None,
    ) -> None:
        """Create the segment, or attach to it; `ungrouped` makes it a stream (see `Descriptor`)."""
        self._path = segment.path_of(name, run_id)
        self.set_wait_strategy(wait_strategy, spin_seconds)
        self._name = name
        self._run_id = run_id
        self._allow_other_owner = bool(allow_other_owner)
        item_type = None if dtype is None else ItemType(dtype)
        given = _choice(serializer, item_type)
        if create:
            choice = given or serializers.choose(DEFAULT_SERIALIZER, travels=False)
            wanted = segment.Descriptor(
                capacity,
                _item_size(item_size, item_type),
                max_processes,
                choice,
                mode,
                ungrouped,
                item_type.text.encode() if item_type else b"",
            )
            attachment = self._create(wanted, exist_ok)
        else:
            attachment = segment.attach(self._path, allow_other_owner=self._allow_other_owner)
        if attachment.is_stream != (self._KIND == "Stream"):
            other, call = (
                ("a stream", "Stream") if attachment.is_stream else ("a queue", "SharedMemoryQueue")
            )
            raise ValueError(
                f"{self._name!r} is {other}, not a {self._KIND.lower()}: open it with {call}(...)"
            )
        if given is not None and (given.number, given.name) != (
            attachment.serializer,
            attachment.serializer_name,
        ):
            raise ValueError(
                f"{self._label()} exists with serializer={_serializer_name(attachment)!r}, not"
                f" {serializer or 'dtype'!r}: leave it out to use it as it is"
            )
        if attachment.serializer == serializers.TYPED:
            item_type = self._agreed(item_type, attachment)
        self._begin(attachment)
        if item_type is not None:
            self._set_item_type(item_type)
        self._copy = bool(copy)
        self._set_copies(self._copy)

    def _begin(self, attachment: Attachment) -> None:
        self._bind(attachment, self._label())
        self._capacity = attachment.capacity
        self._item_size = attachment.item_size
        self._serializer = _serializer_name(attachment)
        self._uuid = attachment.uuid
        self._inode = attachment.inode

    def _agreed(self, given: ItemType | None, attachment: Attachment) -> ItemType:
        """Return the type of the items, as it was given, if that is the one that they have."""
        if given is not None and given.text.encode() == attachment.type_text:
            there = given
        else:
            there = ItemType.of_text(attachment.type_text, self._path)
        if there.item_bytes > attachment.item_size:
            raise CorruptSegmentError(f"the items of {self._label()} don't fit its slots")
        if given is not None and given.dtype != there.dtype:
            raise ValueError(
                f"{self._label()} exists with dtype={there.dtype}, not {given.dtype}: leave it out"
                " to use it as it is"
            )
        return given or there

    def _create(self, wanted: segment.Descriptor, exist_ok: bool) -> Attachment:
        doctor.clear_up_abandoned()
        while True:
            try:
                return segment.create(self._path, wanted)
            except FileExistsError:
                if not exist_ok:
                    raise FileExistsError(
                        errno.EEXIST,
                        f"{self._label()} exists already; {segment.describe(self._path)}."
                        " To use it, pass exist_ok=True; to attach, leave create out; to be rid of"
                        f" it, call shmqueue.unlink({self._name!r}"
                        + (f", {self._run_id!r})" if self._run_id else ")"),
                        self._path,
                    ) from None
            try:
                found = segment.attach(self._path, allow_other_owner=self._allow_other_owner)
            except FileNotFoundError:
                continue  # unlinked between the two: create it after all
            if (found.capacity, found.item_size) != (wanted.capacity, wanted.item_size):
                raise ValueError(
                    f"{self._label()} exists with capacity={found.capacity} and"
                    f" item_size={found.item_size}, not capacity={wanted.capacity} and"
                    f" item_size={wanted.item_size}: attach without create, or unlink it first"
                )
            return found

    def _label(self) -> str:
        return f"{self._KIND} {self._name!r}" + (
            f" (run_id {self._run_id!r})" if self._run_id else ""
        )

    # ---- what it is ----

    @property
    def name(self) -> str:
        """The name it was created under."""
        return self._name

    @property
    def run_id(self) -> str:
        """The run it belongs to, or an empty string."""
        return self._run_id

    @property
    def capacity(self) -> int:
        """How many items it holds."""
        return self._capacity

    @property
    def item_size(self) -> int:
        """Bytes of an encoded item that fit a slot."""
        return self._item_size

    @property
    def serializer(self) -> str:
        """The policy by which objects are pickled, or the name of the serializer."""
        return self._serializer

    @property
    def segment_name(self) -> str:
        """Name of the segment's file in /dev/shm."""
        return os.path.basename(self._path)

    def __repr__(self) -> str:
        """Name, and how full it is."""
        which = f"{type(self).__name__} {self._name!r}"
        if self._run_id:
            which += f" run_id={self._run_id!r}"
        try:
            size = self.qsize()
        except ValueError:
            return f"<{which} closed>"
        return f"<{which} {size}/{self._capacity} items, item_size={self._item_size}>"

    # ---- metrics ----

    def get_metrics(self) -> dict[str, Any]:
        """Return a consistent snapshot of the queue's state and counters; takes no lock.

        Returns
        -------
        dict
            ``queue_size``, ``queue_capacity`` (items), ``queue_utilization_percent``,
            ``queue_item_size_bytes``; totals since the queue was created: ``items_put``,
            ``items_got``, ``bytes_put``, ``bytes_got`` (encoded), ``blocked_full_count``,
            ``blocked_full_seconds``, ``blocked_empty_count``, ``blocked_empty_seconds`` (calls that
            had to wait, and how long), ``takeovers`` (owner words taken from dead processes);
            ``high_water_mark`` (most items ever; a sample while it is below a sixteenth of the
            capacity), ``oldest_item_age_seconds`` (None when empty; to within a clock tick of 1 to
            10 ms), ``pool_bytes`` and ``pool_free_bytes`` (memory of large items), ``view_bytes``
            (what of it objects use that were got in place), ``items_viewed`` and ``items_copied``
            (items with large buffers that were got in place, or were copied); ``seats``: a
            dict for each process with ``seat``, ``pid``, ``alive``, its own counters of the same
            names, ``attached_seconds`` and ``idle_seconds``.

        Raises
        ------
        ValueError
            If the queue is closed.
        """
        return stats.metrics(self._attachment)

    # ---- ending ----

    def unlink(self) -> None:
        """Remove the queue's name, so that nobody else can attach; those attached go on.

        Only this very queue is removed: not another that was created under the name since. Works
        on a closed handle too, and is silent if the name is gone already.
        """
        segment.unlink_inode(self._path, self._inode)

    def __enter__(self: Self) -> Self:
        """Return the queue itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the handle; the queue stays for others until somebody unlinks it."""
        self.close()

    # ---- travelling to other processes ----

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel by name: whoever unpickles it attaches to this very segment."""
        return _attach_pickled, (
            type(self),
            self._name,
            self._run_id,
            self._uuid,
            self._allow_other_owner,
            self._copy,
            self.dtype if isinstance(self.dtype, type) else None,
        )


def _attach_pickled(
    kind: Any,
    name: str,
    run_id: str,
    uuid: bytes,
    allow_other_owner: bool,
    copy: bool,
    structure: type | None,
) -> NamedQueue:
    queue: NamedQueue = kind(
        name, run_id=run_id, allow_other_owner=allow_other_owner, copy=copy, dtype=structure
    )
    if queue._uuid != uuid:
        queue.close()
        raise FileNotFoundError(
            errno.ENOENT,
            "the queue that was pickled is gone; another was created under its name since",
            queue._path,
        )
    return queue


def _choice(serializer: Any, item_type: ItemType | None) -> serializers.Choice | None:
    """Return what serialises the items, if anything was said about it."""
    if item_type is not None:
        if serializer is not None:
            raise ValueError("items of a dtype are not serialised: leave the serializer out")
        return serializers.Choice(serializers.TYPED)
    return None if serializer is None else serializers.choose(serializer, travels=False)


def _item_size(given: int | None, item_type: ItemType | None) -> int:
    """Return how large a slot's payload shall be."""
    if item_type is None:
        return DEFAULT_ITEM_SIZE if given is None else given
    if given is not None and given < item_type.item_bytes:
        raise ValueError(
            f"item_size={given} is too small for items of {item_type.item_bytes} bytes: leave it"
            " out where a dtype is given"
        )
    return item_type.item_bytes if given is None else given


def _serializer_name(attachment: Attachment) -> str:
    return serializers.name_of(attachment.serializer, attachment.serializer_name)
