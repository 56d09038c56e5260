"""Attention over padded sequences with weights to look at, and keys and values that are projected once and kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastdl
from fastdl import nn
from fastdl.nn import functional as F
from fastdl.ops.attention import packed_attention


def valid_mask(lengths: Any, size: int) -> Any:
    """Bools (.., size), True below the length; lengths (..), int64."""
    return fastdl.arange(size) < lengths.unsqueeze(-1)


def _causal_mask(steps: int, before: int) -> Any:
    """Bools (steps, before + steps): step i sees those before and the steps 0 .. i."""
    return fastdl.arange(before + steps) <= fastdl.arange(before, before + steps).unsqueeze(1)


def masked_softmax(scores: Any, keep: Any = None) -> Any:
    """softmax over the last dimension of the scores where `keep` is True; a row that keeps none gives zeros.

    Args:
        scores: (N, Tq, Tk).
        keep: bools that can be broadcast to them; or lengths (N,) or (N, Tq), int64: the first so many. None: all.
    """
    if keep is None:
        return F.softmax(scores, -1)
    if keep.dtype is not fastdl.bool:
        keep = valid_mask(keep if keep.dim() == 2 else keep.unsqueeze(1), scores.shape[-1])
    lowest = float(np.finfo(scores.dtype.numpy).min)
    return F.softmax(scores.masked_fill(~keep, lowest), -1) * keep


class _Weighing(nn.Module):
    """What both kinds of scores share: `weights` holds the last call's (N, Tq, Tk)."""

    weights: Any

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.weights = None

    def _weigh(self, scores: Any, values: Any, keep: Any) -> Any:
        weights = masked_softmax(scores, keep)
        self.weights = weights.detach()
        return self.dropout(weights) @ values


