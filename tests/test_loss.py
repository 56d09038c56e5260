"""Losses and embedding: what the case table does not say."""

import math

import numpy as np
import pytest

import fastdl
from fastdl import autograd
from fastdl.ops import embedding as rows
from fastdl.ops import loss

cross_entropy, nll_loss, embedding = loss.cross_entropy, loss.nll_loss, rows.embedding


def tensor(*shape, seed=0, dtype=fastdl.float64):
    return fastdl.tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype).requires_grad_()


@pytest.mark.parametrize("function", [cross_entropy, nll_loss])
@pytest.mark.parametrize("count", [0, 3])
def test_the_mean_of_nothing_is_nan(function, count):
    x = tensor(count, 4)
    out = function(x, fastdl.tensor(np.full(count, -100)))
    assert math.isnan(out.item())
    assert function(x, fastdl.tensor(np.full(count, -100)), reduction="sum").item() == 0
    out.backward()
    if function is cross_entropy:
        assert (x.grad.numpy() == 0).all()


@pytest.mark.parametrize("shape", [(3, 0), (0,), (2, 0, 4)])
def test_probabilities_of_no_classes(shape):
    x, p = fastdl.zeros(shape, requires_grad=True), fastdl.zeros(shape)
    rows = shape[:1] + shape[2:] if len(shape) > 1 else ()
    each = cross_entropy(x, p, reduction="none")
    assert each.shape == rows and (each == 0).all()
    assert cross_entropy(x, p, reduction="sum") == 0 and cross_entropy(x, p).isnan()
    each.sum().backward()
    assert x.grad.shape == shape


def test_ignored_rows_may_hold_anything():
    x = fastdl.tensor([[math.nan, 1.0], [0.0, 0.0]]).requires_grad_()
    out = cross_entropy(x, fastdl.tensor([-100, 1]))
    out.backward()
    assert math.isclose(out.item(), math.log(2), rel_tol=1e-6)
    assert x.grad.tolist() == [[0.0, 0.0], [0.5, -0.5]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_inf_give_nan_in_their_row_only(bad):
    x = fastdl.tensor([[bad, 1.0, 2.0], [0.0, 0.0, 0.0]]).requires_grad_()
    out = cross_entropy(x, fastdl.tensor([1, 1]), reduction="none")
    out.backward(fastdl.ones(2))
    assert math.isnan(out.tolist()[0]) and math.isclose(out.tolist()[1], math.log(3), rel_tol=1e-6)
    assert np.isnan(x.grad.numpy()[0]).all() and np.isfinite(x.grad.numpy()[1]).all()


def test_an_impossible_target_costs_infinitely_much():
    x = fastdl.tensor([[-math.inf, 1.0, 1.0]]).requires_grad_()
    out = cross_entropy(x, fastdl.tensor([0]))
    out.backward()
    assert out.item() == math.inf
    assert x.grad.tolist() == [[-1.0, 0.5, 0.5]]


@pytest.mark.parametrize("shape", [(70, 40), (9, 300), (2, 30, 5, 17)])
@pytest.mark.parametrize("function", ["cross_entropy", "log_softmax"])
def test_wide_scores_give_no_denormals(function, shape):
    """Classes that hardly can be have gradient 0 where it would be denormal soon; the others are not touched."""
    rng = np.random.default_rng(1)
    values = (30 * rng.standard_normal(shape)).astype(np.float32)
    target = rng.integers(shape[1], size=shape[:1] + shape[2:])
    x = fastdl.tensor(values).requires_grad_()
    if function == "cross_entropy":
        cross_entropy(x, fastdl.tensor(target), reduction="sum").backward()
    else:
        nll_loss(x.log_softmax(1), fastdl.tensor(target), reduction="sum").backward()
    d = values.astype(np.float64) - values.max(1, keepdims=True)
    expected = np.exp(d) / np.exp(d).sum(1, keepdims=True)
    found, own = x.grad.numpy(), np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2)) == target[:, None]
    near = ~own & (expected > 1e-25)
    assert near.sum() > 50 and (d < -70).sum() > 50
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-5)
    np.testing.assert_allclose(found + own, expected, rtol=0, atol=3e-7)
    assert abs(found[found != 0]).min() > 1e-27


@pytest.mark.parametrize("shift", [1e4, -1e4])
def test_a_shift_of_all_logits_changes_nothing(shift):
    x = np.random.default_rng(0).integers(-8, 8, (20, 50)).astype(np.float32)  # exact after the shift, too
    target = fastdl.tensor(np.arange(20))
    a, b = fastdl.tensor(x).requires_grad_(), fastdl.tensor(x + np.float32(shift)).requires_grad_()
    first, second = cross_entropy(a, target), cross_entropy(b, target)
    first.backward()
    second.backward()
    assert first.item() == second.item()
    np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


