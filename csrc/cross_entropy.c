/* cross_entropy.c: log-softmax, loss and gradient in one pass over the logits. */
#include "fastdl.h"
#include "vecmath.h"

enum {
    SMALL_GROUPS = 4,         /* bits: rows of up to 4 LANES classes share the work of 16 rows */
    SUM_ELEMS = 4096,         /* bits: one partial sum of a row */
    PLANE_CLASSES = 64,       /* bits: the same where classes lie apart */
    PLANE_VECTORS = 16 / sizeof(real), /* vectors of 16 positions done together where classes lie apart: 256 bytes */
    GRAIN_ELEMS = 8192,       /* logits per thread, about 5 us */
    ROW_ELEMS = 24,           /* what a row costs beside its logits, in logits */
    STREAM_BYTES = 16 << 20   /* gradients of more than this go past the caches: they are not there when they are read */
};

/* what a target is: a class; a class, smoothed; a distribution */
enum { CLASS, SMOOTH, SOFT };

enum { COMMON = sizeof(real) == sizeof(float) }; /* class targets have code of their own in this type */

/* All that is the same for every row. */
typedef struct ce_args {
    real *row_loss; /* [N, inner] */
    real *dlogits, *dtarget;
    const real *logits, *soft_target, *weight;
    const int64_t *target;
    int64_t ignore_index, v, inner;
    real hard, soft; /* 1 - label_smoothing, label_smoothing / V */
    real soft_total; /* soft * sum of the weights */
    real scale;      /* of the gradients */
    real *buffer;    /* exponentials on their way, for each thread; NULL: they are kept in dlogits */
    int64_t buffer_elems;
} ce_args;

/* With a[c] = w[c] (hard q[c] + soft), q the distribution that is aimed at (SMOOTH: soft w[c], the class apart),
 * factor = their sum, d = x - max, and wt the weight of class t:
 *   loss  = factor log(sum) - rest,   rest = sum_c a[c] d[c] (+ hard wt d[t])
 *   dx[c] = scale (factor exp(d[c]) / sum - a[c] (- hard wt [c = t]))
 *   dq[c] = scale hard w[c] (log(sum) - d[c]) */
typedef struct ce_rows {
    real max[LANES], sum[LANES], factor[LANES], rest[LANES], hard[LANES];
    real exp_scale[LANES], log_sum[LANES];
    int ignored[LANES];
} ce_rows;

INLINE vf load(const real *p, int width) { return width == VL ? v_load(p) : v_load_n(p, width); }
INLINE void store(real *p, vf x, int width) {
    if (width == VL) v_store(p, x);
    else v_store_n(p, x, width);
}
INLINE vf load_weight(const ce_args *a, int64_t c, int width) {
    return a->weight ? load(a->weight + c, width) : v_set1(1);
}
/* a[c ..]; q: the target's row */
INLINE vf aim(const ce_args *a, const real *q, int64_t c, int width, const int kind) {
    vf w = load_weight(a, c, width);
    return w * (kind == SOFT ? v_fma(v_set1(a->hard), load(q + c, width), v_set1(a->soft)) : v_set1(a->soft));
}

/* the logit of class t, before a gradient takes its place */
INLINE real logit_of(const ce_args *a, int64_t t, const real *x) { return t == a->ignore_index ? 0 : x[t]; }

/* what a class target with this logit adds; for an ignored row `rows` gets what makes loss and gradient 0 */
INLINE void aim_at_class(const ce_args *a, ce_rows *rows, int slot, int64_t t, real logit) {
    if (t == a->ignore_index) {
        rows->ignored[slot] = 1;
        rows->sum[slot] = 1;
        rows->factor[slot] = rows->rest[slot] = rows->hard[slot] = 0;
        return;
    }
    real hard = a->weight ? a->hard * a->weight[t] : a->hard;
    rows->ignored[slot] = 0;
    rows->hard[slot] = a->scale * hard;
    rows->factor[slot] = hard + a->soft_total;
    rows->rest[slot] = s_fma(hard, logit - rows->max[slot], rows->rest[slot]);
}

