"""Indexing for reading and writing, gather and scatter, sorting; forward and backward."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t
from numpy cimport ndarray, npy_intp

from collections import namedtuple

import numpy as np

from .._tensor import view_by
from .common import storable

from .._kernels cimport Scratch, fdl_table, scratch, unwatch, watch
from .._tensor cimport (F32, F64, Node, Tensor, attach, begin_inplace, cast_copy, contiguous, copy_into, edge,
                        end_inplace, grad_enabled, is_fast, is_sole_owner, kernels, operators, own_array, piece_grad,
                        register_all, view_of, wants, wrap)
from .common cimport (GIL_ELEMS, MAX_DIMS, as_tensor, broadcast, category, expand_to, new_empty_of, new_zeros_of,
                      normal_dim, shape_of, sum_to, to_type)
from .interruptible import interruptible

cnp.import_array()

sort_result = namedtuple("sort", ["values", "indices"])
topk_result = namedtuple("topk", ["values", "indices"])


# Rows by number ---------------------------------------------------------------------------------------------------
#
# All that takes elements by index comes down to two operators on a tensor that is seen as V rows of D neighbouring
# elements: to take the rows with given numbers, and to add rows to those with given numbers. Each is the other's
# gradient. What is added to one element is added in the order of the numbers, whatever the number of threads.
# gather and scatter_add are the same with one number for each element: their V is -1 - dim.

cpdef Tensor in_range(str op, Tensor index, int64_t n, int dim, bint negative, object error=IndexError):
    cdef ndarray a = index.a
    cdef int64_t i, count = cnp.PyArray_SIZE(a), value
    cdef uint64_t signs = 0, largest = n - 1
    cdef const int64_t *p
    if cnp.PyArray_TYPE(a) != cnp.NPY_INT64 or not cnp.PyArray_IS_C_CONTIGUOUS(a):
        if a.dtype.kind not in "iu":
            raise error(f"[{op}] index: expected integers, got {index.dtype}")
        a = np.asarray(a, np.int64, order="C")
        index = wrap(a)
    p = <const int64_t *> cnp.PyArray_DATA(a)
    for i in range(count):
        signs |= <uint64_t> p[i] | (largest - <uint64_t> p[i])
    if <int64_t> signs >= 0:
        return index
    for i in range(count):
        value = p[i]
        if 0 <= value < n:
            continue
        if not negative or value >= n or value < -n:
            at = [int(k) for k in np.unravel_index(i, (<object> a).shape)] if a.ndim else ""
            raise error(f"[{op}] index{at} = {value} is outside [{-n if negative else 0}, {n}) of dimension {dim}")
    return wrap(np.where(a < 0, a + n, a))


@cython.final
cdef class TakeBackward(Node):
    """out = rows of x:  dx = zeros with the rows of g added where they came from. Saved: 0 their numbers."""
    cdef int64_t v
    cdef tuple shape
    cdef str title

    def name(self):
        return self.title

    cdef object apply(self, Tensor g):
        return placed(g, self.saved(0), self.v, self.shape)


@cython.final
cdef class AddRowsBackward(Node):
    """out = x with rows of `source` added:  dx = g,  dsource = rows of g. Saved: 0 their numbers."""
    cdef int64_t v
    cdef tuple shape

    def name(self):
        return "IndexAddBackward0"

    cdef object apply(self, Tensor g):
        return (g if self.edges[0] is not None else None,
                taken(g, self.saved(0), self.v, self.shape, "IndexSelectBackward0", None)
                if self.edges[1] is not None else None)


cdef Tensor taken(Tensor x, Tensor index, int64_t v, tuple shape, str title, object where):
    """The rows of x, seen as v rows, with the numbers `index`, in shape `shape`. `where`: what NumPy calls them, if x
    should not be copied to lie in rows."""
    cdef int item = cnp.PyArray_ITEMSIZE(x.a)
    cdef Tensor y = new_empty_of(shape, cnp.PyArray_TYPE(x.a)), source
    cdef int64_t n = cnp.PyArray_SIZE(index.a), d = cnp.PyArray_SIZE(y.a) // n if n else 0
    cdef const fdl_table *K = F64 if item == 8 else F32  # elements are only moved: any type of 4 or 8 bytes will do
    cdef TakeBackward node
    cdef void *py = cnp.PyArray_DATA(y.a)
    cdef const void *px
    cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index.a)
    if where is not None and not cnp.PyArray_IS_C_CONTIGUOUS(x.a):
        y.a[...] = x.a[where]
    elif d:
        source = contiguous(x)
        px = cnp.PyArray_DATA(source.a)
        if v < 0 and (item == 4 or item == 8):
            gather_data(K, py, source.a, index.a, -1 - v, False)
        elif v < 0:
            y.a[...] = (<object> source.a)[grid(index.a, -1 - v)]
        elif item != 4 and item != 8:
            (<object> source.a).reshape(v, d).take((<object> index.a).reshape(-1), 0, (<object> y.a).reshape(n, d), "clip")
        elif n * d < GIL_ELEMS:
            K.embedding_fwd(py, px, pi, n, v, d)
        else:
            watch(1000.0 * n + 32.0 * n * d)  # a row is far from the one before
            with nogil:
                K.embedding_fwd(py, px, pi, n, v, d)
            unwatch()
    if grad_enabled() and wants(x):
        node = TakeBackward.__new__(TakeBackward)
        node.save(0, index)
        node.v, node.shape, node.title = v, shape_of(x), title
        attach(y, node, (edge(x),))
    return y


cdef int add_data(Tensor x, Tensor index, int64_t v, Tensor source, bint accumulate) except -1:
    """Adds the rows of source to those of x, seen as v rows, with the numbers `index`; else x is zeros before."""
    cdef Tensor out = contiguous(x), rows = contiguous(source)
    cdef int64_t n = cnp.PyArray_SIZE(index.a), size = cnp.PyArray_SIZE(x.a), d = size // v if v else 0
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(x.a))
    cdef Scratch s
    cdef void *po = cnp.PyArray_DATA(out.a)
    cdef const void *pr = cnp.PyArray_DATA(rows.a)
    cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index.a)
    if is_fast(cnp.PyArray_TYPE(x.a)) and v < 0:
        if not accumulate:
            with nogil:
                K.fill(po, 0, size)
        gather_data(K, <void *> pr, out.a, index.a, -1 - v, True)
    elif is_fast(cnp.PyArray_TYPE(x.a)):
        s = scratch(K.embedding_bwd_scratch(n, v, d, accumulate))
        with nogil:
            K.embedding_bwd(po, pr, pi, n, v, d, -1, accumulate, s.data)
    else:
        if not accumulate:
            cnp.PyArray_FILLWBYTE(out.a, 0)
        if v < 0:
            np.add.at(out.a, grid(index.a, -1 - v), rows.a)
        elif d:
            np.add.at((<object> out.a).reshape(v, d), (<object> index.a).reshape(-1), (<object> rows.a).reshape(n, d))
    if out is not x:
        copy_into(x, out)
    return 0


cdef Tensor placed(Tensor g, Tensor index, int64_t v, tuple shape):
    """Zeros of shape `shape`, seen as v rows, with the rows of g added to those with the numbers `index`."""
    cdef Tensor out = new_empty_of(shape, cnp.PyArray_TYPE(g.a))
    add_data(out, index, v, g, False)
    if grad_enabled() and wants(g):
        attach(out, add_rows_node(index, v, g), (None, edge(g)))
    return out


cdef Tensor add_rows_(str op, Tensor x, Tensor index, int64_t v, Tensor source):
    """The same in place, added to what x holds."""
    cdef AddRowsBackward node = None
    cdef tuple edges = (None, None)
    if cnp.PyArray_TYPE(source.a) != cnp.PyArray_TYPE(x.a):
        raise RuntimeError(f"[{op}] expected values of type {x.dtype} as the tensor they are added to, got "
                           f"{source.dtype}")
    begin_inplace(x)
    add_data(x, index, v, cast_copy(source, cnp.PyArray_TYPE(source.a)) if source.storage is x.storage else source, True)
    if grad_enabled() and (wants(x) or wants(source)):
        node = add_rows_node(index, v, source)
        edges = (edge(x), edge(source))
    return end_inplace(x, op, node, edges)


cdef AddRowsBackward add_rows_node(Tensor index, int64_t v, Tensor source):
    cdef AddRowsBackward node = AddRowsBackward.__new__(AddRowsBackward)
    node.save(0, index)
    node.v, node.shape = v, shape_of(source)
    return node


cdef Tensor row_numbers(Tensor x, int at, Tensor ids, int64_t *v):
    """The numbers of the rows that are the entries `ids` of dimension `at`; v: how many rows x has."""
    cdef int64_t outer = 1, n = cnp.PyArray_DIMS(x.a)[at]
    cdef int i
    for i in range(at):
        outer *= cnp.PyArray_DIMS(x.a)[i]
    v[0] = outer * n
    return ids if outer == 1 else wrap(np.add.outer(np.arange(outer) * n, ids.a))


cdef Tensor take_dim(Tensor x, int at, Tensor ids, str title):
    cdef int64_t v = 0
    cdef tuple shape = shape_of(x)
    cdef object where = None
    if cnp.PyArray_TYPE(ids.a) != cnp.NPY_INT64:
        raise TypeError(f"expected whole numbers, got {ids.a.dtype}")
    if not cnp.PyArray_IS_C_CONTIGUOUS(x.a):
        where = (slice(None),) * at + (ids.a,)
    shape = shape[:at] + shape_of(ids) + shape[at + 1:]
    ids = row_numbers(x, at, ids, &v)
    return taken(x, ids, v, shape, title, where)


def entries_of(str op, Tensor x, int dim, Tensor index, Tensor source):
    """(dim counted from 0, the checked numbers of entries along it, `source` as x with as many of them)."""
    cdef int at = normal_dim(op, dim, cnp.PyArray_NDIM(x.a))
    cdef tuple shape = shape_of(x), given = shape_of(source), wanted
    if cnp.PyArray_NDIM(index.a) > 1:
        raise IndexError(f"[{op}] expected a 1-d index, got shape {shape_of(index)}")
    if cnp.PyArray_TYPE(source.a) != cnp.PyArray_TYPE(x.a):
        raise RuntimeError(f"[{op}] source: expected {x.dtype} as the tensor, got {source.dtype}")
    wanted = shape[:at] + (cnp.PyArray_SIZE(index.a),) + shape[at + 1:]
    if given != wanted:
        if given or wanted != (1,):
            count_only = op == "index_copy" and given[:at] + given[at + 1:] == shape[:at] + shape[at + 1:]
            raise (IndexError if count_only else RuntimeError)(f"[{op}] source: expected shape {wanted}, got {given}")
        source = source.reshape(wanted)
    return at, in_range(op, index, shape[at], dim, False), source


def index_add_(Tensor input, int dim, Tensor index, Tensor source, *, alpha=1):
    """Adds alpha times source's entries along `dim` to those with the numbers in `index`, one after another."""
    cdef Tensor x = input if cnp.PyArray_NDIM(input.a) else input.reshape(1), ids
    cdef int64_t v = 0
    at, ids, source = entries_of("index_add_", x, dim, index, source)
    ids = row_numbers(x, at, ids, &v)
    add_rows_("index_add_", x, ids, v, source if alpha == 1 else source * alpha)
    return input


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
        raise (TypeError if isinstance(i, str) else IndexError)(
            f"[getitem] an index is made of ints, slices, None, ..., lists, tensors, got {type(i).__name__}")
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
    if extra < 0:
        raise IndexError(f"[getitem] too many indices for a tensor of shape {shape_of(x)}: {used}")
    for i in items:
        if i is Ellipsis:
            basic.append(i)
            advanced.extend([slice(None)] * extra)
        elif isinstance(i, ndarray) and i.ndim == 0:  # True or False: a new dimension of size 1 or 0
            basic.append(None)
            advanced.append(np.zeros(int(i), np.int64))
        elif isinstance(i, ndarray):
            basic.extend([slice(None)] * (i.ndim if i.dtype.kind == "b" else 1))
            advanced.append(i)
        else:
            basic.append(i)
            if not is_int(i):
                advanced.append(slice(None))
    return tuple(basic), tuple(advanced)


