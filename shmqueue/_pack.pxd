"""Objects to bytes: the packed encoding (see _packed.pxd)."""

from cpython.ref cimport PyObject, PyTypeObject
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t,
)
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

from shmqueue._packed cimport *


cdef struct Mark:
    PyObject *object        # a reference, so that its address stays its own
    size_t index
    bint complete           # P3

cdef struct Packer:
    char *base
    char *at
    char *end
    char *heap              # the base, once the caller's buffer was too small
    PyObject *top
    Mark *marks             # open addressing, a power of two of slots; NULL until needed
    size_t mark_slots
    size_t mark_count


cdef inline int packer_grow(Packer *p, size_t wanted) noexcept:
    cdef size_t used = p.at - p.base
    cdef size_t room = used + wanted + (used >> 1) + 1024
    cdef char *block = <char *>realloc(p.heap, room)
    if block is NULL:
        PyErr_NoMemory()
        return FAILED
    if p.heap is NULL:
        memcpy(block, p.base, used)
    p.heap = block
    p.base = block
    p.at = block + used
    p.end = block + room
    return PACKED


cdef inline int packer_reserve(Packer *p, size_t wanted) noexcept:
    if <size_t>(p.end - p.at) >= wanted:
        return PACKED
    return packer_grow(p, wanted)


cdef inline void packer_drop_marks(Packer *p) noexcept:
    cdef size_t i
    if p.marks is not NULL:
        for i in range(p.mark_slots):
            if p.marks[i].object is not NULL:
                Py_DECREF(p.marks[i].object)
        free(p.marks)
        p.marks = NULL


cdef inline Mark *packer_find(Packer *p, PyObject *o) noexcept:
    """The slot that holds the object, or the free one where it belongs."""
    cdef size_t mask = p.mark_slots - 1
    cdef uint64_t mixed = (<uint64_t><uintptr_t>o >> 4) * 0x9E3779B97F4A7C15ULL
    cdef size_t i = <size_t>(mixed >> 32) & mask
    while p.marks[i].object is not NULL and p.marks[i].object != o:
        i = (i + 1) & mask
    return &p.marks[i]


cdef inline int packer_widen(Packer *p) noexcept:
    cdef Mark *old = p.marks
    cdef size_t i, old_slots = p.mark_slots if old is not NULL else 0
    cdef size_t slots = old_slots * 4 if old_slots else 32
    cdef Mark *marks = <Mark *>calloc(slots, sizeof(Mark))
    if marks is NULL:
        PyErr_NoMemory()
        return FAILED
    p.marks = marks
    p.mark_slots = slots
    for i in range(old_slots):
        if old[i].object is not NULL:
            packer_find(p, old[i].object)[0] = old[i]
    free(old)
    return PACKED


cdef inline int pack_size(Packer *p, uint8_t tag, size_t size) noexcept:
    cdef uint32_t narrow
    cdef uint64_t wide
    if packer_reserve(p, 10):
        return FAILED
    p.at[0] = <char>tag
    if size < SIZE_U32:
        p.at[1] = <char>size
        p.at += 2
    elif size <= 0xFFFFFFFF:
        narrow = <uint32_t>size
        p.at[1] = <char>SIZE_U32
        memcpy(p.at + 2, &narrow, 4)
        p.at += 6
    else:
        wide = size
        p.at[1] = <char>SIZE_U64
        memcpy(p.at + 2, &wide, 8)
        p.at += 10
    return PACKED


cdef inline int pack_recall(Packer *p, PyObject *o, bint complete, bint hashed,
                            bint *known) noexcept:
    """Write a reference if the object has occurred before, else mark it as the next of the memo."""
    cdef Mark *mark
    known[0] = False
    if p.mark_count * 2 >= p.mark_slots and packer_widen(p):
        return FAILED
    mark = packer_find(p, o)
    if mark.object is not NULL:
        if not mark.complete:
            return FOREIGN      # P3: it contains itself
        if hashed and Py_TYPE(o) != &PyUnicode_Type and Py_TYPE(o) != &PyBytes_Type:
            return FOREIGN      # P4
        known[0] = True
        return pack_size(p, TAG_REF, mark.index)
    if packer_reserve(p, 1):
        return FAILED
    p.at[0] = <char>TAG_MARK
    p.at += 1
    Py_INCREF(o)
    p.mark_count += 1
    mark.object = o
    mark.index = p.mark_count
    mark.complete = complete
    return PACKED


cdef inline int pack_raw(Packer *p, uint8_t tag, PyObject *o, const void *data, size_t count,
                         size_t size, bint hashed) noexcept:
    """A run of `size` bytes that counts as `count`; long ones are written once."""
    cdef bint known
    cdef int status
    if size >= MEMO_MIN_BYTES and shmq_may_recur(o) and o != p.top:
        status = pack_recall(p, o, True, hashed, &known)
        if status or known:
            return status
    if pack_size(p, tag, count) or packer_reserve(p, size):
        return FAILED
    memcpy(p.at, data, size)
    p.at += size
    return PACKED


