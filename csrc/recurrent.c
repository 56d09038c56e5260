/* recurrent.c: packing, register tiles and the schedule of rnn.c, gru.c and lstm.c; see recurrent.h. */
#include "recurrent.h"
#include "vecmath.h"

#if VREGS == 32 /* rows * cols sums, cols + 1 operands */
enum { ROWS_OF_4 = 6, ROWS_OF_3 = 8, ROWS_OF_2 = 8, ROWS_OF_1 = 8, ROWS_OF_TWO_PANELS = 2 };
#else /* 16 */
enum { ROWS_OF_4 = 3, ROWS_OF_3 = 4, ROWS_OF_2 = 6, ROWS_OF_1 = 8, ROWS_OF_TWO_PANELS = 1 };
#endif
enum {
    MAX_COLS = 4,
    FREE_COLS = 3,        /* vectors of a panel whose units have one gate: 8x48 reads less of W than 6x64 */
    AHEAD = 8,            /* k steps that the panel is prefetched into L1: 3 % from L2, 25 % from L3 */
    MAX_TILE = 24,        /* vectors that a tile writes at most */
    MIN_FLOPS = 1 << 22,  /* below, one thread: about 30 us, in which a second one has too few rows or units */
    PACK_FLOPS = 28,      /* that take as long as packing one element */
    ROWS_TO_FETCH = 2,    /* left operands that are fetched at once: other threads have just written parts of them */
    MIN_ROWS = 4,         /* rows per thread from which a step is dealt out by rows */
    L2_BYTES = 3 << 19,   /* packed weights above this come from L3 in each step: dealt out by panels, fetched ahead */
    MIN_ROWS_L3 = 96      /* unless each thread has so many rows that reading W from L3 does not matter */
};
static const int rows_of[] = {0, ROWS_OF_1, ROWS_OF_2, ROWS_OF_3, ROWS_OF_4};

/* ---- panels ---- */

INLINE int64_t unit_vectors(int64_t h) { return (h + VL - 1) / VL; }
INLINE int64_t packed_size(int64_t h, int gates) { return unit_vectors(h) * VL * gates * h; }
INLINE int64_t panel_start(const panels *w, int64_t p) { return p * w->cols + (p < w->wide ? p : w->wide); }
INLINE int panel_cols(const panels *w, int64_t p) { return (int)w->cols + (p < w->wide); }
INLINE real *panel_data(const panels *w, int64_t p) { return w->data + panel_start(w, p) * w->k * VL; }

/* the layout for one direction of the walk; both have the same size */
static panels make_panels(real *data, int64_t h, int gates, int backward) {
    int64_t units = unit_vectors(h), count = (units + FREE_COLS - 1) / FREE_COLS;
    if (!backward && gates > 1) return (panels){data, h, units, gates, 0};
    return (panels){data, backward ? gates * h : h, count, units / count, units % count};
}

/* One column vector of W_hh^T: rows [row0, row0 + n) of W_hh [.., H], the rest 0. Blocks of VL x VL are
 * transposed in registers. */
static void pack_column(real *out, int64_t ld, const real *w_hh, int64_t h, int64_t row0, int n) {
    vf x[VL];
    for (int64_t k = 0; k < h; k += VL) {
        int nk = h - k < VL ? (int)(h - k) : VL;
        for (int i = 0; i < VL; i++) x[i] = i < n ? load_part(w_hh + (row0 + i) * h + k, nk) : v_zero();
        v_transpose(x);
        for (int i = 0; i < nk; i++) v_store(out + (k + i) * ld, x[i]);
    }
}

static void pack_panel(const recurrent *r, int64_t p) {
    const panels *w = &r->w;
    int64_t h = r->args->h, v0 = panel_start(w, p);
    int cols = panel_cols(w, p);
    real *out = panel_data(w, p);
    for (int c = 0; c < cols; c++) {
        int interleaved = !r->backward && r->gates > 1;
        int64_t unit = (interleaved ? p : v0 + c) * VL;
        int n = h - unit < VL ? (int)(h - unit) : VL;
        if (r->backward)
            for (int64_t k = 0; k < w->k; k++)
                v_store(out + (k * cols + c) * VL, load_part(r->args->w_hh + k * h + unit, n));
        else
            pack_column(out + c * VL, cols * VL, r->args->w_hh, h, unit + (interleaved ? c * h : 0), n);
    }
}

/* ---- register tile ---- */

/* rows of the left operand: k0 values of a0, then k1 of a1 */
typedef struct operand {
    const real *a0, *a1;
    int64_t ld0, ld1, k0, k1;
} operand;

/* panels to sum, and what is read next: `ahead` elements of it per k step are fetched into L2 */
typedef struct panel_source {
    const real *w, *next;
    int64_t ldw, ahead;
} panel_source;

