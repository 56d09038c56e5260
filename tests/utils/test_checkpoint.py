"""checkpoint: the results and gradients of the plain call, with less kept."""

import pytest

import fastdl
import fastdl.nn.functional as F
from fastdl import nn
from fastdl.utils.checkpoint import checkpoint, checkpoint_sequential


def block() -> nn.Sequential:
    fastdl.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Dropout(0.3), nn.Linear(7, 3), nn.Sigmoid())


@pytest.mark.parametrize("wants", [True, False])
def test_same_bits_as_the_plain_call(wants):
    results = []
    for run in (lambda net, x: net(x), lambda net, x: checkpoint(net, x, use_reentrant=False)):
        net = block()
        fastdl.manual_seed(1)
        x = fastdl.rand(4, 5).requires_grad_(wants)
        out = run(net, x)
        after = fastdl.rand(2)
        (out**2).sum().backward()
        results.append([out, after, fastdl.rand(2), *[p.grad for p in net.parameters()], *([x.grad] if wants else [])])
    for plain, again in zip(*results):
        assert fastdl.equal(plain, again)


def test_several_arguments_outputs_and_keywords():
    a, b = fastdl.tensor([1.0, 2.0], requires_grad=True), fastdl.tensor([3.0, 5.0], requires_grad=True)
    calls = []

    def function(x, factor, y, *, power):
        calls.append(fastdl.is_grad_enabled())
        return x * y * factor, y**power

    p, q = checkpoint(function, a, 3, b, power=2)
    (p.sum() + 2 * q.sum()).backward()
    assert a.grad.tolist() == [9, 15] and b.grad.tolist() == [3 + 12, 6 + 20]
    assert calls == [False, True]


def test_nested_and_in_a_chain():
    w = fastdl.tensor([0.5, -1.5], requires_grad=True)
    f = lambda x: checkpoint(lambda y: F.gelu(y * w), x) * w  # noqa: E731
    x = fastdl.tensor([1.0, 2.0], requires_grad=True)
    checkpoint(f, checkpoint(f, x).exp()).sum().backward()
    found = (w.grad, x.grad)
    w.grad = x.grad = None
    g = lambda x: F.gelu(x * w) * w  # noqa: E731
    g(g(x).exp()).sum().backward()
    assert all(fastdl.allclose(a, b, 1e-6) for a, b in zip(found, (w.grad, x.grad)))


def test_sequential_and_without_gradients():
    net = block().eval()
    x = fastdl.rand(4, 5)
    assert fastdl.equal(checkpoint_sequential(net, 2, x), net(x))
    with fastdl.no_grad():
        assert not checkpoint(net, x).requires_grad
