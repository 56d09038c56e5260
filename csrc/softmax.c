/* softmax.c: softmax, log-softmax and logsumexp along the middle of [outer, v, inner], forward and backward. One exp per
 * element and direction.
 * inner = 1, rows: threads share the rows. A row's sums keep LANES partial results (backward: 4 x LANES) in blocks of BLOCK
 * elements; the blocks are added up in double, one after another.
 * inner > 1, columns: threads share strips of columns, whose maxima and sums are kept in registers while they are walked
 * down; sums in blocks of COLUMN_BLOCK elements, both in order. */
#include "fastdl.h"
#include "vecmath.h"

enum {
    BLOCK = 4096,    /* bits: elements of one partial sum */
    GROUPS = 4,      /* bits, in the backward pass: independent sums per lane */
    COLUMN_BLOCK = 64, /* bits: the same of a column */
    STRIP = 4,       /* vectors of columns done together */
    SMALL = 4,       /* bits: rows of up to SMALL LANES elements stay in registers */
    GRAIN = 8192,    /* elements worth a thread, about 5 us */
    ROW_COST = 24    /* what a row costs beside its elements, in elements */
};

INLINE vf load(const real *p, int width) { return width == VL ? v_load(p) : v_load_n(p, width); }
INLINE void store(real *p, vf x, int width) {
    if (width == VL) v_store(p, x);
    else v_store_n(p, x, width);
}

typedef struct softmax_args {
    real *out;
    const real *x, *y; /* fwd: x; bwd: x = dy, y */
    const real *dy;    /* logsumexp_bwd: beside x and y */
    int64_t v, inner, strips;
    int is_log;
} softmax_args;

static real log_of(real x) { return v_log(v_set1(x))[0]; }

/* Forward -------------------------------------------------------------------------------------------------------- */

/* v <= groups * LANES: the row stays in registers. Lanes beyond it are -inf. */
INLINE void small_row(const int groups, real *y, const real *x, int64_t v, const int is_log) {
    vf d[SMALL * NV], e[SMALL * NV], top[NV], sum[NV] = {0};
    UNROLL for (int k = 0; k < groups * NV; k++) {
        d[k] = v_load_fill(x + k * VL, clamp_width(v - k * VL), -INFINITY);
        top[k % NV] = k < NV ? d[k] : v_top(top[k % NV], d[k]);
    }
    vf max = v_set1(v_htop(top));
    UNROLL for (int k = 0; k < groups * NV; k++) {
        d[k] -= max;
        e[k] = v_exp_nonpositive(d[k]);
        sum[k % NV] += e[k];
    }
    real total = v_hsum(sum);
    vf c = v_set1(is_log ? log_of(total) : 1 / total);
    UNROLL for (int k = 0; k < groups * NV; k++)
        v_store_n(y + k * VL, is_log ? d[k] - c : e[k] * c, clamp_width(v - k * VL));
}

/* e = exp(x - max) into y (for a log: not stored); returns the sum */
INLINE real row_exp(real *y, const real *x, int64_t v, vf max, const int is_log) {
    double total = 0;
    for (int64_t begin = 0; begin < v; begin += BLOCK) {
        int64_t end = min_i64(begin + BLOCK, v), i = begin;
        vf sum[NV] = {0};
        for (; i + LANES <= end; i += LANES)
            UNROLL for (int k = 0; k < NV; k++) {
                vf e = v_exp_nonpositive(v_load(x + i + k * VL) - max);
                sum[k] += e;
                if (!is_log) v_store(y + i + k * VL, e);
            }
        UNROLL for (int k = 0; k < NV; k++) {
            int width = clamp_width(end - i - k * VL);
            if (!width) break;
            vf e = v_exp_nonpositive(v_load_fill(x + i + k * VL, width, -INFINITY) - max);
            if (width < VL) e = v_sel(v_lane_index() < v_iset1(width), e, v_zero()); /* NaN where max is -inf */
            sum[k] += e;
            if (!is_log) v_store_n(y + i + k * VL, e, width);
        }
        total += v_hsum(sum);
    }
    return (real)total;
}

