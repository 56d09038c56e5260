"""Types, broadcasting, and the pair expand / sum_to: what every operator needs."""

cimport cython
cimport numpy as cnp
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t
from numpy cimport ndarray, npy_intp

import numpy as np

from .. import _types

from .._kernels cimport ELEM_FMAS, FDL_SUM, Scratch, fdl_table, scratch, unwatch, watch
from .._tensor cimport (Node, Tensor, attach, cast, check_dims, contiguous, edge, empty, grad_enabled, is_fast, is_half, kernels,
                        own_array, register, view_of, wants, wrap)

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(type subtype, cnp.dtype descr, int ndim, npy_intp *shape, npy_intp *strides,
                                void *data, int flags, object obj)

cnp.import_array()

cdef type NUMPY_NUMBER = np.generic


# Types ------------------------------------------------------------------------------------------------------------

cdef bint is_number(object x):
    return isinstance(x, (float, int)) or isinstance(x, NUMPY_NUMBER)


cdef int default_float() noexcept:
    return <int> _types._default.numpy.num


cdef int category(int typenum) noexcept:
    """0 bool, 1 integer, 2 floating point."""
    if typenum == cnp.NPY_BOOL:
        return 0
    return 2 if is_fast(typenum) or is_half(typenum) else 1


cdef int promote(int a, int b) except -1:
    if a == b:
        return a
    if category(a) != category(b):
        return a if category(a) > category(b) else b
    if is_half(a) and is_half(b):
        return cnp.NPY_FLOAT32
    if is_half(a) or is_half(b):
        return b if is_half(a) else a
    return (<cnp.dtype> np.promote_types(cnp.PyArray_DescrFromType(a), cnp.PyArray_DescrFromType(b))).num


cdef int result_type(Tensor a, Tensor b) except -1:
    """A 0-d tensor decides only where its category is higher, as in PyTorch."""
    cdef int ta = cnp.PyArray_TYPE(a.a), tb = cnp.PyArray_TYPE(b.a)
    if ta == tb:
        return ta
    if (cnp.PyArray_NDIM(a.a) == 0) != (cnp.PyArray_NDIM(b.a) == 0):
        if cnp.PyArray_NDIM(a.a) == 0:
            ta, tb = tb, ta
        return ta if category(ta) >= category(tb) else promote(ta, tb)
    return promote(ta, tb)


cdef int result_type_scalar(Tensor a, object number) except -1:
    cdef int t = cnp.PyArray_TYPE(a.a), c = category(t)
    if c == 2 or isinstance(number, (bool, np.bool_)):
        return t
    if isinstance(number, (float, np.floating)):
        return default_float()
    return cnp.NPY_INT64 if c == 0 else t


@cython.final
cdef class ToCopyBackward0(Node):
    cdef int typenum

    cdef object apply(self, Tensor g):
        return to_type(g, self.typenum)


cdef Tensor to_type(Tensor x, int typenum):
    cdef Tensor y
    cdef ToCopyBackward0 node
    if cnp.PyArray_TYPE(x.a) == typenum:
        return x
    y = cast(x, typenum)
    if grad_enabled() and wants(x) and category(typenum) == 2:
        node = ToCopyBackward0.__new__(ToCopyBackward0)
        node.typenum = cnp.PyArray_TYPE(x.a)
        attach(y, node, (edge(x),))
    return y


cdef Tensor to_float(Tensor x):
    return x if category(cnp.PyArray_TYPE(x.a)) == 2 else to_type(x, default_float())


cdef Tensor as_tensor(object x, Tensor like):
    cdef int typenum
    if isinstance(x, Tensor):
        return <Tensor> x
    if is_number(x):
        typenum = result_type_scalar(like, x)
        number = np.array(x) if category(typenum) == 1 else x  # what an integer type does not hold wraps
        return wrap(own_array(np.asarray(number, cnp.PyArray_DescrFromType(typenum))))
    if isinstance(x, ndarray):
        return wrap(own_array(x))
    raise TypeError(f"[operator] operands: expected a tensor or a number, got {type(x).__name__} beside a tensor of shape "
                    f"{shape_of(like)}")


