"""Losses over the grid of their options, against their definitions in float64, with gradients by central differences.

cross_entropy, nll_loss and the element-wise losses have their grids in tests/cases (loss.py, fused.py).
"""

import itertools
import math

import numpy as np
import pytest

import fastdl
from fastdl.nn import functional as F

SHAPES = [(7,), (5, 3), (2, 3, 4), (2, 3, 2, 5)]


def positive(x):
    return np.maximum(x, 0)


def norm(d, p):
    return abs(d).max(-1) if p == math.inf else (abs(d) ** p).sum(-1) ** (1 / p)


def triplet(a, b, c, margin=1.0, p=2, eps=1e-6, swap=False):
    near, far = norm(a - b + eps, p), norm(a - c + eps, p)
    if swap:
        far = np.minimum(far, norm(b - c + eps, p))
    return positive(margin + near - far)


def cosine(a, b, y, margin=0.0):
    cos = (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.where(y == 1, 1 - cos, positive(cos - margin))


def multi_margin(x, y, p=1, margin=1.0, weight=None):
    x, y = np.atleast_2d(x), np.atleast_1d(y)
    out = np.zeros(len(x))
    for i, (row, own) in enumerate(zip(x, y, strict=True)):
        for j in range(len(row)):
            if j != own:
                out[i] += max(0, margin - row[own] + row[j]) ** p * (1 if weight is None else weight[own]) / len(row)
    return out


def multilabel_margin(x, labels):
    out = []
    for row, own in zip(np.atleast_2d(x), np.atleast_2d(labels), strict=True):
        own = list(itertools.takewhile(lambda label: label >= 0, own))
        others = [j for j in range(len(row)) if j not in own]
        out.append(sum(max(0, 1 - row[i] + row[j]) for i in own for j in others) / len(row))
    return np.array(out)


def poisson(x, t, log_input=True, full=False, eps=1e-8):
    loss = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    big = np.maximum(t, 1)
    return loss + (np.where(t > 1, t * np.log(big) - t + 0.5 * np.log(2 * np.pi * big), 0) if full else 0)


def gaussian(x, t, var, full=False, eps=1e-6):
    if np.ndim(var) == x.ndim - 1 and x.ndim > 1:
        var = var[..., None]
    v = np.maximum(var, eps)
    return 0.5 * (np.log(v) + (x - t) ** 2 / v) + (0.5 * np.log(2 * np.pi) if full else 0)


def sigmoid_cross_entropy(x, t, weight=1.0, pos_weight=1.0):
    return weight * (pos_weight * t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x)))


