"""Activations and losses that are chains: one line is the function, its derivative follows."""

import warnings

cimport numpy as cnp

import numpy as np

from .._kernels cimport FDL_REDUCTION_NONE, FDL_REDUCTION_SUM
from .._tensor cimport Tensor, own_array, wrap
from .chain cimport Chain, run
from .common cimport category, first_place, same_shape, shape_of, to_type
from .loss cimport reduction_code

from .chain import Chain as chain
from .expression import abs, equal, exp, expm1, log, log1p, sigmoid, sign, softplus, tanh, where


# Activations ------------------------------------------------------------------------------------------------------

cdef double SELU_ALPHA = 1.6732632423543772, SELU_SCALE = 1.0507009873554805

cdef Chain MISH = chain("MishBackward0", lambda x: x * tanh(softplus(x)))
cdef Chain LOG_SIGMOID = chain("LogSigmoidBackward0", lambda x: -softplus(-x))
cdef Chain SOFTSIGN = chain("SoftsignBackward0", lambda x: x / (1 + abs(x)))
cdef Chain TANHSHRINK = chain("TanhshrinkBackward0", lambda x: x - tanh(x))
cdef Chain HARDTANH = chain("HardtanhBackward0",
                            lambda x, low, high: where(x <= low, low, where(x >= high, high, x)), 1, 2)
cdef Chain HARDSIGMOID = chain("HardsigmoidBackward0",
                               lambda x: where(x <= -3, 0, where(x >= 3, 1, x * (1.0 / 6) + 0.5)))
cdef Chain HARDSWISH = chain("HardswishBackward0",
                             lambda x: where(x <= -3, 0, where(x < 3, x * (x * (1.0 / 6) + 0.5), x)))
cdef Chain SELU = chain("SeluBackward0",
                        lambda x: where(x > 0, x * SELU_SCALE, expm1(x) * (SELU_SCALE * SELU_ALPHA)))
cdef Chain CELU = chain("CeluBackward0", lambda x, alpha: where(x > 0, x, alpha * expm1(x / alpha)), 1, 1)
cdef Chain SOFTSHRINK = chain("SoftshrinkBackward0", lambda x, p: where(abs(x) <= p, 0, x - p * sign(x)), 1, 1)
cdef Chain HARDSHRINK = chain("HardshrinkBackward0", lambda x, p: where(abs(x) <= p, 0, x), 1, 1)
cdef Chain THRESHOLD = chain("ThresholdBackward0", lambda x, p, value: where(x <= p, value, x), 1, 2)
cdef Chain GLU = chain("GluBackward0", lambda a, b: a * sigmoid(b), 2)


cdef Tensor activation(Chain f, Tensor x, double p=0, double q=0, bint inplace=False):
    cdef Tensor y = run(f, FDL_REDUCTION_NONE, x, None, None, None, p, q)
    return x.copy_(y) if inplace else y


cdef Tensor limited(Tensor x, double low, double high, bint inplace):
    """HARDTANH; integers keep their type."""
    if category(cnp.PyArray_TYPE(x.a)) != 1:
        return activation(HARDTANH, x, low, high, inplace)
    if low < 0 and cnp.PyArray_TYPE(x.a) == cnp.NPY_UINT8:
        raise RuntimeError(f"[hardtanh] min_val: expected a number >= 0 for unsigned integers, got {low}")
    y = x.clamp(int(low), int(high))
    return x.copy_(y) if inplace else y


def mish(Tensor input, bint inplace=False):
    """input * tanh(softplus(input))"""
    return activation(MISH, input, 0, 0, inplace)


def logsigmoid(Tensor input):
    """log(sigmoid(input)) = -softplus(-input), without overflow"""
    return activation(LOG_SIGMOID, input)


def softsign(Tensor input):
    """input / (1 + |input|)"""
    return activation(SOFTSIGN, input)


def tanhshrink(Tensor input):
    """input - tanh(input)"""
    return activation(TANHSHRINK, input)


def hardtanh(Tensor input, double min_val=-1.0, double max_val=1.0, bint inplace=False):
    """input limited to [min_val, max_val]; the gradient is 0 also at the limits."""
    return limited(input, min_val, max_val, inplace)


