# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Runs of bytes that objects use without owning them, and memory for long ones."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free
from cpython.ref cimport PyObject
from libc.string cimport memcpy

from shmqueue._packed cimport SHMQ_FREE_THREADED
from shmqueue._payload cimport PART_ALIGNMENT

__all__ = ["run_at"]

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *) noexcept

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **, size_t, size_t)

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void *, size_t, int)
    int MADV_HUGEPAGE

cdef extern from "<unistd.h>" nogil:
    long sysconf(int)
    int _SC_PAGESIZE

cdef enum:
    # Below this, releasing the GIL costs more than the copy.
    UNLOCKED_BYTES = 65536
    # malloc takes memory of this size from the system, and touching it for the first time costs
    # several times the copy itself; by huge pages, a third of that. numpy draws the line here.
    HUGE_BYTES = 4 << 20

cdef uintptr_t _page = sysconf(_SC_PAGESIZE)


cdef class Run:
    """A run of bytes that exports a writable buffer; its own memory, or another object's."""

    def __dealloc__(self):
        free(self.heap)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, False, flags)


cdef Run run_of(const void *data, Py_ssize_t size, object owner):
    cdef Run run = Run.__new__(Run)
    run.owner = owner
    run.data = <char *>data
    run.size = size
    return run


def run_at(address, size, owner):
    """Return a buffer of the memory at an address, which is the owner's and stays while it lives.

    Parameters
    ----------
    address, size : int
    owner : object
    """
    return run_of(<const void *><uintptr_t>address, size, owner)


cdef Run fresh_run(Py_ssize_t size):
    cdef Run run = Run.__new__(Run)
    cdef void *memory
    if posix_memalign(&memory, PART_ALIGNMENT, size if size else 1):
        raise MemoryError
    run.data = run.heap = <char *>memory
    run.size = size
    _ask_for_huge_pages(run.data, size)
    return run


cdef bytes fresh_bytes(Py_ssize_t size):
    fresh = PyBytes_FromStringAndSize(NULL, size)
    _ask_for_huge_pages(PyBytes_AS_STRING(fresh), size)
    return fresh


cdef bytearray fresh_bytearray(Py_ssize_t size):
    fresh = PyByteArray_FromStringAndSize(NULL, size)
    _ask_for_huge_pages(PyByteArray_AS_STRING(fresh), size)
    return fresh


cdef inline void _ask_for_huge_pages(char *data, Py_ssize_t size) noexcept:
    """Of the whole pages in it. A wish: where the kernel has none to give, nothing is lost."""
    cdef uintptr_t start, end
    if size < HUGE_BYTES:
        return
    start = (<uintptr_t>data + _page - 1) // _page * _page
    end = (<uintptr_t>data + size) // _page * _page
    madvise(<void *>start, end - start, MADV_HUGEPAGE)


cdef int copy_unlocked(void *target, const void *source, size_t size) except -1:
    if size < UNLOCKED_BYTES:
        memcpy(target, source, size)
    else:
        with nogil:
            memcpy(target, source, size)
    return 0


cdef bint is_only_a_variables(object o, bint was_entered) noexcept:
    # Without the GIL the count proves nothing.
    return not SHMQ_FREE_THREADED and Py_REFCNT(<PyObject *>o) <= 1 + was_entered