cdef str shown(object index):
    return ", ".join([f"tensor{i.shape}" if isinstance(i, ndarray) else ":" if is_all(i) else repr(i) for i in index])


cdef bint is_all(object i):
    return isinstance(i, slice) and i == slice(None)


cdef tuple flat_index(str op, tuple shape, tuple advanced):
    """(row numbers, rows V, shape of the result) of an advanced index: arrays and `:`, one for each dimension, masks
    for several. The result has the arrays' dimensions where the arrays stand if they stand together, else in front."""
    cdef list items = [], arrays = [], spans = []
    cdef int d, last, span
    cdef int64_t step = 1
    for i in advanced:
        d = len(items)
        if not isinstance(i, ndarray):
            items.append(None)
        elif i.dtype.kind == "b":
            if i.shape != shape[d:d + i.ndim]:
                raise IndexError(f"[{op}] a mask of shape {i.shape} does not fit a tensor of shape {shape} from dimension "
                                 f"{d} on")
            items.extend(i.nonzero())
        else:
            items.append(in_range(op, wrap(i), shape[d], d, True).a)
    while items[len(items) - 1] is None:
        items.pop()
    arrays = [i for i in items if i is not None]
    last = len(items) - 1
    if last == 0:
        return wrap(np.asarray(arrays[0], order="C")), shape[0], arrays[0].shape + shape[1:]
    try:
        block = np.broadcast_shapes(*[i.shape for i in arrays])
    except ValueError:
        raise IndexError(f"[{op}] the shapes of the indices cannot be broadcast together: "
                         f"{', '.join([str(i.shape) for i in arrays])}") from None
    apart = any([i is None for i in items[last - len(arrays) + 1:]])
    spans = [shape[d] for d in range(last + 1) if items[d] is None]
    flat, span = 0, len(spans)
    for d in range(last, -1, -1):
        part = items[d]
        if part is None:
            span -= 1
            part = np.arange(shape[d]).reshape((-1,) + (1,) * (len(spans) - 1 - span + (0 if apart else len(block))))
        elif apart:
            part = part.reshape(part.shape + (1,) * len(spans))
        flat = flat + part * step
        step *= shape[d]
    front = block + tuple(spans) if apart else tuple(spans) + block
    return wrap(np.asarray(flat, order="C")), step, front + shape[last + 1:]


