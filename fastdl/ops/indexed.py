"""Functions that read, write, add and reduce by index, composed of the operators of `indexing`.

What ends in `_` works in place. Numbers outside the tensor raise IndexError, in scatter and gather RuntimeError, which
names the number, where it stands in the index, and the valid range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor, register_method
from .._types import bfloat16
from ..autograd import no_grad
from .composed import _dim, _own
from .creation import full, ones, zeros
from .elementwise import eq, logical_and, maximum, minimum, where
from .embedding import embedding
from .indexing import add_items_, entries_of, gather, in_range, index_add_, scatter_add_


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method that overwrites the tensor with what `function` gives."""

    def write(self: Tensor, *args, **kwargs) -> Tensor:
        return self.copy_(function(self, *args, **kwargs))

    write.__name__ = write.__qualname__ = function.__name__ + "_"
    write.__doc__ = f"`{function.__name__}`, in place."
    return write


def _on_copy(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function that does what a method does in place, on a copy."""

    def function(input: Tensor, *args, **kwargs) -> Tensor:
        return method(input.clone(), *args, **kwargs)

    function.__name__ = function.__qualname__ = method.__name__.removesuffix("_")
    function.__doc__ = f"`Tensor.{method.__name__}` on a copy."
    return function


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy in which source's entries along `dim` stand in the places that `index` names."""
    x = input.clone() if input.ndim else input.clone().reshape(1)
    at, index, source = entries_of("index_copy", x, dim, index, source)
    x[(*(slice(None),) * at, index.reshape(-1))] = source
    return x.reshape(input.shape)


def index_fill(input: Tensor, dim: int, index: Tensor, value: Tensor | float) -> Tensor:
    """A copy with `value` in the entries along `dim` that `index` names; negative numbers count from the end."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(f"[index_fill] value: expected a number or a 0-d tensor, got shape {tuple(value.shape)}")
        if value.requires_grad and not input.is_floating_point():
            raise RuntimeError(f"[index_fill] value: a tensor of {input.dtype} has no gradient to give it")
    if index.ndim > 1:
        raise IndexError(f"[index_fill] expected a 1-d index, got shape {tuple(index.shape)}")
    x = input.clone() if input.ndim else input.clone().reshape(1)
    at = _dim("index_fill", dim, input.ndim)
    numbers = in_range("index_fill", index, x.shape[at], dim, True)
    # each entry once: the gradient of a 0-d value counts what is written
    value = value.to(x.dtype) if isinstance(value, Tensor) else value
    x[(*(slice(None),) * at, _own(np.unique(numbers._array)))] = value
    return x.reshape(input.shape)


def index_put_(
    self: Tensor, indices: Sequence[Tensor] | Tensor, values: Tensor, accumulate: bool = False
) -> Tensor:
    """self[indices] = values; accumulate: self[indices] += values, where what is named several times is added up."""
    index = indices if isinstance(indices, Tensor) else tuple(slice(None) if i is None else i for i in indices)
    if values.ndim == 0:
        values = values.to(self.dtype)
    if values.dtype != self.dtype:
        raise RuntimeError(f"[index_put_] values: expected {self.dtype} as the tensor, got {values.dtype}")
    if accumulate:
        return add_items_(self, index, values)
    self[index] = values
    return self


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy in which the elements where `mask` holds are the first ones of `source`, in order."""
    if mask.dtype.numpy != np.bool_:
        raise RuntimeError(f"[masked_scatter] expected a bool mask, got {mask.dtype}")
    if source.dtype != input.dtype:
        raise RuntimeError(f"[masked_scatter] source: expected {input.dtype} as the tensor, got {source.dtype}")
    shape = np.broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    out, mask = input.expand(shape).clone(), mask.expand(shape)
    count = int(mask.sum())
    if source.numel() < count:
        raise RuntimeError(f"[masked_scatter] source: expected at least {count} elements, got {source.numel()}")
    out[mask] = source.reshape(-1)[:count]
    return out


def _grid(op: str, x: Tensor, dim: int, index: Tensor) -> tuple[np.ndarray, ...]:
    """The NumPy index of the elements that scatter means."""
    at, shape, sizes = _dim(op, dim, x.ndim), tuple(x.shape), tuple(index.shape)
    if len(sizes) != len(shape):
        raise RuntimeError(f"[{op}] index must have the input's {len(shape)} dimensions, got shape {sizes}")
    if any(s > n for d, (s, n) in enumerate(zip(sizes, shape)) if d != at):
        raise RuntimeError(f"[{op}] index: expected sizes of at most {shape} but in dimension {dim}, got {sizes}")
    numbers = in_range(op, index, shape[at] if shape else 1, dim, False, RuntimeError)
    grid: list[np.ndarray] = list(np.ogrid[tuple(slice(n) for n in sizes)]) if sizes else []
    if sizes:
        grid[at] = numbers._array
    return tuple(grid)


def _part(op: str, index: Tensor, src: Tensor) -> Tensor:
    """The elements of `src` that `index` has numbers for."""
    if src.ndim != index.ndim or any(s < n for s, n in zip(src.shape, index.shape)):
        raise RuntimeError(f"[{op}] src: expected at least the index's shape {tuple(index.shape)}, got "
                           f"{tuple(src.shape)}")
    return src[tuple(slice(n) for n in index.shape)] if src.shape != index.shape else src


def scatter_(
    self: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor | float | None = None,
    *,
    value: float | None = None,
    reduce: str | None = None,
) -> Tensor:
    """self[index[i][j]][j] = src[i][j] for dim 0, and so on; of several for one element the last one stays.

    `src` or `value` may be a number. reduce: "add" or "multiply" instead of replacing.
    """
    if src is None and value is None:
        raise TypeError("[scatter_] expected src or value")
    if index.numel() == 0:
        return scatter_add_(self, dim, index, src) if isinstance(src, Tensor) else self
    what = src if src is not None else value
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise RuntimeError(f"[scatter_] reduce: expected 'add' or 'multiply', got {reduce!r}")
        each = what if isinstance(what, Tensor) else full(tuple(index.shape), what, dtype=self.dtype)
        return self.copy_(scatter_reduce(self, dim, index, each, "sum" if reduce == "add" else "prod"))
    grid = _grid("scatter_", self, dim, index)
    if isinstance(what, Tensor) and (what.ndim or not grid):
        what = _part("scatter_", index, what)
        if what.dtype != self.dtype:
            raise RuntimeError(f"[scatter_] src: expected {self.dtype} as the tensor, got {what.dtype}")
    self[tuple(_own(i) for i in grid) if grid else ...] = what
    return self


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy in which the elements of `src` that go to one element are reduced, together with what was there before.

    Args:
        reduce: "sum", "prod", "mean", "amax" or "amin". Equal extremes share a gradient evenly.
        include_self: False: what was there before counts only where nothing goes to.
    Raises:
        RuntimeError: unknown reduce, shapes or types that do not fit, a number outside the tensor.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"[scatter_reduce] reduce: expected sum, prod, mean, amax or amin, got {reduce!r}")
    if index.numel() == 0:
        return scatter_add_(input.clone(), dim, index, src)
    if src.dtype != input.dtype:
        raise RuntimeError(f"[scatter_reduce] src: expected {input.dtype} as the tensor, got {src.dtype}")
    src = _part("scatter_reduce", index, src)
    grid = _grid("scatter_reduce", input, dim, index)
    if input.dtype is bfloat16 and reduce in ("amax", "amin"):  # NumPy has no extremes of it
        wide = scatter_reduce(input.float(), dim, index, src.float(), reduce, include_self=include_self)
        return wide.to(bfloat16)
    if reduce == "prod":
        return _products(input, grid, src, include_self)
    if reduce in ("amax", "amin"):
        return _extremes(input, dim, index, grid, src, reduce == "amax", include_self)
    total = scatter_add_(input.clone() if include_self else scatter(input, dim, index, 0), dim, index, src)
    if reduce == "sum":
        return total
    counts = full(tuple(input.shape), int(include_self), dtype=input.dtype)
    counts = scatter_add_(counts, dim, index, ones(tuple(index.shape), dtype=input.dtype)).clamp(min=1)
    return total / counts if input.is_floating_point() else total.div(counts, rounding_mode="floor")


