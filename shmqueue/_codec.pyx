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

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Next
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport PyObject, PyTypeObject
cimport cython

from shmqueue cimport _pack, _unpack
from shmqueue._packed cimport (
    FAILED, KEY_SLOTS, MAX_DEPTH, PACKED, SHMQ_FREE_THREADED, TAG_FROZENSET, TAG_TUPLE, Py_DECREF,
    Py_INCREF, Py_TYPE, PyBytes_AS_STRING, PyBytes_GET_SIZE, PyBytes_Type, PyDict_Type,
    PyFrozenSet_Type, PyList_Type, PySet_Type, PyTuple_Type, PyUnicode_DATA,
    PyUnicode_FromKindAndData, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_Type,
    shmq_str_ready,
)

from _pickle import Pickler
from pickle import PicklingError
from pickle import loads as _unpickle
from types import FunctionType

from shmqueue import _pickling
from shmqueue.errors import CorruptItemError

cdef object _ForkingPickler = _pickling.ForkingPickler
cdef dict _copyreg_table = _pickling.COPYREG_TABLE
cdef dict _cloudpickle_table = _pickling.CLOUDPICKLE_TABLE
cdef object _by_value_modules = _pickling.BY_VALUE_MODULES

cdef extern from "Python.h":
    PyObject *PyErr_Occurred() noexcept
    int PyBUF_READ

cdef extern from "string.h":
    void *memmem(const void *, size_t, const void *, size_t) noexcept

__all__ = ["dumps", "loads"]


# ------------------------------------------------------------------------------------- encode

cdef int encode(object item, int policy, Payload *out) except -1:
    """Serialise the item; the payload is valid until `payload_clear`, and must not be moved."""
    cdef PyObject *o = <PyObject *>item
    cdef PyTypeObject *kind = Py_TYPE(o)
    cdef int width, status
    out.owner = NULL
    out.heap = NULL
    out.pieces = NULL
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
    status = _encode_packed(o, kind, out)
    if status == PACKED:
        return 0
    if status == FAILED:
        return -1
    return _encode_pickle(item, policy, out)


cdef int encode_bytes(object data, Payload *out) except -1:
    raise NotImplementedError


cdef int payload_write(Payload *payload, char *target) except -1:
    if payload.pieces is NULL:
        memcpy(target, payload.data, payload.size)
        return 0
    raise NotImplementedError


cdef size_t in_place_bytes(uint32_t kind, const char *data, Py_ssize_t size) noexcept:
    return 0


cdef object decode_in_place(uint32_t kind, const char *data, Py_ssize_t size, object owner):
    raise NotImplementedError


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
        return PyBytes_FromStringAndSize(data, size)
    if kind == KIND_STR1:
        made = PyUnicode_FromKindAndData(1, data, size)
    elif kind == KIND_STR2 or kind == KIND_STR4:
        made = _decode_wide_str(2 if kind == KIND_STR2 else 4, data, size)
    elif kind == KIND_PICKLE:
        # Below a kilobyte a copy is cheaper than a memoryview.
        if size <= 1024:
            return _unpickle(PyBytes_FromStringAndSize(data, size))
        return _unpickle(PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ))
    else:
        raise _corrupt(b"its kind is unknown")
    return _taken(made, b"a str has characters that its form does not allow")


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


# -------------------------------------------------------------------------------------- pickle

cdef enum:
    SPARE_PICKLERS = 4
    # A pickler's memo keeps the size that its largest item needed, and emptying it costs that
    # much each time; so a pickler is not kept after items larger than this.
    SPARE_MAX_BYTES = 2048


