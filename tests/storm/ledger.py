"""What outlives every death: words in memory that all processes of a storm share."""

import mmap
import os
from multiprocessing import reduction

import numpy

# Phases of a storm.
RUN, NO_MORE_PUTS, DRAINED = 0, 1, 2


class Words:
    """Rows of 64-bit words, each an attribute; zero at first. They go to spawned processes, too.

    A word is stored at once: whoever is killed leaves the old value or the new one.
    """

    def __init__(self, lengths, fd=None):
        self._lengths = dict(lengths)
        total = 8 * sum(self._lengths.values())
        self._fd = os.memfd_create("ledger") if fd is None else fd
        if fd is None:
            os.ftruncate(self._fd, total)
        self._map = mmap.mmap(self._fd, total)
        self._words = memoryview(self._map).cast("Q")
        at = 0
        for name, length in self._lengths.items():
            setattr(self, name, self._words[at : at + length])
            at += length

    def __reduce__(self):
        return _given, (type(self), self._lengths, reduction.DupFd(self._fd))

    def close(self):
        """Let go of the memory; no word can be read any more."""
        for name in self._lengths:
            getattr(self, name).release()
        self._words.release()
        self._map.close()
        os.close(self._fd)


def _given(kind, lengths, duplicate):
    words = kind.__new__(kind)
    Words.__init__(words, lengths, duplicate.detach())
    return words


class Ledger(Words):
    """What each process of a storm did, noted on both sides of each call.

    * A producer notes how many items it is about to have put, and how many ``put`` returned for.
    * A consumer notes how many items the call that it is in may take, and each item that it got.
    """

    LOG_ENTRIES = 1 << 21

    def __init__(self, incarnations, consumers, **more):
        super().__init__(
            {
                "phase": 1,
                "tide": 1,
                # Indexed by the producer's incarnation.
                "begun": incarnations,
                "returned": incarnations,
                # Indexed by the consumer's place, which its next incarnation takes over.
                "in_hand": consumers,
                "received": consumers,
                "log": consumers * self.LOG_ENTRIES,
            }
            | more
        )

    def note(self, place, producer, number):
        """Note that a consumer has an item. Whoever is told to die in here has it or hasn't."""
        at = self.received[place]
        if self._word(place, at):
            at += 1  # its predecessor noted it, and was killed before it counted it
        if at >= self.LOG_ENTRIES:
            raise OverflowError("the storm lasts longer than its logs")
        self.log[place * self.LOG_ENTRIES + at] = producer << 32 | number
        self.received[place] = at + 1
        if self.in_hand[place]:
            self.in_hand[place] -= 1

    def _word(self, place, at):
        return at < self.LOG_ENTRIES and self.log[place * self.LOG_ENTRIES + at]

    def total_received(self):
        return sum(self.received)

    def entries(self, place):
        """Return what the consumers of a place received, in order, as an array of keys."""
        end = self.received[place]
        if self._word(place, end):
            end += 1
        begin = place * self.LOG_ENTRIES
        return numpy.frombuffer(self.log[begin : begin + end], dtype=numpy.uint64).copy()

    def logs(self):
        """Return the entries of each place."""
        return [self.entries(place) for place in range(len(self.received))]