def _products(input: Tensor, grid: tuple[np.ndarray, ...], src: Tensor, include_self: bool) -> Tensor:
    """scatter_reduce with "prod". Neighbours of one group are multiplied in pairs until each group has one factor."""
    place = np.ravel_multi_index(np.broadcast_arrays(*grid), tuple(input.shape)) if grid else np.zeros((), np.int64)
    order = np.argsort(place.reshape(-1), kind="stable")
    group, factors = place.reshape(-1)[order], src.reshape(-1)[_own(order)]
    while (group[1:] == group[:-1]).any():
        begins = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
        rank = np.arange(len(group)) - np.repeat(begins, np.diff(np.append(begins, len(group))))
        left = np.flatnonzero(rank % 2 == 0)
        right = np.minimum(left + 1, len(group) - 1)
        paired = (group[left] == group[right]) & (left < right)
        factors = factors[_own(left)] * where(_own(paired), factors[_own(right)], 1)
        group = group[left]
    out, at = input.reshape(-1).clone(), _own(group)
    out[at] = (out[at] * factors if include_self else factors).to(out.dtype)
    return out.reshape(input.shape)


def _extremes(
    input: Tensor,
    dim: int,
    index: Tensor,
    grid: tuple[np.ndarray, ...],
    src: Tensor,
    largest: bool,
    include_self: bool,
) -> Tensor:
    """scatter_reduce with "amax" or "amin"."""
    with no_grad():
        value = input.detach().clone()
        if not include_self:
            kind: Any = input.dtype.numpy
            info: Any = np.finfo(kind) if input.is_floating_point() else np.iinfo(kind)
            value = scatter(value, dim, index, info.min if largest else info.max)
            if input.is_floating_point():
                value = scatter(value, dim, index, -np.inf if largest else np.inf)
        if grid:
            with np.errstate(invalid="ignore"):
                (np.maximum if largest else np.minimum).at(value.numpy(), grid, src._array)
        else:
            value = (maximum if largest else minimum)(value, src.detach())
    if not (input.requires_grad or src.requires_grad):
        return value
    hit, own = eq(src, gather(value, dim, index)), eq(input, value)
    if not include_self:
        own = logical_and(own, scatter(full(tuple(input.shape), True), dim, index, False))
    counts = scatter_add_(own.to(input.dtype), dim, index, hit.to(input.dtype)).clamp(min=1)
    shares = where(hit, src, 0.0) / gather(counts, dim, index)
    out = scatter_add_(where(own, input, 0.0) / counts, dim, index, shares)
    with no_grad():
        return out.copy_(value)  # the sum of the shares may differ by a rounding


