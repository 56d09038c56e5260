/* elementwise.c: functions of one and two operands, comparison, choice, copies.
 *
 * Every result element depends on its operands only, so any cut over threads gives the same bits. Operands are
 * walked by strides in elements, 0 where broadcast. Adjacent dimensions that all operands step through evenly are
 * joined first; the innermost one runs in vectors where its strides are 1 or 0, by single elements otherwise.
 * out may be the same memory as an operand, but must not overlap one otherwise. */
#include "fastdl.h"
#include "vecmath.h"
#include "vecmath_trig.h"

enum {
    MAX_DIMS = 32,
    BLOCK = 1024,         /* elements of a unit of work */
    AHEAD = 512,          /* elements between what is fetched and what is worked on */
    GRAIN_CHEAP = 32768,  /* elements per thread at least: about 5 us of arithmetic from L2 */
    GRAIN_MATH = 32768,   /* the same for exp and its kin: about 7 us */
    SHORT_ROW = 256       /* elements up to which a copy is quicker than the call of memcpy */
};

/* Walking up to 4 operands ----------------------------------------------------------------------------------- */

typedef struct walk walk;
typedef void (*row_fn)(const walk *w, char *const *p, int64_t n);
struct walk {
    row_fn row;
    int op, ndim, count; /* count: operands, the result first */
    real alpha;
    vf p, q;
    int64_t grain;
    int64_t shape[MAX_DIMS];
    int64_t stride[4][MAX_DIMS]; /* bytes */
    char *base[4];
};

/* field by field: zeroing the whole struct would cost more than a small operation */
static void walk_start(walk *w, row_fn row, int op, int64_t grain) {
    w->row = row;
    w->op = op;
    w->grain = grain;
    w->count = 0;
}

static void walk_operand(walk *w, const void *base, const int64_t *strides, int ndim, int64_t item) {
    int64_t *s = w->stride[w->count];
    w->base[w->count++] = (char *)base;
    for (int d = 0; d < ndim; d++) s[d] = strides[d] * item;
}

/* joins dimension d with d+1 where every operand steps evenly through both; drops dimensions of size 1 */
static void walk_collapse(walk *w, const int64_t *shape, int ndim) {
    int m = 0;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] == 1) continue;
        int joins = m > 0;
        for (int k = 0; joins && k < w->count; k++) joins = w->stride[k][m - 1] == w->stride[k][d] * shape[d];
        if (!joins) w->shape[m++] = 1;
        w->shape[m - 1] *= shape[d];
        for (int k = 0; k < w->count; k++) w->stride[k][m - 1] = w->stride[k][d];
    }
    if (!m) {
        w->shape[m++] = 1;
        for (int k = 0; k < w->count; k++) w->stride[k][0] = 0;
    }
    w->ndim = m;
}

static void walk_blocks(void *ctx, int64_t begin, int64_t end, int thread) {
    const walk *w = ctx;
    (void)thread;
    int64_t n = w->shape[0], from = begin * BLOCK, to = end * BLOCK < n ? end * BLOCK : n;
    char *p[4];
    for (int k = 0; k < w->count; k++) p[k] = w->base[k] + from * w->stride[k][0];
    w->row(w, p, to - from);
}

static void walk_rows(void *ctx, int64_t begin, int64_t end, int thread) {
    const walk *w = ctx;
    (void)thread;
    int last = w->ndim - 1;
    int64_t at[MAX_DIMS], rest = begin;
    char *p[4];
    for (int k = 0; k < w->count; k++) p[k] = w->base[k];
    for (int d = last - 1; d >= 0; d--) {
        at[d] = rest % w->shape[d];
        rest /= w->shape[d];
        for (int k = 0; k < w->count; k++) p[k] += at[d] * w->stride[k][d];
    }
    for (int64_t row = begin; row < end; row++) {
        w->row(w, p, w->shape[last]);
        for (int d = last - 1; d >= 0; d--) {
            for (int k = 0; k < w->count; k++) p[k] += w->stride[k][d];
            if (++at[d] < w->shape[d]) break;
            at[d] = 0;
            for (int k = 0; k < w->count; k++) p[k] -= w->shape[d] * w->stride[k][d];
        }
    }
}

