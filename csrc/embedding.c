/* embedding.c: rows of a table by index, and the gradient of the table. */
#include "fastdl.h"

enum {
    COPY_GRAIN_ELEMS = 16384, /* elements copied per thread: 64 KB, about 5 us */
    PREFETCH_ROWS = 6,        /* rows ahead: their addresses are known, the hardware cannot guess them */
    PREFETCH_BYTES = 512,     /* of each row; the hardware follows from there */
    SUM_VECTORS = 8,          /* vectors of a row summed in registers at a time */
    NARROW_ELEMS = 16,        /* rows up to here are added where they belong: sorting their positions costs more */
    ADD_BLOCK = 64            /* columns added by one thread: reading the indices again costs a tenth of that */
};

INLINE void prefetch_row(const real *row, int64_t d) {
    int64_t bytes = min_i64(d * (int64_t)sizeof(real), PREFETCH_BYTES);
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)row + i);
}

INLINE void copy_row(real *out, const real *x, int64_t d) {
    int64_t i = 0;
    for (; i + VL <= d; i += VL) v_store(out + i, v_load(x + i));
    if (i < d) v_store_n(out + i, v_load_n(x + i, (int)(d - i)), (int)(d - i));
}

/* embedding_fwd: out[i] = weight[index[i]]
 *   out     [N, D]  out
 *   weight  [V, D]  in
 *   index   [N]     in   in [0, V)
 * Returns -1, or the first position whose index is out of range; then nothing was written. Threads: rows of out. */
typedef struct gather_args {
    real *out;
    const real *weight;
    const int64_t *index;
    int64_t n, d;
} gather_args;

static void gather_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const gather_args *a = ctx;
    (void)thread;
    if (a->d == 1) {
        for (int64_t i = begin; i < end; i++) a->out[i] = a->weight[a->index[i]];
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        if (i + PREFETCH_ROWS < end) prefetch_row(a->weight + a->index[i + PREFETCH_ROWS] * a->d, a->d);
        copy_row(a->out + i * a->d, a->weight + a->index[i] * a->d, a->d);
    }
}

int64_t FDL_FN(embedding_fwd)(real *out, const real *weight, const int64_t *index, int64_t n, int64_t v, int64_t d) {
    for (int64_t i = 0; i < n; i++)
        if ((uint64_t)index[i] >= (uint64_t)v) return i;
    gather_args args = {out, weight, index, n, d};
    if (n && d) fdl_parallel_for(n, COPY_GRAIN_ELEMS / d + 1, gather_task, &args);
    return -1;
}

/* embedding_bwd: dweight[r] (+)= sum of dout[i] over all i with index[i] = r and r != padding_idx
 *   dweight  [V, D]       out      accumulate = 0: written whole, rows of no index are 0; 1: added to
 *   dout     [N, D]       in
 *   index    [N]          in       in [0, V), as embedding_fwd has checked
 *   scratch  embedding_bwd_scratch(n, v, d, accumulate) bytes
 * Order: one element is summed one occurrence after another, starting from what it held.
 * Method: stable counting sort of the positions by row, then each row is summed in registers and written once.
 * That moves V*D + N*D elements; adding row by row into a zeroed table moves V*D + 3*N*D. Threads: ranges of rows of
 * dweight, cut so that each has about as many rows and occurrences.
 * Narrow rows, and few rows added to a table, are added one by one instead. Threads: blocks of columns. */
typedef struct scatter_args {
    real *dweight;
    const real *dout;
    const int64_t *start;    /* [V + 1]: positions of row r are position[start[r] .. start[r + 1]) */
    const int64_t *position; /* [N] */
    int64_t n, v, d, padding_idx;
    int accumulate;
} scatter_args;

/* vector j of `count` from x on, of which the last has `rest` elements */
INLINE vf load_part(const real *x, int j, int count, int rest) {
    return j + 1 < count || rest == VL ? v_load(x + j * VL) : v_load_n(x + j * VL, rest);
}