/* losses and the scalars of the gradient for `count` rows */
INLINE void finish_rows(const ce_args *a, ce_rows *rows, real *loss, int count) {
    UNROLL for (int k = 0; k < LANES; k += VL) {
        int width = clamp_width(count - k);
        if (!width) return;
        vf sum = v_load(rows->sum + k), log_sum = v_log(sum), factor = v_load(rows->factor + k);
        v_store(rows->log_sum + k, log_sum);
        v_store(rows->exp_scale + k, v_set1(a->scale) * factor / sum);
        v_store_n(loss + k, v_fma(factor, log_sum, -v_load(rows->rest + k)), width);
    }
}

/* lane i: the lanes of acc[i][..], joined as v_hsum joins them */
INLINE void sum_each(real *out, vf acc[LANES][NV]) {
    UNROLL for (int first = 0; first < LANES; first += VL) {
        vf x[VL];
        for (int i = 0; i < VL; i++) {
            vf *y = acc[first + i];
            UNROLL for (int half = NV / 2; half; half /= 2)
                UNROLL for (int j = 0; j < half; j++) y[j] += y[j + half];
            x[i] = y[0];
        }
        v_store(out + first, v_hsum_each(x));
    }
}

/* V <= groups * LANES: 16 rows at a time, whose lanes are joined together. Lanes without a class are -inf. */
INLINE void small_rows(const ce_args *a, int64_t first, int count, const int groups, const int kind) {
    real e[LANES][SMALL_GROUPS * LANES] __attribute__((aligned(64)));
    vf top[LANES] = {0}, sum[LANES][NV] = {0}, aims[LANES][NV] = {0}, rest[LANES][NV] = {0};
    ce_rows rows;
    int64_t v = a->v;
    for (int r = 0; r < count; r++) {
        const real *x = a->logits + (first + r) * v;
        vf most = v_set1(-INFINITY);
        UNROLL for (int k = 0; k < groups * NV; k++)
            most = v_top(most, v_load_fill(x + k * VL, clamp_width(v - k * VL), -INFINITY));
        top[r] = most;
    }
    UNROLL for (int k = 0; k < LANES; k += VL) v_store(rows.max + k, v_htop_each(top + k));
    for (int r = 0; r < count; r++) {
        const real *x = a->logits + (first + r) * v, *q = kind == SOFT ? a->soft_target + (first + r) * v : 0;
        real max = rows.max[r];
        UNROLL for (int k = 0; k < groups * NV; k++) {
            int width = clamp_width(v - k * VL);
            vf y = v_exp_gradient(v_load_fill(x + k * VL, width, -INFINITY) - v_set1(max));
            v_store(e[r] + k * VL, y);
            sum[r][k % NV] += y;
            if (kind == CLASS) continue;
            vf d = v_load_fill(x + k * VL, width, max) - v_set1(max); /* 0 in lanes without a class */
            vf y_aim = v_sel(v_lane_index() < v_iset1(width), aim(a, q, k * VL, width, kind), v_zero());
            rest[r][k % NV] = v_fma(y_aim, d, rest[r][k % NV]);
            if (kind == SOFT) aims[r][k % NV] += y_aim;
        }
    }
    sum_each(rows.sum, sum);
    if (kind == CLASS) memset(rows.rest, 0, sizeof rows.rest);
    else sum_each(rows.rest, rest);
    if (kind == SOFT) sum_each(rows.factor, aims);
    else for (int r = 0; r < count; r++) {
        int64_t t = a->target[first + r];
        aim_at_class(a, &rows, r, t, logit_of(a, t, a->logits + (first + r) * v));
    }
    finish_rows(a, &rows, a->row_loss + first, count);
    for (int r = 0; r < count && a->dlogits; r++) {
        real *dx = a->dlogits + (first + r) * v;
        const real *q = kind == SOFT ? a->soft_target + (first + r) * v : 0;
        if (kind != SOFT && rows.ignored[r]) {
            memset(dx, 0, v * sizeof(real));
            continue;
        }
        UNROLL for (int k = 0; k < groups * NV; k++) {
            int width = clamp_width(v - k * VL);
            vf g = v_load(e[r] + k * VL) * v_set1(rows.exp_scale[r]);
            if (kind != CLASS)
                g = v_fma(v_set1(-a->scale), aim(a, q, k * VL, width, kind), g);
            if (kind != SOFT) {
                vi is_target = v_lane_index() == v_iset1((ireal)(a->target[first + r] - k * VL));
                g -= (vf)(is_target & (vi)v_set1(rows.hard[r]));
            }
            v_store_n(dx + k * VL, g, width);
        }
    }
    for (int r = 0; r < count && kind == SOFT && a->dtarget; r++)
        UNROLL for (int k = 0; k < groups * NV; k++) {
            int width = clamp_width(v - k * VL);
            int64_t at = (first + r) * v + k * VL;
            vf logp = v_load_n(a->logits + at, width) - v_set1(rows.max[r]) - v_set1(rows.log_sum[r]);
            v_store_n(a->dtarget + at, v_set1(-a->scale * a->hard) * load_weight(a, k * VL, width) * logp, width);
        }
}

