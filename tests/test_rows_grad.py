"""Gradients of tables that hold only the rows that were used: the same bits as whole ones, in less memory and time."""

import copy
import math

import numpy as np
import pytest

import fastdl
from fastdl import nn, optim
from fastdl.nn import functional as F
from tests import optimizer_runs

V, D = 300, 21


def table(dtype=fastdl.float32, v=V, d=D, seed=0):
    return fastdl.tensor(np.random.default_rng(seed).standard_normal((v, d))).to(dtype).requires_grad_()


def tokens(step, count=40, v=V):
    """Some of them several times, some next to each other, the first and the last row."""
    rng = np.random.default_rng(step)
    ids = rng.integers(0, v, count)
    ids[:6] = [0, v - 1, 7, 8, 9, 7]
    return fastdl.tensor(ids)


def loss(w, step, **options):
    up = fastdl.tensor(np.random.default_rng(step + 100).standard_normal((40, w.shape[1]))).to(w.dtype)
    return (F.embedding(tokens(step, v=len(w)), w, **options) * up).sum()


def whole(w):
    """Looking at a gradient makes it whole."""
    assert w.grad is not None and w.grad.shape == w.shape
    return w.grad.numpy()


def expected(w, step):
    out = np.zeros(w.shape, w.detach().numpy().dtype)
    up = np.random.default_rng(step + 100).standard_normal((40, w.shape[1])).astype(out.dtype)
    for i, g in zip(tokens(step, v=len(w)).numpy(), up):
        out[i] += g
    return out


@pytest.mark.parametrize("padding_idx", [None, 7])
@pytest.mark.parametrize("v", [79, 80, 300, 70000])  # whole below 80 = twice the tokens; one, two and three bytes
def test_the_gradient(v, padding_idx):
    w = table(v=v, d=3)
    loss(w, 0, padding_idx=padding_idx).backward()
    want = expected(w, 0)
    if padding_idx is not None:
        want[padding_idx] = 0
    np.testing.assert_array_equal(whole(w), want)


def test_nothing_but_padding_and_nothing_at_all():
    w = table()
    F.embedding(fastdl.tensor([3, 3]), w, padding_idx=3).sum().backward()
    optim.SGD([w], lr=1.0).step(max_norm=1.0)
    assert (whole(w) == 0).all()
    w.grad = None
    F.embedding(fastdl.tensor(np.zeros(0, np.int64)), w).sum().backward()
    assert (whole(w) == 0).all()
    np.testing.assert_array_equal(w.detach().numpy(), table().detach().numpy())


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64])
@pytest.mark.parametrize("name", optimizer_runs.OPTIMIZERS)
def test_steps_have_the_bits_of_whole_gradients(name, dtype, max_norm):
    kind, options = optimizer_runs.OPTIMIZERS[name]
    found = []
    for look in (False, True):
        w, other = table(dtype), table(dtype, 5, 3, seed=1)
        optimizer = getattr(optim, kind)([other, w], **options)
        for step in range(3):
            optimizer.zero_grad()
            (loss(w, step) + (other * other).sum()).backward()
            if look:
                whole(w)
            optimizer.step(max_norm=max_norm)
        found.append([w.detach().numpy(), other.detach().numpy(), np.array(optimizer.grad_norm or 0)])
        found[-1] += [s.numpy() for s in optimizer.state.get(w, {}).values() if isinstance(s, fastdl.Tensor)]
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("d", [1, 5, 16, 64, 100, 4099])
@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64])
def test_the_norm_has_the_bits_of_the_whole(d, dtype):
    w = table(dtype, d=d)
    loss(w, 0).backward()
    part = fastdl.ops.optim.grad_norm([w])
    whole(w)
    assert part == fastdl.ops.optim.grad_norm([w])


