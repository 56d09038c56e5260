"""Bernoulli distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from .._types import finfo
from ..autograd import no_grad
from ..ops.elementwise import sigmoid, softplus
from ..ops.random import bernoulli
from .distribution import Distribution, one_of


class Bernoulli(Distribution):
    """1 with probability `probs` = sigmoid(`logits`), else 0; one of both is given."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        given = one_of(probs, logits)
        super().__init__(given.shape, (), validate_args)
        if probs is not None:
            self.probs = given
            self._check("probs", given, (given >= 0) & (given <= 1), "in [0, 1]")
        else:
            self.logits = given

    def __getattr__(self, name: str) -> Tensor:
        if name == "logits" and "probs" in self.__dict__:
            eps = finfo(self.probs.dtype).eps
            p = self.probs.clamp(eps, 1 - eps)
            return p.log() - (-p).log1p()
        if name == "probs" and "logits" in self.__dict__:
            return sigmoid(self.logits)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            return bernoulli(self.probs.expand(*self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._support(value, (value == 0) | (value == 1), "0 or 1")
        return value * self.logits - softplus(self.logits)

    def entropy(self) -> Tensor:
        return softplus(self.logits) - self.probs * self.logits
