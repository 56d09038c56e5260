"""Gradient clipping: by the norm of all gradients together, or each element by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ..._tensor import Tensor, tensor_from
from ...autograd import no_grad
from ...ops import optim as ops


def _with_grad(op: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    params = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for p in params:
        if not isinstance(p, Tensor):
            raise TypeError(f"[{op}] parameters: expected Tensors, one of them is {type(p).__name__}")
    return ops.with_grad(params)


def _total_norm(params: list[Tensor], norm_type: float) -> float:
    if norm_type == 2:
        return ops.grad_norm(params)
    parts = [p.grad.numpy().reshape(-1) for p in params if p.grad.numel()]
    return float(np.linalg.norm([np.linalg.norm(g, norm_type) for g in parts], norm_type)) if parts else 0.0


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients in place so that the norm of all of them together is at most `max_norm`.

    `optimizer.step(max_norm=..)` does the same within the update, without writing the gradients.

    Args:
        parameters: one tensor or several; those without gradient are skipped.
        max_norm: the bound.
        norm_type: p of the p-norm; may be inf.
        error_if_nonfinite: raise if the norm is NaN or inf instead of scaling by it.
        foreach: accepted and not needed.
    Returns:
        The norm before, a 0-d tensor.
    Raises:
        RuntimeError: the norm is not finite and error_if_nonfinite is set.
    """
    max_norm, norm_type = float(max_norm), float(norm_type)
    with no_grad():
        params = _with_grad("clip_grad_norm_", parameters)
        norm = _total_norm(params, norm_type)
        if error_if_nonfinite and not math.isfinite(norm):
            raise RuntimeError(
                f"[clip_grad_norm_] the total norm of order {norm_type:g} of the gradients is {norm}; "
                "to scale by it anyway, set error_if_nonfinite=False"
            )
        factor = max_norm / (norm + 1e-6)
        if not factor >= 1:  # also NaN
            ops.scale_grads(params, factor)
        return tensor_from(norm, params[0].dtype if params else None)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Clamps each element of the gradients in place to [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    with no_grad():
        for p in _with_grad("clip_grad_value_", parameters):
            p.grad.clamp_(-clip_value, clip_value)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors together, a 0-d tensor.

    Raises:
        RuntimeError: the norm is not finite and error_if_nonfinite is set.
    """
    parts = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norms = [np.linalg.norm(t._array.reshape(-1), float(norm_type)) for t in parts if t.numel()]
    norm = float(np.linalg.norm(norms, float(norm_type))) if norms else 0.0
    if error_if_nonfinite and not math.isfinite(norm):
        raise RuntimeError(f"[get_total_norm] the total norm of order {norm_type:g} is {norm}")
    return tensor_from(norm, parts[0].dtype if parts else None)


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor | float, foreach: bool | None = None
) -> None:
    """Scales the gradients in place by max_norm / (total_norm + 1e-6) if that is below 1."""
    factor = float(max_norm) / (float(total_norm) + 1e-6)
    if not factor >= 1:
        ops.scale_grads(_with_grad("clip_grads_with_norm_", parameters), factor)
