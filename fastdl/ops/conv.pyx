"""Convolutions in one and two dimensions and their transposes: forward, and derivatives of any order.

The three kernels compute y from (x, weight), dx from (dy, weight) and dw from (x, dy). They are the derivatives of one
number that is linear in x, weight and dy, so each one's derivatives are the other two.
"""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport npy_intp

from .._kernels cimport Scratch, fdl_conv_args, fdl_table, scratch, unwatch, watch
from .._tensor cimport (Node, Tensor, attach, cast, contiguous, edge, empty, grad_enabled, is_fast, is_half, kernels,
                        wants)
from .common cimport category, shape_of, sum_to, to_type

cnp.import_array()

cdef enum:
    FWD
    DX
    DW


@cython.final
cdef class ConvolutionBackward0(Node):
    """kind FWD: out = y(x, weight):     dx = DX(g, weight),  dweight = DW(x, g),  dbias = g summed
       kind DX:  out = dx(dy, weight):   ddy = FWD(g, weight), dweight = DW(g, dy)
       kind DW:  out = dw(x, dy):        dx = DX(dy, g),       ddy = FWD(x, g)"""
    cdef fdl_conv_args sizes
    cdef int kind

    cdef object apply(self, Tensor g):
        cdef Tensor a = self.saved(0), b = self.saved(1), da = None, db = None, bias = None
        cdef bint with_bias = len(self.edges) > 2 and self.edges[2] is not None
        if self.kind == FWD:
            if self.edges[0] is not None:
                da = convolved(DX, &self.sizes, g, b, None)
            if with_bias:
                if grad_enabled() or self.edges[1] is None or self.sizes.ci == 0:
                    bias = sum_to(g, (self.sizes.groups * self.sizes.co,) + (1,) * (cnp.PyArray_NDIM(g.a) - 2)).reshape(-1)
                else:
                    bias = empty_vector(self.sizes.groups * self.sizes.co, cnp.PyArray_TYPE(g.a))
            if self.edges[1] is not None:
                db = convolved(DW, &self.sizes, a, g, None if grad_enabled() or self.sizes.ci == 0 else bias)
            return (da, db, bias) if len(self.edges) > 2 else (da, db)
        if self.kind == DX:
            if self.edges[0] is not None:
                da = convolved(FWD, &self.sizes, g, b, None)
            if self.edges[1] is not None:
                db = convolved(DW, &self.sizes, g, a, None)
        else:
            if self.edges[0] is not None:
                da = convolved(DX, &self.sizes, b, g, None)
            if self.edges[1] is not None:
                db = convolved(FWD, &self.sizes, a, g, None)
        return da, db


cdef Tensor empty_vector(npy_intp n, int typenum):
    return empty(1, &n, typenum)


cdef Tensor convolved(int kind, fdl_conv_args *sizes, Tensor a, Tensor b, Tensor bias):
    """The result of one of the kernels for its two operands, recorded.

    bias: for FWD the bias, for DW a vector that is filled with dbias and not recorded.
    """
    cdef fdl_conv_args args = sizes[0]
    cdef int typenum = cnp.PyArray_TYPE(a.a), ndim = cnp.PyArray_NDIM(a.a)
    cdef const fdl_table *K = kernels(typenum)
    cdef npy_intp shape[4]
    if args.oh == 1:  # no step is made: kernels need not make room for a huge one
        args.stride_h = min(args.stride_h, args.h + 2 * args.pad_h)
    if args.ow == 1:
        args.stride_w = min(args.stride_w, args.w + 2 * args.pad_w)
    cdef Tensor x = contiguous(a), y = contiguous(b), extra = None, out
    cdef Scratch work
    cdef ConvolutionBackward0 node
    if kind == FWD:
        shape[0], shape[1], shape[2], shape[3] = args.n, args.groups * args.co, args.oh, args.ow
        args.x, args.weight = cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(y.a)
    elif kind == DX:
        shape[0], shape[1], shape[2], shape[3] = args.n, args.groups * args.ci, args.h, args.w
        args.dy, args.weight = cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(y.a)
    else:
        shape[0], shape[1], shape[2], shape[3] = args.groups * args.co, args.ci, args.kh, args.kw
        args.x, args.dy = cnp.PyArray_DATA(x.a), cnp.PyArray_DATA(y.a)
    if ndim == 3:
        shape[2] = shape[3]
    out = empty(ndim, shape, typenum)
    args.y = args.dx = args.dw = cnp.PyArray_DATA(out.a)
    args.bias = args.db = NULL
    if bias is not None:
        extra = contiguous(bias)
        args.bias = args.db = cnp.PyArray_DATA(extra.a)
    work = scratch(K.conv_dw_scratch(&args) if kind == DW else K.conv_scratch(&args, kind == DX))
    args.scratch = work.data
    watch(<double> args.n * args.groups * args.co * args.oh * args.ow * args.ci * args.kh * args.kw)
    with nogil:
        if kind == FWD:
            K.conv_fwd(&args)
        elif kind == DX:
            K.conv_dx(&args)
        else:
            K.conv_dw(&args)
    unwatch()
    if not grad_enabled():
        return out
    if kind != FWD:
        bias = None
    if wants(a) or wants(b) or (bias is not None and wants(bias)):
        node = ConvolutionBackward0.__new__(ConvolutionBackward0)
        node.sizes, node.kind = sizes[0], kind
        if wants(b):
            node.save(0, a)
        if wants(a):
            node.save(1, b)
        attach(out, node, (edge(a), edge(b)) if bias is None else (edge(a), edge(b), edge(bias)))
    return out


