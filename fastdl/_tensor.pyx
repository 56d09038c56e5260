"""Tensor: a NumPy array with history. Autograd's nodes and engine are in _autograd.pxi, part of this module."""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_INCREF
from libc.math cimport isfinite
from libc.string cimport memcpy
from numpy cimport ndarray, npy_intp

import numpy as np

from ._types import BY_NUM, CPU, Size, as_dtype, check_stored, get_default_dtype

from ._kernels cimport FDL_SUM, F32, F64, Scratch, Storage, empty_array, fdl_table, scratch, storage_of

cnp.import_array()

cdef extern from *:
    """
    static _Thread_local int fdl_grad_off;
    static _Thread_local void *fdl_engine;
    #define FDL_REFCNT(o) Py_REFCNT((PyObject *)(o))
    static int fdl_register(PyTypeObject *type, PyObject *name, PyObject *value) {
        int failed = PyDict_SetItem(type->tp_dict, name, value);
        PyType_Modified(type);
        return failed;
    }
    """
    int fdl_grad_off
    void *fdl_engine                    # the Engine whose backward pass runs in this thread, NULL: none does
    int NPY_USERDEF
    Py_ssize_t FDL_REFCNT(void *o)  # not object: passing an attribute would add a reference
    int fdl_register(type t, object name, object value) except -1

cdef dict DTYPE_OF = BY_NUM
cdef object size_class = Size


# What operators are written with ----------------------------------------------------------------------------------

cdef bint grad_enabled() noexcept:
    return not fdl_grad_off


cdef bint set_grad(bint on) noexcept:
    global fdl_grad_off
    cdef bint was = not fdl_grad_off
    fdl_grad_off = not on
    return was


cdef const fdl_table *kernels(int typenum) noexcept:
    return F64 if typenum == cnp.NPY_FLOAT64 else F32


cdef bint is_fast(int typenum) noexcept:
    return typenum == cnp.NPY_FLOAT32 or typenum == cnp.NPY_FLOAT64


cdef bint is_half(int typenum) noexcept:
    return typenum == cnp.NPY_FLOAT16 or typenum >= NPY_USERDEF  # bfloat16 is the one such type that tensors have


cdef int check_dims(int ndim) except -1:
    if ndim > 32:  # MAX_DIMS: the length of every shape and stride buffer
        raise ValueError(f"a tensor has at most 32 dimensions, got {ndim}")
    return 0


cdef Tensor wrap(ndarray a):
    check_dims(cnp.PyArray_NDIM(a))
    cdef Tensor t = Tensor.__new__(Tensor)
    t.a = a
    t.storage = storage_of(a)
    return t


cdef Tensor alias(Tensor x):
    cdef Tensor t = Tensor.__new__(Tensor)
    t.a = x.a
    t.storage = x.storage
    return t


cdef Tensor view_of(Tensor base, ndarray a):
    check_dims(cnp.PyArray_NDIM(a))
    cdef Tensor t = Tensor.__new__(Tensor)
    t.a = a
    t.storage = base.storage
    if not fdl_grad_off:
        t.base = base if base.base is None else base.base
        t.base_node = t.base.node
        t.origin = base.origin
    elif base.origin or base.wants_grad or base.node is not None:
        t.origin = base.origin or NO_GRAD
    return t


cdef Tensor empty(int ndim, npy_intp *shape, int typenum):
    cdef Tensor t = Tensor.__new__(Tensor)
    t.a = empty_array(ndim, shape, typenum)
    t.storage = <Storage> cnp.get_array_base(t.a)
    return t


cdef Tensor empty_like(Tensor x, int typenum):
    return empty(cnp.PyArray_NDIM(x.a), cnp.PyArray_DIMS(x.a), typenum)


cdef Tensor contiguous(Tensor x):
    if cnp.PyArray_IS_C_CONTIGUOUS(x.a):
        return x
    return cast_copy(x, cnp.PyArray_TYPE(x.a))


cdef Tensor cast(Tensor x, int typenum):
    if cnp.PyArray_TYPE(x.a) == typenum:
        return x
    return cast_copy(x, typenum)


cdef Tensor cast_copy(Tensor x, int typenum):
    cdef Tensor t = empty_like(x, typenum)
    copy_into(t, x)
    return t


