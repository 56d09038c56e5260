# Element-wise operators for the other modules of ops. All record when recording is on.
from .._tensor cimport Node, Tensor

cdef Tensor binary(int op, object a, object b, double alpha)    # FDL_ADD ... FDL_POW
cdef Node binary_node(int op, Tensor out, Tensor x, Tensor y, double alpha)     # backward of out = x op y
cdef Tensor unary(int op, Tensor x, double p, double q)         # FDL_NEG ...
cdef Tensor scaled(Tensor x, double factor)                     # x * factor
cdef Tensor where_(object condition, object a, object b)
cdef Tensor compare(int op, object a, object b)