typedef struct ce_sums {
    vf exp[NV], aims[NV], rest[NV];
} ce_sums;

/* classes [c, c + count) of a row, count <= LANES */
INLINE void exp_lanes(const ce_args *a, ce_sums *s, real *e, const real *x, const real *q, int64_t c, int count, vf max,
                      const int kind) {
    UNROLL for (int k = 0; k < NV; k++, c += VL, count -= VL) {
        int width = clamp_width(count);
        vf d = (width == VL ? v_load(x + c) : v_load_fill(x + c, width, -INFINITY)) - max;
        if (kind != CLASS) {
            vf y = aim(a, q, c, width, kind), inside = d;
            if (width < VL) {
                vi has_class = v_lane_index() < v_iset1(width);
                y = v_sel(has_class, y, v_zero()), inside = v_sel(has_class, d, v_zero());
            }
            s->rest[k] = v_fma(y, inside, s->rest[k]);
            if (kind == SOFT) s->aims[k] += y;
        }
        vf y = v_exp_gradient(d);
        s->exp[k] += y;
        if (e) store(e + c, y, width);
    }
}

/* e = exp(x - max) (NULL: not wanted; may be x), and the row's sums */
INLINE void row_exp(const ce_args *a, ce_rows *rows, int slot, real *e, const real *x, const real *q, const int kind) {
    double total = 0, total_aims = 0, total_rest = 0;
    vf max = v_set1(rows->max[slot]);
    for (int64_t c = 0; c < a->v;) {
        int64_t end = min_i64(c + SUM_ELEMS, a->v);
        ce_sums s = {};
        for (; c + LANES <= end; c += LANES) {
            __builtin_prefetch(x + a->v + c); /* the next row: its maximum is bound by memory, this loop is not */
            if (kind == SOFT) __builtin_prefetch(q + a->v + c);
            exp_lanes(a, &s, e, x, q, c, LANES, max, kind);
        }
        if (c < end) exp_lanes(a, &s, e, x, q, c, (int)(end - c), max, kind);
        c = end;
        total += v_hsum(s.exp);
        if (kind != CLASS) total_rest += v_hsum(s.rest);
        if (kind == SOFT) total_aims += v_hsum(s.aims);
    }
    rows->sum[slot] = (real)total;
    rows->rest[slot] = (real)total_rest;
    if (kind == SOFT) rows->factor[slot] = (real)total_aims;
}

/* `width` classes of the gradient from c on */
INLINE void scale_lanes(const ce_args *a, real *dx, const real *e, const real *q, int64_t c, int width, vf exp_scale,
                        int64_t t, vf hard, const int kind, const int streams) {
    vf g = load(e + c, width) * exp_scale;
    if (kind != CLASS) g = v_fma(v_set1(-a->scale), aim(a, q, c, width, kind), g);
    if (kind != SOFT) g -= (vf)((v_lane_index() == v_iset1((ireal)(t - c))) & (vi)hard);
    if (streams && width == VL) v_stream(dx + c, g);
    else store(dx + c, g, width);
}

