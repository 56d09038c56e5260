"""Convolution, pooling and padding layers, and chains: parameters, printed forms, derivatives, PyTorch's values."""

import math

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def tensor(*shape, seed=0, grad=True):
    return fastdl.tensor(normal(*shape, seed=seed), requires_grad=grad)


LAYERS = [
    (lambda n: n.Conv2d(6, 9, 3), (2, 6, 7, 8)),
    (lambda n: n.Conv2d(6, 9, (3, 2), (2, 1), padding=(1, 0), dilation=(1, 2), groups=3, bias=False), (2, 6, 7, 8)),
    (lambda n: n.Conv2d(6, 9, 4, padding="same", padding_mode="reflect"), (2, 6, 7, 8)),
    (lambda n: n.Conv2d(6, 9, 3, padding=(2, 1), padding_mode="circular"), (6, 7, 8)),
    (lambda n: n.Conv2d(6, 9, 3, padding="valid", padding_mode="replicate"), (2, 6, 7, 8)),
    (lambda n: n.Conv1d(6, 9, 3, stride=2, padding=1), (2, 6, 11)),
    (lambda n: n.Conv1d(6, 9, 4, padding="same"), (6, 11)),
    (lambda n: n.ConvTranspose2d(6, 9, 3, stride=2, padding=1, output_padding=1), (2, 6, 4, 5)),
    (lambda n: n.ConvTranspose2d(6, 9, (2, 3), groups=3, dilation=2, bias=False), (6, 4, 5)),
    (lambda n: n.ConvTranspose1d(6, 9, 3, stride=3), (2, 6, 5)),
    (lambda n: n.MaxPool2d(2), (2, 3, 6, 9)),
    (lambda n: n.MaxPool2d((3, 2), stride=(2, 1), padding=1, dilation=(1, 2), ceil_mode=True), (3, 6, 9)),
    (lambda n: n.MaxPool1d(3, stride=2), (2, 3, 10)),
    (lambda n: n.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 3, 6, 9)),
    (lambda n: n.AvgPool2d((2, 3), ceil_mode=True, divisor_override=5), (2, 3, 6, 9)),
    (lambda n: n.AvgPool1d(2, padding=1), (2, 3, 9)),
    (lambda n: n.AdaptiveAvgPool2d((None, 4)), (2, 3, 6, 9)),
    (lambda n: n.AdaptiveAvgPool2d(1), (2, 3, 6, 9)),
    (lambda n: n.AdaptiveAvgPool1d(4), (2, 3, 9)),
    (lambda n: n.AdaptiveMaxPool2d((None, 4)), (2, 3, 6, 9)),
    (lambda n: n.AdaptiveMaxPool2d(2), (3, 5, 9)),
    (lambda n: n.AdaptiveMaxPool1d(4), (2, 3, 9)),
    (lambda n: n.Unfold((2, 3), padding=1, stride=2), (2, 3, 6, 9)),
    (lambda n: n.Fold((4, 5), 2), (2, 8, 12)),
    (lambda n: n.ZeroPad2d((1, 2, -1, 3)), (2, 3, 4, 5)),
    (lambda n: n.ConstantPad2d(2, 1.5), (2, 3, 4, 5)),
    (lambda n: n.ConstantPad1d((1, 3), -2.0), (2, 3, 4)),
    (lambda n: n.ZeroPad1d(1), (2, 3, 4)),
    (lambda n: n.ReflectionPad2d((1, 2, 3, 0)), (2, 3, 4, 5)),
    (lambda n: n.ReflectionPad1d(2), (2, 3, 4)),
    (lambda n: n.ReplicationPad2d(1), (2, 3, 4, 5)),
    (lambda n: n.ReplicationPad1d((0, 2)), (3, 4)),
]
IDS = [repr(make(nn)) for make, _ in LAYERS]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=IDS)
def test_layer_equals_pytorchs(make, shape):
    torch = pytest.importorskip("torch")
    ours, theirs = make(nn).double(), make(torch.nn).double()
    assert repr(ours) == repr(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict({k: fastdl.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x, tx = tensor(*shape), torch.tensor(normal(*shape), requires_grad=True)
    y, ty = ours(x), theirs(tx)
    assert tuple(y.shape) == tuple(ty.shape)
    upstream = normal(*y.shape, seed=1)
    y.backward(fastdl.tensor(upstream))
    ty.backward(torch.tensor(upstream))
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-11, atol=1e-12)
    for ours_p, theirs_p in zip(ours.parameters(), theirs.parameters()):
        np.testing.assert_allclose(ours_p.grad.numpy(), theirs_p.grad.numpy(), rtol=1e-11, atol=1e-11)


def test_initial_values():
    fastdl.manual_seed(0)
    layer = nn.Conv2d(16, 100, 3, groups=2)
    bound = 1 / math.sqrt(8 * 9)
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert 0.95 * bound < np.abs(values).max() <= bound and abs(values.mean()) < bound / 5
    again = layer.weight.tolist()
    fastdl.manual_seed(0)
    assert nn.Conv2d(16, 100, 3, groups=2).weight.tolist() == again
    assert nn.Conv1d(2, 3, 4, dtype=fastdl.float64).weight.dtype == fastdl.float64


def test_arguments_of_layers_are_checked():
    with pytest.raises(ValueError, match="divisible by groups 4"):
        nn.Conv2d(6, 8, 3, groups=4)
    with pytest.raises(ValueError, match="Invalid padding string 'full'"):
        nn.Conv2d(6, 8, 3, padding="full")
    with pytest.raises(ValueError, match="strided convolutions"):
        nn.Conv2d(6, 8, 3, stride=2, padding="same")
    with pytest.raises(ValueError, match="padding_mode must be one of"):
        nn.Conv2d(6, 8, 3, padding_mode="mirror")
    with pytest.raises(RuntimeError, match=r"expected 6 channels .* got 5"):
        nn.Conv2d(6, 8, 3)(fastdl.ones(1, 5, 9, 9))


def test_transposed_convolution_to_a_given_size():
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    assert layer(fastdl.ones(1, 2, 5, 6)).shape == (1, 3, 9, 11)
    assert layer(fastdl.ones(1, 2, 5, 6), output_size=(10, 11)).shape == (1, 3, 10, 11)
    with pytest.raises(ValueError, match="output_size"):
        layer(fastdl.ones(1, 2, 5, 6), output_size=(12, 11))


def by_columns(x, w, b, stride, padding, dilation):
    """The same convolution of operators that have their own derivatives."""
    columns = F.unfold(x, tuple(w.shape[2:]), dilation, padding, stride)
    size = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[2:], w.shape[2:])]
    return (w.reshape(w.shape[0], -1) @ columns + b.reshape(-1, 1)).reshape(x.shape[0], w.shape[0], *size)


