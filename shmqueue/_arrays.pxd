"""What other extension modules cimport of the arrays of numpy."""

from libc.stdint cimport uint32_t

from shmqueue._payload cimport Payload


# The head of a payload that is an array, and how many bytes of data follow it: C order, zeroed by
# nobody. The length of the head is a multiple of PART_ALIGNMENT. TypeError for dtypes that cannot
# travel as raw bytes, ValueError for negative or overflowing sizes.
cdef tuple array_head(object shape, object dtype)

# Empty the exact ndarray in place: its shape becomes (0,) and it lets go of its memory. Only if
# nobody but the caller, by one reference, and perhaps the user, by another, refers to it; so pass
# a local variable (an attribute costs a reference during the call). Tells whether it was done.
cdef bint let_go_of_array(object array) noexcept