cdef inline int pack_str(Packer *p, PyObject *o, bint hashed) noexcept:
    cdef size_t length
    cdef int kind
    if shmq_str_ready(o) < 0:
        return FAILED
    length = <size_t>PyUnicode_GET_LENGTH(o)
    kind = PyUnicode_KIND(o)
    if kind == 1 and length < SHORT_STR_LIMIT:
        if packer_reserve(p, 1 + SHORT_STR_LIMIT):
            return FAILED
        p.at[0] = <char>(SHORT_STR + length)
        memcpy(p.at + 1, PyUnicode_DATA(o), length)
        p.at += 1 + length
        return PACKED
    return pack_raw(p, TAG_STR1 if kind == 1 else TAG_STR2 if kind == 2 else TAG_STR4,
                    o, PyUnicode_DATA(o), length, length * kind, hashed)


cdef inline int pack_big_int(Packer *p, PyObject *o, bint hashed) noexcept:
    cdef Py_ssize_t size = shmq_int_bytes(o)
    cdef bint known
    cdef int status
    if size < 0:
        return FAILED
    if size >= MEMO_MIN_BYTES and not hashed and shmq_may_recur(o) and o != p.top:
        status = pack_recall(p, o, True, hashed, &known)
        if status or known:
            return status
    if pack_size(p, TAG_BIG_INT, size) or packer_reserve(p, size):
        return FAILED
    if shmq_int_write(o, p.at, size) < 0:
        return FAILED
    p.at += size
    return PACKED


cdef inline int pack_int(Packer *p, PyObject *o, bint hashed) noexcept:
    cdef int overflow
    cdef long long value
    cdef int8_t v8
    cdef int16_t v16
    cdef int32_t v32
    cdef int64_t v64
    if not shmq_small_int(o, &value):
        value = PyLong_AsLongLongAndOverflow(o, &overflow)
        if overflow:
            return pack_big_int(p, o, hashed)
    if packer_reserve(p, 9):
        return FAILED
    if 0 <= value < SHORT_STR:
        p.at[0] = <char>value
        p.at += 1
    elif -0x80 <= value < 0x80:
        v8 = <int8_t>value
        p.at[0] = <char>TAG_INT8
        p.at[1] = v8
        p.at += 2
    elif -0x8000 <= value < 0x8000:
        v16 = <int16_t>value
        p.at[0] = <char>TAG_INT16
        memcpy(p.at + 1, &v16, 2)
        p.at += 3
    elif -0x80000000LL <= value < 0x80000000LL:
        v32 = <int32_t>value
        p.at[0] = <char>TAG_INT32
        memcpy(p.at + 1, &v32, 4)
        p.at += 5
    else:
        v64 = value
        p.at[0] = <char>TAG_INT64
        memcpy(p.at + 1, &v64, 8)
        p.at += 9
    return PACKED


cdef inline int pack_float(Packer *p, PyObject *o) noexcept:
    cdef double value = PyFloat_AS_DOUBLE(o)
    if packer_reserve(p, 9):
        return FAILED
    p.at[0] = <char>TAG_FLOAT
    memcpy(p.at + 1, &value, 8)
    p.at += 9
    return PACKED


cdef inline int pack_complex(Packer *p, PyObject *o) noexcept:
    cdef double real = PyComplex_RealAsDouble(o)
    cdef double imag = PyComplex_ImagAsDouble(o)
    if packer_reserve(p, 17):
        return FAILED
    p.at[0] = <char>TAG_COMPLEX
    memcpy(p.at + 1, &real, 8)
    memcpy(p.at + 9, &imag, 8)
    p.at += 17
    return PACKED


cdef inline int pack_bytearray(Packer *p, PyObject *o) noexcept:
    cdef size_t size = shmq_bytearray_read(o, p.at, 0)
    cdef bint known
    cdef int status
    if shmq_may_recur(o) and o != p.top:
        status = pack_recall(p, o, True, False, &known)
        if status or known:
            return status
    if pack_size(p, TAG_BYTEARRAY, size) or packer_reserve(p, size):
        return FAILED
    if shmq_bytearray_read(o, p.at, size) != size:
        PyErr_SetString(PyExc_RuntimeError, "bytearray changed size while being serialised")
        return FAILED
    p.at += size
    return PACKED


