"""Normalising layers: parameters, printing, second derivatives. The values are in tests/cases/norm.py."""

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F
from fastdl.ops.norm import add_layer_norm


def test_layer_norm_parameters():
    layer = nn.LayerNorm((3, 4))
    assert {k: v.shape for k, v in layer.state_dict().items()} == {"weight": (3, 4), "bias": (3, 4)}
    assert bool((layer.weight == 1).all()) and bool((layer.bias == 0).all())
    assert list(nn.LayerNorm(4, bias=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm(4, elementwise_affine=False).state_dict()) == []
    assert list(nn.RMSNorm(4).state_dict()) == ["weight"]
    assert nn.LayerNorm(4, dtype=fastdl.float64).weight.dtype is fastdl.float64


def test_printing():
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)"
    layer = nn.LayerNorm([3, 4], eps=0.5, bias=False)
    assert repr(layer) == "LayerNorm((3, 4), eps=0.5, elementwise_affine=True, bias=False)"
    assert repr(nn.RMSNorm(4)) == "RMSNorm((4,), eps=None, elementwise_affine=True)"


def test_layers_call_the_functions():
    x = fastdl.tensor(np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32))
    layer = nn.LayerNorm((3, 4), eps=0.1)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    np.testing.assert_array_equal(layer(x).detach(), F.layer_norm(x, (3, 4), layer.weight, layer.bias, 0.1).detach())
    layer = nn.RMSNorm(4)
    nn.init.normal_(layer.weight)
    eps = float(np.finfo(np.float32).eps)
    np.testing.assert_array_equal(layer(x).detach(), F.rms_norm(x, (4,), layer.weight, eps).detach())


FUNCTIONS = {
    "layer_norm": lambda x, w, b: F.layer_norm(x, (3, 2), w, b),
    "layer_norm_plain": lambda x, w, b: F.layer_norm(x, (3, 2)) * (w + b),
    "rms_norm": lambda x, w, b: F.rms_norm(x, (3, 2), w, 1e-3) + b,
    "add_layer_norm": lambda x, w, b: add_layer_norm(x, x.square(), (3, 2), w, b),
    "add_layer_norm_sum": lambda x, w, b: sum(add_layer_norm(x, x.square(), (3, 2), w, b, return_sum=True)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_second_derivatives(name):
    """Gradients of a squared gradient, against differences."""
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(4, 3, 2)), rng.normal(size=(3, 2)), rng.normal(size=(3, 2))]
    up = fastdl.tensor(rng.normal(size=(4, 3, 2)))

    def objective(values):
        inputs = [fastdl.tensor(v).requires_grad_() for v in values]
        grads = fastdl.autograd.grad(FUNCTIONS[name](*inputs), inputs, up, create_graph=True)
        return inputs, sum((g * g * (i + 1)).sum() for i, g in enumerate(grads))

    inputs, total = objective(arrays)
    total.backward()
    for i, x in enumerate(inputs):
        if x.grad is None:  # the gradients do not depend on the bias
            assert i == 2
            continue
        direction = rng.normal(size=arrays[i].shape)
        moved = [[*arrays[:i], arrays[i] + step * direction, *arrays[i + 1 :]] for step in (1e-6, -1e-6)]
        slope = (objective(moved[0])[1].item() - objective(moved[1])[1].item()) / 2e-6
        assert slope == pytest.approx(float((x.grad.numpy() * direction).sum()), rel=1e-6, abs=1e-6)


def test_float16():
    x = fastdl.tensor(np.random.default_rng(2).normal(size=(3, 5)), dtype=fastdl.float16)
    for out in (F.layer_norm(x, (5,)), F.rms_norm(x, (5,))):
        assert out.dtype is fastdl.float16
    wide = F.layer_norm(x.float(), (5,)).numpy()
    np.testing.assert_allclose(F.layer_norm(x, (5,)).numpy(), wide, rtol=1e-3, atol=1e-3)


