"""Latencies, kept as counts of narrow ranges: any number of them, in a few hundred integers."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Histogram"]

# Ranges of a 32nd of the power of two below: what is read back is off by 3 % at most.
_BITS = 5


class Histogram:
    """Counts of nanoseconds.

    Parameters
    ----------
    counts : mapping of int to int, optional
        Those of another one.
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, nanoseconds: int) -> None:
        """Count one.

        Parameters
        ----------
        nanoseconds : int
            0 or more.
        """
        shift = max(0, nanoseconds.bit_length() - _BITS - 1)
        key = (shift << _BITS + 1) + (nanoseconds >> shift)
        self.counts[key] = self.counts.get(key, 0) + 1

    def merge(self, counts: Mapping[int, int]) -> None:
        """Add the counts of another one.

        Parameters
        ----------
        counts : mapping of int to int
            Its counts.
        """
        for key, count in counts.items():
            self.counts[key] = self.counts.get(key, 0) + count

    def percentile(self, percent: float) -> float | None:
        """Return seconds that so many percent are not above; None if nothing was counted.

        Parameters
        ----------
        percent : float
            Above 0, at most 100.
        """
        wanted = sum(self.counts.values()) * percent / 100
        seen = 0
        for key in sorted(self.counts):
            seen += self.counts[key]
            if seen >= wanted:
                shift = key >> _BITS + 1
                # The middle of the range.
                value = (key & (1 << _BITS + 1) - 1) << shift
                return (value + (1 << shift) / 2 - 0.5) / 1e9
        return None
