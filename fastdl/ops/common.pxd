# What every operator needs: types, broadcasting, and the pair expand / sum_to.
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp
from .._tensor cimport Node, Tensor

cdef enum:
    MAX_DIMS = 32
    GIL_ELEMS = 8192        # kernels on more elements than this (about 1-10 us) run without the GIL

cdef bint is_number(object x)                                   # a Python or NumPy number, not a tensor
cdef int result_type(Tensor a, Tensor b) except -1              # PyTorch's promotion: a NumPy type number
cdef int promote(int a, int b) except -1                         # of type numbers
cdef int result_type_scalar(Tensor a, object number) except -1
cdef int category(int typenum) noexcept                         # 0 bool, 1 integer, 2 floating point
cdef int default_float() noexcept                               # type number of the default dtype
cdef Tensor to_type(Tensor x, int typenum)                      # recorded
cdef Tensor to_float(Tensor x)                                  # integers and bools become the default dtype; recorded
cdef Tensor as_tensor(object x, Tensor like)                    # numbers become 0-d tensors that do not decide the type
cdef str first_place(object bad)                                 # indices of the first element of an array that holds
cdef int broadcast(str op, ndarray a, ndarray b, npy_intp *shape) except -1     # fills shape, returns ndim
cdef void strides_for(ndarray a, int ndim, int64_t *strides) noexcept  # in elements, 0 where broadcast to ndim dims
cdef ndarray strided(ndarray a, int ndim, npy_intp *dims, npy_intp *strides)   # a view, read-only if elements repeat; strides in bytes
cdef bint overlaps(ndarray a, ndarray b)                        # memory that an element by element write to a would spoil in b
cdef bint same_shape(ndarray a, ndarray b) noexcept
cdef Tensor expand_to(Tensor x, tuple shape)                    # recorded view
cdef Tensor sum_to(Tensor g, tuple shape)                       # recorded; shape None: g itself
cdef tuple shape_of(Tensor x)
cdef Tensor new_empty_of(tuple shape, int typenum)               # C-contiguous
cdef Tensor new_zeros_of(tuple shape, int typenum)               # the same
cdef int normal_dim(str op, int dim, int ndim) except -1        # IndexError outside [-ndim, ndim)
cdef int proper_dim(str op, int dim, int ndim) except -1        # the same, and RuntimeError for a 0-d tensor
