"""Losses of margins, rankings and distributions, composed of other operators.

All take `reduction` "mean", "sum" or "none" and the older size_average and reduce.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._tensor import Tensor, from_numpy
from .distance import pairwise_distance
from .elementwise import eq, exp, log, minimum, ne, softplus, sqrt, where
from .indexing import gather
from .reduce import mean, sum
from .reduction import reduction_of

Flag = bool | None


def _reduced(loss: Tensor, reduction: str, size_average: Flag = None, reduce: Flag = None) -> Tensor:
    reduction = reduction_of("loss", reduction, size_average, reduce)
    return mean(loss) if reduction == "mean" else sum(loss) if reduction == "sum" else loss


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)): a target of 1 wants input1 to be larger, -1 input2."""
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError("[margin_ranking_loss] all inputs should have the same number of dimensions, got shapes "
                           f"{tuple(input1.shape)}, {tuple(input2.shape)}, {tuple(target.shape)}")
    loss = (-target * (input1 - input2) + margin).clamp_min(0)
    return _reduced(loss, reduction, size_average, reduce)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """input for a target of 1, max(0, margin - input) for -1."""
    margin = margin if input.is_floating_point() else int(margin)  # integers keep their type
    loss = where(ne(target, 1), (margin - input).clamp_min(0), 0) + where(ne(target, -1), input, 0)
    return _reduced(loss, reduction, size_average, reduce)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(input1, input2) for a target of 1, max(0, cos(input1, input2) - margin) for -1.

    Shape: (N, D), (N, D), (N) -> (N) for "none"; or (D), (D), ().
    Raises: RuntimeError for other shapes.
    """
    if target.dim() > 1:
        raise RuntimeError("[cosine_embedding_loss] 0D or 1D target tensor expected, multi-target not supported, got "
                           f"shape {tuple(target.shape)}")
    rank = target.dim() + 1
    if input1.dim() != rank or input2.dim() != rank:
        raise RuntimeError(f"[cosine_embedding_loss] {rank - 1}D target tensor expects {rank}D input tensors, but "
                           f"found inputs with sizes {tuple(input1.shape)} and {tuple(input2.shape)}")
    eps = 1e-12
    squares = (sum(input1 * input1, -1) + eps) * (sum(input2 * input2, -1) + eps)
    cos = sum(input1 * input2, -1) / sqrt(squares)
    loss = where(eq(target, 1), 1 - cos, 0.0) + where(eq(target, -1), (cos - margin).clamp_min(0), 0.0)
    return _reduced(loss, reduction, size_average, reduce)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) with d = pairwise_distance of norm p.

    With `swap`, d(positive, negative) is taken for the last where it is less.

    Shape: (N, D) each -> (N) for "none"; (D) -> ().
    Raises: ValueError for margin <= 0, RuntimeError for different numbers of dimensions.
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError("[triplet_margin_loss] all inputs should have the same number of dimensions, got "
                           f"{anchor.dim()}D, {positive.dim()}D and {negative.dim()}D")

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return _triplet(anchor, positive, negative, distance, margin, swap, reduction, size_average, reduce)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance; pairwise_distance if None.

    Raises: ValueError for margin <= 0 or an unknown reduction, RuntimeError for different numbers of dimensions.
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError("[triplet_margin_with_distance_loss] the anchor, positive, and negative tensors are "
                           f"expected to have the same number of dimensions, but got: anchor {anchor.dim()}D, positive "
                           f"{positive.dim()}D, and negative {negative.dim()}D inputs")
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
    size_average: Flag = None,
    reduce: Flag = None,
) -> Tensor:
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return _reduced((margin + near - far).clamp_min(0), reduction, size_average, reduce)


def _class_rows(op: str, input: Tensor) -> tuple[Tensor, int]:
    """The input as (N, C), and C."""
    if input.dim() not in (1, 2) or input.shape[-1] == 0:
        raise RuntimeError(f"[{op}] Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
                           f"{list(input.shape)}")
    return (input if input.dim() == 2 else input.unsqueeze(0)), input.shape[-1]


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over j != y of max(0, margin - x[y] + x[j])^p, times weight[y], divided by the number C of classes.

    Shape: input (N, C) or (C), target (N) or (), weight (C) -> (N) or () for "none".
    Raises: ValueError for p other than 1 and 2, RuntimeError for other shapes, IndexError for a target outside [0, C).
    """
    if p not in (1, 2):
        raise ValueError(f"only p == 1 and p == 2 supported, got {p}")
    rows, classes = _class_rows("multi_margin_loss", input)
    if target.shape != input.shape[:-1] and not (input.dim() == 1 and target.numel() == 1):
        raise RuntimeError(f"[multi_margin_loss] target: expected shape {tuple(input.shape[:-1])}, got "
                           f"{tuple(target.shape)}")
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(f"[multi_margin_loss] weight: expected shape ({classes},), got {tuple(weight.shape)}")
    own = target.reshape(-1, 1)
    if own.numel() and not (int(own.min()) >= 0 and int(own.max()) < classes):
        raise IndexError(f"[multi_margin_loss] a target is outside [0, {classes - 1}]")
    terms = (margin - gather(rows, 1, own) + rows).clamp_min(0)
    if p == 2:
        terms = terms * terms
    if weight is not None:
        terms = terms * weight[own]
    others = from_numpy(np.arange(classes) != own.numpy())
    loss = sum(where(others, terms, 0.0), 1) / classes
    return _reduced(loss if input.dim() == 2 else loss.squeeze(0), reduction, size_average, reduce)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Flag = None, reduce: Flag = None, reduction: str = "mean"
) -> Tensor:
    """sum of max(0, 1 - (x[y] - x[j])) over the labels y and all j that are no labels, divided by their number C.

    A row of `target` holds its labels and ends at the first -1.

    Shape: (N, C) or (C), both -> (N) or () for "none".
    Raises: RuntimeError for other shapes or a label outside [-1, C).
    """
    rows, classes = _class_rows("multilabel_margin_loss", input)
    if target.shape != input.shape:
        raise RuntimeError(f"[multilabel_margin_loss] target: expected shape {tuple(input.shape)}, got "
                           f"{tuple(target.shape)}")
    labels = target.numpy().reshape(-1, classes)
    if labels.size and not -1 <= labels.min() <= labels.max() < classes:
        raise RuntimeError(f"[multilabel_margin_loss] a target is outside [-1, {classes - 1}]")
    valid = np.logical_and.accumulate(labels >= 0, axis=1)
    is_label = np.zeros(labels.shape, bool)
    row, column = np.nonzero(valid)
    is_label[row, labels[row, column]] = True
    own = gather(rows, 1, from_numpy(np.where(valid, labels, 0).astype(np.int64)))
    terms = (1 - (own.unsqueeze(2) - rows.unsqueeze(1))).clamp_min(0)
    terms = where(from_numpy(valid[:, :, None] & ~is_label[:, None, :]), terms, 0.0)
    loss = sum(terms, (1, 2)) / classes
    return _reduced(loss if input.dim() == 2 else loss.squeeze(0), reduction, size_average, reduce)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Flag = None,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the classes of -weight * (t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))).

    Shape: (N, C) or (.., C), both; weight (C) -> (N) or (..) for "none".
    """
    if input.dim() == 0:
        raise IndexError("[multilabel_soft_margin_loss] input: expected at least 1 dimension, the classes")
    loss = target * softplus(-input) + (1 - target) * softplus(input)
    if weight is not None:
        loss = loss * weight
    return _reduced(mean(loss, -1), reduction, size_average, reduce)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Flag = None,
    eps: float = 1e-8,
    reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target * input: input is the log of the mean of a Poisson distribution, target a count.

    Args:
        log_input: False: input is the mean itself, input - target * log(input + eps).
        full: adds Stirling's approximation of log(target!) for targets above 1.
    """
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        large = target > 1
        count = where(large, target, 1.0)
        loss = loss + where(large, count * log(count) - count + 0.5 * log(2 * math.pi * count), 0.0)
    return _reduced(loss, reduction, size_average, reduce)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """0.5 * (log(v) + (input - target)^2 / v), v = max(var, eps); the bound does not stop var's gradient.

    Args:
        var: variances of the shape of input, without its last dimension, with 1 in its place, or a number.
        full: adds 0.5 log(2 pi).
    Raises:
        ValueError: a variance < 0, or a shape that does not fit.
    """
    if isinstance(var, Tensor):
        if var.shape != input.shape:
            if var.shape == input.shape[:-1]:
                var = var.unsqueeze(-1)
            elif var.shape[:-1] != input.shape[:-1] or var.shape[-1:] != (1,):
                raise ValueError(f"var is of incorrect size: expected {tuple(input.shape)}, it with 1 in place of the "
                                 f"last size or without the last, got {tuple(var.shape)}")
    else:
        var = input.detach() * 0 + var
    if var.numel() and bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    var = var + (eps - var.detach()).clamp_min(0)
    difference = input - target
    loss = 0.5 * (log(var) + difference * difference / var)
    return _reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
