"""Queues without a name: how the tests of the core make one, and how they look at its bytes."""

import fcntl
import os
import select

from shmqueue._core import Attachment
from shmqueue._raw import RawQueue
from shmqueue.segment import create_unnamed
from tests.protocol.raw import HEAD, SIZES, TAIL, RawSegment, fields, tag

FIRST_REGION = 1 << 20
FIRST_BACKED = 1 << 16
SLOT = 24  # bytes before a payload
JUMP = 32  # bytes of a jump, and what slots are a multiple of
INLINE = 4096  # bytes of the largest item that lies in the ring itself
UNBOUNDED = 1 << 62

# Bits of an end's state and of a slot's flags.
SHUT, POLLED, ARMED, SETTLING = 2, 4, 8, 16
IN_BLOCK, IS_JUMP = 1, 2


def make_queue(maxsize=0):
    """Return the core of an unnamed queue; 0: as many items as memory allows."""
    queue = RawQueue()
    queue._bind(create_unnamed(maxsize), "a queue")
    return queue


def another(queue):
    """Return a queue on the same segment that has a seat of its own, as another process has.

    Once nothing refers to it any more, its seat is that of a dead one.
    """
    attachment = queue._attachment
    same = RawQueue()
    if attachment.poll_fd < 0:  # a named one
        same._bind(Attachment(os.dup(attachment.fd), attachment.path), "the same")
    else:
        poll_fd = os.dup(attachment.poll_fd)
        same._bind(Attachment(os.dup(attachment.fd), "the same", poll_fd), "the same")
    return same


def region_start(region):
    return (FIRST_REGION << region) - FIRST_REGION


def region_of(position):
    return (position // FIRST_REGION + 1).bit_length() - 1


def slot_bytes(length):
    """Return how much of a region an item of so many encoded bytes takes."""
    return (SLOT + length + JUMP - 1) // JUMP * JUMP


class RawUnnamed(RawSegment):
    """Words of an unnamed segment: also the table of regions, places and slots by position."""

    def __init__(self, attachment):
        super().__init__(f"/proc/self/fd/{attachment.fd}")
        self.fd = attachment.fd
        self._bases["region"] = self.get("header", 0, "regions_offset")
        self._steps["region"] = SIZES["region"]
        self._fixed_bytes = self.memory_bytes() - self.backed()[0][0]

    @property
    def region_count(self):
        return self.get("header", 0, "region_count")

    @property
    def slots_offset(self):
        return self._bases["slot"]

    def dead_tag(self, queue):
        """Return the owner word of a seat whose holder is no more."""
        return self.living(queue)[1]

    def living(self, queue):
        """Return a queue with a seat of its own, and the owner word of that seat."""
        before = self._seats_in_use()
        same = another(queue)
        (seat,) = self._seats_in_use() - before
        return same, tag(seat, self.get("seat", seat, "generation"))

    def _seats_in_use(self):
        granted = self.get("header", 0, "seats_granted")
        return {seat for seat in range(granted) if self.get("seat", seat, "pid")}

    def _entry(self, end, which):
        offset, _ = fields()["end", "place"]
        return (self._bases["end"] + end * self._steps["end"] + offset + 16 * which) // 8

    def entries(self, end):
        """Return both place entries of an end, as (sequence, position)."""
        words = self._views[8]
        starts = [self._entry(end, which) for which in (0, 1)]
        return [(words[at], words[at + 1]) for at in starts]

    def set_entry(self, end, which, sequence, position):
        at = self._entry(end, which)
        self._views[8][at] = sequence
        self._views[8][at + 1] = position

    def entry_that_counts(self, end):
        """Return the number of the entry that names the end's sequence."""
        sequence = self.get("end", end, "sequence")
        return 0 if self.entries(end)[0][0] == sequence else 1

    def position(self, end):
        """Return where an end is, from the start of the slots."""
        sequence, position = self.entries(end)[self.entry_that_counts(end)]
        assert sequence == self.get("end", end, "sequence")
        return position

    def move_place(self, end, position):
        """Let an end stand elsewhere with the same sequence."""
        sequence = self.get("end", end, "sequence")
        self.set_entry(end, self.entry_that_counts(end), sequence, position)

    def regions(self):
        """Return the regions in which head and tail are."""
        return region_of(self.position(HEAD)), region_of(self.position(TAIL))

    def slot_at(self, position, field):
        offset, size = fields()["slot", field]
        return self._views[size][(self.slots_offset + position + offset) // size]

    def set_slot_at(self, position, field, value):
        offset, size = fields()["slot", field]
        self._views[size][(self.slots_offset + position + offset) // size] = value

    def word_at(self, position):
        """Return 8 bytes from the start of the slots, as a number."""
        return self._views[8][(self.slots_offset + position) // 8]

    def set_word_at(self, position, value):
        self._views[8][(self.slots_offset + position) // 8] = value

    def write_bytes(self, offset, data):
        self._map[offset : offset + len(data)] = data

    def write_jump(self, sequence, position, target):
        """Write what leads from one position to another."""
        self.set_slot_at(position, "put_ns", 0)
        self.set_slot_at(position, "length", 8)
        self.set_slot_at(position, "kind", 0)
        self.set_slot_at(position, "flags", IS_JUMP)
        self.set_word_at(position + SLOT, target)
        self.set_slot_at(position, "stamp", 2 * sequence + 2)

    def backed(self):
        """Return what each region says of its memory, as (backed, dirty)."""
        numbers = range(self.region_count)
        return [
            (self.get("region", at, "backed"), self.get("region", at, "dirty")) for at in numbers
        ]

    def memory_bytes(self):
        """Return how much memory the segment has, by the kernel's account."""
        return os.fstat(self.fd).st_blocks * 512

    def slots_memory_bytes(self):
        """Return how much of it came with the slots, where it has none for large items."""
        return self.memory_bytes() - self._fixed_bytes


def seals_of(fd):
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS)


def is_readable(fd):
    """Tell whether a descriptor polls readable at this moment."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))