cdef int copy_into(Tensor out, Tensor x) except -1:
    cdef int typenum = cnp.PyArray_TYPE(out.a), ndim = cnp.PyArray_NDIM(out.a), i
    cdef const fdl_table *K = kernels(typenum)
    cdef int64_t item = cnp.PyArray_ITEMSIZE(out.a)
    cdef int64_t shape[32]
    cdef int64_t so[32]
    cdef int64_t sx[32]
    if not is_fast(typenum) or cnp.PyArray_TYPE(x.a) != typenum or ndim > 32 or not cnp.PyArray_ISBEHAVED_RO(x.a):
        if is_half(typenum) and is_half(cnp.PyArray_TYPE(x.a)) and cnp.PyArray_TYPE(x.a) != typenum:
            x = cast_copy(x, cnp.NPY_FLOAT32)  # there is no direct way
        cnp.PyArray_CopyInto(out.a, x.a)
        return 0
    for i in range(ndim):
        shape[i] = cnp.PyArray_DIMS(out.a)[i]
        so[i] = cnp.PyArray_STRIDES(out.a)[i] // item
        sx[i] = cnp.PyArray_STRIDES(x.a)[i] // item
    with nogil:
        K.copy(cnp.PyArray_DATA(out.a), so, cnp.PyArray_DATA(x.a), sx, shape, ndim)
    return 0


cdef ndarray own_array(object value):
    cdef ndarray source = value if isinstance(value, ndarray) else np.asarray(value)
    if cnp.PyArray_TYPE(source) not in DTYPE_OF:
        raise TypeError(f"no tensor can hold {source.dtype} values")
    cdef ndarray a = empty_array(cnp.PyArray_NDIM(source), cnp.PyArray_DIMS(source), cnp.PyArray_TYPE(source))
    cnp.PyArray_CopyInto(a, source)
    return a


cdef void register(str name, object function):
    fdl_register(Tensor, name, function)


cdef object register_all(dict functions, str names):
    for name in names.split():
        register(name, functions[name])


def view_by(Tensor x, ndarray a, str title):
    """The tensor of an array that lies in x's memory, as a view of x. `title`: its operator's name."""
    cdef Tensor y = view_of(x, a)
    if not fdl_grad_off and wants(x):
        attach(y, strided_node(x, y, title), (edge(x),))
    return y


def reshape_inplace(Tensor t, str op, function, tuple args):
    """Makes `t` the view function(t, *args) of what it was."""
    begin_inplace(t)
    cdef bint was = set_grad(not fdl_grad_off or t.node is not None)
    cdef Tensor y
    try:
        y = function(t, *args)
    finally:
        set_grad(was)
    bump(t, op)
    t.a, t.storage, t.node = y.a, y.storage, y.node
    return t


def register_method(str name, function, owner=Tensor):
    """Makes `function` a method of Tensor, for operators that are written in Python, or of Node."""
    fdl_register(owner, name, function)


include "_autograd.pxi"


# Tensor -----------------------------------------------------------------------------------------------------------

def tensor_from(data, dtype=None):
    """A new tensor with a copy of `data`: number, nested sequence, array or tensor; Python floats get the default dtype."""
    if isinstance(data, Tensor):
        array = (<Tensor> data).a
    elif isinstance(data, (ndarray, np.generic)):
        array = np.asarray(data)
    elif hasattr(data, "__dlpack__"):
        from ._interchange import foreign_array
        array = foreign_array(data)
    else:
        array = sequence_array(data, dtype is not None)
    if dtype is not None:
        wanted = as_dtype(dtype).numpy
        if array.dtype != wanted:
            if isinstance(data, (int, float, list, tuple)) and wanted.kind in "iu":
                if array.size:
                    check_stored(wanted, array.min(), array.max())
            array = (array.astype(np.float32) if array.dtype.num != cnp.NPY_FLOAT32 and array.dtype.itemsize == 2 else array)
            array = array.astype(wanted)
    elif array.dtype.num not in DTYPE_OF:
        raise TypeError(f"[tensor] cannot make a tensor of {array.dtype} values; there are "
                        f"{', '.join(sorted({str(d) for d in DTYPE_OF.values()}))}")
    return wrap(own_array(array))


cdef str ragged(object data):
    """What to say of nested sequences of different lengths."""
    cdef list level = [data]
    depth = 0
    while level and all([isinstance(x, (list, tuple)) for x in level]):
        for x in level:
            if len(x) != len(level[0]):
                return (f"[tensor] expected sequence of length {len(level[0])} at dim {depth} (got {len(x)}): lists of "
                        "different lengths make no tensor, see nn.utils.rnn.pad_sequence")
        level, depth = [y for x in level for y in x], depth + 1
    for x in level:
        if isinstance(x, (list, tuple)) != isinstance(level[0], (list, tuple)):
            return f"[tensor] expected either numbers or sequences at dim {depth}, got both"
    return None


