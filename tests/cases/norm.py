"""Cases of fastdl.ops.norm."""

import numpy as np

import fastdl
from fastdl.nn import functional as F
from fastdl.ops.norm import add_layer_norm
from tests.cases import EDGES, Case, Error, normal

# row lengths: around the lanes, the unrolled 64, one block (4096), the rows done together; rows: around vectors of rows,
# chunks of 64 rows and their tree, threads
ROWS = [
    *[(3, n) for n in EDGES if n > 1],
    *[(n, 5) for n in (0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 129, 321)],
    (2, 63), (5, 64), (3, 65), (5, 255), (18, 257), (70, 300), (2, 513), (3, 1025), (2, 4096), (3, 4097), (2, 8195),
]  # fmt: skip
# the mean of a row and what x - mean rounds off: 1e-7 of |x|, of deviations of about 1
_TOLERANCE = {"rtol": 3e-6, "atol": 3e-6, "rtol64": 1e-11, "atol64": 1e-11}


def _layer_norm(x, w=None, b=None, eps=1e-5, axes=(-1,)):
    z = x - x.mean(axes, keepdims=True)
    z = z / np.sqrt((z * z).mean(axes, keepdims=True) + eps)
    return (z if w is None else z * w) + (0 if b is None else b)


def _rms_norm(x, w=None, eps=1e-6):
    z = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return z if w is None else z * w


def _rows(rng, n, d):
    """Not constant: what the mean rounds off would grow to everything in rows of two elements that happen to be close."""
    spread = rng.permuted(np.tile(np.arange(d) * 8.0 / max(d, 1), (n, 1)), axis=1)
    return np.round(spread * 64) / 64 + 0.25 * normal(rng, n, d)


def _inputs(rng, n, d):
    return {"x": _rows(rng, n, d), "w": normal(rng, d) + 1, "b": normal(rng, d)}


def _pair(rng, n, d):
    return {"x": normal(rng, n, d) * 0.125, "r": _rows(rng, n, d), "w": normal(rng, d) + 1, "b": normal(rng, d)}


def _d(x):
    return (x.shape[-1],)


def _strided(x, w, b):
    return F.layer_norm(x.transpose(0, 1), (x.shape[0],), w[: x.shape[0]], b[: x.shape[0]])


CASES = [
    Case("layer_norm", lambda x, w, b: F.layer_norm(x, _d(x), w, b), _layer_norm, _inputs, ROWS, wrt=("x", "w", "b"),
         **_TOLERANCE),
    Case("layer_norm_no_bias", lambda x, w, b: F.layer_norm(x, _d(x), w, eps=0.25),
         lambda x, w, b: _layer_norm(x, w, eps=0.25), _inputs, [(3, 17), (67, 40)], wrt=("x", "w"), **_TOLERANCE),
    Case("layer_norm_no_weight", lambda x, w, b: F.layer_norm(x, _d(x), bias=b),
         lambda x, w, b: _layer_norm(x, b=b), _inputs, [(3, 17), (67, 40)], wrt=("x", "b"), **_TOLERANCE),
    Case("layer_norm_plain", lambda x, w, b: F.layer_norm(x, _d(x)), lambda x, w, b: _layer_norm(x), _inputs,
         [(3, 17), (67, 40), (1000, 33)], wrt=("x",), **_TOLERANCE),
    Case("layer_norm_dims", lambda x, w, b: F.layer_norm(x, [3, 7], w, b),
         lambda x, w, b: _layer_norm(x, w, b, axes=(-2, -1)),
         lambda rng, *s: {"x": normal(rng, *s, 3, 7), "w": normal(rng, 3, 7), "b": normal(rng, 3, 7)},
         [(), (5,), (2, 4), (0, 4)], wrt=("x", "w", "b"), **_TOLERANCE),
    Case("layer_norm_strided", _strided, lambda x, w, b: _layer_norm(x.T, w[: len(x)], b[: len(x)]), _inputs,
         [(5, 9), (17, 33)], wrt=("x", "w", "b"), **_TOLERANCE),
    Case("rms_norm", lambda x, w, b: F.rms_norm(x, _d(x), w, 1e-6), lambda x, w, b: _rms_norm(x, w, 1e-6), _inputs,
         ROWS, wrt=("x", "w"), **_TOLERANCE),
    Case("rms_norm_plain", lambda x, w, b: F.rms_norm(x, _d(x), eps=0.5), lambda x, w, b: _rms_norm(x, eps=0.5), _inputs,
         [(3, 17), (67, 40)], wrt=("x",), **_TOLERANCE),
    Case("add_layer_norm", lambda x, r, w, b: add_layer_norm(x, r, _d(x), w, b),
         lambda x, r, w, b: _layer_norm(x + r, w, b), _pair, [(3, 17), (67, 40), (18, 257), (0, 3), (2, 4097)],
         wrt=("x", "r", "w", "b"), **_TOLERANCE),
    Case("add_layer_norm_sum", lambda x, r, w, b: add_layer_norm(x, r, _d(x), w, b, return_sum=True),
         lambda x, r, w, b: (_layer_norm(x + r, w, b), x + r), _pair, [(3, 17), (67, 40)],
         wrt=("x", "r", "w", "b"), **_TOLERANCE),
    Case("add_layer_norm_broadcast", lambda x, r, w, b: add_layer_norm(x, r[0], _d(x), w, b),
         lambda x, r, w, b: _layer_norm(x + r[0], w, b), _pair, [(3, 17)], wrt=("x", "r", "w", "b"), **_TOLERANCE),
]


