"""Cases of fastdl.ops.reduce."""

import numpy as np

import fastdl
from tests.cases import EDGES, Case, Error, integers, normal, uniform

# rows: around the lanes, the unrolled 64, one block (4096), threads; [outer, n, inner] around chunks of 64 rows and tiles
LINE = [(n,) for n in EDGES] + [(63,), (64,), (65,), (4095,), (4096,), (4097,), (8193,), (70001,), (300007,)]
BLOCKS = [(0, 3, 2), (2, 0, 3), (3, 1, 1), (2, 7, 3), (2, 8, 16), (3, 9, 17), (1, 63, 33), (2, 64, 5), (1, 65, 31), (2, 129, 100), (1, 5, 2047),
          (1, 70, 2049), (3, 300, 400), (50, 40, 30)]
FULL = [s for s in BLOCKS if 0 not in s]
DIMS = [(2, 3, 4, 5), (1, 17, 3, 16), (0, 2, 3, 4), (7, 6, 65, 33)]


def _x(rng, *s):
    return {"x": normal(rng, *s)}


def _near_one(rng, *s):
    return {"x": uniform(rng, *s, low=0.9, high=1.1)}


def _distinct(rng, *s):
    """No two equal elements, far enough apart for differences."""
    return {"x": (rng.permutation(int(np.prod(s))).reshape(s) * 0.125 - 3).astype(np.float64)}


def _reduction(name, op, reference, data=_x, line=LINE, blocks=BLOCKS, **kwargs):
    """All elements; the middle dimension; the last; pairs of dimensions, adjacent and not; a transposed view."""
    return [
        Case(name, op, reference, data, line, wrt=("x",), **kwargs),
        Case(name + "_dim", lambda x: op(x, 1), lambda x: reference(x, axis=1), data, blocks, wrt=("x",), **kwargs),
        Case(name + "_last", lambda x: op(x, dim=-1, keepdim=True), lambda x: reference(x, axis=-1, keepdims=True), data, FULL, wrt=("x",), **kwargs),
        Case(name + "_first", lambda x: op(x, 0), lambda x: reference(x, axis=0), data, FULL, wrt=("x",), **kwargs),
    ]


def _pairs(name, op, reference, data=_x, dims=DIMS, **kwargs):
    return [
        Case(name + "_adjacent", lambda x: op(x, (1, 2)), lambda x: reference(x, axis=(1, 2)), data, dims, wrt=("x",), **kwargs),
        Case(name + "_apart", lambda x: op(x, (0, -2), keepdim=True), lambda x: reference(x, axis=(0, 2), keepdims=True), data, dims, wrt=("x",), **kwargs),
        Case(name + "_transposed", lambda x: op(x.transpose(1, 3), (1, 3)), lambda x: reference(x.swapaxes(1, 3), axis=(1, 3)), data, dims, wrt=("x",), **kwargs),
        Case(name + "_matrix", lambda x: op(x[0, 0].t(), 0), lambda x: reference(x[0, 0].T, axis=0), data, dims[:2], wrt=("x",), **kwargs),
        Case(name + "_matrix_rows", lambda x: op(x[0, 0].t(), 1), lambda x: reference(x[0, 0].T, axis=1), data, dims[:2], wrt=("x",), **kwargs),
    ]


def _logsumexp(x, axis, keepdims=False):
    top = x.max(axis, keepdims=True)
    out = np.log(np.exp(x - top).sum(axis, keepdims=True)) + top
    return out if keepdims else out.squeeze(axis)


def _logaddexp(x, axis):
    with np.errstate(invalid="ignore"):
        return np.logaddexp.reduce(x, axis)


# sums: errors grow with the root of the size where terms cancel
_SUM = {"rtol": 1e-5, "atol": 2e-4, "rtol64": 1e-12, "atol64": 1e-11}
_NONEMPTY = [s for s in LINE if s != (0,)]

