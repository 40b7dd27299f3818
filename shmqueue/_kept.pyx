# cython: binding=False
"""What a handle keeps of an item that it took, and could not deliver; each entry is one item:

    (kind, payload)         bytes, or a `Loan`
    (kind, payload, error)  it failed behind good items with this error, or with None: it is tried
                            once more, as the first item of a call, so that it harms no other
    (0, error)              what it failed with; it is gone
    (0, Made)               the item itself, of a call that raised
"""

from shmqueue._blocks cimport Loan


cdef int raise_kept(tuple kept) except -1:
    """Raise what an item failed with, if that was kept in its place."""
    if isinstance(kept[1], BaseException):
        raise kept[1]
    return 0


cdef tuple to_retry(object error, tuple kept):
    """What to keep of the first item of a call, which failed, for another try; None: it is gone.

    Tried again is what could not begin, for want of memory or by Ctrl-C, and once more what was
    interrupted: not for ever, since it may be the item that does that.
    """
    cdef Loan loan = kept[1] if type(kept[1]) is Loan else None
    if loan is not None and loan.loan == NULL or loan is None and type(kept[1]) is not bytes:
        return None
    if loan is not None and not loan.has_run_code:
        return kept if not isinstance(error, Exception) or isinstance(error, MemoryError) else None
    if isinstance(error, Exception) or len(kept) == 3:
        return None
    return kept[0], kept[1], None


cdef tuple to_keep(object error, tuple kept):
    """What to keep of an item that failed behind good ones; None: it is gone, the call raises.

    Bytes can be loaded again. Then it shows whether the error was the item's own; if it is not, it
    is raised all the same.
    """
    cdef tuple again = to_retry(error, kept)
    if again is not None:
        return again
    if not isinstance(error, Exception):
        return None
    if type(kept[1]) is not bytes:
        return 0, error
    return kept[0], kept[1], None if isinstance(error, MemoryError) else error