/* dx from e; streams: they differ, and dx is not read back */
INLINE void row_scale(const ce_args *a, real *dx, const real *e, const real *q, real exp_scale, int64_t t, real hard,
                      const int kind, const int streams) {
    vf k = v_set1(exp_scale), h = v_set1(hard);
    int64_t c = 0;
    if (streams) {
        c = min_i64(a->v, (int64_t)(-(uintptr_t)dx % VB / sizeof(real)));
        if (c) scale_lanes(a, dx, e, q, 0, (int)c, k, t, h, kind, 0);
    }
    for (; c + VL <= a->v; c += VL) scale_lanes(a, dx, e, q, c, VL, k, t, h, kind, streams);
    if (c < a->v) scale_lanes(a, dx, e, q, c, (int)(a->v - c), k, t, h, kind, 0);
}

INLINE void large_rows(const ce_args *a, int64_t first, int count, real *buffer, const int kind) {
    ce_rows rows;
    int64_t v = a->v;
    for (int r = 0; r < count; r++) {
        int64_t i = first + r, t = kind == SOFT ? -1 : a->target[i];
        const real *x = a->logits + i * v, *q = kind == SOFT ? a->soft_target + i * v : 0;
        real *dx = a->dlogits ? a->dlogits + i * v : 0, *e = dx && buffer ? buffer : dx;
        if (kind != SOFT && t == a->ignore_index) {
            aim_at_class(a, &rows, r, t, 0);
            if (dx) memset(dx, 0, v * sizeof(real));
            continue;
        }
        rows.max[r] = v_row_top(x, v);
        real logit = kind == SOFT ? 0 : x[t];
        row_exp(a, &rows, r, e, x, q, kind);
        if (kind != SOFT) aim_at_class(a, &rows, r, t, logit);
        if (!dx) continue;
        real exp_scale = a->scale * rows.factor[r] / rows.sum[r];
        if (e != dx) row_scale(a, dx, e, q, exp_scale, t, rows.hard[r], kind, 1);
        else row_scale(a, dx, e, q, exp_scale, t, rows.hard[r], kind, 0);
    }
    finish_rows(a, &rows, a->row_loss + first, count);
    for (int r = 0; r < count && kind == SOFT && a->dtarget; r++)
        for (int64_t c = 0; c < v; c += VL) {
            int width = clamp_width(v - c);
            int64_t at = (first + r) * v + c;
            vf logp = load(a->logits + at, width) - v_set1(rows.max[r]) - v_set1(rows.log_sum[r]);
            store(a->dtarget + at, v_set1(-a->scale * a->hard) * load_weight(a, c, width) * logp, width);
        }
}

INLINE void some_rows(const ce_args *a, int64_t first, int count, real *buffer, const int kind) {
    const int common = COMMON && kind == CLASS;
    if (common && a->v <= LANES) small_rows(a, first, count, 1, kind);
    else if (common && a->v <= 2 * LANES) small_rows(a, first, count, 2, kind);
    else if (a->v <= SMALL_GROUPS * LANES) small_rows(a, first, count, SMALL_GROUPS, kind);
    else large_rows(a, first, count, buffer, kind);
}

