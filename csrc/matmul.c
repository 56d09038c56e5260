/* matmul.c: c = act(op(a) op(b) (+ c) (+ bias)) (+ residual), all transposes, batched.
 *
 * Order of summation (the same on every ISA with FMA and for any number of threads): k is cut into equal blocks of at
 * most MATMUL_K_BLOCK; a block is one chain of fused multiply-adds from 0 over rising k; blocks join in order, after the
 * value that c held when accumulating; then bias, activation, residual. matmul_dot.h has the one exception. row_sums
 * are what a column of ones in b would give: the same chains and blocks; where a is packed they are made on the way.
 * Accuracy: |error| <= 2 k u (|a| |b|). NaN and inf travel as in plain loops: nothing is skipped for a zero.
 *
 * Method: one operand is the row side, read element by element, the other the vector side, read in vectors; c is cut into
 * panels of up to TILE_COLS columns of the vector side and these into register tiles (gemm_tile.h), the unit of work.
 * Usually a is the row side and b the vector side. Where the problem is `swapped` (transposed as a whole), b is the row
 * side and tiles are transposed when stored: that saves packing the larger operand.
 * A panel is packed [k, columns] where its elements are not adjacent, or lie on so many pages that reading them in place
 * costs more; row tiles are packed [k, rows] where their rows are not contiguous and their columns far apart. Each thread
 * packs what it needs, unless the caller brings a packed b (matmul_pack). */
#include "epilogue.h"
#include "gemm_tile.h"
#include "matmul_dot.h"
#include "tune.h"

typedef struct plan {
    real *c;
    const real *a, *b, *bias;           /* a: row side; bias is by columns, by rows when swapped */
    const real *packed_b;               /* the whole vector side, panel after panel, each [k][width]; NULL: none */
    int64_t m, n, k, batch;             /* n: of the vector side */
    int64_t row_a, col_a, row_b, col_b; /* strides of the row side [m,k] and the vector side [k,n] */
    int64_t ldc, stride_a, stride_b, stride_c;
    int64_t panels, panel_vecs, wide_panels; /* a panel has panel_vecs vectors, the first wide_panels one more */
    int64_t row_tiles, tile_rows, tall_tiles; /* a tile has tile_rows rows, the first tall_tiles one more */
    int64_t k_block, packed_tile, scratch; /* elements of a packed row tile; of scratch per thread */
    real *buffer, *row_sums;            /* row_sums: made while the row side is packed; NULL: not wanted */
    int64_t groups;                     /* of adjacent panels that share a pass over the row side */
    int group;                          /* panels of a group at most */
    epilogue end;
    int pack_a, pack_b, swapped, accumulate;
} plan;

INLINE int64_t panel_start(const plan *p, int64_t j) { return (j * p->panel_vecs + min_i64(j, p->wide_panels)) * VL; }
INLINE int64_t tile_start(const plan *p, int64_t i) { return i * p->tile_rows + min_i64(i, p->tall_tiles); }

/* into L2: rows a multiple of 4 KB apart would evict one another from L1 before they are used */
INLINE void fetch_ahead(const real *p) { __builtin_prefetch(p, 0, 2); }

static void swap_sides(plan *p) {
    const real *x = p->a;
    p->a = p->b;
    p->b = x;
    int64_t row_a = p->row_a, col_a = p->col_a, m = p->m, stride_a = p->stride_a;
    p->row_a = p->col_b;
    p->col_a = p->row_b;
    p->row_b = col_a;
    p->col_b = row_a;
    p->m = p->n;
    p->n = m;
    p->stride_a = p->stride_b;
    p->stride_b = stride_a;
    p->swapped = 1;
}

static void cut_panels(plan *p) {
    int64_t vecs = ceil_div(p->n, VL);
    p->panels = ceil_div(vecs, TILE_VECS);
    p->panel_vecs = p->panels == 1 ? vecs : vecs / p->panels;
    p->wide_panels = vecs - p->panels * p->panel_vecs;
}

