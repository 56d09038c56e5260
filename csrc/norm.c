/* norm.c: layer norm and RMS norm of rows, forward and backward.
 *
 * Statistics of up to VL rows are finished together: lane i of a vector is row i, so that means, roots and quotients are
 * taken once for all of them. A group has as many rows as stay in L1 between the passes. A row's sums keep 4 x LANES
 * partial results in blocks of BLOCK elements, joined 0+2, 1+3; the blocks are added lane by lane, then v_hsum's tree.
 * Rows are independent; gradients of weight and bias add up the rows of a chunk in order and the chunks by halving the
 * list. So threads, which share rows and chunks, do not show in the bits. */
#include "fastdl.h"

enum {
    BLOCK = 4096,    /* bits: elements of one partial sum */
    GROUPS = 4,      /* bits: independent sums per lane, to hide the latency of an addition */
    CHUNK = 64,      /* bits: rows of one partial sum of the gradients of weight and bias */
    LINE = 64,       /* bytes of a cache line: dx is on its way to L1 while the sums are taken */
    SIDE = 2,        /* rows whose gradients are worked out side by side: weight and sums are loaded once for them */
    L1_ELEMS = 4096, /* of each array, that stay in L1 */
    TILE = 512,      /* columns whose chunks are joined together */
    GRAIN = 8192,    /* elements worth a thread, about 4 us */
    ROW_COST = 16    /* what a row costs beside its elements, in elements */
};

INLINE vf load(const real *p, int width) { return width == VL ? v_load(p) : v_load_n(p, width); }
INLINE void store(real *p, vf x, int width) {
    if (width == VL) v_store(p, x);
    else v_store_n(p, x, width);
}
/* rows whose statistics are finished together */
INLINE int64_t group_rows(int64_t d) { return d * VL <= L1_ELEMS ? VL : d < L1_ELEMS ? L1_ELEMS / d : 1; }

typedef struct norm_args {
    real *out, *sum, *mean, *rstd; /* fwd; bwd: out = dx, mean and rstd are read */
    real *dweight, *dbias;         /* bwd: [chunks, 2, D] or the gradients themselves */
    const real *x, *residual, *dy, *weight, *bias;
    real eps;
    int64_t n, d, chunk;           /* chunk: rows of a unit of work (bwd) */
    int64_t stride;                /* bwd: from a chunk's dweight and dbias to the next one's */
} norm_args;

/* adds a block's partial results to the row's */
INLINE void add_block(vf total[NV], vf acc[GROUPS * NV]) {
    UNROLL for (int k = 0; k < 2 * NV; k++) acc[k] += acc[k + 2 * NV];
    UNROLL for (int k = 0; k < NV; k++) total[k] += acc[k] + acc[k + NV];
}
/* the row's partial results joined to one vector: the first steps of v_hsum's tree, v_hsum_each does the others */
INLINE vf join_vectors(vf total[NV]) {
    UNROLL for (int half = NV / 2; half; half /= 2)
        UNROLL for (int k = 0; k < half; k++) total[k] += total[k + half];
    return total[0];
}

/* TERM adds elements [i, i + width) of a row to acc[k]; the rest of a row's sum is the same everywhere. */
#define ROW_SUM(total, d, TERM)                                                                       \
    for (int64_t begin_ = 0; begin_ < d; begin_ += BLOCK) {                                           \
        int64_t end_ = min_i64(begin_ + BLOCK, d), i_ = begin_;                                       \
        vf acc[GROUPS * NV] = {0};                                                                    \
        for (; i_ + GROUPS * LANES <= end_; i_ += GROUPS * LANES)                                     \
            UNROLL for (int k = 0; k < GROUPS * NV; k++) TERM(acc[k], i_ + k * VL, VL)                \
        UNROLL for (int k = 0; k < GROUPS * NV; k++) {                                                \
            int64_t at_ = i_ + k * VL;                                                                \
            if (at_ + VL <= end_) TERM(acc[k], at_, VL)                                               \
            else if (at_ < end_) TERM(acc[k], at_, (int)(end_ - at_))                                 \
        }                                                                                             \
        add_block(total, acc);                                                                        \
    }

/* Forward -------------------------------------------------------------------------------------------------------- */

