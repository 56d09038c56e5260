/* rows.c: rows moved to where an index says: padded sequences to packed ones and back. */
#include "fastdl.h"

enum {
    COPY_GRAIN_ELEMS = 16384, /* elements copied per thread: 64 KB, about 5 us */
    PREFETCH_ROWS = 6         /* rows ahead: their addresses are known, the hardware cannot guess them */
};

typedef struct rows_args {
    real *out;
    const real *x, *other;
    const int64_t *index;
    int64_t ldx, d;
    real padding;
} rows_args;

static void copy_rows(void *ctx, int64_t begin, int64_t end, int thread) {
    const rows_args *a = ctx;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t from = a->index[i], j = 0;
        int later = i + PREFETCH_ROWS < end && a->index[i + PREFETCH_ROWS] >= 0;
        const real *x = from >= 0 ? a->x + from * a->ldx : a->other ? a->other + (-1 - from) * a->d : 0;
        const real *next = a->x + (later ? a->index[i + PREFETCH_ROWS] * a->ldx : 0);
        real *out = a->out + i * a->d;
        vf padding = v_set1(a->padding);
        for (; j + VL <= a->d; j += VL) {
            if (later) __builtin_prefetch(next + j);
            v_store(out + j, x ? v_load(x + j) : padding);
        }
        int n = (int)(a->d - j);
        if (n) v_store_n(out + j, x ? v_load_n(x + j, n) : padding, n);
    }
}

/* rows: out[i] = x[index[i]] where index[i] >= 0, else other[-1 - index[i]], or padding where other is NULL
 *   out    [N, D]  out
 *   x      [., D]  in    row stride ldx
 *   other  [., D]  in    NULL: none
 *   index  [N]     in    trusted
 * Threads: rows of out. */
void FDL_FN(rows)(real *out, const real *x, int64_t ldx, const real *other, const int64_t *index, double padding,
                  int64_t n, int64_t d) {
    rows_args args = {out, x, other, index, ldx, d, (real)padding};
    if (n && d) fdl_parallel_for(n, COPY_GRAIN_ELEMS / d + 1, copy_rows, &args);
}
