"""DataLoader: batches of a data set. Batches of in-memory tensors are gathered in one call per tensor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._tensor import Tensor, from_numpy
from ..._types import float64
from ...ops.creation import tensor
from ...ops.random import Generator, default_generator, randint
from ...ops.shape import cat, stack
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


def _form(sample: Any) -> Any:
    """Shapes in place of tensors and arrays."""
    if hasattr(sample, "shape"):
        return tuple(sample.shape)
    if isinstance(sample, Mapping):
        return {key: _form(value) for key, value in sample.items()}
    if isinstance(sample, (tuple, list)):
        return [_form(value) for value in sample]
    return type(sample).__name__


def _which_differs(samples: Sequence[Any], numbers: Sequence[int]) -> str:
    """Names the first sample that cannot be in one batch with the first of them."""
    forms = [_form(sample) for sample in samples]
    for number, form in zip(numbers, forms):
        if form != forms[0]:
            return (
                f"[DataLoader] the samples of a batch differ in shape: sample {numbers[0]} has {forms[0]}, sample "
                f"{number} has {form}; pass collate_fn, for example one that calls nn.utils.rnn.pad_sequence"
            )
    return ""


def fetcher(dataset: Any, collate_fn: Callable[[Any], Any], batched: bool) -> Callable[[Any], Any]:
    """A function that makes a batch of the numbers of its samples (not `batched`: of one number, one sample)."""
    if not batched:
        return lambda i: collate_fn(dataset[i])
    if collate_fn is default_collate:
        rows = rows_of(dataset)
        if rows is not None and not any(t.requires_grad for t in rows[0]):
            return _gatherer(*rows)
    fetch = getattr(dataset, "__getitems__", None) or (lambda numbers: [dataset[i] for i in numbers])

    def collated(numbers: Any) -> Any:
        numbers = _as_list(numbers)
        samples = fetch(numbers)
        try:
            return collate_fn(samples)
        except (RuntimeError, TypeError, ValueError) as error:
            text = _which_differs(samples, numbers)
            if not text:
                raise
            raise RuntimeError(text) from error

    return collated


def _as_list(numbers: Any) -> Any:
    if isinstance(numbers, slice):
        return list(range(numbers.start, numbers.stop))
    return numbers.tolist() if isinstance(numbers, (Tensor, np.ndarray)) else numbers


def _gatherer(tensors: tuple[Tensor, ...], rows: np.ndarray | None) -> Callable[[Any], list[Tensor]]:
    """Batches of a TensorDataset or of a subset of one: one gather per tensor instead of a stack of samples."""
    known = None if rows is None else from_numpy(rows)

    def gather(numbers: Any) -> list[Tensor]:
        if type(numbers) is slice:
            if known is None:
                return [t[numbers].clone() for t in tensors]
        elif type(numbers) is not Tensor:
            numbers = from_numpy(np.asarray(numbers, np.int64))
        if known is not None:
            numbers = known[numbers]
        return [t[numbers] for t in tensors]

    return gather


def stream_batches(
    dataset: Any, collate_fn: Callable[[Any], Any], batch_size: int | None, drop_last: bool
) -> Iterator[Any]:
    """The batches of an IterableDataset."""
    samples = iter(dataset)
    if batch_size is None:
        yield from map(collate_fn, samples)
        return
    while batch := list(itertools.islice(samples, batch_size)):
        if drop_last and len(batch) < batch_size:
            return
        yield collate_fn(batch)


class DataLoader:
    """Iterates over the batches of a data set; each pass draws a new order if `shuffle`.

    With `num_workers` > 0 that many processes make the batches and hand them over in shared memory, always in the
    order of the sampler unless `in_order` is False; the order and all numbers drawn in the main process are the same
    for every number of workers. Worker i of a pass seeds fastdl, `random` and NumPy with `seed + i`, where the pass
    draws `seed` from the state of `generator`, and uses one thread. A data set's exception is raised here, with the
    worker's traceback. Arguments about pinned memory are taken and change nothing.

    Args:
        dataset: what to load.
        batch_size: samples per batch; None: the samples themselves, one by one.
        shuffle: take the samples in random order.
        sampler: yields the numbers of the samples, instead of `shuffle`.
        batch_sampler: yields lists of numbers, instead of batch_size, shuffle, sampler and drop_last.
        collate_fn: makes a batch of a list of samples; `default_collate` if None.
        num_workers: processes that load; 0: this one does.
        drop_last: leave out a last batch that is smaller.
        timeout: seconds to wait for a batch of a worker; 0: for ever.
        worker_init_fn: called in each worker with its number when it starts.
        multiprocessing_context: "fork", "spawn", "forkserver" or such a context; if None what `set_start_method`
            chose, where that is not Python's default, and "fork" on Linux.
        generator: random numbers of the shuffle; the global ones if None.
        prefetch_factor: batches that a worker makes ahead; 2 if None.
        persistent_workers: keep the workers for the next pass.
        in_order: False: batches as they are ready.
    Raises:
        ValueError: arguments that exclude each other or are out of range.
        RuntimeError: while iterating: a worker died, or took longer than `timeout`.
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
        if num_workers == 0 and (timeout or prefetch_factor is not None or persistent_workers):
            raise ValueError("[DataLoader] timeout, prefetch_factor and persistent_workers need num_workers > 0")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"[DataLoader] prefetch_factor: expected a number >= 1, got {prefetch_factor}")
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
            if not hasattr(dataset, "__getitem__"):
                raise TypeError(f"[DataLoader] dataset: expected a sequence, a Dataset or an IterableDataset, got "
                                f"{type(dataset).__name__}")
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
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order
        self._workers: Any = None  # those that persist
        self._pass_state: list | None = None
        self._passes = 0

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n if isinstance(self.dataset, IterableDataset) else len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers:
            return self._worker_batches()
        if isinstance(self.dataset, IterableDataset):
            return stream_batches(self.dataset, self.collate_fn, self.batch_size, self.drop_last)
        return map(fetcher(self.dataset, self.collate_fn, self.batch_sampler is not None), self._number_batches())

    def _worker_batches(self) -> Iterator[Any]:
        from .worker import Workers  # multiprocessing takes 20 ms to import

        workers = self._workers
        if workers is None or not workers.alive:
            workers = Workers(self)
        self._workers = workers if self.persistent_workers else None
        iterable = isinstance(self.dataset, IterableDataset)
        # arrays: tensors take longer through a pipe
        numbers = (n.numpy() if isinstance(n, Tensor) else n for n in self._number_batches())
        return workers.batches(self._pass_seed(), itertools.repeat(None) if iterable else numbers)

    def _pass_seed(self) -> int:
        """What a pass seeds its workers with: from the generator's state, and how often a pass began in that state.
        The generator does not move on, so the numbers of a program do not depend on how many workers it has."""
        source = self.generator or default_generator
        state = source.get_state().tolist()
        self._passes = self._passes + 1 if state == self._pass_state else 0
        self._pass_state = state
        return int(randint(0, 1 << 62, (self._passes + 1,), generator=source.clone_state())[-1])

    def _number_batches(self) -> Iterator[Any]:
        """The numbers of each batch: a slice, a tensor or, from a sampler of the user's, a list; or of each sample."""
        sampler, batcher = self.sampler, self.batch_sampler
        if type(batcher) is BatchSampler and type(sampler) is SequentialSampler:
            n, size = len(sampler), batcher.batch_size
            for start in range(0, n - n % size if batcher.drop_last else n, size):
                yield slice(start, min(start + size, n))
        elif type(batcher) is BatchSampler and type(sampler) is RandomSampler:
            size = batcher.batch_size
            rest = None
            for block in sampler.blocks():
                numbers = block if rest is None else cat([rest, block])
                whole = len(numbers) - len(numbers) % size
                for start in range(0, whole, size):
                    yield numbers[start : start + size]
                rest = numbers[whole:] if whole < len(numbers) else None
            if rest is not None and not batcher.drop_last:
                yield rest
        else:
            yield from sampler if batcher is None else batcher
