# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def additive_attention_score(query: Tensor, key: Tensor, weight: Tensor) -> Tensor: """score[b, i, j] = sum over h of weight[h] tanh(query[b, i, h] + key[b, j, h])."""
