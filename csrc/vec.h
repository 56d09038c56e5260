/* vec.h: the only file with vector widths or intrinsics. Kernels are written once, for `real`
 * (float, or double with FDL_F64) and for vectors `vf` of VL elements; each ISA compiles them again.
 *
 * Same bits on every ISA with FMA: an element sees the same operations whatever VL is, and every
 * reduction keeps LANES partial results (NV vectors) that `v_hsum` and its kin join in one fixed tree.
 * Tails run through the same code with masked loads and stores. */
#ifndef FDL_VEC_H
#define FDL_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifdef FDL_F64
typedef double real;
typedef int64_t ireal; /* a signed integer as wide as real: comparison masks, exponents */
#else
typedef float real;
typedef int32_t ireal;
#endif

#if defined(__AVX512F__)
#define VB 64
#elif defined(__AVX2__)
#define VB 32
#else
#define VB 16
#endif

#if defined(__AVX512F__) || defined(__aarch64__)
#define VREGS 32 /* vector registers */
#else
#define VREGS 16
#endif

enum {
    VL = VB / sizeof(real), /* elements of a hardware vector */
    LANES = 16,             /* partial results of every reduction, on every ISA and for both types */
    NV = LANES / VL         /* vectors that hold them */
};

typedef real vf __attribute__((vector_size(VB)));
typedef ireal vi __attribute__((vector_size(VB)));
typedef real vf_u __attribute__((vector_size(VB), aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline))
#if VB == 16 && VREGS == 16
#define UNROLL /* 16 lanes are more vectors than there are registers: copies of the loop only make it long */
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); } /* b > 0 */
/* how many of `left` elements the next vector holds */
INLINE int clamp_width(int64_t left) { return left < 0 ? 0 : left < VL ? (int)left : VL; }

/* ISA and type suffix of every symbol with external linkage */
#define FDL_CAT_(a, b, c) fdl_##a##_##b##_##c
#define FDL_CAT(a, b, c) FDL_CAT_(a, b, c)
#ifdef FDL_F64
#define FDL_FN(name) FDL_CAT(name, f64, FDL_ISA)
#else
#define FDL_FN(name) FDL_CAT(name, f32, FDL_ISA)
#endif

INLINE vf v_set1(real x) { return x - (vf){}; }
INLINE vi v_iset1(ireal x) { return x - (vi){}; }
INLINE vf v_zero(void) { return (vf){}; }
INLINE vi v_lane_index(void) { /* 0, 1, .. VL - 1 */
    vi x = {0};
    UNROLL for (int i = 0; i < VL; i++) x[i] = i;
    return x;
}
INLINE vf v_load(const real *p) { return *(const vf_u *)p; }
INLINE void v_store(real *p, vf x) { *(vf_u *)p = x; }

#if defined(__FMA__) || defined(__aarch64__)
#define HAS_FMA 1
#endif

/* a*b + c with one rounding; the base ISA of x86-64 has no FMA and rounds twice */
INLINE vf v_fma(vf a, vf b, vf c) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && defined(FDL_F64)
    return (vf)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__) && defined(FDL_F64)
    return (vf)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

#if defined(__AVX512F__)
#define HAS_SCALE 1
/* x 2^n for integer-valued n, rounded once */
INLINE vf v_scale(vf x, vf n) {
#ifdef FDL_F64
    return (vf)_mm512_scalef_pd((__m512d)x, (__m512d)n);
#else
    return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);
#endif
}
#endif

/* scalar twin of v_fma */
INLINE real s_fma(real a, real b, real c) {
#if defined(HAS_FMA)
#ifdef FDL_F64
    return __builtin_fma(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
#else
    return a * b + c;
#endif
}

/* mask ? a : b, lane by lane; a mask lane is 0 or -1 */
INLINE vf v_sel(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
INLINE vi v_isel(vi mask, vi a, vi b) { return (mask & a) | (~mask & b); }

/* larger / smaller of two; NaN in either gives NaN, as PyTorch does */
INLINE vf v_max(vf a, vf b) { return v_sel((a > b) | (a != a), a, b); }
INLINE vf v_min(vf a, vf b) { return v_sel((a < b) | (a != a), a, b); }

/* x bounded by a constant that is not 0; NaN stays */
INLINE vf v_at_least(vf x, vf low) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_max_pd((__m512d)low, (__m512d)x);
#elif defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)low, (__m512)x);
#else
    return v_sel(x < low, low, x);
#endif
}
INLINE vf v_at_most(vf x, vf high) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_min_pd((__m512d)high, (__m512d)x);
#elif defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)high, (__m512)x);
#else
    return v_sel(x > high, high, x);
#endif
}

