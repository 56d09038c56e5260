"""Adamax, NAdam, RAdam, ASGD and Rprop: optimizers that are seldom used, composed of Tensor operators."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .._tensor import Tensor
from ..autograd import no_grad
from ..ops.creation import full_like, zeros_like
from ..ops.elementwise import maximum, where
from .optimizer import Optimizer, check_differentiable


class _Composed(Optimizer):
    """A subclass gives `_start`, the state of a parameter before its first step, and `_one`, the step of one."""

    def _update(self, group: dict[str, Any], grad_scale: float) -> None:
        with no_grad():
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad if grad_scale == 1 else p.grad * grad_scale
                if group["maximize"]:
                    g = -g
                state = self.state[p]
                if not state:
                    state.update(step=0, **self._start(group, p))
                state["step"] += 1
                decay = group["weight_decay"]
                if group.get("decoupled_weight_decay"):
                    p.mul_(1 - group["lr"] * decay)
                elif decay:
                    g = g + decay * p
                self._one(group, state, p, g)

    def _start(self, group: dict[str, Any], p: Tensor) -> dict[str, Any]:
        raise NotImplementedError

    def _one(self, group: dict[str, Any], state: dict[str, Any], p: Tensor, g: Tensor) -> None:
        raise NotImplementedError


class _TwoAverages(_Composed):
    """Running averages of the gradient and of its square, and the options that all such optimizers have."""

    _nonnegative: tuple[str, ...] = ("lr", "eps", "weight_decay")
    _required_buffers: tuple[str, ...] = ("exp_avg", "exp_avg_sq")

    def _start(self, group: dict[str, Any], p: Tensor) -> dict[str, Any]:
        return {name: zeros_like(p) for name in self._required_buffers}

    def _averages(self, group: dict[str, Any], state: dict[str, Any], g: Tensor) -> tuple[Tensor, Tensor]:
        beta1, beta2 = group["betas"]
        first = state["exp_avg"].mul_(beta1).add_(g, alpha=1 - beta1)
        return first, state["exp_avg_sq"].mul_(beta2).add_(g * g, alpha=1 - beta2)


class Adamax(_TwoAverages):
    r"""Adam with the largest decayed |g| in place of sqrt(v):  p = p - lr m / ((1 - beta1^t) u).

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr, betas, eps, weight_decay, maximize: as Adam's; u = max(beta2 u, |g| + eps).
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.Adamax; Kingma and Ba, arXiv:1412.6980.
    """

    _required_buffers = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_differentiable("Adamax", differentiable)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize))

    def _one(self, group: dict[str, Any], state: dict[str, Any], p: Tensor, g: Tensor) -> None:
        beta1, beta2 = group["betas"]
        average = state["exp_avg"].mul_(beta1).add_(g, alpha=1 - beta1)
        largest = state["exp_inf"].copy_(maximum(state["exp_inf"] * beta2, g.abs() + group["eps"]))
        p.sub_(average / largest, alpha=group["lr"] / (1 - beta1 ** state["step"]))


class NAdam(_TwoAverages):
    r"""Adam with Nesterov's momentum: the step looks one gradient ahead.

    With mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) and M_t = mu_1 .. mu_t,
    p = p - lr ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})) / (sqrt(v / (1 - beta2^t)) + eps).

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr, betas, eps, weight_decay, decoupled_weight_decay, maximize: as Adam's.
        momentum_decay: how fast mu approaches beta1.
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.NAdam; Dozat, ICLR workshop 2016.
    """

    _nonnegative = ("lr", "eps", "weight_decay", "momentum_decay")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_differentiable("NAdam", differentiable)
        super().__init__(
            params,
            dict(
                lr=lr,
                betas=betas,
                eps=eps,
                weight_decay=weight_decay,
                momentum_decay=momentum_decay,
                decoupled_weight_decay=decoupled_weight_decay,
                maximize=maximize,
            ),
        )

    def _start(self, group: dict[str, Any], p: Tensor) -> dict[str, Any]:
        return {"mu_product": 1.0, **super()._start(group, p)}

    def _one(self, group: dict[str, Any], state: dict[str, Any], p: Tensor, g: Tensor) -> None:
        first, second = self._averages(group, state, g)
        step, lr = state["step"], group["lr"]
        mu, ahead = (group["betas"][0] * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        product = state["mu_product"] = float(state["mu_product"]) * mu
        divisor = (second / (1 - group["betas"][1] ** step)).sqrt() + group["eps"]
        p.sub_(g / divisor, alpha=lr * (1 - mu) / (1 - product))
        p.sub_(first / divisor, alpha=lr * ahead / (1 - product * ahead))


class RAdam(_TwoAverages):
    r"""Adam whose first steps, where v is of few gradients, are those of momentum alone; then they are rectified.

    With rho = 2 / (1 - beta2) - 1 and rho_t = rho - 2 t beta2^t / (1 - beta2^t), p = p - lr m' while rho_t <= 5, then
    p = p - lr m' r sqrt(1 - beta2^t) / (sqrt(v) + eps), r^2 = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t).

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr, betas, eps, weight_decay, decoupled_weight_decay, maximize: as Adam's.
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.RAdam; Liu et al., arXiv:1908.03265.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_differentiable("RAdam", differentiable)
        super().__init__(
            params,
            dict(
                lr=lr,
                betas=betas,
                eps=eps,
                weight_decay=weight_decay,
                decoupled_weight_decay=decoupled_weight_decay,
                maximize=maximize,
            ),
        )

    def _one(self, group: dict[str, Any], state: dict[str, Any], p: Tensor, g: Tensor) -> None:
        first, second = self._averages(group, state, g)
        (beta1, beta2), step = group["betas"], state["step"]
        lr, correction = group["lr"] / (1 - beta1**step), 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        rho = limit - 2 * step * beta2**step / correction
        if rho <= 5:
            p.sub_(first, alpha=lr)
            return
        rectified = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
        p.sub_(first / (second.sqrt() + group["eps"]), alpha=lr * rectified * math.sqrt(correction))


