"""Forecasting a noisy sine: an autoregressive net, and a recurrent one with a latent state.

The book's: x_t = sin(0.01 t) + noise of 0.2, 1,000 steps, of which the first 600 are trained on.

1. Autoregressive: the next value from the last four, by a net 4-10-1. One step ahead it does well. Fed with its own
   predictions from step 604 on (multi-step) its errors pile up; the k-step-ahead predictions show how fast.
2. Latent variable: a GRU keeps what it has read in a state h_t = f(h_(t-1), x_(t-1)), so that four values need not be
   enough. It predicts k steps ahead in the same way, from the state after the last value it was given.

The pictures go to --out: time_series-multistep.png and time_series-ahead.png.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import nn, optim, vis
from fastdl.nn import functional as F

STEPS, TRAINED, NOISE = 1000, 600, 0.2
TAU = 4  # values that the autoregressive net looks at
WINDOW = 50  # that the recurrent net is trained on
AHEAD = (1, 4, 16, 64)


def windows_of(x: Any) -> Any:
    """All runs of TAU neighbouring values of x (T,): (T - TAU + 1, TAU)."""
    return x[fastdl.arange(len(x) - TAU + 1).unsqueeze(1) + fastdl.arange(TAU)]


class Autoregressive(nn.Module):
    """The next value from the last TAU."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(TAU, 10), nn.ReLU(), nn.Linear(10, 1))
        for layer in (self.net[0], self.net[2]):
            nn.init.xavier_uniform_(layer.weight)

    def ahead(self, x: Any, k: int) -> Any:
        """(K, T - TAU + 1): row k - 1 holds the predictions k steps behind each window of x (T,)."""
        windows = windows_of(x)
        found = []
        for _ in range(k):
            found.append(self.net(windows))
            windows = fastdl.cat([windows[:, 1:], found[-1]], 1)
        return fastdl.cat(found, 1).T


class Latent(nn.Module):
    """The next value from a state that has read all before it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.gru, self.linear = nn.GRU(1, width), nn.Linear(width, 1)

    def ahead(self, x: Any, k: int) -> Any:
        """(K, T): row k - 1 holds the predictions k steps behind each value of x (T,)."""
        states, _ = self.gru(x.reshape(-1, 1, 1))
        state = states.transpose(0, 1)  # (1, T, H): each place is a row of its own from here on
        found = [self.linear(state[0])]
        for _ in range(k - 1):
            _, state = self.gru(found[-1].unsqueeze(0), state)
            found.append(self.linear(state[0]))
        return fastdl.cat(found, 1).T


def train_autoregressive(x: Any, epochs: int) -> Autoregressive:
    model = Autoregressive()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    windows, targets = windows_of(x[:TRAINED - 1]), x[TAU:TRAINED].unsqueeze(1)
    for _ in tqdm(range(epochs), unit="epoch", desc="autoregressive", leave=False):
        for rows in fastdl.randperm(len(windows)).split(16):
            optimizer.zero_grad()
            F.mse_loss(model.net(windows[rows]), targets[rows]).backward()
            optimizer.step()
    return model


def train_latent(x: Any, epochs: int) -> Latent:
    """On pieces of WINDOW values: with the whole series as one sequence it would learn that by heart."""
    model = Latent()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    places = fastdl.arange(WINDOW + 1)
    for _ in tqdm(range(epochs), unit="epoch", desc="latent", leave=False):
        for starts in fastdl.randperm(TRAINED - WINDOW).split(32):
            pieces = x[starts.unsqueeze(1) + places].T  # (WINDOW + 1, N), time first
            states, _ = model.gru(pieces[:-1].unsqueeze(2))
            optimizer.zero_grad()
            F.mse_loss(model.linear(states).squeeze(2), pieces[1:]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    time = fastdl.arange(1, STEPS + 1, dtype=fastdl.float32)
    truth = fastdl.sin(0.01 * time)
    x = truth + NOISE * fastdl.randn(STEPS)
    models = {"autoregressive": train_autoregressive(x, 1 if options.quick else 20),
              "latent": train_latent(x, 1 if options.quick else 20)}
    always = ((x[1:] - truth[1:]) ** 2).mean().item()
    print(f"root mean squared errors on steps {TRAINED + 1} to {STEPS} (the noise alone: {math.sqrt(always):.3f})")

    figure, axes = vis.panels(1, 2, figsize=(13, 3.8))
    more, panels = vis.panels(1, 2, figsize=(13, 3.8))
    for column, (name, model) in enumerate(models.items()):
        first = TAU if name == "autoregressive" else 1  # the first window ends there
        with fastdl.no_grad():
            found = model.ahead(x, max(AHEAD))
            start = found.shape[1] - (STEPS - TRAINED) - 1  # the window that ends at step TRAINED
            own = model.ahead(x[:TRAINED], STEPS - TRAINED)[:, -1]
        curves: dict[str, tuple[Any, Any]] = {}
        for k in AHEAD:
            predicted = found[k - 1, start:start + STEPS - TRAINED - k + 1]
            error = (predicted - x[TRAINED + k - 1:]).square().mean().sqrt().item()
            print(f"  {name:<14} {k:2} steps ahead: {error:.3f}")
            curves[f"{k} ahead"] = time[first + k - 1:], found[k - 1, :STEPS - first - k + 1]
        error = (own - x[TRAINED:]).square().mean().sqrt().item()
        print(f"  {name:<14} from its own predictions: {error:.3f}")

        axes[0, column].plot(time.numpy(), x.numpy(), "-", color="lightgrey", linewidth=0.8, label="data")
        vis.plot([curves["1 ahead"][0], time[TRAINED:]], [curves["1 ahead"][1], own], fmts=("C0-", "C3--"),
                 legend=["1 step ahead", f"own predictions from step {TRAINED + 1}"], xlabel="time", ylabel="x",
                 ylim=(-1.7, 1.7), title=name, axes=axes[0, column])
        vis.plot([t for t, _ in curves.values()], [p for _, p in curves.values()], legend=list(curves), xlabel="time",
                 ylabel="x", ylim=(-1.7, 1.7), title=name, axes=panels[0, column])
    vis.show(figure, options.out / "time_series-multistep.png")
    vis.show(more, options.out / "time_series-ahead.png")
    print(f"pictures: {options.out}/time_series-*.png")


if __name__ == "__main__":
    run(main, parser(__doc__).parse_args())
