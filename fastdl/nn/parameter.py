"""Parameter, a tensor that a module trains, and Buffer, one that it keeps."""

from __future__ import annotations

from .._tensor import Tensor


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