/* sum of x (+ residual, the result stored in s) */
INLINE vf row_sum(real *s, const real *x, const real *residual, int64_t d) {
    vf total[NV] = {0};
#define TERM(acc, i, width)                                            \
    {                                                                  \
        vf t = load(x + (i), width);                                   \
        if (residual) {                                                \
            t += load(residual + (i), width);                          \
            store(s + (i), t, width);                                  \
        }                                                              \
        acc += t;                                                      \
    }
    ROW_SUM(total, d, TERM)
#undef TERM
    return join_vectors(total);
}

/* sum of (x - mean)^2; lanes beyond the row count as the mean */
INLINE vf row_squares(const real *x, real mean, int64_t d) {
    vf total[NV] = {0}, m = v_set1(mean);
#define TERM(acc, i, width)                                                                    \
    {                                                                                          \
        vf t = ((width) == VL ? v_load(x + (i)) : v_load_fill(x + (i), width, mean)) - m;      \
        acc = v_fma(t, t, acc);                                                                \
    }
    ROW_SUM(total, d, TERM)
#undef TERM
    return join_vectors(total);
}

/* elements [i, i + width) of a row's result */
INLINE void normalise(real *y, const real *x, vf mean, vf rstd, const real *weight, const real *bias, int64_t i,
                      const int width) {
    vf t = (load(x + i, width) - mean) * rstd;
    if (weight && bias) t = v_fma(t, load(weight + i, width), load(bias + i, width));
    else if (weight) t *= load(weight + i, width);
    else if (bias) t += load(bias + i, width);
    store(y + i, t, width);
}
INLINE void row_normalise(real *y, const real *x, real mean, real rstd, const real *weight, const real *bias, int64_t d,
                          const real *next) {
    vf m = v_set1(mean), r = v_set1(rstd);
    int64_t i = 0;
    for (; i + VL <= d; i += VL) {
        __builtin_prefetch(next + i);
        normalise(y, x, m, r, weight, bias, i, VL);
    }
    if (i < d) normalise(y, x, m, r, weight, bias, i, (int)(d - i));
}

INLINE void forward(const norm_args *a, int64_t begin, int64_t end, const int is_rms, const int has_residual) {
    int64_t d = a->d, step = group_rows(d);
    for (int64_t first = begin; first < end; first += step) {
        int count = (int)min_i64(step, end - first);
        real mean[VL] = {0}, rstd[VL];
        vf part[VL] = {0}, size = v_set1((real)d);
        const real *x = a->x + first * d;
        if (has_residual) {
            real *s = (a->sum ? a->sum : a->out) + first * d;
            for (int r = 0; r < count; r++) part[r] = row_sum(s + r * d, x + r * d, a->residual + (first + r) * d, d);
            x = s;
        } else if (!is_rms)
            for (int r = 0; r < count; r++) part[r] = row_sum(0, x + r * d, 0, d);
        if (!is_rms) {
            vf m = v_hsum_each(part) / size;
            v_store(mean, m);
            if (a->mean) v_store_n(a->mean + first, m, count);
        }
        for (int r = 0; r < count; r++) part[r] = row_squares(x + r * d, mean[r], d);
        vf root = v_set1(1) / v_sqrt(v_hsum_each(part) / size + v_set1(a->eps));
        v_store(rstd, root);
        if (a->rstd) v_store_n(a->rstd + first, root, count);
        real *y = a->out + first * d;
        const real *next = a->x + (first + count) * d; /* rows of the next group: summing them is bound by memory */
        for (int r = 0; r < count; r++)
            row_normalise(y + r * d, x + r * d, mean[r], rstd[r], a->weight, a->bias, d, next + r * d);
    }
}
static void layer_fwd_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const norm_args *a = ctx;
    (void)thread;
    if (a->residual) forward(a, begin, end, 0, 1);
    else forward(a, begin, end, 0, 0);
}
static void rms_fwd_task(void *ctx, int64_t begin, int64_t end, int thread) {
    (void)thread;
    forward(ctx, begin, end, 1, 0);
}

