"""What full backward hooks of modules are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._tensor import Tensor
from ..autograd import Function
from ..autograd.hooks import RemovableHandle

__all__ = ["Boundary", "RemovableHandle"]


class _Gate(Function):
    """Hands tensors on; `receive` gets the tuple of their gradients on the way back and returns another."""

    @staticmethod
    def forward(ctx: Any, receive: Callable[[tuple], tuple], *tensors: Tensor) -> tuple:
        ctx.receive = receive
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple:
        return (None, *ctx.receive(grads))


class Boundary:
    """A gate before and one after a module's call: their gradients are what its backward hooks are told."""

    def __init__(self, module: Any):
        from .module import _for_all

        self.module = module
        self.hooks = [*_for_all["backward"].values(), *(module._backward_hooks or {}).values()]
        self.pre_hooks = [*_for_all["backward_pre"].values(), *(module._backward_pre_hooks or {}).values()]
        self.inputs = 0
        self.has_input = False
        self.grad_output: tuple = ()

    def enter(self, args: tuple) -> tuple:
        """The arguments behind the first gate."""
        self.inputs = len(args)
        at = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
        self.has_input = bool(at)
        return self._through(args, at, self._call_hooks)

    def leave(self, out: Any) -> Any:
        """The outputs behind the second gate."""
        outs = out if isinstance(out, tuple) else (out,)
        at = [i for i, x in enumerate(outs) if isinstance(x, Tensor) and x.requires_grad]
        outs = self._through(outs, at, self._outputs_reached)
        return outs if isinstance(out, tuple) else outs[0]

    def _through(self, values: tuple, at: list[int], reached: Callable[[tuple], tuple]) -> tuple:
        if not at:
            return values
        count = len(values)

        def receive(grads: tuple) -> tuple:
            whole = reached(_spread(grads, at, count))
            return tuple(whole[i] for i in at)

        gated = _spread(_Gate.apply(receive, *(values[i] for i in at)), at, count)
        return tuple(gated[i] if i in at else value for i, value in enumerate(values))

    def _outputs_reached(self, grads: tuple) -> tuple:
        for hook in self.pre_hooks:
            grads = self._replaced(hook(self.module, grads), grads, "backward pre hook")
        self.grad_output = grads
        if not self.has_input:
            self._call_hooks((None,) * self.inputs)
        return grads

    def _call_hooks(self, grads: tuple) -> tuple:
        for hook in self.hooks:
            result = hook(self.module, grads, self.grad_output)
            if result is not None and not self.has_input:
                raise RuntimeError("a backward hook of a module none of whose inputs requires grad returns None")
            grads = self._replaced(result, grads, "backward hook")
        self.grad_output = ()
        return grads

    def _replaced(self, result: Any, grads: tuple, what: str) -> tuple:
        if result is None:
            return grads
        result = result if isinstance(result, tuple) else (result,)
        if len(result) != len(grads):
            raise RuntimeError(f"{what} returned {len(result)} gradients, expected {len(grads)}")
        return result


def _spread(values: tuple, at: list[int], count: int) -> tuple:
    """`values` at the places `at` of a tuple of `count`, None elsewhere."""
    found: list = [None] * count
    for i, value in zip(at, values):
        found[i] = value
    return tuple(found)
