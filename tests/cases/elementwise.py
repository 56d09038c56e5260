"""Cases of fastdl.ops.elementwise."""

import math

import numpy as np

import fastdl
from fastdl.ops import elementwise
from tests.cases import EDGES, Case, Error, integers, normal, uniform

LARGE = [(8193,), (70001,)]  # both sides of the thresholds for threads and for releasing the GIL
LINE = [(n,) for n in EDGES] + LARGE
SOME = [(1,), (5, 7), (33,), (9001,)]


def _erf(x):
    return np.vectorize(math.erf, otypes=[float])(x) if x.size else x * 1.0


def _sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def _away_from(x, *corners):
    """x moved off the points where the function has a corner, so that differences are right."""
    for c in corners:
        x = np.where(np.abs(x - c) < 0.01, x + 0.05, x)
    return x.astype(np.float32).astype(np.float64)


def _unary(name, op, reference, data, shapes=LINE, **kwargs):
    return Case(name, op, reference, lambda rng, *s: {"x": data(rng, *s)}, shapes, wrt=("x",), **kwargs)


def _wide(rng, *s):
    return normal(rng, *s) * 3


def _positive(rng, *s):
    return uniform(rng, *s, low=0.1, high=4)


def _cornered(*corners):
    return lambda rng, *s: _away_from(normal(rng, *s) * 3, *corners)


_GELU_TANH = math.sqrt(2 / math.pi)

