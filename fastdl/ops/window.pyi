# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

class Windows:
    """Windows of images of `size`: count, kernel, stride, padding, dilation, each for (height, width)."""
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
def fold(input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor: """Images of output_size from their windows as columns; elements of overlapping windows are added."""
def pad(input: Tensor, pad: Any, mode: Any = 'constant', value: Any = None) -> Tensor: """`input` with elements added around it (negative numbers: taken away)."""
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor: """The windows of images as columns."""
