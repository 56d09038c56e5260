"""Reductions: sum, mean, max, min, prod, argmax, argmin, var, std, norm, logsumexp, cumsum, cumprod; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp

from collections import namedtuple

import numpy as np

from .. import _types
from .indexing import gather, scatter_add_

from .._kernels cimport *
from .._tensor cimport (Node, Tensor, alias, attach, contiguous, edge, empty, grad_enabled, is_fast, is_half, kernels,
                        own_array, register_all, set_grad, view_of, wants, wrap)
from .common cimport GIL_ELEMS, MAX_DIMS, normal_dim, shape_of, strided, to_float, to_type
from .elementwise cimport binary, compare, scaled, unary, where_

cnp.import_array()

max_result = namedtuple("max", ["values", "indices"])
min_result = namedtuple("min", ["values", "indices"])

cdef enum:
    LOGSUMEXP = 64      # an op of reduce_data beside those of the kernel

cdef unsigned int ALL_DIMS = 0xffffffff
cdef tuple OP_NAME = ("sum", "mean", "amax", "amin", "prod", "sumsq")
cdef tuple NODE_NAME = ("SumBackward", "MeanBackward", "AmaxBackward", "AminBackward", "ProdBackward", "SumSquaresBackward")
cdef tuple BY_NUMPY = (np.sum, np.mean, np.max, np.min, np.prod, None)


# Dimensions -------------------------------------------------------------------------------------------------------

cdef unsigned int dims_mask(str op, object dim, int ndim) except? 0:
    cdef unsigned int mask = 0, bit
    if dim is None:
        return ALL_DIMS
    if isinstance(dim, int):
        return <unsigned int> 1 << normal_dim(op, dim, ndim)
    if not isinstance(dim, (tuple, list)):
        if not hasattr(dim, "__index__"):
            raise TypeError(f"[{op}] dim: expected None, an int or a tuple of ints, got {type(dim).__name__}")
        return <unsigned int> 1 << normal_dim(op, dim.__index__(), ndim)
    for d in dim:
        bit = <unsigned int> 1 << normal_dim(op, d, ndim)
        if mask & bit:
            raise RuntimeError(f"[{op}] dim {d} appears multiple times in the list of dims {tuple(dim)}")
        mask |= bit
    return mask if mask else ALL_DIMS


cdef tuple axes_of(unsigned int mask, int ndim):
    cdef int i
    return tuple([i for i in range(ndim) if mask >> i & 1])


cdef int64_t count_of(Tensor x, unsigned int mask) noexcept:
    """How many elements make one of the result."""
    cdef int i
    cdef int64_t n = 1
    for i in range(cnp.PyArray_NDIM(x.a)):
        if mask >> i & 1:
            n *= cnp.PyArray_DIMS(x.a)[i]
    return n


cdef int kept_dims(Tensor x, unsigned int mask, bint keepdim, npy_intp *dims) noexcept:
    """The shape of the result; returns its number of dimensions."""
    cdef int i, n = 0
    for i in range(cnp.PyArray_NDIM(x.a)):
        if not mask >> i & 1:
            dims[n] = cnp.PyArray_DIMS(x.a)[i]
            n += 1
        elif keepdim:
            dims[n] = 1
            n += 1
    return n


cdef object pick(str name, object value, object default, object other):
    """An argument with two spellings: PyTorch's and NumPy's."""
    if other is None:
        return value
    if value is not default:
        raise TypeError(f"[{name}] the same argument was given twice, as {value!r} and {other!r}")
    return other


# The kernels ------------------------------------------------------------------------------------------------------

cdef int run(int op, Tensor y, Tensor x, Tensor centre, int64_t outer, int64_t n, int64_t inner) except -1:
    """One call of the kernel; with `centre` (outer * inner elements) sums of (x - centre)^2."""
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    cdef int64_t nbytes = 0 if op == LOGSUMEXP else K.reduce_scratch(op, outer, n, inner)
    cdef Scratch s
    cdef void *work = NULL
    cdef void *py = cnp.PyArray_DATA(y.a)
    cdef void *px = cnp.PyArray_DATA(x.a)
    cdef void *pc = NULL if centre is None else cnp.PyArray_DATA(centre.a)
    if nbytes:
        s = scratch(nbytes)
        work = s.data
    if outer * n * inner < GIL_ELEMS and op != LOGSUMEXP and pc is NULL:
        K.reduce(op, py, px, outer, n, inner, work)
        return 0
    watch(ELEM_FMAS * outer * n * inner)
    with nogil:
        if op == LOGSUMEXP:
            K.logsumexp_fwd(py, px, outer, n, inner)
        elif pc is NULL:
            K.reduce(op, py, px, outer, n, inner, work)
        else:
            K.reduce_squares(py, px, pc, outer, n, inner, work)
    unwatch()
    return 0


cdef bint is_transposed(ndarray a) noexcept:
    """A matrix that lies in memory column by column."""
    return cnp.PyArray_NDIM(a) == 2 and not cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_F_CONTIGUOUS(a)


cdef Tensor spread_over(Tensor centre, npy_intp *sizes, int ndim, int begin, int end):
    """centre, of x's shape with 1 for all reduced dimensions, repeated over those outside [begin, end); contiguous."""
    cdef tuple shape = tuple([1 if begin <= i < end else sizes[i] for i in range(ndim)])
    return contiguous(wrap(np.broadcast_to(centre.a, shape)))


