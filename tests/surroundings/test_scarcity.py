"""Memory, descriptors, files and addresses from too few to enough: it works, or it is an OSError.

Never a signal, and nothing left behind. test_scarce_memory.py has the same at some sizes,
and what the messages say.
"""

import errno
import json

import pytest

from tests import evidence, mounts
from tests.surroundings.attempts import WORKS

PAGE = 4096

CALL = """
from tests.surroundings import attempts
attempts.{call}
"""
# All that a program finds in its /dev is what stands here: nothing.
WITHOUT_SHM = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /dev && exec "$@"', "sh"]


def _outcomes(programs, call, prefix=()):
    return json.loads(programs.run(CALL.format(call=call), prefix=prefix, limit=300))


def _assert_works_from_some_value_on(outcomes, errors, words):
    """Assert that each kind of queue fails with one of these errors, or works from a value on.

    Returns that value for each kind; 0 where it always works.
    """
    first = {}
    for value, kind, outcome in outcomes:
        if outcome == WORKS:
            first.setdefault(kind, value)
            continue
        assert isinstance(outcome, dict), f"{kind} with {value}: {outcome}"
        assert kind not in first, f"{kind} works with {first[kind]}, not with {value}: {outcome}"
        assert outcome["errno"] in errors, f"{kind} with {value}: {outcome}"
        assert outcome["kind"] == "MemoryError" or any(word in outcome["text"] for word in words), (
            f"{kind} with {value} does not say what is the matter: {outcome}"
        )
    assert set(first) == {kind for _, kind, _ in outcomes}, "each works at the end"
    smallest = min(value for value, *_ in outcomes)
    return {kind: 0 if value == smallest else value for kind, value in first.items()}


@mounts.needs_mount
@pytest.mark.watchdog(330)
def test_shared_memory_of_every_size_is_enough_or_too_small(programs, run_id):
    pages = [*range(1, 65), *range(70, 600, evidence.scaled(35, 7))]
    outcomes = _outcomes(
        programs,
        f"in_sizes({run_id!r}, {[page * PAGE for page in pages]})",
        mounts.with_shared_memory("size=4k"),
    )
    first = _assert_works_from_some_value_on(outcomes, {errno.ENOSPC}, ["shared memory"])
    assert 0 < first["named"] < first["named_large"] < first["named_huge"]
    assert first["unnamed"] == first["unnamed_huge"] == 0, "they are not bound by /dev/shm"
    evidence.report(
        "surroundings", {"sizes_of_dev_shm": len(pages), "attempts_in_them": len(outcomes)}
    )


LADDERS = {
    "RLIMIT_NOFILE": (list(range(40)), {errno.EMFILE}, ["open files", "descriptor"]),
    "RLIMIT_FSIZE": (
        [0, 1, PAGE - 1, PAGE, *(PAGE << n for n in range(1, 30))],
        {errno.EFBIG, errno.ENOSPC},
        ["RLIMIT_FSIZE", "no shared memory"],
    ),
    "RLIMIT_AS": (
        [0, *(PAGE << n for n in range(28))],
        {errno.ENOMEM, errno.ENOSPC, None},
        ["RLIMIT_AS", "memory"],
    ),
}


@pytest.mark.watchdog(330)
@pytest.mark.parametrize("limit", LADDERS)
def test_a_limit_of_every_size_is_enough_or_an_error(programs, run_id, limit):
    values, errors, words = LADDERS[limit]
    outcomes = _outcomes(programs, f"under_limits({run_id!r}, {limit!r}, {values})")
    first = _assert_works_from_some_value_on(outcomes, errors, words)
    assert all(first.values()), f"the first of the limits is too low for each: {first}"
    if limit == "RLIMIT_NOFILE":
        assert not any("tmpfs" in outcome["text"] for *_, outcome in outcomes if outcome != WORKS)
    evidence.report("surroundings", {f"limits_{limit}": len(values)})


@mounts.needs_mount
def test_without_dev_shm_named_queues_are_refused_and_unnamed_ones_work(programs, run_id):
    found = _outcomes(programs, f"without_shared_memory({run_id!r})", WITHOUT_SHM)
    assert found["named"]["errno"] == errno.ENOENT
    assert "/dev/shm" in found["named"]["text"]
    assert found["attach"]["errno"] == errno.ENOENT
    assert found["unnamed"] == found["unnamed_huge"] == WORKS
    assert found["small files"]["errno"] == errno.EFBIG
    assert "RLIMIT_FSIZE" in found["small files"]["text"]
