"""Wrappers that spread a module over devices or processes."""

from __future__ import annotations

from typing import Any

from .container import DataParallel
from .module import Module

__all__ = ["DataParallel", "DistributedDataParallel"]


class DistributedDataParallel(Module):
    """A module trained by several processes. There is no communication between processes here.

    Raises:
        RuntimeError: always.
    """

    def __init__(self, module: Module, *args: Any, **options: Any) -> None:
        raise RuntimeError("[DistributedDataParallel] fastdl trains in one process, use the module itself")
