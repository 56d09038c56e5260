"""Convolutions and their transposes."""

from __future__ import annotations

import math
from typing import Any

from .._tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


def _tuple(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims


class _Conv(Module):
    """What all convolutions share; `_dims` is the number of dimensions that the kernel moves along."""

    _dims = 0
    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...],
        padding: int | tuple[int, ...] | str,
        dilation: int | tuple[int, ...],
        groups: int,
        bias: bool,
        padding_mode: str,
        output_padding: int | tuple[int, ...],
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        dims = self._dims
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels {in_channels} and out_channels {out_channels} must be divisible by groups {groups}"
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of 'valid', 'same'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _tuple(kernel_size, dims)
        self.stride = _tuple(stride, dims)
        self.padding: Any = padding if isinstance(padding, str) else _tuple(padding, dims)
        self.dilation = _tuple(dilation, dims)
        self.output_padding = _tuple(output_padding, dims)
        self.groups = groups
        self.padding_mode = padding_mode
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                f"padding_mode must be one of 'zeros', 'reflect', 'replicate', 'circular', but got {padding_mode!r}"
            )
        sizes = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        self.weight = Parameter(
            F.empty(sizes[0], sizes[1] // groups, *self.kernel_size, device=device, dtype=dtype)
        )
        if bias:
            self.bias = Parameter(F.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = self.weight.shape[1] * math.prod(self.kernel_size)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def _margins(self) -> list[int]:
        """F.pad's argument for this padding."""
        margins: list[int] = []
        for i in reversed(range(self._dims)):
            if isinstance(self.padding, str):
                total = self.dilation[i] * (self.kernel_size[i] - 1) if self.padding == "same" else 0
                margins += [total // 2, total - total // 2]
            else:
                margins += [self.padding[i]] * 2
        return margins

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if isinstance(self.padding, str) or any(self.padding):
            text += f", padding={self.padding}"
        if any(d != 1 for d in self.dilation):
            text += f", dilation={self.dilation}"
        if any(self.output_padding):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Forward(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, 0, device,
            dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        function = F.conv1d if self._dims == 1 else F.conv2d
        padding = self.padding if self.padding_mode == "zeros" else 0
        if self.padding_mode != "zeros":
            input = F.pad(input, self._margins(), self.padding_mode)
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Forward):
    """Cross-correlation with learned kernels along the last dimension: F.conv1d.

    Args:
        padding: zeros on both sides; "same" or "valid".
        padding_mode: "zeros", or "reflect", "replicate", "circular": the input's own elements instead of zeros.
    Parameters:
        weight: (out_channels, in_channels / groups, k), uniform in ±1/sqrt(in_channels / groups * k).
        bias: (out_channels,), the same.
    Shape:
        (N, in_channels, L) or (in_channels, L) -> (.., out_channels, Lout)
    """

    _dims = 1


class Conv2d(_Forward):
    """Cross-correlation with learned kernels over the last two dimensions: F.conv2d.

    Args:
        kernel_size, stride, padding, dilation: one number or (height, width); padding also "same" or "valid".
        padding_mode: "zeros", or "reflect", "replicate", "circular": the input's own elements instead of zeros.
    Parameters:
        weight: (out_channels, in_channels / groups, kH, kW), uniform in ±1/sqrt(in_channels / groups * kH * kW).
        bias: (out_channels,), the same.
    Shape:
        (N, in_channels, H, W) or (in_channels, H, W) -> (.., out_channels, Hout, Wout)
    """

    _dims = 2


class _Transposed(_Conv):
    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            output_padding, device, dtype,
        )

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        function = F.conv_transpose1d if self._dims == 1 else F.conv_transpose2d
        more = self.output_padding if output_size is None else self._more(input, list(output_size))
        return function(input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)

    def _more(self, input: Tensor, wanted: list[int]) -> tuple[int, ...]:
        """The output padding that gives outputs of this size."""
        dims, shape = self._dims, input.shape[-self._dims :]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(shape, self.stride, self.padding, self.dilation, self.kernel_size)
        ]
        more = tuple(w - n for w, n in zip(wanted[-dims:], least))
        if any(not 0 <= m < s for m, s in zip(more, self.stride)):
            raise ValueError(f"output_size: expected from {least} to less than one stride more, got {wanted}")
        return more


class ConvTranspose1d(_Transposed):
    """The derivative of Conv1d with respect to its input, as a layer: F.conv_transpose1d.

    Parameters:
        weight: (in_channels, out_channels / groups, k), uniform in ±1/sqrt(out_channels / groups * k).
        bias: (out_channels,), the same.
    """

    _dims = 1


class ConvTranspose2d(_Transposed):
    """The derivative of Conv2d with respect to its input, as a layer: F.conv_transpose2d.

    Parameters:
        weight: (in_channels, out_channels / groups, kH, kW), uniform in ±1/sqrt(out_channels / groups * kH * kW).
        bias: (out_channels,), the same.
    """

    _dims = 2
