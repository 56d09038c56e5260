"""Questions about tensors and types, and PyTorch's settings that have one value here."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor, register_method
from .._types import as_dtype, bool_, dtype


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are floating-point numbers."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """False: there are no complex tensors."""
    return False


def real(input: Tensor) -> Tensor:
    """The tensor itself: there are no complex ones."""
    return input


def is_signed(input: Tensor) -> bool:
    """Whether the type has negative numbers."""
    return input.dtype.is_signed


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not 0.

    Raises: RuntimeError unless there is exactly one.
    """
    if input.numel() != 1:
        raise RuntimeError(f"Boolean value of Tensor with {input.numel()} values is ambiguous")
    return bool(input.item() != 0)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return input.shape == other.shape


def typename(obj: Any) -> str:
    """The name of a tensor's type as PyTorch writes it, else of an object's class with its module."""
    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if isinstance(obj, type) else type(obj)
    where = "" if kind.__module__ in ("builtins", None) else kind.__module__ + "."
    return where + kind.__qualname__


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether results of one type may be written into the other: no floats into integers, nor these into bools."""
    ranks = [0 if d is bool_ else 2 if d.is_floating_point else 1 for d in (as_dtype(from_), as_dtype(to))]
    return ranks[0] <= ranks[1]


def get_device(input: Tensor) -> int:
    """-1, the number of the CPU."""
    return -1


def are_deterministic_algorithms_enabled() -> bool:
    """True: results never depend on the number of threads or on the processor."""
    return True


for _function in (is_complex, is_signed, is_nonzero, is_same_size, get_device):
    register_method(_function.__name__, _function)
register_method("real", property(real, doc="The tensor itself: there are no complex ones."))
register_method("is_cpu", property(lambda self: True, doc="True: all tensors are in the CPU's memory."))
register_method("__rdiv__", Tensor.__rtruediv__)
