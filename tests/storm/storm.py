"""A storm: workers on a queue die in every way that there is, others take their places.

A round is a storm over one queue, with an account of its own. What comes when is drawn from its
seed (`events`): ways to die, victims, pauses, and what each worker does. How far a process has come
when it dies is up to the machine.
"""

import multiprocessing
import multiprocessing.resource_tracker
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass

from shmqueue._inspect import snapshot
from tests import support
from tests.protocol.raw import FLAGS, HEAD, POOL, TAIL
from tests.storm import crew, deaths, queues
from tests.storm.account import account
from tests.storm.ledger import DRAINED, NO_MORE_PUTS, Ledger

# Of each role; the last of them is spawned, the others are forked.
PLACES = 4
# A consumer that is no worker has this place.
GUEST = PLACES
WORKERS = [(role, place) for role in crew.ROLES for place in range(PLACES)]
# Being spawned takes a while: those should live longer.
RARENESS = [1 if place == PLACES - 1 else 7 for _, place in WORKERS]

# Pauses; they are the experiment, nothing depends on them.
LONGEST_CALM_SECONDS = 0.04
LONGEST_STOP_SECONDS = 0.1
# One in hundreds of workers that are stopped has an owner word in its hands.
HUNT_SECONDS = 0.4
# However few were found by then, one of so many is found in the end.
KILLS_PER_HOLDER = 50


@dataclass(frozen=True)
class Event:
    """Some die, or some are stopped for a while."""

    calm_seconds: float  # before it
    victims: list
    kind: str = ""  # how they die
    hunt_seconds: float = 0.0  # for somebody with an owner word in its hands, rather than those
    stop_seconds: float = 0.0  # if they live


def events(seed):
    """Yield what comes, without end; the same for the same seed."""
    rng = random.Random(f"events {seed}")
    kinds = []
    while True:
        if not kinds:
            # Each kind comes as often as it should, however short the storm is.
            kinds = [kind for kind, weight in deaths.WEIGHTS.items() for _ in range(weight)]
            rng.shuffle(kinds)
        calm_seconds = rng.uniform(0, LONGEST_CALM_SECONDS)
        chance = rng.random()
        if chance < 0.1:
            stop_seconds = rng.uniform(0, LONGEST_STOP_SECONDS)
            yield Event(calm_seconds, _draw(rng, 2), stop_seconds=stop_seconds)
            continue
        hunt_seconds = HUNT_SECONDS if rng.random() < 0.15 else 0.0
        victims = list(WORKERS) if chance < 0.12 else _draw(rng, 1 if chance < 0.85 else 2)
        yield Event(calm_seconds, victims, kinds.pop(), hunt_seconds)


def _draw(rng, count):
    """Return one worker, or more."""
    return list(dict.fromkeys(rng.choices(WORKERS, RARENESS, k=count)))


class StormError(AssertionError):
    """What a storm found while it raged."""


