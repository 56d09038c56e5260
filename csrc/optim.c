/* optim.c: optimizer steps, the gradient norm and scaling over lists of arrays.
 *
 * A list is `count` arrays of n[i] elements; one call updates all parameters of a group. The arrays are cut into
 * blocks of LANES elements that are counted through the whole list, and the threads share the blocks: many small
 * arrays cost no more than one large one, and a cut never falls inside a block. Updates are element by element, so
 * the cuts have no influence on the result; averages too small to change a parameter become 0 (LEAST); the order of operations is PyTorch's (torch/optim, single tensor).
 * Every pass touches each array once and is bound by memory: SGD moves 12 bytes per parameter, with momentum 20,
 * Adam 28. Accuracy: 1-2 ulp per step against the same formula in float64 (tests/test_optim.py). */
#include "fastdl.h"

enum {
    GRAIN_BLOCKS = 1024,     /* 16 K elements: 4-10 us, worth a thread */
    SUM_ELEMS = 4096,        /* one partial sum of sumsq */
    SUM_GROUPS = 4,          /* independent sums of LANES: hides the latency of the FMA */
    SUM_GRAIN = 8            /* partial sums: about 5 us from cache */
};

/* Does elements [begin, end) of array i. */
typedef void (*array_piece)(const void *args, int64_t i, int64_t begin, int64_t end);

typedef struct array_list {
    const int64_t *n;
    int64_t count;
    array_piece piece;
    const void *args;
} array_list;

INLINE int64_t block_count(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* blocks [begin, end) of the list, array by array */
static void list_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const array_list *list = ctx;
    (void)thread;
    for (int64_t i = 0, first = 0; i < list->count && first < end; i++) {
        int64_t blocks = block_count(list->n[i], LANES);
        int64_t low = max_i64(begin - first, 0), high = min_i64(end - first, blocks);
        if (low < high) list->piece(list->args, i, low * LANES, min_i64(high * LANES, list->n[i]));
        first += blocks;
    }
}

static void for_each_piece(const int64_t *n, int64_t count, array_piece piece, const void *args) {
    array_list list = {n, count, piece, args};
    int64_t blocks = 0;
    for (int64_t i = 0; i < count; i++) blocks += block_count(n[i], LANES);
    if (blocks) fdl_parallel_for(blocks, GRAIN_BLOCKS, list_task, &list);
}

/* sumsq: sum of the squares of all elements of all arrays; its root is the gradient norm
 *   x       [count] arrays of n[i]  in     NaN and inf give NaN and inf
 *   rows    [count]                 in     array i has only these of its rows, the others are zero; NULL: all are whole
 *   scratch sumsq_scratch(n, count) bytes: one double per 4096-element block
 * Threads: blocks of 4096 elements of one array.  Order: in a block 4 x LANES sums of `real`, joined 0+2, 1+3, then
 * by v_hsum; the block sums are joined in double by halving the list.  Accuracy: 64 additions per lane and block. */
typedef struct sumsq_args {
    const real *const *x;
    const fdl_rows *rows;
    const int64_t *n;
    int64_t count;
    double *partial;
} sumsq_args;

INLINE double sumsq_join(vf acc[SUM_GROUPS][NV]) {
    vf sum[NV];
    UNROLL for (int j = 0; j < NV; j++) sum[j] = (acc[0][j] + acc[2][j]) + (acc[1][j] + acc[3][j]);
    return v_hsum(sum);
}

static double sumsq_block(const real *x, int64_t n) {
    vf acc[SUM_GROUPS][NV] = {0};
    int64_t i = 0;
    for (; i + SUM_GROUPS * LANES <= n; i += SUM_GROUPS * LANES)
        UNROLL for (int k = 0; k < SUM_GROUPS * NV; k++) {
            vf a = v_load(x + i + k * VL);
            acc[k / NV][k % NV] = v_fma(a, a, acc[k / NV][k % NV]);
        }
    for (int k = 0; i < n; i += VL, k++) {
        vf a = v_load_n(x + i, (int)min_i64(n - i, VL));
        acc[k / NV][k % NV] = v_fma(a, a, acc[k / NV][k % NV]);
    }
    return sumsq_join(acc);
}

/* The same for elements [begin, end) of an array of which only some rows are there: what is zero adds nothing, so each
 * element joins the sum that it would join in the whole array. */