def _edges(rng, n, d):
    """Rows with NaN, inf, equal elements, a large offset."""
    x = normal(rng, n, d)
    x[0, d // 2], x[1, 0], x[2, -1], x[3], x[4] = np.nan, np.inf, -np.inf, 7.5, x[4] + 1024
    return {"x": x, "w": normal(rng, d), "b": normal(rng, d)}


def _quiet(function):
    def call(*args):
        with np.errstate(invalid="ignore"):
            return function(*args)
    return call


CASES += [
    Case("layer_norm_edges", lambda x, w, b: F.layer_norm(x, _d(x), w, b), _quiet(_layer_norm), _edges,
         [(6, 5), (9, 16), (17, 70)], rtol=1e-4, atol=1e-3, rtol64=1e-9, atol64=1e-9),
    Case("rms_norm_edges", lambda x, w, b: F.rms_norm(x, _d(x), w, 1e-6), _quiet(lambda x, w, b: _rms_norm(x, w, 1e-6)),
         _edges, [(6, 5), (9, 16), (17, 70)], **_TOLERANCE),
]


def _channels(x, w, b):
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * w.reshape(shape) + b.reshape(shape)


def _batch_norm(x, w, b):
    return _channels(_layer_norm(x, axes=(0, *range(2, x.ndim))), w, b)


def _group_norm(x, w, b):
    rows = x.reshape(x.shape[0], 3, np.prod(x.shape[1:]) // 3)
    return _channels(_layer_norm(rows).reshape(x.shape), w, b)


def _images(rng, n, c, *rest):
    return {"x": 2 * normal(rng, n, c, *rest) + 1, "w": normal(rng, c) + 1, "b": normal(rng, c)}


CASES += [
    Case("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, True), _batch_norm, _images,
         [(17, 5), (9, 3, 7), (4, 6, 5, 3)], wrt=("x", "w", "b"), rtol=2e-5, atol=2e-5, rtol64=1e-10, atol64=1e-10),
    Case("batch_norm_evaluation", lambda x, w, b: F.batch_norm(x, b, w * w, w, b),
         lambda x, w, b: _channels(x, w / np.sqrt(w * w + 1e-5), b - b * w / np.sqrt(w * w + 1e-5)), _images,
         [(7, 5), (4, 6, 5, 3)], wrt=("x", "w", "b"), rtol=2e-5, atol=2e-5),
    Case("group_norm", lambda x, w, b: F.group_norm(x, 3, w, b), _group_norm, _images,
         [(2, 6, 4), (4, 3, 5, 7), (1, 9, 17), (0, 3, 4)], wrt=("x", "w", "b"), rtol=2e-5, atol=2e-5),
]

_X = fastdl.ones(2, 3, 4)
ERRORS = [
    Error("layer_norm shape", lambda: F.layer_norm(_X, (5,)), RuntimeError, r"\[layer_norm\].*\[\*, 5\].*\[2, 3, 4\]"),
    Error("layer_norm too many", lambda: F.layer_norm(_X, (1, 2, 3, 4)), RuntimeError, r"\[\*, 1, 2, 3, 4\]"),
    Error("layer_norm no dims", lambda: F.layer_norm(_X, ()), RuntimeError, "at least 1-dimensional"),
    Error("layer_norm int", lambda: F.layer_norm(_X, 4), TypeError, "tuple of ints, got int"),
    Error("layer_norm weight", lambda: F.layer_norm(_X, (4,), fastdl.ones(3)), RuntimeError, r"weight of shape \[3\]"),
    Error("layer_norm bias", lambda: F.layer_norm(_X, (4,), None, fastdl.ones(1, 4)), RuntimeError, "bias of shape"),
    Error("layer_norm mixed", lambda: F.layer_norm(_X.double(), (4,), fastdl.ones(4)), RuntimeError, "mixed dtype"),
    Error("layer_norm ints", lambda: F.layer_norm(_X.long(), (4,)), NotImplementedError, "floating-point.*int64"),
    Error("rms_norm shape", lambda: F.rms_norm(_X, (3,)), RuntimeError, r"\[rms_norm\].*\[\*, 3\]"),
    Error("rms_norm ints", lambda: F.rms_norm(_X.long(), (4,)), NotImplementedError, "floating-point"),
    Error("batch_norm one value", lambda: F.batch_norm(_X[:1, :, 0], None, None, training=True), ValueError, "more than 1"),
    Error("batch_norm no statistics", lambda: F.batch_norm(_X, None, None), RuntimeError, "must be defined"),
    Error("batch_norm sizes", lambda: F.batch_norm(_X, fastdl.ones(2), fastdl.ones(2)), RuntimeError, "contain 3 elem"),
    Error("group_norm groups", lambda: F.group_norm(_X, 2), RuntimeError, "divisible by num_groups"),
    Error("add_layer_norm shape", lambda: add_layer_norm(_X, _X, (3,)), RuntimeError, r"\[add_layer_norm\]"),
]
