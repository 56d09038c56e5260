/* random.c: counter-based random numbers (philox.h), checked against Philox's published vectors.
 *
 * Element i depends on (seed, stream, i) alone: not on the size, threads or ISA.
 *   rand_uint32   element i: word i
 *   rand_uniform  float, element i: word i, its upper 24 bits; double: words 2i (high), 2i + 1 (low), upper 53 bits
 *   rand_normal   Box-Muller on pairs: elements 2j and 2j + 1 are r cos(a) and r sin(a), with r from the first and a
 *                 from the second of two uniforms: float words 2j, 2j + 1; double words 4j .. 4j + 3
 *   dropout       element i is kept where word i < (1 - p) 2^32
 * A caller takes a new stream for every call. A group of words is made at once. */
#include "fastdl.h"
#include "philox.h"
#include "vecmath.h"

enum {
    GROUP = PHILOX_RUN,
    AHEAD = 512,           /* elements between what is fetched and what is worked on */
    GRAIN_GROUPS = 64      /* 8 K words: about 5 us */
};

enum {
    WORDS_PER_REAL = sizeof(real) / 4,
    REALS = GROUP / WORDS_PER_REAL /* elements of a group */
};

/* VL numbers u 2^24 (2^53), u uniform in [0, 1), of the words in x (double: the high word in the lower half) */
INLINE vf uniform_bits(v64 x) {
#ifdef FDL_F64
    return v_fma(v_from_int((vi)(x & 0xffffffff)), v_set1(0x1p21), v_from_int((vi)(x >> 43)));
#else
    typedef uint32_t words __attribute__((vector_size(VB)));
    return __builtin_convertvector((vi)((words)x >> 8), vf);
#endif
}
#ifdef FDL_F64
#define UNIFORM_UNIT 0x1p-53
/* elements 0, 2, 4, .. and 1, 3, 5, .. of x and y, in some order; joining them gives x and y back */
#define EVEN v_pair_even
#define ODD v_pair_odd
#else
#define UNIFORM_UNIT 0x1p-24f
#define EVEN words_low
#define ODD words_high
#endif

INLINE v64 words_at(const uint32_t *p) {
    v64 x;
    memcpy(&x, p, sizeof x);
    return x;
}

typedef struct random_args random_args;
struct random_args {
    void (*group)(const random_args *r, real *to, const real *x, const uint32_t words[GROUP]);
    void *out;
    const real *x;
    int64_t n, per_group;
    uint64_t seed, stream;
    real a, b; /* low, high - low; mean, std */
    real top;  /* largest number below high */
    const keep_rule *keep;
};

static void random_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const random_args *r = ctx;
    philox_keys key = philox_schedule(r->seed);
    (void)thread;
    for (int64_t g = begin; g < end; g++) {
        int64_t at = g * r->per_group, count = min_i64(r->per_group, r->n - at);
        uint32_t words[GROUP] __attribute__((aligned(VB)));
        philox_run(words, (uint64_t)g * (GROUP / 4), r->stream, &key);
        if (!r->group) { /* raw words */
            memcpy((uint32_t *)r->out + at, words, count * sizeof *words);
            continue;
        }
        real rest[GROUP], rest_x[GROUP] = {0}, *to = (real *)r->out + at;
        const real *x = r->x ? r->x + at : 0;
        if (count == r->per_group) r->group(r, to, x, words);
        else {
            if (x) memcpy(rest_x, x, count * sizeof *x);
            r->group(r, rest, rest_x, words);
            memcpy(to, rest, count * sizeof *to);
        }
    }
}

static void run_random(random_args *r) {
    fdl_parallel_for((r->n + r->per_group - 1) / r->per_group, GRAIN_GROUPS, random_task, r);
}

/* rand_uint32: out[i] = word i of the stream */
void FDL_FN(rand_uint32)(uint32_t *out, int64_t n, uint64_t seed, uint64_t stream) {
    random_args r = {.out = out, .n = n, .per_group = GROUP, .seed = seed, .stream = stream};
    run_random(&r);
}

