"""From the arguments of a call to its deadline."""

from libc.limits cimport INT_MAX
from libc.math cimport isnan
from libc.stdint cimport uint64_t

from shmqueue._core cimport AT_ONCE
from shmqueue._protocol cimport SHMQ_NO_DEADLINE, now_ns

cdef extern from "Python.h":
    double PyFloat_AsDouble(object) except? -1.0


cdef inline uint64_t deadline_ns_of(object block, object timeout) except? 1:
    """Deadline of a call: the plain case at once, the others by a call."""
    if timeout is None and block is True:
        return SHMQ_NO_DEADLINE
    return _deadline_of(block, timeout)


cdef inline uint64_t _deadline_of(object block, object timeout) except? 1:
    """Deadline of a call, with the meanings and limits that multiprocessing gives its arguments."""
    cdef double seconds
    if timeout is None:
        return SHMQ_NO_DEADLINE if block else AT_ONCE
    if not block:
        return AT_ONCE
    seconds = PyFloat_AsDouble(timeout)
    if isnan(seconds):
        raise ValueError("timeout must be a number of seconds, not NaN")
    if seconds <= 0:
        return AT_ONCE
    if seconds >= 0.5 * INT_MAX:
        raise OverflowError(f"timeout is too large: {timeout} seconds; None waits for ever")
    return now_ns() + <uint64_t>(seconds * 1e9)
