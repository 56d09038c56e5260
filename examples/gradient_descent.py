"""Optimizers on functions that can be drawn: how they go, and which rates make them fail.

1. (w - 3)^2 in one dimension with rates that are too small, right, and too large, and momentum beside it.
2. The book's surfaces, 0.1 x1^2 + 2 x2^2 and a narrow valley, with nine optimizers; then noisy gradients.
3. Learning-rate schedules: the rate over time, and what each does for noisy gradients.

Pictures go to --out: one_dimension.png, bowl.png, valley.png, noise.png, schedules.png.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from _common import natural, parser, run
from tqdm import tqdm

import fastdl
from fastdl import optim, vis
from fastdl.optim import lr_scheduler

START = (-5.0, -2.0)  # the book's
OPTIMIZERS: dict[str, Callable[[list], Any]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.45),
    "momentum 0.5": lambda p: optim.SGD(p, lr=0.4, momentum=0.5),
    "Nesterov 0.5": lambda p: optim.SGD(p, lr=0.3, momentum=0.5, nesterov=True),
    "Adagrad": lambda p: optim.Adagrad(p, lr=2.0),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.4, alpha=0.9),
    "Adadelta": lambda p: optim.Adadelta(p, lr=80.0, rho=0.9),
    "Adam": lambda p: optim.Adam(p, lr=0.5, betas=(0.6, 0.9)),
    "AdamW": lambda p: optim.AdamW(p, lr=0.5, betas=(0.6, 0.9), weight_decay=0.05),
    "L-BFGS": lambda p: optim.LBFGS(p, lr=0.5, max_iter=1),
}  # fmt: skip
SCHEDULES: dict[str, Callable[[Any, int], Any]] = {
    "constant": lambda o, n: lr_scheduler.ConstantLR(o, factor=1.0),
    "step": lambda o, n: lr_scheduler.MultiStepLR(o, [n // 2, 3 * n // 4], gamma=0.2),
    "exponential": lambda o, n: lr_scheduler.ExponentialLR(o, gamma=0.02 ** (1 / n)),
    "1 / sqrt(t)": lambda o, n: lr_scheduler.LambdaLR(o, lambda t: 1 / math.sqrt(1 + t)),
    "polynomial": lambda o, n: lr_scheduler.PolynomialLR(o, n, power=2.0),
    "cosine": lambda o, n: lr_scheduler.CosineAnnealingLR(o, n),
    "warm-up, cosine": lambda o, n: lr_scheduler.SequentialLR(o, [
        lr_scheduler.LinearLR(o, 0.1, total_iters=n // 10), lr_scheduler.CosineAnnealingLR(o, n - n // 10)], [n // 10]),
    "one cycle": lambda o, n: lr_scheduler.OneCycleLR(o, max_lr=0.4, total_steps=n + 1, cycle_momentum=False),
}  # fmt: skip


def bowl(x1: Any, x2: Any) -> Any:
    """The book's: twenty times as steep along x2 as along x1."""
    return 0.1 * x1**2 + 2 * x2**2


def valley(x1: Any, x2: Any) -> Any:
    """Rosenbrock's function, stretched: a curved valley whose floor falls slowly to (1, 1)."""
    return (1 - x1) ** 2 + 5 * (x2 - x1**2) ** 2


def descend(f: Callable, make: Callable[[list], Any], start: Iterable[float], steps: int, noise: float = 0.0,
            schedule: Callable[[Any, int], Any] | None = None) -> tuple[list[list[float]], list[float]]:
    """All points that an optimizer visits, and the rate of each step. `noise` is added to the gradient."""
    x = fastdl.tensor(list(start), requires_grad=True)
    optimizer = make([x])
    plan = schedule(optimizer, steps) if schedule else None

    def closure() -> Any:
        optimizer.zero_grad()
        loss = f(*x)
        loss.backward()
        if noise:
            x.grad += noise * fastdl.randn(x.shape)
        return loss

    points, rates = [x.tolist()], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step(closure)
        if plan:
            plan.step()
        points.append(x.tolist())
    return points, rates