@cython.final
cdef class SliceBackward0(Node):
    """out = x[index], a view:  dx = zeros with g there"""
    cdef tuple index, shape

    def name(self):
        return "SelectBackward0" if self.index and is_int(self.index[-1]) else "SliceBackward0"

    cdef object apply(self, Tensor g):
        if not grad_enabled():
            return piece_grad(g, self.index, self.shape)
        cdef Tensor dx = new_zeros_of(self.shape, cnp.PyArray_TYPE(g.a))
        setitem(dx, self.index, g)
        return dx


cdef Tensor getitem_view(Tensor x, tuple index):
    cdef SliceBackward0 node
    cdef object a
    try:
        a = x.a[index]
    except IndexError as error:
        raise IndexError(f"[getitem] index {shown(index)} does not fit a tensor of shape {shape_of(x)}: "
                         f"{str(error).replace('axis', 'dimension').replace('array', 'tensor')}") from None
    if not isinstance(a, ndarray):  # NumPy gives a scalar where every dimension has an int: the 0-d view instead
        a = x.a[index + (Ellipsis,)]
    cdef Tensor y = view_of(x, a)
    if grad_enabled() and wants(x):
        node = SliceBackward0.__new__(SliceBackward0)
        node.index, node.shape = index, shape_of(x)
        attach(y, node, (edge(x),))
    return y


