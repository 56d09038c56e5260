/* reduce.c: sums and their kin along one dimension of x, viewed as [outer, n, inner] and contiguous.
 *
 * inner = 1, rows: blocks of BLOCK elements; in a block 4 x LANES partial results, joined 0+2, 1+3, then by v_hsum's
 * tree; the results of the blocks in double by halving the list.
 * inner > 1, columns: chunks of CHUNK rows; in a chunk 8 rows at a time are joined by a tree and the result is added
 * to the chunk's; the chunks by halving the list. Rows are read in order, so this is as fast as memory is.
 * Threads share blocks and chunks, which are cut by the shape only. */
#include "fastdl.h"

enum {
    BLOCK = 4096,   /* bits: elements of one partial result of a row */
    CHUNK = 64,     /* bits: rows of one partial result of a column */
    GROUPS = 4,     /* bits: independent partial results per lane, to hide the latency of an addition */
    TREE = 8,       /* bits: rows of a column joined at once */
    TILE = 2048,    /* columns done together: their partial results stay in L1 */
    GRAIN = 32768,  /* elements that are worth a thread, 3-10 us */
    STRIP = 4,      /* vectors of columns whose extremes are kept in registers */
    CENTRED = FDL_REDUCE_COUNT /* an op of this file: the sum of (x - centre)^2 */
};

INLINE int64_t pieces_of(int64_t n, int64_t size) { return n > size ? (n + size - 1) / size : 1; }

/* The monoid of each op: neutral element, how an element joins, how partial results join. */
INLINE real neutral(const int op) {
    return op == FDL_MAX ? -INFINITY : op == FDL_MIN ? INFINITY : op == FDL_PROD ? 1 : 0;
}
INLINE vf join(const int op, vf a, vf b) {
    return op == FDL_MAX ? v_max(a, b) : op == FDL_MIN ? v_min(a, b) : op == FDL_PROD ? a * b : a + b;
}
/* c: what CENTRED subtracts */
INLINE vf element(const int op, vf x, vf c) {
    if (op == CENTRED) x -= c;
    return op == FDL_SUMSQ || op == CENTRED ? x * x : x;
}
INLINE vf take(const int op, vf acc, vf x, vf c) {
    if (op == CENTRED) x -= c;
    return op == FDL_SUMSQ || op == CENTRED ? v_fma(x, x, acc) : join(op, acc, x);
}
INLINE double join_double(const int op, double a, double b) {
    if (op == FDL_MAX) return a > b || a != a ? a : b;
    if (op == FDL_MIN) return a < b || a != a ? a : b;
    return op == FDL_PROD ? a * b : a + b;
}
INLINE vq join_quad(const int op, vq a, vq b) {
    vqi first = op == FDL_MAX ? (a > b) | (a != a) : (a < b) | (a != a);
    if (op == FDL_MAX || op == FDL_MIN) return (vq)((first & (vqi)a) | (~first & (vqi)b));
    return op == FDL_PROD ? a * b : a + b;
}
INLINE real join_lanes(const int op, const vf acc[NV]) { /* the tree of v_hsum, without a branch on data */
    vq x[NQ];
    memcpy(x, acc, sizeof x);
    UNROLL for (int half = NQ / 2; half; half /= 2)
        UNROLL for (int i = 0; i < half; i++) x[i] = join_quad(op, x[i], x[i + half]);
#ifdef FDL_F64
    return join_quad(op, x[0], __builtin_shufflevector(x[0], x[0], 1, 0))[0];
#else
    x[0] = join_quad(op, x[0], __builtin_shufflevector(x[0], x[0], 2, 3, 0, 1));
    return join_quad(op, x[0], __builtin_shufflevector(x[0], x[0], 1, 0, 3, 2))[0];
#endif
}

