# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def argsort(input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False) -> Tensor: """Indices that sort along `dim`."""
def diag(input: Tensor, diagonal: _int = 0) -> Tensor: """A matrix with this diagonal, or the diagonal of a matrix."""
def diagonal(input: Tensor, offset: _int = 0, dim1: _int = 0, dim2: _int = 1) -> Tensor: """The diagonal, as the last dimension."""
def _function(*args: Any, **kwargs: Any) -> Any: ...
def gather(input: Tensor, dim: _int, index: Tensor) -> Tensor: """out[i][j][k] = input[index[i][j][k]][j][k] for dim 0, and so on. Shape: that of `index`."""
def masked_fill(*args: Any, **kwargs: Any) -> Any: ...
def masked_fill_(*args: Any, **kwargs: Any) -> Any: ...
def masked_select(input: Tensor, mask: Tensor) -> Tensor: """The elements where `mask` holds, as a vector."""
def nonzero(input: Tensor, *, as_tuple: _bool = False) -> Any: """Indices of the elements that are not zero: (count, ndim), or one vector per dimension."""
def scatter(input: Tensor, dim: _int, index: Tensor, src: Any = None, *, value: Any = None) -> Tensor: """As scatter_, on a copy."""
def scatter_(*args: Any, **kwargs: Any) -> Any: ...
def scatter_add(input: Tensor, dim: _int, index: Tensor, src: Tensor) -> Tensor: """A copy of `input` with src[i][j] added to input[index[i][j]][j] for dim 0, and so on."""
def sort(input: Tensor, dim: _int = -1, descending: _bool = False, stable: _bool = False) -> Any: """(values, indices) in rising or falling order along `dim`; equal ones keep their order, NaN counts as largest."""
def take_along_dim(input: Tensor, indices: Tensor, dim: Any = None) -> Tensor: """As gather, with broadcasting; dim None: of the flattened input."""
def topk(input: Tensor, k: _int, dim: _int = -1, largest: _bool = True, sorted: _bool = True) -> Any: """(values, indices) of the k largest (smallest) along `dim`, in order."""
def tril(input: Tensor, diagonal: _int = 0) -> Tensor: """The lower triangle of the last two dimensions, zeros above it."""
def triu(input: Tensor, diagonal: _int = 0) -> Tensor: """The upper triangle of the last two dimensions, zeros below it."""
