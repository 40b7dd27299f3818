import pytest

from tests.faults.processes import Forks


@pytest.fixture
def forks():
    """Fork children: none outlives the test."""
    made = Forks()
    yield made
    made.end()