# Arguments --------------------------------------------------------------------------------------------------------

cdef int numbers(str op, str name, object value, int count, int64_t least, int64_t *out) except -1:
    """`value`, a whole number or one for each dimension, into out; out[0] is 1 (or 0, if that is the least) in 1-d."""
    cdef int i
    given = value if isinstance(value, (tuple, list)) else (value,)
    if len(given) == 1:
        given = tuple(given) * count
    if len(given) != count or not all([hasattr(v, "__index__") for v in given]):
        raise TypeError(f"[{op}] {name}: expected a whole number or {count} of them, got {value!r}")
    out[0] = least
    for i in range(count):
        if not least <= given[i] < 1 << 31:  # sums and products of two cannot overflow
            raise RuntimeError(f"[{op}] {name}: expected at least {least} and less than 2^31, got {value!r}")
        out[2 - count + i] = given[i]
    return 0


cdef int check_operands(str op, Tensor input, Tensor weight, Tensor bias, int dims) except -1:
    cdef int ndim = cnp.PyArray_NDIM(input.a)
    if ndim != dims + 2 and ndim != dims + 1:
        raise RuntimeError(f"[{op}] input: expected {dims + 2} dimensions (batch, channels, ..) or {dims + 1} without "
                           f"batch, got shape {shape_of(input)}")
    if cnp.PyArray_NDIM(weight.a) != dims + 2:
        raise RuntimeError(f"[{op}] weight: expected {dims + 2} dimensions, got shape {shape_of(weight)}")
    if 0 in shape_of(weight)[2:]:
        raise RuntimeError(f"[{op}] weight: expected a kernel of at least one element, got shape {shape_of(weight)}")
    for other, name in ((weight, "weight"), (bias, "bias")):
        if other is not None and cnp.PyArray_TYPE((<Tensor> other).a) != cnp.PyArray_TYPE(input.a):
            raise RuntimeError(f"[{op}] {name}: expected the input's type {input.dtype}, got {other.dtype}")
    if not is_fast(cnp.PyArray_TYPE(input.a)):
        raise RuntimeError(f"[{op}] input: expected float32 or float64, got {input.dtype}")
    return 0


cdef int check_bias(str op, Tensor bias, Py_ssize_t channels) except -1:
    if bias is not None and shape_of(bias) != (channels,):
        raise RuntimeError(f"[{op}] bias: expected one number per output channel, shape ({channels},), got "
                           f"{shape_of(bias)}")
    return 0


