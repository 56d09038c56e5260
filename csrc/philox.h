/* philox.h: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), LANES counters side by
 * side. Word i of stream s under a seed is word i % 4 of philox(counter = (i/4 low, i/4 high, s low, s high),
 * key = (seed low, seed high)). */
#ifndef FDL_PHILOX_H
#define FDL_PHILOX_H
#include "vec.h"

enum { PHILOX_GROUP = 4 * LANES }; /* words from LANES counters */

typedef struct philox_keys {
    uint64_t of[10][2]; /* of each round */
} philox_keys;

INLINE philox_keys philox_schedule(uint64_t seed) {
    philox_keys key;
    for (int i = 0; i < 10; i++) {
        key.of[i][0] = (uint32_t)((uint32_t)seed + (uint32_t)i * 0x9E3779B9u);
        key.of[i][1] = (uint32_t)((uint32_t)(seed >> 32) + (uint32_t)i * 0xBB67AE85u);
    }
    return key;
}

/* One counter in each 64-bit lane: the words stand in the lower halves, what products leave in the upper halves does
 * not count. Half the lanes idle, but nothing is moved between them. `count` vectors go side by side, because each waits
 * for its own multiplications. */
INLINE void philox_lanes(v64 c[][4], const int count, uint64_t stream, const philox_keys *key) {
    const v64 m0 = (v64){} + 0xD2511F53u, m1 = (v64){} + 0xCD9E8D57u;
    UNROLL for (int i = 0; i < count; i++) {
        c[i][1] = v_upper32(c[i][0]);
        c[i][2] = (v64){} + (uint32_t)stream;
        c[i][3] = (v64){} + (stream >> 32);
    }
    UNROLL for (int round = 0; round < 10; round++)
        UNROLL for (int i = 0; i < count; i++) {
            v64 product0 = v_mul_low32(c[i][0], m0), product1 = v_mul_low32(c[i][2], m1);
            c[i][0] = v_upper32(product1) ^ c[i][1] ^ ((v64){} + key->of[round][0]);
            c[i][2] = v_upper32(product0) ^ c[i][3] ^ ((v64){} + key->of[round][1]);
            c[i][1] = product1;
            c[i][3] = product0;
        }
}

/* out[w * LANES + lane]: word w of counter `counter + lane`. Two vectors at a time, the even and the odd counters. */
INLINE void philox(uint32_t out[PHILOX_GROUP], uint64_t counter, uint64_t stream, const philox_keys *key) {
    enum { L64 = VB / 8 }; /* 64-bit lanes of a vector */
    v64 lane = {0};
    UNROLL for (int i = 0; i < L64; i++) lane[i] = 2 * i;
    UNROLL for (int first = 0; first < LANES; first += 2 * L64) {
        v64 c[2][4];
        c[0][0] = lane + (counter + first);
        c[1][0] = c[0][0] + 1;
        philox_lanes(c, 2, stream, key);
        UNROLL for (int w = 0; w < 4; w++) {
            v64 both = (c[0][w] & 0xffffffff) | (c[1][w] << 32);
            memcpy(out + w * LANES + first, &both, sizeof both);
        }
    }
}

/* The lower (upper) words of a and b in one: those of a in the even places. Joining gives a (b) back. */
INLINE v64 words_low(v64 a, v64 b) { return (a & 0xffffffff) | (b << 32); }
INLINE v64 words_high(v64 a, v64 b) { return (a >> 32) | (b & 0xffffffff00000000); }

/* out: PHILOX_RUN words of the stream in order, from those of `counter` on. Counters stand in the lanes so that pairing
 * words 0, 1 and 2, 3 of each puts them in order. */
enum { PHILOX_RUN = 2 * PHILOX_GROUP };
INLINE void philox_run(uint32_t out[PHILOX_RUN], uint64_t counter, uint64_t stream, const philox_keys *key) {
    enum { L64 = VB / 8, SIDE_BY_SIDE = VREGS / 8 };
    v64 lane = {0};
    UNROLL for (int i = 0; i < L64; i++) lane[i] = i % 2 * (L64 / 2) + i / 2;
    for (int first = 0; first < PHILOX_RUN / 4; first += SIDE_BY_SIDE * L64) {
        v64 c[SIDE_BY_SIDE][4];
        UNROLL for (int i = 0; i < SIDE_BY_SIDE; i++) c[i][0] = lane + (counter + first + i * L64);
        philox_lanes(c, SIDE_BY_SIDE, stream, key);
        UNROLL for (int i = 0; i < SIDE_BY_SIDE; i++) {
            v64 front = words_low(c[i][0], c[i][1]), back = words_low(c[i][2], c[i][3]);
            v64 both[2] = {v_pair_even(front, back), v_pair_odd(front, back)};
            memcpy(out + 4 * (first + i * L64), both, sizeof both);
        }
    }
}

INLINE vi load_words(const uint32_t *p) { /* VL words, in double without a sign */
#ifdef FDL_F64
    typedef uint32_t half __attribute__((vector_size(VB / 2)));
    half x;
    memcpy(&x, p, sizeof x);
    return (vi)__builtin_convertvector(x, v64);
#else
    vi x;
    memcpy(&x, p, sizeof x);
    return x;
#endif
}

/* Which elements a dropout keeps: those whose word is < (1 - p) 2^32, which are multiplied by 1 / (1 - p). */
typedef struct keep_rule {
    vi last, flip;
    real scale;
} keep_rule;

INLINE keep_rule keep_with(double p) {
    uint64_t kept = (uint64_t)((1 - p) * 0x1p32 + 0.5); /* words that keep: 0 .. kept - 1 */
    uint32_t last = kept ? (uint32_t)(kept - 1) : 0;
    keep_rule rule = {.scale = kept ? (real)(1 / (1 - p)) : 0};
#ifdef FDL_F64
    rule.last = v_iset1(last);
#else
    rule.flip = v_iset1(INT32_MIN); /* words have no sign */
    rule.last = v_iset1((int32_t)last) ^ rule.flip;
#endif
    return rule;
}

/* the factors of VL elements: scale or 0 */
INLINE vf keep_factor(const keep_rule *rule, const uint32_t *words) {
    vi drop = (load_words(words) ^ rule->flip) > rule->last;
    return (vf)((vi)v_set1(rule->scale) & ~drop);
}

#endif