typedef void (*tile_fn)(real *out, const panel_source *from, const operand *a, int64_t row);

/* out[panel][row][col] = sum over k of a[row][k] * w[panel][k][col], for constant rows, cols, n_panels */
INLINE void sum_tile(real *out, const panel_source *from, const operand *a, int64_t row, int rows, int cols,
                     int n_panels) {
    const real *w = from->w, *next = from->next;
    const int64_t ldw = from->ldw, ahead = from->ahead;
    vf sum[MAX_TILE];
    UNROLL for (int i = 0; i < rows * cols * n_panels; i++) sum[i] = v_zero();
    for (int part = 0; part < 2; part++) {
        const real *x[8];
        int64_t k_end = part ? a->k1 : a->k0, ld = part ? a->ld1 : a->ld0;
        UNROLL for (int i = 0; i < rows; i++) x[i] = (part ? a->a1 : a->a0) + (row + i) * ld;
        for (int64_t k = 0; k < k_end; k++, w += cols * VL, next += ahead) {
            __builtin_prefetch(next, 0, 2);
            UNROLL for (int p = 0; p < n_panels; p++) {
                vf b[MAX_COLS];
                UNROLL for (int c = 0; c < cols; c++) {
                    b[c] = v_load(w + p * ldw + c * VL);
                    if (c * VB % 64 == 0) __builtin_prefetch(w + p * ldw + (AHEAD * cols + c) * VL);
                }
                UNROLL for (int i = 0; i < rows; i++) {
                    vf xi = v_set1(x[i][k]);
                    UNROLL for (int c = 0; c < cols; c++) {
                        vf *s = &sum[(p * rows + i) * cols + c];
                        *s = v_fma(xi, b[c], *s);
                    }
                }
            }
        }
    }
    UNROLL for (int i = 0; i < rows * cols * n_panels; i++) v_store(out + i * VL, sum[i]);
}

#define TILE(rows, cols, n_panels)                                                                                     \
    static void tile_##rows##x##cols##x##n_panels(real *out, const panel_source *from, const operand *a, int64_t row) { \
        sum_tile(out, from, a, row, rows, cols, n_panels);                                                             \
    }
#define TILES_OF_3_ROWS(cols) TILE(1, cols, 1) TILE(2, cols, 1) TILE(3, cols, 1)
TILES_OF_3_ROWS(1) TILE(4, 1, 1) TILE(5, 1, 1) TILE(6, 1, 1) TILE(7, 1, 1) TILE(8, 1, 1)
TILES_OF_3_ROWS(2) TILE(4, 2, 1) TILE(5, 2, 1) TILE(6, 2, 1)
TILES_OF_3_ROWS(3) TILE(4, 3, 1)
TILES_OF_3_ROWS(4)
TILE(1, 1, 2) TILE(1, 2, 2) TILE(1, 3, 2) TILE(1, 4, 2)
#if VREGS == 32
TILE(7, 2, 1) TILE(8, 2, 1)
TILE(5, 3, 1) TILE(6, 3, 1) TILE(7, 3, 1) TILE(8, 3, 1)
TILE(4, 4, 1) TILE(5, 4, 1) TILE(6, 4, 1)
TILE(2, 1, 2) TILE(2, 2, 2) TILE(2, 3, 2) TILE(2, 4, 2)
static const tile_fn two_panels[2][MAX_COLS] = {{tile_1x1x2, tile_1x2x2, tile_1x3x2, tile_1x4x2},
                                                {tile_2x1x2, tile_2x2x2, tile_2x3x2, tile_2x4x2}};
#define WIDE(f) f
#else
static const tile_fn two_panels[1][MAX_COLS] = {{tile_1x1x2, tile_1x2x2, tile_1x3x2, tile_1x4x2}};
#define WIDE(f) 0
#endif
static const tile_fn one_panel[MAX_COLS][8] = {
    {tile_1x1x1, tile_2x1x1, tile_3x1x1, tile_4x1x1, tile_5x1x1, tile_6x1x1, tile_7x1x1, tile_8x1x1},
    {tile_1x2x1, tile_2x2x1, tile_3x2x1, tile_4x2x1, tile_5x2x1, tile_6x2x1, WIDE(tile_7x2x1), WIDE(tile_8x2x1)},
    {tile_1x3x1, tile_2x3x1, tile_3x3x1, tile_4x3x1, WIDE(tile_5x3x1), WIDE(tile_6x3x1), WIDE(tile_7x3x1), WIDE(tile_8x3x1)},
    {tile_1x4x1, tile_2x4x1, tile_3x4x1, WIDE(tile_4x4x1), WIDE(tile_5x4x1), WIDE(tile_6x4x1), 0, 0},
};

/* ---- walk ---- */