static void walk_collapsed(walk *w) {
    int64_t rows = 1, n = w->shape[w->ndim - 1];
    if (w->ndim == 1) {
        if (n <= w->grain) w->row(w, w->base, n);
        else fdl_parallel_for((n + BLOCK - 1) / BLOCK, w->grain / BLOCK, walk_blocks, w);
        return;
    }
    for (int d = 0; d < w->ndim - 1; d++) rows *= w->shape[d];
    fdl_parallel_for(rows, (w->grain + n - 1) / n, walk_rows, w);
}

static void walk_run(walk *w, const int64_t *shape, int ndim) {
    int64_t size = 1;
    for (int d = 0; d < ndim; d++) size *= shape[d];
    if (!size) return;
    walk_collapse(w, shape, ndim);
    walk_collapsed(w);
}

INLINE vf load_strided(const char *p, int64_t stride, int n) {
    vf x = v_zero();
    for (int i = 0; i < n; i++) x[i] = *(const real *)(p + i * stride);
    return x;
}
INLINE void store_strided(char *p, int64_t stride, vf x, int n) {
    for (int i = 0; i < n; i++) *(real *)(p + i * stride) = x[i];
}

/* One operand ------------------------------------------------------------------------------------------------ */

INLINE vf apply_unary(int op, vf x, vf p, vf q) {
    vf zero = v_zero(), one = v_set1(1);
    switch (op) {
    case FDL_NEG: return -x;
    case FDL_ABS: return v_abs(x);
    case FDL_EXP: return v_exp(x);
    case FDL_LOG: return v_log(x);
    case FDL_SQRT: return v_sqrt(x);
    case FDL_RSQRT: return one / v_sqrt(x);
    case FDL_SQUARE: return x * x;
    case FDL_RECIPROCAL: return one / x;
    case FDL_TANH: return v_tanh(x);
    case FDL_SIGMOID: return v_sigmoid(x);
    case FDL_RELU: return v_sel(x <= zero, zero, x);
    case FDL_LEAKY_RELU: return v_sel(x > zero, x, x * p);
    case FDL_ELU: return v_sel(x > zero, x, p * v_expm1(x));
    case FDL_GELU: return v_gelu(x);
    case FDL_GELU_TANH: return v_gelu_tanh(x);
    case FDL_SILU: return x * v_sigmoid(x);
    case FDL_SOFTPLUS: { /* log1p(exp(z)) without overflow, whatever the threshold */
        vf z = x * p;
        return v_sel(z > q, x, (v_max(z, zero) + v_log1p(v_exp(-v_abs(z)))) / p);
    }
    case FDL_ERF: return v_erf(x);
    case FDL_SIGN: return v_sel(x > zero, one, v_sel(x < zero, -one, zero));
    case FDL_CLAMP: return v_min(v_max(x, p), q);
    case FDL_LOG1P: return v_log1p(x);
    default: return v_expm1(x);
    }
}

/* dx from g = dout and s = saved: the output for exp, sqrt, rsqrt, reciprocal, tanh, sigmoid, relu and expm1,
 * the input for all others */
INLINE vf apply_unary_bwd(int op, vf g, vf s, vf p, vf q) {
    vf zero = v_zero(), one = v_set1(1);
    switch (op) {
    case FDL_NEG: return -g;
    case FDL_ABS: return g * apply_unary(FDL_SIGN, s, p, q);
    case FDL_EXP: return g * s;
    case FDL_LOG: return g / s;
    case FDL_SQRT: return g / (s + s);
    case FDL_RSQRT: return g * v_set1((real)-0.5) * (s * s * s);
    case FDL_SQUARE: return g * (s + s);
    case FDL_RECIPROCAL: return -g * (s * s);
    case FDL_TANH: return g * v_fma(-s, s, one);
    case FDL_SIGMOID: return g * (s * (one - s));
    case FDL_RELU: return v_sel(s <= zero, zero, g);
    case FDL_LEAKY_RELU: return v_sel(s > zero, g, g * p);
    case FDL_ELU: return v_sel(s > zero, g, g * p * v_exp(s));
    case FDL_GELU: return g * v_gelu_grad(s);
    case FDL_GELU_TANH: return g * v_gelu_tanh_grad(s);
    case FDL_SILU: {
        vf y = v_sigmoid(s);
        return g * (y * v_fma(s, one - y, one));
    }
    case FDL_SOFTPLUS: return v_sel(s * p > q, g, g * v_sigmoid(s * p));
    case FDL_ERF: return g * v_set1((real)1.12837916709551257390) * v_exp(-s * s);
    case FDL_SIGN: return zero;
    case FDL_CLAMP: return v_sel((s >= p) & (s <= q), g, zero);
    case FDL_LOG1P: return g / (one + s);
    default: return g * (s + one);
    }
}

