/* epilogue.h: what a matrix product does to a finished element. */
#ifndef FDL_EPILOGUE_H
#define FDL_EPILOGUE_H
#include "fastdl.h"
#include "vecmath.h"

static __attribute__((noinline)) vf curved_activation(int kind, vf x) {
    switch (kind) {
    case FDL_ACT_TANH: return v_tanh(x);
    case FDL_ACT_SIGMOID: return v_sigmoid(x);
    default: return v_gelu(x);
    }
}

INLINE vf activation(int kind, vf x) {
    return kind == FDL_ACT_NONE ? x : kind == FDL_ACT_RELU ? v_max(x, v_zero()) : curved_activation(kind, x);
}

#endif
