# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

class PackedWeight:
    """The packed form of a weight, kept on its Storage: freed with it, of no use after any in-place write."""
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
def addmm(input: Any, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor: """beta * input + alpha * (mat1 @ mat2), `input` broadcast. Of whole numbers beta and alpha are cut to whole ones."""
def baddbmm(input: Any, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor: """beta * input + alpha * (batch1 @ batch2) for stacks of matrices, `input` broadcast. Of whole numbers beta and alpha"""
def bmm(input: Tensor, mat2: Tensor) -> Tensor: """The products of two stacks of matrices: (b, m, k), (b, k, n) -> (b, m, n)."""
def dot(input: Tensor, tensor: Tensor) -> Tensor: """The inner product of two vectors."""
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor: """input weight^T + bias."""
def linear_activation(*args: Any, **kwargs: Any) -> Any: ...
def linear_residual(*args: Any, **kwargs: Any) -> Any: ...
def matmul(input: Tensor, other: Tensor) -> Tensor: """The matrix product: of vectors a number, of matrices a matrix, of stacks of matrices a stack, with broadcasting."""
def mm(input: Tensor, mat2: Tensor) -> Tensor: """The product of two matrices: (m, k), (k, n) -> (m, n)."""
def mv(input: Tensor, vec: Tensor) -> Tensor: """The product of a matrix and a vector: (m, k), (k) -> (m)."""
def outer(input: Tensor, vec2: Tensor) -> Tensor: """The outer product of two vectors: (m), (n) -> (m, n)."""
def weighted(*args: Any, **kwargs: Any) -> Any: ...