static void make_plan(plan *p, const fdl_matmul_args *x) {
    *p = (plan){.c = x->c, .a = x->a, .b = x->b, .bias = x->bias, .m = x->m, .n = x->n, .k = x->k, .batch = x->batch,
                .ldc = x->ldc, .stride_a = x->stride_a, .stride_b = x->stride_b, .stride_c = x->stride_c,
                .accumulate = x->accumulate, .buffer = x->scratch, .packed_b = x->packed_b,
                .end = make_epilogue(x)};
    if (p->batch > 1 && !x->stride_b && !x->trans_a && x->stride_a == x->m * x->lda && x->stride_c == x->m * x->ldc) {
        p->m *= p->batch; /* one product of all rows */
        p->batch = 1;
    }
    p->row_a = x->trans_a ? 1 : x->lda;
    p->col_a = x->trans_a ? x->lda : 1;
    p->row_b = x->trans_b ? 1 : x->ldb;
    p->col_b = x->trans_b ? x->ldb : 1;
    if (!p->packed_b && (x->trans_b ? p->m < MATMUL_SWAP_MAX && p->m < p->n
                                    : x->trans_a && p->n < MATMUL_SWAP_MAX && p->n < p->m))
        swap_sides(p);

    int64_t k_blocks = p->k > MATMUL_K_BLOCK ? ceil_div(p->k, MATMUL_K_BLOCK) : 1;
    p->k_block = k_blocks == 1 ? p->k : ceil_div(p->k, k_blocks);
    cut_panels(p);
    p->row_tiles = ceil_div(p->m, tile_rows((int)p->panel_vecs + (p->wide_panels > 0)));
    p->tile_rows = p->m / p->row_tiles;
    p->tall_tiles = p->m - p->tile_rows * p->row_tiles;

    int64_t span = p->k * p->row_b * (int64_t)sizeof(real);
    p->pack_b = !p->packed_b && ((p->col_b != 1 && p->n > 1) || (p->m >= MATMUL_PACK_ROWS && span > MATMUL_PACK_BYTES) ||
                (!p->swapped && p->m >= MATMUL_PACK_FAR_ROWS && span > MATMUL_PACK_FAR_BYTES));
    p->pack_a = p->col_a != 1 && p->k * p->col_a * (int64_t)sizeof(real) > MATMUL_PACK_BYTES && p->panels > 1;
    int group_cols = p->pack_a ? MATMUL_GROUP_COLS_PACKED : MATMUL_GROUP_COLS;
    int64_t group = min_i64(group_cols / TILE_COLS, p->panels), wanted = 4 * (int64_t)fdl_num_threads();
    while (group > 1 && p->batch * p->row_tiles * ceil_div(p->panels, group) < wanted) group--;
    /* threads that share a group would each pack all of its columns; threads that do not, all row tiles */
    if (p->pack_b && p->panels >= fdl_num_threads() && (!p->pack_a || p->n >= p->m))
        group = min_i64(group, p->panels / fdl_num_threads());
    if (p->packed_b && p->row_tiles <= MATMUL_FETCH_TILES) group = 1;
    p->groups = ceil_div(p->panels, group);
    p->group = (int)ceil_div(p->panels, p->groups);
    p->packed_tile = p->k_block * (p->tile_rows + (p->tall_tiles > 0)) + TILE_ROWS_MAX;
    p->scratch = p->k_block * p->pack_b * p->group * TILE_COLS + p->pack_a * 2 * MATMUL_PACK_TILES * p->packed_tile;
    p->scratch = (p->scratch + 15) / 16 * 16;
}

/* Panels [panel, panel + count) of the vector side, given at k0, one after the other as [k][width]; columns beyond n
 * are 0. Here rows are contiguous (col_b == 1): each is read through all panels. */
