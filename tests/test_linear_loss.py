"""linear_cross_entropy: values and gradients of cross_entropy(linear(..)), chunks, memory, threads."""

import math

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F
from tests.cases.loss import log_softmax, nll

N, V, D = 37, 23, 11


def data(dtype=fastdl.float64, n=N, v=V, d=D, ignored=0.0):
    rng = np.random.default_rng(0)
    target = rng.integers(0, v, n)
    target[rng.random(n) < ignored] = -100
    made = [fastdl.tensor(rng.standard_normal(s)).to(dtype).requires_grad_() for s in ((n, d), (v, d), (v,))]
    return *made, fastdl.tensor(target), fastdl.tensor(rng.random(v) + 0.1).to(dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("has_bias, has_weight", [(True, True), (False, False)])
@pytest.mark.parametrize("chunk", [None, 1, 5, 37])
@pytest.mark.parametrize("classes", [V, 203])  # rows of up to 64 classes have a kernel of their own
def test_it_is_cross_entropy_of_linear(reduction, smoothing, ignored, has_bias, has_weight, chunk, classes):
    x, w, b, target, weight = data(ignored=ignored, v=classes)
    bias, weight = b if has_bias else None, weight if has_weight else None
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=chunk)
    more = dict(weight=weight, reduction=reduction, label_smoothing=smoothing)
    out = F.linear_cross_entropy(x, w, target, linear_bias=bias, options=options, **more)
    logits = x.detach().numpy() @ w.detach().numpy().T + (b.detach().numpy() if has_bias else 0)
    expected = nll(
        log_softmax(logits, 1), target.numpy(), None if weight is None else weight.numpy(), -100, reduction, smoothing
    )
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    if ignored == 1.0 and reduction == "mean":
        out.backward()
        assert all((t.grad.numpy() == 0).all() for t in (x, w))
        return
    upstream = fastdl.tensor(np.random.default_rng(1).standard_normal(out.shape))
    wanted = [x, w, b] if has_bias else [x, w]
    found = fastdl.autograd.grad(out, wanted, upstream)
    composed = fastdl.autograd.grad(F.cross_entropy(F.linear(x, w, bias), target, **more), wanted, upstream)
    for g, e in zip(found, composed):
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("which", [(True, False), (False, True)])
def test_only_what_is_wanted(reduction, which):
    x, w, _, target, _ = data()
    x.requires_grad, w.requires_grad = which
    out = F.linear_cross_entropy(x, w, target, reduction=reduction).sum()
    out.backward(retain_graph=True)
    once = (x if which[0] else w).grad.numpy().copy()
    assert (x.grad is not None, w.grad is not None) == which
    out.backward()
    np.testing.assert_array_equal((x if which[0] else w).grad.numpy(), 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


def test_other_shapes_of_torch():
    x, w, _, target, _ = data()
    one = F.linear_cross_entropy(x[3], w, target[3])
    assert math.isclose(one.item(), F.cross_entropy(F.linear(x, w), target, reduction="none")[3].item(), rel_tol=1e-12)
    soft = fastdl.softmax(fastdl.tensor(np.random.default_rng(2).standard_normal((N, V))), 1)
    assert F.linear_cross_entropy(x, w, soft).item() == F.cross_entropy(F.linear(x, w), soft).item()
    wide = fastdl.tensor(np.random.default_rng(3).standard_normal((V, 2, 3, D)))
    where = fastdl.tensor(np.random.default_rng(4).integers(0, V, (N, 2, 3)))
    expected = F.cross_entropy(F.linear(x, wide.reshape(-1, D)).reshape(N, V, 2, 3), where)
    assert math.isclose(F.linear_cross_entropy(x, wide, where).item(), expected.item(), rel_tol=1e-12)


@pytest.mark.parametrize("out_features", [(), (2, 3)])
def test_module(out_features):
    loss = nn.LinearCrossEntropyLoss(D, V, out_features=out_features, bias=True, label_smoothing=0.1)
    assert {k: tuple(p.shape) for k, p in loss.named_parameters()} == {
        "linear.weight": (V * math.prod(out_features), D),
        "linear.bias": (V * math.prod(out_features),),
    }
    x = fastdl.randn(N, D)
    target = fastdl.tensor(np.random.default_rng(4).integers(0, V, (N, *out_features)))
    expected = F.cross_entropy(loss.linear(x).reshape(N, V, *out_features), target, label_smoothing=0.1)
    assert math.isclose(loss(x, target).item(), expected.item(), rel_tol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_memory_is_that_of_a_chunk(reduction):
    n, v, d, chunk = 600, 3000, 8, 50
    x, w, _, target, _ = data(fastdl.float32, n, v, d)
    before = fastdl.memory.stats()["live_bytes"]
    fastdl.memory.reset_peak()
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=chunk)
    F.linear_cross_entropy(x, w, target, reduction=reduction, options=options).sum().backward()
    peak = fastdl.memory.stats()["peak_bytes"] - before
    assert chunk * v * 4 < peak < 2 * chunk * v * 4 < n * v * 4 / 4


def test_threads_and_isas_give_the_same_bits():
    from fastdl import _kernels

    before = fastdl.get_num_threads(), _kernels.isa()
    found = []
    try:
        for isa in [name for name, usable in _kernels.isas() if usable and name != "base"]:
            _kernels.set_isa(isa)
            for threads in (1, 2, 3):
                fastdl.set_num_threads(threads)
                x, w, b, target, _ = data(fastdl.float32, 700, 130, 33, 0.3)
                out = F.linear_cross_entropy(x, w, target, linear_bias=b)
                out.backward()
                found.append([out.detach().numpy(), x.grad.numpy(), w.grad.numpy(), b.grad.numpy()])
    finally:
        fastdl.set_num_threads(before[0])
        _kernels.set_isa(before[1])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda x, w, b, t: F.linear_cross_entropy(x, w, t + 20),
            IndexError,
            r"target\[\d+\]: expected a class in \[0, 23",
        ),
        (lambda x, w, b, t: F.linear_cross_entropy(x, w, t[:5]), ValueError, r"shape \(37,\), got \(5,\)"),
        (lambda x, w, b, t: F.linear_cross_entropy(x, w.t(), t), RuntimeError, "expected 11 columns"),
        (
            lambda x, w, b, t: F.linear_cross_entropy(x, w, t, linear_bias=b[:3]),
            RuntimeError,
            r"shape \(23,\), got \(3,\)",
        ),
        (lambda x, w, b, t: F.linear_cross_entropy(x.float(), w, t), RuntimeError, "same dtype"),
        (lambda x, w, b, t: F.linear_cross_entropy(x, w, t, label_smoothing=2), ValueError, "label_smoothing"),
        (lambda x, w, b, t: F.linear_cross_entropy(x[None], w, t), RuntimeError, r"expected shape \(D\) or \(N, D\)"),
    ],
)
def test_errors(call, error, text):
    x, w, b, target, _ = data()
    with pytest.raises(error, match=text):
        call(x, w, b, target)


def test_no_higher_derivatives():
    x, w, _, target, _ = data()
    with pytest.raises(NotImplementedError, match="higher derivatives"):
        F.linear_cross_entropy(x, w, target).backward(create_graph=True)
