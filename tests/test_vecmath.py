"""The functions of csrc/vecmath.h against higher precision: all exponents, dense ranges, special values, all ISAs."""

import math

import numpy as np
import pytest

import fastdl
from fastdl._kernels import isa, isas, set_isa
from fastdl.nn.functional import gelu

ISAS = [name for name, usable in isas() if usable]
TYPES = {"float32": (np.float32, np.float64), "float64": (np.float64, np.longdouble)}


@pytest.fixture(params=ISAS)
def each_isa(request):
    before = isa()
    set_isa(request.param)
    yield request.param
    set_isa(before)


def points(dtype, low, high, seed=0):
    """Every exponent inside [low, high], and the range near 0 densely."""
    rng, info = np.random.default_rng(seed), np.finfo(dtype)
    x = np.ldexp(rng.uniform(1, 2, 20000), rng.integers(info.minexp - info.nmant, info.maxexp, 20000))
    x = np.concatenate([x, rng.uniform(0, 20, 20000), rng.uniform(0, min(high, 800), 20000)]).astype(dtype)
    x = np.concatenate([x, -x])
    return x[(x >= low) & (x <= high)]


def erf(x):  # libm's is within an ulp of double
    return np.array([math.erf(v) for v in x])


def sigmoid(x):
    z = np.exp(-abs(x))
    return np.where(x < 0, z, 1) / (1 + z)


# name: function, reference, range in float32, in float64, ulp (a bit more without FMA)
FUNCTIONS = {
    "exp": (lambda x: x.exp(), np.exp, (-104, 88.7), (-745, 709.7), 1.3),
    "log": (lambda x: x.log(), np.log, (0, np.inf), (0, np.inf), 1.2),
    "log1p": (lambda x: x.log1p(), np.log1p, (-0.999, np.inf), (-0.999, np.inf), 1.7),
    "expm1": (lambda x: x.expm1(), np.expm1, (-np.inf, 88.7), (-np.inf, 709.7), 2.4),
    "tanh": (lambda x: x.tanh(), np.tanh, (-np.inf, np.inf), (-np.inf, np.inf), 2.6),
    "sigmoid": (lambda x: x.sigmoid(), sigmoid, (-103, np.inf), (-744, np.inf), 2.6),
    "erf": (lambda x: x.erf(), erf, (-np.inf, np.inf), (-np.inf, np.inf), 2.5),
    "sin": (lambda x: x.sin(), np.sin, (-np.inf, np.inf), (-np.inf, np.inf), 2.4),
    "cos": (lambda x: x.cos(), np.cos, (-np.inf, np.inf), (-np.inf, np.inf), 2.4),
    "tan": (lambda x: x.tan(), np.tan, (-np.inf, np.inf), (-np.inf, np.inf), 3.8),
    "asin": (lambda x: x.asin(), np.arcsin, (-1, 1), (-1, 1), 2.4),
    "acos": (lambda x: x.acos(), np.arccos, (-1, 1), (-1, 1), 1.2),
    "atan": (lambda x: x.atan(), np.arctan, (-np.inf, np.inf), (-np.inf, np.inf), 1.4),
    "sinh": (lambda x: x.sinh(), np.sinh, (-89.4, 89.4), (-710.4, 710.4), 3.4),
    "cosh": (lambda x: x.cosh(), np.cosh, (-89.4, 89.4), (-710.4, 710.4), 3.4),
    "exp2": (lambda x: x.exp2(), np.exp2, (-150, 127.99), (-1075, 1023.99), 1.3),
    "log2": (lambda x: x.log2(), np.log2, (0, np.inf), (0, np.inf), 2.3),
    "log10": (lambda x: x.log10(), np.log10, (0, np.inf), (0, np.inf), 2.3),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ulp(name, dtype, each_isa):
    function, reference, single, double, bound = FUNCTIONS[name]
    own, higher = TYPES[dtype]
    x = points(own, *(single if own is np.float32 else double))
    found = function(fastdl.tensor(x)).numpy()
    assert found.dtype == own
    with np.errstate(all="ignore"):
        expected = reference(x.astype(higher))
        unit = np.spacing(abs(expected).astype(own)).astype(higher)
    error = abs(found.astype(higher) - expected) / unit
    assert error.max() <= bound, (x[error.argmax()], found[error.argmax()], expected[error.argmax()])


@pytest.mark.parametrize("dtype", TYPES)
def test_gelu(dtype, each_isa):
    own, _ = TYPES[dtype]
    x = points(own, -30, 30)
    cdf = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.astype(np.float64)])
    expected = x.astype(np.float64) * cdf
    found = gelu(fastdl.tensor(x)).numpy().astype(np.float64)
    absolute, relative = (3e-7, 1e-5) if own is np.float32 else (1e-15, 1e-13)
    assert (abs(found - expected) <= absolute * np.maximum(1, abs(x))).all()
    normal = (x < 0) & (abs(expected) > 1e-37)
    assert (abs(found - expected)[normal] <= relative * abs(expected[normal])).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", TYPES)