static void pack_rows(const plan *p, real *out, const real *b, int64_t panel, int count, int64_t depth) {
    int64_t start = panel_start(p, panel);
    for (int64_t q = 0; q < depth; q++, b += p->row_b)
        for (int i = 0; i < count; i++) {
            int64_t column = panel_start(p, panel + i), width = panel_start(p, panel + i + 1) - column;
            int64_t cols = min_i64(width, p->n - column), j = 0;
            real *to = out + (column - start) * depth + q * width;
            for (; j + VL <= cols; j += VL) {
                fetch_ahead(b + column + j + MATMUL_PREFETCH_ROWS * p->row_b);
                v_store(to + j, v_load(b + column + j));
            }
            if (j < width) v_store(to + j, v_load_n(b + column + j, (int)(cols - j)));
        }
}

/* One panel, out[k][width], where columns are contiguous (row_b == 1). */
static void pack_columns(real *out, const real *b, int64_t col_b, int64_t k, int cols, int width) {
    for (int j = 0; j < width; j += VL) {
        const real *src = b + j * col_b;
        int64_t p = 0;
        vf x[VL];
        if (j + VL <= cols)
            for (; p + VL <= k; p += VL) {
                UNROLL for (int i = 0; i < VL; i++) x[i] = v_load(src + i * col_b + p);
                v_transpose(x);
                UNROLL for (int i = 0; i < VL; i++) v_store(out + (p + i) * width + j, x[i]);
            }
        for (; p < k; p += VL) {
            int depth = (int)min_i64(k - p, VL);
            UNROLL for (int i = 0; i < VL; i++) x[i] = j + i < cols ? v_load_n(src + i * col_b + p, depth) : v_zero();
            v_transpose(x);
            UNROLL for (int i = 0; i < VL; i++)
                if (i < depth) v_store(out + (p + i) * width + j, x[i]);
        }
    }
}

/* panel j of a vector side whose columns are contiguous, given at k0 */
static void pack_panel(const plan *p, real *out, const real *b, int64_t j, int64_t depth) {
    int64_t column = panel_start(p, j);
    int width = (int)(panel_start(p, j + 1) - column), cols = (int)min_i64(width, p->n - column);
    pack_columns(out, b + column * p->col_b, p->col_b, depth, cols, width);
}

enum { PACK_VECS = (TILE_ROWS_MAX + VL - 1) / VL }; /* vectors that cover the rows of a tile */

/* Packed row tiles [first, last) of a transposed row side (row_a == 1) given at k0: tile i is [k][its rows] at
 * out + (i - first) * packed_tile; `done` k steps are there, and the sums of these in `sums`, where they are wanted.
 * While one block of tiles is multiplied the next is packed, a share before each tile: its lines, often 4 KB apart,
 * would evict one another if they were all fetched first. */
typedef struct block {
    real *out;
    const real *a;
    int64_t first, last, done;
    real sums[MATMUL_PACK_TILES][PACK_VECS * VL];
} block;

static void fetch_tiles(const plan *p, const block *x, int64_t q, int64_t until) {
    int64_t row = tile_start(p, x->first), end = tile_start(p, x->last);
    for (; q < until; q++)
        for (int64_t r = row; r < end; r += 64 / (int64_t)sizeof(real)) fetch_ahead(x->a + q * p->col_a + r);
}

/* Copies of a fixed size are fast; what is too much is overwritten by the next step, or lies behind the tile. */
INLINE void pack_steps(const plan *p, block *x, int64_t until, int64_t depth, const int sums) {
    for (int64_t i = x->first; i < x->last; i++) {
        int64_t row = tile_start(p, i), rows = tile_start(p, i + 1) - row, q = x->done;
        const real *a = x->a + q * p->col_a + row;
        real *out = x->out + (i - x->first) * p->packed_tile + q * rows;
        int64_t whole = min_i64(until, depth - TILE_ROWS_MAX); /* behind the last rows of `a` its memory may end */
        vf sum[PACK_VECS] = {0};
        if (sums && q) memcpy(sum, x->sums[i - x->first], sizeof sum);
#define PACK_STEP(count)                                                             \
    memcpy(out, a, (count) * sizeof(real));                                          \
    if (sums) UNROLL for (int v = 0; v < PACK_VECS; v++) sum[v] += v_load(a + v * VL)
        if (rows <= 8)
            for (; q < whole; q++, a += p->col_a, out += rows) { PACK_STEP(8); }
        else
            for (; q < whole; q++, a += p->col_a, out += rows) { PACK_STEP(TILE_ROWS_MAX); }
#undef PACK_STEP
        for (; q < until; q++, a += p->col_a, out += rows) {
            memcpy(out, a, rows * sizeof(real));
            for (int v = 0; sums && v < PACK_VECS; v++) sum[v] += v_load_n(a + v * VL, clamp_width(rows - v * VL));
        }
        if (sums) memcpy(x->sums[i - x->first], sum, sizeof sum);
    }
    x->done = until;
}
static void pack_tiles(const plan *p, block *x, int64_t until, int64_t depth, int sums) {
    if (sums) pack_steps(p, x, until, depth, 1);
    else pack_steps(p, x, until, depth, 0);
}

