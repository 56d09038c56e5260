"""L-BFGS: Newton's direction from the last gradients, with or without a line search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .._tensor import Tensor
from ..autograd import enable_grad, no_grad
from ..ops.matmul import dot
from ..ops.shape import cat
from .optimizer import Optimizer


class _Point(NamedTuple):
    """A place t on the line, the loss there, its gradient, and its slope along the line."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


class LBFGS(Optimizer):
    """L-BFGS. `step(closure)` makes up to max_iter iterations; closure computes the gradients and returns the loss.

    Args:
        params: tensors or (name, tensor) pairs; one group only.
        lr: length of a step in Newton's direction, or of the first try of a line search.
        max_iter: iterations per step.
        max_eval: calls of the closure per step; None: 1.25 max_iter.
        tolerance_grad: done when no element of the gradient is larger.
        tolerance_change: done when no parameter, or the loss, changes by more.
        history_size: how many changes of the gradient are kept.
        line_search_fn: None or "strong_wolfe".
    Raises:
        ValueError: more than one group or lr < 0; RuntimeError: an unknown line search, or a step without closure.
    Source: torch.optim.LBFGS; Nocedal and Wright, Numerical Optimization, algorithms 7.4, 3.5 and 3.6.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        if not lr >= 0:
            raise ValueError(f"[LBFGS] lr: expected a number >= 0, got {lr}")
        super().__init__(
            params,
            dict(
                lr=lr,
                max_iter=max_iter,
                max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
                tolerance_grad=tolerance_grad,
                tolerance_change=tolerance_change,
                history_size=history_size,
                line_search_fn=line_search_fn,
            ),
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def _step(self, closure: Callable[[], Any] | None, max_norm: float | None) -> Any:
        """Iterates; returns the first loss of the closure.

        Raises: RuntimeError without a closure; NotImplementedError for max_norm.
        """
        if closure is None:
            raise RuntimeError("[LBFGS] step needs a closure that computes the gradients and returns the loss")
        if max_norm is not None:
            raise NotImplementedError("[LBFGS] max_norm: gradients are not clipped here, do it in the closure")
        with no_grad():
            return self._iterate(closure)

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        lr, change = group["lr"], group["tolerance_change"]
        state = self.state[group["params"][0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        def evaluate() -> tuple[Any, Tensor]:
            with enable_grad():
                loss = closure()
            state["func_evals"] += 1
            return loss, self._gradient()

        evaluations = state["func_evals"]
        first, gradient = evaluate()
        loss = float(first)
        if _largest(gradient) <= group["tolerance_grad"]:
            return first
        for i in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, gradient)
            state["prev_flat_grad"], state["prev_loss"], state["d"] = gradient, loss, direction
            start = state["n_iter"] == 1
            t = min(1.0, 1 / float(gradient.abs().sum())) * lr if start else lr
            state["t"] = t
            slope = float(dot(gradient, direction))
            if slope > -change:
                break
            before = loss
            if group["line_search_fn"] is not None:
                left = group["max_eval"] - (state["func_evals"] - evaluations)
                found = self._search(evaluate, t, direction, _Point(0.0, loss, gradient, slope), left)
                loss, gradient, t = found.loss, found.gradient, found.t
            else:
                self._move(t, direction)
                if i == group["max_iter"]:  # nobody would look at the loss
                    break
                value, gradient = evaluate()
                loss = float(value)
            state["t"] = t
            if (
                state["func_evals"] - evaluations >= group["max_eval"]
                or _largest(gradient) <= group["tolerance_grad"]
                or _largest(direction) * abs(t) <= change
                or abs(loss - before) < change
            ):
                break
        return first

    def _gradient(self) -> Tensor:
        """The gradients of all parameters in one row."""
        params = self.param_groups[0]["params"]
        return cat([(p.new_zeros(p.shape) if p.grad is None else p.grad).reshape(-1) for p in params])

    def _move(self, t: float, direction: Tensor) -> None:
        at = 0
        for p in self.param_groups[0]["params"]:
            p.add_(direction[at : at + p.numel()].reshape(p.shape), alpha=t)
            at += p.numel()

    def _direction(self, state: dict[str, Any], gradient: Tensor) -> Tensor:
        """-H gradient, H built of the last changes of place and gradient (algorithm 7.4)."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return -gradient
        y, s = gradient - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = float(dot(y, s))
        ys, ss, ro = state["old_dirs"], state["old_stps"], state["ro"]
        if curvature > 1e-10:
            if len(ys) == self.param_groups[0]["history_size"]:
                del ys[0], ss[0], ro[0]
            ys.append(y)
            ss.append(s)
            ro.append(1 / curvature)
            state["H_diag"] = curvature / float(dot(y, y))
        q, parts = -gradient, []
        for y, s, r in zip(reversed(ys), reversed(ss), reversed(ro)):
            part = float(dot(s, q)) * r
            q = q.sub_(y, alpha=part)
            parts.append(part)
        q = q.mul_(state["H_diag"])
        for y, s, r, part in zip(ys, ss, ro, reversed(parts)):
            q = q.add_(s, alpha=part - float(dot(y, q)) * r)
        return q

    def _search(
        self, evaluate: Callable[[], tuple[Any, Tensor]], t: float, direction: Tensor, start: _Point, limit: int
    ) -> _Point:
        """A place on the line that meets the strong Wolfe conditions, if it is found in `limit` steps, else the best;
        the parameters are moved there."""
        params = self.param_groups[0]["params"]
        home = [p.clone() for p in params]

        def at(t: float) -> _Point:
            self._move(t, direction)
            loss, gradient = evaluate()
            for p, value in zip(params, home):
                p.copy_(value)
            return _Point(t, float(loss), gradient, float(dot(gradient, direction)))

        found = _strong_wolfe(at, t, start, limit, self.param_groups[0]["tolerance_change"] / _largest(direction))
        self._move(found.t, direction)
        return found


