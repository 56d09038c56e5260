/* vecmath.h: exp, log, tanh and their kin for vectors, in both types, built of +, -, *, /, FMA and integer work on
 * the bits, so that AVX2, AVX-512 and NEON agree bit for bit. No libm, no approximate reciprocals.
 *
 *   function          largest error found, in ulp unless said otherwise (float; double; a bit more without FMA)
 *   v_exp             1; 1        inf from 88.73 (709.79) on, through the denormals to 0
 *   v_expm1           1.6; 2.2    -0 stays -0, as in the other odd ones
 *   v_log, v_log1p    1.5; 1.6    log(0) = -inf, log(negative) = NaN; denormal arguments count fully
 *   v_tanh            2.5; 2.4
 *   v_sigmoid         2.5; 2.3    relative, also down to the denormals for x << 0
 *   v_erf             1.7; 1.4
 *   v_gelu            1.2e-7; 2e-16 times max(1, |x|), and relative 5e-6 (5e-14) down the negative tail while x is above
 *                     -13 (-37), 0 further down; _grad: 3e-7; 6e-16 absolute, 0 below -11.6 (-36.1)
 *   v_gelu_tanh       1.5e-7; 3e-16 and 1.2e-5 (1e-13) in the same sense, 0 where the sigmoid would be denormal; _grad:
 *                     3e-7; 6e-16 absolute
 *   v_pow             1.1; 1.1    special cases as C99's; without FMA the error grows with |y log x|, to 2e-5
 *
 * tests/test_vecmath.py holds the bounds, tests/csrc/every_float.c those of float for every argument. NaN in gives NaN out: clamps are comparisons that are false for NaN.
 * The polynomials are our own, made by vecmath_fit.py: interpolation at Chebyshev nodes in 60-digit arithmetic,
 * coefficients rounded to the type, lowest power first. What each table fits stands at its use. */
#ifndef FDL_VECMATH_H
#define FDL_VECMATH_H
#include "vec.h"

#ifdef FDL_F64
static const real EXP_C[] = {5.000000000000001e-1, 1.6666666666666667e-1, 4.1666666666624128e-2,
    8.3333333333300618e-3, 1.3888888917213717e-3, 1.9841269863053617e-4, 2.4801521295954375e-5, 2.7557268459997065e-6,
    2.7620088445409748e-7, 2.5100385495510319e-8};
static const real ATANH_C[] = {6.6666666666666664e-1, 4.0000000000007941e-1, 2.8571428567275935e-1,
    2.2222223048351588e-1, 1.8181737626302937e-1, 1.5388867805613717e-1, 1.3209708242059463e-1,
    1.3609030262858499e-1};
static const real POW_C[] = {3.9999999999999998e-1, 2.8571428571435766e-1, 2.2222222218460066e-1,
    1.818181893024613e-1, 1.5384542408802129e-1, 1.3337185364142078e-1, 1.1652734508665301e-1, 1.219635756978303e-1};
static const real ERF_C[] = {1.2837916709551257e-1, -3.7612638903183751e-1, 1.1283791670955045e-1,
    -2.6866170645111447e-2, 5.2239776251900475e-3, -8.5483270043304669e-4, 1.2055332050048154e-4,
    -1.492561988537055e-5, 1.6461430548949832e-6, -1.635526736603724e-7, 1.4695927304472006e-8,
    -1.1524218465284329e-9, 6.2342081641728429e-11};
static const real ERFC_C[] = {1.0959956610004911, -9.7654872908088244e-1, 7.7320870226523603e-1,
    -5.4085383131319652e-1, 3.3085158787810339e-1, -1.7401093724091569e-1, 7.6381514907008638e-2,
    -2.6370053328949944e-2, 6.1120556821152046e-3, -2.8095893719456089e-4, -4.5505284950489333e-4,
    1.7681308475719694e-4, -3.634558037436349e-6, -1.8861481777975757e-5, 4.6930437993166758e-6,
    1.4249572803838409e-6, -8.4444151385133519e-7, -7.5977608749053605e-8, 1.2311607422559985e-7,
    8.2764876135885735e-10, -1.5522062791617072e-8, 2.6471770050008582e-10, 1.2521692282126562e-9};
