/* optim.c: optimizer steps, the gradient norm and scaling over lists of arrays.
 *
 * A list is `count` arrays of n[i] elements; one call updates all parameters of a group. The arrays are cut into
 * blocks of LANES elements that are counted through the whole list, and the threads share the blocks: many small
 * arrays cost no more than one large one, and a cut never falls inside a block. Updates are element by element, so
 * the cuts have no influence on the result; the order of operations is PyTorch's (torch/optim, single tensor).
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

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
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
 *   scratch sumsq_scratch(n, count) bytes: one double per 4096-element block
 * Threads: blocks of 4096 elements of one array.  Order: in a block 4 x LANES sums of `real`, joined 0+2, 1+3, then
 * by v_hsum; the block sums are joined in double by halving the list.  Accuracy: 64 additions per lane and block. */
typedef struct sumsq_args {
    const real *const *x;
    const int64_t *n;
    int64_t count;
    double *partial;
} sumsq_args;

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
    vf sum[NV];
    UNROLL for (int j = 0; j < NV; j++) sum[j] = (acc[0][j] + acc[2][j]) + (acc[1][j] + acc[3][j]);
    return v_hsum(sum);
}

static void sumsq_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const sumsq_args *a = ctx;
    (void)thread;
    for (int64_t i = 0, first = 0; i < a->count && first < end; i++) {
        int64_t blocks = block_count(a->n[i], SUM_ELEMS);
        int64_t low = max_i64(begin - first, 0), high = min_i64(end - first, blocks);
        for (int64_t b = low; b < high; b++)
            a->partial[first + b] =
                sumsq_block(a->x[i] + b * SUM_ELEMS, min_i64(a->n[i] - b * SUM_ELEMS, SUM_ELEMS));
        first += blocks;
    }
}

int64_t FDL_FN(sumsq_scratch)(const int64_t *n, int64_t count) {
    int64_t blocks = 0;
    for (int64_t i = 0; i < count; i++) blocks += block_count(n[i], SUM_ELEMS);
    return blocks * (int64_t)sizeof(double);
}

double FDL_FN(sumsq)(const real *const *x, const int64_t *n, int64_t count, void *scratch) {
    sumsq_args args = {x, n, count, scratch};
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

/* sgd_step: one step of stochastic gradient descent, all arrays of n[i] elements
 *     d   = (maximize ? -g : g) * grad_scale + weight_decay * p
 *     buf = first ? d : momentum * buf + (1 - dampening) * d          if momentum is not 0
 *     p   = p - lr * (nesterov ? d + momentum * buf : buf, or d without momentum)
 *   p                [count]  in and out
 *   g                [count]  in
 *   momentum_buffer  [count]  in and out   NULL if momentum is 0; with `first` only written
 * Trusts: no overlap between arrays that are written. */
typedef struct sgd_args {
    real *const *p;
    const real *const *g;
    real *const *buf;
    real neg_lr, momentum, keep, weight_decay, grad_scale; /* keep = 1 - dampening */
    int nesterov, first;
} sgd_args;

INLINE vf sgd_vector(const sgd_args *a, vf p, vf g, vf *buf) {
    vf d = g * v_set1(a->grad_scale);
    if (a->weight_decay != 0) d = v_fma(v_set1(a->weight_decay), p, d);
    if (a->buf) {
        *buf = a->first ? d : v_fma(v_set1(a->keep), d, v_set1(a->momentum) * *buf);
        d = a->nesterov ? v_fma(v_set1(a->momentum), *buf, d) : *buf;
    }
    return v_fma(v_set1(a->neg_lr), d, p);
}

static void sgd_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    const sgd_args a = *(const sgd_args *)args;
    real *p = a.p[i], *buf = a.buf ? a.buf[i] : 0;
    const real *g = a.g[i];
    for (; begin + VL <= end; begin += VL) {
        vf b = buf && !a.first ? v_load(buf + begin) : v_zero();
        v_store(p + begin, sgd_vector(&a, v_load(p + begin), v_load(g + begin), &b));
        if (buf) v_store(buf + begin, b);
    }
    int rest = (int)(end - begin);
    if (!rest) return;
    vf b = buf && !a.first ? v_load_n(buf + begin, rest) : v_zero();
    v_store_n(p + begin, sgd_vector(&a, v_load_n(p + begin, rest), v_load_n(g + begin, rest), &b), rest);
    if (buf) v_store_n(buf + begin, b, rest);
}

