"""Samplers: in which order a loader takes the samples. Shuffles come from fastdl's own random numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from ..._tensor import Tensor
from ...ops.random import Generator, rand, randint, randperm

T_co = TypeVar("T_co", covariant=True)

_BLOCK = 1 << 16  # numbers drawn at once with replacement


class Sampler(Generic[T_co]):
    """Base class: subclasses define `__iter__`, which yields sample numbers (or lists of them), and `__len__`."""

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} should define __iter__")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """All numbers in random order, or `num_samples` of them, drawn with or without replacement."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"[RandomSampler] replacement: expected a bool, got {replacement!r}")
        if num_samples is not None and (not isinstance(num_samples, int) or num_samples < 0):
            raise ValueError(f"[RandomSampler] num_samples: expected an int >= 0, got {num_samples!r}")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """How many numbers one pass yields."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def blocks(self) -> Iterator[Tensor]:
        """The numbers of one pass, some at a time: `num_samples` may be more than anyone ever takes."""
        n, left = len(self.data_source), self.num_samples
        if left and not n:
            raise ValueError(f"[RandomSampler] cannot draw {left} samples from an empty data set")
        while left > 0:
            if self.replacement:
                block = randint(0, n, (min(left, _BLOCK),), generator=self.generator)
            else:
                block = randperm(n, generator=self.generator)[:left]
            left -= len(block)
            yield block

    def __iter__(self) -> Iterator[int]:
        for block in self.blocks():
            yield from block.tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """The given numbers in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` numbers, i with a probability proportional to weights[i]."""

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"[WeightedRandomSampler] num_samples: expected an int > 0, got {num_samples!r}")
        values = np.array(weights.tolist() if isinstance(weights, Tensor) else list(weights), np.float64)
        if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError("[WeightedRandomSampler] weights: expected a list of finite numbers >= 0")
        positive = np.count_nonzero(values)
        if not positive or (not replacement and positive < num_samples):
            raise ValueError(
                f"[WeightedRandomSampler] {positive} weights are positive, too few for {num_samples} samples"
            )
        self.weights = weights
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator
        self._values = values

    def __iter__(self) -> Iterator[int]:
        values = self._values.copy()
        points = rand(self.num_samples, generator=self.generator).numpy().astype(np.float64)
        if self.replacement:
            sums = np.cumsum(values)
            last = int(np.flatnonzero(values)[-1])
            return iter(np.minimum(np.searchsorted(sums, points * sums[-1], side="right"), last).tolist())
        return self._without_replacement(values, points)

    @staticmethod
    def _without_replacement(values: np.ndarray, points: np.ndarray) -> Iterator[int]:
        for point in points:
            sums = np.cumsum(values)
            last = int(np.flatnonzero(values)[-1])
            i = min(int(np.searchsorted(sums, point * sums[-1], side="right")), last)
            values[i] = 0
            yield i

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list]):
    """Lists of `batch_size` numbers of another sampler; `drop_last` leaves out a shorter last one."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"[BatchSampler] batch_size: expected an int > 0, got {batch_size!r}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"[BatchSampler] drop_last: expected a bool, got {drop_last!r}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list]:
        numbers = iter(self.sampler)
        while batch := list(itertools.islice(numbers, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