def sequence_array(data, bint full_precision=False):
    """The NumPy array of a number or of nested sequences, typed as PyTorch types it, or with Python's own precision."""
    cdef set types = None
    if isinstance(data, (list, tuple)) and data and holds_tensors(data):
        types = set()
        data = as_numbers(data, types)
    try:
        array = np.array(data)
    except ValueError as error:
        raise ValueError(ragged(data) or f"[tensor] cannot make a tensor of {type(data).__name__}: {error}") from None
    if array.dtype.kind in "SU":
        first = array.reshape(-1)[0] if array.size else ""
        raise TypeError(f"[tensor] data: expected numbers, got {type(first.item()).__name__} {first.item()!r}")
    if types is not None:
        floats = [t.numpy for t in types if t.is_floating_point]
        array = array.astype(np.result_type(*(floats or [t.numpy for t in types])))
    elif array.dtype.kind == "f" and array.dtype.itemsize > 2 and not full_precision and not holds_numpy(data):
        array = array.astype(get_default_dtype().numpy)
    elif array.size == 0 and not isinstance(data, ndarray):
        array = array.astype(get_default_dtype().numpy)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 8 or array.dtype.kind == "O":
        raise RuntimeError(f"[tensor] could not infer a dtype for {type(data).__name__}: {data!r:.200}")
    return array


cdef bint holds_tensors(object data):
    cdef object first = data[0]
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    return isinstance(first, Tensor) or any(isinstance(x, Tensor) for x in data)


cdef object as_numbers(object data, set types):
    """Nested sequences with Tensors of one element as numbers; `types` gets the types of all that is in them."""
    if isinstance(data, (list, tuple)):
        return [as_numbers(x, types) for x in data]
    if not isinstance(data, Tensor):
        types.add(as_dtype(data.dtype if isinstance(data, (ndarray, np.generic)) else type(data)))
        return data
    if (<Tensor> data).a.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars, this one has shape "
                         f"{tuple(data.shape)}: see stack and cat")
    types.add(data.dtype)
    return data.item()


cdef bint holds_numpy(object data):
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (ndarray, np.generic)) and data.dtype.kind == "f"


