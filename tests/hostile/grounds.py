"""Sound segments to be damaged: each is made once, and put back before every trial.

A ground is a file in memory and what is written in it. Nobody is attached to it between trials, so
putting it back is writing its bytes again and giving away the memory that a trial added.
"""

import ctypes
import os
import unittest.mock

import numpy

from shmqueue import segment
from shmqueue._core import Attachment
from shmqueue._raw import RawQueue
from shmqueue.serializers import choose
from tests import support, unnamed
from tests.protocol import regions
from tests.protocol.raw import HEAD, POOL, TAIL, RawSegment, fields, tag

SMALL = b"small"
LARGE = bytes(range(256)) * 80  # in a block; an array of so many bytes stays in it
PARTS = [numpy.arange(2048.0), numpy.arange(4096, dtype="int32"), "two arrays"]

CAPACITY = 4
ITEM_BYTES = 64
SEATS = 4
POOL_BYTES = 1 << 30
RING_BYTES = 1 << 30
CHUNK_BYTES = 1 << 15

FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


class Ground:
    """A segment in some state, of which every byte may be changed."""

    def __init__(self, label, path, fd, poll_fd=-1):
        self.label = label
        self.path = path
        self.fd = fd
        self._poll_fd = poll_fd
        self.file_bytes = os.fstat(fd).st_size
        self.raw = RawSegment(f"/proc/self/fd/{fd}") if poll_fd < 0 else _raw_of_fd(fd)
        self.seats = self.raw.get("header", 0, "max_seats")
        self.written = written(fd)
        self.memory_bytes = sum(size for _, size in self.written)
        self.field_places = _places(self)
        self._sound = [
            (at, os.pread(fd, min(CHUNK_BYTES, start + size - at), at))
            for start, size in self.written
            for at in range(start, start + size, CHUNK_BYTES)
        ]
        edges = [0, *(edge for at, size in self.written for edge in (at, at + size))]
        edges.append(self.file_bytes)
        pairs = zip(edges[::2], edges[1::2], strict=True)
        self._gaps = [(at, end - at) for at, end in pairs if end > at]

    @property
    def is_named(self):
        return self._poll_fd < 0

    def restore(self):
        """Put every byte back, and give away memory that was not there."""
        if os.fstat(self.fd).st_size != self.file_bytes:
            os.truncate(self.fd, self.file_bytes)
        for at, size in self._gaps:
            punched = _libc.fallocate64(
                self.fd,
                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                ctypes.c_int64(at),
                ctypes.c_int64(size),
            )
            assert punched == 0, os.strerror(ctypes.get_errno())
        for at, data in self._sound:
            # Most of a large one is as it was, and reading is cheaper than writing.
            if self.read(at, len(data)) != data:
                self.write(at, data)

    def write(self, at, data):
        os.pwrite(self.fd, data, at)

    def read(self, at, size):
        return os.pread(self.fd, size, at)

    def memory_now(self):
        """Return how much memory the segment has, by the kernel's account."""
        return os.fstat(self.fd).st_blocks * 512

    def attach(self):
        """Attach as any process does; returns a handle of its own."""
        queue = RawQueue()
        queue._bind(self._attachment(), self.label)
        return queue

    def _attachment(self):
        if self.is_named:
            return segment.attach(self.path)
        return segment.attach_descriptors(os.dup(self.fd), os.dup(self._poll_fd))

    def attach_another(self):
        """Attach once more, with a seat of its own, as another process would."""
        queue = RawQueue()
        if self.is_named:
            fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
            queue._bind(Attachment(fd, self.path), "another")
        else:
            queue._bind(Attachment(os.dup(self.fd), "another", os.dup(self._poll_fd)), "another")
        return queue

    def close(self):
        """Let go of the file; of a named one the name goes, too."""
        self.raw.close()
        os.close(self.fd)
        if self.is_named:
            os.unlink(self.path)
        else:
            os.close(self._poll_fd)


def written(fd):
    """Return the runs of a sparse file that hold data, as (offset, length)."""
    runs, at, end = [], 0, os.fstat(fd).st_size
    while at < end:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break  # nothing but a hole is left
        at = os.lseek(fd, start, os.SEEK_HOLE)
        runs.append((start, at - start))
    return runs


def _raw_of_fd(fd):
    class Descriptor:
        pass

    holder = Descriptor()
    holder.fd = fd
    return unnamed.RawUnnamed(holder)


# ---- what stands where --------------------------------------------------------------------------


