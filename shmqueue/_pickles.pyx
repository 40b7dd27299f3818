# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Objects to pickles, and to the buffers that pickle 5 lets stand beside them; and back.

    bytes       of the payload of a pickle in parts
    8           number of buffers
    8           length of the pickle
    8 each      length of each buffer, IN_PLACE_BYTES at least
    ...         the pickle
    ...         the buffers, each from the next multiple of PART_ALIGNMENT on, zeros between them

Buffers that are smaller stay in the pickle.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Next
from cpython.memoryview cimport PyMemoryView_FromObject, PyMemoryView_GET_BUFFER
from cpython.ref cimport PyObject, PyTypeObject
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy
cimport cython

from shmqueue._arrays cimport ndarray_if_met
from shmqueue._buffers cimport Run, copy_unlocked, fresh_bytes, fresh_run
from shmqueue._packed cimport PyBytes_AS_STRING, Py_INCREF
from shmqueue._payload cimport (
    IN_PLACE_BYTES, KIND_PARTS, KIND_PICKLE, PART_ALIGNMENT, POLICY_CLOUDPICKLE, Payload, Piece,
)

import array
import sys
from _pickle import Pickler
from pickle import PickleBuffer, PicklingError
from pickle import loads as _unpickle
from types import FunctionType

from shmqueue import _pickling
from shmqueue._arrays import reduce_array
from shmqueue.errors import CorruptItemError

cdef object _ForkingPickler = _pickling.ForkingPickler
cdef dict _copyreg_table = _pickling.COPYREG_TABLE
cdef dict _cloudpickle_table = _pickling.CLOUDPICKLE_TABLE
cdef object _by_value_modules = _pickling.BY_VALUE_MODULES

cdef extern from "Python.h":
    PyObject *PyImport_GetModuleDict() noexcept
    Py_ssize_t PyDict_Size(PyObject *) noexcept

cdef extern from "string.h":
    void *memmem(const void *, size_t, const void *, size_t) noexcept

__all__ = ["rebuild_typed_array", "reduce_typed_array"]


# ---------------------------------------------------------------------------------- array.array

def reduce_typed_array(typed):
    """Reduce an `array.array` to a buffer that pickle may leave out.

    Parameters
    ----------
    typed : array.array
        Not of a subclass.
    """
    # Making one of the deprecated "u" would warn.
    if len(typed) * typed.itemsize < IN_PLACE_BYTES or typed.typecode == "u":
        return typed.__reduce_ex__(5)
    return rebuild_typed_array, (typed.typecode, PickleBuffer(typed))


def rebuild_typed_array(typecode, buffer):
    """Return an `array.array` with a copy of the buffer, which its memory can only be its own.

    Parameters
    ----------
    typecode : str
    buffer : bytes-like object
    """
    typed = array.array(typecode)
    typed.frombytes(buffer)
    return typed


# -------------------------------------------------------------------------------------- encode

cdef enum:
    SPARE_PICKLERS = 4
    # A pickler's memo keeps the size that its largest item needed, and emptying it costs that
    # much each time; so a pickler is not kept after items larger than this.
    SPARE_MAX_BYTES = 2048


