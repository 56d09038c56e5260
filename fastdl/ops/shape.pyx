"""Operators that rearrange: views, joining and splitting, repeating, copying, conversion; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from numpy cimport ndarray, npy_intp

import numpy as np

from .. import _types
from .common import storable

from .._kernels cimport fdl_table
from .._tensor cimport (PIECE, MultiNode, Node, Tensor, attach, attach_outputs, begin_inplace, cast, cast_copy, contiguous,
                        check_dims, copy_into, edge, empty, empty_like, end_inplace, grad_enabled, is_fast, kernels,
                        own_array, piece_grad, register, register_all, view_of, wants, wrap)
from .common cimport (MAX_DIMS, as_tensor, expand_to, new_empty_of, new_zeros_of, normal_dim, promote, proper_dim,
                      shape_of, strided, sum_to, to_type)
from .indexing cimport in_range, take_dim

cnp.import_array()


cdef tuple sizes_of(tuple args):
    """f(2, 3) and f((2, 3)) mean the same."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    return tuple([int(n) for n in args])


# Views ------------------------------------------------------------------------------------------------------------

@cython.final
cdef class ViewBackward(Node):
    """out = x with another shape:  dx = g with x's shape"""
    cdef tuple shape
    cdef str title

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        return reshaped(g, self.shape, "ReshapeAliasBackward0")


cdef ndarray view_shape(ndarray a, tuple shape):
    """A view of `a` with another shape of as many elements, None if its strides allow none.

    Old and new dimensions are matched in groups of as many elements; the old ones of a group must step evenly.
    """
    cdef npy_intp old[32]
    cdef npy_intp steps[32]
    cdef npy_intp dims[32]
    cdef npy_intp strides[32]
    cdef npy_intp wide, narrow_, step
    cdef int i, k, n = 0, ndim = <int> len(shape), at = 0, end
    check_dims(ndim)
    if cnp.PyArray_SIZE(a) == 0:
        return (<object> a).reshape(shape)
    for i in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIMS(a)[i] != 1:
            old[n], steps[n] = cnp.PyArray_DIMS(a)[i], cnp.PyArray_STRIDES(a)[i]
            n += 1
    for i in range(ndim):
        dims[i] = shape[i]
    i = 0
    while i < n:
        wide, narrow_, end = old[i], dims[at], at + 1
        i += 1
        while wide != narrow_:
            if wide < narrow_:
                if steps[i - 1] != old[i] * steps[i]:
                    return None
                wide *= old[i]
                i += 1
            else:
                narrow_ *= dims[end]
                end += 1
        step = steps[i - 1]
        for k in range(end - 1, at - 1, -1):
            strides[k] = step
            step *= dims[k]
        at = end
    for k in range(at, ndim):
        strides[k] = cnp.PyArray_ITEMSIZE(a)
    return strided(a, ndim, dims, strides)


cdef Tensor reshaped(Tensor x, tuple shape, str title):
    """x with the shape `shape` (which fits): a view where the layout allows it, else a copy."""
    cdef ndarray a = None
    cdef Tensor y
    cdef ViewBackward node
    if cnp.PyArray_IS_C_CONTIGUOUS(x.a):
        a = (<object> x.a).reshape(shape)
    else:
        a = view_shape(x.a, shape)
    if a is not None:
        y = view_of(x, a)
    else:
        y = wrap((<object> contiguous(x).a).reshape(shape))
    if grad_enabled() and wants(x):
        node = ViewBackward.__new__(ViewBackward)
        node.shape, node.title = shape_of(x), title
        attach(y, node, (edge(x),))
    return y


