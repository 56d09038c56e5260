"""pad, unfold and fold: moving elements around with NumPy's slices; derivatives of any order."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t
from numpy cimport npy_intp

import numpy as np

from .._tensor cimport Node, Tensor, attach, copy_into, edge, empty, grad_enabled, own_array, wants, wrap
from .common cimport shape_of
from .conv cimport numbers

cnp.import_array()


# pad --------------------------------------------------------------------------------------------------------------

@cython.final
cdef class ConstantPadNdBackward0(Node):
    """dx = g with as much taken away as was added"""
    cdef tuple pads

    cdef object apply(self, Tensor g):
        return constant_pad(g, tuple([(-before, -after) for before, after in self.pads]), 0)


cdef Tensor constant_pad(Tensor x, tuple pads, object value):
    """pads: (before, after) for each dimension; negative ones take away."""
    cdef tuple shape = shape_of(x)
    cdef npy_intp dims[32]
    cdef ConstantPadNdBackward0 node
    cdef int i
    for i in range(len(shape)):
        dims[i] = shape[i] + pads[i][0] + pads[i][1]
        if dims[i] < 0 or (dims[i] == 0 and shape[i] != 0):
            raise RuntimeError(f"[pad] dimension {i} of size {shape[i]} would get size {dims[i]}: shape {shape}")
    cdef Tensor out = empty(<int> len(shape), dims, cnp.PyArray_TYPE(x.a))
    if any([before > 0 or after > 0 for before, after in pads]):
        (<object> out.a).fill(value)
    inner = tuple([slice(max(b, 0), n + b + min(a, 0)) for n, (b, a) in zip(shape, pads)])
    outer = tuple([slice(max(-b, 0), n + min(a, 0)) for n, (b, a) in zip(shape, pads)])
    copy_into(wrap((<object> out.a)[inner]), wrap((<object> x.a)[outer]))
    if grad_enabled() and wants(x):
        node = ConstantPadNdBackward0.__new__(ConstantPadNdBackward0)
        node.pads = pads
        attach(out, node, (edge(x),))
    return out


cdef object source_index(str mode, object n, object before, object after, tuple shape):
    """For each element of a padded dimension the one that it repeats."""
    if (mode == "reflect" and max(before, after) >= n) or (mode == "circular" and max(before, after) > n) or n == 0:
        raise RuntimeError(f"[pad] padding ({before}, {after}) is too large for a dimension of size {n} with mode "
                           f"'{mode}': shape {shape}")
    if n + before + after >= 1 << 60:  # NumPy's sizes overflow
        raise MemoryError(f"[pad] padding ({before}, {after}): shape {shape}")
    index = np.arange(-before, n + after)
    if mode == "replicate":
        return np.clip(index, 0, n - 1)
    if mode == "circular":
        return index % n
    index = np.abs(index)
    return np.where(index >= n, 2 * (n - 1) - index, index)


def pad(Tensor input, pad, mode="constant", value=None):
    """`input` with elements added around it (negative numbers: taken away).

    Args:
        pad: (before, after) of the last dimension, then of the one before it, ..
        mode: "constant": `value`, 0 if None; "reflect", "replicate", "circular": the input's own elements, for inputs
            that have one or two dimensions more than are padded.
    Raises:
        RuntimeError: an odd number of sizes, too many, or more than the mode can give.
        NotImplementedError: an unknown mode.
    Source: torch.nn.functional.pad.
    """
    cdef tuple shape = shape_of(input)
    sizes = tuple([int(n) for n in pad])
    if len(sizes) % 2 or len(sizes) > 2 * len(shape):
        raise RuntimeError(f"[pad] pad: expected two numbers for each of at most {len(shape)} dimensions, got {tuple(pad)}")
    pads = tuple([(sizes[2 * i], sizes[2 * i + 1]) if 2 * i < len(sizes) else (0, 0) for i in range(len(shape) - 1, -1, -1)])
    if mode == "constant":
        return constant_pad(input, pads, 0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"[pad] mode: expected 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if value is not None and value != 0:
        raise ValueError(f"[pad] padding mode '{mode}' doesn't take in value argument")
    if not len(sizes) // 2 < len(shape) <= len(sizes) // 2 + 2:
        raise NotImplementedError(f"[pad] mode '{mode}' pads the last {len(sizes) // 2} of "
                                  f"{len(sizes) // 2 + 1} or {len(sizes) // 2 + 2} dimensions, got shape {shape}")
    out = input
    for dim, (before, after) in enumerate(pads):
        if before or after:
            index = source_index(mode, shape[dim], before, after, shape)
            out = out.index_select(dim, wrap(own_array(index)))
    return out


# unfold and fold --------------------------------------------------------------------------------------------------

cdef class Windows:
    """Windows of images of `size`: count, kernel, stride, padding, dilation, each for (height, width)."""
    cdef tuple size, count, kernel, stride, padding, dilation

    cdef object taps(self, object padded):
        """For each element of the window the part of a padded image that it sees, as views."""
        return [(i, j, padded[:, :, i * self.dilation[0]:i * self.dilation[0] + self.stride[0] * (self.count[0] - 1) + 1:self.stride[0],
                              j * self.dilation[1]:j * self.dilation[1] + self.stride[1] * (self.count[1] - 1) + 1:self.stride[1]])
                for i in range(self.kernel[0]) for j in range(self.kernel[1])]


cdef Windows make_windows(str op, tuple size, object kernel_size, object dilation, object padding, object stride):
    cdef Windows w = Windows.__new__(Windows)
    cdef int64_t n[2]
    w.size = size
    numbers(op, "kernel_size", kernel_size, 2, 1, n)
    w.kernel = (n[0], n[1])
    numbers(op, "dilation", dilation, 2, 1, n)
    w.dilation = (n[0], n[1])
    numbers(op, "padding", padding, 2, 0, n)
    w.padding = (n[0], n[1])
    numbers(op, "stride", stride, 2, 1, n)
    w.stride = (n[0], n[1])
    w.count = tuple([(s + 2 * p - d * (k - 1) - 1) // t + 1
                     for s, p, d, k, t in zip(size, w.padding, w.dilation, w.kernel, w.stride)])
    if min(w.count) < 1:
        raise RuntimeError(f"[{op}] windows of {w.kernel} with dilation {w.dilation} do not fit into images of {size} with "
                           f"padding {w.padding}")
    return w


@cython.final
cdef class Im2ColBackward0(Node):
    """fold undoes unfold, element by element: each is the other's derivative"""
    cdef Windows windows
    cdef bint folds

    def name(self):
        return "Col2ImBackward0" if self.folds else "Im2ColBackward0"

    cdef object apply(self, Tensor g):
        return unfolded(g, self.windows) if self.folds else folded(g, self.windows)


