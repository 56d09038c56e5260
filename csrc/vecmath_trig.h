/* vecmath_trig.h: sines, their inverses and kin, logarithms and powers of other bases, rounding, for vectors; as vecmath.h,
 * of which this is the rarely used half.
 *
 *   function              largest error found, in ulp (float; double)
 *   v_sin, v_cos          1.4; 2.1   for every finite argument; inf gives NaN
 *   v_tan                 2.6; 3.2
 *   v_asin                2.3; 2.1   NaN outside [-1, 1]
 *   v_acos                1.1; 1.2
 *   v_atan, v_atan2       1.1; 1.3, v_atan2 1.0 more
 *   v_sinh, v_cosh        2.8; 2.8   inf where the result is
 *   v_exp2                0.9; 1.0   exact for whole numbers
 *   v_log2, v_log10       1.8; 1.8   log2 is exact for powers of 2
 *   v_floor, v_ceil, v_trunc, v_rint   exact; v_rint takes halves to even
 *
 * tests/test_vecmath.py holds the bounds. -0 stays -0 in the odd ones and in rounding. */
#ifndef FDL_VECMATH_TRIG_H
#define FDL_VECMATH_TRIG_H
#include "vecmath.h"

#ifdef FDL_F64
static const real SIN_TAIL[] = {-1.6666666666666667e-1, 8.333333333333331e-3, -1.984126984126402e-4,
    2.7557319218542835e-6, -2.5052105961377001e-8, 1.6058489509558742e-10, -7.5842639960341666e-13};
static const real COS_TAIL[] = {4.1666666666666665e-2, -1.3888888888887071e-3, 2.4801587298282116e-5,
    -2.7557317025923459e-7, 2.0876096058995369e-9, -1.1379086634729479e-11};
static const real ATAN_TAIL[] = {-3.3333333333333333e-1, 1.9999999999999553e-1, -1.4285714285648404e-1,
    1.1111111107234799e-1, -9.0909089695574031e-2, 7.6923053546786548e-2, -6.6666364357776927e-2, 5.8820749563712946e-2,
    -5.2612657357094544e-2, 4.7520867735766561e-2, -4.3081196553304713e-2, 3.8726402140426325e-2,
    -3.3750132001619734e-2, 2.7567942297344677e-2, -2.0238706986393516e-2, 1.2756172907694297e-2,
    -6.5756833441516986e-3, 2.622977891906089e-3, -7.5184725269738215e-4, 1.368724853148122e-4, -1.1832505417555693e-5};
static const real ASIN_TAIL[] = {1.6666666666666668e-1, 7.4999999999984243e-2, 4.4642857146373381e-2,
    3.0381944137085214e-2, 2.2372173002005597e-2, 1.7352391265909228e-2, 1.3971235301124539e-2, 1.1478952690257387e-2,
    1.0324318288744112e-2, 5.4508781877205499e-3, 1.7419357964884857e-2, -1.4881409392818067e-2, 2.8778442612593041e-2};
#define PIO2_1 0x1.921fb54442d18p+0 /* pi / 2 in three parts, each as many bits as the type has */
#define PIO2_2 0x1.1a62633145c07p-54
#define PIO2_3 -0x1.f1976b7ed8fbcp-110
#define LOG2E_LO 0x1.777d0ffda0d24p-56
#else
static const real SIN_TAIL[] = {-1.66666667e-1f, 8.33333169e-3f, -1.98399896e-4f, 2.72375772e-6f};
static const real COS_TAIL[] = {4.16666644e-2f, -1.38882549e-3f, 2.45377508e-5f};
static const real ATAN_TAIL[] = {-3.33333331e-1f, 1.99999493e-1f, -1.42840038e-1f, 1.10882616e-1f, -8.93182678e-2f,
    7.03191425e-2f, -4.8960514e-2f, 2.63050011e-2f, -9.14462976e-3f, 1.48869194e-3f};
static const real ASIN_TAIL[] = {1.66666663e-1f, 7.50009476e-2f, 4.45993192e-2f, 3.11017278e-2f, 1.71437168e-2f,
    3.37007263e-2f};
#define PIO2_1 0x1.921fb6p+0f
#define PIO2_2 -0x1.777a5cp-25f
#define PIO2_3 -0x1.ee59dap-50f
#define LOG2E_LO 0x1.4ae0c0p-26f
#endif
#if defined(HAS_FMA)
#define PIO2_LIMIT 1e5 /* up to here x - n PIO2_1 is exact as an FMA, and n PIO2_3 is small enough */
#else
#define PIO2_LIMIT 0.8 /* products would round */
#endif
#define V(x) v_set1((real)(x))
#define V_POLY(x, table) v_poly(x, table, sizeof table / sizeof *table)

/* Whole numbers have no fraction from 2^MANT_BITS on. */
INLINE vf v_rint(vf x) { /* half to even; the sign last, or clang 19 to 22 miscompile v_exp2 for AVX-512 */
    vf a = v_abs(x), big = V((ureal)1 << MANT_BITS);
    return v_copysign(v_sel(a < big, (a + big) - big, a), x);
}
INLINE vf v_floor(vf x) {
    vf y = v_rint(x);
    return v_copysign(y - (vf)((y > x) & (vi)V(1)), x);
}
INLINE vf v_ceil(vf x) {
    vf y = v_rint(x);
    return v_copysign(y + (vf)((y < x) & (vi)V(1)), x);
}
INLINE vf v_trunc(vf x) { return v_copysign(v_floor(v_abs(x)), x); }