static double sumsq_rows(const real *x, const fdl_rows *rows, int64_t begin, int64_t end) {
    vf acc[SUM_GROUPS * NV] = {0};
    int64_t low = 0, high = rows->count;
    while (low < high) { /* the first row that ends behind `begin` */
        int64_t middle = low + (high - low) / 2;
        if ((rows->row[middle] + 1) * rows->d > begin) high = middle;
        else low = middle + 1;
    }
    if (low == rows->count || rows->row[low] * rows->d >= end) return 0;
    for (; low < rows->count && rows->row[low] * rows->d < end; low++) {
        int64_t first = rows->row[low] * rows->d, at = max_i64(first, begin), stop = min_i64(first + rows->d, end);
        const real *value = x + low * rows->d - first;
        while (at < stop) {
            int lane = (int)(at % VL), count = (int)min_i64(VL - lane, stop - at), k = (int)(at % (SUM_GROUPS * LANES) / VL);
            vf a;
            if (count == VL) {
                a = v_load(value + at);
            } else {
                real part[VL] = {0};
                memcpy(part + lane, value + at, count * sizeof(real));
                a = v_load(part);
            }
            acc[k] = v_fma(a, a, acc[k]);
            at += count;
        }
    }
    vf groups[SUM_GROUPS][NV];
    memcpy(groups, acc, sizeof acc);
    return sumsq_join(groups);
}

static void sumsq_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const sumsq_args *a = ctx;
    (void)thread;
    for (int64_t i = 0, first = 0; i < a->count && first < end; i++) {
        int64_t blocks = block_count(a->n[i], SUM_ELEMS);
        int64_t low = max_i64(begin - first, 0), high = min_i64(end - first, blocks);
        for (int64_t b = low; b < high; b++) {
            int64_t begin_elem = b * SUM_ELEMS, count = min_i64(a->n[i] - begin_elem, SUM_ELEMS);
            a->partial[first + b] = a->rows && a->rows[i].row
                ? sumsq_rows(a->x[i], a->rows + i, begin_elem, begin_elem + count)
                : sumsq_block(a->x[i] + begin_elem, count);
        }
        first += blocks;
    }
}

int64_t FDL_FN(sumsq_scratch)(const int64_t *n, int64_t count) {
    int64_t blocks = 0;
    for (int64_t i = 0; i < count; i++) blocks += block_count(n[i], SUM_ELEMS);
    return blocks * (int64_t)sizeof(double);
}

double FDL_FN(sumsq)(const real *const *x, const fdl_rows *rows, const int64_t *n, int64_t count, void *scratch) {
    sumsq_args args = {x, rows, n, count, scratch};
    int64_t blocks = FDL_FN(sumsq_scratch)(n, count) / (int64_t)sizeof(double);
    if (!blocks) return 0;
    fdl_parallel_for(blocks, SUM_GRAIN, sumsq_task, &args);
    for (int64_t left = blocks; left > 1;) {
        int64_t half = (left + 1) / 2;
        for (int64_t i = 0; i + half < left; i++) args.partial[i] += args.partial[i + half];
        left = half;
    }
    return args.partial[0];
}

/* scale: x = x * factor
 *   x       [count] arrays of n[i]  in and out */
typedef struct scale_args {
    real *const *x;
    real factor;
} scale_args;

static void scale_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    const scale_args *a = args;
    real *x = a->x[i];
    vf factor = v_set1(a->factor);
    for (; begin + VL <= end; begin += VL) v_store(x + begin, v_load(x + begin) * factor);
    int rest = (int)(end - begin);
    if (rest) v_store_n(x + begin, v_load_n(x + begin, rest) * factor, rest);
}

void FDL_FN(scale)(real *const *x, const int64_t *n, int64_t count, double factor) {
    scale_args args = {x, (real)factor};
    for_each_piece(n, count, scale_piece, &args);
}

/* What the steps below share: they read parameter, gradient and up to three state arrays, and write all but the
 * gradient. A gradient of NULL is zero. d = (maximize ? -g : g) * grad_scale is what a formula sees; weight_decay adds
 * weight_decay * p to it. */
typedef struct step_args {
    real *const *p;
    const real *const *g;
    real *const *state[3]; /* NULL: the formula has no such state */
    real grad_scale, weight_decay, neg_lr, eps;
    real root_least, square_least; /* see ROOT_LEAST; 0: all count */
    real c[5]; /* the formula's own numbers */
    int flag[2];
} step_args;

/* the new p, and the new state in s */
typedef vf (*step_formula)(const step_args *a, vf p, vf d, vf s[3]);

/* Averages that only decay, of rows that get no gradient any more, would end as denormals, and a step with them takes
 * ten times as long. What is too small to change a parameter counts as 0: averages of gradients below LEAST, and, where
 * eps is at least LEAST_EPS, gradients below ROOT_LEAST in averages of squares and what these keep below SQUARE_LEAST:
 * their roots are less than half an ulp of eps. */
