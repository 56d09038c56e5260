"""What a worker process of a DataLoader knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class WorkerInfo:
    """In a worker: its number, how many there are, its seed in this pass and its copy of the data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


current: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader what it is (`id`, `num_workers`, `seed`, `dataset`), elsewhere None.

    An IterableDataset shares its samples out among the workers with it.
    """
    return current
