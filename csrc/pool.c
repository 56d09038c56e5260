/* pool.c: maxima and means of windows that slide over planes; 1-d is a height of 1.
 *
 * Each row is laid out as one row for every residue of the stride, with the padding filled in, so that an entry of the
 * window is one distance in memory and neighbouring outputs are neighbours: everything runs in vectors, whatever stride,
 * padding and dilation are. Where there is neither stride nor padding along a row it is read where it lies. Backward goes
 * the same way in the other direction: sums are collected in the laid-out rows and then put back.
 *
 * Threads: planes. Order: the window row by row; dx collects outputs row by row, in each the window row by row. */
#include "fastdl.h"

enum { GRAIN = 16384 /* elements times entries that are worth a thread: about 5 us */ };

INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

typedef struct plan {
    const fdl_pool_args *a;
    int64_t low, pitch;   /* first entry of a laid-out row, its length */
    int64_t rows;         /* elements of a plane laid out; 0: in place */
    int64_t each;         /* elements of scratch of a thread */
    int64_t *column;      /* [kw] where entry kx of output 0's window stands in a laid-out row */
    real *counts, *buffer; /* counts [ow]: columns that a mean divides by */
} plan;

static plan make_plan(const fdl_pool_args *a) {
    plan p = {.a = a, .low = floor_div(-a->pad_w, a->stride_w)};
    int64_t high = floor_div((a->kw - 1) * a->dilation_w - a->pad_w, a->stride_w);
    int64_t last = (a->ow - 1) * a->stride_w + (a->kw - 1) * a->dilation_w - a->pad_w;
    int in_place = a->stride_w == 1 && !a->pad_w && last < a->w;
    p.pitch = in_place ? a->w : a->ow + high - p.low;
    p.rows = in_place ? 0 : (a->h * a->stride_w * p.pitch + 15) / 16 * 16;
    p.each = p.rows + (a->ow + 15) / 16 * 16;
    return p;
}

static int64_t shared(const fdl_pool_args *a) { return (a->kw * 8 + a->ow * (int64_t)sizeof(real) + 63) / 64 * 64; }

static void set_tables(plan *p) {
    const fdl_pool_args *a = p->a;
    p->column = a->scratch;
    p->counts = (real *)(p->column + a->kw);
    p->buffer = (real *)((char *)a->scratch + shared(a));
    for (int64_t k = 0; k < a->kw; k++) {
        int64_t e = k * a->dilation_w - a->pad_w, q = floor_div(e, a->stride_w);
        p->column[k] = (e - q * a->stride_w) * p->pitch + q - p->low;
    }
    for (int64_t x = 0; x < a->ow; x++) {
        int64_t from = x * a->stride_w - a->pad_w, to = min_i64(from + a->kw, a->w + a->pad_w);
        p->counts[x] = a->divisor ? 1 : a->count_padding ? to - from : min_i64(to, a->w) - max_i64(from, 0);
    }
}

/* what a mean of output row y divides by, the columns apart */
static real row_count(const fdl_pool_args *a, int64_t y) {
    int64_t from = y * a->stride_h - a->pad_h, to = min_i64(from + a->kh, a->h + a->pad_h);
    return a->divisor ? a->divisor : a->count_padding ? to - from : min_i64(to, a->h) - max_i64(from, 0);
}

/* entries [first, end) of the window of output row y that are rows of the plane */
INLINE int64_t first_row(const fdl_pool_args *a, int64_t y) {
    int64_t top = y * a->stride_h - a->pad_h;
    return top >= 0 ? 0 : (-top + a->dilation_h - 1) / a->dilation_h;
}
INLINE int64_t end_row(const fdl_pool_args *a, int64_t y) {
    int64_t left = a->h - (y * a->stride_h - a->pad_h);
    return left <= 0 ? 0 : min_i64(a->kh, (left + a->dilation_h - 1) / a->dilation_h);
}

