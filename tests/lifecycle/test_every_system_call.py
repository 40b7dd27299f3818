"""SIGKILL at every system call of whatever begins, grows or ends a queue.

Each operation runs under ptrace and is killed at its first stop, at its second, and so on, until it
is done: before each system call and behind it. What stands between two system calls are stores to
shared memory; tests/killpoints steps through those, instruction by instruction.
"""

import json

import pytest

from tests import evidence, mounts
from tests.lifecycle.operations import OPERATIONS
from tests.support import LIMIT

# All the operations together are given this, by a machine that does other things besides.
TOGETHER = 20 * LIMIT

RUN = """
from tests.lifecycle import trials
trials.main({run_id!r}, {memory_is_own}, {names!r}, {twin!r})
"""


def _begin(programs, run_id, names, twin=None):
    own = mounts.can_mount()
    source = RUN.format(run_id=run_id, memory_is_own=own, names=names, twin=twin)
    return programs.start(source, prefix=mounts.with_shared_memory("size=64M") if own else ())


def _end(programs, program):
    found = json.loads(programs.finish(program, TOGETHER))
    if "" in found:
        pytest.skip(found[""])
    return found


@pytest.mark.watchdog(TOGETHER + LIMIT)
def test_a_kill_at_any_system_call_leaves_a_whole_queue_or_none(programs, run_id):
    full = evidence.level() == "full"
    names = [kind.__name__ for kind in OPERATIONS if full or not kind.is_long]
    started = [_begin(programs, f"{run_id}{which}", names[which::2]) for which in (0, 1)]
    found = {}
    for program in started:
        found |= _end(programs, program)
    assert [f"{name}: {how}" for name, how in found.items() if isinstance(how, str)] == []
    assert sorted(found) == sorted(names)
    # Each of these has some that must be there, or nothing was traced.
    assert min(found.values()) >= 2
    assert found["CreateNamed"] >= 30
    evidence.report(
        "lifecycle",
        {
            "operations": len(found),
            "kills_at_system_calls": sum(found.values()),
            "memory_compared": mounts.can_mount(),
        },
    )


@pytest.mark.parametrize(
    ("twin", "name", "told"),
    [
        ("named_before_it_is_whole", "CreateNamed", "ForeignSegmentError"),
        ("built_under_another_name", "CreateNamed", ".tmp"),
        ("emptied_before_it_is_unlinked", "Unlink", "ForeignSegmentError"),
        ("shut_without_a_word", "Shutdown", "AssertionError"),
    ],
)
def test_the_trials_notice_a_broken_twin(programs, run_id, twin, name, told):
    found = _end(programs, _begin(programs, run_id, [name], twin))
    assert "killed at" in str(found[name])
    assert told in found[name]
