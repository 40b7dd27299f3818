"""Who completes what the remover of a group was killed in wakes those who waited for that group."""

import contextlib
import os
import signal

import pytest

from shmqueue import Stream
from tests.protocol.raw import HEAD

OPEN = 1


@pytest.fixture
def stream(run_id):
    """Return a stream with two groups."""
    made = Stream("s", create=True, run_id=run_id, capacity=4, groups=["stays", "goes"])
    yield made
    made.close()
    made.unlink()


def _attach_and_die(stream):
    stream.put(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _half_removed(stream, raw, forks):
    """Make it look as if a remover of "goes" was killed; return the end that was its head."""
    pid = forks.start(_attach_and_die, stream)
    assert forks.wait(pid) == -signal.SIGKILL
    (number,) = [row["index"] for row in stream._rows() if row["name"] == b"goes"]
    head = HEAD + 1 + number
    raw.set("end", head, "state", raw.get("end", head, "state") & ~OPEN)
    raw.set_owner(HEAD, raw.seat_of(pid)[1])
    return head


@pytest.mark.parametrize(("name", "start"), [("stays", None), ("new", 1 << 40)])
def test_joining_a_group_rings_for_another_that_is_gone_by_that(
    stream, open_raw, forks, name, start
):
    raw = open_raw()
    head = _half_removed(stream, raw, forks)
    ends = (head, HEAD, 0)
    before = [raw.get("end", end, "bell") for end in ends]
    # A start that is not there yet: then none is opened, which would ring as well.
    with contextlib.suppress(ValueError):
        stream.group(name, start=start)
    assert stream.groups() == ["stays"]
    after = [raw.get("end", end, "bell") for end in ends]
    assert all(now > then for now, then in zip(after, before, strict=True)), (before, after)
