"""Batch norm and group norm, composed of other operators."""

from __future__ import annotations

from .._tensor import Tensor
from ..autograd import no_grad
from .norm import layer_norm


def _per_channel(op: str, name: str, values: Tensor | None, channels: int) -> None:
    if values is not None and tuple(values.shape) != (channels,):
        raise RuntimeError(f"[{op}] {name} should contain {channels} elements, got shape {tuple(values.shape)}")


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x * weight + bias, both along dimension 1."""
    shape = (-1, *[1] * (x.dim() - 2))
    if weight is not None:
        x = x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias for each entry of dimension 1, the channels.

    Args:
        running_mean, running_var: statistics used when not training; training moves them by `momentum` towards the
            batch's mean and unbiased variance.
        training: normalise by the batch's own mean and biased variance.
    Shape:
        input (N, C, ...) -> the same; all others (C,).
    Raises:
        RuntimeError: sizes do not fit, or no statistics when not training.
        IndexError: fewer than 2 dimensions.
        ValueError: one value per channel when training.
    """
    if input.numel() == 0:
        x = input.clone() if weight is None else input * weight[0]
        return x if bias is None else x + bias[0]
    if input.dim() < 2:
        raise IndexError(f"[batch_norm] input: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    channels = input.shape[1]
    for name, values in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        _per_channel("batch_norm", name, values, channels)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("[batch_norm] running_mean and running_var must be defined in evaluation mode")
        scale = (running_var + eps).rsqrt()
        if weight is not None:
            scale = scale * weight
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        return _affine(input, scale, shift)
    count = input.numel() // max(channels, 1)
    if count == 1:
        raise ValueError(
            f"[batch_norm] Expected more than 1 value per channel when training, got input size {tuple(input.shape)}"
        )
    dims = (0, *range(2, input.dim()))
    mean = input.mean(dims, keepdim=True)
    var = input.var(dims, correction=0, keepdim=True)
    with no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean.detach().reshape(-1), alpha=momentum)
        if running_var is not None:
            unbiased = var.detach().reshape(-1) * (count / (count - 1))
            running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)
    return _affine((input - mean) * (var + eps).rsqrt(), weight, bias)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance over each of `num_groups` groups of channels.

    Shape:
        input (N, C, ...) -> the same; weight and bias (C,).
    Raises:
        RuntimeError: sizes do not fit.
    """
    if input.dim() < 2:
        raise RuntimeError(f"[group_norm] input: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    channels = input.shape[1]
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    _per_channel("group_norm", "weight", weight, channels)
    _per_channel("group_norm", "bias", bias, channels)
    size = input.numel() // max(input.shape[0] * num_groups, 1)
    rows = input.reshape(input.shape[0], num_groups, size)
    return _affine(layer_norm(rows, (size,), None, None, eps).reshape(*input.shape), weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance of each channel of each sample.

    Args:
        running_mean, running_var: used without use_input_stats, else moved by `momentum` towards the samples' mean.
    Shape:
        input (N, C, ...) -> the same; all others (C,).
    Raises:
        ValueError: one value per channel.  RuntimeError: sizes do not fit.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.dim() < 3:
        raise RuntimeError(f"[instance_norm] input: expected at least 3 dimensions, got shape {tuple(input.shape)}")
    count = input.numel() // max(input.shape[0] * input.shape[1], 1)
    if count == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {list(input.shape)}"
        )
    with no_grad():
        dims = tuple(range(2, input.dim()))
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(input.detach().mean(dims).mean(0), alpha=momentum)
        if running_var is not None:
            running_var.mul_(1 - momentum).add_(input.detach().var(dims).mean(0), alpha=momentum)
    return group_norm(input, input.shape[1], weight, bias, eps)
