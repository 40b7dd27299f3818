"""What other extension modules cimport of the codec."""

from libc.stdint cimport uint32_t

from shmqueue._arrays cimport array_head, let_go_of_array
from shmqueue._payload cimport (
    IN_PLACE_BYTES, KIND_ARRAY, KIND_BYTEARRAY, KIND_BYTES, KIND_PACKED, KIND_PARTS, KIND_PICKLE,
    KIND_STR1, KIND_STR2, KIND_STR4, PART_ALIGNMENT, POLICY_BYTES, POLICY_CLOUDPICKLE,
    POLICY_MULTIPROCESSING, Payload, payload_clear, payload_is_flat,
)


# Serialise the item; the payload is valid until `payload_clear`, and must not be moved.
cdef int encode(object item, int policy, Payload *out) except -1

# Any C-contiguous buffer as KIND_BYTES, without a copy: the payload holds it. TypeError if it is
# no buffer, ValueError if it is not contiguous.
cdef int encode_bytes(object data, Payload *out) except -1

# Whether a buffer's items are references.
cdef bint is_of_objects(object data) except -1

# Write all `size` bytes to the target. Lets go of the GIL for long copies.
cdef int payload_write(Payload *payload, char *target) except -1

# Copy what a payload has of objects that may change into memory of its own, once: none of them is
# read or held afterwards. It goes the same way as before, into a slot or into a block.
cdef int payload_detach(Payload *payload) except -1

# The object that the bytes are of, all of it copied: `data` is not needed afterwards. Loading a
# pickle may run any Python code, so `data` must be memory that stays until then.
cdef object decode(uint32_t kind, const char *data, Py_ssize_t size)

# How many bytes `decode_in_place` would leave in place. A hint: `data` may change meanwhile.
cdef size_t in_place_bytes(uint32_t kind, const char *data, Py_ssize_t size) noexcept

# As `decode`, of KIND_ARRAY and KIND_PARTS only, but the large buffers stay where they are.
# `owner` exports [data, data + size) writable, for as long as it lives.
cdef object decode_in_place(uint32_t kind, const char *data, Py_ssize_t size, object owner)
