"""All interleavings of a few processes, with kills, of the protocol's own source.

What is explored stands in runs.py; how, in the headers of the folder native.
"""

import pytest

from tests import evidence
from tests.explored.exploring import explore, story, summary
from tests.explored.runs import COMMIT, FULL

RUNS = FULL if evidence.level() == "full" else COMMIT


@pytest.fixture(scope="module")
def accounts():
    """What came of each run, reported when all are through."""
    found = []
    yield found
    if found:
        evidence.report("explored", summary(found))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_no_interleaving_and_no_kill_breaks_a_promise(run, accounts):
    account = explore(run)
    assert account["violation"] is None, story(run, account)
    assert account["complete"]
    assert account["ends"] > 0, "no schedule came to its end: nothing was looked after"
    assert run.kills == 0 or account["kills_made"] > 0
    accounts.append(account)
