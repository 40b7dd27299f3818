"""Children in a process namespace of their own: each is number 1 there, as in a container.

They are forked by this process and known to it by its own numbers, so that it can wait for them and
kill them; among themselves they have nothing in common but /dev/shm.
"""

import ctypes
import functools
import os

import pytest

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

    return _start_in_new(forks, "pid", CLONE_NEWPID, lambda: None, live)


def start_with_clock(forks, offset_seconds, function, *args):
    """Fork a child whose monotonic clock is so many seconds ahead of this process's."""

    def set_offset():
        with open("/proc/self/timens_offsets", "w") as file:
            file.write(f"monotonic {offset_seconds} 0\n")

    return _start_in_new(forks, "time", CLONE_NEWTIME, set_offset, function, *args)


def _start_in_new(forks, kind, flag, prepare, function, *args):
    # The thread stays where it is; only its next children are in the new namespace.
    own = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.unshare(flag), f"unshare {kind}")
        try:
            prepare()
            return forks.start(function, *args)
        finally:
            _checked(_libc.setns(own, flag), f"return from {kind}")
    finally:
        os.close(own)


@functools.cache
def _why_not(kind):
    """Say why no child can be started in a new namespace of a kind; empty if it can."""
    from tests.faults.processes import Forks

    forks = Forks()
    try:
        if kind == "pid":
            pid = start_as_first(forks, lambda: None)
        else:
            pid = start_with_clock(forks, 1000, lambda: None)
        return "" if forks.wait(pid) == 0 else f"a {kind} namespace can't have its own mounts here"
    except OSError as error:
        return f"no {kind} namespaces here: {error}"
    finally:
        forks.end()


def need(kind):
    """Skip the test, saying why, where there are no namespaces of this kind."""
    if why := _why_not(kind):
        pytest.skip(why)
