/* random.c: counter-based random numbers (philox.h), checked against Philox's published vectors.
 *
 * Element i depends on (seed, stream, i) alone: not on the size, threads or ISA.
 *   rand_uint32   element i: word i
 *   rand_uniform  float, element i: word i, its upper 24 bits; double: words 2i (high), 2i + 1 (low), upper 53 bits
 *   rand_normal   Box-Muller on pairs: elements 2j and 2j + 1 are r cos(a) and r sin(a), with r from the first and a
 *                 from the second of two uniforms: float words 2j, 2j + 1; double words 4j .. 4j + 3
 *   dropout       element i is kept where word i < (1 - p) 2^32
 * A caller takes a new stream for every call. LANES counters are worked on side by side: one group of words. */
#include "fastdl.h"
#include "philox.h"
#include "vecmath.h"

enum {
    GROUP = PHILOX_GROUP,
    GRAIN_GROUPS = 128     /* 8 K words: about 5 us */
};

typedef uint32_t words __attribute__((vector_size(VB)));
typedef uint32_t quad __attribute__((vector_size(16)));

/* by[w * LANES + lane] to the order of the stream: 4 * lane + w */
INLINE void interleave(uint32_t out[GROUP], const uint32_t by[GROUP]) {
    UNROLL for (int lane = 0; lane < LANES; lane += 4) {
        quad x[4], y[4];
        UNROLL for (int w = 0; w < 4; w++) memcpy(&x[w], by + w * LANES + lane, sizeof x[w]);
        UNROLL for (int h = 0; h < 2; h++) {
            y[h] = __builtin_shufflevector(x[2 * h], x[2 * h + 1], 0, 4, 1, 5);
            y[2 + h] = __builtin_shufflevector(x[2 * h], x[2 * h + 1], 2, 6, 3, 7);
        }
        UNROLL for (int h = 0; h < 2; h++) {
            x[2 * h] = __builtin_shufflevector(y[2 * h], y[2 * h + 1], 0, 1, 4, 5);
            x[2 * h + 1] = __builtin_shufflevector(y[2 * h], y[2 * h + 1], 2, 3, 6, 7);
        }
        memcpy(out + 4 * lane, x, sizeof x);
    }
}

/* the same for GROUP / 2 doubles or GROUP floats that were made from words of one position: `per` of each counter */
INLINE void interleave_real(real *out, const real *by, int per) {
#ifdef FDL_F64
    for (int lane = 0; lane < LANES; lane++)
        UNROLL for (int w = 0; w < per; w++) out[per * lane + w] = by[w * LANES + lane];
#else
    uint32_t words_in[GROUP], words_out[GROUP];
    (void)per;
    memcpy(words_in, by, sizeof words_in);
    interleave(words_out, words_in);
    memcpy(out, words_out, sizeof words_out);
#endif
}

enum {
    WORDS_PER_REAL = sizeof(real) / 4,
    REALS = GROUP / WORDS_PER_REAL,      /* elements of a group */
    PER_COUNTER = 4 / WORDS_PER_REAL     /* elements of a counter */
};

/* VL numbers u 2^24 (2^53), u uniform in [0, 1), from the words at p (double: high at p, low at p + LANES) */
INLINE vf uniform_bits(const uint32_t *p) {
#ifdef FDL_F64
    return v_fma(v_from_int(load_words(p)), v_set1(0x1p21), v_from_int((vi)((v64)load_words(p + LANES) >> 11)));
#else
    return __builtin_convertvector((vi)((words)load_words(p) >> 8), vf);
#endif
}
#ifdef FDL_F64
#define UNIFORM_UNIT 0x1p-53
#else
#define UNIFORM_UNIT 0x1p-24f
#endif

typedef struct random_args random_args;
struct random_args {
    void (*group)(const random_args *r, real *to, const real *x, const uint32_t by[GROUP]);
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
        uint32_t by[GROUP];
        philox(by, (uint64_t)g * LANES, r->stream, &key);
        if (!r->group) { /* raw words */
            uint32_t ordered[GROUP];
            interleave(ordered, by);
            memcpy((uint32_t *)r->out + at, ordered, count * sizeof *ordered);
            continue;
        }
        real rest[GROUP], rest_x[GROUP] = {0}, *to = (real *)r->out + at;
        const real *x = r->x ? r->x + at : 0;
        if (count == r->per_group) r->group(r, to, x, by);
        else {
            if (x) memcpy(rest_x, x, count * sizeof *x);
            r->group(r, rest, rest_x, by);
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

static void uniform_group(const random_args *r, real *to, const real *x, const uint32_t by[GROUP]) {
    real by_word[REALS];
    const vf low = v_set1(r->a), width = v_set1(r->b), top = v_set1(r->top);
    (void)x;
    UNROLL for (int w = 0; w < PER_COUNTER; w++)
        UNROLL for (int i = 0; i < LANES; i += VL) {
            vf u = uniform_bits(by + w * WORDS_PER_REAL * LANES + i) * v_set1(UNIFORM_UNIT);
            u = v_fma(u, width, low);
            v_store(by_word + w * LANES + i, v_sel(u > top, top, u)); /* rounding may reach high */
        }
    interleave_real(to, by_word, PER_COUNTER);
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

static void normal_group(const random_args *r, real *to, const real *x, const uint32_t by[GROUP]) {
    real by_word[REALS];
    const vf mean = v_set1(r->a), std = v_set1(r->b), unit = v_set1(UNIFORM_UNIT);
    (void)x;
    UNROLL for (int w = 0; w < PER_COUNTER; w += 2)
        UNROLL for (int i = 0; i < LANES; i += VL) {
            const uint32_t *first = by + w * WORDS_PER_REAL * LANES + i, *second = first + WORDS_PER_REAL * LANES;
            vf u = v_fma(uniform_bits(first), unit, unit), s, c; /* in (0, 1] */
            vf radius = v_sqrt(v_set1(-2) * v_log(u));
            v_sincos_turn(uniform_bits(second) * unit, &s, &c);
            v_store(by_word + w * LANES + i, v_fma(std, radius * c, mean));
            v_store(by_word + (w + 1) * LANES + i, v_fma(std, radius * s, mean));
        }
    interleave_real(to, by_word, PER_COUNTER);
}

/* rand_normal: out[i] = mean + std z, z standard normal, |z| <= 5.8 (8.6) */
void FDL_FN(rand_normal)(real *out, int64_t n, double mean, double std, uint64_t seed, uint64_t stream) {
    random_args r = {.group = normal_group, .out = out, .n = n, .per_group = REALS, .seed = seed, .stream = stream};
    r.a = (real)mean, r.b = (real)std;
    run_random(&r);
}

static void dropout_group(const random_args *r, real *to, const real *x, const uint32_t by[GROUP]) {
    uint32_t ordered[GROUP];
    interleave(ordered, by);
    UNROLL for (int i = 0; i < GROUP; i += VL) v_store(to + i, v_load(x + i) * keep_factor(r->keep, ordered + i));
}

/* dropout: out[i] = x[i] / (1 - p) where kept, x[i] * 0 elsewhere (so NaN and inf show); out may be x.
 * The gradient is dropout(dout) with the same p, seed and stream. */
void FDL_FN(dropout)(real *out, const real *x, int64_t n, double p, uint64_t seed, uint64_t stream) {
    keep_rule keep = keep_with(p);
    random_args r = {.group = dropout_group, .out = out, .x = x, .n = n, .per_group = GROUP, .seed = seed, .stream = stream,
                     .keep = &keep};
    run_random(&r);
}
