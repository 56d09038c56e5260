"""Norms, distances and products of pairs of vectors, composed of other operators."""

from __future__ import annotations

import math

import numpy as np

from .._tensor import Tensor, from_numpy, register_method
from .common import broadcast_to, promote_types
from .elementwise import where
from .matmul import bmm, matmul
from .reduce import norm as vector_norm
from .reduce import sum
from .shape import reshape


def _floating(op: str, **tensors: Tensor) -> None:
    for name, x in tensors.items():
        if not x.is_floating_point():
            raise RuntimeError(f"[{op}] {name}: expected a floating-point tensor, got {x.dtype}")


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """input / max(||input||_p, eps), the norm along `dim`."""
    _floating("normalize", input=input)
    return input / vector_norm(input, p, dim, True).clamp_min(eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (max(||x1||, eps) max(||x2||, eps)) along `dim`; x1 and x2 are broadcast.

    Raises: RuntimeError if both hold integers.
    """
    common = promote_types(x1.dtype, x2.dtype)
    x1, x2 = x1.to(common), x2.to(common)
    _floating("cosine_similarity", x1=x1, x2=x2)
    rank = max(x1.dim(), x2.dim())
    if not -rank <= dim < max(rank, 1):
        raise IndexError(f"[cosine_similarity] dim {dim} is outside [{-rank}, {rank - 1}]")
    x1, x2 = (reshape(x, *[1] * (rank - x.dim()), *x.shape) for x in (x1, x2))
    if x1.shape[dim] != x2.shape[dim]:  # each norm is along the dimension that both have
        size = max(x1.shape[dim], x2.shape[dim])
        at = dim % rank
        x1, x2 = (broadcast_to(x, (*x.shape[:at], size, *x.shape[at + 1 :])) for x in (x1, x2))
    length1, length2 = (vector_norm(x, 2, dim, True).clamp_min(eps) for x in (x1, x2))
    return sum(x1 / length1 * (x2 / length2), dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """||x1 - x2 + eps||_p along the last dimension.

    Shape: (N, D) or (D), broadcast -> (N) or (); (N, 1) with keepdim.
    """
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


def dist(input: Tensor, other: Tensor, p: float = 2.0) -> Tensor:
    """||input - other||_p over all elements."""
    return vector_norm(input - other, p)


# differences of all pairs need memory for each entry: longer lists of vectors are compared by a matrix product
_FEW_VECTORS = 25


def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """||x1[i] - x2[j]||_p for all pairs of rows; the gradient is 0 where rows are equal.

    With p = 2 lists of more than 25 rows are compared through a matrix product, which is exact to the rounding of the
    squared norms; compute_mode="donot_use_mm_for_euclid_dist" takes differences instead.

    Shape: (.., P, M), (.., R, M), broadcast -> (.., P, R).
    Raises: RuntimeError for other shapes, integers or p < 0; ValueError for an unknown compute_mode.
    """
    modes = {None: None, "use_mm_for_euclid_dist_if_necessary": None, "use_mm_for_euclid_dist": True,
             "donot_use_mm_for_euclid_dist": False}
    if compute_mode not in modes:
        raise ValueError(f"[cdist] compute_mode: {compute_mode!r} is not a valid value")
    _floating("cdist", x1=x1, x2=x2)
    if x1.dim() < 2 or x2.dim() < 2 or x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"[cdist] expected shapes (.., P, M) and (.., R, M), got {tuple(x1.shape)} and "
                           f"{tuple(x2.shape)}")
    if p < 0:
        raise RuntimeError(f"[cdist] p: expected a number >= 0, got {p}")
    product = modes[compute_mode]
    if product is None:
        product = max(x1.shape[-2], x2.shape[-2]) > _FEW_VECTORS
    if p == 2 and product:
        squares = sum(x1 * x1, -1, True) + sum(x2 * x2, -1).unsqueeze(-2)
        square = (squares - 2 * matmul(x1, x2.mT)).clamp_min(0)
    else:
        difference = x1.unsqueeze(-2) - x2.unsqueeze(-3)
        if p != 2:
            return vector_norm(difference, p, -1)
        square = sum(difference * difference, -1)
    apart = square > 0
    return where(apart, where(apart, square, 1.0).sqrt(), 0.0)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """||input[i] - input[j]||_p for the pairs i < j, in their order.

    Shape: (N, M) -> (N (N - 1) / 2).
    """
    if input.dim() != 2:
        raise RuntimeError(f"[pdist] input: expected shape (N, M), got {tuple(input.shape)}")
    above = np.triu(np.ones((len(input), len(input)), bool), 1)
    return cdist(input, input, p, "donot_use_mm_for_euclid_dist")[from_numpy(above)]


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """out[.., k] = input1[..] @ weight[k] @ input2[..] + bias[k].

    Shape: (.., D1), (.., D2), (K, D1, D2), (K) -> (.., K).
    Raises: RuntimeError if they do not fit together.
    """
    shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in (("input1", input1), ("input2", input2),
                                                                  ("weight", weight)))
    if input1.shape[:-1] != input2.shape[:-1] or weight.dim() != 3:
        raise RuntimeError(f"[bilinear] expected (.., D1), (.., D2) and (K, D1, D2), got {shapes}")
    k, d1, d2 = weight.shape
    if input1.shape[-1:] != (d1,) or input2.shape[-1:] != (d2,):
        raise RuntimeError(f"[bilinear] input1 and input2 must end in the sizes of weight[k], got {shapes}")
    if bias is not None and bias.shape != (k,):
        raise RuntimeError(f"[bilinear] bias: expected shape ({k},), got {tuple(bias.shape)}")
    rows = math.prod(input1.shape[:-1])
    left = reshape(matmul(reshape(input1, rows, d1), reshape(weight.permute(1, 0, 2), d1, k * d2)), rows, k, d2)
    out = reshape(bmm(left, reshape(input2, rows, d2, 1)), (*input1.shape[:-1], k))
    return out if bias is None else out + bias


register_method("dist", dist)
