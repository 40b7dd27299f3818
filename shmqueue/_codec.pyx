# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Objects to payloads and back; knows no queue.

An item is a kind and a run of bytes. Numbers are in the machine's own byte order: a segment never
leaves its machine.

    kind     bytes
    BYTES    the bytes
    STR1     the characters, 1 byte each (Latin-1)
    STR2     the characters, 2 bytes each, the widest above U+00FF
    STR4     the characters, 4 bytes each, the widest above U+FFFF
    PACKED   one object, encoded as below
    PICKLE   a pickle
    ARRAY    an array of numpy; see _arrays.pyx
    PARTS    a pickle and the large buffers that are left out of it; see _pickles.pyx
    BYTEARRAY  the bytes, IN_PLACE_BYTES at least; fewer are PACKED

The items of an array and the buffers of a pickle may be left in the memory that they arrive in;
what bytes, bytearray and array.array hold is their own memory, and copied once.

    tag      object of PACKED                          follows the tag
    00..7F   int of that value
    80..9F   str of tag - 80 characters                Latin-1 characters
    A0..A2   None, False, True
    A3..A6   int                                       1, 2, 4, 8 bytes, two's complement
    A7       int of any size                           size, bytes, two's complement, little endian
    A8, A9   float, complex                            8 bytes; 16, the real part first
    AA..AC   str                                       size, characters of 1, 2, 4 bytes
    AD, AE   bytes, bytearray                          size, bytes
    AF, B0   tuple, list                               size, objects
    B1       dict                                      size, as many pairs of objects
    B2, B3   set, frozenset                            size, objects
    B4       mark: the object is the memo's next       the object, not B4 or B5
    B5       the object in the memo                    size, its number; 0 is the item itself

    size     below FE: that byte; FE: 4 bytes; FF: 8 bytes

The memo starts at 1. Tuples and frozensets are referred to only when complete; in what is hashed
only str and bytes are referred to.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memset
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport PyObject, PyTypeObject

from shmqueue cimport _pack, _unpack
from shmqueue._arrays cimport (
    array_bytes_in_place, decode_array, encode_array, is_ndarray, write_items,
)
from shmqueue._buffers cimport copy_unlocked, fresh_bytearray, fresh_bytes
from shmqueue._packed cimport (
    FAILED, KEY_SLOTS, MAX_DEPTH, PACKED, SHMQ_FREE_THREADED, TAG_FROZENSET, TAG_TUPLE, Py_DECREF,
    Py_INCREF, Py_TYPE, PyByteArray_Type, PyBytes_AS_STRING, PyBytes_GET_SIZE, PyBytes_Type,
    PyDict_Type, PyFrozenSet_Type, PyList_Type, PySet_Type, PyTuple_Type, PyUnicode_DATA,
    PyUnicode_FromKindAndData, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_Type,
    shmq_str_ready,
)
from shmqueue._payload cimport Piece, hold_buffer, payload_init
from shmqueue._pickles cimport decode_parts, encode_pickle, has_reducer, part_bytes_in_place

from pickle import loads as _unpickle

from shmqueue.errors import CorruptItemError

cdef extern from "Python.h":
    PyObject *PyErr_Occurred() noexcept
    int PyBUF_READ

__all__ = ["dumps", "loads"]


# ------------------------------------------------------------------------------------- encode

cdef int encode(object item, int policy, Payload *out) except -1:
    """Serialise the item; the payload is valid until `payload_clear`, and must not be moved."""
    cdef PyObject *o = <PyObject *>item
    cdef PyTypeObject *kind = Py_TYPE(o)
    cdef int width, status
    payload_init(out)
    if policy == POLICY_BYTES:
        return encode_bytes(item, out)
    if kind == &PyBytes_Type:
        out.kind = KIND_BYTES
        out.data = PyBytes_AS_STRING(o)
        out.size = PyBytes_GET_SIZE(o)
        Py_INCREF(o)
        out.owner = o
        return 0
    if kind == &PyUnicode_Type:
        if shmq_str_ready(o) < 0:
            return -1
        width = PyUnicode_KIND(o)
        out.kind = KIND_STR1 if width == 1 else KIND_STR2 if width == 2 else KIND_STR4
        out.data = <const char *>PyUnicode_DATA(o)
        out.size = PyUnicode_GET_LENGTH(o) * width
        Py_INCREF(o)
        out.owner = o
        return 0
    if kind == &PyByteArray_Type and len(<bytearray>item) >= IN_PLACE_BYTES:
        hold_buffer(o, &out.held, PyBUF_SIMPLE)
        out.kind = KIND_BYTEARRAY
        out.data = <const char *>out.held.buf
        out.size = out.held.len
        return 0
    status = _encode_packed(o, kind, out)
    if status == PACKED:
        return 0
    if status == FAILED:
        return -1
    if is_ndarray(kind) and not has_reducer(kind) and encode_array(o, out):
        return 0
    return encode_pickle(item, policy, out)


