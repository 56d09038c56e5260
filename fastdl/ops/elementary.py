"""Element-wise functions that are seldom used, other names of functions, composed of other operators."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._tensor import Tensor, from_numpy, register_method
from .._types import bool_, float64
from . import elementwise as e
from .common import result_type_of
from .elementwise import div, isnan, log, log1p, logical_and, maximum, minimum, mul, sin, sqrt, where

# other names -----------------------------------------------------------------------------------------------------

ALIASES = {
    "absolute": e.abs, "arccos": e.acos, "arcsin": e.asin, "arctan": e.atan, "arctan2": e.atan2, "clip": e.clamp,
    "divide": e.div, "fix": e.trunc, "greater": e.gt, "greater_equal": e.ge, "less": e.lt, "less_equal": e.le,
    "multiply": e.mul, "negative": e.neg, "not_equal": e.ne, "sgn": e.sign, "subtract": e.sub, "true_divide": e.div,
}  # fmt: skip
absolute, arccos, arcsin, arctan, arctan2, clip, divide, fix, greater, greater_equal, less, less_equal = (
    e.abs, e.acos, e.asin, e.atan, e.atan2, e.clamp, e.div, e.trunc, e.gt, e.ge, e.lt, e.le
)  # fmt: skip
multiply, negative, not_equal, sgn, subtract, true_divide = e.mul, e.neg, e.ne, e.sign, e.sub, e.div


# functions -------------------------------------------------------------------------------------------------------


def _real(op: str, input: Tensor) -> Tensor:
    """Whole numbers in the default type."""
    if not isinstance(input, Tensor):
        raise TypeError(f"[{op}] input: expected a Tensor, got {type(input).__name__}")
    return input if input.is_floating_point() else div(input, 1)


def asinh(input: Tensor) -> Tensor:
    """log(x + sqrt(x^2 + 1)), exact for small x."""
    x = _real("asinh", input)
    a = x.abs()
    small = a < 1e8  # above, x^2 may overflow and the 1 is lost
    near = where(small, a, 1.0)
    grown = log1p(near + near * near / (1 + sqrt(near * near + 1)))
    size = where(small, grown, log(where(small, 1.0, a)) + math.log(2))
    return where(x < 0, -size, size)


def acosh(input: Tensor) -> Tensor:
    """log(x + sqrt(x^2 - 1)); NaN below 1."""
    x = _real("acosh", input)
    less = x - 1
    small = x < 1e8
    near = where(small, less, 1.0)
    return where(small, log1p(near + sqrt(near * (near + 2))), log(where(small, 1.0, x)) + math.log(2))


def atanh(input: Tensor) -> Tensor:
    """log((1 + x) / (1 - x)) / 2."""
    x = _real("atanh", input)
    return 0.5 * (log1p(x) - log1p(-x))


def erfc(input: Tensor) -> Tensor:
    """1 - erf(x), in float64: it is small where x is large."""
    x = _real("erfc", input)
    return (1 - e.erf(x.to(float64))).to(x.dtype)


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), x clamped to [eps, 1 - eps] first unless eps is None."""
    x = _real("logit", input)
    if eps is not None:
        x = x.clamp(eps, 1 - eps)
    return log(x) - log1p(-x)


def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0."""
    x = _real("sinc", input) * math.pi
    zero = x == 0
    x = where(zero, 1.0, x)
    return where(zero, 1.0, sin(x) / x)


def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return input * (math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return input * (180 / math.pi)


def positive(input: Tensor) -> Tensor:
    """The tensor itself.

    Raises: RuntimeError for bools.
    """
    if input.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def float_power(input: Tensor | float, exponent: Tensor | float) -> Tensor:
    """input ** exponent in float64."""
    base = input.to(float64) if isinstance(input, Tensor) else input
    return base ** (exponent.to(float64) if isinstance(exponent, Tensor) else exponent)


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2) without overflow; 0 and its gradient where both are 0."""
    a, b = input.abs(), other.abs()
    top = maximum(a, b).detach()
    top = where(logical_and(top > 0, top < math.inf), top, 1.0)
    square = (a / top) * (a / top) + (b / top) * (b / top)
    zero = square == 0
    return where(zero, 0.0, sqrt(where(zero, 1.0, square)) * top)


def copysign(input: Tensor, other: Tensor | float) -> Tensor:
    """|input| with the sign of other."""
    x = _real("copysign", input)
    sign = signbit(other) if isinstance(other, Tensor) else math.copysign(1.0, other) < 0
    size = where(signbit(x), -x, x)
    if not isinstance(sign, Tensor):
        return -size if sign else size
    return where(sign, -size, size)