class Storm:
    """The workers on a queue, how they die, and who comes after."""

    def __init__(self, field, most_deaths, seed):
        self._field = field
        self._seed = seed
        self._rng = random.Random(f"hunt {seed}")
        self.ledger = Ledger(
            incarnations=2 * (len(WORKERS) + most_deaths),
            consumers=PLACES + 1,
            # By the worker's row: how it is to die, and how often each of its calls returned.
            orders=len(WORKERS),
            calls=len(WORKERS) * crew.MOST_WAYS,
        )
        self.deaths = Counter()
        self.deaths_by_role = Counter()
        self.deaths_of_spawned = 0
        self.holders = 0
        self.stops = 0
        self.may_be_lost = 0
        self.stalls = []  # seconds
        self.incarnations = 0
        self._starts = Counter()
        self._processes = {}

    def begin(self):
        for worker in WORKERS:
            self._start(worker)

    def new_incarnation(self):
        """Return the number of a producer that was not there before."""
        self.incarnations += 1
        return self.incarnations

    def _start(self, worker):
        role, place = worker
        row = WORKERS.index(worker)
        self._starts[worker] += 1
        seed = f"{self._seed} {role} {place} {self._starts[worker]}"
        spawned = place == PLACES - 1
        anew = not spawned and random.Random(f"anew {seed}").random() < 0.5
        if role == "producer":
            self.incarnations += 1
        self.ledger.orders[row] = deaths.NONE
        arguments = (self._field.queue, anew, self.ledger, role, place, row, self.incarnations)
        context = multiprocessing.get_context("spawn" if spawned else "fork")
        process = context.Process(target=crew.work, args=(*arguments, seed), daemon=True)
        # Told before it listens, a worker hears it then.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, deaths.OWN_SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._processes[worker] = process

    # ---- what comes ----

    def strike(self, event):
        """Let an event be; look that the others go on, and start who comes after the dead."""
        for worker in WORKERS:
            code = self._processes[worker].exitcode
            if code is not None:
                raise StormError(f"{_name(worker)} ended by itself with code {code}")
        if event.stop_seconds:
            self._stop(event)
            return
        victims = event.victims
        if event.hunt_seconds and event.kind in deaths.AT_ONCE:
            holder = self.find_holder(event.hunt_seconds)
            victims = [holder] if holder else victims
            self.holders += holder is not None
        self._end(victims, event.kind)
        if len(victims) == len(WORKERS):
            self._replace(victims)
            self._await_progress()
        else:
            self._await_progress()
            self._replace(victims)

    def _stop(self, event):
        self.stop(*event.victims)
        time.sleep(event.stop_seconds)
        self.resume(*event.victims)

    def stop(self, *workers):
        """Stop workers, and wait until they stand still."""
        for worker in workers:
            os.kill(self.pid(worker), signal.SIGSTOP)
        for worker in workers:
            _, status = os.waitpid(self.pid(worker), os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                code = os.waitstatus_to_exitcode(status)
                raise StormError(f"{_name(worker)} ended by itself with code {code}")
        self.stops += len(workers)

    def resume(self, *workers):
        for worker in workers:
            os.kill(self.pid(worker), signal.SIGCONT)

    def find_holder(self, seconds, ends=(TAIL, HEAD, POOL)):
        """Return a worker that stands still with an owner word in its hands.

        One after the other is stopped; None if that showed none for so long.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            worker = self._anyone_running()
            self.stop(worker)
            if any(self.holder_of(end) == self.pid(worker) for end in ends):
                return worker
            self.resume(worker)
        return None

    def _anyone_running(self):
        """Return a worker that runs at this moment, if one does: who sleeps holds no word."""
        workers = self._rng.sample(WORKERS, len(WORKERS))
        for worker in workers:
            fields = support._stat_fields(f"/proc/{self.pid(worker)}")
            if fields and fields[0] == "R":
                return worker
        return workers[0]

    def pid(self, worker):
        return self._processes[worker].pid

    def holder_of(self, end):
        """Return the process whose seat an end's owner word names, or None."""
        raw = self._field.raw
        word = raw.owner(end) & ~FLAGS
        return raw.get("seat", (word >> 8) % 65536 - 1, "pid") if word else None

    def _end(self, victims, kind):
        for worker in victims:
            process = self._processes[worker]
            deaths.bring(process, kind, self.ledger.orders, WORKERS.index(worker))
            # One that stands still dies of a signal the moment it goes on.
            os.kill(process.pid, signal.SIGCONT)
        for worker in victims:
            role, place = worker
            process = self._processes[worker]
            process.join(support.LIMIT)
            if process.exitcode != deaths.CODES[kind]:
                raise StormError(
                    f"{_name(worker)}, told to die by {kind}, ended with {process.exitcode}"
                )
            self._processes.pop(worker).close()
            self.deaths[kind] += 1
            self.deaths_by_role[role] += 1
            self.deaths_of_spawned += place == PLACES - 1
            if role == "consumer":
                self.may_be_lost += self.ledger.in_hand[place]
                self.ledger.in_hand[place] = 0

    def _replace(self, victims):
        for worker in victims:
            self._start(worker)

    def _await_progress(self):
        before, begun = self.ledger.total_received(), time.monotonic()
        while self.ledger.total_received() == before:
            waited = time.monotonic() - begun
            if waited > support.LIMIT:
                raise StormError(f"nobody received anything for {waited:.0f} s: {self._scene()}")
            time.sleep(0.0005)
        self.stalls.append(time.monotonic() - begun)

    def _scene(self):
        """Tell who stands where, for whoever is to find out why."""
        raw, ends = self._field.raw, {"tail": TAIL, "head": HEAD, "pool": POOL}
        words = {name: hex(raw.owner(end)) for name, end in ends.items()}
        sequences = {name: raw.get("end", end, "sequence") for name, end in ends.items()}
        living = {_name(worker): process.pid for worker, process in self._processes.items()}
        return f"owner words {words}, sequences {sequences}, processes {living}"

    # ---- the end ----

    def calm_down(self):
        """Let everyone who lives finish in order."""
        for phase, wanted in ((NO_MORE_PUTS, "producer"), (DRAINED, "consumer")):
            self.ledger.phase[0] = phase
            for worker in [worker for worker in WORKERS if worker[0] == wanted]:
                process = self._processes[worker]
                process.join(support.LIMIT)
                if process.exitcode != 0:
                    raise StormError(f"{_name(worker)} finished with code {process.exitcode}")

    def end(self):
        """Leave no process and no memory, whatever happened."""
        for process in self._processes.values():
            process.kill()
            process.join(support.LIMIT)
            process.close()
        self.ledger.close()

    def calls(self):
        """Return how often each call returned, by role and name."""
        told = {role: Counter() for role in crew.ROLES}
        for row, (role, _) in enumerate(WORKERS):
            for number, name in enumerate(crew.WAYS[role]):
                told[role][name] += self.ledger.calls[row * crew.MOST_WAYS + number]
        return told


def _name(worker):
    return " ".join(map(str, worker))


@dataclass
class Round:
    """What a round was like."""

    queue: str
    seed: str
    seconds: float = 0.0
    deaths: Counter = None
    deaths_by_role: Counter = None
    deaths_of_spawned: int = 0
    deaths_of_holders: int = 0
    stops: int = 0
    stalls: list = None
    calls: dict = None
    items_put: int = 0
    items_received: int = 0
    lost: int = 0
    may_be_lost: int = 0
    duplicates: int = 0
    strangers: int = 0
    disordered: int = 0
    takeovers: int = 0
    leaked_bytes: int = 0
    leaked_files: int = 0
    leaked_processes: int = 0
    findings: list = None


def rage(queue, kills, seed, tell=lambda storm, seen: None):
    """Let a round of so many deaths rage over a kind of queue; return what it was like."""
    multiprocessing.resource_tracker.ensure_running()  # or it would seem to be left behind
    processes = set(support.descendants())
    field = queues.KINDS[queue]()
    told = Round(queue, seed, findings=[])
    begun = time.monotonic()
    storm = Storm(field, kills, seed)
    try:
        storm.begin()
        coming = events(seed)
        while storm.deaths.total() < kills:
            event = next(coming)
            time.sleep(event.calm_seconds)
            field.look()
            storm.strike(event)
            tell(storm, snapshot(field.queue._attachment))
        for _ in range(2 * kills // KILLS_PER_HOLDER):
            if storm.holders < kills // KILLS_PER_HOLDER:
                storm.strike(Event(0.0, [WORKERS[0]], "SIGKILL", support.LIMIT))
        storm.calm_down()
        _settle(storm, field, told)
    except AssertionError as error:
        told.findings.append(f"{type(error).__name__}: {error}")
    finally:
        told.seconds = time.monotonic() - begun
        _note(storm, told)
        storm.end()
        left = field.remove()
    told.leaked_files = len(left)
    told.leaked_processes = len(set(support.descendants()) - processes)
    told.findings += [f"a file is left: {name}" for name in left]
    if told.leaked_processes:
        told.findings.append(f"{told.leaked_processes} processes are left")
    return told


def _note(storm, told):
    told.deaths, told.deaths_by_role = storm.deaths, storm.deaths_by_role
    told.deaths_of_spawned, told.deaths_of_holders = storm.deaths_of_spawned, storm.holders
    told.stops, told.stalls, told.calls = storm.stops, storm.stalls, storm.calls()
    told.may_be_lost = storm.may_be_lost


def _settle(storm, field, told):
    """Compare what was received with what the queue says, once a latecomer swept it."""
    settled = account(storm.ledger, storm.incarnations)
    seen = field.metrics()
    told.items_put, told.items_received = seen["items_put"], settled.received
    told.lost = seen["items_put"] - settled.received
    told.duplicates, told.strangers = settled.duplicates, settled.strangers
    told.disordered, told.takeovers = settled.disordered, seen["takeovers"]
    told.leaked_bytes = seen["pool_bytes"] - seen["pool_free_bytes"]
    claims = {
        "an item came twice": settled.duplicates == 0,
        "an item came that nobody put": settled.strangers == 0,
        "a producer's items changed their order": settled.disordered == 0,
        "items are left": seen["queue_size"] == 0 and seen["items_put"] == seen["items_got"],
        f"{settled.missing} items are missing, of {settled.producers}; {told.lost} were lost, and"
        f" {storm.may_be_lost} were in hands": 0
        <= settled.missing
        <= told.lost
        <= storm.may_be_lost,
        "blocks are in use": told.leaked_bytes == 0 and seen["pool_bytes"] > 0,
        "memory is said to be viewed": seen["view_bytes"] == 0,
        "a word of a dead owner was not taken over": seen["takeovers"] >= storm.holders,
        # The dead left their seats to those who came after: the workers, this process, a latecomer.
        "seats leak": max(row["seat"] for row in seen["seats"]) <= len(WORKERS) + 2,
    }
    told.findings += [wrong for wrong, holds in claims.items() if not holds]
    told.findings += field.findings()