cdef Tensor convolution(str op, int dims, Tensor input, Tensor weight, Tensor bias, object stride, object padding,
                        object dilation, object groups):
    cdef fdl_conv_args s
    cdef int64_t steps[2]
    cdef int64_t pads[2]
    cdef int64_t gaps[2]
    cdef int64_t size[2]
    cdef int64_t kernel[2]
    cdef int64_t out[2]
    cdef int i
    if is_half(cnp.PyArray_TYPE(input.a)) and cnp.PyArray_TYPE(weight.a) == cnp.PyArray_TYPE(input.a):
        return to_type(convolution(op, dims, to_type(input, cnp.NPY_FLOAT32), to_type(weight, cnp.NPY_FLOAT32),
                                   None if bias is None else to_type(bias, cnp.NPY_FLOAT32), stride, padding, dilation,
                                   groups), cnp.PyArray_TYPE(input.a))
    if category(cnp.PyArray_TYPE(input.a)) == 1 and cnp.PyArray_TYPE(weight.a) == cnp.PyArray_TYPE(input.a):
        # integers through float64, exact below 2^53
        return cast(cast(convolution(op, dims, cast(input, cnp.NPY_FLOAT64), cast(weight, cnp.NPY_FLOAT64),
                                     None if bias is None else cast(bias, cnp.NPY_FLOAT64), stride, padding, dilation,
                                     groups), cnp.NPY_INT64), cnp.PyArray_TYPE(input.a))
    check_operands(op, input, weight, bias, dims)
    numbers(op, "stride", stride, dims, 1, steps)
    numbers(op, "dilation", dilation, dims, 1, gaps)
    if cnp.PyArray_NDIM(input.a) == dims + 1:
        return convolution(op, dims, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    cdef npy_intp *shape = cnp.PyArray_DIMS(input.a)
    cdef npy_intp *of_weight = cnp.PyArray_DIMS(weight.a)
    size[0] = kernel[0] = 1
    for i in range(dims):
        size[2 - dims + i], kernel[2 - dims + i] = shape[2 + i], of_weight[2 + i]
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"[{op}] padding: expected 'same', 'valid' or numbers, got {padding!r}")
        if padding == "same" and (steps[0] != 1 or steps[1] != 1):
            raise RuntimeError(f"[{op}] padding='same' is not supported for strided convolutions: stride {stride}")
        for i in range(2):
            pads[i] = gaps[i] * (kernel[i] - 1) // 2 if padding == "same" else 0
            out[i] = size[i] if padding == "same" else size[i] - gaps[i] * (kernel[i] - 1)
    else:
        numbers(op, "padding", padding, dims, 0, pads)
        for i in range(2):
            out[i] = size[i] + 2 * pads[i] - gaps[i] * (kernel[i] - 1)
    for i in range(2):
        out[i] = (out[i] - 1) // steps[i] + 1 if out[i] > 0 else 0
    if size[0] < 1 or size[1] < 1:
        raise RuntimeError(f"[{op}] Only zero batch or zero channel inputs are supported, but got input shape: "
                           f"{shape_of(input)}")
    if out[0] < 1 or out[1] < 1:
        raise RuntimeError(f"[{op}] Kernel size can't be greater than actual input size: input {shape_of(input)} with "
                           f"padding {padding!r}, weight {shape_of(weight)} with dilation {dilation}")
    s.groups = groups
    if s.groups < 1 or of_weight[0] < s.groups or of_weight[0] % s.groups:
        raise RuntimeError(f"[{op}] groups: expected a number that divides the {of_weight[0]} output channels of weight "
                           f"{shape_of(weight)}, got {groups}")
    if of_weight[1] * s.groups != shape[1]:
        raise RuntimeError(f"[{op}] input: expected {of_weight[1] * s.groups} channels for weight {shape_of(weight)} and "
                           f"groups={groups}, got {shape[1]} channels: shape {shape_of(input)}")
    check_bias(op, bias, of_weight[0])
    s.n, s.ci, s.co = shape[0], of_weight[1], of_weight[0] // s.groups
    s.h, s.w, s.kh, s.kw, s.oh, s.ow = size[0], size[1], kernel[0], kernel[1], out[0], out[1]
    s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dilation_h, s.dilation_w = (steps[0], steps[1], pads[0], pads[1], gaps[0],
                                                                           gaps[1])
    return convolved(FWD, &s, input, weight, bias)


