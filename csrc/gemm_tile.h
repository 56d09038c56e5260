/* gemm_tile.h: the register tile of matmul and attention: `rows` x `vecs` vectors of c stay in registers while k runs.
 *
 * Every element is one chain of v_fma over k in rising order that starts from 0, whatever the tile's shape: tiles may
 * be cut as speed wants, on every ISA, without changing a bit. */
#ifndef FDL_GEMM_TILE_H
#define FDL_GEMM_TILE_H
#include "vec.h"

/* Accumulators leave room for one vector of b per column and a broadcast of a: 24 of 32 registers, 12 of 16. */
#if VREGS == 32
#define TILE_ACCS 24
#else
#define TILE_ACCS 12
#endif
enum {
    TILE_VECS = TILE_ACCS / 6,
    TILE_COLS = TILE_VECS * VL,
    TILE_ROWS_MAX = 12,
    TILE_LINE = 64 / sizeof(real) /* k steps in a cache line of `next` */
};

/* rows of a full tile that is `vecs` vectors wide */
INLINE int tile_rows(int vecs) {
    int rows = TILE_ACCS / vecs;
    return rows < TILE_ROWS_MAX ? rows : TILE_ROWS_MAX;
}

/* op(a) is read at a[r*row_a + p*col_a]; b at b[p*ldb + 0..vecs*VL); c is written at c[r*ldc + ..]. */
typedef struct tile_args {
    real *c;
    const real *a, *b, *bias; /* bias [columns] is added last; NULL: none */
    const real *next;         /* to be fetched into L2 meanwhile, for the next tile: every TILE_LINE steps of k */
    int64_t next_count, next_step, next_ahead; /* `next_count` lines, `next_step` apart; then next += next_ahead */
    int64_t row_a, col_a, ldb, ldc, k;
    int last;                 /* columns of the last vector that exist, 1..VL */
    int accumulate;           /* add to what c holds */
} tile_args;

/* [vecs - 1][rows - 1][whether the last vector is masked], in gemm_tile.c */
typedef void (*tile_fn)(const tile_args *t);
extern const tile_fn FDL_FN(tiles)[TILE_VECS][TILE_ROWS_MAX][2];

INLINE void tile_run(const tile_args *t, int rows, int vecs) { FDL_FN(tiles)[vecs - 1][rows - 1][t->last < VL](t); }

#endif
