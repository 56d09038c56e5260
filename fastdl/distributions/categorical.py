"""Categorical distributions: one of K numbers, or a row with a 1 at its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from .._types import finfo
from ..autograd import no_grad
from ..ops.embedding import one_hot
from ..ops.indexing import gather
from ..ops.random import multinomial
from ..ops.reduce import logsumexp
from ..ops.softmax import softmax
from .distribution import Distribution, one_of


class Categorical(Distribution):
    """Numbers of [0, K) with probabilities in proportion to `probs` or to exp(`logits`), of shape (.., K).

    Attributes:
        probs: probabilities that sum up to 1. logits: their logs.
    """

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        given = one_of(probs, logits)
        if given.dim() < 1:
            raise ValueError(f"`{'logits' if probs is None else 'probs'}` parameter must be at least one-dimensional.")
        super().__init__(given.shape[:-1], (), validate_args)
        self._num_events = given.shape[-1]
        if probs is not None:
            self._check("probs", given, (given >= 0) & (given.sum(-1, True) > 0), "numbers >= 0 that are not all 0")
            self.probs = given / given.sum(-1, True)
        else:
            self.logits = given - logsumexp(given, -1, True)

    def __getattr__(self, name: str) -> Tensor:
        if name == "logits" and "probs" in self.__dict__:
            eps = finfo(self.probs.dtype).eps
            return self.probs.clamp(eps, 1 - eps).log()
        if name == "probs" and "logits" in self.__dict__:
            return softmax(self.logits, -1)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def mean(self) -> Tensor:
        return self.probs[..., 0] * float("nan")

    @property
    def variance(self) -> Tensor:
        return self.probs[..., 0] * float("nan")

    def _draw(self, sample_shape: Sequence[int]) -> Tensor:
        count = 1
        for n in sample_shape:
            count *= n
        rows = self.probs.detach().reshape(-1, self._num_events)
        with no_grad():
            return multinomial(rows, count, True).T.reshape(*sample_shape, *self.batch_shape)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._draw(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        whole = value == value.floor() if value.is_floating_point() else value == value
        self._support(value, whole & (value >= 0) & (value < self._num_events),
                    f"a whole number in [0, {self._num_events - 1}]")
        rank = max(value.dim(), len(self.batch_shape))
        value = value.reshape(*[1] * (rank - value.dim()), *value.shape)
        logits = self.logits.reshape(*[1] * (rank - len(self.batch_shape)), *self.logits.shape)
        shape = [max(a, b) if 0 not in (a, b) else 0 for a, b in zip(value.shape, logits.shape)]
        at = value.expand(*shape).long().unsqueeze(-1)
        return gather(logits.expand(*shape, self._num_events), -1, at).squeeze(-1)

    def entropy(self) -> Tensor:
        least = finfo(self.logits.dtype).min
        return -(self.logits.clamp_min(least) * self.probs).sum(-1)


class OneHotCategorical(Categorical):
    """Categorical whose samples are rows of K entries, a 1 and zeros."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(probs, logits, validate_args)
        self.event_shape = type(self.batch_shape)((self._num_events,))

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return one_hot(self._draw(sample_shape), self._num_events).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value.argmax(-1))
