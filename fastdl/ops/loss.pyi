# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: _int = -100, reduce: Any = None, reduction: Any = 'mean', label_smoothing: _float = 0.0) -> Tensor: """Negative log-likelihood of `target` under softmax(`input`), in nats."""
def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, ignore_index: _int = -100, reduce: Any = None, reduction: Any = 'mean') -> Tensor: """Negative log-likelihood of `target` under log-probabilities `input`: -w[t] input[t]; cross_entropy after log_softmax."""