/* row_sums of packed tiles; begun: of the k blocks before there are some */
static void join_sums(const plan *p, const block *x, int begun) {
    for (int64_t i = x->first; i < x->last; i++)
        for (int64_t row = tile_start(p, i), r = row; r < tile_start(p, i + 1); r++) {
            real sum = x->sums[i - x->first][r - row];
            p->row_sums[r] = begun ? p->row_sums[r] + sum : sum;
        }
}

/* the end of a finished tile, while it is in L1 */
static void finish_tile(const epilogue *e, real *c, int64_t ldc, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j += VL) {
            int n = (int)min_i64(cols - j, VL);
            real *to = c + r * ldc + j;
            v_store_n(to, finish(e, to, v_load_n(to, n), n), n);
        }
}

/* c[j][i] (+)= tile[i][j], the end of a swapped tile: rows <= TILE_ROWS_MAX, tile rows of `width` elements */
static void store_transposed(const real *tile, int rows, int cols, int width, real *c, int64_t ldc, int accumulate,
                             const real *bias, const epilogue *e) {
    for (int r = 0; r < rows; r += VL) {
        int n = rows - r < VL ? rows - r : VL;
        vf add = bias ? v_load_n(bias + r, n) : v_zero();
        for (int j = 0; j < cols; j += VL) {
            vf x[VL];
            UNROLL for (int i = 0; i < VL; i++) x[i] = i < n ? v_load(tile + (r + i) * width + j) : v_zero();
            v_transpose(x);
            UNROLL for (int i = 0; i < VL; i++)
                if (j + i < cols) {
                    real *to = c + (j + i) * ldc + r;
                    vf y = x[i];
                    if (accumulate) y += v_load_n(to, n);
                    if (bias) y += add;
                    v_store_n(to, e ? finish(e, to, y, n) : y, n);
                }
        }
    }
}

/* one k block of one tile: columns from `column` on, rows from `row` on */
INLINE void tile_block(const plan *p, tile_args *t, real *c, int64_t row, int rows, int64_t column, int cols, int vecs,
                       int begun, int done) {
    int accumulate = p->accumulate || begun;
    const epilogue *end = done && p->end.any ? &p->end : 0;
    t->last = cols - (vecs - 1) * VL;
    if (!p->swapped) {
        t->c = c + row * p->ldc + column;
        t->accumulate = accumulate;
        t->bias = done && p->bias ? p->bias + column : 0;
        tile_run(t, rows, vecs);
        if (end) finish_tile(end, t->c, p->ldc, rows, cols);
        return;
    }
    real tile[TILE_ACCS * VL] __attribute__((aligned(VB)));
    t->c = tile;
    t->ldc = vecs * VL;
    tile_run(t, rows, vecs);
    store_transposed(tile, rows, cols, vecs * VL, c + column * p->ldc + row, p->ldc, accumulate,
                     done && p->bias ? p->bias + row : 0, end);
}

