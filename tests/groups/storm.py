"""A storm over a stream: whoever is on it is killed, and every item is accounted for.

    python -m tests.groups.storm --kills 5000 --seed 7 --reports docs/reports

It comes in rounds, each over a stream of its own; others take the places of the dead. Who dies when
is drawn from the seed, and how far a process has come by then is up to the machine. `--from` begins
with the round that a kill is in, as a run with the same seed came to it. The exit status is 0 if
nothing was found.
"""

import collections
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import dataclass

from shmqueue import ShutDown, Stream, _groups
from tests import evidence, support
from tests.groups import storm_crew as crew
from tests.groups import storm_items as items
from tests.groups.storm_account import Account, Death, key_of
from tests.protocol.raw import FLAGS, HEAD, POOL, TAIL, RawSegment
from tests.storm.ledger import NO_MORE_PUTS
from tests.storm.options import parsed

ROUND_KILLS = 250
FORK = multiprocessing.get_context("fork")
PLACES = range(len(crew.CREW))

# Pauses; they are the experiment, nothing depends on them.
LONGEST_CALM_SECONDS = 0.02
HUNT_SECONDS = 0.1
# If fewer than one of so many had an owner word by then, others are hunted in the end, for longer.
KILLS_PER_HOLDER = 25
LONG_HUNT_SECONDS = 2.0
# The tail, the pool, the floor, and the heads of as many groups as there ever are at once.
ENDS = (TAIL, POOL, *range(HEAD, HEAD + 1 + len(crew.GROUPS) + len(crew.CREW)))

# How a stream ends: all writers finish, this process last; or the last writers are killed; or it is
# shut down.
ENDINGS = ("finished", "killed", "shut")


class StormError(AssertionError):
    """What a storm found while it raged."""


@dataclass(frozen=True)
class Event:
    """Some are killed at once."""

    calm_seconds: float  # before it
    victims: list
    hunt_seconds: float = 0.0  # for somebody with an owner word in its hands, rather than those


def events(seed):
    """Yield what comes, without end; the same for the same seed."""
    rng = random.Random(f"events {seed}")
    bag = []
    while True:
        calm_seconds = rng.uniform(0, LONGEST_CALM_SECONDS)
        chance = rng.random()
        if chance < 0.01:
            yield Event(calm_seconds, list(PLACES))
            continue
        victims = []
        for _ in range(1 if chance < 0.85 else 2):
            if not bag:
                # Each of them as often as the others, however short the storm is.
                bag = rng.sample(PLACES, len(PLACES))
            victims.append(bag.pop())
        hunt_seconds = HUNT_SECONDS if rng.random() < 0.15 else 0.0
        yield Event(calm_seconds, list(set(victims)), hunt_seconds)


