"""Hooks on gradients of tensors and on operators. A dictionary of hooks has number -> (kind, function)."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tensor import Node, Tensor, from_numpy, hooks_of, register_method

_numbers = itertools.count()

# Called with the gradient; with the leaf; a weak reference to who keeps it; before and after an operator's derivative;
# no hook but the dictionary that belongs to an operator.
GRADIENT, ACCUMULATED, RETAIN, BEFORE, AFTER, METADATA = range(6)


class RemovableHandle:
    """Returned by `register_*_hook`; `remove()`, or leaving a `with` block, takes the hook away."""

    def __init__(self, hooks: OrderedDict):
        self.id = next(_numbers)
        self._hooks = weakref.ref(hooks)

    @classmethod
    def add(cls, hooks: OrderedDict, entry: Any, prepend: bool = False) -> RemovableHandle:
        """Puts `entry` last (or first) into `hooks`."""
        handle = cls(hooks)
        hooks[handle.id] = entry
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def remove(self) -> None:
        """Takes the hook away; a second call does nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Calls hook(grad) once per backward pass, when this tensor's gradient is known; what it returns replaces it.

    Hooks run in the order of their registration, and before `grad` is written. The hook must not change its argument.

    Returns:
        A handle with `remove()`.
    Raises:
        RuntimeError: the tensor does not require grad; at backward: the hook changed the gradient's size.
    """
    if not callable(hook):
        raise TypeError(f"[register_hook] hook: expected a function of the gradient, got {type(hook).__name__}")
    return RemovableHandle.add(hooks_of(self), (GRADIENT, hook))


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Calls hook(tensor) as soon as the `grad` of this leaf is final, while those of others are still computed.

    Returns:
        A handle with `remove()`.
    Raises:
        RuntimeError: the tensor is not a leaf that requires grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return RemovableHandle.add(hooks_of(self), (ACCUMULATED, hook))


def retain_grad(self: Tensor) -> None:
    """Makes `backward` keep this non-leaf tensor's gradient in `grad`."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if not self.is_leaf and not self.retains_grad:
        RemovableHandle.add(hooks_of(self), (RETAIN, weakref.ref(self)))


def _retains_grad(self: Tensor) -> bool:
    """Whether `backward` keeps the gradient of this non-leaf tensor."""
    return not self.is_leaf and _kept_by(self, hooks_of(self)) is not None


def warn_of_no_grad(self: Tensor) -> None:
    """Says why `grad` is None for a tensor that is no leaf."""
    if not self.retains_grad:
        warnings.warn(
            "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed: backward() does not fill it. "
            "Call .retain_grad() on it before, or, if you meant a leaf, access that one.",
            stacklevel=2,
        )


def _kept_by(tensor: Tensor, hooks: OrderedDict) -> int | None:
    for number, (kind, hook) in hooks.items():
        if kind == RETAIN and hook() is tensor:
            return number
    return None


def move_retained(tensor: Tensor, hooks: OrderedDict) -> None:
    """After a write to `tensor`, which has other hooks now: it is the new value's gradient that is kept."""
    number = _kept_by(tensor, hooks)
    if number is not None:
        hooks_of(tensor)[number] = hooks.pop(number)


def run(hooks: OrderedDict, grad: Tensor) -> Tensor:
    """What the hooks make of the gradient."""
    keepers = []
    for kind, hook in list(hooks.values()):
        if kind == RETAIN:
            keepers.append(hook)
        elif kind == GRADIENT:
            result = hook(grad)
            if result is None:
                continue
            name = getattr(hook, "__name__", type(hook).__name__)
            if not isinstance(result, Tensor):
                raise TypeError(f"a gradient hook returns a Tensor or None, but '{name}' returned {result!r:.100}")
            if result.shape != grad.shape:
                raise RuntimeError(
                    f"hook '{name}' has changed the size of value: {tuple(result.shape)}, the gradient has "
                    f"{tuple(grad.shape)}"
                )
            grad = result
    for keeper in keepers:
        owner = keeper()
        if owner is not None:
            before = owner.grad
            owner.grad = grad.clone() if before is None else before + grad
    return grad


