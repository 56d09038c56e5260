"""What scripts ask about training in several processes: fastdl trains in one, with threads."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "all_gather", "all_reduce", "barrier", "broadcast", "destroy_process_group", "get_rank", "get_world_size",
    "init_process_group", "is_available", "is_initialized",
]  # fmt: skip


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def init_process_group(*args: Any, **options: Any) -> NoReturn:
    """Raises RuntimeError: there is no communication between processes."""
    raise RuntimeError("[distributed] fastdl trains in one process and has no process groups; see set_num_threads")


def _without_group(*args: Any, **options: Any) -> NoReturn:
    """Raises ValueError, as PyTorch does without a process group."""
    raise ValueError("Default process group has not been initialized, and fastdl has none: see is_initialized()")


all_gather = all_reduce = barrier = broadcast = destroy_process_group = get_rank = get_world_size = _without_group