class AdditiveAttention(_Weighing):
    """Weights softmax(w_v^T tanh(W_q q + W_k k)): queries and keys may differ in size.

    Args:
        key_size, query_size: of each key and query.
        num_hiddens: H, the size both are projected to.
        dropout: probability with which a weight is dropped in training.
    Shape:
        queries (N, Tq, query_size), keys (N, Tk, key_size), values (N, Tk, E) -> (N, Tq, E); `keep` as in
        `masked_softmax`.
    """

    def __init__(self, key_size: int, query_size: int, num_hiddens: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.W_k = nn.Linear(key_size, num_hiddens, bias=False)
        self.W_q = nn.Linear(query_size, num_hiddens, bias=False)
        self.w_v = nn.Linear(num_hiddens, 1, bias=False)

    def forward(self, queries: Any, keys: Any, values: Any, keep: Any = None) -> Any:
        return self.attend(queries, self.W_k(keys), values, keep)

    def attend(self, queries: Any, projected: Any, values: Any, keep: Any = None) -> Any:
        """The same, given W_k(keys): over many calls with the same keys they are projected once."""
        scores = F.additive_attention_score(self.W_q(queries), projected, self.w_v.weight.squeeze(0))
        return self._weigh(scores, values, keep)


class DotProductAttention(_Weighing):
    """Weights softmax(q k^T / sqrt(d)).

    Shape:
        queries (N, Tq, d), keys (N, Tk, d), values (N, Tk, E) -> (N, Tq, E); `keep` as in `masked_softmax`.
    """

    def forward(self, queries: Any, keys: Any, values: Any, keep: Any = None) -> Any:
        return self._weigh(queries @ keys.mT * queries.shape[-1] ** -0.5, values, keep)


class CachedAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention, batch first, in two halves: keys and values are projected apart from queries and kept.

    With `keep_weights` (see `EncoderDecoder.attention_weights`) the weights of the last call are computed as a matrix
    and stored in `weights`, (N, heads, Tq, Tk); otherwise the fused kernel stores none.
    """

    weights: Any

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(embed_dim, num_heads, dropout, batch_first=True)
        self.keep_weights, self.weights = False, None

    def _heads(self, x: Any, parts: int) -> tuple[Any, ...]:
        """(N, T, parts * E) as `parts` views (N, heads, T, E / heads)."""
        return x.reshape(*x.shape[:2], parts, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)

    def _project(self, x: Any, first: int, last: int) -> tuple[Any, ...]:
        at = slice(first * self.embed_dim, last * self.embed_dim)
        return self._heads(F.linear(x, self.in_proj_weight[at], self.in_proj_bias[at]), last - first)

    def keys_and_values(self, memory: Any) -> tuple[Any, Any]:
        """Keys and values (N, heads, S, E / heads) of a memory (N, S, E)."""
        keys, values = self._project(memory, 1, 3)
        return keys, values

    def over_memory(self, x: Any, keys: Any, values: Any, lengths: Any = None) -> Any:
        """Attention of x (N, T, E) over the first `lengths` (N,) of these keys and values."""
        (queries,) = self._project(x, 0, 1)
        keep = valid_mask(lengths, keys.shape[2])[:, None, None] if self.keep_weights and lengths is not None else None
        return self._attend(queries, keys, values, keep, lengths)

    def over_itself(self, x: Any, lengths: Any = None, is_causal: bool = False) -> Any:
        """Self-attention of whole sequences (N, T, E), over the first `lengths` (N,) or over what came before."""
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        if not self.keep_weights:
            dropout = self.dropout if self.training else 0.0
            return self.out_proj(packed_attention(qkv, self.num_heads, None, dropout, is_causal, lengths=lengths))
        steps = x.shape[1]
        keep = _causal_mask(steps, 0) if is_causal else None
        if lengths is not None:
            inside = valid_mask(lengths, steps)[:, None, None]
            keep = inside if keep is None else keep & inside
        queries, keys, values = self._heads(qkv, 3)
        return self._attend(queries, keys, values, keep, None)

    def next_steps(self, x: Any, cache: tuple[Any, Any] | None) -> tuple[Any, tuple[Any, Any]]:
        """Causal self-attention of the next steps x (N, T, E) over those in the cache and themselves; and the cache
        with them."""
        queries, keys, values = self._heads(F.linear(x, self.in_proj_weight, self.in_proj_bias), 3)
        before = 0
        if cache is not None:
            before = cache[0].shape[2]
            keys, values = fastdl.cat([cache[0], keys], 2), fastdl.cat([cache[1], values], 2)
        keep = None
        if x.shape[1] > 1 or self.keep_weights:
            keep = _causal_mask(x.shape[1], before)
        return self._attend(queries, keys, values, keep, None), (keys, values)

    def _attend(self, queries: Any, keys: Any, values: Any, keep: Any, lengths: Any) -> Any:
        dropout = self.dropout if self.training else 0.0
        if self.keep_weights:
            weights = masked_softmax(queries @ keys.mT * self.head_dim**-0.5, keep)
            self.weights = weights.detach()
            out = F.dropout(weights, dropout) @ values
        else:
            out = F.scaled_dot_product_attention(queries, keys, values, keep, dropout, lengths=lengths)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class PositionalEncoding(nn.Module):
    """x + P with P[i, 2j] = sin(i / 10000^(2j/E)), P[i, 2j+1] = cos(the same); then dropout.

    Args:
        num_hiddens: E.
        dropout: probability.
        max_len: longest sequence.
    """

    P: Any

    def __init__(self, num_hiddens: int, dropout: float = 0.0, max_len: int = 1000) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        angle = np.arange(max_len)[:, None] * np.exp(np.arange(0, num_hiddens, 2) * (-math.log(10000.0) / num_hiddens))
        table = np.zeros((1, max_len, num_hiddens), np.float32)
        table[0, :, 0::2], table[0, :, 1::2] = np.sin(angle), np.cos(angle[:, : num_hiddens // 2])
        self.register_buffer("P", fastdl.from_numpy(table), persistent=False)

    def forward(self, x: Any, start: int = 0) -> Any:
        """Adds the positions from `start` on to x (N, T, E). ValueError if they end behind max_len."""
        end = start + x.shape[1]
        if end > self.P.shape[1]:
            raise ValueError(f"[PositionalEncoding] sequence of {end} steps is longer than the model: max_len is "
                             f"{self.P.shape[1]}")
        return self.dropout(x + self.P[:, start:end])