static const real SIN_C[] = {1.5707963267948966, -6.4596409750624625e-1, 7.9692626246166924e-2,
    -4.6817541353148271e-3, 1.604411847266723e-4, -3.5988427171448578e-6, 5.6919278504896334e-8,
    -6.6276249389924724e-10};
static const real COS_C[] = {-1.2337005501361698, 2.5366950790104782e-1, -2.0863480763340773e-2,
    9.1926027454684462e-4, -2.5202039028029176e-5, 4.7106784055052271e-7, -6.3293963449674235e-9};
#else
static const real EXP_C[] = {5.0e-1f, 1.6666577e-1f, 4.16665546e-2f, 8.36317905e-3f, 1.39261836e-3f};
static const real LOG_C[] = {-5.00000004e-1f, 3.33333337e-1f, -2.49998412e-1f, 1.9999853e-1f, -1.6677981e-1f,
    1.42961858e-1f, -1.22212352e-1f, 1.08531731e-1f, -1.27269288e-1f, 1.16127572e-1f};
static const real POW_C[] = {3.99999997e-1f, 2.85716944e-1f, 2.21892711e-1f, 1.94771907e-1f};
static const real ERF_C[] = {1.28379145e-1f, -3.76124583e-1f, 1.12814316e-1f, -2.67523577e-2f, 4.97201587e-3f,
    -5.88249569e-4f};
static const real ERFC_C[] = {1.05403182f, -8.04651934e-1f, 4.5391425e-1f, -1.71249419e-1f, 2.83588671e-2f,
    8.38288822e-3f, -4.80345511e-3f, -4.136038e-4f, 6.66220795e-4f, 2.68655916e-5f, -7.29214563e-5f};
static const real SIN_C[] = {1.57079632f, -6.45963478e-1f, 7.96802176e-2f, -4.60214921e-3f};
static const real COS_C[] = {-1.23370055f, 2.5366941e-1f, -2.08615283e-2f, 9.06739898e-4f};
#endif
#ifdef FDL_F64
typedef uint64_t ureal;
#define MANT_BITS 52
#define EXP_BIAS 1023
#define ROUND_MAGIC 0x1.8p52   /* x + magic - magic rounds |x| < 2^51 to an integer, also kept in the low bits */
#define MIN_NORMAL 0x1p-1022
#define EXP_HIGH 710.0         /* exp is inf from here on, 0 below EXP_LOW */
#define EXP_LOW -746.0
#define EXP_LOW_NORMAL -708.0 /* exp is a normal number above */
#define EXP_LOW_GRADIENT -600.0
#define LN2_HI 0x1.62e42fefa38p-1 /* 11 zero bits at the end: n * LN2_HI is exact */
#define LN2_LO 0x1.ef35793c76730p-45
#define ERF_SWITCH 0.9
#define GELU_SHIFT 3           /* see v_normal_tail: from the end on the exponent rounds to EXP_BIAS - shift */
#define GELU_END -37.6
#define GELU_GRAD_SHIFT 83     /* gradients down to 1e-24 have normal products with gelu' */
#define GELU_GRAD_END -36.095
#define ERFC_C0 4.0            /* erfc(a) exp(a^2) = ERFC_C(t) / (a + C0), t = 1 - 2 C0 / (a + C0) */
#else
typedef uint32_t ureal;
#define MANT_BITS 23
#define EXP_BIAS 127
#define ROUND_MAGIC 0x1.8p23f
#define MIN_NORMAL 0x1p-126f
#define EXP_HIGH 89.0f
#define EXP_LOW -104.5f
#define EXP_LOW_NORMAL -87.0f
#define EXP_LOW_GRADIENT -60.0f
#define LN2_HI 0x1.62e4p-1f
#define LN2_LO 0x1.7f7d1cp-20f
#define ERF_SWITCH 0.9f
#define GELU_SHIFT 3
#define GELU_END -13.1f
#define GELU_GRAD_SHIFT 30
#define GELU_GRAD_END -11.584f
#define ERFC_C0 2.5f
#endif
typedef ureal vu __attribute__((vector_size(VB)));