def _places(ground):
    """Return {structure: [(file offset, bytes, name)]} of the fields that are in use."""
    raw, places = ground.raw, {}

    def add(structure, index, base=None):
        start = raw.offset_of(structure, index) if base is None else base
        places.setdefault(structure, []).extend(words_of(structure, index, start))

    add("header", 0)
    for end in range(HEAD + 1):
        add("end", end)
    blocks = raw.get("end", POOL, "sequence")
    for index in range(6):
        add("class", index)
    for seat in range(raw.get("header", 0, "seats_granted") + 1):
        add("seat", seat)
        add("views", seat)
    for block in range(blocks + 1):
        add("block", block)
    for region in range(raw.get("header", 0, "region_count"))[:4]:
        add("region", region)
    slots_offset = raw.get("header", 0, "slots_offset")
    for number, position in enumerate(_slot_positions(raw)):
        at = slots_offset + position
        add("slot", number, at)
        # What may follow: a reference to a block, the target of a jump, or the item itself.
        places["slot"] += [(at + 24, 4, f"slot[{number}] +24"), (at + 32, 8, f"slot[{number}] +32")]
        places["slot"] += [(at + 24, 8, f"slot[{number}] target")]
    return places


def words_of(structure, index, start):
    """Return (file offset, bytes, name) of each field of it, of longer ones word by word."""
    words = []
    for (owner, field), (offset, size) in fields().items():
        name, at = f"{structure}[{index}].{field}", start + offset
        if owner == structure and size <= 8:
            words.append((at, size, name))
        elif owner == structure:  # an array of words, or text
            words += [(at + word, 8, f"{name}+{word}") for word in range(0, size - 7, 8)]
    return words


def _slot_positions(raw):
    """Return where slots are that somebody will look at, from the start of the slots."""
    if raw.get("header", 0, "region_count") == 0:
        step = raw.get("header", 0, "slot_bytes")
        return [index * step for index in range(raw.get("header", 0, "capacity"))]
    tail, sequence = raw.get("end", TAIL, "sequence"), raw.get("end", HEAD, "sequence")
    position, found = raw.position(HEAD), []
    while sequence < tail and len(found) < 12:
        found.append(position)
        if raw.slot_at(position, "flags") == unnamed.IS_JUMP:
            position = raw.word_at(position + unnamed.SLOT)
            continue
        position += unnamed.slot_bytes(raw.slot_at(position, "length"))
        sequence += 1
    return [*found, raw.position(TAIL)]


# ---- the states ---------------------------------------------------------------------------------


def _named(label, token, fill):
    path = str(support.SHM / f"{support.PREFIX}{label.replace(' ', '-')}@{token}")
    wanted = segment.Descriptor(
        CAPACITY, ITEM_BYTES, SEATS, choose("cloudpickle", travels=False), 0o600
    )
    queue = RawQueue()
    queue._bind(segment.create(path, wanted), label)
    fill(queue)
    queue.close()
    return Ground(label, path, os.open(path, os.O_RDWR | os.O_CLOEXEC))


def _unnamed(label, fill):
    queue = fill()
    attachment = queue._attachment
    fd, poll_fd = os.dup(attachment.fd), os.dup(attachment.poll_fd)
    del attachment
    queue.close()
    return Ground(label, label, fd, poll_fd)


def _empty(queue):
    for _ in range(3):
        queue.put(SMALL)
        queue.get()


def _some(queue):
    queue.put_batch([SMALL, SMALL])


def _full_and_round(queue):
    for _ in range(CAPACITY - 1):
        queue.put(SMALL)
        queue.get()
    queue.put_batch([SMALL, LARGE, numpy.arange(4096.0), PARTS])


def _of_the_dead(queue):
    """One died with the tail's owner word and blocks in its hands, another with the pool's word."""
    queue.put_batch([LARGE, numpy.arange(3000.0)])
    kept = queue.get()
    queue.put(SMALL)
    raw = RawSegment(f"/proc/self/fd/{queue._attachment.fd}")
    word = tag(SEATS - 1, 7)
    raw.set_owner(TAIL, word)
    raw.set_owner(POOL, word | 1)
    raw.set("block", 0, "state", word | 1)
    raw.close()
    del kept


def with_little_room():
    """Make segments with less address range within this, so that a limit on it means something."""
    return unittest.mock.patch.multiple(
        segment, POOL_LIMIT_BYTES=POOL_BYTES, RING_LIMIT_BYTES=RING_BYTES
    )


def make_grounds(token):
    """Make all of them. `token` is in the file name of each that has one."""
    with with_little_room():
        return [
            _named("empty", token, _empty),
            _named("two small items", token, _some),
            _named("full", token, _full_and_round),
            _named("of the dead", token, _of_the_dead),
            *(_unnamed(state.__name__.replace("_", " "), state) for state in regions.STATES),
        ]