@pytest.mark.parametrize("options", [(1, 0, 1), (2, 1, 1), (1, 2, 2)], ids=str)
def test_second_derivatives_of_convolution(options):
    found = []
    for function in (F.conv2d, by_columns):
        x, w, b = tensor(2, 3, 6, 7), tensor(4, 3, 3, 2), tensor(4)
        y = function(x, w, b, *options)
        first = fastdl.autograd.grad((y * y * y).sum(), (x, w, b), create_graph=True)
        total = sum((g * fastdl.tensor(normal(*g.shape, seed=5))).sum() for g in first)
        second = fastdl.autograd.grad(total, (x, w, b), create_graph=True)
        third = fastdl.autograd.grad(sum((g * g).sum() for g in second), (x, w))
        found.append([t.detach().numpy() for t in (*first, *second, *third)])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


POOLS = [
    lambda x: F.max_pool2d(x, 2),
    lambda x: F.max_pool2d(x, 3, 2, 1),
    lambda x: F.avg_pool2d(x, 3, 2, 1),
    lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    lambda x: F.pad(x, (1, 2, -1, 0)),
    lambda x: F.pad(x, (1, 2), "reflect").reshape(2, 3, -1) if x.dim() == 3 else F.pad(x, (1, 2, 1, 1), "reflect"),
    lambda x: F.unfold(x, 2),
]


@pytest.mark.parametrize("pool", range(len(POOLS)))
def test_second_derivatives_of_pooling(pool):
    """Against differences of the first ones."""
    function, x = POOLS[pool], normal(2, 3, 6, 7)
    weights = normal(*function(fastdl.tensor(x)).shape, seed=3)
    direction, along = normal(*x.shape, seed=4), normal(*x.shape, seed=5)

    def slope(values):
        t = fastdl.tensor(values, requires_grad=True)
        y = function(t)
        (g,) = fastdl.autograd.grad((y * y * y * fastdl.tensor(weights)).sum(), t, create_graph=True)
        return t, (g * fastdl.tensor(direction)).sum()

    t, value = slope(x)
    (second,) = fastdl.autograd.grad(value, t)
    h = 1e-6
    expected = (slope(x + h * along)[1].item() - slope(x - h * along)[1].item()) / (2 * h)
    assert (second.numpy() * along).sum() == pytest.approx(expected, rel=1e-6)