cdef inline int pack_dict(Packer *p, PyObject *o, int depth) noexcept:
    cdef PyObject *source = shmq_walkable(o)
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0, size, left
    cdef int status
    if source is NULL:
        return FAILED
    size = left = PyDict_Size(source)
    status = pack_size(p, TAG_DICT, size)
    while status == PACKED and PyDict_Next(source, &at, &key, &value):
        left -= 1
        if left < 0:
            break
        Py_INCREF(key)
        Py_INCREF(value)
        status = pack_one(p, key, depth, True)
        if status == PACKED:
            status = pack_one(p, value, depth, False)
        Py_DECREF(key)
        Py_DECREF(value)
    if status == PACKED and (left != 0 or PyDict_Size(source) != size):
        PyErr_SetString(PyExc_RuntimeError, "dictionary changed size while being serialised")
        status = FAILED
    Py_DECREF(source)
    return status


cdef inline int pack_list(Packer *p, PyObject *o, uint8_t tag, int depth, bint hashed) noexcept:
    cdef Py_ssize_t i, size = PyList_GET_SIZE(o)
    cdef PyObject *item
    cdef int status = pack_size(p, tag, size)
    if status:
        return status
    for i in range(size):
        item = shmq_list_item(o, i)
        if item is NULL:
            break
        status = pack_one(p, item, depth, hashed)
        Py_DECREF(item)
        if status:
            return status
    if PyList_GET_SIZE(o) != size:
        PyErr_SetString(PyExc_RuntimeError, "list changed size while being serialised")
        return FAILED
    return PACKED


cdef inline int pack_set(Packer *p, PyObject *o, uint8_t tag, int depth) noexcept:
    # A copy, since a set cannot be walked without an iterator, whose making may run the collector.
    # The copy's reference makes elements look shared; that costs a byte each for tuples alone.
    cdef PyObject *elements = PySequence_List(o)
    cdef int status
    if elements is NULL:
        return FAILED
    status = pack_list(p, elements, tag, depth, True)
    Py_DECREF(elements)
    return status


cdef inline int pack_tuple(Packer *p, PyObject *o, int depth, bint hashed) noexcept:
    cdef Py_ssize_t i, size = PyTuple_GET_SIZE(o)
    cdef PyObject *item
    cdef int status = pack_size(p, TAG_TUPLE, size)
    for i in range(size):
        if status:
            return status
        item = PyTuple_GET_ITEM(o, i)
        Py_INCREF(item)     # not for safety: so that P2 counts alike everywhere
        status = pack_one(p, item, depth, hashed)
        Py_DECREF(item)
    return status


cdef inline int pack_items(Packer *p, PyObject *o, PyTypeObject *kind, int depth,
                           bint hashed) noexcept:
    if kind == &PyDict_Type:
        return pack_dict(p, o, depth)
    if kind == &PyList_Type:
        return pack_list(p, o, TAG_LIST, depth, False)
    if kind == &PyTuple_Type:
        return pack_tuple(p, o, depth, hashed)
    return pack_set(p, o, TAG_SET if kind == &PySet_Type else TAG_FROZENSET, depth)


cdef inline int pack_container(Packer *p, PyObject *o, PyTypeObject *kind, int depth,
                               bint hashed) noexcept:
    cdef bint mutable = kind == &PyDict_Type or kind == &PyList_Type or kind == &PySet_Type
    cdef bint known, marked = False
    cdef int status
    if depth <= 0:
        return FOREIGN
    if o == p.top:
        return pack_size(p, TAG_REF, 0) if mutable else FOREIGN
    if shmq_may_recur(o) and not (kind == &PyTuple_Type and PyTuple_GET_SIZE(o) == 0):
        status = pack_recall(p, o, mutable, hashed, &known)
        if status or known:
            return status
        marked = True
    status = pack_items(p, o, kind, depth - 1, hashed)
    if marked and status == PACKED:
        packer_find(p, o).complete = True
    return status


cdef inline int pack_one(Packer *p, PyObject *o, int depth, bint hashed) noexcept:
    cdef PyTypeObject *kind = Py_TYPE(o)
    if kind == &PyLong_Type:
        return pack_int(p, o, hashed)
    if kind == &PyUnicode_Type:
        return pack_str(p, o, hashed)
    if kind == &PyFloat_Type:
        return pack_float(p, o)
    if o == Py_None or o == Py_True or o == Py_False:
        if packer_reserve(p, 1):
            return FAILED
        p.at[0] = <char>(TAG_NONE if o == Py_None else TAG_TRUE if o == Py_True else TAG_FALSE)
        p.at += 1
        return PACKED
    if kind == &PyBytes_Type:
        return pack_raw(p, TAG_BYTES, o, PyBytes_AS_STRING(o), PyBytes_GET_SIZE(o),
                        PyBytes_GET_SIZE(o), hashed)
    if (kind == &PyTuple_Type or kind == &PyList_Type or kind == &PyDict_Type
            or kind == &PySet_Type or kind == &PyFrozenSet_Type):
        return pack_container(p, o, kind, depth, hashed)
    if kind == &PyByteArray_Type:
        return pack_bytearray(p, o)
    if kind == &PyComplex_Type:
        return pack_complex(p, o)
    return FOREIGN
