"""Under- and overfitting: polynomials of several degrees through noisy points of a cubic.

The book's: y = 5 + 1.2 x - 3.4 x^2 / 2! + 5.6 x^3 / 3! + noise of 0.1, features x^i / i!.

1. Degrees 1, 3 and 19 trained on 100 points, by minibatches: too weak, right, and able to follow noise.
2. The exact least squares of every degree on 20 points only: the loss on them falls with the degree, the loss on 1,000
   others has its minimum at 3. A penalty on the weights, as weight decay has it, mends the high degrees.

The picture polynomial.png goes to --out.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import nn, optim, vis
from fastdl.nn import functional as F

TRUE_W, NOISE, MOST = (5.0, 1.2, -3.4, 5.6), 0.1, 20  # MOST: features, degrees 0 .. 19
TRAINED, DRAWN = (1, 3, 19), (1, 3, 12)
PENALTY = 1e-2


def features(x: Any) -> Any:
    """x (N,) as x^i / i!, (N, MOST)."""
    powers = fastdl.arange(MOST)
    factorials = fastdl.tensor([float(math.factorial(i)) for i in range(MOST)])
    return x.unsqueeze(1) ** powers / factorials


def points(count: int) -> tuple[Any, Any]:
    """Features (count, MOST) and y (count,) of random x."""
    x = features(fastdl.randn(count))
    return x, x[:, :len(TRUE_W)] @ fastdl.tensor(TRUE_W) + NOISE * fastdl.randn(count)


def train(degree: int, data: tuple[Any, Any], test: tuple[Any, Any], epochs: int) -> tuple[list[float], list[float]]:
    """Losses on both sets after each epoch."""
    (x, y), (x_test, y_test) = ((a[:, :degree + 1], b.unsqueeze(1)) for a, b in (data, test))
    net = nn.Linear(degree + 1, 1, bias=False)  # x^0 is the bias
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    losses: tuple[list[float], list[float]] = ([], [])
    for _ in tqdm(range(epochs), unit="epoch", desc=f"degree {degree}", leave=False):
        for rows in fastdl.randperm(len(x)).split(10):
            optimizer.zero_grad()
            F.mse_loss(net(x[rows]), y[rows]).backward()
            optimizer.step()
        with fastdl.no_grad():
            losses[0].append(F.mse_loss(net(x), y).item())
            losses[1].append(F.mse_loss(net(x_test), y_test).item())
    return losses


def least_squares(x: Any, y: Any, penalty: float = 0.0) -> np.ndarray:
    """The weights with the least sum of squares, in float64; `penalty` times their squared length is added to it."""
    a, b = x.numpy().astype(np.float64), y.numpy().astype(np.float64)
    if penalty:
        a, b = np.vstack([a, math.sqrt(penalty) * np.eye(a.shape[1])]), np.append(b, np.zeros(a.shape[1]))
    return np.linalg.lstsq(a, b, rcond=None)[0]


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    figure, axes = vis.panels(1, 3, figsize=(14, 3.8))
    epochs = 10 if options.quick else 400
    data, test = points(100), points(100)
    curves: dict[str, list[float]] = {}
    for degree in TRAINED:
        losses = train(degree, data, test, epochs)
        curves |= {f"degree {degree}, {name}": loss for name, loss in zip(("train", "test"), losses)}
        print(f"trained, degree {degree:2}: loss {losses[0][-1]:.4f} on the points, {losses[1][-1]:.4f} on others")
    vis.plot(range(1, epochs + 1), list(curves.values()), legend=list(curves), xlabel="epoch", ylabel="loss",
             yscale="log", title="trained on 100 points", fmts=("C0-", "C0:", "C2-", "C2:", "C3-", "C3:"),
             axes=axes[0, 0])

    (x, y), (x_test, y_test) = points(20), points(1000)
    degrees = range(MOST)
    found: dict[str, list[float]] = {"20 points": [], "others": [], f"others, penalty {PENALTY}": []}
    for degree in degrees:
        part = slice(degree + 1)
        w, decayed = (least_squares(x[:, part], y, penalty) for penalty in (0.0, PENALTY))
        pairs = ((x, y, w), (x_test, y_test, w), (x_test, y_test, decayed))
        for curve, (a, b, weights) in zip(found.values(), pairs):
            curve.append(float(np.mean((a[:, part].numpy() @ weights - b.numpy()) ** 2)))
    best = int(np.argmin(found["others"]))
    print(f"least squares on 20 points: degree {best} is best on others ({found['others'][best]:.4f}); degree 19: "
          f"{found['20 points'][-1]:.1e} on the points, {found['others'][-1]:.1e} on others, "
          f"{found[f'others, penalty {PENALTY}'][-1]:.3f} with penalty {PENALTY}")
    vis.plot(degrees, list(found.values()), legend=list(found), xlabel="degree", ylabel="loss", yscale="log",
             title="least squares", ylim=(1e-4, 1e4), axes=axes[0, 1])
    axes[0, 1].xaxis.get_major_locator().set_params(integer=True)

    grid = fastdl.linspace(float(x[:, 1].min()), float(x[:, 1].max()), 200)
    fits = [features(grid)[:, :d + 1].numpy() @ least_squares(x[:, :d + 1], y) for d in DRAWN]
    vis.plot(grid, fits, legend=[f"degree {d}" for d in DRAWN], xlabel="x", ylabel="y", title="the fits",
             ylim=(float(y.min()) - 4, float(y.max()) + 4), axes=axes[0, 2])
    axes[0, 2].plot(x[:, 1].numpy(), y.numpy(), "k.")
    vis.show(figure, options.out / "polynomial.png")
    print(f"picture: {options.out}/polynomial.png")


if __name__ == "__main__":
    run(main, parser(__doc__).parse_args())