cdef tuple fitting(str op, Tensor x, tuple sizes):
    """`sizes` with a -1 replaced; raises if the number of elements differs."""
    cdef int64_t n = cnp.PyArray_SIZE(x.a), known, size
    cdef uint64_t product = 1  # may wrap
    cdef double about = 1
    cdef int unknown = -1, i
    for i in range(len(sizes)):
        if sizes[i] == -1 and unknown < 0:
            unknown = i
        elif sizes[i] < 0:
            raise RuntimeError(f"[{op}] only one size can be -1 and none smaller, got {sizes}")
        else:
            size = sizes[i]
            product *= <uint64_t> size
            about *= size
    known = <int64_t> product if about < 2.0 ** 62 else INT64_MAX
    if unknown >= 0:
        if known == 0 or n % known:
            raise RuntimeError(f"[{op}] shape {sizes} is invalid for input of size {n} (a tensor of shape "
                               f"{shape_of(x)})")
        return sizes[:unknown] + (n // known,) + sizes[unknown + 1:]
    if known != n:
        raise RuntimeError(f"[{op}] shape {sizes} is invalid for input of size {n} (a tensor of shape {shape_of(x)})")
    return sizes


def reshape(Tensor input, *sizes, shape=None):
    """The same elements in row-major order with another shape; one size may be -1. A view where possible."""
    title = "ViewBackward0" if cnp.PyArray_IS_C_CONTIGUOUS(input.a) else "ReshapeAliasBackward0"
    return reshaped(input, fitting("reshape", input, sizes_of(sizes if shape is None else (shape,))), title)


def view(Tensor input, *shape):
    """As reshape, but never copies; view(dtype) reads the same memory as another type of equal size."""
    if len(shape) == 1 and isinstance(shape[0], _types.dtype):
        try:
            return view_of(input, (<object> input.a).view(shape[0].numpy))
        except ValueError as error:
            raise RuntimeError(f"[view] a tensor of shape {shape_of(input)} and type {input.dtype} cannot be read as "
                               f"{shape[0]}: {error}") from None
    y = reshaped(input, fitting("view", input, sizes_of(shape)), "ViewBackward0")
    if cnp.PyArray_DATA((<Tensor> y).a) != cnp.PyArray_DATA(input.a) and (<Tensor> y).a.size:
        raise RuntimeError(f"[view] a tensor of shape {shape_of(input)} and strides {input.stride()} has no view of "
                           f"shape {shape_of(y)}. Use .reshape(...) instead.")
    return y


def view_as(Tensor input, Tensor other):
    """`input` viewed with the shape of `other`."""
    return view(input, *shape_of(other))


def reshape_as(Tensor input, Tensor other):
    """`input` with the shape of `other`."""
    return reshape(input, *shape_of(other))


def flatten(Tensor input, int start_dim=0, int end_dim=-1):
    """The dimensions start_dim..end_dim joined into one."""
    cdef int n = cnp.PyArray_NDIM(input.a)
    cdef int first = normal_dim("flatten", start_dim, n), last = normal_dim("flatten", end_dim, n)
    if first > last:
        raise RuntimeError(f"[flatten] start_dim {start_dim} comes after end_dim {end_dim}")
    if n == 0:
        return reshaped(input, (1,), "ViewBackward0")
    shape = shape_of(input)
    joined = 1
    for i in range(first, last + 1):
        joined *= shape[i]
    return reshaped(input, shape[:first] + (joined,) + shape[last + 1:], "ViewBackward0")


def ravel(Tensor input):
    """All elements in one dimension."""
    return reshaped(input, (input.numel(),), "ViewBackward0")


def unflatten(Tensor input, int dim, sizes):
    """One dimension split into several; one of `sizes` may be -1."""
    cdef int at = normal_dim("unflatten", dim, cnp.PyArray_NDIM(input.a))
    shape = shape_of(input)
    sizes = tuple(sizes)
    if -1 in sizes:
        known = -int(np.prod(sizes))
        sizes = tuple([shape[at] // known if s == -1 and known else s for s in sizes])
    if int(np.prod(sizes)) != shape[at]:
        raise RuntimeError(f"[unflatten] Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
                           f"({shape[at]}) in the input tensor of shape {shape}")
    return reshaped(input, fitting("unflatten", input, shape[:at] + sizes + shape[at + 1:]), "ViewBackward0")


def unsqueeze(Tensor input, int dim):
    """A view with a dimension of size 1 inserted at `dim`."""
    cdef int at = normal_dim("unsqueeze", dim, cnp.PyArray_NDIM(input.a) + 1)
    shape = shape_of(input)
    return reshaped(input, shape[:at] + (1,) + shape[at:], "UnsqueezeBackward0")


def squeeze(Tensor input, dim=None):
    """A view without the dimensions of size 1 (of those in `dim`: an int or a tuple)."""
    shape = shape_of(input)
    if dim is None:
        kept = tuple([n for n in shape if n != 1])
    else:
        dims = [normal_dim("squeeze", d, len(shape)) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
        kept = tuple([n for i, n in enumerate(shape) if i not in dims or n != 1])
    return reshaped(input, kept, "SqueezeBackward0")


@cython.final
cdef class PermuteBackward0(Node):
    """out = x with dimensions in another order:  dx = g in the inverse order"""
    cdef tuple order
    cdef str title

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        cdef list back = [0] * len(self.order)
        cdef int i
        for i in range(len(back)):
            back[self.order[i]] = i
        return permuted(g, tuple(back), "PermuteBackward0")


cdef Tensor permuted(Tensor x, tuple order, str title):
    cdef PermuteBackward0 node
    cdef Tensor y = view_of(x, (<object> x.a).transpose(order))
    if grad_enabled() and wants(x):
        node = PermuteBackward0.__new__(PermuteBackward0)
        node.order, node.title = order, title
        attach(y, node, (edge(x),))
    return y


def permute(Tensor input, *dims):
    """A view with the dimensions in the order `dims`."""
    cdef int n = cnp.PyArray_NDIM(input.a)
    wanted = sizes_of(dims)
    if len(wanted) != n:
        raise RuntimeError(f"[permute] expected {n} dimensions for a tensor of shape {shape_of(input)}, got {wanted}")
    order = tuple([normal_dim("permute", d, n) for d in wanted])
    if len(set(order)) != n:
        raise RuntimeError(f"[permute] a dimension is repeated in {wanted}")
    return permuted(input, order, "PermuteBackward0")


cdef Tensor swapped(str op, Tensor x, int dim0, int dim1, str title):
    cdef int n = cnp.PyArray_NDIM(x.a), i = normal_dim(op, dim0, n), j = normal_dim(op, dim1, n)
    if n == 0:
        return permuted(x, (), title)
    order = list(range(n))
    order[i], order[j] = j, i
    return permuted(x, tuple(order), title)


def transpose(Tensor input, int dim0, int dim1):
    """A view with two dimensions exchanged."""
    return swapped("transpose", input, dim0, dim1, "TransposeBackward0")


def t(Tensor input):
    """The transpose of a matrix; a vector stays as it is."""
    if cnp.PyArray_NDIM(input.a) > 2:
        raise RuntimeError(f"[t] expected a tensor with at most 2 dimensions, got shape {shape_of(input)}")
    return swapped("t", input, 0, -1, "TBackward0")


def movedim(Tensor input, source, destination):
    """A view with the dimensions `source` moved to the positions `destination`."""
    try:
        order = np.moveaxis(np.empty(tuple(range(cnp.PyArray_NDIM(input.a))), bool), source, destination).shape
    except IndexError:
        raise
    except ValueError:
        raise RuntimeError(f"[movedim] source and destination: expected as many different dimensions, got {source} and "
                           f"{destination}") from None
    return permuted(input, tuple(order), "PermuteBackward0")


def _transposed(Tensor input):
    return permuted(input, tuple(range(cnp.PyArray_NDIM(input.a)))[::-1], "PermuteBackward0")


def _matrix_transposed(Tensor input):
    if cnp.PyArray_NDIM(input.a) < 2:
        raise RuntimeError(f"[mT] expected a matrix or a stack of them, got shape {shape_of(input)}")
    return swapped("mT", input, -2, -1, "TransposeBackward0")


# Joining ----------------------------------------------------------------------------------------------------------

@cython.final
cdef class CatBackward0(Node):
    """out = inputs one after another along dim:  each input's gradient is its part of g"""
    cdef int dim
    cdef tuple sizes

    cdef object apply(self, Tensor g):
        parts, at = [], 0
        for i, n in enumerate(self.sizes):
            if self.edges[i] is None:
                parts.append(None)
            else:
                parts.append(narrow(g, self.dim, at, n) if n >= 0 else new_empty_of((0,), cnp.PyArray_TYPE(g.a)))
            at += max(n, 0)
        return tuple(parts)


cdef bint is_void(Tensor x):
    """A 1-d tensor without elements: cat passes it over, whatever the others' shapes."""
    return cnp.PyArray_NDIM(x.a) == 1 and cnp.PyArray_SIZE(x.a) == 0


cdef int require_tensors(str op, list tensors) except -1:
    for x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(f"[{op}] expected Tensors, got {type(x).__name__}")
    return 0


cdef int copy_part(Tensor out, int at, npy_intp start, Tensor x) except -1:
    """x into out from `start` on along dimension `at`; both of one type that has kernels."""
    cdef int ndim = cnp.PyArray_NDIM(x.a), i
    cdef int64_t item = cnp.PyArray_ITEMSIZE(x.a)
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t so[MAX_DIMS]
    cdef int64_t sx[MAX_DIMS]
    cdef char *to = <char *> cnp.PyArray_DATA(out.a) + start * cnp.PyArray_STRIDES(out.a)[at]
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    for i in range(ndim):
        shape[i] = cnp.PyArray_DIMS(x.a)[i]
        so[i] = cnp.PyArray_STRIDES(out.a)[i] // item
        sx[i] = cnp.PyArray_STRIDES(x.a)[i] // item
    with nogil:
        K.copy(to, so, cnp.PyArray_DATA(x.a), sx, shape, ndim)
    return 0


def cat(tensors, dim=0, *, axis=None):
    """The tensors one after another along `dim`; their other sizes agree. 1-d empty tensors are passed over."""
    cdef list inputs = list(tensors), parts
    cdef Tensor x, out, first = None
    cdef CatBackward0 node
    cdef npy_intp dims[MAX_DIMS]
    cdef npy_intp start = 0
    cdef int typenum, at, ndim, i
    cdef bint agree, recorded = False
    if isinstance(tensors, Tensor):
        raise TypeError("[cat] tensors: expected a list or tuple of Tensors, got a Tensor")
    if not inputs:
        raise ValueError("[cat] expected a non-empty list of Tensors")
    require_tensors("cat", inputs)
    for x in inputs:
        if not is_void(x):
            first = x
            break
    else:
        first = inputs[0]
    ndim = cnp.PyArray_NDIM(first.a)
    if ndim == 0:
        raise RuntimeError("[cat] zero-dimensional tensors cannot be concatenated")
    at = normal_dim("cat", dim if axis is None else axis, ndim)
    typenum = cnp.PyArray_TYPE((<Tensor> inputs[0]).a)
    for i in range(ndim):
        dims[i] = cnp.PyArray_DIMS(first.a)[i]
    dims[at] = 0
    parts = []
    for number, x in enumerate(inputs):
        if cnp.PyArray_TYPE(x.a) != typenum:
            typenum = promote(typenum, cnp.PyArray_TYPE(x.a))
        recorded = recorded or wants(x)
        if ndim > 1 and is_void(x):
            continue
        agree = cnp.PyArray_NDIM(x.a) == ndim
        if agree:
            for i in range(ndim):
                agree = agree and (i == at or cnp.PyArray_DIMS(x.a)[i] == dims[i])
        if not agree:
            raise RuntimeError(f"[cat] sizes of tensors must match except in dimension {at}: tensor 0 has shape "
                               f"{shape_of(first)}, tensor {number} has {shape_of(x)}")
        dims[at] += cnp.PyArray_DIMS(x.a)[at]
        parts.append(x)
    inputs = [to_type(x, typenum) for x in inputs]
    out = empty(ndim, dims, typenum)
    if is_fast(typenum):
        for x in parts:
            x = cast(x, typenum)
            copy_part(out, at, start, x if cnp.PyArray_ISBEHAVED_RO(x.a) else cast_copy(x, typenum))
            start += cnp.PyArray_DIMS(x.a)[at]
    else:
        np.concatenate([cast(x, typenum).a for x in parts], axis=at, out=out.a)
    if recorded and grad_enabled():
        node = CatBackward0.__new__(CatBackward0)
        node.dim = at
        node.sizes = tuple([shape_of(x)[at] if cnp.PyArray_NDIM((<Tensor> x).a) == ndim else -1 for x in inputs])
        attach(out, node, tuple([edge(x) for x in inputs]))
    return out


def stack(tensors, dim=0, *, axis=None):
    """The tensors along a new dimension `dim`; their shapes agree."""
    tensors = list(tensors)
    if not tensors:
        raise RuntimeError("[stack] expected a non-empty list of Tensors")
    require_tensors("stack", tensors)
    first = shape_of(tensors[0])
    at = normal_dim("stack", dim if axis is None else axis, len(first) + 1)
    for i, x in enumerate(tensors):
        if shape_of(x) != first:
            raise RuntimeError(f"[stack] expects each tensor to be equal size, but got {first} at entry 0 and "
                               f"{shape_of(x)} at entry {i}")
    return cat([unsqueeze(x, at) for x in tensors], at)


def hstack(tensors):
    """The tensors side by side: along dimension 1, vectors along 0."""
    tensors = [reshape(x, 1) if x.ndim == 0 else x for x in tensors]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


def vstack(tensors):
    """The tensors one below another: along dimension 0, vectors as rows."""
    return cat([reshape(x, 1, -1) if x.ndim < 2 else x for x in tensors], 0)


# Splitting --------------------------------------------------------------------------------------------------------

@cython.final
cdef class NarrowBackward(Node):
    """out = x[.., start:start+n, ..]:  dx = g there, zero elsewhere"""
    cdef int dim
    cdef int64_t start
    cdef tuple shape

    def name(self):
        return "SliceBackward0"

    cdef object apply(self, Tensor g):
        if not grad_enabled():
            end = self.start + cnp.PyArray_DIMS(g.a)[self.dim]
            return piece_grad(g, (slice(None),) * self.dim + (slice(self.start, end),), self.shape)
        return padded(g, self.shape, self.dim, self.start)


@cython.final
cdef class PaddedBackward(Node):
    cdef int dim
    cdef int64_t start, n

    def name(self):
        return "ConstantPadNdBackward0"

    cdef object apply(self, Tensor g):
        return narrow(g, self.dim, self.start, self.n)


cdef Tensor padded(Tensor g, tuple shape, int dim, int64_t start):
    """Zeros of shape `shape` with g at `start` along dim."""
    cdef Tensor out = new_empty_of(shape, cnp.PyArray_TYPE(g.a))
    cdef PaddedBackward node
    cdef int64_t n = cnp.PyArray_DIMS(g.a)[dim]
    lead = (slice(None),) * dim
    out.a[lead + (slice(0, start),)] = 0
    out.a[lead + (slice(start + n, None),)] = 0
    out.a[lead + (slice(start, start + n),)] = g.a
    if grad_enabled() and wants(g):
        node = PaddedBackward.__new__(PaddedBackward)
        node.dim, node.start, node.n = dim, start, n
        attach(out, node, (edge(g),))
    return out


def narrow(Tensor input, int dim, start, length):
    """A view of `length` entries from `start` on along `dim`."""
    cdef int at = proper_dim("narrow", dim, cnp.PyArray_NDIM(input.a))
    cdef int64_t n = cnp.PyArray_DIMS(input.a)[at], first = start, count = length
    cdef NarrowBackward node
    if first < 0:
        first += n
    if first < 0 or count < 0 or count > n - first:
        raise RuntimeError(f"[narrow] start {start} and length {length} exceed dimension {dim} of size {n}")
    cdef Tensor y = view_of(input, input.a[(slice(None),) * at + (slice(first, first + count),)])
    if grad_enabled() and wants(input):
        node = NarrowBackward.__new__(NarrowBackward)
        node.dim, node.start, node.shape = at, first, shape_of(input)
        attach(y, node, (edge(input),))
    return y


@cython.final
cdef class SplitBackward0(MultiNode):
    """outs = pieces of x along dim:  dx = their gradients joined, zeros for those without"""
    cdef int dim, typenum
    cdef bint unbound
    cdef list shapes
    cdef str title

    def name(self):
        return self.title

    cdef object apply_multi(self, list grads):
        cdef list parts = []
        for i, g in enumerate(grads):
            if g is None:
                g = wrap(own_array(np.zeros(self.shapes[i], cnp.PyArray_DescrFromType(self.typenum))))
            parts.append(unsqueeze(g, self.dim) if self.unbound else g)
        return cat(parts, self.dim)


def check_pieces(str op, count):
    """MemoryError for more views than memory can hold: each takes some 200 bytes."""
    if count > 1 << 30:
        raise MemoryError(f"[{op}] {count} pieces")


cdef tuple pieces(Tensor x, int dim, list sizes, bint unbound, str title):
    cdef SplitBackward0 node
    cdef list outs = []
    cdef int64_t at = 0
    lead = (slice(None),) * dim
    for n in sizes:
        outs.append(view_of(x, x.a[lead + ((at if unbound else slice(at, at + n)), Ellipsis)]))
        at += n
    cdef tuple result = tuple(outs)
    if grad_enabled():
        for o in outs:
            (<Tensor> o).origin = PIECE
    if grad_enabled() and wants(x) and outs:
        node = SplitBackward0.__new__(SplitBackward0)
        node.dim, node.unbound, node.typenum, node.title = dim, unbound, cnp.PyArray_TYPE(x.a), title
        node.shapes = [shape_of(o) for o in outs]
        attach_outputs(result, node, (edge(x),))
    return result


def split(Tensor tensor, split_size_or_sections, int dim=0):
    """Views of pieces of `split_size` entries along `dim` (the last may be smaller), or of the sizes in a list."""
    cdef int at = proper_dim("split", dim, cnp.PyArray_NDIM(tensor.a))
    cdef int64_t n = cnp.PyArray_DIMS(tensor.a)[at]
    cdef str title = "SplitBackward0"
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"[split] expected a positive size, got {size}")
        if n:
            check_pieces("split", n // size)
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        sizes, title = [int(s) for s in split_size_or_sections], "SplitWithSizesBackward0"
        if sum(sizes) != n:
            raise RuntimeError(f"[split] the sizes {sizes} add up to {sum(sizes)}, dimension {dim} has {n}")
    return pieces(tensor, at, sizes, False, title)


def split_with_sizes(Tensor input, split_sizes, int dim=0):
    """Views of pieces of the given sizes along `dim`."""
    return split(input, list(split_sizes), dim)


def chunk(Tensor input, int chunks, int dim=0):
    """`chunks` views of equal size along `dim` (the last may be smaller, or some absent)."""
    cdef int at = proper_dim("chunk", dim, cnp.PyArray_NDIM(input.a))
    if chunks < 1:
        raise RuntimeError(f"[chunk] expected chunks >= 1, got {chunks}")
    if cnp.PyArray_DIMS(input.a)[at] == 0:
        check_pieces("chunk", chunks)
        return pieces(input, at, [0] * chunks, False, "SplitWithSizesBackward0")
    return split(input, -(-int(cnp.PyArray_DIMS(input.a)[at]) // chunks), at)


def unbind(Tensor input, int dim=0):
    """Views of all slices along `dim`."""
    cdef int at = entry_dim("unbind", dim, cnp.PyArray_NDIM(input.a))
    check_pieces("unbind", cnp.PyArray_DIMS(input.a)[at])
    return pieces(input, at, [1] * cnp.PyArray_DIMS(input.a)[at], True, "UnbindBackward0")


cdef int entry_dim(str op, int dim, int ndim) except -1:
    """proper_dim for operators that find no entry in a 0-d tensor."""
    if ndim == 0:
        raise IndexError(f"[{op}] expected a tensor with at least one dimension, got a 0-d tensor")
    return normal_dim(op, dim, ndim)


# Repeating, reversing ---------------------------------------------------------------------------------------------

def repeat(Tensor input, *sizes):
    """The tensor copied sizes[i] times along each dimension; more sizes than dimensions add leading ones."""
    counts = sizes_of(sizes)
    shape = shape_of(input)
    if len(counts) < len(shape):
        raise RuntimeError(f"[repeat] expected at least {len(shape)} counts for a tensor of shape {shape}, got "
                           f"{counts}")
    shape = (1,) * (len(counts) - len(shape)) + shape
    apart = tuple([s for n in shape for s in (1, n)])
    full = tuple([s for c, n in zip(counts, shape) for s in (c, n)])
    cdef Tensor out = reshape(expand_to(reshape(input, apart), full), tuple([c * n for c, n in zip(counts, shape)]))
    return clone(out) if out.storage is input.storage else out


def tile(Tensor input, *dims):
    """As repeat; missing leading counts are 1."""
    counts = sizes_of(dims)
    return repeat(input, (1,) * (cnp.PyArray_NDIM(input.a) - len(counts)) + counts)


def index_select(Tensor input, int dim, Tensor index):
    """The entries of `input` along `dim` at the positions in the 1-d `index`."""
    cdef int at = normal_dim("index_select", dim, cnp.PyArray_NDIM(input.a))
    if cnp.PyArray_NDIM(index.a) > 1:
        raise IndexError(f"[index_select] expected a 1-d index, got shape {shape_of(index)}")
    if cnp.PyArray_NDIM(input.a) == 0:
        if cnp.PyArray_SIZE(index.a) != 1:
            raise RuntimeError(f"[index_select] index: expected one number for a 0-d tensor, got shape {shape_of(index)}")
        return index_select(input.reshape(1), 0, index).reshape(())
    cdef Tensor ids = in_range("index_select", index, cnp.PyArray_DIMS(input.a)[at], dim, False)
    return take_dim(input, at, wrap(ids.a.reshape(-1)) if ids.a.ndim == 0 else ids, "IndexSelectBackward0")


def repeat_interleave(Tensor input, repeats=None, dim=None):
    """Each entry repeated; `repeats` is a number or one count per entry along `dim` (None: of the flattened tensor).

    repeat_interleave(counts): each number 0, 1, .. as often as its count says.
    """
    if repeats is None:
        if cnp.PyArray_NDIM(input.a) != 1 or (<object> input.a).dtype.kind not in "iu":
            raise RuntimeError(f"[repeat_interleave] repeats: expected a vector of whole numbers, got shape "
                               f"{shape_of(input)} of {input.dtype}")
        input, repeats = wrap(np.arange(input.a.size)), input
    if dim is None:
        input, dim = ravel(input), 0
    cdef int at = entry_dim("repeat_interleave", dim, cnp.PyArray_NDIM(input.a))
    n = cnp.PyArray_DIMS(input.a)[at]
    counts = (<Tensor> repeats).a if isinstance(repeats, Tensor) else np.asarray(repeats)
    if counts.ndim and counts.size not in (1, n):
        raise RuntimeError(f"[repeat_interleave] expected 1 or {n} counts, got {counts.size}")
    if counts.ndim and counts.size != n:
        counts = counts[0]
    if counts.size and counts.min() < 0:
        raise RuntimeError(f"[repeat_interleave] repeats: expected numbers >= 0, got {counts.min()}")
    if counts.size and int(counts.max()) * max(<int64_t> n, 1) >= 1 << 59:  # NumPy's sizes overflow
        raise MemoryError(f"[repeat_interleave] {n} entries repeated up to {counts.max()} times")
    return take_dim(input, at, wrap(np.repeat(np.arange(n), counts)), "RepeatInterleaveBackward0")


def flip(Tensor input, *dims):
    """A copy with the order of entries reversed along `dims`."""
    places = [normal_dim("flip", d, cnp.PyArray_NDIM(input.a)) for d in sizes_of(dims)]
    if len(set(places)) != len(places):
        raise RuntimeError(f"[flip] dims: expected each dimension once, got {sizes_of(dims)}")
    if not places or cnp.PyArray_NDIM(input.a) == 0:
        return clone(input)
    out = input
    for at in places:
        out = take_dim(out, at, wrap(np.arange(cnp.PyArray_DIMS(input.a)[at])[::-1].copy()), "FlipBackward0")
    return out


def roll(Tensor input, shifts, dims=None):
    """Entries moved by `shifts` along `dims`, those that fall off coming back at the other end."""
    if dims is None:
        return reshape(roll(ravel(input), shifts, 0), shape_of(input))
    out = input
    shifts, dims = (shifts,) if isinstance(shifts, int) else shifts, (dims,) if isinstance(dims, int) else dims
    if len(shifts) != len(dims):
        raise RuntimeError(f"[roll] shifts and dims: expected as many of both, got {shifts} and {dims}")
    for s, d in zip(shifts, dims):
        at = entry_dim("roll", d, cnp.PyArray_NDIM(input.a))
        n = cnp.PyArray_DIMS(input.a)[at]
        out = take_dim(out, at, wrap((np.arange(n) - s % max(n, 1)) % max(n, 1)), "RollBackward0")
    return out


# Copies and conversion --------------------------------------------------------------------------------------------

@cython.final
cdef class CloneBackward0(Node):
    cdef object apply(self, Tensor g):
        return g


def clone(Tensor input, *, memory_format=None):
    """A copy, recorded."""
    cdef Tensor out = empty_like(input, cnp.PyArray_TYPE(input.a))
    copy_into(out, input)
    if grad_enabled() and wants(input):
        attach(out, CloneBackward0.__new__(CloneBackward0), (edge(input),))
    return out


def contiguous_(Tensor input, memory_format=None):
    """The tensor itself if its elements lie in row-major order, else a copy."""
    return input if cnp.PyArray_IS_C_CONTIGUOUS(input.a) else clone(input)


@cython.final
cdef class CopyBackwards(Node):
    """x.copy_(source):  dx = 0,  dsource = g summed to its shape and cast to its type"""
    cdef tuple shape
    cdef int typenum

    cdef object apply(self, Tensor g):
        return (None if self.edges[0] is None else new_zeros_of(shape_of(g), cnp.PyArray_TYPE(g.a)),
                None if self.edges[1] is None else to_type(sum_to(g, self.shape), self.typenum))


def copy_(Tensor input, source, bint non_blocking=False):
    """Overwrites `input` with `source`, broadcast and converted."""
    cdef Tensor s = as_tensor(source, input)
    cdef CopyBackwards node = None
    begin_inplace(input)
    try:
        np.copyto(input.a, s.a, casting="unsafe")
    except ValueError:
        raise RuntimeError(f"[copy_] a source of shape {shape_of(s)} cannot be broadcast to "
                           f"{shape_of(input)}") from None
    edges = (None, None)
    if grad_enabled() and (wants(s) or wants(input)):
        node = CopyBackwards.__new__(CopyBackwards)
        node.shape, node.typenum = shape_of(s), cnp.PyArray_TYPE(s.a)
        edges = (edge(input), edge(s))
    return end_inplace(input, "copy_", node, edges)


@cython.final
cdef class FillBackward0(Node):
    cdef object apply(self, Tensor g):
        return new_zeros_of(shape_of(g), cnp.PyArray_TYPE(g.a))


cdef int fill_data(Tensor x, object value) except -1:
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    if is_fast(cnp.PyArray_TYPE(x.a)) and cnp.PyArray_IS_C_CONTIGUOUS(x.a):
        K.fill(cnp.PyArray_DATA(x.a), value, cnp.PyArray_SIZE(x.a))
    else:
        x.a.fill(value)
    return 0


def fill_(Tensor input, value):
    """Overwrites every element with `value`."""
    cdef Node node = None
    cdef tuple edges = None
    if isinstance(value, Tensor):
        begin_inplace(input)
        return copy_(input, value)
    value = storable(value, cnp.PyArray_TYPE(input.a))
    if 0 in (<object> input.a).strides and not (grad_enabled() and wants(input)):
        # what is one element several times is filled once
        part = (<object> input.a)[tuple([slice(None) if s else slice(1) for s in (<object> input.a).strides])]
        if not part.flags.writeable:
            part.flags.writeable = True
        part.fill(value)
        return end_inplace(input, "fill_", None, None)
    begin_inplace(input)
    fill_data(input, value)
    if grad_enabled() and wants(input):
        node, edges = FillBackward0.__new__(FillBackward0), (edge(input),)
    return end_inplace(input, "fill_", node, edges)


def zero_(Tensor input):
    """Overwrites every element with 0."""
    return fill_(input, 0)


def to(Tensor input, *args, dtype=None, device=None, bint copy=False, non_blocking=None):
    """The tensor converted: to(dtype), to(device), to(other tensor); itself if nothing changes and not `copy`."""
    for a in args:
        if isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, _types.dtype):
            dtype = a
        elif isinstance(a, (str, _types.device)):
            _types.device(a)
    if device is not None:
        _types.device(device)
    out = input if dtype is None else to_type(input, _types.as_dtype(dtype).numpy.num)
    return clone(out) if copy and out is input else out


LEGACY_TYPES = {
    "torch.FloatTensor": _types.float32, "torch.DoubleTensor": _types.float64, "torch.HalfTensor": _types.float16,
    "torch.LongTensor": _types.int64, "torch.IntTensor": _types.int32, "torch.ShortTensor": _types.int16,
    "torch.BFloat16Tensor": _types.bfloat16, "torch.ByteTensor": _types.uint8, "torch.CharTensor": _types.int8, "torch.BoolTensor": _types.bool_,
}


def type_(Tensor input, dtype=None):
    """The type's name, or the tensor converted to `dtype` (a dtype or a name such as "torch.FloatTensor")."""
    if dtype is None:
        return next(name for name, d in LEGACY_TYPES.items() if d is input.dtype)
    return to_type(input, (LEGACY_TYPES[dtype] if isinstance(dtype, str) else _types.as_dtype(dtype)).numpy.num)


def type_as(Tensor input, Tensor other):
    """Converted to the type of `other`."""
    return to_type(input, cnp.PyArray_TYPE(other.a))


def cpu(Tensor input): return input


def cuda(Tensor input, *args, **kwargs):
    raise AssertionError("fastdl runs on the CPU only: there is no CUDA device")


def _converter(str name, d):
    num = d.numpy.num

    def convert(Tensor input):
        return to_type(input, num)
    convert.__name__ = name
    convert.__doc__ = f"Converted to {d}."
    register(name, convert)


for _name, _type in (("float", _types.float32), ("double", _types.float64), ("half", _types.float16), ("bfloat16", _types.bfloat16),
                     ("long", _types.int64), ("int", _types.int32), ("short", _types.int16), ("byte", _types.uint8),
                     ("char", _types.int8), ("bool", _types.bool_)):
    _converter(_name, _type)

swapaxes = swapdims = transpose
moveaxis = movedim
concat = concatenate = cat
register_all(globals(), "reshape view view_as reshape_as flatten ravel unflatten unsqueeze squeeze permute transpose "
                        "t movedim narrow split split_with_sizes chunk unbind repeat tile index_select "
                        "repeat_interleave flip roll clone copy_ fill_ zero_ to type_as cpu cuda")
register("swapaxes", transpose)
register("contiguous", contiguous_)
register("type", type_)
register("T", property(_transposed, doc="A view with all dimensions in reverse order."))
register("mT", property(_matrix_transposed, doc="A view with the last two dimensions exchanged."))