#ifdef FDL_F64
#define LEAST 0x1p-900
#define ROOT_LEAST 0x1p-480
#define SQUARE_LEAST 0x1p-980
#else
#define LEAST 0x1p-100f
#define ROOT_LEAST 0x1p-56f
#define SQUARE_LEAST 0x1p-120f
#endif
#define LEAST_EPS 0x1p-30

/* x, or 0 where it is smaller than `least` */
INLINE vf not_less(vf x, real least) { return (vf)(~(v_abs(x) < v_set1(least)) & (vi)x); }

INLINE vf plus_decay(const step_args *a, vf p, vf d) {
    return a->weight_decay != 0 ? v_fma(v_set1(a->weight_decay), p, d) : d;
}

INLINE void step_piece(const void *args, int64_t i, int64_t begin, int64_t end, step_formula formula) {
    const step_args a = *(const step_args *)args;
    real *p = a.p[i], *state[3];
    const real *g = a.g[i];
    vf s[3] = {0}, d_scale = v_set1(a.grad_scale);
    for (int k = 0; k < 3; k++) state[k] = a.state[k] ? a.state[k][i] : 0;
    for (; begin + VL <= end; begin += VL) {
        UNROLL for (int k = 0; k < 3; k++) if (state[k]) s[k] = v_load(state[k] + begin);
        v_store(p + begin, formula(&a, v_load(p + begin), (g ? v_load(g + begin) : v_zero()) * d_scale, s));
        UNROLL for (int k = 0; k < 3; k++) if (state[k]) v_store(state[k] + begin, s[k]);
    }
    int rest = (int)(end - begin);
    if (!rest) return;
    UNROLL for (int k = 0; k < 3; k++) if (state[k]) s[k] = v_load_n(state[k] + begin, rest);
    vf d = (g ? v_load_n(g + begin, rest) : v_zero()) * d_scale;
    v_store_n(p + begin, formula(&a, v_load_n(p + begin, rest), d, s), rest);
    UNROLL for (int k = 0; k < 3; k++) if (state[k]) v_store_n(state[k] + begin, s[k], rest);
}

/* sgd_step: one step of stochastic gradient descent
 *     d   = d + weight_decay * p
 *     buf = first ? d : momentum * buf + (1 - dampening) * d          if momentum is not 0
 *     p   = p - lr * (nesterov ? d + momentum * buf : buf, or d without momentum)
 *   p                [count] arrays of n[i]  in and out
 *   g                [count]                 in
 *   momentum_buffer  [count]                 in and out   NULL if momentum is 0; with `first` what it holds is not used
 * Trusts, here and below: no overlap between arrays that are written. */
enum { SGD_MOMENTUM, SGD_KEEP, SGD_NESTEROV = 0, SGD_FIRST };

INLINE vf sgd_formula(const step_args *a, vf p, vf d, vf s[3]) {
    d = plus_decay(a, p, d);
    if (a->state[0]) {
        s[0] = a->flag[SGD_FIRST] ? d : v_fma(v_set1(a->c[SGD_KEEP]), d, v_set1(a->c[SGD_MOMENTUM]) * s[0]);
        s[0] = not_less(s[0], LEAST);
        d = a->flag[SGD_NESTEROV] ? v_fma(v_set1(a->c[SGD_MOMENTUM]), s[0], d) : s[0];
    }
    return v_fma(v_set1(a->neg_lr), d, p);
}
static void sgd_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    step_piece(args, i, begin, end, sgd_formula);
}

void FDL_FN(sgd_step)(real *const *p, const real *const *g, real *const *momentum_buffer, const int64_t *n,
                      int64_t count, double lr, double momentum, double dampening, double weight_decay, int nesterov,
                      int maximize, int first, double grad_scale) {
    step_args args = {p, g, {momentum != 0 ? momentum_buffer : 0},
        .grad_scale = (real)(maximize ? -grad_scale : grad_scale),
        .weight_decay = (real)weight_decay,
        .neg_lr = (real)-lr,
        .c = {[SGD_MOMENTUM] = (real)momentum, [SGD_KEEP] = (real)(1 - dampening)},
        .flag = {[SGD_NESTEROV] = nesterov, [SGD_FIRST] = first},
    };
    for_each_piece(n, count, sgd_piece, &args);
}

