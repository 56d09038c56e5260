"""The rows in NumPy: the work of numpy_baseline with the weights and data of models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import numpy_baseline as nb

from . import models as m


def char_model(cell: str, hidden: int) -> m.Work:
    gates = nb.GATES[cell]
    shapes = {"w_ih": (gates * hidden, m.VOCAB), "w_hh": (gates * hidden, hidden), "b_ih": (gates * hidden,),
              "b_hh": (gates * hidden,), "w_out": (m.VOCAB, hidden), "b_out": (m.VOCAB,)}
    model = nb.CharModel(cell, dict(zip(shapes, m.weights(shapes.items()))))
    text = np.random.default_rng(1).integers(m.VOCAB, size=(m.STEPS + 1, m.BATCH))
    x, y = text[:-1].T.copy(), text[1:].T.copy()
    zeros = (np.zeros((m.BATCH, hidden), np.float32),) * 2
    return m.Work(lambda: model.step(x, y, zeros, 1e-3, 1.0)[0])


def mlp(batch: int) -> m.Work:
    shapes = {"w1": (256, 784), "b1": (256,), "w2": (10, 256), "b2": (10,)}
    model = nb.MLP(dict(zip(shapes, m.weights(shapes.items()))))
    x = np.random.default_rng(1).standard_normal((batch, 784), dtype=np.float32)
    y = np.random.default_rng(1).integers(10, size=batch)
    return m.Work(lambda: model.step(x, y, 1e-3))


def matmul(size: int) -> m.Work:
    a, b = (np.random.default_rng(seed).standard_normal((size, size), dtype=np.float32) for seed in (1, 2))
    return m.Work(lambda: a @ b)


TABLE: dict[str, Callable[[float, int], m.Work]] = {
    "char-rnn": lambda drop, threads: char_model("rnn", 512),
    "char-gru": lambda drop, threads: char_model("gru", 256),
    "char-lstm": lambda drop, threads: char_model("lstm", 256),
    "mlp32": lambda drop, threads: mlp(32),
    "mlp": lambda drop, threads: mlp(256),
    "matmul-512": lambda drop, threads: matmul(512),
    "matmul-1024": lambda drop, threads: matmul(1024),
    "matmul-2048": lambda drop, threads: matmul(2048),
}
