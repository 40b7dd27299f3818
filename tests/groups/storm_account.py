"""The account of a storm over a stream: what was put, what came where, what is left of the dead.

A witness whom nobody kills sees all that is put, in the order of the stream. From that each item in
the ledger has its sequence, and the rest follows; what the stream says of itself is compared.

    of a producer           all that `put` returned for; all or nothing of the call it was killed in
    of a group that blocks  all but what was in the hands of somebody who was killed in the call
    of one that may lose    all but that, and exactly as many as it says it lost
    of a consumer           in order; of a group that it opened for itself, without a gap
    an array                as the stage left it that lived to say so, or as far as the killed came
"""

import os
import struct
from collections import Counter
from typing import NamedTuple

import numpy

from shmqueue import _repair
from shmqueue._inspect import seat_rows
from tests import unnamed
from tests.groups import storm_crew as crew
from tests.groups import storm_items as items
from tests.protocol.raw import POOL, SIZES

PRODUCER_BITS, NUMBER_BITS = crew.STATE_SHIFT, 32
KEY_BITS = PRODUCER_BITS + NUMBER_BITS
MAX_WRITERS, MAX_PINNERS = 256, 128
# Of a table, if those of the dead are used again: more than there ever are at once, since somebody
# dead seems to live while another is given his seat.
MOST_ROWS = 2 * len(crew.CREW)


class Death(NamedTuple):
    """Of a consumer. What it took and did not note is at `since`, or later, and before `until`."""

    place: int
    in_hand: int  # items that the call that it was in may take
    noted: int  # how many stood in its log
    since: int  # where the head of its group was when it came
    until: int  # and when it was dead


def key_of(producer, number):
    return producer << NUMBER_BITS | number


