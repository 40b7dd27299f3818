"""The account of a storm: what was put, what came, and what may be missing.

An item that ``put`` returned for must have been received, once, unless a consumer died with it in
its hands. A call that death cut short is whole or absent.
"""

from dataclasses import dataclass, field

import numpy


@dataclass
class Account:
    received: int = 0  # items
    missing: int = 0  # of those that must have come
    duplicates: int = 0
    strangers: int = 0  # items that nobody put
    disordered: int = 0  # items that came after a later one of the same producer
    producers: dict = field(default_factory=dict)  # of whom something is missing, and how much


def account(ledger, incarnations):
    """Compare what producers 1 to `incarnations` put with what the logs say."""
    told = Account()
    logs = ledger.logs()
    for log in logs:
        order = numpy.argsort(log >> 32, kind="stable")
        producer, number = (log >> 32)[order], (log & 0xFFFFFFFF)[order].astype(numpy.int64)
        same = producer[1:] == producer[:-1]
        told.disordered += int((numpy.diff(number)[same] < 0).sum())
    keys = numpy.sort(numpy.concatenate(logs))
    unique = numpy.unique(keys)
    told.received = len(keys)
    told.duplicates = len(keys) - len(unique)

    def received_up_to(incarnation, number):
        key = numpy.uint64(incarnation << 32 | number)
        return int(numpy.searchsorted(unique, key, side="right"))

    known = 0
    for incarnation in range(1, incarnations + 1):
        begun, returned = ledger.begun[incarnation], ledger.returned[incarnation]
        before = received_up_to(incarnation, 0)
        promised = received_up_to(incarnation, returned) - before
        got = received_up_to(incarnation, max(begun, returned)) - before
        missing = returned - promised
        if got > promised:
            # The call that was cut short is in: what of it is not there is missing.
            missing += (begun - returned) - (got - promised)
        if missing:
            told.producers[incarnation] = missing
        told.missing += missing
        known += got
    told.strangers = len(unique) - known
    return told
