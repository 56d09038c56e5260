"""The functions behind nn's modules: operators under PyTorch's names, and losses and activations composed of them."""

from __future__ import annotations

import warnings

from .._tensor import Tensor
from ..ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from ..ops.additive_attention import additive_attention_score
from ..ops.creation import empty_ as empty
from ..ops.creation import full
from ..ops.elementwise import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from ..ops.embedding import embedding, one_hot
from ..ops.linear_loss import linear_cross_entropy
from ..ops.loss import cross_entropy, nll_loss
from ..ops.matmul import linear
from ..ops.norm import layer_norm, rms_norm
from ..ops.pool import adaptive_avg_pool1d, adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from ..ops.random import dropout
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from ..ops.window import fold, pad, unfold

_NEVER = 1e30  # softplus threshold: log1p(exp(x)) to full precision everywhere


def legacy_reduction(size_average: bool | None, reduce: bool | None) -> str:
    """The `reduction` that the older arguments size_average and reduce stand for."""
    warnings.warn("size_average and reduce args are deprecated, please use reduction instead", stacklevel=4)
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _reduce(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction: expected 'none', 'mean' or 'sum'")


def _warn_sizes(op: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"[{op}] the target's shape {tuple(target.shape)} differs from the input's {tuple(input.shape)}: "
            "they are broadcast, which is seldom meant",
            stacklevel=3,
        )


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


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x), without overflow."""
    return -softplus(-input, 1.0, _NEVER)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (1 + input.abs())


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x))."""
    return _finish(input, input * softplus(input).tanh(), inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x clamped to [min_val, max_val]; the gradient is 0 also at the limits."""
    inside = (input > min_val) & (input < max_val)
    return _finish(input, input.where(inside, input.detach().clamp(min_val, max_val)), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x clamped to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x for x > 0, else weight * x; `weight` has one entry, or one for each entry of dimension 1."""
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if weight.dim() != 1 or weight.numel() != channels:
            raise RuntimeError(f"[prelu] weight: expected {channels} entries or 1, got shape {tuple(weight.shape)}")
        weight = weight.reshape(-1, *[1] * (input.dim() - 2))
    return input.where(input > 0, weight * input)


def _finish(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    return input.copy_(result) if inplace else result


# losses ----------------------------------------------------------------------------------------------------------


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """(input - target)^2, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_sizes("mse_loss", input, target)
    return _reduce((input - target).square(), reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """|input - target|, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _warn_sizes("l1_loss", input, target)
    return _reduce((input - target).abs(), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """0.5 d^2 for d = |input - target| <= delta, else delta (d - 0.5 delta), reduced."""
    if delta <= 0:
        raise ValueError(f"[huber_loss] delta: expected a positive number, got {delta}")
    _warn_sizes("huber_loss", input, target)
    distance = (input - target).abs()
    return _reduce(_huber(distance, delta), reduction)


def _huber(distance: Tensor, delta: float) -> Tensor:
    # both branches in one formula, also for the gradient
    near = distance.clamp(max=delta)
    return 0.5 * near.square() + delta * (distance - near)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """0.5 d^2 / beta for d = |input - target| < beta, else d - 0.5 beta, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if beta < 0:
        raise ValueError(f"[smooth_l1_loss] beta: expected a number >= 0, got {beta}")
    _warn_sizes("smooth_l1_loss", input, target)
    distance = (input - target).abs()
    if beta == 0:
        return _reduce(distance, reduction)
    return _reduce(_huber(distance, beta) * (1 / beta), reduction)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input), reduced ("batchmean": the sum divided by the first size).

    `input` holds log-probabilities, so does `target` if `log_target`. A target of 0 gives 0.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    if log_target:
        loss = target.exp() * (target - input)
    else:
        # x log x with 0 at 0: where x is 0 the logarithm of 1 is taken
        positive = target > 0
        loss = target * (target.where(positive, target.new_ones(())).log() - input)
        if bool((target < 0).any()):
            loss = loss.where(target >= 0, target.new_full((), float("nan")))
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.dim() else loss.sum()
    if reduction == "mean":
        warnings.warn(
            "[kl_div] reduction='mean' divides by the number of elements, not by the batch size: "
            "'batchmean' is the mathematical definition",
            stacklevel=2,
        )
    return _reduce(loss, reduction)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)), the logarithms kept >= -100, times `weight`, reduced.

    Raises:
        ValueError: the sizes differ.
        RuntimeError: an element of `input` is outside [0, 1].
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _check_same("binary_cross_entropy", input, target)
    values = input.detach()
    if values.numel() and not (values.min() >= 0 and values.max() <= 1):
        raise RuntimeError("[binary_cross_entropy] all elements of input should be between 0 and 1")
    loss = (target - 1) * _bounded_log(1 - input) - target * _bounded_log(input)
    return _reduce(loss if weight is None else loss * weight, reduction)


def _bounded_log(x: Tensor) -> Tensor:
    """log(x) >= -100 for x >= 0; the slope is at most 1e12."""
    values = x.detach()
    if not values.numel() or values.min() >= 1e-12:
        return x.log()
    low = values < 1e-12
    straight = values.log().clamp(min=-100) + (x - values) * 1e12
    return straight.where(low, x.where(~low, x.new_ones(())).log())


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of sigmoid(input), from the logits, so that nothing overflows.

    Args:
        pos_weight: factor of the positive terms, broadcast.
    Raises:
        ValueError: the sizes differ.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce)
    _check_same("binary_cross_entropy_with_logits", input, target)
    if pos_weight is None:
        loss = softplus(input, 1.0, _NEVER) - input * target
    else:
        loss = (1 - target) * input + (1 + (pos_weight - 1) * target) * softplus(-input, 1.0, _NEVER)
    return _reduce(loss if weight is None else loss * weight, reduction)


def _check_same(op: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(
            f"[{op}] target: expected the shape of input, {tuple(input.shape)}, got {tuple(target.shape)}"
        )
