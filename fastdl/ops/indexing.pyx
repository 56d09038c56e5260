"""Indexing for reading and writing, gather and scatter, sorting; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp

from collections import namedtuple

import numpy as np

from .._tensor cimport (Node, Tensor, attach, begin_inplace, edge, end_inplace, grad_enabled, operators, own_array,
                        register_all, view_of, wants, wrap)
from .common cimport as_tensor, normal_dim, shape_of, sum_to, to_type

cnp.import_array()

sort_result = namedtuple("sort", ["values", "indices"])
topk_result = namedtuple("topk", ["values", "indices"])


# x[index] ---------------------------------------------------------------------------------------------------------
#
# An index has a basic part (ints, slices, None, ...), taken first and always a view, and an advanced part (tensors,
# lists, masks), taken from that view with a copy. NumPy would join ints with the advanced part; PyTorch does not.

cdef bint is_int(object x):
    return isinstance(x, int) and not isinstance(x, bool) or isinstance(x, np.integer)


cdef object plain(object i):
    """One item of an index as NumPy takes it."""
    cdef ndarray a
    if isinstance(i, slice):
        if i.step is not None and i.step < 1:
            raise ValueError("step must be greater than zero")
        return slice(*[int(x) if isinstance(x, Tensor) else x for x in (i.start, i.stop, i.step)])
    if i is None or i is Ellipsis or is_int(i):
        return i
    if isinstance(i, Tensor):
        a = (<Tensor> i).a
    elif isinstance(i, (list, tuple, range)):
        a = np.asarray([int(x) if isinstance(x, Tensor) else x for x in i])
        if a.size == 0:
            a = a.astype(np.int64)
    elif isinstance(i, ndarray):
        a = i
    elif isinstance(i, (bool, np.bool_)):
        return np.asarray(i)
    else:
        raise TypeError(f"[getitem] an index is made of ints, slices, None, ..., lists, tensors, got "
                        f"{type(i).__name__}")
    if a.dtype == np.uint8:
        a = a.astype(bool)
    if a.dtype.kind not in "iub":
        raise IndexError(f"[getitem] tensors used as indices must be of integer or bool type, got {a.dtype}")
    if a.ndim == 0 and a.dtype.kind != "b":
        return int(a)
    return a


cdef tuple parts_of(Tensor x, object index):
    """(basic index, advanced index or None)"""
    cdef list items, basic = [], advanced = []
    cdef int used = 0, extra
    if type(index) is tuple:
        items = [plain(i) for i in <tuple> index]
    elif isinstance(index, list) and any([isinstance(i, slice) or i is None or i is Ellipsis for i in index]):
        items = [plain(i) for i in index]  # x[[0, None]] means x[0, None]
    else:
        items = [plain(index)]
    if not any([isinstance(i, ndarray) for i in items]):
        return tuple(items), None
    for i in items:
        if i is None or i is Ellipsis:
            continue
        used += i.ndim if isinstance(i, ndarray) and i.dtype.kind == "b" else 1
    extra = cnp.PyArray_NDIM(x.a) - used
    for i in items:
        if i is Ellipsis:
            basic.append(i)
            advanced.extend([slice(None)] * extra)
        elif isinstance(i, ndarray):
            basic.extend([slice(None)] * (i.ndim if i.dtype.kind == "b" else 1))
            advanced.append(i)
        else:
            basic.append(i)
            if not is_int(i):
                advanced.append(slice(None))
    return tuple(basic), tuple(advanced)


cdef object taken(ndarray a, object index, object whole_shape):
    """a[index] with PyTorch's words for what is out of range."""
    try:
        return a[index]
    except IndexError as error:
        raise IndexError(f"[getitem] index {shown(index)} does not fit a tensor of shape {whole_shape}: "
                         f"{str(error).replace('axis', 'dimension')}") from None


cdef str shown(object index):
    return ", ".join([f"tensor{i.shape}" if isinstance(i, ndarray) else ":" if is_all(i) else repr(i) for i in index])


cdef bint is_all(object i):
    return isinstance(i, slice) and i == slice(None)


@cython.final
cdef class IndexBackward0(Node):
    """out = x[index]:  dx = zeros with g added at index"""
    cdef object index
    cdef bint advanced, single
    cdef tuple shape

    def name(self):
        return "IndexBackward0" if self.advanced else "SelectBackward0" if self.single else "SliceBackward0"

    cdef object apply(self, Tensor g):
        return placed(g, self.index, self.advanced, self.shape)