/* n <= BLOCK elements */
INLINE real block(const int op, const real *x, int64_t n, real centre) {
    vf acc[GROUPS * NV], c = v_set1(centre);
    const real rest = op == CENTRED ? centre : op == FDL_SUMSQ ? 0 : neutral(op); /* adds nothing */
    int64_t i = 0;
    if (n <= LANES) { /* the same, as the other groups would stay neutral */
        UNROLL for (int k = 0; k < NV; k++) {
            vf t = v_load_fill(x + k * VL, clamp_width(n - k * VL), rest);
            acc[k] = op == FDL_MAX || op == FDL_MIN || op == FDL_PROD ? t : take(op, v_zero(), t, c);
        }
        return join_lanes(op, acc);
    }
    UNROLL for (int k = 0; k < GROUPS * NV; k++) acc[k] = v_set1(neutral(op));
    for (; i + GROUPS * LANES <= n; i += GROUPS * LANES)
        UNROLL for (int k = 0; k < GROUPS * NV; k++) acc[k] = take(op, acc[k], v_load(x + i + k * VL), c);
    UNROLL for (int k = 0; k < GROUPS * NV; k++)
        if (i + k * VL < n)
            acc[k] = take(op, acc[k], v_load_fill(x + i + k * VL, clamp_width(n - i - k * VL), rest), c);
    UNROLL for (int k = 0; k < 2 * NV; k++) acc[k] = join(op, acc[k], acc[k + 2 * NV]);
    UNROLL for (int k = 0; k < NV; k++) acc[k] = join(op, acc[k], acc[k + NV]);
    return join_lanes(op, acc);
}

typedef struct reduce_args {
    real *out;
    const real *x, *centre; /* centre: [outer, inner], CENTRED only */
    int64_t outer, n, inner;
    int64_t pieces; /* blocks of a row, or chunks of a column */
    int64_t tiles;  /* of the columns */
    double *blocks; /* [outer, pieces] results of blocks */
    real *chunks;   /* [outer, pieces, inner] results of chunks */
    int op;
} reduce_args;

/* Calls f with op as a constant. */
#define FOR_OP(op, f, ...)                                     \
    switch (op) {                                              \
    case FDL_SUM: case FDL_MEAN: f(FDL_SUM, __VA_ARGS__); break; \
    case FDL_MAX: f(FDL_MAX, __VA_ARGS__); break;              \
    case FDL_MIN: f(FDL_MIN, __VA_ARGS__); break;              \
    case FDL_PROD: f(FDL_PROD, __VA_ARGS__); break;            \
    case CENTRED: f(CENTRED, __VA_ARGS__); break;              \
    default: f(FDL_SUMSQ, __VA_ARGS__); break;                 \
    }

/* Rows ----------------------------------------------------------------------------------------------------------- */

INLINE real finish_row(const reduce_args *a, double value) {
    return (real)(a->op == FDL_MEAN ? value / (double)a->n : value);
}

INLINE real centre_of(const int op, const reduce_args *a, int64_t row) { return op == CENTRED ? a->centre[row] : 0; }
INLINE void rows(const int op, const reduce_args *a, int64_t begin, int64_t end) {
    if (a->pieces == 1) {
        for (int64_t i = begin; i < end; i++)
            a->out[i] = finish_row(a, block(op, a->x + i * a->n, a->n, centre_of(op, a, i)));
        return;
    }
    for (int64_t u = begin; u < end; u++) {
        int64_t row = u / a->pieces, from = u % a->pieces * BLOCK;
        a->blocks[u] = block(op, a->x + row * a->n + from, min_i64(a->n - from, BLOCK), centre_of(op, a, row));
    }
}
static void rows_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const reduce_args *a = ctx;
    (void)thread;
    FOR_OP(a->op, rows, a, begin, end)
}

INLINE void join_blocks(const int op, const reduce_args *a) {
    for (int64_t row = 0; row < a->outer; row++) {
        double *p = a->blocks + row * a->pieces;
        for (int64_t left = a->pieces; left > 1;) {
            int64_t half = (left + 1) / 2;
            for (int64_t i = 0; i + half < left; i++) p[i] = join_double(op, p[i], p[i + half]);
            left = half;
        }
        a->out[row] = finish_row(a, p[0]);
    }
}

/* Columns -------------------------------------------------------------------------------------------------------- */