@cython.final
cdef class _Sink:
    """What a pickler writes to, and the C pickler that does.

    A small item is written at once, and its bytes are kept as they come; what large ones write
    is gathered in one block of the heap, which becomes the payload's. Large buffers that objects
    offer are left out and kept.
    """
    cdef object dump
    cdef object clear_memo
    cdef object reducers
    cdef bytes first
    cdef char *heap
    cdef size_t used
    cdef size_t room
    cdef bint mentions_main
    cdef list buffers       # memoryviews, of nobody else's; or None

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

    def keep_large(self, buffer):
        """Called by the pickler for each buffer that might be left out: keep it, or return true."""
        try:
            view = PyMemoryView_FromObject(buffer)
        except Exception:
            return True     # and it is for the pickler to say what is wrong with it
        if (PyMemoryView_GET_BUFFER(view).len < IN_PLACE_BYTES
                or not PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(view), c'A')):
            return True
        if self.buffers is None:
            self.buffers = []
        self.buffers.append(view)
        return False

    cdef int hand_over(self, Payload *out) except -1:
        if self.buffers is not None:
            return self._hand_over_in_parts(out)
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

    cdef int _hand_over_in_parts(self, Payload *out) except -1:
        cdef size_t i, count = len(self.buffers)
        cdef size_t at = 16 + 8 * count
        cdef Piece *pieces = <Piece *>malloc((count + 2) * sizeof(Piece) + at)
        cdef uint64_t *head = <uint64_t *>(pieces + count + 2)
        cdef Py_buffer *view
        if pieces is NULL:
            self.discard()
            raise MemoryError
        pieces[0].data = <const char *>head
        pieces[0].at = 0
        pieces[0].size = at
        pieces[1].at = at
        if self.heap is NULL:
            pieces[1].data = PyBytes_AS_STRING(<PyObject *>self.first)
            pieces[1].size = len(self.first)
        else:
            pieces[1].data = self.heap
            pieces[1].size = self.used
        head[0] = count
        head[1] = pieces[1].size
        at += pieces[1].size
        for i in range(count):
            view = PyMemoryView_GET_BUFFER(<object>self.buffers[i])
            at = _aligned(at)
            pieces[2 + i].data = <const char *>view.buf
            pieces[2 + i].at = at
            pieces[2 + i].size = head[2 + i] = view.len
            at += view.len
        out.kind = KIND_PARTS
        out.data = NULL
        out.size = at
        out.pieces = pieces
        out.piece_count = count + 2
        out.array = NULL
        owner = (self.first, self.buffers)
        out.owner = <PyObject *>owner
        Py_INCREF(out.owner)
        out.heap = self.heap
        out.heap_bytes = self.room
        self.heap = NULL
        self.first = self.buffers = None
        return 0

    cdef int discard(self) except -1:
        """Let go of what was pickled now, not when the collector finds the pickler's cycle."""
        if self.clear_memo is not None:
            self.clear_memo()
        self.dump = self.clear_memo = None
        self.first = self.buffers = None
        return 0


cdef inline size_t _aligned(size_t at) noexcept:
    return (at + PART_ALIGNMENT - 1) // PART_ALIGNMENT * PART_ALIGNMENT


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


# The reducers of ours that put buffers beside the pickle; any that is registered goes before them.
cdef dict _reducers = {array.array: reduce_typed_array}

# The libraries whose objects get such reducers once they have been imported.
cdef tuple _awaited = ("numpy", "torch")


cdef Py_ssize_t _modules_then = 0    # how many were imported when they were looked for last


cdef bint _has_arrived() except -1:
    """Whether one of the libraries has been imported since this was asked last."""
    global _awaited, _modules_then
    present = [name for name in _awaited if name in sys.modules]
    arrived = [name for name in present if _pickling.is_imported(name)]
    if len(arrived) == len(present):    # else it is looked again soon
        _modules_then = PyDict_Size(PyImport_GetModuleDict())
    if "numpy" in arrived and ndarray_if_met() is not None:
        _reducers[ndarray_if_met()] = reduce_array
    _awaited = tuple([name for name in _awaited if name not in arrived])
    return len(arrived) > 0


cdef bint has_reducer(PyTypeObject *kind) except -1:
    """Whether somebody has registered a reducer for the type."""
    return (<object>kind in <dict>_ForkingPickler._extra_reducers
            or <object>kind in _copyreg_table)


