"""Whole training steps against NumPy: minibatch in, weights updated, loss out."""

from __future__ import annotations

import numpy as np

import fastdl
from benchmarks import numpy_baseline as nb
from benchmarks.case import Case, cases
from fastdl import models, nn
from fastdl.nn import functional as F

VOCAB, BATCH, STEPS = 28, 32, 35
NAMES = {"w_ih": "rnn.weight_ih_l0", "w_hh": "rnn.weight_hh_l0", "b_ih": "rnn.bias_ih_l0", "b_hh": "rnn.bias_hh_l0",
         "w_out": "linear.weight", "b_out": "linear.bias"}
MLP_NAMES = {"w1": "1.weight", "b1": "1.bias", "w2": "3.weight", "b2": "3.bias"}


def copies(model, names):
    ours = dict(model.named_parameters())
    return ours, {short: ours[name].detach().numpy().copy() for short, name in names.items()}


def char_model(cell, hidden):
    """The step of the demo: gradients, norm clipped to 1, SGD with learning rate 1 (1e-3 here: nothing may diverge)."""
    def make():
        fastdl.manual_seed(0)
        model = models.LanguageModel(VOCAB, hidden, cell)
        optimizer = fastdl.optim.SGD(model.parameters(), lr=1e-3)
        ours, theirs = copies(model, NAMES)
        baseline = nb.CharModel(cell, theirs)
        tokens = np.random.default_rng(0).integers(VOCAB, size=(BATCH, STEPS + 1))
        x, y = tokens[:, :-1].copy(), tokens[:, 1:].copy()
        tx, ty = fastdl.tensor(x), fastdl.tensor(y)
        zeros = (np.zeros((BATCH, hidden), np.float32),) * 2

        def step():
            logits, _ = model(tx)
            loss = F.cross_entropy(logits, ty.T.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss.item(), [ours[name].grad for name in NAMES.values()]

        def numpy_step():
            loss, grads, _ = baseline.loss_and_grads(x, y, zeros)
            nb.clip(grads, 1.0)
            result = loss, [grads[short] for short in NAMES]
            for short, p in theirs.items():
                p -= 1e-3 * grads[short]
            return result

        return step, numpy_step

    return Case(f"char {cell.upper()} step, hidden {hidden}", make, rtol=1e-3, atol=1e-4,
                flops=nb.gru_flops(BATCH, STEPS, hidden, VOCAB, nb.GATES[cell]))


def mlp(batch, inputs, hidden, outputs):
    def make():
        fastdl.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        optimizer = fastdl.optim.SGD(model.parameters(), lr=1e-3)
        ours, theirs = copies(model, MLP_NAMES)
        baseline = nb.MLP(theirs)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((batch, inputs), dtype=np.float32), rng.integers(outputs, size=batch)
        tx, ty = fastdl.tensor(x), fastdl.tensor(y)

        def step():
            loss = F.cross_entropy(model(tx), ty)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item(), [ours[name] for name in MLP_NAMES.values()]

        return step, lambda: (baseline.step(x, y, 1e-3), [theirs[short] for short in MLP_NAMES])

    return Case(f"MLP step, {batch} x {inputs}-{hidden}-{outputs}", make, rtol=1e-3, atol=1e-4,
                flops=batch * hidden * (4 * inputs + 6 * outputs))


CASES = [mlp(256, 784, 256, 10), mlp(32, 784, 256, 10), char_model("rnn", 256), char_model("gru", 256),
         char_model("lstm", 256), char_model("gru", 32)]


@cases(CASES)
def bench_train(measure, case, provider):
    measure(case, provider)
