"""Coefficients of csrc/vecmath.h and vecmath_trig.h: Chebyshev interpolation in 60-digit arithmetic, rounded to each type, lowest power
first.

Run as `python csrc/vecmath_fit.py` (needs mpmath, nothing else of fastdl needs it); prints the tables of the headers.
Interpolation at Chebyshev nodes stays within a factor of two of the minimax error, which here is below a tenth of an
ulp.
"""

import mpmath as mp

mp.mp.dps = 60


def fit(f, lo, hi, degree):
    """Power-basis coefficients of the polynomial through f at the Chebyshev nodes of [lo, hi]."""
    n = degree + 1
    nodes = [(lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    rows = mp.matrix(n, n)
    for i, x in enumerate(nodes):
        for j in range(n):
            rows[i, j] = x**j
    return list(mp.lu_solve(rows, mp.matrix([f(x) for x in nodes])))


def exp_tail(r):  # exp(r) = 1 + r + r^2 * this
    return mp.mpf(1) / 2 if abs(r) < 1e-20 else (mp.expm1(r) - r) / r**2


def log_tail(f):  # log(1 + f) = f + f^2 * this
    return mp.mpf(-1) / 2 if abs(f) < 1e-20 else (mp.log1p(f) - f) / f**2


def atanh_tail(z):  # 2 atanh(s) = 2 s + s z * this, z = s^2
    if abs(z) < 1e-20:
        return mp.mpf(2) / 3
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def atanh_tail2(z):  # 2 atanh(s) = 2 s + 2/3 s z + s z^2 * this
    if abs(z) < 1e-20:
        return mp.mpf(2) / 5
    return (atanh_tail(z) - mp.mpf(2) / 3) / z


def erf_small(z):  # erf(x) = x + x * this, z = x^2
    if abs(z) < 1e-20:
        return 2 / mp.sqrt(mp.pi) - 1
    x = mp.sqrt(z)
    return mp.erf(x) / x - 1


def erfc_scaled(c):  # erfc(a) exp(a^2) = this(t) / (a + c), t = 1 - 2c / (a + c)
    def f(t):
        if t >= 1:
            return 1 / mp.sqrt(mp.pi)
        a = 2 * c / (1 - t) - c
        return (a + c) * (mp.exp(a * a) * mp.erfc(a) if a < 20 else
                          sum((-1) ** k * mp.fac2(2 * k - 1) / (2 * a * a) ** k for k in range(12)) / a / mp.sqrt(mp.pi))
    return f


def sin_quarter(z):  # sin(pi f / 2) = f * this, z = f^2
    f = mp.sqrt(z)
    return mp.pi / 2 if f < 1e-20 else mp.sin(mp.pi * f / 2) / f


def cos_quarter(z):  # cos(pi f / 2) = 1 + z * this, z = f^2
    return -(mp.pi**2) / 8 if z < 1e-20 else (mp.cos(mp.pi * mp.sqrt(z) / 2) - 1) / z


def sin_tail(z):  # sin(r) = r + r z * this, z = r^2
    r = mp.sqrt(z)
    return mp.mpf(-1) / 6 if z < 1e-20 else (mp.sin(r) - r) / (r * z)


def cos_tail(z):  # cos(r) = 1 - z / 2 + z^2 * this
    return mp.mpf(1) / 24 if z < 1e-20 else (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def atan_tail(z):  # atan(t) = t + t z * this, z = t^2
    t = mp.sqrt(z)
    return mp.mpf(-1) / 3 if z < 1e-20 else (mp.atan(t) - t) / (t * z)


def asin_tail(z):  # asin(t) = t + t z * this
    t = mp.sqrt(z)
    return mp.mpf(1) / 6 if z < 1e-20 else (mp.asin(t) - t) / (t * z)


def worst(f, c, lo, hi):
    return max(abs(mp.polyval(c[::-1], x) / f(x) - 1) for x in mp.linspace(lo, hi, 201))


LN2_2 = mp.log(2) / 2 * mp.mpf("1.0001")
THIRD = mp.mpf(1) / 3 * mp.mpf("1.0001")
Z = mp.mpf("0.0401")
EIGHTH = (mp.pi / 4 * mp.mpf("1.02")) ** 2
TABLES = [  # name, function, interval, degree for float, for double
    ("EXP", exp_tail, -LN2_2, LN2_2, 4, 9),
    ("LOG", log_tail, -THIRD, THIRD, 9, None),
    ("ATANH", atanh_tail, mp.mpf(0), Z, None, 7),
    ("POW", atanh_tail2, mp.mpf(0), Z, 3, 7),
    ("ERF", erf_small, mp.mpf(0), mp.mpf("0.9"), 5, 12),
    ("SIN", sin_quarter, mp.mpf(0), mp.mpf("0.25"), 3, 7),
    ("COS", cos_quarter, mp.mpf(0), mp.mpf("0.25"), 3, 6),
    ("SIN_TAIL", sin_tail, mp.mpf(0), EIGHTH, 3, 6),
    ("COS_TAIL", cos_tail, mp.mpf(0), EIGHTH, 2, 5),
    ("ATAN_TAIL", atan_tail, mp.mpf(0), mp.mpf(1), 9, 20),
    ("ASIN_TAIL", asin_tail, mp.mpf(0), mp.mpf("0.2501"), 5, 12),
    ("ERFC", (erfc_scaled(mp.mpf(5) / 2), erfc_scaled(4)), mp.mpf(-1), mp.mpf(1), 10, 22),
]
if __name__ == "__main__":
    for kind, column in (("float", 4), ("double", 5)):
        print(f"/* {kind} */")
        for row in TABLES:
            name, f, lo, hi = row[:4]
            if row[column] is None:
                continue
            f = f[column - 4] if isinstance(f, tuple) else f
            c = fit(f, lo, hi, row[column])
            print(f"/* fit: {mp.nstr(worst(f, c, lo, hi), 2)} relative */")
            digits = 9 if kind == "float" else 17
            print(f"static const real {name}{'' if name.endswith('TAIL') else '_C'}[] = {{" + ", ".join(mp.nstr(x, digits, min_fixed=0, max_fixed=0) for x in c) + "};")
