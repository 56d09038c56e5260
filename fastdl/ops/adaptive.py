"""Adaptive max pooling, composed of a gather and a maximum. Adaptive means: pool.pyx."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .._tensor import Tensor, from_numpy
from .reduce import max
from .shape import flatten


def _windows(old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """(cells, elements): the numbers of the elements of each cell's window in its plane, short rows filled up with
    their first. Window i of m over n elements: [i n / m, ceil((i + 1) n / m))."""
    spans = [[range(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(old, new)]
    if len(old) == 1:
        cells = [list(columns) for columns in spans[0]]
    else:
        cells = [[y * old[1] + x for y in rows for x in columns] for rows in spans[0] for columns in spans[1]]
    longest = builtins.max(map(len, cells))
    return np.array([cell + cell[:1] * (longest - len(cell)) for cell in cells], np.int64)


def _adaptive_max(op: str, dims: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * dims
    shape = tuple(input.shape)
    lead, old = shape[:-dims], shape[-dims:]
    if len(shape) not in (dims + 1, dims + 2) or 0 in old:
        raise RuntimeError(f"[{op}] input: expected {dims + 1} or {dims + 2} dimensions and windows with at least one "
                           f"element, got shape {shape}")
    new = tuple(n if m is None else int(m) for n, m in zip(old, given))
    if len(given) != dims or any(m < 1 for m in new):
        raise RuntimeError(f"[{op}] output_size: expected {dims} numbers of at least 1, got {output_size}")
    windows = _windows(old, new)
    values, place = max(flatten(input, -dims)[..., from_numpy(windows)], -1)
    values = values.reshape(lead + new)
    if not return_indices:
        return values
    return values, from_numpy(windows[np.arange(math.prod(new)), place.numpy()]).reshape(lead + new)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of `output_size` windows that cover the last dimension evenly.

    Shape: (N, C, L) or (C, L) -> (.., output_size); None: as it is. With return_indices also where they stand (int64).
    Raises: RuntimeError for other shapes and for sizes below 1.
    """
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of windows that cover the last two dimensions evenly; output_size: one or (height, width).

    Shape: (N, C, H, W) or (C, H, W) -> (.., height, width); None: as it is. With return_indices also where they stand
    in their planes (int64).
    Raises: RuntimeError for other shapes and for sizes below 1.
    """
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)
