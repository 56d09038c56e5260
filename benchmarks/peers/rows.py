"""The table of rows: what is timed, how fast it is to be, and what it must cost at least."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from . import costs as c
from . import models as m


@dataclass
class Row:
    """One line of the table.

    key: short name, for --rows and the other engines' tables (jax_rows, numpy_rows, onnx_rows).
    name: as printed.
    make: (lib, drop) -> Work; see models.
    cost: what it must cost at least.
    target: PyTorch's time / fastdl's time, to be reached with two threads; None: no demand.
    fraction: the part of the limit to be reached; None: that of all rows, see report.
    share_of: another row, and the part of its tokens that this one has: see report.
    """

    key: str
    name: str
    make: Callable[[Any, float], m.Work]
    cost: c.Cost
    target: float | None = None
    fraction: float | None = None
    share_of: tuple[str, float] | None = None


ROWS: list[Row] = []


def add(make: Callable[..., m.Work], key: str, name: str, target: float | None, cost: c.Cost,
        fraction: float | None = None, share_of: tuple[str, float] | None = None, **sizes: Any) -> None:
    """A row; `sizes` are the arguments of the function of models."""
    ROWS.append(Row(key, name, lambda lib, drop: make(lib, drop, **sizes), cost, target, fraction, share_of))


# Linear models and perceptrons


def mlp_cost(sizes: list[int], batch: int, optimizer: str) -> c.Cost:
    layers = list(pairwise(sizes))
    cost = c.cross_entropy(batch, sizes[-1])
    for i, (inputs, outputs) in enumerate(layers):
        cost += c.linear(batch, inputs, outputs, first=i == 0)
    return cost + c.optimizer(sum(i * o + o for i, o in layers), optimizer)


add(m.linear_regression, "linreg", "linear regression, batch 10", 10,
    c.linear(10, 2, 1, first=True) + c.optimizer(3, "SGD"), batch=10, inputs=2)
for key, name, target, sizes, batch, kind, dropout in [
    ("softmax", "softmax regression 784-10, batch 256", 4, [784, 10], 256, "SGD", 0),
    ("mlp32", "MLP 784-256-10, batch 32", None, [784, 256, 10], 32, "SGD", 0),
    ("mlp", "MLP 784-256-10, batch 256", 2.5, [784, 256, 10], 256, "SGD", 0),
    ("mlp-dropout", "MLP 784-256-256-10, dropout, AdamW", 3.5, [784, 256, 256, 10], 256, "AdamW", 0.5),
    ("mlp-wide", "MLP 1024-2048-2048-1000, batch 128, Adam", 2, [1024, 2048, 2048, 1000], 128, "Adam", 0),
]:
    add(m.mlp, key, name, target, mlp_cost(sizes, batch, kind), sizes=sizes, batch=batch, optimizer=kind,
        dropout=dropout)

# Language models

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
TOKENS = m.BATCH * m.STEPS


def recurrent_parameters(inputs: int, hidden: int, gates: int, layers: int = 1, directions: int = 1) -> int:
    sizes = [inputs] + [directions * hidden] * (layers - 1)
    return sum(directions * gates * hidden * (size + hidden + 2) for size in sizes)


def char_cost(cell: str, hidden: int, layers: int = 1, directions: int = 1, tokens: int = TOKENS) -> c.Cost:
    gates, outputs = GATES[cell], directions * hidden
    cost = c.linear(tokens, outputs, m.VOCAB) + c.cross_entropy(tokens, m.VOCAB)
    for layer in range(layers):
        inputs = m.VOCAB if layer == 0 else outputs
        cost += c.recurrent(tokens, inputs, hidden, gates, first=layer == 0) * directions
    size = recurrent_parameters(m.VOCAB, hidden, gates, layers, directions) + m.VOCAB * (outputs + 1)
    return cost + c.optimizer(size, "SGD", clip=True)


REAL_TOKENS = int(m.random_lengths(m.BATCH, m.STEPS).sum())
for cell, hidden, target in [("RNN", 512, 3.0), ("GRU", 256, 3.7), ("LSTM", 256, 1.75)]:
    add(m.char_model, f"char-{cell.lower()}", f"char {cell} {hidden}", target, char_cost(cell, hidden),
        cell=cell, hidden=hidden)
add(m.char_model, "char-lstm-lengths", "char LSTM 256, lengths 1..35", None,
    char_cost("LSTM", 256, tokens=REAL_TOKENS), share_of=("char-lstm", REAL_TOKENS / TOKENS), cell="LSTM", hidden=256,
    lengths=True)
add(m.char_model, "char-lstm2", "char LSTM 256 x 2", 1.6, char_cost("LSTM", 256, 2), cell="LSTM", hidden=256, layers=2)
add(m.char_model, "char-bilstm", "char LSTM 256 x 2, bidirectional", 1.5, char_cost("LSTM", 256, 2, 2),
    cell="LSTM", hidden=256, layers=2, bidirectional=True)


def word_cost(vocab: int, width: int, layers: int, batch: int, steps: int) -> c.Cost:
    tokens = batch * steps
    size = 2 * vocab * width + vocab + recurrent_parameters(width, width, 4, layers)
    return (c.embedding(tokens, vocab, width) + c.recurrent(tokens, width, width, 4) * layers
            + c.linear(tokens, width, vocab) + c.cross_entropy(tokens, vocab) + c.optimizer(size, "SGD", clip=True))


words = {"vocab": 10000, "width": 650, "layers": 2, "batch": 20, "steps": 35}
add(m.word_model, "word-lstm", "word LSTM 650 x 2, vocabulary 10000", 1.5, word_cost(**words), dropout=0.5, **words)

# Translation

PAIRS = m.PAIRS["batch"] * m.PAIRS["steps"]


def gru_pairs_cost(additive: bool) -> c.Cost:
    width, vocab, layers, steps = (int(m.PAIRS[k]) for k in ("width", "vocab", "layers", "steps"))
    size = 2 * vocab * width + (recurrent_parameters(width, width, 3, layers)
                                + recurrent_parameters(2 * width, width, 3)
                                + recurrent_parameters(width, width, 3, layers - 1)) + vocab * (width + 1)
    cost = (c.embedding(PAIRS, vocab, width) * 2 + c.recurrent(PAIRS, width, width, 3) * (2 * layers - 1)
            + c.recurrent(PAIRS, 2 * width, width, 3) + c.linear(PAIRS, width, vocab) + c.cross_entropy(PAIRS, vocab))
    if additive:
        # keys are projected once per step as the book does; a tanh of each sum of query and key, seven passes over it
        size += 2 * width * width + width
        scores = PAIRS * steps
        cost += c.linear(PAIRS, width, width) + c.linear(PAIRS, width, width) * steps
        cost += c.Cost(flops=scores * width * (c.EXP + 14)) + c.Cost(flops=scores * width * 6)
    return cost + c.optimizer(size, "Adam", clip=True)


add(m.gru_translation, "gru-pairs", "GRU encoder-decoder 32 x 2", 5, gru_pairs_cost(False), attention=False)
add(m.gru_translation, "gru-attention", "the same with Bahdanau attention", 5, gru_pairs_cost(True), attention=True)


def transformer_cost(heads: int, inner: int) -> c.Cost:
    width, vocab, layers, batch, steps = (int(m.PAIRS[k]) for k in ("width", "vocab", "layers", "batch", "steps"))
    cross = c.linear(PAIRS, width, width) * 4 + c.attention(batch, heads, steps, steps, width // heads)
    cost = c.block(PAIRS, width, inner, batch, heads, steps) * layers
    cost += (c.block(PAIRS, width, inner, batch, heads, steps, causal=True) + cross) * layers
    cost += c.embedding(PAIRS, vocab, width) * 2 + c.linear(PAIRS, width, vocab) + c.cross_entropy(PAIRS, vocab)
    size = layers * (12 * width * width + 4 * width * inner) + 3 * vocab * width
    return cost + c.optimizer(size, "Adam", clip=True)


add(m.transformer_translation, "transformer", "Transformer 2 + 2, width 32, 4 heads", 4.5,
    transformer_cost(4, 64), heads=4, inner=64)


def bert_cost(layers: int, width: int, heads: int, inner: int, vocab: int, batch: int, steps: int) -> c.Cost:
    rows, masked = batch * steps, batch * m.masked_words(steps)
    size = (layers * (4 * width * width + 2 * width * inner + 9 * width + inner) + 2 * vocab * width + vocab
            + 2 * width * width + steps * width)
    return (c.embedding(rows, vocab, width) + c.block(rows, width, inner, batch, heads, steps) * layers
            + c.linear(masked, width, width) + c.linear(masked, width, vocab) + c.cross_entropy(masked, vocab)
            + c.linear(batch, width, width) + c.optimizer(size, "Adam"))


sizes = {"layers": 2, "width": 128, "heads": 2, "inner": 256, "vocab": 20256, "batch": 64, "steps": 64}
add(m.bert, "bert2", "BERT 2 layers, width 128, 64 x 64", 2.5, bert_cost(**sizes), dropout=0.2, **sizes)
sizes = {"layers": 4, "width": 256, "heads": 4, "inner": 1024, "vocab": 30522, "batch": 16, "steps": 128}
add(m.bert, "bert4", "BERT 4 layers, width 256, 16 x 128", 2.1, bert_cost(**sizes), dropout=0.1, gelu=True, **sizes)

# Inference


def encoder_cost(batch: int, steps: int) -> c.Cost:
    e = m.ENCODER
    return c.block_inference(batch * steps, e["width"], e["inner"], batch, e["heads"], steps) * e["layers"]


ENCODERS = {f"encoder-{batch}x{steps}": (batch, steps, "") for batch, steps in [(1, 16), (8, 128)]}
if "FASTDL_MINILM" in os.environ:  # the folder of all-MiniLM-L6-v2
    ENCODERS |= {f"minilm-{batch}x{steps}": (batch, steps, os.environ["FASTDL_MINILM"])
                 for batch, steps, _ in ENCODERS.values()}
for (key, (batch, steps, folder)), target in zip(ENCODERS.items(), [3.0, 1.45, None, None]):
    name = "all-MiniLM-L6-v2" if folder else "inference, 6 layers, width 384"
    add(m.sentence_inference, key, f"{name}: {batch} x {steps}", target, encoder_cost(batch, steps), batch=batch,
        steps=steps, folder=folder)
for cell, target in [("RNN", 4.0), ("GRU", 8.0), ("LSTM", 4.0)]:
    width = GATES[cell] * 128
    add(m.rnn_inference, f"{cell.lower()}-inference", f"{cell} inference, 1 x 100 steps, 64 -> 128", target,
        c.linear_inference(100, 64, width) + c.Cost(flops=2 * 100 * 128 * width) + c.array(128 * width, 1, 0),
        cell=cell, batch=1, steps=100, inputs=64, hidden=128)

# Single functions, forward and backward

ENTROPIES = {f"cross-entropy-{rows}": (rows, classes)
             for rows, classes in [(256, 10), (1120, 28), (700, 10000), (2048, 30522)]}
for (key, (rows, classes)), target in zip(ENTROPIES.items(), [8, 5, 2.5, 6]):
    add(m.cross_entropy, key, f"cross-entropy {rows} x {classes}", target, c.cross_entropy(rows, classes), rows=rows,
        classes=classes)
ATTENTIONS = {f"attention-{steps}": (batch, heads, steps, width, causal)
              for batch, heads, steps, width, causal in [(64, 4, 10, 8, True), (8, 12, 128, 64, False),
                                                         (1, 12, 1024, 64, True), (4, 8, 512, 64, False)]}
for (key, (batch, heads, steps, width, causal)), target in zip(ATTENTIONS.items(), [6, 1.8, 1.8, 1.35]):
    add(m.attention, key, f"attention {batch}, {heads}, {steps}, {width}" + ", causal" * causal, target,
        c.attention(batch, heads, steps, steps, width, causal), batch=batch, heads=heads, steps=steps, width=width,
        causal=causal)
add(m.layer_norm, "layer-norm", "layer norm 1024 x 768", 2, c.elementwise(1024 * 768, 20), rows=1024, width=768)
add(m.gelu, "gelu", "GELU 1024 x 3072", 1.8, c.elementwise(1024 * 3072, 3 * c.EXP), rows=1024, width=3072)
for size in (512, 1024, 2048):
    add(m.matmul, f"matmul-{size}", f"matrix product {size}^3", None, c.linear_inference(size, size, size),
        fraction=0.92, size=size)
add(m.small_adds, "adds", "1000 additions of 8 floats", None, c.Cost(flops=8000), count=1000, size=8)
BY_KEY = {row.key: row for row in ROWS}
