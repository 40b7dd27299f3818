import pytest

from tests.protocol.raw import Opener


@pytest.fixture
def open_raw(run_id):
    """Open the test's only segment as bytes: ``open_raw() -> RawSegment``."""
    opener = Opener(run_id)
    yield opener
    opener.close()