def test_indices_of_maxima_and_what_counts_as_largest():
    nan, inf = float("nan"), float("inf")
    x = fastdl.tensor([[[1.0, 5.0, 5.0, nan], [nan, 2.0, 3.0, -inf], [-inf] * 4, [-inf] * 4]], requires_grad=True)
    values, index = F.max_pool2d(x, 2, return_indices=True)
    assert index.dtype == fastdl.int64 and index.tolist() == [[[4, 3], [8, 10]]]
    np.testing.assert_array_equal(values.detach().numpy(), [[[nan, nan], [-inf, -inf]]])
    values.backward(fastdl.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    assert x.grad.nonzero().tolist() == [[0, 0, 3], [0, 1, 0], [0, 2, 0], [0, 2, 2]]
    _, first = F.max_pool2d(fastdl.ones(1, 1, 4, 4), 2, return_indices=True)
    assert first.flatten().tolist() == [0, 2, 8, 10]


def test_frozen_parameters_and_inputs():
    x, w, b = tensor(2, 3, 5, 5), tensor(4, 3, 3, 3, grad=False), tensor(4)
    F.conv2d(x, w, b).sum().backward()
    np.testing.assert_allclose(b.grad.numpy(), [18] * 4)
    assert w.grad is None and x.grad is not None
    x, w = tensor(2, 3, 5, 5, grad=False), tensor(4, 3, 3, 3)
    F.conv2d(x, w).sum().backward()
    assert w.grad.shape == (4, 3, 3, 3)


def test_no_channels_and_no_images():
    x, w = fastdl.ones(2, 0, 5, 5, requires_grad=True), fastdl.ones(3, 0, 3, 3, requires_grad=True)
    b = fastdl.tensor([1.5, -2.0, 0.25], requires_grad=True)
    y = F.conv2d(x, w, b)
    assert y.shape == (2, 3, 3, 3) and (y == b.reshape(3, 1, 1)).all()
    y.sum().backward()
    assert x.grad.shape == x.shape and w.grad.shape == w.shape and b.grad.tolist() == [18] * 3
    w = fastdl.ones(3, 2, 3, 3, requires_grad=True)
    F.conv2d(fastdl.ones(0, 2, 5, 5), w).sum().backward()
    assert not w.grad.any()
    with pytest.raises(RuntimeError, match="Only zero batch or zero channel inputs are supported"):
        F.conv2d(fastdl.ones(1, 2, 0, 3), w, padding=3)


def test_strides_with_padding_valid_and_beyond_the_input():
    fastdl.manual_seed(0)
    x, w = fastdl.randn(2, 3, 9, 7), fastdl.randn(4, 3, 3, 2)
    assert fastdl.equal(F.conv2d(x, w, stride=(2, 3), padding="valid"), F.conv2d(x, w)[..., ::2, ::3])
    row, taps = x[:, :, 0], w[..., 0]
    assert fastdl.equal(F.conv1d(row, taps, stride=4, padding="valid"), F.conv1d(row, taps)[..., ::4])
    x.requires_grad_(), w.requires_grad_()
    found = []
    for stride in (11, 2**31 - 1):  # one step would leave the input
        y = F.conv2d(x, w, stride=stride, padding=1)
        found.append([y, *fastdl.autograd.grad((y * y).sum(), [x, w])])
    assert all(fastdl.equal(a, b) for a, b in zip(*found, strict=True)) and found[0][0].shape == (2, 4, 1, 1)
    assert F.conv1d(fastdl.ones(2, 0, 4), fastdl.ones(1, 0, 2), stride=2**31 - 1, padding=1).shape == (2, 1, 1)


def test_operands_that_are_not_contiguous():
    x, w = normal(2, 6, 5, 3), normal(3, 4, 2, 3)
    ours = F.conv2d(fastdl.tensor(x).permute(0, 3, 2, 1), fastdl.tensor(w).permute(1, 0, 2, 3))
    copied = F.conv2d(fastdl.tensor(x.transpose(0, 3, 2, 1).copy()), fastdl.tensor(w.transpose(1, 0, 2, 3).copy()))
    np.testing.assert_array_equal(ours.numpy(), copied.numpy())


def test_nan_and_infinity_go_where_the_kernel_reaches():
    x = normal(1, 2, 9, 9)
    x[0, 1, 4, 4] = np.inf
    y = F.conv2d(fastdl.tensor(x), fastdl.tensor(np.abs(normal(3, 2, 3, 3))), padding=1).numpy()
    assert np.isinf(y[:, :, 3:6, 3:6]).all() and np.isinf(y).sum() == 27
    w, g = tensor(3, 2, 3, 3), np.ones((1, 3, 7, 7))
    F.conv2d(fastdl.tensor(np.where(np.isinf(x), 1, x)), w).backward(fastdl.tensor(g))
    assert np.isfinite(w.grad.numpy()).all()
    corner = normal(1, 1, 5, 5)
    corner[0, 0, 0, 4] = np.nan
    w = tensor(1, 1, 2, 2)
    F.conv2d(fastdl.tensor(corner), w).sum().backward()
    assert np.isnan(w.grad.numpy()).tolist() == [[[[False, True], [False, False]]]]


@pytest.mark.parametrize("loss", ["mse_loss", "huber_loss", "binary_cross_entropy_with_logits", "soft_margin_loss"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_second_derivatives_of_chains(loss, reduction):
    torch = pytest.importorskip("torch")
    x, t = normal(5, 7), np.random.default_rng(1).random((5, 7))
    found = []
    for lib, functions, grad in ((fastdl, F, fastdl.autograd.grad), (torch, torch.nn.functional, torch.autograd.grad)):
        a, b = lib.tensor(x, requires_grad=True), lib.tensor(t)
        y = getattr(functions, loss)(a * a, b, reduction=reduction)
        (g,) = grad((y * y).sum(), a, create_graph=True)
        (h,) = grad((g * g).sum(), a)
        found.append((g.detach().numpy(), h.numpy()))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


ACTIVATIONS = ["mish", "hardswish", "selu", "celu", "logsigmoid", "softsign", "tanhshrink", "softshrink", "hardshrink",
               "hardtanh", "relu6"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_chains_equal_pytorch_with_second_derivatives(name):
    torch = pytest.importorskip("torch")
    x = np.concatenate([normal(60) * 3, [0.0, 1.0, -1.0, 3.0, -3.0, 6.0]])
    found = []
    for lib, functions, grad in ((fastdl, F, fastdl.autograd.grad), (torch, torch.nn.functional, torch.autograd.grad)):
        a = lib.tensor(x, requires_grad=True)
        y = getattr(functions, name)(a)
        (g,) = grad((y * y).sum(), a, create_graph=True)
        (h,) = grad(g.sum(), a)
        found.append((y.detach().numpy(), g.detach().numpy(), h.numpy()))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_losses_of_broadcast_and_mixed_operands():
    x, t = tensor(3, 4), fastdl.tensor(normal(4, seed=2), dtype=fastdl.float32)
    with pytest.warns(UserWarning, match="differs"):
        loss = F.mse_loss(x, t)
    assert loss.dtype == fastdl.float64
    loss.backward()
    d = x.detach().numpy() - t.numpy()
    np.testing.assert_allclose([loss.item()], [(d * d).mean()], rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), 2 * d / 12, rtol=1e-12)
    column, row = tensor(3, 1), tensor(1, 4, seed=3)
    with pytest.warns(UserWarning, match="differs"):
        F.l1_loss(column, row, reduction="sum").backward()
    sign = np.sign(column.detach().numpy() - row.detach().numpy())
    np.testing.assert_allclose(column.grad.numpy(), sign.sum(1, keepdims=True))
    np.testing.assert_allclose(row.grad.numpy(), -sign.sum(0, keepdims=True))
    whole = fastdl.tensor([1, 2, 3])
    assert F.mse_loss(fastdl.ones(3), whole).item() == pytest.approx(5 / 3)
    assert F.mish(fastdl.ones(3, dtype=fastdl.float16)).dtype == fastdl.float16


def test_a_reduced_loss_can_be_gone_through_twice_and_scaled():
    x, t = tensor(5, 6), tensor(5, 6, seed=1, grad=False)
    loss = F.mse_loss(x, t)
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    (loss * 3).backward(retain_graph=True)
    np.testing.assert_allclose(x.grad.numpy(), 4 * once, rtol=1e-12)
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 5 * once, rtol=1e-12)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_view_of_an_output_is_trained_through():
    x = tensor(2, 4, 6, 6)
    y = F.max_pool2d(F.conv2d(x, tensor(3, 4, 3, 3, seed=1)), 2).flatten(1)
    y.sum().backward()
    assert x.grad.shape == (2, 4, 6, 6)


def test_adaptive_maxima_say_where_they_stand():
    x = fastdl.tensor([[[1.0, 5, 2, 5, 0], [7, 7, 3, 1, float("nan")]]])
    values, places = F.adaptive_max_pool2d(x, (2, 2), return_indices=True)
    assert values[0, 0].tolist() == [5, 5] and values[0, 1, 0].item() == 7 and values[0, 1, 1].isnan()
    assert places.tolist() == [[[1, 3], [5, 9]]] and places.dtype == fastdl.int64
    assert F.adaptive_max_pool1d(x, 1, True)[1].tolist() == [[[1], [4]]]