/* ---- sin, cos, tan ---- */

/* 2 / pi in words of 64 bits, after 128 zero bits */
static const uint64_t TWO_OVER_PI[] = {0, 0,
    0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561, 0xb7246e3a424dd2e0,
    0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4,
    0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab, 0xf0cfbc209af4361d};

/* x = n pi/2 + r for large finite x, n modulo 4. Payne and Hanek: of 2 / pi only the bits matter that neither give
 * multiples of 4 quarters nor vanish; 192 of them leave 137 after the worst case. */
static real reduce_large(real x, int *n) {
    ureal bits;
    memcpy(&bits, &x, sizeof x);
    int biased = (int)(bits >> MANT_BITS & (2 * EXP_BIAS + 1));
    uint64_t m = (bits & (((ureal)1 << MANT_BITS) - 1)) | (ureal)1 << MANT_BITS;
    int offset = 128 + (biased - EXP_BIAS - MANT_BITS) - 2, word = offset / 64, shift = offset % 64;
    uint64_t w[3];
    for (int i = 0; i < 3; i++)
        w[i] = shift ? TWO_OVER_PI[word + i] << shift | TWO_OVER_PI[word + i + 1] >> (64 - shift) : TWO_OVER_PI[word + i];
    unsigned __int128 low = (unsigned __int128)m * w[2], mid = (unsigned __int128)m * w[1] + (uint64_t)(low >> 64);
    uint64_t top = m * w[0] + (uint64_t)(mid >> 64), next = (uint64_t)mid;
    int quarters = (int)(top >> 62);
    int64_t fraction = (int64_t)(top << 2 | next >> 62); /* signed: more than half a quarter belongs to the next one */
    uint64_t rest = next << 2;
    *n = quarters + (fraction < 0);
    double f = (double)fraction * 0x1p-64 + (double)rest * 0x1p-128; /* 2^62 or more bits: the sum is exact enough */
    if (fraction == 0 || fraction == -1) { /* the leading word cancels */
        __int128 both = (__int128)((unsigned __int128)(uint64_t)fraction << 64 | rest);
        f = (double)both * 0x1p-128;
    }
    double r = f * 1.57079632679489661923;
    if (bits >> (8 * sizeof x - 1)) {
        r = -r;
        *n = -*n;
    }
    return (real)r;
}

/* x = n pi/2 + r, |r| <= pi/4 and a bit; n modulo 4 */
INLINE vf v_reduce_pio2(vf x, vi *n) {
    vf t = v_fma(x, V(0.636619772367581343076), V(ROUND_MAGIC)), k = t - V(ROUND_MAGIC);
    vf r = v_fma(k, V(-PIO2_3), v_fma(k, V(-PIO2_2), v_fma(k, V(-PIO2_1), x)));
    vf a = v_abs(x);
    vi large = (a > V(PIO2_LIMIT)) & (a < V(INFINITY));
    *n = (vi)((vu)t - (vu)V(ROUND_MAGIC)); /* wraps where x is large */
    int any = 0;
    UNROLL for (int i = 0; i < VL; i++) any |= large[i] != 0;
    if (any) {
        for (int i = 0; i < VL; i++)
            if (large[i]) {
                int quarters;
                r[i] = reduce_large(x[i], &quarters);
                (*n)[i] = quarters;
            }
    }
    return v_sel(a < V(INFINITY), r, x - x); /* NaN for inf and NaN */
}
/* SIN_TAIL, COS_TAIL: (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4 as polynomials in r^2 */
INLINE vf v_sin_near(vf r) {
    vf z = r * r;
    return v_fma(r * z, V_POLY(z, SIN_TAIL), r);
}
INLINE vf v_cos_near(vf r) {
    vf z = r * r, half = V(0.5) * z, w = V(1) - half;
    return w + v_fma(z * z, V_POLY(z, COS_TAIL), (V(1) - w) - half);
}
/* sin(r + n pi/2) */
INLINE vf v_sin_of(vf r, vi n) {
    vf y = v_sel(-(n & 1), v_cos_near(r), v_sin_near(r));
    return (vf)((vi)y ^ (((n & 2) != 0) & (vi)V(-0.0)));
}
INLINE vf v_sin(vf x) {
    vi n;
    vf r = v_reduce_pio2(x, &n);
    return v_sel(x == v_zero(), x, v_sin_of(r, n));
}
INLINE vf v_cos(vf x) {
    vi n;
    vf r = v_reduce_pio2(x, &n);
    return v_sin_of(r, n + 1);
}
INLINE vf v_tan(vf x) {
    vi n;
    vf r = v_reduce_pio2(x, &n), s = v_sin_near(r), c = v_cos_near(r);
    vi odd = -(n & 1);
    vf y = v_sel(odd, -c, s) / v_sel(odd, s, c);
    return v_sel(x == v_zero(), x, y);
}