/* panels [panel, panel + count) x row tiles [first, last) of one matrix */
static void group_product(const plan *p, int64_t matrix, int64_t panel, int count, int64_t first, int64_t last,
                          real *scratch) {
    real *c = p->c + matrix * p->stride_c;
    real *packed_b = scratch, *packed_a = scratch + p->pack_b * p->k_block * p->group * TILE_COLS;
    int64_t start = panel_start(p, panel), k0 = 0;
    int sums = p->row_sums && !panel;
    do {
        int64_t depth = min_i64(p->k - k0, p->k_block);
        const real *a = p->a + matrix * p->stride_a + k0 * p->col_a;
        const real *b = p->b + matrix * p->stride_b + k0 * p->row_b;
        tile_args t = {.row_a = p->row_a, .col_a = p->col_a, .ldb = p->row_b, .ldc = p->ldc, .k = depth};
        if (p->pack_b && p->col_b == 1) pack_rows(p, packed_b, b, panel, count, depth);
        else if (p->pack_b)
            for (int j = 0; j < count; j++)
                pack_panel(p, packed_b + (panel_start(p, panel + j) - start) * depth, b, panel + j, depth);
        block now = {.out = packed_a + MATMUL_PACK_TILES * p->packed_tile, .last = first};
        block next = {.out = packed_a, .a = a, .first = first, .last = min_i64(last, first + MATMUL_PACK_TILES)};
        int64_t call = 0, calls = 1;
        if (p->pack_a) pack_tiles(p, &next, depth, depth, sums);
        for (int64_t i = first; i < last; i++) {
            int64_t row = tile_start(p, i);
            int rows = (int)(tile_start(p, i + 1) - row);
            t.a = a + row * p->row_a;
            t.next = 0;
            if (p->swapped && p->col_a == 1 && i + 1 < last)
                t.next = t.a + rows * p->row_a, t.next_count = rows, t.next_step = p->row_a, t.next_ahead = TILE_LINE;
            if (p->pack_a) {
                if (i == now.last) {
                    real *free = now.out;
                    now = next;
                    if (sums) join_sums(p, &now, k0 > 0);
                    next = (block){.out = free, .a = a, .first = now.last,
                                   .last = min_i64(last, now.last + MATMUL_PACK_TILES)};
                    call = 0, calls = (now.last - now.first) * count;
                    fetch_tiles(p, &next, 0, depth / calls);
                }
                t.a = now.out + (i - now.first) * p->packed_tile;
                t.row_a = 1;
                t.col_a = rows;
            }
            for (int j = 0; j < count; j++) {
                if (p->pack_a && next.first < last) {
                    int64_t until = depth * ++call / calls;
                    fetch_tiles(p, &next, until, min_i64(depth, depth * (call + 1) / calls));
                    pack_tiles(p, &next, until, depth, sums);
                }
                int64_t column = panel_start(p, panel + j);
                int width = (int)(panel_start(p, panel + j + 1) - column), cols = (int)min_i64(width, p->n - column);
                if (p->packed_b) t.b = p->packed_b + column * p->k + k0 * width;
                else t.b = p->pack_b ? packed_b + (column - start) * depth : b + column;
                if (p->pack_b || p->packed_b) t.ldb = width;
                if (p->packed_b && p->row_tiles <= MATMUL_FETCH_TILES) { /* its share of what lies behind this panel */
                    t.next_count = ceil_div(width, last - first);
                    t.next_step = TILE_LINE;
                    t.next_ahead = t.next_count * TILE_LINE;
                    t.next = t.b + depth * width + (i - first) * ceil_div(depth, TILE_LINE) * t.next_ahead;
                }
                tile_block(p, &t, c, row, rows, column, cols, width / VL, k0 > 0, k0 + depth >= p->k);
            }
        }
        k0 += depth;
    } while (k0 < p->k);
}

/* units [begin, end): unit = (matrix * groups + group) * row_tiles + tile */
static void product_range(void *ctx, int64_t begin, int64_t end, int thread) {
    const plan *p = ctx;
    real *scratch = p->buffer + thread * p->scratch;
    while (begin < end) {
        int64_t group = begin / p->row_tiles, first = begin - group * p->row_tiles;
        int64_t matrix = group / p->groups, last = min_i64(p->row_tiles, first + end - begin);
        group -= matrix * p->groups;
        int64_t panel = group * p->panels / p->groups, panel_end = (group + 1) * p->panels / p->groups;
        group_product(p, matrix, panel, (int)(panel_end - panel), first, last, scratch);
        begin += last - first;
    }
}

