"""Bytes to objects: the packed encoding (see _packed.pxd)."""

from cpython.ref cimport PyObject
from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from shmqueue._packed cimport *


cdef struct Unpacker:
    const unsigned char *at
    const unsigned char *end
    size_t budget           # P5
    PyObject *top           # memo 0, not a reference: whoever fills it holds it
    PyObject **memo         # references, since a bad input can drop an object; NULL until complete
    size_t memo_count
    size_t memo_room
    PyObject **keys         # the cache of short dict keys, or NULL
    const char *why         # what is wrong with the input, where no exception is set

cdef enum:
    UNMARKED = -1
    TOP = 0


cdef inline PyObject *unpack_corrupt(Unpacker *u, const char *why) noexcept:
    u.why = why
    return NULL


cdef inline void unpacker_drop_memo(Unpacker *u) noexcept:
    cdef size_t i
    if u.memo is not NULL:
        for i in range(u.memo_count):
            if u.memo[i] is not NULL:
                Py_DECREF(u.memo[i])
        free(u.memo)
        u.memo = NULL


cdef inline void unpack_remember(Unpacker *u, Py_ssize_t mark, PyObject *o) noexcept:
    if mark == TOP:
        u.top = o
    elif mark > TOP and u.memo[mark - 1] is NULL:
        Py_INCREF(o)
        u.memo[mark - 1] = o


cdef inline bint unpack_size(Unpacker *u, size_t *size) noexcept:
    cdef uint32_t narrow
    cdef uint64_t wide
    if u.at < u.end:
        size[0] = u.at[0]
        u.at += 1
        if size[0] < SIZE_U32:
            return True
        if size[0] == SIZE_U32 and u.end - u.at >= 4:
            memcpy(&narrow, u.at, 4)
            u.at += 4
            size[0] = narrow
            return True
        if size[0] == SIZE_U64 and u.end - u.at >= 8:
            memcpy(&wide, u.at, 8)
            u.at += 8
            size[0] = <size_t>wide
            return True
    u.why = "it ends within a length"
    return False


cdef inline PyObject *str_from_units(int kind, const unsigned char *data,
                                     size_t length) noexcept:
    """A str of 2- or 4-byte units; NULL without an exception if it is not in its shortest form."""
    cdef uint32_t unit, widest = 0
    cdef uint16_t unit2
    cdef size_t i
    cdef PyObject *made
    if kind == 2:
        for i in range(length):
            memcpy(&unit2, data + 2 * i, 2)
            widest = unit2 if unit2 > widest else widest
        if widest < 0x100:
            return NULL
    else:
        for i in range(length):
            memcpy(&unit, data + 4 * i, 4)
            widest = unit if unit > widest else widest
        if widest < 0x10000 or widest > 0x10FFFF:
            return NULL
    made = PyUnicode_New(length, widest)
    if made is not NULL:
        memcpy(PyUnicode_DATA(made), data, length * kind)
    return made


cdef inline PyObject *unpack_str(Unpacker *u, int kind) noexcept:
    cdef size_t length
    cdef const unsigned char *data
    cdef PyObject *made
    if not unpack_size(u, &length):
        return NULL
    if length > <size_t>(u.end - u.at) // kind:
        return unpack_corrupt(u, "a str is longer than what is left")
    data = u.at
    u.at += length * kind
    if kind == 1:
        return PyUnicode_FromKindAndData(1, data, length)
    made = str_from_units(kind, data, length)
    if made is NULL:
        u.why = "a str has characters that its form does not allow"
    return made


cdef inline PyObject *unpack_short_str(Unpacker *u, size_t length) noexcept:
    cdef const unsigned char *data = u.at
    if length > <size_t>(u.end - u.at):
        return unpack_corrupt(u, "a str is longer than what is left")
    u.at += length
    return PyUnicode_FromKindAndData(1, data, length)


cdef inline PyObject *unpack_key(Unpacker *u, int depth) noexcept:
    """A dict key; short strings are kept, since the next item will likely have the same ones."""
    cdef size_t length
    cdef const unsigned char *data
    cdef uint64_t head = 0, tail = 0
    cdef PyObject **slot
    cdef PyObject *known
    cdef PyObject *made
    if (u.keys is NULL or u.at >= u.end or u.at[0] < SHORT_STR
            or u.at[0] >= SHORT_STR + SHORT_STR_LIMIT):
        return unpack_one(u, depth, True)
    length = u.at[0] - SHORT_STR
    data = u.at + 1
    if length > <size_t>(u.end - data):
        return unpack_corrupt(u, "a str is longer than what is left")
    u.at = data + length
    if length >= 8:
        memcpy(&head, data, 8)
        memcpy(&tail, data + length - 8, 8)
    else:
        memcpy(&head, data, length)
    head = (head ^ (tail * 31) ^ length) * 0x9E3779B97F4A7C15ULL
    slot = &u.keys[(head >> 40) & (KEY_SLOTS - 1)]
    known = slot[0]
    if (known is not NULL and <size_t>PyUnicode_GET_LENGTH(known) == length
            and memcmp(PyUnicode_DATA(known), data, length) == 0):
        Py_INCREF(known)
        return known
    made = PyUnicode_FromKindAndData(1, data, length)
    if made is not NULL:
        Py_INCREF(made)
        slot[0] = made
        if known is not NULL:
            Py_DECREF(known)
    return made


