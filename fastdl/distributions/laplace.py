"""Laplace distributions."""

from __future__ import annotations

from collections.abc import Sequence

from .._tensor import Tensor
from .distribution import LocationScale


class Laplace(LocationScale):
    """Density exp(-|x - loc| / scale) / (2 scale)."""

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale**2

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        size = self._noise(sample_shape, self.loc).exponential_()
        sign = self._noise(sample_shape, self.loc).bernoulli_(0.5) * 2 - 1
        return self.loc + self.scale * (size * sign)

    def log_prob(self, value: Tensor) -> Tensor:
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than `value`."""
        x = value - self.loc
        return 0.5 - 0.5 * x.sign() * (-x.abs() / self.scale).expm1()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()
