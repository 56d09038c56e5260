/* epilogue.h: what a matrix product does to a finished element. */
#ifndef FDL_EPILOGUE_H
#define FDL_EPILOGUE_H
#include "fastdl.h"
#include "vecmath.h"

static __attribute__((noinline)) vf curved_activation(int kind, vf x) {
    switch (kind) {
    case FDL_ACT_TANH: return v_tanh(x);
    case FDL_ACT_SIGMOID: return v_sigmoid(x);
    case FDL_ACT_GELU_TANH: return v_gelu_tanh(x);
    default: return v_gelu(x);
    }
}

INLINE vf activation(int kind, vf x) {
    return kind == FDL_ACT_NONE ? x : kind == FDL_ACT_RELU ? v_max(x, v_zero()) : curved_activation(kind, x);
}

typedef struct epilogue {
    const real *c, *residual; /* residual and pre are laid out like c */
    real *pre;
    int activation, any;
} epilogue;

INLINE epilogue make_epilogue(const fdl_matmul_args *x) {
    return (epilogue){x->c, x->residual, x->pre, x->activation, x->activation || x->pre || x->residual};
}

/* the final value of n elements of c at `to`, from their sums with bias */
INLINE vf finish(const epilogue *e, const real *to, vf y, int n) {
    if (e->pre) v_store_n(e->pre + (to - e->c), y, n);
    y = activation(e->activation, y);
    return e->residual ? y + v_load_n(e->residual + (to - e->c), n) : y;
}

#endif
