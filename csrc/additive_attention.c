/* additive_attention.c: additive attention scores, forward and backward. tanh(q + k) exists only in registers: the
 * backward pass takes it again. A score keeps 2 x LANES partial results, joined by v_hsum's tree. Backward, an element of
 * h is nobody else's business: dq is summed over the keys, dk over the queries, dw over both in order, and over the batch
 * by halving the list. Threads share queries forward, strips of h of each batch entry backward. */
#include "fastdl.h"
#include "vecmath.h"

enum {
    GROUPS = 2,     /* bits: independent sums per lane */
    GRAIN = 4096    /* values of tanh worth a thread, about 5 us */
};

INLINE vf load(const real *p, int width) { return width == VL ? v_load(p) : v_load_n(p, width); }
INLINE void store(real *p, vf x, int width) {
    if (width == VL) v_store(p, x);
    else v_store_n(p, x, width);
}

typedef struct score_args {
    real *score, *dq, *dk, *dw; /* dw: of each batch entry, [B, H] */
    const real *q, *k, *w, *dscore;
    int64_t tq, tk, h, strips;
} score_args;

INLINE void add_term(vf *acc, const real *q, const real *k, const real *w, int64_t i, const int width) {
    *acc = v_fma(load(w + i, width), v_tanh(load(q + i, width) + load(k + i, width)), *acc);
}
INLINE real score_of(const real *q, const real *k, const real *w, int64_t h) {
    vf acc[GROUPS * NV] = {0};
    int64_t i = 0;
    for (; i + GROUPS * LANES <= h; i += GROUPS * LANES)
        UNROLL for (int j = 0; j < GROUPS * NV; j++) add_term(&acc[j], q, k, w, i + j * VL, VL);
    UNROLL for (int j = 0; j < GROUPS * NV; j++) {
        int64_t at = i + j * VL;
        if (at + VL <= h) add_term(&acc[j], q, k, w, at, VL);
        else if (at < h) add_term(&acc[j], q, k, w, at, (int)(h - at));
    }
    UNROLL for (int j = 0; j < NV; j++) acc[j] += acc[j + NV];
    return v_hsum(acc);
}

static void forward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const score_args *a = ctx;
    (void)thread;
    for (int64_t row = begin; row < end; row++) {
        const real *k = a->k + row / a->tq * a->tk * a->h;
        for (int64_t j = 0; j < a->tk; j++)
            a->score[row * a->tk + j] = score_of(a->q + row * a->h, k + j * a->h, a->w, a->h);
    }
}

static int64_t grain(int64_t work) { return work < GRAIN ? GRAIN / (work > 0 ? work : 1) : 1; }

/* additive_score_fwd: score[b, i, j] = sum over h of w[h] tanh(q[b, i, h] + k[b, j, h])
 *   score  [B, Tq, Tk]  out
 *   q      [B, Tq, H]   in
 *   k      [B, Tk, H]   in
 *   w      [H]          in
 * Threads, order: see above.  Accuracy: 3 ulp of each term and the roundings of the sum. */
void FDL_FN(additive_score_fwd)(real *score, const real *q, const real *k, const real *w, int64_t b, int64_t tq,
                                int64_t tk, int64_t h) {
    score_args a = {.score = score, .q = q, .k = k, .w = w, .tq = tq, .tk = tk, .h = h};
    fdl_parallel_for(b * tq, grain(tk * h), forward_task, &a);
}

/* elements [i, i + width) of h in all gradients of batch entry b; those of dk go through memory, once per query */
INLINE void strip_gradient(const score_args *a, int64_t b, int64_t i, const int width) {
    int64_t h = a->h;
    const real *q = a->q + b * a->tq * h + i, *k = a->k + b * a->tk * h + i, *g = a->dscore + b * a->tq * a->tk;
    real *dq = a->dq + b * a->tq * h + i, *dk = a->dk + b * a->tk * h + i;
    vf w = load(a->w + i, width), dw = v_zero();
    for (int64_t j = 0; j < a->tk; j++) store(dk + j * h, v_zero(), width);
    for (int64_t r = 0; r < a->tq; r++, g += a->tk) {
        vf query = load(q + r * h, width), slopes = v_zero();
        for (int64_t j = 0; j < a->tk; j++) {
            vf t = v_tanh(query + load(k + j * h, width)), up = v_set1(g[j]);
            vf slope = up * w * v_fma(-t, t, v_set1(1));
            dw = v_fma(up, t, dw);
            slopes += slope;
            store(dk + j * h, load(dk + j * h, width) + slope, width);
        }
        store(dq + r * h, slopes, width);
    }
    store(a->dw + b * h + i, dw, width);
}
static void backward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const score_args *a = ctx;
    (void)thread;
    for (int64_t u = begin; u < end; u++) {
        int64_t b = u / a->strips, i = u % a->strips * VL;
        if (i + VL <= a->h) strip_gradient(a, b, i, VL);
        else strip_gradient(a, b, i, (int)(a->h - i));
    }
}

/* additive_score_bwd: with t = tanh(q + k) of each (b, i, j, h):  dq[b, i] = sum over j of dscore w (1 - t^2),
 *     dk[b, j] = the same over i,   dw = sum over b, i, j of dscore t
 *   dq       [B, Tq, H]   out
 *   dk       [B, Tk, H]   out
 *   dw       [H]          out
 *   dscore   [B, Tq, Tk]  in
 *   q, k, w               in   of the forward call
 *   scratch  additive_score_scratch(b, h) bytes: [B, H]
 * Threads, order: see above. */
int64_t FDL_FN(additive_score_scratch)(int64_t b, int64_t h) { return b * h * (int64_t)sizeof(real); }

void FDL_FN(additive_score_bwd)(real *dq, real *dk, real *dw, const real *dscore, const real *q, const real *k,
                                const real *w, int64_t b, int64_t tq, int64_t tk, int64_t h, void *scratch) {
    score_args a = {.dq = dq, .dk = dk, .dw = scratch, .dscore = dscore, .q = q, .k = k, .w = w, .tq = tq, .tk = tk,
                    .h = h, .strips = (h + VL - 1) / VL};
    real *part = scratch;
    fdl_parallel_for(b * a.strips, grain(tq * tk * VL), backward_task, &a);
    for (int64_t left = b, half; left > 1; left = half) {
        half = (left + 1) / 2;
        for (int64_t c = 0; c < (left - half) * h; c++) part[c] += part[half * h + c];
    }
    for (int64_t c = 0; c < h; c++) dw[c] = b ? part[c] : 0;
}