cdef Tensor reduce_data(int op, Tensor x, unsigned int mask, bint keepdim, Tensor centre=None):
    """Runs of adjacent dimensions are reduced one after another, the last first. x: float or double. With `centre`,
    the means with keepdim, sums of (x - centre)^2; op is FDL_SUMSQ then."""
    cdef int typenum = cnp.PyArray_TYPE(x.a), ndim = cnp.PyArray_NDIM(x.a), i, end, ndim_y
    cdef npy_intp dims[MAX_DIMS]
    cdef npy_intp sizes[MAX_DIMS]
    cdef npy_intp flat[1]
    cdef int64_t outer = 1, n = 1, inner = 1, total
    cdef unsigned int left
    cdef Tensor y
    ndim_y = kept_dims(x, mask, keepdim, dims)
    left = mask if ndim >= 32 else mask & ((<unsigned int> 1 << ndim) - 1)
    if ndim == 0 or left == (ALL_DIMS if ndim >= 32 else (<unsigned int> 1 << ndim) - 1):
        if not cnp.PyArray_IS_F_CONTIGUOUS(x.a):
            x = contiguous(x)
        y = empty(ndim_y, dims, typenum)
        run(op, y, x, centre, 1, cnp.PyArray_SIZE(x.a), 1)
        return y
    if is_transposed(x.a):
        y = empty(ndim_y, dims, typenum)
        if mask & 1:
            run(op, y, x, centre, cnp.PyArray_DIMS(x.a)[1], cnp.PyArray_DIMS(x.a)[0], 1)
        else:
            run(op, y, x, centre, 1, cnp.PyArray_DIMS(x.a)[1], cnp.PyArray_DIMS(x.a)[0])
        return y
    x = contiguous(x)
    for i in range(ndim):
        sizes[i] = cnp.PyArray_DIMS(x.a)[i]
    total = n = count_of(x, mask)
    for end in range(ndim, 0, -1):
        if not left >> (end - 1) & 1:
            continue
        outer = inner = n = 1
        i = end
        while i > 0 and left >> (i - 1) & 1:
            i -= 1
            n *= sizes[i]
            left &= ~(<unsigned int> 1 << i)
        for j in range(i):
            outer *= sizes[j]
        for j in range(end, ndim):
            inner *= sizes[j]
        if centre is not None and left:
            centre = spread_over(centre, sizes, ndim, i, end)
        for j in range(i, end):
            sizes[j] = 1
        if left:
            flat[0] = outer * inner
            y = empty(1, flat, typenum)
            run(FDL_SUM if op == FDL_MEAN else op, y, x, centre, outer, n, inner)
            x, op, centre = y, FDL_SUM if op == FDL_SUMSQ else op, None
        else:
            y = empty(ndim_y, dims, typenum)
            if op == FDL_MEAN and n != total:
                run(FDL_SUM, y, x, None, outer, n, inner)
                kernels(typenum).binary_scalar(FDL_DIV, cnp.PyArray_DATA(y.a), cnp.PyArray_DATA(y.a), <double> total, cnp.PyArray_SIZE(y.a))
            else:
                run(op, y, x, centre, outer, n, inner)
            return y
    return x


cdef Tensor by_numpy(int op, Tensor x, unsigned int mask, bint keepdim):
    """Types without kernels: whole numbers and bool; sums and products of them are int64."""
    function = BY_NUMPY[op]
    axes = axes_of(mask, cnp.PyArray_NDIM(x.a))
    if op == FDL_SUM or op == FDL_PROD:
        return wrap(own_array(function(x.a, axis=axes, dtype=np.int64, keepdims=keepdim)))
    return wrap(own_array(function(x.a, axis=axes, keepdims=keepdim)))


cdef Tensor reduced(int op, Tensor x, unsigned int mask, bint keepdim):
    cdef Tensor y
    cdef int typenum = cnp.PyArray_TYPE(x.a)
    cdef ReduceBackward node
    if not is_fast(typenum):
        if is_half(typenum):
            return to_type(reduced(op, to_type(x, cnp.NPY_FLOAT32), mask, keepdim), typenum)
        return by_numpy(op, x, mask, keepdim)
    y = reduce_data(op, x, mask, keepdim)
    if grad_enabled() and wants(x):
        node = ReduceBackward.__new__(ReduceBackward)
        node.op, node.mask, node.keepdim, node.shape = op, mask, keepdim, (<object> x.a).shape
        if op == FDL_SUM:
            pass
        elif op == FDL_MEAN:
            node.count = count_of(x, mask)
        else:
            node.save(0, x)
            if op != FDL_SUMSQ:
                node.save_output(1, y)
        attach(y, node, (edge(x),))
    return y


