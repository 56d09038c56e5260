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
 * not count. Half the lanes idle, but nothing is shuffled between the multiplications. */
INLINE void philox_lanes(v64 c[4], uint64_t stream, const philox_keys *key) {
    const v64 m0 = (v64){} + 0xD2511F53u, m1 = (v64){} + 0xCD9E8D57u;
    c[1] = c[0] >> 32;
    c[2] = (v64){} + (uint32_t)stream;
    c[3] = (v64){} + (stream >> 32);
    UNROLL for (int round = 0; round < 10; round++) {
        v64 product0 = v_mul_low32(c[0], m0), product1 = v_mul_low32(c[2], m1);
        c[0] = (product1 >> 32) ^ c[1] ^ ((v64){} + key->of[round][0]);
        c[2] = (product0 >> 32) ^ c[3] ^ ((v64){} + key->of[round][1]);
        c[1] = product1;
        c[3] = product0;
    }
}

/* out[w * LANES + lane]: word w of counter `counter + lane`. Two vectors at a time, the even and the odd counters. */
INLINE void philox(uint32_t out[PHILOX_GROUP], uint64_t counter, uint64_t stream, const philox_keys *key) {
    enum { L64 = VB / 8 }; /* 64-bit lanes of a vector */
    v64 lane = {0};
    UNROLL for (int i = 0; i < L64; i++) lane[i] = 2 * i;
    UNROLL for (int first = 0; first < LANES; first += 2 * L64) {
        v64 even[4], odd[4];
        even[0] = lane + (counter + first);
        odd[0] = even[0] + 1;
        philox_lanes(even, stream, key);
        philox_lanes(odd, stream, key);
        UNROLL for (int w = 0; w < 4; w++) {
            v64 both = (even[w] & 0xffffffff) | (odd[w] << 32);
            memcpy(out + w * LANES + first, &both, sizeof both);
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
