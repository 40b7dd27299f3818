import pytest

from tests.faults.processes import Forks
from tests.protocol.raw import Opener


@pytest.fixture
def open_raw(run_id):
    """Open the test's only segment as bytes: ``open_raw() -> RawSegment``."""
    opener = Opener(run_id)
    yield opener
    opener.close()


@pytest.fixture
def forks():
    """Fork children: none outlives the test."""
    made = Forks()
    yield made
    made.end()
