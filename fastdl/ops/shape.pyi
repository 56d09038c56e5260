# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def cat(tensors: Any, dim: Any = 0, *, axis: Any = None) -> Tensor: """The tensors one after another along `dim`; their other sizes agree. 1-d empty tensors are passed over."""
def check_pieces(*args: Any, **kwargs: Any) -> Any: ...
def chunk(input: Tensor, chunks: _int, dim: _int = 0) -> tuple[Tensor, ...]: """`chunks` views of equal size along `dim` (the last may be smaller, or some absent)."""
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor: """A copy, recorded."""
def concat(tensors: Any, dim: Any = 0, *, axis: Any = None) -> Tensor: """The tensors one after another along `dim`; their other sizes agree. 1-d empty tensors are passed over."""
def concatenate(tensors: Any, dim: Any = 0, *, axis: Any = None) -> Tensor: """The tensors one after another along `dim`; their other sizes agree. 1-d empty tensors are passed over."""
def contiguous_(*args: Any, **kwargs: Any) -> Any: ...
def _converter(*args: Any, **kwargs: Any) -> Any: ...
def copy_(input: Tensor, source: Any, non_blocking: _bool = False) -> Tensor: """Overwrites `input` with `source`, broadcast and converted."""
def cpu(*args: Any, **kwargs: Any) -> Any: ...
def cuda(*args: Any, **kwargs: Any) -> None: ...
def fill_(input: Tensor, value: Any) -> Tensor: """Overwrites every element with `value`."""
def flatten(input: Tensor, start_dim: _int = 0, end_dim: _int = -1) -> Tensor: """The dimensions start_dim..end_dim joined into one."""
def flip(input: Tensor, *dims: Any) -> Tensor: """A copy with the order of entries reversed along `dims`."""
def hstack(tensors: Any) -> Tensor: """The tensors side by side: along dimension 1, vectors along 0."""
def index_select(input: Tensor, dim: _int, index: Tensor) -> Tensor: """The entries of `input` along `dim` at the positions in the 1-d `index`."""
def _matrix_transposed(*args: Any, **kwargs: Any) -> Any: ...
def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor: """A view with the dimensions `source` moved to the positions `destination`."""
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor: """A view with the dimensions `source` moved to the positions `destination`."""
def narrow(input: Tensor, dim: _int, start: Any, length: Any) -> Tensor: """A view of `length` entries from `start` on along `dim`."""
def permute(input: Tensor, *dims: Any) -> Tensor: """A view with the dimensions in the order `dims`."""
def ravel(input: Tensor) -> Tensor: """All elements in one dimension."""
def repeat(*args: Any, **kwargs: Any) -> Any: ...
def repeat_interleave(input: Tensor, repeats: Any = None, dim: Any = None) -> Tensor: """Each entry repeated; `repeats` is a number or one count per entry along `dim` (None: of the flattened tensor)."""
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor: """The same elements in row-major order with another shape; one size may be -1. A view where possible."""
def reshape_as(*args: Any, **kwargs: Any) -> Any: ...
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor: """Entries moved by `shifts` along `dims`, those that fall off coming back at the other end."""
def split(tensor: Tensor, split_size_or_sections: Any, dim: _int = 0) -> tuple[Tensor, ...]: """Views of pieces of `split_size` entries along `dim` (the last may be smaller), or of the sizes in a list."""
def split_with_sizes(input: Tensor, split_sizes: Any, dim: _int = 0) -> tuple[Tensor, ...]: """Views of pieces of the given sizes along `dim`."""
def squeeze(input: Tensor, dim: Any = None) -> Tensor: """A view without the dimensions of size 1 (of those in `dim`: an int or a tuple)."""
def stack(tensors: Any, dim: Any = 0, *, axis: Any = None) -> Tensor: """The tensors along a new dimension `dim`; their shapes agree."""
def swapaxes(input: Tensor, dim0: _int, dim1: _int) -> Tensor: """A view with two dimensions exchanged."""
def swapdims(input: Tensor, dim0: _int, dim1: _int) -> Tensor: """A view with two dimensions exchanged."""
def t(input: Tensor) -> Tensor: """The transpose of a matrix; a vector stays as it is."""
def tile(input: Tensor, *dims: Any) -> Tensor: """As repeat; missing leading counts are 1."""
def to(*args: Any, **kwargs: Any) -> Any: ...
def transpose(input: Tensor, dim0: _int, dim1: _int) -> Tensor: """A view with two dimensions exchanged."""
def _transposed(*args: Any, **kwargs: Any) -> Any: ...
def type_(*args: Any, **kwargs: Any) -> Any: ...
def type_as(*args: Any, **kwargs: Any) -> Any: ...
def unbind(input: Tensor, dim: _int = 0) -> tuple[Tensor, ...]: """Views of all slices along `dim`."""
def unflatten(input: Tensor, dim: _int, sizes: Any) -> Tensor: """One dimension split into several; one of `sizes` may be -1."""
def unsqueeze(input: Tensor, dim: _int) -> Tensor: """A view with a dimension of size 1 inserted at `dim`."""
def view(*args: Any, **kwargs: Any) -> Any: ...
def view_as(*args: Any, **kwargs: Any) -> Any: ...
def vstack(tensors: Any) -> Tensor: """The tensors one below another: along dimension 0, vectors as rows."""
def zero_(input: Tensor) -> Tensor: """Overwrites every element with 0."""
