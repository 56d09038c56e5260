"""Pooling: the largest element or the mean of windows, forward, and derivatives of any order."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport npy_intp

import numpy as np

from .._kernels cimport ELEM_FMAS, FDL_MEAN, Scratch, fdl_pool_args, fdl_table, scratch, unwatch, watch
from .._tensor cimport (Node, Tensor, attach, cast, contiguous, edge, empty, grad_enabled, is_fast, is_half, kernels, own_array,
                        wants, wrap)
from .common cimport category, shape_of, to_type
from .conv cimport numbers
from .reduce cimport reduced

cnp.import_array()

cdef enum:
    MAX
    AVG
    ADAPTIVE


# All pools are linear once the positions of the maxima are known: y = P x, dx = P^T dy.

@cython.final
cdef class PoolBackward(Node):
    """out = P x:  dx = P^T g  (adjoint: out = P^T x:  dx = P g). Saved: 0 for MAX the positions."""
    cdef fdl_pool_args sizes
    cdef int kind
    cdef bint adjoint
    cdef tuple shape

    def name(self):
        dims = 1 if self.sizes.h == 1 and self.sizes.kh == 1 else 2
        return ("MaxPool2DWithIndicesBackward0" if self.kind == MAX else f"AvgPool{dims}DBackward0" if self.kind == AVG
                else "AdaptiveAvgPool2DBackward0")

    cdef object apply(self, Tensor g):
        return pooled(self.kind, not self.adjoint, &self.sizes, g, self.saved(0) if self.kind == MAX else None, self.shape)


cdef double window_fmas(const fdl_pool_args *a) noexcept:
    return ELEM_FMAS * <double> a.planes * (a.h * a.w + a.oh * a.ow) + <double> a.planes * a.oh * a.ow * a.kh * a.kw


cdef Tensor pooled(int kind, bint adjoint, fdl_pool_args *sizes, Tensor input, Tensor index, tuple shape):
    """P x, or P^T x, of shape `shape`, recorded; index: where the maxima are (for MAX)."""
    cdef fdl_pool_args a = sizes[0]
    cdef int typenum = cnp.PyArray_TYPE(input.a), ndim = <int> len(shape), i
    cdef const fdl_table *K = kernels(typenum)
    cdef npy_intp dims[4]
    cdef Tensor x = contiguous(input), out
    cdef Scratch work
    cdef PoolBackward node
    if kind == MAX and not adjoint:
        flat = np.take_along_axis((<object> x.a).reshape(a.planes, a.h * a.w),
                                  (<object> index.a).reshape(a.planes, a.oh * a.ow), 1)
        out = wrap(own_array(flat.reshape(shape)))
    else:
        for i in range(ndim):
            dims[i] = shape[i]
        out = empty(ndim, dims, typenum)
        if adjoint:
            a.dy, a.dx = cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(out.a)
        else:
            a.x, a.y = cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(out.a)
        if kind == ADAPTIVE:
            watch(ELEM_FMAS * a.planes * (a.h * a.w + a.oh * a.ow))
            with nogil:
                if adjoint:
                    K.adaptive_avg_pool(<void *> a.dy, a.dx, a.planes, a.h, a.w, a.oh, a.ow, 1)
                else:
                    K.adaptive_avg_pool(a.y, <void *> a.x, a.planes, a.h, a.w, a.oh, a.ow, 0)
        else:
            if kind == MAX:
                a.index = cnp.PyArray_DATA(index.a)
            work = scratch(K.pool_scratch(&a))
            a.scratch = work.data
            watch(window_fmas(&a))
            with nogil:
                if kind == MAX:
                    K.max_pool_bwd(&a)
                elif adjoint:
                    K.avg_pool_bwd(&a)
                else:
                    K.avg_pool(&a)
        unwatch()
    if grad_enabled() and wants(input):
        node = PoolBackward.__new__(PoolBackward)
        node.sizes, node.kind, node.adjoint, node.shape = sizes[0], kind, adjoint, shape_of(input)
        if kind == MAX:
            node.save(0, index)
        attach(out, node, (edge(input),))
    return out


cdef int windows(str op, int dims, Tensor input, object kernel_size, object stride, object padding, object dilation,
                 bint ceil_mode, fdl_pool_args *a) except -1:
    """Checks the arguments and fills in the sizes."""
    cdef int64_t kernel[2]
    cdef int64_t steps[2]
    cdef int64_t pads[2]
    cdef int64_t gaps[2]
    cdef int64_t size[2]
    cdef int64_t out[2]
    cdef int i, ndim = cnp.PyArray_NDIM(input.a)
    if ndim != dims + 1 and ndim != dims + 2:
        raise (IndexError if op == "avg_pool2d" and ndim < 3 else RuntimeError)(
            f"[{op}] input: expected {dims + 2} dimensions (batch, channels, ..) or {dims + 1} without batch, got shape "
            f"{shape_of(input)}")
    if 0 in shape_of(input)[ndim - dims:]:
        raise RuntimeError(f"[{op}] input: expected planes with at least one element, got shape {shape_of(input)}")
    if not is_fast(cnp.PyArray_TYPE(input.a)):
        raise RuntimeError(f"[{op}] input: expected float32 or float64, got {input.dtype}")
    numbers(op, "kernel_size", kernel_size, dims, 1, kernel)
    numbers(op, "stride", kernel_size if stride is None or stride == () or stride == [] else stride, dims, 1, steps)
    numbers(op, "padding", padding, dims, 0, pads)
    numbers(op, "dilation", dilation, dims, 1, gaps)
    size[0] = 1
    for i in range(dims):
        size[2 - dims + i] = cnp.PyArray_DIMS(input.a)[ndim - dims + i]
    for i in range(2):
        if pads[i] > (gaps[i] * (kernel[i] - 1) + 1) // 2:
            raise RuntimeError(f"[{op}] pad should be at most half of effective kernel size, but got padding={padding}, "
                               f"kernel_size={kernel_size} and dilation={dilation}")
        out[i] = size[i] + 2 * pads[i] - gaps[i] * (kernel[i] - 1) - 1
        if out[i] < 0 and not (ceil_mode and out[i] > -steps[i]):
            raise RuntimeError(f"[{op}] the windows are larger than the input: kernel_size {kernel_size}, dilation "
                               f"{dilation}, padding {padding}, input {shape_of(input)}")
        out[i] = (out[i] + (steps[i] - 1 if ceil_mode else 0)) // steps[i] + 1
        if ceil_mode and (out[i] - 1) * steps[i] >= size[i] + pads[i]:
            out[i] -= 1
    a.planes = 1
    for i in range(ndim - dims):
        a.planes *= cnp.PyArray_DIMS(input.a)[i]
    a.h, a.w, a.oh, a.ow, a.kh, a.kw = size[0], size[1], out[0], out[1], kernel[0], kernel[1]
    a.stride_h, a.stride_w, a.pad_h, a.pad_w, a.dilation_h, a.dilation_w = (steps[0], steps[1], pads[0], pads[1], gaps[0],
                                                                           gaps[1])
    a.divisor, a.count_padding, a.index = 0, 0, NULL
    return 0


cdef tuple pooled_shape(Tensor input, int dims, fdl_pool_args *a):
    cdef tuple shape = shape_of(input)
    if dims == 2:
        return shape[:len(shape) - 2] + (a.oh, a.ow)
    return shape[:len(shape) - 1] + (a.ow,)


cdef object max_pool(str op, int dims, Tensor input, object kernel_size, object stride, object padding, object dilation,
                     bint ceil_mode, bint return_indices):
    cdef fdl_pool_args a
    cdef int typenum = cnp.PyArray_TYPE(input.a), i
    cdef const fdl_table *K = kernels(typenum)
    cdef npy_intp shape[4]
    cdef Tensor x, out, index = None
    cdef Scratch work
    cdef PoolBackward node
    cdef bint record
    if is_half(typenum) or category(typenum) == 1:  # integers through float64, exact below 2^53
        found = max_pool(op, dims, to_type(input, cnp.NPY_FLOAT32 if is_half(typenum) else cnp.NPY_FLOAT64), kernel_size,
                         stride, padding, dilation, ceil_mode, return_indices)
        return (to_type(found[0], typenum), found[1]) if return_indices else to_type(found, typenum)
    windows(op, dims, input, kernel_size, stride, padding, dilation, ceil_mode, &a)
    record = grad_enabled() and wants(input)
    if a.h * a.w > 0x7fffffff:
        raise RuntimeError(f"[{op}] input: planes of more than 2^31 elements are not implemented: {shape_of(input)}")
    sizes = pooled_shape(input, dims, &a)
    for i in range(len(sizes)):
        shape[i] = sizes[i]
    x = contiguous(input)
    out = empty(<int> len(sizes), shape, typenum)
    if record or return_indices:
        index = empty(<int> len(sizes), shape, cnp.NPY_INT64 if typenum == cnp.NPY_FLOAT64 else cnp.NPY_INT32)
        a.index = cnp.PyArray_DATA(index.a)
    a.x, a.y = cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(out.a)
    work = scratch(K.pool_scratch(&a))
    a.scratch = work.data
    watch(window_fmas(&a))
    with nogil:
        K.max_pool(&a)
    unwatch()
    if record:
        node = PoolBackward.__new__(PoolBackward)
        node.sizes, node.kind, node.shape = a, MAX, shape_of(input)
        node.save(0, index)
        attach(out, node, (edge(input),))
    return (out, cast(index, cnp.NPY_INT64)) if return_indices else out


cdef Tensor avg_pool(str op, int dims, Tensor input, object kernel_size, object stride, object padding, bint ceil_mode,
                     bint count_include_pad, object divisor_override):
    cdef fdl_pool_args a
    cdef int typenum = cnp.PyArray_TYPE(input.a)
    if is_half(typenum) or category(typenum) == 1:  # integers through float64, cut to whole numbers
        return to_type(avg_pool(op, dims, to_type(input, cnp.NPY_FLOAT32 if is_half(typenum) else cnp.NPY_FLOAT64),
                                kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override), typenum)
    windows(op, dims, input, kernel_size, stride, padding, 1, ceil_mode, &a)
    a.count_padding = count_include_pad
    if divisor_override is not None:
        a.divisor = divisor_override
        if a.divisor == 0:
            raise RuntimeError(f"[{op}] divisor_override: expected a number that is not zero, got {divisor_override}")
    return pooled(AVG, False, &a, input, None, pooled_shape(input, dims, &a))


def adaptive_size(str op, int dims, Tensor input, output_size):
    """The sizes of an adaptive pool's output along the last `dims` dimensions; None stands for the input's.

    Raises: RuntimeError for inputs and sizes that do not go together.
    """
    cdef tuple shape = shape_of(input), given, size
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * dims
    if len(shape) not in (dims + 1, dims + 2):
        raise RuntimeError(f"[{op}] input: expected {dims + 2} dimensions (batch, channels, ..) or {dims + 1} without "
                           f"batch, got shape {shape}")
    if len(given) != dims:
        raise RuntimeError(f"[{op}] output_size: expected one or {dims} numbers, got {output_size}")
    size = tuple([shape[len(shape) - dims + i] if n is None else int(n) for i, n in enumerate(given)])
    if min(size) < 1:
        raise RuntimeError(f"[{op}] output_size: expected at least 1, got {output_size}")
    if min(shape[len(shape) - dims:]) == 0:
        raise RuntimeError(f"[{op}] input: expected windows with at least one element, got shape {shape}")
    return size


cdef Tensor adaptive(str op, int dims, Tensor input, object output_size):
    cdef fdl_pool_args a
    cdef tuple shape = shape_of(input), size
    if is_half(cnp.PyArray_TYPE(input.a)):
        return to_type(adaptive(op, dims, to_type(input, cnp.NPY_FLOAT32), output_size), cnp.PyArray_TYPE(input.a))
    size = adaptive_size(op, dims, input, output_size)
    if max(size) == 1 and is_fast(cnp.PyArray_TYPE(input.a)):
        return reduced(FDL_MEAN, input, ((1 << dims) - 1) << (len(shape) - dims), True)
    kernel = [max(n // m, 1) for n, m in zip(shape[len(shape) - dims:], size)]
    windows(op, dims, input, kernel if dims == 2 else kernel[0], None, 0, 1, False, &a)
    whole = all([n == k * m for n, k, m in zip(shape[len(shape) - dims:], kernel, size)])
    a.ow = size[dims - 1]
    a.oh = size[0] if dims == 2 else 1
    return pooled(AVG if whole else ADAPTIVE, False, &a, input, None, pooled_shape(input, dims, &a))


# Python's names ---------------------------------------------------------------------------------------------------

def max_pool1d(Tensor input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window along the last dimension; see max_pool2d.

    Shape: (N, C, L) or (C, L) -> (.., Lout), Lout = (L + 2 padding - dilation (k - 1) - 1) // stride + 1
    """
    return max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(Tensor input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of the last two dimensions; a NaN counts as the largest.

    Args:
        kernel_size, stride, padding, dilation: one number or (height, width); stride: kernel_size if None.
        ceil_mode: a window may reach over the end, so that no element is left out.
        return_indices: also where the elements stand in their planes (int64); of equal ones the first.
    Shape:
        (N, C, H, W) or (C, H, W) -> (.., Hout, Wout)
    Raises:
        RuntimeError: windows larger than the input, padding of more than half a window.
    Source: torch.nn.functional.max_pool2d; csrc/pool.c.
    """
    return max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool1d(Tensor input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window along the last dimension; see avg_pool2d."""
    return avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(Tensor input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None):
    """The mean of each window of the last two dimensions.

    Args:
        kernel_size, stride, padding: one number or (height, width); stride: kernel_size if None.
        ceil_mode: a window may reach over the end, so that no element is left out.
        count_include_pad: whether the zeros of the padding count.
        divisor_override: what to divide the sums by instead of the number of elements.
    Shape:
        (N, C, H, W) or (C, H, W) -> (.., Hout, Wout)
    Raises:
        RuntimeError: windows larger than the input, padding of more than half a window.
    Source: torch.nn.functional.avg_pool2d; csrc/pool.c.
    """
    return avg_pool("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool1d(Tensor input, output_size):
    """Means of windows that cover the last dimension evenly, `output_size` of them."""
    return adaptive("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(Tensor input, output_size):
    """Means of windows that cover the last two dimensions evenly; output_size: one number or (height, width), None for
    the input's size.

    Shape: (N, C, H, W) or (C, H, W) -> (.., height, width)
    """
    return adaptive("adaptive_avg_pool2d", 2, input, output_size)
