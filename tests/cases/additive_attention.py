"""Cases of fastdl.ops.additive_attention."""

import numpy as np

import fastdl
from fastdl.nn.functional import additive_attention_score
from tests.cases import Case, Error, normal

# (B, Tq, Tk, H): H around the lanes and the unrolled 32; strips and queries for several threads; empty ones
SIZES = [(2, 3, 5, h) for h in (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65)] + [
    (1, 1, 1, 4), (7, 1, 9, 40), (3, 40, 2, 100), (0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 4, 0),
]  # fmt: skip


def _inputs(rng, b, tq, tk, h):
    return {"q": normal(rng, b, tq, h), "k": 2 * normal(rng, b, tk, h), "w": normal(rng, h)}


def _reference(q, k, w):
    return np.tanh(q[:, :, None] + k[:, None]) @ w


def _edges(rng, b, tq, tk, h):
    arrays = _inputs(rng, b, tq, tk, h)
    arrays["q"][0, 0, 0], arrays["q"][0, 1, 0], arrays["k"][0, 0, 0] = np.nan, np.inf, -1e30
    return arrays


CASES = [
    Case("additive_score", additive_attention_score, _reference, _inputs, SIZES, wrt=("q", "k", "w"), rtol=5e-6,
         atol=5e-6),
    Case("additive_score_strided", lambda q, k, w: additive_attention_score(q.transpose(0, 1), k.transpose(0, 1), w),
         lambda q, k, w: _reference(q.swapaxes(0, 1), k.swapaxes(0, 1), w),
         lambda rng, b, tq, tk, h: {"q": normal(rng, tq, b, h), "k": normal(rng, tk, b, h), "w": normal(rng, h)},
         [(2, 3, 5, 17)], wrt=("q", "k", "w"), rtol=5e-6, atol=5e-6),
    Case("additive_score_edges", additive_attention_score, _reference, _edges, [(2, 3, 5, 17)], rtol=5e-6, atol=5e-6),
]

_Q, _K, _W = fastdl.ones(2, 3, 4), fastdl.ones(2, 5, 4), fastdl.ones(4)
ERRORS = [
    Error("additive_score batch", lambda: additive_attention_score(_Q, _K[:1], _W), ValueError, r"\(1, 5, 4\)"),
    Error("additive_score weight", lambda: additive_attention_score(_Q, _K, _W[:3]), ValueError, r"weight \(H,\)"),
    Error("additive_score dims", lambda: additive_attention_score(_Q[0], _K, _W), ValueError, r"\(B, Tq, H\)"),
    Error("additive_score types", lambda: additive_attention_score(_Q, _K.double(), _W), TypeError, "one type"),
]
