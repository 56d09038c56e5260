"""Adagrad, RMSprop and Adadelta: steps divided by an average of the squared gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ops import optim as ops
from .optimizer import Optimizer, check_differentiable


class Adagrad(Optimizer):
    r"""Adagrad: s sums up g^2 from the start;  p = p - lr g / (sqrt(s) + eps).

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: step size; at step t it is lr / (1 + (t - 1) lr_decay).
        lr_decay: see lr.
        weight_decay: adds weight_decay p to g.
        initial_accumulator_value: what s starts from.
        eps: keeps the divisor away from zero.
        maximize: go up instead of down.
        foreach, fused: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.Adagrad; Duchi et al., JMLR 12 (2011).
    """

    _nonnegative = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
    _required_buffers = ("sum",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_differentiable("Adagrad", differentiable)
        super().__init__(
            params,
            dict(
                lr=lr,
                lr_decay=lr_decay,
                weight_decay=weight_decay,
                initial_accumulator_value=initial_accumulator_value,
                eps=eps,
                maximize=maximize,
            ),
        )

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        ops.adagrad_step(
            group["params"],
            self.state,
            group["lr"],
            group["lr_decay"],
            group["eps"],
            group["weight_decay"],
            group["initial_accumulator_value"],
            group["maximize"],
            grad_scale,
        )


class RMSprop(Optimizer):
    r"""RMSprop: v = alpha v + (1 - alpha) g^2;  p = p - lr g / (sqrt(v) + eps).

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: step size.
        alpha: decay of the average.
        eps: keeps the divisor away from zero.
        weight_decay: adds weight_decay p to g.
        momentum: the steps are summed up with this decay.
        centered: divide by the variance, v less the square of the gradient's average.
        maximize: go up instead of down.
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.RMSprop; Tieleman and Hinton, lecture 6.5 (2012); centered: Graves, arXiv:1308.0850.
    """

    _nonnegative = ("lr", "alpha", "eps", "weight_decay", "momentum")
    _required_buffers = ("square_avg",)
    _optional_buffers = ("momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_differentiable("RMSprop", differentiable)
        super().__init__(
            params,
            dict(
                lr=lr,
                momentum=momentum,
                alpha=alpha,
                eps=eps,
                centered=centered,
                weight_decay=weight_decay,
                maximize=maximize,
            ),
        )

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        ops.rmsprop_step(
            group["params"],
            self.state,
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            group["centered"],
            group["maximize"],
            grad_scale,
        )


class Adadelta(Optimizer):
    r"""Adadelta: v averages g^2, u the squared steps e = sqrt(u + eps) / sqrt(v + eps) g;  p = p - lr e.

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: factor of the steps.
        rho: decay of both averages.
        eps: keeps the roots away from zero.
        weight_decay: adds weight_decay p to g.
        maximize: go up instead of down.
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.Adadelta; Zeiler, arXiv:1212.5701.
    """

    _nonnegative = ("lr", "eps", "weight_decay")
    _required_buffers = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_differentiable("Adadelta", differentiable)
        super().__init__(params, dict(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize))

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not 0 <= group["rho"] <= 1:
            raise ValueError(f"[Adadelta] rho: expected a number in [0, 1], got {group['rho']}")

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        ops.adadelta_step(
            group["params"],
            self.state,
            group["lr"],
            group["rho"],
            group["eps"],
            group["weight_decay"],
            group["maximize"],
            grad_scale,
        )