@cython.final
cdef class PlacedBackward(Node):
    """out = zeros with g added at index:  dg = its gradient there"""
    cdef object index
    cdef bint advanced

    def name(self):
        return "IndexPutBackward0"

    cdef object apply(self, Tensor g):
        return getitem_part(g, self.index, self.advanced)


cdef Tensor placed(Tensor g, object index, bint advanced, tuple shape):
    cdef PlacedBackward node
    cdef ndarray full = own_array(np.zeros(shape, g.a.dtype))
    if advanced:
        np.add.at(full, index, g.a)
    else:
        full[index] = g.a
    cdef Tensor out = wrap(full)
    if grad_enabled() and wants(g):
        node = PlacedBackward.__new__(PlacedBackward)
        node.index, node.advanced = index, advanced
        attach(out, node, (edge(g),))
    return out


cdef Tensor getitem_part(Tensor x, object index, bint advanced):
    cdef IndexBackward0 node
    cdef object a = taken(x.a, index, shape_of(x))
    cdef Tensor y
    if not isinstance(a, ndarray):  # NumPy gives a scalar where every dimension has an int: the 0-d view instead
        a = x.a[index + (Ellipsis,)]
    y = wrap(own_array(a)) if advanced else view_of(x, a)
    if grad_enabled() and wants(x):
        node = IndexBackward0.__new__(IndexBackward0)
        node.index, node.advanced, node.shape = index, advanced, shape_of(x)
        node.single = len(index) == 1 and is_int(index[0])
        attach(y, node, (edge(x),))
    return y


cdef bint selects(tuple basic):
    """Whether a basic index is more than `:` in every dimension."""
    for i in basic:
        if i is not Ellipsis and not is_all(i):
            return True
    return False


cdef object getitem(Tensor x, object index):
    cdef tuple basic
    cdef object advanced
    if isinstance(index, int) and not isinstance(index, bool):
        return getitem_part(x, (index,), False)
    basic, advanced = parts_of(x, index)
    if advanced is None:
        return getitem_part(x, basic, False)
    if selects(basic):
        x = getitem_part(x, basic, False)
    return getitem_part(x, advanced, True)


# x[index] = value -------------------------------------------------------------------------------------------------

@cython.final
cdef class IndexPutBackward0(Node):
    """x[index] = value:  dx = g with zeros there,  dvalue = g[index] summed to value's shape"""
    cdef object basic, advanced
    cdef tuple shape
    cdef int typenum

    cdef object apply(self, Tensor g):
        cdef Tensor dx = None, dvalue = None
        if self.edges[0] is not None:
            dx = wrap(own_array(g.a)) if not grad_enabled() else g.clone()
            if grad_enabled():
                dx[self.index()] = 0
            else:
                put(dx.a, self.basic, self.advanced, 0)
        if self.edges[1] is not None:
            dvalue = getitem_part(g, self.basic, False)
            if self.advanced is not None:
                dvalue = getitem_part(dvalue, self.advanced, True)
            lead = len(self.shape) - cnp.PyArray_NDIM(dvalue.a)
            if lead > 0:  # the value had leading dimensions of 1
                dvalue = dvalue.reshape((1,) * lead + shape_of(dvalue))
            dvalue = to_type(sum_to(dvalue, self.shape), self.typenum)
        return dx, dvalue

    def index(self):
        if self.advanced is not None and selects(self.basic):
            raise NotImplementedError("create_graph=True through an assignment to a mixed basic and advanced index is "
                                      "not implemented")
        return self.basic if self.advanced is None else self.advanced


cdef int put(ndarray a, object basic, object advanced, object value) except -1:
    cdef object part
    if advanced is None:
        a[basic] = value
    else:
        part = a[basic]
        part[advanced] = value
    return 0