/* bound by memory wherever the operands are; the others fetch what comes next, which is nothing to them in L1 and hides
 * L3's latency: a sixth of GELU's time */
INLINE int is_cheap(int op) {
    return op == FDL_NEG || op == FDL_ABS || op == FDL_SQUARE || op == FDL_RELU || op == FDL_LEAKY_RELU ||
           op == FDL_SIGN || op == FDL_CLAMP;
}

INLINE void unary_loop(const int op, const walk *w, char *const *ptr, int64_t n) {
    real *out = (real *)ptr[0];
    const real *x = (const real *)ptr[1];
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        if (!is_cheap(op)) {
            __builtin_prefetch(x + i + AHEAD);
            v_prefetch_write(out + i + AHEAD);
        }
        v_store(out + i, apply_unary(op, v_load(x + i), w->p, w->q));
    }
    if (i < n) v_store_n(out + i, apply_unary(op, v_load_n(x + i, n - i), w->p, w->q), n - i);
}
INLINE void unary_bwd_loop(const int op, const walk *w, char *const *ptr, int64_t n) {
    real *dx = (real *)ptr[0];
    const real *g = (const real *)ptr[1], *s = (const real *)ptr[2];
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        if (!is_cheap(op)) {
            __builtin_prefetch(g + i + AHEAD);
            __builtin_prefetch(s + i + AHEAD);
            v_prefetch_write(dx + i + AHEAD);
        }
        v_store(dx + i, apply_unary_bwd(op, v_load(g + i), v_load(s + i), w->p, w->q));
    }
    if (i < n)
        v_store_n(dx + i, apply_unary_bwd(op, v_load_n(g + i, n - i), v_load_n(s + i, n - i), w->p, w->q), n - i);
}

/* one copy of a loop per operation, chosen outside of it */
#define EACH_UNARY(CASE) \
    CASE(FDL_NEG) CASE(FDL_ABS) CASE(FDL_EXP) CASE(FDL_LOG) CASE(FDL_SQRT) CASE(FDL_RSQRT) CASE(FDL_SQUARE) \
    CASE(FDL_RECIPROCAL) CASE(FDL_TANH) CASE(FDL_SIGMOID) CASE(FDL_RELU) CASE(FDL_LEAKY_RELU) CASE(FDL_ELU) \
    CASE(FDL_GELU) CASE(FDL_GELU_TANH) CASE(FDL_SILU) CASE(FDL_SOFTPLUS) CASE(FDL_ERF) CASE(FDL_SIGN) \
    CASE(FDL_CLAMP) CASE(FDL_LOG1P) CASE(FDL_EXPM1)

/* the functions of vecmath_trig.h: one copy, seldom hot */
static __attribute__((noinline)) vf apply_rare(int op, vf x) {
    switch (op) {
    case FDL_SIN: return v_sin(x);
    case FDL_COS: return v_cos(x);
    case FDL_TAN: return v_tan(x);
    case FDL_ASIN: return v_asin(x);
    case FDL_ACOS: return v_acos(x);
    case FDL_ATAN: return v_atan(x);
    case FDL_SINH: return v_sinh(x);
    case FDL_COSH: return v_cosh(x);
    case FDL_EXP2: return v_exp2(x);
    case FDL_LOG2: return v_log2(x);
    case FDL_LOG10: return v_log10(x);
    case FDL_FLOOR: return v_floor(x);
    case FDL_CEIL: return v_ceil(x);
    case FDL_TRUNC: return v_trunc(x);
    default: return v_rint(x);
    }
}
static void rare_loop(const walk *w, char *const *ptr, int64_t n) {
    real *out = (real *)ptr[0];
    const real *x = (const real *)ptr[1];
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store(out + i, apply_rare(w->op, v_load(x + i)));
    if (i < n) v_store_n(out + i, apply_rare(w->op, v_load_n(x + i, n - i)), n - i);
}