@cython.freelist(128)
cdef class Tensor:
    """An n-dimensional array that remembers how it was computed. Names and behaviour are PyTorch's."""

    __array_priority__ = 1000  # NumPy leaves `array + tensor` to us

    def __init__(self, *args, device=None):
        """Tensor(2, 3): uninitialised, of that shape; Tensor([1, 2]): these values; both of the default dtype."""
        cdef Tensor t
        if len(args) == 1 and not isinstance(args[0], int):
            t = tensor_from(args[0], get_default_dtype())
        else:
            t = wrap(own_array(np.empty(args if args else (0,), get_default_dtype().numpy)))
        self.a, self.storage = t.a, t.storage

    @staticmethod
    def _make_subclass(cls, data, bint require_grad=False):
        """A tensor of the class `cls` that shares memory with `data` and has no history."""
        cdef Tensor source = data, t = Tensor.__new__(cls)
        t.a, t.storage = source.a, source.storage
        if require_grad:
            t.requires_grad = True
        return t

    # Attributes

    @property
    def shape(self):
        """Size of each dimension."""
        cdef int i, n = cnp.PyArray_NDIM(self.a)
        return size_class(tuple([<Py_ssize_t> cnp.PyArray_DIMS(self.a)[i] for i in range(n)]))

    def size(self, dim=None):
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        if not -self.a.ndim <= dim < max(self.a.ndim, 1):
            raise IndexError(f"[size] dim {dim} is outside [{-self.a.ndim}, {self.a.ndim - 1}] of a tensor of shape "
                             f"{tuple(self.shape)}")
        return (<object> self.a).shape[dim]

    @property
    def dtype(self):
        return DTYPE_OF[cnp.PyArray_TYPE(self.a)]

    @property
    def device(self):
        return CPU

    @property
    def ndim(self):
        return cnp.PyArray_NDIM(self.a)

    def dim(self):
        """Number of dimensions."""
        return cnp.PyArray_NDIM(self.a)

    ndimension = dim

    def numel(self):
        """Number of elements."""
        return cnp.PyArray_SIZE(self.a)

    nelement = numel

    def element_size(self):
        """Bytes of one element."""
        return cnp.PyArray_ITEMSIZE(self.a)

    @property
    def itemsize(self):
        return cnp.PyArray_ITEMSIZE(self.a)

    @property
    def nbytes(self):
        return cnp.PyArray_NBYTES(self.a)

    def stride(self, dim=None):
        """Elements from one entry of a dimension to the next."""
        strides = tuple([s // self.a.itemsize for s in (<object> self.a).strides])
        return strides if dim is None else strides[dim]

    def is_contiguous(self):
        """Whether the elements lie in memory in row-major order without gaps."""
        return bool(cnp.PyArray_IS_C_CONTIGUOUS(self.a))

    def data_ptr(self):
        """Address of the first element."""
        return <size_t> cnp.PyArray_DATA(self.a)

    def is_floating_point(self):
        return self.a.dtype.kind == "f"

    is_cuda = False
    is_sparse = False
    layout = "strided"

    @property
    def _version(self):
        return self.storage.version

    @property
    def _writer(self):
        return self.storage.writer

    @property
    def _base(self):
        return self.base

    # History

    @property
    def requires_grad(self):
        """Whether gradients are computed for this tensor."""
        return wants(self)

    @requires_grad.setter
    def requires_grad(self, value):
        if value and self.a.dtype.kind != "f":
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, this one is {self.dtype}")
        if wants(self) and self.node is not None:
            if not value:
                raise RuntimeError("you can only change requires_grad flags of leaf variables. "
                                   "If you want to use a computed variable in a subgraph that doesn't require "
                                   "differentiation use var_no_grad = var.detach().")
            return
        self.wants_grad = bool(value)

    def requires_grad_(self, value=True):
        self.requires_grad = value
        return self

    @property
    def is_leaf(self):
        """Whether no recorded operator made this tensor."""
        wants(self)
        return self.node is None

    @property
    def grad_fn(self):
        """The operator that made this tensor, None for a leaf."""
        wants(self)
        return (<OutputOf> self.node).parent if type(self.node) is OutputOf else self.node

    @property
    def output_nr(self):
        """Which output of `grad_fn` this tensor is."""
        return (<OutputOf> self.node).index if type(self.node) is OutputOf else 0

    @property
    def grad(self):
        """Gradient that `backward` has accumulated for this tensor, None if there is none."""
        if type(self.grad_) is RowsGrad:
            self.grad_ = dense_grad(self.grad_)
        if self.grad_ is None and self.node is not None:
            from .autograd.hooks import warn_of_no_grad
            warn_of_no_grad(self)
        return self.grad_

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got {type(value).__name__}")
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise RuntimeError(f"assigned grad has shape {tuple(value.shape)} and type {value.dtype}, the tensor "
                                   f"has {tuple(self.shape)} and {self.dtype}")
        self.grad_ = value

    @grad.deleter
    def grad(self):
        self.grad_ = None

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Accumulates into each leaf's `grad` the derivative of this tensor.

        Args:
            gradient: upstream gradient, of this tensor's shape; not needed for a single element.
            retain_graph: keep what the graph saved, so that it can be gone through again. Default: create_graph.
            create_graph: record the backward pass too, for higher derivatives.
            inputs: accumulate into these leaves only.
        """
        backward([self], [gradient], retain_graph, create_graph, inputs)

    def detach(self):
        """The same data without history; in-place changes are seen by both."""
        return alias(self)

    def detach_(self):
        """Forgets this tensor's history."""
        if self.base is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead. If you are using split or chunk, clone "
                               "the parts first.")
        self.node = None
        self.wants_grad = False
        return self

    @property
    def data(self):
        """The same memory without history."""
        return alias(self)

    @data.setter
    def data(self, value):
        cdef Tensor t = value
        self.a, self.storage = t.a, t.storage

    # Conversion

    def numpy(self, *, bint force=False):
        """A NumPy array that shares this tensor's memory."""
        if wants(self) and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        if cnp.PyArray_TYPE(self.a) >= NPY_USERDEF:
            raise TypeError("Got unsupported ScalarType BFloat16")
        self.storage.exposed = True
        return self.a.view()

    @property
    def _array(self):
        """numpy() of any type, with history or not, for this package's own reading."""
        return self.a

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is not None and not copy:
                raise ValueError(f"a tensor of {self.dtype} cannot be an array of {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return wrap(own_array(array))

    @property
    def __array_interface__(self):
        if wants(self):
            raise AttributeError("a tensor that requires grad")  # __array__ says more
        return self.numpy().__array_interface__

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if wants(self):
            raise BufferError("a tensor that requires grad has no buffer; use tensor.detach()")
        self.storage.exposed = True
        PyObject_GetBuffer(self.numpy(), buffer, flags)

    def __dlpack__(self, **kwargs):
        """A DLPack capsule that shares this tensor's memory."""
        if wants(self):
            raise BufferError("a tensor that requires grad cannot be exported; use tensor.detach()")
        return self.numpy().__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()

    def item(self):
        """The value of a tensor of one element as a Python number."""
        if cnp.PyArray_SIZE(self.a) != 1:
            raise RuntimeError(f"a Tensor with {self.a.size} elements cannot be converted to Scalar")
        return self.a.item()

    def tolist(self):
        """Nested lists of Python numbers; a number for a 0-d tensor."""
        return self.a.tolist()

    def __bool__(self):
        if cnp.PyArray_SIZE(self.a) != 1:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous" if self.a.size == 0
                               else "Boolean value of Tensor with more than one value is ambiguous")
        return bool(self.a.item())

    def __int__(self):
        return int(only_element(self))

    def __float__(self):
        return float(only_element(self))

    def __index__(self):
        if self.a.dtype.kind not in "iub" or self.a.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.a.item())

    def __len__(self):
        if cnp.PyArray_NDIM(self.a) == 0:
            raise TypeError("len() of a 0-d tensor")
        return cnp.PyArray_DIMS(self.a)[0]

    def __iter__(self):
        if cnp.PyArray_NDIM(self.a) == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, value):
        return bool((<Tensor?> operators.eq(self, value)).a.any())

    def __hash__(self):
        return <size_t> <void *> self

    def __repr__(self):
        from ._print import tensor_repr
        return tensor_repr(self)

    def __format__(self, spec):
        if cnp.PyArray_NDIM(self.a) == 0:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __reduce__(self):
        return rebuild, (type(self), self.a.copy(), self.wants_grad), getattr(self, "__dict__", None) or None

    def __deepcopy__(self, memo):
        if self.node is not None:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                               "protocol at the moment")
        copy = rebuild(type(self), self.a, self.wants_grad)
        if self.grad_ is not None:
            copy.grad = self.grad.__deepcopy__(memo)
        memo[id(self)] = copy
        return copy

    # Python's operators

    def __add__(self, other): return operators.add(self, other)
    def __radd__(self, other): return operators.add(other, self)
    def __sub__(self, other): return operators.sub(self, other)
    def __rsub__(self, other): return operators.sub(other, self)
    def __mul__(self, other): return operators.mul(self, other)
    def __rmul__(self, other): return operators.mul(other, self)
    def __truediv__(self, other): return operators.div(self, other)
    def __rtruediv__(self, other): return operators.div(other, self)
    def __floordiv__(self, other): return operators.floordiv(self, other)
    def __rfloordiv__(self, other): return operators.floordiv(other, self)
    def __mod__(self, other): return operators.mod(self, other)
    def __rmod__(self, other): return operators.mod(other, self)
    def __pow__(self, other, modulo): return operators.pow(self, other)
    def __rpow__(self, other, modulo): return operators.pow(other, self)
    def __matmul__(self, other): return operators.matmul(self, other)
    def __rmatmul__(self, other): return operators.matmul(other, self)
    def __eq__(self, other): return operators.eq(self, other)
    def __ne__(self, other): return operators.ne(self, other)
    def __lt__(self, other): return operators.lt(self, other)
    def __le__(self, other): return operators.le(self, other)
    def __gt__(self, other): return operators.gt(self, other)
    def __ge__(self, other): return operators.ge(self, other)
    def __and__(self, other): return operators.and_(self, other)
    def __rand__(self, other): return operators.and_(other, self)
    def __or__(self, other): return operators.or_(self, other)
    def __ror__(self, other): return operators.or_(other, self)
    def __xor__(self, other): return operators.xor(self, other)
    def __rxor__(self, other): return operators.xor(other, self)
    def __neg__(self): return operators.neg(self)

    def __pos__(self):
        if cnp.PyArray_ISBOOL(self.a):
            raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
        return self

    def __abs__(self): return operators.abs(self)
    def __invert__(self): return operators.invert(self)
    def __iadd__(self, other): return operators.iadd(self, other)
    def __isub__(self, other): return operators.isub(self, other)
    def __imul__(self, other): return operators.imul(self, other)
    def __itruediv__(self, other): return operators.idiv(self, other)
    def __ipow__(self, other): return operators.ipow(self, other)
    def __ifloordiv__(self, other): return self.floor_divide_(other)
    def __imod__(self, other): return self.remainder_(other)
    def __iand__(self, other): return self.bitwise_and_(other)
    def __ior__(self, other): return self.bitwise_or_(other)
    def __ixor__(self, other): return self.bitwise_xor_(other)
    def __getitem__(self, index): return operators.getitem(self, index)
    def __setitem__(self, index, value): operators.setitem(self, index, value)


