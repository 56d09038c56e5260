# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1) -> Tensor: """Cross-correlation of `input` with the kernels `weight` along the last dimension, plus bias."""
def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1) -> Tensor: """conv1d over the last two dimensions; stride, padding and dilation are one number or (height, width)."""
def conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: Any = 1, dilation: Any = 1) -> Tensor: """The derivative of conv1d with respect to its input, as a layer: each element spreads over a kernel of outputs."""
def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: Any = 1, dilation: Any = 1) -> Tensor: """conv_transpose1d over the last two dimensions."""