/* acc[j] joins x[r, j], r in [0, count), count 1 or TREE; centre [cols] for CENTRED */
INLINE void take_rows(const int op, real *acc, const real *x, const real *centre, int64_t stride, int64_t cols,
                      const int count) {
    for (int64_t j = 0; j < cols; j += VL) {
        int width = clamp_width(cols - j);
        vf t[TREE], c = op == CENTRED ? v_load_n(centre + j, width) : v_zero();
        UNROLL for (int r = 0; r < count; r++)
            t[r] = element(op, width == VL ? v_load(x + r * stride + j) : v_load_n(x + r * stride + j, width), c);
        UNROLL for (int half = count / 2; half; half /= 2)
            UNROLL for (int r = 0; r < half; r++) t[r] = join(op, t[r], t[r + half]);
        if (width == VL) v_store(acc + j, join(op, v_load(acc + j), t[0]));
        else v_store_n(acc + j, join(op, v_load_n(acc + j, width), t[0]), width);
    }
}

INLINE void set_columns(real *y, int64_t cols, real value) {
    for (int64_t j = 0; j < cols; j += VL) v_store_n(y + j, v_set1(value), clamp_width(cols - j));
}
INLINE void divide_columns(real *y, int64_t cols, int64_t n) {
    for (int64_t j = 0; j < cols; j += VL) {
        int width = clamp_width(cols - j);
        v_store_n(y + j, v_load_n(y + j, width) / v_set1((real)n), width);
    }
}

INLINE void columns(const int op, const reduce_args *a, int64_t begin, int64_t end) {
    int64_t inner = a->inner;
    for (int64_t u = begin; u < end; u++) {
        int64_t piece = u / a->tiles, from = u % a->tiles * TILE, cols = min_i64(inner - from, TILE);
        int64_t o = piece / a->pieces, first = piece % a->pieces * CHUNK, count = min_i64(a->n - first, CHUNK);
        const real *x = a->x + (o * a->n + first) * inner + from;
        real *acc = (a->pieces == 1 ? a->out + o * inner : a->chunks + piece * inner) + from;
        const real *centre = op == CENTRED ? a->centre + o * inner + from : 0;
        set_columns(acc, cols, neutral(op));
        int64_t r = 0;
        for (; r + TREE <= count; r += TREE) take_rows(op, acc, x + r * inner, centre, inner, cols, TREE);
        for (; r < count; r++) take_rows(op, acc, x + r * inner, centre, inner, cols, 1);
        if (a->op == FDL_MEAN && a->pieces == 1) divide_columns(acc, cols, a->n);
    }
}
static void columns_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const reduce_args *a = ctx;
    (void)thread;
    FOR_OP(a->op, columns, a, begin, end)
}

INLINE void join_columns(const int op, const reduce_args *a, int64_t begin, int64_t end) {
    const int joined = op == FDL_SUMSQ || op == CENTRED ? FDL_SUM : op; /* the chunks hold squares already */
    for (int64_t u = begin; u < end; u++) {
        int64_t o = u / a->tiles, from = u % a->tiles * TILE, cols = min_i64(a->inner - from, TILE);
        real *p = a->chunks + o * a->pieces * a->inner + from, *out = a->out + o * a->inner + from;
        for (int64_t left = a->pieces; left > 1;) {
            int64_t half = (left + 1) / 2;
            for (int64_t i = 0; i + half < left; i++)
                take_rows(joined, p + i * a->inner, p + (i + half) * a->inner, 0, 0, cols, 1);
            left = half;
        }
        memcpy(out, p, cols * sizeof(real));
        if (a->op == FDL_MEAN) divide_columns(out, cols, a->n);
    }
}
static void join_columns_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const reduce_args *a = ctx;
    (void)thread;
    FOR_OP(a->op, join_columns, a, begin, end)
}

/* reduce: out[o, i] = op over r of x[o, r, i]; SUMSQ: sum of squares
 *   out      [outer, inner]     out    n = 0: 0 (sum, sumsq), 1 (prod), NaN (mean), -inf (max), inf (min)
 *   x        [outer, n, inner]  in     NaN in gives NaN out, for max and min too
 *   scratch  reduce_scratch(..) bytes: partial results, 1/512 (rows) or 1/64 (columns) of x
 * Threads, order: see above.  Accuracy: at most 64 + 4 roundings in a row's block and 11 + log2(n / 64) in a column. */
int64_t FDL_FN(reduce_scratch)(int op, int64_t outer, int64_t n, int64_t inner) {
    (void)op;
    if (inner == 1) return n > BLOCK ? outer * pieces_of(n, BLOCK) * (int64_t)sizeof(double) : 0;
    return n > CHUNK ? outer * pieces_of(n, CHUNK) * inner * (int64_t)sizeof(real) : 0;
}