/* `count` vectors of row r from `column` on; the last one has `rest` elements */
INLINE void sum_columns(const scatter_args *a, int64_t r, int64_t column, int count, int rest) {
    int64_t last = a->start[r + 1];
    real *out = a->dweight + r * a->d + column;
    vf acc[SUM_VECTORS];
    UNROLL for (int j = 0; j < count; j++) acc[j] = a->accumulate ? load_part(out, j, count, rest) : v_zero();
    for (int64_t k = a->start[r]; k < last; k++) {
        const real *x = a->dout + a->position[k] * a->d + column;
        if (k + PREFETCH_ROWS < last) __builtin_prefetch(a->dout + a->position[k + PREFETCH_ROWS] * a->d + column);
        UNROLL for (int j = 0; j < count; j++) acc[j] += load_part(x, j, count, rest);
    }
    UNROLL for (int j = 0; j < count; j++) {
        if (j + 1 < count || rest == VL) v_store(out + j * VL, acc[j]);
        else v_store_n(out + j * VL, acc[j], rest);
    }
}

static void sum_row(const scatter_args *a, int64_t r) {
    int64_t column = 0, vectors = a->d / VL;
    for (; vectors >= 8; vectors -= 8, column += 8 * VL) sum_columns(a, r, column, 8, VL);
    if (vectors & 4) sum_columns(a, r, column, 4, VL), column += 4 * VL;
    if (vectors & 2) sum_columns(a, r, column, 2, VL), column += 2 * VL;
    if (vectors & 1) sum_columns(a, r, column, 1, VL), column += VL;
    if (column < a->d) sum_columns(a, r, column, 1, (int)(a->d - column));
}

/* the first row r with r + start[r] >= work: r + start[r] counts the rows and occurrences before row r */
static int64_t row_of_work(const scatter_args *a, int64_t work) {
    int64_t low = 0, high = a->v;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (middle + a->start[middle] >= work) high = middle;
        else low = middle + 1;
    }
    return low;
}

static void scatter_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const scatter_args *a = ctx;
    (void)thread;
    int64_t last = row_of_work(a, end);
    for (int64_t r = row_of_work(a, begin); r < last;) {
        if (a->start[r] < a->start[r + 1] && r != a->padding_idx) {
            int64_t next = a->start[r + 1];
            if (next + 1 < a->n) prefetch_row(a->dout + a->position[next + 1] * a->d, a->d);
            sum_row(a, r++);
            continue;
        }
        int64_t stop = r + 1; /* a run of rows without occurrences */
        while (stop < last && a->start[stop] == a->start[stop + 1]) stop++;
        if (!a->accumulate) memset(a->dweight + r * a->d, 0, (stop - r) * a->d * sizeof(real));
        r = stop;
    }
}

static void add_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const scatter_args *a = ctx;
    int64_t first = begin * ADD_BLOCK, last = min_i64(end * ADD_BLOCK, a->d);
    (void)thread;
    if (a->d == 1 && a->padding_idx < 0) {
        for (int64_t i = 0; i < a->n; i++) a->dweight[a->position[i]] += a->dout[i];
        return;
    }
    for (int64_t i = 0; i < a->n; i++) {
        int64_t r = a->position[i], j = first;
        real *out = a->dweight + r * a->d;
        const real *x = a->dout + i * a->d;
        if (r == a->padding_idx) continue;
        if (last - first < VL) {
            for (; j < last; j++) out[j] += x[j];
            continue;
        }
        for (; j + VL <= last; j += VL) v_store(out + j, v_load(out + j) + v_load(x + j));
        int rest = (int)(last - j);
        if (rest) v_store_n(out + j, v_load_n(out + j, rest) + v_load_n(x + j, rest), rest);
    }
}

static int adds_directly(int64_t n, int64_t v, int64_t d, int accumulate) {
    return d <= NARROW_ELEMS || (accumulate && n < v);
}

int64_t FDL_FN(embedding_bwd_scratch)(int64_t n, int64_t v, int64_t d, int accumulate) {
    return adds_directly(n, v, d, accumulate) ? 0 : (n + v + 1) * (int64_t)sizeof(int64_t);
}

