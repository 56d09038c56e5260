"""Function: operators with a derivative that the user writes."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from .._tensor import FunctionNode, Tensor, edges_of, is_grad_enabled, mark_written, set_grad_mode
from .hooks import zeros
from .watch import written_over

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx(FunctionNode):
    """What `forward` and `backward` of a Function share; also the node in the graph. Any attribute may be added."""

    materialize_grads = True
    needs_input_grad: tuple[bool, ...] = ()
    to_save: tuple = ()
    dirty_tensors: tuple = ()
    non_differentiable: tuple = ()
    _function: type[Function]

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for `backward`, where `saved_tensors` gives them back: the way that finds later writes to them.

        For inputs, outputs and tensors made in between. Other values become attributes of ctx.
        """
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(tensor).__name__}; "
                    "set an attribute of ctx instead"
                )
        self.to_save = tensors

    @property
    def saved_tensors(self) -> tuple:
        """The tensors that `save_for_backward` was given.

        Raises:
            RuntimeError: one of them was written to since, or the graph was freed by an earlier backward pass.
        """
        if self._kept is None:
            return tuple(self.to_save)  # forward is not over yet
        if self._kept is False:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
                "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time "
                f"or if you need to access saved tensors after calling backward. [{self.name()}]"
            )
        found: list[Tensor | None] = []
        for tensor, version, index in self._kept:
            if tensor is not None and tensor._version != version:
                raise written_over(tensor, version, "input" if index < 0 else "output", self.name())
            found.append(tensor if index < 0 else self._output(tensor.detach(), index))
        return tuple(found)

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says which inputs `forward` changed in place; it must return them."""
        self.dirty_tensors = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says which outputs have no gradient; those that are no floats never have one."""
        self.non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: `backward` gets None, not zeros, for outputs that nothing depends on."""
        self.materialize_grads = value

    # What apply and the engine call

    def _finish(self, inputs: tuple, edges: tuple, raw: Any) -> Any:
        """Makes this node the history of what forward returned."""
        outs = list(raw) if isinstance(raw, tuple) else [raw]
        dirty, fixed = set(map(id, self.dirty_tensors)), set(map(id, self.non_differentiable))
        given = set(map(id, inputs))
        recorded = is_grad_enabled() and any(self.needs_input_grad)
        for tensor in self.dirty_tensors:
            if not any(tensor is out for out in outs):
                raise RuntimeError(
                    f"Some elements marked as dirty during the forward method of {self._function.__name__} were not "
                    "returned as output. The inputs that are modified inplace must all be outputs of the Function."
                )
            if is_grad_enabled():
                mark_written(tensor, self.name(), True)
        for i, out in enumerate(outs):
            if isinstance(out, Tensor) and id(out) not in dirty and (id(out) in given or out.requires_grad):
                outs[i] = out.detach()
        self._outputs = [(out.shape, out.dtype) if isinstance(out, Tensor) else None for out in outs]
        made = tuple(
            out if isinstance(out, Tensor) and out.is_floating_point() and id(first) not in fixed else None
            for out, first in zip(outs, raw if isinstance(raw, tuple) else (raw,))
        )
        if recorded:
            self._inputs_like = [(x.shape, x.dtype) if isinstance(x, Tensor) else None for x in inputs]
            views = [t for t in self.dirty_tensors if t._base is not None]
            if views and not (len(outs) == 1 and views[0] is inputs[0]):
                raise RuntimeError(
                    f"[{self._function.__name__}] a view that is changed in place must be the first input and the only "
                    "output; clone() it first"
                )
        for tensor in self.dirty_tensors:
            mark_written(tensor, self.name(), False)
        if recorded:
            self._record(made, edges, bool(views))
            self._keep(outs)
        self.to_save = self.dirty_tensors = self.non_differentiable = ()
        return tuple(outs) if isinstance(raw, tuple) else outs[0]

    def _keep(self, outs: list) -> None:
        # an output is kept as an alias without history: the tensor itself would be a reference cycle
        kept = []
        for tensor in self.to_save:
            index = next((i for i, out in enumerate(outs) if out is tensor), -1)
            version = 0 if tensor is None else tensor._version
            kept.append((tensor if index < 0 else tensor.detach(), version, index))
        self._kept = kept

    def _backward(self, grads: list) -> tuple:
        name = self.name()
        if self.materialize_grads:
            grads = [
                zeros(*like) if grad is None and like is not None else grad
                for grad, like in zip(grads, self._outputs)
            ]
        result = self._function.backward(self, *grads)
        if not isinstance(result, tuple):
            result = (result,)
        count = len(self.needs_input_grad)
        if len(result) > count and all(grad is None for grad in result[count:]):
            result = result[:count]
        if len(result) != count:
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {count}, got {len(result)})"
            )
        return tuple(self._checked(i, grad, name) for i, grad in enumerate(result))

    def _checked(self, i: int, grad: Any, name: str) -> Tensor | None:
        if grad is None:
            return None
        like = self._inputs_like[i]
        if not isinstance(grad, Tensor):
            raise RuntimeError(f"[{name}] gradient {i} is of type {type(grad).__name__}: expected a Tensor or None")
        if like is None:
            raise RuntimeError(
                f"function {name} returned a gradient different than None at position {i + 1}, but the corresponding "
                "forward input was not a Variable"
            )
        if not self.needs_input_grad[i]:
            return None
        shape, dtype = like
        if grad.shape != shape:
            if not _expands(tuple(shape), tuple(grad.shape)):
                raise RuntimeError(
                    f"Function {name} returned an invalid gradient at index {i} - got {list(grad.shape)} but expected "
                    f"shape compatible with {list(shape)}"
                )
            grad = grad.sum_to_size(*shape)
        return grad if grad.dtype == dtype else grad.to(dtype)


def _expands(small: tuple, large: tuple) -> bool:
    """Whether `small` can be broadcast to `large`."""
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(small[::-1], large[::-1]))


class Function:
    """An operator with its own derivative: a subclass with static `forward` and `backward`, called by `apply`.

    `forward(ctx, *args)` computes; nothing is recorded in it. Arguments and results may be tensors or anything else.
    In the other form `forward(*args)` has no ctx and `setup_context(ctx, inputs, output)` says what to save.
    `backward(ctx, *grads)` gets a gradient for each output and returns one, or None, for each argument of `apply`. Made
    of tensor operators, it can be differentiated again.

    Example:
        >>> class Exp(Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         y = x.exp()
        ...         ctx.save_for_backward(y)
        ...         return y
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         (y,) = ctx.saved_tensors
        ...         return g * y
        >>> y = Exp.apply(x)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        raise RuntimeError(
            f"{type(self).__name__} should not be instantiated. Methods on autograd functions are all static, so you "
            f"should invoke them on the class itself: {type(self).__name__}.apply(...)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the result; every subclass defines it."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple, output: Any) -> Any:
        """Saves what backward needs, if `forward` has no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Any) -> Any:
        """The gradients of the arguments, given those of the results."""
        raise NotImplementedError(
            f"You must implement the backward method of {ctx._function.__name__} to use it with backward mode AD."
        )

    @classmethod
    def _context(cls) -> type[FunctionCtx]:
        """The class of this Function's nodes: its name is what grad_fn shows."""
        if "_node_class" not in cls.__dict__:
            members = {"_function": cls}
            setattr(cls, "_node_class", type(f"{cls.__name__}Backward", (FunctionCtx,), members))  # noqa: B010
        return cls.__dict__["_node_class"]

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Computes `forward` on the arguments and records `backward`."""
        separate = cls.setup_context is not Function.setup_context
        ctx = cls._context()()
        if kwargs or separate:  # default values are inputs too
            bound = inspect.signature(cls.forward).bind(*(() if separate else (ctx,)), *args, **kwargs)
            bound.apply_defaults()
            args = bound.args if separate else bound.args[1:]
        edges = edges_of(args)
        ctx.needs_input_grad = tuple([edge is not None for edge in edges])
        before = set_grad_mode(False)
        try:
            if separate:
                raw = cls.forward(*args)
                cls.setup_context(ctx, args, raw)
            else:
                raw = cls.forward(ctx, *args)
        finally:
            set_grad_mode(before)
        return ctx._finish(args, edges, raw)


class _Twice(Function):
    """Hands tensors on and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, name: str, dependence: Any, *tensors: Any) -> tuple:
        ctx.function_name = name
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            f"trying to differentiate twice a function that was marked with @once_differentiable [{ctx.function_name}]"
        )


def once_differentiable(function):
    """Decorates a `backward` that cannot be differentiated, because it computes outside of tensor operators."""

    @functools.wraps(function)
    def wrapped(ctx, *grads):
        recording = set_grad_mode(False)
        try:
            result = function(ctx, *grads)
        finally:
            set_grad_mode(recording)
        dependence = [grad for grad in grads if isinstance(grad, Tensor) and grad.requires_grad]
        if not recording or not dependence:
            return result
        several = isinstance(result, tuple)
        out = _Twice.apply(ctx.name(), dependence[0], *(result if several else (result,)))
        return out if several else out[0]

    return wrapped