static const real *lay_out(const plan *p, real *buffer, const real *x, real fill) {
    const fdl_pool_args *a = p->a;
    int64_t step = a->stride_w, first = max_i64(p->low, 0), lead = first - p->low;
    if (!p->rows) return x;
    real *out = buffer;
    for (int64_t row = 0; row < a->h; row++, x += a->w)
        for (int64_t f = 0; f < step; f++, out += p->pitch) {
            int64_t count = max_i64(min_i64((a->w - f + step - 1) / step - first, p->pitch - lead), 0);
            const real *from = x + first * step + f;
            for (int64_t i = 0; i < lead; i++) out[i] = fill;
            if (step == 1) memcpy(out + lead, from, count * sizeof(real));
            else if (step == 2) for (int64_t i = 0; i < count; i++) out[lead + i] = from[2 * i];
            else for (int64_t i = 0; i < count; i++) out[lead + i] = from[step * i];
            for (int64_t i = lead + count; i < p->pitch; i++) out[i] = fill;
        }
    return buffer;
}

/* the reverse: dx from its laid-out rows */
static void put_back(const plan *p, real *dx, const real *rows) {
    const fdl_pool_args *a = p->a;
    int64_t step = a->stride_w, first = max_i64(p->low, 0), lead = first - p->low;
    if (!p->rows) return;
    for (int64_t row = 0; row < a->h; row++, dx += a->w, rows += step * p->pitch) {
        int64_t whole = min_i64(a->w / 2, p->pitch - lead);
        int64_t paired = step == 2 && !first ? whole : 0; /* entries of both residues at once */
        for (int64_t i = 0; i < paired; i++) {
            dx[2 * i] = rows[lead + i];
            dx[2 * i + 1] = rows[p->pitch + lead + i];
        }
        for (int64_t f = 0; f < step; f++) {
            int64_t end = (a->w - f + step - 1) / step;
            for (int64_t i = paired; i < end; i++) {
                int64_t at = i - p->low;
                dx[i * step + f] = at >= 0 && at < p->pitch ? rows[f * p->pitch + at] : 0;
            }
        }
    }
}

INLINE vf load_some(const real *x, int n) { return n == VL ? v_load(x) : v_load_n(x, n); }
INLINE void store_some(real *x, vf y, int n) {
    if (n == VL) v_store(x, y);
    else v_store_n(x, y, n);
}
INLINE vi load_index(const ireal *x, int n) { return (vi)load_some((const real *)x, n); }

/* index of the window's first entry in the plane, in outputs [i, i + VL) of a row */
static vi first_index(const fdl_pool_args *a, int64_t row, int64_t i) {
    vi at = {0};
    for (int j = 0; j < VL; j++) {
        int64_t x = (i + j) * a->stride_w - a->pad_w;
        if (x < 0) x += (-x + a->dilation_w - 1) / a->dilation_w * a->dilation_w;
        at[j] = (ireal)(row * a->w + x);
    }
    return at;
}

INLINE void max_row(const plan *p, real *y, ireal *index, const real *rows, int64_t oy, const int with_index) {
    const fdl_pool_args *a = p->a;
    int64_t line = a->stride_w * p->pitch, top = oy * a->stride_h - a->pad_h, k0 = first_row(a, oy), k1 = end_row(a, oy);
    for (int64_t i = 0; i < a->ow; i += VL) {
        int n = (int)min_i64(VL, a->ow - i);
        vf best = v_set1(-INFINITY);
        vi columns = (v_lane_index() + v_iset1((ireal)i)) * (ireal)a->stride_w, at = v_iset1(0);
        if (with_index) at = first_index(a, top + k0 * a->dilation_h, i);
        for (int64_t ky = k0; ky < k1; ky++) {
            int64_t row = top + ky * a->dilation_h;
            const real *from = rows + row * line + i;
            for (int64_t kx = 0; kx < a->kw; kx++) {
                vf x = load_some(from + p->column[kx], n);
                vi wins = (x > best) | (x != x);
                best = v_sel(wins, x, best);
                if (with_index)
                    at = v_isel(wins, columns + v_iset1((ireal)(row * a->w + kx * a->dilation_w - a->pad_w)), at);
            }
        }
        store_some(y + i, best, n);
        if (with_index) store_some((real *)index + i, (vf)at, n);
    }
}

