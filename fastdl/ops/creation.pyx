"""New tensors: from data, filled, ranges."""

cimport numpy as cnp
from numpy cimport ndarray, npy_intp

from operator import index

import numpy as np

from .. import _types
from .._tensor import tensor_from
from .common import storable

from .._tensor cimport Tensor, check_dims, empty, own_array, register_all, wrap

cnp.import_array()


cdef Tensor finish(object a, object device, bint requires_grad):
    """A leaf on the array `a`, which is in the allocator's memory."""
    cdef Tensor t = wrap(a)
    if device is not None:
        _types.device(device)
    if requires_grad:
        t.requires_grad = True
    return t


cdef int type_number(object dtype):
    return (_types._default if dtype is None else _types.as_dtype(dtype)).numpy.num


cdef ndarray new(object size, int typenum):
    """An uninitialised array; size: (2, 3) or ((2, 3),)."""
    cdef npy_intp dims[32]
    cdef int i
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    check_dims(len(size))
    for i in range(len(size)):
        dims[i] = index(size[i])
        if dims[i] < 0:
            raise RuntimeError(f"[empty] negative size in shape {tuple(size)}")
    return empty(len(size), dims, typenum).a


def tensor(data, *, dtype=None, device=None, bint requires_grad=False):
    """A new tensor with a copy of `data`: a number, nested sequences, an array or a tensor.

    Args:
        data: Python floats become the default dtype, ints int64, bools bool; NumPy arrays keep their type.
        dtype: the type instead.
    Raises:
        ValueError: sequences of unequal length.  TypeError: text.  RuntimeError: values that no dtype holds.
    """
    return finish((<Tensor> tensor_from(data, dtype)).a, device, requires_grad)


def as_tensor(data, dtype=None, device=None):
    """`data` as a tensor; shares memory with a tensor, of other libraries too, or NumPy array of the right type."""
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, ndarray) and data.dtype.num in _types.BY_NUM:
        out = wrap(data)
        return out if dtype is None else out.to(dtype)
    if hasattr(data, "__dlpack__"):
        from .._interchange import from_dlpack
        out = from_dlpack(data)
        return out if dtype is None else out.to(dtype)
    return tensor(data, dtype=dtype, device=device)


cdef tuple as_size(tuple args, object size):
    """f(2, 3), f((2, 3)) and f(size=(2, 3)) mean the same."""
    if size is None:
        return args
    if args:
        raise TypeError(f"[empty] size: given twice, as {args} and size={size!r}")
    return (tuple(size),)


def empty_(*args, size=None, dtype=None, device=None, bint requires_grad=False, memory_format=None):
    """An uninitialised tensor of shape `size`."""
    return finish(new(as_size(args, size), type_number(dtype)), device, requires_grad)


