"""Forks, programs and daemons that come from a process whose threads are in the middle of puts."""

import json

import pytest

from tests import evidence
from tests.support import LIMIT

FORKS = evidence.scaled(100, 1000)
PARENTS = evidence.scaled(5, 50)
SPAWNS = evidence.scaled(20, 200)
EXECS = evidence.scaled(25, 200)
DAEMONS = evidence.scaled(3, 20)

TOGETHER = 10 * LIMIT

pytestmark = pytest.mark.watchdog(TOGETHER + LIMIT)

CALL = """
from tests.surroundings import crowds
crowds.{call}
"""


def _found(programs, call):
    return json.loads(programs.run(CALL.format(call=call), limit=TOGETHER))


def test_children_of_a_process_with_eight_putting_threads_put_get_and_leave(programs, run_id):
    found = _found(programs, f"fork_while_threads_put({run_id!r}, {FORKS})")
    assert found["wrong"] == []
    assert found["of_children"] == 3 * FORKS
    assert found["of_threads"] > FORKS
    evidence.report(
        "surroundings",
        {"forks_while_eight_threads_put": FORKS, "items_meanwhile": found["of_threads"]},
    )


def test_the_death_of_a_parent_of_eight_putting_threads_is_seen(programs, run_id):
    found = _found(programs, f"kill_parents({run_id!r}, {PARENTS})")
    assert found["wrong"] == []
    assert found["items"] > PARENTS
    evidence.report("surroundings", {"parents_killed_while_children_live": PARENTS})


def test_programs_inherit_nothing_and_keep_no_seat(programs, run_id):
    found = _found(programs, f"spawn_while_threads_put({run_id!r}, {SPAWNS})")
    assert found["wrong"] == []
    evidence.report("surroundings", {"programs_started_while_threads_put": found["programs"]})


def test_exec_while_another_thread_puts_frees_the_seat_and_the_end(programs, run_id):
    found = _found(programs, f"exec_while_a_thread_puts({run_id!r}, {EXECS})")
    assert found["wrong"] == []
    assert found["takeovers"] > 0, "no exec ever hit a put: nothing was tried"
    evidence.report(
        "surroundings",
        {"execs_while_a_thread_puts": EXECS, "ends_that_an_exec_left": found["takeovers"]},
    )


@pytest.mark.parametrize("used_before", [True, False])
def test_a_daemon_goes_on_with_a_named_queue(programs, run_id, used_before):
    found = _found(programs, f"named_in_daemons({run_id!r}, {DAEMONS}, {used_before})")
    assert found["wrong"] == []
    evidence.report(
        "surroundings", {f"daemons_{'after' if used_before else 'before'}_use": DAEMONS}
    )


@pytest.mark.parametrize("used_before", [True, False])
def test_a_daemon_goes_on_with_an_unnamed_queue_or_is_told(programs, used_before):
    """Whoever closes every descriptor has closed the only way back to an unnamed queue."""
    assert _found(programs, f"unnamed_in_daemons({DAEMONS}, {used_before})")["wrong"] == []
