"""The matrix product against NumPy's, by shape and layout: from a call's cost to the arithmetic limit."""

from __future__ import annotations

import numpy as np

import fastdl
from benchmarks.case import Case, cases
from fastdl.nn import functional as F

CUBES = [(n, n, n) for n in (16, 32, 64, 128, 256, 512, 1024, 2048)]
OTHERS = [(32, 256, 1024), (256, 784, 256), (1120, 256, 28), (28, 1120, 256), (1, 512, 2048)]


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def product(m: int, k: int, n: int, layout: str) -> Case:
    """(m, k) (k, n), each operand as stored (n) or stored transposed (t)."""
    def make():
        a, b = normal(*((k, m) if layout[0] == "t" else (m, k))), normal(*((n, k) if layout[1] == "t" else (k, n)))
        x, y = fastdl.tensor(a), fastdl.tensor(b)
        if layout[0] == "t":
            a, x = a.T, x.t()
        if layout[1] == "t":
            b, y = b.T, y.t()
        return lambda: x @ y, lambda: a @ b

    return Case(f"matmul {layout} {m}x{k}x{n}", make, rtol=1e-4, flops=2 * m * n * k, bytes=4 * (m * k + k * n + m * n))


def layer(m: int, k: int, n: int) -> Case:
    """x W^T + b"""
    def make():
        x, w, b = normal(m, k), normal(n, k), normal(n)
        tensors = [fastdl.tensor(v) for v in (x, w, b)]
        return lambda: F.linear(*tensors), lambda: x @ w.T + b

    return Case(f"linear {m}x{k}x{n}", make, rtol=1e-4, flops=2 * m * n * k, bytes=4 * (m * k + k * n + m * n))


PRODUCTS = [product(*s, layout) for s in CUBES + OTHERS for layout in ("nn", "nt", "tn")]
LAYERS = [layer(*s) for s in [(1, 64, 64), (32, 256, 1024), (256, 784, 256), (1120, 256, 28)]]


@cases(PRODUCTS + LAYERS)
def test_matmul(measure, case, provider):
    measure(case, provider)
