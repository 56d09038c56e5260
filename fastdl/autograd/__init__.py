"""Gradients as values, functions with a derivative of one's own, and tools that check derivatives.

What few programs need is loaded at first use. See docs/autograd.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._tensor import Tensor, grad_of, is_grad_enabled
from .._tensor import backward as _backward
from . import hooks as _hooks
from .grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled

if TYPE_CHECKING:
    from . import functional, graph
    from .function import Function
    from .numeric import GradcheckError, gradcheck, gradgradcheck
    from .watch import (
        check_finite,
        detect_anomaly,
        is_anomaly_check_nan_enabled,
        is_anomaly_enabled,
        set_check_finite,
        set_detect_anomaly,
    )

__all__ = [
    "Function",
    "Variable",
    "backward",
    "check_finite",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_check_finite",
    "set_detect_anomaly",
    "set_grad_enabled",
]

# name -> the module that has it
_LATER = {
    "Function": "function",
    "GradcheckError": "numeric",
    "check_finite": "watch",
    "detect_anomaly": "watch",
    "functional": "functional",
    "graph": "graph",
    "gradcheck": "numeric",
    "gradgradcheck": "numeric",
    "is_anomaly_check_nan_enabled": "watch",
    "is_anomaly_enabled": "watch",
    "set_check_finite": "watch",
    "set_detect_anomaly": "watch",
}


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_LATER[name]}")
    return module if _LATER[name] == name else getattr(module, name)


def __dir__():
    return sorted({*globals(), *_LATER})


def _as_list(x) -> list:
    return [x] if isinstance(x, Tensor) or x is None else list(x)


def _upstream(tensors: list, grads) -> list:
    if grads is None:
        return [None] * len(tensors)
    grads = _as_list(grads)
    if len(grads) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    return grads


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
    _backward(tensors, _upstream(tensors, grad_tensors), retain_graph, create_graph, inputs)


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    allow_unused=None,
    is_grads_batched=False,
    materialize_grads=False,
) -> tuple:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `grad` attribute changes.

    Args:
        outputs, inputs: a tensor or several.
        grad_outputs: upstream gradients of the outputs; None for outputs of one element.
        retain_graph: keep the graph for another pass; default: create_graph.
        create_graph: record this pass, for higher derivatives.
        allow_unused: None, instead of an error, for inputs that the outputs do not depend on.
        materialize_grads: zeros for these.
    Raises:
        RuntimeError: an input that does not require grad, or, unless allow_unused, one that outputs do not depend on.
        NotImplementedError: is_grads_batched; call it once for each row of grad_outputs instead.
    """
    if is_grads_batched:
        raise NotImplementedError(
            "[grad] is_grads_batched is not supported: call grad once for each row of grad_outputs, with "
            "retain_graph=True"
        )
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    outputs, inputs = _as_list(outputs), _as_list(inputs)
    unused = materialize_grads if allow_unused is None else allow_unused
    found = grad_of(outputs, inputs, _upstream(outputs, grad_outputs), retain_graph, create_graph, bool(unused))
    if materialize_grads:
        found = tuple(_hooks.zeros(x.shape, x.dtype) if g is None else g for g, x in zip(found, inputs))
    return found


class _IsTensor(type):
    def __instancecheck__(cls, x) -> bool:
        return isinstance(x, Tensor)


class Variable(metaclass=_IsTensor):
    """Old scripts' name of Tensor: Variable(x) is x."""

    def __new__(cls, data, requires_grad=False):
        return data.requires_grad_() if requires_grad else data
