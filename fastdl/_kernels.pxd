# The kernel table, memory and threads, for the Cython modules above.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from numpy cimport ndarray, npy_intp

include "_table.pxi"

cdef extern from "fastdl.h" nogil:
    enum:
        FDL_NEG, FDL_ABS, FDL_EXP, FDL_LOG, FDL_SQRT, FDL_RSQRT, FDL_SQUARE, FDL_RECIPROCAL, FDL_TANH, FDL_SIGMOID
        FDL_RELU, FDL_LEAKY_RELU, FDL_ELU, FDL_GELU, FDL_GELU_TANH, FDL_SILU, FDL_SOFTPLUS, FDL_ERF, FDL_SIGN
        FDL_CLAMP, FDL_LOG1P, FDL_EXPM1
        FDL_ADD, FDL_SUB, FDL_MUL, FDL_DIV, FDL_MAXIMUM, FDL_MINIMUM, FDL_POW, FDL_RSUB, FDL_RDIV, FDL_RPOW
        FDL_EQ, FDL_NE, FDL_LT, FDL_LE, FDL_GT, FDL_GE
        FDL_SUM, FDL_MEAN, FDL_MAX, FDL_MIN, FDL_PROD, FDL_SUMSQ
        FDL_ACT_NONE, FDL_ACT_RELU, FDL_ACT_TANH, FDL_ACT_SIGMOID, FDL_ACT_GELU
        FDL_CHAIN_SUM, FDL_CHAIN_COPY, FDL_CHAIN_NEG, FDL_CHAIN_ABS, FDL_CHAIN_SIGN, FDL_CHAIN_EXP, FDL_CHAIN_EXPM1
        FDL_CHAIN_LOG, FDL_CHAIN_LOG1P, FDL_CHAIN_TANH, FDL_CHAIN_SIGMOID, FDL_CHAIN_SOFTPLUS, FDL_CHAIN_ADD
        FDL_CHAIN_SUB, FDL_CHAIN_MUL, FDL_CHAIN_DIV, FDL_CHAIN_WHERE_LT, FDL_CHAIN_WHERE_LE, FDL_CHAIN_WHERE_EQ
        FDL_REDUCTION_NONE, FDL_REDUCTION_MEAN, FDL_REDUCTION_SUM

# the chosen ISA's tables
cdef const fdl_table *F32
cdef const fdl_table *F64


cdef class Storage:
    """The memory of a tensor and of all its views, and how often it was written to in place."""
    cdef void *data
    cdef size_t nbytes
    cdef Py_ssize_t version


cdef ndarray empty_array(int ndim, npy_intp *shape, int typenum)
cdef Storage storage_of(ndarray a)


cdef class Scratch:
    """Kernel scratch: 64-byte aligned memory that lives as long as this object."""
    cdef void *data
    cdef size_t nbytes

cdef Scratch scratch(int64_t nbytes)
