"""softmax and log_softmax over any dimension."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t

from .. import _types

from .._kernels cimport FDL_EXP, FDL_MUL, FDL_SUB, fdl_table, unwatch, watch
from .._tensor cimport (Node, Tensor, attach, contiguous, edge, empty_like, grad_enabled, is_fast, is_half, kernels,
                        register_all, wants)
from .common cimport GIL_ELEMS, normal_dim, to_type
from .elementwise cimport binary, unary

cnp.import_array()


cdef Tensor run(Tensor x, Tensor y, int dim, bint is_log):
    """The forward pass on x; with y (the output) the backward pass on x = dy."""
    cdef Tensor source = contiguous(x), saved = None if y is None else contiguous(y)
    cdef Tensor out = empty_like(source, cnp.PyArray_TYPE(x.a))
    cdef int ndim = cnp.PyArray_NDIM(x.a), i
    cdef int64_t outer = 1, v = 1, inner = 1
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    cdef void *to = cnp.PyArray_DATA(out.a)
    cdef const void *px = cnp.PyArray_DATA(source.a)
    cdef const void *py = NULL if y is None else cnp.PyArray_DATA(saved.a)
    for i in range(ndim):
        if i < dim:
            outer *= cnp.PyArray_DIMS(x.a)[i]
        elif i == dim:
            v = cnp.PyArray_DIMS(x.a)[i]
        else:
            inner *= cnp.PyArray_DIMS(x.a)[i]
    if outer * v * inner < GIL_ELEMS:
        if py is NULL:
            K.softmax_fwd(to, px, outer, v, inner, is_log)
        else:
            K.softmax_bwd(to, px, py, outer, v, inner, is_log)
    else:
        watch(32.0 * outer * v * inner)
        with nogil:
            if py is NULL:
                K.softmax_fwd(to, px, outer, v, inner, is_log)
            else:
                K.softmax_bwd(to, px, py, outer, v, inner, is_log)
        unwatch()
    return out


@cython.final
cdef class SoftmaxBackward(Node):
    """y = softmax(x):  dx = y (g - sum(g y));  y = log_softmax(x):  dx = g - exp(y) sum(g)"""
    cdef int dim
    cdef bint is_log

    def name(self):
        return "LogSoftmaxBackward0" if self.is_log else "SoftmaxBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor y = self.saved(0)
        if not grad_enabled():
            return run(g, y, self.dim, self.is_log)
        if self.is_log:
            return binary(FDL_SUB, g, binary(FDL_MUL, unary(FDL_EXP, y, 0, 0), g.sum(self.dim, keepdim=True), 1), 1)
        total = binary(FDL_MUL, g, y, 1).sum(self.dim, keepdim=True)
        return binary(FDL_MUL, y, binary(FDL_SUB, g, total, 1), 1)


cdef Tensor softmax_any(str op, Tensor x, object dim, object dtype, bint is_log):
    cdef SoftmaxBackward node
    cdef Tensor out
    cdef int at
    if dim is None:
        raise TypeError(f"[{op}] dim: expected an int, got None")
    at = normal_dim(op, dim, cnp.PyArray_NDIM(x.a))
    if dtype is not None:
        x = to_type(x, _types.as_dtype(dtype).numpy.num)
    if is_half(cnp.PyArray_TYPE(x.a)):
        return to_type(softmax_any(op, to_type(x, cnp.NPY_FLOAT32), at, None, is_log), cnp.PyArray_TYPE(x.a))
    if not is_fast(cnp.PyArray_TYPE(x.a)):
        raise RuntimeError(f"[{op}] input: expected a floating-point tensor, got {x.dtype} (give dtype= to convert)")
    out = run(x, None, at, is_log)
    if grad_enabled() and wants(x):
        node = SoftmaxBackward.__new__(SoftmaxBackward)
        node.dim, node.is_log = at, is_log
        node.save_output(0, out)
        attach(out, node, (edge(x),))
    return out


def softmax(Tensor input, dim, dtype=None):
    r"""exp(x) / sum(exp(x)) along `dim`, computed without overflow.

    Args:
        input: floating-point scores; a row that is -inf alone, or holds NaN or +inf, gives NaN.
        dim: the dimension that sums to 1.
        dtype: converts the input first.
    Shape:
        any -> the same.
    Raises:
        IndexError: no such dimension.  RuntimeError: an integer or bool input without dtype.
    Example:
        >>> softmax(tensor([0.0, 0.0]), 0)
        tensor([0.5000, 0.5000])
    """
    return softmax_any("softmax", input, dim, dtype, False)


def log_softmax(Tensor input, dim, dtype=None):
    """x - log(sum(exp(x))) along `dim`: the logarithm of softmax without its rounding. Arguments as softmax."""
    return softmax_any("log_softmax", input, dim, dtype, True)


register_all(globals(), "softmax log_softmax")
