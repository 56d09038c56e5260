# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor: """Means of windows that cover the last dimension evenly, `output_size` of them."""
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor: """Means of windows that cover the last two dimensions evenly; output_size: one number or (height, width), None for"""
def adaptive_size(*args: Any, **kwargs: Any) -> Any: ...
def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: Any = False, count_include_pad: Any = True) -> Tensor: """The mean of each window along the last dimension; see avg_pool2d."""
def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: Any = False, count_include_pad: Any = True, divisor_override: Any = None) -> Tensor: """The mean of each window of the last two dimensions."""
def max_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False, return_indices: Any = False) -> Any: """The largest element of each window along the last dimension; see max_pool2d."""
def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False, return_indices: Any = False) -> Any: """The largest element of each window of the last two dimensions; a NaN counts as the largest."""
