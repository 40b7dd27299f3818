"""Children in a process namespace of their own: each is number 1 there, as in a container.

They are forked by this process and known to it by its own numbers, so that it can wait for them and
kill them; among themselves they have nothing in common but /dev/shm.
"""

import ctypes
import functools
import os

import pytest

from tests.faults.processes import Forks

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result, what):
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def start_as_first(forks, function, *args):
    """Fork a child that is process 1 of a new namespace, with a /proc that says so."""

    def live():
        assert os.getpid() == 1
        _checked(_libc.unshare(CLONE_NEWNS), "unshare the mounts")
        _checked(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make them private")
        _checked(_libc.mount(b"proc", b"/proc", b"proc", 0, None), "mount /proc")
        function(*args)

    # The thread stays where it is; only its next children are in the new namespace.
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.unshare(CLONE_NEWPID), "unshare the process numbers")
        try:
            return forks.start(live)
        finally:
            _checked(_libc.setns(own, CLONE_NEWPID), "return to the own process numbers")
    finally:
        os.close(own)


def start_with_clock(forks, ahead_seconds, function, *args):
    """Fork a child whose own child has a monotonic clock so far ahead; it ends as that does."""

    def live():
        # There is no way back, so this process does nothing else.
        _checked(_libc.unshare(CLONE_NEWTIME), "unshare the clocks")
        with open("/proc/self/timens_offsets", "w") as file:
            file.write(f"monotonic {ahead_seconds} 0\n")
        its = Forks()
        assert its.wait(its.start(function, *args)) == 0

    return forks.start(live)


@functools.cache
def _why_not(kind):
    """Say why no child can be started in a new namespace of a kind; empty if it can."""
    forks = Forks()
    try:
        if kind == "pid":
            pid = start_as_first(forks, lambda: None)
        else:
            pid = start_with_clock(forks, 1000, lambda: None)
        return "" if forks.wait(pid) == 0 else f"no {kind} namespaces here, see above"
    except OSError as error:
        return f"no {kind} namespaces here: {error}"
    finally:
        forks.end()


def need(kind):
    """Skip the test, saying why, where there are no namespaces of this kind."""
    if why := _why_not(kind):
        pytest.skip(why)
