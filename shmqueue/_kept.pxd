"""What other extension modules cimport: the entries of what a handle keeps."""

cimport cython


@cython.final
cdef class Made:
    """An item that is made already: a call that raised had it in hand."""

    cdef object item

cdef int raise_kept(tuple kept) except -1
cdef tuple to_retry(object error, tuple kept)
cdef tuple to_keep(object error, tuple kept)
