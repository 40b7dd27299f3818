"""What other extension modules cimport of pickles."""

from cpython.ref cimport PyTypeObject

from shmqueue._payload cimport Payload


# Whether somebody has registered a reducer for the type.
cdef bint has_reducer(PyTypeObject *) except -1

# Pickle the item by the policy, with large buffers beside the pickle.
cdef int encode_pickle(object item, int policy, Payload *out) except -1

# What was pickled in parts, with its buffers in the memory of `owner`, which is data[0..size), or
# in memory of their own if that is None.
cdef object decode_parts(const char *data, Py_ssize_t size, object owner)
cdef size_t part_bytes_in_place(const char *data, Py_ssize_t size) noexcept
