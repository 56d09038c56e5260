"""Tensors of other libraries: through DLPack, without a copy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ._tensor import Tensor, from_numpy
from ._types import bfloat16

__all__ = ["foreign_array", "from_dlpack", "to_dlpack"]


class _Capsule:
    """What a DLPack capsule came from, as NumPy wants to see it."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def foreign_array(data: Any) -> np.ndarray:
    """A NumPy array on the memory of another library's tensor, without its history.

    Raises:
        TypeError: a type or a device that NumPy does not know.
    """
    if getattr(data, "requires_grad", False):
        data = data.detach()
    try:
        if str(getattr(data, "dtype", "")) == "torch.bfloat16":  # NumPy's DLPack lacks it; PyTorch views it as int16
            data = data.view(sys.modules[type(data).__module__.partition(".")[0]].int16)
            return np.from_dlpack(data).view(bfloat16.numpy)
        return np.from_dlpack(data)
    except (BufferError, RuntimeError) as error:
        what = f"{type(data).__module__}.{type(data).__qualname__}"
        kind = " ".join(str(getattr(data, name)) for name in ("dtype", "device") if hasattr(data, name))
        raise TypeError(f"[from_dlpack] cannot take the {what} ({kind}): {error}") from None


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of `ext_tensor`: an object with `__dlpack__` (of PyTorch, NumPy, JAX, ..) or a capsule.

    Raises:
        TypeError: not on the CPU, or of a type that no tensor has.
    """
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.detach()
    if not hasattr(ext_tensor, "__dlpack__"):
        if type(ext_tensor).__name__ != "PyCapsule":
            raise TypeError(f"[from_dlpack] expected an object with __dlpack__, got {type(ext_tensor).__name__}")
        ext_tensor = _Capsule(ext_tensor)
    return from_numpy(foreign_array(ext_tensor))


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule on the tensor's memory, to be used once."""
    return tensor.__dlpack__()
