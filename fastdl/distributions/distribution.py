"""What all distributions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._tensor import Tensor
from .._types import Size, get_default_dtype
from ..autograd import no_grad
from ..ops.creation import empty_ as empty
from ..ops.creation import tensor
from ..ops.statistics import broadcast_tensors


def as_parameters(*values: Any) -> tuple[Tensor, ...]:
    """Numbers and tensors as tensors of one shape."""
    known = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = get_default_dtype() if known is None else known.dtype
    return broadcast_tensors(*(v if isinstance(v, Tensor) else tensor(v, dtype=dtype) for v in values))


def one_of(probs: Any, logits: Any) -> Tensor:
    """The one of probs and logits that is given, as a tensor.

    Raises: ValueError for both or none.
    """
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return as_parameters(logits if probs is None else probs)[0]


class Distribution:
    """Base of the distributions.

    Attributes:
        batch_shape: shape of the parameters, a distribution each.
        event_shape: shape of one sample of one distribution.
    """

    has_rsample = False

    def __init__(
        self, batch_shape: Sequence[int] = (), event_shape: Sequence[int] = (), validate_args: bool | None = None
    ) -> None:
        self.batch_shape, self.event_shape = Size(batch_shape), Size(event_shape)
        self._validate = validate_args is not False

    def _check(self, name: str, value: Tensor, holds: Tensor, what: str) -> None:
        """Raises ValueError unless a condition holds for all elements of a parameter or value."""
        if self._validate and not bool(holds.all()):
            raise ValueError(f"Expected parameter {name} of distribution {type(self).__name__} to be {what}, but found "
                             f"invalid values:\n{value}")

    def _support(self, value: Tensor, holds: Tensor, what: str) -> None:
        """Raises ValueError unless a condition holds for all elements of a value."""
        if self._validate and not bool(holds.all()):
            raise ValueError(f"Expected value argument (Tensor of shape {tuple(value.shape)}) to be within the support "
                             f"({what}) of the distribution {self!r}, but found invalid values:\n{value}")

    def _shape(self, sample_shape: Sequence[int]) -> tuple[int, ...]:
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    def _noise(self, sample_shape: Sequence[int], like: Tensor) -> Tensor:
        return empty(*self._shape(sample_shape), dtype=like.dtype)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples of the shape sample_shape + batch_shape + event_shape; no gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Samples that are functions of the parameters, with a gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no rsample: its samples have no gradient")

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the probability, or of its density, at `value`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy in nats, of shape batch_shape."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy")

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise NotImplementedError

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def perplexity(self) -> Tensor:
        """exp(entropy)."""
        return self.entropy().exp()

    def __repr__(self) -> str:
        names = [n for n in ("loc", "scale", "low", "high", "rate", "probs", "logits") if n in self.__dict__]
        parts = [f"{n}: {v if v.numel() == 1 else v.size()}" for n in names for v in [self.__dict__[n]]]
        return f"{type(self).__name__}({', '.join(parts)})"


class LocationScale(Distribution):
    """Distributions of loc + scale * x for one fixed distribution of x; scale > 0."""

    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = as_parameters(loc, scale)
        super().__init__(self.loc.shape, (), validate_args)
        self._check("scale", self.scale, self.scale > 0, "positive")

    @property
    def mean(self) -> Tensor:
        return self.loc
