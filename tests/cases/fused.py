"""Activations and losses that run as one pass: fastdl.ops.fused."""

import math
import warnings

import numpy as np

import fastdl
from fastdl.nn import functional as F
from tests.cases import EDGES, Case, Error, normal, uniform

# tiles of 1024 (double: 512) elements, sums of 4096, threads from about 16384
LINE = [(n,) for n in EDGES] + [(1023,), (1025,), (4097,), (70001,)]
LOSS = [(0,), (1,), (5, 7), (16,), (17,), (33, 31), (4096,), (4097,), (3, 9001), (70001,)]


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def away(x, *corners):
    """x moved off the points where the function has a corner, so that differences are right."""
    for c in corners:
        x = np.where(np.abs(x - c) < 0.01, x + 0.05, x)
    return x.astype(np.float32).astype(np.float64)


def activation(name, op, reference, *corners, shapes=LINE, **kwargs):
    return Case(name, op, reference, lambda rng, *s: {"x": away(normal(rng, *s) * 3, *corners)}, shapes, wrt=("x",), **kwargs)


CASES = [
    activation("mish", F.mish, lambda x: x * np.tanh(softplus(x))),
    activation("logsigmoid", F.logsigmoid, lambda x: -softplus(-x)),
    activation("softsign", F.softsign, lambda x: x / (1 + np.abs(x)), 0),
    activation("tanhshrink", F.tanhshrink, lambda x: x - np.tanh(x)),
    activation("hardtanh", lambda x: F.hardtanh(x, -1.5, 2), lambda x: np.clip(x, -1.5, 2), -1.5, 2),
    activation("relu6", F.relu6, lambda x: np.clip(x, 0, 6), 0, 6),
    activation("hardsigmoid", F.hardsigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), -3, 3),
    activation("hardswish", F.hardswish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), -3, 3),
    activation("selu", F.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), 0),
    activation("celu", lambda x: F.celu(x, 1.7), lambda x: np.where(x > 0, x, 1.7 * np.expm1(x / 1.7)), 0),
    activation("softshrink", lambda x: F.softshrink(x, 0.7), lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.7, 0), -0.7, 0.7),
    activation("hardshrink", lambda x: F.hardshrink(x, 0.7), lambda x: np.where(np.abs(x) > 0.7, x, 0), -0.7, 0.7),
    activation("threshold", lambda x: F.threshold(x, 0.4, -2.5), lambda x: np.where(x > 0.4, x, -2.5), 0.4),
    activation("glu", lambda x: F.glu(x, 0), lambda x: x[: len(x) // 2] * sigmoid(x[len(x) // 2 :]),
               shapes=[(2,), (6, 5), (32,), (2050,), (140002,)]),
    activation("mish transposed", lambda x: F.mish(x.T), lambda x: (x * np.tanh(softplus(x))).T, shapes=[(5, 7), (70, 300)]),
]


def reduced(values, how):
    with np.errstate(invalid="ignore"):
        return values if how == "none" else values.sum() if how == "sum" else values.sum() / np.float64(values.size)


def loss(name, op, reference, inputs, shapes=LOSS, wrt=("x", "t"), **kwargs):
    """A case for each reduction."""
    for how in ("none", "sum", "mean"):
        CASES.append(Case(
            f"{name} {how}", lambda *a, how=how: op(*a, reduction=how),
            lambda *a, how=how: reduced(reference(*a), how), inputs,
            # an empty mean is NaN and has no gradient to compare
            [s for s in shapes if how != "mean" or 0 not in s], wrt=wrt, rtol=4e-6, **kwargs,
        ))


def same(rng, *s):
    x = normal(rng, *s)
    return {"x": x, "t": away(normal(rng, *s) - x, 0, 1, -1) + x}


def logits(rng, *s):
    return {"x": 3 * normal(rng, *s), "t": uniform(rng, *s)}


def probabilities(rng, *s):
    return {"x": uniform(rng, *s, low=0.02, high=0.98), "t": uniform(rng, *s)}


def with_weight(inputs, *names):
    """One factor for each of the last dimension, for each element, or one number."""
    def make(rng, *s):
        data = inputs(rng, *s)
        shapes = (s[-1:], s, (1,)) if len(names) == 1 else (s, s[-1:])
        for i, name in enumerate(names):
            data[name] = uniform(rng, *shapes[(sum(s) + i) % len(shapes)], low=0.2, high=2)
        return data
    return make


def huber(d, delta):
    return np.where(np.abs(d) <= delta, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta))


def cross_entropy(x, t):
    return -(t * np.log(x) + (1 - t) * np.log(1 - x))


def logit_reference(x, t, p=1.0):
    return p * t * softplus(-x) + (1 - t) * softplus(x)


loss("mse_loss", F.mse_loss, lambda x, t: (x - t) ** 2, same)
loss("l1_loss", F.l1_loss, lambda x, t: np.abs(x - t), same)
loss("smooth_l1_loss", lambda x, t, reduction: F.smooth_l1_loss(x, t, reduction=reduction, beta=0.7),
     lambda x, t: huber(x - t, 0.7) / 0.7, same)