CASES = [
    _unary("neg", lambda x: -x, np.negative, _wide),
    _unary("abs", lambda x: abs(x), np.abs, _cornered(0)),
    _unary("exp", lambda x: x.exp(), np.exp, _wide),
    _unary("log", lambda x: fastdl.log(x), np.log, _positive),
    _unary("sqrt", lambda x: x.sqrt(), np.sqrt, _positive),
    _unary("rsqrt", lambda x: x.rsqrt(), lambda x: 1 / np.sqrt(x), _positive),
    _unary("square", lambda x: x.square(), np.square, _wide),
    _unary("reciprocal", lambda x: x.reciprocal(), lambda x: 1 / x, _positive),
    _unary("tanh", lambda x: x.tanh(), np.tanh, _wide),
    _unary("sigmoid", lambda x: x.sigmoid(), _sigmoid, _wide),
    _unary("relu", lambda x: x.relu(), lambda x: np.maximum(x, 0), _cornered(0)),
    _unary("leaky_relu", lambda x: elementwise.leaky_relu(x, 0.1), lambda x: np.where(x > 0, x, 0.1 * x), _cornered(0)),
    _unary("elu", lambda x: elementwise.elu(x, 0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), _cornered(0)),
    _unary("gelu", lambda x: elementwise.gelu(x), lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))), _wide),
    _unary("gelu_tanh", lambda x: elementwise.gelu(x, approximate="tanh"),
           lambda x: 0.5 * x * (1 + np.tanh(_GELU_TANH * (x + 0.044715 * x**3))), _wide),
    _unary("silu", lambda x: elementwise.silu(x), lambda x: x * _sigmoid(x), _wide),
    _unary("softplus", lambda x: elementwise.softplus(x, 1.5, 20), lambda x: np.log1p(np.exp(1.5 * x)) / 1.5, _wide),
    _unary("erf", lambda x: x.erf(), _erf, _wide),
    _unary("sign", lambda x: x.sign(), np.sign, _cornered(0)),
    _unary("clamp", lambda x: x.clamp(-1.5, 2), lambda x: np.clip(x, -1.5, 2), _cornered(-1.5, 2)),
    _unary("log1p", lambda x: x.log1p(), np.log1p, _positive),
    _unary("expm1", lambda x: x.expm1(), np.expm1, _wide),
    _unary("sin", lambda x: x.sin(), np.sin, _wide, SOME),
    _unary("cos", lambda x: x.cos(), np.cos, _wide, SOME),
    _unary("tan", lambda x: x.tan(), np.tan, lambda rng, *s: uniform(rng, *s, low=-1.2, high=1.2), SOME),
    _unary("asin", lambda x: x.asin(), np.arcsin, lambda rng, *s: uniform(rng, *s, low=-0.95, high=0.95), SOME),
    _unary("acos", lambda x: x.acos(), np.arccos, lambda rng, *s: uniform(rng, *s, low=-0.95, high=0.95), SOME),
    _unary("atan", lambda x: x.atan(), np.arctan, _wide, SOME),
    _unary("sinh", lambda x: x.sinh(), np.sinh, normal, SOME),
    _unary("cosh", lambda x: x.cosh(), np.cosh, normal, SOME),
    _unary("exp2", lambda x: x.exp2(), np.exp2, _wide, SOME),
    _unary("log2", lambda x: x.log2(), np.log2, _positive, SOME),
    _unary("log10", lambda x: x.log10(), np.log10, _positive, SOME),
    _unary("floor", lambda x: x.floor(), np.floor, _cornered(*range(-15, 16)), SOME),
    _unary("ceil", lambda x: x.ceil(), np.ceil, _cornered(*range(-15, 16)), SOME),
    _unary("trunc", lambda x: x.trunc(), np.trunc, _cornered(*range(-15, 16)), SOME),
    _unary("round", lambda x: x.round(), np.round, _cornered(*(i + 0.5 for i in range(-15, 16))), SOME),
    Case("atan2", lambda y, x: y.atan2(x), np.arctan2, lambda rng, m, n: {"y": normal(rng, m, n), "x": normal(rng, n)},
         [(1, 3), (5, 7), (9, 17)], wrt=("y", "x")),
    _unary("add_scalar", lambda x: x + 2.5, lambda x: x + 2.5, _wide),
    _unary("rsub_scalar", lambda x: 2.5 - x, lambda x: 2.5 - x, _wide),
    _unary("mul_scalar", lambda x: x * -1.5, lambda x: x * -1.5, _wide),
    _unary("div_scalar", lambda x: x / 3, lambda x: x / 3, _wide),
    _unary("rdiv_scalar", lambda x: 2 / x, lambda x: 2 / x, _positive),
    _unary("pow_2", lambda x: x**2, lambda x: x**2, _wide),
    _unary("pow_half", lambda x: x**0.5, lambda x: x**0.5, _positive),
    _unary("pow_3", lambda x: x**3, lambda x: x**3, _wide),
    _unary("pow_scalar", lambda x: x**-1.7, lambda x: x**-1.7, _positive),
    _unary("rpow_scalar", lambda x: 1.7**x, lambda x: 1.7**x, _wide),
]

# two operands: equal shapes, broadcast either way, 0-d, transposed and sliced views
PAIRS = [(0, 3), (1, 1), (3, 16), (3, 17), (5, 33), (70, 1001)]


def _same(rng, n, m):
    return {"a": normal(rng, n, m), "b": uniform(rng, n, m, low=0.5, high=2)}


def _row(rng, n, m):
    return {"a": normal(rng, n, m), "b": uniform(rng, m, low=0.5, high=2)}


def _column(rng, n, m):
    return {"a": normal(rng, n, 1), "b": uniform(rng, n, m, low=0.5, high=2)}


def _outer(rng, n, m):
    return {"a": normal(rng, n, 1, 2), "b": uniform(rng, 1, m, 1, low=0.5, high=2)}


def _zero_dim(rng, n, m):
    return {"a": normal(rng), "b": uniform(rng, n, m, low=0.5, high=2)}


for _kind in (_same, _row, _column, _outer, _zero_dim):
    for _name, _op in {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    }.items():
        CASES.append(Case(_name + _kind.__name__, _op, _op, _kind, PAIRS, wrt=("a", "b"), rtol=1e-5))
    CASES.append(Case("maximum" + _kind.__name__, lambda a, b: fastdl.maximum(a, b), np.maximum, _kind, PAIRS, wrt=("a", "b"), rtol=1e-5))
    CASES.append(Case("minimum" + _kind.__name__, lambda a, b: fastdl.minimum(a, b), np.minimum, _kind, PAIRS, wrt=("a", "b"), rtol=1e-5))