# The adjoint of a sum: every element of the result spread over those that it came from -------------------------------

@cython.final
cdef class SpreadBackward(Node):
    """out = g repeated along the dimensions in mask:  dg = sum of its gradient over them"""
    cdef unsigned int mask
    cdef bint keepdim

    def name(self):
        return "ExpandBackward0"

    cdef object apply(self, Tensor g):
        return reduced(FDL_SUM, g, self.mask, self.keepdim)


cdef Tensor spread(Tensor g, tuple shape, unsigned int mask, bint keepdim):
    """A view of g with `shape`, the shape before a reduction over `mask`; stride 0 along those dimensions."""
    cdef npy_intp dims[MAX_DIMS]
    cdef npy_intp strides[MAX_DIMS]
    cdef int i, at = 0, ndim = <int> len(shape)
    cdef SpreadBackward node
    cdef Tensor y
    for i in range(ndim):
        dims[i] = shape[i]
        strides[i] = 0
        if not mask >> i & 1:
            strides[i] = cnp.PyArray_STRIDES(g.a)[at]
            at += 1
        elif keepdim:
            at += 1
    y = view_of(g, strided(g.a, ndim, dims, strides))
    if grad_enabled() and wants(g):
        node = SpreadBackward.__new__(SpreadBackward)
        node.mask, node.keepdim = mask, keepdim
        attach(y, node, (edge(g),))
    return y


@cython.final
cdef class ReduceBackward(Node):
    """sum: dx = g.  mean: g / n.  amax, amin: g, shared by equal ones.  prod: g times the product of the others.
    sumsq: 2 g x"""
    cdef int op
    cdef unsigned int mask
    cdef bint keepdim
    cdef tuple shape
    cdef int64_t count

    def name(self):
        if self.op in (FDL_MAX, FDL_MIN):
            return NODE_NAME[self.op] + "0" if self.mask != ALL_DIMS else "MaxBackward1" if self.op == FDL_MAX else "MinBackward1"
        return NODE_NAME[self.op] + ("0" if self.mask == ALL_DIMS else "1")

    cdef Tensor spread(self, Tensor g):
        return spread(g, self.shape, self.mask, self.keepdim)

    cdef object apply(self, Tensor g):
        cdef Tensor x, y, equal
        if self.op == FDL_SUM:
            return self.spread(g)
        if self.op == FDL_MEAN:
            return self.spread(binary(FDL_DIV, g, <double> self.count, 1))
        x = self.saved(0)
        if self.op == FDL_SUMSQ:
            return binary(FDL_MUL, self.spread(scaled(g, 2)), x, 1)
        if self.op == FDL_PROD:
            return self.prod_gradient(g, x, self.saved(1))
        y = alias(self.saved(1))
        equal = compare(FDL_EQ, x, self.spread(y))
        ties = to_type(by_numpy(FDL_SUM, equal, self.mask, self.keepdim), cnp.PyArray_TYPE(g.a))
        return where_(equal, self.spread(binary(FDL_DIV, g, ties, 1)), 0.0)

    cdef Tensor prod_gradient(self, Tensor g, Tensor x, Tensor y):
        if (<object> x.a).all():
            return binary(FDL_MUL, self.spread(binary(FDL_MUL, g, y, 1)), unary(FDL_RECIPROCAL, x, 0, 0), 1)
        if grad_enabled():
            raise NotImplementedError("[prod] create_graph=True through a product with zeros is not implemented")
        axes = axes_of(self.mask, len(self.shape))
        rest = [i for i in range(len(self.shape)) if i not in axes]
        moved = np.transpose(x.a, (*rest, *axes)) if self.shape else x.a
        rows = moved.reshape(*[self.shape[i] for i in rest], -1)
        others = np.ones_like(rows)
        others[..., 1:] = np.cumprod(rows, -1)[..., :-1]
        others[..., :-1] *= np.cumprod(rows[..., ::-1], -1)[..., ::-1][..., 1:]
        back = np.transpose(others.reshape(moved.shape), np.argsort((*rest, *axes))) if self.shape else others.reshape(())
        return binary(FDL_MUL, self.spread(g), wrap(own_array(back)), 1)


# sum, mean, prod, amax, amin --------------------------------------------------------------------------------------

cdef Tensor typed(Tensor x, object dtype):
    return x if dtype is None else to_type(x, _types.as_dtype(dtype).numpy.num)


def sum(Tensor input, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=None):
    """Sum over all elements or over the dimensions `dim`.

    Args:
        dim: None (all), an int or a tuple of ints.
        keepdim: keep the dimensions with size 1.
        dtype: type to sum in; whole numbers and bools are summed as int64 otherwise.
    """
    if axis is None and keepdims is None and dtype is None:
        return reduced(FDL_SUM, input, dims_mask("sum", dim, cnp.PyArray_NDIM(input.a)), keepdim)
    dim, keepdim = pick("sum", dim, None, axis), pick("sum", keepdim, False, keepdims)
    out = reduced(FDL_SUM, typed(input, dtype), dims_mask("sum", dim, cnp.PyArray_NDIM(input.a)), keepdim)
    return typed(out, dtype)