cdef object only_element(Tensor x):
    if cnp.PyArray_SIZE(x.a) != 1:
        raise ValueError(f"only one element tensors can be converted to Python scalars, got shape {tuple(x.shape)}")
    return x.item()


cdef class RowsGrad(Tensor):
    pass


cdef class PieceGrad(Tensor):
    pass


cdef PieceGrad piece_grad(Tensor g, object where, tuple whole):
    cdef PieceGrad piece = PieceGrad.__new__(PieceGrad)
    piece.a, piece.storage, piece.where, piece.whole = g.a, g.storage, where, whole
    return piece


cdef ndarray place_of(PieceGrad g, ndarray whole):
    """The part of `whole`, a gradient of the whole's shape, that g belongs to; None if it is laid out otherwise."""
    if type(g.where) is Geometry:
        return (<Geometry> g.where).within(whole)
    part = (<object> whole)[g.where]
    return part if isinstance(part, ndarray) else (<object> whole)[g.where + (Ellipsis,)]


cdef Tensor dense_piece(PieceGrad g):
    cdef npy_intp shape[32]
    cdef int i, ndim = <int> len(g.whole)
    for i in range(ndim):
        shape[i] = g.whole[i]
    cdef Tensor out = empty(ndim, shape, cnp.PyArray_TYPE(g.a))
    cnp.PyArray_FILLWBYTE(out.a, 0)
    cdef ndarray part = place_of(g, out.a)
    if part is not None:
        copy_into(wrap(part), g)
        return out
    whole, part = (<Geometry> g.where).parts(g.a.dtype)
    part[...] = g.a
    return wrap(own_array(whole))


