"""Interpreters of different versions on one queue: the layout is the same, and so are the items."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests import evidence
from tests.protocol.raw import TAIL
from tests.support import LIMIT, wait_until
from tests.surroundings import other_pythons
from tests.surroundings.other_pythons import BUILD_LIMIT_SECONDS

# The first test of all may have to build.
pytestmark = pytest.mark.watchdog(BUILD_LIMIT_SECONDS + 4 * LIMIT)

LARGE = bytes(range(256)) * 100
# Of every kind of encoding: built-in types, pickled by either, large, shared by reference.
ITEMS = [
    None,
    True,
    -1,
    2**100,
    0.5,
    "text ä 日本",
    b"bytes",
    (1, [2, {"three": {4, 5}}]),
    frozenset(["set"]),
    complex(1, 2),
    range(5),
    bytearray(b"array"),
    LARGE,
    "x" * 100_000,
    [LARGE, LARGE],
    {"nested": [("deep", {"er": LARGE})]},
    Exception("an exception"),
]
OTHER = """
import decimal, os, sys
from shmqueue import SharedMemoryQueue
there = SharedMemoryQueue("there", run_id=sys.argv[1])
back = SharedMemoryQueue("back", run_id=sys.argv[1])
print(sys.version_info[:2], flush=True)
while True:
    for item in there.get_batch(5):
        if item == "die":
            os.kill(os.getpid(), 9)
        back.put(item)
        back.put_batch([item, repr(item)])
"""


def _interpreter(version):
    """Return the command of a version's interpreter, with our modules for it; or skip the test."""
    found = other_pythons.others()
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        pytest.skip("this is the version of the tests themselves")
    if version not in found:
        pytest.skip(f"no interpreter of Python {version} is here (tools/find_python.sh)")
    if not other_pythons.is_built(version):
        # One other version is enough where none is built: it takes a minute.
        if evidence.level() != "full" or any(map(other_pythons.is_built, found)):
            pytest.skip(
                f"the modules are not built for Python {version}:"
                f" python -m tests.surroundings.other_pythons {version}"
            )
        try:
            other_pythons.build(version, found[version])
        except RuntimeError as error:
            pytest.skip(str(error))
    return found[version]


@pytest.fixture(params=other_pythons.VERSIONS)
def start(request, tmp_path):
    """Start the interpreter of another version on a source; it ends with the test."""
    version = request.param
    started = []

    def start_program(source, *args):
        path = tmp_path / f"other{len(started)}.py"
        path.write_text(textwrap.dedent(source))
        started.append(
            subprocess.Popen(
                [_interpreter(version), str(path), *args],
                env=other_pythons.environment(version),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start_program
    for program in started:
        program.kill()
        program.communicate()


def _same(item, other):
    if isinstance(item, Exception):
        return type(item) is type(other) and item.args == other.args
    return type(item) is type(other) and item == other


def test_each_reads_what_the_other_wrote(create, start, run_id):
    there, back = (create(n, capacity=64, item_size=256) for n in ("there", "back"))
    program = start(OTHER, run_id)
    assert program.stdout.readline() != f"{sys.version_info[:2]}\n"
    for _ in range(5):
        there.put_batch(ITEMS[:5])
        for item in ITEMS[5:]:
            there.put(item, timeout=LIMIT)
        for item in ITEMS:
            for got in (back.get(timeout=LIMIT), back.get(timeout=LIMIT)):
                assert _same(item, got), (item, got)
            assert back.get(timeout=LIMIT) == repr(item)
    metrics = there.get_metrics()
    assert [row["alive"] for row in metrics["seats"]] == [True, True]
    assert {row["pid"] for row in metrics["seats"]} == {os.getpid(), program.pid}
    evidence.report("surroundings", {"items_between_python_versions": 4 * 5 * len(ITEMS)})


def test_the_death_of_one_is_seen_by_the_other(create, start, run_id, open_raw):
    there = create("there", capacity=64, item_size=256)
    raw = open_raw()
    back = create("back", capacity=64, item_size=256)
    program = start(OTHER, run_id)
    there.put("on")
    assert back.get(timeout=LIMIT) == "on"
    word = raw.seat_of(program.pid)[1]
    there.put("die")
    assert program.wait(LIMIT) == -signal.SIGKILL
    wait_until(lambda: not any(r["alive"] for r in _rows(there, program.pid)), "its death")
    raw.set_owner(TAIL, word)
    there.put("goes on", timeout=LIMIT)
    assert there.get_metrics()["takeovers"] == 1

    # And the other way round: a second of the other version finds the word of the first.
    assert there.get(timeout=LIMIT) == "goes on"
    while not back.empty():
        back.get_nowait()
    raw.set_owner(TAIL, word)
    second = start(OTHER, run_id)
    there.put("again", timeout=LIMIT)
    assert back.get(timeout=LIMIT) == "again"
    assert second.poll() is None


def _rows(queue, pid):
    return [row for row in queue.get_metrics()["seats"] if row["pid"] == pid]