def mean(Tensor input, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=None):
    """Mean over all elements or over the dimensions `dim`; NaN for none.

    Raises:
        RuntimeError: whole numbers or bools without `dtype`.
    """
    dim, keepdim = pick("mean", dim, None, axis), pick("mean", keepdim, False, keepdims)
    input = typed(input, dtype)
    if input.a.dtype.kind != "f":
        raise RuntimeError(f"[mean] could not infer output dtype. Input dtype must be floating point, got "
                           f"{input.dtype}; give dtype=")
    return reduced(FDL_MEAN, input, dims_mask("mean", dim, cnp.PyArray_NDIM(input.a)), keepdim)


def prod(Tensor input, dim=None, keepdim=False, *, dtype=None, axis=None, keepdims=None):
    """Product of all elements or along the dimension `dim`; whole numbers and bools give int64."""
    dim, keepdim = pick("prod", dim, None, axis), pick("prod", keepdim, False, keepdims)
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"[prod] dim: expected a whole number, got {dim}")
    out = reduced(FDL_PROD, typed(input, dtype), dims_mask("prod", dim, cnp.PyArray_NDIM(input.a)), keepdim)
    return typed(out, dtype)


cdef int require_elements(str op, Tensor x, unsigned int mask) except -1:
    if count_of(x, mask) == 0:
        if mask == ALL_DIMS:
            raise RuntimeError(f"[{op}] expected reduction dim to be specified for input.numel() == 0, got a tensor "
                               f"of shape {shape_of(x)}")
        raise IndexError(f"[{op}] expected the reduction dims to have non-zero size, got a tensor of shape "
                         f"{shape_of(x)}")
    return 0


cdef Tensor extreme(int op, Tensor x, object dim, bint keepdim):
    cdef str name = OP_NAME[op]
    cdef unsigned int mask = dims_mask(name, dim, cnp.PyArray_NDIM(x.a))
    require_elements(name, x, mask)
    return reduced(op, x, mask, keepdim)


def amax(Tensor input, dim=(), keepdim=False, *, axis=None, keepdims=None):
    """Largest element, of all or along the dimensions `dim`; NaN if there is one. Equal ones share the gradient."""
    return extreme(FDL_MAX, input, pick("amax", dim, (), axis), pick("amax", keepdim, False, keepdims))


def amin(Tensor input, dim=(), keepdim=False, *, axis=None, keepdims=None):
    """Smallest element, of all or along the dimensions `dim`; NaN if there is one. Equal ones share the gradient."""
    return extreme(FDL_MIN, input, pick("amin", dim, (), axis), pick("amin", keepdim, False, keepdims))


# max, min with indices --------------------------------------------------------------------------------------------

cdef tuple arg_reduced(str name, int op, Tensor x, int dim, bint keepdim):
    """(values, indices) along one dimension; not recorded."""
    cdef int typenum = cnp.PyArray_TYPE(x.a), ndim = cnp.PyArray_NDIM(x.a), i, d = normal_dim(name, dim, ndim), ndim_y
    cdef unsigned int mask = <unsigned int> 1 << d
    cdef npy_intp dims[MAX_DIMS]
    cdef int64_t outer = 1, n = 1, inner = 1
    cdef Tensor values, indices
    cdef const fdl_table *K
    require_elements(name, x, mask)
    ndim_y = kept_dims(x, mask, keepdim, dims)
    indices = empty(ndim_y, dims, cnp.NPY_INT64)
    if not is_fast(typenum):
        where = (np.argmax if op == FDL_MAX else np.argmin)(x.a, axis=d if ndim else None, keepdims=True)
        np.copyto(indices.a, where.reshape((<object> indices.a).shape))
        picked = np.take_along_axis(x.a, where, d) if ndim else x.a
        return wrap(own_array(picked.reshape((<object> indices.a).shape))), indices
    values = empty(ndim_y, dims, typenum)
    K = kernels(typenum)
    if is_transposed(x.a):
        if d == 0:
            outer, n = cnp.PyArray_DIMS(x.a)[1], cnp.PyArray_DIMS(x.a)[0]
        else:
            n, inner = cnp.PyArray_DIMS(x.a)[1], cnp.PyArray_DIMS(x.a)[0]
    else:
        x = contiguous(x)
        for i in range(ndim):
            if i < d:
                outer *= cnp.PyArray_DIMS(x.a)[i]
            elif i > d:
                inner *= cnp.PyArray_DIMS(x.a)[i]
            else:
                n = cnp.PyArray_DIMS(x.a)[i]
    if outer * n * inner < GIL_ELEMS:
        K.argreduce(op, cnp.PyArray_DATA(values.a), <int64_t *> cnp.PyArray_DATA(indices.a), cnp.PyArray_DATA(x.a),
                    outer, n, inner)
    else:
        watch(ELEM_FMAS * outer * n * inner)
        with nogil:
            K.argreduce(op, cnp.PyArray_DATA(values.a), <int64_t *> cnp.PyArray_DATA(indices.a), cnp.PyArray_DATA(x.a),
                        outer, n, inner)
        unwatch()
    return values, indices