def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened input; negative numbers count from the end. Shape: that of `index`."""
    index = in_range("take", index, input.numel(), 0, True)
    return input.reshape(-1)[index.reshape(-1)].reshape(index.shape)


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with the elements of `source` written, or added, to the elements of the flattened input."""
    index = in_range("put", index, input.numel(), 0, True)
    if source.numel() != index.numel():
        raise IndexError(f"[put] source: expected {index.numel()} elements as the index has, got {source.numel()}")
    flat = input.reshape(-1).clone()
    return index_put_(flat, (index.reshape(-1),), source.reshape(-1), accumulate).reshape(input.shape)


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As gather, with broadcasting of all other dimensions; dim None: of the flattened input."""
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    if input.ndim != indices.ndim:
        raise RuntimeError(f"[take_along_dim] indices: expected {input.ndim} dimensions as input, got shape "
                           f"{tuple(indices.shape)}")
    at = _dim("take_along_dim", dim, input.ndim)
    sizes = [np.broadcast_shapes((a,), (b,))[0] if d != at else 0
             for d, (a, b) in enumerate(zip(input.shape, indices.shape))]
    x = input.expand(*sizes[:at], input.shape[at], *sizes[at + 1 :])
    return gather(x, at, indices.expand(*sizes[:at], indices.shape[at], *sizes[at + 1 :]).contiguous())


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of bags of rows of a table. An empty bag gives zeros.

    Args:
        input: indices; (B, N): B bags of N, or (N,): bags one after another.
        weight: the table (V, D).
        offsets: (B,): where each bag of a 1-d input begins.
        max_norm, norm_type, scale_grad_by_freq, sparse: as F.embedding has them.
        mode: "sum", "mean" or "max".
        per_sample_weights: factors of the rows, of input's shape; for "sum" only.
        include_last_offset: the last offset is where the last bag ends.
        padding_idx: a row that does not count.
    Returns: (B, D).
    Raises:
        ValueError: shapes, offsets or options that do not fit. IndexError: an index outside [0, V).
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"[embedding_bag] mode: expected 'sum', 'mean' or 'max', got {mode!r}")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(f"[embedding_bag] per_sample_weights is for mode 'sum', got {mode!r}")
        if per_sample_weights.shape != input.shape:
            raise ValueError(f"[embedding_bag] per_sample_weights: expected input's shape {tuple(input.shape)}, got "
                             f"{tuple(per_sample_weights.shape)}")
        per_sample_weights = per_sample_weights.reshape(-1)
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("[embedding_bag] scale_grad_by_freq is not for mode 'max'")
    counts = _bag_sizes(input, offsets, include_last_offset)
    input = input.reshape(-1)
    bag = np.repeat(np.arange(len(counts)), counts)
    if padding_idx is not None:
        kept = np.flatnonzero(input.numpy() != padding_idx % len(weight))
        input, bag = input[_own(kept)], bag[kept]
        counts = np.bincount(bag, minlength=len(counts))
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights[_own(kept)]
    rows = embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq)
    if mode == "max" and len(bag):
        longest = int(counts.max())
        at = np.cumsum(counts)[:, None] - counts[:, None] + np.arange(longest)
        there = np.arange(longest) < counts[:, None]
        picked = where(_own(there[..., None]), rows[_own(np.where(there, at, 0))], -np.inf)
        return where(_own(counts[:, None] > 0), picked.max(1)[0], 0.0)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    total = index_add_(zeros(len(counts), weight.shape[1], dtype=weight.dtype), 0, _own(bag), rows)
    return total / _own(np.maximum(counts, 1)[:, None]).to(weight.dtype) if mode == "mean" else total


def _bag_sizes(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> np.ndarray:
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("[embedding_bag] if input is 2D, then offsets has to be None: its rows are the bags")
        return np.full(input.shape[0], input.shape[1])
    if input.ndim != 1:
        raise ValueError(f"[embedding_bag] input: expected 1 or 2 dimensions, got shape {tuple(input.shape)}")
    if offsets is None:
        raise ValueError("[embedding_bag] offsets has to be a 1D Tensor but got None")
    if offsets.ndim != 1:
        raise ValueError(f"[embedding_bag] offsets: expected 1 dimension, got shape {tuple(offsets.shape)}")
    starts = offsets.numpy().astype(np.int64)
    if include_last_offset and not len(starts):
        raise ValueError("[embedding_bag] include_last_offset: expected at least one offset")
    if not include_last_offset:
        starts = np.append(starts, input.numel())
    sizes = np.diff(starts)
    if starts[0] != 0 or (sizes < 0).any() or starts[-1] > input.numel():
        raise ValueError(f"[embedding_bag] offsets: expected rising numbers from 0 to at most {input.numel()}, got "
                         f"{offsets.tolist()}")
    return sizes


index_add, index_put = _on_copy(index_add_), _on_copy(index_put_)
scatter, scatter_add = _on_copy(scatter_), _on_copy(scatter_add_)
index_copy_, index_fill_, masked_scatter_ = _in_place(index_copy), _in_place(index_fill), _in_place(masked_scatter)
scatter_reduce_, put_ = _in_place(scatter_reduce), _in_place(put)

for _function in (index_add, index_copy, index_copy_, index_fill, index_fill_, index_put, index_put_,
                  masked_scatter, masked_scatter_, put, put_, scatter, scatter_, scatter_add, scatter_reduce,
                  scatter_reduce_, take, take_along_dim):
    register_method(_function.__name__, _function)