cdef inline PyObject *unpack_run(Unpacker *u, uint8_t tag) noexcept:
    cdef size_t size
    cdef const unsigned char *data
    if not unpack_size(u, &size):
        return NULL
    if size > <size_t>(u.end - u.at):
        return unpack_corrupt(u, "a run of bytes is longer than what is left")
    data = u.at
    u.at += size
    if tag == TAG_BYTES:
        return PyBytes_FromStringAndSize(<const char *>data, size)
    if tag == TAG_BYTEARRAY:
        return PyByteArray_FromStringAndSize(<const char *>data, size)
    return shmq_int_read(data, size)


cdef inline PyObject *unpack_int(Unpacker *u, size_t size) noexcept:
    cdef const unsigned char *data = u.at
    cdef int16_t v16
    cdef int32_t v32
    cdef int64_t value
    if <size_t>(u.end - data) < size:
        return unpack_corrupt(u, "it ends within a number")
    u.at += size
    if size == 1:
        value = <int8_t>data[0]
    elif size == 2:
        memcpy(&v16, data, 2)
        value = v16
    elif size == 4:
        memcpy(&v32, data, 4)
        value = v32
    else:
        memcpy(&value, data, 8)
    return PyLong_FromLong(value)


cdef inline PyObject *unpack_float(Unpacker *u, bint is_complex) noexcept:
    cdef const unsigned char *data = u.at
    cdef size_t size = 16 if is_complex else 8
    cdef double real, imag
    if <size_t>(u.end - data) < size:
        return unpack_corrupt(u, "it ends within a number")
    u.at += size
    memcpy(&real, data, 8)
    if not is_complex:
        return PyFloat_FromDouble(real)
    memcpy(&imag, data + 8, 8)
    return PyComplex_FromDoubles(real, imag)


cdef inline PyObject *unpack_ref(Unpacker *u, bint hashed) noexcept:
    cdef size_t index
    cdef PyObject *o
    if not unpack_size(u, &index):
        return NULL
    if index > u.memo_count:
        return unpack_corrupt(u, "it refers to an object that does not exist")
    o = u.top if index == TOP else u.memo[index - 1]
    if o is NULL:
        return unpack_corrupt(u, "it refers to an object that is not complete")
    if hashed and Py_TYPE(o) != &PyUnicode_Type and Py_TYPE(o) != &PyBytes_Type:
        return unpack_corrupt(u, "it refers to an object where it must not")
    Py_INCREF(o)
    return o


cdef inline PyObject *unpack_marked(Unpacker *u, int depth, bint hashed) noexcept:
    cdef size_t room
    cdef PyObject **memo
    cdef Py_ssize_t mark
    cdef PyObject *o
    if u.memo_count == u.memo_room:
        room = u.memo_room * 2 if u.memo_room else 16
        memo = <PyObject **>realloc(u.memo, room * sizeof(PyObject *))
        if memo is NULL:
            return PyErr_NoMemory()
        u.memo = memo
        u.memo_room = room
    u.memo[u.memo_count] = NULL
    u.memo_count += 1
    mark = u.memo_count
    if u.at >= u.end or u.at[0] == TAG_MARK or u.at[0] == TAG_REF:
        return unpack_corrupt(u, "a mark stands before no object")
    if TAG_TUPLE <= u.at[0] <= TAG_FROZENSET:
        u.at += 1
        return unpack_container(u, (u.at - 1)[0], depth, hashed, mark)
    o = unpack_one(u, depth, hashed)
    if o is not NULL:
        unpack_remember(u, mark, o)
    return o


cdef inline PyObject *unpack_unhashable(Unpacker *u) noexcept:
    if PyErr_ExceptionMatches(PyExc_TypeError):
        PyErr_Clear()
        u.why = "a key or an element of a set cannot be hashed"
    return NULL


cdef inline PyObject *unpack_dict(Unpacker *u, size_t size, int depth, Py_ssize_t mark) noexcept:
    cdef PyObject *made = PyDict_New()
    cdef PyObject *key
    cdef PyObject *value
    cdef size_t _i
    cdef int failed
    if made is NULL:
        return NULL
    unpack_remember(u, mark, made)
    for _i in range(size):
        key = unpack_key(u, depth)
        if key is NULL:
            break
        value = unpack_one(u, depth, False)
        if value is NULL:
            Py_DECREF(key)
            break
        failed = PyDict_SetItem(made, key, value)
        Py_DECREF(key)
        Py_DECREF(value)
        if failed:
            unpack_unhashable(u)
            break
    else:
        if <size_t>PyDict_Size(made) == size:
            return made
        u.why = "a dict has a key twice"
    Py_DECREF(made)
    return NULL


