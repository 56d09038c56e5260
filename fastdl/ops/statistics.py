"""Statistics, sums that skip NaN, matrices built of others, and positions, composed of other operators."""

from __future__ import annotations

import builtins
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor, from_numpy, register_method
from .._types import Size, as_dtype, get_default_dtype, int64
from .common import broadcast_to
from .creation import arange, zeros
from .distance import _floating
from .elementwise import exp, isnan, log, logical_not, where
from .indexing import diagonal, gather, sort
from .matmul import matmul, outer
from .reduce import cumsum, mean, sum
from .reduce import max as largest
from .reduce import min as smallest
from .reduce import norm as vector_norm
from .shape import cat, flip, movedim, narrow, reshape, split, squeeze, stack, transpose, unsqueeze

Dim = int | tuple[int, ...] | None


def _at(op: str, dim: int, rank: int) -> int:
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise IndexError(f"[{op}] dim {dim} is outside [{-max(rank, 1)}, {max(rank, 1) - 1}] of a tensor with {rank} "
                         "dimensions")
    return dim % max(rank, 1)


# over elements ---------------------------------------------------------------------------------------------------


def nanmean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of the elements that are not NaN; NaN where there is none."""
    x = input if dtype is None else input.to(dtype)
    _floating("nanmean", input=x)
    there = logical_not(isnan(x.detach()))
    return sum(where(there, x, 0.0), dim, keepdim) / sum(there, dim, keepdim)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of the elements that are not NaN; with `dim`: (values, indices)."""
    x = reshape(input, -1) if dim is None else input
    at = 0 if dim is None else _at("nanmedian", dim, input.ndim)
    ordered, order = sort(x, at, stable=True)
    count = (~np.isnan(x._array)).sum(at, keepdims=True) if x.is_floating_point() else x.shape[at]
    place = from_numpy(np.broadcast_to(np.maximum((count - 1) // 2, 0), [1 if i == at else n
                                                                       for i, n in enumerate(x.shape)]).copy())
    found, index = gather(ordered, at, place), gather(order, at, place)
    if dim is None:
        return squeeze(found, 0)
    return (found, index) if keepdim else (squeeze(found, at), squeeze(index, at))


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """(smallest, largest), of all elements or along `dim`."""
    if dim is None:
        return smallest(input), largest(input)
    return input.amin(dim, keepdim), input.amax(dim, keepdim)


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """(values, indices) of what occurs most often along `dim`: the smallest of several, and where it stands last."""
    at = _at("mode", dim, input.ndim)
    if input.ndim == 0:
        return input.clone(), zeros((), dtype=int64)
    rows = np.moveaxis(input._array, at, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    index = np.zeros(len(flat), np.int64)
    for i, row in enumerate(flat):
        values, counts = np.unique(row, return_counts=True)
        index[i] = np.flatnonzero(row == values[counts.argmax()])[-1]
    place = from_numpy(np.moveaxis(index.reshape(*rows.shape[:-1], 1), -1, at).copy())
    found = gather(input, at, place)
    return (found, place) if keepdim else (squeeze(found, at), squeeze(place, at))


def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension."""
    return sort(input, 0)[0]


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the running sums of exp(input) along `dim`, without overflow."""
    _floating("logcumsumexp", input=input)
    at = _at("logcumsumexp", dim, input.ndim)
    if input.ndim == 0 or input.numel() == 0:
        return input.clone()
    # the running maximum keeps every prefix in range; sums within a block of equal maxima would lose small beginnings
    parts, total = [], None
    for x in split(input, 1, at):
        if total is None:
            total = x
        else:
            top = where(total.detach() > x.detach(), total.detach(), x.detach())
            top = where(top.isinf(), 0.0, top)
            total = top + log(exp(total - top) + exp(x - top))
        parts.append(total)
    return cat(parts, at)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of `bins` equal parts of [min, max]; both 0: of the range of the data.

    Raises: RuntimeError for bins <= 0, min > max, or a range that is not finite.
    """
    _floating("histc", input=input)
    if bins <= 0:
        raise RuntimeError(f"[histc] bins must be > 0, got {bins}")
    x = input._array.reshape(-1)
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"[histc] range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("[histc] max must be larger than min")
    x = x[(x >= low) & (x <= high)].astype(np.float64)
    at = np.minimum(((x - low) / (high - low) * bins).astype(np.int64), bins - 1)
    return from_numpy(np.bincount(at, minlength=bins).astype(input.dtype.numpy))


def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """Covariances of the rows, which are variables; the columns are observations.

    Args:
        correction: the divisor is the number of observations less this.
        fweights: how often each observation counts. aweights: how much.
    Shape: (D, N) -> (D, D); (N) -> ().
    """
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} "
                           "dimensions")
    x = input if input.is_floating_point() else input.to(get_default_dtype())
    x = reshape(x, 1, -1) if x.ndim < 2 else x
    weights = [w.to(x.dtype) for w in (fweights, aweights) if w is not None]
    for w in weights:
        if w.shape != (x.shape[1],):
            raise RuntimeError(f"[cov] weights: expected shape ({x.shape[1]},), got {tuple(w.shape)}")
    if not weights:
        centred = x - mean(x, 1, True)
        divisor: Any = builtins.max(x.shape[1] - correction, 0)
        out = matmul(centred, centred.T) / divisor
    else:
        w = weights[0] if len(weights) == 1 else weights[0] * weights[1]
        total = sum(w)
        centred = x - sum(x * w, 1, True) / total
        less = sum(w * aweights.to(x.dtype)) / total if aweights is not None else 1.0
        out = matmul(centred * w, centred.T) / (total - correction * less).clamp_min(0)
    return reshape(out, ()) if input.ndim < 2 else out


def corrcoef(input: Tensor) -> Tensor:
    """Correlations of the rows, within [-1, 1]. Shape: (D, N) -> (D, D); (N) -> ()."""
    c = cov(input)
    if c.ndim == 0:
        return c / c
    deviation = diagonal(c).sqrt()
    return (c / deviation.unsqueeze(1) / deviation).clamp(-1, 1)


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Every slice along `dim` whose p-norm is above maxnorm scaled down to it."""
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    at = _at("renorm", dim, input.ndim)
    length = vector_norm(input, p, tuple(i for i in range(input.ndim) if i != at), True)
    return input * where(length > maxnorm, maxnorm / (length + 1e-7), 1.0)


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral of y along `dim` by the trapezoidal rule, at places x or at distances dx."""
    return sum(_trapezoids("trapezoid", y, x, dx, dim), dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The running integral of y along `dim` by the trapezoidal rule, one entry less than y."""
    return cumsum(_trapezoids("cumulative_trapezoid", y, x, dx, dim), dim)


def _trapezoids(op: str, y: Tensor, x: Tensor | None, dx: float, dim: int) -> Tensor:
    at = _at(op, dim, y.ndim)
    n = builtins.max(y.shape[at] - 1, 0)
    middle = (narrow(y, at, 0, n) + narrow(y, at, y.shape[at] - n, n)) / 2
    if x is None:
        return middle * dx
    at_x = at if x.ndim == y.ndim else 0
    if x.shape[at_x] != y.shape[at]:
        raise RuntimeError(f"[{op}] x: expected {y.shape[at]} places, got shape {tuple(x.shape)}")
    width = narrow(x, at_x, 1, n) - narrow(x, at_x, 0, n)
    return middle * (width if x.ndim == y.ndim else reshape(width, *[n if i == at else 1 for i in range(y.ndim)]))


# vectors and matrices --------------------------------------------------------------------------------------------


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along `dim`, whose size is 3; None: the first dimension of that size.

    Raises: RuntimeError if there is none.
    """
    if dim is None:
        sizes = [i for i, n in enumerate(input.shape) if n == 3]
        if not sizes:
            raise RuntimeError("[cross] no dimension of size 3 in input")
        dim = sizes[0]
    at = _at("cross", dim, input.ndim)
    if input.shape[at] != 3 or other.shape[dim] != 3:
        raise RuntimeError(f"[cross] inputs dimension {dim} must have length 3, got {tuple(input.shape)} and "
                           f"{tuple(other.shape)}")
    a, b = input.unbind(dim), other.unbind(dim)
    return stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]],
                 dim if dim < 0 else dim - input.ndim)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products along the last dimensions of both: (.., N), (..', N) -> (.., ..')."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                           f"{list(input.shape)} and {list(other.shape)}")
    out = matmul(reshape(input, -1, input.shape[-1]), reshape(other, -1, other.shape[-1]).T)
    return reshape(out, (*input.shape[:-1], *other.shape[:-1]))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, from left to right."""
    out = matrices[0]
    for m in matrices[1:]:
        out = matmul(out, m)
    return out


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every entry of input times the whole of other."""
    rank = builtins.max(input.ndim, other.ndim)
    a, b = ([1] * (rank - x.ndim) + list(x.shape) for x in (input, other))
    left = reshape(input, *[n for size in a for n in (size, 1)])
    right = reshape(other, *[n for size in b for n in (1, size)])
    return reshape(left * right, tuple(n * m for n, m in zip(a, b)))


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given ones (rows, numbers) along its diagonal and 0 elsewhere."""
    for i, t in enumerate(tensors):
        if t.ndim > 2:
            raise RuntimeError(f"block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.ndim} "
                               "dimensions")
    blocks = [reshape(t, 1, -1) if t.ndim < 2 else t for t in tensors] or [zeros(1, 0)]
    width, before, rows = builtins.sum(b.shape[1] for b in blocks), 0, []
    for b in blocks:
        n, m = b.shape
        rows.append(cat([b.new_zeros((n, before)), b, b.new_zeros((n, width - before - m))], 1))
        before += m
    return cat(rows, 0)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of x as columns, the highest first unless `increasing`."""
    n = len(x) if N is None else N
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return x.unsqueeze(1) ** from_numpy(powers.astype(np.int64).copy())


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of one element of each row, in order: (n), (m), .. -> (n m .., count)."""
    for t in tensors:
        if t.ndim != 1:
            raise RuntimeError(f"cartesian_prod: Expect a 1D vector, but got shape {list(t.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    places = np.indices([len(t) for t in tensors]).reshape(len(tensors), -1)
    return stack([t[from_numpy(i.astype(np.int64))] for t, i in zip(tensors, places)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All selections of r elements of a row, in order. Shape: (n) -> (count, r)."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    if r == 0:
        return input.new_zeros((0,))
    n = len(input)
    count = r * math.comb(max(n + r - 1, 0) if with_replacement else n, r)
    if count >= 1 << 60:
        raise MemoryError(f"[combinations] {count // r} selections of {r} elements")
    places = np.fromiter(itertools.chain.from_iterable(choose(range(n), r)), np.int64, count)
    return input[from_numpy(places.reshape(-1, r))]


# shapes ----------------------------------------------------------------------------------------------------------


def _atleast(rank: int, tensors: tuple) -> Any:
    def one(x: Tensor) -> Tensor:
        if x.ndim >= rank:
            return x
        if rank == 1:
            return reshape(x, 1)
        x = unsqueeze(reshape(x, 1) if x.ndim == 0 else x, 0) if x.ndim < 2 else x
        return x if rank == 2 else unsqueeze(x, -1)

    if len(tensors) == 1:
        return one(tensors[0]) if isinstance(tensors[0], Tensor) else tuple(one(x) for x in tensors[0])
    return tuple(one(x) for x in tensors)


def atleast_1d(*tensors: Tensor) -> Any:
    """Numbers as rows of one."""
    return _atleast(1, tensors)


def atleast_2d(*tensors: Tensor) -> Any:
    """Numbers and rows as matrices of one row."""
    return _atleast(2, tensors)


def atleast_3d(*tensors: Tensor) -> Any:
    """Matrices with a third dimension of size 1."""
    return _atleast(3, tensors)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side; rows and numbers become columns."""
    return cat([reshape(t, -1, 1) if t.ndim < 2 else t for t in tensors], 1)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the third dimension."""
    return cat([atleast_3d(t) for t in tensors], 2)


def _axis_split(name: str, rank: int, input: Tensor, parts: int | Sequence[int], dim: int) -> tuple[Tensor, ...]:
    if input.ndim < rank:
        raise RuntimeError(f"{name} requires a tensor with at least {rank} dimension, but got a tensor with "
                           f"{input.ndim} dimensions!")
    if isinstance(parts, int) and input.shape[dim] % parts:
        raise RuntimeError(f"{name} attempted to split along dimension {dim}, but the size of the dimension "
                           f"{input.shape[dim]} is not divisible by the split_size {parts}!")
    return input.tensor_split(parts, dim)


def hsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Parts along the second dimension, of a row along its only one."""
    return _axis_split("torch.hsplit", 1, input, indices_or_sections, 1 if input.ndim > 1 else 0)


def vsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Parts along the first dimension."""
    return _axis_split("torch.vsplit", 2, input, indices_or_sections, 0)


def dsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Parts along the third dimension."""
    return _axis_split("torch.dsplit", 3, input, indices_or_sections, 2)


def fliplr(input: Tensor) -> Tensor:
    """The second dimension in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


def flipud(input: Tensor) -> Tensor:
    """The first dimension in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k quarters, from dims[0] towards dims[1]."""
    if len(dims) != 2 or input.ndim < 2 or dims[0] % input.ndim == dims[1] % input.ndim:
        raise RuntimeError(f"[rot90] dims: expected two different ones of {input.ndim} dimensions, got {tuple(dims)}")
    first, second = dims
    if k % 4 == 0:
        return input.clone()
    if k % 4 == 2:
        return flip(input, (first, second))
    return transpose(flip(input, (second if k % 4 == 1 else first,)), first, second)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with all elements on a diagonal."""
    return reshape(input, -1).diag_embed(offset)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes broadcast to.

    Raises: RuntimeError if there is none.
    """
    try:
        return Size(np.broadcast_shapes(*((s,) if isinstance(s, int) else tuple(s) for s in shapes)))
    except ValueError:
        raise RuntimeError(f"Shape mismatch: objects cannot be broadcast to a single shape, got {shapes}") from None


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to one shape."""
    parts: Sequence[Tensor] = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    shape = broadcast_shapes(*(tuple(t.shape) for t in parts))
    return tuple(broadcast_to(t, shape) for t in parts)


def _placed(input: Tensor, src: Tensor, view: Any, index: Tensor | None = None) -> Tensor:
    """A copy of input with src in its part `view`, or where that is no view, at `index`."""
    out = input.clone()
    part = view(out)
    if part.shape != src.shape:
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
                           f"slice size = {list(part.shape)}")
    if index is None:
        part.copy_(src)
    else:
        out[index] = src.to(out.dtype)
    return out


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """input with src in place of input.select(dim, index)."""
    return _placed(input, src, lambda x: x.select(dim, index))


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """input with src in place of input[start:end:step] along `dim`."""
    at = _at("slice_scatter", dim, input.ndim)
    return _placed(input, src, lambda x: x[(slice(None),) * at + (slice(start, end, step),)])


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """input with src in place of a diagonal."""
    index = diagonal(arange(input.numel()).reshape(input.shape), offset, dim1, dim2)
    return reshape(_placed(reshape(input, -1), src, lambda x: x[index], index), tuple(input.shape))


# positions -------------------------------------------------------------------------------------------------------


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = None) -> Tensor:
    """Rows and columns of the elements on and below a diagonal. Shape: (2, count)."""
    places = np.tril_indices(row, offset, col)
    return from_numpy(np.array(places, as_dtype(dtype).numpy).reshape(2, -1))


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = int64, device: Any = None) -> Tensor:
    """Rows and columns of the elements on and above a diagonal. Shape: (2, count)."""
    places = np.triu_indices(row, offset, col)
    return from_numpy(np.array(places, as_dtype(dtype).numpy).reshape(2, -1))


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """Places in a flat tensor as places in each dimension of `shape`."""
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    return tuple(from_numpy(np.asarray(i, np.int64)) for i in np.unravel_index(indices.numpy(), sizes))


def fill_diagonal_(input: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Writes a number onto the diagonal; with `wrap`, tall matrices begin again below."""
    if input.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if input.ndim > 2 and len(set(input.shape)) != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    step = int(np.cumprod([1, *input.shape[:0:-1]]).sum())
    end = input.numel() if wrap or input.ndim > 2 else builtins.min(input.numel(), input.shape[1] * step)
    mask = np.zeros(input.numel(), bool)
    mask[:end:step] = True
    input[from_numpy(mask.reshape(input.shape))] = fill_value
    return input


for _function in (nanmean, nanmedian, aminmax, mode, msort, logcumsumexp, histc, cov, corrcoef, renorm, cross, inner,
                  kron, hsplit, vsplit, dsplit, fliplr, flipud, rot90, diagflat, select_scatter, slice_scatter,
                  diagonal_scatter, fill_diagonal_):
    register_method(_function.__name__, _function)
register_method("ger", outer)
register_method("moveaxis", movedim)
register_method("swapdims", transpose)
register_method("adjoint", lambda self: transpose(self, -2, -1))
register_method("mH", property(lambda self: transpose(self, -2, -1), doc="mT: there are no complex tensors."))
register_method("H", property(lambda self: transpose(self, 0, 1), doc="T of a matrix: no tensor is complex."))