def storable(value, int typenum):
    """A number as it is stored in a type: negative ones wrap in unsigned types. RuntimeError if it does not fit."""
    if category(typenum) != 1 or not is_number(value):
        return value
    info = _types.check_stored(cnp.PyArray_DescrFromType(typenum), value, value)
    return int(value) % (info.max + 1) if value < info.min else value


cdef str first_place(object bad):
    """The indices of the first element that holds: 1, 0."""
    return ", ".join([str(i) for i in np.argwhere(bad)[0]])


# Shapes -----------------------------------------------------------------------------------------------------------

cdef tuple shape_of(Tensor x):
    cdef int i
    return tuple([<Py_ssize_t> cnp.PyArray_DIMS(x.a)[i] for i in range(cnp.PyArray_NDIM(x.a))])


cdef Tensor new_empty_of(tuple shape, int typenum):
    cdef npy_intp dims[MAX_DIMS]
    cdef int i
    check_dims(len(shape))
    for i in range(len(shape)):
        dims[i] = shape[i]
    return empty(len(shape), dims, typenum)


cdef Tensor new_zeros_of(tuple shape, int typenum):
    cdef Tensor out = new_empty_of(shape, typenum)
    cnp.PyArray_FILLWBYTE(out.a, 0)
    return out


cdef void extent(ndarray a, int64_t *first, int64_t *end) noexcept:
    cdef int i
    cdef int64_t reach
    first[0] = <int64_t> cnp.PyArray_DATA(a)
    end[0] = first[0]
    if cnp.PyArray_SIZE(a) == 0:
        return
    end[0] += cnp.PyArray_ITEMSIZE(a)
    for i in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIMS(a)[i] - 1) * cnp.PyArray_STRIDES(a)[i]
        if reach < 0:
            first[0] += reach
        else:
            end[0] += reach


cdef bint overlaps(ndarray a, ndarray b):
    """Whether writing to `a` element by element may change elements of `b` that are read later."""
    if cnp.PyArray_DATA(a) == cnp.PyArray_DATA(b) and same_shape(a, b) and (
            cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_IS_C_CONTIGUOUS(b) or (<object> a).strides == (<object> b).strides):
        return False
    cdef int64_t first_a = 0, end_a = 0, first_b = 0, end_b = 0
    extent(a, &first_a, &end_a)
    extent(b, &first_b, &end_b)
    return first_a < end_b and first_b < end_a


cdef bint same_shape(ndarray a, ndarray b) noexcept:
    cdef int i, n = cnp.PyArray_NDIM(a)
    if n != cnp.PyArray_NDIM(b):
        return False
    for i in range(n):
        if cnp.PyArray_DIMS(a)[i] != cnp.PyArray_DIMS(b)[i]:
            return False
    return True


cdef int broadcast(str op, ndarray a, ndarray b, npy_intp *shape) except -1:
    cdef int i, na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b), n = max(na, nb)
    cdef npy_intp da, db
    if n > MAX_DIMS:
        raise ValueError(f"[{op}] at most {MAX_DIMS} dimensions, got {n}")
    for i in range(n):
        da = cnp.PyArray_DIMS(a)[i - n + na] if i >= n - na else 1
        db = cnp.PyArray_DIMS(b)[i - n + nb] if i >= n - nb else 1
        if da != db and da != 1 and db != 1:
            raise RuntimeError(
                f"[{op}] the shapes {(<object> a).shape} and {(<object> b).shape} cannot be broadcast together: "
                f"{da} and {db} differ in dimension {i - n} and neither is 1")
        shape[i] = db if da == 1 else da
    return n


cdef void strides_for(ndarray a, int ndim, int64_t *strides) noexcept:
    cdef int i, n = cnp.PyArray_NDIM(a), skip = ndim - n
    cdef int64_t item = cnp.PyArray_ITEMSIZE(a)
    for i in range(skip):
        strides[i] = 0
    for i in range(n):
        strides[skip + i] = 0 if cnp.PyArray_DIMS(a)[i] == 1 else cnp.PyArray_STRIDES(a)[i] // item


