"""Cases of fastdl.ops.matmul."""

import numpy as np

import fastdl
from fastdl.nn import functional as F
from tests.cases import EDGES, Case, Error, normal

# (m, n, k): one row or column, lanes and tiles, eight and nine rows (scalar products or tiles), k around 16 (the same)
# and 512 (one block of k or two), 47/48 rows (packing), 63/64 (weights in place or packed), threads
TRIPLES = [
    *[(3, n, 5) for n in EDGES], *[(m, 6, 4) for m in EDGES], *[(5, 7, k) for k in EDGES], *[(1, n, 40) for n in (1, 5, 16, 33)], (33, 1, 40),
    (8, 20, 15), (8, 20, 16), (9, 20, 16), (20, 8, 17), (20, 9, 17), (3, 5, 511), (9, 10, 512), (9, 11, 513), (7, 6, 1100),
    (47, 65, 70), (48, 63, 70), (63, 130, 33), (64, 129, 33), (65, 30, 34), (100, 300, 90), (28, 256, 1120),
]
# sums of k products of normals: the error grows like k, the bound is 2 k u (|a| |b|)
LOOSE = {"rtol": 2e-5, "atol": 4e-4, "rtol64": 1e-11, "atol64": 1e-11}


def _two(left, right):
    return lambda rng, m, n, k: {"a": normal(rng, *left(m, k)), "b": normal(rng, *right(k, n))}


def _layout(name, op, reference, left, right):
    return Case(name, op, reference, _two(left, right), TRIPLES, wrt=("a", "b"), **LOOSE)


def _mk(m, k):
    return m, k


def _km(m, k):
    return k, m


def _linear(rng, *s):
    *rows, n, k = s
    return {"x": normal(rng, *rows, k), "weight": normal(rng, n, k), "bias": normal(rng, n)}


def _stack(left, right):
    return lambda rng, *unused: {"a": normal(rng, *left), "b": normal(rng, *right)}


def _stacked(left, right):
    name = f"matmul_{'x'.join(map(str, left))}_{'x'.join(map(str, right))}"
    return Case(name, fastdl.matmul, np.matmul, _stack(left, right), [()], wrt=("a", "b"), **LOOSE)


