"""Switches of PyTorch's that scripts set: accepted, and without effect where fastdl knows one way only."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

__all__ = [
    "accelerator", "compile", "cudnn", "get_float32_matmul_precision", "mps", "set_float32_matmul_precision",
    "use_deterministic_algorithms", "version",
]  # fmt: skip

__path__: list[str] = []  # makes it a package: `import torch.backends.cudnn`


def _no() -> bool:
    return False


cudnn = SimpleNamespace(
    allow_tf32=False, benchmark=False, deterministic=True, enabled=False, is_available=_no, version=lambda: None
)
mps = SimpleNamespace(is_available=_no, is_built=_no)
cuda = SimpleNamespace(is_built=_no, matmul=SimpleNamespace(allow_tf32=False))
accelerator = SimpleNamespace(is_available=_no, current_accelerator=lambda *args: None, device_count=lambda: 0)
version = SimpleNamespace(cuda=None, hip=None)


def compile(model: Any = None, **options: Any) -> Any:
    """The model or function itself: there is nothing to compile. Works as a decorator, too."""
    return model if model is not None else lambda function: function


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Does nothing: all algorithms are deterministic."""


_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Remembers the setting; products are always computed in full float32 precision.

    Raises:
        RuntimeError: not "highest", "high" or "medium".
    """
    global _precision
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"[set_float32_matmul_precision] expected 'highest', 'high' or 'medium', got {precision!r}")
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What set_float32_matmul_precision was given."""
    return _precision