/* Positions [j, j + width) of matrix n where the classes of a position lie `inner` apart: a lane for each. */
INLINE void plane(const ce_args *a, int64_t n, int64_t j, const int vectors, int width, real *buffer, const int kind) {
    int64_t at = n * a->v * a->inner + j, first = n * a->inner + j, e_step = a->inner;
    const real *x = a->logits + at, *q = kind == SOFT ? a->soft_target + at : 0;
    real *dx = a->dlogits ? a->dlogits + at : 0, *e = dx;
    vf max[PLANE_VECTORS * NV], sum[PLANE_VECTORS * NV] = {0}, factor[PLANE_VECTORS * NV] = {0};
    vf rest[PLANE_VECTORS * NV] = {0}, hard[PLANE_VECTORS * NV] = {0}, d_target[PLANE_VECTORS * NV] = {0};
    vi t[PLANE_VECTORS * NV] = {};
    int streams = dx && buffer && vectors > 1 && !(((uintptr_t)dx | a->inner * sizeof(real)) % VB);
    if (streams) e = buffer, e_step = vectors * VL;
    UNROLL for (int k = 0; k < vectors; k++) {
        max[k] = v_set1(-INFINITY);
        if (kind == SOFT) continue;
        for (int i = 0; i < width; i++) {
            int64_t id = a->target[first + k * VL + i];
            t[k][i] = id == a->ignore_index ? -1 : (ireal)id;
            hard[k][i] = id == a->ignore_index ? 0 : a->weight ? a->hard * a->weight[id] : a->hard;
        }
    }
    for (int64_t c = 0; c < a->v; c++)
        UNROLL for (int k = 0; k < vectors; k++) max[k] = v_top(max[k], load(x + c * a->inner + k * VL, width));
    for (int64_t c = 0; c < a->v;) {
        vf part[PLANE_VECTORS * NV] = {0};
        for (int64_t end = min_i64(a->v, c + PLANE_CLASSES); c < end; c++)
            UNROLL for (int k = 0; k < vectors; k++) {
                vf d = load(x + c * a->inner + k * VL, width) - max[k], y = v_exp_gradient(d);
                vf w = v_set1(a->weight ? a->weight[c] : 1);
                part[k] += y;
                if (kind != SOFT) d_target[k] = v_sel(t[k] == v_iset1((ireal)c), d, d_target[k]);
                if (kind == SMOOTH) rest[k] = v_fma(w * v_set1(a->soft), d, rest[k]);
                if (kind == SOFT) {
                    vf y_aim = w * v_fma(v_set1(a->hard), load(q + c * a->inner + k * VL, width), v_set1(a->soft));
                    rest[k] = v_fma(y_aim, d, rest[k]);
                    factor[k] += y_aim;
                }
                if (e) store(e + c * e_step + k * VL, y, width);
            }
        UNROLL for (int k = 0; k < vectors; k++) sum[k] += part[k];
    }
    UNROLL for (int k = 0; k < vectors; k++) {
        vi counts = kind == SOFT ? v_iset1(-1) : t[k] >= v_iset1(0);
        if (kind != SOFT) {
            factor[k] = hard[k] + v_set1(a->soft_total);
            rest[k] = v_fma(hard[k], d_target[k], rest[k]);
            hard[k] *= v_set1(a->scale);
        }
        vf log_sum = v_log(sum[k]);
        store(a->row_loss + first + k * VL, (vf)(counts & (vi)v_fma(factor[k], log_sum, -rest[k])), width);
        sum[k] = v_set1(a->scale) * factor[k] / sum[k]; /* from here on what the exponentials are multiplied with */
        if (kind == SOFT) d_target[k] = max[k] + log_sum;
    }
    for (int64_t c = 0; c < a->v && dx; c++)
        UNROLL for (int k = 0; k < vectors; k++) {
            vf g = load(e + c * e_step + k * VL, width) * sum[k], w = v_set1(a->weight ? a->weight[c] : 1);
            real *out = dx + c * a->inner + k * VL;
            if (kind == SMOOTH) g = v_fma(v_set1(-a->scale), w * v_set1(a->soft), g);
            if (kind == SOFT) {
                vf y_aim = w * v_fma(v_set1(a->hard), load(q + c * a->inner + k * VL, width), v_set1(a->soft));
                g = v_fma(v_set1(-a->scale), y_aim, g);
            } else {
                g -= (vf)((t[k] == v_iset1((ireal)c)) & (vi)hard[k]);
                g = (vf)((t[k] >= v_iset1(0)) & (vi)g);
            }
            if (streams) v_stream(out, g);
            else store(out, g, width);
        }
    for (int64_t c = 0; c < a->v && kind == SOFT && a->dtarget; c++)
        UNROLL for (int k = 0; k < vectors; k++) {
            vf w = v_set1(a->weight ? a->weight[c] : 1), logp = load(x + c * a->inner + k * VL, width) - d_target[k];
            store(a->dtarget + at + c * a->inner + k * VL, v_set1(-a->scale * a->hard) * w * logp, width);
        }
}