/* adam_step: one step of Adam, or of AdamW with `decoupled`
 *     decoupled: p = p * (1 - lr * weight_decay), else d = d + weight_decay * p
 *     m = m + (1 - beta1) (d - m);   v = beta2 * v + (1 - beta2) d^2;   w = v_max ? v_max = max(v_max, v) : v
 *     p = p - lr / (1 - beta1^step) * m / (sqrt(w) / sqrt(1 - beta2^step) + eps)
 *   p            [count] arrays of n[i]  in and out
 *   g            [count]                 in
 *   m, v, v_max  [count]                 in and out   v_max NULL: no amsgrad
 *   step         this step's number, from 1
 * The corrections are computed once, in double. */
enum { ADAM_SHRINK, ADAM_BETA1_REST, ADAM_BETA2, ADAM_BETA2_REST, ADAM_INV_ROOT2 };

/* a + w (b - a), from the nearer end, so that w = 1 gives b */
INLINE vf v_lerp(vf a, vf b, real w) {
    return w < (real)0.5 ? v_fma(v_set1(w), b - a, a) : v_fma(v_set1(w - 1), b - a, b);
}
/* decay * average + rest * d^2 */
INLINE vf square_average(const step_args *a, vf average, vf d, real decay, real rest) {
    d = not_less(d, a->root_least);
    return not_less(v_fma(v_set1(rest) * d, d, average * v_set1(decay)), a->square_least);
}

INLINE vf adam_formula(const step_args *a, vf p, vf d, vf s[3]) {
    p = p * v_set1(a->c[ADAM_SHRINK]);
    d = plus_decay(a, p, d);
    s[0] = not_less(v_lerp(s[0], not_less(d, LEAST), a->c[ADAM_BETA1_REST]), LEAST);
    s[1] = square_average(a, s[1], d, a->c[ADAM_BETA2], a->c[ADAM_BETA2_REST]);
    if (a->state[2]) s[2] = v_max(s[2], s[1]);
    vf root = v_sqrt(a->state[2] ? s[2] : s[1]);
    vf divisor = v_fma(root, v_set1(a->c[ADAM_INV_ROOT2]), v_set1(a->eps));
    return p + s[0] * v_set1(a->neg_lr) / divisor;
}
static void adam_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    step_piece(args, i, begin, end, adam_formula);
}

/* x^n by squaring: the same on every platform, which libm's pow is not */
static double power(double x, int64_t n) {
    double y = 1;
    for (; n > 0; n >>= 1, x *= x)
        if (n & 1) y *= x;
    return y;
}

void FDL_FN(adam_step)(real *const *p, const real *const *g, real *const *m, real *const *v, real *const *v_max,
                       const int64_t *n, int64_t count, double lr, double beta1, double beta2, double eps,
                       double weight_decay, int decoupled, int maximize, int64_t step, double grad_scale) {
    double correction1 = 1 - power(beta1, step), correction2 = 1 - power(beta2, step);
    step_args args = {p, g, {m, v, v_max},
        .grad_scale = (real)(maximize ? -grad_scale : grad_scale),
        .weight_decay = (real)(decoupled ? 0 : weight_decay),
        .neg_lr = (real)(-lr / correction1),
        .eps = (real)eps,
        .root_least = eps >= LEAST_EPS ? ROOT_LEAST : 0,
        .square_least = eps >= LEAST_EPS ? SQUARE_LEAST : 0,
        .c = {[ADAM_SHRINK] = (real)(decoupled ? 1 - lr * weight_decay : 1),
              [ADAM_BETA1_REST] = (real)(1 - beta1),
              [ADAM_BETA2] = (real)beta2,
              [ADAM_BETA2_REST] = (real)(1 - beta2),
              [ADAM_INV_ROOT2] = (real)(1 / __builtin_sqrt(correction2))},
    };
    for_each_piece(n, count, adam_piece, &args);
}

/* rmsprop_step
 *     d = d + weight_decay * p;   v = alpha * v + (1 - alpha) d^2;   with mean: mean = mean + (1 - alpha) (d - mean)
 *     e = d / (sqrt(v - mean^2) + eps);   with buf: buf = momentum * buf + e, e = buf;   p = p - lr * e
 *   p             [count] arrays of n[i]  in and out
 *   g             [count]                 in
 *   v, mean, buf  [count]                 in and out   mean NULL: not centered; buf NULL: no momentum */
enum { RMS_ALPHA, RMS_ALPHA_REST, RMS_MOMENTUM };