def test_ignored_positions_may_hold_anything():
    x = np.zeros((1, 2, 3, 5), np.float32)
    x[0, :, 1, 2], target = math.nan, np.zeros((1, 3, 5), np.int64)
    target[0, 1, 2] = -100
    y = fastdl.tensor(x).requires_grad_()
    out = cross_entropy(y, fastdl.tensor(target), label_smoothing=0.1)
    out.backward()
    assert math.isclose(out.item(), math.log(2), rel_tol=1e-6)
    assert (y.grad.numpy()[0, :, 1, 2] == 0).all() and np.isfinite(y.grad.numpy()).all()


@pytest.mark.parametrize("shape", [(97, 45077), (3, 17, 301 * 288), (3, 17, 301 * 287)])
def test_large_gradients_have_the_bits_of_small_ones(shape):
    """They go past the caches; the second shape by whole vectors, the third cannot."""
    rng = np.random.default_rng(0)
    x = fastdl.tensor(rng.standard_normal(shape).astype(np.float32)).requires_grad_()
    q = fastdl.tensor(rng.random(shape).astype(np.float32)).requires_grad_()
    target = fastdl.tensor(rng.integers(0, shape[1], shape[:1] + shape[2:]))
    assert x.nbytes > 16 << 20 and 2 * x.nbytes // len(x) < 16 << 20
    cross_entropy(x, target, reduction="sum", label_smoothing=0.1).backward()
    hard, x.grad = x.grad.numpy(), None
    cross_entropy(x, q, reduction="sum").backward()
    for i in (0, shape[0] // 2, shape[0] - 1):
        y = x.detach()[i : i + 1].clone().requires_grad_()
        p = q.detach()[i : i + 1].clone().requires_grad_()
        cross_entropy(y, target[i : i + 1], reduction="sum", label_smoothing=0.1).backward()
        np.testing.assert_array_equal(hard[i], y.grad.numpy()[0])
        y.grad = None
        cross_entropy(y, p, reduction="sum").backward()
        np.testing.assert_array_equal(x.grad.numpy()[i], y.grad.numpy()[0])
        np.testing.assert_array_equal(q.grad.numpy()[i], p.grad.numpy()[0])


def test_classes_next_to_each_other_are_not_copied():
    """Scores (N, T, C) permuted to (N, C, T), as sequence models have them."""
    rng = np.random.default_rng(0)
    scores, target = fastdl.tensor(rng.standard_normal((3, 20, 11))).requires_grad_(), rng.integers(0, 11, (3, 20))
    before = fastdl.memory.stats()["live_bytes"]
    fastdl.memory.reset_peak()
    with fastdl.no_grad():
        first = cross_entropy(scores.permute(0, 2, 1), fastdl.tensor(target))
    assert fastdl.memory.stats()["peak_bytes"] - before < scores.nbytes
    out = cross_entropy(scores.permute(0, 2, 1), fastdl.tensor(target))
    out.backward()
    rows = scores.detach().reshape(60, 11).requires_grad_()
    second = cross_entropy(rows, fastdl.tensor(target.reshape(-1)))
    second.backward()
    assert first.item() == out.item() == second.item()
    np.testing.assert_array_equal(scores.grad.numpy().reshape(60, 11), rows.grad.numpy())


def test_bad_targets_leave_everything_usable():
    x = tensor(3, 4)
    with pytest.raises(IndexError):
        cross_entropy(x, fastdl.tensor([0, 4, 1]))
    cross_entropy(x, fastdl.tensor([0, 3, 1])).backward()
    assert x.grad is not None


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_upstream_gradients_scale(reduction):
    target, up = fastdl.tensor([0, 2, 1]), np.array([2.0, -1.0, 0.5])
    whole = reduction != "none"
    x, y = tensor(3, 4), tensor(3, 4)
    cross_entropy(x, target, reduction=reduction).backward(fastdl.tensor(3.0 if whole else up).to(fastdl.float64))
    cross_entropy(y, target, reduction=reduction).backward(fastdl.tensor(np.float64(1) if whole else np.ones(3)))
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy() * (3.0 if whole else up[:, None]), rtol=1e-15)


def test_backward_twice():
    x = tensor(3, 4)
    out = cross_entropy(x, fastdl.tensor([0, 2, 1]))
    out.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    out.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


def test_other_integer_types():
    x = tensor(3, 4)
    expected = cross_entropy(x, fastdl.tensor([0, 2, 1])).item()
    for dtype in (fastdl.int32, fastdl.uint8):
        assert cross_entropy(x, fastdl.tensor([0, 2, 1]).to(dtype)).item() == expected


def test_strided_logits():
    x = tensor(4, 3)
    target = fastdl.tensor([0, 3, 1])
    out = cross_entropy(x.t(), target)
    out.backward()
    y = fastdl.tensor(np.ascontiguousarray(x.detach().numpy().T)).requires_grad_()
    cross_entropy(y, target).backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy().T)


def test_older_spelling_of_reduction():
    x, target = tensor(2, 3), fastdl.tensor([0, 1])
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert cross_entropy(x, target, size_average=False).item() == cross_entropy(x, target, reduction="sum").item()
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert cross_entropy(x, target, reduce=False).shape == (2,)


# Second derivatives -----------------------------------------------------------------------------------------------


