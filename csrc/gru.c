/* gru.c: gated recurrent units, whole sequences. Schedule, tiles and order of summation: recurrent.c. */
#include "recurrent.h"
#include "vecmath.h"

int64_t FDL_FN(gru_scratch)(const fdl_rnn_args *args) { return FDL_FN(recurrent_scratch)(args, 3); }

static void fwd_cell(const recurrent *r, const walk *w, const tile *x) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h;
    int n = x->n;
    vf b_hn = args->b_hn ? load_part(args->b_hn + x->unit, n) : v_zero();
    for (int i = 0; i < x->rows; i++) {
        int64_t row = x->row + i * x->stride, at = w->row + row;
        const real *sum = x->sum + i * x->ld, *gx = input_part(args, at, 3 * h) + x->unit;
        const real *before = row < w->n_before ? args->y + (w->row_before + row) * args->ldy : state_row(r, args->h0, row);
        vf reset = v_gate(v_load(sum) + load_part(gx, n));
        vf update = v_gate(v_load(sum + VL) + load_part(gx + h, n));
        vf inner = v_load(sum + 2 * VL) + b_hn;
        vf new = v_tanh(v_fma(reset, inner, load_part(gx + 2 * h, n)));
        vf y = v_fma(update, load_part(before + x->unit, n) - new, new);
        fetch_input(r, w, row, x->unit);
        store_part(args->y + at * args->ldy + x->unit, y, n);
        if (args->hn && row >= w->n_after) store_part(args->hn + row * h + x->unit, y, n);
        if (args->gates) {
            real *gates = args->gates + at * 3 * h + x->unit;
            store_part(gates, reset, n);
            store_part(gates + h, update, n);
            store_part(gates + 2 * h, new, n);
            store_part(args->saved + at * h + x->unit, inner, n);
        }
    }
}

/* gru_fwd: r = sigmoid(gx_r + h W_r^T), z = sigmoid(gx_z + h W_z^T), n = tanh(gx_n + r * (h W_n^T + b_hn)),
 *          h[t] = n + z * (h[t-1] - n), y[t] = h[t]
 *   y      [T,B,H]   out
 *   hn     [B,H]     out    NULL: not wanted
 *   gates  [T,B,3H]  saved  r z n; may be gx itself; NULL: inference, nothing is saved
 *   saved  [T,B,H]   saved  h W_n^T + b_hn
 *   gx     [T,B,3H]  in     x W_ih^T + b_ih, and b_hh for r and z
 * Threads: batch rows or hidden units. Order: fixed. NaN propagates. */
void FDL_FN(gru_fwd)(const fdl_rnn_args *args) {
    FDL_FN(recurrent_run)(&(recurrent){.args = args, .gates = 3, .cell = fwd_cell});
}

/* What the cell of the next step will read, from L3 into L2 while tiles are summed. */
INLINE void fetch_bwd(const fdl_rnn_args *args, int64_t at, int64_t unit) {
    const real *gates = args->gates + at * 3 * args->h + unit;
    UNROLL for (int g = 0; g < 3; g++) __builtin_prefetch(gates + g * args->h, 0, 2);
    __builtin_prefetch(args->saved + at * args->h + unit, 0, 2);
    if (args->dy) __builtin_prefetch(args->dy + at * args->lddy + unit, 0, 2);
}

static void bwd_cell(const recurrent *r, const walk *w, const tile *x) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h;
    int n = x->n;
    vf one = v_set1(1);
    for (int i = 0; i < x->rows; i++) {
        int64_t row = x->row + i * x->stride, at = w->row + row;
        const real *gates = args->gates + at * 3 * h + x->unit;
        const real *before = row < w->n_after ? args->y + (w->row_after + row) * args->ldy : state_row(r, args->h0, row);
        real *carry = r->dh + row * h + x->unit, *dgx = args->dgx + at * 3 * h + x->unit;
        vf dh = row < w->n_before ? v_load(x->sum + i * x->ld) + load_part(carry, n)
                                  : load_part(state_row(r, args->dhn, row) + x->unit, n);
        if (args->dy) dh += load_part(args->dy + at * args->lddy + x->unit, n);
        vf reset = load_part(gates, n), update = load_part(gates + h, n), new = load_part(gates + 2 * h, n);
        vf inner = load_part(args->saved + at * h + x->unit, n), keep = one - update;
        vf dnew = dh * keep * v_fma(-new, new, one);
        vf dinner = dnew * reset;
        if (row < w->n_after) fetch_bwd(args, w->row_after + row, x->unit);
        store_part(dgx, dnew * inner * (reset * (one - reset)), n);
        store_part(dgx + h, dh * (load_part(before + x->unit, n) - new) * (update * keep), n);
        store_part(dgx + 2 * h, dnew, n);
        store_part(args->dgh_n + at * h + x->unit, dinner, n);
        store_part(carry, dh * update, n);
    }
}

/* gru_bwd: gradients before the activations; dh[t] = dy[t] + z[t+1] dh[t+1] + (dr, dz, r dn)[t+1] W_hh, where dhn
 *          stands for the last two terms at a row's last step
 *   dgx    [T,B,3H]  out    dr dz dn; may be gates itself
 *   dgh_n  [T,B,H]   out    r * dn, which is to the recurrent part what dn is to the input part; may be saved itself
 *   dh0    [B,H]     out    NULL: not wanted
 *   y, gates, saved  in     of gru_fwd;  h0 as there;  dy [T,B,H], dhn [B,H] in: NULL: zeros */
void FDL_FN(gru_bwd)(const fdl_rnn_args *args) {
    FDL_FN(recurrent_run)(&(recurrent){.args = args, .gates = 3, .backward = 1, .cell = bwd_cell});
}