cdef Tensor record_windows(Tensor out, Tensor x, Windows w, bint folds):
    cdef Im2ColBackward0 node
    if grad_enabled() and wants(x):
        node = Im2ColBackward0.__new__(Im2ColBackward0)
        node.windows, node.folds = w, folds
        attach(out, node, (edge(x),))
    return out


cdef Tensor unfolded(Tensor x, Windows w):
    n, c = (<object> x.a).shape[:2]
    padded = np.pad(x.a, ((0, 0), (0, 0), (w.padding[0], w.padding[0]), (w.padding[1], w.padding[1])))
    out = np.empty((n, c, w.kernel[0], w.kernel[1], w.count[0], w.count[1]), (<object> x.a).dtype)
    for i, j, part in w.taps(padded):
        out[:, :, i, j] = part
    return record_windows(wrap(own_array(out.reshape(n, c * w.kernel[0] * w.kernel[1], w.count[0] * w.count[1]))), x, w, False)


cdef Tensor folded(Tensor x, Windows w):
    n, rows = (<object> x.a).shape[:2]
    c = rows // (w.kernel[0] * w.kernel[1])
    columns = (<object> x.a).reshape(n, c, w.kernel[0], w.kernel[1], w.count[0], w.count[1])
    padded = np.zeros((n, c, w.size[0] + 2 * w.padding[0], w.size[1] + 2 * w.padding[1]), (<object> x.a).dtype)
    for i, j, part in w.taps(padded):
        part += columns[:, :, i, j]
    inner = padded[:, :, w.padding[0]:w.padding[0] + w.size[0], w.padding[1]:w.padding[1] + w.size[1]]
    return record_windows(wrap(own_array(inner)), x, w, True)


def unfold(Tensor input, kernel_size, dilation=1, padding=0, stride=1):
    """The windows of images as columns.

    Shape: (N, C, H, W) or (C, H, W) -> (.., C kH kW, number of windows)
    Raises: RuntimeError if the windows do not fit.
    Source: torch.nn.functional.unfold.
    """
    cdef tuple shape = shape_of(input)
    if len(shape) == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if len(shape) != 4:
        raise RuntimeError(f"[unfold] input: expected 3 or 4 dimensions, got shape {shape}")
    return unfolded(input, make_windows("unfold", shape[2:], kernel_size, dilation, padding, stride))


def fold(Tensor input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Images of output_size from their windows as columns; elements of overlapping windows are added.

    Shape: (N, C kH kW, number of windows) or without N -> (N, C, H, W)
    Raises: RuntimeError if the sizes do not fit.
    Source: torch.nn.functional.fold.
    """
    cdef tuple shape = shape_of(input)
    cdef int64_t size[2]
    if len(shape) == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    numbers("fold", "output_size", output_size, 2, 1, size)
    cdef Windows w = make_windows("fold", (size[0], size[1]), kernel_size, dilation, padding, stride)
    if len(shape) != 3 or shape[1] % (w.kernel[0] * w.kernel[1]) or shape[2] != w.count[0] * w.count[1]:
        raise RuntimeError(f"[fold] input: expected shape (N, C * {w.kernel[0] * w.kernel[1]}, {w.count[0] * w.count[1]}) "
                           f"or without N, got {shape}")
    return folded(input, w)
