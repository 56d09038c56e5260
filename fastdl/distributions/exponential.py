"""Exponential distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from .distribution import Distribution, as_parameters


class Exponential(Distribution):
    """Density rate * exp(-rate * x), x >= 0."""

    has_rsample = True

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = as_parameters(rate)
        super().__init__(self.rate.shape, (), validate_args)
        self._check("rate", self.rate, self.rate > 0, "positive")

    @property
    def mean(self) -> Tensor:
        return 1 / self.rate

    @property
    def variance(self) -> Tensor:
        return self.rate**-2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self._noise(sample_shape, self.rate).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        self._support(value, value >= 0, "numbers >= 0")
        return self.rate.log() - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than `value`."""
        self._support(value, value >= 0, "numbers >= 0")
        return 1 - (-self.rate * value).exp()

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()