INLINE vf v_abs(vf x) {
    return (vf)((vi)x & ~((vi)v_set1((real)-0.0)));
}

INLINE vf v_sqrt(vf x) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_sqrt_pd((__m512d)x);
#elif defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__) && defined(FDL_F64)
    return (vf)_mm256_sqrt_pd((__m256d)x);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__aarch64__) && defined(FDL_F64)
    return (vf)vsqrtq_f64((float64x2_t)x);
#elif defined(__aarch64__)
    return (vf)vsqrtq_f32((float32x4_t)x);
#elif defined(FDL_F64)
    return (vf)_mm_sqrt_pd((__m128d)x);
#else
    return (vf)_mm_sqrt_ps((__m128)x);
#endif
}

#if defined(__AVX2__) && !defined(__AVX512F__)
INLINE __m256i v_tail_mask(int n) { /* lanes < n are all ones */
#ifdef FDL_F64
    return (__m256i)((vi){0, 1, 2, 3} < v_iset1(n));
#else
    return (__m256i)((vi){0, 1, 2, 3, 4, 5, 6, 7} < v_iset1(n));
#endif
}
#endif

/* first n (0..VL) elements, the others 0 */
INLINE vf v_load_n(const real *p, int n) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__) && defined(FDL_F64)
    return (vf)_mm256_maskload_pd(p, v_tail_mask(n));
#elif defined(__AVX2__)
    return (vf)_mm256_maskload_ps(p, v_tail_mask(n));
#else
    vf x = v_zero();
    memcpy(&x, p, n * sizeof(real));
    return x;
#endif
}

/* the first n of VL bytes, as integers, the others 0 */
typedef uint8_t vb __attribute__((vector_size(VL)));
INLINE vi v_load_bytes(const uint8_t *p, int n) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vi)_mm512_cvtepu8_epi64(_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p));
#elif defined(__AVX512F__)
    return (vi)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p));
#else
    vb x = {0};
    memcpy(&x, p, n);
    return __builtin_convertvector(x, vi);
#endif
}

/* the same with `fill` in the lanes from n on */
INLINE vf v_load_fill(const real *p, int n, real fill) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_mask_loadu_pd((__m512d)v_set1(fill), (__mmask8)((1u << n) - 1), p);
#elif defined(__AVX512F__)
    return (vf)_mm512_mask_loadu_ps((__m512)v_set1(fill), (__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__)
    return v_sel((vi)v_tail_mask(n), v_load_n(p, n), v_set1(fill));
#else
    vf x = v_set1(fill);
    memcpy(&x, p, n * sizeof(real));
    return x;
#endif
}

INLINE void v_store_n(real *p, vf x, int n) {
#if defined(__AVX512F__) && defined(FDL_F64)
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)x);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#elif defined(__AVX2__) && defined(FDL_F64)
    _mm256_maskstore_pd(p, v_tail_mask(n), (__m256d)x);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(p, v_tail_mask(n), (__m256)x);
#else
    memcpy(p, &x, n * sizeof(real));
#endif
}

/* Stores past the caches what is not read soon, without fetching it first. p is aligned to VB; the thread calls
 * v_stream_end before others may read. */
INLINE void v_stream(real *p, vf x) {
#if defined(__AVX512F__) && defined(FDL_F64)
    _mm512_stream_pd(p, (__m512d)x);
#elif defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX2__) && defined(FDL_F64)
    _mm256_stream_pd(p, (__m256d)x);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, (__m256)x);
#elif defined(__x86_64__) && defined(FDL_F64)
    _mm_stream_pd(p, (__m128d)x);
#elif defined(__x86_64__)
    _mm_stream_ps(p, (__m128)x);
#else
    v_store(p, x);
