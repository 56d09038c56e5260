"""Vanishing and exploding gradients, and how Xavier's and He's initialisation prevent them.

1. The book's: the product of 100 random 4 x 4 matrices.
2. A net of 20 layers, 64 wide: the size (standard deviation) of the activations and of their gradients in each layer,
   for tanh, sigmoid and ReLU with four initialisations. Forward the sizes multiply from the left, backward from the
   right: a weight's variance of 1 / width keeps them (Xavier), ReLU loses half of it and needs 2 / width (He).
3. The same nets trained on a small problem.

The pictures initialisation.png and initialisation-training.png go to --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import nn, optim, vis
from fastdl.nn import functional as F

WIDTH, DEPTH, BATCH = 64, 20, 128
INITIALISATIONS: dict[str, Callable[[Any], Any]] = {
    "normal 0.01": lambda w: nn.init.normal_(w, std=0.01),
    "normal 1": lambda w: nn.init.normal_(w, std=1.0),
    "Xavier": nn.init.xavier_normal_,
    "He": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
}  # fmt: skip
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}


def product_of_matrices(count: int) -> None:
    product = fastdl.randn(4, 4)
    first = product.abs().max().item()
    for _ in range(count - 1):
        product = product @ fastdl.randn(4, 4)
    print(f"largest entry of a random 4 x 4 matrix: {first:.2f}; of the product of {count}: "
          f"{product.abs().max().item():.1e}")


def build(activation: Callable[[], nn.Module], initialise: Callable[[Any], Any], depth: int, inputs: int,
          outputs: int) -> nn.Sequential:
    sizes = [inputs, *[WIDTH] * depth]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    net = nn.Sequential(*layers, nn.Linear(WIDTH, outputs))
    for layer in net:
        if isinstance(layer, nn.Linear):
            initialise(layer.weight)
            nn.init.zeros_(layer.bias)
    return net


def sizes(net: nn.Sequential) -> tuple[list[float], list[float]]:
    """The standard deviations of each layer's activations and of the loss's gradient by them."""
    x, kept = fastdl.randn(BATCH, WIDTH), []
    for layer in net:
        x = layer(x)
        if not isinstance(layer, nn.Linear):
            x.retain_grad()
            kept.append(x)
    (x * fastdl.randn(x.shape)).sum().backward()  # a gradient of size 1 arrives from the loss
    # in double: the squares of 1e-25 would be zero
    return [h.double().std().item() for h in kept], [h.grad.double().std().item() for h in kept]


def problem() -> tuple[Any, Any]:
    """Points of the plane, and whether they lie in the first or third quadrant."""
    x = fastdl.randn(BATCH, 2)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def train(net: nn.Sequential, x: Any, y: Any, steps: int) -> list[float]:
    optimizer, losses = optim.SGD(net.parameters(), lr=0.01, momentum=0.9), []
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    product_of_matrices(100)
    depth, steps = (6, 5) if options.quick else (DEPTH, 150)
    figure, axes = vis.panels(2, 3, figsize=(13, 6.5))
    for column, (name, activation) in enumerate(ACTIVATIONS.items()):
        found = {}
        for way, initialise in INITIALISATIONS.items():
            forward, backward = found[way] = sizes(build(activation, initialise, depth, WIDTH, WIDTH))
            print(f"{name:<7} {way:<11} size of the activations: layer 1 {forward[0]:8.1e}, layer {depth} "
                  f"{forward[-1]:8.1e}; of the gradients: {backward[0]:8.1e}, {backward[-1]:8.1e}")
        for row, what in enumerate(("activations", "gradients")):
            vis.plot(range(1, depth + 1), [pair[row] for pair in found.values()], legend=list(found), yscale="log",
                     xlabel="layer", ylabel=f"size of the {what}", title="" if row else name, axes=axes[row, column])
    vis.show(figure, options.out / "initialisation.png")

    x, y = problem()
    figure, axes = vis.panels(1, 3, figsize=(13, 3.6))
    for panel, (name, activation) in zip(axes[0], ACTIVATIONS.items()):
        curves = {}
        for way, initialise in tqdm(INITIALISATIONS.items(), desc=f"training, {name}", leave=False):
            curves[way] = train(build(activation, initialise, depth, 2, 2), x, y, steps)
            tqdm.write(f"{name:<7} {way:<11} loss after {steps} steps: {curves[way][-1]:.3f}")
        vis.plot(range(1, steps + 1), list(curves.values()), legend=list(curves), xlabel="step", ylabel="loss",
                 ylim=(-0.05, 1.5), title=name, axes=panel)
    vis.show(figure, options.out / "initialisation-training.png")
    print(f"pictures: {options.out}/initialisation*.png")


if __name__ == "__main__":
    run(main, parser(__doc__).parse_args())
