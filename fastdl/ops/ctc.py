"""Connectionist temporal classification, composed of other operators: one step for the whole batch at a time."""

from __future__ import annotations

import numpy as np

from .._tensor import Tensor, from_numpy
from .elementwise import where
from .indexing import gather
from .reduce import logsumexp, mean, sum
from .shape import stack
from .window import pad

# the log of no probability: finite, so that its differences are numbers; far below the log of any that is real
_NEVER = -1e30


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | tuple | list,
    target_lengths: Tensor | tuple | list,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that frames of labels read `targets`, once repeats are joined and blanks taken out.

    The gradient is that of the formula; what PyTorch gives has exp(log_probs) added, which log_softmax takes out again.

    Args:
        log_probs: log-probabilities of the C labels at each of T steps.
        targets: labels, none of them `blank`; rows, or all of them one after another.
        input_lengths, target_lengths: how much of each sequence counts.
        blank: the label that stands for nothing.
        reduction: "mean" divides by the target lengths (at least 1) before it averages; "sum" or "none".
        zero_infinity: losses of inf, from targets that are longer than their input, become 0, with gradients of 0.
    Shape:
        log_probs (T, N, C) or (T, C), targets (N, S), (S) or (sum of target_lengths), lengths (N) -> (); (N) or () for
        "none".
    Raises:
        RuntimeError: lengths or shapes that do not fit, a label outside [0, C).  ValueError: an unknown reduction.
    Source: torch.nn.functional.ctc_loss; Graves et al., ICML 2006.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction: expected 'none', 'mean' or 'sum'")
    if log_probs.dim() not in (2, 3) or not log_probs.is_floating_point():
        raise RuntimeError("[ctc_loss] log_probs: expected floating-point numbers of shape (T, N, C) or (T, C), got "
                           f"{log_probs.dtype} of shape {tuple(log_probs.shape)}")
    single = log_probs.dim() == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
    steps, batch, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"[ctc_loss] blank must be in label range [0, {classes - 1}], got {blank}")
    frames = _lengths("input_lengths", input_lengths, batch, steps)
    sizes = _lengths("target_lengths", target_lengths, batch, None)
    labels = _labels(targets, sizes, batch, classes)
    loss = _negative_log(log_probs, labels, frames, sizes, blank)
    if zero_infinity:
        loss = where(loss.isinf(), 0.0, loss)
    if single:
        loss = loss.squeeze(0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return sum(loss)
    count = np.maximum(sizes, 1).astype(log_probs.dtype.numpy)
    return mean(loss / from_numpy(count[0:1].reshape(()) if single else count))


def _lengths(name: str, given: Tensor | tuple | list | int, batch: int, most: int | None) -> np.ndarray:
    values = np.atleast_1d(given.numpy() if isinstance(given, Tensor) else np.asarray(given, np.int64))
    if values.dtype.kind not in "iu":
        raise RuntimeError(f"[ctc_loss] {name} must be integral, got {values.dtype}")
    if values.shape != (batch,):
        raise RuntimeError(f"[ctc_loss] {name} must be of size batch_size {batch}, got shape {values.shape}")
    if batch and (values.min() < 0 or (most is not None and values.max() > most)):
        limit = "" if most is None else f" and at most {most}, the length of log_probs"
        raise RuntimeError(f"[ctc_loss] Expected {name} to be at least 0{limit}, got {values.tolist()}")
    return values.astype(np.int64)


def _labels(targets: Tensor, sizes: np.ndarray, batch: int, classes: int) -> np.ndarray:
    """Targets as rows (N, longest), 0 behind their ends."""
    given = targets.numpy()
    if given.dtype.kind not in "iu":
        raise RuntimeError(f"[ctc_loss] targets must be integral, got {targets.dtype}")
    longest = int(sizes.max(initial=0))
    rows = np.zeros((batch, longest), np.int64)
    used = np.arange(longest) < sizes[:, None]
    if given.ndim == 1:
        if len(given) != sizes.sum():
            raise RuntimeError(f"[ctc_loss] targets: expected {sizes.sum()} labels, the sum of target_lengths, got "
                               f"{len(given)}")
        rows[used] = given
    elif given.ndim == 2 and len(given) == batch and given.shape[1] >= longest:
        rows[used] = given[:, :longest][used]
    else:
        raise RuntimeError(f"[ctc_loss] targets: expected shape ({batch}, at least {longest}) or ({sizes.sum()},), got "
                           f"{given.shape}")
    if rows.size and not 0 <= rows.min() <= rows.max() < classes:
        row, column = np.argwhere((rows < 0) | (rows >= classes))[0]
        raise RuntimeError(f"[ctc_loss] targets[{row}, {column}]: expected a label in [0, {classes}), got "
                           f"{rows[row, column]}")
    return rows


def _negative_log(log_probs: Tensor, labels: np.ndarray, frames: np.ndarray, sizes: np.ndarray, blank: int) -> Tensor:
    """The loss of each sequence, (N).

    alpha[n, i] is the log-probability of all beginnings that stand at state i; states are the labels with blanks
    between and around them. A state is reached from itself, from the one before, and from the label before unless
    that is the same one.
    """
    steps, batch, _ = log_probs.shape
    numpy_type = log_probs.dtype.numpy
    states = np.full((batch, 2 * labels.shape[1] + 1), blank)
    states[:, 1::2] = labels
    count = states.shape[1]
    skip = np.full((batch, count), _NEVER, numpy_type)
    skip[:, 3::2][labels[:, 1:] != labels[:, :-1]] = 0
    begin = np.full((batch, count), _NEVER, numpy_type)
    begin[:, :2] = 0
    impossible = np.where(frames == 0, np.where(sizes == 0, 0.0, np.inf), np.nan).astype(numpy_type)
    if steps == 0 or batch == 0:
        return from_numpy(impossible) + sum(log_probs, (0, 2))

    everywhere = from_numpy(np.ascontiguousarray(np.broadcast_to(states, (steps, batch, count))))
    emitted = gather(log_probs, 2, everywhere).clamp_min(_NEVER).unbind(0)
    may_skip = from_numpy(skip)
    alpha = emitted[0] + from_numpy(begin)
    alphas = [alpha]
    for t in range(1, int(frames.max())):
        before = pad(alpha, (2, 0), value=_NEVER)
        ways = stack([alpha, before[:, 1:-1], before[:, :-2] + may_skip])
        alpha = emitted[t] + logsumexp(ways, 0)
        alphas.append(alpha)

    last = from_numpy(np.maximum(frames - 1, 0))
    final = stack(alphas)[last, from_numpy(np.arange(batch))]
    ends = np.stack([2 * sizes, np.maximum(2 * sizes - 1, 0)], 1)
    ways = gather(final, 1, from_numpy(ends))
    twice = np.zeros((batch, 2), numpy_type)
    twice[sizes == 0, 1] = _NEVER  # an empty target ends in one state only
    likelihood = logsumexp(ways + from_numpy(twice), 1)
    loss = where(likelihood < 0.5 * _NEVER, float("inf"), -likelihood)
    no_frames = from_numpy(frames == 0)
    return where(no_frames, from_numpy(impossible), loss)
