/* lstm.c: long short-term memory, whole sequences. Schedule, tiles and order of summation: recurrent.c. */
#include "recurrent.h"
#include "vecmath.h"

int64_t FDL_FN(lstm_scratch)(const fdl_rnn_args *args) { return FDL_FN(recurrent_scratch)(args, 4); }

static void fwd_cell(const recurrent *r, const walk *w, const tile *x) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h;
    int n = x->n;
    for (int i = 0; i < x->rows; i++) {
        int64_t row = x->row + i * x->stride, at = w->row + row;
        const real *sum = x->sum + i * x->ld, *gx = input_part(args, at, 4 * h) + x->unit;
        real *cn = args->cn + row * h; /* the running state */
        const real *before = row < w->n_before ? cn : state_row(r, args->c0, row);
        vf input = v_gate(v_load(sum) + load_part(gx, n));
        vf forget = v_gate(v_load(sum + VL) + load_part(gx + h, n));
        vf new = v_tanh(v_load(sum + 2 * VL) + load_part(gx + 2 * h, n));
        vf output = v_gate(v_load(sum + 3 * VL) + load_part(gx + 3 * h, n));
        vf c = v_fma(forget, load_part(before + x->unit, n), input * new);
        vf y = output * v_tanh(c);
        fetch_input(r, w, row, x->unit);
        store_part(cn + x->unit, c, n);
        store_part(args->y + at * args->ldy + x->unit, y, n);
        if (args->hn && row >= w->n_after) store_part(args->hn + row * h + x->unit, y, n);
        if (args->gates) {
            real *gates = args->gates + at * 4 * h + x->unit;
            store_part(gates, input, n);
            store_part(gates + h, forget, n);
            store_part(gates + 2 * h, new, n);
            store_part(gates + 3 * h, output, n);
            store_part(args->saved + at * h + x->unit, c, n);
        }
    }
}

/* lstm_fwd: i, f, o = sigmoid(gx + h[t-1] W_hh^T), g = tanh(the same), c[t] = f * c[t-1] + i * g,
 *           h[t] = o * tanh(c[t]), y[t] = h[t]
 *   y      [T,B,H]   out
 *   hn     [B,H]     out    NULL: not wanted
 *   cn     [B,H]     out    needed: holds c on the way; may be c0 itself
 *   gates  [T,B,4H]  saved  i f g o; may be gx itself; NULL: inference, nothing is saved
 *   saved  [T,B,H]   saved  c
 *   gx     [T,B,4H]  in     x W_ih^T + b_ih + b_hh
 * Threads: batch rows or hidden units. Order: fixed. NaN propagates. */
void FDL_FN(lstm_fwd)(const fdl_rnn_args *args) {
    FDL_FN(recurrent_run)(&(recurrent){.args = args, .gates = 4, .cell = fwd_cell});
}

static void bwd_cell(const recurrent *r, const walk *w, const tile *x) {
    const fdl_rnn_args *args = r->args;
    int64_t h = args->h;
    int n = x->n;
    vf one = v_set1(1);
    for (int i = 0; i < x->rows; i++) {
        int64_t row = x->row + i * x->stride, at = w->row + row;
        const real *gates = args->gates + at * 4 * h + x->unit, *saved = args->saved;
        const real *before = row < w->n_after ? saved + (w->row_after + row) * h : state_row(r, args->c0, row);
        real *carry = r->dc + row * h + x->unit, *dgx = args->dgx + at * 4 * h + x->unit;
        vf dh = row < w->n_before ? v_load(x->sum + i * x->ld) : load_part(state_row(r, args->dhn, row) + x->unit, n);
        vf dc = load_part(row < w->n_before ? carry : state_row(r, args->dcn, row) + x->unit, n);
        if (args->dy) dh += load_part(args->dy + at * args->lddy + x->unit, n);
        vf input = load_part(gates, n), forget = load_part(gates + h, n), new = load_part(gates + 2 * h, n);
        vf output = load_part(gates + 3 * h, n), tanh_c = v_tanh(load_part(saved + at * h + x->unit, n));
        dc += dh * output * v_fma(-tanh_c, tanh_c, one);
        store_part(dgx, dc * new * (input * (one - input)), n);
        store_part(dgx + h, dc * load_part(before + x->unit, n) * (forget * (one - forget)), n);
        store_part(dgx + 2 * h, dc * input * v_fma(-new, new, one), n);
        store_part(dgx + 3 * h, dh * tanh_c * (output * (one - output)), n);
        store_part(carry, dc * forget, n);
    }
}

/* lstm_bwd: gradients before the activations; dh[t] = dy[t] + dgx[t+1] W_hh, dc[t] = f[t+1] dc[t+1]
 *           + dh[t] o (1 - tanh^2 c[t]); dhn and dcn stand for the terms in t+1 at a row's last step
 *   dgx       [T,B,4H]  out    di df dg do; may be gates itself; dW_hh = dgx^T h[t-1]
 *   dh0, dc0  [B,H]     out    NULL: not wanted
 *   gates, saved        in     of lstm_fwd;  c0 as there;  dy [T,B,H], dhn, dcn [B,H] in: NULL: zeros
 * tanh(c) is computed again: as quick as reading it, and T*B*H floats less. */
void FDL_FN(lstm_bwd)(const fdl_rnn_args *args) {
    FDL_FN(recurrent_run)(&(recurrent){.args = args, .gates = 4, .backward = 1, .cell = bwd_cell});
}