#define V(x) v_set1((real)(x))

INLINE vf v_copysign(vf magnitude, vf sign) {
    vi bit = (vi)V(-0.0);
    return (vf)(((vi)magnitude & ~bit) | ((vi)sign & bit));
}
/* a polynomial by Horner's rule, c lowest power first */
INLINE vf v_poly(vf x, const real *c, int count) {
    vf y = v_set1(c[count - 1]);
    UNROLL for (int i = count - 2; i >= 0; i--) y = v_fma(y, x, v_set1(c[i]));
    return y;
}
#define V_POLY(x, table) v_poly(x, table, sizeof table / sizeof *table)

INLINE vf v_round(vf x) { return (x + V(ROUND_MAGIC)) - V(ROUND_MAGIC); } /* |x| small; half to even */

/* bits of an integer-valued x as an integer, |x| < 2^22 (2^51) */
INLINE vi v_to_int(vf x) { return (vi)((vu)(x + V(ROUND_MAGIC)) - (vu)V(ROUND_MAGIC)); }
INLINE vf v_from_int(vi n) { return (vf)((vu)n + (vu)V(ROUND_MAGIC)) - V(ROUND_MAGIC); }

/* 2^n for integers n in the normal range */
INLINE vf v_pow2(vi n) { return (vf)((vu)(n + EXP_BIAS) << MANT_BITS); }

/* x 2^n, rounded once, for |x| in [0.5, 2] and integer-valued n down to twice the smallest exponent */
INLINE vf v_ldexp(vf x, vf n) {
#if defined(HAS_SCALE)
    return v_scale(x, n);
#else
    vf half = v_round(n * V(0.5)); /* the first product is exact, so the result has one rounding like v_scale's */
    return x * v_pow2(v_to_int(half)) * v_pow2(v_to_int(n - half));
#endif
}

/* x = n ln2 + r, |r| <= ln2 / 2 */
INLINE vf v_reduce_ln2(vf x, vf *n) {
    vf t = v_fma(x, V(1.44269504088896340736), V(ROUND_MAGIC));
    *n = t - V(ROUND_MAGIC);
    vf r = v_fma(*n, V(-LN2_HI), x);
    return v_fma(*n, V(-LN2_LO), r);
}

/* exp(x + lo) for a small correction lo. EXP_C: (exp(r) - 1 - r) / r^2 on |r| <= ln2 / 2 */
INLINE vf v_exp_lo(vf x, vf lo) {
    x = v_at_most(v_at_least(x, V(EXP_LOW)), V(EXP_HIGH));
    vf n, r = v_reduce_ln2(x, &n) + lo;
    vf y = v_fma(v_fma(V_POLY(r, EXP_C), r, V(1)), r, V(1));
    return v_ldexp(y, n);
}
INLINE vf v_exp(vf x) {
    x = v_at_most(v_at_least(x, V(EXP_LOW)), V(EXP_HIGH));
    vf n, r = v_reduce_ln2(x, &n);
    vf y = v_fma(v_fma(V_POLY(r, EXP_C), r, V(1)), r, V(1));
    return v_ldexp(y, n);
}

/* exp(x) for x <= 0, the case of softmax: half the work of v_exp. 0 for x < low, at least EXP_LOW_NORMAL. The exponent
 * comes out of the low bits of the rounding trick; NaN stays NaN through the product. */