cdef int encode_bytes(object data, Payload *out) except -1:
    payload_init(out)
    out.kind = KIND_BYTES
    if type(data) is bytes:
        out.owner = <PyObject *>data
        Py_INCREF(out.owner)
        out.data = PyBytes_AS_STRING(out.owner)
        out.size = PyBytes_GET_SIZE(out.owner)
        return 0
    if type(data) is not bytearray and is_of_objects(data):
        raise TypeError("the buffer holds references to objects, which say nothing elsewhere")
    try:
        hold_buffer(<PyObject *>data, &out.held, PyBUF_SIMPLE)
    except BufferError as error:
        raise ValueError(f"the buffer must be contiguous: {error}") from None
    out.data = <const char *>out.held.buf
    out.size = out.held.len
    return 0


cdef bint is_of_objects(object data) except -1:
    try:
        # Without the names of fields, which may be any.
        return "O" in "".join(memoryview(data).format.split(":")[::2])
    except (BufferError, ValueError):
        return False    # of a dtype that has no format, such as datetime64: not of objects


cdef int payload_write(Payload *payload, char *target) except -1:
    cdef Piece *piece
    cdef size_t i, at = 0
    if payload.pieces is NULL:
        return copy_unlocked(target, payload.data, payload.size)
    for i in range(payload.piece_count):
        piece = &payload.pieces[i]
        memset(target + at, 0, piece.at - at)
        if piece.data is NULL:
            write_items(payload.array, payload.pieces[0].data, target + piece.at, piece.size)
        else:
            copy_unlocked(target + piece.at, piece.data, piece.size)
        at = piece.at + piece.size
    return 0


cdef int payload_detach(Payload *payload) except -1:
    cdef Piece *pieces = payload.pieces
    cdef char *copy
    # Without pieces, an owner is a str or bytes. With them, there is one until they were copied.
    if payload.held.obj is NULL and (pieces is NULL or payload.owner is NULL):
        return 0
    copy = <char *>malloc(payload.size if payload.size else 1)
    if copy is NULL:
        raise MemoryError
    try:
        payload_write(payload, copy)
    except BaseException:
        free(copy)
        raise
    payload.pieces = NULL   # its block stays, for one piece: what is not flat is not for a slot
    payload_clear(payload)
    payload.heap = copy
    payload.heap_bytes = payload.size
    if pieces is NULL:
        payload.data = copy
        return 0
    pieces[0].data = copy
    pieces[0].at = 0
    pieces[0].size = payload.size
    payload.pieces = pieces
    payload.piece_count = 1
    payload.array = NULL
    return 0


cdef inline int _encode_packed(PyObject *o, PyTypeObject *kind, Payload *out) noexcept:
    cdef _pack.Packer p
    cdef int status
    p.base = p.at = out.small
    p.end = p.base + sizeof(out.small)
    p.heap = NULL
    p.top = o
    p.marks = NULL
    p.mark_slots = p.mark_count = 0
    if (kind == &PyDict_Type or kind == &PyList_Type or kind == &PyTuple_Type
            or kind == &PySet_Type or kind == &PyFrozenSet_Type):
        status = _pack.pack_items(&p, o, kind, MAX_DEPTH - 1, False)
        _pack.packer_drop_marks(&p)
    else:
        status = _pack.pack_one(&p, o, MAX_DEPTH, False)
    if status != PACKED:
        free(p.heap)
        return status
    out.kind = KIND_PACKED
    out.data = p.base
    out.size = p.at - p.base
    out.heap = p.heap
    out.heap_bytes = p.end - p.base
    return PACKED


# ------------------------------------------------------------------------------------- decode

# Recently decoded short dict keys. Threads without a GIL would race for them.
cdef PyObject *_keys[KEY_SLOTS]


cdef object _corrupt(const char *why):
    return CorruptItemError(f"an item's bytes are damaged: {why.decode()}")


cdef object decode(uint32_t kind, const char *data, Py_ssize_t size):
    """The object that the bytes are of. All of it is copied; `data` is not needed afterwards.

    Loading a pickle may run any Python code, so `data` must be memory that stays until then.
    """
    cdef PyObject *made
    if size < 0:
        raise _corrupt(b"its length is negative")
    if kind == KIND_PACKED:
        return _decode_packed(<const unsigned char *>data, size)
    if kind == KIND_BYTES:
        return _decode_bytes(data, size)
    if kind == KIND_ARRAY:
        return decode_array(data, size, None)
    if kind == KIND_PARTS:
        return decode_parts(data, size, None)
    if kind == KIND_STR1:
        made = PyUnicode_FromKindAndData(1, data, size)
    elif kind == KIND_STR2 or kind == KIND_STR4:
        made = _decode_wide_str(2 if kind == KIND_STR2 else 4, data, size)
    elif kind == KIND_PICKLE:
        # Below a kilobyte a copy is cheaper than a memoryview.
        if size <= 1024:
            return _unpickle(PyBytes_FromStringAndSize(data, size))
        return _unpickle(PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ))
    elif kind == KIND_BYTEARRAY:
        copy = fresh_bytearray(size)
        copy_unlocked(PyByteArray_AS_STRING(copy), data, size)
        return copy
    else:
        raise _corrupt(b"its kind is unknown")
    return _taken(made, b"a str has characters that its form does not allow")


