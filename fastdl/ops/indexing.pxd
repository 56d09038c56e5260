# Taking entries along a dimension, for operators that know which.
from libc.stdint cimport int64_t
from .._tensor cimport Tensor

# `index` as contiguous int64 numbers in [0, n); `error` for others. negative: [-n, 0) counts from the end
cpdef Tensor in_range(str op, Tensor index, int64_t n, int dim, bint negative, object error=*)
cdef Tensor take_dim(Tensor x, int at, Tensor ids, str title)   # ids: from in_range, of any shape; recorded as `title`