INLINE int is_empty(const fdl_matmul_args *x) { return x->m <= 0 || x->n <= 0 || x->batch <= 0; }

/* Few rows on one side and k contiguous in both: the form of matmul_dot.h. Changes bits, so by shape and layout only. */
static int plan_dot(dot_plan *p, const fdl_matmul_args *x) {
    int a_rows = !x->trans_a || (x->m == 1 && x->lda == 1), b_rows = x->trans_b || (x->n == 1 && x->ldb == 1);
    if (!a_rows || !b_rows || min_i64(x->m, x->n) > MATMUL_DOT_ROWS || x->k < MATMUL_DOT_K) return 0;
    int64_t lda = x->trans_a ? x->k : x->lda, ldb = x->trans_b ? x->ldb : x->k;
    *p = (dot_plan){.c = x->c, .bias = x->bias, .k = x->k, .batch = x->batch, .stride_c = x->stride_c,
                    .accumulate = x->accumulate, .end = make_epilogue(x)};
    if (x->m <= x->n) {
        p->few = x->a, p->rows = x->m, p->ld_few = lda, p->stride_few = x->stride_a, p->step_few = x->ldc;
        p->many = x->b, p->cols = x->n, p->ld_many = ldb, p->stride_many = x->stride_b, p->step_many = 1;
        p->bias_many = 1;
    } else {
        p->few = x->b, p->rows = x->n, p->ld_few = ldb, p->stride_few = x->stride_b, p->step_few = 1;
        p->many = x->a, p->cols = x->m, p->ld_many = lda, p->stride_many = x->stride_a, p->step_many = x->ldc;
        p->bias_few = 1;
    }
    return 1;
}

/* units from which a thread is worth waking; each costs fmas multiply-adds and the reading of `elements` */
INLINE int64_t work_grain(int64_t fmas, int64_t elements) {
    int64_t work = elements * MATMUL_ELEMENT_FMAS > fmas ? elements * MATMUL_ELEMENT_FMAS : fmas;
    return MATMUL_GRAIN_FMAS / (work + 1) + 1;
}

typedef struct row_sums_task {
    const fdl_matmul_args *args;
    int64_t k_block;
} row_sums_task;

enum { SUM_VECS = 4, SUM_ROWS = SUM_VECS * VL }; /* rows of op(a) summed at once */

/* row_sums of strips [begin, end) of SUM_ROWS rows of op(a) */
static void sum_strips(void *ctx, int64_t begin, int64_t end, int thread) {
    const fdl_matmul_args *x = ((row_sums_task *)ctx)->args;
    int64_t k_block = ((row_sums_task *)ctx)->k_block, until = min_i64(x->m, end * SUM_ROWS);
    (void)thread;
    for (int64_t row = begin * SUM_ROWS; row < until; row += SUM_ROWS) {
        vf sum[SUM_VECS];
        int n = (int)min_i64(SUM_ROWS, x->m - row);
        for (int64_t k0 = 0; k0 < x->k || k0 == 0; k0 += k_block ? k_block : 1) {
            vf part[SUM_VECS] = {0};
            for (int64_t q = k0; q < min_i64(x->k, k0 + k_block); q++)
                UNROLL for (int v = 0; v < SUM_VECS; v++) {
                    int lanes = n - v * VL < 0 ? 0 : n - v * VL < VL ? n - v * VL : VL;
                    if (x->trans_a) part[v] += v_load_n(x->a + q * x->lda + row + v * VL, lanes);
                    else for (int r = 0; r < lanes; r++) part[v][r] += x->a[(row + v * VL + r) * x->lda + q];
                }
            UNROLL for (int v = 0; v < SUM_VECS; v++) sum[v] = k0 ? sum[v] + part[v] : part[v];
        }
        UNROLL for (int v = 0; v < SUM_VECS; v++)
            if (n > v * VL) v_store_n(x->row_sums + row + v * VL, sum[v], n - v * VL < VL ? n - v * VL : VL);
    }
}