class ASGD(_Composed):
    r"""Averaged SGD: p = p - eta (g + lambd p), and `ax` in the state is the average of p from step t0 on.

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: step size; eta = lr / (1 + lambd lr t)^alpha.
        lambd, alpha: see lr.
        t0: the step after which p is averaged.
        weight_decay: adds weight_decay p to g.
        maximize: go up instead of down.
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.ASGD; Polyak and Juditsky, SIAM J. Control Optim. 30 (1992).
    """

    _nonnegative = ("lr", "weight_decay")
    _required_buffers = ("ax",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_differentiable("ASGD", differentiable)
        super().__init__(
            params, dict(lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, maximize=maximize)
        )

    def _start(self, group: dict[str, Any], p: Tensor) -> dict[str, Any]:
        return {"eta": group["lr"], "mu": 1.0, "ax": zeros_like(p)}

    def _one(self, group: dict[str, Any], state: dict[str, Any], p: Tensor, g: Tensor) -> None:
        eta, mu, average, lr = float(state["eta"]), float(state["mu"]), state["ax"], group["lr"]
        p.mul_(1 - group["lambd"] * eta).sub_(g, alpha=eta)
        if mu == 1:
            average.copy_(p)
        else:
            average.add_(p - average, alpha=mu)
        state["eta"] = lr / (1 + group["lambd"] * lr * state["step"]) ** group["alpha"]
        state["mu"] = 1 / max(1, state["step"] - group["t0"])


class Rprop(_Composed):
    r"""Resilient backpropagation: only the gradient's signs count; an element's step grows while its sign stays.

    Args:
        params: tensors, (name, tensor) pairs, or dicts that describe groups.
        lr: the first step of every element.
        etas: factors of a step when the sign has changed, and when it has not.
        step_sizes: smallest and largest step.
        maximize: go up instead of down.
        foreach, capturable: accepted and not needed.
    Raises:
        ValueError: an option out of range.
    Source: torch.optim.Rprop; Riedmiller and Braun, ICNN 1993.
    """

    _nonnegative = ("lr",)
    _required_buffers = ("prev", "step_size")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_differentiable("Rprop", differentiable)
        super().__init__(params, dict(lr=lr, etas=etas, step_sizes=step_sizes, maximize=maximize, weight_decay=0))

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        if not 0 < group["etas"][0] < 1 < group["etas"][1]:
            raise ValueError(f"[Rprop] etas: expected one in (0, 1) and one above 1, got {group['etas']}")

    def _start(self, group: dict[str, Any], p: Tensor) -> dict[str, Any]:
        return {"prev": zeros_like(p), "step_size": full_like(p, group["lr"])}

    def _one(self, group: dict[str, Any], state: dict[str, Any], p: Tensor, g: Tensor) -> None:
        less, more = group["etas"]
        agreement = g * state["prev"]
        turned = agreement < 0
        factor = where(turned, less, where(agreement > 0, more, where(agreement == 0, 1.0, agreement)))
        step = state["step_size"].mul_(factor).clamp_(*group["step_sizes"])
        g = where(turned, 0.0, g)
        p.sub_(g.sign() * step)
        state["prev"].copy_(g)
