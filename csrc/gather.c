/* gather.c: elements of a tensor by a number for each of them. */
#include "fastdl.h"

enum {
    GRAIN_ELEMS = 8192 /* elements moved per thread, about 10 us */
};

typedef struct along_args {
    real *values, *x;
    const int64_t *index, *sizes, *strides;
    int64_t rows; /* of a unit of work */
    int ndim, dim, add;
} along_args;

static void along_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const along_args a = *(const along_args *)ctx;
    int last = a.ndim - 1;
    int64_t inner = a.sizes[last], own = a.strides[a.dim], step = a.dim == last ? 0 : a.strides[last];
    (void)thread;
    for (int64_t r = begin * a.rows; r < end * a.rows; r++) {
        int64_t base = 0, rest = r;
        for (int d = last - 1; d >= 0; rest /= a.sizes[d--])
            if (d != a.dim) base += rest % a.sizes[d] * a.strides[d];
        const int64_t *index = a.index + r * inner;
        real *values = a.values + r * inner, *x = a.x + base;
        if (a.add)
            for (int64_t j = 0; j < inner; j++) x[j * step + index[j] * own] += values[j];
        else
            for (int64_t j = 0; j < inner; j++) values[j] = x[j * step + index[j] * own];
    }
}

/* gather: values[i] = x[place(i)], or with `add` x[place(i)] += values[i], one i after another; place(i) is where
 * element i of `index` stands in x, but with index[i] along `dim`
 *   values  [sizes]  out, add: in
 *   x                in, add: in and out   contiguous, its strides in elements
 *   index   [sizes]  in                    trusted
 * ndim >= 1, no size is 0. Threads: rows of index; add: entries of the dimensions before `dim`, which meet nowhere. */
void FDL_FN(gather)(real *values, real *x, const int64_t *index, const int64_t *sizes, const int64_t *strides, int ndim,
                    int dim, int add) {
    int64_t rows = 1, units = 1;
    for (int d = 0; d < ndim - 1; d++) rows *= sizes[d];
    for (int d = 0; d < (add ? dim : ndim - 1); d++) units *= sizes[d];
    along_args args = {values, x, index, sizes, strides, rows / units, ndim, dim, add};
    fdl_parallel_for(units, GRAIN_ELEMS / (rows / units * sizes[ndim - 1]) + 1, along_task, &args);
}