static void max_planes(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_pool_args *a = p->a;
    int64_t out = a->oh * a->ow;
    for (int64_t i = begin; i < end; i++) {
        const real *rows = lay_out(p, p->buffer + thread * p->each, a->x + i * a->h * a->w, -INFINITY);
        real *y = a->y + i * out;
        ireal *index = (ireal *)a->index + i * out;
        for (int64_t oy = 0; oy < a->oh; oy++)
            if (a->index) max_row(p, y + oy * a->ow, index + oy * a->ow, rows, oy, 1);
            else max_row(p, y + oy * a->ow, 0, rows, oy, 0);
    }
}

static void max_planes_bwd(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_pool_args *a = p->a;
    int64_t out = a->oh * a->ow, in = a->h * a->w, line = a->stride_w * p->pitch;
    for (int64_t plane = begin; plane < end; plane++) {
        real *dx = a->dx + plane * in, *rows = p->rows ? p->buffer + thread * p->each : dx;
        memset(rows, 0, (p->rows ? p->rows : in) * sizeof(real));
        for (int64_t oy = 0; oy < a->oh; oy++) {
            const real *dy = a->dy + plane * out + oy * a->ow;
            const ireal *index = (const ireal *)a->index + plane * out + oy * a->ow;
            int64_t top = oy * a->stride_h - a->pad_h, k1 = end_row(a, oy);
            for (int64_t ky = first_row(a, oy); ky < k1; ky++)
                for (int64_t kx = 0; kx < a->kw; kx++) {
                    int64_t row = top + ky * a->dilation_h;
                    real *to = rows + row * line + p->column[kx];
                    vi step = v_iset1((ireal)(VL * a->stride_w));
                    vi at = v_lane_index() * (ireal)a->stride_w +
                            v_iset1((ireal)(row * a->w + kx * a->dilation_w - a->pad_w));
                    for (int64_t i = 0; i < a->ow; i += VL, at += step) {
                        int n = (int)min_i64(VL, a->ow - i);
                        vi is_it = load_index(index + i, n) == at;
                        store_some(to + i, load_some(to + i, n) + (vf)(is_it & (vi)load_some(dy + i, n)), n);
                    }
                }
        }
        put_back(p, dx, rows);
    }
}

static void avg_planes(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_pool_args *a = p->a;
    int64_t line = a->stride_w * p->pitch;
    for (int64_t plane = begin; plane < end; plane++) {
        const real *rows = lay_out(p, p->buffer + thread * p->each, a->x + plane * a->h * a->w, 0);
        for (int64_t oy = 0; oy < a->oh; oy++) {
            real *y = a->y + (plane * a->oh + oy) * a->ow, count = row_count(a, oy);
            int64_t k0 = first_row(a, oy), k1 = end_row(a, oy);
            for (int64_t i = 0; i < a->ow; i += VL) {
                int n = (int)min_i64(VL, a->ow - i);
                vf sum = v_zero();
                for (int64_t ky = k0; ky < k1; ky++) {
                    const real *from = rows + (oy * a->stride_h - a->pad_h + ky) * line + i;
                    for (int64_t kx = 0; kx < a->kw; kx++) sum += load_some(from + p->column[kx], n);
                }
                store_some(y + i, sum / (v_set1(count) * load_some(p->counts + i, n)), n);
            }
        }
    }
}

static void avg_planes_bwd(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_pool_args *a = p->a;
    int64_t in = a->h * a->w, line = a->stride_w * p->pitch;
    for (int64_t plane = begin; plane < end; plane++) {
        real *dx = a->dx + plane * in, *share = p->buffer + thread * p->each + p->rows;
        real *rows = p->rows ? p->buffer + thread * p->each : dx; /* share: dy divided, of a row */
        memset(rows, 0, (p->rows ? p->rows : in) * sizeof(real));
        for (int64_t oy = 0; oy < a->oh; oy++) {
            const real *dy = a->dy + (plane * a->oh + oy) * a->ow;
            vf count = v_set1(row_count(a, oy));
            int64_t k1 = end_row(a, oy);
            for (int64_t i = 0; i < a->ow; i += VL) {
                int n = (int)min_i64(VL, a->ow - i);
                store_some(share + i, load_some(dy + i, n) / (count * load_some(p->counts + i, n)), n);
            }
            for (int64_t ky = first_row(a, oy); ky < k1; ky++)
                for (int64_t kx = 0; kx < a->kw; kx++) {
                    real *to = rows + (oy * a->stride_h - a->pad_h + ky) * line + p->column[kx];
                    for (int64_t i = 0; i < a->ow; i += VL) {
                        int n = (int)min_i64(VL, a->ow - i);
                        store_some(to + i, load_some(to + i, n) + load_some(share + i, n), n);
                    }
                }
        }
        put_back(p, dx, rows);
    }
}