static void unary_row(const walk *w, char *const *ptr, int64_t n) {
    switch (w->op) {
#define CASE(op) case op: unary_loop(op, w, ptr, n); break;
        EACH_UNARY(CASE)
#undef CASE
    default: rare_loop(w, ptr, n);
    }
}
static void unary_bwd_row(const walk *w, char *const *ptr, int64_t n) {
    switch (w->op) {
#define CASE(op) case op: unary_bwd_loop(op, w, ptr, n); break;
        EACH_UNARY(CASE)
#undef CASE
    }
}

static int64_t unary_grain(int op) { return is_cheap(op) ? GRAIN_CHEAP : GRAIN_MATH; }

static const int64_t ONE[1] = {1}, ZERO[1] = {0};

/* unary: out[i] = op(x[i]), contiguous.   p, q: the operation's numbers, see fdl_unary_op.  Accuracy: vecmath.h */
void FDL_FN(unary)(int op, real *out, const real *x, int64_t n, double p, double q) {
    walk w;
    walk_start(&w, unary_row, op, unary_grain(op));
    w.p = v_set1(p), w.q = v_set1(q);
    walk_operand(&w, out, ONE, 1, sizeof(real));
    walk_operand(&w, x, ONE, 1, sizeof(real));
    walk_run(&w, &n, 1);
}

/* unary_bwd: dx[i] = dout[i] op'(.) from `saved`: op's output or input, see apply_unary_bwd */
void FDL_FN(unary_bwd)(int op, real *dx, const real *dout, const real *saved, int64_t n, double p, double q) {
    walk w;
    walk_start(&w, unary_bwd_row, op, unary_grain(op));
    w.p = v_set1(p), w.q = v_set1(q);
    walk_operand(&w, dx, ONE, 1, sizeof(real));
    walk_operand(&w, dout, ONE, 1, sizeof(real));
    walk_operand(&w, saved, ONE, 1, sizeof(real));
    walk_run(&w, &n, 1);
}

/* Two operands ----------------------------------------------------------------------------------------------- */

/* large: one copy */
static __attribute__((noinline)) vf power(vf a, vf b) { return v_pow(a, b); }
static __attribute__((noinline)) vf angle(vf y, vf x) { return v_atan2(y, x); }

INLINE vf apply_binary(int op, vf a, vf b, vf alpha) {
    switch (op) {
    case FDL_ADD: return v_fma(alpha, b, a);
    case FDL_SUB: return v_fma(-alpha, b, a);
    case FDL_MUL: return a * b;
    case FDL_DIV: return a / b;
    case FDL_MAXIMUM: return v_max(a, b);
    case FDL_MINIMUM: return v_min(a, b);
    case FDL_POW: return power(a, b);
    case FDL_ATAN2: return angle(a, b);
    case FDL_RSUB: return b - a;
    case FDL_RDIV: return b / a;
    default: return power(b, a);
    }
}

INLINE void binary_loop(const int op, const walk *w, char *const *ptr, int64_t n) {
    int last = w->ndim - 1;
    int64_t so = w->stride[0][last], sa = w->stride[1][last], sb = w->stride[2][last], i = 0;
    real *out = (real *)ptr[0];
    const real *a = (const real *)ptr[1], *b = (const real *)ptr[2];
    const int64_t unit = sizeof(real);
    vf alpha = v_set1(w->alpha);
    if (so == unit && sa == unit && sb == unit) {
        for (; i + VL <= n; i += VL) v_store(out + i, apply_binary(op, v_load(a + i), v_load(b + i), alpha));
        int r = n - i;
        if (r) v_store_n(out + i, apply_binary(op, v_load_n(a + i, r), v_load_n(b + i, r), alpha), r);
    } else if (so == unit && sa == unit && sb == 0) {
        vf y = v_set1(*b);
        for (; i + VL <= n; i += VL) v_store(out + i, apply_binary(op, v_load(a + i), y, alpha));
        if (i < n) v_store_n(out + i, apply_binary(op, v_load_n(a + i, n - i), y, alpha), n - i);
    } else if (so == unit && sa == 0 && sb == unit) {
        vf x = v_set1(*a);
        for (; i + VL <= n; i += VL) v_store(out + i, apply_binary(op, x, v_load(b + i), alpha));
        if (i < n) v_store_n(out + i, apply_binary(op, x, v_load_n(b + i, n - i), alpha), n - i);
    } else {
        for (; i < n; i += VL) {
            int r = n - i < VL ? n - i : VL;
            vf x = load_strided(ptr[1] + i * sa, sa, r), y = load_strided(ptr[2] + i * sb, sb, r);
            store_strided(ptr[0] + i * so, so, apply_binary(op, x, y, alpha), r);
        }
    }
}