INLINE vf rmsprop_formula(const step_args *a, vf p, vf d, vf s[3]) {
    d = plus_decay(a, p, d);
    s[0] = square_average(a, s[0], d, a->c[RMS_ALPHA], a->c[RMS_ALPHA_REST]);
    vf square = s[0];
    if (a->state[1]) {
        s[1] = v_lerp(s[1], d, a->c[RMS_ALPHA_REST]);
        square = v_fma(-s[1], s[1], square);
    }
    vf divisor = v_sqrt(square) + v_set1(a->eps);
    if (!a->state[2]) return p + d * v_set1(a->neg_lr) / divisor;
    s[2] = v_set1(a->c[RMS_MOMENTUM]) * s[2] + d / divisor;
    return v_fma(v_set1(a->neg_lr), s[2], p);
}
static void rmsprop_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    step_piece(args, i, begin, end, rmsprop_formula);
}

void FDL_FN(rmsprop_step)(real *const *p, const real *const *g, real *const *v, real *const *mean, real *const *buf,
                          const int64_t *n, int64_t count, double lr, double alpha, double eps, double weight_decay,
                          double momentum, int maximize, double grad_scale) {
    step_args args = {p, g, {v, mean, buf},
        .grad_scale = (real)(maximize ? -grad_scale : grad_scale),
        .weight_decay = (real)weight_decay,
        .neg_lr = (real)-lr,
        .eps = (real)eps,
        .root_least = eps >= LEAST_EPS ? ROOT_LEAST : 0,
        .square_least = eps >= LEAST_EPS ? SQUARE_LEAST : 0,
        .c = {[RMS_ALPHA] = (real)alpha, [RMS_ALPHA_REST] = (real)(1 - alpha), [RMS_MOMENTUM] = (real)momentum},
    };
    for_each_piece(n, count, rmsprop_piece, &args);
}

/* adagrad_step:  d = d + weight_decay * p;   sum = sum + d^2;   p = p - lr * d / (sqrt(sum) + eps)
 *   p    [count] arrays of n[i]  in and out
 *   g    [count]                 in
 *   sum  [count]                 in and out */
INLINE vf adagrad_formula(const step_args *a, vf p, vf d, vf s[3]) {
    d = plus_decay(a, p, d);
    s[0] = v_fma(d, d, s[0]);
    return p + d * v_set1(a->neg_lr) / (v_sqrt(s[0]) + v_set1(a->eps));
}
static void adagrad_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    step_piece(args, i, begin, end, adagrad_formula);
}

void FDL_FN(adagrad_step)(real *const *p, const real *const *g, real *const *sum, const int64_t *n, int64_t count,
                          double lr, double eps, double weight_decay, int maximize, double grad_scale) {
    step_args args = {p, g, {sum},
        .grad_scale = (real)(maximize ? -grad_scale : grad_scale),
        .weight_decay = (real)weight_decay,
        .neg_lr = (real)-lr,
        .eps = (real)eps,
    };
    for_each_piece(n, count, adagrad_piece, &args);
}

/* adadelta_step
 *     d = d + weight_decay * p;   v = rho * v + (1 - rho) d^2;   e = sqrt(u + eps) / sqrt(v + eps) * d
 *     u = rho * u + (1 - rho) e^2;   p = p - lr * e
 *   p     [count] arrays of n[i]  in and out
 *   g     [count]                 in
 *   v, u  [count]                 in and out */
enum { DELTA_RHO, DELTA_RHO_REST };

INLINE vf adadelta_formula(const step_args *a, vf p, vf d, vf s[3]) {
    d = plus_decay(a, p, d);
    s[0] = square_average(a, s[0], d, a->c[DELTA_RHO], a->c[DELTA_RHO_REST]);
    vf e = v_sqrt(s[1] + v_set1(a->eps)) / v_sqrt(s[0] + v_set1(a->eps)) * d;
    s[1] = square_average(a, s[1], e, a->c[DELTA_RHO], a->c[DELTA_RHO_REST]);
    return v_fma(v_set1(a->neg_lr), e, p);
}
static void adadelta_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    step_piece(args, i, begin, end, adadelta_formula);
}

void FDL_FN(adadelta_step)(real *const *p, const real *const *g, real *const *v, real *const *u, const int64_t *n,
                           int64_t count, double lr, double rho, double eps, double weight_decay, int maximize,
                           double grad_scale) {
    step_args args = {p, g, {v, u},
        .grad_scale = (real)(maximize ? -grad_scale : grad_scale),
        .weight_decay = (real)weight_decay,
        .neg_lr = (real)-lr,
        .eps = (real)eps,
        .root_least = eps >= LEAST_EPS ? ROOT_LEAST : 0,
        .square_least = eps >= LEAST_EPS ? SQUARE_LEAST : 0,
        .c = {[DELTA_RHO] = (real)rho, [DELTA_RHO_REST] = (real)(1 - rho)},
    };
    for_each_piece(n, count, adadelta_piece, &args);
}