static void run_reduce(int op, real *out, const real *x, const real *centre, int64_t outer, int64_t n, int64_t inner,
                       void *scratch) {
    int by_row = inner == 1;
    reduce_args a = {out, x, centre, outer, n, inner, pieces_of(n, by_row ? BLOCK : CHUNK), pieces_of(inner, TILE),
                     scratch, scratch, op};
    if (!outer || !inner) return;
    if (by_row) {
        fdl_parallel_for(outer * a.pieces, max_i64(GRAIN / max_i64(min_i64(n, BLOCK), 8), 1), rows_task, &a);
        if (a.pieces > 1) FOR_OP(op, join_blocks, &a)
        return;
    }
    int64_t unit = max_i64(min_i64(n, CHUNK), 4) * min_i64(inner, TILE);
    fdl_parallel_for(outer * a.pieces * a.tiles, max_i64(GRAIN / unit, 1), columns_task, &a);
    unit = a.pieces * min_i64(inner, TILE);
    if (a.pieces > 1) fdl_parallel_for(outer * a.tiles, max_i64(GRAIN / unit, 1), join_columns_task, &a);
}

void FDL_FN(reduce)(int op, real *out, const real *x, int64_t outer, int64_t n, int64_t inner, void *scratch) {
    run_reduce(op, out, x, NULL, outer, n, inner, scratch);
}

/* reduce_squares: out[o, i] = sum over r of (x[o, r, i] - centre[o, i])^2: variances, once the means are known
 *   centre  [outer, inner]  in
 * All else as reduce. */
void FDL_FN(reduce_squares)(real *out, const real *x, const real *centre, int64_t outer, int64_t n, int64_t inner,
                            void *scratch) {
    run_reduce(CENTRED, out, x, centre, outer, n, inner, scratch);
}

/* argreduce: largest (FDL_MAX) or smallest (FDL_MIN) element and the first index where it stands
 *   value  [outer, inner]     out    NULL: not wanted
 *   index  [outer, inner]     out    NULL: not wanted
 *   x      [outer, n, inner]  in     a NaN counts as the largest (smallest) of all
 * Trusts: n >= 1.  Threads: rows, parts of long rows, strips of columns; the result is exact whatever the order.
 * Method, rows: extreme of each block, then one search in the first block that has it. */
typedef struct extreme {
    real value;
    int64_t index;
} extreme;

enum { PARTS = 64 }; /* of a long row */
typedef struct arg_args {
    real *value;
    int64_t *index;
    const real *x;
    int64_t outer, n, inner, strips;
    int op;
    int64_t part;  /* elements of a part */
    extreme *best; /* [parts] of the row x */
} arg_args;

INLINE int beats(const int op, real later, real earlier) {
    return earlier == earlier && (later != later || (op == FDL_MAX ? later > earlier : later < earlier));
}

/* first index in [0, n) with x[i] == value, or NaN where value is; there is one */
static int64_t find(const real *x, int64_t n, real value) {
    const int nan = value != value;
    vf v = v_set1(value);
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        vi hit = {0};
        UNROLL for (int k = 0; k < 4; k++) {
            vf t = v_load(x + i + k * VL);
            hit |= nan ? t != t : t == v;
        }
        if (v_any(hit)) break;
    }
    while (i < n - 1 && !(nan ? x[i] != x[i] : x[i] == value)) i++;
    return i;
}

