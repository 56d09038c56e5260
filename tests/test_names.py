"""Random layers, printed forms, settings and queries that have no numbers to compare with PyTorch's."""

import numpy as np
import pytest

import fastdl
from fastdl import amp, backends, cuda, distributions, jit, nn
from fastdl.nn import functional as F


def test_channel_dropout_drops_whole_channels():
    fastdl.manual_seed(1)
    x = fastdl.ones(40, 30, 2, 3)
    out = nn.Dropout2d(0.25)(x).numpy()
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.75)}
    assert (out == out[:, :, :1, :1]).all()
    assert abs((out == 0).mean() - 0.25) < 0.03
    rows = F.dropout1d(fastdl.ones(50, 7), 0.5).numpy()  # (C, L)
    assert (rows == rows[:, :1]).all() and 0 < (rows == 0).mean() < 1
    with pytest.raises(ValueError, match="between 0 and 1, but got 2"):
        F.dropout2d(x, 2)


def test_alpha_dropout_keeps_mean_and_variance():
    fastdl.manual_seed(2)
    out = nn.AlphaDropout(0.3)(fastdl.randn(400, 500))
    assert abs(out.mean().item()) < 0.01 and abs(out.std().item() - 1) < 0.01
    whole = nn.FeatureAlphaDropout(0.5)(fastdl.zeros(20, 30, 4)).numpy()
    assert (whole == whole[:, :, :1]).all() and len(np.unique(whole)) == 2


def test_gumbel_softmax_draws_in_proportion():
    fastdl.manual_seed(3)
    logits = fastdl.log(fastdl.tensor([0.1, 0.6, 0.3])).expand(20000, 3).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, 0.7, hard=True)
    np.testing.assert_allclose(hard.detach().mean(0).numpy(), [0.1, 0.6, 0.3], atol=0.015)
    np.testing.assert_allclose(hard.detach().sum(1).numpy(), 1, rtol=1e-6)
    hard[:, 0].sum().backward()
    assert np.abs(logits.grad.numpy()).max() > 0


def test_rrelu_slopes():
    fastdl.manual_seed(4)
    out = nn.RReLU(0.2, 0.4)(fastdl.full((1000,), -1.0)).numpy()
    assert -0.4 <= out.min() < -0.38 and -0.22 < out.max() <= -0.2


@pytest.mark.parametrize("make, mean, variance", [
    (lambda: distributions.Normal(1.5, 2.0), 1.5, 4.0),
    (lambda: distributions.Uniform(-1.0, 3.0), 1.0, 16 / 12),
    (lambda: distributions.Exponential(2.0), 0.5, 0.25),
    (lambda: distributions.Laplace(1.0, 0.5), 1.0, 0.5),
    (lambda: distributions.Bernoulli(0.3), 0.3, 0.21),
    (lambda: distributions.LogNormal(0.0, 0.25), np.exp(0.03125), np.expm1(0.0625) * np.exp(0.0625)),
])
def test_samples_have_the_moments_of_their_distribution(make, mean, variance):
    fastdl.manual_seed(5)
    d = make()
    drawn = d.sample((40000,))
    assert drawn.shape == (40000,) and not drawn.requires_grad
    assert abs(drawn.mean().item() - mean) < 0.03 * max(1, variance)
    assert abs(drawn.var().item() - variance) < 0.05 * variance
    assert abs(float(d.mean) - mean) < 1e-6 and abs(float(d.variance) - variance) < 1e-6


def test_samples_of_counts_and_classes():
    fastdl.manual_seed(6)
    p = fastdl.tensor([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4]])
    counts = distributions.multinomial.Multinomial(100, p).sample((300,))
    assert counts.shape == (300, 2, 3) and (counts.sum(-1) == 100).all()
    np.testing.assert_allclose(counts.mean(0).numpy(), p.numpy() * 100, atol=1.5)
    classes = distributions.Categorical(p).sample((5, 400))
    assert classes.shape == (5, 400, 2) and classes.dtype is fastdl.int64 and not (classes[..., 1] == 1).any()
    assert abs((classes[..., 0] == 2).float().mean().item() - 0.5) < 0.05
    assert distributions.OneHotCategorical(p).sample((4,)).sum(-1).tolist() == [[1.0, 1.0]] * 4


