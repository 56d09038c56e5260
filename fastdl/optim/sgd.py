"""SGD: stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ops import optim as ops
from .optimizer import Optimizer, check_differentiable


class SGD(Optimizer):
    r"""Stochastic gradient descent: d = g + weight_decay p;  b = momentum b + (1 - dampening) d;  p = p - lr b.

    The first b is d. With `nesterov` the step goes along d + momentum b; without momentum along d.

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: step size.
        momentum, dampening, weight_decay, nesterov: as in the formula.
        maximize: go up instead of down.
        foreach, fused: accepted and not needed, all parameters of a group are updated in one call anyway.
    Raises:
        ValueError: an option out of range, or nesterov without momentum or with dampening.
    Source: torch.optim.SGD.
    """

    _nonnegative = ("lr", "momentum", "weight_decay")
    _optional_buffers = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_differentiable("SGD", differentiable)
        super().__init__(
            params,
            dict(
                lr=lr,
                momentum=momentum,
                dampening=dampening,
                weight_decay=weight_decay,
                nesterov=nesterov,
                maximize=maximize,
            ),
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("[SGD] Nesterov momentum requires a momentum and zero dampening")

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        ops.sgd_step(
            group["params"],
            self.state,
            group["lr"],
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
            group["nesterov"],
            group["maximize"],
            grad_scale,
        )