void FDL_FN(sgd_step)(real *const *p, const real *const *g, real *const *momentum_buffer, const int64_t *n,
                      int64_t count, double lr, double momentum, double dampening, double weight_decay, int nesterov,
                      int maximize, int first, double grad_scale) {
    sgd_args args = {p, g, momentum != 0 ? momentum_buffer : 0, (real)-lr, (real)momentum, (real)(1 - dampening),
                     (real)weight_decay, (real)(maximize ? -grad_scale : grad_scale), nesterov, first};
    for_each_piece(n, count, sgd_piece, &args);
}

/* adam_step: one step of Adam, or of AdamW with `decoupled`, all arrays of n[i] elements
 *     d = (maximize ? -g : g) * grad_scale;   decoupled: p = p * (1 - lr * weight_decay), else d += weight_decay * p
 *     m = m + (1 - beta1) (d - m);   v = beta2 * v + (1 - beta2) d^2;   w = v_max ? v_max = max(v_max, v) : v
 *     p = p - lr / (1 - beta1^step) * m / (sqrt(w) / sqrt(1 - beta2^step) + eps)
 *   p            [count]  in and out
 *   g            [count]  in
 *   m, v, v_max  [count]  in and out   v_max NULL: no amsgrad
 *   step         this step's number, from 1
 * The corrections are computed once, in double. Trusts: no overlap between arrays that are written. */
typedef struct adam_args {
    real *const *p;
    const real *const *g;
    real *const *m, *const *v, *const *v_max;
    real grad_scale, shrink, weight_decay; /* shrink = 1 - lr * weight_decay if decoupled, else 1 */
    real one_minus_beta1, beta2, one_minus_beta2, inv_sqrt_correction2, eps, neg_step_size;
} adam_args;

/* a + w (b - a); from the nearer end, so that w = 1 gives b */
INLINE vf v_lerp(vf a, vf b, real w) { return w < (real)0.5 ? v_fma(v_set1(w), b - a, a) : v_fma(v_set1(w - 1), b - a, b); }

INLINE vf adam_vector(const adam_args *a, vf p, vf g, vf *m, vf *v, vf *top) {
    vf d = g * v_set1(a->grad_scale);
    p = p * v_set1(a->shrink);
    if (a->weight_decay != 0) d = v_fma(v_set1(a->weight_decay), p, d);
    *m = v_lerp(*m, d, a->one_minus_beta1);
    *v = v_fma(v_set1(a->one_minus_beta2) * d, d, *v * v_set1(a->beta2));
    if (a->v_max) *top = v_max(*top, *v);
    vf root = v_sqrt(a->v_max ? *top : *v);
    vf denominator = v_fma(root, v_set1(a->inv_sqrt_correction2), v_set1(a->eps));
    return p + *m * v_set1(a->neg_step_size) / denominator;
}

static void adam_piece(const void *args, int64_t i, int64_t begin, int64_t end) {
    const adam_args a = *(const adam_args *)args;
    real *p = a.p[i], *m = a.m[i], *v = a.v[i], *v_max = a.v_max ? a.v_max[i] : 0;
    const real *g = a.g[i];
    for (; begin + VL <= end; begin += VL) {
        vf mm = v_load(m + begin), vv = v_load(v + begin), top = v_max ? v_load(v_max + begin) : vv;
        v_store(p + begin, adam_vector(&a, v_load(p + begin), v_load(g + begin), &mm, &vv, &top));
        v_store(m + begin, mm);
        v_store(v + begin, vv);
        if (v_max) v_store(v_max + begin, top);
    }
    int rest = (int)(end - begin);
    if (!rest) return;
    vf mm = v_load_n(m + begin, rest), vv = v_load_n(v + begin, rest), top = v_max ? v_load_n(v_max + begin, rest) : vv;
    v_store_n(p + begin, adam_vector(&a, v_load_n(p + begin, rest), v_load_n(g + begin, rest), &mm, &vv, &top), rest);
    v_store_n(m + begin, mm, rest);
    v_store_n(v + begin, vv, rest);
    if (v_max) v_store_n(v_max + begin, top, rest);
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
    adam_args args = {
        p, g, m, v, v_max,
        .grad_scale = (real)(maximize ? -grad_scale : grad_scale),
        .shrink = (real)(decoupled ? 1 - lr * weight_decay : 1),
        .weight_decay = (real)(decoupled ? 0 : weight_decay),
        .one_minus_beta1 = (real)(1 - beta1),
        .beta2 = (real)beta2,
        .one_minus_beta2 = (real)(1 - beta2),
        .inv_sqrt_correction2 = (real)(1 / __builtin_sqrt(correction2)),
        .eps = (real)eps,
        .neg_step_size = (real)(-lr / correction1),
    };
    for_each_piece(n, count, adam_piece, &args);
}
