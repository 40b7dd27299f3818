"""What travels: numbered payloads with their checksums; and the account that a reader keeps."""

from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import asdict, dataclass
from typing import Any

np: Any
try:
    import numpy as np
except ImportError:
    np = None

__all__ = ["HEADER_BYTES", "Filler", "Ledger", "Tally", "np"]

# The item's number, counted by its writer; when it was put (monotonic nanoseconds); the writer's
# number; the CRC32 of the rest of the payload and of what stands here before it.
_HEADER = struct.Struct("<QQII")
_SUMMED = struct.Struct("<QQI")
HEADER_BYTES = _HEADER.size

# The rests of consecutive payloads differ, so that one which is torn between two of them is
# noticed: windows of one pattern, whose checksums are computed once. A prime, so that no number of
# slots brings the same rest to the same place again and again.
VARIANTS = 31
STRIDE = 64
# Of what is missing, so much is remembered, to tell what comes late from what comes twice.
GAPS_REMEMBERED = 1000


class Filler:
    """Makes the payloads of one writer, where they will lie.

    Parameters
    ----------
    writer : int
        Its number.
    slot_bytes : int
        Size of a payload.
    sums : bool
        Whether the checksums are computed.
    """

    def __init__(self, writer: int, slot_bytes: int, sums: bool) -> None:
        self._writer = writer
        self._rest_bytes = slot_bytes - HEADER_BYTES
        self._pattern = np.frombuffer(os.urandom(self._rest_bytes + VARIANTS * STRIDE), "uint8")
        self._sums: list[int | None] = [None if sums else 0] * VARIANTS
        self._is_summed = sums

    def fill(self, slot: Any, number: int) -> None:
        """Write a payload.

        Parameters
        ----------
        slot : numpy.ndarray
            Where it goes; as many bytes as a payload has.
        number : int
            Its number.
        """
        variant = number % VARIANTS
        rest = self._pattern[variant * STRIDE :][: self._rest_bytes]
        slot[HEADER_BYTES:] = rest
        sum_of_rest = self._sums[variant]
        if sum_of_rest is None:
            sum_of_rest = self._sums[variant] = zlib.crc32(rest)
        # Last of all: what the copy took does not count as latency.
        now = time.monotonic_ns()
        head = _SUMMED.pack(number, now, self._writer)
        crc = zlib.crc32(head, sum_of_rest) if self._is_summed else 0
        _HEADER.pack_into(slot, 0, number, now, self._writer, crc)


@dataclass
class Tally:
    """What a reader saw of one writer.

    Attributes
    ----------
    items : int
        How many items came, each counted once.
    next : int
        The number that comes next, if none is left out.
    doubled, out_of_order : int
        How many came again, and how many behind a later one.
    """

    items: int = 0
    next: int = 0
    doubled: int = 0
    out_of_order: int = 0


class Ledger:
    """The account of one reader: every item once, in the order of its writer, as it was put.

    Parameters
    ----------
    writers : int
        How many there are.
    slot_bytes : int
        Size of a payload.
    sums : bool
        Whether the checksums are checked.

    Attributes
    ----------
    items : int
        How many were taken, whatever they were.
    torn : int
        How many of them are not what any writer put.
    """

    def __init__(self, writers: int, slot_bytes: int, sums: bool) -> None:
        self.items = 0
        self.torn = 0
        self._slot_bytes = slot_bytes
        self._sums = sums
        self._tallies = [Tally() for _ in range(writers)]
        # (first, behind the last) of numbers that were passed over, of each writer.
        self._gaps: list[list[tuple[int, int]]] = [[] for _ in range(writers)]

    def take(self, item: Any) -> int | None:
        """Enter an item.

        Parameters
        ----------
        item : numpy.ndarray
            What came.

        Returns
        -------
        int or None
            Nanoseconds since it was put; None if it is torn.
        """
        now = time.monotonic_ns()
        self.items += 1
        if getattr(item, "nbytes", None) != self._slot_bytes or item.dtype != np.uint8:
            self.torn += 1
            return None
        number, put_ns, writer, crc = _HEADER.unpack_from(item)
        if writer >= len(self._tallies) or (self._sums and crc != _crc_of(item)):
            self.torn += 1
            return None
        self._enter(writer, number)
        return max(0, now - int(put_ns))

    def _enter(self, writer: int, number: int) -> None:
        tally, gaps = self._tallies[writer], self._gaps[writer]
        if number >= tally.next:
            if number > tally.next:
                gaps.append((tally.next, number))
                del gaps[:-GAPS_REMEMBERED]
            tally.next = number + 1
            tally.items += 1
            return
        for index, (first, behind) in enumerate(gaps):
            if first <= number < behind:
                parts = [(first, number), (number + 1, behind)]
                gaps[index : index + 1] = [part for part in parts if part[0] < part[1]]
                tally.items += 1
                tally.out_of_order += 1
                return
        tally.doubled += 1

    @property
    def wrong(self) -> int:
        """How many items were torn, doubled or out of order."""
        return self.torn + sum(tally.doubled + tally.out_of_order for tally in self._tallies)

    def tallies(self) -> list[dict[str, int]]:
        """Return what was seen of each writer, as dicts of `Tally`."""
        return [asdict(tally) for tally in self._tallies]


def _crc_of(item: Any) -> int:
    return zlib.crc32(item[: _SUMMED.size], zlib.crc32(item[HEADER_BYTES:]))
