"""Minibatches of a text: subsequences in random order, or one after another.

1. The book's: the numbers 0 to 34 in minibatches of 2 x 5, both ways. The targets are the inputs, one step on.
2. Where the tokens of a longer corpus go over 8 epochs: each pixel is a token, its colour the minibatch that has it
   (white: none). Each epoch begins at another place, so that other tokens are together. Random order needs a state that
   begins anew with each minibatch; in sequential order row i goes on where row i ended, so the state may be handed on.

The picture sampling.png goes to --out.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import text, vis

WAYS = {"random": text.seq_data_iter_random, "sequential": text.seq_data_iter_sequential}


def where(batches: Any, size: int) -> np.ndarray:
    """The number of the minibatch that has each token of the corpus 0, 1, 2 .., NaN: none; (size,)."""
    place = np.full(size, np.nan)
    for i, (x, _) in enumerate(batches, 1):
        place[x.numpy()] = i
    return place


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    for name, way in WAYS.items():
        print(f"{name}:")
        for x, y in way(range(35), batch_size=2, num_steps=5):
            print("   ", ", ".join(f"{a} -> {b}" for a, b in zip(x.tolist(), y.tolist())))

    size, batch, steps, epochs = (60, 3, 5, 2) if options.quick else (400, 4, 10, 8)
    maps, joined = [], {}
    for name, way in WAYS.items():
        last, goes_on = None, []
        for x, _ in way(range(size), batch, steps):  # does row i begin where row i ended?
            if last is not None:
                goes_on.append(bool((x[:, 0] == last + 1).all()))
            last = x[:, -1]
        joined[name] = all(goes_on)
        rows = [where(way(range(size), batch, steps), size) for _ in tqdm(range(epochs), unit="epoch", leave=False)]
        maps.append(np.stack(rows))
        print(f"{name}: rows go on from minibatch to minibatch: {joined[name]}; {np.isfinite(maps[-1]).mean():.0%} of "
              f"the tokens are used in an epoch")
    assert joined == {"random": False, "sequential": True}
    vis.show_heatmaps(np.stack(maps)[:, None], xlabel="token of the corpus", ylabel="epoch", titles=list(WAYS),
                      cmap="viridis", figsize=(10, 4.5), path=options.out / "sampling.png")
    print(f"picture: {options.out}/sampling.png")


if __name__ == "__main__":
    run(main, parser(__doc__, quick="a short corpus").parse_args())
