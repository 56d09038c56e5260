/* fastdl.h: what csrc offers to the layer above it: one table of kernels per (ISA, element type).
 *
 * Kernels see `real` as float or double; callers outside see `void`, so that one struct type serves both
 * element types. Pointers have one representation on every platform we build for. */
#ifndef FDL_FASTDL_H
#define FDL_FASTDL_H
#include <stdint.h>
#include "alloc.h"
#include "parallel.h"

#ifdef FDL_ISA
#include "vec.h"
#else
#define real void
#endif

/* element-wise operations: the `op` of unary, unary_bwd, binary, binary_scalar, compare, reduce */
enum fdl_unary_op {
    FDL_NEG, FDL_ABS, FDL_EXP, FDL_LOG, FDL_SQRT, FDL_RSQRT, FDL_SQUARE, FDL_RECIPROCAL, FDL_TANH, FDL_SIGMOID,
    FDL_RELU, FDL_LEAKY_RELU /* p: slope */, FDL_ELU /* p: alpha */, FDL_GELU, FDL_GELU_TANH, FDL_SILU,
    FDL_SOFTPLUS /* p: beta, q: threshold */, FDL_ERF, FDL_SIGN, FDL_CLAMP /* p: low, q: high */, FDL_LOG1P, FDL_EXPM1,
    /* from here on without a derivative in unary_bwd */
    FDL_SIN, FDL_COS, FDL_TAN, FDL_ASIN, FDL_ACOS, FDL_ATAN, FDL_SINH, FDL_COSH, FDL_EXP2, FDL_LOG2, FDL_LOG10,
    FDL_FLOOR, FDL_CEIL, FDL_TRUNC, FDL_ROUND,
    FDL_UNARY_COUNT
};
enum fdl_binary_op {
    FDL_ADD, FDL_SUB, FDL_MUL, FDL_DIV, FDL_MAXIMUM, FDL_MINIMUM, FDL_POW, FDL_ATAN2,
    FDL_RSUB, FDL_RDIV, FDL_RPOW, /* b op a: for scalars on the left */
    FDL_BINARY_COUNT
};
enum fdl_compare_op { FDL_EQ, FDL_NE, FDL_LT, FDL_LE, FDL_GT, FDL_GE, FDL_COMPARE_COUNT };
enum fdl_reduce_op { FDL_SUM, FDL_MEAN, FDL_MAX, FDL_MIN, FDL_PROD, FDL_SUMSQ, FDL_REDUCE_COUNT };
enum fdl_activation { FDL_ACT_NONE, FDL_ACT_RELU, FDL_ACT_TANH, FDL_ACT_SIGMOID, FDL_ACT_GELU, FDL_ACT_GELU_TANH };
enum fdl_reduction { FDL_REDUCTION_NONE, FDL_REDUCTION_MEAN, FDL_REDUCTION_SUM };

/* Rows of a matrix whose other rows are zero: `count` of `d` elements, numbers rising; row NULL: all rows are there. */
typedef struct fdl_rows {
    const int64_t *row;
    int64_t count, d;
} fdl_rows;

/* c[i] = act(a[i] @ b[i] (+ c[i]) (+ bias)) (+ residual[i]), i in [0, batch). op(a) [m,k], op(b) [k,n], c [m,n], row
 * strides ld*. trans_a: a is stored [k,m]; trans_b: b is stored [n,k]. accumulate: add to what c holds, else c is not
 * read. All that follows c, a, b and the sizes may be left 0. */
typedef struct fdl_matmul_args {
    real *c;
    const real *a, *b;
    const real *bias; /* [n] or NULL */
    int64_t m, n, k, lda, ldb, ldc;
    int64_t batch, stride_a, stride_b, stride_c; /* elements between matrices; a stride of 0 shares one */
    int trans_a, trans_b, accumulate, activation;
    void *scratch; /* matmul_scratch(args) bytes, 64-byte aligned */
    const real *residual; /* laid out like c, added last; NULL: none */
    real *pre;            /* laid out like c: gets the values before the activation; NULL: not wanted */
    real *row_sums;       /* [m] gets the sums of op(a)'s rows (batch 1 only); NULL: not wanted */
    const real *packed_b; /* b as matmul_pack wrote it for this n, k and ISA; NULL: none. Results are the same */
} fdl_matmul_args;