static void binary_row(const walk *w, char *const *ptr, int64_t n) {
    switch (w->op) {
#define CASE(op) case op: binary_loop(op, w, ptr, n); break;
        CASE(FDL_ADD) CASE(FDL_SUB) CASE(FDL_MUL) CASE(FDL_DIV) CASE(FDL_MAXIMUM) CASE(FDL_MINIMUM) CASE(FDL_POW)
        CASE(FDL_ATAN2) CASE(FDL_RSUB) CASE(FDL_RDIV) CASE(FDL_RPOW)
#undef CASE
    }
}

/* binary: out = a op b, broadcast by strides (in elements); FDL_ADD, FDL_SUB: a op alpha b with one rounding more
 * only for alpha b.   Accuracy: correctly rounded; pow as v_pow. */
void FDL_FN(binary)(int op, real *out, const int64_t *so, const real *a, const int64_t *sa, const real *b,
                    const int64_t *sb, const int64_t *shape, int ndim, double alpha) {
    walk w;
    walk_start(&w, binary_row, op, op == FDL_POW || op == FDL_ATAN2 ? GRAIN_MATH : GRAIN_CHEAP);
    w.alpha = alpha;
    walk_operand(&w, out, so, ndim, sizeof(real));
    walk_operand(&w, a, sa, ndim, sizeof(real));
    walk_operand(&w, b, sb, ndim, sizeof(real));
    walk_run(&w, shape, ndim);
}

/* binary_scalar: out[i] = a[i] op b, contiguous; FDL_POW takes the exact short cuts for -1, 0.5, 1, 2 and 3 */
void FDL_FN(binary_scalar)(int op, real *out, const real *a, double b, int64_t n) {
    real value = b;
    if (op == FDL_POW && (b == 2 || b == 0.5 || b == -1)) {
        FDL_FN(unary)(b == 2 ? FDL_SQUARE : b == -1 ? FDL_RECIPROCAL : FDL_SQRT, out, a, n, 0, 0);
        return;
    }
    walk w;
    walk_start(&w, binary_row, op, op == FDL_POW || op == FDL_RPOW ? GRAIN_MATH : GRAIN_CHEAP);
    w.alpha = 1;
    walk_operand(&w, out, ONE, 1, sizeof(real));
    walk_operand(&w, a, ONE, 1, sizeof(real));
    walk_operand(&w, &value, ZERO, 1, sizeof(real));
    walk_run(&w, &n, 1);
}

static void axpy_row(const walk *w, char *const *ptr, int64_t n) {
    real *y = (real *)ptr[0];
    const real *x = (const real *)ptr[1];
    vf alpha = v_set1(w->alpha);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store(y + i, v_fma(alpha, v_load(x + i), v_load(y + i)));
    if (i < n) v_store_n(y + i, v_fma(alpha, v_load_n(x + i, n - i), v_load_n(y + i, n - i)), n - i);
}

/* axpy: y[i] += alpha x[i] */
void FDL_FN(axpy)(real *y, const real *x, double alpha, int64_t n) {
    walk w;
    walk_start(&w, axpy_row, 0, GRAIN_CHEAP);
    w.alpha = alpha;
    walk_operand(&w, y, ONE, 1, sizeof(real));
    walk_operand(&w, x, ONE, 1, sizeof(real));
    walk_run(&w, &n, 1);
}

