"""fastdl: a small, fast CPU deep-learning engine with PyTorch's API.

The names are PyTorch's: see its documentation for what each does, and docs/architecture.md for how this works.

Commands:
    python -m fastdl info                    version, compiler, ISA and threads, and why these were chosen
    python -m fastdl run script.py [args]    runs a PyTorch script: `import torch` gives fastdl there

Beyond PyTorch: as_torch() (the same in a notebook), summary(model, x), memory.stats(), set_num_threads(n).
"""

import math
from typing import TYPE_CHECKING

from . import autograd, memory
from ._kernels import get_num_threads, set_flush_denormal, set_num_threads
from ._print import set_printoptions
from ._tensor import Tensor, from_numpy, is_tensor
from ._types import (
    Size,
    as_dtype,
    bfloat16,
    device,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
)
from ._types import bool_ as bool
from ._version import __version__
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .ops import in_place as _in_place
from .ops.common import broadcast_to, promote_types
from .ops.common import result_type_of as result_type
from .ops.composed import (
    addbmm,
    addcdiv,
    addcmul,
    addmv,
    addr,
    argwhere,
    as_strided,
    bincount,
    bucketize,
    clamp_max,
    clamp_min,
    cummax,
    cummin,
    diag_embed,
    diff,
    einsum,
    fill,
    frac,
    isin,
    kthvalue,
    lerp,
    logaddexp,
    logaddexp2,
    median,
    nan_to_num,
    nansum,
    quantile,
    rsub,
    searchsorted,
    select,
    std_mean,
    tensor_split,
    tensordot,
    trace,
    unique,
    unique_consecutive,
    unsafe_chunk,
    unsafe_split,
    var_mean,
    xlogy,
)
from .ops.creation import (
    BoolTensor,
    DoubleTensor,
    FloatTensor,
    IntTensor,
    LongTensor,
    arange,
    as_tensor,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    logspace,
    meshgrid,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from .ops.creation import empty_ as empty
from .ops.distance import cdist, cosine_similarity, dist, pairwise_distance, pdist
from .ops.elementary import (
    absolute,
    acosh,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    asinh,
    atanh,
    bitwise_left_shift,
    bitwise_right_shift,
    clip,
    copysign,
    deg2rad,
    divide,
    erfc,
    fix,
    float_power,
    fmax,
    fmin,
    gcd,
    greater,
    greater_equal,
    heaviside,
    hypot,
    isneginf,
    isposinf,
    isreal,
    lcm,
    ldexp,
    less,
    less_equal,
    lgamma,
    logit,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    rad2deg,
    sgn,
    signbit,
    sinc,
    subtract,
    true_divide,
)
from .ops.elementwise import (
    abs,
    acos,
    add,
    asin,
    atan,
    atan2,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    ceil,
    clamp,
    cos,
    cosh,
    div,
    eq,
    erf,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    trunc,
    where,
)
from .ops.indexed import (
    index_add,
    index_copy,
    index_fill,
    index_put,
    index_put_,
    masked_scatter,
    put,
    scatter,
    scatter_add,
    scatter_reduce,
    take,
    take_along_dim,
)
from .ops.indexing import (
    argsort,
    diag,
    diagonal,
    gather,
    masked_select,
    nonzero,
    sort,
    topk,
    tril,
    triu,
)
from .ops.matmul import addmm, baddbmm, bmm, dot, matmul, mm, mv, outer
from .ops.queries import (
    are_deterministic_algorithms_enabled,
    can_cast,
    get_device,
    is_complex,
    is_floating_point,
    is_nonzero,
    is_same_size,
    is_signed,
    numel,
    real,
    typename,
)
from .ops.random import (
    Generator,
    bernoulli,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from .ops.reduce import (
    amax,
    amin,
    argmax,
    argmin,
    cumprod,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from .ops.shape import (
    cat,
    chunk,
    clone,
    concat,
    concatenate,
    flatten,
    flip,
    hstack,
    index_select,
    moveaxis,
    movedim,
    narrow,
    permute,
    ravel,
    repeat_interleave,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    swapdims,
    t,
    tile,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
    vstack,
)
from .ops.softmax import log_softmax, softmax
from .ops.statistics import (
    aminmax,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block_diag,
    broadcast_shapes,
    broadcast_tensors,
    cartesian_prod,
    chain_matmul,
    column_stack,
    combinations,
    corrcoef,
    cov,
    cross,
    cumulative_trapezoid,
    diagflat,
    diagonal_scatter,
    dsplit,
    dstack,
    fliplr,
    flipud,
    histc,
    hsplit,
    inner,
    kron,
    logcumsumexp,
    mode,
    msort,
    nanmean,
    nanmedian,
    renorm,
    rot90,
    select_scatter,
    slice_scatter,
    trapezoid,
    tril_indices,
    triu_indices,
    unravel_index,
    vander,
    vsplit,
)
from .ops.truth import all, allclose, any, count_nonzero, equal, isclose

float = float32
double = float64
half = float16
long = int64
int = int32
short = int16
e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None
trapz, row_stack, ger = trapezoid, vstack, outer

if TYPE_CHECKING:
    from . import backends, cuda, datasets, metrics, models, nn, optim, serialization, text, utils, vis
    from ._as_torch import as_torch
    from ._interchange import from_dlpack
    from ._summary import summary
    from .backends import (
        accelerator,
        compile,
        get_float32_matmul_precision,
        set_float32_matmul_precision,
        use_deterministic_algorithms,
        version,
    )
    from .serialization import load, save

# Loaded at first use, so that `import fastdl` stays quick.
_MODULES = ("amp", "backends", "cuda", "datasets", "distributed", "distributions", "jit", "metrics", "models", "nn",
            "onnx", "optim", "serialization", "text", "utils", "vis")
_METHODS = ("adjoint", "masked_fill", "split_with_sizes")  # functions, too; and so are the in-place methods
_FUNCTIONS = {
    "as_torch": "_as_torch",
    **dict.fromkeys(("load", "save"), "serialization"),
    **dict.fromkeys(("check_finite", "is_anomaly_enabled", "set_check_finite"), "autograd"),
    "from_dlpack": "_interchange",
    "summary": "_summary",
    **dict.fromkeys(
        ("accelerator", "compile", "get_float32_matmul_precision", "set_float32_matmul_precision",
         "use_deterministic_algorithms", "version"), "backends"
    ),
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_max_pool1d", "alpha_dropout", "avg_pool1d", "batch_norm", "bilinear",
         "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv2d", "conv_transpose1d",
         "conv_transpose2d", "cosine_embedding_loss", "ctc_loss", "dropout", "embedding", "embedding_bag",
         "group_norm", "hardshrink", "hinge_embedding_loss", "instance_norm", "kl_div", "layer_norm",
         "margin_ranking_loss", "max_pool1d", "max_pool2d", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss",
         "prelu", "rms_norm", "rrelu", "selu", "threshold", "triplet_margin_loss"), "nn.functional"
    ),
}


if not TYPE_CHECKING:  # else no name would be unknown

    def __getattr__(name):
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name in _METHODS or (name.endswith("_") and not name.startswith("_") and hasattr(Tensor, name)):
            return getattr(Tensor, name)
        if name in _FUNCTIONS:
            return getattr(import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_MODULES, *_METHODS, *_FUNCTIONS})
