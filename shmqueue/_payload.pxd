"""What an encoded item is until it is written: its kind and its bytes, whole or in pieces.

A `Payload` is the caller's, needs no initialisation but must stay where it is: `data` and the
pieces may point into `small`. `payload_clear` gives back what it holds, once it has been written;
after a failed `encode` there is nothing to clear, and doing it anyway is harmless.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t
from libc.stdlib cimport free


cdef extern from "Python.h":
    void _release "Py_DECREF"(PyObject *)
    # Cython would take its `obj` for a reference to be counted.
    ctypedef struct Held "Py_buffer":
        PyObject *obj
        void *buf
        Py_ssize_t len
    int hold_buffer "PyObject_GetBuffer"(PyObject *, Held *, int) except -1
    void release_buffer "PyBuffer_Release"(Held *)


cdef enum:
    KIND_BYTES = 1
    KIND_STR1 = 2
    KIND_STR2 = 3
    KIND_STR4 = 4
    KIND_PACKED = 5
    KIND_PICKLE = 6
    KIND_ARRAY = 7
    KIND_PARTS = 8
    KIND_BYTEARRAY = 9

cdef enum:
    POLICY_CLOUDPICKLE = 1
    POLICY_MULTIPROCESSING = 2
    POLICY_BYTES = 4        # 3 stands for a custom serializer in the header of a segment

cdef enum:
    IN_PLACE_BYTES = 16384  # a buffer this large stays where it arrives
    PART_ALIGNMENT = 64     # of such buffers, from the start of the payload


cdef struct Piece:
    const char *data        # NULL: what the array holds, which numpy is to write
    size_t at               # from the start of the payload; what lies between pieces is zero
    size_t size


cdef struct Payload:
    uint32_t kind
    const char *data        # all of it, in what is held or in small; NULL if it is in pieces
    size_t size             # of all of it
    PyObject *owner         # a reference, or NULL
    Held held               # a buffer, if its obj is not NULL
    char *heap              # a block of malloc's, or NULL
    size_t heap_bytes       # how large that block is
    Piece *pieces           # in the order of their places, a block of malloc's; NULL if flat
    size_t piece_count      # valid if there are pieces, as is the array
    PyObject *array         # whose items are not in one run; the owner holds it. Or NULL
    char small[256]


cdef inline void payload_init(Payload *payload) noexcept:
    payload.owner = NULL
    payload.held.obj = NULL
    payload.heap = NULL
    payload.pieces = NULL


cdef inline bint payload_is_flat(const Payload *payload) noexcept:
    """Whether `data` holds all of it, so that it may go into a slot."""
    return payload.pieces is NULL


cdef inline void payload_clear(Payload *payload) noexcept:
    if payload.owner is not NULL:
        _release(payload.owner)
        payload.owner = NULL
    if payload.held.obj is not NULL:
        release_buffer(&payload.held)
    if payload.heap is not NULL:
        free(payload.heap)
        payload.heap = NULL
    if payload.pieces is not NULL:
        free(payload.pieces)
        payload.pieces = NULL
