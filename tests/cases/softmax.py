"""Cases of fastdl.ops.softmax."""

import numpy as np

import fastdl
from tests.cases import EDGES, Case, Error, normal

ROWS = [(3, n) for n in EDGES if n] + [(0, 5), (5, 0), (2, 64), (2, 65), (2, 4095), (3, 4097), (37, 251)]
# columns: around vectors and strips of 4, blocks of 64 elements, threads
COLUMNS = [(3, n) for n in EDGES if n > 1] + [(0, 5), (1, 9), (2, 63), (3, 64), (2, 65), (64, 130), (65, 3), (129, 200)]
PLANES = [(2, 5, 7), (3, 64, 16), (0, 3, 4), (2, 3, 0), (5, 65, 33), (20, 10, 150)]


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
    Case("softmax_first_dim", lambda x: fastdl.softmax(x, dim=0), lambda x: _softmax(x, 0), _wide,
         [(7, 5), (3, 4, 2), *COLUMNS], wrt=("x",)),
    Case("log_softmax_middle_dim", lambda x: x.log_softmax(1), lambda x: _log_softmax(x, 1), _wide,
         [(3, 5, 2), *PLANES], wrt=("x",)),
    Case("log_softmax_first_dim", lambda x: x.log_softmax(0), lambda x: _log_softmax(x, 0), _wide, COLUMNS, wrt=("x",)),
    Case("softmax_middle_dim", lambda x: x.softmax(-2), lambda x: _softmax(x, -2), _wide, PLANES, wrt=("x",)),
    Case("softmax_transposed", lambda x: x.t().softmax(0), lambda x: _softmax(x.T, 0), _wide, [(5, 33)], wrt=("x",)),
]



def _nan_rows(rng, n, v):
    x = normal(rng, n, v)
    x[0, v // 2], x[1, 0], x[2, -1], x[3] = np.nan, np.inf, -np.inf, -np.inf
    return {"x": x}


def _quiet(function):
    def call(x):
        with np.errstate(invalid="ignore"):
            return function(x)
    return call


CASES += [
    Case("softmax_nan", lambda x: (x.softmax(1), x.t().contiguous().softmax(0)),
         _quiet(lambda x: (_softmax(x), _softmax(x).T)), _nan_rows, [(5, 7), (20, 70)]),
    Case("log_softmax_nan", lambda x: (x.log_softmax(1), x.t().contiguous().log_softmax(0)),
         _quiet(lambda x: (_log_softmax(x), _log_softmax(x).T)), _nan_rows, [(5, 7), (20, 70)]),
]

ERRORS = [
    Error("softmax_dim", lambda: fastdl.softmax(fastdl.zeros(2, 3), 2), IndexError, "softmax.*dim 2"),
    Error("softmax_integers", lambda: fastdl.softmax(fastdl.tensor([1, 2]), 0), RuntimeError, "floating-point.*int64"),
    Error("log_softmax_no_dim", lambda: fastdl.log_softmax(fastdl.zeros(2), None), TypeError, "log_softmax.*None"),
]