CASES = [
    _layout("matmul", fastdl.matmul, np.matmul, _mk, _mk),
    _layout("matmul_nt", lambda a, b: a @ b.t(), lambda a, b: a @ b.T, _mk, _km),
    _layout("matmul_tn", lambda a, b: a.t() @ b, lambda a, b: a.T @ b, _km, _mk),
    _layout("matmul_tt", lambda a, b: a.t() @ b.t(), lambda a, b: a.T @ b.T, _km, _km),
    Case("matmul_strided", lambda a, b: a[:, 1:] @ b[::2].t(), lambda a, b: a[:, 1:] @ b[::2].T,
         lambda rng, m, n, k: {"a": normal(rng, m, k + 1), "b": normal(rng, 2 * n, k)}, [(3, 5, 7), (20, 9, 33)], wrt=("a", "b"), **LOOSE),
    Case("matmul_no_layout", lambda a, b: a[:, ::2] @ b[:, ::3], lambda a, b: a[:, ::2] @ b[:, ::3],
         lambda rng, m, n, k: {"a": normal(rng, m, 2 * k), "b": normal(rng, k, 3 * n)}, [(3, 5, 7), (20, 9, 33)], wrt=("a", "b"), **LOOSE),
    *[_stacked(*s) for s in [((5,), (5,)), ((5,), (5, 3)), ((4, 5), (5,)), ((2, 4, 5), (5,)), ((5,), (2, 5, 3)), ((2, 4, 5), (5, 3)), ((4, 5), (2, 5, 3)),
                             ((3, 1, 4, 5), (2, 5, 6)), ((3, 2, 4, 5), (3, 1, 5, 6)), ((0, 4, 5), (5, 3)), ((2, 0, 5), (2, 5, 3)), ((2, 4, 0), (2, 0, 3))]],
    Case("matmul_swapped_dims", lambda a, b: a.transpose(1, 2) @ b.transpose(1, 2), lambda a, b: a.swapaxes(1, 2) @ b.swapaxes(1, 2),
         _stack((3, 7, 9), (3, 5, 7)), [()], wrt=("a", "b"), **LOOSE),
    Case("bmm", fastdl.bmm, np.matmul, lambda rng, b, m, n, k: {"a": normal(rng, b, m, k), "b": normal(rng, b, k, n)},
         [(1, 2, 3, 4), (5, 17, 9, 33), (0, 2, 3, 4), (40, 32, 31, 30)], wrt=("a", "b"), **LOOSE),
    Case("mv", fastdl.mv, np.matmul, lambda rng, m, k: {"a": normal(rng, m, k), "b": normal(rng, k)}, [(n, 20) for n in EDGES] + [(700, 500)], wrt=("a", "b"), **LOOSE),
    Case("dot", fastdl.dot, np.dot, lambda rng, k: {"a": normal(rng, k), "b": normal(rng, k)}, [(n,) for n in EDGES] + [(5000,)], wrt=("a", "b"), **LOOSE),
    Case("outer", fastdl.outer, np.outer, lambda rng, m, n: {"a": normal(rng, m), "b": normal(rng, n)}, [(0, 3), (1, 1), (17, 33)], wrt=("a", "b")),
    Case("addmm", lambda c, a, b: fastdl.addmm(c, a, b, beta=0.5, alpha=2), lambda c, a, b: 0.5 * c + 2 * (a @ b),
         lambda rng, m, n, k: {"c": normal(rng, n), "a": normal(rng, m, k), "b": normal(rng, k, n)}, [(3, 5, 7), (33, 17, 9)], wrt=("c", "a", "b"), **LOOSE),
    Case("linear", F.linear, lambda x, w, b: x @ w.T + b, _linear, [(m, n, k) for m, n, k in TRIPLES], wrt=("x", "weight", "bias"), **LOOSE),
    Case("linear_stack", F.linear, lambda x, w, b: x @ w.T + b, _linear, [(5, 7), (2, 3, 4, 5), (0, 3, 4, 5), (4, 16, 33, 64)], wrt=("x", "weight", "bias"), **LOOSE),
    Case("linear_no_bias", F.linear, lambda x, w: x @ w.T, lambda rng, m, n, k: {"x": normal(rng, m, k), "weight": normal(rng, n, k)},
         [(1, 64, 64), (3, 5, 7), (70, 65, 66)], wrt=("x", "weight"), **LOOSE),
]


def _zeros(*shape, dtype=None):
    return fastdl.zeros(*shape, dtype=dtype)


ERRORS = [
    Error("matmul_sizes", lambda: _zeros(2, 3) @ _zeros(4, 5), RuntimeError, r"\[matmul\].*\(2, 3\).*\(4, 5\).*3 columns.*4 rows"),
    Error("matmul_vector", lambda: _zeros(2, 3) @ _zeros(4), RuntimeError, r"\[matmul\].*\(2, 3\).*\(4,\)"),
    Error("matmul_number", lambda: fastdl.matmul(_zeros(3), fastdl.tensor(1.0)), RuntimeError, r"\[matmul\].*at least one dimension"),
    Error("matmul_stacks", lambda: _zeros(2, 3, 4) @ _zeros(3, 4, 5), RuntimeError, r"\[matmul\].*\(2, 3, 4\).*\(3, 4, 5\).*2 and 3 differ"),
    Error("matmul_dtypes", lambda: _zeros(2, 3) @ _zeros(3, 2, dtype=fastdl.float64), RuntimeError, r"\[matmul\].*float32.*float64"),
    Error("matmul_operand", lambda: _zeros(2, 3) @ 2, TypeError, r"\[matmul\].*int"),
    Error("mm_dims", lambda: fastdl.mm(_zeros(3), _zeros(3, 2)), RuntimeError, r"\[mm\].*\(3,\)"),
    Error("bmm_stacks", lambda: fastdl.bmm(_zeros(2, 3, 4), _zeros(3, 4, 5)), RuntimeError, r"\[bmm\].*2 and 3"),
    Error("mv_dims", lambda: fastdl.mv(_zeros(2, 3), _zeros(3, 1)), RuntimeError, r"\[mv\].*\(3, 1\)"),
    Error("linear_sizes", lambda: F.linear(_zeros(2, 3), _zeros(5, 4)), RuntimeError, r"\[linear\].*\(5, 4\).*\(2, 3\)"),
    Error("linear_bias", lambda: F.linear(_zeros(2, 3), _zeros(5, 3), _zeros(4)), RuntimeError, r"\[linear\].*\(5, 3\).*\(4,\)"),
]
