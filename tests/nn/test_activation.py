"""Activations: values and gradients stored from PyTorch 2.13, printed forms, in-place forms."""

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F

X = [[-1.5, 0.25, 2.0, 0.0], [0.5, -0.75, 3.0, -4.0]]
UPSTREAM = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]

STORED = [
    (
        'ReLU()',
        [0.0, 0.25, 2.0, 0.0, 0.5, 0.0, 3.0, 0.0],
        [0.0, 2.0, 3.0, 0.0, 5.0, 0.0, 7.0, 0.0],
    ),
    (
        'LeakyReLU(0.2)',
        [-0.3, 0.25, 2.0, 0.0, 0.5, -0.15, 3.0, -0.8],
        [0.2, 2.0, 3.0, 0.8, 5.0, 1.2, 7.0, 1.6],
    ),
    (
        'ELU(0.5)',
        [-0.3884349, 0.25, 2.0, 0.0, 0.5, -0.2638167, 3.0, -0.4908422],
        [0.1115651, 2.0, 3.0, 2.0, 5.0, 1.4170997, 7.0, 0.0732626],
    ),
    (
        'SiLU()',
        [-0.2736383, 0.1405441, 1.7615942, 0.0, 0.3112297, -0.240616, 2.8577224, -0.0719448],
        [-0.0412942, 1.24742, 3.2723527, 2.0, 3.6998059, 0.9444003, 7.6167287, -0.4213169],
    ),
    (
        'Sigmoid()',
        [0.1824255, 0.5621765, 0.8807971, 0.5, 0.6224593, 0.3208213, 0.9525741, 0.0179862],
        [0.1491465, 0.4922682, 0.3149808, 1.0, 1.1750186, 1.30737, 0.3162366, 0.1413016],
    ),
    (
        'LogSigmoid()',
        [-1.7014133, -0.5759394, -0.126928, -0.6931472, -0.474077, -1.136871, -0.0485874, -4.0181499],
        [0.8175745, 0.875647, 0.3576088, 2.0, 1.8877033, 4.0750722, 0.3319811, 7.8561103],
    ),
    (
        'Tanh()',
        [-0.9051483, 0.2449187, 0.9640276, 0.0, 0.4621172, -0.635149, 0.9950548, -0.9993293],
        [0.1807066, 1.8800297, 0.2119525, 4.0, 3.9322387, 3.5795148, 0.0690623, 0.0107276],
    ),
    (
        'GELU()',
        [-0.1002108, 0.1496766, 1.9544997, 0.0, 0.3457312, -0.1699705, 2.9959503, -0.0001267],
        [-0.1274692, 1.3907467, 3.2556954, 2.0, 4.3374756, 0.0046457, 7.0836195, -0.0040292],
    ),
    (
        'GELU("tanh")',
        [-0.1004284, 0.1496754, 1.9545977, 0.0, 0.345714, -0.1700394, 2.9963626, -7.02e-05],
        [-0.1277108, 1.3907082, 3.2582978, 2.0, 4.3368495, 0.0063705, 7.0810892, -0.002681],
    ),
    (
        'Softplus()',
        [0.2014133, 0.8259394, 2.126928, 0.6931472, 0.974077, 0.386871, 3.0485874, 0.0181499],
        [0.1824255, 1.124353, 2.6423912, 2.0, 3.1122967, 1.9249278, 6.6680189, 0.1438897],
    ),
    (
        'Softplus(2.0, 3.0)',
        [0.0242937, 0.4870385, 2.0, 0.3465736, 0.6566308, 0.1007066, 3.0, 0.0001677],
        [0.0474259, 1.2449187, 3.0, 2.0, 3.6552929, 1.0945531, 7.0, 0.0026828],
    ),
    (
        'Softsign()',
        [-0.6, 0.2, 0.6666667, 0.0, 0.3333333, -0.4285714, 0.75, -0.8],
        [0.16, 1.28, 0.3333333, 4.0, 2.2222222, 1.9591837, 0.4375, 0.32],
    ),
    (
        'Tanhshrink()',
        [-0.5948517, 0.0050813, 1.0359724, 0.0, 0.0378828, -0.114851, 2.0049452, -3.0006707],
        [0.8192934, 0.1199703, 2.7880475, 0.0, 1.0677613, 2.4204852, 6.9309377, 7.9892724],
    ),
    (
        'Mish()',
        [-0.2980997, 0.1695724, 1.943959, 0.0, 0.3752452, -0.2764947, 2.986535, -0.0725917],
        [-0.0640978, 1.5083453, 3.2079538, 2.4, 4.4321219, 0.9644744, 7.1477484, -0.4301857],
    ),
    (
        'Hardtanh()',
        [-1.0, 0.25, 1.0, 0.0, 0.5, -0.75, 1.0, -1.0],
        [0.0, 2.0, 0.0, 4.0, 5.0, 6.0, 0.0, 0.0],
    ),
    (
        'Hardtanh(-0.5, 2.5)',
        [-0.5, 0.25, 2.0, 0.0, 0.5, -0.5, 2.5, -0.5],
        [0.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0],
    ),
    (
        'ReLU6()',
        [0.0, 0.25, 2.0, 0.0, 0.5, 0.0, 3.0, 0.0],
        [0.0, 2.0, 3.0, 0.0, 5.0, 0.0, 7.0, 0.0],
    ),
    (
        'PReLU()',
        [-0.375, 0.25, 2.0, 0.0, 0.5, -0.1875, 3.0, -1.0],
        [0.25, 2.0, 3.0, 1.0, 5.0, 1.5, 7.0, 2.0],
    ),
    (
        'PReLU(4)',
        [-0.375, 0.25, 2.0, 0.0, 0.5, -0.1875, 3.0, -1.0],
        [0.25, 2.0, 3.0, 1.0, 5.0, 1.5, 7.0, 2.0],
    ),
    (
        'Softmax(dim=1)',
        [0.022547, 0.1297492, 0.746655, 0.1010488, 0.0741834, 0.0212539, 0.9037386, 0.0008241],
        [-0.0434302, -0.1201744, 0.055099, 0.1085056, -0.1358449, -0.0176663, 0.152548, 0.0009632],
    ),
    (
        'LogSoftmax(dim=0)',
        [-2.126928, -0.3132617, -1.3132617, -0.0181499, -0.126928, -1.3132617, -0.3132617, -4.0181499],
        [0.2847825, -3.8484686, 0.3105858, -7.7841655, -0.2847825, 3.8484686, -0.3105858, 7.7841655],
    ),
    (
        'Softmin(dim=1)',
        [0.700721, 0.1217671, 0.0211599, 0.156352, 0.010572, 0.0368999, 0.0008678, 0.9516603],
        [0.4436565, -0.0446711, -0.0289226, -0.3700628, 0.0305913, 0.0698742, 0.0007755, -0.101241],
    ),
    (
        'Identity(3, a=4)',
        [-1.5, 0.25, 2.0, 0.0, 0.5, -0.75, 3.0, -4.0],
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    ),
]