/* layer_norm_fwd: y = (s - mean) rstd weight + bias,  s = x + residual, mean over the row, rstd = 1 / sqrt(var + eps),
 *                 var the mean of (s - mean)^2
 *   y         [N, D]  out
 *   sum       [N, D]  saved  s, where there is a residual; NULL: not wanted
 *   mean      [N]     saved  NULL: not wanted
 *   rstd      [N]     saved  NULL: not wanted
 *   x         [N, D]  in
 *   residual  [N, D]  in     NULL: none, s = x
 *   weight, bias  [D]  in    NULL: ones, zeros
 * Trusts: no partial overlap; y = x is allowed.  Threads, order: see above.
 * Accuracy: a few ulp of what x - mean rounds off (tests/cases/norm.py).
 * Method: sum, then squares of the deviations, then the result, the row in L1 meanwhile: x is read from memory once. */
void FDL_FN(layer_norm_fwd)(real *y, real *sum, real *mean, real *rstd, const real *x, const real *residual,
                            const real *weight, const real *bias, double eps, int64_t n, int64_t d) {
    norm_args a = {.out = y, .sum = sum, .mean = mean, .rstd = rstd, .x = x, .residual = residual, .weight = weight,
                   .bias = bias, .eps = (real)eps, .n = n, .d = d};
    if (d) fdl_parallel_for(n, GRAIN / (d + ROW_COST) + 1, layer_fwd_task, &a);
}

/* rms_norm_fwd: y = x rrms weight,  rrms = 1 / sqrt(mean of x^2 + eps).   Arguments as layer_norm_fwd */
void FDL_FN(rms_norm_fwd)(real *y, real *rrms, const real *x, const real *weight, double eps, int64_t n, int64_t d) {
    norm_args a = {.out = y, .rstd = rrms, .x = x, .weight = weight, .eps = (real)eps, .n = n, .d = d};
    if (d) fdl_parallel_for(n, GRAIN / (d + ROW_COST) + 1, rms_fwd_task, &a);
}

/* Backward ------------------------------------------------------------------------------------------------------- */

INLINE void take_dots(vf *products, vf *values, const real *dy, const real *x, const real *weight, vf mean, int64_t i,
                      const int width, const int is_rms) {
    vf g = load(dy + i, width), t = load(x + i, width);
    if (weight) g *= load(weight + i, width);
    *products = v_fma(g, is_rms ? t : t - mean, *products);
    if (!is_rms) *values += g;
}
/* With g = dy weight: sums of g (x - mean) and (layer norm) of g over a row */
INLINE vf row_dots(vf *sum, const real *dy, const real *x, const real *weight, real mean, int64_t d, const int is_rms) {
    vf total[NV] = {0}, plain[NV] = {0}, m = v_set1(mean);
    for (int64_t begin = 0; begin < d; begin += BLOCK) {
        int64_t end = min_i64(begin + BLOCK, d), i = begin;
        vf products[GROUPS * NV] = {0}, values[GROUPS * NV] = {0};
        for (; i + GROUPS * LANES <= end; i += GROUPS * LANES)
            UNROLL for (int k = 0; k < GROUPS * NV; k++)
                take_dots(&products[k], &values[k], dy, x, weight, m, i + k * VL, VL, is_rms);
        UNROLL for (int k = 0; k < GROUPS * NV; k++) {
            int64_t at = i + k * VL;
            if (at + VL <= end) take_dots(&products[k], &values[k], dy, x, weight, m, at, VL, is_rms);
            else if (at < end) take_dots(&products[k], &values[k], dy, x, weight, m, at, (int)(end - at), is_rms);
        }
        add_block(total, products);
        if (!is_rms) add_block(plain, values);
    }
    if (!is_rms) *sum = join_vectors(plain);
    return join_vectors(total);
}

/* One row's numbers of dx = rstd (g - c1 - z c2) = rstd g + z scale + shift */
typedef struct norm_row {
    real mean, rstd, scale, shift;
} norm_row;

typedef struct norm_rows {
    vf mean[SIDE], rstd[SIDE], scale[SIDE], shift[SIDE];
} norm_rows;

