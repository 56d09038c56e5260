/* rnn.c: the plain recurrent layer, whole sequences. Schedule, tiles and order of summation: recurrent.c. */
#include "recurrent.h"
#include "vecmath.h"

int64_t FDL_FN(rnn_scratch)(const fdl_rnn_args *args) { return FDL_FN(recurrent_scratch)(args, 1); }

static void fwd_cell(const recurrent *r, const walk *w, const tile *x) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h;
    for (int i = 0; i < x->rows; i++) {
        int64_t row = x->row + i * x->stride, at = w->row + row;
        vf pre = v_load(x->sum + i * x->ld) + load_part(input_part(args, at, h) + x->unit, x->n);
        vf y = args->relu ? v_max(pre, v_zero()) : v_tanh(pre);
        fetch_input(r, w, row, x->unit);
        store_part(args->y + at * args->ldy + x->unit, y, x->n);
        if (args->hn && row >= w->n_after) store_part(args->hn + row * h + x->unit, y, x->n);
    }
}

/* rnn_fwd: h[t] = f(gx[t] + h[t-1] W_hh^T), f = tanh or relu; y[t] = h[t]
 *   y   [T,B,H]  out    saved for rnn_bwd
 *   hn  [B,H]    out    NULL: not wanted
 *   gx  [T,B,H]  in     x W_ih^T + b_ih + b_hh; may be y itself when ldy = H
 *   gates, saved, c0, cn, b_hn: not used
 * Threads: batch rows or hidden units. Order: fixed. NaN propagates. */
void FDL_FN(rnn_fwd)(const fdl_rnn_args *args) {
    FDL_FN(recurrent_run)(&(recurrent){.args = args, .gates = 1, .cell = fwd_cell});
}

static void bwd_cell(const recurrent *r, const walk *w, const tile *x) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h;
    for (int i = 0; i < x->rows; i++) {
        int64_t row = x->row + i * x->stride, at = w->row + row;
        vf dh = row < w->n_before ? v_load(x->sum + i * x->ld) : load_part(state_row(r, args->dhn, row) + x->unit, x->n);
        if (args->dy) dh += load_part(args->dy + at * args->lddy + x->unit, x->n);
        vf y = load_part(args->y + at * args->ldy + x->unit, x->n);
        vf dpre = args->relu ? v_sel(y <= v_zero(), v_zero(), dh) : dh * v_fma(-y, y, v_set1(1));
        store_part(args->dgx + at * h + x->unit, dpre, x->n);
    }
}

/* rnn_bwd: dgx[t] = f'(h[t]) * (dy[t] + dgx[t+1] W_hh), where dhn stands for the product at a row's last step
 *   dgx  [T,B,H]  out    also the gradient of the recurrent part: dW_hh = dgx^T h[t-1]
 *   dh0  [B,H]    out    dgx[0] W_hh; NULL: not wanted
 *   y    [T,B,H]  in     of rnn_fwd;  dy [T,B,H], dhn [B,H] in: NULL: zeros */
void FDL_FN(rnn_bwd)(const fdl_rnn_args *args) {
    FDL_FN(recurrent_run)(&(recurrent){.args = args, .gates = 1, .backward = 1, .cell = bwd_cell});
}
