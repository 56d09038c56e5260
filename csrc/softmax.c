/* softmax.c: softmax and log-softmax of rows, forward and backward. One exp per element and direction.
 * Threads share the rows. A row's sums keep LANES partial results (backward: 4 x LANES) in blocks of BLOCK elements;
 * the blocks are added up in double, one after another. */
#include "fastdl.h"
#include "vecmath.h"

enum {
    BLOCK = 4096,    /* bits: elements of one partial sum */
    GROUPS = 4,      /* bits, in the backward pass: independent sums per lane */
    SMALL = 4,       /* bits: rows of up to SMALL LANES elements stay in registers */
    GRAIN = 8192,    /* elements worth a thread, about 5 us */
    ROW_COST = 24    /* what a row costs beside its elements, in elements */
};

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int clamp_width(int64_t left) { return left < 0 ? 0 : left < VL ? (int)left : VL; }

typedef struct softmax_args {
    real *out;
    const real *x, *y; /* fwd: x; bwd: x = dy, y */
    int64_t v;
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

static real row_top(const real *x, int64_t v) {
    vf top[GROUPS * NV];
    int64_t i = 0;
    UNROLL for (int k = 0; k < GROUPS * NV; k++) top[k] = v_set1(-INFINITY);
    for (; i + GROUPS * LANES <= v; i += GROUPS * LANES)
        UNROLL for (int k = 0; k < GROUPS * NV; k++) top[k] = v_top(top[k], v_load(x + i + k * VL));
    for (; i < v; i += VL) top[0] = v_top(top[0], v_load_fill(x + i, clamp_width(v - i), -INFINITY));
    UNROLL for (int k = NV; k < GROUPS * NV; k++) top[k % NV] = v_top(top[k % NV], top[k]);
    return v_htop(top);
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
    vf max = v_set1(row_top(x, v));
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

/* softmax_fwd: y[i] = exp(x[i] - max) / sum, sum = sum_j exp(x[j] - max);  is_log: x[i] - max - log(sum)
 *   y  [N, V]  out    read by softmax_bwd
 *   x  [N, V]  in     NaN, +inf or nothing but -inf in a row make it NaN
 * Trusts: no partial overlap; y = x is allowed.
 * Accuracy: 3 ulp of y and what x - max rounds off; quotients below the smallest normal number are 0. */
void FDL_FN(softmax_fwd)(real *y, const real *x, int64_t n, int64_t v, int is_log) {
    softmax_args a = {y, x, NULL, v, is_log};
    if (v) fdl_parallel_for(n, GRAIN / (v + ROW_COST) + 1, forward_task, &a);
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

INLINE void backward(const softmax_args *a, int64_t begin, int64_t end, const int is_log) {
    int64_t v = a->v;
    for (int64_t i = begin; i < end; i++) {
        const real *dy = a->x + i * v, *y = a->y + i * v;
        real *dx = a->out + i * v;
        vf s = v_set1(row_dot(dy, y, v, is_log));
        for (int64_t j = 0; j < v; j += VL) {
            int width = clamp_width(v - j);
            vf g = v_load_n(dy + j, width), p = v_load_n(y + j, width);
            v_store_n(dx + j, is_log ? v_fma(-v_exp_nonpositive(p), s, g) : p * (g - s), width);
        }
    }
}
static void backward_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const softmax_args *a = ctx;
    (void)thread;
    if (a->is_log) backward(a, begin, end, 1);
    else backward(a, begin, end, 0);
}

/* softmax_bwd: dx = y (dy - sum_j dy[j] y[j]);  is_log: dx = dy - exp(y) sum_j dy[j]
 *   dx  [N, V]  out
 *   dy  [N, V]  in
 *   y   [N, V]  in     what softmax_fwd gave, with the same is_log
 * Trusts: no partial overlap; dx = dy is allowed. */
void FDL_FN(softmax_bwd)(real *dx, const real *dy, const real *y, int64_t n, int64_t v, int is_log) {
    softmax_args a = {dx, dy, y, v, is_log};
    if (v) fdl_parallel_for(n, GRAIN / (v + ROW_COST) + 1, backward_task, &a);
}