static int64_t walk_size(const walk *w, int64_t t) { return w->sizes ? w->sizes[t] : w->b; }

static void walk_look_ahead(walk *w) {
    int64_t next = w->t + w->dir;
    w->n_after = next == w->end ? 0 : walk_size(w, next);
    w->row_after = w->dir > 0 ? w->row + w->n : w->row - w->n_after;
}

static walk walk_start(const fdl_rnn_args *args, int backward) {
    walk w = {.sizes = args->batch_sizes, .b = args->b};
    if (!args->reverse == !backward) {
        w.dir = 1, w.end = args->t;
    } else {
        w.dir = -1, w.end = -1, w.t = args->t - 1;
        for (int64_t t = 0; t < w.t; t++) w.row += walk_size(&w, t);
    }
    w.n = walk_size(&w, w.t);
    walk_look_ahead(&w);
    return w;
}

static int walk_next(walk *w) { /* 0: there is none */
    w->t += w->dir;
    if (w->t == w->end) return 0;
    w->row_before = w->row, w->n_before = w->n;
    w->row = w->row_after, w->n = w->n_after;
    walk_look_ahead(w);
    return 1;
}

/* ---- shares ---- */

typedef struct share {
    int64_t first, stride, panel0, panel1;
} share;

static int64_t share_rows(const share *s, int64_t n) { /* how many of the rows [0, n) belong to the share */
    return n <= s->first ? 0 : (n - s->first + s->stride - 1) / s->stride;
}

/* whether a step of n rows is dealt out by rows: then no thread reads what another one made of the step before */
static int deals_rows(const recurrent *r, int64_t n, int n_threads) {
    return n_threads == 1 || r->w.count < n_threads || n / n_threads >= (r->is_far ? MIN_ROWS_L3 : MIN_ROWS);
}

/* a [B, ld] block as left operand of the share's rows */
static operand share_operand(const share *s, const real *a, int64_t ld, int64_t k) {
    return (operand){.a0 = a + s->first * ld, .ld0 = s->stride * ld, .k0 = k};
}

static void finish_tile(const recurrent *r, const walk *w, tile *x, int64_t p, int cols) {
    int64_t h = r->args->h, units = panel_start(&r->w, p);
    int interleaved = !r->backward && r->gates > 1;
    if (interleaved) units = p, cols = 1;
    for (int c = 0; c < cols; c++, x->sum += VL) {
        x->unit = (units + c) * VL;
        x->n = h - x->unit < VL ? (int)(h - x->unit) : VL;
        r->cell(r, w, x);
    }
}

/* sums and cells of the share's rows [begin, end), counted within the share */
static void run_rows(const recurrent *r, const share *s, const walk *w, const operand *a, int64_t begin, int64_t end) {
    real out[MAX_TILE * VL] __attribute__((aligned(64)));
    int64_t rows = end - begin;
    if (rows <= 0) return;
    if (rows <= ROWS_TO_FETCH)
        for (int64_t i = begin; i < end; i++)
            for (int64_t k = 0; k < a->k0; k += 64 / (int64_t)sizeof(real)) __builtin_prefetch(a->a0 + i * a->ld0 + k);
    /* one row, or weights beyond L2: every other step goes back, first to the panels that are in the caches still */
    int back = (rows == 1 || r->is_far) && (w->t & 1), n_panels;
    for (int64_t done = 0, count = s->panel1 - s->panel0; done < count; done += n_panels) {
        int64_t p = back ? s->panel1 - 1 - done : s->panel0 + done;
        int cols = panel_cols(&r->w, p);
        n_panels = rows <= ROWS_OF_TWO_PANELS && done + 1 < count && panel_cols(&r->w, back ? p - 1 : p + 1) == cols ? 2 : 1;
        if (back) p -= n_panels - 1;
        int64_t tiles = (rows + rows_of[cols] - 1) / rows_of[cols], after = back ? p - n_panels : p + n_panels;
        panel_source from = {panel_data(&r->w, p), 0, cols * VL * r->w.k, 0};
        from.next = from.w;
        if (r->is_far && after >= s->panel0 && after < s->panel1) {
            from.next = panel_data(&r->w, after);
            from.ahead = n_panels * cols * VL / tiles;
        }
        for (int64_t i = 0; i < tiles; i++, from.next += from.ahead * r->w.k) {
            int64_t row = begin + rows * i / tiles;
            int n = (int)(begin + rows * (i + 1) / tiles - row);
            (n_panels > 1 ? two_panels[n - 1][cols - 1] : one_panel[cols - 1][n - 1])(out, &from, a, row);
            for (int q = 0; q < n_panels; q++) {
                tile x = {out + q * n * cols * VL, cols * VL, s->first + row * s->stride, s->stride, 0, n, 0};
                finish_tile(r, w, &x, p + q, cols);
            }
        }
    }
}