void FDL_FN(embedding_bwd)(real *dweight, const real *dout, const int64_t *index, int64_t n, int64_t v, int64_t d,
                           int64_t padding_idx, int accumulate, void *scratch) {
    if (!v || !d) return;
    if (adds_directly(n, v, d, accumulate)) {
        scatter_args args = {.dweight = dweight, .dout = dout, .position = index, .n = n, .d = d, .padding_idx = padding_idx};
        if (!accumulate) memset(dweight, 0, v * d * sizeof(real));
        if (n) fdl_parallel_for(ceil_div(d, ADD_BLOCK), COPY_GRAIN_ELEMS / (n * ADD_BLOCK) + 1, add_task, &args);
        return;
    }
    int64_t *start = scratch, *position = start + v + 1;
    /* start[r + 1] counts row r; summed up, start[r] is where row r begins. Placing moves start[r] on to the
     * beginning of row r + 1, so a shift by one restores it. */
    memset(start, 0, (v + 1) * sizeof *start);
    for (int64_t i = 0; i < n; i++) start[index[i] + 1]++;
    for (int64_t r = 0; r < v; r++) start[r + 1] += start[r];
    for (int64_t i = 0; i < n; i++) position[start[index[i]]++] = i;
    memmove(start + 1, start, v * sizeof *start);
    start[0] = 0;
    scatter_args args = {dweight, dout, start, position, n, v, d, padding_idx, accumulate};
    fdl_parallel_for(v + n, COPY_GRAIN_ELEMS / d + 1, scatter_task, &args);
}

/* embedding_rows: which rows of the table occur, and where
 *   row       [N]      out      their numbers, rising; U of them
 *   start     [N + 1]  out      occurrences of row[u] are position[start[u] .. start[u + 1])
 *   position  [N]      out      in rising order for each row
 *   index     [N]      in       in [0, V), as embedding_fwd has checked; V <= 2^31, N < 2^32
 *   scratch   [2 N]    scratch  uint64
 * Returns U. padding_idx does not count. One thread: a radix sort by bytes, the position below the index, so that it
 * costs as much for a table of a million rows as for a thousand. */
int64_t FDL_FN(embedding_rows)(int64_t *row, int64_t *start, int64_t *position, const int64_t *index, int64_t n,
                               int64_t v, int64_t padding_idx, uint64_t *scratch) {
    uint64_t *key = scratch, *sorted = scratch + n;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) key[i] = (uint64_t)index[i] << 32 | (uint64_t)i;
    for (int shift = 32; shift < 64 && (v - 1) >> (shift - 32); shift += 8) {
        int64_t begin[257] = {0};
        for (int64_t i = 0; i < n; i++) begin[(key[i] >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++) begin[b + 1] += begin[b];
        for (int64_t i = 0; i < n; i++) sorted[begin[key[i] >> shift & 255]++] = key[i];
        uint64_t *other = key;
        key = sorted;
        sorted = other;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t r = (int64_t)(key[i] >> 32);
        if (r == padding_idx) continue;
        if (!count || row[count - 1] != r) {
            start[count] = kept;
            row[count++] = r;
        }
        position[kept++] = (int64_t)(key[i] & 0xffffffff);
    }
    start[count] = kept;
    return count;
}

/* embedding_sum: values[u] = sum of dout[position[k]] over k in [start[u], start[u + 1]), the order of embedding_bwd
 *   values           [U, D]  out
 *   dout             [N, D]  in
 *   start, position          in   as embedding_rows gives them
 * Threads: rows of values. */
static void sum_task(void *ctx, int64_t begin, int64_t end, int thread) {
    const scatter_args *a = ctx;
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        int64_t next = a->start[r + 1];
        if (next + 1 < a->start[a->v]) prefetch_row(a->dout + a->position[next + 1] * a->d, a->d);
        sum_row(a, r);
    }
}

void FDL_FN(embedding_sum)(real *values, const real *dout, const int64_t *start, const int64_t *position, int64_t u,
                           int64_t d) {
    scatter_args args = {.dweight = values, .dout = dout, .start = start, .position = position, .v = u, .d = d};
    if (u && d) fdl_parallel_for(u, COPY_GRAIN_ELEMS / (d * (start[u] / u + 1)) + 1, sum_task, &args);
}