INLINE vf v_exp_above(vf x, real low) {
    vf magic = V(ROUND_MAGIC + EXP_BIAS), t = v_fma(x, V(1.44269504088896340736), magic), n = t - magic;
    vf r = v_fma(n, V(-LN2_LO), v_fma(n, V(-LN2_HI), x));
    vf y = v_fma(v_fma(V_POLY(r, EXP_C), r, V(1)), r, V(1));
    vf power = (vf)((vu)t << MANT_BITS);
    return (vf)(~(x < V(low)) & (vi)(y * power));
}
INLINE vf v_exp_nonpositive(vf x) { return v_exp_above(x, EXP_LOW_NORMAL); } /* what would be denormal is 0 */
/* The same where it becomes a gradient: 0 below 9e-27 (1e-261), so that products with it are normal numbers. */
INLINE vf v_exp_gradient(vf x) { return v_exp_above(x, EXP_LOW_GRADIENT); }

/* exp(x) - 1 where 2^n stays normal: |x| up to 87 (708) */
INLINE vf v_expm1_bounded(vf x) {
    vf magic = V(ROUND_MAGIC + EXP_BIAS), t = v_fma(x, V(1.44269504088896340736), magic), n = t - magic;
    vf r = v_fma(n, V(-LN2_LO), v_fma(n, V(-LN2_HI), x));
    vf q = v_fma(r * r, V_POLY(r, EXP_C), r), scale = (vf)((vu)t << MANT_BITS);
    return v_fma(scale, q, scale - V(1));
}
INLINE vf v_expm1(vf x) {
    vf low = V(-40), half = V(EXP_HIGH); /* exp(-40) is far below an ulp of 1, in both types */
    vf y = v_sel(x > half, half, v_sel(x < low, low, x));
    vf n, r = v_reduce_ln2(y, &n);
    vf q = v_fma(r * r, V_POLY(r, EXP_C), r), scale = v_pow2(v_to_int(n - V(1)));
    y = v_fma(scale, q, scale - V(0.5)); /* half the result: 2^n would overflow at the upper end */
    y = y + y;
    return v_sel(v_abs(x) < V(0x1p-60), x, y);
}

/* d / (d + 2), d = exp(2|x|) - 1: no cancellation anywhere; 1 in both types from |x| = 20 on */
INLINE vf v_tanh(vf x) {
    vf a = v_at_most(v_abs(x), V(20));
    vf d = v_expm1_bounded(a + a);
    return v_copysign(d / (d + V(2)), x);
}

/* z = exp(-|x|): 1 / (1 + z) for x >= 0, z / (1 + z) for x < 0 */
INLINE vf v_sigmoid(vf x) {
    vf z = v_exp(-v_abs(x));
    return v_sel(x < v_zero(), z, V(1)) / (V(1) + z);
}

/* the same as 1 / (1 + exp(-x)) for the gates of recurrent nets: x counts as -87 (-708) below that. Two thirds of the work. */
INLINE vf v_gate(vf x) {
    x = v_at_most(v_at_least(x, V(EXP_LOW_NORMAL)), V(-EXP_LOW_NORMAL));
    vf magic = V(ROUND_MAGIC + EXP_BIAS), t = v_fma(x, V(-1.44269504088896340736), magic), n = t - magic;
    vf r = v_fma(n, V(-LN2_LO), v_fma(n, V(-LN2_HI), -x));
    vf y = v_fma(v_fma(V_POLY(r, EXP_C), r, V(1)), r, V(1));
    return V(1) / v_fma(y, (vf)((vu)t << MANT_BITS), V(1));
}

