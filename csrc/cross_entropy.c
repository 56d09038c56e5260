/* cross_entropy.c: log-softmax, loss and gradient in one pass over the logits. */
#include "fastdl.h"
#include "vecmath.h"

enum {
    SMALL_GROUPS = 4,      /* rows of up to 4 LANES classes are kept in registers */
    SUM_ELEMS = 4096,      /* one partial sum */
    CHUNK_ROWS = 64,       /* rows whose logarithms are taken together */
    GRAIN_ELEMS = 8192,    /* logits per thread, about 5 us */
    ROW_ELEMS = 24         /* what a row costs beside its logits, in logits */
};

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

/* All that is the same for every row. */
typedef struct ce_args {
    real *row_loss; /* [N] */
    real *dlogits;
    const real *logits;
    const int64_t *target;
    const real *weight;
    int64_t ignore_index, n, v;
    int smooth;
    real hard, soft; /* 1 - label_smoothing, label_smoothing / V */
    real soft_total; /* soft * sum of the weights */
    real scale;      /* of the gradient: 1, or 1 / total for the mean */
} ce_args;

/* What is left of a row's loss when its classes are done: factor * log(sum) + rest. */
typedef struct ce_rows {
    real sum[CHUNK_ROWS], factor[CHUNK_ROWS], rest[CHUNK_ROWS];
} ce_rows;

/* The row's scalars. With wt the target's weight, d = x - max, lse = log(sum) + max:
 *   loss   = hard wt (lse - x[t]) + sum_c soft w[c] (lse - x[c]) = factor log(sum) - hard wt d[t] - soft sum_c w[c] d[c]
 *   dx[c]  = scale (factor exp(d[c]) / sum - soft w[c] - hard wt [c = t]) */
typedef struct ce_row {
    real exp_scale, soft_scale, hard_scale;
} ce_row;

INLINE ce_row finish_row(const ce_args *a, ce_rows *rows, int slot, int64_t t, real d_target, real sum, real sum_wd,
                         const int smooth) {
    real hard = a->weight ? a->hard * a->weight[t] : a->hard, factor = hard + a->soft_total;
    rows->sum[slot] = sum;
    rows->factor[slot] = factor;
    rows->rest[slot] = smooth ? -hard * d_target - a->soft * sum_wd : -hard * d_target;
    return (ce_row){a->scale * factor / sum, a->scale * a->soft, a->scale * hard};
}

INLINE void skip_row(const ce_args *a, ce_rows *rows, int slot, real *dx) {
    rows->sum[slot] = 1;
    rows->factor[slot] = rows->rest[slot] = 0;
    if (dx) memset(dx, 0, a->v * sizeof(real));
}

INLINE int clamp_width(int64_t left) { return left < 0 ? 0 : left < VL ? (int)left : VL; }
INLINE vf load_weight(const ce_args *a, int64_t c, int width) {
    return a->weight ? v_load_n(a->weight + c, width) : v_set1(1);
}

/* V <= groups * LANES: the exponentials stay in registers. Lanes without a class are -inf. */
INLINE void small_row(const ce_args *a, ce_rows *rows, int slot, real *dx, const real *x, int64_t t, const int groups,
                      const int smooth) {
    vf e[SMALL_GROUPS * NV] = {0}, top[NV], sum[NV] = {0}, sum_wd[NV] = {0};
    UNROLL for (int k = 0; k < groups * NV; k++) {
        e[k] = v_load_fill(x + k * VL, clamp_width(a->v - k * VL), -INFINITY);
        top[k % NV] = k < NV ? e[k] : v_top(top[k % NV], e[k]);
    }
    real max = v_htop(top), d_target = x[t] - max;
    UNROLL for (int k = 0; k < groups * NV; k++) {
        int width = clamp_width(a->v - k * VL);
        if (smooth) { /* x - max is 0 in lanes without a class */
            vf d = v_load_fill(x + k * VL, width, max) - v_set1(max);
            sum_wd[k % NV] = v_fma(load_weight(a, k * VL, width), d, sum_wd[k % NV]);
        }
        e[k] = v_exp_nonpositive(e[k] - v_set1(max));
        sum[k % NV] += e[k];
    }
    ce_row row = finish_row(a, rows, slot, t, d_target, v_hsum(sum), smooth ? v_hsum(sum_wd) : 0, smooth);
    if (!dx) return;
    UNROLL for (int k = 0; k < groups * NV; k++) {
        int width = clamp_width(a->v - k * VL);
        vf g = e[k] * v_set1(row.exp_scale);
        if (smooth) g = v_fma(v_set1(-row.soft_scale), load_weight(a, k * VL, width), g);
        vi is_target = v_lane_index() == v_iset1((ireal)(t - k * VL));
        g -= (vf)(is_target & (vi)v_set1(row.hard_scale));
        v_store_n(dx + k * VL, g, width);
    }
}

