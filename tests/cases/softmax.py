"""Cases of fastdl.ops.softmax."""

import numpy as np

import fastdl
from tests.cases import EDGES, Case, Error, normal

ROWS = [(3, n) for n in EDGES if n] + [(0, 5), (5, 0), (2, 64), (2, 65), (2, 4095), (3, 4097), (37, 251)]


def _softmax(x, dim=-1):
    if x.shape[dim] == 0:
        return x * 1.0
    e = np.exp(x - x.max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


def _log_softmax(x, dim=-1):
    if x.shape[dim] == 0:
        return x * 1.0
    top = x.max(dim, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(dim, keepdims=True))


def _wide(rng, *s):
    return {"x": normal(rng, *s) * 4}


CASES = [
    Case("softmax", lambda x: x.softmax(-1), _softmax, _wide, ROWS, wrt=("x",)),
    Case("log_softmax", lambda x: fastdl.log_softmax(x, -1), _log_softmax, _wide, ROWS, wrt=("x",)),
    Case("softmax_first_dim", lambda x: fastdl.softmax(x, dim=0), lambda x: _softmax(x, 0), _wide, [(7, 5), (3, 4, 2)],
         wrt=("x",)),
    Case("log_softmax_middle_dim", lambda x: x.log_softmax(1), lambda x: _log_softmax(x, 1), _wide, [(3, 5, 2)],
         wrt=("x",)),
]

ERRORS = [
    Error("softmax_dim", lambda: fastdl.softmax(fastdl.zeros(2, 3), 2), IndexError, "softmax.*dim 2"),
    Error("softmax_integers", lambda: fastdl.softmax(fastdl.tensor([1, 2]), 0), RuntimeError, "floating-point.*int64"),
    Error("log_softmax_no_dim", lambda: fastdl.log_softmax(fastdl.zeros(2), None), TypeError, "log_softmax.*None"),
]