/* x = 2^k m, m in [2/3, 4/3) for normal positive x; returns m */
INLINE vf v_split(vf x, vf *k) {
    const ireal from_two_thirds = ((ireal)1 << MANT_BITS) / 3 * 2; /* bits of 1 less those of 2/3 */
    vu steps = ((vu)x + (ureal)from_two_thirds) >> MANT_BITS;       /* k + EXP_BIAS */
    vi e = (vi)steps - EXP_BIAS;
    *k = v_from_int(e);
    return (vf)((vu)x - ((vu)e << MANT_BITS));
}
/* k ln2 + log(1 + f), f in [-1/3, 1/3] */
INLINE vf v_log_sum(vf k, vf f) {
#ifdef FDL_F64 /* ATANH_C: (2 atanh(s) / s - 2) / s^2 for log(1 + f) = 2 atanh(f / (2 + f)) = f - (h - s (h + z R)) */
    vf s = f / (f + V(2)), z = s * s, half = V(0.5) * f * f;
    vf tail = half - s * v_fma(z, V_POLY(z, ATANH_C), half);
    return v_fma(k, V(LN2_HI), f - (tail - k * V(LN2_LO)));
#else /* LOG_C: (log(1 + f) - f) / f^2 */
    vf y = v_fma(f * f, V_POLY(f, LOG_C), f);
    return v_fma(k, V(0.693147180559945309), y);
#endif
}
/* values outside (0, inf) of a function with log's shape */
INLINE vf v_log_edges(vf x, vf y) {
    y = v_sel(x == v_zero(), V(-INFINITY), y);
    return v_sel((x > v_zero()) | (x == v_zero()), v_sel(x == V(INFINITY), x, y), V(NAN));
}
INLINE vf v_log(vf x) {
    vi tiny = x < V(MIN_NORMAL);
    vf k, m = v_split(v_sel(tiny, x * V((ureal)1 << (MANT_BITS + 1)), x), &k);
    k = v_sel(tiny, k - V(MANT_BITS + 1), k);
    return v_log_edges(x, v_log_sum(k, m - V(1)));
}
/* u = 1 + x, and c what that rounds off: f takes c back in before the polynomial */
INLINE vf v_log1p(vf x) {
    vf u = V(1) + x, big = u - V(1), c = (V(1) - (u - big)) + (x - big);
    vf k, m = v_split(u, &k), step = v_sel(k > V(60), V(60), k); /* beyond 2^60 c no longer counts */
    vf y = v_log_edges(u, v_log_sum(k, v_fma(c, v_pow2(v_to_int(-step)), m - V(1))));
    return v_sel(v_abs(x) < V(0x1p-60), x, y);
}

/* erfc(a) exp(a^2) from 1 / (a + C0), a >= 0 */
INLINE vf v_erfc_scaled(vf inv) {
    vf t = v_fma(inv, V(-2 * ERFC_C0), V(1));
    return inv * V_POLY(t, ERFC_C);
}
/* ERF_C: erf(x) / x - 1 as a polynomial in x^2 up to ERF_SWITCH, then 1 - erfc */
INLINE vf v_erf(vf x) {
    vf a = v_abs(x), z = x * x;
    vf small = v_fma(x, V_POLY(z, ERF_C), x);
    vf tail = v_erfc_scaled(V(1) / (a + V(ERFC_C0))) * v_exp_above(-z, -40); /* 1 - tail is 1 below, in both types */
    return v_sel(a < V(ERF_SWITCH), small, v_copysign(V(1) - tail, x));
}

#define V_UNIT(shift) __builtin_ldexp(1, shift)
/* With Phi the normal distribution: exp(-x^2 / 2) = y 2^shift power, Phi(-|x|) = r y power. Returns -|x|, no less than
 * `end`, where power is 0. A denormal costs as much as ten vectors: `shift` is large enough that products with `power`
 * are normal or 0. v_top takes its second operand where one is NaN. */