cdef inline PyObject *unpack_set(Unpacker *u, size_t size, bint frozen, int depth,
                                 Py_ssize_t mark) noexcept:
    cdef PyObject *made = PyFrozenSet_New(NULL) if frozen else PySet_New(NULL)
    cdef PyObject *element
    cdef size_t _i
    cdef int failed
    if made is NULL:
        return NULL
    if not frozen:
        unpack_remember(u, mark, made)
    for _i in range(size):
        element = unpack_one(u, depth, True)
        if element is NULL:
            break
        failed = PySet_Add(made, element)
        Py_DECREF(element)
        if failed:
            unpack_unhashable(u)
            break
    else:
        if <size_t>PySet_Size(made) == size:
            unpack_remember(u, mark, made)
            return made
        u.why = "a set has an element twice"
    Py_DECREF(made)
    return NULL


cdef inline PyObject *unpack_list(Unpacker *u, size_t size, int depth, Py_ssize_t mark) noexcept:
    cdef PyObject *made = PyList_New(size)
    cdef PyObject *item
    cdef size_t i
    if made is NULL:
        return NULL
    PyObject_GC_UnTrack(made)   # nobody may find it while it has holes
    unpack_remember(u, mark, made)
    for i in range(size):
        item = unpack_one(u, depth, False)
        if item is NULL:
            PyObject_GC_Track(made)     # it may contain itself
            Py_DECREF(made)
            return NULL
        PyList_SET_ITEM(made, i, item)
    PyObject_GC_Track(made)
    return made


cdef inline PyObject *unpack_tuple(Unpacker *u, size_t size, int depth, bint hashed,
                                   Py_ssize_t mark) noexcept:
    cdef PyObject *made = PyTuple_New(size)
    cdef PyObject *item
    cdef size_t i
    if made is NULL:
        return NULL
    if size:
        PyObject_GC_UnTrack(made)
        for i in range(size):
            item = unpack_one(u, depth, hashed)
            if item is NULL:
                Py_DECREF(made)
                return NULL
            PyTuple_SET_ITEM(made, i, item)
        PyObject_GC_Track(made)
    if mark != TOP:             # P3: the item itself, a tuple, is never complete when referred to
        unpack_remember(u, mark, made)
    return made


cdef inline PyObject *unpack_container(Unpacker *u, uint8_t tag, int depth, bint hashed,
                                       Py_ssize_t mark) noexcept:
    cdef size_t size, cost
    if depth <= 0:
        return unpack_corrupt(u, "it is nested too deeply")
    if not unpack_size(u, &size):
        return NULL
    if size > u.budget:
        return unpack_corrupt(u, "a container has more elements than what is left")
    cost = size * 2 if tag == TAG_DICT else size
    if cost > u.budget:
        return unpack_corrupt(u, "a container has more elements than what is left")
    u.budget -= cost
    depth -= 1
    if tag == TAG_DICT:
        return unpack_dict(u, size, depth, mark)
    if tag == TAG_LIST:
        return unpack_list(u, size, depth, mark)
    if tag == TAG_TUPLE:
        return unpack_tuple(u, size, depth, hashed, mark)
    return unpack_set(u, size, tag == TAG_FROZENSET, depth, mark)


cdef inline PyObject *unpack_constant(PyObject *o) noexcept:
    Py_INCREF(o)
    return o


cdef inline PyObject *unpack_one(Unpacker *u, int depth, bint hashed) noexcept:
    cdef uint8_t tag
    if u.at >= u.end:
        return unpack_corrupt(u, "it ends before its last object")
    tag = u.at[0]
    u.at += 1
    if tag < SHORT_STR:
        return PyLong_FromLong(tag)
    if tag < SHORT_STR + SHORT_STR_LIMIT:
        return unpack_short_str(u, tag - SHORT_STR)
    if tag == TAG_NONE:
        return unpack_constant(Py_None)
    elif tag == TAG_FALSE:
        return unpack_constant(Py_False)
    elif tag == TAG_TRUE:
        return unpack_constant(Py_True)
    elif tag == TAG_INT8:
        return unpack_int(u, 1)
    elif tag == TAG_INT16:
        return unpack_int(u, 2)
    elif tag == TAG_INT32:
        return unpack_int(u, 4)
    elif tag == TAG_INT64:
        return unpack_int(u, 8)
    elif tag == TAG_FLOAT:
        return unpack_float(u, False)
    elif tag == TAG_COMPLEX:
        return unpack_float(u, True)
    elif tag == TAG_STR1:
        return unpack_str(u, 1)
    elif tag == TAG_STR2:
        return unpack_str(u, 2)
    elif tag == TAG_STR4:
        return unpack_str(u, 4)
    elif tag == TAG_BYTES or tag == TAG_BYTEARRAY or tag == TAG_BIG_INT:
        return unpack_run(u, tag)
    elif (tag == TAG_TUPLE or tag == TAG_LIST or tag == TAG_DICT or tag == TAG_SET
            or tag == TAG_FROZENSET):
        return unpack_container(u, tag, depth, hashed, UNMARKED)
    elif tag == TAG_MARK:
        return unpack_marked(u, depth, hashed)
    elif tag == TAG_REF:
        return unpack_ref(u, hashed)
    return unpack_corrupt(u, "it has an unknown tag")