enum { PLANE_ELEMS = PLANE_VECTORS * LANES };

/* fewer positions than a block has, `width` at a time */
static __attribute__((noinline)) void plane_edge(const ce_args *a, int64_t n, int64_t j, int width, int kind) {
    if (COMMON && kind == CLASS) plane(a, n, j, 1, width, 0, CLASS);
    else plane(a, n, j, 1, width, 0, kind);
}

/* units: blocks of PLANE_ELEMS positions */
INLINE void some_planes(const ce_args *a, int64_t begin, int64_t end, real *buffer, const int kind) {
    int64_t blocks = (a->inner + PLANE_ELEMS - 1) / PLANE_ELEMS;
    for (; begin < end; begin++) {
        int64_t n = begin / blocks, j = begin % blocks * PLANE_ELEMS, last = min_i64(j + PLANE_ELEMS, a->inner);
        if (last - j == PLANE_ELEMS) {
            plane(a, n, j, PLANE_VECTORS * NV, VL, buffer, kind);
            continue;
        }
        for (; j < last; j += VL) plane_edge(a, n, j, clamp_width(last - j), kind);
    }
}

INLINE void range(const ce_args *a, int64_t begin, int64_t end, real *buffer, const int kind) {
    if (a->inner > 1) some_planes(a, begin, end, buffer, kind);
    else
        for (int64_t i = begin; i < end; i += LANES) some_rows(a, i, (int)min_i64(end - i, LANES), buffer, kind);
    if (buffer) v_stream_end();
}

static void ce_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const ce_args a = *(const ce_args *)ctx; /* a copy whose address does not get out: it stays in registers */
    real *buffer = a.buffer ? a.buffer + thread * a.buffer_elems : 0;
    const int kind = a.soft_target ? SOFT : a.soft != 0 ? SMOOTH : CLASS;
    if (COMMON && kind == CLASS) range(&a, begin, end, buffer, CLASS);
    else range(&a, begin, end, buffer, kind);
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

/* elements of a thread's buffer; 0: none is needed */
INLINE int64_t buffer_size(int64_t n, int64_t v, int64_t inner) {
    if (n * v * inner * (int64_t)sizeof(real) <= STREAM_BYTES) return 0;
    return v * (inner > 1 ? PLANE_ELEMS : 1) + LANES; /* threads do not share cache lines */
}
INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

int64_t FDL_FN(cross_entropy_scratch)(int64_t n, int64_t v, int64_t inner) {
    int64_t buffers = fdl_num_threads() * round_up(buffer_size(n, v, inner), LANES);
    return (round_up(n * inner, LANES) + buffers) * (int64_t)sizeof(real);
}

/* all of `a` that both kinds of targets set alike; total: what the mean divides by */
static void run(ce_args *a, real *loss, double label_smoothing, int reduction, double grad_scale, double total,
                int64_t n, real *scratch) {
    int64_t v = a->v, inner = a->inner, rows = n * inner;
    int mean = reduction == FDL_REDUCTION_MEAN, reduce = reduction != FDL_REDUCTION_NONE;
    a->row_loss = reduce ? scratch : loss;
    a->hard = (real)(1 - label_smoothing);
    a->soft = label_smoothing != 0 ? (real)(label_smoothing / v) : 0;
    a->scale = (real)(mean ? grad_scale / total : grad_scale);
    if (a->dlogits && a->dlogits != a->logits) {
        a->buffer_elems = round_up(buffer_size(n, v, inner), LANES);
        if (a->buffer_elems) a->buffer = scratch + round_up(rows, LANES);
    }
    int64_t units = inner > 1 ? n * ((inner + PLANE_ELEMS - 1) / PLANE_ELEMS) : n;
    int64_t unit_elems = inner > 1 ? v * min_i64(inner, PLANE_ELEMS) : v;
    if (rows) fdl_parallel_for(units, GRAIN_ELEMS / (unit_elems + ROW_ELEMS) + 1, ce_task, a);
    if (!reduce) return;
    double sum = sum_elements(a->row_loss, rows);
    loss[0] = (real)(mean ? sum / total : sum);
}