INLINE extreme row_extreme(const int op, const real *x, int64_t begin, int64_t end) {
    extreme best = {block(op, x + begin, min_i64(end - begin, BLOCK), 0), begin};
    for (int64_t i = begin + BLOCK; i < end && best.value == best.value; i += BLOCK) {
        real value = block(op, x + i, min_i64(end - i, BLOCK), 0);
        if (beats(op, value, best.value)) best = (extreme){value, i};
    }
    best.index += find(x + best.index, min_i64(end - best.index, BLOCK), best.value);
    best.value = x[best.index];
    return best;
}
INLINE void put_extreme(const arg_args *a, int64_t i, extreme e) {
    if (a->value) a->value[i] = e.value;
    if (a->index) a->index[i] = e.index;
}
static void arg_rows_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const arg_args *a = ctx;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const real *x = a->x + i * a->n;
        put_extreme(a, i, a->op == FDL_MAX ? row_extreme(FDL_MAX, x, 0, a->n) : row_extreme(FDL_MIN, x, 0, a->n));
    }
}
static void arg_parts_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const arg_args *a = ctx;
    (void)thread;
    for (int64_t p = begin; p < end; p++) {
        int64_t from = p * a->part, to = min_i64(from + a->part, a->n);
        a->best[p] = a->op == FDL_MAX ? row_extreme(FDL_MAX, a->x, from, to) : row_extreme(FDL_MIN, a->x, from, to);
    }
}
static void arg_long_rows(arg_args a) {
    extreme best[PARTS];
    a.part = pieces_of(pieces_of(a.n, BLOCK), PARTS) * BLOCK;
    a.best = best;
    for (int64_t i = 0; i < a.outer; i++, a.x += a.n) {
        int64_t parts = pieces_of(a.n, a.part), first = 0;
        fdl_parallel_for(parts, max_i64(GRAIN / a.part, 1), arg_parts_task, &a);
        for (int64_t p = 1; p < parts; p++)
            if (beats(a.op, best[p].value, best[first].value)) first = p;
        put_extreme(&a, i, best[first]);
    }
}

/* STRIP vectors of columns; row numbers of at most 2^30 fit the lanes of both types */
INLINE void strip_extreme(const int op, const arg_args *a, int64_t o, int64_t col, int64_t first, int64_t rows_) {
    const real *x = a->x + (o * a->n + first) * a->inner + col;
    int64_t cols = min_i64(a->inner - col, STRIP * VL);
    vf best[STRIP];
    vi at[STRIP];
    UNROLL for (int k = 0; k < STRIP; k++) {
        best[k] = v_load_n(x + k * VL, clamp_width(cols - k * VL));
        at[k] = v_iset1(0);
    }
    for (int64_t r = 1; r < rows_; r++) {
        UNROLL for (int k = 0; k < STRIP; k++) {
            if (k * VL >= cols) break;
            vf y = v_load_n(x + r * a->inner + k * VL, clamp_width(cols - k * VL));
            vi wins = (best[k] == best[k]) & ((y != y) | (op == FDL_MAX ? y > best[k] : y < best[k]));
            best[k] = v_sel(wins, y, best[k]);
            at[k] = v_isel(wins, v_iset1((ireal)r), at[k]);
        }
    }
    for (int64_t j = 0; j < cols; j++) {
        int64_t i = o * a->inner + col + j;
        extreme e = {best[j / VL][j % VL], first + at[j / VL][j % VL]};
        if (first) { /* not the first rows: against what stands there */
            real earlier = a->value ? a->value[i] : a->x[(o * a->n + a->index[i]) * a->inner + col + j];
            if (!beats(op, e.value, earlier)) continue;
        }
        put_extreme(a, i, e);
    }
}
static void arg_columns_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const arg_args *a = ctx;
    const int64_t most = (int64_t)1 << 30;
    (void)thread;
    for (int64_t u = begin; u < end; u++)
        for (int64_t first = 0; first < a->n; first += most) {
            int64_t o = u / a->strips, col = u % a->strips * STRIP * VL, count = min_i64(a->n - first, most);
            if (a->op == FDL_MAX) strip_extreme(FDL_MAX, a, o, col, first, count);
            else strip_extreme(FDL_MIN, a, o, col, first, count);
        }
}

void FDL_FN(argreduce)(int op, real *value, int64_t *index, const real *x, int64_t outer, int64_t n, int64_t inner) {
    arg_args a = {value, index, x, outer, n, inner, pieces_of(inner, STRIP * VL), op, 0, NULL};
    if (!outer || !inner) return;
    if (inner > 1)
        fdl_parallel_for(outer * a.strips, max_i64(GRAIN / (min_i64(inner, STRIP * VL) * n), 1), arg_columns_task, &a);
    else if (n > 4 * GRAIN)
        arg_long_rows(a);
    else
        fdl_parallel_for(outer, max_i64(GRAIN / n, 1), arg_rows_task, &a);
}
