"""The graph: accumulation, versions, views, hooks, second derivatives, memory."""

import gc
import weakref

import numpy as np
import pytest

import fastdl
from tests.both import on_both


def test_gradients_accumulate_and_do_not_share_memory():
    a, b = fastdl.ones(3, requires_grad=True), fastdl.ones(3, requires_grad=True)
    (a + b).backward(fastdl.tensor([1.0, 2.0, 3.0]))
    assert a.grad.tolist() == b.grad.tolist() == [1, 2, 3]
    a.grad.zero_()
    assert b.grad.tolist() == [1, 2, 3]
    (a * 2).backward(fastdl.ones(3))
    assert a.grad.tolist() == [2, 2, 2]


def test_backward_leaves_the_upstream_gradient_alone():
    x, upstream = fastdl.ones(3, requires_grad=True), fastdl.ones(3)
    (x + 0).backward(upstream)
    x.grad.mul_(5)
    assert upstream.tolist() == [1, 1, 1]


def test_a_tensor_used_twice():
    x = fastdl.tensor([2.0, 3.0], requires_grad=True)
    y = x * x
    (y * x + y).backward(fastdl.ones(2))
    np.testing.assert_allclose(x.grad.numpy(), [3 * 4 + 4, 3 * 9 + 6])


def test_second_backward_needs_retain_graph():
    x = fastdl.ones(2, requires_grad=True)
    y = (x * x).exp()
    y.backward(fastdl.ones(2), retain_graph=True)
    y.backward(fastdl.ones(2))
    np.testing.assert_allclose(x.grad.numpy(), [4 * np.e] * 2, rtol=1e-6)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward(fastdl.ones(2))


def test_in_place_change_of_a_saved_tensor_is_reported():
    x = fastdl.ones(3, requires_grad=True)
    y = x * 2
    z = y * y
    y += 1
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*shape \(3,\).*"
                       r"MulBackward0.*version 1; expected version 0"):
        z.backward(fastdl.ones(3))


def test_in_place_change_of_a_saved_output_is_reported():
    x = fastdl.ones(3, requires_grad=True)
    y = x.exp()
    y.zero_()
    y2 = x.tanh()
    z = y2 + 0
    y2.detach().zero_()
    with pytest.raises(RuntimeError, match="TanhBackward0"):
        z.backward(fastdl.ones(3))


def test_views_share_memory_and_version():
    x = fastdl.zeros(4, 3)
    for view in (x[1], x.T, x.reshape(3, 4), x.detach(), x.data, x[:, 1:]):
        before = x._version
        view.fill_(1)
        assert x._version > before or view is x
        assert x.sum().item() != 0
        x.zero_()
    array = x.numpy()
    array[0, 0] = 5
    assert x[0, 0].item() == 5


def test_writes_of_grad_carrying_values_in_a_loop():
    w = fastdl.tensor(0.5, requires_grad=True)
    out = fastdl.zeros(300)
    for i in range(300):
        out[i] = w * i
    out.sum().backward()
    assert w.grad.item() == sum(range(300))


def test_leaf_views_cannot_be_written_while_recording():
    x = fastdl.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0:1].mul_(2)
    with fastdl.no_grad():
        x[0:1].mul_(2)
        x -= 0.5
    assert x.tolist() == [1.5, 0.5, 0.5]


def test_no_grad_as_context_and_decorator():
    x = fastdl.ones(2, requires_grad=True)

    @fastdl.no_grad()
    def f():
        return x * 2

    assert not f().requires_grad
    with fastdl.no_grad():
        assert not (x * 2).requires_grad
        with fastdl.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad
    with fastdl.inference_mode():
        assert not (x * 2).requires_grad
    assert fastdl.is_grad_enabled()


def test_grad_mode_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), fastdl.no_grad():
        raise ZeroDivisionError
    assert fastdl.is_grad_enabled()


def test_autograd_grad_and_second_derivatives():
    x = fastdl.tensor([0.3, -0.7], dtype=fastdl.float64, requires_grad=True)
    y = (x**3 + x.tanh() * x.exp() + x.sigmoid() / (x * x + 1)).sum()
    (g,) = fastdl.autograd.grad(y, x, create_graph=True)
    (gg,) = fastdl.autograd.grad(g.sum(), x)
    assert x.grad is None

    def slope(v):
        t = fastdl.tensor(v, requires_grad=True)
        f = (t**3 + t.tanh() * t.exp() + t.sigmoid() / (t * t + 1)).sum()
        return fastdl.autograd.grad(f, t)[0].numpy()

    v = x.detach().numpy()
    np.testing.assert_allclose(gg.numpy(), (slope(v + 1e-6) - slope(v - 1e-6)) / 2e-6, rtol=1e-7)