def test_gelu_far_out(dtype, approximate, each_isa):
    """Wide inputs give no denormals, which would make them slow, and a gradient within its bound."""
    own, _ = TYPES[dtype]
    x = fastdl.tensor(points(own, -60, 60)).requires_grad_()
    y = gelu(x, approximate=approximate)
    y.sum().backward()
    v = x.detach().numpy().astype(np.float64)
    if approximate == "none":
        cdf = np.array([0.5 * math.erfc(-a / math.sqrt(2)) for a in v])
        slope = cdf + v * np.exp(-v * v / 2) / math.sqrt(2 * math.pi)
        assert abs(x.grad.numpy() - slope).max() <= (4e-7 if own is np.float32 else 1e-15)
    for values in (y.detach().numpy(), x.grad.numpy()):
        far = abs(values[abs(v) > 1])
        assert far[far > 0].min() >= np.finfo(own).smallest_normal
    edges = gelu(fastdl.tensor(np.array([np.inf, -np.inf, np.nan, -0.0], own)), approximate=approximate).numpy()
    np.testing.assert_array_equal(edges, np.array([np.inf, 0, np.nan, -0.0], own))


@pytest.mark.parametrize("dtype", TYPES)
def test_special_values(dtype, each_isa):
    own, _ = TYPES[dtype]
    inf, nan, small = np.inf, np.nan, np.finfo(own).smallest_subnormal
    x = fastdl.tensor(np.array([0.0, -0.0, inf, -inf, nan, small, -small], own))
    expected = {
        "exp": [1, 1, inf, 0, nan, 1, 1], "log": [-inf, -inf, inf, nan, nan, np.log(float(small)), nan],
        "log1p": [0.0, -0.0, inf, nan, nan, small, -small], "expm1": [0.0, -0.0, inf, -1, nan, small, -small],
        "tanh": [0.0, -0.0, 1, -1, nan, small, -small], "sigmoid": [0.5, 0.5, 1, 0, nan, 0.5, 0.5],
        "sin": [0.0, -0.0, nan, nan, nan, small, -small], "cos": [1, 1, nan, nan, nan, 1, 1],
        "tan": [0.0, -0.0, nan, nan, nan, small, -small], "asin": [0.0, -0.0, nan, nan, nan, small, -small],
        "atan": [0.0, -0.0, np.pi / 2, -np.pi / 2, nan, small, -small],
        "sinh": [0.0, -0.0, inf, -inf, nan, small, -small], "cosh": [1, 1, inf, inf, nan, 1, 1],
        "exp2": [1, 1, inf, 0, nan, 1, 1], "log2": [-inf, -inf, inf, nan, nan, np.log2(float(small)), nan],
        "log10": [-inf, -inf, inf, nan, nan, np.log10(float(small)), nan],
    }
    for name, values in expected.items():
        found = FUNCTIONS[name][0](x).numpy()
        np.testing.assert_array_equal(found, np.array(values, own), err_msg=name)
        zeros = found == 0
        np.testing.assert_array_equal(np.signbit(found)[zeros], np.signbit(np.array(values, own))[zeros], err_msg=name)