@pytest.mark.parametrize("max_norm", [0.1, 1e9, math.nan])
def test_clip_grad_norm(max_norm):
    found = []
    for look in (False, True):
        w = table()
        loss(w, 0).backward()
        if look:
            whole(w)
        norm = nn.utils.clip_grad_norm_([w], max_norm)
        found.append((norm.item(), whole(w)))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_accumulation_and_two_uses():
    w = table()
    loss(w, 0).backward()
    loss(w, 1).backward()
    np.testing.assert_array_equal(whole(w), expected(w, 0) + expected(w, 1))
    w.grad = None
    (loss(w, 0) + loss(w, 1)).backward()
    np.testing.assert_array_equal(whole(w), expected(w, 1) + expected(w, 0))


def test_a_weight_shared_with_a_linear_layer():
    w, x = table(), fastdl.tensor(np.random.default_rng(5).standard_normal((4, D)).astype(np.float32))
    (loss(w, 0) + F.linear(x, w).sum()).backward()
    np.testing.assert_allclose(whole(w), expected(w, 0) + x.numpy().sum(0), rtol=1e-5, atol=1e-5)


def test_hooks_and_autograd_grad_see_it_whole():
    w = table()
    seen = []
    w.register_hook(seen.append)
    loss(w, 0).backward()
    np.testing.assert_array_equal(seen[0].numpy(), expected(w, 0))
    (g,) = fastdl.autograd.grad(loss(w, 1), w)
    np.testing.assert_array_equal(g.numpy(), expected(w, 1))
    w = table()
    (w * 2).register_hook(seen.append)
    y = w * 2
    loss(y, 2).backward()  # not a leaf
    np.testing.assert_allclose(whole(w), 2 * expected(w, 2), rtol=1e-6)


def test_retain_graph_and_create_graph():
    w = table()
    out = loss(w, 0)
    out.backward(retain_graph=True)
    out.backward()
    np.testing.assert_array_equal(whole(w), 2 * expected(w, 0))
    w.grad = None
    loss(w, 0).backward(create_graph=True)
    np.testing.assert_array_equal(w.grad.detach().numpy(), expected(w, 0))


def test_copies_and_zero_grad():
    w = table()
    loss(w, 0).backward()
    other = copy.deepcopy(w)
    np.testing.assert_array_equal(whole(other), expected(w, 0))
    optimizer = optim.SGD([w], lr=1.0)
    loss(w, 0).backward()
    optimizer.zero_grad()
    assert w.grad is None
    loss(w, 0).backward()
    optimizer.zero_grad(set_to_none=False)
    assert (whole(w) == 0).all()
    loss(w, 1).backward()
    np.testing.assert_array_equal(whole(w), expected(w, 1))


def test_a_parameter_that_lies_otherwise_or_has_grown():
    a, b = table(), table()
    b.data = fastdl.tensor(np.asfortranarray(b.detach().numpy()).T.copy()).t()
    for w in (a, b):
        loss(w, 0).backward()
        optim.Adam([w], lr=0.1).step()
    assert not b.is_contiguous()
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    loss(a, 0).backward()
    a.data = fastdl.tensor(np.zeros((V + 1, D), np.float32))
    with pytest.raises(ValueError, match="gradient: expected shape"):
        optim.SGD([a], lr=0.1).step()


def test_nothing_of_the_tables_size_is_made():
    w = table(v=20000, d=8)
    optimizer = optim.SGD([w], lr=0.1)
    before = fastdl.memory.stats()["live_bytes"]
    fastdl.memory.reset_peak()
    loss(w, 0).backward()
    optimizer.step(max_norm=1.0)
    optimizer.zero_grad()
    assert fastdl.memory.stats()["peak_bytes"] - before < w.nbytes / 10


def test_other_threads_have_the_same_bits():
    before, found = fastdl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fastdl.set_num_threads(threads)
            w = table(v=5000, d=130)
            ids = fastdl.tensor(np.random.default_rng(0).integers(0, 5000, 2000))
            (F.embedding(ids, w) ** 2).sum().backward()
            optimizer = optim.Adam([w])
            optimizer.step(max_norm=3.0)
            found.append((w.detach().numpy(), optimizer.grad_norm, whole(w)))
    finally:
        fastdl.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)
