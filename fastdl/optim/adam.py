"""Adam and AdamW: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..ops import optim as ops
from .optimizer import Optimizer, check_differentiable


class Adam(Optimizer):
    r"""Adam: m and v are running averages of g and g^2;  p = p - lr m' / (sqrt(v') + eps).

    m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t) undo the start from zero at step t.

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: step size.
        betas: decay of the two averages.
        eps: keeps the divisor away from zero.
        weight_decay: adds weight_decay p to g, or, if decoupled, shrinks p by the factor 1 - lr weight_decay.
        amsgrad: divide by the largest v so far.
        maximize: go up instead of down.
        decoupled_weight_decay: what makes AdamW of Adam.
        foreach, capturable, fused: accepted and not needed, a group is updated in one call anyway.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.Adam; Kingma and Ba, arXiv:1412.6980; amsgrad: Reddi et al., arXiv:1904.09237.
    """

    _nonnegative = ("lr", "eps", "weight_decay")
    _required_buffers = ("exp_avg", "exp_avg_sq")
    _optional_buffers = ("max_exp_avg_sq",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        check_differentiable(type(self).__name__, differentiable)
        super().__init__(
            params,
            dict(
                lr=lr,
                betas=betas,
                eps=eps,
                weight_decay=weight_decay,
                amsgrad=amsgrad,
                maximize=maximize,
                decoupled_weight_decay=decoupled_weight_decay,
            ),
        )

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        beta1, beta2 = group["betas"]
        ops.adam_step(
            group["params"],
            self.state,
            group["lr"],
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            group["decoupled_weight_decay"],
            group["amsgrad"],
            group["maximize"],
            grad_scale,
        )


class AdamW(Adam):
    r"""Adam with decoupled weight decay: p shrinks by the factor 1 - lr weight_decay, the averages see g alone.

    Arguments as Adam's; `weight_decay` is 0.01 by default.

    Source: torch.optim.AdamW; Loshchilov and Hutter, arXiv:1711.05101.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            differentiable=differentiable,
            decoupled_weight_decay=True,
        )

    def _check(self, group: dict[str, Any]) -> None:
        group["decoupled_weight_decay"] = True  # state dicts of older AdamW do not say so
        super()._check(group)