CASES += [
    Case("pow_tensor", lambda a, b: b**a, lambda a, b: b**a, _same, PAIRS, wrt=("a", "b"), rtol=1e-5),
    Case("add_alpha", lambda a, b: fastdl.add(a, b, alpha=0.3), lambda a, b: a + 0.3 * b, _row, PAIRS, wrt=("a", "b"), rtol=1e-5),
    Case("add_transposed", lambda a, b: a.T + b, lambda a, b: a.T + b, lambda rng, n, m: {"a": normal(rng, m, n), "b": normal(rng, n, m)},
         PAIRS, wrt=("a", "b"), rtol=1e-5),
    Case("mul_sliced", lambda a, b: a[:, ::2] * b, lambda a, b: a[:, ::2] * b,
         lambda rng, n, m: {"a": normal(rng, n, 2 * m), "b": normal(rng, n, m)}, PAIRS, wrt=("a", "b"), rtol=1e-5),
    Case("where", lambda c, a, b: fastdl.where(c, a, b), np.where,
         lambda rng, n, m: {"c": rng.random((n, 1)) > 0.5, "a": normal(rng, n, m), "b": normal(rng, m)}, PAIRS, wrt=("a", "b"), rtol=1e-5),
    Case("compare", lambda a, b: (a < b, a <= b, a > b, a >= b, a == b, a != b), lambda a, b: (a < b, a <= b, a > b, a >= b, a == b, a != b),
         lambda rng, n, m: {"a": np.round(normal(rng, n, m)), "b": np.round(normal(rng, m))}, PAIRS),
    Case("compare_int", lambda a, b: (a < b, a == b, a + b, a * 2), lambda a, b: (a < b, a == b, a + b, a * 2),
         lambda rng, n, m: {"a": integers(rng, n, m, below=5), "b": integers(rng, m, below=5)}, PAIRS),
    Case("inplace", lambda a, b: _inplace(a, b), lambda a, b: ((a * 2 + b) * 1.5 - b) / 3, _row, PAIRS, wrt=("a", "b"), rtol=1e-5),
]


def _inplace(a, b):
    x = a * 2
    x += b
    x *= 1.5
    x -= b
    x /= 3
    return x


ERRORS = [
    Error("add shapes", lambda: fastdl.ones(2, 3) + fastdl.ones(2, 4), RuntimeError, r"\[add\].*\(2, 3\).*\(2, 4\).*3 and 4 differ in dimension -1"),
    Error("inplace broadcast", lambda: fastdl.ones(3).add_(fastdl.ones(2, 3)), RuntimeError, r"\[add_\].*\(2, 3\).*\(3,\)"),
    Error("inplace float into int", lambda: fastdl.ones(3, dtype=fastdl.int64).mul_(1.5), RuntimeError, "can't be cast"),
    Error("add string", lambda: fastdl.ones(3) + "x", TypeError, "expected a tensor or a number, got str"),
    Error("leaf in place", lambda: fastdl.ones(3, requires_grad=True).add_(1), RuntimeError, "leaf Variable that requires grad"),
    Error("bool minus bool", lambda: fastdl.tensor([True]) - fastdl.tensor([False]), RuntimeError, "bool tensors is not supported"),
    Error("where not bool", lambda: fastdl.where(fastdl.ones(2), fastdl.ones(2), fastdl.ones(2)), TypeError, "boolean"),
    Error("gelu approximate", lambda: elementwise.gelu(fastdl.ones(2), approximate="x"), RuntimeError, "approximate"),
    Error("clamp nothing", lambda: fastdl.ones(2).clamp(), RuntimeError, "at least one"),
]