@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64], ids=str)
@pytest.mark.parametrize(("name", "value", "gradient"), STORED, ids=[row[0] for row in STORED])
def test_value_and_gradient_equal_the_stored_ones(name, value, gradient, dtype):
    module = eval("nn." + name, {"nn": nn}).to(dtype)
    x = fastdl.tensor(X, dtype=dtype, requires_grad=True)
    out = module(x)
    (out * fastdl.tensor(UPSTREAM, dtype=dtype)).sum().backward()
    assert out.dtype == dtype
    np.testing.assert_allclose(out.detach().numpy().ravel(), value, rtol=3e-6, atol=2e-7)
    np.testing.assert_allclose(x.grad.numpy().ravel(), gradient, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU", "SiLU", "Mish", "Hardtanh", "ReLU6"])
def test_in_place_form_changes_its_argument(name):
    module = getattr(nn, name)(inplace=True)
    assert "inplace=True" in repr(module)
    x = fastdl.tensor(X)
    expected = getattr(nn, name)()(x).tolist()
    assert module(x) is x and x.tolist() == expected


def test_prelu_weight_gets_its_gradient():
    module = nn.PReLU(4, init=0.5)
    module(fastdl.tensor(X)).sum().backward()
    assert module.weight.grad.tolist() == [-1.5, -0.75, 0, -4]
    with pytest.raises(RuntimeError, match=r"\[prelu\] weight: expected 3 entries or 1, got shape \(4,\)"):
        module(fastdl.ones(2, 3))


def test_softmax_without_dim_warns():
    with pytest.warns(UserWarning, match=r"\[softmax\] implicit dimension"):
        out = F.softmax(fastdl.tensor(X))
    np.testing.assert_allclose(out.sum(1).numpy(), [1, 1], rtol=1e-6)


def test_printed_forms():
    for module, text in [
        (nn.ReLU(), "ReLU()"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.ELU(), "ELU(alpha=1.0)"),
        (nn.GELU(), "GELU(approximate='none')"),
        (nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
        (nn.Softmax(dim=1), "Softmax(dim=1)"),
        (nn.LogSoftmax(-1), "LogSoftmax(dim=-1)"),
        (nn.Hardtanh(), "Hardtanh(min_val=-1.0, max_val=1.0)"),
        (nn.ReLU6(), "ReLU6()"),
        (nn.PReLU(), "PReLU(num_parameters=1)"),
        (nn.Sigmoid(), "Sigmoid()"),
        (nn.Tanh(), "Tanh()"),
    ]:
        assert repr(module) == text


def test_hardtanh_limits_are_checked():
    with pytest.raises(ValueError, match="min_val should not exceed max_val, got 2 and 1"):
        nn.Hardtanh(2, 1)


@pytest.mark.parametrize("name, args", [
    ("relu", ()), ("leaky_relu", (0.2,)), ("elu", (0.7,)), ("selu", ()), ("celu", (1.3,)), ("hardtanh", (-0.5, 0.4)),
    ("threshold", (0.1, -3.0)),
])  # fmt: skip
def test_functions_in_place(name, args):
    x = fastdl.tensor([-2.0, -0.25, 0.0, 0.05, 0.3, 1.5])
    expected = getattr(F, name)(x, *args)
    assert getattr(F, f"{name}_")(x, *args) is x
    assert fastdl.equal(x, expected)
