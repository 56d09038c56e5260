"""Layers that normalise over the last dimensions or over groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class _Affine(Module):
    """With a weight of ones and a bias of zeros; None where `parameters` says that there is none."""

    def __init__(self, shape: tuple[int, ...], parameters: dict[str, bool], device: Any, dtype: Any) -> None:
        super().__init__()
        for name, present in parameters.items():
            values = Parameter(F.empty(*shape, device=device, dtype=dtype)) if present else None
            self.register_parameter(name, values)
        _Affine.reset_parameters(self)

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        for name, fill in (("weight", init.ones_), ("bias", init.zeros_)):
            values = getattr(self, name, None)
            if values is not None:
                fill(values)


class _OverLast(_Affine):
    """Normalises over the last dimensions."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None,
        elementwise_affine: bool,
        parameters: dict[str, bool],
        device: Any,
        dtype: Any,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        super().__init__(shape, parameters, device, dtype)
        self.normalized_shape = shape
        self.eps: Any = eps
        self.elementwise_affine = elementwise_affine

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LayerNorm(_OverLast):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance over the last dimensions.

    Args:
        normalized_shape: their sizes; a number stands for one dimension.
        elementwise_affine: whether there are parameters; `bias`: whether one of them is the bias.
    Parameters:
        weight: normalized_shape, ones.
        bias: normalized_shape, zeros.
    Shape:
        (..., *normalized_shape) -> the same.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        parameters = {"weight": elementwise_affine, "bias": elementwise_affine and bias}
        super().__init__(normalized_shape, eps, elementwise_affine, parameters, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class RMSNorm(_OverLast):
    """x / sqrt(mean(x^2) + eps) * weight, the mean over the last dimensions.

    Args:
        normalized_shape: their sizes; a number stands for one dimension.
        eps: None: the input dtype's epsilon.
        elementwise_affine: whether there is a weight.
    Parameters:
        weight: normalized_shape, ones.
    Shape:
        (..., *normalized_shape) -> the same.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, eps, elementwise_affine, {"weight": elementwise_affine}, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(_Affine):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance over each group of channels.

    Args:
        num_groups: groups; num_channels, the size of dimension 1, is a multiple of it.
        affine: whether there are parameters; `bias`: whether one of them is the bias.
    Parameters:
        weight: (num_channels,), ones.
        bias: (num_channels,), zeros.
    Shape:
        (N, num_channels, ...) -> the same.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        super().__init__((num_channels,), {"weight": affine, "bias": affine and bias}, device, dtype)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps: Any = eps
        self.affine = affine

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
