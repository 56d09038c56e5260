"""Weight decay: what it does against overfitting, and why a penalty in the loss is not the same for Adam.

1. The book's linear regression with 200 inputs and 20 examples, without decay and with it.
2. The penalty decay / 2 |w|^2 adds decay * w to the gradient; decoupled decay multiplies w by 1 - rate * decay in each
   step. For SGD the two are one formula. Adam divides the gradient by its usual size, the penalty's part as well, so
   that weights with large gradients hardly decay; AdamW decouples and shrinks all alike.

The picture weight_decay.png goes to --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import optim, vis
from fastdl.nn import functional as F

INPUTS, EXAMPLES, TESTS, BATCH = 200, 20, 100, 5
RATE, DECAY, COPIES = 0.01, 0.5, 256


def overfitting(decay: float, epochs: int) -> tuple[list[float], list[float], float]:
    """Losses on the examples and on the tests after each epoch, and the length of the weights at the end."""
    w_true = fastdl.full((INPUTS, 1), 0.01)
    x = fastdl.randn(EXAMPLES + TESTS, INPUTS)
    y = x @ w_true + 0.05 + 0.01 * fastdl.randn(len(x), 1)
    w, b = fastdl.randn(INPUTS, 1, requires_grad=True), fastdl.zeros(1, requires_grad=True)
    optimizer = optim.SGD([{"params": [w], "weight_decay": decay}, {"params": [b]}], lr=0.003)  # b does not decay
    train, test = [], []
    for _ in range(epochs):
        for rows in fastdl.randperm(EXAMPLES).split(BATCH):
            optimizer.zero_grad()
            F.mse_loss(x[rows] @ w + b, y[rows]).backward()
            optimizer.step()
        losses = (x @ w + b - y).detach().square()
        train.append(losses[:EXAMPLES].mean().item())
        test.append(losses[EXAMPLES:].mean().item())
    return train, test, w.detach().square().sum().sqrt().item()


def shrink(make: Callable[[list], Any], penalty: float, scales: Any, noise: Any) -> Any:
    """Weights that begin at 1, after steps with gradients scales * noise and with the penalty in the loss.

    noise (steps, COPIES, scales): nothing but noise, so what is left of a weight tells how strongly it decayed.
    """
    w = fastdl.ones(COPIES, len(scales), requires_grad=True)
    optimizer = make([w])
    for z in noise:
        loss = (scales * z * w).sum() + penalty / 2 * w.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return w.detach()


class DecoupledSGD(optim.SGD):
    """SGD whose decay is a step of its own, as AdamW's is."""

    def step(self, closure: Any = None, **options: Any) -> Any:
        with fastdl.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p *= 1 - group["lr"] * DECAY
        return super().step(closure, **options)


def main(options: argparse.Namespace) -> None:
    figure, axes = vis.panels(1, 3, figsize=(13, 3.6))
    epochs = 5 if options.quick else 100
    curves: dict[str, list[float]] = {}
    for decay in (0.0, 3.0):
        fastdl.manual_seed(options.seed)  # the same data
        train, test, length = overfitting(decay, epochs)
        curves |= {f"examples, decay {decay:g}": train, f"tests, decay {decay:g}": test}
        print(f"decay {decay:g}: loss {train[-1]:.4f} on the examples, {test[-1]:.4f} on the tests, |w| {length:.2f}")
    vis.plot(range(1, epochs + 1), list(curves.values()), legend=list(curves), xlabel="epoch", ylabel="loss",
             yscale="log", title=f"{INPUTS} inputs, {EXAMPLES} examples", axes=axes[0, 0])

    scales = fastdl.logspace(-2, 1, 13)
    noise = fastdl.randn(20 if options.quick else 300, COPIES, len(scales))
    ways: dict[str, tuple[Callable[[list], Any], float]] = {
        "SGD, penalty": (lambda p: optim.SGD(p, lr=RATE), DECAY),
        "SGD, weight_decay": (lambda p: optim.SGD(p, lr=RATE, weight_decay=DECAY), 0.0),
        "SGD, decoupled": (lambda p: DecoupledSGD(p, lr=RATE), 0.0),
        "Adam, penalty": (lambda p: optim.Adam(p, lr=RATE), DECAY),
        "Adam, weight_decay": (lambda p: optim.Adam(p, lr=RATE, weight_decay=DECAY), 0.0),
        "AdamW, decoupled": (lambda p: optim.AdamW(p, lr=RATE, weight_decay=DECAY), 0.0),
    }  # fmt: skip
    left = {name: shrink(make, penalty, scales, noise) for name, (make, penalty) in tqdm(ways.items(), leave=False)}
    for panel, kind in zip(axes[0, 1:], ("SGD", "Adam")):
        first, *others = [name for name in ways if name.startswith(kind)]
        for name in others:
            gap = (left[name] - left[first]).abs().max().item()
            print(f"{first} and {name.split(', ')[1]}: the weights differ by at most {gap:.1e}")
            if "Adam" not in name or "weight_decay" in name:  # one formula, so only rounding may differ
                assert gap < 1e-3, gap
        means = [left[name].mean(0) for name in (first, others[-1])]
        vis.plot(scales, means, legend=[first, others[-1]], xscale="log", ylim=(-0.1, 1.05), title=kind,
                 xlabel="size of the gradient", ylabel="left of a weight of 1", axes=panel)
    vis.show(figure, options.out / "weight_decay.png")
    print(f"picture: {options.out}/weight_decay.png")


if __name__ == "__main__":
    run(main, parser(__doc__).parse_args())