cdef Tensor getitem_rows(Tensor x, tuple advanced):
    cdef int i, at = -1
    for i in range(len(advanced)):
        if isinstance(advanced[i], ndarray):
            if at >= 0 or cnp.PyArray_TYPE(<ndarray> advanced[i]) == cnp.NPY_BOOL:
                break
            at = i
    else:  # one array, along one dimension
        return take_dim(x, at, in_range("getitem", wrap(advanced[at]), cnp.PyArray_DIMS(x.a)[at], at, True),
                        "IndexBackward0")
    index, v, shape = flat_index("getitem", shape_of(x), advanced)
    return taken(x, index, v, shape, "IndexBackward0", advanced)


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
        return getitem_view(x, (index,))
    if type(index) is Tensor and cnp.PyArray_TYPE((<Tensor> index).a) == cnp.NPY_INT64 \
            and cnp.PyArray_NDIM((<Tensor> index).a) and cnp.PyArray_NDIM(x.a):
        return take_dim(x, 0, in_range("getitem", index, cnp.PyArray_DIMS(x.a)[0], 0, True), "IndexBackward0")
    basic, advanced = parts_of(x, index)
    if advanced is None:
        return getitem_view(x, basic)
    if selects(basic):
        x = getitem_view(x, basic)
    return getitem_rows(x, advanced)