cdef Tensor transposed(str op, int dims, Tensor input, Tensor weight, Tensor bias, object stride, object padding,
                       object output_padding, object groups, object dilation):
    """The derivative of a convolution that goes the other way; the same check of sizes, x and y exchanged."""
    cdef fdl_conv_args s
    cdef int64_t steps[2]
    cdef int64_t pads[2]
    cdef int64_t more[2]
    cdef int64_t gaps[2]
    cdef int64_t size[2]
    cdef int64_t kernel[2]
    cdef int64_t out[2]
    cdef int i
    cdef Tensor y
    if is_half(cnp.PyArray_TYPE(input.a)) and cnp.PyArray_TYPE(weight.a) == cnp.PyArray_TYPE(input.a):
        return to_type(transposed(op, dims, to_type(input, cnp.NPY_FLOAT32), to_type(weight, cnp.NPY_FLOAT32),
                                  None if bias is None else to_type(bias, cnp.NPY_FLOAT32), stride, padding,
                                  output_padding, groups, dilation), cnp.PyArray_TYPE(input.a))
    check_operands(op, input, weight, bias, dims)
    numbers(op, "stride", stride, dims, 1, steps)
    numbers(op, "padding", padding, dims, 0, pads)
    numbers(op, "output_padding", output_padding, dims, 0, more)
    numbers(op, "dilation", dilation, dims, 1, gaps)
    if cnp.PyArray_NDIM(input.a) == dims + 1:
        return transposed(op, dims, input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups,
                          dilation).squeeze(0)
    cdef npy_intp *shape = cnp.PyArray_DIMS(input.a)
    cdef npy_intp *of_weight = cnp.PyArray_DIMS(weight.a)
    size[0] = kernel[0] = 1
    for i in range(dims):
        size[2 - dims + i], kernel[2 - dims + i] = shape[2 + i], of_weight[2 + i]
    for i in range(2):
        out[i] = (size[i] - 1) * steps[i] - 2 * pads[i] + gaps[i] * (kernel[i] - 1) + 1 + more[i]
        if more[i] >= max(steps[i], gaps[i]):
            raise RuntimeError(f"[{op}] output_padding: expected less than stride or dilation, got {output_padding} with "
                               f"stride {stride} and dilation {dilation}")
    if out[0] < 1 or out[1] < 1 or size[0] < 1 or size[1] < 1:
        raise RuntimeError(f"[{op}] the output would have no elements: input {shape_of(input)}, weight {shape_of(weight)}")
    s.groups = groups
    if s.groups < 1 or shape[1] != of_weight[0] or of_weight[0] % s.groups:
        raise RuntimeError(f"[{op}] input: expected {of_weight[0]} channels, a multiple of groups={groups}, for weight "
                           f"{shape_of(weight)}, got shape {shape_of(input)}")
    check_bias(op, bias, of_weight[1] * s.groups)
    s.n, s.ci, s.co = shape[0], of_weight[1], of_weight[0] // s.groups
    s.h, s.w, s.kh, s.kw, s.oh, s.ow = out[0], out[1], kernel[0], kernel[1], size[0], size[1]
    s.stride_h, s.stride_w, s.pad_h, s.pad_w, s.dilation_h, s.dilation_w = (steps[0], steps[1], pads[0], pads[1], gaps[0],
                                                                           gaps[1])
    y = convolved(DX, &s, input, weight, None)
    return y if bias is None else y + bias.reshape((-1,) + (1,) * dims)


# Python's names ---------------------------------------------------------------------------------------------------

def conv1d(Tensor input, Tensor weight, Tensor bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation of `input` with the kernels `weight` along the last dimension, plus bias.

    Args:
        stride: steps between outputs.
        padding: zeros on both sides; "same": as many as keep the length; "valid": none.
        dilation: steps between the taps of the kernel.
        groups: the channels are cut into this many groups that do not see each other.
    Shape:
        input (N, Cin, L) or (Cin, L), weight (Cout, Cin / groups, k), bias (Cout) -> (N, Cout, Lout),
        Lout = (L + 2 padding - dilation (k - 1) - 1) // stride + 1
    Raises:
        RuntimeError: sizes or types that do not fit.
    Source: torch.nn.functional.conv1d; csrc/conv.c.
    """
    return convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(Tensor input, Tensor weight, Tensor bias=None, stride=1, padding=0, dilation=1, groups=1):
    """conv1d over the last two dimensions; stride, padding and dilation are one number or (height, width).

    Shape:
        input (N, Cin, H, W) or (Cin, H, W), weight (Cout, Cin / groups, kH, kW), bias (Cout) -> (N, Cout, Hout, Wout)
    Raises:
        RuntimeError: sizes or types that do not fit.
    Source: torch.nn.functional.conv2d; csrc/conv.c.
    """
    return convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(Tensor input, Tensor weight, Tensor bias=None, stride=1, padding=0, output_padding=0, groups=1,
                     dilation=1):
    """The derivative of conv1d with respect to its input, as a layer: each element spreads over a kernel of outputs.

    Shape:
        input (N, Cin, L) or (Cin, L), weight (Cin, Cout / groups, k), bias (Cout) -> (N, Cout, Lout),
        Lout = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1
    Raises:
        RuntimeError: sizes or types that do not fit.
    """
    return transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(Tensor input, Tensor weight, Tensor bias=None, stride=1, padding=0, output_padding=0, groups=1,
                     dilation=1):
    """conv_transpose1d over the last two dimensions.

    Shape:
        input (N, Cin, H, W) or (Cin, H, W), weight (Cin, Cout / groups, kH, kW), bias (Cout) -> (N, Cout, Hout, Wout)
    Raises:
        RuntimeError: sizes or types that do not fit.
    """
    return transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)