def relu6(Tensor input, bint inplace=False):
    """input limited to [0, 6]"""
    return limited(input, 0, 6, inplace)


def hardsigmoid(Tensor input, bint inplace=False):
    """input / 6 + 1/2 limited to [0, 1]"""
    return activation(HARDSIGMOID, input, 0, 0, inplace)


def hardswish(Tensor input, bint inplace=False):
    """input * hardsigmoid(input)"""
    return activation(HARDSWISH, input, 0, 0, inplace)


def selu(Tensor input, bint inplace=False):
    """scale * input where positive, else scale * alpha * (exp(input) - 1); the two keep mean 0 and variance 1."""
    return activation(SELU, input, 0, 0, inplace)


def celu(Tensor input, double alpha=1.0, bint inplace=False):
    """input where positive, else alpha * (exp(input / alpha) - 1)"""
    if alpha == 0:
        raise RuntimeError("[celu] alpha: expected a number that is not zero")
    return activation(CELU, input, alpha, 0, inplace)


def softshrink(Tensor input, double lambd=0.5):
    """input moved towards zero by lambd, 0 where |input| <= lambd"""
    if lambd < 0:
        raise RuntimeError(f"[softshrink] lambd: expected a number >= 0, got {lambd}")
    return activation(SOFTSHRINK, input, lambd)


def hardshrink(Tensor input, double lambd=0.5):
    """input, 0 where |input| <= lambd"""
    return activation(HARDSHRINK, input, lambd)


def threshold(Tensor input, double threshold, double value, bint inplace=False):
    """input where it is above `threshold`, else `value`"""
    if category(cnp.PyArray_TYPE(input.a)) != 1:
        return activation(THRESHOLD, input, threshold, value, inplace)
    x = input.a  # integers keep their type
    y = wrap(own_array(np.where(x > int(threshold), x, int(value)).astype(x.dtype, copy=False)))
    return input.copy_(y) if inplace else y


def glu(Tensor input, int dim=-1):
    """a * sigmoid(b), where a and b are the halves of `input` along `dim`.

    Raises: RuntimeError if the size of that dimension is odd, or there is none.
    """
    if input.dim() == 0:
        raise RuntimeError("[glu] input: expected at least one dimension, got a 0-d tensor")
    if input.size(dim) % 2:
        raise RuntimeError(f"[glu] input: expected an even size in dimension {dim}, got shape {shape_of(input)}")
    a, b = input.chunk(2, dim)
    return run(GLU, FDL_REDUCTION_NONE, a, b, None, None, 0, 0)


# Losses -----------------------------------------------------------------------------------------------------------

def both_ways(slope):
    """the derivatives of a function of x - t"""
    return slope, -slope


cdef Chain MSE = chain("MseLossBackward0", lambda x, t: (x - t) * (x - t), 2)
cdef Chain L1 = chain("L1LossBackward0", lambda x, t: abs(x - t), 2)
cdef Chain SMOOTH_L1 = chain(
    "SmoothL1LossBackward0",
    lambda x, t, beta: where(abs(x - t) < beta, (x - t) * (x - t) * (0.5 / beta), abs(x - t) - 0.5 * beta), 2, 1,
    lambda g, x, t, beta: both_ways(g * where(abs(x - t) < beta, (x - t) / beta, sign(x - t))))
cdef Chain HUBER = chain(
    "HuberLossBackward0",
    lambda x, t, delta: where(abs(x - t) <= delta, 0.5 * (x - t) * (x - t), delta * (abs(x - t) - 0.5 * delta)), 2, 1,
    lambda g, x, t, delta: both_ways(g * where(abs(x - t) <= delta, x - t, delta * sign(x - t))))
# t log t is 0 at 0: the logarithm of 1 is taken there, so that the unused branch has a derivative
cdef Chain KL_DIV = chain("KlDivBackward0", lambda x, t: where(
    equal(t, 0), -(t * x), t * (log(where(equal(t, 0), 1, t)) - x)), 2)
cdef Chain KL_DIV_LOG = chain("KlDivBackward0", lambda x, t: exp(t) * (t - x), 2)
cdef Chain SOFT_MARGIN = chain("SoftMarginLossBackward0", lambda x, t: softplus(-(t * x)), 2)