cdef int setitem(Tensor x, object index, object value) except -1:
    cdef tuple basic
    cdef object advanced
    cdef IndexPutBackward0 node = None
    cdef Tensor v = None
    cdef tuple edges = (None, None)
    begin_inplace(x)
    basic, advanced = parts_of(x, index)
    if isinstance(value, Tensor):
        v = value
        value = v.a if v.a.size != 1 else v.a.reshape(())
        if v.storage is x.storage:
            value = value.copy()
    elif value is None or isinstance(value, str):
        raise TypeError(f"[setitem] expected a tensor, a number or an array, got {value!r}")
    try:
        put(x.a, basic, advanced, value)
    except IndexError as error:
        raise IndexError(f"[setitem] index {shown(basic if advanced is None else advanced)} does not fit a tensor of "
                         f"shape {shape_of(x)}: "
                         f"{str(error).replace('axis', 'dimension')}") from None
    except ValueError as error:
        raise RuntimeError(f"[setitem] a value of shape {np.shape(value)} cannot be assigned to index "
                           f"{shown(basic if advanced is None else advanced)} "
                           f"of a tensor of shape {shape_of(x)}: {error}") from None
    if grad_enabled() and (wants(x) or v is not None and wants(v)):
        node = IndexPutBackward0.__new__(IndexPutBackward0)
        node.basic, node.advanced = basic, advanced
        node.shape = () if v is None else shape_of(v)
        node.typenum = cnp.PyArray_TYPE(x.a) if v is None else cnp.PyArray_TYPE(v.a)
        edges = (edge(x), None if v is None else edge(v))
    end_inplace(x, "setitem", node, edges)
    return 0


def masked_fill_(Tensor input, Tensor mask, value):
    """Writes `value` wherever the bool `mask` (broadcast) holds."""
    if mask.a.dtype != bool:
        raise RuntimeError(f"[masked_fill_] expected a bool mask, got {mask.dtype}")
    setitem(input, wrap(np.broadcast_to(mask.a, shape_of(input))), value)
    return input


def masked_fill(Tensor input, Tensor mask, value):
    """A copy with `value` wherever the bool `mask` (broadcast) holds."""
    if mask.a.dtype != bool:
        raise RuntimeError(f"[masked_fill] expected a bool mask, got {mask.dtype}")
    return input.where(~mask, value if isinstance(value, Tensor) else as_tensor(value, input))


def masked_select(Tensor input, Tensor mask):
    """The elements where `mask` holds, as a vector."""
    both = np.broadcast_shapes(shape_of(input), shape_of(mask))
    return getitem(input.expand(both), wrap(np.broadcast_to(mask.a, both)))


def nonzero(Tensor input, *, bint as_tuple=False):
    """Indices of the elements that are not zero: (count, ndim), or one vector per dimension."""
    if as_tuple:
        return tuple([wrap(own_array(i)) for i in np.nonzero(input.a)])
    return wrap(own_array(np.argwhere(input.a)))


# gather, scatter --------------------------------------------------------------------------------------------------

cdef tuple along(str op, Tensor x, int dim, Tensor index):
    """The NumPy index that gather and scatter mean; checks ranges."""
    cdef int at = normal_dim(op, dim, cnp.PyArray_NDIM(x.a))
    if index.a.ndim != x.a.ndim:
        raise RuntimeError(f"[{op}] index must have the input's {x.a.ndim} dimensions, got shape {shape_of(index)}")
    if index.a.dtype.kind != "i":
        raise RuntimeError(f"[{op}] expected an int64 index, got {index.dtype}")
    n = shape_of(x)[at]
    if index.a.size and (index.a.min() < 0 or index.a.max() >= n):
        where = tuple([int(i) for i in np.argwhere((index.a < 0) | (index.a >= n))[0]])
        raise IndexError(f"[{op}] index{list(where)} = {index.a[where]} is outside [0, {n}) of dimension {dim}")
    grid = list(np.ogrid[tuple([slice(s) for s in shape_of(index)])]) if index.a.ndim else []
    if index.a.ndim:
        grid[at] = index.a
    return tuple(grid)


