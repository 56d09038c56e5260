# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def add_items_(*args: Any, **kwargs: Any) -> Any: ...
def argsort(input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False) -> Tensor: """Indices that sort along `dim`."""
def diag(input: Tensor, diagonal: _int = 0) -> Tensor: """A matrix with this diagonal, or the diagonal of a matrix."""
def diagonal(input: Tensor, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor: """A view of the diagonal, as the last dimension."""
def entries_of(*args: Any, **kwargs: Any) -> Any: ...
def gather(input: Tensor, dim: _int, index: Tensor) -> Tensor: """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on. Shape: that of `index`."""
def in_range(*args: Any, **kwargs: Any) -> Any: ...
def index_add_(input: Tensor, dim: _int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor: """Adds alpha times source's entries along `dim` to those with the numbers in `index`, one after another."""
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor: """A copy with `value` wherever the bool `mask` (broadcast) holds."""
def masked_fill_(input: Tensor, mask: Tensor, value: Any) -> Tensor: """Writes `value` wherever the bool `mask` (broadcast) holds."""
def masked_select(input: Tensor, mask: Tensor) -> Tensor: """The elements where `mask` holds, as a vector."""
def nonzero(input: Tensor, *, as_tuple: _bool = False) -> Any: """Indices of the elements that are not zero: (count, ndim), or one vector per dimension."""
def scatter_add_(input: Tensor, dim: _int, index: Tensor, src: Tensor) -> Tensor: """input[index[i][j]][j] += src[i][j] for dim 0, and so on, in place; duplicates are added in the order of `src`."""
def sort(input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False) -> Any: """(values, indices) in rising or falling order along `dim`; equal ones keep their order, NaN counts as largest."""
def topk(input: Tensor, k: _int, dim: _int = -1, largest: _bool = True, sorted: _bool = True) -> Any: """(values, indices) of the k largest (smallest) along `dim`, in order."""
def tril(input: Tensor, diagonal: _int = 0) -> Tensor: """The lower triangle of the last two dimensions, zeros above it."""
def triu(input: Tensor, diagonal: _int = 0) -> Tensor: """The upper triangle of the last two dimensions, zeros below it."""