/* One layer and direction of a recurrent net over a whole sequence; G = 1 (rnn), 3 (gru: r z n), 4 (lstm: i f g o).
 * Rows are time-major. With batch_sizes (non-increasing, batch_sizes[0] = b) step t has batch_sizes[t] rows and all
 * [T,B,..] arrays are [rows,..] with rows = sum(batch_sizes), as PackedSequence; NULL: every step has b rows.
 * reverse: steps run from t-1 down to 0. Final states (hn, cn) are those of each row's last step. */
typedef struct fdl_rnn_args {
    int64_t t, b, h;
    const int64_t *batch_sizes; /* [T] or NULL */
    int reverse;
    int relu;                   /* rnn only: relu instead of tanh */
    const real *gx;             /* [T,B,G*H] in     input part of the gates, all biases added (gru: b_hh only for r, z) */
    const int64_t *gx_row;      /* [T,B]     in     row of gx for each row, for inputs that are few different ones; NULL: its own */
    const real *w_hh;           /* [G*H,H]   in */
    const real *b_hn;           /* [H] gru   in     bias of the n gate's recurrent part; NULL: none */
    const real *h0, *c0;        /* [B,H]     in     NULL: zeros */
    real *y;                    /* [T,B,H], row stride ldy   out (bwd: in) */
    int64_t ldy;                /* H, or 2H where two directions write side by side */
    real *hn, *cn;              /* [B,H]     out    hn NULL: not wanted; lstm needs cn   (bwd: unused) */
    real *gates;                /* [T,B,G*H] saved  activated gates (rnn: none); may be gx itself; NULL: inference */
    real *saved;                /* [T,B,H]   saved  gru: h W_hn + b_hn; lstm: c; rnn: none */
    /* backward only; y, gates, saved, h0, c0 as of the forward call */
    const real *dy;             /* [T,B,H], row stride lddy; NULL: zeros */
    int64_t lddy;
    const real *dhn, *dcn;      /* [B,H]            NULL: zeros */
    real *dgx;                  /* [T,B,G*H] out    gradient of gx; may be gates itself */
    real *dgh_n;                /* [T,B,H]   out    gru: gradient of the n gate's recurrent part (r * dn); may be saved itself */
    real *dh0, *dc0;            /* [B,H]     out    NULL: not wanted */
    void *scratch;              /* *_scratch(args) bytes, 64-byte aligned */
    int is_packed;              /* fwd: scratch still holds the weights as an earlier fwd call with this w_hh packed them */
} fdl_rnn_args;

/* A convolution of n images with `groups` groups of ci input and co output channels; see conv.c. The padding after the
 * last row and column is what the output's size implies. */
typedef struct fdl_conv_args {
    int64_t n, groups, ci, co, h, w, oh, ow, kh, kw;
    int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    const real *x;           /* [n, groups*ci, h, w] */
    const real *weight;      /* [groups*co, ci, kh, kw] */
    const real *bias;        /* [groups*co]; NULL: none */
    real *y;                 /* [n, groups*co, oh, ow] */
    const real *dy;
    real *dx, *dw, *db;      /* db NULL: not wanted */
    void *scratch;           /* conv_scratch(args, backward) or conv_dw_scratch(args) bytes, 64-byte aligned */
} fdl_conv_args;

/* Windows that slide over planes, see pool.c */
typedef struct fdl_pool_args {
    int64_t planes, h, w, oh, ow, kh, kw;
    int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    int64_t divisor;         /* of sums; 0: the number of elements */
    int count_padding;       /* .. with those of the padding */
    const real *x;           /* [planes, h, w] */
    real *y;                 /* [planes, oh, ow] */
    void *index;             /* [planes, oh, ow] int32_t (float) or int64_t (double): in a plane; max_pool: NULL: not wanted */
    const real *dy;
    real *dx;
    void *scratch;           /* pool_scratch(args) bytes, 64-byte aligned */
} fdl_pool_args;

/* softmax(scale q k^T + mask) v for B x H heads, and its gradients. Rows are contiguous; strides are in elements, for batch,
 * head and row. Query head i uses the key head i / (h / hk). */