def test_rsample_has_a_gradient():
    loc, scale = fastdl.zeros(3, requires_grad=True), fastdl.ones(3, requires_grad=True)
    drawn = distributions.Normal(loc, scale).rsample((4,))
    drawn.sum().backward()
    assert loc.grad.tolist() == [4.0] * 3
    np.testing.assert_allclose(scale.grad.numpy(), drawn.detach().sum(0).numpy(), rtol=1e-5)


def test_distributions_check_their_arguments():
    with pytest.raises(ValueError, match="Expected parameter scale of distribution Normal to be positive"):
        distributions.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="not both"):
        distributions.Categorical(fastdl.ones(3), fastdl.ones(3))
    with pytest.raises(ValueError, match="within the support"):
        distributions.Exponential(1.0).log_prob(fastdl.tensor(-1.0))
    with pytest.raises(NotImplementedError, match="No KL"):
        distributions.kl_divergence(distributions.Normal(0.0, 1.0), distributions.Laplace(0.0, 1.0))
    assert repr(distributions.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"


def test_printed_forms():
    for module, text in [
        (nn.Bilinear(2, 3, 4), "Bilinear(in1_features=2, in2_features=3, out_features=4, bias=True)"),
        (nn.Upsample(scale_factor=2), "Upsample(scale_factor=2.0, mode='nearest')"),
        (nn.PixelShuffle(3), "PixelShuffle(upscale_factor=3)"),
        (nn.Dropout2d(0.2), "Dropout2d(p=0.2, inplace=False)"),
        (nn.InstanceNorm2d(3), "InstanceNorm2d(3, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False)"),
        (nn.TripletMarginLoss(), "TripletMarginLoss()"),
    ]:
        assert repr(module) == text


def test_instance_norm_moves_its_statistics():
    layer = nn.InstanceNorm1d(2, track_running_stats=True)
    x = fastdl.tensor([[[1.0, 3.0], [2.0, 2.0]], [[5.0, 5.0], [0.0, 4.0]]])
    layer(x)
    np.testing.assert_allclose(layer.running_mean.numpy(), [0.35, 0.2], rtol=1e-6)
    np.testing.assert_allclose(layer.running_var.numpy(), [0.9 + 0.1, 0.9 + 0.4], rtol=1e-6)


def test_there_is_no_gpu():
    assert not cuda.is_available() and cuda.device_count() == 0
    cuda.manual_seed_all(0)
    backends.cudnn.deterministic = True
    assert not backends.cudnn.is_available() and not backends.mps.is_available()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        scaler = amp.GradScaler()
    with amp.autocast("cpu", enabled=False):
        assert scaler.scale(fastdl.ones(1)).item() == 1
    with pytest.raises(NotImplementedError, match="enabled=False"):
        amp.autocast("cpu")
    assert jit.script(len) is len and not jit.is_scripting()


def test_parameters_as_one_row():
    a, b = nn.Linear(2, 3), nn.Linear(2, 3)
    row = nn.utils.parameters_to_vector(a.parameters())
    assert row.shape == (9,)
    nn.utils.vector_to_parameters(row.detach(), b.parameters())
    assert b.weight.tolist() == a.weight.tolist() and b.bias.tolist() == a.bias.tolist()
    with pytest.raises(RuntimeError, match="9 elements are too few"):
        nn.utils.vector_to_parameters(row.detach(), nn.Linear(3, 3).parameters())


def test_in_place_forms_refuse_what_they_cannot_hold():
    with pytest.raises(RuntimeError, match="can't be cast"):
        fastdl.tensor([1, 2]).sin_()
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        fastdl.ones(2).hypot_(fastdl.ones(3, 2))
    x = fastdl.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf"):
        x.sin_()


def test_queries():
    assert fastdl.typename(fastdl.ones(1)) == "torch.FloatTensor" and fastdl.typename(3) == "int"
    assert fastdl.numel(fastdl.ones(2, 3)) == 6 and fastdl.newaxis is None
    with pytest.raises(RuntimeError, match="ambiguous"):
        fastdl.is_nonzero(fastdl.ones(2))
