# Element-wise expressions in one pass, for the modules that define them.
from .._tensor cimport Tensor

cdef class Program:                 # room for FDL_CHAIN_CONSTANTS
    cdef unsigned char step[6 * 80]
    cdef double number[64]
    cdef int parameter[64]           # -1: the number itself
    cdef int steps, numbers, outputs, sums

cdef class Chain:
    cdef str title
    cdef object function, derivative, check
    cdef int arity, parameters
    cdef list programs

    cdef tuple symbols(self)
    cdef list gradients(self, object g)
    cdef Program program(self, int kind, int wanted)

# chain(a, b, c, d; p, q) reduced by FDL_REDUCTION_*; recorded
cdef Tensor run(Chain chain, int reduction, Tensor a, Tensor b, Tensor c, Tensor d, double p, double q)
