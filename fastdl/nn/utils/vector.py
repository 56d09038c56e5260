"""All parameters in one row, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ..._tensor import Tensor
from ...ops.shape import cat


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after another."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Undoes `parameters_to_vector`: each parameter's data becomes a view of its part of `vec`.

    Raises: TypeError unless vec is a Tensor; RuntimeError if it is too short.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    at = 0
    for p in parameters:
        if at + p.numel() > vec.numel():
            raise RuntimeError(f"[vector_to_parameters] vec: {vec.numel()} elements are too few for the parameters")
        p.data = vec[at : at + p.numel()].reshape(p.shape).data
        at += p.numel()