def test_unused_input():
    x, y = fastdl.ones(2, requires_grad=True), fastdl.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="allow_unused"):
        fastdl.autograd.grad((x * 2).sum(), [x, y])
    g = fastdl.autograd.grad((x * 2).sum(), [x, y], allow_unused=True)
    assert g[0].tolist() == [2, 2]
    assert g[1] is None


def test_hooks_and_retain_grad():
    x = fastdl.ones(2, requires_grad=True)
    y = x * 3
    y.retain_grad()
    handle = x.register_hook(lambda g: g * 10)
    (y * 2).sum().backward()
    assert y.grad.tolist() == [2, 2]
    assert x.grad.tolist() == [60, 60]
    handle.remove()
    x.grad = None
    (x * 1).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_an_error_in_backward_leaves_no_gradient_behind():
    x = fastdl.ones(2, requires_grad=True)
    y = x * 2

    def fail(g):
        raise ValueError("no")

    z = y * 3
    handle = y.register_hook(fail)
    with pytest.raises(ValueError, match="no"):
        z.sum().backward(retain_graph=True)
    handle.remove()
    assert x.grad is None
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_graphs_are_no_garbage_for_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        x = fastdl.ones(3, requires_grad=True)
        y = x.exp().tanh() * x
        seen = weakref.ref(y)
        y.sum().backward()
        del y
        assert seen() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_deep_graph_is_freed_without_recursion():
    x = fastdl.ones(1, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    del y


def test_backward_frees_what_was_saved():
    x = fastdl.ones(1000, requires_grad=True)
    y = x.exp()
    y2 = (y * y).sum()
    before = fastdl.memory.stats()["live_bytes"]
    y2.backward()
    x.grad = None
    del y
    assert fastdl.memory.stats()["live_bytes"] < before


def test_detach_and_data():
    x = fastdl.ones(3, requires_grad=True)
    y = (x * 2).detach()
    assert not y.requires_grad
    x.data[0] = 7
    assert x[0].item() == 7
    z = x * 2
    z.detach_()
    assert z.is_leaf
    assert not z.requires_grad


def test_numbers_and_types_follow_pytorch():
    i, f, b = fastdl.tensor([1, 2]), fastdl.tensor([1.0]), fastdl.tensor([True])
    d = fastdl.tensor([1.0], dtype=fastdl.float64)
    assert (i + f).dtype is fastdl.float32
    assert (i / i).dtype is fastdl.float32
    assert (f + d).dtype is fastdl.float64
    assert (f + d[0]).dtype is fastdl.float32
    assert (i + 1.5).dtype is fastdl.float32
    assert (i * 2).dtype is fastdl.int64
    assert (b + 1).dtype is fastdl.int64
    assert (b + b).dtype is fastdl.bool
    assert (1 - d).dtype is fastdl.float64
    assert (np.float64(2) * f).dtype is fastdl.float32
    assert (np.ones(1, np.float32) + f).tolist() == [2]
    assert (i // 2).tolist() == [0, 1]
    assert (7 % i).tolist() == [0, 1]


def test_mixed_types_get_gradients_of_their_own_type():
    f = fastdl.tensor([2.0], requires_grad=True)
    d = fastdl.tensor([3.0], dtype=fastdl.float64, requires_grad=True)
    (f * d).backward()
    assert f.grad.dtype is fastdl.float32
    assert d.grad.dtype is fastdl.float64
    assert (f.grad.item(), d.grad.item()) == (3, 2)


def test_grad_of_a_middle_tensor_runs_nothing_below_it():
    x = fastdl.ones(2, requires_grad=True)
    seen = []
    y = x * 2
    x.register_hook(lambda g: seen.append(g))
    (y * y).sum().backward()
    assert len(seen) == 1
    y = x * 2
    (g,) = fastdl.autograd.grad((y * y).sum(), y)
    assert g.tolist() == [4, 4]
    assert len(seen) == 1


# reads and writes of parts ----------------------------------------------------------------------------------------

PARTS = [  # of a (4, 6) tensor
    lambda y: y[1],
    lambda y: y[-1, 2],
    lambda y: y[1:3, ::2],
    lambda y: y[:, 4],
    lambda y: y[..., 1:, None],
    lambda y: y[2:2],
    lambda y: y.narrow(1, 2, 3),
    lambda y: y.select(1, 5),
    lambda y: y.diagonal(1),
    lambda y: y[1:][1:, 1],
    lambda y: y.T[3],
    lambda y: y[[0, 2]][:, 1:],
    lambda y: y.unfold(1, 3, 2),
]


@pytest.mark.parametrize("make", [lambda y: y, lambda y: y * 1, lambda y: (y * 1).T.contiguous().T, lambda y: y * y])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_gradients_of_parts_add_up(make, dtype):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(3).integers(-4, 5, (4, 6)) / 4

    def run(T, parts):
        x = T.tensor(values.tolist(), dtype=getattr(T, dtype), requires_grad=True)
        y = make(x)
        total = 0
        for number, part in enumerate(parts):
            total = total + (part(y) * (number + 1)).sum()
        (g,) = T.autograd.grad(total, x, retain_graph=True)
        total.backward(retain_graph=True)
        first = x.grad.clone()
        total.backward()
        assert (first == g).all() and (x.grad == 2 * first).all()
        return first.tolist()

    for parts in (PARTS, PARTS[::-1], [lambda y: y, *PARTS], [*PARTS, lambda y: y], *([p] for p in PARTS)):
        assert run(fastdl, parts) == run(torch, parts)


def test_a_gradient_that_others_see_is_not_added_to():
    x = fastdl.ones(3, requires_grad=True)
    y = x * 1
    g = fastdl.ones(3)
    kept = []
    y.register_hook(lambda grad: kept.append(grad))
    fastdl.autograd.backward([y, y[1]], [g, fastdl.tensor(5.0)])
    assert g.tolist() == [1, 1, 1] and x.grad.tolist() == kept[0].tolist() == [1, 6, 1]
    first, second = fastdl.autograd.grad([y * 1, y[0] * 1], [y, x], [g, fastdl.tensor(2.0)])
    assert g.tolist() == [1, 1, 1] and first.tolist() == second.tolist() == [3, 1, 1]


@on_both
def test_a_loop_of_reads_and_writes(T):
    x = T.arange(1.0, 7.0).reshape(3, 2).requires_grad_()
    steps = T.zeros(3, 2)
    steps[0] = x[0] * x[0]
    for t in range(1, 3):
        steps[t] = steps[t - 1] * 2 + x[t] * x[t - 1]
    steps[:, 1] += steps[:, 0]
    steps.retain_grad()
    steps.sum().backward(retain_graph=True)
    first = x.grad.clone()
    assert first.tolist() == [[46, 40], [16, 12], [6, 4]] and steps.grad.tolist() == [[1, 1]] * 3
    steps.sum().backward()
    assert x.grad.tolist() == (2 * first).tolist()


@pytest.mark.parametrize(
    "write",
    [
        lambda y, x: y[1].mul_(x[0]),
        lambda y, x: y[:, 1:3].exp_(),
        lambda y, x: y.T[1].copy_(x[:, 0]),
        lambda y, x: y[0].zero_(),
        lambda y, x: y[1:].add_(x[:1]).mul_(y[:1] * 1),
        lambda y, x: y.view(3, 2, 2)[:, 1].pow_(3),
        lambda y, x: y.diagonal().div_(x[0, :3] + 4),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_second_derivatives_of_writes_through_views(write, turned):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(5).standard_normal((3, 4))

    def run(T):
        x = T.tensor(values.tolist(), dtype=T.float64, requires_grad=True)
        y = x.sin() * x
        y = (y.T.contiguous().T if turned else y) * 1
        if turned and T is torch:
            y = y.contiguous()
        write(y, x)
        (g,) = T.autograd.grad((y * y * x).sum(), x, create_graph=True)
        (gg,) = T.autograd.grad((g * x.cos()).sum(), x)
        return [g.tolist(), gg.tolist()]

    np.testing.assert_allclose(run(fastdl), run(torch), rtol=1e-12, atol=1e-12)
