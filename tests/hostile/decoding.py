"""Trials of the decoders: an encoding is damaged, or said to be of another kind, and loaded."""

import contextlib
import random

from tests.hostile.encodings import KINDS, encodings, load, mutated, safe_pickles
from tests.hostile.trials import (
    PROCESS_BYTES,
    Finding,
    limit_address_range,
    peak_bytes,
)

ADDRESS_BYTES = 2 << 30


class Decodings:
    """The decodings of a seed; each of them by its number alone."""

    outcomes = ("refused", "loaded")

    def __init__(self, token, seed):
        self.story = []
        self.writes = 0
        self.tell = lambda step: None
        self._seed = seed
        self._encodings = encodings()
        self._peak_bytes = peak_bytes()
        self._closing = contextlib.ExitStack()

    def __enter__(self):
        limit_address_range(ADDRESS_BYTES)
        self._closing.enter_context(safe_pickles())
        return self

    def __exit__(self, *exc_info):
        self._closing.close()

    def run(self, number):
        """Decode one thing in both ways; return whether it was refused or loaded."""
        source = random.Random(f"{self._seed}:{number}")
        kind, data = source.choice(self._encodings)
        damaged = mutated(data, source, source.choice(self._encodings)[1])
        if source.random() < 0.1:
            kind = source.choice(KINDS)
        self.story = [f"kind {kind}", [0, damaged.hex()]]
        for step in self.story:
            self.tell(step)
        self.writes = 1
        try:
            loaded = [load(kind, damaged, in_place) for in_place in (False, True)]
        except Exception as error:
            raise Finding(f"decoding raised {error!r}") from error
        if loaded[0] != loaded[1]:
            raise Finding("one way to load it refuses what the other one loads")
        peak = peak_bytes()
        grown, self._peak_bytes = peak - self._peak_bytes, peak
        if grown > PROCESS_BYTES:
            raise Finding(f"the process grew by {grown} bytes")
        return "loaded" if loaded[0] else "refused"
