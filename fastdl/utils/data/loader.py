"""DataLoader: batches of a data set. Batches of in-memory tensors are gathered in one call per tensor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._tensor import Tensor, from_numpy
from ..._types import float64
from ...ops.creation import tensor
from ...ops.random import Generator
from ...ops.shape import stack
from .dataset import Dataset, IterableDataset, rows_of
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler


def default_convert(data: Any) -> Any:
    """NumPy arrays become tensors, also inside lists, tuples and dictionaries; the rest stays as it is."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else from_numpy(np.asarray(data))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, (list, tuple)):
        return [default_convert(value) for value in data]
    return data


def default_collate(batch: Sequence[Any]) -> Any:
    """A list of samples as a batch: tensors and arrays stacked, numbers as one tensor, structures part by part.

    Raises:
        RuntimeError: samples of different lengths.
        TypeError: something of which no batch can be made.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch, 0)
    if isinstance(first, (np.ndarray, np.generic)):
        if first.dtype.kind in "SUO":
            raise TypeError(f"[default_collate] expected arrays of numbers, got the type {first.dtype}")
        return tensor(np.stack(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            sizes = sorted({len(sample) for sample in batch})
            raise RuntimeError(f"[default_collate] each sample should have the same number of parts, got {sizes}")
        parts = [default_collate(part) for part in zip(*batch)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(
        "[default_collate] a batch is made of tensors, arrays, numbers, strings, dicts or lists, "
        f"got {type(first).__name__}; pass collate_fn"
    )


def get_worker_info() -> None:
    """None: samples are loaded in the main process."""
    return None


class DataLoader:
    """Iterates over the batches of a data set; each pass draws a new order if `shuffle`.

    Samples are loaded in the process itself: `num_workers` and the arguments that concern workers, `timeout` or
    pinned memory are taken and change nothing; the batches are the same for every number of workers.

    Args:
        dataset: what to load.
        batch_size: samples per batch; None: the samples themselves, one by one.
        shuffle: take the samples in random order.
        sampler: yields the numbers of the samples, instead of `shuffle`.
        batch_sampler: yields lists of numbers, instead of batch_size, shuffle, sampler and drop_last.
        collate_fn: makes a batch of a list of samples; `default_collate` if None.
        drop_last: leave out a last batch that is smaller.
        generator: random numbers of the shuffle; the global ones if None.
    Raises:
        ValueError: arguments that exclude each other or are out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler | Iterable | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"[DataLoader] num_workers: expected a number >= 0, got {num_workers}")
        if timeout < 0:
            raise ValueError(f"[DataLoader] timeout: expected a number >= 0, got {timeout}")
        iterable = isinstance(dataset, IterableDataset)
        if iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("[DataLoader] an IterableDataset has its own order: no shuffle, sampler or batch_sampler")
        if sampler is not None and shuffle:
            raise ValueError("[DataLoader] sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "[DataLoader] batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, "
                    "and drop_last"
                )
            batch_size = None
        elif batch_size is None:
            if drop_last:
                raise ValueError("[DataLoader] batch_size=None disables batches, and drop_last is about them")
        elif not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"[DataLoader] batch_size: expected an int > 0, got {batch_size!r}")

        if sampler is None and not iterable:
            sized: Any = dataset
            sampler = RandomSampler(sized, generator=generator) if shuffle else SequentialSampler(sized)
        if batch_sampler is None and batch_size is not None and not iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        if collate_fn is None:
            collate_fn = default_convert if batch_size is None and batch_sampler is None else default_collate

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler: Any = sampler
        self.batch_sampler: Any = batch_sampler
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.generator = generator
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n if isinstance(self.dataset, IterableDataset) else len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.dataset, IterableDataset):
            return self._iterable_batches()
        if self.batch_sampler is None:
            return (self.collate_fn(self.dataset[i]) for i in self.sampler)
        if self.collate_fn is default_collate:
            rows = rows_of(self.dataset)
            if rows is not None and not any(t.requires_grad for t in rows[0]):
                return self._gathered_batches(*rows)
        return self._batches()

    def _iterable_batches(self) -> Iterator[Any]:
        samples = iter(self.dataset)  # type: ignore[call-overload]
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(itertools.islice(samples, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield self.collate_fn(batch)

    def _batches(self) -> Iterator[Any]:
        fetch = getattr(self.dataset, "__getitems__", None) or (lambda numbers: [self.dataset[i] for i in numbers])
        for numbers in self.batch_sampler:
            yield self.collate_fn(fetch(numbers))

    def _gathered_batches(self, tensors: tuple[Tensor, ...], rows: np.ndarray | None) -> Iterator[list[Tensor]]:
        """Batches of a TensorDataset or of a subset of one: one gather per tensor instead of a stack of samples."""
        for numbers in self._number_batches():
            if isinstance(numbers, slice) and rows is None:
                yield [t[numbers].clone() for t in tensors]
                continue
            index = from_numpy(np.asarray(rows[numbers] if rows is not None else numbers, np.int64))
            yield [t[index] for t in tensors]

    def _number_batches(self) -> Iterator[Any]:
        """The numbers of each batch: a slice, an array or, from a sampler of the user's, a list."""
        sampler, batcher = self.sampler, self.batch_sampler
        if type(batcher) is BatchSampler and type(sampler) in (RandomSampler, SequentialSampler):
            order = sampler.order() if type(sampler) is RandomSampler else None
            n = len(sampler)
            stop = n - n % batcher.batch_size if batcher.drop_last else n
            for start in range(0, stop, batcher.batch_size):
                part = slice(start, min(start + batcher.batch_size, n))
                yield part if order is None else order[part]
        else:
            yield from batcher