class Account:
    """What was found: figures, and what is wrong."""

    def __init__(self, ledger, witnessed, last):
        """Of all items in order: `witnessed` keys, and `last` keys and what was changed of each."""
        self.findings = []
        self.figures = Counter(items=len(witnessed))
        self._ledger = ledger
        self._keys = numpy.array(witnessed, dtype="uint64")
        self._order = numpy.argsort(self._keys, kind="stable")
        self._sorted = self._keys[self._order]
        self._last = last
        self._logs = [ledger.entries(place) for place in range(len(crew.CREW))]

    def expect(self, holds, otherwise):
        if not holds:
            self.findings.append(otherwise)

    def take(self, rows, deaths):
        """Account for all items: `rows` are the metrics of the groups."""
        self._of_producers()
        self.expect(
            [key for key, _ in self._last] == self._keys.tolist(),
            "who comes after all others saw something else than who comes after none",
        )
        rows = {row["group"]: row for row in rows}
        for group in crew.GROUPS:
            row = rows.get(group)
            if row is None:
                self.findings.append(f"{group} is gone")
                continue
            found = row["next_sequence"], row["lag"], row["held"]
            self.expect(found == (len(self._keys), 0, 0), f"{group} is not at the end: {row}")
            if group in crew.ROLES:
                dead = [death for death in deaths if crew.CREW[death.place] == group]
                self._of_group(group, row["lapped"], dead)
        for place, role in enumerate(crew.CREW):
            if role in ("subscriber", "comer"):
                self._of_visits(f"{role} {place}", self._logs[place])
        self._of_arrays()

    def _of_producers(self):
        numbers_by_producer = {}
        for key in self._keys.tolist():
            producer, number = key >> NUMBER_BITS, key & (1 << NUMBER_BITS) - 1
            numbers_by_producer.setdefault(producer, []).append(number)
        calls = zip(self._ledger.begun, self._ledger.returned, strict=True)
        for producer, (begun, returned) in enumerate(calls):
            numbers = numbers_by_producer.pop(producer, [])
            self.expect(
                numbers == list(range(1, len(numbers) + 1)),
                f"the items of {producer} are not in order, or not there once: {len(numbers)}",
            )
            self.expect(
                len(numbers) in (begun, returned),
                f"{producer} has put {returned} and was putting up to {begun}: {len(numbers)} came",
            )
        self.expect(not numbers_by_producer, f"nobody has put these: {numbers_by_producer}")

    def _sequences(self, keys, who):
        """Return the sequences of items in the stream."""
        at = numpy.searchsorted(self._sorted, keys)
        known = at < len(self._sorted)
        known[known] = self._sorted[at[known]] == keys[known]
        self.expect(known.all(), f"{who} got {(~known).sum()} items that nobody put")
        sequences = numpy.full(len(keys), -1)
        sequences[known] = self._order[at[known]]
        return sequences

    def _of_group(self, group, lapped, deaths):
        """Its consumers share its items, each of which goes to one of them."""
        got = {}
        for place, role in enumerate(crew.CREW):
            if role == group:
                keys = self._logs[place] & numpy.uint64((1 << KEY_BITS) - 1)
                got[place] = self._sequences(keys, f"{group} {place}")
                self.expect((numpy.diff(got[place]) > 0).all(), f"{group} {place}: out of order")
        all_got = numpy.concatenate(list(got.values()))
        missing = numpy.setdiff1d(numpy.arange(len(self._keys)), all_got).tolist()
        twice = len(all_got) + len(missing) - len(self._keys)
        self.expect(twice == 0, f"{group} got {twice} items twice")
        in_hands = sum(death.in_hand for death in deaths)
        lost = len(missing) - lapped
        self.expect(
            0 <= lost <= in_hands,
            f"{group} got {len(all_got)} of {len(self._keys)} and says that it lost {lapped}: of"
            f" {lost} others {in_hands} at most were in the hands of the killed",
        )
        may_lapse = crew.GROUPS[group].keys() & {"policy", "drop_after"}
        self.expect(may_lapse or lapped == 0, f"{group}, which blocks, says that it lost {lapped}")
        nobodys = _in_no_hands(missing, [_narrowed(death, got[death.place]) for death in deaths])
        self.expect(
            len(nobodys) <= lapped,
            f"{group} says that it lost {lapped}; nobody who was killed can have had {nobodys}",
        )
        self.figures.update(lost=lost, may_be_lost=in_hands, lapped=lapped)

    def _of_visits(self, who, log):
        """What was got between two marks has no gap."""
        states = log >> numpy.uint64(KEY_BITS)
        starts = numpy.flatnonzero(states == crew.VISIT)
        self.expect(len(log) == 0 or (len(starts) and starts[0] == 0), f"{who} got some uninvited")
        for visit in numpy.split(log, starts)[1:]:
            sequences = self._sequences(visit[1:], who)
            self.expect((numpy.diff(sequences) == 1).all(), f"{who} missed some: {sequences}")
        self.figures["visits"] += len(starts)

    def _of_arrays(self):
        """Who comes after the stage sees what it left, and all see the same."""
        state_of = dict(self._last)
        untold = {key for key in state_of if _is_array(key)}
        for place, role in enumerate(crew.CREW):
            if role not in ("stage", "after"):
                continue
            for entry in self._logs[place].tolist():
                key, state = entry & (1 << KEY_BITS) - 1, entry >> KEY_BITS
                self.expect(
                    state_of.get(key) == state,
                    f"{role} saw {key:#x} as {state}, and the last as {state_of.get(key)}",
                )
                if role == "stage":
                    self.expect(
                        state == (items.CHANGED if _is_array(key) else items.UNCHANGED),
                        f"the stage left {key:#x} as {state}",
                    )
                    untold.discard(key)
        # Those that somebody was killed with: as far as it came.
        self.figures["half_changed"] += sum(state_of[key] == items.IN_PART for key in untold)

    # ---- what is left of the dead ----

    def look_for_the_dead(self, stream, raw, holders):
        """Once somebody else has come, and then once a survivor was asked to clear up."""
        unnamed.another(stream).close()
        seen = stream.get_metrics()
        self.expect(seen["items_put"] == len(self._keys), f"{seen['items_put']} were put")
        self.expect(
            seen["pool_bytes"] == seen["pool_free_bytes"] > 0 and seen["view_bytes"] == 0,
            f"of {seen['pool_bytes']} bytes {seen['pool_free_bytes']} were found again, and"
            f" {seen['view_bytes']} are said to be viewed",
        )
        names = [row["group"] for row in seen["groups"]]
        self.expect(sorted(names) == sorted(crew.GROUPS), f"there are the groups {names}")
        pinners = _words(raw, "pinners", MAX_PINNERS)
        self.expect(not any(pinners), f"these pin by a number still: {pinners}")
        pins = [
            raw.bytes_at(raw.offset_of("block", block, "pins"), MAX_PINNERS // 8)
            for block in range(raw.get("end", POOL, "sequence"))
        ]
        self.expect(not any(map(any, pins)), "blocks are pinned by those")
        # A dead writer's row is as good as a free one, and is the next one's.
        writers = _words(raw, "writers", MAX_WRITERS)
        self.expect(not any(writers[MOST_ROWS:]), f"rows of writers leak: {writers}")
        self.expect(_repair.repair(stream._attachment, True), "not all could be cleared up")
        holds = raw.get("stream", 0, "holds_granted")
        tags = _words(raw, "holds", 8 * holds)[::8]
        self.expect(not any(tags), f"these hold items still: {tags}")
        self.expect(holds <= MOST_ROWS, f"rows of holds leak: {holds}")
        seats = raw.get("header", 0, "seats_granted")
        self.expect(seats <= len(crew.CREW) + 2, f"seats leak: {seats}")
        alive = [row["pid"] for row in seat_rows(stream._attachment)]
        self.expect(alive == [os.getpid()], f"there sit {alive}, and this is {os.getpid()}")
        # The last word of a dead owner is taken over at the latest now.
        takeovers = stream.get_metrics()["takeovers"]
        self.expect(takeovers >= holders, f"{takeovers} takeovers, and {holders} died with a word")
        self.figures.update(takeovers=takeovers, deaths_of_holders=holders)


def _narrowed(death, got):
    """Return the same, but not before the last item that is known to have been noted by then."""
    if death.noted:
        death = death._replace(since=max(death.since, int(got[death.noted - 1]) + 1))
    return death


def _in_no_hands(missing, deaths):
    """Return what is left when everyone killed had in hand as much of what is missing as can be."""
    room = [death.in_hand for death in deaths]
    left = []
    for sequence in missing:
        able = [at for at, d in enumerate(deaths) if d.since <= sequence < d.until and room[at] > 0]
        if able:
            room[min(able, key=lambda at: deaths[at].until)] -= 1
        else:
            left.append(sequence)
    return left


def _is_array(key):
    return items.size_of(key >> NUMBER_BITS, key & (1 << NUMBER_BITS) - 1) == items.ARRAY


def _words(raw, field, count):
    """Return words of the stream's table."""
    assert SIZES["hold"] == 64
    return struct.unpack(f"={count}Q", raw.bytes_at(raw.offset_of("stream", 0, field), 8 * count))
