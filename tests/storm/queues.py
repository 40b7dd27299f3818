"""The queues that a storm rages over, and what each must be like afterwards."""

import os
import secrets

from shmqueue import Queue, SharedMemoryQueue
from shmqueue._inspect import seat_rows, snapshot
from tests import support, unnamed
from tests.protocol.raw import HEAD, RawSegment

CAPACITY = 48
ITEM_SIZE = 4096


class Field:
    """A queue, and its bytes from outside."""

    def look(self):
        """Note what is to be seen between two deaths."""

    def metrics(self):
        """Attach once more, which sweeps after the dead, and tell what is to be seen then."""
        late = unnamed.another(self.queue)
        seen = snapshot(late._attachment)
        seen["queue_size"] = late.qsize()
        seen["seats"] = seat_rows(late._attachment)
        late.close()
        return seen

    def findings(self):
        """Use the queue, empty and with nobody on it; return what is wrong with it."""
        self.queue.put(b"and on", timeout=support.LIMIT)
        item = self.queue.get(timeout=support.LIMIT)
        return [] if item == b"and on" else [f"a last item came as {item!r}"]

    def remove(self):
        """Remove the queue; return the files that are left of it."""
        self.raw.close()
        self.queue.close()
        return []


class Named(Field):
    def __init__(self):
        run_id = f"storm{os.getpid()}-{secrets.token_hex(4)}"
        self.queue = SharedMemoryQueue(
            "storm", create=True, capacity=CAPACITY, item_size=ITEM_SIZE, run_id=run_id
        )
        self.raw = RawSegment(support.SHM / self.queue.segment_name)

    def remove(self):
        super().remove()
        self.queue.unlink()
        return support.segment_files(self.queue.run_id)


class Bounded(Field):
    def __init__(self):
        self.queue = Queue(CAPACITY)
        self.raw = unnamed.RawUnnamed(self.queue._attachment)


class Unbounded(Field):
    """The backlog rises and falls like a tide, and the ring grows and gives memory back."""

    def __init__(self):
        self.queue = Queue()
        self.raw = unnamed.RawUnnamed(self.queue._attachment)
        self.regions = set()

    def look(self):
        self.regions.update(unnamed.region_of(position) for _, position in self.raw.entries(HEAD))

    def findings(self):
        wrong = super().findings()
        if len(self.regions) < 2:
            wrong.append(f"the ring did not grow: regions {sorted(self.regions)}")
        for _ in range(1000):
            self.queue.put(bytes(3000), timeout=support.LIMIT)
        if support.drain(self.queue, 1000) != [bytes(3000)] * 1000:
            wrong.append("what went through the ring afterwards is not what was put")
        if self.raw.regions() != (0, 0):
            wrong.append(f"the empty ring stands in regions {self.raw.regions()}")
        if any(backed != (0, 0) for backed in self.raw.backed()[1:]):
            wrong.append(f"the empty ring keeps memory: {self.raw.backed()}")
        used = sum(bytes_ for bytes_, _ in self.raw.backed())
        pool = snapshot(self.queue._attachment)["pool_bytes"]
        # Besides slots and large items: seats, descriptors of blocks, and holes that a look filled.
        if self.raw.slots_memory_bytes() > used + pool + (1 << 20):
            wrong.append(f"{self.raw.slots_memory_bytes()} bytes of memory for {used + pool}")
        return wrong


KINDS = {"named": Named, "bounded": Bounded, "unbounded": Unbounded}