CASES = [
    *_reduction("sum", fastdl.sum, np.sum, **_SUM),
    *_pairs("sum", fastdl.sum, np.sum, **_SUM),
    *_reduction("mean", fastdl.mean, np.mean, line=_NONEMPTY, blocks=FULL),
    *_pairs("mean", fastdl.mean, np.mean, dims=[s for s in DIMS if 0 not in s]),
    *_reduction("prod", fastdl.prod, np.prod, data=_near_one, line=[s for s in LINE if s[0] < 100], blocks=[s for s in BLOCKS if s[1] < 100], rtol=2e-5, rtol64=1e-11),
    *_reduction("amax", fastdl.amax, np.max, data=_distinct, line=_NONEMPTY, blocks=[s for s in BLOCKS if s != (2, 0, 3)]),
    *_pairs("amin", fastdl.amin, np.min, data=_distinct, dims=[s for s in DIMS if 0 not in s]),
    *_reduction("max_all", lambda x, *a, **k: fastdl.amax(x, *a, **k) if a or k else fastdl.max(x), np.max, data=_distinct, line=_NONEMPTY, blocks=[(3, 4, 5)]),
    Case("min_all", lambda x: x.min(), np.min, _distinct, _NONEMPTY, wrt=("x",)),
    Case("max_dim", lambda x: tuple(fastdl.max(x, 1)), lambda x: (x.max(1), x.argmax(1)), _distinct, FULL, wrt=("x",)),
    Case("max_last", lambda x: tuple(x.max(-1, keepdim=True)), lambda x: (x.max(-1, keepdims=True), x.argmax(-1, keepdims=True)), _distinct, FULL, wrt=("x",)),
    Case("min_dim", lambda x: tuple(x.min(dim=1)), lambda x: (x.min(1), x.argmin(1)), _distinct, FULL, wrt=("x",)),
    Case("min_first", lambda x: tuple(x.min(0)), lambda x: (x.min(0), x.argmin(0)), _distinct, FULL, wrt=("x",)),
    Case("argmax", lambda x: x.argmax(), lambda x: np.argmax(x), lambda rng, n: {"x": np.round(normal(rng, n) * 2)}, _NONEMPTY),
    Case("argmin_ties", lambda x: x.argmin(1), lambda x: np.argmin(x, 1), lambda rng, *s: {"x": np.round(normal(rng, *s))}, FULL),
    Case("median_dim", lambda x: fastdl.median(x, 1).values, lambda x: np.sort(x, 1)[:, (x.shape[1] - 1) // 2], _distinct, [s for s in FULL if np.prod(s) < 5000], wrt=("x",)),
    *_reduction("var", fastdl.var, lambda x, **k: np.var(x, ddof=1, **k), line=[s for s in LINE if s[0] > 1], blocks=[s for s in FULL if s[1] > 1 and s[0] > 1 and s[2] > 1])[:2],
    *_pairs("var", fastdl.var, lambda x, **k: np.var(x, ddof=1, **k), dims=[(2, 3, 4, 5), (7, 6, 65, 33)]),
    Case("var_biased", lambda x: fastdl.var(x, 1, unbiased=False), lambda x: np.var(x, 1), _x, FULL, wrt=("x",)),
    Case("std", lambda x: x.std(dim=1, correction=0.5, keepdim=True), lambda x: np.sqrt(((x - x.mean(1, keepdims=True)) ** 2).sum(1, keepdims=True) / (x.shape[1] - 0.5)),
         _x, [(3, 2, 1), (2, 7, 3), (5, 65, 17)], wrt=("x",)),
    *_reduction("norm", lambda x, dim=None, keepdim=False: fastdl.norm(x, 2, dim, keepdim), lambda x, **k: np.sqrt((x * x).sum(**k)), line=_NONEMPTY, rtol=1e-5, blocks=FULL),
    *_pairs("norm", lambda x, dim, keepdim=False: x.norm(dim=dim, keepdim=keepdim), lambda x, **k: np.sqrt((x * x).sum(**k)), rtol=1e-5, dims=[s for s in DIMS if 0 not in s]),
    Case("norm_1", lambda x: x.norm(p=1, dim=1), lambda x: np.abs(x).sum(1), _distinct, [(3, 5, 4), (2, 65, 3)], wrt=("x",), rtol=1e-5),
    Case("norm_3", lambda x: x.norm(p=3, dim=1), lambda x: (np.abs(x) ** 3).sum(1) ** (1 / 3), _x, [(3, 5, 4), (2, 65, 3)], wrt=("x",), rtol=1e-5),
    Case("norm_inf", lambda x: x.norm(p=float("inf"), dim=1), lambda x: np.abs(x).max(1), _x, [(3, 5, 4), (2, 65, 3)], wrt=("x",)),
    Case("norm_0", lambda x: x.norm(p=0), lambda x: (x != 0).sum() * 1.0, lambda rng, *s: {"x": np.round(normal(rng, *s))}, [(3, 5, 4)]),
    Case("logsumexp", lambda x: fastdl.logsumexp(x, 1), lambda x: _logsumexp(x, 1), lambda rng, *s: {"x": normal(rng, *s) * 30}, FULL, wrt=("x",)),
    Case("logsumexp_last", lambda x: x.logsumexp(-1, keepdim=True), lambda x: _logsumexp(x, -1, True), _x, [*FULL, (3, 2, 8195)], wrt=("x",)),
    *_pairs("logsumexp", fastdl.logsumexp, lambda x, axis, keepdims=False: _logsumexp(x, axis, keepdims), dims=[s for s in DIMS if 0 not in s]),
    Case("logsumexp_dims", lambda x: x.logsumexp((0, 2), keepdim=True), lambda x: _logsumexp(x, (0, 2), True), _x, [(2, 3, 5), (4, 17, 9)], wrt=("x",)),
    Case("cumsum", lambda x: x.cumsum(1), lambda x: np.cumsum(x, 1), _x, [s for s in BLOCKS if np.prod(s) < 20000], wrt=("x",), rtol=1e-5, atol=1e-4),
    Case("cumsum_last", lambda x: fastdl.cumsum(x, dim=-1), lambda x: np.cumsum(x, -1), _x, [(2, 3, 40)], wrt=("x",), rtol=1e-5, atol=1e-5),
    Case("cumprod", lambda x: x.cumprod(1), lambda x: np.cumprod(x, 1), _near_one, [(2, 7, 3), (3, 20, 1)], wrt=("x",), rtol=1e-5),
    Case("cumprod_zeros", lambda x: x.cumprod(1), lambda x: np.cumprod(x, 1), lambda rng, *s: {"x": np.round(normal(rng, *s))}, [(2, 7, 3)], wrt=("x",)),
    Case("prod_zeros", lambda x: x.prod(1), lambda x: np.prod(x, 1), lambda rng, *s: {"x": np.round(normal(rng, *s))}, [(4, 3, 5), (2, 7, 1)], wrt=("x",)),
    Case("prod_all_zeros", lambda x: x.prod(), lambda x: np.prod(x), lambda rng, *s: {"x": np.round(normal(rng, *s))}, [(2, 2), (5,), (1, 2, 2)], wrt=("x",)),
    Case("sum_0d", lambda x: x.sum(0) + x.sum() + x.mean(-1) + x.amax(), lambda x: 4 * x, _x, [()], wrt=("x",)),
    Case("sum_ints", lambda x: x.sum(1), lambda x: x.sum(1), lambda rng, *s: {"x": integers(rng, *s, below=9)}, [(3, 4), (0, 3)]),
    Case("max_ints", lambda x: tuple(x.max(1)), lambda x: (x.max(1), x.argmax(1)), lambda rng, *s: {"x": integers(rng, *s, below=9)}, [(3, 4), (5, 33)]),
    Case("all_any", lambda x: (x.all(1), (x > 1).any(0), x.all(), fastdl.any(x, dim=(0, 1), keepdim=True)),
         lambda x: (x.all(1), (x > 1).any(0), x.all(), x.any(keepdims=True)), lambda rng, *s: {"x": integers(rng, *s, below=3)}, [(3, 4), (5, 2)]),
    Case("count_nonzero", lambda x: (x.count_nonzero(), x.count_nonzero(1)), lambda x: (np.count_nonzero(x), np.count_nonzero(x, 1)),
         lambda rng, *s: {"x": integers(rng, *s, below=3)}, [(3, 4)]),
]


def _nan_case(name, op, reference):
    def data(rng, *s):
        x = normal(rng, *s)
        x[rng.random(s) < 0.2] = np.nan
        x[rng.random(s) < 0.1] = np.inf
        x[rng.random(s) < 0.1] = -np.inf
        return {"x": x}
    return Case(name, op, reference, data, [(4, 6), (6, 100), (3, 5000), (9, 17)])


with np.errstate(invalid="ignore"):
    CASES += [
        _nan_case("max_nan", lambda x: (x.amax(1), *x.max(1), *x.max(0), x.max()), lambda x: (x.max(1), x.max(1), x.argmax(1), x.max(0), x.argmax(0), x.max())),
        _nan_case("logsumexp_nan", lambda x: (x.logsumexp(1), x.logsumexp(0)),
                  lambda x: (_logaddexp(x, 1), _logaddexp(x, 0))),
        Case("logsumexp_inf", lambda x: (x.logsumexp(1), x.logsumexp(0), x[:0].logsumexp(0)),
             lambda x: (_logaddexp(x, 1), _logaddexp(x, 0), np.full(x.shape[1], -np.inf)),
             lambda rng, *s: {"x": np.where(rng.random(s) < 0.97, -np.inf, np.where(rng.random(s) < 0.5, np.inf, normal(rng, *s)))},
             [(9, 5), (40, 17), (70, 33)]),
        _nan_case("min_nan", lambda x: (x.amin(1), *x.min(1), *x.min(0), x.min()), lambda x: (x.min(1), x.min(1), x.argmin(1), x.min(0), x.argmin(0), x.min())),
    ]

ERRORS = [
    Error("sum dim", lambda: fastdl.ones(2, 3).sum(2), IndexError, r"\[sum\] dim 2 .*\[-2, 1\]"),
    Error("sum dim twice", lambda: fastdl.ones(2, 3).sum((1, -1)), RuntimeError, "dim -1 appears multiple times"),
    Error("sum dim type", lambda: fastdl.ones(2, 3).sum("a"), TypeError, "expected None, an int or a tuple"),
    Error("sum dim and axis", lambda: fastdl.ones(2, 3).sum(1, axis=0), TypeError, "given twice"),
    Error("mean of ints", lambda: fastdl.ones(2, dtype=fastdl.int64).mean(), RuntimeError, r"\[mean\].*floating point"),
    Error("max of nothing", lambda: fastdl.ones(0).max(), RuntimeError, r"\[max\].*numel\(\) == 0"),
    Error("max over empty dim", lambda: fastdl.ones(3, 0).max(1), IndexError, r"\[max\].*\(3, 0\)"),
    Error("amin over empty dim", lambda: fastdl.ones(3, 0).amin(1), IndexError, r"\[amin\].*non-zero size"),
    Error("argmax of nothing", lambda: fastdl.argmax(fastdl.ones(0)), IndexError, r"\[argmax\]"),
    Error("var of ints", lambda: fastdl.ones(2, dtype=fastdl.int64).var(), RuntimeError, r"\[var\].*floating-point"),
    Error("var both", lambda: fastdl.ones(2).var(0, unbiased=True, correction=1), TypeError, "cannot both"),
    Error("norm p", lambda: fastdl.ones(2).norm("nuc"), RuntimeError, "'nuc'"),
    Error("cumsum dim", lambda: fastdl.ones(2).cumsum(1), IndexError, r"\[cumsum\]"),
    Error("cumsum no dim", lambda: fastdl.ones(2).cumsum(), TypeError, r"\[cumsum\]"),
]
