"""Multinomial distributions: how often each of K numbers is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from ..autograd import no_grad
from ..ops.composed import xlogy
from ..ops.elementary import lgamma
from ..ops.elementwise import where
from .categorical import Categorical
from .distribution import Distribution


class Multinomial(Distribution):
    """Counts of total_count draws with probabilities in proportion to `probs` or to exp(`logits`), of shape (.., K)."""

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, (self._categorical._num_events,), validate_args)

    @property
    def probs(self) -> Tensor:
        """Probabilities, which sum up to 1."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Their logs."""
        return self._categorical.logits

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with no_grad():
            drawn = self._categorical.sample((self.total_count, *sample_shape))
            counts = self.probs.new_zeros(self._shape(sample_shape))
            places = drawn.movedim(0, -1)
            return counts.scatter_add(-1, places, counts.new_ones(places.shape))

    def log_prob(self, value: Tensor) -> Tensor:
        self._support(value, (value >= 0) & (value.sum(-1, True) == self.total_count),
                    f"counts that sum up to {self.total_count}")
        logits = where((value == 0) & self.logits.isinf(), 0.0, self.logits)
        ways = lgamma(value.sum(-1) + 1) - lgamma(value + 1).sum(-1)
        return ways + (logits * value).sum(-1)

    def entropy(self) -> Tensor:
        """By the sum over the counts of each number, which are binomial."""
        n = self.probs.new_tensor(float(self.total_count))
        counts = self.probs.new_tensor([float(k) for k in range(1, self.total_count + 1)])
        counts = counts.reshape(-1, *[1] * self.probs.dim())
        choose = lgamma(n + 1) - lgamma(counts + 1) - lgamma(n - counts + 1)
        chance = (choose + xlogy(counts, self.probs) + xlogy(n - counts, 1 - self.probs)).exp()
        own = self.total_count * self._categorical.entropy() - lgamma(n + 1)
        return own + (chance * lgamma(counts + 1)).sum((0, -1))
