"""Parameter, a tensor that a module trains, and Buffer, one that it keeps."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from .functional import empty


class Parameter(Tensor):
    """A leaf tensor that a Module registers when it is assigned as an attribute. Shares memory with `data`."""

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = Tensor()
        return Tensor._make_subclass(cls, data, requires_grad)

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Everything is done in `__new__`; Tensor's own arguments mean something else."""

    def __deepcopy__(self, memo: dict) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.data.clone(), self.requires_grad)
        memo[id(self)] = result
        return result


class Buffer(Tensor):
    """A tensor that a Module registers as a buffer when it is assigned as an attribute. Shares memory with `data`.

    persistent: whether it belongs to the module's state_dict.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        buffer = Tensor._make_subclass(cls, Tensor() if data is None else data, False)
        buffer.persistent = persistent
        return buffer

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Everything is done in `__new__`; Tensor's own arguments mean something else."""


class _Uninitialized(Tensor):
    """A tensor without a shape, until `materialize`."""

    cls_to_become: type

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def materialize(self, shape: tuple[int, ...], device: Any = None, dtype: Any = None) -> None:
        """Makes it a tensor of this shape, with memory that is not set."""
        self.data = empty(tuple(shape), dtype=self.dtype if dtype is None else dtype, device=device)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict) -> Any:
        result = type(self)(self.requires_grad, dtype=self.dtype)  # type: ignore[call-arg]
        memo[id(self)] = result
        return result


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A parameter whose shape a lazy module finds out at its first call."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        return Tensor._make_subclass(cls, empty(0, dtype=dtype, device=device), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):  # type: ignore[misc]
    """A buffer whose shape a lazy module finds out at its first call."""

    cls_to_become = Buffer

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        buffer = Tensor._make_subclass(cls, empty(0, dtype=dtype, device=device), requires_grad)
        buffer.persistent = persistent
        return buffer