def one_dimension(path: Path, steps: int) -> None:
    """w <- w - lr * 2 (w - 3): the distance to 3 shrinks by 1 - 2 lr in each step, so lr < 1 is needed."""
    ways = {}
    for lr, momentum in ((0.05, 0.0), (0.2, 0.0), (0.95, 0.0), (1.02, 0.0), (0.2, 0.4)):
        points, _ = descend(lambda w: (w - 3) ** 2, lambda p: optim.SGD(p, lr=lr, momentum=momentum), [-1.0], steps)  # noqa: B023
        name = f"rate {lr}" + (f", momentum {momentum}" if momentum else "")
        ways[name] = [point[0] for point in points]
        if not momentum:  # the closed form
            expected = 3 - 4 * (1 - 2 * lr) ** steps
            assert math.isclose(points[-1][0], expected, rel_tol=1e-4, abs_tol=1e-4), (points[-1], expected)
        print(f"(w - 3)^2, {name:<22} w after {steps} steps: {points[-1][0]:9.4f}")
    figure, axes = vis.panels(1, 2)
    w = fastdl.linspace(-4, 10, 100)
    vis.plot(w, (w - 3) ** 2, xlabel="w", ylabel="(w - 3)^2", ylim=(-2, 52), axes=axes[0, 0])
    for (name, way), marker in zip(list(ways.items())[1:3], ("o-", "s--")):
        axes[0, 0].plot(way, [(v - 3) ** 2 for v in way], marker, markersize=3, linewidth=0.8, label=name)
    axes[0, 0].legend()
    vis.plot(range(steps + 1), list(ways.values()), legend=list(ways), xlabel="step", ylabel="w", ylim=(-6, 22),
             axes=axes[0, 1])
    vis.show(figure, path)


def surfaces(out: Path, steps: int) -> None:
    views = {
        "bowl": (bowl, START, steps, 1.0, ((-6, 3), (-3, 3))),
        "valley": (valley, (-1.5, 1.5), 4 * steps, 0.08, ((-2, 2), (-1, 3))),
    }  # fmt: skip
    for name, (f, start, count, scale, (xlim, ylim)) in views.items():
        ways = {}
        for title, make in OPTIMIZERS.items():
            def scaled(p: list, make: Callable[[list], Any] = make, scale: float = scale) -> Any:
                optimizer = make(p)
                if isinstance(optimizer, optim.SGD):  # the valley is steeper: others adapt, SGD must be told
                    optimizer.param_groups[0]["lr"] *= scale
                return optimizer

            ways[title], _ = descend(f, scaled, start, count)
            x1, x2 = ways[title][-1]
            print(f"{name}, {title:<14} {count} steps, ends at ({x1:7.4f}, {x2:7.4f}), f = {f(x1, x2):.2e}")
        vis.trajectory(f, ways, out / f"{name}.png", xlim=xlim, ylim=ylim)


def noisy(path: Path, steps: int) -> None:
    """Stochastic gradients: SGD does not settle, averages over more examples (minibatches) and a falling rate do."""
    ways = {}
    for title, noise, schedule in (("exact gradient", 0.0, None), ("one example", 1.0, None),
                                   ("minibatch of 16", 1 / math.sqrt(16), None),
                                   ("one example, falling rate", 1.0, SCHEDULES["exponential"])):
        ways[title], _ = descend(bowl, lambda p: optim.SGD(p, lr=0.2), START, 10 * steps, noise, schedule)
        late = ways[title][5 * steps:]
        print(f"noise, {title:<30} mean f of the second half: {sum(bowl(*p) for p in late) / len(late):.4f}")
    vis.trajectory(bowl, ways, path, xlim=(-6, 3), ylim=(-3, 3))


def schedules(path: Path, steps: int, runs: int) -> None:
    rates, losses = {}, {}
    for name, schedule in tqdm(SCHEDULES.items(), unit="schedule", leave=False):
        total = [0.0] * (steps + 1)
        for _ in range(runs):
            points, rates[name] = descend(bowl, lambda p: optim.SGD(p, lr=0.3), START, steps, 1.0, schedule)
            total = [t + bowl(*point) / runs for t, point in zip(total, points)]
        losses[name] = total
    for name, loss in losses.items():
        tail = loss[-max(1, steps // 20):]
        print(f"schedule {name:<16} at the end: rate {rates[name][-1]:.4f}, mean f {sum(tail) / len(tail):.4f}")
    figure, axes = vis.panels(1, 2, figsize=(10, 3.6))
    vis.plot(range(steps), list(rates.values()), legend=list(rates), xlabel="step", ylabel="rate", axes=axes[0, 0])
    vis.plot(range(steps + 1), list(losses.values()), xlabel="step", ylabel=f"f, mean of {runs} runs", yscale="log",
             axes=axes[0, 1])
    vis.show(figure, path)


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    one_dimension(options.out / "one_dimension.png", options.steps)
    surfaces(options.out, options.steps)
    noisy(options.out / "noise.png", options.steps)
    schedules(options.out / "schedules.png", *((30, 2) if options.quick else (200, 50)))
    print(f"pictures: {options.out}/")


if __name__ == "__main__":
    PARSER = parser(__doc__, quick="few steps and runs, to see that all works")
    PARSER.add_argument("--steps", type=natural, default=20, help="steps on the surfaces (20)")
    run(main, PARSER.parse_args())