class Storm:
    """One round.

    Two threads of this process see all that is put: one in a group that the others wait for, one in
    a group that comes after the killed.
    """

    def __init__(self, stream, most_kills, seed):
        self.stream = stream
        self.killed = collections.Counter()
        self.deaths = []  # of those who took from a group that others are left of
        self.holders = 0
        self.witnessed, self.last = [], []
        self.raw = RawSegment(support.SHM / stream.segment_name)
        self._ending = random.Random(f"ending {seed}").choice(ENDINGS)
        self._seed = seed
        self._starts = 0
        # More than ever come: a kill has one successor, and the last event may be all of them.
        self._ledger = crew.new_ledger(2 * (most_kills + 2 * len(crew.CREW)))
        self._processes = {}
        self._heads = {
            row["name"].decode(): HEAD + 1 + row["index"]
            for row in _groups.rows(stream._attachment)
        }
        self._found = {}  # by place: where the head of its group was when it came
        self._writer = stream.writer()
        self._groups = [stream.group(name) for name in ("witness", "last")]
        self._threads = [
            support.Thread(_witness, self._groups[0], self.witnessed),
            support.Thread(_see_last, self._groups[1], self.last),
        ]

    # ---- who takes part ----

    def begin(self):
        for place in PLACES:
            self._start(place)

    def _start(self, place):
        self._starts += 1
        self._found[place] = self._head_of(place)
        seed = f"{self._seed} {self._starts}"
        anew = random.Random(f"anew {seed}").random() < 0.5
        arguments = (self.stream, anew, self._ledger, crew.CREW[place], place, self._starts, seed)
        process = FORK.Process(target=crew.work, args=arguments, daemon=True)
        process.start()
        self._processes[place] = process

    def strike(self, event):
        """Let an event be: see that the others go on, and start who comes after the dead."""
        self._see_that_all_live()
        victims = event.victims
        if event.hunt_seconds:
            holder = self._find_holder(event.hunt_seconds)
            victims = victims if holder is None else [holder]
        self._kill(victims)
        if len(victims) > 1:
            self._replace(victims)
            self._await_progress()
        else:
            self._await_progress()
            self._replace(victims)

    def _see_that_all_live(self):
        for place, process in self._processes.items():
            if process.exitcode is not None:
                raise StormError(f"{_name(place)} ended by itself with code {process.exitcode}")

    def _kill(self, victims):
        for place in victims:
            os.kill(self._processes[place].pid, signal.SIGKILL)
        for place in victims:
            process = self._processes[place]
            process.join(support.LIMIT)
            if process.exitcode != -signal.SIGKILL:
                raise StormError(f"{_name(place)}, killed, ended with {process.exitcode}")
            self._processes.pop(place).close()
            role = crew.CREW[place]
            self.killed[role] += 1
            in_hand, noted = self._ledger.in_hand[place], self._ledger.received[place]
            self._ledger.in_hand[place] = 0
            if role in crew.GROUPS:
                between = self._found[place], self._head_of(place)
                self.deaths.append(Death(place, in_hand, noted, *between))
            if role == "comer":
                # Nobody else will: a group that has a name waits for others.
                with contextlib.suppress(LookupError):
                    self.stream.remove_group(crew.name_of_comer(place))

    def _head_of(self, place):
        """Return which item is next for whom this one shares its items with."""
        end = self._heads.get(crew.CREW[place])
        return self.raw.get("end", end, "sequence") if end else 0

    def _replace(self, victims):
        for place in victims:
            self._start(place)

    def _await_progress(self):
        """Wait until more has passed than the ring holds: the dead hold nobody back."""
        wanted = len(self.witnessed) + crew.CAPACITY + 1
        deadline = time.monotonic() + support.LIMIT
        while len(self.witnessed) < wanted:
            for thread in self._threads:
                if not thread.is_alive():
                    thread.result()
                    raise StormError("the stream came to its end by itself")
            if time.monotonic() > deadline:
                self._see_that_all_live()
                raise StormError(f"nothing moves any more: {self._scene()}")
            time.sleep(0.0005)

    def _scene(self):
        """Tell who stands where, for whoever is to find out why."""
        words = {end: hex(self.raw.owner(end)) for end in ENDS if self.raw.owner(end)}
        rows = [
            {name: row[name] for name in ("group", "next_sequence", "lag", "held", "gates_tail")}
            for row in self.stream.get_metrics()["groups"]
        ]
        living = {_name(place): process.pid for place, process in self._processes.items()}
        return f"owner words {words}, groups {rows}, processes {living}, dead {self.killed}"

    # ---- who holds an owner word ----

    def _find_holder(self, seconds):
        """Return somebody who stands still with an owner word in its hands.

        Who has one at a look is stopped, and has it still if it was off its core. None if that
        showed nobody for so long.
        """
        places = {process.pid: place for place, process in self._processes.items()}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid = next(filter(places.get, self._holders()), None)
            if pid is None:
                time.sleep(0)  # the other threads of this process go on meanwhile
                continue
            os.kill(pid, signal.SIGSTOP)
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                raise StormError(f"{_name(places[pid])} ended by itself with status {status}")
            if pid in self._holders():
                self.holders += 1
                return places[pid]
            os.kill(pid, signal.SIGCONT)
        return None

    def _holders(self):
        """Yield the processes whose seats the owner words name at this moment."""
        for end in ENDS:
            word = self.raw.owner(end) & ~FLAGS
            seat = (word >> 8) % 65536 - 1
            if word and self.raw.get("seat", seat, "generation") == word >> 24:
                yield self.raw.get("seat", seat, "pid")

    # ---- the end ----

    def finish(self):
        """Bring the stream to its end, at which all who live end in order."""
        writers = [place for place in PLACES if crew.CREW[place] == "writer"]
        self._see_that_all_live()
        if self._ending == "shut":
            self.stream.shutdown()
        elif self._ending == "finished":
            self._ledger.phase[0] = NO_MORE_PUTS
            self._await_ends(writers)
            if self.stream.is_shutdown:
                raise StormError("the stream is at its end, and a writer is left")
            self._writer.finish()
        else:
            self._writer.finish()
            self._kill(writers)
        self._await_ends(list(self._processes))
        for thread in self._threads:
            thread.result()
        if not self.stream.is_shutdown:
            raise StormError("nobody writes any more, and the stream is not at its end")

    def _await_ends(self, places):
        for place in places:
            process = self._processes[place]
            process.join(support.LIMIT)
            if process.exitcode != 0:
                raise StormError(
                    f"{_name(place)} ended with {process.exitcode} when the stream was"
                    f" {self._ending}: {self._scene()}"
                )
            self._processes.pop(place).close()

    def account(self):
        """Return the figures of the round; AssertionError if something is wrong with it."""
        account = Account(self._ledger, self.witnessed, self.last)
        rows = self.stream.get_metrics()["groups"]
        self._let_go()
        account.take(rows, self.deaths)
        account.look_for_the_dead(self.stream, self.raw, self.holders)
        if account.findings:
            shown = [finding[:500] for finding in account.findings[:10]]
            raise StormError(f"{len(account.findings)} findings: {shown}")
        return collections.Counter(kills=self.killed.total()) + account.figures

    def _let_go(self):
        for group in self._groups:
            group.close()
        with contextlib.suppress(ValueError):
            self._writer.finish()

    def end(self):
        """Leave no process, no thread and no memory, whatever happened."""
        for process in self._processes.values():
            process.kill()
            process.join(support.LIMIT)
            process.close()
        self._let_go()
        for thread in self._threads:
            thread.join(support.LIMIT)
        self._ledger.close()
        self.raw.close()


