"""Sound streams to be damaged, and what a process does with them."""

import contextlib
import os
import signal

import numpy

from shmqueue import Stream, segment
from tests.hostile.calls import CLEAR, WAIT
from tests.hostile.grounds import (
    CAPACITY,
    ITEM_BYTES,
    LARGE,
    SEATS,
    SMALL,
    Ground,
    with_little_room,
    words_of,
)
from tests.protocol.raw import HEAD, SIZES, fields

GROUPS = {"first": {}, "lagging": {"policy": "lag"}, "second": {"after": "first"}}
ARRAYS = ("groups", "holds", "writers", "pinners")
# Rows of what consumers hold, writers and pinners that are looked at most.
ROWS = 3


class StreamGround(Ground):
    """A stream in some state, of which every byte may be changed."""

    def __init__(self, label, name, run_id):
        path = segment.path_of(name, run_id)
        super().__init__(label, path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        self._name = name
        self._run_id = run_id
        for structure, places in _places(self.raw).items():
            self.field_places.setdefault(structure, []).extend(places)

    def attach(self):
        return Consuming(self._stream())

    def attach_another(self):
        return self._stream()

    def _stream(self):
        return Stream(self._name, run_id=self._run_id)


class Consuming:
    """A stream in use, with the handles of its groups as they were asked for."""

    def __init__(self, stream):
        self.stream = stream
        self.shutdown = stream.shutdown
        self._handles = {}

    def group(self, name, **options):
        key = name, *options
        if key not in self._handles:
            self._handles[key] = self.stream.group(name, create=False, **options)
        return self._handles[key]

    def subscription(self):
        if "subscription" not in self._handles:
            self._handles["subscription"] = self.stream.subscribe(start="oldest")
        return self._handles["subscription"]

    def close(self):
        for handle in self._handles.values():
            # A subscription leaves its group, which may be as damaged as all else.
            with contextlib.suppress(CLEAR):
                handle.close()
        self._handles.clear()
        self.stream.close()


# ---- what a process does ------------------------------------------------------------------------


def _change_in_place(used):
    item = used.group("first", writes=True).get(timeout=WAIT)
    if isinstance(item, numpy.ndarray) and item.flags.writeable:
        item.view("uint8")[...] ^= 0xFF


def _reserve_array(used):
    with used.stream.reserve_array((3000,), timeout=WAIT) as array:
        array[:] = 1.0


def _fill(used):
    for _ in range(CAPACITY + 2):
        used.stream.put(SMALL, timeout=0)


def _write(used):
    with used.stream.writer() as writer:
        writer.put(SMALL, timeout=WAIT)


def _view(used):
    with used.group("second").get_view(timeout=WAIT) as view:
        return len(view)


def _come_and_go(used):
    with used.stream.group("guest", start="oldest", after="first") as guest:
        guest.remove()


def _subscribe(used):
    with used.stream.subscribe(policy="lag") as subscription:
        return subscription.get_batch(10, timeout=0)


_PUTS = {
    "put": lambda used: used.stream.put(SMALL, timeout=WAIT),
    "put large": lambda used: used.stream.put(LARGE, timeout=WAIT),
    "put an array": lambda used: used.stream.put(numpy.zeros(5000), timeout=WAIT),
    "put_batch": lambda used: used.stream.put_batch([SMALL, LARGE, SMALL], timeout=WAIT),
    "reserve_array": _reserve_array,
    "fill": _fill,
    "write": _write,
}
_TAKES = {
    "get": lambda used: used.group("first").get(timeout=WAIT),
    "get by copy": lambda used: used.group("first").get(timeout=WAIT, copy=True),
    "change in place": _change_in_place,
    "get_batch": lambda used: used.group("first").get_batch(10, timeout=WAIT),
    "get of a lagging one": lambda used: used.group("lagging").get(timeout=WAIT),
    "get_batch of a lagging one": lambda used: used.group("lagging").get_batch(10, timeout=WAIT),
    "get of the second": lambda used: used.group("second").get(timeout=WAIT),
    "get_view": _view,
    "get of a subscription": lambda used: used.subscription().get(timeout=WAIT),
    "done": lambda used: used.group("first").done(),
}
_LOOKS = {
    "metrics": lambda used: used.stream.get_metrics(),
    "sizes": lambda used: (used.stream.qsize(), used.stream.groups(), used.stream.is_shutdown),
    "lag": lambda used: (used.group("lagging").lag(), used.group("lagging").lapped),
}
_GROUPS = {
    "skip": lambda used: used.group("lagging").skip_to_latest(),
    "skip all": lambda used: used.stream.skip_to_latest(),
    "a group comes and goes": _come_and_go,
    "subscribe": _subscribe,
    "remove a group": lambda used: used.stream.remove_group("second"),
}


def calls_of_stream(ground):
    """Return {name: function of what the ground's `attach` returned}."""
    calls = {**_PUTS, **_TAKES, **_LOOKS, **_GROUPS}
    calls["another attaches"] = lambda used: ground.attach_another().close()
    return calls


# ---- what stands where --------------------------------------------------------------------------


def _places(raw):
    """Return {structure: [(file offset, bytes, name)]} of a stream's fields that are in use."""
    table = raw.get("header", 0, "stream_offset")
    firsts = {name: table + fields()["stream", name][0] for name in ARRAYS}
    places = {
        # But for the arrays, of which that is in use.
        "stream": [
            place for place in words_of("stream", 0, table) if place[0] < min(firsts.values())
        ],
        "owners": [
            (firsts[name] + 8 * row, 8, f"{name}[{row}]")
            for name in ("writers", "pinners")
            for row in range(ROWS)
        ],
    }
    for structure, count in (("group", len(GROUPS) + 2), ("hold", ROWS)):
        places[structure] = [
            place
            for index in range(count)
            for place in words_of(
                structure, index, firsts[f"{structure}s"] + index * SIZES[structure]
            )
        ]
    places["end"] = [
        place
        for end in range(HEAD + 1, HEAD + 3 + len(GROUPS))
        for place in words_of("end", end, raw.offset_of("end", end))
    ]
    return places


# ---- the states ---------------------------------------------------------------------------------


def _waiting(stream):
    """Full, and round; nothing was taken but by one group."""
    with stream.group("lagging") as lagging:
        stream.put_batch([SMALL, numpy.arange(4096.0)])
        lagging.get_batch(2)
    stream.put_batch([LARGE, SMALL])


def _followed(stream):
    """Each group somewhere else, one of them lapped."""
    with stream.group("first") as first, stream.group("second") as second:
        for item in (SMALL, LARGE, numpy.arange(3000.0), SMALL, LARGE):
            stream.put(item)
            first.get()
            first.done()
            second.get()
        stream.put_batch([numpy.arange(4096.0), SMALL])
        first.get()


def _of_the_dead(stream):
    """One died that was a writer and a subscriber, and held an array that it had got of a group."""
    stream.put_batch([numpy.arange(4096.0), SMALL])
    child = os.fork()
    if child == 0:
        try:
            dying = Stream(stream._name, run_id=stream._run_id)
            kept = [dying.subscribe(start="oldest"), dying.group("first"), dying.writer()]
            kept += [handle.get() for handle in kept[:2]]
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def _at_its_end(stream):
    with stream.writer() as writer:
        writer.put_batch([LARGE, SMALL, SMALL])
    stream.shutdown()


def make_streams(token):
    """Make all of them. `token` is in the file name of each."""
    made = []
    with with_little_room():
        for fill in (_waiting, _followed, _of_the_dead, _at_its_end):
            name = f"stream{fill.__name__}"
            with (
                Stream(
                    name,
                    create=True,
                    capacity=CAPACITY,
                    item_size=ITEM_BYTES,
                    run_id=token,
                    max_processes=SEATS,
                    groups=GROUPS,
                ) as stream,
                contextlib.ExitStack() as failed,
            ):
                failed.callback(stream.unlink)
                fill(stream)
                made.append(StreamGround(name, name, token))
                failed.pop_all()
    return made