loss("huber_loss", lambda x, t, reduction: F.huber_loss(x, t, reduction, 1.3), lambda x, t: huber(x - t, 1.3), same)
def kl_div(*args, **options):
    with warnings.catch_warnings():  # of reduction="mean"
        warnings.simplefilter("ignore")
        return F.kl_div(*args, **options)


loss("kl_div", kl_div, lambda x, t: t * (np.log(t) - x), lambda rng, *s: {
    "x": normal(rng, *s), "t": uniform(rng, *s, low=0.1, high=1)})
loss("kl_div log", lambda x, t, reduction: kl_div(x, t, reduction=reduction, log_target=True),
     lambda x, t: np.exp(t) * (t - x), same)
loss("soft_margin_loss", F.soft_margin_loss, lambda x, t: np.log1p(np.exp(-t * x)), same)
loss("binary_cross_entropy", F.binary_cross_entropy, cross_entropy, probabilities)
loss("binary_cross_entropy weight", F.binary_cross_entropy, lambda x, t, w: w * cross_entropy(x, t),
     with_weight(probabilities, "w"), LOSS[1:], wrt=("x", "t", "w"))
loss("bce_with_logits", F.binary_cross_entropy_with_logits, logit_reference, logits)
loss("bce_with_logits weight", F.binary_cross_entropy_with_logits, lambda x, t, w: w * logit_reference(x, t),
     with_weight(logits, "w"), LOSS[1:], wrt=("x", "t", "w"))
loss("bce_with_logits pos_weight", lambda x, t, p, reduction: F.binary_cross_entropy_with_logits(
    x, t, reduction=reduction, pos_weight=p), logit_reference, with_weight(logits, "p"), LOSS[1:], wrt=("x", "t", "p"))
loss("bce_with_logits both", lambda x, t, w, p, reduction: F.binary_cross_entropy_with_logits(
    x, t, w, reduction=reduction, pos_weight=p), lambda x, t, w, p: w * logit_reference(x, t, p),
    with_weight(logits, "w", "p"), LOSS[1:], wrt=("x", "t", "w", "p"))

CASES.append(Case(
    "kl_div batchmean", lambda x, t: F.kl_div(x, t, reduction="batchmean"), lambda x, t: (t * (np.log(t) - x)).sum() / len(x),
    lambda rng, *s: {"x": normal(rng, *s), "t": uniform(rng, *s, low=0.1, high=1)}, [(3, 5), (7, 1000)], wrt=("x", "t"), rtol=4e-6))


def special():
    """Values at and beyond the ends, not differentiated."""
    return np.array([0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 104.0, -104.0, 1e30, -1e30, math.inf, -math.inf, math.nan, 3.0, -3.0])


for _name, _op, _reference in [
    ("mish", F.mish, lambda x: np.where(x == -np.inf, np.nan, x * np.tanh(softplus(x)))),
    ("logsigmoid", F.logsigmoid, lambda x: -softplus(-x)),
    ("hardtanh", F.hardtanh, lambda x: np.clip(x, -1, 1)),
    ("hardsigmoid", F.hardsigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("hardswish", F.hardswish, lambda x: np.where(x < -3, 0, np.where(x > 3, x, x * (x / 6 + 0.5)))),
    ("selu", F.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    ("hardshrink", F.hardshrink, lambda x: np.where(np.abs(x) <= 0.5, 0, x)),
    ("softshrink", F.softshrink, lambda x: np.where(np.abs(x) <= 0.5, 0, x - np.sign(x) * 0.5)),
    ("threshold", lambda x: F.threshold(x, 0.1, 20.0), lambda x: np.where(x <= 0.1, 20.0, x)),
]:
    def _quiet(x, f=_reference):
        with np.errstate(all="ignore"):
            return f(x)

    CASES.append(Case(f"{_name} special", _op, _quiet, lambda rng, n: {"x": np.tile(special(), n)}, [(1,), (3,)], rtol=3e-6, atol=1e-30))

X = fastdl.ones(2, 3)
ERRORS = [
    Error("glu odd", lambda: F.glu(X), RuntimeError, r"\[glu\] input: expected an even size in dimension -1, got shape \(2, 3\)"),
    Error("softshrink negative", lambda: F.softshrink(X, -1), RuntimeError, "lambd: expected a number >= 0"),
    Error("celu zero", lambda: F.celu(X, 0), RuntimeError, "not zero"),
    Error("mse_loss shapes", lambda: F.mse_loss(fastdl.ones(2), fastdl.ones(3)), (RuntimeError, UserWarning), "2|differs"),
    Error("bce range", lambda: F.binary_cross_entropy(X * 2, X), RuntimeError, "between 0 and 1"),
    Error("bce NaN", lambda: F.binary_cross_entropy(X * float("nan"), X), RuntimeError, "between 0 and 1"),
    Error("bce shapes", lambda: F.binary_cross_entropy(X, fastdl.ones(3)), ValueError, r"\(2, 3\), got \(3,\)"),
]
