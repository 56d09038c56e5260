# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def broadcast_to(input: Tensor, size: Any) -> Tensor: """`input` expanded to the shape `size`."""
def expand(*args: Any, **kwargs: Any) -> Any: ...
def expand_as(*args: Any, **kwargs: Any) -> Any: ...
def promote_types(a: Any, b: Any) -> _dtype: """The dtype of an operator's result on tensors of dtypes a and b."""
def result_type_of(*args: Any, **kwargs: Any) -> _dtype: ...
def storable(*args: Any, **kwargs: Any) -> Any: ...
def sum_to_size(*args: Any, **kwargs: Any) -> Any: ...