def run_post(hooks: OrderedDict, leaf: Tensor, grad: Tensor) -> None:
    """Tells the hooks that the leaf's `grad` is final: `grad` was added to it."""
    for kind, hook in list(hooks.values()):
        if kind == ACCUMULATED and hook(leaf) is not None:
            raise RuntimeError("Tensor post accumulate grad hooks should return None.")
    run_after(hooks, (), (grad,))


def run_before(hooks: OrderedDict, grads: tuple) -> tuple:
    """What the hooks make of the gradients of an operator's outputs."""
    for kind, hook in list(hooks.values()):
        if kind == BEFORE:
            grads = _replaced(hook, hook(grads), grads)
    return grads


def run_after(hooks: OrderedDict, inputs: tuple, outputs: tuple) -> tuple:
    """What the hooks make of the gradients of an operator's inputs; those of its outputs are shown to them."""
    for kind, hook in list(hooks.values()):
        if kind == AFTER:
            inputs = _replaced(hook, hook(inputs, outputs), inputs)
    return inputs


def _replaced(hook: Callable, result: Any, grads: tuple) -> tuple:
    """The gradients that a hook returned, None: those that it was given."""
    if result is None:
        return grads
    if not isinstance(result, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(result).__name__}'")
    name = getattr(hook, "__name__", type(hook).__name__)
    if len(result) != len(grads):
        raise RuntimeError(f"hook '{name}' has returned an incorrect number of values (got {len(result)}, but expected "
                           f"{len(grads)})")
    for new, old in zip(result, grads):
        if (new is None) != (old is None) or (new is not None and new.shape != old.shape):
            raise RuntimeError(f"hook '{name}' has changed the size of value: expected gradients as it was given")
    return result


def zeros(shape, dtype) -> Tensor:
    """Zeros in memory of their own."""
    return from_numpy(np.zeros(tuple(shape), dtype.numpy))


class AccumulateGrad(Node):
    """Stands for a leaf in `next_functions`."""

    next_functions = ()

    def __init__(self, variable: Tensor):
        self.variable = variable

    def name(self) -> str:
        """As PyTorch spells it."""
        return "torch::autograd::AccumulateGrad"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return hash(self.variable)


def _hooks(node: Node) -> OrderedDict:
    return hooks_of(node.variable if isinstance(node, AccumulateGrad) else node)


def register_node_hook(self: Node, hook: Callable[[tuple, tuple], Any]) -> RemovableHandle:
    """Calls hook(grad_inputs, grad_outputs) after the derivative of this operator: tuples of gradients or None.

    A tuple that it returns replaces grad_inputs. That of a leaf (AccumulateGrad) runs when `grad` has been added to,
    with no grad_inputs.

    Returns:
        A handle with `remove()`.
    """
    return RemovableHandle.add(_hooks(self), (AFTER, hook))


def register_prehook(self: Node, hook: Callable[[tuple], Any]) -> RemovableHandle:
    """Calls hook(grad_outputs) before the derivative of this operator: a tuple that it returns replaces them.

    Returns:
        A handle with `remove()`.
    """
    return RemovableHandle.add(_hooks(self), (BEFORE, hook))


def _metadata(self: Node) -> dict:
    """A dictionary for whatever a program wants to know of this operator."""
    return _hooks(self).setdefault("metadata", (METADATA, {}))[1]


register_method("register_hook", register_hook)
register_method("register_post_accumulate_grad_hook", register_post_accumulate_grad_hook)
register_method("retain_grad", retain_grad)
register_method("retains_grad", property(_retains_grad))
register_method("register_hook", register_node_hook, Node)
register_method("register_prehook", register_prehook, Node)
register_method("metadata", property(_metadata), Node)
