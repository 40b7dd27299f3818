"""A child that stops at every system call of one operation, and is killed at one of them.

The operation stands between two calls of ``getppid``, which nothing else here makes. A stop at the
entry of a system call comes before the kernel does anything, and a kill there cancels the call; a
stop at the exit comes after all of it.
"""

import ctypes
import os
import platform
import signal

PTRACE_TRACEME = 0
PTRACE_SYSCALL = 24
PTRACE_SETOPTIONS = 0x4200
PTRACE_GET_SYSCALL_INFO = 0x420E

TRACESYSGOOD = 0x01
EXITKILL = 0x100000

ENTRY, EXIT = 1, 2
SYSCALL_STOP = signal.SIGTRAP | 0x80

# The number of the marker, getppid.
MARKERS = {"x86_64": 110, "aarch64": 173}


class _Info(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("padding", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 8),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, pid, address=0, data=0):
    if _libc.ptrace(request, pid, address, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace request {request:#x}: {os.strerror(error)}")


def why_not(forks):
    """Say why nothing can be traced here; empty if it can."""
    if platform.machine() not in MARKERS:
        return f"no system calls of {platform.machine()} are known here"
    pid = start(forks, lambda: None, lambda prepared: None)
    try:
        Stops(pid).begin()
    except OSError as error:
        return f"tracing is not allowed here: {error}"
    finally:
        forks.kill(pid)
    return ""


def _be_traced(prepare, operate):
    prepared = prepare()
    _ptrace(PTRACE_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.getppid()
    operate(prepared)
    os.getppid()
    raise AssertionError("nobody killed it")


def start(forks, prepare, operate):
    """Fork a child that prepares and then waits to be traced through an operation."""
    return forks.start(_be_traced, prepare, operate)


class Stops:
    """The system calls of a traced child's operation, one stop after the other."""

    def __init__(self, pid):
        self._pid = pid
        self._info = _Info()
        self._signal = 0
        self._marker = MARKERS[platform.machine()]
        self.number = None  # of the call that it is in

    def _next(self):
        """Let it go on to its next stop; return what that is, None when it ended."""
        while True:
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSTOPPED(status):
                raise AssertionError(f"the child ended by itself: {status:#x}")
            stop = os.WSTOPSIG(status)
            if stop == SYSCALL_STOP:
                size = ctypes.sizeof(self._info)
                _ptrace(PTRACE_GET_SYSCALL_INFO, self._pid, size, ctypes.addressof(self._info))
                if self._info.op == ENTRY:
                    self.number = self._info.number
                return self._info.op
            # A signal on its way to it.
            self._go(0 if stop in (signal.SIGSTOP, signal.SIGTRAP) else stop)

    def _go(self, number=0):
        _ptrace(PTRACE_SYSCALL, self._pid, 0, number)

    def begin(self):
        """Go to where the operation begins."""
        _, status = os.waitpid(self._pid, 0)
        if not os.WIFSTOPPED(status):
            raise AssertionError(f"the child ended before its operation began: {status:#x}")
        _ptrace(PTRACE_SETOPTIONS, self._pid, 0, TRACESYSGOOD | EXITKILL)
        self._go()
        while not (self._next() == EXIT and self.number == self._marker):
            self._go()

    def go_on(self):
        """Go to the next stop; return "entry" or "exit", or None where the operation is done."""
        self._go()
        op = self._next()
        if self.number == self._marker:
            return None
        return "entry" if op == ENTRY else "exit"