def test_add_layer_norm_equals_the_two_steps():
    rng = np.random.default_rng(3)
    x, r = (fastdl.tensor(rng.normal(size=(70, 33)).astype(np.float32)) for _ in range(2))
    w, b = (fastdl.tensor(rng.normal(size=33).astype(np.float32)) for _ in range(2))
    both = add_layer_norm(x, r, (33,), w, b, 1e-3, return_sum=True)
    np.testing.assert_array_equal(both[1].numpy(), (x + r).numpy())
    expected = F.layer_norm(x + r, (33,), w, b, 1e-3).numpy()
    np.testing.assert_array_equal(both[0].numpy(), expected)
    np.testing.assert_array_equal(add_layer_norm(x, r, (33,), w, b, 1e-3).numpy(), expected)


def test_batch_norm_keeps_statistics():
    rng = np.random.default_rng(4)
    cumulative = nn.BatchNorm1d(3, momentum=None)
    for layer, shape in ((nn.BatchNorm1d(3), (7, 3)), (cumulative, (5, 3, 4)), (nn.BatchNorm2d(3), (4, 3, 2, 5))):
        mean, var = np.zeros(3), np.ones(3)
        axes = (0, *range(2, len(shape)))
        for i in range(3):
            x = rng.normal(size=shape) + 1
            out = layer(fastdl.tensor(x, dtype=fastdl.float32)).detach()
            step = 1 / (i + 1) if layer.momentum is None else layer.momentum
            mean = (1 - step) * mean + step * x.mean(axes)
            var = (1 - step) * var + step * x.var(axes, ddof=1)
            np.testing.assert_allclose(out.numpy().mean(axes), 0, atol=1e-6)
            np.testing.assert_allclose(out.numpy().var(axes), 1, atol=1e-4)
        np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer.running_var.numpy(), var, rtol=1e-5)
        assert layer.num_batches_tracked.item() == 3 and layer.num_batches_tracked.dtype is fastdl.int64
        layer.eval()
        expand = (slice(None), *[None] * (len(shape) - 2))
        expected = (x - mean[expand]) / np.sqrt(var[expand] + 1e-5)
        np.testing.assert_allclose(layer(fastdl.tensor(x, dtype=fastdl.float32)).detach().numpy(), expected, atol=1e-5)
        assert layer.num_batches_tracked.item() == 3
        layer.reset_running_stats()
        assert not layer.running_mean.numpy().any() and layer.num_batches_tracked.item() == 0


def test_batch_norm_state_and_printing():
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(nn.BatchNorm2d(3).state_dict()) == names
    plain = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not plain.state_dict()
    x = fastdl.tensor(np.random.default_rng(5).normal(size=(4, 3, 2, 2)))
    np.testing.assert_array_equal(plain.eval()(x).numpy(), plain.train()(x).numpy())
    text = "BatchNorm1d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
    assert repr(nn.BatchNorm1d(3)) == text
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"
    with pytest.raises(ValueError, match=r"expected 2D or 3D input \(got 4D input\)"):
        nn.BatchNorm1d(3)(x)
    with pytest.raises(ValueError, match="must be divisible"):
        nn.GroupNorm(3, 4)


def test_group_norm_layer():
    x = fastdl.tensor(np.random.default_rng(6).normal(size=(2, 4, 3)).astype(np.float32))
    layer = nn.GroupNorm(2, 4)
    nn.init.normal_(layer.weight)
    np.testing.assert_array_equal(layer(x).detach(), F.group_norm(x, 2, layer.weight, layer.bias).detach())


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 3, 4, 5)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_nothing(shape, training):
    norm = nn.BatchNorm1d(3) if len(shape) < 4 else nn.BatchNorm2d(3)
    norm.train(training)
    x = fastdl.zeros(shape, requires_grad=True)
    out = norm(x)
    out.sum().backward()
    assert out.shape == x.grad.shape == shape
    assert norm.weight.grad.tolist() == norm.bias.grad.tolist() == norm.running_mean.tolist() == [0, 0, 0]
