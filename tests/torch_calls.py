"""Calls written once for fastdl and PyTorch alike: values, types, shapes and gradients have to be the same.

`python tests/torch_calls.py`, with PyTorch installed, writes what it gets in float64 to tests/data/torch_calls.npz;
test_torch_calls.py compares. A call is an expression of `torch`, `F`, `nn` and of the inputs that `inputs` makes; one
that begins with "|" has no gradient.
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
NO_GRADIENT = {"signs", "special"}

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
        result = eval(call, {"torch": torch, "F": torch.nn.functional, "nn": torch.nn, **used})
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    outputs = [o if isinstance(o, torch.Tensor) else torch.tensor(o) for o in outputs]
    recorded = [o for o in outputs if o.requires_grad]
    if recorded:
        upstream = [torch.tensor(np.cos(np.arange(o.numel())).reshape(o.shape)).to(o.dtype) for o in recorded]
        torch.autograd.backward(recorded, upstream)
    gradients = [t.grad for t in used.values() if t.grad is not None]
    lines = [f"{str(o.dtype).replace(str(dtype), 'real')}{list(o.shape)}" for o in [*outputs, *gradients]]
    numbers = [o.detach().numpy().astype(np.float64).reshape(-1) for o in [*outputs, *gradients]]
    return " ".join(lines), np.concatenate(numbers)


if __name__ == "__main__":
    import torch

    found = {}
    for call in [call for calls in CALLS.values() for call in calls]:
        try:
            found[call] = run(torch, call, torch.float64)
        except Exception as error:
            sys.exit(f"{call}: {error}")
    np.savez_compressed(
        FILE,
        keys=np.array(list(found)),
        lines=np.array([line for line, _ in found.values()]),
        sizes=np.array([numbers.size for _, numbers in found.values()]),
        numbers=np.concatenate([numbers for _, numbers in found.values()]),
    )
    sys.stdout.write(f"{FILE} written, torch {torch.__version__}\n")