INLINE void large_row(real *y, const real *x, int64_t v, const int is_log) {
    vf max = v_set1(v_row_top(x, v));
    real total = row_exp(y, x, v, max, is_log);
    vf c = v_set1(is_log ? log_of(total) : 1 / total);
    int64_t i = 0;
    for (; i + VL <= v; i += VL) v_store(y + i, is_log ? v_load(x + i) - max - c : v_load(y + i) * c);
    if (i == v) return;
    int rest = (int)(v - i);
    v_store_n(y + i, is_log ? v_load_n(x + i, rest) - max - c : v_load_n(y + i, rest) * c, rest);
}

INLINE void forward(const softmax_args *a, int64_t begin, int64_t end, const int is_log) {
    int64_t v = a->v;
    for (int64_t i = begin; i < end; i++) {
        real *y = a->out + i * v;
        const real *x = a->x + i * v;
        if (v <= LANES) small_row(1, y, x, v, is_log);
        else if (v <= 2 * LANES) small_row(2, y, x, v, is_log);
        else if (v <= SMALL * LANES) small_row(SMALL, y, x, v, is_log);
        else large_row(y, x, v, is_log);
    }
}
static void forward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    if (a->is_log) forward(a, begin, end, 1);
    else forward(a, begin, end, 0);
}

/* Columns: `count` vectors of them, 1 or STRIP, of `width` elements each. First their largest elements, NaN if there is
 * one. */
INLINE void columns_top(vf *top, const real *x, int64_t v, int64_t inner, const int count, const int width) {
    UNROLL for (int k = 0; k < count; k++) top[k] = v_set1(-INFINITY);
    for (int64_t i = 0; i < v * inner; i += inner)
        UNROLL for (int k = 0; k < count; k++) top[k] = v_top(top[k], load(x + i + k * VL, width));
}
INLINE void columns_fwd(real *y, const real *x, int64_t v, int64_t inner, const int count, const int width, const int is_log) {
    vf top[STRIP], total[STRIP] = {0}, c[STRIP];
    columns_top(top, x, v, inner, count, width);
    for (int64_t begin = 0; begin < v; begin += COLUMN_BLOCK) {
        vf sum[STRIP] = {0};
        int64_t end = min_i64(begin + COLUMN_BLOCK, v) * inner;
        for (int64_t i = begin * inner; i < end; i += inner)
            UNROLL for (int k = 0; k < count; k++) {
                vf e = v_exp_nonpositive(load(x + i + k * VL, width) - top[k]);
                sum[k] += e;
                if (!is_log) store(y + i + k * VL, e, width);
            }
        UNROLL for (int k = 0; k < count; k++) total[k] += sum[k];
    }
    UNROLL for (int k = 0; k < count; k++) c[k] = is_log ? v_log(total[k]) : v_set1(1) / total[k];
    for (int64_t i = 0; i < v * inner; i += inner)
        UNROLL for (int k = 0; k < count; k++) {
            const real *from = (is_log ? x : y) + i + k * VL;
            vf t = load(from, width);
            store(y + i + k * VL, is_log ? t - top[k] - c[k] : t * c[k], width);
        }
}
INLINE void forward_strips(const softmax_args *a, int64_t begin, int64_t end, const int is_log) {
    for (int64_t u = begin; u < end; u++) {
        int64_t j = u % a->strips * STRIP * VL, last = min_i64(j + STRIP * VL, a->inner), row = u / a->strips * a->v * a->inner;
        real *y = a->out + row;
        const real *x = a->x + row;
        if (last - j == STRIP * VL) {
            columns_fwd(y + j, x + j, a->v, a->inner, STRIP, VL, is_log);
            continue;
        }
        for (; j + VL <= last; j += VL) columns_fwd(y + j, x + j, a->v, a->inner, 1, VL, is_log);
        if (j < last) columns_fwd(y + j, x + j, a->v, a->inner, 1, (int)(last - j), is_log);
    }
}
static void forward_strips_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    if (a->is_log) forward_strips(a, begin, end, 1);
    else forward_strips(a, begin, end, 0);
}

