"""Tensors without elements: products of stacks without matrices, whose strides NumPy may set to 0; and other dimensions
that are huge, over which nothing may loop."""

import numpy as np
import pytest

import fastdl
from tests.process import run


def test_product_of_no_matrices():
    a, b = (fastdl.from_numpy(np.array(np.ones(s, np.float32)[:0])).requires_grad_() for s in ((2, 3, 4), (2, 4, 5)))
    out = fastdl.bmm(a, b)
    out.sum().backward()
    assert out.shape == (0, 3, 5) and a.grad.shape == (0, 3, 4) and b.grad.shape == (0, 4, 5)


HUGE = """
import signal, fastdl
from fastdl.nn import functional as F

def empty(*shape, dtype=fastdl.float32):
    return fastdl.zeros(shape, dtype=dtype)

B = 2**40
calls = {
    "cumsum": lambda: empty(B, 0).requires_grad_().cumsum(0).sum().backward(),
    "cumsum of whole numbers": lambda: empty(B, 3, 0, dtype=fastdl.int64).cumsum(1),
    "cumprod": lambda: empty(B, 3, 0).requires_grad_().cumprod(1).sum().backward(),
    "cummax": lambda: empty(B, 3, 0).cummax(1),
    "logcumsumexp": lambda: empty(B, 0).logcumsumexp(0),
    "sort": lambda: empty(B, 3, 0).sort(1),
    "median": lambda: empty(B, 1, 0).median(1),
    "unique": lambda: empty(0, 1, B).unique(dim=0),
    "matmul": lambda: empty(B, 0, 1) @ empty(B, 1, 0),
    "matmul of whole numbers": lambda: empty(B, 0, 1, dtype=fastdl.int8) @ empty(B, 1, 0, dtype=fastdl.int8),
    "attention": lambda: F.scaled_dot_product_attention(*[empty(B, 0, 5).requires_grad_()] * 3).sum().backward(),
    "softmax": lambda: empty(B, 0).requires_grad_().softmax(0).sum().backward(),
    "layer norm": lambda: F.layer_norm(empty(B, 0, 3), (3,)),
    "one sum for the rest": lambda: empty(0, B).requires_grad_().sum().backward(),
}
for name, call in calls.items():
    print(name, flush=True)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2)  # of processor time; ends the process in the middle of a kernel
    call()
"""


def test_huge_dimensions_without_elements():
    run(HUGE)


@pytest.mark.parametrize("op", [fastdl.unique, fastdl.unique_consecutive])
def test_unique_of_no_slices(op):
    values, inverse, counts = op(fastdl.zeros(0, 3), dim=0, return_inverse=True, return_counts=True)
    assert values.shape == (0, 3) and inverse.shape == (0,) and counts.dtype == fastdl.int64
    with pytest.raises(RuntimeError, match="all other dimensions to have elements"):
        op(fastdl.zeros(3, 0), dim=0)
