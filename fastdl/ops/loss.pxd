# What the losses over classes share.
from libc.stdint cimport int64_t
from .._tensor cimport Tensor

cdef int reduction_code(str op, object reduction, object size_average, object reduce) except -1
cdef Tensor class_indices(str op, Tensor target)
cdef Tensor class_weights(str op, Tensor weight, int typenum, Py_ssize_t classes)
cdef int bad_class(str op, Tensor target, int64_t at, Py_ssize_t classes) except -1
cdef Tensor scale_rows(Tensor d, Tensor g, bint planes)