cdef int normal_dim(str op, int dim, int ndim) except -1:
    cdef int n = max(ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"[{op}] dim {dim} is outside [{-n}, {n - 1}] of a tensor with {ndim} dimensions")
    return dim + n if dim < 0 else dim


cdef int proper_dim(str op, int dim, int ndim) except -1:
    """normal_dim for operators that a 0-d tensor has no entries for."""
    if ndim == 0:
        raise RuntimeError(f"[{op}] expected a tensor with at least one dimension, got a 0-d tensor")
    return normal_dim(op, dim, ndim)


cdef ndarray strided(ndarray a, int ndim, npy_intp *dims, npy_intp *strides):
    cdef cnp.dtype descr = cnp.PyArray_DescrFromType(cnp.PyArray_TYPE(a))
    cdef ndarray view
    cdef int flags = 0, i
    Py_INCREF(descr)
    if cnp.PyArray_ISWRITEABLE(a):
        flags = cnp.NPY_ARRAY_WRITEABLE
        for i in range(ndim):
            if strides[i] == 0 and dims[i] > 1:
                flags = 0
    view = PyArray_NewFromDescr(ndarray, descr, ndim, dims, strides, cnp.PyArray_DATA(a), flags, None)
    cnp.set_array_base(view, a)
    return view


# expand and its adjoint sum_to ------------------------------------------------------------------------------------

@cython.final
cdef class ExpandBackward0(Node):
    cdef tuple shape

    cdef object apply(self, Tensor g):
        return sum_to(g, self.shape)


cdef Tensor expand_to(Tensor x, tuple shape):
    """A view of x with shape `shape`, broadcast dimensions by stride 0."""
    cdef ExpandBackward0 node
    cdef npy_intp dims[MAX_DIMS]
    cdef npy_intp strides[MAX_DIMS]
    cdef int i, ndim = <int> len(shape), lead = ndim - cnp.PyArray_NDIM(x.a)
    check_dims(ndim)
    for i in range(ndim):
        dims[i] = shape[i]
        strides[i] = 0
        if i >= lead and cnp.PyArray_DIMS(x.a)[i - lead] == dims[i]:
            strides[i] = cnp.PyArray_STRIDES(x.a)[i - lead]
    cdef Tensor y = view_of(x, strided(x.a, ndim, dims, strides))
    if grad_enabled() and wants(x):
        node = ExpandBackward0.__new__(ExpandBackward0)
        node.shape = shape_of(x)
        attach(y, node, (edge(x),))
    return y


@cython.final
cdef class SumToBackward(Node):
    cdef tuple shape

    def name(self):
        return "SumToSizeBackward0"

    cdef object apply(self, Tensor g):
        return expand_to(g, self.shape)


cdef Tensor sum_to(Tensor g, tuple shape):
    """The sum over the dimensions in which `shape` was broadcast to g's shape."""
    cdef SumToBackward node
    cdef Tensor y
    cdef tuple full
    if shape is None:
        return g
    full = shape_of(g)
    if full == shape:
        return g
    y = sum_to_data(g, shape)
    if grad_enabled() and wants(g):
        node = SumToBackward.__new__(SumToBackward)
        node.shape = full
        attach(y, node, (edge(g),))
    return y


