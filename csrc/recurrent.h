/* recurrent.h: what rnn.c, gru.c and lstm.c share: packed recurrent weights, the register tile, the walk over the
 * steps of a sequence. A file of these holds a cell: what to do with finished pre-activations.
 *
 * Numerics: the recurrent part of each pre-activation is one chain of FMAs over k = 0, 1, .. that starts from 0,
 * whatever the tile; the rest of a cell is element-wise. So no choice made here (tile, split, number of threads,
 * ISA) can change a bit. Backward, the same holds for dh = dG W_hh with k over gates*H.
 *
 * Weights [K, columns] are packed into panels, once per call or, forward, once for many (is_packed): cols vectors of VL
 * for each k in turn, [K][cols][VL].
 * Forward, a panel is VL hidden units with all their gates side by side, so one tile finishes its units; backward
 * (and in the plain RNN) it is up to 3 vectors of units. Where VL does not divide H the columns are padded by 0.
 *
 * Threads: a share is rows first, first+stride, .. of the batch and panels [panel0, panel1). Steps of many rows are
 * dealt out by rows (evenly for any lengths) and each thread walks alone; steps of few rows, and weights that do not
 * fit a core's L2 cache, by panels with a barrier per step. */
#ifndef FDL_RECURRENT_H
#define FDL_RECURRENT_H
#include "fastdl.h"

/* `count` panels of k rows; the first `wide` of them have cols + 1 column vectors, the others cols */
typedef struct panels {
    real *data;
    int64_t k, count, cols, wide;
} panels;

/* Where a walk stands: step t has n rows that begin at `row` of the [T,B,..] arrays; n_before rows from
 * row_before belong to the step visited before (0 at the start), n_after from row_after to the next one.
 * Forward, before means the previous state; backward, the walk runs the other way and after means it. */
typedef struct walk {
    const int64_t *sizes;
    int64_t t, end, dir, b, row, n, row_before, n_before, row_after, n_after;
} walk;

/* finished sums of one vector of units: for i < rows, batch row `row + i*stride`, units [unit, unit + n) */
typedef struct tile {
    const real *sum; /* gate g of row i: sum[i*ld + g*VL] */
    int64_t ld, row, stride, unit;
    int rows, n;
} tile;

typedef struct recurrent {
    const fdl_rnn_args *args;
    int gates;
    int backward;
    void (*cell)(const struct recurrent *r, const walk *w, const tile *x);
    /* the rest is set by recurrent_run */
    panels w;
    const real *zeros; /* [H] */
    real *dh, *dc;     /* [B,H] backward: what a step hands to the one before it in time, beside dG W_hh */
    int pack, is_far;  /* is_far: the packed weights do not stay in L2 */
} recurrent;

/* recurrent.c */
int64_t FDL_FN(recurrent_scratch)(const fdl_rnn_args *args, int gates);
void FDL_FN(recurrent_run)(recurrent *r);

INLINE vf load_part(const real *p, int n) { return n == VL ? v_load(p) : v_load_n(p, n); }
INLINE void store_part(real *p, vf x, int n) {
    if (n == VL) v_store(p, x);
    else v_store_n(p, x, n);
}

/* the input part of the gates of row `at` */
INLINE const real *input_part(const fdl_rnn_args *args, int64_t at, int64_t width) {
    return args->gx + (args->gx_row ? args->gx_row[at] : at) * width;
}

/* What the cell of the next step will read of it, while tiles are summed: another thread may have made it. */
INLINE void fetch_input(const recurrent *r, const walk *w, int64_t row, int64_t unit) {
    if (row >= w->n_after) return;
    const real *gx = input_part(r->args, w->row_after + row, r->gates * r->args->h) + unit;
    for (int g = 0; g < r->gates; g++) __builtin_prefetch(gx + g * r->args->h, 0, 2);
}

/* row i of a [B,H] state that may be absent (zeros) */
INLINE const real *state_row(const recurrent *r, const real *state, int64_t i) {
    return state ? state + i * r->args->h : r->zeros;
}
#endif