cdef size_t in_place_bytes(uint32_t kind, const char *data, Py_ssize_t size) noexcept:
    if kind == KIND_ARRAY:
        return array_bytes_in_place(data, size)
    if kind == KIND_PARTS:
        return part_bytes_in_place(data, size)
    return 0


cdef object decode_in_place(uint32_t kind, const char *data, Py_ssize_t size, object owner):
    if size < 0:
        raise _corrupt(b"its length is negative")
    if kind == KIND_ARRAY:
        return decode_array(data, size, owner)
    if kind == KIND_PARTS:
        return decode_parts(data, size, owner)
    raise _corrupt(b"nothing of its kind stays in place")


cdef inline bytes _decode_bytes(const char *data, Py_ssize_t size):
    if size < IN_PLACE_BYTES:
        return PyBytes_FromStringAndSize(data, size)
    fresh = fresh_bytes(size)
    copy_unlocked(PyBytes_AS_STRING(<PyObject *>fresh), data, size)
    return fresh


cdef inline object _taken(PyObject *made, const char *why):
    """The new reference as an object; without one, the error that is set or the one named."""
    if made is NULL:
        if PyErr_Occurred() is NULL:
            raise _corrupt(why)
        _raise_set_error()
    result = <object>made
    Py_DECREF(made)
    return result


cdef int _raise_set_error() except -1:
    return -1


cdef PyObject *_decode_wide_str(int width, const char *data, Py_ssize_t size) noexcept:
    if size % width:
        return NULL
    return _unpack.str_from_units(width, <const unsigned char *>data, size // width)


cdef inline object _decode_packed(const unsigned char *data, Py_ssize_t size):
    cdef _unpack.Unpacker u
    cdef PyObject *made
    u.at = data
    u.end = data + size
    u.budget = size
    u.top = NULL
    u.memo = NULL
    u.memo_count = u.memo_room = 0
    u.keys = NULL if SHMQ_FREE_THREADED else _keys
    u.why = b"it cannot be read"
    if size and TAG_TUPLE <= data[0] <= TAG_FROZENSET:
        u.at += 1
        made = _unpack.unpack_container(&u, data[0], MAX_DEPTH, False, _unpack.TOP)
    else:
        made = _unpack.unpack_one(&u, MAX_DEPTH, False)
    if u.memo is not NULL:
        _unpack.unpacker_drop_memo(&u)
    if made is not NULL and u.at != u.end:
        Py_DECREF(made)
        made = NULL
        u.why = b"it goes on after its last object"
    return _taken(made, u.why)


# -------------------------------------------------------------------------------------- Python

cdef dict _POLICIES = {
    "cloudpickle": POLICY_CLOUDPICKLE,
    "multiprocessing": POLICY_MULTIPROCESSING,
    "bytes": POLICY_BYTES,
}


def dumps(item, serializer="cloudpickle"):
    """Serialise an item.

    Parameters
    ----------
    item : object
    serializer : {"cloudpickle", "multiprocessing", "bytes"}

    Returns
    -------
    kind : int
    data : bytes
    """
    cdef Payload payload
    policy = _POLICIES.get(serializer)
    if policy is None:
        raise ValueError(f"serializer must be one of {[*_POLICIES]}, not {serializer!r}")
    encode(item, policy, &payload)
    try:
        data = PyBytes_FromStringAndSize(NULL, payload.size)
        payload_write(&payload, PyBytes_AS_STRING(<PyObject *>data))
        return payload.kind, data
    finally:
        payload_clear(&payload)


def loads(kind, data, *, in_place=False):
    """Return the item that `dumps` made this kind and data of.

    Parameters
    ----------
    kind : int
    data : bytes-like object
    in_place : bool
        Whether its large buffers are to stay in the memory of `data`, which must be writable then.

    Raises
    ------
    CorruptItemError
        If no `dumps` made them. A damaged pickle raises whatever `pickle.loads` does.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if in_place and in_place_bytes(kind, <const char *>view.buf, view.len):
            return decode_in_place(kind, <const char *>view.buf, view.len, data)
        return decode(kind, <const char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