static real row_top(const real *x, int64_t v) {
    vf top[4 * NV];
    int64_t i = 0;
    UNROLL for (int k = 0; k < 4 * NV; k++) top[k] = v_set1(-INFINITY);
    for (; i + 4 * LANES <= v; i += 4 * LANES)
        UNROLL for (int k = 0; k < 4 * NV; k++) top[k] = v_top(top[k], v_load(x + i + k * VL));
    for (; i < v; i += VL) top[0] = v_top(top[0], v_load_fill(x + i, (int)min_i64(v - i, VL), -INFINITY));
    UNROLL for (int k = NV; k < 4 * NV; k++) top[k % NV] = v_top(top[k % NV], top[k]);
    return v_htop(top);
}

/* classes [c, c + count) of a row, count <= LANES */
INLINE void exp_lanes(const ce_args *a, vf sum[NV], vf wd[NV], real *dx, const real *x, int64_t c, int count, vf max,
                      const int smooth) {
    UNROLL for (int k = 0; k < NV; k++, c += VL, count -= VL) {
        int width = clamp_width(count);
        vf d = (width == VL ? v_load(x + c) : v_load_fill(x + c, width, -INFINITY)) - max;
        if (smooth) {
            vf inside = width == VL ? d : v_load_n(x + c, width) - max;
            vf w = load_weight(a, c, width);
            if (width < VL) w = v_sel(v_lane_index() < v_iset1(width), w, v_zero());
            wd[k] = v_fma(w, inside, wd[k]);
        }
        vf e = v_exp_nonpositive(d);
        sum[k] += e;
        if (!dx) continue;
        if (width == VL) v_store(dx + c, e);
        else v_store_n(dx + c, e, width);
    }
}

/* e = exp(x - max) into dx (NULL: not wanted), which may be x; returns the sum, and sum of w[c] (x[c] - max) */
INLINE real row_exp(const ce_args *a, real *dx, const real *x, real max, real *sum_wd, const int smooth) {
    double total = 0, total_wd = 0;
    for (int64_t c = 0; c < a->v;) {
        int64_t end = min_i64(c + SUM_ELEMS, a->v);
        vf sum[NV] = {0}, wd[NV] = {0};
        for (; c + LANES <= end; c += LANES) {
            __builtin_prefetch(x + a->v + c); /* the next row: its maximum is bound by memory, this loop is not */
            exp_lanes(a, sum, wd, dx, x, c, LANES, v_set1(max), smooth);
        }
        if (c < end) exp_lanes(a, sum, wd, dx, x, c, (int)(end - c), v_set1(max), smooth);
        c = end;
        total += v_hsum(sum);
        if (smooth) total_wd += v_hsum(wd);
    }
    *sum_wd = (real)total_wd;
    return (real)total;
}

/* dx = exp_scale * dx - soft_scale * w */
INLINE void row_scale(const ce_args *a, real *dx, ce_row row, const int smooth) {
    vf k = v_set1(row.exp_scale), soft = v_set1(-row.soft_scale);
    int64_t c = 0;
    for (; c + VL <= a->v; c += VL) {
        vf g = v_load(dx + c) * k;
        if (smooth) g = v_fma(soft, a->weight ? v_load(a->weight + c) : v_set1(1), g);
        v_store(dx + c, g);
    }
    int rest = (int)(a->v - c);
    if (!rest) return;
    vf g = v_load_n(dx + c, rest) * k;
    if (smooth) g = v_fma(soft, a->weight ? v_load_n(a->weight + c, rest) : v_set1(1), g);
    v_store_n(dx + c, g, rest);
}

INLINE void large_row(const ce_args *a, ce_rows *rows, int slot, real *dx, const real *x, int64_t t, const int smooth) {
    real max = row_top(x, a->v), d_target = x[t] - max, sum_wd;
    real sum = row_exp(a, dx, x, max, &sum_wd, smooth);
    ce_row row = finish_row(a, rows, slot, t, d_target, sum, sum_wd, smooth);
    if (!dx) return;
    row_scale(a, dx, row, smooth);
    dx[t] -= row.hard_scale;
}

/* groups: of LANES classes in registers; 0: any V */
INLINE void chunk(const ce_args *a, int64_t first, int count, const int groups, const int smooth) {
    ce_rows rows;
    for (int slot = 0; slot < count; slot++) {
        int64_t i = first + slot, t = a->target[i];
        const real *x = a->logits + i * a->v;
        real *dx = a->dlogits ? a->dlogits + i * a->v : 0;
        if (t == a->ignore_index) skip_row(a, &rows, slot, dx);
        else if (groups) small_row(a, &rows, slot, dx, x, t, groups, smooth);
        else large_row(a, &rows, slot, dx, x, t, smooth);
    }
    for (int k = 0; k < count; k += VL) {
        int width = count - k < VL ? count - k : VL;
        vf lse = v_log(v_load_fill(rows.sum + k, width, 1));
        v_store_n(a->row_loss + first + k, v_fma(v_load_n(rows.factor + k, width), lse, v_load_n(rows.rest + k, width)),
                  width);
    }
}

