"""What scripts ask about GPUs: there are none."""

from __future__ import annotations

from typing import Any, NoReturn

from . import amp
from ._types import device as _device

__all__ = [
    "amp", "current_device", "device_count", "empty_cache", "get_device_name", "is_available", "is_bf16_supported",
    "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated",
    "reset_peak_memory_stats", "synchronize",
]  # fmt: skip

__path__: list[str] = []  # makes it a package: `from torch.cuda.amp import autocast`


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def device_count() -> int:
    """0"""
    return 0


def manual_seed(seed: int) -> None:
    """Seeds a GPU's generator; the CPU's is another one and stays as it is, as in PyTorch."""


def manual_seed_all(seed: int) -> None:
    """Seeds the generators of all GPUs: of none."""


def empty_cache() -> None:
    """Does nothing; fastdl.memory.empty_cache() is about the CPU's memory."""


def synchronize(device: Any = None) -> None:
    """Does nothing: every operator has finished when it returns."""


def memory_allocated(device: Any = None) -> int:
    """0"""
    return 0


max_memory_allocated = memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """Does nothing."""


def current_device() -> NoReturn:
    """Raises: there is no GPU."""
    _device("cuda")
    raise AssertionError


def get_device_name(device: Any = None) -> NoReturn:
    """Raises: there is no GPU."""
    current_device()
