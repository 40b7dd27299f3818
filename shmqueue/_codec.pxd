"""What other extension modules cimport of the codec.

`encode` fills a `Payload` of the caller's, which needs no initialisation but must stay where it
is: `data` may point into `small`. `payload_clear` gives back what the payload holds, once it has
been copied; after a failed `encode` there is nothing to clear, and doing it anyway is harmless.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t
from libc.stdlib cimport free


cdef extern from "Python.h":
    void _release "Py_DECREF"(PyObject *)


cdef enum:
    KIND_BYTES = 1
    KIND_STR1 = 2
    KIND_STR2 = 3
    KIND_STR4 = 4
    KIND_PACKED = 5
    KIND_PICKLE = 6

cdef enum:
    POLICY_CLOUDPICKLE = 1
    POLICY_MULTIPROCESSING = 2


cdef struct Payload:
    uint32_t kind
    const char *data    # in the owner, in the heap block or in small
    size_t size
    PyObject *owner     # a reference, or NULL
    char *heap          # a block of malloc's, or NULL
    size_t heap_bytes   # how large that block is
    char small[256]


cdef int encode(object item, int policy, Payload *out) except -1
cdef object decode(uint32_t kind, const char *data, Py_ssize_t size)


cdef inline void payload_clear(Payload *payload) noexcept:
    if payload.owner is not NULL:
        _release(payload.owner)
        payload.owner = NULL
    if payload.heap is not NULL:
        free(payload.heap)
        payload.heap = NULL
