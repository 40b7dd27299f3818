"""Threads with no interpreter around them: what the GIL would put in order is not.

Under ThreadSanitizer (`make tsan`) this is where it sees most; elsewhere it tests contention.
"""

import pytest

from tests import evidence
from tests.sanitized import program

ITEMS = evidence.scaled(3000, 20_000)
WRITERS = 4
# Three that held an owner word are gone.
TAKEOVERS = 3


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    return program.build(tmp_path_factory.mktemp("program"))


@pytest.mark.watchdog(400)
@pytest.mark.parametrize("kind", ["cells", "a bounded ring of regions", "a ring without bounds"])
def test_threads_of_two_processes_take_each_item_once_and_in_order(threads, kind, create, make):
    if kind == "cells":
        queue = create(capacity=8, item_size=128)
    else:
        queue = make(8 if "bounded" in kind else 0)
    said, error, code = program.run(threads, queue._attachment.fd, ITEMS)
    assert (error, code) == ("", 0)
    assert said == f"{WRITERS * ITEMS} items, {TAKEOVERS} takeovers\n"
    assert queue.empty()
