"""The contenders: a stream, used in several ways, and what a program would use without one."""

from functools import partial

from benchmarks.large.peers import ITEM_SIZE
from benchmarks.peers import mp_queue, ours
from benchmarks.peers.base import Channel, End
from benchmarks.streams.lock_ring import LockRing, PolledLockRing
from benchmarks.streams.loops import CHUNK
from benchmarks.streams.pubsub import PubSub


class OurStream(ours.Ours):
    """A stream with a group for each consumer; one item a call."""

    label = "shmqueue Stream"
    payloads = ours.Ours.payloads | {"bytes1k", "array"}

    def create(self, name, case, directory):
        return _StreamChannel(name, case)


class InChunks(OurStream):
    """The same, where a consumer gets all that there is, up to so many."""

    key = "shmqueue-chunks"
    label = f"Stream, get_batch({CHUNK})"

    def create(self, name, case, directory):
        return _StreamChannel(name, case, in_chunks=True)


class _StreamChannel(Channel):
    def __init__(self, name, case, in_chunks=False):
        from shmqueue import Stream

        names = [f"reader-{number}" for number in range(case.consumers)]
        # The stages of a pipeline come after each other.
        before = [(), *names[:-1]] if case.scenario == "pipeline" else [()] * len(names)
        self._stream = Stream(
            name,
            create=True,
            capacity=case.slots,
            # Arrays lie in blocks, which are not part of a slot.
            item_size=min(case.slot_bytes, ITEM_SIZE),
            groups={name: {"after": after} for name, after in zip(names, before, strict=True)},
        )
        self._name, self._groups = name, names
        self._in_chunks = in_chunks
        self._items = getattr(case, "items", None)
        self._attach = Stream

    def open(self, role, index):
        stream = self._attach(self._name)
        if role == "producer":
            return End(put=self._putter(stream), queue=stream, close=stream.close)
        return self._consumer(stream, index)

    def open_local(self):
        end = self._consumer(self._stream, 0)
        end.put = self._putter(self._stream)
        return end

    def close(self):
        self._stream.close()
        self._stream.unlink()

    def _consumer(self, stream, index):
        group = stream.group(self._groups[index], create=False)

        def close():
            group.close()
            stream.close()

        if self._in_chunks:
            get_batch = partial(group.get_batch, CHUNK)
            return End(get_batch=get_batch, queue=group, done=group.done, close=close)
        return End(get=group.get, queue=group, done=group.done, close=close)

    def _putter(self, stream):
        """An array is written where it will lie; what is timed is one copy of it."""
        if self._items is None:
            return stream.put
        shape, reserve_array = self._items.shape, stream.reserve_array

        def put(item):
            with reserve_array(shape, "uint8") as array:
                array[:] = item

        return put


class Pair(OurStream):
    """A stream, and a plain queue beside it, which is the `queue` of each end."""

    key = "shmqueue-pair"
    label = "Stream with one group"

    def create(self, name, case, directory):
        plain = ours.NamedChannel(f"{name}plain", case.slots, case.slot_bytes)
        return _PairChannel(super().create(name, case, directory), plain)


class _PairChannel(Channel):
    def __init__(self, stream, plain):
        self._stream, self._plain = stream, plain

    def open(self, role, index):
        return self._joined(self._stream.open(role, index), self._plain.open(role, index))

    def open_local(self):
        return self._joined(self._stream.open_local(), self._plain.open_local())

    def close(self):
        self._stream.close()
        self._plain.close()

    @staticmethod
    def _joined(end, plain):
        close = end.close

        def close_both():
            close()
            plain.close()

        end.queue, end.close = plain, close_both
        return end


class _InStages(Channel):
    """A queue in front of each stage: what a stage gets it puts into the next one."""

    def __init__(self, queues):
        self._queues = queues

    def open(self, role, index):
        if role == "producer":
            return self._queues[0].open(role, 0)
        here = self._queues[index].open(role, 0)
        if index + 1 == len(self._queues):
            return End(get=here.get, close=here.close)
        behind = self._queues[index + 1].open("producer", 0)

        def close():
            here.close()
            behind.close()

        return End(put=behind.put, get=here.get, close=close)

    def open_local(self):
        raise NotImplementedError("each stage is a process")

    def close(self):
        for queue in self._queues:
            queue.close()


class _OfQueues:
    """Mixed into the adapter of a queue: as many of it as there are stages."""

    def create(self, name, case, directory):
        create = super().create
        return _InStages(
            [create(f"{name}{number}-", case, directory) for number in range(case.consumers)]
        )


class OurQueues(_OfQueues, ours.Ours):
    key = "shmqueue-queues"
    label = "shmqueue, a queue a stage"


class StandardQueues(_OfQueues, mp_queue.Queue):
    label = "multiprocessing.Queue, one a stage"


PEERS = (
    OurStream(),
    InChunks(),
    Pair(),
    PubSub(),
    LockRing(),
    PolledLockRing(),
    OurQueues(),
    StandardQueues(),
)
