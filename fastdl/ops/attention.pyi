# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def masked_attention(*args: Any, **kwargs: Any) -> Any: ...
def packed_attention(*args: Any, **kwargs: Any) -> Any: ...
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: _float = 0.0, is_causal: _bool = False, scale: Any = None, enable_gqa: _bool = False, lengths: Any = None) -> Tensor: """softmax(scale * query key^T + mask) value, without storing the matrix of scores."""