/* Comparison and choice -------------------------------------------------------------------------------------- */

INLINE vi apply_compare(int op, vf a, vf b) {
    switch (op) {
    case FDL_EQ: return a == b;
    case FDL_NE: return a != b;
    case FDL_LT: return a < b;
    case FDL_LE: return a <= b;
    case FDL_GT: return a > b;
    default: return a >= b;
    }
}

/* n elements from i on of an operand with inner stride s: 1, 0 or any */
INLINE vf load_any(const char *p, int64_t s, int64_t i, int n) {
    if (s == sizeof(real)) return n == VL ? v_load((const real *)p + i) : v_load_n((const real *)p + i, n);
    if (s == 0) return v_set1(*(const real *)p);
    return load_strided(p + i * s, s, n);
}

INLINE void compare_loop(const int op, const walk *w, char *const *ptr, int64_t n) {
    int last = w->ndim - 1;
    for (int64_t i = 0; i < n; i += VL) {
        int r = n - i < VL ? n - i : VL;
        vi mask = apply_compare(op, load_any(ptr[1], w->stride[1][last], i, r), load_any(ptr[2], w->stride[2][last], i, r));
        vb bytes = __builtin_convertvector(mask, vb) & 1;
        memcpy(ptr[0] + i, &bytes, r);
    }
}
static void compare_row(const walk *w, char *const *ptr, int64_t n) {
    switch (w->op) {
#define CASE(op) case op: compare_loop(op, w, ptr, n); break;
        CASE(FDL_EQ) CASE(FDL_NE) CASE(FDL_LT) CASE(FDL_LE) CASE(FDL_GT) CASE(FDL_GE)
#undef CASE
    }
}

/* strides of a contiguous array of this shape */
static void contiguous_strides(int64_t *s, const int64_t *shape, int ndim) {
    int64_t step = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        s[d] = step;
        step *= shape[d];
    }
}

/* compare: out = a op b as 0 or 1, out contiguous; NaN compares as IEEE says */
void FDL_FN(compare)(int op, uint8_t *out, const real *a, const int64_t *sa, const real *b, const int64_t *sb,
                     const int64_t *shape, int ndim) {
    walk w;
    walk_start(&w, compare_row, op, GRAIN_CHEAP);
    int64_t so[MAX_DIMS];
    contiguous_strides(so, shape, ndim);
    walk_operand(&w, out, so, ndim, 1);
    walk_operand(&w, a, sa, ndim, sizeof(real));
    walk_operand(&w, b, sb, ndim, sizeof(real));
    walk_run(&w, shape, ndim);
}

static void where_row(const walk *w, char *const *ptr, int64_t n) {
    int last = w->ndim - 1;
    int64_t sc = w->stride[1][last];
    real *out = (real *)ptr[0];
    for (int64_t i = 0; i < n; i += VL) {
        int r = n - i < VL ? n - i : VL;
        vb bytes = {};
        if (sc == 1) memcpy(&bytes, ptr[1] + i, r);
        else for (int k = 0; k < r; k++) bytes[k] = ptr[1][(i + k) * sc];
        vi mask = __builtin_convertvector(bytes, vi) != 0;
        vf x = v_sel(mask, load_any(ptr[2], w->stride[2][last], i, r), load_any(ptr[3], w->stride[3][last], i, r));
        if (r == VL) v_store(out + i, x);
        else v_store_n(out + i, x, r);
    }
}

/* where: out = cond ? a : b, out contiguous */
void FDL_FN(where)(real *out, const uint8_t *cond, const int64_t *sc, const real *a, const int64_t *sa, const real *b,
                   const int64_t *sb, const int64_t *shape, int ndim) {
    walk w;
    walk_start(&w, where_row, 0, GRAIN_CHEAP);
    int64_t so[MAX_DIMS];
    contiguous_strides(so, shape, ndim);
    walk_operand(&w, out, so, ndim, sizeof(real));
    walk_operand(&w, cond, sc, ndim, 1);
    walk_operand(&w, a, sa, ndim, sizeof(real));
    walk_operand(&w, b, sb, ndim, sizeof(real));
    walk_run(&w, shape, ndim);
}

