/* matmul_dot.h: matmul for few rows when k is contiguous in both operands: the scalar products of the rows of one side
 * with those of the other, both read in order. Part of matmul.c.
 *
 * Order of summation: lane l of LANES sums the products of k = l, l + LANES, .. with one chain of fused multiply-adds;
 * v_hsum's tree joins the lanes. The same on every ISA; matmul takes this form by shape and layout alone. */
#ifndef FDL_MATMUL_DOT_H
#define FDL_MATMUL_DOT_H
#include "epilogue.h"
#include "gemm_tile.h"

enum {
    DOT_SUMS = VL < TILE_ACCS / NV ? VL : TILE_ACCS / NV, /* scalar products at once */
    DOT_ROWS = DOT_SUMS < 4 ? DOT_SUMS : 4                /* rows of the small side at once, at most */
};

typedef struct dot_plan {
    real *c;
    const real *few, *many, *bias; /* the side with few rows and the one with many */
    int64_t rows, cols, k, batch;  /* rows of few, rows of many */
    int64_t ld_few, ld_many, stride_few, stride_many, stride_c;
    int64_t step_few, step_many;   /* of c */
    int bias_few, bias_many;       /* steps of bias: one is 1, the other 0 */
    int accumulate;
    epilogue end;
} dot_plan;

/* One step of k: lanes [v*VL, v*VL + n) of the accumulators. */
INLINE void dot_step(vf *acc, const real *few, int64_t ld_few, const real *const *many, int64_t p, int v, int n,
                     const int rows, const int cols) {
    vf x[DOT_ROWS];
    p += v * VL;
    UNROLL for (int r = 0; r < rows; r++) x[r] = n == VL ? v_load(few + r * ld_few + p) : v_load_n(few + r * ld_few + p, n);
    UNROLL for (int j = 0; j < cols; j++) {
        vf y = n == VL ? v_load(many[j] + p) : v_load_n(many[j] + p, n);
        UNROLL for (int r = 0; r < rows; r++)
            acc[(r * cols + j) * NV + v] = v_fma(x[r], y, acc[(r * cols + j) * NV + v]);
    }
}

/* sums[r*cols + j] = row r of few . row j of many; rows and cols are constants where this is inlined */
INLINE void dot_sums(real *sums, const real *few, int64_t ld_few, const real *const *many, int64_t k, const int rows,
                     const int cols) {
    vf acc[DOT_SUMS * NV], x[VL];
    int64_t p = 0;
    UNROLL for (int i = 0; i < rows * cols * NV; i++) acc[i] = v_zero();
    for (; p + LANES <= k; p += LANES)
        UNROLL for (int v = 0; v < NV; v++) dot_step(acc, few, ld_few, many, p, v, VL, rows, cols);
    UNROLL for (int v = 0; v < NV; v++) {
        int left = (int)(k - p) - v * VL;
        if (left >= VL) dot_step(acc, few, ld_few, many, p, v, VL, rows, cols);
        else if (left > 0) dot_step(acc, few, ld_few, many, p, v, left, rows, cols);
    }
    UNROLL for (int i = 0; i < VL; i++) {
        x[i] = v_zero();
        if (i < rows * cols) {
            UNROLL for (int half = NV / 2; half; half /= 2)
                UNROLL for (int v = 0; v < half; v++) acc[i * NV + v] += acc[i * NV + v + half];
            x[i] = acc[i * NV];
        }
    }
    v_store(sums, v_hsum_each(x));
}

/* n sums of row r of few with rows j.. of many go to c */
INLINE void dot_store(const dot_plan *p, real *c, int64_t r, int64_t j, const real *sums, int n) {
    const real *bias = p->bias ? p->bias + r * p->bias_few + j * p->bias_many : 0;
    c += r * p->step_few + j * p->step_many;
    if (p->step_many == 1 && (!bias || p->bias_many)) {
        vf y = v_load_n(sums, n);
        if (p->accumulate) y += v_load_n(c, n);
        if (bias) y += v_load_n(bias, n);
        v_store_n(c, finish(&p->end, c, y, n), n);
        return;
    }
    for (int i = 0; i < n; i++) {
        real y = sums[i];
        if (p->accumulate) y += c[i * p->step_many];
        if (bias) y += bias[i * p->bias_many];
        c[i * p->step_many] = finish(&p->end, c + i * p->step_many, v_set1(y), 1)[0];
    }
}

/* rows [row, row + rows) of few with rows [begin, end) of many */
INLINE void dot_block(const dot_plan *p, int64_t matrix, int64_t row, int64_t begin, int64_t end, const int rows) {
    const int cols = DOT_SUMS / rows;
    const real *few = p->few + matrix * p->stride_few + row * p->ld_few;
    const real *many = p->many + matrix * p->stride_many;
    real sums[VL] __attribute__((aligned(VB)));
    for (int64_t j = begin; j < end; j += cols) {
        int n = end - j < cols ? (int)(end - j) : cols;
        const real *b[DOT_SUMS];
        UNROLL for (int i = 0; i < cols; i++) b[i] = many + (j + (i < n ? i : 0)) * p->ld_many;
        dot_sums(sums, few, p->ld_few, b, p->k, rows, cols);
        for (int r = 0; r < rows; r++) dot_store(p, p->c + matrix * p->stride_c, row + r, j, sums + r * cols, n);
    }
}

/* rows [begin, end) of the `many` of all matrices */
static void dot_range(void *ctx, int64_t begin, int64_t end, int thread) {
    const dot_plan *p = ctx;
    (void)thread;
    while (begin < end) {
        int64_t matrix = begin / p->cols, from = begin - matrix * p->cols;
        int64_t until = from + end - begin < p->cols ? from + end - begin : p->cols;
        begin += until - from;
        /* when few comes in several blocks, a block of many stays in L1 meanwhile */
        int64_t block = p->rows <= DOT_ROWS ? until - from : DOT_SUMS;
        for (int64_t j = from; j < until; j += block) {
            int64_t to = j + block < until ? j + block : until;
            for (int64_t row = 0, rows; row < p->rows; row += rows) {
                rows = p->rows - row < DOT_ROWS ? p->rows - row : DOT_ROWS;
                switch (rows) {
                case 1: dot_block(p, matrix, row, j, to, 1); break;
                case 2: dot_block(p, matrix, row, j, to, DOT_ROWS < 2 ? DOT_ROWS : 2); break;
                case 3: dot_block(p, matrix, row, j, to, DOT_ROWS < 3 ? DOT_ROWS : 3); break;
                default: dot_block(p, matrix, row, j, to, DOT_ROWS); break;
                }
            }
        }
    }
}
#endif
