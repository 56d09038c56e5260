"""embedding and one_hot."""

import numpy as np

import fastdl
from fastdl.ops.embedding import embedding, one_hot
from tests.cases import Case, Error, integers, normal


def inputs(rng, n, v, d):
    return dict(index=integers(rng, n, below=v), weight=normal(rng, v, d))


def rows(index, weight):
    return weight[index]


def one_row(rng, n, v, d):
    """Every index is the same: the longest sums, one after another."""
    return dict(index=np.full(n, v // 2), weight=normal(rng, v, d))


# columns in vectors of 2 to 16 elements, 8 vectors at a time; threads from about 16384 elements
SHAPES = [
    (0, 3, 2),
    (1, 1, 1),
    (9, 5, 7),
    (9, 5, 8),
    (40, 28, 15),
    (40, 28, 16),
    (30, 6, 17),
    (30, 6, 31),
    (30, 6, 33),
    (20, 100, 129),
    (300, 10, 64),
    (700, 500, 100),
    (3000, 7, 3),
]

CASES = [
    Case("embedding", embedding, rows, inputs, SHAPES, wrt=("weight",), atol=2e-6),
    # the sum of 500 numbers one after another
    Case("embedding one row", embedding, rows, one_row, [(500, 3, 20)], wrt=("weight",), rtol=1e-5, atol=1e-5),
    Case(
        "embedding matrix of indices",
        embedding,
        rows,
        lambda rng, a, b: dict(index=integers(rng, a, b, below=6), weight=normal(rng, 6, 5)),
        [(3, 4), (1, 0)],
        wrt=("weight",),
    ),
    Case(
        "one_hot",
        one_hot,
        lambda i: np.eye(i.max() + 1)[i],
        lambda rng, *s: dict(i=integers(rng, *s, below=5)),
        [(1,), (4, 3)],
    ),
    Case(
        "one_hot classes",
        lambda i: one_hot(i, 7),
        lambda i: np.eye(7)[i],
        lambda rng, *s: dict(i=integers(rng, *s, below=7)),
        [(0,), (5,), (2, 3)],
    ),
]

W = fastdl.ones(4, 3)
ERRORS = [
    Error(
        "embedding index",
        lambda: embedding(fastdl.tensor([[0, 1], [2, 4]]), W),
        IndexError,
        r"\[embedding\] input\[1, 1\]: expected an index in \[0, 4\), got 4",
    ),
    Error("embedding negative index", lambda: embedding(fastdl.tensor([-1]), W), IndexError, r"input\[0\].* got -1"),
    Error(
        "embedding vector",
        lambda: embedding(fastdl.tensor([0]), fastdl.ones(4)),
        RuntimeError,
        r"expected shape \(V, D\), got \(4,\)",
    ),
    Error("embedding float index", lambda: embedding(fastdl.ones(2), W), RuntimeError, "expected integers"),
    Error(
        "embedding integer table",
        lambda: embedding(fastdl.tensor([0]), fastdl.tensor([[1]]), max_norm=1.0),
        RuntimeError,
        "floating-point weight",
    ),
    Error(
        "embedding padding", lambda: embedding(fastdl.tensor([0]), W, padding_idx=4), ValueError, r"in \[-4, 4\), got 4"
    ),
    Error(
        "one_hot index",
        lambda: one_hot(fastdl.tensor([0, 5]), 5),
        RuntimeError,
        r"\[one_hot\] input\[1\].*\[0, 5\), got 5",
    ),
    Error("one_hot negative", lambda: one_hot(fastdl.tensor([-2])), RuntimeError, "got -2"),
    Error("one_hot nothing", lambda: one_hot(fastdl.tensor(np.zeros(0, np.int64))), RuntimeError, "got -1 for 0 indices"),
]
