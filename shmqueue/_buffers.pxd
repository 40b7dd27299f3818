"""What other extension modules cimport of runs of bytes."""

cimport cython


# A run of bytes that exports a writable buffer, for as long as somebody refers to it.
@cython.final
@cython.no_gc_clear         # the memory must outlast whatever still looks at it
cdef class Run:
    cdef char *data
    cdef Py_ssize_t size
    cdef char *heap         # the memory if it is its own, else NULL
    cdef object owner       # whose memory it is otherwise


# The memory of another object as a run.
cdef Run run_of(const void *data, Py_ssize_t size, object owner)

# Memory of its own from a multiple of PART_ALIGNMENT on, with nothing in it yet.
cdef Run fresh_run(Py_ssize_t size)

# A bytes object or a bytearray of that size, with nothing in it yet.
cdef bytes fresh_bytes(Py_ssize_t size)
cdef bytearray fresh_bytearray(Py_ssize_t size)

# Whether nothing but the caller, and perhaps the variable of a context, refers to an object. Pass a
# local variable.
cdef bint is_only_a_variables(object o, bint was_entered) noexcept

# memcpy, without the GIL where that pays; the caller holds it.
cdef int copy_unlocked(void *target, const void *source, size_t size) except -1
