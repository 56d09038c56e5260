"""Linear and softmax regression, from scratch and with nn; and why losses are fused.

1. Linear regression: gradient descent written by hand and with nn find the least-squares solution, which is the one of
   maximum likelihood under Gaussian noise; the likelihood also gives the noise.
2. Softmax regression by hand and with nn on the same minibatches: the same losses.
3. Cross-entropy of logits of 1e4: exp overflows in the naive form, the fused one is exact.

The picture regression.png goes to --out.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import metrics, nn, vis
from fastdl.nn import functional as F

TRUE_W, TRUE_B, NOISE, LR, BATCH = (2.0, -3.4), 4.2, 0.5, 0.03, 10
CLASSES, FEATURES = 3, 2


def linear_regression(n: int) -> dict[str, list[float]]:
    x = fastdl.randn(n, 2)
    y = x @ fastdl.tensor(TRUE_W) + TRUE_B + NOISE * fastdl.randn(n)
    columns = np.column_stack([x.numpy(), np.ones(n)])
    best = np.linalg.lstsq(columns, y.numpy(), rcond=None)[0]

    w, b = fastdl.zeros(2, requires_grad=True), fastdl.zeros(1, requires_grad=True)
    net = nn.Linear(2, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    optimizer = fastdl.optim.SGD(net.parameters(), lr=LR)
    curves: dict[str, list[float]] = {"by hand": [], "with nn": []}
    for _ in tqdm(range(10), unit="epoch", leave=False):
        order = fastdl.randperm(n)
        for rows in order.split(BATCH):
            loss = ((x[rows] @ w + b - y[rows]) ** 2).mean()
            loss.backward()
            with fastdl.no_grad():
                for p in (w, b):
                    p -= LR * p.grad
                    p.grad.zero_()
            optimizer.zero_grad()
            F.mse_loss(net(x[rows]).squeeze(1), y[rows]).backward()
            optimizer.step()
        curves["by hand"].append(((x @ w + b - y) ** 2).mean().item())
        curves["with nn"].append(F.mse_loss(net(x).squeeze(1), y).item())
    np.testing.assert_allclose(net.weight.tolist()[0], w.tolist(), rtol=1e-4, atol=1e-5)
    residual = curves["by hand"][-1]
    likelihood = -0.5 * n * (math.log(2 * math.pi * residual) + 1)
    found = [round(v, 3) for v in (*w.tolist(), b.item())]
    print(f"linear: w, b {found}; least squares {best.round(3).tolist()}; true {[*TRUE_W, TRUE_B]}")
    print(f"maximum likelihood: noise {math.sqrt(residual):.3f} (true {NOISE}), log-likelihood {likelihood:.1f}")
    return curves


def softmax(logits: Any) -> Any:
    """As the definition says; overflows for logits above 88."""
    e = fastdl.exp(logits)
    return e / e.sum(1, keepdim=True)


def softmax_regression(n: int) -> tuple[dict[str, list[float]], float]:
    y = fastdl.arange(n) % CLASSES
    centres = fastdl.tensor([[0.0, 2.0], [-1.7, -1.0], [1.7, -1.0]])
    x = centres[y] + fastdl.randn(n, FEATURES)
    w, b = fastdl.zeros(FEATURES, CLASSES, requires_grad=True), fastdl.zeros(CLASSES, requires_grad=True)
    net = nn.Linear(FEATURES, CLASSES)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    optimizer = fastdl.optim.SGD(net.parameters(), lr=0.1)
    curves: dict[str, list[float]] = {"by hand": [], "with nn": []}
    for _ in tqdm(range(10), unit="epoch", leave=False):
        for rows in fastdl.randperm(n).split(BATCH):
            p = softmax(x[rows] @ w + b)
            loss = -fastdl.log(p[fastdl.arange(len(rows)), y[rows]]).mean()
            loss.backward()
            with fastdl.no_grad():
                for q in (w, b):
                    q -= 0.1 * q.grad
                    q.grad.zero_()
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        p = softmax(x @ w + b)
        curves["by hand"].append(-fastdl.log(p[fastdl.arange(n), y]).mean().item())
        curves["with nn"].append(F.cross_entropy(net(x), y).item())
    np.testing.assert_allclose(curves["by hand"], curves["with nn"], rtol=1e-4)
    return curves, metrics.accuracy(net(x), y)


def overflow() -> None:
    logits, target = fastdl.tensor([[1e4, 0.0, -1e4], [1.0, 1e4 + 1, 1e4]]), fastdl.tensor([0, 2])
    for name, f in (("naive", lambda z: -fastdl.log(softmax(z)[fastdl.arange(2), target])),
                    ("fused", lambda z: F.cross_entropy(z, target, reduction="none"))):
        z = logits.clone().requires_grad_()
        loss = f(z)
        loss.sum().backward()
        print(f"cross-entropy of logits of 1e4, {name}: losses {loss.tolist()}, "
              f"finite gradients: {bool(fastdl.isfinite(z.grad).all())}")


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    n = 200 if options.quick else 1000
    linear = linear_regression(n)
    classes, accuracy = softmax_regression(n)
    print(f"softmax: loss {classes['with nn'][-1]:.4f} with nn, {classes['by hand'][-1]:.4f} by hand; "
          f"accuracy {accuracy:.3f}")
    overflow()
    figure, axes = vis.panels(1, 2)
    for panel, title, curves in zip(axes[0], ("linear regression", "softmax regression"), (linear, classes)):
        vis.plot(range(1, 11), list(curves.values()), legend=list(curves), xlabel="epoch", ylabel="loss", yscale="log",
                 title=title, axes=panel)
    vis.show(figure, options.out / "regression.png")
    print(f"pictures: {options.out}/")


if __name__ == "__main__":
    run(main, parser(__doc__, quick="few examples, to see that all works").parse_args())