def _witness(group, seen):
    with contextlib.suppress(ShutDown):
        while True:
            seen.append(key_of(*items.read(group.get(timeout=support.LIMIT))))


def _see_last(group, seen):
    with contextlib.suppress(ShutDown):
        while True:
            *known, state = items.read_settled(group.get(timeout=support.LIMIT))
            seen.append((key_of(*known), state))


def _name(place):
    return f"{crew.CREW[place]} {place}"


def rage(name, run_id, kills, seed, tell=lambda storm: None):
    """Make a stream, have a storm over it, and return the figures of its account."""
    shape = {"capacity": crew.CAPACITY, "item_size": crew.ITEM_SIZE, "groups": crew.GROUPS}
    with Stream(name, create=True, run_id=run_id, **shape) as stream:
        try:
            storm = Storm(stream, kills, seed)
            try:
                storm.begin()
                coming = events(seed)
                while storm.killed.total() < kills:
                    event = next(coming)
                    time.sleep(event.calm_seconds)
                    storm.strike(event)
                    tell(storm)
                for _ in range(kills // KILLS_PER_HOLDER - storm.holders):
                    storm.strike(Event(0.0, [0], LONG_HUNT_SECONDS))
                    tell(storm)
                storm.finish()
                return storm.account()
            finally:
                storm.end()
        finally:
            stream.unlink()


def _teller(total, options, begun):
    """Return what shows, on a terminal, how far the storm is."""

    def tell(storm):
        print(
            f"\r{total['kills'] + storm.killed.total():6,} of {options.kills - options.first:,}"
            f" kills  {time.monotonic() - begun:5.0f} s"
            f"  {total['items'] + len(storm.witnessed):11,} items"
            f"  {total['deaths_of_holders'] + storm.holders:5,} with an owner word",
            end="",
            flush=True,
        )

    return tell if sys.stdout.isatty() else lambda storm: None


def main():
    """Run as a program."""
    options = parsed("tests.groups.storm", __doc__)
    seed = options.seed
    total, findings = collections.Counter(), 0
    begun = time.monotonic()
    for first in range(options.first // ROUND_KILLS * ROUND_KILLS, options.kills, ROUND_KILLS):
        kills = min(ROUND_KILLS, options.kills - first)
        try:
            run_id = f"storm-{os.getpid()}"
            total.update(
                rage("stream", run_id, kills, f"{seed}-{first}", _teller(total, options, begun))
            )
        except AssertionError as finding:
            findings += 1
            print(
                f"\nfound: {finding}; again: --seed {seed} --from {first} --kills {first + kills}",
                file=sys.stderr,
            )
    figures = {**total, "findings": findings, "seconds": round(time.monotonic() - begun)}
    print(("\r" if sys.stdout.isatty() else "") + ", ".join(_shown(figures)))
    if options.reports:
        evidence.report("groups", figures, options.reports)
    return 1 if findings or not total else 0


def _shown(figures):
    return [f"{name.replace('_', ' ')} {value:,}" for name, value in figures.items()]


if __name__ == "__main__":
    sys.exit(main())