def _largest(x: Tensor) -> float:
    return float(x.abs().max())


# Wolfe's conditions: enough less loss, enough less slope
_DECREASE, _CURVATURE = 1e-4, 0.9


def _strong_wolfe(at: Callable[[float], _Point], t: float, start: _Point, limit: int, tolerance: float) -> _Point:
    """First goes out until two places have a minimum between them (algorithm 3.5), then closes in (3.6)."""

    def too_high(p: _Point) -> bool:
        return p.loss > start.loss + _DECREASE * p.t * start.slope

    def flat(p: _Point) -> bool:
        return abs(p.slope) <= -_CURVATURE * start.slope

    before, new, tries = start, at(t), 0
    while tries < limit:
        if too_high(new) or (tries > 1 and new.loss >= before.loss):
            break
        if flat(new):
            return new
        if new.slope >= 0:
            break
        nearest, farthest = new.t + 0.01 * (new.t - before.t), new.t * 10
        before, new = new, at(_minimum(before, new, nearest, farthest))
        tries += 1
    low, high = sorted((before if tries < limit else start, new), key=lambda p: p.loss)

    stalled = False
    while tries < limit and abs(high.t - low.t) >= tolerance:
        left, right = min(low.t, high.t), max(low.t, high.t)
        t = _minimum(low, high, left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # close to an end: the second time step away from it
            if stalled or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new = at(t)
        tries += 1
        if too_high(new) or new.loss >= low.loss:
            low, high = sorted((low, new), key=lambda p: p.loss)
            continue
        if flat(new):
            return new
        if new.slope * (high.t - low.t) >= 0:
            high = low
        low = new
    return low


def _minimum(a: _Point, b: _Point, lowest: float, highest: float) -> float:
    """Where the cubic through two places has its minimum, within bounds; their middle if it has none."""
    if a.t > b.t:
        a, b = b, a
    if a.t == b.t:
        return (lowest + highest) / 2
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (lowest + highest) / 2
    d2 = math.sqrt(square)
    divisor = b.slope - a.slope + 2 * d2
    if divisor == 0:
        return (lowest + highest) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / divisor), lowest), highest)
