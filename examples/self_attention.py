"""Self-attention: several heads, sinusoidal positions, what each head looks at, and decoding with a cache.

1. Multi-head attention written out in a few lines equals nn.MultiheadAttention.
2. Sinusoidal positions: P[i, 2j] = sin(i / 10000^(2j / E)), P[i, 2j + 1] = cos(the same); the products of two rows
   depend on their distance alone.
3. Two layers of four heads learn to turn sequences round. Attention itself does not know the order of its inputs:
   without positions the same net can only guess among the letters that are there. The heat maps show every head of
   both layers.
4. Causal attention over a sequence that grows: with kept keys and values each new token costs one query, and the result
   equals that of computing all anew.

The pictures go to --out: positions.png, positions-columns.png, self_attention.png.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import metrics, nn, optim, vis
from fastdl.models import CachedAttention, PositionalEncoding
from fastdl.nn import functional as F

LETTERS, LENGTH, WIDTH, HEADS, LAYERS = 12, 10, 32, 4, 2
TOKENS = 512  # that are decoded one by one


def multi_head(x: Any, layer: nn.MultiheadAttention) -> Any:
    """Each head attends with its own part of the projected queries, keys and values; the parts are joined again."""
    n, steps, width = x.shape
    projected = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)  # (N, T, 3 E)
    q, k, v = projected.reshape(n, steps, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)  # (N, heads, T, E / heads)
    weights = F.softmax(q @ k.mT / (width // HEADS) ** 0.5, -1)
    return layer.out_proj((weights @ v).transpose(1, 2).reshape(n, steps, width))


class Block(nn.Module):
    """Self-attention, then a small net for each position; both are added to their input and the sum is normed."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = CachedAttention(WIDTH, HEADS)
        self.net = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def rest(self, x: Any, attended: Any) -> Any:
        x = self.norm1(x + attended)
        return self.norm2(x + self.net(x))

    def forward(self, x: Any, is_causal: bool = False) -> Any:
        return self.rest(x, self.attention.over_itself(x, is_causal=is_causal))

    def next_steps(self, x: Any, cache: Any) -> tuple[Any, Any]:
        """The same, causal, for the steps behind those in the cache; and the cache with their keys and values."""
        attended, cache = self.attention.next_steps(x, cache)
        return self.rest(x, attended), cache


class Net(nn.Module):
    """Embedded letters, with or without positions, blocks, and scores (N, T, LETTERS)."""

    def __init__(self, has_positions: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, WIDTH)
        self.positions = PositionalEncoding(WIDTH) if has_positions else nn.Identity()
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.output = nn.Linear(WIDTH, LETTERS)

    def forward(self, letters: Any) -> Any:
        x = self.positions(self.embedding(letters))
        for block in self.blocks:
            x = block(x)
        return self.output(x)

    @fastdl.no_grad()
    def weights(self, letters: Any) -> Any:
        """What each head looks at, (layers, heads, T, T), for one sequence (1, T)."""
        for block in self.blocks:
            block.attention.keep_weights = True
        self(letters)
        for block in self.blocks:
            block.attention.keep_weights = False
        return fastdl.stack([block.attention.weights[0] for block in self.blocks])


def train(net: Net, steps: int, name: str) -> list[float]:
    """Losses while it learns to turn random sequences round."""
    optimizer, losses = optim.Adam(net.parameters(), lr=2e-3), []
    for _ in tqdm(range(steps), unit="step", desc=name, leave=False):
        letters = fastdl.randint(0, LETTERS, (64, LENGTH))
        loss = F.cross_entropy(net(letters).flatten(0, 1), letters.flip(1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def decode(count: int) -> None:
    """A sequence that grows token by token, computed anew each time and from a cache."""
    blocks, x = [Block() for _ in range(LAYERS)], fastdl.randn(1, count, WIDTH)
    with fastdl.no_grad():
        begin, anew = time.perf_counter(), []
        for i in range(1, count + 1):
            y = x[:, :i]
            for block in blocks:
                y = block(y, is_causal=True)
            anew.append(y[:, -1:])
        middle, kept, caches = time.perf_counter(), [], [None] * LAYERS
        for i in range(count):
            y = x[:, i:i + 1]
            for j, block in enumerate(blocks):
                y, caches[j] = block.next_steps(y, caches[j])
            kept.append(y)
        end = time.perf_counter()
    gap = (fastdl.cat(anew, 1) - fastdl.cat(kept, 1)).abs().max().item()
    assert gap < 1e-4, gap
    print(f"{count} tokens one by one: {middle - begin:.2f} s anew, {end - middle:.2f} s with a cache; the results "
          f"differ by at most {gap:.1e}")


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    layer, x = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), fastdl.randn(3, 7, WIDTH)
    gap = (multi_head(x, layer) - layer(x, x, x)[0]).abs().max().item()
    assert gap < 1e-5, gap
    print(f"multi-head attention written out and nn.MultiheadAttention differ by at most {gap:.1e}")

    table = PositionalEncoding(WIDTH).P[0, :60]
    products = table @ table.T
    assert all(products.diagonal(d).std().item() < 1e-3 for d in range(5)), "depend on the distance alone"
    vis.plot(range(60), table[:, 6:10].T, legend=[f"column {j}" for j in range(6, 10)], xlabel="position",
             path=options.out / "positions-columns.png")
    vis.show_heatmaps(table.reshape(1, 1, 60, WIDTH), xlabel="column", ylabel="position", cmap="RdBu", figsize=(4.5, 4),
                      path=options.out / "positions.png")

    steps = 20 if options.quick else 800
    letters = fastdl.randint(0, LETTERS, (500, LENGTH))
    for has_positions in (False, True):
        name = f"with{'' if has_positions else 'out'} positions"
        net = Net(has_positions)
        losses = train(net, steps, name)
        with fastdl.no_grad():
            right = metrics.accuracy(net(letters), letters.flip(1))
        print(f"turning {LENGTH} of {LETTERS} letters round, {name}: loss {losses[-1]:.3f}, {right:.1%} of the letters "
              f"right")
    maps = net.weights(letters[:1])
    titles = [f"layer {i + 1}, head {j + 1}" for i in range(LAYERS) for j in range(HEADS)]
    vis.show_heatmaps(maps, xlabel="key", ylabel="query", titles=titles, path=options.out / "self_attention.png")
    decode(TOKENS // 8 if options.quick else TOKENS)
    print(f"pictures: {options.out}/positions*.png, {options.out}/self_attention.png")


if __name__ == "__main__":
    run(main, parser(__doc__).parse_args())
