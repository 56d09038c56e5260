# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def log_softmax(input: Tensor, dim: Any, dtype: Any = None) -> Tensor: """x - log(sum(exp(x))) along `dim`: the logarithm of softmax without its rounding. Arguments as softmax."""
def softmax(input: Tensor, dim: Any, dtype: Any = None) -> Tensor: """exp(x) / sum(exp(x)) along `dim`, computed without overflow."""