/* ---- inverses ---- */

INLINE vf v_atan_unit(vf t) { /* t in [0, 1]; ATAN_TAIL: (atan t - t) / t^3 as a polynomial in t^2 */
    vf z = t * t;
    return v_fma(t * z, V_POLY(z, ATAN_TAIL), t);
}
/* pi/2 - y */
INLINE vf v_complement(vf y) { return V(PIO2_1) - (y - V(PIO2_2)); }
INLINE vf v_atan(vf x) {
    vf a = v_abs(x);
    vi steep = a > V(1);
    vf y = v_atan_unit(v_sel(steep, V(1) / a, a));
    return v_copysign(v_sel(steep, v_complement(y), y), x);
}
/* the angle of the point (x, y), with the signs and edges of C99 */
INLINE vf v_atan2(vf y, vf x) {
    vf ax = v_abs(x), ay = v_abs(y);
    vi steep = ay > ax;
    vf low = v_sel(steep, ax, ay), high = v_sel(steep, ay, ax), t = low / high;
    t = v_sel(high == v_zero(), v_zero(), v_sel((low == V(INFINITY)) & (high == low), V(1), t));
    vf angle = v_atan_unit(t);
    angle = v_sel(steep, v_complement(angle), angle);
    vi left = ((vi)x < 0); /* also -0 */
    angle = v_sel(left, V(2 * PIO2_1) - (angle - V(2 * PIO2_2)), angle);
    return v_sel((x != x) | (y != y), x + y, v_copysign(angle, y));
}
INLINE vf v_asin_half(vf t) { /* |t| <= 1/2; ASIN_TAIL: (asin t - t) / t^3 as a polynomial in t^2 */
    vf z = t * t;
    return v_fma(t * z, V_POLY(z, ASIN_TAIL), t);
}
/* beyond 1/2: asin x = pi/2 - 2 asin sqrt((1 - x) / 2) */
INLINE vf v_asin(vf x) {
    vf a = v_abs(x);
    vi far = a > V(0.5);
    vf y = v_asin_half(v_sel(far, v_sqrt(V(0.5) * (V(1) - a)), a));
    return v_copysign(v_sel(far, v_complement(y + y), y), x);
}
INLINE vf v_acos(vf x) {
    vf a = v_abs(x);
    vi far = a > V(0.5);
    vf y = v_asin_half(v_sel(far, v_sqrt(V(0.5) * (V(1) - a)), x)), twice = y + y;
    vf beyond = v_sel(x < v_zero(), V(2 * PIO2_1) - (twice - V(2 * PIO2_2)), twice);
    return v_sel(far, beyond, v_complement(y));
}

/* ---- hyperbolic ---- */

/* exp(a) / 2 for a >= 0, also where exp(a) is too large: (exp(a / 2))^2 / 2 */
INLINE vf v_half_exp(vf a) {
    vf h = v_exp(V(0.5) * a);
    return h * (V(0.5) * h);
}
INLINE vf v_sinh(vf x) { /* (t + t / (t + 1)) / 2, t = exp(|x|) - 1 */
    vf a = v_abs(x), t = v_expm1(v_sel(a > V(20), V(20), a));
    vf y = V(0.5) * (t + t / (t + V(1)));
    return v_sel(a < V(0x1p-30), x, v_copysign(v_sel(a > V(20), v_half_exp(a), y), x));
}
INLINE vf v_cosh(vf x) {
    vf a = v_abs(x), e = v_exp(v_sel(a > V(20), V(20), a));
    return v_sel(a > V(20), v_half_exp(a), V(0.5) * (e + V(1) / e));
}

/* ---- other bases ---- */

INLINE vf v_exp2(vf x) {
    vf low = V(-(EXP_BIAS + MANT_BITS + 2)), high = V(EXP_BIAS + 2);
    vf c = v_sel(x > high, high, v_sel(x < low, low, x)), n = v_rint(c), r = (c - n) * V(0.693147180559945309417);
    vf y = v_fma(v_fma(V_POLY(r, EXP_C), r, V(1)), r, V(1));
    return v_ldexp(y, n);
}
/* k log_b(2) + log_b(e) log(m), x = 2^k m; whole powers of 2 leave m = 1 */
INLINE vf v_log_base(vf x, vf two, vf e, vf e_lo) {
    vi tiny = x < V(MIN_NORMAL);
    vf k, m = v_split(v_sel(tiny, x * V((ureal)1 << (MANT_BITS + 1)), x), &k);
    k = v_sel(tiny, k - V(MANT_BITS + 1), k);
    vf y = v_log_sum(v_zero(), m - V(1));
    return v_log_edges(x, v_fma(k, two, v_fma(y, e, y * e_lo)));
}
INLINE vf v_log2(vf x) { return v_log_base(x, V(1), V(1.44269504088896340736), V(LOG2E_LO)); }
INLINE vf v_log10(vf x) { return v_log_base(x, V(0.301029995663981195214), V(0.434294481903251827651), v_zero()); }
#undef V
#undef V_POLY
#endif
