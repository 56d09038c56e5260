# Matrix products for the other modules of ops; all record when recording is on.
from libc.stdint cimport int64_t

from .._kernels cimport Scratch, Storage, fdl_matmul_args, fdl_table
from .._tensor cimport Tensor

cdef Tensor matmul_(Tensor a, Tensor b)                                     # PyTorch's matmul
cdef Tensor linear_(Tensor x, Tensor weight, Tensor bias)                   # x weight^T + bias
cdef Tensor product(Tensor a, bint trans_a, Tensor b, bint trans_b, Tensor bias)   # of matrices, or stacks of them; not recorded


cdef class PackedWeight:
    cdef Scratch form           # None until the second product with the same values: it costs a pass over them
    cdef const void *b
    cdef const fdl_table *K
    cdef Py_ssize_t version
    cdef int64_t n, k, ldb      # ldb 0: as the recurrent kernels pack it

cdef PackedWeight kept_weight(const fdl_table *K, Storage storage, const void *b, int64_t n, int64_t k, int64_t ldb)
cdef Scratch packed_weight(const fdl_table *K, Storage storage, fdl_matmul_args *args)