@cython.final
cdef class SelectedBackward(Node):
    """values = x[.., indices, ..] along dim:  dx = zeros with g there"""
    cdef str title
    cdef int dim
    cdef bint keepdim
    cdef tuple shape
    cdef Tensor indices

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        cdef Tensor at = self.indices, zeros
        if not self.keepdim and self.shape:
            g, at = g.unsqueeze(self.dim), at.unsqueeze(self.dim)
        zeros = wrap(own_array(np.zeros(self.shape, (<object> g.a).dtype)))
        if not self.shape:
            return g
        return scatter_add_(zeros, self.dim, at, g)


cdef Tensor record_selected(str title, Tensor values, Tensor x, Tensor indices, int dim, bint keepdim):
    cdef SelectedBackward node
    if grad_enabled() and wants(x):
        node = SelectedBackward.__new__(SelectedBackward)
        node.title, node.dim, node.keepdim = title, normal_dim(title, dim, cnp.PyArray_NDIM(x.a)), keepdim
        node.shape, node.indices = shape_of(x), indices
        attach(values, node, (edge(x),))
    return values


cdef object max_or_min(int op, Tensor x, object dim, object keepdim, object other):
    cdef str name = "max" if op == FDL_MAX else "min"
    cdef tuple both
    if other is not None or isinstance(dim, Tensor):
        return binary(FDL_MAXIMUM if op == FDL_MAX else FDL_MINIMUM, x, dim if other is None else other, 1)
    if dim is None:
        require_elements(name, x, ALL_DIMS)
        return reduced(op, x, ALL_DIMS, False)
    both = arg_reduced(name, op, x, dim, keepdim)
    record_selected("MaxBackward0" if op == FDL_MAX else "MinBackward0", both[0], x, both[1], dim, keepdim)
    return (max_result if op == FDL_MAX else min_result)(*both)


def max(Tensor input, dim=None, keepdim=False, *, other=None, axis=None, keepdims=None):
    """Largest element; with `dim` (values, indices) along it, the first index where several are equal; with another
    tensor the larger of each pair. A NaN counts as the largest."""
    return max_or_min(FDL_MAX, input, pick("max", dim, None, axis), pick("max", keepdim, False, keepdims), other)


def min(Tensor input, dim=None, keepdim=False, *, other=None, axis=None, keepdims=None):
    """Smallest element; with `dim` (values, indices) along it, the first index where several are equal; with another
    tensor the smaller of each pair. A NaN counts as the smallest."""
    return max_or_min(FDL_MIN, input, pick("min", dim, None, axis), pick("min", keepdim, False, keepdims), other)


cdef Tensor arg_extreme(str name, int op, Tensor x, object dim, bint keepdim):
    cdef Tensor flat, at
    if dim is not None:
        return arg_reduced(name, op, x, dim, keepdim)[1]
    if cnp.PyArray_SIZE(x.a) == 0:
        raise IndexError(f"[{name}] expected reduction dim to be specified for input.numel() == 0, got a tensor of shape "
                         f"{shape_of(x)}")
    flat = wrap((<object> contiguous(x).a).reshape(-1))
    at = arg_reduced(name, op, flat, 0, False)[1]
    return wrap((<object> at.a).reshape((1,) * cnp.PyArray_NDIM(x.a))) if keepdim else at


def argmax(Tensor input, dim=None, keepdim=False, *, axis=None, keepdims=None):
    """Index of the largest element along `dim`, or in the flattened tensor; the first one, a NaN before all."""
    return arg_extreme("argmax", FDL_MAX, input, pick("argmax", dim, None, axis), pick("argmax", keepdim, False, keepdims))


def argmin(Tensor input, dim=None, keepdim=False, *, axis=None, keepdims=None):
    """Index of the smallest element along `dim`, or in the flattened tensor; the first one, a NaN before all."""
    return arg_extreme("argmin", FDL_MIN, input, pick("argmin", dim, None, axis), pick("argmin", keepdim, False, keepdims))


# var, std, norm, logsumexp ----------------------------------------------------------------------------------------

@cython.final
cdef class VarBackward0(Node):
    """out = sum (x - mean)^2 / m:  dx = 2 g (x - mean) / m;  std: g / (2 std) for g, 0 where std = 0"""
    cdef unsigned int mask
    cdef bint keepdim, root
    cdef double m

    def name(self):
        return "StdBackward0" if self.root else "VarBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y
        if self.root:
            y = self.saved(1)
            g = where_(compare(FDL_EQ, y, 0), 0.0, binary(FDL_DIV, g, scaled(y, 2), 1))
        centred = binary(FDL_SUB, x, reduced(FDL_MEAN, x, self.mask, True) if cnp.PyArray_NDIM(x.a) else x, 1)
        g = binary(FDL_DIV, scaled(g, 2), self.m, 1)
        return binary(FDL_MUL, centred, spread(g, shape_of(x), self.mask, self.keepdim), 1)


