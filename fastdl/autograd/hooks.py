"""Hooks on gradients of tensors. A dictionary of hooks has number -> (kind, function)."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from .._tensor import Tensor, from_numpy, hooks_of, register_method

_numbers = itertools.count()

GRADIENT, ACCUMULATED, RETAIN = range(3)  # called with the gradient; with the leaf; a weak reference to who keeps it


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


def run_post(hooks: OrderedDict, leaf: Tensor) -> None:
    """Tells the hooks that the leaf's `grad` is final."""
    for kind, hook in list(hooks.values()):
        if kind == ACCUMULATED and hook(leaf) is not None:
            raise RuntimeError("Tensor post accumulate grad hooks should return None.")


def zeros(shape, dtype) -> Tensor:
    """Zeros in memory of their own."""
    return from_numpy(np.zeros(tuple(shape), dtype.numpy))


register_method("register_hook", register_hook)
register_method("register_post_accumulate_grad_hook", register_post_accumulate_grad_hook)
register_method("retain_grad", retain_grad)
register_method("retains_grad", property(_retains_grad))