static void sum_rows(const fdl_matmul_args *x) {
    int64_t blocks = x->k > MATMUL_K_BLOCK ? ceil_div(x->k, MATMUL_K_BLOCK) : 1;
    row_sums_task task = {x, ceil_div(x->k, blocks)};
    int64_t strips = ceil_div(x->m, SUM_ROWS), grain = work_grain(0, x->k * SUM_ROWS);
    if (strips < 2 * grain) sum_strips(&task, 0, strips, 0);
    else fdl_parallel_for(strips, grain, sum_strips, &task);
}

int64_t FDL_FN(matmul_scratch)(const fdl_matmul_args *args) {
    dot_plan dot;
    plan p;
    if (is_empty(args) || plan_dot(&dot, args)) return 0;
    make_plan(&p, args);
    return p.scratch ? fdl_num_threads() * p.scratch * (int64_t)sizeof(real) : 0;
}

void FDL_FN(matmul)(const fdl_matmul_args *args) {
    dot_plan dot;
    plan p;
    if (is_empty(args)) {
        if (args->row_sums) sum_rows(args);
        return;
    }
    if (plan_dot(&dot, args)) {
        if (args->row_sums) sum_rows(args);
        int64_t units = dot.batch * dot.cols, grain = work_grain(dot.rows * dot.k, dot.k + dot.rows);
        if (units < 2 * grain) dot_range(&dot, 0, units, 0);
        else fdl_parallel_for(units, grain, dot_range, &dot);
        return;
    }
    make_plan(&p, args);
    if (args->row_sums && p.pack_a && !p.swapped) p.row_sums = args->row_sums;
    else if (args->row_sums) sum_rows(args);
    int64_t units = p.batch * p.groups * p.row_tiles;
    int64_t grain = work_grain(p.batch * p.m * p.n * p.k / units,
                               p.batch * (p.k * (p.stride_b || p.batch == 1 ? p.n : 0) + p.m * p.n) / units);
    if (units < 2 * grain) {
        product_range(&p, 0, units, 0);
        return;
    }
    if (p.scratch) { /* every piece packs again: few pieces, whole groups where these are fair shares */
        int64_t pieces = 2 * fdl_num_threads(), groups = p.batch * p.groups;
        if (groups % pieces && groups % fdl_num_threads() == 0) pieces = fdl_num_threads();
        int64_t most = MATMUL_PIECE_FMAS / (p.batch * p.m * p.n * p.k / units + 1) + 1;
        grain = max_i64(grain, min_i64(units / pieces, most));
    }
    fdl_parallel_for(units, grain, product_range, &p);
}

/* ---- b packed ahead ---- */

int64_t FDL_FN(matmul_packed_size)(const fdl_matmul_args *args) {
    dot_plan dot;
    if (is_empty(args) || !args->trans_b || args->batch != 1 || args->k == 0 || plan_dot(&dot, args)) return 0;
    if (args->m > MATMUL_KEEP_ROWS || args->n < VL) return 0;
    return ceil_div(args->n, VL) * VL * args->k * (int64_t)sizeof(real);
}

typedef struct pack_task {
    plan p;
    real *out;
} pack_task;

static void pack_range(void *ctx, int64_t begin, int64_t end, int thread) {
    const pack_task *t = ctx;
    (void)thread;
    for (int64_t j = begin; j < end; j++) pack_panel(&t->p, t->out + panel_start(&t->p, j) * t->p.k, t->p.b, j, t->p.k);
}

void FDL_FN(matmul_pack)(const fdl_matmul_args *args, real *out) {
    pack_task t = {{.b = args->b, .n = args->n, .k = args->k, .col_b = args->ldb}, out};
    cut_panels(&t.p);
    fdl_parallel_for(t.p.panels, work_grain(0, TILE_COLS * args->k), pack_range, &t);
}