cdef Tensor dense_grad(Tensor g):
    cdef RowsGrad rows
    cdef Tensor out
    cdef npy_intp shape[2]
    cdef int64_t i, size, count
    cdef const int64_t *row
    cdef char *to
    cdef const char *values
    if type(g) is PieceGrad:
        return dense_piece(<PieceGrad> g)
    if type(g) is not RowsGrad:
        return g
    rows = <RowsGrad> g
    count = cnp.PyArray_DIMS(g.a)[0]
    shape[0], shape[1] = rows.height, cnp.PyArray_DIMS(g.a)[1]
    out = empty(2, shape, cnp.PyArray_TYPE(g.a))
    size, row = shape[1] * cnp.PyArray_ITEMSIZE(g.a), <const int64_t *> rows.row.data
    to, values = <char *> cnp.PyArray_DATA(out.a), <const char *> cnp.PyArray_DATA(g.a)
    cdef const fdl_table *K = kernels(cnp.PyArray_TYPE(g.a))
    with nogil:
        K.fill(to, 0, shape[0] * shape[1])
        for i in range(count):
            memcpy(to + row[i] * size, values + i * size, size)
    return out


def rebuild(cls, array, requires_grad):
    """A leaf of class `cls` with a copy of `array` (pickling and copying)."""
    return Tensor._make_subclass(cls, wrap(own_array(array)), requires_grad)


def from_numpy(array):
    """A tensor that shares memory with a NumPy array.

    Raises:
        TypeError: not an array, or of a type that no tensor has.
    """
    if not isinstance(array, ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if cnp.PyArray_TYPE(array) not in DTYPE_OF:
        raise TypeError(f"can't convert np.ndarray of type {array.dtype}. The supported types are: "
                        f"{', '.join(sorted({str(d.numpy) for d in DTYPE_OF.values()}))}.")
    if not array.dtype.isnative:
        raise ValueError("given numpy array has byte order different from the native byte order")
    if any([s % array.itemsize for s in (<object> array).strides]):
        raise ValueError(f"given numpy array strides {(<object> array).strides} are not multiples of the element size "
                         f"{array.itemsize}; copy it first")
    return wrap(array)


def is_tensor(x):
    """Whether x is a Tensor."""
    return isinstance(x, Tensor)
