"""The soak itself: workers on two queues, SIGKILLs at random, and an account at the end."""

import contextlib
import gc
import os
import random
import secrets
import signal
import time
from queue import Empty

from shmqueue import SharedMemoryQueue
from shmqueue._inspect import snapshot
from tests import support, unnamed
from tests.faults.processes import Forks
from tests.soak import workers
from tests.soak.workers import COLUMNS, Ledger
from tests.storm.ledger import DRAINED, NO_MORE_PUTS

PRODUCERS = 2
CONSUMERS = 2
CAPACITY = 48
# Nobody receives anything for so long: something hangs.
STALL_SECONDS = 30
LONGEST_CALM_SECONDS = 0.12
MEGABYTE = 1 << 20


class SoakError(AssertionError):
    """What the soak found."""


class Side:
    """One queue, and those who work on it. The first of each role is never killed."""

    def __init__(self, name, queue, forks, rng):
        self.name, self.queue = name, queue
        self.ledger = Ledger(PRODUCERS + CONSUMERS)
        self.kills = {"producer": 0, "consumer": 0}
        self.may_be_lost = 0
        self._forks, self._rng = forks, rng
        self._incarnations = 0
        self._pids = {}
        self.samples = []
        for place in range(PRODUCERS + CONSUMERS):
            self._start(place)

    @staticmethod
    def _role(place):
        return "producer" if place < PRODUCERS else "consumer"

    def _start(self, place):
        self._incarnations += 1
        # Two consumers never see the same producer's number.
        number, seed = self._incarnations, self._rng.randrange(1 << 32)
        self._pids[place] = self._forks.start(self._work, place, number, seed)

    def _work(self, place, number, seed):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Whoever gets nothing from its parent's memory finds what is its own.
        gc.freeze()
        if self._role(place) == "producer":
            workers.Producer(self.queue, self.ledger, place, number, seed).run()
        else:
            workers.Consumer(self.queue, self.ledger, place, seed).run()

    @property
    def pids(self):
        return set(self._pids.values())

    def strike(self):
        """Kill one at random, and start who comes after."""
        place = self._rng.choice([p for p in range(PRODUCERS + CONSUMERS) if p not in self._immune])
        self._forks.kill(self._pids[place])
        role = self._role(place)
        self.kills[role] += 1
        if role == "consumer":
            self.may_be_lost += self.ledger.in_hand[place]
            self.ledger.in_hand[place] = 0
        self._start(place)

    _immune = (0, PRODUCERS)

    def look(self):
        """Fail if a worker ended by itself; note how much memory there is."""
        for place, pid in self._pids.items():
            code = self._forks.poll(pid)
            if code is not None:
                raise SoakError(f"{self._role(place)} {place} of {self.name} ended with {code}")
        seen = snapshot(self.queue._attachment)
        rss = sum(_private_bytes(self._pids[place]) for place in self._immune)
        shared = os.fstat(self.queue._attachment.fd).st_blocks * 512
        self.samples.append({"pool": seen["pool_bytes"], "shared": shared, "private": rss})
        return seen

    def end(self, phase):
        """Let producers finish, then consumers."""
        self.ledger.phase[0] = phase
        for place, pid in self._pids.items():
            if (self._role(place) == "producer") == (phase == NO_MORE_PUTS):
                code = self._forks.wait(pid)
                if code != 0:
                    raise SoakError(f"{self._role(place)} {place} of {self.name} ended with {code}")

    def account(self):
        """Compare what was put with what came, and see that every block is free."""
        late = unnamed.another(self.queue)
        with contextlib.suppress(Empty):
            raise SoakError(f"{self.name}: left in the queue: {late.get_nowait()!r:.80}")
        late.close()
        seen = snapshot(self.queue._attachment)
        ledger = self.ledger
        told = {column: ledger.total(column) for column in COLUMNS if column != "in_hand"}
        told |= {"kills": dict(self.kills), "may_be_lost": self.may_be_lost}
        told |= {"lost": seen["items_put"] - told["got"]}
        for key in ("items_put", "items_got", "takeovers", "items_viewed", "items_copied"):
            told[key] = seen[key]
        told |= {"pool_bytes": seen["pool_bytes"], "pool_free_bytes": seen["pool_free_bytes"]}
        told["memory"] = {key: self._growth(key) for key in ("pool", "shared", "private")}
        problems = []
        if seen["items_put"] != seen["items_got"]:
            problems.append("items are left")
        if seen["pool_free_bytes"] != seen["pool_bytes"] or seen["view_bytes"] != 0:
            problems.append("blocks are still in use")
        if not 0 <= told["lost"] <= self.may_be_lost:
            problems.append("items were lost, or came twice")
        if told["put"] > seen["items_put"]:
            problems.append("a put returned for nothing")
        for key, (early, late_) in told["memory"].items():
            if late_ > 1.5 * early + 64 * MEGABYTE:
                problems.append(f"memory grew: {key} from {early} to {late_} bytes")
        told["problems"] = problems
        return told

    def _growth(self, key):
        """Return the most of the second fifth, and of the last."""
        values = [sample[key] for sample in self.samples] or [0]
        fifth = max(1, len(values) // 5)
        return max(values[fifth : 2 * fifth] or values), max(values[-fifth:])


def _private_bytes(pid):
    """Return the memory that a process has for itself."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def _reap_orphans(known, block=False):
    """See to the children of those that were killed; they must have ended well."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as children:
            orphans = {int(pid) for pid in children.read().split()} - known
        for pid in orphans:
            done, status = os.waitpid(pid, 0 if block else os.WNOHANG)
            if done and status:
                raise SoakError(f"a child of a process that was killed ended with {status}")
        if not (block and orphans):
            return


def soak(seconds, seed, tell=lambda line: None):
    """Soak for so many seconds; return the account, as a dict. Raise `SoakError` if it can't."""
    support.inherit_orphans()
    rng = random.Random(seed)
    forks = Forks()
    run_id = f"soak{os.getpid()}-{secrets.token_hex(4)}"
    named = SharedMemoryQueue("soak", create=True, capacity=CAPACITY, run_id=run_id)
    nameless = unnamed.make_queue(CAPACITY)
    begun = time.monotonic()
    try:
        sides = [
            Side("named", named, forks, rng),
            Side("unnamed", nameless, forks, rng),
        ]
        _rage(sides, seconds, rng, tell)
        for phase in (NO_MORE_PUTS, DRAINED):
            for side in sides:
                side.end(phase)
        _reap_orphans(set(), block=True)
        accounts = {side.name: side.account() for side in sides}
    finally:
        forks.end()
        with contextlib.suppress(SoakError):
            _reap_orphans(set(), block=True)
        named.close()
        named.unlink()
        nameless.close()
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "queues": accounts,
        "problems": [f"{n}: {text}" for n, told in accounts.items() for text in told["problems"]],
    }


def _rage(sides, seconds, rng, tell):
    begun = now = last_progress = time.monotonic()
    received = -1
    while now - begun < seconds:
        time.sleep(min(rng.uniform(0, LONGEST_CALM_SECONDS), seconds))
        side = rng.choice(sides)
        if rng.random() < 0.7:
            side.strike()
        for each in sides:
            each.look()
        _reap_orphans(set().union(*(each.pids for each in sides)))
        now = time.monotonic()
        total = sum(each.ledger.total("got") for each in sides)
        if total > received:
            received, last_progress = total, now
        elif now - last_progress > STALL_SECONDS:
            raise SoakError(f"nobody received anything for {STALL_SECONDS} s")
        kills = sum(sum(each.kills.values()) for each in sides)
        pool = sum(each.samples[-1]["pool"] for each in sides) // MEGABYTE
        tell(
            f"{now - begun:6.0f} of {seconds:g} s   {received:9,} items   {kills:5,} kills"
            f"   pools {pool:5,} MB"
        )
