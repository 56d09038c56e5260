"""Calls written once for fastdl and PyTorch alike: values, types, shapes and gradients have to be the same.

`python tests/torch_calls.py`, with PyTorch installed, writes what it gets in float64 to tests/data/torch_calls.npz;
test_torch_calls.py compares. A call is an expression of `torch`, `F`, `nn`, `D` (distributions) and of the inputs
below; one that begins with "|" has no gradient.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "torch_calls.npz"

INPUTS = {
    "x": lambda g: g.standard_normal((3, 5)),
    "y": lambda g: g.standard_normal((3, 5)),
    "z": lambda g: g.standard_normal((3, 5)),
    "row": lambda g: g.standard_normal(5),
    "column": lambda g: g.standard_normal((3, 1)),
    "turned": lambda g: g.standard_normal((5, 3)).T,  # not contiguous
    "cube": lambda g: g.standard_normal((2, 3, 4)),
    "image": lambda g: g.standard_normal((2, 4, 5, 6)),
    "wide": lambda g: g.standard_normal((7, 5)),
    "long": lambda g: g.standard_normal((31, 6)),
    "long2": lambda g: g.standard_normal((28, 6)),
    "square": lambda g: g.standard_normal((4, 4)),
    "positive": lambda g: g.uniform(0.2, 3, (3, 5)),
    "part": lambda g: g.uniform(0.05, 0.95, (3, 5)),
    "weight": lambda g: g.uniform(0.2, 3, 5),
    "scalar": lambda g: g.standard_normal(()),
    "empty": lambda g: g.standard_normal((0, 5)),
    "holes": lambda g: np.where(g.random((3, 5)) < 0.3, np.nan, g.standard_normal((3, 5))),
    "special": lambda g: np.array([-np.inf, -1.5, -0.0, 0.0, 2.5, np.inf, np.nan]),
    "kernel": lambda g: g.standard_normal((4, 5, 3)),
    "other": lambda g: g.standard_normal((3, 3)),
    "frames": lambda g: g.standard_normal((9, 4, 5)),
    "signs": lambda g: g.choice([-1.0, 1.0], (3, 5)),
    "sign3": lambda g: g.choice([-1, 1], 3),
    "ids": lambda g: g.integers(0, 5, 3),
    "counts": lambda g: g.integers(0, 6, (3, 5)),
    "whole": lambda g: g.integers(-4, 5, (3, 5)),
    "mask": lambda g: g.random((3, 5)) < 0.5,
    "labels": lambda g: np.array([[1, 3, -1, 2, 0], [0, -1, 1, 1, 1], [4, 3, 2, 1, 0]]),
    "words": lambda g: np.array([[1, 2, 2], [3, 0, 0], [1, 1, 1], [4, 3, 0]]),
}
NO_GRADIENT = {"signs", "special", "holes"}

CALLS = {
    "distance": [
        "F.normalize(x)", "F.normalize(cube, 1, -1)", "F.normalize(turned, 3.0, 0)", "F.normalize(x * 0, dim=1)",
        "F.normalize(empty)", "F.normalize(row, dim=0)", "F.cosine_similarity(x, y)", "F.cosine_similarity(x, row, -1)",
        "F.cosine_similarity(x.unsqueeze(1), wide.unsqueeze(0), 2)", "F.cosine_similarity(row, x[0], 0)",
        "F.cosine_similarity(x, column)", "F.cosine_similarity(empty, empty)", "F.pairwise_distance(x, turned)",
        "F.pairwise_distance(x, row, 1.0, keepdim=True)", "F.pairwise_distance(x, y, float('inf'))",
        "torch.dist(x, row, 3)", "x.dist(y)", "torch.cdist(x, wide)", "torch.cdist(x, x)", "torch.cdist(x, wide, 1.0)",
        "torch.cdist(x, wide, 3.0)", "torch.cdist(x, wide, float('inf'))", "torch.cdist(long, long2)",
        "torch.cdist(cube, cube[0])", "torch.cdist(empty, x)", "F.pdist(wide)", "F.bilinear(x, other, kernel)",
        "F.bilinear(x, other, kernel, square[0])", "F.bilinear(row, other[0], kernel)",
        "nn.CosineSimilarity(0)(x, y)", "nn.PairwiseDistance(1.0)(x, y)", "F.bilinear(empty, other[:0], kernel)",
    ],
    "loss": [
        *(f"F.{call[:-1]}, reduction='{how}')" for how in ("none", "mean", "sum") for call in (
            "margin_ranking_loss(x, y, signs, 0.3)", "hinge_embedding_loss(x, signs, 0.8)",
            "cosine_embedding_loss(x, y, sign3, 0.1)", "triplet_margin_loss(x, y, z, 0.7)",
            "triplet_margin_loss(x, y, z, swap=True, p=1.0)", "multi_margin_loss(x, ids)",
            "multi_margin_loss(turned, ids, 2, 0.5, weight.detach())", "multilabel_margin_loss(x, labels)",
            "multilabel_soft_margin_loss(x, mask.to(x.dtype), weight)", "poisson_nll_loss(x, counts)",
            "poisson_nll_loss(x, counts, full=True)", "poisson_nll_loss(positive, counts, log_input=False)",
            "gaussian_nll_loss(x, y, positive)", "gaussian_nll_loss(x, y, positive[:, :1], full=True)",
            "gaussian_nll_loss(x, y, positive[:, 0])", "gaussian_nll_loss(x, y, 0.7)")),
        "F.cosine_embedding_loss(row, x[0], sign3[0])", "F.multi_margin_loss(row, ids[0])",
        "F.multilabel_margin_loss(row, labels[0])", "F.multilabel_soft_margin_loss(row, mask[0].to(x.dtype))",
        "F.triplet_margin_loss(row, x[0], y[0])", "F.hinge_embedding_loss(scalar, sign3[0])",
        "F.margin_ranking_loss(x, column, signs)", "F.margin_ranking_loss(empty, empty, empty, reduction='sum')",
        "F.multi_margin_loss(empty, ids[:0], reduction='none')", "F.margin_ranking_loss(x, y, sign3[:, None])",
        "nn.MarginRankingLoss(0.1)(x, y, signs)", "nn.HingeEmbeddingLoss()(x, signs)",
        "nn.CosineEmbeddingLoss(0.2)(x, y, sign3)", "nn.TripletMarginLoss(swap=True)(x, y, z)",
        "nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs().sum(-1))(x, y, z)",
        "nn.MultiMarginLoss(2, weight=weight.detach())(x, ids)", "nn.MultiLabelMarginLoss()(x, labels)",
        "nn.MultiLabelSoftMarginLoss()(x, mask.to(x.dtype))", "nn.PoissonNLLLoss(full=True)(x, counts)",
        "nn.GaussianNLLLoss(full=True)(x, y, positive)",
    ],
    "ctc": [
        *(f"F.ctc_loss(frames.log_softmax(2), words, (9, 7, 5, 9), (3, 1, 3, 2), reduction='{how}')"
          for how in ("none", "mean", "sum")),
        "F.ctc_loss(frames.log_softmax(2), words, (9, 7, 4, 9), (3, 0, 3, 2), reduction='none', zero_infinity=True)",
        "|F.ctc_loss(frames.log_softmax(2), words, (9, 7, 4, 9), (3, 0, 3, 2), reduction='none')",
        "F.ctc_loss(frames.log_softmax(2), words[:, :1], torch.tensor([9, 1, 5, 3]), torch.tensor([1, 1, 1, 0]), 2)",
        "F.ctc_loss(frames.log_softmax(2), torch.tensor([1, 2, 2, 3, 4, 3]), (9, 9, 9, 9), (3, 1, 0, 2))",
        "F.ctc_loss(frames[:, 0].log_softmax(1), words[0], torch.tensor(9), torch.tensor(3))",
        "F.ctc_loss(frames.log_softmax(2), words[:, :0], (9, 8, 7, 6), (0, 0, 0, 0))",
        "nn.CTCLoss(blank=2, zero_infinity=True)(frames.log_softmax(2), words + 0, (9, 7, 5, 9), (1, 1, 3, 2))",
    ],
    "elementary": [
        *(f"torch.{name}({x})" for name, x in (
            ("asinh", "x"), ("acosh", "positive + 1"), ("atanh", "part"), ("erfc", "x"), ("logit", "part"), ("sinc",
            "x"),
            ("deg2rad", "x"), ("rad2deg", "turned"), ("lgamma", "positive"), ("lgamma", "x"), ("arcsinh", "scalar"),
            ("absolute", "x"), ("negative", "empty"), ("sgn", "x"), ("fix", "x"), ("frac", "x"), ("positive", "x"))),
        *(f"|torch.{name}(special)" for name in (
            "asinh", "acosh", "atanh", "erfc", "sinc", "signbit", "isposinf", "isneginf", "isreal", "lgamma", "sgn")),
        *(f"|torch.{name}(whole)" for name in ("asinh", "sinc", "deg2rad", "signbit", "sgn", "lgamma", "logit",
        "erfc")),
        *(f"torch.{name}({a}, {b})" for name in ("hypot", "fmax", "fmin") for a, b in (
            ("x", "y"), ("x", "column"), ("turned", "row"))),
        *(f"torch.{name}(x, y)" for name in ("multiply", "subtract", "divide", "arctan2")),
        *(f"|torch.{name}(x, turned)" for name in ("greater", "greater_equal", "less", "less_equal", "not_equal")),
        "torch.hypot(x * 1e20, y * 1e20)", "torch.clip(x, -0.5, 0.5)",
        "torch.clip(x, max=row)",
        "torch.logit(x, 0.1)", "torch.copysign(x, -1.0)", "torch.copysign(x, y.detach())",
        "torch.copysign(turned, row.detach())", "|torch.copysign(special, -0.0)",
        "torch.ldexp(x, ids[:, None])",
        "|torch.fmax(holes, x)", "|torch.fmin(holes, x)", "|torch.heaviside(special, special[4])",
        "|torch.nextafter(x, y)", "|torch.gcd(whole, counts)", "|torch.lcm(whole, counts)", "|whole.gcd(ids[:, None])",
        "|torch.bitwise_left_shift(counts, 2)", "|torch.bitwise_right_shift(whole, counts)",
        "torch.float_power(positive, 1.5)", "|torch.float_power(counts, 2)", "|torch.heaviside(x, row)",
    ],
    "in place": [
        *(f"(x * 1).{call}" for call in (
            "sin_()", "cos_()", "floor_()", "ceil_()", "round_()", "trunc_()", "frac_()", "sign_()", "atan_()",
            "erf_()",
            "sinh_()", "cosh_()", "expm1_()", "clamp_min_(0.1)", "clamp_max_(row)", "clip_(-1, 1)",
            "addcmul_(y, row, value=2)", "addcdiv_(y, positive, value=-1)", "lerp_(y, 0.3)", "cumsum_(1)",
            "cumprod_(0)",
            "masked_fill_(mask, 2.0)", "copysign_(y.detach())", "hypot_(y)", "remainder_(0.7)", "fmod_(positive)",
            "tril_()",
            "triu_(1)", "renorm_(2, 0, 1.0)", "multiply_(y)", "subtract_(y, alpha=2)", "divide_(positive)",
            "absolute_()",
            "negative_()", "atan2_(y)", "fill_diagonal_(3.0)", "xlogy_(positive)")),
        "(positive * 1).rsqrt_()", "(positive * 1).log1p_()", "(positive * 1).log2_()", "|(part * 1).atanh_()",
        "|(x * 1).asinh_()",
        "|(x * 1).ge_(y)", "|(x * 1).eq_(0)", "|(x * 1).logical_not_()", "|(counts * 1).bitwise_and_(whole)",
        "|(counts * 1).floor_divide_(ids[:, None] + 1)", "|(mask ^ mask).logical_or_(mask)",
        "(square * 1).addmm_(square, square.T, beta=0.5)", "(row * 1).addmv_(wide.T, wide[:, 0])",
    ],
    "statistics": [
        "|torch.nanmean(holes)", "|torch.nanmean(holes, 1, True)", "torch.nanmean(x, (0, 1))",
        "|torch.nansum(holes, 0)",
        "|torch.nanmedian(holes)", "|torch.nanmedian(holes, 1)", "torch.nanmedian(wide, 0, True)",
        "torch.aminmax(x, dim=1)", "torch.aminmax(x)", "|torch.mode(counts)", "|torch.mode(counts, 0, True)",
        "torch.msort(wide)", "torch.logcumsumexp(x, 1)", "torch.logcumsumexp(turned * 50, 0)", "scalar.logcumsumexp(0)",
        "|torch.histc(x, 4)", "|torch.histc(x, 5, -1, 1)", "|torch.histc(empty)", "|torch.histc(torch.ones(3), 3)",
        "torch.cov(x)", "torch.cov(row)", "torch.cov(x, correction=0, fweights=torch.tensor([1, 2, 0, 3, 1]))",
        "torch.cov(x, aweights=weight.detach())", "torch.corrcoef(x)", "torch.corrcoef(row)",
        "torch.renorm(x, 1, 0, 2.0)",
        "torch.renorm(cube, 2, 1, 1.0)", "torch.trapezoid(x)", "torch.trapezoid(x, dx=0.3, dim=0)", "torch.trapz(x, y)",
        "torch.trapezoid(x, row)", "torch.cumulative_trapezoid(x, row)", "torch.cumulative_trapezoid(x, dim=0)",
        "torch.cross(other, square[:3, :3], dim=1)", "other.cross(square[:3, :3], 0)", "torch.inner(x, wide)",
        "torch.inner(cube, square)", "torch.inner(x, scalar)", "torch.chain_matmul(x, kernel[0], other)",
        "torch.kron(x, other)", "torch.kron(row, cube)", "torch.block_diag(x, scalar, row, empty)",
        "|torch.vander(row, 3)",
        "|torch.vander(row, increasing=True)", "torch.cartesian_prod(row, square[0], x[:, 1])",
        "torch.combinations(row)",
        "torch.combinations(row, 3, True)", "torch.atleast_1d(scalar, row)", "torch.atleast_2d(row)",
        "torch.atleast_3d(scalar)", "torch.atleast_3d(row, x, cube)", "torch.column_stack((x[:, 0], x, column))",
        "torch.dstack((x, y))", "torch.hsplit(image[0, 0], 2)", "torch.vsplit(square, (1, 3))", "torch.dsplit(cube, 2)",
        "row.hsplit((2,))", "torch.fliplr(x)", "torch.flipud(x)", *(f"torch.rot90(x, {k})" for k in range(-1, 4)),
        "torch.rot90(cube, 1, (1, 2))", "torch.diagflat(x, -1)", "torch.broadcast_tensors(row, column, scalar)",
        "torch.select_scatter(x, row, 0, 1)", "torch.slice_scatter(x, y[:, :2], 1, 1, 4, 2)",
        "torch.diagonal_scatter(square, row[:3], 1)", "|torch.tril_indices(3, 5, -1)", "|torch.triu_indices(4, 3, 1)",
        "|torch.unravel_index(counts, (2, 3))", "x.adjoint()", "cube.mH", "torch.ger(row, x[:, 0])",
        "torch.row_stack((x, y))",
        "|torch.can_cast(torch.float32, torch.int64)", "|torch.can_cast(torch.int64, torch.uint8)",
        "|torch.can_cast(torch.uint8, torch.bool)", "|torch.can_cast(torch.bool, torch.float64)",
        "|torch.is_nonzero(scalar)",
        "|torch.numel(cube)", "|torch.is_floating_point(counts)", "|x.is_cpu", "|x.get_device()", "|counts.is_signed()",
        "|x.is_same_size(turned)", "|torch.broadcast_shapes((3, 1), (5,), 1)",
        "|torch.zeros(7, 4).fill_diagonal_(2, True)[4]",
    ],
    "images": [
        *(f"F.interpolate({call})" for call in (
            "cube, 7", "cube, scale_factor=1.7", "image, (7, 4)", "image, scale_factor=(0.6, 2)",
            "image.unsqueeze(2), 3",
            "image, 9, mode='nearest-exact'", "cube, 9, mode='linear'", "cube, 3, mode='linear', align_corners=True",
            "image, (3, 11), mode='bilinear'", "image, scale_factor=2, mode='bilinear', align_corners=True",
            "image, scale_factor=1.3, mode='bilinear'",
            "image, scale_factor=1.3, mode='bilinear', recompute_scale_factor=True",
            "image, (9, 4), mode='bicubic'", "image, (9, 4), mode='bicubic', align_corners=True",
            "image, (3, 2), mode='area'",
            "image.unsqueeze(2), (2, 3, 8), mode='trilinear'", "cube, 1, mode='linear', align_corners=True")),
        "F.pixel_shuffle(image, 2)", "F.pixel_shuffle(image[0], 2)",
        "F.pixel_unshuffle(cube.unsqueeze(1)[..., :2, :], 2)",
        "F.channel_shuffle(image, 2)", "F.instance_norm(image)", "F.instance_norm(cube, weight=row[:3], bias=row[2:])",
        "nn.InstanceNorm2d(4, affine=True).to(image.dtype)(image)", "nn.InstanceNorm1d(3)(cube)",
        "nn.InstanceNorm1d(3)(other)",
        "nn.InstanceNorm2d(4, track_running_stats=True).to(image.dtype).eval()(image)",
        "nn.BatchNorm3d(4).to(image.dtype)(image.unsqueeze(2))",
        "nn.Upsample(scale_factor=2)(image)", "nn.UpsamplingBilinear2d(scale_factor=2)(image)",
        "nn.PixelShuffle(2)(image)",
        "nn.ChannelShuffle(2)(image)", "nn.Softmax2d()(image)", "nn.RReLU().eval()(x)", "F.rrelu(x, 0.2, 0.4)",
        "nn.Dropout2d(0.3).eval()(image)", "nn.AlphaDropout(0.3).eval()(x)", "F.dropout1d(cube, 1.0)",
    ],
    "distributions": [
        *(f"{d}.{what}" for d in (
            "D.Normal(x, positive)", "D.LogNormal(0.2, positive)", "D.Uniform(-positive, positive)",
            "D.Exponential(positive)",
            "D.Laplace(row, positive)", "D.Bernoulli(part)", "D.Bernoulli(logits=x)")
          for what in ("entropy()", "mean", "variance", "stddev")),
        "D.Normal(x, positive).log_prob(y)", "D.Normal(x, 1.5).cdf(row)", "D.LogNormal(x, positive).log_prob(part)",
        "D.Uniform(-positive - 3, positive + 3).log_prob(y)", "D.Uniform(-positive - 3, 4.0).cdf(y)",
        "D.Exponential(weight).log_prob(positive)", "D.Laplace(x, positive).log_prob(y)",
        "D.Laplace(x, positive).cdf(y)",
        "D.Bernoulli(part).log_prob(mask.to(x.dtype))", "D.Bernoulli(logits=row).log_prob(mask.to(x.dtype))",
        "D.Categorical(positive).log_prob(ids)", "D.Categorical(logits=x).log_prob(ids)",
        "D.Categorical(positive).entropy()",
        "D.Categorical(logits=x).entropy()", "D.Categorical(positive).log_prob(ids[:2, None])",
        "D.Categorical(weight).probs",
        "D.Categorical(weight).log_prob(counts.clamp(max=4))",
        "D.OneHotCategorical(positive).log_prob(F.one_hot(ids, 5))",
        "D.multinomial.Multinomial(7, positive).mean", "D.Multinomial(7, positive).variance",
        "D.Multinomial(6, weight).log_prob(torch.tensor([1.0, 0.0, 2.0, 3.0, 0.0]).to(weight.dtype))",
        "D.Multinomial(1, positive).entropy()",
        "D.Multinomial(4, logits=x).log_prob(torch.tensor([0.0, 1, 1, 2, 0]).to(x.dtype))",
        *(f"D.kl_divergence({p}, {q})" for p, q in (
            ("D.Normal(x, positive)", "D.Normal(y, 2.0)"), ("D.Categorical(positive)", "D.Categorical(logits=x)"),
            ("D.Bernoulli(part)", "D.Bernoulli(logits=x)"), ("D.Uniform(x, x + 1)", "D.Uniform(x - positive, x + 2)"),
            ("D.Exponential(positive)", "D.Exponential(weight)"), ("D.Laplace(x, positive)", "D.Laplace(y, 1.2)"))),
    ],
}


def run(torch, call, dtype):
    """A line on the types and shapes of outputs and gradients, and all their numbers in one row."""
    rng = np.random.default_rng(4)
    arrays = {name: make(rng) for name, make in INPUTS.items()}
    differentiable = not call.startswith("|")
    call = call.lstrip("|")
    used = {}
    for name, array in arrays.items():
        if re.search(rf"\b{name}\b(?!=)", call):
            if array.dtype.kind == "f":  # float32 holds them exactly: both types see the same numbers
                array = array.astype(np.float32)
            used[name] = torch.from_numpy(array) if array.ndim else torch.tensor(array)
            if array.dtype.kind == "f":
                used[name] = used[name].to(dtype).requires_grad_(differentiable and name not in NO_GRADIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = eval(call, {"torch": torch, "F": torch.nn.functional, "nn": torch.nn,
        "D": torch.distributions, **used})
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    outputs = [o if isinstance(o, torch.Tensor) else torch.tensor(o) for o in outputs]
    recorded = [o for o in outputs if o.requires_grad]
    if recorded:
        upstream = [torch.tensor(np.cos(np.arange(o.numel())).reshape(o.shape)).to(o.dtype) for o in recorded]
        torch.autograd.backward(recorded, upstream)
    gradients = [t.grad for t in used.values() if t.grad is not None]
    lines = [f"{str(o.dtype).removeprefix('torch.')}{list(o.shape)}" for o in [*outputs, *gradients]]
    numbers = [o.detach().numpy(force=True).astype(np.float64).reshape(-1) for o in [*outputs, *gradients]]
    return " ".join(lines), np.concatenate(numbers)


if __name__ == "__main__":
    import torch

    found = {}
    for call in [call for calls in CALLS.values() for call in calls]:
        try:
            line, numbers = run(torch, call, torch.float64)
            found[call] = (f"{run(torch, call, torch.float32)[0]}; {line}", numbers)
        except Exception as error:
            sys.stdout.write(f"{call}: {error}\n")
    np.savez_compressed(
        FILE,
        keys=np.array(list(found)),
        lines=np.array([line for line, _ in found.values()]),
        sizes=np.array([numbers.size for _, numbers in found.values()]),
        numbers=np.concatenate([numbers for _, numbers in found.values()]),
    )
    sys.stdout.write(f"{FILE} written, torch {torch.__version__}\n")