@pytest.mark.parametrize("dtype", TYPES)
def test_rounding(dtype, each_isa):
    own, _ = TYPES[dtype]
    halves = np.arange(-9, 10) / 2
    x = np.concatenate([points(own, -np.inf, np.inf), halves, halves * (1 + 1e-6), [np.nan, np.inf, -np.inf]])
    x = x.astype(own)
    for name, reference in {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "round": np.round}.items():
        found, expected = getattr(fastdl.tensor(x), name)().numpy(), reference(x)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


@pytest.mark.parametrize("dtype", TYPES)
def test_atan2(dtype, each_isa):
    own, higher = TYPES[dtype]
    edges = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30, 0.5, -3], own)
    rng = np.random.default_rng(0)
    y, x = [np.concatenate([v.ravel(), rng.normal(size=20000).astype(own)]) for v in np.meshgrid(edges, edges)]
    found = fastdl.atan2(fastdl.tensor(y), fastdl.tensor(x)).numpy()
    expected = np.arctan2(y.astype(higher), x.astype(higher))
    unit = np.spacing(abs(expected).astype(own)).astype(higher)
    np.testing.assert_array_less((abs(found - expected) / unit)[~np.isnan(expected)], 2.6)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.signbit(found[expected == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.parametrize("dtype", TYPES)
def test_pow(dtype, each_isa):
    own, _ = TYPES[dtype]
    info = np.finfo(own)
    edges = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, -2, 0.5, -0.5, 3, -3, 1.5, -1.5, 4194304.5,
                      2.0**23 + 1, 2.0**24 + 2, info.tiny, info.smallest_subnormal, info.max, -info.max], own)
    a, b = [np.ascontiguousarray(v.ravel()) for v in np.meshgrid(edges, edges)]
    with np.errstate(all="ignore"):
        expected = np.power(a, b)
    found = (fastdl.tensor(a) ** fastdl.tensor(b)).numpy()
    rtol = {"float32": 3e-7, "float64": 1e-14}[dtype]
    if each_isa == "base":  # without FMA y log x is rounded
        rtol = {"float32": 3e-5, "float64": 3e-13}[dtype]
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=0)
    exact = (expected == 0) | np.isinf(expected)
    np.testing.assert_array_equal(np.signbit(found)[exact], np.signbit(expected)[exact])
    rng = np.random.default_rng(0)
    x, y = np.exp(rng.normal(0, 3, 20000)).astype(own), rng.normal(0, 8, 20000).astype(own)
    wide = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    inside = (wide > info.tiny) & (wide < info.max)
    found = (fastdl.tensor(x) ** fastdl.tensor(y)).numpy()
    np.testing.assert_allclose(found[inside], wide[inside].astype(own), rtol=rtol)


@pytest.mark.parametrize("dtype", TYPES)
def test_isas_give_the_same_bits(dtype):
    own, _ = TYPES[dtype]
    before, found = isa(), {}
    x = fastdl.tensor(points(own, -np.inf, np.inf))
    try:
        for name in [name for name in ISAS if name != "base"]:
            set_isa(name)
            results = [f[0](x) for f in FUNCTIONS.values()] + [gelu(x), abs(x) ** (x * 0.1), fastdl.atan2(x, x.flip(0))]
            found[name] = [r.numpy() for r in results]
    finally:
        set_isa(before)
    results = list(found.values())
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_tails_stay_inside(dtype, each_isa):
    """Every size from 0 to 130 inside a buffer: the same values as in full vectors, nothing written around them."""
    source = np.random.default_rng(4).uniform(0.5, 2, 200).astype(dtype)
    for function in ("exp_", "log_", "tanh_", "sigmoid_", "sqrt_"):
        whole = getattr(fastdl.tensor(source), function)().numpy()
        for n in range(131):
            buffer = fastdl.tensor(source)
            getattr(buffer[17:17 + n], function)()
            got = buffer.numpy()
            np.testing.assert_array_equal(got[17:17 + n], whole[17:17 + n])
            np.testing.assert_array_equal(got[:17], source[:17])
            np.testing.assert_array_equal(got[17 + n:], source[17 + n:])