/* elements [i, i + width) of dx of `count` rows, and what they add to the gradients of weight and bias */
INLINE void gradient(const norm_rows *row, const int count, real *dx, const real *dy, const real *x, const real *weight,
                     real *dweight, real *dbias, int64_t d, int64_t i, const int width, const int is_rms) {
    vf w = weight ? load(weight + i, width) : v_set1(1);
    vf dw = dweight ? load(dweight + i, width) : v_zero(), db = dbias ? load(dbias + i, width) : v_zero();
    UNROLL for (int r = 0; r < count; r++) {
        vf t = load(x + r * d + i, width), g = load(dy + r * d + i, width);
        vf z = is_rms ? t * row->rstd[r] : (t - row->mean[r]) * row->rstd[r];
        dw = v_fma(g, z, dw);
        db += g;
        vf rest = is_rms ? z * row->scale[r] : v_fma(z, row->scale[r], row->shift[r]);
        store(dx + r * d + i, v_fma(g * w, row->rstd[r], rest), width);
    }
    if (dweight) store(dweight + i, dw, width);
    if (dbias) store(dbias + i, db, width);
}
INLINE void rows_gradient(const norm_args *a, const norm_row *row, const int count, real *dx, const real *dy,
                          const real *x, real *dweight, real *dbias, int64_t ahead, const int is_rms) {
    norm_rows rows;
    int64_t d = a->d, i = 0;
    UNROLL for (int r = 0; r < count; r++) {
        rows.mean[r] = v_set1(row[r].mean), rows.rstd[r] = v_set1(row[r].rstd);
        rows.scale[r] = v_set1(row[r].scale), rows.shift[r] = v_set1(row[r].shift);
    }
    for (; i + VL <= d; i += VL) {
        UNROLL for (int r = 0; r < count; r++) { /* the rows of the next group */
            __builtin_prefetch(x + ahead + r * d + i);
            __builtin_prefetch(dy + ahead + r * d + i);
        }
        gradient(&rows, count, dx, dy, x, a->weight, dweight, dbias, d, i, VL, is_rms);
    }
    if (i < d) gradient(&rows, count, dx, dy, x, a->weight, dweight, dbias, d, i, (int)(d - i), is_rms);
}

INLINE void backward_rows(const norm_args *a, int64_t first, int64_t end, real *dweight, real *dbias, const int is_rms) {
    int64_t d = a->d, step = group_rows(2 * d);
    for (; first < end; first += step) {
        int count = (int)min_i64(step, end - first);
        const real *x = a->x + first * d, *dy = a->dy + first * d;
        real *dx = a->out + first * d, scale[VL], shift[VL] = {0};
        norm_row row[VL];
        vf products[VL] = {0}, values[VL] = {0}, size = v_set1((real)d), r = v_load_n(a->rstd + first, count);
        for (int k = 0; k < count; k++) {
            for (int64_t i = 0; i < d; i += LINE / (int64_t)sizeof(real)) v_prefetch_write(dx + k * d + i);
            row[k] = (norm_row){is_rms ? 0 : a->mean[first + k], a->rstd[first + k], 0, 0};
            products[k] = row_dots(&values[k], dy + k * d, x + k * d, a->weight, row[k].mean, d, is_rms);
        }
        v_store(scale, -(v_hsum_each(products) * r / size) * r);
        if (!is_rms) v_store(shift, -(v_hsum_each(values) / size) * r);
        for (int k = 0; k < count; k++) row[k].scale = scale[k], row[k].shift = shift[k];
        int k = 0;
        int64_t ahead = count * d;
        for (; k + SIDE <= count; k += SIDE)
            rows_gradient(a, row + k, SIDE, dx + k * d, dy + k * d, x + k * d, dweight, dbias, ahead, is_rms);
        for (; k < count; k++)
            rows_gradient(a, row + k, 1, dx + k * d, dy + k * d, x + k * d, dweight, dbias, ahead, is_rms);
    }
}

INLINE void backward(const norm_args *a, int64_t begin, int64_t end, const int is_rms) {
    for (int64_t unit = begin; unit < end; unit++) {
        real *dweight = a->dweight ? a->dweight + unit * a->stride : 0, *dbias = a->dbias ? a->dbias + unit * a->stride : 0;
        if (dweight) memset(dweight, 0, a->d * sizeof(real));
        if (dbias) memset(dbias, 0, a->d * sizeof(real));
        backward_rows(a, unit * a->chunk, min_i64((unit + 1) * a->chunk, a->n), dweight, dbias, is_rms);
    }
}
static void layer_bwd_task(void *ctx, int64_t begin, int64_t end, int thread) {
    (void)thread;
    backward(ctx, begin, end, 0);
}
static void rms_bwd_task(void *ctx, int64_t begin, int64_t end, int thread) {
    (void)thread;
    backward(ctx, begin, end, 1);
}

