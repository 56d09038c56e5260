"""Images of another size: interpolation, and channels that become pixels, composed of other operators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._tensor import Tensor, from_numpy
from .._types import bfloat16, float16
from .pool import adaptive_avg_pool1d, adaptive_avg_pool2d
from .shape import index_select, permute, reshape

_RANK = {"linear": 3, "bilinear": 4, "trilinear": 5, "bicubic": 4}


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """`input` with other sizes behind its first two dimensions.

    Args:
        size: the new sizes, or scale_factor: what the sizes are multiplied by; one for all or one each.
        mode: "nearest", "nearest-exact", "linear" (N, C, L), "bilinear" or "bicubic" (N, C, H, W),
            "trilinear" (N, C, D, H, W), or "area", the mean of what falls together.
        align_corners: the outer pixels' centres stay where they are; for the modes with "linear" or "cubic".
        recompute_scale_factor: scale by the sizes' quotient rather than by scale_factor.
        antialias: not there.
    Raises:
        ValueError: sizes or modes that do not fit.  NotImplementedError: antialias, or another number of dimensions.
    """
    if antialias:
        raise NotImplementedError("[interpolate] antialias=True is not there")
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError("align_corners option can only be set with the interpolating modes: linear | bilinear | "
                             "bicubic | trilinear")
        if not 3 <= input.dim() <= (4 if mode == "area" else 5):
            raise NotImplementedError(f"[interpolate] input: mode {mode!r} is not there for {input.dim()} dimensions")
    elif mode not in _RANK:
        raise NotImplementedError(f"[interpolate] mode: expected nearest, nearest-exact, area or one of "
                                  f"{', '.join(_RANK)}, got {mode!r}")
    elif input.dim() != _RANK[mode]:
        raise NotImplementedError(f"Got {input.dim()}D input, but {mode} mode needs {_RANK[mode]}D input")
    old = tuple(input.shape[2:])
    if (size is None) == (scale_factor is None):
        raise ValueError("either size or scale_factor should be defined" if size is None else
                         "only one of size or scale_factor should be defined")
    given: Any = size if size is not None else scale_factor
    values = list(given) if isinstance(given, (list, tuple)) else [given] * len(old)
    if len(values) != len(old):
        raise ValueError(f"Input and output must have the same number of spatial dimensions, but got input with "
                         f"spatial dimensions of {list(old)} and {values}")
    new = [int(v) if size is not None else math.floor(n * v) for n, v in zip(old, values)]
    if min(new, default=1) <= 0 or min(old, default=1) <= 0:
        raise RuntimeError(f"Input and output sizes should be greater than 0, but got {list(old)} and {new}")
    if mode == "area":
        return (adaptive_avg_pool1d if len(old) == 1 else adaptive_avg_pool2d)(input, new)
    exact = scale_factor is not None and not recompute_scale_factor
    out = input.float() if input.dtype in (float16, bfloat16) else input
    for i, (n, m) in enumerate(zip(old, new)):
        step = 1 / values[i] if exact else n / m
        if mode.startswith("nearest"):
            if m != n or step != 1:
                # float32, as PyTorch has it: on both sides of an edge between two pixels the same one is taken
                at = (np.arange(m, dtype=np.float32) + np.float32(0.5 * (mode != "nearest"))) * np.float32(step)
                out = index_select(out, 2 + i, from_numpy(np.minimum(np.floor(at).astype(np.int64), n - 1)))
        else:
            out = _blend(out, 2 + i, n, m, step, bool(align_corners), mode == "bicubic")
    return out.to(input.dtype)


def _blend(x: Tensor, dim: int, n: int, m: int, step: float, align_corners: bool, cubic: bool) -> Tensor:
    """m weighted sums of 2 or 4 neighbours along `dim`, which has n entries."""
    if align_corners:
        at = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    else:
        at = (np.arange(m) + 0.5) * step - 0.5
    if not cubic:
        at = np.maximum(at, 0)
    first = np.floor(at).astype(np.int64)
    t = at - first
    if cubic:
        a = -0.75  # of the cubic convolution kernel

        def near(s: np.ndarray) -> np.ndarray:
            return ((a + 2) * s - (a + 3)) * s * s + 1

        def far(s: np.ndarray) -> np.ndarray:
            return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

        taps = [(first - 1, far(t + 1)), (first, near(t)), (first + 1, near(1 - t)), (first + 2, far(2 - t))]
    else:
        taps = [(first, 1 - t), (first + 1, t)]
    shape = [m if i == dim else 1 for i in range(x.dim())]
    out: Any = None
    for place, weight in taps:
        part = index_select(x, dim, from_numpy(np.clip(place, 0, n - 1)))
        part = part * from_numpy(weight.astype(x.dtype.numpy).reshape(shape))
        out = part if out is None else out + part
    return out


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels become pixels: (.., C r^2, H, W) -> (.., C, H r, W r)."""
    r = upscale_factor
    if input.dim() < 3 or r <= 0 or input.shape[-3] % (r * r):
        raise RuntimeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
                           f"upscale_factor, but input of shape {tuple(input.shape)} and upscale_factor={r} do not fit")
    *lead, channels, height, width = input.shape
    x = reshape(input, -1, channels // (r * r), r, r, height, width)
    return reshape(permute(x, 0, 1, 4, 2, 5, 3), (*lead, channels // (r * r), height * r, width * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Undoes pixel_shuffle: (.., C, H r, W r) -> (.., C r^2, H, W)."""
    r = downscale_factor
    if input.dim() < 3 or r <= 0 or input.shape[-1] % r or input.shape[-2] % r:
        raise RuntimeError(f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but input "
                           f"of shape {tuple(input.shape)} and downscale_factor={r} do not fit")
    *lead, channels, height, width = input.shape
    x = reshape(input, -1, channels, height // r, r, width // r, r)
    return reshape(permute(x, 0, 1, 3, 5, 2, 4), (*lead, channels * r * r, height // r, width // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels dealt out: the first of each group, then the second of each, .. (N, C, ..) -> the same shape."""
    if input.dim() < 3 or groups <= 0 or input.shape[1] % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got shape {tuple(input.shape)} and "
                           f"{groups} groups.")
    x = reshape(input, input.shape[0], groups, input.shape[1] // groups, -1)
    return reshape(x.transpose(1, 2), tuple(input.shape))