/* Copies ----------------------------------------------------------------------------------------------------- */

static void copy_row(const walk *w, char *const *ptr, int64_t n) {
    int last = w->ndim - 1;
    int64_t so = w->stride[0][last], sx = w->stride[1][last];
    if (so == sizeof(real) && sx == sizeof(real)) {
        real *out = (real *)ptr[0];
        const real *x = (const real *)ptr[1];
        int64_t i = 0;
        if (n > SHORT_ROW) {
            memcpy(out, x, n * sizeof(real));
            return;
        }
        for (; i + VL <= n; i += VL) v_store(out + i, v_load(x + i));
        if (i < n) v_store_n(out + i, v_load_n(x + i, n - i), n - i);
    } else
        for (int64_t i = 0; i < n; i++) *(real *)(ptr[0] + i * so) = *(const real *)(ptr[1] + i * sx);
}

/* Copies in which out runs along the last dimension and x along dimension `across`: blocks of VL x VL are transposed
 * in registers. A unit of work is a block row: VL entries of `across`, all of the last dimension. */
typedef struct transposed {
    const walk *w;
    int across;
    int64_t blocks; /* of `across` */
} transposed;

static void transposed_blocks(void *ctx, int64_t begin, int64_t end, int thread) {
    const transposed *c = ctx;
    const walk *w = c->w;
    (void)thread;
    int last = w->ndim - 1;
    int64_t n = w->shape[c->across], m = w->shape[last], so = w->stride[0][c->across], sx = w->stride[1][last];
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t i = unit % c->blocks * VL, rest = unit / c->blocks;
        char *out = w->base[0] + i * so;
        const char *x = w->base[1] + i * (int64_t)sizeof(real);
        for (int d = last - 1; d >= 0; d--) {
            if (d == c->across) continue;
            out += rest % w->shape[d] * w->stride[0][d];
            x += rest % w->shape[d] * w->stride[1][d];
            rest /= w->shape[d];
        }
        int ni = n - i < VL ? (int)(n - i) : VL;
        for (int64_t j = 0; j < m; j += VL) {
            int nj = m - j < VL ? (int)(m - j) : VL;
            vf block[VL];
            for (int k = 0; k < VL; k++) block[k] = k < nj ? v_load_n((const real *)(x + (j + k) * sx), ni) : v_zero();
            v_transpose(block);
            for (int k = 0; k < ni; k++) v_store_n((real *)(out + k * so) + j, block[k], nj);
        }
    }
}

/* the dimension along which x is contiguous although out is not, or -1 */
static int transposed_dim(const walk *w) {
    int last = w->ndim - 1;
    if (w->stride[0][last] != sizeof(real) || w->stride[1][last] == sizeof(real)) return -1;
    for (int d = last - 1; d >= 0; d--)
        if (w->stride[1][d] == sizeof(real)) return d;
    return -1;
}

/* copy: out = x, both by strides (in elements) */
void FDL_FN(copy)(real *out, const int64_t *so, const real *x, const int64_t *sx, const int64_t *shape, int ndim) {
    walk w;
    walk_start(&w, copy_row, 0, GRAIN_CHEAP);
    walk_operand(&w, out, so, ndim, sizeof(real));
    walk_operand(&w, x, sx, ndim, sizeof(real));
    int64_t size = 1, units = 1;
    for (int d = 0; d < ndim; d++) size *= shape[d];
    if (!size) return;
    walk_collapse(&w, shape, ndim);
    int across = transposed_dim(&w);
    if (across < 0) {
        walk_collapsed(&w);
        return;
    }
    transposed c = {&w, across, (w.shape[across] + VL - 1) / VL};
    for (int d = 0; d < w.ndim - 1; d++) units *= d == across ? c.blocks : w.shape[d];
    int64_t per_unit = VL * w.shape[w.ndim - 1];
    fdl_parallel_for(units, (GRAIN_CHEAP + per_unit - 1) / per_unit, transposed_blocks, &c);
}

/* fill: out[i] = value */
void FDL_FN(fill)(real *out, double value, int64_t n) {
    vf x = v_set1(value);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) v_store(out + i, x);
    if (i < n) v_store_n(out + i, x, n - i);
}
