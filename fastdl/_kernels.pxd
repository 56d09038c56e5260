# The kernel table, memory and threads, for the Cython modules above.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from numpy cimport ndarray, npy_intp

include "_table.pxi"

# the chosen ISA's tables
cdef const fdl_table *F32
cdef const fdl_table *F64


cdef class Storage:
    """The memory of a tensor and of all its views, and how often it was written to in place."""
    cdef void *data
    cdef size_t nbytes
    cdef Py_ssize_t version
    cdef str writer          # the operator that made this version
    cdef bint exposed       # NumPy or others have a view, and may write without a new version
    cdef object derived     # what an operator keeps for the next call with these values; checks `version`


cdef ndarray empty_array(int ndim, npy_intp *shape, int typenum)
cdef Storage storage_of(ndarray a)


cdef class Scratch:
    """Kernel scratch: 64-byte aligned memory that lives as long as this object."""
    cdef void *data
    cdef size_t nbytes

cdef Scratch scratch(int64_t nbytes)

# Around the kernels of an operator that writes nothing but its own new tensors: with more than WATCH_FMAS multiply-adds
# they stop when a signal's handler raises (Ctrl-C), and unwatch raises that exception.
cdef enum:
    WATCH_FMAS = 1 << 30  # about 10 ms of one core
    ELEM_FMAS = 16        # what an element costs that is read, changed and written

cdef int watch(double fmas) noexcept
cdef int unwatch() except -1
