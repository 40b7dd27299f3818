import pytest

from tests.faults.processes import Forks, Turns


@pytest.fixture
def forks():
    """Fork children: none outlives the test."""
    made = Forks()
    yield made
    made.end()


@pytest.fixture
def turns():
    """Return what a parent and its forked children take turns with."""
    made = Turns()
    yield made
    made.close()