typedef struct join_args {
    real *partial, *out[2]; /* [chunks, 2, D] -> weight's and bias's gradient, NULL: not wanted */
    int64_t chunks, d, tiles;
} join_args;

static void join_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const join_args *a = ctx;
    (void)thread;
    for (int64_t u = begin; u < end; u++) {
        int64_t which = u / a->tiles, from = u % a->tiles * TILE, cols = min_i64(a->d - from, TILE);
        real *p = a->partial + which * a->d + from;
        if (!a->out[which]) continue;
        for (int64_t left = a->chunks, half; left > 1; left = half) {
            half = (left + 1) / 2;
            for (int64_t c = 0; c + half < left; c++) {
                real *to = p + c * 2 * a->d, *other = to + half * 2 * a->d;
                for (int64_t i = 0; i < cols; i += VL) {
                    int width = clamp_width(cols - i);
                    store(to + i, load(to + i, width) + load(other + i, width), width);
                }
            }
        }
        memcpy(a->out[which] + from, p, cols * sizeof(real));
    }
}

static int64_t chunks_of(int64_t n) { return (n + CHUNK - 1) / CHUNK; }

static void run_backward(norm_args *a, fdl_task task, real *scratch) {
    real *dweight = a->dweight, *dbias = a->dbias;
    int64_t n = a->n, d = a->d, chunks = chunks_of(n);
    int sums = dweight || dbias;
    if (!n || !d) {
        if (dweight) memset(dweight, 0, d * sizeof(real));
        if (dbias) memset(dbias, 0, d * sizeof(real));
        return;
    }
    a->chunk = sums ? CHUNK : group_rows(2 * d);
    if (sums && chunks > 1) {
        a->stride = 2 * d;
        if (dweight) a->dweight = scratch;
        if (dbias) a->dbias = scratch + d;
    }
    fdl_parallel_for((n + a->chunk - 1) / a->chunk, GRAIN / (a->chunk * (d + ROW_COST)) + 1, task, a);
    if (!sums || chunks == 1) return;
    join_args join = {scratch, {dweight, dbias}, chunks, d, (d + TILE - 1) / TILE};
    fdl_parallel_for(2 * join.tiles, GRAIN * 2 / (chunks * min_i64(d, TILE)) + 1, join_task, &join);
}

/* layer_norm_bwd: with z = (x - mean) rstd, g = dy weight, c1 = mean of g, c2 = mean of g z over the row,
 *     dx = rstd (g - c1 - z c2),   dweight = sum over the rows of dy z,   dbias = sum over the rows of dy
 *   dx       [N, D]  out
 *   dweight, dbias  [D]  out  NULL: not wanted
 *   dy       [N, D]  in
 *   x        [N, D]  in      with a residual: `sum`
 *   mean, rstd  [N]  in      of the forward call
 *   weight   [D]     in      NULL: ones
 *   scratch  norm_bwd_scratch(n, d) bytes: [chunks, 2, D]
 * Trusts: no overlap but dx = dy.  Threads, order: see above.
 * Method: one pass for c1 and c2, one for the results, while the rows are in L1. */
int64_t FDL_FN(norm_bwd_scratch)(int64_t n, int64_t d) {
    return n > CHUNK ? chunks_of(n) * 2 * d * (int64_t)sizeof(real) : 0;
}

void FDL_FN(layer_norm_bwd)(real *dx, real *dweight, real *dbias, const real *dy, const real *x, const real *mean,
                            const real *rstd, const real *weight, int64_t n, int64_t d, void *scratch) {
    norm_args a = {.out = dx, .dweight = dweight, .dbias = dbias, .dy = dy, .x = x, .mean = (real *)mean,
                   .rstd = (real *)rstd, .weight = weight, .n = n, .d = d};
    run_backward(&a, layer_bwd_task, scratch);
}

/* rms_norm_bwd: with z = x rrms, g = dy weight, c2 = mean of g z:  dx = rrms (g - z c2).   Arguments as layer_norm_bwd */
void FDL_FN(rms_norm_bwd)(real *dx, real *dweight, const real *dy, const real *x, const real *rrms, const real *weight,
                          int64_t n, int64_t d, void *scratch) {
    norm_args a = {.out = dx, .dweight = dweight, .dy = dy, .x = x, .rstd = (real *)rrms, .weight = weight, .n = n,
                   .d = d};
    run_backward(&a, rms_bwd_task, scratch);
}
