"""Losses: values and gradients stored from PyTorch 2.13, extremes, and what errors and warnings say."""

import math

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F

X = [[-1.5, 0.25, 2.0, 0.0], [0.5, -0.75, 3.0, -4.0]]
Y = [[0.0, 1.0, 0.5, 0.25], [1.0, 0.0, 1.0, 0.0]]
W = fastdl.tensor([1.0, 2.0, 0.5, 3.0])

STORED = [
    (
        'L1Loss()',
        [1.40625],
        [-0.125, -0.125, 0.125, -0.125, -0.125, -0.125, 0.125, -0.125],
    ),
    (
        'MSELoss()',
        [3.2421875],
        [-0.375, -0.1875, 0.375, -0.0625, -0.125, -0.1875, 0.5, -1.0],
    ),
    (
        'MSELoss(reduction="none")',
        [2.25, 0.5625, 2.25, 0.0625, 0.25, 0.5625, 4.0, 16.0],
        [-3.0, -1.5, 3.0, -0.5, -1.0, -1.5, 4.0, -8.0],
    ),
    (
        'SmoothL1Loss(beta=0.5)',
        [1.1640625],
        [-0.125, -0.125, 0.125, -0.0625, -0.125, -0.125, 0.125, -0.125],
    ),
    (
        'SmoothL1Loss(reduction="sum")',
        [7.71875],
        [-1.0, -0.75, 1.0, -0.25, -0.5, -0.75, 1.0, -1.0],
    ),
    (
        'HuberLoss(delta=2.0)',
        [1.3710938],
        [-0.1875, -0.09375, 0.1875, -0.03125, -0.0625, -0.09375, 0.25, -0.25],
    ),
    (
        'HuberLoss("none", 0.3)',
        [0.405, 0.18, 0.405, 0.03125, 0.105, 0.18, 0.555, 1.155],
        [-0.3, -0.3, 0.3, -0.25, -0.3, -0.3, 0.3, -0.3],
    ),
    (
        'KLDivLoss(reduction="batchmean")',
        [-2.7215736],
        [-0.0, -0.5, -0.25, -0.125, -0.5, -0.0, -0.5, -0.0],
    ),
    (
        'KLDivLoss(reduction="none", log_target=True)',
        [1.5, 2.0387114, -2.4730819, 0.3210064, 1.3591409, 0.75, -5.4365637, 4.0],
        [-1.0, -2.7182818, -1.6487213, -1.2840254, -2.7182818, -1.0, -2.7182818, -1.0],
    ),
    (
        'BCEWithLogitsLoss()',
        [0.4406391],
        [0.0228032, -0.0547279, 0.0475996, 0.03125, -0.0471926, 0.0401027, -0.0059282, 0.0022483],
    ),
    (
        'BCEWithLogitsLoss(weight=W, reduction="none")',
        [0.2014133, 1.1518788, 0.563464, 2.0794415, 0.474077, 0.773742, 0.0242937, 0.0544498],
        [0.1824255, -0.875647, 0.1903985, 0.75, -0.3775407, 0.6416426, -0.0237129, 0.0539586],
    ),
    (
        'BCEWithLogitsLoss(pos_weight=W)',
        [0.5489501],
        [0.0228032, -0.1094559, 0.0513247, 0.0, -0.0471926, 0.0401027, -0.0029641, 0.0022483],
    ),
    (
        'BCELoss()',
        [16.4388128],
        [-0.05, -0.5, 0.0, -0.0, -0.25, -0.0384615, -0.0416667, -31250000124.86884],
    ),
    (
        'BCELoss(weight=W, reduction="none")',
        [0.4700036, 5.5451774, 0.3465736, 75.0, 2.0794415, 0.4152787, 0.143841, 300.0],
        [-0.4, -8.0, 0.0, -0.0, -2.0, -0.6153846, -0.1666667, -750000002996.8522],
    ),
    (
        'NLLLoss()',
        [-1.25],
        [0.0, 0.0, -0.5, 0.0, -0.5, 0.0, 0.0, 0.0],
    ),
    (
        'NLLLoss(weight=W, reduction="sum")',
        [-1.5],
        [0.0, 0.0, -0.5, 0.0, -1.0, 0.0, 0.0, 0.0],
    ),
    (
        'NLLLoss(ignore_index=2)',
        [-0.5],
        [0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0],
    ),
    (
        'CrossEntropyLoss()',
        [1.4466836],
        [0.0112735, 0.0648746, -0.1266725, 0.0505244, -0.4629083, 0.0106269, 0.4518693, 0.0004121],
    ),
    (
        'CrossEntropyLoss(reduction="none")',
        [0.292152, 2.6012151],
        [0.022547, 0.1297492, -0.253345, 0.1010488, -0.9258166, 0.0212539, 0.9037386, 0.0008241],
    ),
    (
        'CrossEntropyLoss(weight=W)',
        [1.8315274],
        [0.0075157, 0.0432497, -0.0844483, 0.0336829, -0.6172111, 0.0141693, 0.6024924, 0.0005494],
    ),
    (
        'CrossEntropyLoss(ignore_index=0, label_smoothing=0.1)',
        [0.473402],
        [-0.002453, 0.1047492, -0.178345, 0.0760488, 0.0, 0.0, 0.0, 0.0],
    ),
]


def inputs(name, dtype):
    x = fastdl.tensor(X, dtype=dtype, requires_grad=True)
    classes = name.startswith(("NLL", "CrossEntropy"))
    target = fastdl.tensor([2, 0]) if classes else fastdl.tensor(Y, dtype=dtype)
    return x, (x.abs() / 4 if name.startswith("BCELoss") else x), target