# x[index] = value -------------------------------------------------------------------------------------------------

@cython.final
cdef class IndexPutBackward0(Node):
    """x[index] = value:  dx = g with zeros there,  dvalue = g[index] summed to value's shape"""
    cdef object basic, advanced
    cdef tuple shape
    cdef int typenum

    cdef object apply(self, Tensor g):
        cdef Tensor dx = None, dvalue = None
        # nobody else sees g: its memory will do, so that a loop of writes costs what the parts cost
        cdef bint sole = not grad_enabled() and is_sole_owner(g, 1)
        if self.edges[1] is not None:
            dvalue = getitem_view(g, self.basic)
            if self.advanced is not None:
                dvalue = getitem_rows(dvalue, self.advanced)
            elif sole:
                dvalue = cast_copy(dvalue, cnp.PyArray_TYPE(g.a))
            lead = len(self.shape) - cnp.PyArray_NDIM(dvalue.a)
            if lead > 0:  # the value had leading dimensions of 1
                dvalue = dvalue.reshape((1,) * lead + shape_of(dvalue))
            dvalue = to_type(sum_to(dvalue, self.shape), self.typenum)
        if self.edges[0] is not None:
            dx = g if sole else g.clone()
            if self.advanced is None:
                setitem(dx, self.basic, 0)
            else:
                setitem(getitem_view(dx, self.basic) if selects(self.basic) else dx, self.advanced, 0)
        return dx, dvalue


cdef int put(ndarray a, object basic, object advanced, object value) except -1:
    cdef object part
    if advanced is None:
        a[basic] = value
    else:
        part = a[basic]
        part[advanced] = value
    return 0