cdef Tensor sum_to_data(Tensor g, tuple shape):
    """Runs of adjacent broadcast dimensions are summed one run after another, the last first."""
    cdef int typenum = cnp.PyArray_TYPE(g.a), lead = cnp.PyArray_NDIM(g.a) - len(shape), i, end
    cdef const fdl_table *K = kernels(typenum)
    cdef int64_t outer, n, inner, work
    cdef Tensor x = contiguous(g), y
    cdef Scratch s
    cdef npy_intp dims[1]
    if is_half(typenum):
        return cast(sum_to_data(cast(g, cnp.NPY_FLOAT32), shape), typenum)
    if not is_fast(typenum):
        axes = tuple([i for i in range(g.a.ndim) if i < lead or shape[i - lead] == 1])
        return wrap(own_array(g.a.sum(axis=axes, dtype=g.a.dtype).reshape(shape)))
    cdef list sizes = list(shape_of(g))
    cdef list summed = [i < lead or (shape[i - lead] == 1 and sizes[i] != 1) for i in range(len(sizes))]
    end = len(sizes)
    while end > 0:
        if not summed[end - 1]:
            end -= 1
            continue
        i = end
        n = 1
        while i > 0 and summed[i - 1]:
            i -= 1
            n *= sizes[i]
            sizes[i], summed[i] = 1, False
        outer = inner = 1
        for j in range(i):
            outer *= sizes[j]
        for j in range(end, len(sizes)):
            inner *= sizes[j]
        dims[0] = outer * inner
        y = empty(1, dims, typenum)
        work = outer * n * inner
        s = scratch(K.reduce_scratch(FDL_SUM, outer, n, inner))
        if work < GIL_ELEMS:
            K.reduce(FDL_SUM, cnp.PyArray_DATA(y.a), cnp.PyArray_DATA(x.a), outer, n, inner, s.data)
        else:
            watch(ELEM_FMAS * work)
            with nogil:
                K.reduce(FDL_SUM, cnp.PyArray_DATA(y.a), cnp.PyArray_DATA(x.a), outer, n, inner, s.data)
            unwatch()
        x, end = y, i
    return wrap((<object> x.a).reshape(shape))


# Python's names ---------------------------------------------------------------------------------------------------

def expand(Tensor input, *sizes):
    """A view with broadcast dimensions: sizes of 1 become larger, -1 keeps a size, new dimensions come first.

    Shape: (.., 1, ..) -> sizes.    Raises: RuntimeError if a size that is not 1 would change.
    """
    cdef tuple old = shape_of(input)
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        sizes = tuple(sizes[0])
    lead = len(sizes) - len(old)
    if lead < 0:
        raise RuntimeError(f"[expand] expected at least {len(old)} sizes for a tensor of shape {old}, got "
                           f"{tuple(sizes)}")
    new = []
    for i, n in enumerate(sizes):
        was = old[i - lead] if i >= lead else 1
        n = int(n)
        if n == -1 and i >= lead:
            n = was
        if n < 0 or (was != 1 and was != n):
            raise RuntimeError(f"[expand] a tensor of shape {old} cannot be expanded to {tuple(sizes)}: dimension {i} "
                               f"is {was}, not {n}")
        new.append(n)
    return expand_to(input, tuple(new))


def expand_as(Tensor input, Tensor other):
    """`input` expanded to the shape of `other`."""
    return expand(input, *shape_of(other))


def broadcast_to(Tensor input, size):
    """`input` expanded to the shape `size`."""
    return expand(input, *size)


def sum_to_size(Tensor input, *size):
    """The sum over those dimensions in which `size` could be broadcast to input's shape."""
    size = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    cdef tuple old = shape_of(input)
    if len(size) > len(old) or any([n != 1 and n != old[i - len(size)] for i, n in enumerate(size)]):
        raise RuntimeError(f"[sum_to_size] size {size} is not expandable to the tensor's shape {old}")
    return sum_to(input, size)


def promote_types(a, b):
    """The dtype of an operator's result on tensors of dtypes a and b."""
    return _types.BY_NUM[promote(_types.as_dtype(a).numpy.num, _types.as_dtype(b).numpy.num)]


def result_type_of(a, b):
    """The dtype of an operator's result on the operands a and b (tensors or numbers)."""
    if not isinstance(a, Tensor):
        a, b = b, a
    if isinstance(b, Tensor):
        return _types.BY_NUM[result_type(<Tensor?> a, b)]
    return _types.BY_NUM[result_type_scalar(<Tensor?> a, b)]


register("expand", expand)
register("expand_as", expand_as)
register("broadcast_to", broadcast_to)
register("sum_to_size", sum_to_size)