def signbit(input: Tensor) -> Tensor:
    """Whether the sign is minus; -0.0 has one."""
    x = input._array
    return from_numpy(np.asarray(np.signbit(x) if x.dtype.kind == "f" else x < 0))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """1 for input > 0, `values` for 0, else 0; not differentiable.

    Raises: RuntimeError for different types.
    """
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    x = input._array
    return from_numpy(np.where(x == 0, values._array, (x > 0).astype(x.dtype)))


def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next floating-point number after input towards other; not differentiable."""
    return from_numpy(np.asarray(np.nextafter(input._array, other._array)))


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The maximum, where one is NaN the other one."""
    return where(isnan(other), input, where(isnan(input), other, maximum(input, other)))


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The minimum, where one is NaN the other one."""
    return where(isnan(other), input, where(isnan(input), other, minimum(input, other)))


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    return mul(input, exp_of_two(other))


def exp_of_two(x: Tensor) -> Tensor:
    """2 ** x; whole numbers in the default type."""
    return e.exp2(_real("ldexp", x))


def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of whole numbers."""
    return _whole("gcd", np.gcd, input, other)


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of whole numbers."""
    return _whole("lcm", np.lcm, input, other)


def bitwise_left_shift(input: Tensor, other: Tensor | int) -> Tensor:
    """input << other, of whole numbers."""
    return _whole("bitwise_left_shift", np.left_shift, input, other)


def bitwise_right_shift(input: Tensor, other: Tensor | int) -> Tensor:
    """input >> other, of whole numbers; the sign stays."""
    return _whole("bitwise_right_shift", np.right_shift, input, other)


def _whole(op: str, function: Callable, input: Tensor, other: Tensor | int) -> Tensor:
    arrays = []
    kind = result_type_of(input, other).numpy
    for x in (input, other):
        if (isinstance(x, Tensor) and x.is_floating_point()) or isinstance(x, float):
            raise RuntimeError(f'"{op}_cpu" not implemented for floating-point numbers')
        arrays.append((x.numpy() if isinstance(x, Tensor) else np.asarray(x)).astype(kind))
    return from_numpy(np.asarray(function(*arrays)))


def isposinf(input: Tensor) -> Tensor:
    """Which elements are +inf."""
    return input == math.inf


def isneginf(input: Tensor) -> Tensor:
    """Which elements are -inf."""
    return input == -math.inf


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex tensors."""
    return from_numpy(np.ones(tuple(input.shape), bool))


# Stirling's series: 1 / (12 z) - 1 / (360 z^3) + ..; from z = 8 on its error is below 1e-16
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def lgamma(input: Tensor) -> Tensor:
    """log(|gamma(x)|), computed in float64: Stirling's series at x + 8, and gamma(1 - x) for x < 0.5."""
    given = _real("lgamma", input)
    x = given.to(float64)
    turned = x < 0.5
    z = where(turned, 1 - x, x)
    steps = z
    for i in range(1, 8):
        steps = steps * (z + i)
    huge = z > 1e30  # its seven steps have no room, and need none
    shifted = where(huge, z, z + 8)
    inverse = 1 / shifted
    series = inverse * 0
    for factor in reversed(_STIRLING):
        series = series * inverse * inverse + factor
    value = (shifted - 0.5) * log(shifted) - shifted + (0.5 * math.log(2 * math.pi)) + series * inverse
    value = where(huge, value, value - log(where(huge, 1.0, steps)))
    wave = sin(math.pi * (x - x.detach().round())).abs()
    reflected = math.log(math.pi) - log(where(turned, wave, 1.0)) - value
    out = where(turned, reflected, value)
    return where(x.isinf(), math.inf, out).to(given.dtype)


FUNCTIONS = (asinh, acosh, atanh, erfc, logit, sinc, deg2rad, rad2deg, positive, float_power, hypot, copysign, signbit,
             heaviside, nextafter, fmax, fmin, ldexp, gcd, lcm, bitwise_left_shift, bitwise_right_shift, isposinf,
             isneginf, isreal, lgamma)  # fmt: skip
arcsinh, arccosh, arctanh = asinh, acosh, atanh

for _function in FUNCTIONS:
    register_method(_function.__name__, _function)
for _name, _alias in {**ALIASES, "arcsinh": asinh, "arccosh": acosh, "arctanh": atanh}.items():
    register_method(_name, _alias)
