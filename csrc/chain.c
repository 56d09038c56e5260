/* chain.c: a short program of element-wise operations, run over tiles that stay in L1: one pass over memory for any
 * number of operations, and sums of results on the way. Programs are made by fastdl/ops/chain.pyx. */
#include "fastdl.h"
#include "vecmath.h"

enum {
    TILE = 4096 / sizeof(real), /* elements: a register is a page of L1 */
    BLOCK = 4096,               /* bits: elements of one partial sum */
    GROUPS = 4,                 /* bits: independent sums per lane */
    GRAIN_STEPS = 1 << 17,      /* elements x operations that are worth a thread: about 5 us */
    OPERANDS = FDL_CHAIN_REGISTERS + FDL_CHAIN_INPUTS + FDL_CHAIN_OUTPUTS + FDL_CHAIN_CONSTANTS
};

/* Where each operand's elements of this tile are; mask: -1, or 0 where one vector holds them all. */
typedef struct operands {
    real *at[OPERANDS];
    int64_t mask[OPERANDS];
} operands;

/* one operation on n elements, n a multiple of VL; operands a, b, c, d as far as it has them */
#define OPERATION(name, result)                                              \
    case FDL_CHAIN_##name:                                                   \
        for (int64_t i = 0; i < n; i += VL) {                                \
            vf a = v_load(pa + (i & ma)), b = v_load(pb + (i & mb));         \
            vf c = v_load(pc + (i & mc)), d = v_load(pd + (i & md));         \
            (void)a, (void)b, (void)c, (void)d;                              \
            v_store(to + i, result);                                         \
        }                                                                    \
        break;

static void apply(int op, real *to, int64_t n, const real *pa, int64_t ma, const real *pb, int64_t mb, const real *pc,
                  int64_t mc, const real *pd, int64_t md) {
    const vf zero = v_zero(), one = v_set1(1);
    switch (op) {
        OPERATION(COPY, a)
        OPERATION(NEG, -a)
        OPERATION(ABS, v_abs(a))
        OPERATION(SIGN, v_sel(a > zero, one, v_sel(a < zero, -one, zero)))
        OPERATION(EXP, v_exp(a))
        OPERATION(EXPM1, v_expm1(a))
        OPERATION(LOG, v_log(a))
        OPERATION(LOG1P, v_log1p(a))
        OPERATION(TANH, v_tanh(a))
        OPERATION(SIGMOID, v_sigmoid(a))
        OPERATION(SOFTPLUS, v_max(a, zero) + v_log1p(v_exp(-v_abs(a)))) /* log1p(exp(a)) without overflow */
        OPERATION(ADD, a + b)
        OPERATION(SUB, a - b)
        OPERATION(MUL, a * b)
        OPERATION(DIV, a / b)
        OPERATION(WHERE_LT, v_sel(a < b, c, d))
        OPERATION(WHERE_LE, v_sel(a <= b, c, d))
        OPERATION(WHERE_EQ, v_sel(a == b, c, d))
    }
}

typedef struct sums {
    vf acc[FDL_CHAIN_SUMS][GROUPS * NV];
} sums;

/* adds elements of which the first stands at `from` of its block, a multiple of VL */
static void add_up(vf *acc, const real *x, int64_t mask, int64_t from, int64_t n) {
    int64_t i = 0, slot = from / VL % (GROUPS * NV);
    for (; i + VL <= n; i += VL, slot = (slot + 1) % (GROUPS * NV)) acc[slot] += v_load(x + (i & mask));
    if (i < n) acc[slot] += v_load_n(x + (i & mask), (int)(n - i));
}

INLINE double joined(vf *acc) {
    UNROLL for (int k = 0; k < 2 * NV; k++) acc[k] += acc[k + 2 * NV];
    UNROLL for (int k = 0; k < NV; k++) acc[k] += acc[k + NV];
    return v_hsum(acc);
}

/* Fetches step i's share of what the tile [at, at + TILE) will touch, while this one is computed: nothing else hides
 * the latency of memory, as the other operations of a chain stay in L1. */
INLINE void fetch_share(const fdl_chain_args *a, int64_t at, int i) {
    const int64_t line = 64 / sizeof(real);
    int64_t from = at + TILE / line * i / a->steps * line, until = at + TILE / line * (i + 1) / a->steps * line;
    for (int k = 0; k < a->inputs; k++)
        for (int64_t j = from; !a->period[k] && j < until; j += line) __builtin_prefetch((const real *)a->x[k] + j, 0, 2);
    for (int k = 0; k < a->outputs; k++)
        for (int64_t j = from; j < until; j += line) __builtin_prefetch((const real *)a->y[k] + j, 1, 2);
}

/* n elements, a multiple of VL, of which `valid` count; next: where the tile after this one begins, or -1 */
static void run_steps(const fdl_chain_args *a, operands *o, sums *s, int64_t from, int64_t n, int64_t valid,
                      int64_t next) {
    for (int i = 0; i < a->steps; i++) {
        if (next >= 0) fetch_share(a, next, i);
        const uint8_t *step = a->step + 6 * i;
        int64_t ma = o->mask[step[2]], mb = o->mask[step[3]], mc = o->mask[step[4]], md = o->mask[step[5]];
        if (step[0] == FDL_CHAIN_SUM) {
            add_up(s->acc[step[1]], o->at[step[2]], ma, from, valid);
            continue;
        }
        int is_output = step[1] >= FDL_CHAIN_REGISTERS;
        if (!is_output) o->mask[step[1]] = ma | mb | mc | md;
        apply(step[0], o->at[step[1]], is_output || (ma | mb | mc | md) ? n : VL, o->at[step[2]], ma, o->at[step[3]], mb,
              o->at[step[4]], mc, o->at[step[5]], md);
    }
}

