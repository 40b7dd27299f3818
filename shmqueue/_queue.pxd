"""What other extension modules cimport: the class that all queues derive from."""

from libc.stdint cimport uint64_t

from shmqueue._bytes cimport BytesConsumer
from shmqueue._codec cimport Payload
from shmqueue._core cimport Attachment


cdef class ObjectQueue(BytesConsumer):
    cdef int _put(self, object item, uint64_t deadline_ns) except -1
    cdef int _encode(self, object item, Payload *payload) except -1
    cdef int _put_payload(self, Attachment attachment, Payload *payload,
                          uint64_t deadline_ns) except -1
    cdef int _put_encoded(self, Attachment attachment, Payload *payload,
                          uint64_t deadline_ns) except -1
    cdef bint _may_put(self, Attachment attachment, uint64_t count, uint64_t deadline_ns) except -1
    cdef int _put_large(self, Attachment attachment, Payload *payload,
                        uint64_t deadline_ns) except -1


cdef class Encoded:
    cdef ObjectQueue queue
    cdef Payload payload