def bounded(y):
    """a logarithm, from -100 on"""
    return where(y < -100, -100, y)


def cross_entropy_of(x, t):
    return (t - 1) * bounded(log1p(-x)) - t * bounded(log(x))


def cross_entropy_slope(x, t):
    spread = (1 - x) * x
    return (x - t) / where(spread < 1e-12, 1e-12, spread)


def outside(x, *rest):
    """1 where x is no probability"""
    return where(x < 0, 1, where(x <= 1, 0, 1))


cdef Chain BCE = chain(
    "BinaryCrossEntropyBackward0", cross_entropy_of, 2, 0,
    lambda g, x, t: (g * cross_entropy_slope(x, t), g * (bounded(log1p(-x)) - bounded(log(x)))), outside)
cdef Chain BCE_WEIGHT = chain(
    "BinaryCrossEntropyBackward0", lambda x, t, w: w * cross_entropy_of(x, t), 3, 0,
    lambda g, x, t, w: (g * w * cross_entropy_slope(x, t), g * w * (bounded(log1p(-x)) - bounded(log(x))),
                        g * cross_entropy_of(x, t)), outside)


def logit_slope(g, x, t):
    return g * (sigmoid(x) - t)


cdef str LOGITS = "BinaryCrossEntropyWithLogitsBackward0"
cdef Chain LOGIT = chain(LOGITS, lambda x, t: softplus(x) - x * t, 2, 0, lambda g, x, t: (logit_slope(g, x, t), -(g * x)))
cdef Chain LOGIT_WEIGHT = chain(LOGITS, lambda x, t, w: w * (softplus(x) - x * t), 3, 0, lambda g, x, t, w: (
    logit_slope(g * w, x, t), -(g * w * x), g * (softplus(x) - x * t)))
cdef Chain LOGIT_POSITIVE = chain(LOGITS, lambda x, t, p: (1 - t) * x + (1 + (p - 1) * t) * softplus(-x), 3)
cdef Chain LOGIT_BOTH = chain(LOGITS, lambda x, t, w, p: w * ((1 - t) * x + (1 + (p - 1) * t) * softplus(-x)), 4)


cdef int warn_sizes(str op, Tensor input, Tensor target) except -1:
    if not same_shape(input.a, target.a):
        warnings.warn(f"[{op}] the target's shape {shape_of(target)} differs from the input's {shape_of(input)}: they are "
                      "broadcast, which is seldom meant", stacklevel=2)
    return 0


cdef int check_same(str op, Tensor input, Tensor target) except -1:
    if not same_shape(input.a, target.a):
        raise ValueError(f"[{op}] target: expected the shape of input, {shape_of(input)}, got {shape_of(target)}")
    return 0


def mse_loss(Tensor input, Tensor target, size_average=None, reduce=None, reduction="mean"):
    """(input - target)^2, reduced: "mean", "sum" or "none"."""
    warn_sizes("mse_loss", input, target)
    return run(MSE, reduction_code("mse_loss", reduction, size_average, reduce), input, target, None, None, 0, 0)


def l1_loss(Tensor input, Tensor target, size_average=None, reduce=None, reduction="mean"):
    """|input - target|, reduced."""
    cdef int how = reduction_code("l1_loss", reduction, size_average, reduce)
    warn_sizes("l1_loss", input, target)
    if category(cnp.PyArray_TYPE(input.a)) < 2 and category(cnp.PyArray_TYPE(target.a)) < 2:
        loss = (input - target).abs()  # of integers
        return loss if how == FDL_REDUCTION_NONE else loss.sum() if how == FDL_REDUCTION_SUM else loss.mean()
    return run(L1, how, input, target, None, None, 0, 0)


def huber_loss(Tensor input, Tensor target, reduction="mean", double delta=1.0):
    """0.5 d^2 for d = |input - target| <= delta, else delta (d - 0.5 delta), reduced."""
    if delta <= 0:
        raise ValueError(f"[huber_loss] delta: expected a positive number, got {delta:g}")
    warn_sizes("huber_loss", input, target)
    return run(HUBER, reduction_code("huber_loss", reduction, None, None), input, target, None, None, delta, 0)