static void run(softmax_args *a, int64_t outer, fdl_task rows, fdl_task columns) {
    if (!a->v || !a->inner) return;
    if (a->inner == 1) {
        fdl_parallel_for(outer, GRAIN / (a->v + ROW_COST) + 1, rows, a);
        return;
    }
    a->strips = (a->inner + STRIP * VL - 1) / (STRIP * VL);
    fdl_parallel_for(outer * a->strips, GRAIN / (a->v * min_i64(a->inner, STRIP * VL)) + 1, columns, a);
}

/* softmax_fwd: y[i] = exp(x[i] - max) / sum, sum = sum_j exp(x[j] - max), over the middle dimension;
 *              is_log: x[i] - max - log(sum)
 *   y  [outer, V, inner]  out    read by softmax_bwd
 *   x  [outer, V, inner]  in     NaN, +inf or nothing but -inf in a row make it NaN
 * Trusts: no partial overlap; y = x is allowed.
 * Accuracy: 3 ulp of y and what x - max rounds off; quotients below the smallest normal number are 0. */
void FDL_FN(softmax_fwd)(real *y, const real *x, int64_t outer, int64_t v, int64_t inner, int is_log) {
    softmax_args a = {.out = y, .x = x, .v = v, .inner = inner, .is_log = is_log};
    run(&a, outer, forward_task, forward_strips_task);
}

/* Backward ------------------------------------------------------------------------------------------------------- */

/* sum of dy * y, or of dy for a log */
INLINE real row_dot(const real *dy, const real *y, int64_t v, const int is_log) {
    double total = 0;
    for (int64_t begin = 0; begin < v; begin += BLOCK) {
        int64_t end = min_i64(begin + BLOCK, v), i = begin;
        vf sum[GROUPS * NV] = {0};
        for (; i + GROUPS * LANES <= end; i += GROUPS * LANES)
            UNROLL for (int k = 0; k < GROUPS * NV; k++) {
                vf g = v_load(dy + i + k * VL);
                sum[k] = is_log ? sum[k] + g : v_fma(g, v_load(y + i + k * VL), sum[k]);
            }
        UNROLL for (int k = 0; k < GROUPS * NV; k++) {
            int width = clamp_width(end - i - k * VL);
            if (!width) break;
            vf g = v_load_n(dy + i + k * VL, width);
            sum[k] = is_log ? sum[k] + g : v_fma(g, v_load_n(y + i + k * VL, width), sum[k]);
        }
        UNROLL for (int k = 0; k < 2 * NV; k++) sum[k] += sum[k + 2 * NV];
        UNROLL for (int k = 0; k < NV; k++) sum[k] += sum[k + NV];
        total += v_hsum(sum);
    }
    return (real)total;
}

INLINE void gradient(real *dx, const real *dy, const real *y, vf sum, const int width, const int is_log) {
    vf g = load(dy, width), p = load(y, width);
    store(dx, is_log ? v_fma(-v_exp_gradient(p), sum, g) : p * (g - sum), width);
}
INLINE void backward(const softmax_args *a, int64_t begin, int64_t end, const int is_log) {
    int64_t v = a->v;
    for (int64_t i = begin; i < end; i++) {
        const real *dy = a->x + i * v, *y = a->y + i * v;
        real *dx = a->out + i * v;
        vf s = v_set1(row_dot(dy, y, v, is_log));
        int64_t j = 0;
        for (; j + VL <= v; j += VL) gradient(dx + j, dy + j, y + j, s, VL, is_log);
        if (j < v) gradient(dx + j, dy + j, y + j, s, (int)(v - j), is_log);
    }
}
static void backward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    if (a->is_log) backward(a, begin, end, 1);
    else backward(a, begin, end, 0);
}