#endif
}
INLINE void v_stream_end(void) {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

/* Fetches a cache line that is about to be overwritten. */
INLINE void v_prefetch_write(const real *p) {
#if defined(__x86_64__)
    __asm__("prefetchw %0" : : "m"(*(const char *)p)); /* no part of x86-64-v4, but of all its CPUs */
#else
    __builtin_prefetch(p, 1);
#endif
}

/* product of the lower halves of 64-bit lanes */
typedef uint64_t v64 __attribute__((vector_size(VB)));
INLINE v64 v_mul_low32(v64 a, v64 b) {
#if defined(__AVX512F__)
    return (v64)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (v64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
    return (v64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (v64)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#endif
}

/* the upper halves of 64-bit lanes in the lower ones; what is in the upper ones does not count. A shuffle, because shifts
 * share a port with multiplications. */
INLINE v64 v_upper32(v64 x) {
    typedef uint32_t words __attribute__((vector_size(VB)));
#if VB == 64
    return (v64)__builtin_shufflevector((words)x, (words)x, 1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15);
#elif VB == 32
    return (v64)__builtin_shufflevector((words)x, (words)x, 1, 1, 3, 3, 5, 5, 7, 7);
#else
    return (v64)__builtin_shufflevector((words)x, (words)x, 1, 1, 3, 3);
#endif
}

/* a0 b0 a2 b2 .., and a1 b1 a3 b3 .. */
#if VB == 64
#define V_PAIRS(a, b, o) __builtin_shufflevector(a, b, o, o + 8, o + 2, o + 10, o + 4, o + 12, o + 6, o + 14)
#elif VB == 32
#define V_PAIRS(a, b, o) __builtin_shufflevector(a, b, o, o + 4, o + 2, o + 6)
#else
#define V_PAIRS(a, b, o) __builtin_shufflevector(a, b, o, o + 2)
#endif
INLINE v64 v_pair_even(v64 a, v64 b) { return V_PAIRS(a, b, 0); }
INLINE v64 v_pair_odd(v64 a, v64 b) { return V_PAIRS(a, b, 1); }

/* Joins LANES partial results: lane i with i+8, then i+4, i+2, i+1. The tree of every reduction, in 16-byte pieces. */
typedef real vq __attribute__((vector_size(16)));
typedef ireal vqi __attribute__((vector_size(16)));
enum { QL = 16 / sizeof(real), NQ = LANES / QL };

INLINE real v_hsum(const vf acc[NV]) {
    vq x[NQ];
    memcpy(x, acc, sizeof x);
    UNROLL for (int half = NQ / 2; half; half /= 2)
        UNROLL for (int i = 0; i < half; i++) x[i] += x[i + half];
#ifdef FDL_F64
    return x[0][0] + x[0][1];
#else
    return (x[0][0] + x[0][2]) + (x[0][1] + x[0][3]);
#endif
}

INLINE int v_any(vi mask) { /* is a lane set? */
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#else
    uint64_t x[VB / 8];
    memcpy(x, &mask, sizeof x);
    return (x[0] | x[1]) != 0;
#endif
}

/* Larger of two in one instruction, where a NaN may get lost: it comes out again of what is done with the maximum. */
INLINE vf v_top(vf a, vf b) {
#if defined(__AVX512F__) && defined(FDL_F64)
    return (vf)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && defined(FDL_F64)
    return (vf)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_sel(a > b, a, b);
#endif
}
INLINE real v_htop(const vf acc[NV]) {
    vq x[NQ];
    memcpy(x, acc, sizeof x);
    UNROLL for (int half = NQ / 2; half; half /= 2)
        UNROLL for (int i = 0; i < half; i++) {
#if defined(__x86_64__) && defined(FDL_F64)
            x[i] = (vq)_mm_max_pd((__m128d)x[i], (__m128d)x[i + half]);
#elif defined(__x86_64__)
            x[i] = (vq)_mm_max_ps((__m128)x[i], (__m128)x[i + half]);
#else
            vqi first = x[i] > x[i + half];
            x[i] = (vq)((first & (vqi)x[i]) | (~first & (vqi)x[i + half]));
#endif
        }
#ifdef FDL_F64
    return x[0][0] > x[0][1] ? x[0][0] : x[0][1];
#else
    real a = x[0][0] > x[0][2] ? x[0][0] : x[0][2], b = x[0][1] > x[0][3] ? x[0][1] : x[0][3];
    return a > b ? a : b;
#endif
}

/* the largest of n elements, -inf for none, where a NaN may get lost */
INLINE real v_row_top(const real *x, int64_t n) {
    vf top[4 * NV];
    int64_t i = 0;
    UNROLL for (int k = 0; k < 4 * NV; k++) top[k] = v_set1(-INFINITY);
    for (; i + 4 * LANES <= n; i += 4 * LANES)
        UNROLL for (int k = 0; k < 4 * NV; k++) top[k] = v_top(top[k], v_load(x + i + k * VL));
    for (; i < n; i += VL) top[0] = v_top(top[0], v_load_fill(x + i, clamp_width(n - i), -INFINITY));
    UNROLL for (int k = NV; k < 4 * NV; k++) top[k % NV] = v_top(top[k % NV], top[k]);
    return v_htop(top);
}

/* DO(d, even, odd) for d = VL/2, .., 2, 1: shuffles of two vectors that take their even or odd blocks of d lanes. */
#if VB == 64 && !defined(FDL_F64)
#define V_BLOCKS(DO)                                                                                              \
    DO(8, V_LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23), V_LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)) \
    DO(4, V_LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27), V_LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)) \
    DO(2, V_LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29), V_LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)) \
    DO(1, V_LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30), V_LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#elif (VB == 64) || (VB == 32 && !defined(FDL_F64))