def smooth_l1_loss(Tensor input, Tensor target, size_average=None, reduce=None, reduction="mean", double beta=1.0):
    """0.5 d^2 / beta for d = |input - target| < beta, else d - 0.5 beta, reduced."""
    if beta < 0:
        raise ValueError(f"[smooth_l1_loss] beta: expected a number >= 0, got {beta:g}")
    warn_sizes("smooth_l1_loss", input, target)
    cdef int how = reduction_code("smooth_l1_loss", reduction, size_average, reduce)
    return run(L1 if beta == 0 else SMOOTH_L1, how, input, target, None, None, beta, 0)


def kl_div(Tensor input, Tensor target, size_average=None, reduce=None, reduction="mean", bint log_target=False):
    """target * (log(target) - input), reduced ("batchmean": the sum divided by the first size).

    `input` holds log-probabilities, so does `target` if `log_target`. A target of 0 gives 0.
    """
    cdef Chain f = KL_DIV_LOG if log_target else KL_DIV
    if reduction == "batchmean":
        loss = run(f, FDL_REDUCTION_SUM, input, target, None, None, 0, 0)
        return loss / input.size(0) if input.dim() else loss
    if reduction == "mean":
        warnings.warn("[kl_div] reduction='mean' divides by the number of elements, not by the batch size: 'batchmean' is "
                      "the mathematical definition", stacklevel=2)
    return run(f, reduction_code("kl_div", reduction, size_average, reduce), input, target, None, None, 0, 0)


def soft_margin_loss(Tensor input, Tensor target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-target * input)) for targets of 1 and -1, reduced."""
    warn_sizes("soft_margin_loss", input, target)
    cdef int how = reduction_code("soft_margin_loss", reduction, size_average, reduce)
    return run(SOFT_MARGIN, how, input, target, None, None, 0, 0)


def binary_cross_entropy(Tensor input, Tensor target, Tensor weight=None, size_average=None, reduce=None,
                         reduction="mean"):
    """-(target log(input) + (1 - target) log(1 - input)), the logarithms kept >= -100, times `weight`, reduced.

    Raises:
        ValueError: the sizes differ.
        RuntimeError: an element of `input` is outside [0, 1], or `target` is of another type.
    """
    check_same("binary_cross_entropy", input, target)
    if cnp.PyArray_TYPE(target.a) != cnp.PyArray_TYPE(input.a):
        raise RuntimeError(f"[binary_cross_entropy] target: expected {input.dtype} as input, got {target.dtype}")
    cdef int how = reduction_code("binary_cross_entropy", reduction, size_average, reduce)
    loss = run(BCE if weight is None else BCE_WEIGHT, how, input, target, weight, None, 0, 0)
    if loss is None:
        x = input.a.astype(np.float64)
        wrong = ~((x >= 0) & (x <= 1))
        raise RuntimeError("[binary_cross_entropy] all elements of input should be between 0 and 1, got "
                           f"input[{first_place(wrong)}] = {x[wrong][0]:g}")
    return loss


def binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor weight=None, size_average=None, reduce=None,
                                     reduction="mean", Tensor pos_weight=None):
    """Binary cross-entropy of sigmoid(input), from the logits, so that nothing overflows.

    Args:
        weight: factor of each element, broadcast.
        pos_weight: factor of the positive terms, broadcast.
    Raises:
        ValueError: the sizes differ.
        RuntimeError: a target that is not floating point. The result has its type.
    """
    cdef int how = reduction_code("binary_cross_entropy_with_logits", reduction, size_average, reduce)
    cdef int typenum = cnp.PyArray_TYPE(target.a)
    cdef Tensor loss
    check_same("binary_cross_entropy_with_logits", input, target)
    if category(typenum) < 2:
        raise RuntimeError(f"[binary_cross_entropy_with_logits] target: expected probabilities, got {target.dtype}")
    if pos_weight is None:
        loss = run(LOGIT if weight is None else LOGIT_WEIGHT, how, input, target, weight, None, 0, 0)
    elif weight is None:
        loss = run(LOGIT_POSITIVE, how, input, target, pos_weight, None, 0, 0)
    else:
        loss = run(LOGIT_BOTH, how, input, target, weight, pos_weight, 0, 0)
    return to_type(loss, typenum)
