# Matrix products for the other modules of ops; all record when recording is on.
from .._tensor cimport Tensor

cdef Tensor matmul_(Tensor a, Tensor b)                                     # PyTorch's matmul
cdef Tensor linear_(Tensor x, Tensor weight, Tensor bias)                   # x weight^T + bias
cdef Tensor product(Tensor a, bint trans_a, Tensor b, bint trans_b, Tensor bias)   # of matrices, or stacks of them; not recorded
