"""The n-gram language model with Laplace smoothing: counts, the baseline of every trained model."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np


class NGramModel:
    """P(token | the n - 1 before it) from counts, each smoothed towards the model of one token less.

    P_1(w) = (count(w) + a / V) / (tokens + a) and P_n(w | context) = (count(context, w) + a P_(n-1)(w)) /
    (count(context) + a): with n = 1 this is Laplace's rule as the book has it.

    Args:
        corpus: ids of the training text, in order.
        vocab_size: number of tokens (V).
        n: length of the runs that are counted.
        smoothing: a, how many observations the shorter model is worth; above 0.
    Raises:
        ValueError: n < 1, smoothing <= 0, an empty corpus, or an id outside [0, V).
    """

    def __init__(self, corpus: Sequence[int], vocab_size: int, n: int = 3, smoothing: float = 1.0) -> None:
        if n < 1 or not smoothing > 0:
            raise ValueError(f"[NGramModel] expected n >= 1 and smoothing > 0, got n={n} and smoothing={smoothing}")
        ids = [int(i) for i in corpus]
        if not ids:
            raise ValueError("[NGramModel] corpus: expected at least one token, got none")
        if min(ids) < 0 or max(ids) >= vocab_size:
            raise ValueError(f"[NGramModel] corpus: expected ids in [0, {vocab_size}), got {min(ids)} to {max(ids)}")
        self.vocab_size, self.n, self.smoothing = vocab_size, n, smoothing
        self._next: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)  # of contexts of every length
        for length in range(n):
            for i in range(length, len(ids)):
                self._next[tuple(ids[i - length:i])][ids[i]] += 1
        self._total = {context: sum(counts.values()) for context, counts in self._next.items()}

    def probability(self, token: int, context: Sequence[int] = ()) -> float:
        """P(token | the last n - 1 tokens of context)."""
        p, a = 1.0 / self.vocab_size, self.smoothing
        for seen in self._contexts(context):
            p = (self._next[seen][token] + a * p) / (self._total[seen] + a)
        return p

    def distribution(self, context: Sequence[int] = ()) -> np.ndarray:
        """The probabilities of all tokens after a context, (V,) float64."""
        p, a = np.full(self.vocab_size, 1.0 / self.vocab_size), self.smoothing
        for seen in self._contexts(context):
            p *= a
            counts = self._next[seen]
            p[list(counts)] += list(counts.values())
            p /= self._total[seen] + a
        return p

    def _contexts(self, context: Sequence[int]) -> list[tuple[int, ...]]:
        """Ends of the context that were seen in training, the shortest first."""
        row = tuple(context[len(context) - min(self.n - 1, len(context)):])
        ends = (row[len(row) - length:] for length in range(len(row) + 1))
        return [end for end in ends if end in self._total]

    def perplexity(self, corpus: Sequence[int]) -> float:
        """exp of the mean of -log P of every token of a text. ValueError if there is none."""
        ids = [int(i) for i in corpus]
        if not ids:
            raise ValueError("[NGramModel.perplexity] corpus: expected at least one token, got none")
        total = sum(math.log(self.probability(ids[i], ids[max(0, i - self.n + 1):i])) for i in range(len(ids)))
        return math.exp(-total / len(ids))

    def generate(self, prefix: Sequence[int], count: int, seed: Any = None) -> list[int]:
        """`count` tokens after `prefix`, each drawn from the distribution."""
        random, ids = np.random.default_rng(seed), list(prefix)
        for _ in range(count):
            ids.append(int(random.choice(self.vocab_size, p=self.distribution(ids))))
        return ids[len(prefix):]
