/* matmul.c: c = act(op(a) op(b) (+ c) (+ bias)), all transposes, batched.
 *
 * Order of summation (the same on every ISA with FMA and for any number of threads): k is cut into equal blocks of at
 * most MATMUL_K_BLOCK; a block is one chain of fused multiply-adds from 0 over rising k; blocks join in order, after the
 * value that c held when accumulating; then bias, then activation.
 * Accuracy: |error| <= 2 k u (|a| |b|). NaN and inf travel as in plain loops: nothing is skipped for a zero.
 *
 * Method: c is cut into panels of TILE_COLS columns and these into register tiles (gemm_tile.h), the unit of work;
 * a range of units is done panel by panel. Row-major b is read in place, else a panel of it is packed [k, columns] by the
 * thread that needs it, into its own scratch; a is read in place by its two strides. */
#include "fastdl.h"
#include "gemm_tile.h"
#include "tune.h"

typedef struct plan {
    const fdl_matmul_args *args;
    int64_t m, batch;                  /* after a shared b was folded into m */
    int64_t row_a, col_a, row_b, col_b; /* strides of op(a) [m,k] and op(b) [k,n] */
    int64_t panels, row_tiles;         /* row_tiles of each panel */
    int64_t k_blocks, k_block;
    int pack;                          /* b is packed */
} plan;

INLINE int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static plan make_plan(const fdl_matmul_args *x) {
    plan p = {.args = x, .m = x->m, .batch = x->batch};
    if (p.batch > 1 && !x->stride_b && !x->trans_a && x->stride_a == x->m * x->lda && x->stride_c == x->m * x->ldc) {
        p.m *= p.batch;
        p.batch = 1;
    }
    p.row_a = x->trans_a ? 1 : x->lda;
    p.col_a = x->trans_a ? x->lda : 1;
    p.row_b = x->trans_b ? 1 : x->ldb;
    p.col_b = x->trans_b ? x->ldb : 1;
    p.panels = ceil_div(x->n, TILE_COLS);
    /* all panels have as many tiles as the widest, so that a unit is found by division; a narrow panel's tiles hold
     * more rows and its last units are empty */
    p.row_tiles = ceil_div(p.m, tile_rows((int)ceil_div(min_i64(x->n, TILE_COLS), VL)));
    p.k_blocks = ceil_div(x->k, MATMUL_K_BLOCK);
    p.k_block = p.k_blocks ? ceil_div(x->k, p.k_blocks) : 0;
    p.pack = x->trans_b && x->n > 1;
    return p;
}

INLINE int64_t panel_elements(const plan *p) { return p->k_block * TILE_COLS; }

/* out[k][width] = b[p*row_b + j*col_b], columns from `cols` on are 0 */
static void pack_panel(real *out, const real *b, int64_t row_b, int64_t col_b, int64_t k, int cols, int width) {
    if (col_b == 1) {
        for (int64_t p = 0; p < k; p++)
            for (int j = 0; j < width; j += VL)
                v_store(out + p * width + j, v_load_n(b + p * row_b + j, cols - j < VL ? cols - j : VL));
        return;
    }
    for (int64_t p = 0; p < k; p += VL) { /* row_b == 1: columns are contiguous */
        int depth = (int)min_i64(k - p, VL);
        for (int j = 0; j < width; j += VL) {
            vf x[VL];
            if (depth == VL && j + VL <= cols)
                UNROLL for (int i = 0; i < VL; i++) x[i] = v_load(b + (j + i) * col_b + p);
            else
                UNROLL for (int i = 0; i < VL; i++)
                    x[i] = j + i < cols ? v_load_n(b + (j + i) * col_b + p, depth) : v_zero();
            v_transpose(x);
            if (depth == VL)
                UNROLL for (int i = 0; i < VL; i++) v_store(out + (p + i) * width + j, x[i]);
            else
                UNROLL for (int i = 0; i < VL; i++)
                    if (i < depth) v_store(out + (p + i) * width + j, x[i]);
        }
    }
}