cdef Tensor variance(str name, Tensor x, object dim, double correction, bint keepdim, bint root):
    cdef Tensor y
    cdef VarBackward0 node
    cdef unsigned int mask
    cdef double m
    cdef bint was
    if not is_fast(cnp.PyArray_TYPE(x.a)):
        if (<object> x.a).dtype.kind != "f":
            raise RuntimeError(f"[{name}] expected a floating-point tensor, got {x.dtype}")
        return to_type(variance(name, to_type(x, cnp.NPY_FLOAT32), dim, correction, keepdim, root), cnp.PyArray_TYPE(x.a))
    mask = dims_mask(name, dim, cnp.PyArray_NDIM(x.a))
    m = count_of(x, mask) - correction
    m = m if m > 0 else 0
    was = set_grad(False)
    try:
        y = reduce_data(FDL_SUMSQ, x, mask, keepdim, reduced(FDL_MEAN, x, mask, True))
        y = binary(FDL_DIV, y, m, 1)
        if root:
            y = unary(FDL_SQRT, y, 0, 0)
    finally:
        set_grad(was)
    if was and wants(x):
        node = VarBackward0.__new__(VarBackward0)
        node.mask, node.keepdim, node.root, node.m = mask, keepdim, root, m
        node.save(0, x)
        if root:
            node.save_output(1, y)
        attach(y, node, (edge(x),))
    return y