/* max_pool, avg_pool: y[plane, oy, ox] = the largest element, or the mean, of the window
 *     x[plane, oy stride - pad + ky dilation, ox stride - pad + kx dilation], of what lies inside of x; see fdl_pool_args.
 * max: a NaN is the largest; of equal ones the first (of NaNs the last) is taken. index holds integers as wide as real.
 * avg: dilation is 1. The sum is divided by `divisor` if that is not 0, else by the window's elements, with or without
 * the padding on both sides (but not what lies beyond it).
 * The _bwd ones write dx from dy (and index).   scratch: pool_scratch(args) bytes */
int64_t FDL_FN(pool_scratch)(const fdl_pool_args *args) {
    return shared(args) + fdl_num_threads() * make_plan(args).each * (int64_t)sizeof(real);
}

static void run(const fdl_pool_args *a, fdl_task task) {
    plan p = make_plan(a);
    set_tables(&p);
    int64_t work = a->oh * ((a->ow + VL - 1) / VL * VL) * a->kh * a->kw + 2 * a->h * a->w;
    fdl_parallel_for(a->planes, GRAIN / work + 1, task, &p);
}

void FDL_FN(max_pool)(const fdl_pool_args *args) { run(args, max_planes); }
void FDL_FN(max_pool_bwd)(const fdl_pool_args *args) { run(args, max_planes_bwd); }
void FDL_FN(avg_pool)(const fdl_pool_args *args) { run(args, avg_planes); }
void FDL_FN(avg_pool_bwd)(const fdl_pool_args *args) { run(args, avg_planes_bwd); }

/* adaptive_avg_pool: y[plane, oy, ox] = mean over rows [oy h / oh, ceil((oy+1) h / oh)) and such columns of x;
 * with `backward` y is dy and x is dx, which is written. Threads: planes. Order: by rows. */
typedef struct adaptive {
    real *y, *x;
    int64_t h, w, oh, ow;
    int backward;
} adaptive;

static void adaptive_planes(void *ctx, int64_t begin, int64_t end, int thread) {
    const adaptive *a = ctx;
    (void)thread;
    for (int64_t plane = begin; plane < end; plane++) {
        real *x = a->x + plane * a->h * a->w, *y = a->y + plane * a->oh * a->ow;
        if (a->backward) memset(x, 0, a->h * a->w * sizeof(real));
        for (int64_t out = 0; out < a->oh * a->ow; out++) {
            int64_t oy = out / a->ow, ox = out % a->ow;
            int64_t y0 = oy * a->h / a->oh, y1 = ((oy + 1) * a->h + a->oh - 1) / a->oh;
            int64_t x0 = ox * a->w / a->ow, x1 = ((ox + 1) * a->w + a->ow - 1) / a->ow;
            real count = (real)((y1 - y0) * (x1 - x0)), sum = 0, g = a->backward ? y[out] / count : 0;
            for (int64_t i = y0; i < y1; i++)
                for (int64_t j = x0; j < x1; j++) {
                    if (a->backward) x[i * a->w + j] += g;
                    else sum += x[i * a->w + j];
                }
            if (!a->backward) y[out] = sum / count;
        }
    }
}

void FDL_FN(adaptive_avg_pool)(real *y, real *x, int64_t planes, int64_t h, int64_t w, int64_t oh, int64_t ow, int backward) {
    adaptive a = {y, x, h, w, oh, ow, backward};
    fdl_parallel_for(planes, GRAIN / (h * w + oh * ow + 1) + 1, adaptive_planes, &a);
}
