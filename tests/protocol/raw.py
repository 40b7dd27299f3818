"""A segment's bytes from outside: read and written by the printed field table, not by the queue."""

import functools
import mmap

from shmqueue import _format
from tests import support

TAIL = 0
POOL = 1
HEAD = 3
ENDS = 67

# The low byte of an owner word.
CONTENDED = 1
AWAITED = 2
BATCH_AWAITED = 4
FLAGS = 0xFF

# Of a block's state.
HELD = 1
QUEUED = 2

SIZES = {
    "header": 256,
    "end": 128,
    "class": 16,
    "seat": 192,
    "views": 64,
    "slot": 24,
    "jump": 8,
    "block_ref": 16,
    "block": 64,
    "region": 32,
    "group": 128,
    "hold": 64,
    "stream": 27712,
}


@functools.cache
def fields():
    """Return {(structure, field): (offset, size)}."""
    return {(row[0], row[1]): (row[2], row[3]) for row in _format.layout_fields()}


def tag(seat, generation):
    """Return the owner word of a seat."""
    return generation << 24 | (seat + 1) << 8


class RawSegment:
    """Words of a segment, as whoever attaches a debugger would see and change them.

    A word is stored at once, as the protocol stores it.
    """

    def __init__(self, path):
        with open(path, "r+b") as file:
            head = file.read(SIZES["header"])
            offset, size = fields()["header", "pool_offset"]
            self.mapped_bytes = int.from_bytes(head[offset : offset + size], "little")
            self._map = mmap.mmap(file.fileno(), self.mapped_bytes)
        self._views = {size: memoryview(self._map).cast(c) for size, c in _FORMATS.items()}
        self._bases = {"header": 0}
        self._steps = dict(SIZES)
        for structure in ("end", "class", "seat", "slot", "views", "block"):
            plural = {"class": "classes", "views": "views"}.get(structure, structure + "s")
            self._bases[structure] = self.get("header", 0, plural + "_offset")
        self._bases["stream"] = self.get("header", 0, "stream_offset")
        self._steps["slot"] = self.get("header", 0, "slot_bytes")

    def _place(self, structure, index, field):
        offset, size = fields()[structure, field]
        at = self._bases[structure] + index * self._steps[structure] + offset
        return self._views[size], at // size

    def offset_of(self, structure, index, field=None):
        """Return where a field is in the file; without a field, its structure."""
        offset, _ = fields()[structure, field] if field else (0, 0)
        return self._bases[structure] + index * self._steps[structure] + offset

    def get(self, structure, index, field):
        view, at = self._place(structure, index, field)
        return view[at]

    def set(self, structure, index, field, value):
        view, at = self._place(structure, index, field)
        view[at] = value

    def bytes_at(self, offset, size):
        return bytes(self._map[offset : offset + size])

    def slot_bytes(self, index):
        """Return all bytes of a slot, its own head included."""
        step = self._steps["slot"]
        return self.bytes_at(self._bases["slot"] + index * step, step)

    @property
    def slot_payload_bytes(self):
        return self._steps["slot"] - SIZES["slot"]

    def owner(self, end):
        return self.get("end", end, "owner")

    def set_owner(self, end, word):
        self.set("end", end, "owner", word)

    def seat_of(self, pid):
        """Return the seat that names this process, as (seat, tag)."""
        for seat in range(self.get("header", 0, "seats_granted")):
            if self.get("seat", seat, "pid") == pid:
                return seat, tag(seat, self.get("seat", seat, "generation"))
        raise AssertionError(f"no seat names process {pid}")

    def set_sequences(self, sequence):
        """Make an empty ring stand at this sequence; for handles that didn't use it yet."""
        self.set("end", HEAD, "sequence", sequence)
        self.set("end", TAIL, "sequence", sequence)

    def close(self):
        for view in self._views.values():
            view.release()
        self._map.close()


_FORMATS = {2: "H", 4: "I", 8: "Q"}


class Opener:
    """Open raw segments, and close them with the test."""

    def __init__(self, run_id):
        self._run_id = run_id
        self._opened = []

    def __call__(self):
        """Return the only segment of this test."""
        (file,) = support.segment_files(self._run_id)
        self._opened.append(RawSegment(support.SHM / file))
        return self._opened[-1]

    def close(self):
        for segment in self._opened:
            segment.close()