INLINE void columns_bwd(real *dx, const real *dy, const real *y, int64_t v, int64_t inner, const int count, const int width,
                        const int is_log) {
    vf total[STRIP] = {0};
    for (int64_t begin = 0; begin < v; begin += COLUMN_BLOCK) {
        vf sum[STRIP] = {0};
        int64_t end = min_i64(begin + COLUMN_BLOCK, v) * inner;
        for (int64_t i = begin * inner; i < end; i += inner)
            UNROLL for (int k = 0; k < count; k++) {
                vf g = load(dy + i + k * VL, width);
                sum[k] = is_log ? sum[k] + g : v_fma(g, load(y + i + k * VL, width), sum[k]);
            }
        UNROLL for (int k = 0; k < count; k++) total[k] += sum[k];
    }
    for (int64_t i = 0; i < v * inner; i += inner)
        UNROLL for (int k = 0; k < count; k++)
            gradient(dx + i + k * VL, dy + i + k * VL, y + i + k * VL, total[k], width, is_log);
}
INLINE void backward_strips(const softmax_args *a, int64_t begin, int64_t end, const int is_log) {
    for (int64_t u = begin; u < end; u++) {
        int64_t j = u % a->strips * STRIP * VL, last = min_i64(j + STRIP * VL, a->inner), row = u / a->strips * a->v * a->inner;
        real *dx = a->out + row;
        const real *dy = a->x + row, *y = a->y + row;
        if (last - j == STRIP * VL) {
            columns_bwd(dx + j, dy + j, y + j, a->v, a->inner, STRIP, VL, is_log);
            continue;
        }
        for (; j + VL <= last; j += VL) columns_bwd(dx + j, dy + j, y + j, a->v, a->inner, 1, VL, is_log);
        if (j < last) columns_bwd(dx + j, dy + j, y + j, a->v, a->inner, 1, (int)(last - j), is_log);
    }
}
static void backward_strips_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    if (a->is_log) backward_strips(a, begin, end, 1);
    else backward_strips(a, begin, end, 0);
}

/* softmax_bwd: dx = y (dy - sum_j dy[j] y[j]);  is_log: dx = dy - exp(y) sum_j dy[j]
 *   dx  [outer, V, inner]  out
 *   dy  [outer, V, inner]  in
 *   y   [outer, V, inner]  in     what softmax_fwd gave, with the same is_log
 * Trusts: no partial overlap; dx = dy is allowed. */
void FDL_FN(softmax_bwd)(real *dx, const real *dy, const real *y, int64_t outer, int64_t v, int64_t inner, int is_log) {
    softmax_args a = {.out = dx, .x = dy, .y = y, .v = v, .inner = inner, .is_log = is_log};
    run(&a, outer, backward_task, backward_strips_task);
}

/* logsumexp ------------------------------------------------------------------------------------------------------ */

/* exp(x - max), 1 where they are equal: also for infinite ones, so that the logarithm of the sum + max is right */
INLINE vf term(vf x, vf max) { return v_exp_nonpositive(v_sel(x == max, v_zero(), x - max)); }