typedef struct fdl_attention_args {
    int64_t b, h, hk, tq, tk, d, e;
    const real *q, *k, *v;               /* [B,H,Tq,D], [B,Hk,Tk,D], [B,Hk,Tk,E]  in */
    real *out;                           /* [B,H,Tq,E]   out    (bwd: in) */
    int64_t q_step[3], k_step[3], v_step[3], out_step[3];
    real *lse;                           /* [B,H,Tq]     saved  log of the sum of exp(scores), inf where all are masked; NULL:
                                                                not wanted */
    const uint8_t *keep;                 /* mask, 0: this query does not see this key; or */
    const real *add;                     /* mask, added to the scores; both NULL: none */
    int64_t mask_step[4];                /* of the mask: batch, head, query, key */
    const int64_t *lengths;              /* [B] keys from lengths[b] on are masked; NULL: none */
    const int64_t *starts;               /* [B] forward only: entry b is the lengths[b] rows from starts[b] on, of q, k, v and
                                                out alike; batch strides are not read, Tq = Tk = the longest. NULL: none */
    int causal;                          /* query i sees keys 0..i */
    double scale, dropout;
    uint64_t seed, stream;               /* of the dropout */
    /* backward only; out and lse as of the forward call */
    const real *dout;                    /* [B,H,Tq,E] */
    real *dq, *dk, *dv;                  /* as q, k, v   out */
    int64_t dout_step[3], dq_step[3], dk_step[3], dv_step[3];
    real *dmask;                         /* [B,H,Tq,Tk]  out    zeros before the call; NULL: not wanted */
    void *scratch;                       /* attention_scratch(args, backward) bytes, 64-byte aligned */
} fdl_attention_args;

/* Programs of element-wise operations, see chain.c. A step is 6 bytes: the operation, the operand that it writes (sum:
 * which one it adds to), up to four operands (the rest repeat one). Operands are numbered: registers, outputs, inputs,
 * constants. where_lt(a, b, c, d): c where a < b, else d. */
enum fdl_chain_op {
    FDL_CHAIN_SUM, FDL_CHAIN_COPY, FDL_CHAIN_NEG, FDL_CHAIN_ABS, FDL_CHAIN_SIGN, FDL_CHAIN_EXP, FDL_CHAIN_EXPM1,
    FDL_CHAIN_LOG, FDL_CHAIN_LOG1P, FDL_CHAIN_TANH, FDL_CHAIN_SIGMOID, FDL_CHAIN_SOFTPLUS, FDL_CHAIN_ADD, FDL_CHAIN_SUB,
    FDL_CHAIN_MUL, FDL_CHAIN_DIV, FDL_CHAIN_WHERE_LT, FDL_CHAIN_WHERE_LE, FDL_CHAIN_WHERE_EQ
};
enum {
    FDL_CHAIN_REGISTERS = 12, FDL_CHAIN_OUTPUTS = 4, FDL_CHAIN_INPUTS = 5, FDL_CHAIN_CONSTANTS = 64, FDL_CHAIN_SUMS = 2
};
typedef struct fdl_chain_args {
    int64_t n;
    const uint8_t *step;     /* [steps, 6] */
    int steps, inputs, outputs, constants, sums;
    const real *x[FDL_CHAIN_INPUTS];
    int64_t period[FDL_CHAIN_INPUTS]; /* an input repeats after so many elements; 0: it has n */
    real *y[FDL_CHAIN_OUTPUTS];
    const double *constant;
    double *sum;             /* [sums] out */
    double *partial;         /* [sums * (n / 4096 + 1)] scratch */
} fdl_chain_args;

typedef struct fdl_table {
#define FDL_KERNEL(name, ret, args) ret(*name) args;
#include "kernels.def"
#undef FDL_KERNEL
} fdl_table;

#ifdef FDL_ISA
/* a definition that differs from the list does not compile */
#define FDL_KERNEL(name, ret, args) ret FDL_FN(name) args;
#include "kernels.def"
#undef FDL_KERNEL
#else
/* dispatch.c */
typedef struct fdl_isa_info {
    const char *name;
    const char *flags;   /* it was compiled with */
    int usable;          /* this CPU can run it */
    const fdl_table *f32, *f64;
} fdl_isa_info;
int fdl_isa_count(void);                    /* built ISAs, best first */
const fdl_isa_info *fdl_isa(int i);
const char *fdl_compiler(void);
extern const char *const fdl_kernel_names[]; /* in the order of kernels.def, NULL at the end */
#endif
#endif
