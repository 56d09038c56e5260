# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def add_layer_norm(*args: Any, **kwargs: Any) -> Any: ...
def layer_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: _float = ...) -> Tensor: """(x - mean) / sqrt(var + eps) * weight + bias, mean and (biased) variance over the last dimensions."""
def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: Any = None) -> Tensor: """x / sqrt(mean(x^2) + eps) * weight, the mean over the last dimensions."""
