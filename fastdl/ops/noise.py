"""Random functions of layers: dropout of channels, alpha dropout, Gumbel softmax, random leaky ReLU."""

from __future__ import annotations

import math

from .._tensor import Tensor
from .creation import empty_like, zeros_like
from .elementwise import log, where
from .random import bernoulli, dropout
from .softmax import softmax


def _check_p(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _drop_channels(input: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    _check_p(p)
    if not training or p == 0:
        return input
    lead = input.shape[: 2 if batched else 1]
    mask = dropout(input.new_ones((*lead, *[1] * (input.dim() - len(lead)))), p)
    return input.mul_(mask) if inplace else input * mask


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Sets whole channels to zero with probability p and divides the others by 1 - p. (N, C, L) or (C, L)."""
    if input.dim() not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input.")
    return _drop_channels(input, p, training, inplace, input.dim() == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Sets whole channels to zero with probability p and divides the others by 1 - p. (N, C, H, W) or (N, C, L)."""
    return _drop_channels(input, p, training, inplace, True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Sets whole channels to zero with probability p and divides the others by 1 - p. (N, C, D, H, W) or (C, D, H, W).
    """
    return _drop_channels(input, p, training, inplace, input.dim() != 4)


_SELU_FLOOR = -1.7580993408473766  # SELU of -inf


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for SELU: elements become SELU's smallest value; mean and variance of normal inputs are kept."""
    _check_p(p)
    return _alpha(input, p, training, inplace, tuple(input.shape))


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels."""
    _check_p(p)
    return _alpha(input, p, training, inplace, (*input.shape[:2], *[1] * (input.dim() - 2)))


def _alpha(input: Tensor, p: float, training: bool, inplace: bool, shape: tuple[int, ...]) -> Tensor:
    if not training or p == 0:
        return input
    if p == 1:
        return input.mul_(0) if inplace else input * 0
    a = ((1 - p) * (1 + p * _SELU_FLOOR**2)) ** -0.5
    shift = -a * _SELU_FLOOR * p
    keep = bernoulli(input.new_full(shape, 1 - p))
    out = input * (keep * a) + ((1 - keep) * (a * _SELU_FLOOR) + shift)
    return input.copy_(out) if inplace else out


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample that nearly is one-hot: softmax((logits + Gumbel noise) / tau).

    With `hard` it is one-hot, and the gradient is that of the soft one.
    """
    noise = -log(empty_like(logits).detach().exponential_())
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    one = zeros_like(soft.detach()).scatter_(dim, soft.detach().argmax(dim, True), 1.0)
    return one - soft.detach() + soft


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x for x > 0, else x times a slope: a random one of [lower, upper] in training, else their mean."""
    if lower > upper or not (math.isfinite(lower) and math.isfinite(upper)):
        raise RuntimeError(f"[rrelu] expected lower <= upper, got {lower} and {upper}")
    slope: Tensor | float = (lower + upper) / 2
    if training:
        slope = empty_like(input).detach().uniform_(lower, upper)
    out = where(input > 0, input, (input.clone() if inplace else input) * slope)
    return input.copy_(out) if inplace else out