#define V_BLOCKS(DO)                                                                \
    DO(4, V_LIST(0, 1, 2, 3, 8, 9, 10, 11), V_LIST(4, 5, 6, 7, 12, 13, 14, 15))     \
    DO(2, V_LIST(0, 1, 8, 9, 4, 5, 12, 13), V_LIST(2, 3, 10, 11, 6, 7, 14, 15))     \
    DO(1, V_LIST(0, 8, 2, 10, 4, 12, 6, 14), V_LIST(1, 9, 3, 11, 5, 13, 7, 15))
#elif (VB == 32) || !defined(FDL_F64)
#define V_BLOCKS(DO) DO(2, V_LIST(0, 1, 4, 5), V_LIST(2, 3, 6, 7)) DO(1, V_LIST(0, 4, 2, 6), V_LIST(1, 5, 3, 7))
#else
#define V_BLOCKS(DO) DO(1, V_LIST(0, 2), V_LIST(1, 3))
#endif
#define V_LIST(...) __VA_ARGS__

/* x[i][j] <-> x[j][i] of VL vectors */
INLINE void v_transpose(vf x[VL]) {
#define V_TRADE(d, EVEN, ODD)                                          \
    UNROLL for (int i = 0; i < VL; i++)                                \
        if (!(i & d)) {                                                \
            vf even = __builtin_shufflevector(x[i], x[i + d], EVEN);   \
            x[i + d] = __builtin_shufflevector(x[i], x[i + d], ODD);   \
            x[i] = even;                                               \
        }
    V_BLOCKS(V_TRADE)
#undef V_TRADE
}

/* lane i of the result: the largest lane of x[i], where a NaN may get lost. Overwrites x. */
INLINE vf v_htop_each(vf x[VL]) {
#define V_JOIN(d, EVEN, ODD)           \
    UNROLL for (int i = 0; i < d; i++) \
        x[i] = v_top(__builtin_shufflevector(x[i], x[i + d], EVEN), __builtin_shufflevector(x[i], x[i + d], ODD));
    V_BLOCKS(V_JOIN)
#undef V_JOIN
    return x[0];
}

/* lane i of the result: the lanes of x[i], joined as v_hsum's tree joins VL lanes. Overwrites x. */
INLINE vf v_hsum_each(vf x[VL]) {
#define V_JOIN(d, EVEN, ODD)           \
    UNROLL for (int i = 0; i < d; i++) \
        x[i] = __builtin_shufflevector(x[i], x[i + d], EVEN) + __builtin_shufflevector(x[i], x[i + d], ODD);
    V_BLOCKS(V_JOIN)
#undef V_JOIN
    return x[0];
}

#endif
