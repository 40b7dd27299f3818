# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Arrays of numpy as bytes and back; numpy itself is imported only when an array arrives.

    bytes       of the payload of an array
    1           number of dimensions
    1           order of the items: 0 as in C, 1 as in Fortran
    2           length of the text of the dtype
    4           where the items begin, from the start
    8 each      length of each dimension
    ...         the text of the dtype, see _dtypes.py; zeros up to where the items begin
    ...         the items

Items of IN_PLACE_BYTES and more begin at the next multiple of PART_ALIGNMENT, fewer at one of 8 or
of that.
"""

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport PyObject, PyTypeObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset, strcmp
cimport cython

from shmqueue._buffers cimport Run, copy_unlocked, fresh_run, run_of
from shmqueue._packed cimport SHMQ_FREE_THREADED, Py_DECREF, Py_INCREF, Py_TYPE
from shmqueue._payload cimport (
    IN_PLACE_BYTES, KIND_ARRAY, PART_ALIGNMENT, Payload, Piece, payload_clear, payload_init,
)

import operator
import sys
from pickle import PickleBuffer

from shmqueue import _dtypes
from shmqueue.errors import CorruptItemError

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *) noexcept
    Py_ssize_t PY_SSIZE_T_MAX
    ctypedef struct shmq_type "PyTypeObject":
        const char *tp_name
        Py_ssize_t tp_basicsize

cdef enum:
    MOST_DIMENSIONS = 64
    C_CONTIGUOUS = 1        # flags of an array, of numpy's ABI
    F_CONTIGUOUS = 2
    KNOWN_DTYPES = 256

cdef struct Head:
    uint8_t dimensions
    uint8_t fortran
    uint16_t text_bytes
    uint32_t items_at

__all__ = [
    "deny_writes_to_copies", "head_of", "let_go_of_only",
    "rebuild", "rebuild_around", "reduce_array",
]


# -------------------------------------------------------------------------------------- numpy

# NULL and None until numpy has been met.
ndarray_type = NULL
cdef object _numpy = None
cdef object _make_ndarray = None
cdef object _empty = None
cdef object _dtype = None


cdef bint is_unmet_ndarray(PyTypeObject *kind) noexcept:
    if strcmp((<shmq_type *>kind).tp_name, "numpy.ndarray"):
        return False
    _meet_numpy_or_not()
    return kind == ndarray_type


cdef void _meet_numpy_or_not() noexcept:
    """If it cannot be met, arrays are what any other object is."""
    try:
        _meet_numpy(sys.modules.get("numpy"))
    except Exception:
        pass


cdef object ndarray_if_met():
    if ndarray_type is NULL:
        _meet_numpy_or_not()
    return None if ndarray_type is NULL else <object>ndarray_type


cdef int _meet_numpy(object numpy) except -1:
    """Remember what is needed of numpy, once it is known that arrays are as they are thought."""
    global _numpy, _make_ndarray, _empty, _dtype, ndarray_type
    if not _fields_are_as_thought(numpy):
        return 0
    _numpy, _make_ndarray, _empty, _dtype = numpy, numpy.ndarray, numpy.empty, numpy.dtype
    ndarray_type = <PyTypeObject *>_make_ndarray
    return 0


cdef bint _fields_are_as_thought(object numpy) except -1:
    """Whether the fields of an array say what its attributes do."""
    cdef shmq_ndarray *fields
    cdef Py_ssize_t i
    cdef bint c, f
    whole = numpy.arange(24, dtype="<i2").reshape(2, 3, 4)
    if (<shmq_type *><PyTypeObject *>numpy.ndarray).tp_basicsize < <Py_ssize_t>sizeof(shmq_ndarray):
        return False
    for array in (whole, whole.T, whole[:, ::2, 1:], whole[0, 0, 0:0], numpy.array(b"x")):
        fields = <shmq_ndarray *><PyObject *>array
        interface = array.__array_interface__
        if (<uintptr_t>fields.data != interface["data"][0] or fields.ndim != array.ndim
                or fields.dtype != <PyObject *>array.dtype
                or fields.base != (NULL if array.base is None else <PyObject *>array.base)):
            return False
        for i in range(fields.ndim):
            if fields.shape[i] != array.shape[i] or fields.strides[i] != array.strides[i]:
                return False
        c, f = array.flags.c_contiguous, array.flags.f_contiguous
        if ((fields.flags & C_CONTIGUOUS) != 0) != c or ((fields.flags & F_CONTIGUOUS) != 0) != f:
            return False
    return True


cdef int _need_numpy() except -1:
    if ndarray_type is NULL:
        import numpy
        _meet_numpy(numpy)
        if ndarray_type is NULL:
            raise ImportError(f"numpy {numpy.__version__} has arrays unlike those of any known one")
    return 0


# ------------------------------------------------------------------------------------- dtypes

@cython.final
cdef class _Known:
    """A dtype and its text, and what tells whether it has been changed since: names of fields."""
    cdef object dtype
    cdef bytes text         # None: it has none
    cdef Py_ssize_t itemsize
    cdef list named

    cdef bint holds(self) except -1:
        for part, names in self.named:
            if part.names is not names:
                return False
        return True


cdef dict _known_by_address = {}
cdef dict _known_by_text = {}


cdef _Known _known(object dtype, object text):
    cdef _Known known = _Known.__new__(_Known)
    known.dtype = dtype
    known.text = None if text is None else text.encode()
    known.itemsize = dtype.itemsize
    known.named = _dtypes.named(dtype) or None
    return known


cdef int _remember(dict table, object key, _Known known) except -1:
    if len(table) >= KNOWN_DTYPES:
        table.clear()
    table[key] = known
    return 0


cdef inline _Known _known_of(object dtype):
    """By the address of the dtype: those that are equal may still differ in what they carry."""
    cdef uintptr_t address = <uintptr_t><PyObject *>dtype
    cdef _Known known = <_Known>_known_by_address.get(address)
    if known is None or (known.named is not None and not known.holds()):
        known = _known(dtype, _dtypes.text_of(dtype))
        # Those without a text may hold what is not theirs alone: the strings of an array, metadata.
        if known.text is not None:
            _remember(_known_by_address, address, known)
    return known


cdef inline _Known _known_by(bytes text):
    cdef _Known known = <_Known>_known_by_text.get(text)
    if known is None:
        try:
            known = _known(_dtypes.dtype_of(text.decode("ascii")), text.decode("ascii"))
        except ValueError:
            raise _corrupt("its dtype cannot be read") from None
        _remember(_known_by_text, text, known)
    return known


# ------------------------------------------------------------------------------------- encode

cdef size_t _head_bytes(int dimensions, size_t text_bytes, bint large) noexcept:
    cdef size_t alignment = PART_ALIGNMENT if large else 8
    cdef size_t used = sizeof(Head) + 8 * <size_t>dimensions + text_bytes
    return (used + alignment - 1) // alignment * alignment


cdef void _write_head(char *into, size_t room, const Py_ssize_t *shape, int dimensions,
                      bint fortran, bytes text) noexcept:
    cdef Head head
    cdef size_t used = sizeof(Head) + 8 * <size_t>dimensions
    head.dimensions = <uint8_t>dimensions
    head.fortran = fortran
    head.text_bytes = <uint16_t>len(text)
    head.items_at = <uint32_t>room
    memcpy(into, &head, sizeof(Head))
    if dimensions:      # else there may be no shape to point to
        memcpy(into + sizeof(Head), shape, 8 * <size_t>dimensions)
    memcpy(into + used, PyBytes_AS_STRING(text), len(text))
    used += len(text)
    memset(into + used, 0, room - used)


cdef Py_ssize_t _bytes_of(const Py_ssize_t *shape, int dimensions, Py_ssize_t itemsize) noexcept:
    """How many bytes the items take; -1 if there can be no such array."""
    cdef Py_ssize_t size = itemsize
    cdef bint none = False
    cdef int i
    for i in range(dimensions):
        if shape[i] < 0:
            return -1
        if shape[i] == 0:
            none = True     # numpy refuses the others even then if they are too large together
        elif size > PY_SSIZE_T_MAX // shape[i]:
            return -1
        else:
            size *= shape[i]
    return 0 if none else size


cdef bint encode_array(PyObject *array, Payload *out) except -1:
    cdef shmq_ndarray *fields = <shmq_ndarray *>array
    # Its text is made by Python: another thread may give the array another dtype meanwhile.
    cdef _Known known = _known_of(<object>fields.dtype)
    cdef Py_ssize_t items
    cdef size_t head
    cdef bint contiguous = (fields.flags & (C_CONTIGUOUS | F_CONTIGUOUS)) != 0
    cdef bint large
    cdef char *start
    if (known.text is None or fields.dtype != <PyObject *>known.dtype
            or fields.ndim > MOST_DIMENSIONS):
        return False
    items = _bytes_of(fields.shape, fields.ndim, known.itemsize)
    if items < 0:
        return False
    large = items >= IN_PLACE_BYTES
    head = _head_bytes(fields.ndim, len(known.text), large)
    out.kind = KIND_ARRAY
    out.size = head + items
    out.heap_bytes = head if large else out.size
    start = out.small
    if out.heap_bytes > sizeof(out.small):
        start = out.heap = <char *>malloc(out.heap_bytes)
        if start is NULL:
            raise MemoryError
    _write_head(start, head, fields.shape, fields.ndim,
                (fields.flags & C_CONTIGUOUS) == 0 and contiguous, known.text)
    if not large:
        out.data = start
        if contiguous:
            memcpy(start + head, fields.data, items)
            return True
        try:
            write_items(array, start, start + head, items)
        except BaseException:
            payload_clear(out)
            raise
        return True
    out.data = NULL
    out.pieces = <Piece *>malloc(2 * sizeof(Piece))
    if out.pieces is NULL:
        payload_clear(out)
        raise MemoryError
    out.piece_count = 2
    out.pieces[0].data = start
    out.pieces[0].at = 0
    out.pieces[0].size = head
    out.pieces[1].data = fields.data if contiguous else NULL
    out.pieces[1].at = head
    out.pieces[1].size = items
    out.array = NULL if contiguous else array
    Py_INCREF(array)
    out.owner = array
    return True


cdef int write_items(PyObject *array, const char *head, char *target, size_t size) except -1:
    # The shape is the one that the head tells: the array's own may be another by now.
    cdef Head fixed
    cdef const Py_ssize_t *lengths = <const Py_ssize_t *>(head + sizeof(Head))
    memcpy(&fixed, head, sizeof(Head))
    source = <object>array
    dtype = source.dtype
    if dtype.names is not None:
        # Whole items, with what lies between their fields, which numpy would leave out.
        dtype = _dtype((_numpy.void, dtype.itemsize))
        source = source.view(dtype)
    shape = tuple([lengths[i] for i in range(fixed.dimensions)])
    memory = PyMemoryView_FromMemory(target, size, PyBUF_WRITE)
    _numpy.copyto(_make_ndarray(shape, dtype, memory), source)
    return 0


cdef tuple array_head(object shape, object dtype):
    cdef _Known known
    cdef Py_ssize_t lengths[MOST_DIMENSIONS]
    cdef Py_ssize_t items
    cdef size_t room
    cdef int i, dimensions
    _need_numpy()
    dtype = _dtype(dtype)
    try:
        shape = (operator.index(shape),)
    except TypeError:
        shape = tuple([operator.index(length) for length in shape])
    if dtype.subdtype is not None:
        # As numpy makes arrays of a dtype that is an array itself.
        dtype, more = dtype.subdtype
        shape += more
    known = _known_of(dtype)
    if known.text is None:
        raise TypeError(f"an array of dtype {dtype!r} cannot be built as raw bytes")
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"an array has at most {MOST_DIMENSIONS} dimensions, not {len(shape)}")
    dimensions = len(shape)
    for i in range(dimensions):
        if shape[i] < 0:
            raise ValueError(f"negative dimensions are not allowed: {shape}")
        if shape[i] > PY_SSIZE_T_MAX:
            raise ValueError(f"an array of shape {shape} is too large")
        lengths[i] = shape[i]
    items = _bytes_of(lengths, dimensions, known.itemsize)
    if items < 0:
        raise ValueError(f"an array of shape {shape} and dtype {dtype!r} is too large")
    room = _head_bytes(dimensions, len(known.text), True)
    head = PyBytes_FromStringAndSize(NULL, room)
    _write_head(PyBytes_AS_STRING(head), room, lengths, dimensions, False, known.text)
    return head, items


# ------------------------------------------------------------------------------------- decode

cdef object _corrupt(str why):
    return CorruptItemError(f"an item's bytes are damaged: {why}")


cdef Py_ssize_t _head_of(const char *data, Py_ssize_t size, Head *head) except -1:
    """Read the fixed part; return how long all of the head is, if that much can be there."""
    if size < <Py_ssize_t>sizeof(Head):
        raise _corrupt("it ends before the head of an array does")
    memcpy(head, data, sizeof(Head))
    if (head.dimensions > MOST_DIMENSIONS or head.fortran > 1 or head.items_at > size
            or (head.items_at != _head_bytes(head.dimensions, head.text_bytes, True)
                and (size - head.items_at >= IN_PLACE_BYTES
                     or head.items_at != _head_bytes(head.dimensions, head.text_bytes, False)))):
        raise _corrupt("the head of its array makes no sense")
    return head.items_at


cdef object decode_array(const char *data, Py_ssize_t size, object owner):
    cdef Head fixed
    cdef Py_ssize_t room = _head_of(data, size, &fixed)
    # What is checked is what is used: `data` may change meanwhile.
    cdef bytes head = PyBytes_FromStringAndSize(data, room)
    if owner is not None:
        return _array(head, size - room, NULL, owner, room)
    return _array(head, size - room, data + room, None, 0)


cdef object _array(bytes head, Py_ssize_t items, const char *data, object memory,
                   Py_ssize_t offset):
    """An array of a copy of the data; or, without data, in the memory from the offset on."""
    cdef const char *start = PyBytes_AS_STRING(head)
    cdef const Py_ssize_t *lengths = <const Py_ssize_t *>(start + sizeof(Head))
    cdef Py_ssize_t text_at
    cdef Head fixed
    cdef _Known known
    if _head_of(start, len(head) + items, &fixed) != len(head):
        raise _corrupt("the head of its array makes no sense")
    _need_numpy()
    text_at = sizeof(Head) + 8 * <size_t>fixed.dimensions
    known = _known_by(head[text_at:text_at + fixed.text_bytes])
    if _bytes_of(lengths, fixed.dimensions, known.itemsize) != items:
        raise _corrupt("its array has another size than its shape tells")
    shape = tuple([lengths[i] for i in range(fixed.dimensions)])
    # The names of fields can be changed; so each array gets a copy, which is all that this makes.
    dtype = known.dtype if known.named is None else known.dtype.newbyteorder("|")
    order = "F" if fixed.fortran else "C"
    try:
        if data is NULL:
            return _make_ndarray(shape, dtype, memory, offset, None, order)
        array = _empty(shape, dtype, order)
    except (ValueError, TypeError) as error:
        raise _corrupt(f"its array cannot be made: {error}") from None
    copy_unlocked((<shmq_ndarray *><PyObject *>array).data, data, items)
    return array


cdef size_t array_bytes_in_place(const char *data, Py_ssize_t size) noexcept:
    cdef Head head
    if size < <Py_ssize_t>sizeof(Head):
        return 0
    memcpy(&head, data, sizeof(Head))
    if head.items_at > size or size - head.items_at < IN_PLACE_BYTES:
        return 0
    return size - head.items_at


cdef bint let_go_of_array(object array, Py_ssize_t others, object keeper) noexcept:
    cdef PyObject *o = <PyObject *>array
    cdef shmq_ndarray *fields = <shmq_ndarray *>o
    # Without the GIL the count proves nothing.
    if SHMQ_FREE_THREADED or not is_ndarray(Py_TYPE(o)) or Py_REFCNT(o) > 1 + others:
        return False
    if fields.base is not NULL and is_ndarray(Py_TYPE(fields.base)) and Py_REFCNT(fields.base) > 1:
        return False
    if fields.base is NULL or fields.ndim < 1:
        return False
    # Nothing else of it changes: what holds its address, an iterator say, still leads to memory.
    fields.shape[0] = 0
    Py_INCREF(<PyObject *>keeper)
    Py_DECREF(fields.base)
    fields.base = <PyObject *>keeper
    return True


# ------------------------------------------------------------------- arrays within pickled items

def reduce_array(array):
    """Reduce an array to its payload, or to the head of one and a buffer that pickle may leave out.

    Parameters
    ----------
    array : numpy.ndarray
        Not of a subclass.
    """
    cdef Payload payload
    cdef Run run
    payload_init(&payload)
    if not is_ndarray(Py_TYPE(<PyObject *>array)) or not encode_array(<PyObject *>array, &payload):
        return array.__reduce_ex__(5)
    try:
        if payload.pieces is NULL:
            return rebuild, (PyBytes_FromStringAndSize(payload.data, payload.size),)
        head = PyBytes_FromStringAndSize(payload.pieces[0].data, payload.pieces[0].size)
        size = payload.pieces[1].size
        if payload.array is NULL:
            run = run_of(payload.pieces[1].data, size, array)
        else:
            run = fresh_run(size)
            write_items(payload.array, PyBytes_AS_STRING(head), run.data, size)
        return rebuild_around, (head, PickleBuffer(run))
    finally:
        payload_clear(&payload)


def rebuild(bytes payload not None):
    """Return the array that a payload is of.

    Parameters
    ----------
    payload : bytes
    """
    return decode_array(PyBytes_AS_STRING(payload), len(payload), None)


def rebuild_around(bytes head not None, buffer):
    """Return an array in the memory of a buffer, or of a copy of it if it must not be written.

    Parameters
    ----------
    head : bytes
        Of the array's payload.
    buffer : bytes-like object
        The items.
    """
    view = memoryview(buffer)
    # What lies where others see it stays there, and is not to be written.
    if view.readonly and not getattr(view.obj, "is_read_only", False):
        view = memoryview(bytearray(view))
    return _array(head, view.nbytes, NULL, view, 0)


def deny_writes_to_copies(items, bint are_copies):
    """Make arrays that lie in no memory of the queue read-only.

    In one go, without a look at signals, which would leave items that were taken in nobody's hands.

    Parameters
    ----------
    items : object or list of objects
        Others than arrays are left as they are.
    are_copies : bool
        Whether all of them are, wherever they lie.
    """
    if type(items) is list:
        for item in <list>items:
            _deny_writes(item, are_copies)
    else:
        _deny_writes(items, are_copies)


cdef int _deny_writes(object item, bint is_copy) except -1:
    if is_ndarray(Py_TYPE(<PyObject *>item)) and (is_copy or item.flags.owndata):
        item.flags.writeable = False
    return 0


# ---- what reservations are made of, for tests ----

def head_of(shape, dtype):
    """Return the head of an array that is to be filled in place, and how many bytes are to follow.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : numpy.dtype or what makes one
    """
    return array_head(shape, dtype)


def let_go_of_only(holder, others=1, keeper=None):
    """Take the only array out of a list, empty it, and tell whether that could be done.

    Parameters
    ----------
    holder : list
    others : int, default 1
        How many others may refer to the array.
    keeper : object, optional
        What the array refers to afterwards.
    """
    array = holder.pop()
    return let_go_of_array(array, others, keeper)