cdef object _current_tables():
    """The merged reducers, anew if anything was registered since: libraries do that late."""
    global _tables, _seen
    cdef tuple seen = _seen
    if PyDict_Size(PyImport_GetModuleDict()) != _modules_then and _awaited and _has_arrived():
        seen = ()
    registered = _ForkingPickler._extra_reducers
    if (len(seen) == 4 and seen[0] is registered and _unchanged(registered, <tuple>seen[1])
            and _unchanged(_copyreg_table, <tuple>seen[2])
            # cloudpickle's own table is long and not for others to change: its length will do.
            and len(<dict>_cloudpickle_table) == <Py_ssize_t>seen[3]):
        return _tables
    # First what is seen, then the merge: what is registered between the two is seen next time.
    seen = (registered, _contents(registered), _contents(_copyreg_table),
            len(<dict>_cloudpickle_table))
    tables = _pickling.Tables(_reducers)
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
    pickler = Pickler(sink, 5, True, sink.keep_large)
    pickler.dispatch_table = reducers
    sink.dump = pickler.dump
    sink.clear_memo = pickler.clear_memo
    sink.reducers = reducers
    return sink


cdef int encode_pickle(object item, int policy, Payload *out) except -1:
    cdef _Sink sink
    cdef list spares
    cdef bint keep
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
    keep = (sink.first is not None and len(sink.first) <= SPARE_MAX_BYTES
            and len(spares) < SPARE_PICKLERS)
    sink.hand_over(out)
    if sink.dump is not None:
        if keep:
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


# -------------------------------------------------------------------------------------- decode

cdef object _corrupt(str why):
    return CorruptItemError(f"an item's bytes are damaged: {why}")


cdef object decode_parts(const char *data, Py_ssize_t size, object owner):
    cdef uint64_t fixed[2]
    cdef size_t i, count, start, at, first, shift
    cdef const uint64_t *lengths
    cdef bytes table, pickled
    cdef Run run
    cdef list buffers = []
    if size < <Py_ssize_t>sizeof(fixed):
        raise _corrupt("it ends before the head of a pickle does")
    # What is checked is what is used: `data` may change meanwhile.
    memcpy(fixed, data, sizeof(fixed))
    count = fixed[0]
    if count < 1 or count > <size_t>size // IN_PLACE_BYTES or fixed[1] > <size_t>size:
        raise _corrupt("the head of its pickle makes no sense")
    start = sizeof(fixed) + 8 * count
    first = _aligned(start + fixed[1])
    if first > <size_t>size:
        raise _corrupt("its pickle is longer than what is left")
    table = PyBytes_FromStringAndSize(data + sizeof(fixed), 8 * count)
    lengths = <const uint64_t *>PyBytes_AS_STRING(<PyObject *>table)
    at = first
    for i in range(count):
        if lengths[i] < IN_PLACE_BYTES or at > <size_t>size or lengths[i] > <size_t>size - at:
            raise _corrupt("its buffers are longer than what is left, or too short to be any")
        at += lengths[i]
        if i < count - 1:
            at = _aligned(at)
    if at != <size_t>size:
        raise _corrupt("it goes on after its last buffer")
    pickled = fresh_bytes(fixed[1])
    copy_unlocked(PyBytes_AS_STRING(<PyObject *>pickled), data + start, fixed[1])
    shift = 0
    if owner is None:
        shift = first
        owner = run = fresh_run(size - first)
        copy_unlocked(run.data, data + first, size - first)
    whole = PyMemoryView_FromObject(owner)
    at = first - shift
    for i in range(count):
        buffers.append(whole[at:at + lengths[i]])
        at = _aligned(at + lengths[i])
    return _unpickle(pickled, buffers=buffers)


cdef size_t part_bytes_in_place(const char *data, Py_ssize_t size) noexcept:
    cdef uint64_t fixed[2]
    cdef uint64_t length, total = 0
    cdef size_t i
    if size < <Py_ssize_t>sizeof(fixed):
        return 0
    memcpy(fixed, data, sizeof(fixed))
    if fixed[0] > <size_t>size // IN_PLACE_BYTES:
        return 0
    for i in range(<size_t>fixed[0]):
        memcpy(&length, data + sizeof(fixed) + 8 * i, 8)
        if length > <size_t>size - total:
            return 0
        total += length
    return total
