"""Data sets: something with a length that gives sample number i."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ..._tensor import Tensor
from ...ops.random import Generator, randperm

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """Base class of data sets with random access: subclasses define `__getitem__` and `__len__`."""

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} should define __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """Base class of data sets that are read from start to end: subclasses define `__iter__`."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} should define __iter__")

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple]):
    """Sample i is the tuple of the tensors' rows i.

    Raises:
        AssertionError: the tensors' first sizes differ. IndexError: a tensor has no dimension.
    """

    def __init__(self, *tensors: Tensor) -> None:
        for i, tensor in enumerate(tensors):
            if tensor.dim() == 0:
                raise IndexError(f"[TensorDataset] tensor {i} has no rows: its shape is ()")
            if tensor.shape[0] != tensors[0].shape[0]:
                sizes = ", ".join(str(tuple(t.shape)) for t in tensors)
                raise AssertionError(f"[TensorDataset] tensors: expected one number of rows, got the shapes {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        if not self.tensors:
            raise TypeError("[TensorDataset] no tensors, so there is no length")
        return self.tensors[0].shape[0]


class StackDataset(Dataset[Any]):
    """Sample i is the tuple, or the dictionary, of the given data sets' samples i."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError("[StackDataset] expected data sets, either all by position or all by name")
        parts = args or tuple(kwargs.values())
        if len({len(part) for part in parts}) != 1:
            raise ValueError(f"[StackDataset] expected one length, got {[len(part) for part in parts]}")
        self.datasets = args or kwargs

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __len__(self) -> int:
        parts = self.datasets.values() if isinstance(self.datasets, dict) else self.datasets
        return len(next(iter(parts)))


class ConcatDataset(Dataset[T_co]):
    """Several data sets, one after another."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("[ConcatDataset] datasets should not be an empty iterable")
        if any(isinstance(part, IterableDataset) for part in self.datasets):
            raise TypeError("[ConcatDataset] takes data sets with random access; ChainDataset takes iterable ones")
        self.cumulative_sizes = list(itertools.accumulate(len(part) for part in self.datasets))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"[ConcatDataset] index {index} is out of range for {n} samples")
        index = index + n if index < 0 else index
        part = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[part][index - (self.cumulative_sizes[part - 1] if part else 0)]


class ChainDataset(IterableDataset):
    """Several iterable data sets, one after another."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator:
        for part in self.datasets:
            if not isinstance(part, IterableDataset):
                raise TypeError(f"[ChainDataset] takes iterable data sets, got {type(part).__name__}")
            yield from part

    def __len__(self) -> int:
        return sum(len(part) for part in self.datasets)  # type: ignore[arg-type, misc]


class Subset(Dataset[T_co]):
    """The samples of `dataset` with these numbers."""

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        numbers = [self.indices[i] for i in indices]
        fetch = getattr(self.dataset, "__getitems__", None)
        return fetch(numbers) if fetch else [self.dataset[i] for i in numbers]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Dataset, lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset]:
    """Divides a data set at random into subsets of these lengths, or of these shares that sum to 1.

    What shares leave over after rounding down goes to the first subsets, one sample each.

    Raises:
        ValueError: the lengths do not sum to the data set's, or a share is outside [0, 1].
    """
    n = len(dataset)  # type: ignore[arg-type]
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        if any(not 0 <= share <= 1 for share in lengths):
            raise ValueError(f"[random_split] shares: expected numbers in [0, 1], got {list(lengths)}")
        sizes = [math.floor(n * share) for share in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        sizes = list(lengths)  # type: ignore[arg-type]
    if sum(sizes) != n:
        raise ValueError(f"[random_split] lengths: expected numbers that sum to {n}, got {list(lengths)}")
    order = randperm(n, generator=generator).tolist()
    return [Subset(dataset, order[end - size : end]) for end, size in zip(itertools.accumulate(sizes), sizes)]


def rows_of(dataset: Any) -> tuple[tuple[Tensor, ...], np.ndarray | None] | None:
    """The tensors whose rows are the samples of `dataset`, and their numbers (None: all in order).

    None if the data set is not a TensorDataset, or subsets of one. Then a batch can be gathered in one call.
    """
    numbers: np.ndarray | None = None
    while type(dataset).__getitem__ is Subset.__getitem__ and type(dataset).__getitems__ is Subset.__getitems__:
        own = np.asarray(dataset.indices, np.int64)
        numbers = own if numbers is None else own[numbers]
        dataset = dataset.dataset
    if (
        not isinstance(dataset, TensorDataset)
        or type(dataset).__getitem__ is not TensorDataset.__getitem__
        or hasattr(dataset, "__getitems__")
    ):
        return None
    return dataset.tensors, numbers