cdef tuple var_arguments(str name, object dim, object unbiased, object keepdim, object correction, object axis, object keepdims):
    """(dim, correction, keepdim) from PyTorch's forms: (x, unbiased), (x, dim, unbiased, keepdim), (x, dim, correction=)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"[{name}] unbiased and correction cannot both be given")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return pick(name, dim, None, axis), correction, pick(name, keepdim, False, keepdims)


def var(Tensor input, dim=None, unbiased=None, keepdim=False, *, correction=None, axis=None, keepdims=None):
    """Variance over all elements or over the dimensions `dim`: squared deviations by n - correction (1 unless said)."""
    dim, correction, keepdim = var_arguments("var", dim, unbiased, keepdim, correction, axis, keepdims)
    return variance("var", input, dim, correction, keepdim, False)


def std(Tensor input, dim=None, unbiased=None, keepdim=False, *, correction=None, axis=None, keepdims=None):
    """Standard deviation: the root of `var`."""
    dim, correction, keepdim = var_arguments("std", dim, unbiased, keepdim, correction, axis, keepdims)
    return variance("std", input, dim, correction, keepdim, True)


@cython.final
cdef class NormBackward(Node):
    """out = root of the sum of squares:  dx = g x / out, 0 where out = 0"""
    cdef unsigned int mask
    cdef bint keepdim

    def name(self):
        return "LinalgVectorNormBackward0"

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y = self.saved(1)
        g = where_(compare(FDL_EQ, y, 0), 0.0, binary(FDL_DIV, g, y, 1))
        return binary(FDL_MUL, x, spread(g, shape_of(x), self.mask, self.keepdim), 1)


cdef Tensor norm2(Tensor x, unsigned int mask, bint keepdim):
    cdef NormBackward node
    cdef bint was = set_grad(False)
    cdef Tensor y
    try:
        y = unary(FDL_SQRT, reduced(FDL_SUMSQ, x, mask, keepdim), 0, 0)
    finally:
        set_grad(was)
    if was and wants(x):
        node = NormBackward.__new__(NormBackward)
        node.mask, node.keepdim = mask, keepdim
        node.save(0, x)
        node.save_output(1, y)
        attach(y, node, (edge(x),))
    return y


cdef Tensor power_or_zero(Tensor x, double p):
    """x^p, p > 0, whose gradient at 0 is 0 and not infinite."""
    cdef Tensor zero
    if not (grad_enabled() and wants(x)):
        return binary(FDL_POW, x, p, 1)
    zero = compare(FDL_EQ, x, 0)
    return binary(FDL_POW, x.masked_fill(zero, 1), p, 1).masked_fill(zero, 0)


def norm(Tensor input, p="fro", dim=None, keepdim=False, dtype=None):
    """The p-norm of the elements along `dim` (None: all): (sum |x|^p)^(1/p).

    Args:
        p: a number, inf, -inf, 0 (how many are not 0), or "fro", which is 2.
    Raises:
        RuntimeError: not a floating-point tensor.
    """
    cdef Tensor x = typed(input, dtype)
    cdef unsigned int mask = dims_mask("norm", dim, cnp.PyArray_NDIM(x.a))
    if (<object> x.a).dtype.kind != "f":
        raise RuntimeError(f"[norm] expected a floating-point tensor, got {x.dtype}")
    if is_half(cnp.PyArray_TYPE(x.a)):
        return to_type(norm(to_type(x, cnp.NPY_FLOAT32), p, dim, keepdim), cnp.PyArray_TYPE(x.a))
    if p is None or isinstance(p, str):
        if p not in (None, "fro"):
            raise RuntimeError(f"[norm] p: expected a number, inf or 'fro', got {p!r}")
        p = 2
    p = float(p)
    if p == 2:
        return norm2(x, mask, keepdim)
    if p == 0:
        # 0 is the sign of 0, its gradient that of the sign
        return reduced(FDL_SUM, where_(compare(FDL_NE, x, 0), 1.0, x.sign()), mask, keepdim)
    x = unary(FDL_ABS, x, 0, 0)
    if p == 1:
        return reduced(FDL_SUM, x, mask, keepdim)
    if p in (float("inf"), float("-inf")):
        try:
            require_elements("norm", x, mask)
        except IndexError as error:
            raise RuntimeError(str(error)) from None
        return reduced(FDL_MAX if p > 0 else FDL_MIN, x, mask, keepdim)
    x = power_or_zero(x, p) if 0 < p < 1 else binary(FDL_POW, x, p, 1)
    x = reduced(FDL_SUM, x, mask, keepdim)
    return power_or_zero(x, 1 / p) if p > 0 else binary(FDL_POW, x, 1 / p, 1)


@cython.final
cdef class LogsumexpBackward0(Node):
    """dx = g exp(x - out)"""
    cdef unsigned int mask
    cdef bint keepdim

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y = self.saved(1), dx
        cdef int i, ndim = cnp.PyArray_NDIM(x.a)
        cdef int64_t size[3]
        cdef int part = 0
        cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
        cdef void *to
        cdef void *pg
        cdef void *px
        cdef void *py
        size[0] = size[1] = size[2] = 1
        for i in range(ndim):  # one run of dimensions is the middle of three
            if (self.mask >> i & 1) != (part == 1) and (part or self.mask >> i & 1):
                part += 1
            if part < 3:
                size[part] *= cnp.PyArray_DIMS(x.a)[i]
        if not grad_enabled() and part < 3:
            x, y, g = contiguous(x), contiguous(y), contiguous(g)
            dx = empty(ndim, cnp.PyArray_DIMS(x.a), cnp.PyArray_TYPE(x.a))
            to, pg, px, py = cnp.PyArray_DATA(dx.a), cnp.PyArray_DATA(g.a), cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(y.a)
            watch(ELEM_FMAS * cnp.PyArray_SIZE(x.a))
            with nogil:
                K.logsumexp_bwd(to, pg, px, py, size[0], size[1], size[2])
            unwatch()
            return dx
        y = where_(compare(FDL_EQ, y, float("-inf")), 0.0, y)  # of nothing but -inf: exp(-inf) = 0, not NaN
        p = unary(FDL_EXP, binary(FDL_SUB, x, spread(y, shape_of(x), self.mask, self.keepdim), 1), 0, 0)
        return binary(FDL_MUL, spread(g, shape_of(x), self.mask, self.keepdim), p, 1)


def logsumexp(Tensor input, dim=None, keepdim=False, *, axis=None):
    """log of the sum of exp(input) over the dimensions `dim`, without overflow."""
    cdef Tensor x = to_float(input), y
    cdef unsigned int mask
    cdef LogsumexpBackward0 node
    dim = pick("logsumexp", dim, None, axis)
    if dim is None:
        raise TypeError("[logsumexp] dim: expected an int or a tuple of ints, got None")
    mask = dims_mask("logsumexp", dim, cnp.PyArray_NDIM(x.a))
    if is_half(cnp.PyArray_TYPE(x.a)):
        return to_type(logsumexp(to_type(x, cnp.NPY_FLOAT32), dim, keepdim), cnp.PyArray_TYPE(x.a))
    y = reduce_data(LOGSUMEXP, x, mask, keepdim)
    if grad_enabled() and wants(x):
        node = LogsumexpBackward0.__new__(LogsumexpBackward0)
        node.mask, node.keepdim = mask, keepdim
        node.save(0, x)
        node.save_output(1, y)
        attach(y, node, (edge(x),))
    return y


# Running sums and products ----------------------------------------------------------------------------------------

@cython.final
cdef class CumsumBackward0(Node):
    """out[i] = sum of x[j], j <= i (backwards: j >= i):  dx = the same of g in the other direction"""
    cdef int dim
    cdef bint backwards

    cdef object apply(self, Tensor g):
        return running_sum(g, self.dim, not self.backwards)


ctypedef fused floating:
    float
    double


cdef void scan(floating *y, const floating *x, int64_t outer, int64_t n, int64_t inner, bint backwards) noexcept nogil:
    """Running sums along the middle of [outer, n, inner]. Four rows side by side where inner is 1: a sum waits for the one before."""
    cdef int64_t o, r, i, at, step = -1 if backwards else 1, begin = n - 1 if backwards else 0
    cdef floating s0, s1, s2, s3
    o = 0
    if inner == 1:
        while o + 4 <= outer:
            s0 = s1 = s2 = s3 = 0
            at = o * n + begin
            for r in range(n):
                s0 += x[at]
                s1 += x[at + n]
                s2 += x[at + 2 * n]
                s3 += x[at + 3 * n]
                y[at], y[at + n], y[at + 2 * n], y[at + 3 * n] = s0, s1, s2, s3
                at += step
            o += 4
    while o < outer:
        at = (o * n + begin) * inner
        for i in range(inner):
            y[at + i] = x[at + i]
        for r in range(1, n):
            at += step * inner
            for i in range(inner):
                y[at + i] = y[at + i - step * inner] + x[at + i]
        o += 1


cdef Tensor running_sum(Tensor x, int dim, bint backwards):
    cdef CumsumBackward0 node
    cdef Tensor y
    cdef int typenum = cnp.PyArray_TYPE(x.a), ndim = cnp.PyArray_NDIM(x.a), i
    cdef int64_t outer = 1, n = 1, inner = 1
    cdef Tensor source
    if is_half(typenum):
        return to_type(running_sum(to_type(x, cnp.NPY_FLOAT32), dim, backwards), typenum)
    if ndim == 0 or cnp.PyArray_SIZE(x.a) == 0:
        y = wrap(own_array(x.a))
    elif is_fast(typenum):
        source = contiguous(x)
        y = empty(ndim, cnp.PyArray_DIMS(x.a), typenum)
        for i in range(ndim):
            if i < dim:
                outer *= cnp.PyArray_DIMS(x.a)[i]
            elif i > dim:
                inner *= cnp.PyArray_DIMS(x.a)[i]
        n = cnp.PyArray_DIMS(x.a)[dim]
        with nogil:
            if typenum == cnp.NPY_FLOAT32:
                scan[float](<float *> cnp.PyArray_DATA(y.a), <const float *> cnp.PyArray_DATA(source.a), outer, n, inner, backwards)
            else:
                scan[double](<double *> cnp.PyArray_DATA(y.a), <const double *> cnp.PyArray_DATA(source.a), outer, n, inner, backwards)
    else:
        a = np.flip(x.a, dim) if backwards else x.a
        a = np.cumsum(a, dim, dtype=a.dtype)
        y = wrap(own_array(np.flip(a, dim) if backwards else a))
    if grad_enabled() and wants(x):
        node = CumsumBackward0.__new__(CumsumBackward0)
        node.dim, node.backwards = dim, backwards
        attach(y, node, (edge(x),))
    return y


cdef Tensor running_input(Tensor x, object dtype):
    """x in the type of its running sums: int64 for whole numbers and bools."""
    if dtype is None and (<object> x.a).dtype.kind != "f":
        return to_type(x, cnp.NPY_INT64)
    return typed(x, dtype)


def cumsum(Tensor input, dim=None, *, dtype=None, axis=None):
    """Sums of the first 1, 2, 3, .. elements along `dim`, added in order; whole numbers and bools give int64."""
    dim = pick("cumsum", dim, None, axis)
    if dim is None:
        raise TypeError("[cumsum] dim: expected an int")
    return running_sum(running_input(input, dtype), normal_dim("cumsum", dim, cnp.PyArray_NDIM(input.a)), False)


@cython.final
cdef class CumprodBackward0(Node):
    """out[i] = product of x[j], j <= i:  dx[j] = sum over i >= j of g[i] out[i] / x[j]"""
    cdef int dim

    cdef object apply(self, Tensor g):
        cdef Tensor x = self.saved(0), y = self.saved(1)
        if cnp.PyArray_NDIM(x.a) == 0:
            return g
        if (<object> x.a).all():
            return binary(FDL_DIV, running_sum(binary(FDL_MUL, g, y, 1), self.dim, True), x, 1)
        if grad_enabled():
            raise NotImplementedError("[cumprod] create_graph=True through a product with zeros is not implemented")
        xs, gs = np.moveaxis(x.a, self.dim, 0), np.moveaxis(g.a, self.dim, 0)
        dx = np.zeros_like(xs)
        for j in range(len(xs)):  # x[j] replaced by 1 in all products from j on
            part = np.array(xs[j:])
            part[0] = np.prod(xs[:j], 0)
            dx[j] = (gs[j:] * np.cumprod(part, 0)).sum(0)
        return wrap(own_array(np.moveaxis(dx, 0, self.dim)))


def cumprod(Tensor input, dim=None, *, dtype=None, axis=None):
    """Products of the first 1, 2, 3, .. elements along `dim`; whole numbers and bools give int64."""
    cdef Tensor x = running_input(input, dtype), y
    cdef CumprodBackward0 node
    dim = pick("cumprod", dim, None, axis)
    if dim is None:
        raise TypeError("[cumprod] dim: expected an int")
    cdef int d = normal_dim("cumprod", dim, cnp.PyArray_NDIM(x.a))
    a = x.a
    y = wrap(own_array(np.cumprod(a, d, dtype=a.dtype) if a.ndim and a.size else a))
    if grad_enabled() and wants(x):
        node = CumprodBackward0.__new__(CumprodBackward0)
        node.dim = d
        node.save(0, x)
        node.save_output(1, y)
        attach(y, node, (edge(x),))
    return y


register_all(globals(), "sum mean prod amax amin max min argmax argmin var std norm logsumexp cumsum cumprod")