def grid(**options):
    """Every combination of the values of each option."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


def signs(rng, *shape):
    return rng.choice([-1.0, 1.0], shape)


def kl(x, t, log_target=False):
    return np.exp(t) * (t - x) if log_target else t * (np.log(t) - x)


def rows():
    """(name, loss, its definition, how many inputs are differentiated, inputs(rng, shape), options, shapes)"""
    rng_pair = lambda rng, s: [rng.standard_normal(s), rng.standard_normal(s), signs(rng, *s)]  # noqa: E731
    yield ("margin_ranking", F.margin_ranking_loss, lambda a, b, y, margin=0.0: positive(margin - y * (a - b)), 2,
           rng_pair, grid(margin=[0.0, 0.4]), SHAPES)
    yield ("hinge_embedding", F.hinge_embedding_loss,
           lambda x, y, margin=1.0: np.where(y == 1, x, positive(margin - x)), 1,
           lambda rng, s: [rng.standard_normal(s), signs(rng, *s)], grid(margin=[1.0, 0.3]), SHAPES)
    yield ("soft_margin", F.soft_margin_loss, lambda x, y: np.log1p(np.exp(-x * y)), 1,
           lambda rng, s: [rng.standard_normal(s), signs(rng, *s)], [{}], SHAPES)
    yield ("cosine_embedding", F.cosine_embedding_loss, cosine, 2,
           lambda rng, s: [rng.standard_normal(s), rng.standard_normal(s), signs(rng, *s[:-1])],
           grid(margin=[0.0, -0.2]), SHAPES[:2])
    for name, function in (("triplet", F.triplet_margin_loss), ("triplet_distance", None)):
        def with_distance(a, b, c, p=2, eps=1e-6, **options):
            distance = lambda x, y: F.pairwise_distance(x, y, p, eps)  # noqa: E731
            return F.triplet_margin_with_distance_loss(a, b, c, distance_function=distance, **options)
        yield (name, function or with_distance, triplet, 3, lambda rng, s: [rng.standard_normal(s) for _ in range(3)],
               grid(margin=[1.0, 0.3], p=[1, 2, 3.0], eps=[1e-6, 0.05], swap=[False, True]), SHAPES[:3])
    yield ("multi_margin", F.multi_margin_loss, multi_margin, 1,
           lambda rng, s: [rng.standard_normal(s), rng.integers(s[-1], size=s[:-1])],
           grid(p=[1, 2], margin=[1.0, 0.4], weight=[None, np.array([0.5, 1.5, 2.0, 0.0, 1.0, 0.3, 0.9])]),
           [(7,), (4, 7)])
    yield ("multilabel_margin", F.multilabel_margin_loss, multilabel_margin, 1,
           lambda rng, s: [rng.standard_normal(s), np.where(rng.random(s) < 0.3, -1, rng.permuted(
               np.broadcast_to(np.arange(s[-1]), s), axis=-1))], [{}], [(7,), (5, 4)])
    yield ("multilabel_soft_margin", F.multilabel_soft_margin_loss,
           lambda x, t, weight=1.0: sigmoid_cross_entropy(x, t, weight).mean(-1), 1,
           lambda rng, s: [rng.standard_normal(s), rng.random(s)], [{}], SHAPES)
    yield ("multilabel_soft_margin weight", F.multilabel_soft_margin_loss,
           lambda x, t, weight: sigmoid_cross_entropy(x, t, weight).mean(-1), 1,
           lambda rng, s: [rng.standard_normal(s), rng.random(s)], [{"weight": np.array([0.5, 2.0, 1.2])}],
           [(3,), (5, 3), (2, 4, 3)])
    yield ("poisson_nll", F.poisson_nll_loss, poisson, 1,
           lambda rng, s: [0.2 + rng.random(s), rng.integers(0, 6, s) * 1.0],
           grid(log_input=[True, False], full=[False, True], eps=[1e-8, 0.1]), SHAPES)
    for name, shape in (("", lambda s: s), (" row", lambda s: s[:-1]), (" column", lambda s: (*s[:-1], 1))):
        yield (f"gaussian_nll{name}", F.gaussian_nll_loss, gaussian, 3,
               lambda rng, s, shape=shape: [rng.standard_normal(s), rng.standard_normal(s), 0.3 + rng.random(shape(s))],
               grid(full=[False, True], eps=[1e-6, 0.01]), SHAPES[1:])
    yield ("bce_with_logits", F.binary_cross_entropy_with_logits, sigmoid_cross_entropy, 2,
           lambda rng, s: [rng.standard_normal(s), rng.random(s)],
           grid(weight=[np.array(0.7), np.array([0.5, 2.0, 1.2])],
                pos_weight=[np.array([3.0, 0.4, 1.0]), np.array(1.5)]),
           [(3,), (5, 3), (2, 4, 3), (2, 2, 4, 3)])
    yield ("bce", F.binary_cross_entropy, lambda x, t, weight=1.0: -weight * (t * np.log(x) + (1 - t) * np.log(1 - x)),
           2, lambda rng, s: [0.1 + 0.8 * rng.random(s), rng.random(s)], [{}, {"weight": np.array([0.5, 2.0, 1.2])}],
           [(3,), (5, 3), (2, 4, 3), (2, 2, 4, 3)])
    yield ("kl_div", F.kl_div, kl, 2, lambda rng, s: [rng.standard_normal(s), 0.1 + rng.random(s)],
           grid(log_target=[False, True]), SHAPES)
    huber = lambda d, c: np.where(abs(d) <= c, 0.5 * d * d, c * (abs(d) - 0.5 * c))  # noqa: E731
    pair = lambda rng, s: [rng.standard_normal(s), rng.standard_normal(s)]  # noqa: E731
    yield "huber", F.huber_loss, lambda x, t, delta: huber(x - t, delta), 2, pair, grid(delta=[0.3, 1.0, 4.0]), SHAPES
    yield ("smooth_l1", F.smooth_l1_loss, lambda x, t, beta: huber(x - t, beta) / beta, 2, pair,
           grid(beta=[0.3, 1.0, 4.0]), SHAPES)
    yield "mse", F.mse_loss, lambda x, t: (x - t) ** 2, 2, pair, [{}], SHAPES
    yield "l1", F.l1_loss, lambda x, t: abs(x - t), 2, pair, [{}], SHAPES


ROWS = {row[0]: row[1:] for row in rows()}


def reduced(loss, reduction):
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


@pytest.mark.filterwarnings("ignore:.*batchmean")
@pytest.mark.parametrize("name", ROWS)
def test_values_and_gradients(name):
    function, definition, wanted, inputs, options, shapes = ROWS[name]
    for (i, shape), chosen, reduction in itertools.product(enumerate(shapes), options, ("none", "mean", "sum")):
        rng = np.random.default_rng([i, len(name)])
        arrays = inputs(rng, shape)
        expected = np.asarray(reduced(definition(*arrays, **chosen), reduction))
        given = {key: fastdl.tensor(value) if isinstance(value, np.ndarray) else value for key, value in chosen.items()}
        where = f"{name} {shape} {chosen} {reduction}"
        for dtype, rtol in ((fastdl.float64, 1e-11), (fastdl.float32, 2e-5)):
            leaves = [fastdl.tensor(a) for a in arrays]
            leaves = [t.to(dtype) if t.is_floating_point() else t for t in leaves]
            own = {k: v.to(dtype) if isinstance(v, fastdl.Tensor) else v for k, v in given.items()}
            for t in leaves[:wanted]:
                t.requires_grad_()
            loss = function(*leaves, reduction=reduction, **own)
            assert loss.dtype is dtype and loss.numel() == expected.size, where
            np.testing.assert_allclose(loss.detach().numpy().reshape(expected.shape), expected, rtol, rtol / 5,
                                       err_msg=where)
            # along one random direction of all inputs at once, each output with a factor of its own
            factor = rng.standard_normal(loss.shape)
            loss.backward(fastdl.tensor(factor).to(dtype))
            ways = [rng.standard_normal(a.shape) for a in arrays[:wanted]]
            terms = [t.grad.numpy() * way for t, way in zip(leaves, ways)]
            ends = [reduced(definition(*(a + step * way for a, way in zip(arrays, ways)), *arrays[wanted:], **chosen),
                            reduction) for step in (1e-6, -1e-6)]
            slope = ((ends[0] - ends[1]).reshape(factor.shape) * factor).sum() / 2e-6
            size = 1 + sum(abs(term).sum() for term in terms)
            assert abs(sum(term.sum() for term in terms) - slope) <= size * (
                1e-7 if dtype is fastdl.float64 else 1e-4), where


def test_ctc_of_nothing_possible():
    """zero_infinity takes loss and gradient of a sequence away whose target does not fit, and nothing else."""
    rng = np.random.default_rng(0)
    scores, words = rng.standard_normal((3, 2, 4)), fastdl.tensor([[1, 1, 2], [3, 2, 0]])
    found = []
    for zero in (False, True):
        x = fastdl.tensor(scores).requires_grad_()
        loss = F.ctc_loss(x.log_softmax(2), words, [3, 3], [3, 2], reduction="none", zero_infinity=zero)
        loss.sum().backward()
        found.append((loss.tolist(), x.grad.numpy()))
    assert found[0][0][0] == math.inf and found[1][0][0] == 0 and found[0][0][1] == found[1][0][1]
    assert (found[1][1][:, 0] == 0).all()
    np.testing.assert_array_equal(found[0][1][:, 1], found[1][1][:, 1])


@pytest.mark.parametrize("shape", [(5,), (6, 5), (4, 5, 3), (2, 5, 3, 2)])
def test_cross_entropy_of_any_rank_is_that_of_its_rows(shape):
    """The grid of options, each against linear_cross_entropy's rows: input through a layer that changes nothing."""
    rng = np.random.default_rng(2)
    classes = shape[1] if len(shape) > 1 else shape[0]
    x, eye = rng.standard_normal(shape), fastdl.eye(classes, dtype=fastdl.float64)
    target = rng.integers(classes, size=shape[:1] + shape[2:] if len(shape) > 1 else ())
    for smoothing, ignored, weighted, reduction in itertools.product((0.0, 0.2), (-100, 1), (False, True),
                                                                     ("none", "mean", "sum")):
        weight = fastdl.tensor(0.5 + rng.random(classes)) if weighted else None
        options = dict(weight=weight, ignore_index=ignored, reduction=reduction, label_smoothing=smoothing)
        a, b = (fastdl.tensor(x).requires_grad_() for _ in range(2))
        one = F.cross_entropy(a, fastdl.tensor(target), **options)
        rows_of_b = b.movedim(1, -1).reshape(-1, classes) if len(shape) > 1 else b
        flat = fastdl.tensor(target.reshape(-1) if len(shape) > 1 else target)
        two = F.linear_cross_entropy(rows_of_b, eye, flat, **options).reshape(one.shape)
        factor = fastdl.tensor(rng.standard_normal(one.shape))
        one.backward(factor)
        two.backward(factor)
        np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-11, atol=1e-13)
