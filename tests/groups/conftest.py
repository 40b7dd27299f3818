import contextlib

import pytest

from shmqueue import Stream


@pytest.fixture
def make_stream(run_id):
    """Return a maker of streams, which are removed afterwards."""
    with contextlib.ExitStack() as made:

        def make(name="stream", **options):
            stream = Stream(name, create=True, run_id=run_id, **options)
            made.callback(stream.close)
            made.callback(stream.unlink)
            return stream

        yield make
