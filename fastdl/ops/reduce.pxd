# Reductions for the other modules of ops; all record when recording is on.
from .._tensor cimport Tensor

cdef unsigned int dims_mask(str op, object dim, int ndim) except? 0          # bit d: dimension d; None and (): all
cdef Tensor reduced(int op, Tensor x, unsigned int mask, bint keepdim)       # FDL_SUM, MEAN, MAX, MIN, PROD, SUMSQ
