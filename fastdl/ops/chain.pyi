# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

class Chain:
    """An element-wise function of up to four tensors and then of parameters."""
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
class Program:
    """The steps and constants of expressions."""
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
