"""Questions that NumPy answers: all, any, count_nonzero, and whether tensors are equal or close."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor, from_numpy, register_method
from .composed import _dim

Dims = int | Sequence[int] | None


def _axes(op: str, dim: Dims, ndim: int) -> tuple[int, ...]:
    """`dim` counted from 0; all dimensions for None and ()."""
    dims = [] if dim is None else [_dim(op, d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(dims)) < len(dims):
        raise RuntimeError(f"[{op}] dim: expected each dimension once, got {dim}")
    return tuple(dims if ndim and dims else range(ndim))


def _truth(op: str, function: Callable[..., Any], input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    x = input._array
    out = function(x, axis=_axes(op, dim, x.ndim), keepdims=keepdim)
    return from_numpy(np.asarray(out, np.uint8 if x.dtype == np.uint8 else np.bool_))


def all(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, axis: Dims = None, keepdims: bool = False
) -> Tensor:
    """Whether all elements (along `dim`) are true or not 0."""
    return _truth("all", np.all, input, dim if axis is None else axis, keepdim or keepdims)


def any(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, axis: Dims = None, keepdims: bool = False
) -> Tensor:
    """Whether any element (along `dim`) is true or not 0."""
    return _truth("any", np.any, input, dim if axis is None else axis, keepdim or keepdims)


def count_nonzero(input: Tensor, dim: Dims = None, *, axis: Dims = None) -> Tensor:
    """How many elements (along `dim`) are not 0, as int64."""
    x = input._array
    axes = _axes("count_nonzero", dim if axis is None else axis, x.ndim)
    return from_numpy(np.asarray(np.count_nonzero(x, axis=axes), np.int64))


def equal(input: Tensor, other: Tensor) -> bool:
    """True if both have the same shape and elements. A bool, not a tensor."""
    return np.array_equal(input._array, other._array)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """|input - other| <= atol + rtol |other|, element by element.

    Raises: RuntimeError for tensors of two types.
    """
    if input.dtype is not other.dtype:
        raise RuntimeError(f"[isclose] other: expected the type of input, {input.dtype} did not match {other.dtype}")
    try:
        close = np.isclose(input._array, other._array, rtol, atol, equal_nan)
    except ValueError as error:
        raise RuntimeError(f"[isclose] {error}") from None
    return from_numpy(np.asarray(close, np.bool_))


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """True if |input - other| <= atol + rtol |other| everywhere. A bool, not a tensor."""
    return builtins.bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


for _function in (all, any, count_nonzero, equal, isclose, allclose):
    register_method(_function.__name__, _function)
