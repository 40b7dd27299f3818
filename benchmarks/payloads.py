"""The items that the benchmarks send: a table of 64 different ones for each kind."""

import struct

TABLE_LENGTH = 64


class Reading:
    """A small class that every process can import, as a program's own records are."""

    def __init__(self, serial, sensor, value):
        self.serial = serial
        self.sensor = sensor
        self.value = value


def _small_dict(i):
    return {"id": 1000 + i, "name": f"sensor-{i:02d}", "ok": i % 2 == 0, "value": i * 0.5}


_MAKERS = {
    "bytes8": lambda i: struct.pack("<q", 1_000_003 * (i + 1)),
    "bytes1k": lambda i: struct.pack("<q", 1_000_003 * (i + 1)) * 128,
    "int": lambda i: 100_000 + i,
    "str": lambda i: f"message-{i:05d}",
    "dict": _small_dict,
    "object": lambda i: Reading(1000 + i, f"sensor-{i:02d}", i * 0.5),
}

LABELS = {
    "bytes8": "8-byte bytes",
    "bytes1k": "1 KiB of bytes",
    "int": "int",
    "str": "str of 13 characters",
    "dict": "dict of 4 entries",
    "object": "instance of a small class",
}


def table(payload):
    """The items of a kind, which producers repeat in order and consumers expect in order."""
    return [_MAKERS[payload](i) for i in range(TABLE_LENGTH)]
