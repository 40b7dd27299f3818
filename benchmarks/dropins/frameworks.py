"""Programs that others wrote, at work over the queues of a context: what one run of each yields.

Starting processes and their first task lie before the clock.
"""

from concurrent.futures import ProcessPoolExecutor
from time import monotonic_ns

WORKERS = 2
FIRST_CALLS = 200
"""Calls before the clock starts: until then workers are still being started."""

BATCH = 64
IMAGE = (3, 224, 224)


def call(number):
    """The trivial call: what remains is what the framework and its queues take."""
    return number


def pool(context, calls):
    """`Pool.imap`, one task for each call."""
    with context.Pool(WORKERS) as workers:
        _check(workers.imap(call, range(FIRST_CALLS)), FIRST_CALLS)
        start = monotonic_ns()
        _check(workers.imap(call, range(calls), chunksize=1), calls)
        return _rate(calls, start)


def executor(context, calls):
    """`ProcessPoolExecutor.map`, one task for each call."""
    with ProcessPoolExecutor(WORKERS, mp_context=context) as workers:
        _check(workers.map(call, range(FIRST_CALLS)), FIRST_CALLS)
        start = monotonic_ns()
        _check(workers.map(call, range(calls), chunksize=1), calls)
        return _rate(calls, start)


def loader(context, batches, as_numpy):
    """`DataLoader`, from the first batch to the last."""
    import numpy
    from torch.utils.data import DataLoader

    images = Images(as_numpy)
    loading = DataLoader(
        images,
        batch_size=BATCH,
        sampler=range(batches * BATCH),
        num_workers=WORKERS,
        collate_fn=numpy.stack if as_numpy else None,
        multiprocessing_context=context,
    )
    expected = list(range(len(images)))
    start = None
    for batch in loading:
        start = start or monotonic_ns()
        if batch.shape != (BATCH, *IMAGE) or batch[:, -1, -1, -1].tolist() != expected:
            raise ValueError("a batch is not the expected one")
        del batch  # a program lets go of one before it asks for the next
    return _rate(batches - 1, start)


class Images:
    """A data set whose images lie in memory: reading and decoding are not what is measured."""

    def __init__(self, as_numpy):
        import numpy
        import torch

        table = numpy.random.default_rng(0).random((BATCH, *IMAGE), dtype=numpy.float32)
        table[:, -1, -1, -1] = range(BATCH)
        self._table = table if as_numpy else torch.from_numpy(table)

    def __len__(self):
        return BATCH

    def __getitem__(self, index):
        return self._table[index % BATCH]


def _check(results, calls):
    total, expected = sum(results), calls * (calls - 1) // 2
    if total != expected:
        raise ValueError(f"checksum {total} instead of {expected} over {calls} calls")


def _rate(count, start):
    seconds = (monotonic_ns() - start) / 1e9
    return {"value": count / seconds, "seconds": seconds}
