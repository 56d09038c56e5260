/* gemm_tile.c: the tiles of gemm_tile.h, one function for each shape. */
#include "gemm_tile.h"

enum { TILE_AHEAD = 8 }; /* k steps that b is prefetched into L1: a panel comes from L2 for each tile */

/* rows, vecs and tail are constants where this is inlined; tail: the last vector is masked */
INLINE void tile_product(const tile_args *t, const int rows, const int vecs, const int tail) {
    vf acc[TILE_ACCS];
    const int64_t row_a = t->row_a, col_a = t->col_a, ldb = t->ldb, ldc = t->ldc;
    const int last = t->last;
    const real *a = t->a, *b = t->b, *next = t->next;
    UNROLL for (int i = 0; i < rows * vecs; i++) acc[i] = v_zero();
    for (int64_t left = t->k, steps; left > 0; left -= steps) {
        steps = left;
        if (next) {
            steps = min_i64(left, TILE_LINE);
            for (int64_t i = 0; i < t->next_count; i++) __builtin_prefetch(next + i * t->next_step, 0, 2);
            next += t->next_ahead;
        }
        for (int64_t p = steps; p > 0; p--) {
            vf col[TILE_VECS];
            UNROLL for (int v = 0; v < vecs; v++) {
                col[v] = tail && v == vecs - 1 ? v_load_n(b + v * VL, last) : v_load(b + v * VL);
                if (v * VB % 64 == 0) __builtin_prefetch(b + TILE_AHEAD * ldb + v * VL);
            }
            UNROLL for (int r = 0; r < rows; r++) {
                vf x = v_set1(a[r * row_a]);
                UNROLL for (int v = 0; v < vecs; v++) acc[r * vecs + v] = v_fma(x, col[v], acc[r * vecs + v]);
            }
            a += col_a;
            b += ldb;
        }
    }
    real *c = t->c;
    if (t->accumulate)
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vecs; v++)
                acc[r * vecs + v] += tail && v == vecs - 1 ? v_load_n(c + r * ldc + v * VL, last) : v_load(c + r * ldc + v * VL);
    if (t->bias)
        UNROLL for (int v = 0; v < vecs; v++) {
            vf x = tail && v == vecs - 1 ? v_load_n(t->bias + v * VL, last) : v_load(t->bias + v * VL);
            UNROLL for (int r = 0; r < rows; r++) acc[r * vecs + v] += x;
        }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vecs; v++) {
            if (tail && v == vecs - 1) v_store_n(c + r * ldc + v * VL, acc[r * vecs + v], last);
            else v_store(c + r * ldc + v * VL, acc[r * vecs + v]);
        }
}

/* the same for sizes known only at run time */
#define TILE(rows, vecs) \
    static void tile_##rows##x##vecs(const tile_args *t) { tile_product(t, rows, vecs, 0); } \
    static void tile_##rows##x##vecs##_tail(const tile_args *t) { tile_product(t, rows, vecs, 1); }
#define TILE_PAIR(rows, vecs) {tile_##rows##x##vecs, tile_##rows##x##vecs##_tail},
#define FOR_6_ROWS(DO, vecs) DO(1, vecs) DO(2, vecs) DO(3, vecs) DO(4, vecs) DO(5, vecs) DO(6, vecs)
#define FOR_8_ROWS(DO, vecs) FOR_6_ROWS(DO, vecs) DO(7, vecs) DO(8, vecs)
#define FOR_12_ROWS(DO, vecs) FOR_8_ROWS(DO, vecs) DO(9, vecs) DO(10, vecs) DO(11, vecs) DO(12, vecs)

FOR_12_ROWS(TILE, 1)
#if TILE_ACCS == 24
FOR_12_ROWS(TILE, 2)
FOR_8_ROWS(TILE, 3)
FOR_6_ROWS(TILE, 4)
const tile_fn FDL_FN(tiles)[TILE_VECS][TILE_ROWS_MAX][2] = {
    {FOR_12_ROWS(TILE_PAIR, 1)}, {FOR_12_ROWS(TILE_PAIR, 2)}, {FOR_8_ROWS(TILE_PAIR, 3)}, {FOR_6_ROWS(TILE_PAIR, 4)}};
#else
FOR_6_ROWS(TILE, 2)
const tile_fn FDL_FN(tiles)[TILE_VECS][TILE_ROWS_MAX][2] = {{FOR_12_ROWS(TILE_PAIR, 1)}, {FOR_6_ROWS(TILE_PAIR, 2)}};
#endif