/* activation of a finished tile, while it is in L1 */
static void activate(int activation, real *c, int64_t ldc, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j += VL) {
            int n = (int)min_i64(cols - j, VL);
            vf x = v_load_n(c + r * ldc + j, n);
            switch (activation) {
            case FDL_ACT_RELU: x = v_max(x, v_zero()); break;
            }
            v_store_n(c + r * ldc + j, x, n);
        }
}

/* row tiles [first, last) of one panel of one matrix; c, a, b, bias are at the panel's first row and column */
static void panel_product(const plan *p, real *c, const real *a, const real *b, const real *bias, int cols,
                          int64_t first, int64_t last, real *packed) {
    const fdl_matmul_args *x = p->args;
    int vecs = (cols + VL - 1) / VL;
    int64_t tile_count = ceil_div(p->m, tile_rows(vecs));
    last = min_i64(last, tile_count);
    if (first >= last) return;
    int64_t rows = p->m / tile_count, longer = p->m % tile_count; /* the first `longer` tiles have one row more */
    int64_t k0 = 0;
    do {
        int64_t depth = min_i64(x->k - k0, p->k_block);
        int done = k0 + depth >= x->k;
        tile_args t = {.b = b + k0 * p->row_b, .row_a = p->row_a, .col_a = p->col_a, .ldb = p->row_b, .ldc = x->ldc,
                       .k = depth, .last = cols - (vecs - 1) * VL, .accumulate = x->accumulate || k0 > 0,
                       .bias = done ? bias : 0};
        if (p->pack) {
            pack_panel(packed, t.b, p->row_b, p->col_b, depth, cols, vecs * VL);
            t.b = packed;
            t.ldb = vecs * VL;
        }
        for (int64_t i = first; i < last; i++) {
            int64_t row = i * rows + min_i64(i, longer);
            int height = (int)(rows + (i < longer));
            t.a = a + row * p->row_a + k0 * p->col_a;
            t.c = c + row * x->ldc;
            tile_run(&t, height, vecs);
            if (done && x->activation) activate(x->activation, t.c, x->ldc, height, cols);
        }
        k0 += depth;
    } while (k0 < x->k);
}

/* units [begin, end): unit = (matrix * panels + panel) * row_tiles + tile */
static void product_range(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    const fdl_matmul_args *x = p->args;
    real *packed = p->pack ? (real *)x->scratch + thread * panel_elements(p) : 0;
    while (begin < end) {
        int64_t panel = begin / p->row_tiles, first = begin % p->row_tiles;
        int64_t last = min_i64(p->row_tiles, first + end - begin);
        int64_t matrix = panel / p->panels, column = panel % p->panels * TILE_COLS;
        panel_product(p, x->c + matrix * x->stride_c + column, x->a + matrix * x->stride_a,
                      x->b + matrix * x->stride_b + column * p->col_b, x->bias ? x->bias + column : 0,
                      (int)min_i64(x->n - column, TILE_COLS), first, last, packed);
        begin += last - first;
    }
}

INLINE int is_empty(const fdl_matmul_args *x) { return x->m <= 0 || x->n <= 0 || x->batch <= 0; }

int64_t FDL_FN(matmul_scratch)(const fdl_matmul_args *args) {
    if (is_empty(args)) return 0;
    plan p = make_plan(args);
    return p.pack ? fdl_num_threads() * panel_elements(&p) * (int64_t)sizeof(real) : 0;
}

void FDL_FN(matmul)(const fdl_matmul_args *args) {
    if (is_empty(args)) return;
    plan p = make_plan(args);
    int64_t units = p.batch * p.panels * p.row_tiles;
    int64_t fmas_per_unit = p.batch * p.m * args->n * args->k / units + 1;
    fdl_parallel_for(units, MATMUL_GRAIN_FMAS / fmas_per_unit + 1, product_range, &p);
}
