"""Distances, margin losses and CTC: gradients of CTC against its definition, and mistakes; values: test_torch_calls.py."""

import itertools

import numpy as np

import fastdl
from fastdl.nn import functional as F
from tests.cases import Case, Error, normal


def _ctc(scores, words, sizes):
    """Sums the probabilities of all frame labellings of every sequence: -log of those that read the target."""
    p = np.exp(scores - np.log(np.exp(scores).sum(2, keepdims=True)))
    losses = []
    for n, size in enumerate(sizes):
        total = 0.0
        for path in itertools.product(range(p.shape[2]), repeat=p.shape[0]):
            read = [label for label, _ in itertools.groupby(path) if label != 0]
            if read == list(words[n, :size]):
                total += np.prod([p[t, n, label] for t, label in enumerate(path)])
        losses.append(-np.log(total))
    return np.array(losses)


CASES = [
    Case(
        "ctc_loss",
        lambda scores, words, sizes: F.ctc_loss(
            scores.log_softmax(2), words, [scores.shape[0]] * scores.shape[1], sizes, reduction="none"),
        _ctc,
        lambda rng, t, n, c: {"scores": normal(rng, t, n, c), "words": np.array([[1, 2], [1, 1], [2, 0], [0, 0]])[:n],
                              "sizes": np.array([2, 2, 1, 0])[:n]},
        shapes=[(3, 4, 3), (5, 2, 4)],
        wrt=("scores",),
        rtol=1e-5,
    ),
]

_x, _row = fastdl.ones(3, 4), fastdl.ones(4)
_frames = fastdl.zeros(5, 2, 3)
ERRORS = [
    Error("ranking dims", lambda: F.margin_ranking_loss(_x, _x, _row), RuntimeError, "the same number of dimensions"),
    Error("ranking reduction", lambda: F.margin_ranking_loss(_x, _x, _x, reduction="max"), ValueError,
          "max is not a valid value for reduction"),
    Error("cosine target", lambda: F.cosine_embedding_loss(_x, _x, _x), RuntimeError, "0D or 1D target tensor expected"),
    Error("cosine inputs", lambda: F.cosine_embedding_loss(_x, _row, _row[:3]), RuntimeError, "expects 2D input tensors"),
    Error("triplet margin", lambda: F.triplet_margin_loss(_x, _x, _x, margin=0), ValueError, "greater than 0, got 0"),
    Error("multi margin class", lambda: F.multi_margin_loss(_x, fastdl.tensor([0, 1, 4])), IndexError,
          r"outside \[0, 3\]"),
    Error("multi margin p", lambda: F.multi_margin_loss(_x, fastdl.tensor([0, 1, 2]), p=3), ValueError, "only p == 1"),
    Error("gaussian var", lambda: F.gaussian_nll_loss(_x, _x, -_x), ValueError, "var has negative"),
    Error("gaussian shape", lambda: F.gaussian_nll_loss(_x, _x, _row), ValueError, "var is of incorrect size"),
    Error("cosine integers", lambda: F.cosine_similarity(_x.long(), _x.long()), RuntimeError, "expected a floating-point"),
    Error("cdist sizes", lambda: fastdl.cdist(_x, _x.T), RuntimeError, r"got \(3, 4\) and \(4, 3\)"),
    Error("cdist mode", lambda: fastdl.cdist(_x, _x, compute_mode="mm"), ValueError, "'mm' is not a valid value"),
    Error("bilinear sizes", lambda: F.bilinear(_x, _x, fastdl.ones(2, 3, 4)), RuntimeError, r"weight \(2, 3, 4\)"),
    Error("ctc lengths", lambda: F.ctc_loss(_frames, fastdl.ones(2, 1).long(), [5, 6], [1, 1]), RuntimeError,
          r"input_lengths to be at least 0 and at most 5, the length of log_probs, got \[5, 6\]"),
    Error("ctc targets", lambda: F.ctc_loss(_frames, fastdl.tensor([1, 2, 1]), [5, 5], [1, 1]), RuntimeError,
          "expected 2 labels, the sum of target_lengths, got 3"),
    Error("ctc label", lambda: F.ctc_loss(_frames, fastdl.tensor([1, 3]), [5, 5], [1, 1]), RuntimeError,
          r"expected a label in \[0, 3\), got 3"),
    Error("ctc blank", lambda: F.ctc_loss(_frames, fastdl.tensor([1, 1]), [5, 5], [1, 1], blank=3), RuntimeError,
          r"blank must be in label range \[0, 2\], got 3"),
]