cdef bint fills(tuple advanced, Tensor value):
    """Whether x[advanced] = value is masked_fill: one mask and one element, which becomes of x's type."""
    cdef list arrays = [i for i in advanced if isinstance(i, ndarray)]
    return len(arrays) == 1 and arrays[0].dtype.kind == "b" and cnp.PyArray_SIZE(value.a) == 1


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
        if advanced is not None and cnp.PyArray_TYPE(v.a) != cnp.PyArray_TYPE(x.a) and not fills(advanced, v):
            raise RuntimeError(f"[setitem] Index put requires the source and destination dtypes match, got {x.dtype} for "
                               f"the destination and {v.dtype} for the source")
        value = v.a if v.a.size != 1 else v.a.reshape(())
        if v.storage is x.storage:
            value = value.copy()
    elif value is None or isinstance(value, str):
        raise TypeError(f"[setitem] expected a tensor, a number or an array, got {value!r}")
    elif category(cnp.PyArray_TYPE(x.a)) == 1:
        value = storable(value, cnp.PyArray_TYPE(x.a))
    try:
        put(x.a, basic, advanced, value)
    except IndexError as error:
        if advanced is not None:
            flat_index("setitem", (<object> x.a)[basic].shape, advanced)  # says it better
        raise IndexError(f"[setitem] index {shown(basic if advanced is None else advanced)} does not fit a tensor of "
                         f"shape {shape_of(x)}: "
                         f"{str(error).replace('axis', 'dimension').replace('array', 'tensor')}") from None
    except ValueError as error:
        part = str(error).partition("into shape ")[2]
        raise RuntimeError(f"[setitem] a value of shape {np.shape(value)} cannot be assigned to index "
                           f"{shown(basic if advanced is None else advanced)} "
                           f"of a tensor of shape {shape_of(x)}: "
                           f"{f'that has shape {part}' if part else error}") from None
    if grad_enabled() and category(cnp.PyArray_TYPE(x.a)) == 2 and (wants(x) or v is not None and wants(v)):
        node = IndexPutBackward0.__new__(IndexPutBackward0)
        node.basic, node.advanced = basic, advanced
        node.shape = () if v is None else shape_of(v)
        node.typenum = cnp.PyArray_TYPE(x.a) if v is None else cnp.PyArray_TYPE(v.a)
        edges = (edge(x), None if v is None else edge(v))
    end_inplace(x, "setitem", node, edges)
    return 0


def add_items_(Tensor input, index, Tensor values):
    """input[index] += values, in place; what the index names several times is added up."""
    cdef tuple basic
    cdef object advanced
    cdef Tensor part = input
    cdef tuple given = shape_of(values)
    cdef int lead
    basic, advanced = parts_of(input, index)
    if advanced is None or selects(basic):
        part = getitem_view(input, basic)
    if advanced is None:
        operators.iadd(part, values)
        return input
    rows, v, shape = flat_index("index_put_", shape_of(part), advanced)
    lead = max(len(given) - len(shape), 0)
    if max(given[:lead], default=1) != 1 or any([n != m and n != 1 for n, m in zip(given[::-1], shape[::-1])]):
        raise RuntimeError(f"[index_put_] values of shape {given} cannot be broadcast to the shape {shape} of what the "
                           f"indices name")
    if lead:
        values = values.reshape(given[lead:])
    add_rows_("index_put_", part, rows, v, expand_to(values, shape))
    return input


cdef object filling(str op, Tensor input, Tensor mask, object value):
    """`value` as a tensor of input's type."""
    cdef npy_intp dims[MAX_DIMS]
    if mask.a.dtype != bool:
        raise RuntimeError(f"[{op}] expected a bool mask, got {mask.dtype}")
    broadcast(op, input.a, mask.a, dims)
    cdef Tensor filled = as_tensor(storable(value, cnp.PyArray_TYPE(input.a)), input)
    if cnp.PyArray_NDIM(filled.a):
        raise RuntimeError(f"[{op}] value: expected a number or a 0-d tensor, got shape {shape_of(filled)}")
    return to_type(filled, cnp.PyArray_TYPE(input.a))


def masked_fill_(Tensor input, Tensor mask, value):
    """Writes `value` wherever the bool `mask` (broadcast) holds."""
    value = filling("masked_fill_", input, mask, value)
    if np.broadcast_shapes(shape_of(mask), shape_of(input)) != shape_of(input):
        raise RuntimeError(f"[masked_fill_] a mask of shape {shape_of(mask)} cannot be broadcast to {shape_of(input)}")
    setitem(input, wrap(np.broadcast_to(mask.a, shape_of(input))), value)
    return input


def masked_fill(Tensor input, Tensor mask, value):
    """A copy with `value` wherever the bool `mask` (broadcast) holds."""
    value = filling("masked_fill", input, mask, value)
    return input.where(~mask, value)