def second_derivative(function, x, direction, upstream):
    """d/dx of <gradient of function, direction>, and the same by central differences of the gradient."""

    def slope(values, create_graph=False):
        z = fastdl.tensor(values).requires_grad_()
        (g,) = autograd.grad(function(z), z, upstream, create_graph=create_graph)
        return z, g

    z, g = slope(x, True)
    (got,) = autograd.grad(g, z, fastdl.tensor(direction))
    h, expected = 1e-6, np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[i] = h
        expected[i] = ((slope(x + step)[1].numpy() - slope(x - step)[1].numpy()) * direction).sum() / (2 * h)
    return got.numpy(), expected


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum", "label_smoothing": 0.2},
        {"reduction": "none", "ignore_index": 2},
        {"weight": fastdl.tensor([0.5, 2.0, 1.0, 0.1]).to(fastdl.float64), "label_smoothing": 0.3},
    ],
    ids=["mean", "smoothing", "none", "weight"],
)
def test_second_derivative_of_cross_entropy(options):
    rng = np.random.default_rng(0)
    target = fastdl.tensor([0, 2, 1, 3, 1])
    upstream = fastdl.tensor(rng.standard_normal(5) if options.get("reduction") == "none" else np.float64(1.5))
    got, expected = second_derivative(
        lambda x: cross_entropy(x, target, **options),
        rng.standard_normal((5, 4)),
        rng.standard_normal((5, 4)),
        upstream,
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 8), (7,)])
def test_second_derivative_of_soft_cross_entropy(shape, reduction):
    rng = np.random.default_rng(0)
    classes = shape[min(1, len(shape) - 1)]
    weight = fastdl.tensor(rng.random(classes))
    target, x = fastdl.tensor(rng.random(shape)), fastdl.tensor(rng.standard_normal(shape))
    rows = (shape[:1] + shape[2:] if len(shape) > 1 else ()) if reduction == "none" else ()
    upstream = fastdl.tensor(np.asarray(rng.standard_normal(rows)))
    options = dict(weight=weight, reduction=reduction, label_smoothing=0.2)
    for function in [
        lambda z: cross_entropy(z, target, **options),
        lambda z: cross_entropy(z, z * z, **options),  # linear in the target alone
    ]:
        direction = rng.standard_normal(shape)
        got, expected = second_derivative(function, x.numpy(), direction, upstream)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_second_derivative_where_classes_lie_apart(reduction):
    rng = np.random.default_rng(0)
    target = fastdl.tensor(rng.integers(0, 3, (2, 9)))
    got, expected = second_derivative(
        lambda x: cross_entropy(x, target, label_smoothing=0.3, reduction=reduction),
        rng.standard_normal((2, 3, 9)),
        rng.standard_normal((2, 3, 9)),
        fastdl.tensor(rng.standard_normal((2, 9)) if reduction == "none" else np.float64(1.5)),
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


def test_second_derivative_of_embedding():
    """Of <w[i], w[i]>: the gradient is linear in what arrives, so it has a derivative itself."""
    w, index = tensor(4, 3), fastdl.tensor([1, 3, 1, 0])
    out = embedding(index, w, padding_idx=0)
    (g,) = autograd.grad(out, w, out, create_graph=True)
    (gg,) = autograd.grad(g, w, fastdl.ones(4, 3).to(fastdl.float64))
    np.testing.assert_array_equal(g.detach().numpy(), w.detach().numpy() * [[0], [2], [0], [1]])
    np.testing.assert_array_equal(gg.numpy(), np.ones((4, 3)) * [[0], [2], [0], [1]])


# Embedding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_idx", [1, -3])
def test_padding_rows_get_no_gradient(padding_idx):
    w = tensor(4, 3)
    embedding(fastdl.tensor([1, 2, 1]), w, padding_idx=padding_idx).backward(fastdl.ones(3, 3).to(fastdl.float64))
    assert w.grad.tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3, [0.0] * 3]


def test_scale_by_frequency():
    w = tensor(4, 3)
    out = embedding(fastdl.tensor([1, 2, 1, 1]), w, scale_grad_by_freq=True)
    out.backward(fastdl.ones(4, 3).to(fastdl.float64))
    np.testing.assert_allclose(w.grad.numpy(), np.ones((4, 3)) * [[0], [1], [1], [0]], rtol=1e-15)


def test_max_norm_shrinks_the_rows_in_use():
    w = fastdl.tensor([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0]])
    out = embedding(fastdl.tensor([0, 1, 0]), w, max_norm=1.0)
    np.testing.assert_allclose(out.numpy(), [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(w.numpy(), [[0.6, 0.8], [0.3, 0.4], [30.0, 40.0]], rtol=1e-6)


def test_sums_go_in_the_order_of_occurrence():
    up = np.random.default_rng(0).standard_normal((300, 5)).astype(np.float32)
    index = np.random.default_rng(1).integers(0, 3, 300)
    w = tensor(3, 5, dtype=fastdl.float32)
    embedding(fastdl.tensor(index), w).backward(fastdl.tensor(up))
    expected = np.zeros((3, 5), np.float32)
    for i, row in zip(index, up):
        expected[i] += row
    np.testing.assert_array_equal(w.grad.numpy(), expected)
