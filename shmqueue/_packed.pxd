"""The packed encoding of exact built-in objects: its tags, limits and what it needs of Python.

_pack.pxd and _unpack.pxd are its two directions; the table of the format stands in _codec.pyx, the
only module that cimports them. The functions are inline, so all of it is compiled into that one.
Objects are `PyObject *` here and references are counted by hand: the generated counting would cost
more than the work.

Invariants

P1  No Python code runs: types are exact, and the memo compares addresses. So with the GIL an item
    cannot change under `pack`; what may still interfere (a finaliser run by the collector, or
    threads where there is no GIL) finds every object in hand held by a reference.
P2  An object enters the memo only if it may occur twice: its reference count says that somebody
    besides the container at hand refers to it. Memo 0 is the item itself.
P3  A tuple or frozenset is referred to only when it is complete. One that contains itself (through
    a list) is left to pickle.
P4  What is hashed (a key, an element of a set, the parts of either) is written out in full; the
    only references in it are to str and bytes, which cache their hashes. So hashing recurses
    no deeper than MAX_DEPTH and costs no more than the input is long.
P5  Each element takes a byte at least. `budget` starts as the input's size and each container takes
    its elements from it, so what is allocated is in proportion to the input.
"""

from cpython.ref cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define SHMQ_FREE_THREADED 1
    #else
    #define SHMQ_FREE_THREADED 0
    #endif

    /* P2: a lone object is referred to by its container and by the walk over it. Without the GIL
       a count proves nothing. */
    static inline int shmq_may_recur(PyObject *o)
    {
        return SHMQ_FREE_THREADED || Py_REFCNT(o) > 2;
    }

    /* A new reference, or NULL without an exception when there is no such item (any more). */
    static inline PyObject *shmq_list_item(PyObject *list, Py_ssize_t i)
    {
    #if SHMQ_FREE_THREADED
        PyObject *item = PyList_GetItemRef(list, i);
        if (item == NULL)
            PyErr_Clear();
        return item;
    #else
        if (i >= PyList_GET_SIZE(list))
            return NULL;
        PyObject *item = PyList_GET_ITEM(list, i);
        Py_INCREF(item);
        return item;
    #endif
    }

    /* A dict that PyDict_Next may walk: itself under the GIL, else a private copy. */
    static inline PyObject *shmq_walkable(PyObject *dict)
    {
    #if SHMQ_FREE_THREADED
        return PyDict_Copy(dict);
    #else
        Py_INCREF(dict);
        return dict;
    #endif
    }

    /* Copies the whole bytearray if it fits; returns its size either way. */
    static inline size_t shmq_bytearray_read(PyObject *array, char *into, size_t room)
    {
        size_t size;
    #if SHMQ_FREE_THREADED
        Py_BEGIN_CRITICAL_SECTION(array);
    #endif
        size = (size_t)PyByteArray_GET_SIZE(array);
        if (size <= room)
            memcpy(into, PyByteArray_AS_STRING(array), size);
    #if SHMQ_FREE_THREADED
        Py_END_CRITICAL_SECTION();
    #endif
        return size;
    }

    #if PY_VERSION_HEX < 0x030C0000
    #define shmq_str_ready(o) PyUnicode_READY(o)
    #else
    #define shmq_str_ready(o) 0
    #endif

    /* The value of an int of one digit, which most are; the calls that take any are slower. */
    static inline int shmq_small_int(PyObject *o, long long *value)
    {
    #if PY_VERSION_HEX < 0x030C0000
        Py_ssize_t signed_digits = Py_SIZE(o);
        if (signed_digits < -1 || signed_digits > 1)
            return 0;
        *value = signed_digits * (long long)((PyLongObject *)o)->ob_digit[0];
        return 1;
    #else
        if (!PyUnstable_Long_IsCompact((PyLongObject *)o))
            return 0;
        *value = PyUnstable_Long_CompactValue((PyLongObject *)o);
        return 1;
    #endif
    }

    /* Two's complement, little endian, of any size. */
    #if PY_VERSION_HEX < 0x030D0000
    static inline Py_ssize_t shmq_int_bytes(PyObject *o)
    {
        size_t bits = _PyLong_NumBits(o);
        return bits == (size_t)-1 ? -1 : (Py_ssize_t)(bits / 8 + 1);
    }
    #define shmq_int_write(o, into, n) \\
        _PyLong_AsByteArray((PyLongObject *)(o), (unsigned char *)(into), (n), 1, 1)
    #define shmq_int_read(from, n) _PyLong_FromByteArray((from), (n), 1, 1)
    #else
    #define shmq_int_bytes(o) PyLong_AsNativeBytes((o), NULL, 0, Py_ASNATIVEBYTES_LITTLE_ENDIAN)
    #define shmq_int_write(o, into, n) \\
        (PyLong_AsNativeBytes((o), (into), (n), Py_ASNATIVEBYTES_LITTLE_ENDIAN) < 0 ? -1 : 0)
    #define shmq_int_read(from, n) \\
        PyLong_FromNativeBytes((from), (n), Py_ASNATIVEBYTES_LITTLE_ENDIAN)
    #endif
    """
    bint SHMQ_FREE_THREADED
    bint shmq_may_recur(PyObject *) noexcept
    PyObject *shmq_list_item(PyObject *, Py_ssize_t) noexcept
    PyObject *shmq_walkable(PyObject *) noexcept
    size_t shmq_bytearray_read(PyObject *, char *, size_t) noexcept
    int shmq_str_ready(PyObject *) noexcept
    bint shmq_small_int(PyObject *, long long *) noexcept
    Py_ssize_t shmq_int_bytes(PyObject *) noexcept
    int shmq_int_write(PyObject *, char *, Py_ssize_t) noexcept
    PyObject *shmq_int_read(const unsigned char *, size_t) noexcept

cdef extern from "Python.h":
    PyTypeObject *Py_TYPE(PyObject *) noexcept
    void Py_INCREF(PyObject *) noexcept
    void Py_DECREF(PyObject *) noexcept
    PyTypeObject PyLong_Type, PyFloat_Type, PyComplex_Type, PyUnicode_Type, PyBytes_Type
    PyTypeObject PyByteArray_Type, PyTuple_Type, PyList_Type, PyDict_Type, PySet_Type
    PyTypeObject PyFrozenSet_Type
    PyObject *Py_None
    PyObject *Py_True
    PyObject *Py_False
    PyObject *PyExc_RuntimeError
    PyObject *PyExc_TypeError
    void PyErr_SetString(PyObject *, const char *) noexcept
    PyObject *PyErr_NoMemory() noexcept
    int PyErr_ExceptionMatches(PyObject *) noexcept
    void PyErr_Clear() noexcept
    void PyObject_GC_Track(PyObject *) noexcept
    void PyObject_GC_UnTrack(PyObject *) noexcept

    long long PyLong_AsLongLongAndOverflow(PyObject *, int *) noexcept
    PyObject *PyLong_FromLong(long) noexcept    # the fastest; 64 bits, on Linux
    double PyFloat_AS_DOUBLE(PyObject *) noexcept
    PyObject *PyFloat_FromDouble(double) noexcept
    double PyComplex_RealAsDouble(PyObject *) noexcept
    double PyComplex_ImagAsDouble(PyObject *) noexcept
    PyObject *PyComplex_FromDoubles(double, double) noexcept
    int PyUnicode_KIND(PyObject *) noexcept
    void *PyUnicode_DATA(PyObject *) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *) noexcept
    PyObject *PyUnicode_New(Py_ssize_t, uint32_t) noexcept
    PyObject *PyUnicode_FromKindAndData(int, const void *, Py_ssize_t) noexcept
    Py_ssize_t PyBytes_GET_SIZE(PyObject *) noexcept
    char *PyBytes_AS_STRING(PyObject *) noexcept
    PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t) noexcept
    PyObject *PyByteArray_FromStringAndSize(const char *, Py_ssize_t) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject *) noexcept
    PyObject *PyTuple_GET_ITEM(PyObject *, Py_ssize_t) noexcept
    void PyTuple_SET_ITEM(PyObject *, Py_ssize_t, PyObject *) noexcept
    PyObject *PyTuple_New(Py_ssize_t) noexcept
    Py_ssize_t PyList_GET_SIZE(PyObject *) noexcept
    PyObject *PyList_New(Py_ssize_t) noexcept
    void PyList_SET_ITEM(PyObject *, Py_ssize_t, PyObject *) noexcept
    PyObject *PySequence_List(PyObject *) noexcept
    PyObject *PyDict_New() noexcept
    Py_ssize_t PyDict_Size(PyObject *) noexcept
    int PyDict_Next(PyObject *, Py_ssize_t *, PyObject **, PyObject **) noexcept
    int PyDict_SetItem(PyObject *, PyObject *, PyObject *) noexcept
    PyObject *PySet_New(PyObject *) noexcept
    PyObject *PyFrozenSet_New(PyObject *) noexcept
    Py_ssize_t PySet_Size(PyObject *) noexcept
    int PySet_Add(PyObject *, PyObject *) noexcept


cdef enum:
    SHORT_STR = 0x80        # up to here the tag itself is an int of 0..127
    SHORT_STR_LIMIT = 32
    TAG_NONE = 0xA0
    TAG_FALSE
    TAG_TRUE
    TAG_INT8
    TAG_INT16
    TAG_INT32
    TAG_INT64
    TAG_BIG_INT
    TAG_FLOAT
    TAG_COMPLEX
    TAG_STR1
    TAG_STR2
    TAG_STR4
    TAG_BYTES
    TAG_BYTEARRAY
    TAG_TUPLE
    TAG_LIST
    TAG_DICT
    TAG_SET
    TAG_FROZENSET
    TAG_MARK                # the next object is the next one of the memo
    TAG_REF                 # an object of the memo

cdef enum:
    SIZE_U32 = 254          # sizes below stand in one byte; these announce four and eight
    SIZE_U64 = 255
    MAX_DEPTH = 200         # deeper items are left to pickle, deeper input is refused
    MEMO_MIN_BYTES = 64     # a shorter scalar is sooner written again than looked up
    KEY_SLOTS = 512         # of the cache of short dict keys

cdef enum:
    PACKED = 0
    FOREIGN = 1             # something here is not ours to encode: the whole item is pickled
    FAILED = -1             # a Python exception is set