def masked_select(Tensor input, Tensor mask):
    """The elements where `mask` holds, as a vector."""
    if mask.a.dtype != bool:
        raise RuntimeError(f"[masked_select] expected a bool mask, got {mask.dtype}")
    both = np.broadcast_shapes(shape_of(input), shape_of(mask))
    return getitem(input.expand(both), wrap(np.broadcast_to(mask.a, both)))


def nonzero(Tensor input, *, bint as_tuple=False):
    """Indices of the elements that are not zero: (count, ndim), or one vector per dimension."""
    if as_tuple:
        return tuple([wrap(own_array(i)) for i in np.nonzero(np.atleast_1d(input.a))])
    return wrap(own_array(np.argwhere(input.a)))


# gather, scatter --------------------------------------------------------------------------------------------------

cdef tuple grid(ndarray index, int at):
    """NumPy's index of the elements that gather and scatter mean."""
    cdef list items = list(np.ogrid[tuple([slice(n) for n in (<object> index).shape])])
    items[at] = index
    return tuple(items)


cdef int gather_data(const fdl_table *K, void *values, ndarray x, ndarray index, int at, bint add) except -1:
    cdef int64_t strides[MAX_DIMS]
    cdef int d, ndim = cnp.PyArray_NDIM(x)
    cdef int64_t step = 1
    cdef void *px = cnp.PyArray_DATA(x)
    cdef const int64_t *pi = <const int64_t *> cnp.PyArray_DATA(index)
    cdef const int64_t *sizes = <const int64_t *> cnp.PyArray_DIMS(index)
    if cnp.PyArray_SIZE(index) == 0:
        return 0
    for d in range(ndim - 1, -1, -1):
        strides[d] = step
        step *= cnp.PyArray_DIMS(x)[d]
    if not add:
        watch(1000.0 * cnp.PyArray_SIZE(index))
    with nogil:
        K.gather(values, px, pi, sizes, strides, ndim, at, add)
    unwatch()
    return 0


cdef Tensor along(str op, Tensor x, int at, int dim, Tensor index):
    """`index` checked for gather and scatter along `at`, which the caller called `dim`; x has dimensions."""
    cdef int d, ndim = cnp.PyArray_NDIM(x.a)
    if index.a.dtype.kind != "i":
        raise RuntimeError(f"[{op}] expected an int64 index, got {index.dtype}")
    if cnp.PyArray_SIZE(index.a):
        if cnp.PyArray_NDIM(index.a) != ndim:
            raise RuntimeError(f"[{op}] index must have the input's {ndim} dimensions, got shape {shape_of(index)}")
        for d in range(ndim):
            if d != at and cnp.PyArray_DIMS(index.a)[d] > cnp.PyArray_DIMS(x.a)[d]:
                raise RuntimeError(f"[{op}] index: expected sizes of at most {shape_of(x)} but in dimension {dim}, got "
                                   f"{shape_of(index)}")
    return in_range(op, index, cnp.PyArray_DIMS(x.a)[at], dim, False, RuntimeError)


def gather(Tensor input, int dim, Tensor index):
    """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on. Shape: that of `index`."""
    cdef int at = normal_dim("gather", dim, cnp.PyArray_NDIM(input.a))
    if cnp.PyArray_NDIM(input.a) == 0:
        return gather(input.reshape(1), 0, index.reshape(-1)).reshape(shape_of(index))
    return taken(input, along("gather", input, at, dim, index), -1 - at, shape_of(index), "GatherBackward0", None)