/* elements [i, i + n) of a vector that repeats every `period` elements */
static void repeat(real *out, const real *x, int64_t period, int64_t i, int64_t n) {
    for (int64_t at = i % period; n > 0; at = 0) {
        int64_t count = min_i64(n, period - at);
        memcpy(out, x + at, count * sizeof(real));
        out += count;
        n -= count;
    }
}

static void blocks(void *ctx, int64_t begin, int64_t end, int thread) {
    const fdl_chain_args *a = ctx;
    real registers[FDL_CHAIN_REGISTERS * TILE] __attribute__((aligned(64)));
    real rows[FDL_CHAIN_INPUTS * TILE] __attribute__((aligned(64)));
    real fixed[(FDL_CHAIN_CONSTANTS + FDL_CHAIN_INPUTS) * VL] __attribute__((aligned(64)));
    real tails[(FDL_CHAIN_INPUTS + FDL_CHAIN_OUTPUTS) * VL] __attribute__((aligned(64)));
    enum { IN = FDL_CHAIN_REGISTERS + FDL_CHAIN_OUTPUTS, OUT = FDL_CHAIN_REGISTERS, CONST = IN + FDL_CHAIN_INPUTS };
    operands o;
    (void)thread;
    for (int k = 0; k < FDL_CHAIN_REGISTERS; k++) o.at[k] = registers + k * TILE;
    for (int k = 0; k < FDL_CHAIN_OUTPUTS; k++) o.mask[OUT + k] = -1;
    for (int k = 0; k < a->constants; k++) {
        v_store(fixed + k * VL, v_set1((real)a->constant[k]));
        o.at[CONST + k] = fixed + k * VL, o.mask[CONST + k] = 0;
    }
    for (int k = 0; k < a->inputs; k++) {
        o.mask[IN + k] = -(a->period[k] != 1);
        if (a->period[k] != 1) continue;
        o.at[IN + k] = fixed + (FDL_CHAIN_CONSTANTS + k) * VL;
        v_store(o.at[IN + k], v_set1(*(const real *)a->x[k]));
    }
    for (int64_t u = begin; u < end; u++) {
        sums s;
        memset(&s, 0, sizeof s);
        int64_t from = u * BLOCK, until = min_i64(from + BLOCK, a->n);
        for (int64_t i = from; i < until;) {
            int64_t n = min_i64(until - i, TILE) / VL * VL, valid = n;
            int tail = n == 0; /* less than a vector is left: through copies of one vector */
            if (tail) n = VL, valid = until - i;
            for (int k = 0; k < a->inputs; k++) {
                const real *x = a->x[k];
                if (a->period[k] == 1) continue;
                if (tail) {
                    o.at[IN + k] = tails + k * VL;
                    if (a->period[k]) repeat(o.at[IN + k], x, a->period[k], i, valid);
                    v_store(o.at[IN + k], v_load_n(a->period[k] ? o.at[IN + k] : x + i, (int)valid));
                } else if (a->period[k]) {
                    o.at[IN + k] = rows + k * TILE;
                    repeat(o.at[IN + k], x, a->period[k], i, n);
                } else {
                    o.at[IN + k] = (real *)x + i;
                }
            }
            for (int k = 0; k < a->outputs; k++)
                o.at[OUT + k] = tail ? tails + (FDL_CHAIN_INPUTS + k) * VL : (real *)a->y[k] + i;
            run_steps(a, &o, &s, i - from, n, valid, i + 2 * TILE <= a->n ? i + TILE : -1);
            for (int k = 0; tail && k < a->outputs; k++)
                v_store_n((real *)a->y[k] + i, v_load(o.at[OUT + k]), (int)valid);
            i += valid;
        }
        for (int k = 0; k < a->sums; k++) a->partial[u * a->sums + k] = joined(s.acc[k]);
    }
}

/* chain: y[k][i] = the program's results for x[k][i], contiguous; sum[k] = sums over i of results; see fdl_chain_args
 *   partial  sums x ceil(n / 4096) doubles of scratch
 * Threads: blocks of 4096. Order of a sum: 64 partial sums to a block, joined 0+2, 1+3 and by v_hsum's tree; the blocks in
 * double by halving the list.   Accuracy: of each operation as in vecmath.h.
 * Method: each operation is a loop over a tile of 4 KB, its operands registers in L1, the inputs themselves, or constants
 * (one vector); what is made of constants only is computed once. Choosing the loop costs about 3 ns. */
void FDL_FN(chain)(const fdl_chain_args *args) {
    const fdl_chain_args *a = args;
    int64_t count = (a->n + BLOCK - 1) / BLOCK, grain = GRAIN_STEPS / (a->steps * BLOCK) + 1;
    if (count <= grain) blocks((void *)args, 0, count, 0);
    else fdl_parallel_for(count, grain, blocks, (void *)args);
    for (int k = 0; k < a->sums; k++) {
        double *p = a->partial + k;
        for (int64_t left = count; left > 1;) {
            int64_t half = (left + 1) / 2;
            for (int64_t i = 0; i + half < left; i++) p[i * a->sums] += p[(i + half) * a->sums];
            left = half;
        }
        a->sum[k] = count ? p[0] : 0;
    }
}