INLINE vf v_normal_tail(vf x, real end, const int shift, vf *r, vf *y, vf *power) {
    const real root2 = (real)1.41421356237309504880, unit = (real)V_UNIT(shift);
    const int count = sizeof EXP_C / sizeof *EXP_C;
    vf a = v_top(V(end), (vf)((vi)x | (vi)V(-0.0))), square = a * a; /* twice the exponent, and so is d */
    vf magic = V(ROUND_MAGIC + EXP_BIAS - shift), t = v_fma(square, V(-0.72134752044448170368), magic), n = t - magic;
#if defined(HAS_FMA) && !defined(FDL_F64) /* an error of 2e-7, where the square's is 5e-6 */
    vf d = v_fma(n, V(-1.38629436111989061883), -square);
#else
    vf d = v_fma(n, V(-2 * LN2_LO), v_fma(n, V(-2 * LN2_HI), -square));
#endif
    vf p = V(EXP_C[count - 1] / (2 << count));
    UNROLL for (int i = count - 2; i >= 0; i--) p = v_fma(p, d, V(EXP_C[i] / (4 << i)));
    *y = v_fma(v_fma(p, d, V(0.5)), d, V(1));
    *power = (vf)((vu)t << MANT_BITS);
    vf inv = V(unit * root2 / 2) / (V(ERFC_C0 * root2) - a);
    *r = inv * V_POLY(v_fma(inv, V(-4 * ERFC_C0 / unit), V(1)), ERFC_C); /* v_erfc_scaled, halved */
    return a;
}
/* x Phi(x) = max(x, 0) - |x| Phi(-|x|): keeps the negative tail, where 0.5 x (1 + erf) cancels */
INLINE vf v_gelu(vf x) {
    vf r, y, power, a = v_normal_tail(x, GELU_END, GELU_SHIFT, &r, &y, &power);
    return v_fma(a * r * y, power, v_top(v_zero(), x));
}
/* gelu'(x) = Phi(x) + x phi(x) = 1 + t, with the sign: -t, with t = |x| phi(x) - Phi(-|x|) */
INLINE vf v_gelu_grad(vf x) {
    vf r, y, power, a = v_normal_tail(x, GELU_GRAD_END, GELU_GRAD_SHIFT, &r, &y, &power);
    vf t = v_fma(a, V(-0.398942280401432677940 * V_UNIT(GELU_GRAD_SHIFT)), -r) * y;
    vi sign = (vi)x & (vi)V(-0.0);
    return v_fma(t, (vf)((vi)power ^ sign), v_sel(sign != 0, v_zero(), V(1)));
}

/* 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
INLINE vf v_gelu_tanh(vf x) {
    vf c = v_sel(x < V(-30), V(-30), x); /* exactly 0 from here on */
    vf u2 = V(1.59576912160573071176) * v_fma(V(0.044715) * c * c, c, c);
    vf z = v_exp_nonpositive(-v_abs(u2)); /* as v_sigmoid, without denormals */
    return c * (v_sel(u2 < v_zero(), z, V(1)) / (V(1) + z));
}
/* s + x s (1 - s) (2u)', s = sigmoid(2u) */
INLINE vf v_gelu_tanh_grad(vf x) {
    vf c = v_sel(x < V(-30), V(-30), v_sel(x > V(30), V(30), x)), c2 = c * c;
    vf u2 = V(1.59576912160573071176) * v_fma(V(0.044715) * c2, c, c);
    vf slope = V(1.59576912160573071176) * v_fma(V(3 * 0.044715), c2, V(1));
    vf z = v_exp_nonpositive(-v_abs(u2)), inv = V(1) / (V(1) + z); /* s and 1 - s are inv and z inv, or the other way round */
    return v_fma(c * slope, z * inv * inv, v_sel(u2 < v_zero(), z, V(1)) * inv);
}

/* sine and cosine of u turns, u in [0, 1]. SIN_C, COS_C: sin(pi f / 2) / f and (cos(pi f / 2) - 1) / f^2 as
 * polynomials in f^2, |f| <= 1/2 of a quarter turn; u has few enough bits that f is exact */