def scatter_add_(Tensor input, int dim, Tensor index, Tensor src):
    """input[index[i][j]][j] += src[i][j] for dim 0, and so on, in place; duplicates are added in the order of `src`."""
    cdef int at = normal_dim("scatter_add_", dim, cnp.PyArray_NDIM(input.a))
    cdef tuple sizes = shape_of(index)
    if cnp.PyArray_SIZE(index.a) == 0 and shape_of(src) != sizes:
        return input
    if cnp.PyArray_NDIM(input.a) == 0:
        scatter_add_(input.reshape(1), 0, index.reshape(-1), src.reshape(-1))
        return input
    index = along("scatter_add_", input, at, dim, index)
    if shape_of(src) != sizes:
        if cnp.PyArray_NDIM(src.a) != len(sizes) or any([n < s for n, s in zip(shape_of(src), sizes)]):
            raise RuntimeError(f"[scatter_add_] src: expected at least the index's shape {sizes}, got {shape_of(src)}")
        src = src[tuple([slice(n) for n in sizes])]
    return add_rows_("scatter_add_", input, index, -1 - at, src)


# order ------------------------------------------------------------------------------------------------------------

cdef tuple ordered(Tensor x, ndarray order, int dim):
    cdef Tensor index = wrap(own_array(order.astype(np.int64)))
    return (gather(x, dim, index) if x.a.ndim else x.clone()), index


cdef ndarray order_of(ndarray a, int dim, bint descending):
    """Indices that sort along dim; equal elements keep their order."""
    if a.ndim == 0:
        return np.zeros((), np.int64)
    x = np.flip(a, dim) if descending else a  # a stable falling order: the reversed array's rising one, read backwards
    order = interruptible(cnp.PyArray_SIZE(a), np.argsort, x, axis=dim, kind="stable")
    return (<object> a).shape[dim] - 1 - np.flip(order, dim) if descending else order


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

cdef Tensor triangle(str op, Tensor x, int64_t diagonal, bint upper):
    if cnp.PyArray_NDIM(x.a) < 2:
        raise RuntimeError(f"[{op}] expected at least 2 dimensions, got shape {shape_of(x)}")
    mask = np.tri(*shape_of(x)[-2:], diagonal, dtype=bool)
    cdef Tensor keep = wrap(own_array(np.broadcast_to(~mask if upper else mask, shape_of(x))))
    return x & keep if cnp.PyArray_ISBOOL(x.a) else x.where(keep, as_tensor(0, x))


def tril(Tensor input, int diagonal=0):
    """The lower triangle of the last two dimensions, zeros above it."""
    return triangle("tril", input, diagonal, False)


def triu(Tensor input, int diagonal=0):
    """The upper triangle of the last two dimensions, zeros below it."""
    return triangle("triu", input, <int64_t> diagonal - 1, True)


def diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1):
    """A view of the diagonal, as the last dimension."""
    cdef int n = cnp.PyArray_NDIM(input.a)
    i, j = normal_dim("diagonal", dim1, n), normal_dim("diagonal", dim2, n)
    if i == j:
        raise RuntimeError(f"[diagonal] dim1 and dim2: expected two different dimensions, got {dim1} and {dim2}")
    # within the matrix or just outside: NumPy negates the number as an int
    offset = min(max(offset, -<int64_t> cnp.PyArray_DIMS(input.a)[i]), <int64_t> cnp.PyArray_DIMS(input.a)[j])
    a = (<object> input.a).diagonal(offset, i, j)
    if cnp.PyArray_ISWRITEABLE(input.a):
        a.flags.writeable = True
    return view_by(input, a, "DiagonalBackward0")


def diag(Tensor input, int diagonal=0):
    """A matrix with this diagonal, or the diagonal of a matrix."""
    if input.a.ndim == 2:
        return globals()["diagonal"](input, diagonal).clone()
    if input.a.ndim != 1:
        raise RuntimeError(f"[diag] expected a vector or a matrix, got shape {shape_of(input)}")
    n = input.numel() + abs(<object> diagonal)
    rows = np.arange(input.numel())
    return placed(input, wrap((rows - min(diagonal, 0)) * n + rows + max(diagonal, 0)), n * n, (n, n))


operators.getitem, operators.setitem = getitem, setitem

register_all(globals(), "index_add_ masked_fill_ masked_fill masked_select nonzero gather scatter_add_ sort argsort topk tril "
                        "triu diagonal diag")