static void ce_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const ce_args a = *(const ce_args *)ctx; /* a copy whose address does not get out: it stays in registers */
    (void)thread;
    for (int64_t i = begin; i < end; i += CHUNK_ROWS) {
        int count = (int)min_i64(end - i, CHUNK_ROWS);
        if (a.smooth) {
            if (a.v <= 2 * LANES) chunk(&a, i, count, 2, 1);
            else chunk(&a, i, count, 0, 1);
        } else if (a.v <= LANES) chunk(&a, i, count, 1, 0);
        else if (a.v <= 2 * LANES) chunk(&a, i, count, 2, 0);
        else if (a.v <= 4 * LANES) chunk(&a, i, count, 4, 0);
        else chunk(&a, i, count, 0, 0);
    }
}

static double sum_elements(const real *x, int64_t n) {
    double total = 0;
    for (int64_t i = 0; i < n;) {
        int64_t end = min_i64(i + SUM_ELEMS, n);
        vf sum[NV] = {0};
        for (; i < end; i += LANES)
            UNROLL for (int k = 0; k < NV; k++) {
                int64_t left = end - i - k * VL;
                sum[k] += left >= VL ? v_load(x + i + k * VL) : v_load_n(x + i + k * VL, left < 0 ? 0 : (int)left);
            }
        total += v_hsum(sum);
    }
    return total;
}

/* cross_entropy: loss of row i is, with w = weight or 1, e = label_smoothing, logp = log_softmax(logits[i]), t its target
 *     (1 - e) w[t] (-logp[t]) + e / V sum_c w[c] (-logp[c]),   0 if t = ignore_index;
 * reduced over rows to none, sum, or mean = sum / sum of w[t] over the rows that count (0 / 0 = NaN if none does)
 *   loss     [N] for reduction none, else [1]  out
 *   dlogits  [N, V]  out      gradient of the reduced loss (none: of each row's own); NULL: not wanted; may be logits
 *   logits   [N, V]  in       any value; a row with NaN or +inf gives NaN, -inf is a class that cannot be
 *   target   [N]     in       class in [0, V), or ignore_index (which may be a class)
 *   weight   [V]     in       NULL: ones
 *   scratch  cross_entropy_scratch(n, v) bytes: one loss per row
 * Returns -1, or the first row whose target is neither; then nothing was written.
 * Threads: rows. Order: 16 lanes in blocks of 4096, joined by v_hsum, the blocks in double one after another; both for
 * the classes of a row and for the rows. Accuracy: 2 ulp of |loss| + |x - max| (tests/cases/loss.py).
 * Method: max, then exp and its sum with the exponentials kept in dlogits, then scaled in place, so one exp per logit;
 * a row stays in the cache between the passes, up to 64 classes in registers. The logarithms of 64 rows are taken at
 * once. The target is subtracted by comparing lanes, as loading what a masked store just wrote stalls. */
int64_t FDL_FN(cross_entropy_scratch)(int64_t n, int64_t v) {
    (void)v;
    return n * (int64_t)sizeof(real);
}

int64_t FDL_FN(cross_entropy)(real *loss, real *dlogits, const real *logits, const int64_t *target, const real *weight,
                              int64_t ignore_index, double label_smoothing, int reduction, int64_t n, int64_t v,
                              void *scratch) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        if (target[i] == ignore_index) continue;
        if ((uint64_t)target[i] >= (uint64_t)v) return i;
        total += weight ? weight[target[i]] : 1;
    }
    int reduce = reduction != FDL_REDUCTION_NONE, smooth = label_smoothing != 0;
    double all_weights = smooth ? weight ? sum_elements(weight, v) : (double)v : 0, soft = smooth ? label_smoothing / v : 0;
    ce_args args = {reduce ? scratch : loss, dlogits, logits, target, weight, ignore_index, n, v, smooth,
                    (real)(1 - label_smoothing), (real)soft, (real)(soft * all_weights),
                    (real)(reduction == FDL_REDUCTION_MEAN ? 1 / total : 1)};
    if (n) fdl_parallel_for(n, GRAIN_ELEMS / (v + ROW_ELEMS) + 1, ce_task, &args);
    if (!reduce) return -1;
    double sum = sum_elements(args.row_loss, n);
    loss[0] = (real)(reduction == FDL_REDUCTION_MEAN ? sum / total : sum);
    return -1;
}
