# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def amax(input: Tensor, dim: Any = ..., keepdim: _bool = False, *, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Largest element, of all or along the dimensions `dim`; NaN if there is one. Equal ones share the gradient."""
def amin(input: Tensor, dim: Any = ..., keepdim: _bool = False, *, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Smallest element, of all or along the dimensions `dim`; NaN if there is one. Equal ones share the gradient."""
def argmax(input: Tensor, dim: Any = None, keepdim: _bool = False, *, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Index of the largest element along `dim`, or in the flattened tensor; the first one, a NaN before all."""
def argmin(input: Tensor, dim: Any = None, keepdim: _bool = False, *, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Index of the smallest element along `dim`, or in the flattened tensor; the first one, a NaN before all."""
def cumprod(input: Tensor, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Tensor: """Products of the first 1, 2, 3, .. elements along `dim`; whole numbers and bools give int64."""
def cumsum(input: Tensor, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Tensor: """Sums of the first 1, 2, 3, .. elements along `dim`, added in order; whole numbers and bools give int64."""
def logsumexp(input: Tensor, dim: Any = None, keepdim: _bool = False, *, axis: Any = None) -> Tensor: """log of the sum of exp(input) over the dimensions `dim`, without overflow."""
def max(input: Tensor, dim: Any = None, keepdim: _bool = False, *, other: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Any: """Largest element; with `dim` (values, indices) along it, the first index where several are equal; with another"""
def mean(input: Tensor, dim: Any = None, keepdim: _bool = False, *, dtype: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Mean over all elements or over the dimensions `dim`; NaN for none."""
def min(input: Tensor, dim: Any = None, keepdim: _bool = False, *, other: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Any: """Smallest element; with `dim` (values, indices) along it, the first index where several are equal; with another"""
def norm(input: Tensor, p: Any = 'fro', dim: Any = None, keepdim: _bool = False, dtype: Any = None) -> Tensor: """The p-norm of the elements along `dim` (None: all): (sum |x|^p)^(1/p)."""
def prod(input: Tensor, dim: Any = None, keepdim: _bool = False, *, dtype: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Product of all elements or along the dimension `dim`; whole numbers and bools give int64."""
def std(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: _bool = False, *, correction: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Standard deviation: the root of `var`."""
def sum(input: Tensor, dim: Any = None, keepdim: _bool = False, *, dtype: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Sum over all elements or over the dimensions `dim`."""
def var(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: _bool = False, *, correction: Any = None, axis: Any = None, keepdims: _bool | None = None) -> Tensor: """Variance over all elements or over the dimensions `dim`: squared deviations by n - correction (1 unless said)."""