def gather(Tensor input, int dim, Tensor index):
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on. Shape: that of `index`."""
    return getitem_part(input, along("gather", input, dim, index), True)


def scatter_(Tensor input, int dim, Tensor index, src=None, *, value=None):
    """input[index[i][j]][j] = src[i][j] for dim 0, and so on, in place."""
    where = along("scatter_", input, dim, index)
    v = src if src is not None else value
    if isinstance(v, Tensor) and v.ndim:
        v = v[tuple([slice(n) for n in shape_of(index)])]
    setitem(input, tuple([wrap(i) for i in where]), v)
    return input


def scatter(Tensor input, int dim, Tensor index, src=None, *, value=None):
    """As scatter_, on a copy."""
    return scatter_(input.clone(), dim, index, src, value=value)


def scatter_add(Tensor input, int dim, Tensor index, Tensor src):
    """A copy of `input` with src[i][j] added to input[index[i][j]][j] for dim 0, and so on."""
    where = along("scatter_add", input, dim, index)
    part = src[tuple([slice(n) for n in shape_of(index)])]
    return input + placed(part, where, True, shape_of(input))


def take_along_dim(Tensor input, Tensor indices, dim=None):
    """As gather, with broadcasting; dim None: of the flattened input."""
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    return gather(input, dim, indices)


# order ------------------------------------------------------------------------------------------------------------

cdef tuple ordered(Tensor x, ndarray order, int dim):
    cdef Tensor index = wrap(own_array(order.astype(np.int64)))
    return (gather(x, dim, index) if x.a.ndim else x.clone()), index


cdef ndarray order_of(ndarray a, int dim, bint descending):
    """Indices that sort along dim; equal elements keep their order."""
    if a.ndim == 0:
        return np.zeros((), np.int64)
    if descending:  # a stable falling order: the reversed array's rising one, read backwards
        n = (<object> a).shape[dim]
        return n - 1 - np.flip(np.argsort(np.flip(a, dim), axis=dim, kind="stable"), dim)
    return np.argsort(a, axis=dim, kind="stable")


def sort(Tensor input, int dim=-1, bint descending=False, bint stable=False):
    """(values, indices) in rising or falling order along `dim`; equal ones keep their order, NaN counts as largest."""
    cdef int at = normal_dim("sort", dim, cnp.PyArray_NDIM(input.a))
    return sort_result(*ordered(input, order_of(input.a, at, descending), at))


def argsort(Tensor input, int dim=-1, bint descending=False, bint stable=False):
    """Indices that sort along `dim`."""
    cdef int at = normal_dim("argsort", dim, cnp.PyArray_NDIM(input.a))
    return wrap(own_array(order_of(input.a, at, descending).astype(np.int64)))


def topk(Tensor input, int k, int dim=-1, bint largest=True, bint sorted=True):
    """(values, indices) of the k largest (smallest) along `dim`, in order."""
    cdef int at = normal_dim("topk", dim, cnp.PyArray_NDIM(input.a))
    n = shape_of(input)[at] if input.a.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"[topk] k = {k} is outside [0, {n}], the size of dimension {dim}")
    order = order_of(input.a, at, largest)
    return topk_result(*ordered(input, order[(slice(None),) * at + (slice(k),)] if input.a.ndim else order, at))


# triangles --------------------------------------------------------------------------------------------------------

cdef Tensor triangle(Tensor x, object mask):
    return x.where(wrap(own_array(np.broadcast_to(mask, shape_of(x)))), as_tensor(0, x))


def tril(Tensor input, int diagonal=0):
    """The lower triangle of the last two dimensions, zeros above it."""
    return triangle(input, np.tri(*shape_of(input)[-2:], diagonal, dtype=bool))


def triu(Tensor input, int diagonal=0):
    """The upper triangle of the last two dimensions, zeros below it."""
    return triangle(input, ~np.tri(*shape_of(input)[-2:], diagonal - 1, dtype=bool))


def diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1):
    """The diagonal, as the last dimension."""
    cdef object a = input.a
    n = a.ndim
    i, j = normal_dim("diagonal", dim1, n), normal_dim("diagonal", dim2, n)
    rest = [d for d in range(n) if d not in (i, j)]
    moved = input.permute(*rest, i, j)
    rows = np.arange(max(0, min(a.shape[i] + min(offset, 0), a.shape[j] - max(offset, 0))))
    return getitem(moved, (Ellipsis, wrap(rows - min(offset, 0)), wrap(rows + max(offset, 0))))


def diag(Tensor input, int diagonal=0):
    """A matrix with this diagonal, or the diagonal of a matrix."""
    if input.a.ndim == 2:
        return globals()["diagonal"](input, diagonal)
    n = input.numel() + (diagonal if diagonal >= 0 else -diagonal)
    rows = np.arange(input.numel())
    return placed(input, (rows - min(diagonal, 0), rows + max(diagonal, 0)), True, (n, n))


operators.getitem, operators.setitem = getitem, setitem

register_all(globals(), "masked_fill_ masked_fill masked_select nonzero gather scatter_ scatter scatter_add "
                        "take_along_dim sort argsort topk tril triu diagonal diag")
