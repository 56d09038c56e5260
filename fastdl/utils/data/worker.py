"""Worker processes of a DataLoader.

Each worker has a connection and `prefetch_factor` slots: memory shared with the main process, which grows to the size
of a batch. A task is a slot and the numbers of samples; its reply is the batch pickled without its arrays, and where
these lie in the slot. The main process copies them out and gives the slot to the next task, so memory is written
again and again instead of being asked from the system for each batch. A worker answers in the order of its tasks.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import multiprocessing
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection, reduction
from typing import Any

import numpy as np

from ..._kernels import set_num_threads
from ..._tensor import Tensor
from ..._types import bfloat16
from ...ops.creation import tensor
from ...ops.random import manual_seed
from . import info
from .dataset import IterableDataset
from .loader import fetcher, stream_batches

ALIGN = 64  # bytes: where arrays begin in a slot
LOOK_AFTER_PARENT = 2.0  # seconds between looks whether the main process is still there
GRACE = 5.0  # seconds that workers have to finish what they do


class Slot:
    """A file that has no name, mapped where it is used. Both processes know its size: it only grows."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("fastdl")
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        self.map: mmap.mmap | None = None

    def __getstate__(self) -> Any:
        return reduction.DupFd(self.fd)  # only while a process is being spawned

    def __setstate__(self, state: Any) -> None:
        self.fd, self.map = state.detach(), None

    def memory(self, size: int, grow: bool = False) -> memoryview:
        """At least its first `size` bytes."""
        if self.map is None or len(self.map) < size:
            if grow:
                size = -(-size * 5 // 4 // mmap.PAGESIZE) * mmap.PAGESIZE  # the next batch may be a little larger
                os.ftruncate(self.fd, size)
            else:
                size = os.fstat(self.fd).st_size
            self.map = mmap.mmap(self.fd, size)
        return memoryview(self.map)

    def close(self) -> None:
        self.map = None
        os.close(self.fd)


# Batches without their arrays --------------------------------------------------------------------------------------


def _tensor(buffer: Any, dtype: str, shape: tuple[int, ...]) -> Tensor:
    return tensor(np.frombuffer(buffer, dtype).reshape(shape))


def _array(buffer: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape).copy()


class Pickler(pickle.Pickler):
    """Leaves the contents of tensors and arrays out and collects them in `arrays`."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, 5, buffer_callback=lambda buffer: id(buffer) not in self.own)
        self.arrays: list[pickle.PickleBuffer] = []
        self.own: set[int] = set()

    def reducer_override(self, value: Any) -> Any:
        make: Any
        if type(value) is Tensor and not value.requires_grad and not getattr(value, "__dict__", None):
            if value.dtype is bfloat16:
                return NotImplemented
            array, make = value.numpy(), _tensor
        elif type(value) is np.ndarray:
            array, make = value, _array
        else:
            return NotImplemented
        if array.dtype.isbuiltin != 1 or array.dtype.hasobject or array.dtype.kind in "SUV":
            return NotImplemented
        buffer = pickle.PickleBuffer(np.ascontiguousarray(array))  # type: ignore[arg-type]
        self.arrays.append(buffer)
        self.own.add(id(buffer))
        return make, (buffer, array.dtype.str, array.shape)


def pack(batch: Any, slot: Slot) -> list[tuple[int, int]]:
    """Puts a batch into a slot; returns (offset, bytes) of its arrays and, last, of what is left of it."""
    rest = io.BytesIO()
    pickler = Pickler(rest)
    pickler.dump(batch)
    parts = [*(array.raw() for array in pickler.arrays), rest.getbuffer()]
    places, end = [], 0
    for part in parts:
        places.append((end, part.nbytes))
        end += -(-part.nbytes // ALIGN) * ALIGN
    memory = slot.memory(end, grow=True)
    for (start, size), part in zip(places, parts):
        memory[start : start + size] = part
    return places


def unpack(places: list[tuple[int, int]], slot: Slot) -> Any:
    """The batch that `pack` put into the slot; it shares no memory with it."""
    memory = slot.memory(sum(places[-1]))
    *arrays, rest = (memory[start : start + size] for start, size in places)
    return pickle.loads(rest, buffers=arrays)


# In the worker -----------------------------------------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))


def describe(error: Exception) -> tuple[str, type[Exception] | None, str, str]:
    """An exception as a reply: its type, None if that cannot be pickled, its name and traceback."""
    kind: type[Exception] | None = type(error)
    try:
        reduction.ForkingPickler.dumps(kind)
    except Exception:
        kind = None
    return "error", kind, type(error).__name__, "".join(traceback.format_exception(error))


def work(
    pipe: Any, slots: list[Slot], index: int, count: int, inherited: list[Any], dataset: Any, init: Any, how: tuple
) -> None:
    """The life of a worker. Messages: (seed, None) begins a pass, (slot, numbers) asks for a batch, None ends it."""
    for end in inherited:  # the main process's ends, in a forked child: it could not see that they are closed
        end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_num_threads(1)
    collate_fn, batched, batch_size, drop_last = how
    iterable = isinstance(dataset, IterableDataset)
    parent = os.getppid()
    failed: Any = None
    fetch: Any = None
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            while not pipe.poll(LOOK_AFTER_PARENT):
                if os.getppid() != parent:
                    return
            message = pipe.recv()
            if message is None:
                return
            kind, first, numbers = message
            try:
                if kind == "pass":
                    fetch, starts = None, info.current is None
                    info.current = info.WorkerInfo(index, count, first + index, dataset)
                    seed_everything(first + index)
                    if starts and init is not None:
                        init(index)
                    if iterable:
                        stream = stream_batches(dataset, collate_fn, batch_size, drop_last)
                        fetch = lambda _, stream=stream: next(stream)  # noqa: E731
                    else:
                        fetch = fetcher(dataset, collate_fn, batched)
                    continue
                if failed is not None:
                    raise failed
                reply: Any = ("batch", pack(fetch(numbers), slots[first]))
            except Exception as error:
                if kind == "pass":  # told with the first batch that it should have made
                    failed = error
                    continue
                reply = ("end",) if iterable and isinstance(error, StopIteration) else describe(error)
            pipe.send(reply)


# In the main process -----------------------------------------------------------------------------------------------


class _Text(str):
    """Shown as it is where an exception shows the repr of its argument (KeyError)."""

    def __repr__(self) -> str:
        return str(self)


class Workers:
    """The worker processes of a loader."""

    def __init__(self, loader: Any) -> None:
        context = loader.multiprocessing_context
        if context is None and sys.platform.startswith("linux"):
            context = multiprocessing.get_start_method(allow_none=True)
            if context in (None, multiprocessing.get_all_start_methods()[0]):  # Python's default, which nobody chose
                context = "fork"
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        self.timeout, self.in_order = loader.timeout, loader.in_order
        self.persistent = loader.persistent_workers
        self.pipes: list[Any] = []
        self.processes: list[Any] = []
        self.slots: list[list[Slot]] = []
        self.waiting: deque[tuple[int, int]] = deque()  # (worker, slot) of the tasks that are not answered yet
        self.alive = True
        self.passes = 0
        self._end = weakref.finalize(self, _shut_down, os.getpid(), self.pipes, self.processes, self.slots)
        how = (loader.collate_fn, loader.batch_sampler is not None, loader.batch_size, loader.drop_last)
        forks = context.get_start_method() == "fork"
        for i in range(loader.num_workers):
            ours, theirs = context.Pipe()
            self.pipes.append(ours)
            self.slots.append([Slot() for _ in range(loader.prefetch_factor)])
            process = context.Process(
                target=work,
                args=(theirs, self.slots[i], i, loader.num_workers, list(self.pipes) if forks else [],
                      loader.dataset, loader.worker_init_fn, how),
                daemon=True,
            )
            with warnings.catch_warnings():  # fastdl's threads survive a fork
                warnings.filterwarnings("ignore", ".*multi-?threaded.*fork", DeprecationWarning)
                process.start()
            self.processes.append(process)
            theirs.close()

    def batches(self, seed: int, numbers: Iterator[Any]) -> Iterator[Any]:
        """One pass. Its first tasks are given out now, so that the workers begin at once."""
        self.passes += 1
        try:
            while self.waiting:  # of a pass that was not finished
                self._receive(*self._next())
            for i in range(len(self.pipes)):
                self._send(i, ("pass", seed, None))
            for slot in range(len(self.slots[0])):
                for i in range(len(self.pipes)):
                    self._ask(i, slot, numbers)
        except BaseException:
            self.shut_down(0)
            raise
        return self._answers(numbers)

    def _answers(self, numbers: Iterator[Any]) -> Iterator[Any]:
        ended: set[int] = set()
        this = self.passes
        try:
            while self.waiting and this == self.passes:
                i, slot = self._next()
                kind, *rest = self._receive(i, slot)
                batch = unpack(rest[0], self.slots[i][slot]) if kind == "batch" else None
                if kind == "end":
                    ended.add(i)
                elif i not in ended:
                    self._ask(i, slot, numbers)
                if kind == "error":
                    self._raise(i, *rest)
                if kind == "batch":
                    yield batch
        except BaseException as error:
            if not isinstance(error, GeneratorExit):
                self.shut_down(0)
            elif not self.persistent:
                self.shut_down()
            raise
        if not self.persistent:
            self.shut_down()

    def _ask(self, i: int, slot: int, numbers: Iterator[Any]) -> None:
        for number in numbers:
            self._send(i, ("batch", slot, number))
            self.waiting.append((i, slot))
            return

    def _send(self, i: int, message: Any) -> None:
        try:
            self.pipes[i].send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death(i) from None

    def _next(self) -> tuple[int, int]:
        """The task whose answer comes next: the oldest one, or one that is ready."""
        if not self.in_order:
            pipes = {self.pipes[i]: i for i, _ in self.waiting}
            ends = [self.processes[i].sentinel for i in pipes.values()]
            ready = [pipes[r] for r in connection.wait([*pipes, *ends], self.timeout or None) if r in pipes]
            if ready:
                task = next(task for task in self.waiting if task[0] == ready[0])
                self.waiting.remove(task)
                return task
        return self.waiting.popleft()

    def _receive(self, i: int, slot: int) -> Any:
        pipe, process = self.pipes[i], self.processes[i]
        ready = connection.wait([pipe, process.sentinel], self.timeout or None)
        if not ready:
            raise RuntimeError(f"[DataLoader] timed out after {self.timeout} seconds waiting for worker {i} "
                               f"(pid {process.pid})")
        try:
            if pipe in ready or pipe.poll():
                return pipe.recv()
        except (EOFError, ConnectionError):
            pass
        raise self._death(i)

    def _death(self, i: int) -> RuntimeError:
        process = self.processes[i]
        process.join(1)
        code = process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        return RuntimeError(f"[DataLoader] worker {i} (pid {process.pid}) {how}")

    def _raise(self, i: int, kind: type[Exception] | None, name: str, trace: str) -> None:
        text = _Text(f"Caught {name} in DataLoader worker process {i}.\n{trace}")
        error: BaseException = RuntimeError(text)
        if kind is not None and not issubclass(kind, StopIteration):
            with contextlib.suppress(Exception):  # not every exception is made of one text
                error = kind(text)
        raise error

    def shut_down(self, grace: float = GRACE) -> None:
        """Ends the workers; those that are not done after `grace` seconds are killed."""
        self.alive = False
        if self._end.detach():
            _shut_down(os.getpid(), self.pipes, self.processes, self.slots, grace)


def _shut_down(pid: int, pipes: list, processes: list, slots: list, grace: float = 0) -> None:
    if pid != os.getpid():  # a fork's copy: they are not its workers
        return
    for pipe in pipes:
        with contextlib.suppress(OSError):
            pipe.send(None)
        pipe.close()
    deadline = time.monotonic() + grace
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
    for slot in [slot for some in slots for slot in some]:
        slot.close()
