"""Normal distributions, and those of exp(x) for normal x."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._tensor import Tensor
from ..ops.elementwise import erf
from .distribution import LocationScale


class Normal(LocationScale):
    """Mean `loc` and standard deviation `scale`."""

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.scale**2

    @property
    def stddev(self) -> Tensor:
        return self.scale

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.loc + self._noise(sample_shape, self.loc).normal_() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        return -((value - self.loc) ** 2) / (2 * self.variance) - self.scale.log() - 0.5 * math.log(2 * math.pi)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of less than `value`."""
        return 0.5 * (1 + erf((value - self.loc) / self.scale / math.sqrt(2)))

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


class LogNormal(Normal):
    """exp(x) for x of Normal(loc, scale)."""

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale**2 / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale**2).exp()

    @property
    def variance(self) -> Tensor:
        square = self.scale**2
        return square.expm1() * (2 * self.loc + square).exp()

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return super().rsample(sample_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        self._support(value, value > 0, "numbers > 0")
        x = value.log()
        return -((x - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - 0.5 * math.log(2 * math.pi) - x

    def cdf(self, value: Tensor) -> Tensor:
        return super().cdf(value.log())

    def entropy(self) -> Tensor:
        return super().entropy() + self.loc