/* ---- steps ---- */

static void step_fwd(const recurrent *r, const share *s, const walk *w) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h, rows = share_rows(s, w->n), old = share_rows(s, w->n_before);
    if (old > rows) old = rows;
    operand a = share_operand(s, args->y + w->row_before * args->ldy, args->ldy, h);
    run_rows(r, s, w, &a, 0, old);
    a = share_operand(s, args->h0, h, args->h0 ? h : 0);
    run_rows(r, s, w, &a, old, rows);
}

/* dG of the step at `row` */
static operand gradient_operand(const recurrent *r, const share *s, int64_t row) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h, gh = r->gates * h;
    operand a = share_operand(s, args->dgx + row * gh, gh, gh);
    if (args->dgh_n && r->gates == 3) { /* gru: the n gate's gradient differs between input and recurrent part */
        a.k0 = 2 * h, a.k1 = h;
        a.a1 = args->dgh_n + (row + s->first) * h, a.ld1 = s->stride * h;
    }
    return a;
}

static void step_bwd(const recurrent *r, const share *s, const walk *w) {
    int64_t rows = share_rows(s, w->n), old = share_rows(s, w->n_before);
    if (old > rows) old = rows;
    operand a = gradient_operand(r, s, w->row_before);
    run_rows(r, s, w, &a, 0, old);
    a.k0 = a.k1 = 0;
    run_rows(r, s, w, &a, old, rows);
}

/* dh0 of the rows whose first step in time was the current one: dG W_hh, to which the gru's cell left z * dh */
static void initial_cell(const recurrent *r, const walk *w, const tile *x) {
    (void)w;
    for (int i = 0; i < x->rows; i++) {
        real *dh0 = r->args->dh0 + (x->row + i * x->stride) * r->args->h + x->unit;
        vf sum = v_load(x->sum + i * x->ld);
        if (r->gates == 3) sum += load_part(dh0, x->n);
        store_part(dh0, sum, x->n);
    }
}

static void initial_bwd(const recurrent *r, const share *s, const walk *w) {
    recurrent last = *r;
    last.cell = initial_cell;
    operand a = gradient_operand(r, s, w->row);
    run_rows(&last, s, w, &a, share_rows(s, w->n_after), share_rows(s, w->n));
}

static void run_thread(void *ctx, fdl_team *team, int thread, int n_threads) {
    const recurrent *r = ctx;
    int64_t count = r->w.count;
    share by_rows = {thread, n_threads, 0, count};
    share by_panels = {0, 1, count * thread / n_threads, count * (thread + 1) / n_threads};
    if (r->pack)
        for (int64_t p = by_panels.panel0; p < by_panels.panel1; p++) pack_panel(r, p);
    if (n_threads > 1) fdl_barrier(team, thread);
    walk w = walk_start(r->args, r->backward);
    int was_alone = 0;
    do {
        int alone = deals_rows(r, w.n, n_threads);
        const share *s = alone ? &by_rows : &by_panels;
        if (was_alone && !alone) fdl_barrier(team, thread);
        (r->backward ? step_bwd : step_fwd)(r, s, &w);
        if (!alone) fdl_barrier(team, thread);
        if (r->backward && r->args->dh0 && w.n_after < w.n) initial_bwd(r, s, &w);
        was_alone = alone;
    } while (walk_next(&w) && !fdl_stopped(thread));
}

/* scratch: packed weights, H zeros; backward dh and dc [B,H] */
static int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

int64_t FDL_FN(recurrent_scratch)(const fdl_rnn_args *args, int gates) {
    int64_t state = args->dgx ? padded(args->b * args->h) : 0;
    return (packed_size(args->h, gates) + padded(args->h) + 2 * state + LANES) * (int64_t)sizeof(real);
}

void FDL_FN(recurrent_run)(recurrent *r) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h, b = args->b;
    if (args->t <= 0 || b <= 0 || h <= 0) return;
    real *packed = args->scratch, *zeros = packed + padded(packed_size(h, r->gates));
    r->w = make_panels(packed, h, r->gates, r->backward);
    r->is_far = packed_size(h, r->gates) * (int64_t)sizeof(real) > L2_BYTES;
    r->pack = r->backward || !args->is_packed;
    r->zeros = zeros;
    if (r->backward) {
        r->dh = args->dh0 ? args->dh0 : zeros + padded(h);
        r->dc = args->dc0 ? args->dc0 : zeros + padded(h) + padded(b * h);
    }
    memset(zeros, 0, h * sizeof(real));
    double flops = (2.0 * args->t * b + (r->pack ? PACK_FLOPS : 0)) * h * h * r->gates;
    fdl_parallel_spmd(flops < MIN_FLOPS ? 1 : fdl_num_threads(), run_thread, r);
}