INLINE void v_sincos_turn(vf u, vf *sine, vf *cosine) {
    vf quarters = u * V(4), k = v_round(quarters), f = quarters - k, z = f * f;
    vf s = f * V_POLY(z, SIN_C), c = v_fma(z, V_POLY(z, COS_C), V(1));
    vi n = v_to_int(k), swap = -(n & 1);
    vi sign = (vi)V(-0.0), sine_sign = ((n & 2) != 0) & sign, cosine_sign = (((n + 1) & 2) != 0) & sign;
    *sine = (vf)((vi)v_sel(swap, c, s) ^ sine_sign);
    *cosine = (vf)((vi)v_sel(swap, s, c) ^ cosine_sign);
}

/* log(x) as the sum hi + lo, for normal x > 0: twice the precision, for pow.
 * log(m) = 2 s + (2/3) s^3 + s^5 POW_C(s^2), s = f / (2 + f); s and its cube carry their rounding errors along. */
INLINE vf v_log_pair(vf x, vf k0, vf *lo) {
    vf k, m = v_split(x, &k), f = m - V(1), d = m + V(1);
    k = k + k0;
    vf d_lo = (V(1) - d) + m;
    vf s = f / d, s_lo = v_fma(-s, d_lo, v_fma(-s, d, f)) / d;
    vf z = s * s, z_lo = v_fma(s, s, -z) + V(2) * s * s_lo;
    const real third2 = (real)(2.0 / 3); /* and what it lacks: */
    const real third2_lo = (real)((sizeof(real) == 8 ? 0x1p-53 : -0x1p-24) / 3);
    vf p = z * V(third2);
    vf p_lo = v_fma(z, V(third2), -p) + v_fma(z, V(third2_lo), z_lo * V(third2)) + z * z * V_POLY(z, POW_C);
    vf g = V(2) + p, g_lo = (V(2) - g) + p + p_lo; /* log(m) = s g */
    vf y = s * g, y_lo = v_fma(s, g, -y) + v_fma(s, g_lo, s_lo * g);
    vf kh = k * V(LN2_HI), sum = kh + y; /* kh exact; |kh| > |y| or k = 0 */
    vf err = v_sel(k == v_zero(), v_zero(), (kh - sum) + y);
    *lo = err + v_fma(k, V(LN2_LO), y_lo);
    return sum;
}
INLINE vi v_is_integer(vf a) { /* a >= 0 */
    vf big = V((ureal)1 << MANT_BITS);
    return (a >= big) | (((a + big) - big) == a);
}
/* x^y = exp(y log|x|), with the sign and the edges of C99 pow */
INLINE vf v_pow(vf x, vf y) {
    vf a = v_abs(x), ay = v_abs(y);
    vi whole = v_is_integer(ay), odd = whole & ~v_is_integer(ay * V(0.5));
    vi tiny = a < V(MIN_NORMAL);
    vf lo, log_a = v_log_pair(v_sel(tiny, a * V((ureal)1 << (MANT_BITS + 1)), a),
                              v_sel(tiny, V(-MANT_BITS - 1), v_zero()), &lo);
    vf hi = y * log_a, prod_lo = v_fma(y, log_a, -hi) + y * lo;
    vi over = v_abs(hi) > V(2 * EXP_HIGH); /* saturates anyway, and prod_lo could be inf - inf */
    vf r = v_exp_lo(hi, v_sel(over, v_zero(), prod_lo));
    /* edges of |x|: 0 and inf behave as log = -inf and +inf; |x| = 1 gives 1 also for infinite y */
    vi rising = y > v_zero(), edge = (a == v_zero()) | (a == V(INFINITY));
    vi grows = (a == V(INFINITY)) == rising;
    r = v_sel(edge, v_sel(grows, V(INFINITY), v_zero()), r);
    r = v_sel(a == V(1), V(1), r);
    r = v_sel((x < v_zero()) & ~whole & (a != V(INFINITY)), V(NAN), r);
    r = v_sel(odd, v_copysign(r, x), r);
    r = v_sel((x != x) | (y != y), V(NAN), r);
    return v_sel((y == v_zero()) | (x == V(1)), V(1), r);
}
#undef V
#undef V_POLY
#endif