static void uniform_group(const random_args *r, real *to, const real *x, const uint32_t words[GROUP]) {
    const vf low = v_set1(r->a), width = v_set1(r->b), top = v_set1(r->top);
    (void)x;
    UNROLL for (int i = 0; i < REALS; i += VL) {
        vf u = uniform_bits(words_at(words + i * WORDS_PER_REAL)) * v_set1(UNIFORM_UNIT);
        u = v_fma(u, width, low);
        v_store(to + i, v_sel(u > top, top, u)); /* rounding may reach high */
    }
}

/* the next number below x, for finite x */
static real next_below(real x) {
    ireal bits;
    memcpy(&bits, &x, sizeof x);
    if (x == 0) return -(real)(sizeof(real) == 4 ? 0x1p-149 : 0x1p-1074);
    bits += x > 0 ? -1 : 1;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* rand_uniform: out[i] uniform in [low, high): low + (high - low) u, u of 24 (53) bits */
void FDL_FN(rand_uniform)(real *out, int64_t n, double low, double high, uint64_t seed, uint64_t stream) {
    random_args r = {.group = uniform_group, .out = out, .n = n, .per_group = REALS, .seed = seed, .stream = stream};
    r.a = (real)low, r.b = (real)(high - low);
    r.top = high > low ? next_below((real)high) : (real)high;
    run_random(&r);
}

static void normal_group(const random_args *r, real *to, const real *x, const uint32_t words[GROUP]) {
    const vf mean = v_set1(r->a), std = v_set1(r->b), unit = v_set1(UNIFORM_UNIT);
    (void)x;
    UNROLL for (int i = 0; i < REALS; i += 2 * VL) {
        v64 p = words_at(words + i * WORDS_PER_REAL), q = words_at(words + (i + VL) * WORDS_PER_REAL);
        vf u = v_fma(uniform_bits(EVEN(p, q)), unit, unit), s, c; /* in (0, 1] */
        vf radius = v_sqrt(v_set1(-2) * v_log(u));
        v_sincos_turn(uniform_bits(ODD(p, q)) * unit, &s, &c);
        v64 first = (v64)v_fma(std, radius * c, mean), second = (v64)v_fma(std, radius * s, mean);
        v_store(to + i, (vf)EVEN(first, second));
        v_store(to + i + VL, (vf)ODD(first, second));
    }
}

/* rand_normal: out[i] = mean + std z, z standard normal, |z| <= 5.8 (8.6) */
void FDL_FN(rand_normal)(real *out, int64_t n, double mean, double std, uint64_t seed, uint64_t stream) {
    random_args r = {.group = normal_group, .out = out, .n = n, .per_group = REALS, .seed = seed, .stream = stream};
    r.a = (real)mean, r.b = (real)std;
    run_random(&r);
}

static void dropout_group(const random_args *r, real *to, const real *x, const uint32_t words[GROUP]) {
    UNROLL for (int i = 0; i < GROUP; i += VL) {
        __builtin_prefetch(x + i + AHEAD);
        v_prefetch_write(to + i + AHEAD);
        v_store(to + i, v_load(x + i) * keep_factor(r->keep, words + i));
    }
}

/* dropout: out[i] = x[i] / (1 - p) where kept, x[i] * 0 elsewhere (so NaN and inf show); out may be x.
 * The gradient is dropout(dout) with the same p, seed and stream. */
void FDL_FN(dropout)(real *out, const real *x, int64_t n, double p, uint64_t seed, uint64_t stream) {
    keep_rule keep = keep_with(p);
    random_args r = {.group = dropout_group, .out = out, .x = x, .n = n, .per_group = GROUP, .seed = seed, .stream = stream,
                     .keep = &keep};
    run_random(&r);
}