def full(size, fill_value, *, dtype=None, device=None, bint requires_grad=False):
    """A tensor of shape `size` filled with one value; its type is the value's unless `dtype` says otherwise."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"[full] size: expected a tuple of ints, got {size!r}")
    cdef ndarray a = new(tuple(size), type_number(type(fill_value) if dtype is None else dtype))
    a.fill(storable(fill_value, cnp.PyArray_TYPE(a)))
    return finish(a, device, requires_grad)


def zeros(*args, size=None, dtype=None, device=None, bint requires_grad=False):
    """A tensor of zeros of shape `size`."""
    cdef ndarray a = new(as_size(args, size), type_number(dtype))
    a.fill(0)
    return finish(a, device, requires_grad)


def ones(*args, size=None, dtype=None, device=None, bint requires_grad=False):
    """A tensor of ones of shape `size`."""
    cdef ndarray a = new(as_size(args, size), type_number(dtype))
    a.fill(1)
    return finish(a, device, requires_grad)


def empty_like(Tensor input, *, dtype=None, device=None, bint requires_grad=False):
    """Uninitialised, with the shape and type of `input`."""
    return empty_(*input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def zeros_like(Tensor input, *, dtype=None, device=None, bint requires_grad=False):
    """Zeros with the shape and type of `input`."""
    return zeros(*input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def ones_like(Tensor input, *, dtype=None, device=None, bint requires_grad=False):
    """Ones with the shape and type of `input`."""
    return ones(*input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def full_like(Tensor input, fill_value, *, dtype=None, device=None, bint requires_grad=False):
    """One value, with the shape and type of `input`."""
    return full(tuple(input.shape), fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_empty(Tensor input, *size, dtype=None, device=None, bint requires_grad=False):
    return empty_(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_zeros(Tensor input, *size, dtype=None, device=None, bint requires_grad=False):
    return zeros(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_ones(Tensor input, *size, dtype=None, device=None, bint requires_grad=False):
    return ones(*size, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_full(Tensor input, size, fill_value, *, dtype=None, device=None, bint requires_grad=False):
    return full(size, fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def new_tensor(Tensor input, data, *, dtype=None, device=None, bint requires_grad=False):
    return tensor(data, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def arange(start=None, end=None, step=1, *, dtype=None, device=None, bint requires_grad=False):
    """start, start + step, ... up to but without `end`; int64 if all three are whole numbers."""
    start, end, step = [x.item() if isinstance(x, Tensor) else x for x in (start, end, step)]
    if end is None:
        start, end = None, start
    if end is None:
        raise TypeError("[arange] end: expected a number, got None")
    start = 0 if start is None else start
    if step == 0:
        raise RuntimeError("[arange] step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(f"[arange] end {end} lies before start {start} for step {step}")
    if dtype is None:
        whole = all([isinstance(x, (int, np.integer)) for x in (start, end, step)])
        dtype = _types.int64 if whole else _types.get_default_dtype()
    n = int(np.ceil((end - start) / step))
    values = start + step * np.arange(n, dtype=np.int64 if not dtype.is_floating_point else np.float64)
    return finish(own_array(values.astype(dtype.numpy)), device, requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, bint requires_grad=False):
    """`steps` equally spaced values from start to end, both included."""
    if steps < 0:
        raise RuntimeError(f"[linspace] number of steps must be non-negative, got {steps}")
    d = _types.get_default_dtype() if dtype is None else _types.as_dtype(dtype)
    return finish(own_array(np.linspace(float(start), float(end), int(steps)).astype(d.numpy)), device, requires_grad)


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, bint requires_grad=False):
    """base ** linspace(start, end, steps)"""
    d = _types.get_default_dtype() if dtype is None else _types.as_dtype(dtype)
    values = base ** np.linspace(float(start), float(end), int(steps))
    return finish(own_array(values.astype(d.numpy)), device, requires_grad)


def eye(n, m=None, *, dtype=None, device=None, bint requires_grad=False):
    """Ones on the diagonal of an (n, m) matrix."""
    if min(n, n if m is None else m) < 0:
        raise RuntimeError(f"[eye] n, m: expected numbers >= 0, got {n}, {m}")
    return finish(own_array(np.eye(n, m, dtype=(dtype or _types.get_default_dtype()).numpy)), device, requires_grad)


def meshgrid(*tensors, indexing="ij"):
    """Coordinate grids of 1-d tensors; indexing "ij" or "xy"."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tensors[0]
    n = len(tensors)
    for t in tensors:
        if t.dim() > 1:
            raise RuntimeError(f"[meshgrid] expected 0-d or 1-d tensors, got shape {tuple(t.shape)}")
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(f"[meshgrid] expects all tensors to have the same dtype, got {tensors[0].dtype} and "
                               f"{t.dtype}")
    shape = [t.numel() for t in tensors]
    outs = [t.reshape([-1 if i == j else 1 for j in range(n)]).expand(shape) for i, t in enumerate(tensors)]
    return tuple([o.transpose(0, 1) for o in outs]) if indexing == "xy" and n > 1 else tuple(outs)


def _legacy(d):
    def constructor(*args):
        if len(args) == 1 and not isinstance(args[0], int):
            return tensor(args[0], dtype=d)
        return empty_(*args, dtype=d)
    return constructor


FloatTensor = _legacy(_types.float32)
DoubleTensor = _legacy(_types.float64)
LongTensor = _legacy(_types.int64)
IntTensor = _legacy(_types.int32)
BoolTensor = _legacy(_types.bool_)

register_all(globals(), "new_empty new_zeros new_ones new_full new_tensor")