@pytest.mark.filterwarnings("ignore:.kl_div. reduction='mean'")
@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64], ids=str)
@pytest.mark.parametrize(("name", "value", "gradient"), STORED, ids=[row[0] for row in STORED])
def test_value_and_gradient_equal_the_stored_ones(name, value, gradient, dtype):
    loss = eval("nn." + name, {"nn": nn, "W": W.to(dtype)})
    x, argument, target = inputs(name, dtype)
    out = loss(argument, target)
    out.sum().backward()
    assert out.dtype == dtype
    assert out.shape == (() if len(value) == 1 else (2,) if len(value) == 2 else (2, 4))
    np.testing.assert_allclose(out.detach().numpy().ravel(), value, rtol=3e-6, atol=1e-7)
    np.testing.assert_allclose(x.grad.numpy().ravel(), gradient, rtol=3e-6, atol=2e-7)


def test_logit_losses_do_not_overflow():
    x = fastdl.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    y = fastdl.tensor([1.0, 0.0, 0.5, 1.0, 0.0])
    for pos_weight in (None, fastdl.ones(5)):
        x.grad = None
        loss = F.binary_cross_entropy_with_logits(x, y, reduction="none", pos_weight=pos_weight)
        np.testing.assert_allclose(loss.detach().numpy(), [1e4, 3.72e-44, math.log(2), 0, 1e4], rtol=1e-6, atol=1e-43)
        loss.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), [-1, 0, 0, 0, 1], atol=1e-7)


def test_float64_logit_loss_is_precise_to_the_end():
    x = fastdl.tensor([-25.0, 25.0, -0.1], dtype=fastdl.float64)
    out = F.binary_cross_entropy_with_logits(x, fastdl.zeros(3, dtype=fastdl.float64), reduction="none")
    expected = [math.log1p(math.exp(v)) for v in (-25.0, 25.0, -0.1)]
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-13)
    np.testing.assert_allclose(F.logsigmoid(-x).numpy(), [-e for e in expected], rtol=1e-13)


def test_probability_loss_keeps_logarithms_above_minus_100():
    loss = nn.BCELoss(reduction="none")(fastdl.tensor([0.0, 1.0, 0.0, 1.0]), fastdl.tensor([1.0, 0.0, 0.0, 1.0]))
    assert loss.tolist() == [100, 100, 0, 0]
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(fastdl.tensor([1.5]), fastdl.tensor([1.0]))


def test_kl_divergence_of_targets_at_and_below_zero():
    with pytest.warns(UserWarning, match="batchmean"):
        F.kl_div(fastdl.zeros(2), fastdl.ones(2))
    out = F.kl_div(fastdl.zeros(3), fastdl.tensor([0.0, 1.0, -1.0]), reduction="none")
    assert out.tolist()[:2] == [0, 0] and math.isnan(out[2].item())


def test_empty_batch():
    x, y = fastdl.zeros(0, 3), fastdl.zeros(0, 3)
    for loss in (nn.MSELoss, nn.L1Loss, nn.BCEWithLogitsLoss):
        assert math.isnan(loss()(x, y).item()) and loss(reduction="sum")(x, y).item() == 0


def test_sizes_that_differ():
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss()):
        with pytest.warns(UserWarning, match=r"shape \(3,\) differs from the input's \(2, 3\)"):
            loss(fastdl.ones(2, 3), fastdl.ones(3))
    for loss in (nn.BCELoss(), nn.BCEWithLogitsLoss()):
        with pytest.raises(ValueError, match=r"expected the shape of input, \(2, 3\), got \(3,\)"):
            loss(fastdl.ones(2, 3), fastdl.ones(3))


def test_unknown_reduction_and_other_arguments():
    with pytest.raises(ValueError, match="average is not a valid value for reduction"):
        nn.MSELoss(reduction="average")(fastdl.ones(1), fastdl.ones(1))
    with pytest.raises(ValueError, match="delta: expected a positive number, got 0"):
        nn.HuberLoss(delta=0)(fastdl.ones(1), fastdl.ones(1))
    with pytest.raises(ValueError, match="beta: expected a number >= 0, got -1"):
        nn.SmoothL1Loss(beta=-1)(fastdl.ones(1), fastdl.ones(1))


def test_older_reduction_arguments():
    with pytest.warns(UserWarning, match="use reduction='sum' instead"):
        assert nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning):
        assert nn.CrossEntropyLoss(reduce=False).reduction == "none"


def test_weights_are_buffers_in_the_state_dict():
    assert list(nn.CrossEntropyLoss(weight=W).state_dict()) == ["weight"]
    assert list(nn.BCEWithLogitsLoss(pos_weight=W).state_dict()) == ["pos_weight"]
    assert list(nn.CrossEntropyLoss().state_dict()) == []


def test_loss_subclass_that_calls_its_parent_with_another_reduction():
    class MaskedLoss(nn.CrossEntropyLoss):
        def forward(self, pred, label, valid_len):
            self.reduction = "none"
            weights = (fastdl.arange(label.shape[1])[None, :] < valid_len[:, None]).float()
            unweighted = super().forward(pred.permute(0, 2, 1), label)
            return (unweighted * weights).mean(dim=1)

    out = MaskedLoss()(fastdl.ones(3, 4, 10), fastdl.ones((3, 4), dtype=fastdl.int64), fastdl.tensor([4, 2, 0]))
    np.testing.assert_allclose(out.numpy(), [2.302585, 1.1512925, 0], rtol=1e-6)
