"""Layer norm and RMS norm over the last dimensions, and layer norm of a sum; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp

from .._kernels cimport (ELEM_FMAS, FDL_ADD, FDL_MUL, FDL_RSQRT, FDL_SQUARE, FDL_SUB, Scratch, fdl_table, scratch, unwatch,
                        watch)
from .._tensor cimport (Node, Tensor, attach, contiguous, edge, empty, empty_like, grad_enabled, is_fast, is_half, kernels,
                        wants)
from .common cimport GIL_ELEMS, same_shape, shape_of, sum_to, to_type
from .elementwise cimport binary, binary_node, unary

cnp.import_array()


cdef int64_t normalised_size(str op, Tensor x, tuple shape) except -1:
    """The size of a row, checked: the last dimensions of x are `shape`."""
    cdef int i, ndim = cnp.PyArray_NDIM(x.a), n = <int> len(shape)
    cdef int64_t size = 1
    cdef bint fits = n <= ndim
    if n == 0:
        raise RuntimeError(f"[{op}] expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
                           f"one element, got {shape}")
    for i in range(n if fits else 0):
        fits = fits and cnp.PyArray_DIMS(x.a)[ndim - n + i] == shape[i]
        size *= cnp.PyArray_DIMS(x.a)[ndim - n + i]
    if not fits:
        raise RuntimeError(f"[{op}] given normalized_shape={list(shape)}, expected input with shape "
                           f"[*, {', '.join([str(k) for k in shape])}], but got input of size {list(shape_of(x))}")
    return size


cdef int check_parameter(str op, str name, Tensor p, Tensor x, tuple shape) except -1:
    if p is None:
        return 0
    if shape_of(p) != shape:
        raise RuntimeError(f"[{op}] expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                           f"{list(shape_of(p))} and normalized_shape = {list(shape)}")
    if cnp.PyArray_TYPE(p.a) != cnp.PyArray_TYPE(x.a):
        raise RuntimeError(f"[{op}] mixed dtype: all inputs must share one, got input of {x.dtype} and {name} of {p.dtype}")
    return 0


cdef tuple shape_tuple(str op, object shape):
    if type(shape) is tuple:
        return <tuple> shape
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"[{op}] normalized_shape: expected a tuple of ints, got {type(shape).__name__}")
    return tuple(shape)


cdef void *data(Tensor t) noexcept:
    return NULL if t is None else cnp.PyArray_DATA(t.a)


cdef Tensor statistics(Tensor x, int64_t rows, int count):
    """(count, rows): means and inverse deviations, saved for backward."""
    cdef npy_intp dims[2]
    dims[0], dims[1] = count, rows
    return empty(2, dims, cnp.PyArray_TYPE(x.a))


@cython.final
cdef class LayerNormBackward(Node):
    """z = (x - mean) rstd, out = z w + b:  g = dout w, dx = rstd (g - mean(g) - z mean(g z)), dw = sum of dout z,
    db = sum of dout; RMS norm the same with 0 for the means of x and g. Saved: 0 x, 1 w, 2 (mean,) rstd"""
    cdef int64_t size
    cdef double eps
    cdef bint is_rms, need_weight, need_bias
    cdef tuple shape

    def name(self):
        return "FusedRmsNormBackward0" if self.is_rms else "NativeLayerNormBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), weight = self.saved(1), stats = self.saved(2), dx, dw = None, db = None
        if grad_enabled():
            return self.formula(g, x, weight)
        x, g = contiguous(x), contiguous(g)
        weight = None if weight is None else contiguous(weight)
        cdef int typenum = cnp.PyArray_TYPE(x.a)
        cdef const fdl_table *K = kernels(typenum)
        cdef int64_t d = self.size, n = cnp.PyArray_SIZE(x.a) // d if d else 0
        cdef void *mean = cnp.PyArray_DATA(stats.a)
        cdef void *rstd = cnp.PyArray_GETPTR2(stats.a, 0 if self.is_rms else 1, 0)
        cdef Scratch s = None
        dx = empty_like(x, typenum)
        if self.need_weight:
            dw = empty_like(weight, typenum)
        if self.need_bias:
            db = empty(<int> len(self.shape), &cnp.PyArray_DIMS(x.a)[cnp.PyArray_NDIM(x.a) - len(self.shape)], typenum)
        if self.need_weight or self.need_bias:
            s = scratch(K.norm_bwd_scratch(n, d))
        cdef void *work = NULL if s is None else s.data
        cdef void *px = cnp.PyArray_DATA(dx.a)
        cdef void *pw = data(dw)
        cdef void *pb = data(db)
        cdef void *pg = data(g)
        cdef void *source = data(x)
        cdef void *w = data(weight)
        if n * d < GIL_ELEMS:
            if self.is_rms:
                K.rms_norm_bwd(px, pw, pg, source, rstd, w, n, d, work)
            else:
                K.layer_norm_bwd(px, pw, pb, pg, source, mean, rstd, w, n, d, work)
        else:
            watch(ELEM_FMAS * n * d)
            with nogil:
                if self.is_rms:
                    K.rms_norm_bwd(px, pw, pg, source, rstd, w, n, d, work)
                else:
                    K.layer_norm_bwd(px, pw, pb, pg, source, mean, rstd, w, n, d, work)
            unwatch()
        return dx, dw, db

    cdef object formula(self, Tensor g, Tensor x, Tensor weight):
        """The same of recorded operators."""
        cdef tuple dims = tuple(range(-len(self.shape), 0))
        cdef Tensor z = x if self.is_rms else binary(FDL_SUB, x, x.mean(dims, keepdim=True), 1)
        cdef Tensor rstd = binary(FDL_ADD, unary(FDL_SQUARE, z, 0, 0).mean(dims, keepdim=True), self.eps, 1)
        rstd = unary(FDL_RSQRT, rstd, 0, 0)
        z = binary(FDL_MUL, z, rstd, 1)
        cdef Tensor gw = g if weight is None else binary(FDL_MUL, g, weight, 1)
        cdef Tensor dx = binary(FDL_SUB, gw, binary(FDL_MUL, z, binary(FDL_MUL, gw, z, 1).mean(dims, keepdim=True), 1), 1)
        if not self.is_rms:
            dx = binary(FDL_SUB, dx, gw.mean(dims, keepdim=True), 1)
        return (binary(FDL_MUL, dx, rstd, 1),
                sum_to(binary(FDL_MUL, g, z, 1), self.shape) if self.need_weight else None,
                sum_to(g, self.shape) if self.need_bias else None)


cdef Tensor record(Tensor out, Tensor x, Tensor weight, Tensor bias, Tensor stats, int64_t size, tuple shape, double eps,
                   bint is_rms):
    cdef LayerNormBackward node = LayerNormBackward.__new__(LayerNormBackward)
    node.size, node.shape, node.eps, node.is_rms = size, shape, eps, is_rms
    node.need_weight = weight is not None and wants(weight)
    node.need_bias = bias is not None and wants(bias)
    node.save(0, x)
    if weight is not None:
        node.save(1, weight)
    node.save(2, stats)
    return attach(out, node, (edge(x), None if weight is None else edge(weight), None if bias is None else edge(bias)))


cdef bint recorded(Tensor x, Tensor weight, Tensor bias):
    return grad_enabled() and (wants(x) or weight is not None and wants(weight) or bias is not None and wants(bias))


cdef Tensor run_layer_norm(Tensor x, Tensor residual, Tensor total, Tensor weight, Tensor bias, Tensor stats, int64_t d,
                           double eps):
    """layer norm of x (+ residual, the sum stored in `total`); stats (2, rows) or None."""
    cdef Tensor source = contiguous(x), other = None if residual is None else contiguous(residual)
    cdef Tensor w = None if weight is None else contiguous(weight), b = None if bias is None else contiguous(bias)
    cdef Tensor out = empty_like(source, cnp.PyArray_TYPE(x.a))
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    cdef int64_t n = cnp.PyArray_SIZE(x.a) // d if d else 0
    cdef void *mean = data(stats)
    cdef void *rstd = NULL if stats is None else cnp.PyArray_GETPTR2(stats.a, 1, 0)
    cdef void *po = data(out)
    cdef void *pt = data(total)
    cdef void *px = data(source)
    cdef void *pr = data(other)
    cdef void *pw = data(w)
    cdef void *pb = data(b)
    if n * d < GIL_ELEMS:
        K.layer_norm_fwd(po, pt, mean, rstd, px, pr, pw, pb, eps, n, d)
    else:
        watch(ELEM_FMAS * n * d)
        with nogil:
            K.layer_norm_fwd(po, pt, mean, rstd, px, pr, pw, pb, eps, n, d)
        unwatch()
    return out


cdef int check_type(str op, Tensor x) except -1:
    if not is_fast(cnp.PyArray_TYPE(x.a)):
        raise NotImplementedError(f"[{op}] input: expected a floating-point tensor, got {x.dtype}")
    return 0


def layer_norm(Tensor input, normalized_shape, Tensor weight=None, Tensor bias=None, double eps=1e-5):
    r"""(x - mean) / sqrt(var + eps) * weight + bias, mean and (biased) variance over the last dimensions.

    Args:
        normalized_shape: sizes of the dimensions that are normalised together, the last ones of `input`.
        weight, bias: of that shape; None: ones and zeros.
    Shape:
        (*, *normalized_shape) -> the same.
    Raises:
        RuntimeError: shapes or dtypes do not fit.  NotImplementedError: not a floating-point tensor.
    Source: torch.nn.functional.layer_norm.
    """
    cdef tuple shape = shape_tuple("layer_norm", normalized_shape)
    cdef int64_t d = normalised_size("layer_norm", input, shape)
    cdef Tensor out, stats = None
    check_parameter("layer_norm", "weight", weight, input, shape)
    check_parameter("layer_norm", "bias", bias, input, shape)
    if is_half(cnp.PyArray_TYPE(input.a)):
        return to_type(layer_norm(to_type(input, cnp.NPY_FLOAT32), shape,
                                  None if weight is None else to_type(weight, cnp.NPY_FLOAT32),
                                  None if bias is None else to_type(bias, cnp.NPY_FLOAT32), eps), cnp.PyArray_TYPE(input.a))
    check_type("layer_norm", input)
    if not recorded(input, weight, bias):
        return run_layer_norm(input, None, None, weight, bias, None, d, eps)
    stats = statistics(input, cnp.PyArray_SIZE(input.a) // d if d else 0, 2)
    out = run_layer_norm(input, None, None, weight, bias, stats, d, eps)
    return record(out, input, weight, bias, stats, d, shape, eps, False)


def add_layer_norm(Tensor input, Tensor residual, normalized_shape, Tensor weight=None, Tensor bias=None,
                   double eps=1e-5, bint return_sum=False):
    """layer_norm(input + residual) in one pass over both; with `return_sum` (layer norm, input + residual).

    Args:
        residual: as `input`.
        others: as layer_norm.
    Shape:
        (*, *normalized_shape), the same -> the same (twice with `return_sum`).
    Raises:
        RuntimeError: as layer_norm.
    Source: our own; the residual connection of a Transformer block.
    """
    cdef tuple shape = shape_tuple("add_layer_norm", normalized_shape)
    cdef int64_t d
    cdef Tensor out, total = None, stats = None
    cdef bint record_norm, record_sum
    if (not is_fast(cnp.PyArray_TYPE(input.a)) or cnp.PyArray_TYPE(residual.a) != cnp.PyArray_TYPE(input.a)
            or not same_shape(input.a, residual.a)):  # broadcast or promoted first
        total = binary(FDL_ADD, input, residual, 1)
        out = layer_norm(total, shape, weight, bias, eps)
        return (out, total) if return_sum else out
    d = normalised_size("add_layer_norm", input, shape)
    check_parameter("add_layer_norm", "weight", weight, input, shape)
    check_parameter("add_layer_norm", "bias", bias, input, shape)
    record_sum = grad_enabled() and (wants(input) or wants(residual))
    record_norm = record_sum or recorded(input, weight, bias)
    if record_norm or return_sum:
        total = empty(cnp.PyArray_NDIM(input.a), cnp.PyArray_DIMS(input.a), cnp.PyArray_TYPE(input.a))
    if record_norm:
        stats = statistics(input, cnp.PyArray_SIZE(input.a) // d if d else 0, 2)
    out = run_layer_norm(input, residual, total, weight, bias, stats, d, eps)
    if record_sum:
        attach(total, binary_node(FDL_ADD, total, input, residual, 1), (edge(input), edge(residual)))
    if record_norm:
        record(out, total, weight, bias, stats, d, shape, eps, False)
    return (out, total) if return_sum else out


def rms_norm(Tensor input, normalized_shape, Tensor weight=None, eps=None):
    r"""x / sqrt(mean(x^2) + eps) * weight, the mean over the last dimensions.

    Args:
        normalized_shape, weight: as layer_norm.
        eps: None: the dtype's epsilon.
    Shape:
        (*, *normalized_shape) -> the same.
    Raises:
        RuntimeError: shapes do not fit.  ValueError: input has fewer dimensions than normalized_shape.
        NotImplementedError: not a floating-point tensor.
    Source: torch.nn.functional.rms_norm.
    """
    cdef tuple shape = shape_tuple("rms_norm", normalized_shape)
    weight = None if weight is None else to_type(weight, cnp.PyArray_TYPE(input.a))
    check_parameter("rms_norm", "weight", weight, input, shape)
    if cnp.PyArray_NDIM(input.a) < len(shape):
        raise ValueError(f"[rms_norm] input: expected a shape that ends in {shape}, got {shape_of(input)}")
    cdef int64_t d = normalised_size("rms_norm", input, shape), n
    cdef Tensor out, source, w = None, stats = None
    cdef const fdl_table *K
    cdef double epsilon
    if is_half(cnp.PyArray_TYPE(input.a)):
        return to_type(rms_norm(to_type(input, cnp.NPY_FLOAT32), shape,
                                None if weight is None else to_type(weight, cnp.NPY_FLOAT32),
                                2.0 ** -10 if eps is None else eps), cnp.PyArray_TYPE(input.a))
    check_type("rms_norm", input)
    epsilon = eps if eps is not None else 2.0 ** -23 if cnp.PyArray_TYPE(input.a) == cnp.NPY_FLOAT32 else 2.0 ** -52
    n = cnp.PyArray_SIZE(input.a) // d if d else 0
    source = contiguous(input)
    if weight is not None:
        w = contiguous(weight)
    if recorded(input, weight, None):
        stats = statistics(input, n, 1)
    out = empty_like(source, cnp.PyArray_TYPE(input.a))
    K = kernels(cnp.PyArray_TYPE(input.a))
    cdef void *po = data(out)
    cdef void *ps = data(stats)
    cdef void *px = data(source)
    cdef void *pw = data(w)
    if n * d < GIL_ELEMS:
        K.rms_norm_fwd(po, ps, px, pw, epsilon, n, d)
    else:
        watch(ELEM_FMAS * n * d)
        with nogil:
            K.rms_norm_fwd(po, ps, px, pw, epsilon, n, d)
        unwatch()
    if stats is None:
        return out
    return record(out, input, weight, None, stats, d, shape, epsilon, True)