@cython.final
cdef class _Sink:
    """What a pickler writes to, and the C pickler that does.

    A small item is written at once, and its bytes are kept as they come; what large ones write
    is gathered in one block of the heap, which becomes the payload's.
    """
    cdef object dump
    cdef object clear_memo
    cdef object reducers
    cdef bytes first
    cdef char *heap
    cdef size_t used
    cdef size_t room
    cdef bint mentions_main

    def __dealloc__(self):
        free(self.heap)

    cdef int _append(self, const char *data, size_t size) except -1:
        cdef size_t room
        cdef char *block
        if self.room - self.used < size:
            room = self.used + size + (self.used >> 1) + 4096
            block = <char *>realloc(self.heap, room)
            if block is NULL:
                raise MemoryError
            self.heap = block
            self.room = room
        memcpy(self.heap + self.used, data, size)
        self.used += size
        return 0

    def write(self, data):
        """Called by the pickler. `data` may be memory that is valid only during the call."""
        cdef Py_buffer view
        cdef const char *start
        if type(data) is bytes:
            start = PyBytes_AS_STRING(<PyObject *>data)
            if memmem(start, len(<bytes>data), <const char *>b"_main__", 7) is not NULL:
                self.mentions_main = True
            if self.first is None and self.heap is NULL:
                self.first = <bytes>data
                return
        if self.first is not None:
            self._append(PyBytes_AS_STRING(<PyObject *>self.first), len(self.first))
            self.first = None
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._append(<const char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef int hand_over(self, Payload *out) except -1:
        out.kind = KIND_PICKLE
        if self.heap is NULL:
            out.data = PyBytes_AS_STRING(<PyObject *>self.first)
            out.size = len(self.first)
            out.owner = <PyObject *>self.first
            Py_INCREF(out.owner)
            self.first = None
        else:
            out.data = out.heap = self.heap
            out.size = self.used
            out.heap_bytes = self.room
            self.heap = NULL
        return 0

    cdef int discard(self) except -1:
        """Let go of what was pickled now, not when the collector finds the pickler's cycle."""
        if self.clear_memo is not None:
            self.clear_memo()
        self.dump = self.clear_memo = None
        self.first = None
        return 0


cdef list _spare_cloudpickle = []
cdef list _spare_multiprocessing = []

cdef object _tables = None      # a _pickling.Tables
cdef tuple _seen = ()           # what its live tables held when it was made


cdef tuple _contents(dict table):
    return tuple([part for pair in table.items() for part in pair])


cdef bint _unchanged(dict table, tuple seen):
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0, i = 0, size = len(seen)
    if 2 * len(table) != size:
        return False
    with cython.critical_section(table):
        while i < size and PyDict_Next(table, &at, &key, &value):
            if <PyObject *>seen[i] != key or <PyObject *>seen[i + 1] != value:
                return False
            i += 2
    return i == size


cdef object _current_tables():
    """The merged reducers, anew if anything was registered since: libraries do that late."""
    global _tables, _seen
    cdef tuple seen = _seen
    registered = _ForkingPickler._extra_reducers
    if (len(seen) == 4 and seen[0] is registered and _unchanged(registered, <tuple>seen[1])
            and _unchanged(_copyreg_table, <tuple>seen[2])
            # cloudpickle's own table is long and not for others to change: its length will do.
            and len(<dict>_cloudpickle_table) == <Py_ssize_t>seen[3]):
        return _tables
    # First what is seen, then the merge: what is registered between the two is seen next time.
    seen = (registered, _contents(registered), _contents(_copyreg_table),
            len(<dict>_cloudpickle_table))
    tables = _pickling.Tables()
    _seen, _tables = (), tables
    _seen = seen
    return tables


cdef _Sink _take_sink(list spares, dict reducers):
    cdef _Sink sink
    with cython.critical_section(spares):
        sink = <_Sink>spares.pop() if spares else None
    if sink is not None and sink.reducers is reducers:
        return sink
    if sink is not None:
        sink.discard()
    sink = _Sink()
    pickler = Pickler(sink, 5)
    pickler.dispatch_table = reducers
    sink.dump = pickler.dump
    sink.clear_memo = pickler.clear_memo
    sink.reducers = reducers
    return sink


cdef int _encode_pickle(object item, int policy, Payload *out) except -1:
    cdef _Sink sink
    cdef list spares
    try:
        if policy == POLICY_CLOUDPICKLE:
            spares = _spare_cloudpickle
            sink = _pickle_as_cloudpickle(item, spares)
        else:
            spares = _spare_multiprocessing
            sink = _pickle_as_multiprocessing(item, spares)
    except MemoryError:
        raise
    except Exception as error:
        _pickling.name_the_type(error, item)
        raise
    sink.hand_over(out)
    if sink.dump is not None:
        if out.heap is NULL and out.size <= SPARE_MAX_BYTES and len(spares) < SPARE_PICKLERS:
            sink.clear_memo()
            sink.mentions_main = False
            spares.append(sink)
        else:
            sink.discard()
    return 0


cdef _Sink _pickle_as_cloudpickle(object item, list spares):
    """cloudpickle's semantics, by the C pickler where both would write the same.

    That is not known before it has been tried, so an item's __reduce__ may be called twice, and
    what the first call did beyond answering (a descriptor duplicated, say) is done twice. It is
    called once if the item itself is of __main__, or cannot but be pickled by the C pickler.
    """
    cdef _Sink sink
    tables = _current_tables()
    if not _is_of_main(item) and not _by_value_modules:
        sink = _take_sink(spares, tables.cloudpickle)
        try:
            sink.dump(item)
            if not sink.mentions_main:
                return sink
        except (PicklingError, AttributeError, TypeError):
            pass        # cloudpickle's own error is the one that tells
        except BaseException:
            sink.discard()
            raise
        sink.discard()
    sink = _Sink()
    _pickling.dump_by_value(item, sink, tables.cloudpickle)
    return sink


cdef _Sink _pickle_as_multiprocessing(object item, list spares):
    """What ForkingPickler does; where it refuses, cloudpickle for what has no name to go by."""
    cdef _Sink sink
    tables = _current_tables()
    sink = _take_sink(spares, tables.multiprocessing)
    try:
        sink.dump(item)
        return sink
    except (PicklingError, AttributeError, TypeError) as error:
        first = error
        sink.discard()
    except BaseException:
        sink.discard()
        raise
    sink = _Sink()
    try:
        _pickling.dump_where_needed(item, sink, tables.fallback)
        return sink
    except MemoryError:
        raise
    except Exception:
        pass            # the refusal of multiprocessing is what the caller is to see
    raise first


cdef bint _is_of_main(object item):
    kind = type(item)
    if kind is FunctionType or isinstance(item, type):
        kind = item
    module = getattr(kind, "__module__", None)
    return type(module) is str and (module == "__main__" or module == "__mp_main__")


# -------------------------------------------------------------------------------------- Python

def dumps(item, serializer="cloudpickle"):
    """Serialise an item.

    Parameters
    ----------
    item : object
    serializer : {"cloudpickle", "multiprocessing"}

    Returns
    -------
    kind : int
    data : bytes
    """
    cdef Payload payload
    cdef int policy
    if serializer == "cloudpickle":
        policy = POLICY_CLOUDPICKLE
    elif serializer == "multiprocessing":
        policy = POLICY_MULTIPROCESSING
    else:
        raise ValueError(
            f"serializer must be 'cloudpickle' or 'multiprocessing', not {serializer!r}")
    encode(item, policy, &payload)
    try:
        return payload.kind, PyBytes_FromStringAndSize(payload.data, payload.size)
    finally:
        payload_clear(&payload)


def loads(kind, data):
    """Return the item that `dumps` made this kind and data of.

    Parameters
    ----------
    kind : int
    data : bytes-like object

    Raises
    ------
    CorruptItemError
        If no `dumps` made them. A damaged pickle raises whatever `pickle.loads` does.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return decode(kind, <const char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
