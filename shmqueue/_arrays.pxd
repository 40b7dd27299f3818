"""What other extension modules cimport of the arrays of numpy."""

from cpython.ref cimport PyObject, PyTypeObject

from shmqueue._payload cimport Payload

cdef extern from *:
    """
    /* An array as every extension that was compiled for numpy sees it: these fields are its ABI. */
    typedef struct {
        PyObject_HEAD
        char *data;
        int ndim;
        Py_ssize_t *shape;
        Py_ssize_t *strides;
        PyObject *base;
        PyObject *dtype;
        int flags;
    } shmq_ndarray;
    """
    ctypedef struct shmq_ndarray:
        char *data
        int ndim
        Py_ssize_t *shape
        Py_ssize_t *strides
        PyObject *base
        PyObject *dtype
        int flags


# The type of arrays; NULL until numpy has been met.
cdef PyTypeObject *ndarray_type

# Meet numpy if that type is its ndarray.
cdef bint is_unmet_ndarray(PyTypeObject *) noexcept


cdef inline bint is_ndarray(PyTypeObject *kind) noexcept:
    """Whether the type is exactly numpy's ndarray; numpy is not imported for it."""
    return kind == ndarray_type or (ndarray_type is NULL and is_unmet_ndarray(kind))


# The type, once numpy has been met; else None.
cdef object ndarray_if_met()

# The array as a payload. Tells whether it could be: some dtypes are left to pickle. `out` is
# initialised.
cdef bint encode_array(PyObject *array, Payload *out) except -1

# Write the items of an array that are not in one run.
cdef int write_items(PyObject *array, const char *head, char *target, size_t size) except -1

# An array with memory of its own, or in the memory of `owner`, which is data[0..size).
cdef object decode_array(const char *data, Py_ssize_t size, object owner)
cdef size_t array_bytes_in_place(const char *data, Py_ssize_t size) noexcept

# The head of a payload that is an array, and how many bytes of data are to follow it, in C order.
# The length of the head is a multiple of PART_ALIGNMENT. TypeError for dtypes that cannot travel as
# raw bytes, ValueError for negative or overflowing sizes.
cdef tuple array_head(object shape, object dtype)

# Empty the exact ndarray in place: its first length becomes 0 and it lets go of its memory. Only if
# nobody but the caller, by one reference, and at most so many others refer to it; so the caller is
# to pass a local variable, since an attribute costs a reference during the call. What was made of
# an array that is a view of another refers to that one: so nobody else may refer to it. Counts
# can't tell a variable from what uses the memory by way of it, such as a tensor or an iterator: for
# these the array keeps `keeper`, which keeps the memory mapped. Tells whether it was done; if not,
# nothing has changed.
cdef bint let_go_of_array(object array, Py_ssize_t others, object keeper) noexcept
