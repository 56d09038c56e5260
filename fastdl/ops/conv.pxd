# Arguments of windows, for the other modules of ops.
from libc.stdint cimport int64_t

cdef int numbers(str op, str name, object value, int count, int64_t least, int64_t *out) except -1
