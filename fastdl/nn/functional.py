"""The functions behind nn's modules: operators under PyTorch's names."""

from __future__ import annotations

import warnings

from .._tensor import Tensor
from ..ops.additive_attention import additive_attention_score
from ..ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from ..ops.creation import empty_ as empty
from ..ops.creation import full
from ..ops.elementwise import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from ..ops.embedding import embedding, one_hot
from ..ops.fused import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    celu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    huber_loss,
    kl_div,
    l1_loss,
    logsigmoid,
    mish,
    mse_loss,
    relu6,
    selu,
    smooth_l1_loss,
    soft_margin_loss,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from ..ops.linear_loss import linear_cross_entropy
from ..ops.loss import cross_entropy, nll_loss
from ..ops.matmul import linear
from ..ops.norm import layer_norm, rms_norm
from ..ops.pool import adaptive_avg_pool1d, adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from ..ops.random import dropout
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from ..ops.window import fold, pad, unfold


def legacy_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """The `reduction` that the older arguments size_average and reduce stand for."""
    warnings.warn("size_average and reduce args are deprecated, please use reduction instead", stacklevel=4)
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


# activations -----------------------------------------------------------------------------------------------------


def _softmax_dim(op: str, dim: int | None, ndim: int) -> int:
    if dim is not None:
        return dim
    warnings.warn(f"[{op}] implicit dimension choice is deprecated: pass dim", stacklevel=3)
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    if dim is None:
        dim = _softmax_dim("softmax", dim, input.dim())
    return _softmax(input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    if dim is None:
        dim = _softmax_dim("log_softmax", dim, input.dim())
    return _log_softmax(input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> Tensor:
    """softmax(-x) along `dim`."""
    if dim is None:
        dim = _softmax_dim("softmin", dim, input.dim())
    return _softmax(-input, dim, dtype)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x for x > 0, else weight * x; `weight` has one entry, or one for each entry of dimension 1."""
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if weight.dim() != 1 or weight.numel() != channels:
            raise RuntimeError(f"[prelu] weight: expected {channels} entries or 1, got shape {tuple(weight.shape)}")
        weight = weight.reshape(-1, *[1] * (input.dim() - 2))
    return input.where(input > 0, weight * input)
