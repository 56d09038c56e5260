"""Recording on and off, and gradients as values."""

from __future__ import annotations

import functools
import inspect

from ._tensor import Tensor, grad_of, is_grad_enabled, set_grad_mode
from ._tensor import backward as _backward

__all__ = ["backward", "enable_grad", "grad", "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled"]


class _GradMode:
    """Recording as `mode` says inside a `with` block or a decorated function, in this thread."""

    mode = True

    def __enter__(self):
        self.before = set_grad_mode(self.mode)
        return self

    def __exit__(self, *error) -> None:
        set_grad_mode(self.before)

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args, **kwargs):
                items = function(*args, **kwargs)
                while True:
                    with type(self)():
                        try:
                            item = next(items)
                        except StopIteration as stop:
                            return stop.value
                    yield item

            return generator

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)():
                return function(*args, **kwargs)

        return wrapped


def _decorate(cls, function):
    """`@no_grad` works like `@no_grad()`."""
    return cls.__call__(object.__new__(cls), function)


class no_grad(_GradMode):
    """Nothing is recorded inside: `with no_grad():` or `@no_grad()`."""

    mode = False

    def __new__(cls, function=None):
        return object.__new__(cls) if function is None else _decorate(cls, function)


class enable_grad(_GradMode):
    """Operators are recorded inside, also within `no_grad`."""

    mode = True

    def __new__(cls, function=None):
        return object.__new__(cls) if function is None else _decorate(cls, function)


class inference_mode(_GradMode):
    """As no_grad. inference_mode(False) does nothing."""

    mode = False

    def __new__(cls, mode=True):
        return _decorate(cls, mode) if callable(mode) else object.__new__(cls)

    def __init__(self, mode=True):
        if not mode:
            self.mode = is_grad_enabled()


class set_grad_enabled:
    """Turns recording on or off at once; as a context manager, until the end of the block."""

    def __init__(self, mode: bool):
        self.before = set_grad_mode(bool(mode))

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        set_grad_mode(self.before)


def _as_list(x) -> list:
    return [x] if isinstance(x, Tensor) or x is None else list(x)


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None) -> None:
    """Accumulates the gradients of `tensors` into the leaves' `grad`.

    Args:
        tensors: a tensor or several.
        grad_tensors: their upstream gradients; None for tensors of one element.
        retain_graph: keep the graph for another pass; default: create_graph.
        create_graph: record this pass, for higher derivatives.
        inputs: accumulate into these only.
    """
    tensors = _as_list(tensors)
    grads = [None] * len(tensors) if grad_tensors is None else _as_list(grad_tensors)
    _backward(tensors, grads, retain_graph, create_graph, inputs)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=None) -> tuple:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `grad` attribute changes.

    Raises:
        RuntimeError: an input that does not require grad, or, unless allow_unused, one that outputs do not depend on.
    """
    outputs, inputs = _as_list(outputs), _as_list(inputs)
    grads = [None] * len(outputs) if grad_outputs is None else _as_list(grad_outputs)
    return grad_of(outputs, inputs, grads, retain_graph, create_graph, bool(allow_unused))
