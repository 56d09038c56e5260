# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

class Problem:
    ...
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None, weight: Tensor | None = None, reduction: Any = 'mean', ignore_index: Any = None, label_smoothing: _float = 0.0, options: Any = None) -> Tensor: """cross_entropy(linear(input, linear_weight, linear_bias), target, ..) in chunks of rows: the logits are never in"""
