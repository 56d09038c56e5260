"""Nadaraya-Watson kernel regression: attention with a fixed width, and with a width that is learned.

50 noisy points of 2 sin(x) + x^0.8 are the keys and values; each prediction is the mean of the values weighted by
softmax(-((query - key) w)^2 / 2), with w = 1 or trained. --out gets the curves and the heat maps of both weights.
"""

from __future__ import annotations

import argparse
from typing import Any

from _common import natural, parser, run
from tqdm import tqdm

import fastdl
from fastdl import vis
from fastdl.nn import functional as F


def weights(queries: Any, keys: Any, width: Any) -> Any:
    """(Tq, Tk): how much each key counts for each query. keys (Tk,) or (Tq, Tk)."""
    return F.softmax(-(((queries.unsqueeze(1) - keys) * width) ** 2) / 2, 1)


def function(x: Any) -> Any:
    return 2 * fastdl.sin(x) + x**0.8


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    count = 50
    x = fastdl.sort(fastdl.rand(count) * 5).values
    y = function(x) + fastdl.randn(count) * 0.5
    queries = fastdl.arange(0, 5, 0.1)
    truth = function(queries)

    # each point is predicted from the others, else the narrowest width would be the best
    others = ~fastdl.eye(count).bool()
    keys, values = (v.expand(count, count)[others].reshape(count, count - 1) for v in (x, y))
    width = fastdl.ones(1, requires_grad=True)
    optimizer = fastdl.optim.SGD([width], lr=0.5)
    for _ in tqdm(range(options.epochs or (5 if options.quick else 100)), unit="step"):
        loss = ((weights(x, keys, width) * values).sum(1) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = {"fixed width": weights(queries, x, 1.0), "learned width": weights(queries, x, width.detach())}
    curves = {"truth": truth, "mean": fastdl.full_like(truth, y.mean().item()),
              **{name: w @ y for name, w in found.items()}}
    for name, curve in list(curves.items())[1:]:
        print(f"{name}: mean squared error {(curve - truth).square().mean().item():.3f}")
    print(f"learned w {width.item():.2f}, leave-one-out loss {loss.item():.3f}")
    vis.plot(queries, list(curves.values()), xlabel="x", ylabel="y", legend=list(curves),
             path=options.out / "kernel-regression.png")
    vis.show_heatmaps(fastdl.stack(list(found.values())).unsqueeze(0), xlabel="key", ylabel="query",
                      titles=list(found), path=options.out / "kernel-regression-weights.png")
    print(f"pictures: {options.out}/kernel-regression*.png")


if __name__ == "__main__":
    PARSER = parser(__doc__)
    PARSER.add_argument("--epochs", type=natural, help="steps of training (100)")
    run(main, PARSER.parse_args())
