"""Parameter: a tensor that a module trains."""

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
