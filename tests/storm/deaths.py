"""How workers die: by signals of others, or from within, as they are told to.

A worker that is told hears it between two bytecodes, or while it waits in a call. The thread that
ends the process at once does so whenever the other has let go of the interpreter: in a call, too.
"""

import contextlib
import errno
import os
import resource
import signal
import sys
import threading

# Orders, as they stand in the ledger.
NONE, EXIT, RAISE, STARVE = 0, 1, 2, 3
ORDERS = {"sys.exit": EXIT, "exception": RAISE, "out of memory": STARVE}
SIGNALS = {"SIGKILL": signal.SIGKILL, "terminate()": signal.SIGTERM, "os._exit": signal.SIGUSR2}

# The exit code of each.
CODES = {
    "SIGKILL": -signal.SIGKILL,
    "terminate()": -signal.SIGTERM,
    "sys.exit": 3,
    "os._exit": 4,
    "exception": 5,
    "out of memory": 6,
}
# How often each comes.
WEIGHTS = {
    "SIGKILL": 8,
    "terminate()": 3,
    "sys.exit": 2,
    "os._exit": 3,
    "exception": 2,
    "out of memory": 2,
}
# Those of which the kernel sees to it that nothing of the process runs any more.
AT_ONCE = ("SIGKILL", "terminate()")
# Whoever starts a worker keeps these from it until it listens.
OWN_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}

# What a starving process has left when it begins to eat memory, by the piece.
SPARE_BYTES = 4 << 20
PIECES = (1 << 20, 1 << 16, 1 << 12)
# Enough is enough: who lives on so little for so many turns does not need more.
LONGEST_HUNGER = 200


class Told(Exception):
    """The exception that a worker dies of."""


def bring(process, kind, orders, row):
    """Let a worker die; its end is still to be waited for."""
    if kind in ORDERS:
        orders[row] = ORDERS[kind]
        os.kill(process.pid, signal.SIGUSR1)
    else:
        os.kill(process.pid, SIGNALS[kind])


class Mortal:
    """A process that dies as it is told to."""

    def __init__(self, orders, row, rng):
        self._orders, self._row, self._rng = orders, row, rng
        self._hoard = []
        self._hunger = 0
        self._heard = False
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self._hear)
        # Told in a destructor, where nothing can be raised: `turn` does it again.
        sys.unraisablehook = _say_unless_told
        threading.Thread(target=_end_at_once, daemon=True).start()

    def _hear(self, number, frame):
        self._heard = True
        self._obey()

    def _obey(self):
        order = self._orders[self._row]
        if order == EXIT:
            sys.exit(CODES["sys.exit"])
        if order == RAISE:
            raise Told

    def turn(self):
        """Do, between two calls, what is told and was not done yet."""
        if not self._heard:
            return
        self._obey()
        if not self._hunger:
            limit = _address_space() + SPARE_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
            # CPython 3.11 prints, where it has no memory for a bytearray, that one "has
            # exported buffers": it looks at a count that it did not set yet.
            sys.stderr = None
        self._hunger += 1
        if self._hunger > LONGEST_HUNGER:
            raise MemoryError
        for piece in PIECES[: self._rng.randint(1, len(PIECES))]:
            with contextlib.suppress(MemoryError):
                while True:
                    self._hoard.append(bytearray(piece))

    @contextlib.contextmanager
    def until_death(self):
        """Run what it is to do until it is done, or the process is to end; then end it."""
        code = 0
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            yield
        except Told:
            code = CODES["exception"]
        except (MemoryError, OSError) as error:
            hunger, self._hunger = self._hunger, 0
            if hunger:
                self._hoard.clear()
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
                sys.stderr = sys.__stderr__
            if not hunger or getattr(error, "errno", errno.ENOMEM) != errno.ENOMEM:
                raise
            code = CODES["out of memory"]
        if code:
            sys.exit(code)


def _end_at_once():
    signal.sigwait({signal.SIGUSR2})
    os._exit(CODES["os._exit"])


def _say_unless_told(unraisable):
    if not isinstance(unraisable.exc_value, (Told, SystemExit, MemoryError)):
        sys.__unraisablehook__(unraisable)


def _address_space():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[0]) * resource.getpagesize()