static void lse_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    int64_t v = a->v;
    (void)thread;
    for (int64_t row = begin; row < end; row++) {
        const real *x = a->x + row * v;
        real top = v_row_top(x, v);
        double total = 0;
        for (int64_t first = 0; first < v; first += BLOCK) {
            int64_t last = min_i64(first + BLOCK, v), i = first;
            vf sum[NV] = {0}, max = v_set1(top);
            for (; i + LANES <= last; i += LANES)
                UNROLL for (int k = 0; k < NV; k++) sum[k] += term(v_load(x + i + k * VL), max);
            UNROLL for (int k = 0; k < NV; k++) {
                int width = clamp_width(last - i - k * VL);
                vf e = term(v_load_fill(x + i + k * VL, width, -INFINITY), max);
                sum[k] += v_sel(v_lane_index() < v_iset1(width), e, v_zero());
            }
            total += v_hsum(sum);
        }
        a->out[row] = top + log_of((real)total);
    }
}
INLINE void columns_lse(real *y, const real *x, int64_t v, int64_t inner, const int count, const int width) {
    vf top[STRIP], total[STRIP] = {0};
    columns_top(top, x, v, inner, count, width);
    for (int64_t begin = 0; begin < v; begin += COLUMN_BLOCK) {
        vf sum[STRIP] = {0};
        int64_t end = min_i64(begin + COLUMN_BLOCK, v) * inner;
        for (int64_t i = begin * inner; i < end; i += inner)
            UNROLL for (int k = 0; k < count; k++) sum[k] += term(load(x + i + k * VL, width), top[k]);
        UNROLL for (int k = 0; k < count; k++) total[k] += sum[k];
    }
    UNROLL for (int k = 0; k < count; k++) store(y + k * VL, top[k] + v_log(total[k]), width);
}
static void lse_strips_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    for (int64_t u = begin; u < end; u++) {
        int64_t j = u % a->strips * STRIP * VL, last = min_i64(j + STRIP * VL, a->inner), row = u / a->strips;
        real *y = a->out + row * a->inner;
        const real *x = a->x + row * a->v * a->inner;
        if (last - j == STRIP * VL) {
            columns_lse(y + j, x + j, a->v, a->inner, STRIP, VL);
            continue;
        }
        for (; j + VL <= last; j += VL) columns_lse(y + j, x + j, a->v, a->inner, 1, VL);
        if (j < last) columns_lse(y + j, x + j, a->v, a->inner, 1, (int)(last - j));
    }
}

/* logsumexp_fwd: y = max + log(sum_j exp(x[j] - max)), over the middle dimension; -inf for none
 *   y  [outer, inner]     out    read by logsumexp_bwd
 *   x  [outer, V, inner]  in     NaN gives NaN, else +inf gives +inf */
void FDL_FN(logsumexp_fwd)(real *y, const real *x, int64_t outer, int64_t v, int64_t inner) {
    softmax_args a = {.out = y, .x = x, .v = v, .inner = inner};
    if (!v)
        for (int64_t i = 0; i < outer * inner; i++) y[i] = -INFINITY;
    run(&a, outer, lse_task, lse_strips_task);
}

/* elements [i, i + width) of dx; y and dy: one number, or a vector each */
INLINE void lse_gradient(const softmax_args *a, int64_t i, vf y, vf dy, const int width) {
    vf d = load(a->x + i, width) - y;
    store(a->out + i, dy * v_sel(y == v_set1(-INFINITY), v_zero(), v_exp_nonpositive(d)), width);
}
static void lse_bwd_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    for (int64_t row = begin; row < end; row++) {
        vf y = v_set1(a->y[row]), dy = v_set1(a->dy[row]);
        int64_t i = row * a->v, last = i + a->v;
        for (; i + VL <= last; i += VL) lse_gradient(a, i, y, dy, VL);
        if (i < last) lse_gradient(a, i, y, dy, (int)(last - i));
    }
}
static void lse_bwd_strips_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    for (int64_t u = begin; u < end; u++) {
        int64_t from = u % a->strips * STRIP * VL, last = min_i64(from + STRIP * VL, a->inner), row = u / a->strips;
        for (int64_t i = row * a->v; i < (row + 1) * a->v; i++)
            for (int64_t j = from; j < last; j += VL) {
                int width = clamp_width(last - j);
                vf y = load(a->y + row * a->inner + j, width), dy = load(a->dy + row * a->inner + j, width);
                lse_gradient(a, i * a->inner + j, y, dy, width);
            }
    }
}

/* logsumexp_bwd: dx = dy exp(x - y), 0 where y is -inf
 *   dx  [outer, V, inner]  out
 *   dy  [outer, inner]     in
 *   x   [outer, V, inner]  in
 *   y   [outer, inner]     in     what logsumexp_fwd gave
 * Trusts: no partial overlap; dx = x is allowed. */
void FDL_FN(logsumexp_bwd)(real *dx, const real *dy, const real *x, const real *y, int64_t outer, int64_t v, int64_t inner) {
    softmax_args a = {.out = dx, .dy = dy, .x = x, .y = y, .v = v, .inner = inner};
    run(&a, outer, lse_bwd_task, lse_bwd_strips_task);
}
