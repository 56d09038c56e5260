"""Adaptive max pooling, composed of a gather and a maximum. Adaptive means: pool.pyx."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._tensor import Tensor, from_numpy
from .pool import adaptive_size
from .reduce import max
from .shape import flatten


def _spans(n: int, m: int) -> np.ndarray:
    """(m, longest): the elements of n that window i of m covers, [i n / m, ceil((i + 1) n / m)); short rows are filled
    up with their first."""
    i = np.arange(m)[:, None]
    begin, end = i * n // m, -(-(i + 1) * n // m)
    at = begin + np.arange((end - begin).max())
    return np.where(at < end, at, begin)


def _adaptive_max(op: str, dims: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    new = adaptive_size(op, dims, input, output_size)
    shape = tuple(input.shape)
    lead, old = shape[:-dims], shape[-dims:]
    input.new_empty(lead + new)  # if there is no memory for it, there is none for what follows
    windows = _spans(old[-1], new[-1])
    if dims == 2:
        windows = _spans(old[0], new[0])[:, None, :, None] * old[1] + windows[None, :, None, :]
    windows = windows.reshape(math.prod(new), -1)
    values, place = max(flatten(input, -dims)[..., from_numpy(windows)], -1)
    values = values.reshape(lead + new)
    if not return_indices:
        return values
    return values, from_numpy(windows[np.arange(len(windows)), place.numpy()]).reshape(lead + new)


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
