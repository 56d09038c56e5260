/* attention_rows.h: what happens to rows of scores between the matrix products of attention.c: masks, softmax, dropout,
 * and the gradient of these. A row is a run of keys [first, first + limit) of one query; rows are padded to whole LANES,
 * and what lies beyond `limit` becomes 0. */
#ifndef FDL_ATTENTION_ROWS_H
#define FDL_ATTENTION_ROWS_H
#include "fastdl.h"
#include "philox.h"
#include "vecmath.h"

INLINE int64_t whole_lanes(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
/* the LANES partial results of a sum down to VL, by v_hsum's tree: v_hsum_each does the rest */
INLINE vf joined(vf sum[NV]) {
    UNROLL for (int half = NV / 2; half; half /= 2)
        UNROLL for (int k = 0; k < half; k++) sum[k] += sum[k + half];
    return sum[0];
}

/* Masks ---------------------------------------------------------------------------------------------------------- */

/* of one head: `keep` bytes (0: masked) or `add` (-inf: masked), element (i, j) at i * row + j * col */
typedef struct head_mask {
    const uint8_t *keep;
    const real *add;
    int64_t row, col;
} head_mask;

/* What is added to the scores of query i and keys [first, first + n): a pointer into the mask, or `buffer` filled. */
static const real *mask_row(const head_mask *m, int64_t i, int64_t first, int64_t n, real *buffer) {
    int64_t j = 0;
    if (m->add) {
        const real *add = m->add + i * m->row + first * m->col;
        if (m->col == 1) return add;
        for (; j < n; j++) buffer[j] = add[j * m->col];
        return buffer;
    }
    const uint8_t *keep = m->keep + i * m->row + first * m->col;
    if (m->col == 1) {
        for (; j < n; j += VL)
            v_store(buffer + j, v_sel(v_load_bytes(keep + j, clamp_width(n - j)) != 0, v_zero(), v_set1(-INFINITY)));
        return buffer;
    }
    for (; j < n; j++) buffer[j] = keep[j * m->col] ? 0 : -INFINITY;
    return buffer;
}

/* Keys [0, n) without the masked ones at the end, for a mask that is the same for all queries. */
static int64_t unmasked_keys(const head_mask *m, int64_t n) {
    if (m->row) return n;
    if (m->keep)
        while (n > 0 && !m->keep[(n - 1) * m->col]) n--;
    else if (m->add)
        while (n > 0 && m->add[(n - 1) * m->col] == -INFINITY) n--;
    return n;
}

/* x plus the mask's entry; -inf replaces x, whatever it is */
INLINE vf masked(vf x, vf add) { return v_sel(add == v_set1(-INFINITY), add, x + add); }

/* VL scores from key j of a row on; `whole`: none of them is beyond limit */
INLINE vf masked_scores(const real *s, const real *add, int64_t j, int64_t limit, const int whole) {
    vf x = v_load(s + j);
    if (whole) return add ? masked(x, v_load(add + j)) : x;
    int width = clamp_width(limit - j);
    if (add) x = masked(x, v_load_n(add + j, width));
    return v_sel(v_lane_index() < v_iset1(width), x, v_set1(-INFINITY));
}

/* Forward -------------------------------------------------------------------------------------------------------- */

/* Masks the row in place and returns its largest score. */
INLINE real mask_and_top(real *s, const real *add, int64_t limit) {
    vf top[NV];
    int64_t j = 0;
    UNROLL for (int k = 0; k < NV; k++) top[k] = v_set1(-INFINITY);
    for (; j + LANES <= limit; j += LANES)
        UNROLL for (int k = 0; k < NV; k++) {
            vf x = masked_scores(s, add, j + k * VL, limit, 1);
            if (add) v_store(s + j + k * VL, x);
            top[k] = v_top(top[k], x);
        }
    if (j < limit)
        UNROLL for (int k = 0; k < NV; k++) {
            vf x = masked_scores(s, add, j + k * VL, limit, 0);
            v_store(s + j + k * VL, x);
            top[k] = v_top(top[k], x);
        }
    return v_htop(top);
}

/* s = exp(s - top), masked scores (-inf) become 0, with the sign bit set for `mark`; returns the sum. */
INLINE real exp_and_sum(real *s, real top, int64_t limit, int64_t width, const int mark) {
    vf sum[NV] = {0}, max = v_set1(top);
    int64_t j = 0, end = whole_lanes(limit);
    for (; j < end; j += LANES)
        UNROLL for (int k = 0; k < NV; k++) {
            vf x = v_load(s + j + k * VL), e = v_exp_nonpositive(x - max);
            if (mark) e = v_sel(x == v_set1(-INFINITY), v_set1((real)-0.0), e);
            sum[k] += e;
            v_store(s + j + k * VL, e);
        }
    for (; j < width; j += VL) v_store(s + j, mark ? v_set1((real)-0.0) : v_zero());
    return v_hsum(sum);
}

/* mask_and_top and exp_and_sum for n <= VL rows of up to LANES keys: the same bits, maxima and sums of all rows at once.
 * adds[i]: of row i's mask, NULL: none; top, sum: VL each */
INLINE void softmax_short(real *s, const real *const adds[VL], const int64_t limits[VL], int n, real *top, real *sum,
                          const int mark) {
    vf each[VL];
    real base[VL] __attribute__((aligned(VB)));
    UNROLL for (int i = 0; i < VL; i++) each[i] = v_zero(); /* those from n on */
    for (int i = 0; i < n; i++)
        UNROLL for (int k = 0; k < NV; k++) {
            vf x = masked_scores(s + i * LANES, adds[i], k * VL, limits[i], 0);
            v_store(s + i * LANES + k * VL, x);
            each[i] = k ? v_top(each[i], x) : x;
        }
    vf max = v_htop_each(each);
    v_store(top, max);
    v_store(base, v_sel(max == v_set1(-INFINITY), v_zero(), max));
    UNROLL for (int i = 0; i < VL; i++) each[i] = v_zero();
    for (int i = 0; i < n; i++) {
        vf parts[NV];
        UNROLL for (int k = 0; k < NV; k++) {
            vf x = v_load(s + i * LANES + k * VL), e = v_exp_nonpositive(x - v_set1(base[i]));
            if (mark) e = v_sel(x == v_set1(-INFINITY), v_set1((real)-0.0), e);
            v_store(s + i * LANES + k * VL, e);
            parts[k] = e;
        }
        each[i] = joined(parts);
    }
    v_store(sum, v_hsum_each(each));
}

/* Dropout -------------------------------------------------------------------------------------------------------- */

/* Words of the stream come in groups of 64, word 64 g + 16 w + i of group g being word w of counter 16 g + i. A row of up
 * to 16 (32) keys takes a quarter (half) of a group, longer ones whole groups: element j of row r is kept by word
 * j % 64 of group r * ceil(Tk / 64) + j / 64, or for short rows by word j of their part. Rows are numbered
 * (b * H + h) * Tq + i. */
typedef struct dropping {
    philox_keys key;
    keep_rule rule;
    uint64_t stream;
    int64_t groups; /* of a row */
    int sharing;    /* 1 << sharing rows are in a group */
} dropping;

/* the words of one group, for the rows that share it */
typedef struct drawn {
    uint32_t words[PHILOX_GROUP];
    int64_t group; /* -1: none yet */
} drawn;

static dropping make_dropping(int64_t tk, double p, uint64_t seed, uint64_t stream) {
    int sharing = tk <= PHILOX_GROUP / 4 ? 2 : tk <= PHILOX_GROUP / 2 ? 1 : 0;
    return (dropping){philox_schedule(seed), keep_with(p), stream, ceil_div(tk, PHILOX_GROUP), sharing};
}

/* those for element j of a row and what follows it in the group */
INLINE const uint32_t *drop_words(const dropping *d, drawn *x, int64_t row, int64_t j) {
    int64_t group = (row >> d->sharing) * d->groups + j / PHILOX_GROUP;
    int64_t part = row & ((1 << d->sharing) - 1);
    if (x->group != group) {
        philox(x->words, (uint64_t)group * LANES, d->stream, &d->key);
        x->group = group;
    }
    return x->words + part * (PHILOX_GROUP >> d->sharing) + j % PHILOX_GROUP;
}

/* p *= factor for the keys [first, first + width), first a multiple of PHILOX_GROUP */
static void drop_row(const dropping *d, drawn *x, real *p, int64_t row, int64_t first, int64_t width) {
    for (int64_t j = 0; j < width; j += PHILOX_GROUP) {
        const uint32_t *words = drop_words(d, x, row, first + j);
        for (int64_t i = 0, n = min_i64(PHILOX_GROUP, width - j); i < n; i += VL)
            v_store(p + j + i, v_load(p + j + i) * keep_factor(&d->rule, words + i));
    }
}

/* Backward ------------------------------------------------------------------------------------------------------- */

typedef struct row_grad {
    real *p, *ds;         /* in: scores and dP; out: P (after dropout) and dS * scale */
    const real *add;      /* of the mask, or NULL */
    real *dmask;          /* out: dS, or NULL */
    const dropping *drop; /* or NULL */
    drawn *words;
    int64_t row, first, limit, width;
    real lse, delta, scale; /* delta = sum of dO * O */
} row_grad;

/* VL keys from j on: P = exp(s - lse), dS = P (dP - delta) */
INLINE void softmax_grad(const row_grad *g, int64_t j, const uint32_t *words, const int whole, const int mark) {
    vf x = masked_scores(g->p, g->add, j, g->limit, whole), dp = v_load(g->ds + j);
    vf p = v_exp_nonpositive(x - v_set1(g->lse)), kept = p;
    if (words) {
        vf factor = keep_factor(&g->drop->rule, words);
        kept = p * factor;
        dp *= factor;
    }
    vf ds = p * (dp - v_set1(g->delta)), scaled = ds * v_set1(g->scale);
    if (mark) {
        vi out = x == v_set1(-INFINITY);
        kept = v_sel(out, v_set1((real)-0.0), kept);
        scaled = v_sel(out, v_set1((real)-0.0), scaled);
        ds = v_sel(out, v_zero(), ds);
    }
    if (g->dmask) v_store_n(g->dmask + j, ds, clamp_width(g->limit - j));
    v_store(g->p + j, kept);
    v_store(g->ds + j, scaled);
}

/* a row of LANES */
INLINE void softmax_grad_lanes(const row_grad *g) {
    const uint32_t *w = g->drop ? drop_words(g->drop, g->words, g->row, g->first) : 0;
    UNROLL for (int k = 0; k < NV; k++) softmax_grad(g, k * VL, w ? w + k * VL : 0, 0, 0);
}

INLINE void grad_row(const row_grad *g, const int mark) {
    int64_t j = 0, end = whole_lanes(g->limit);
    for (; j < end; j += LANES) {
        const uint32_t *w = g->drop ? drop_words(g->drop, g->words, g->row, g->first + j) : 0;
        if (j + LANES <= g->limit)
            UNROLL for (int k = 0; k < NV; k++) softmax_grad(g, j + k * VL, w ? w + k * VL : 0, 1, mark);
        else
            UNROLL for (int k = 0; k < NV; k++) softmax_grad(g, j + k * VL, w ? w + k * VL : 0, 0, mark);
    }
    for (; j < g->width; j += VL) {
        v_store(g->p + j, mark ? v_set1((real)-0.0) : v_zero());
        v_store(g->ds + j, mark ? v_set1((real)-0.0) : v_zero());
    }
}
/* out of line: gcc 12 fails on them inlined, for vectors of two doubles */
static __attribute__((noinline)) void softmax_grad_row(const row_grad *g) { grad_row(g, 0); }
static __attribute__((noinline)) void softmax_grad_row_marked(const row_grad *g) { grad_row(g, 1); }

#endif