/* cross_entropy: loss of row i is, with w = weight or 1, e = label_smoothing, logp = log_softmax(logits[i]), t its target
 *     (1 - e) w[t] (-logp[t]) + e / V sum_c w[c] (-logp[c]),   0 if t = ignore_index;
 * reduced over rows to none, sum, or mean = sum / sum of w[t] over the rows that count (0 / 0 = NaN if none does)
 *   loss     [N, I] for reduction none, else [1]  out
 *   dlogits  [N, V, I]  out   gradient of the reduced loss (none: of each row's own) times grad_scale; NULL: not wanted;
 *                             may be logits
 *   logits   [N, V, I]  in    any value; a row with NaN or +inf gives NaN, -inf is a class that cannot be
 *   target   [N, I]     in    class in [0, V), or ignore_index (which may be a class)
 *   weight   [V]        in    NULL: ones
 *   scratch  cross_entropy_scratch(n, v, inner) bytes: one loss per row, exponentials of one row for each thread
 * A row is the V logits of one position i in [0, I).
 * Returns -1, or the first row whose target is neither; then nothing was written.
 * Threads: rows. Order: I = 1: 16 lanes in blocks of 4096, joined by v_hsum, the blocks in double one after another;
 * I > 1: one class after another in blocks of 64. The rows are added up as the classes of I = 1.
 * Accuracy: 2 ulp of |loss| + |x - max| (tests/cases/loss.py).
 * Method: max, then exp and its sum with the exponentials kept, then scaled, so one exp per logit; a row stays in the
 * cache between the passes. Probabilities below 9e-27 of the largest count as 0: scaled, they would be denormals, and a
 * product with these takes ten times as long. Up to 64 classes, 16 rows are done together: their lanes are joined, and their logarithms
 * and quotients taken, in vectors. Where the gradient is larger than the caches the exponentials wait in a buffer and
 * the gradient is stored past the caches, which saves reading it first: a third of all traffic. */
int64_t FDL_FN(cross_entropy)(real *loss, real *dlogits, const real *logits, const int64_t *target, const real *weight,
                              int64_t ignore_index, double label_smoothing, int reduction, double grad_scale, int64_t n,
                              int64_t v, int64_t inner, void *scratch) {
    double total = 0;
    for (int64_t i = 0; i < n * inner; i++) {
        if (target[i] == ignore_index) continue;
        if ((uint64_t)target[i] >= (uint64_t)v) return i;
        total += weight ? weight[target[i]] : 1;
    }
    ce_args args = {.dlogits = dlogits, .logits = logits, .weight = weight, .target = target,
                    .ignore_index = ignore_index, .v = v, .inner = inner};
    if (label_smoothing != 0)
        args.soft_total = (real)(label_smoothing / v * (weight ? sum_elements(weight, v) : (double)v));
    run(&args, loss, label_smoothing, reduction, grad_scale, total, n, scratch);
    return -1;
}

/* cross_entropy_soft: the same for targets that are distributions: with q = (1 - e) target[i] + e / V the loss of row i
 * is sum_c w[c] q[c] (-logp[c]); the mean divides by the number of rows
 *   dtarget  [N, V, I]  out   gradient for the target; NULL: not wanted
 *   target   [N, V, I]  in    any numbers; they need not add up to 1
 * All else as above. */
void FDL_FN(cross_entropy_soft)(real *loss, real *dlogits, real *dtarget, const real *logits, const real *target,
                                const real *weight, double label_smoothing, int reduction, int64_t n, int64_t v,
                                int64_t inner, void *scratch) {
    ce_args args = {.dlogits = dlogits, .dtarget = dtarget, .logits = logits, .weight = weight, .soft_target = target,
                    .v = v, .inner = inner};
    run(&args, loss, label_smoothing, reduction, 1, (double)(n * inner), n, scratch);
}
