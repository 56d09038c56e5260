"""Short trainings of every kind of model, in the part of the API that fastdl and PyTorch share.

`lib` is fastdl in the tests and torch when tests/data/make_losses.py stores the losses to compare with. Weights and
data come from a frozen NumPy stream (RandomState), so both start from the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np

VOCAB, HIDDEN, BATCH, STEPS = 28, 72, 20, 14


def random_like(model, rng, lib):
    """Overwrites all parameters with numbers of the size that PyTorch's initialisation has."""
    with lib.no_grad():
        for p in model.parameters():
            bound = 1 / np.sqrt(p.shape[-1])
            p.copy_(lib.tensor(rng.uniform(-bound, bound, tuple(p.shape)), dtype=p.dtype))


def language_model(lib, cell, embedding_dim=None, num_layers=1):
    nn = lib.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCAB, embedding_dim) if embedding_dim else None
            self.rnn = getattr(nn, cell)(embedding_dim or VOCAB, HIDDEN, num_layers)
            self.linear = nn.Linear(HIDDEN, VOCAB)

        def forward(self, x, state):
            if self.embedding is None:
                x = nn.functional.one_hot(x.T, VOCAB).to(self.linear.weight.dtype)
            else:
                x = self.embedding(x.T)
            y, state = self.rnn(x, state)
            return self.linear(y.reshape(-1, HIDDEN)), state

    return Model()


class Run:
    """One model, its data and its optimizer. `step(i)` trains on minibatch i and gives the loss before the update."""

    rows = 96

    def __init__(self, lib, dtype):
        self.lib, self.dtype = lib, dtype
        self.rng = np.random.RandomState(sum(map(ord, type(self).__name__)))
        self.make()
        self.model.to(dtype)
        random_like(self.model, self.rng, lib)
        self.optimizer = self.make_optimizer()

    def minibatch(self, i, *arrays):
        at = np.arange(i * self.rows, (i + 1) * self.rows) % len(arrays[0])
        return [self.lib.tensor(a[at]) if a.dtype == np.int64 else self.lib.tensor(a[at], dtype=self.dtype)
                for a in arrays]

    def update(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


class LinearRegression(Run):
    def make(self):
        self.x = self.rng.normal(size=(250, 13))
        self.y = self.x @ self.rng.normal(size=(13, 1)) + 4.2 + 0.1 * self.rng.normal(size=(250, 1))
        self.model = self.lib.nn.Linear(13, 1)
        self.loss = self.lib.nn.MSELoss()

    def make_optimizer(self):
        return self.lib.optim.SGD(self.model.parameters(), lr=0.03)

    def step(self, i):
        x, y = self.minibatch(i, self.x, self.y)
        return self.update(self.loss(self.model(x), y))


class SoftmaxRegression(Run):
    def make(self):
        self.x = self.rng.uniform(size=(300, 28, 28)) - 0.4
        self.y = (self.x.reshape(300, -1) @ self.rng.normal(size=(784, 10))).argmax(1)
        self.model = self.lib.nn.Sequential(self.lib.nn.Flatten(), self.lib.nn.Linear(784, 10))
        self.loss = self.lib.nn.CrossEntropyLoss()

    def make_optimizer(self):
        return self.lib.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)

    def step(self, i):
        x, y = self.minibatch(i, self.x, self.y)
        return self.update(self.loss(self.model(x), y))


class MLP(SoftmaxRegression):
    def make(self):
        super().make()
        nn = self.lib.nn
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 50), nn.Tanh(),
                                   nn.Linear(50, 10))

    def make_optimizer(self):
        return self.lib.optim.Adam(self.model.parameters(), lr=2e-3)


class CharRNN(Run):
    cell, kwargs = "RNN", {}

    def make(self):
        # tokens with something to learn: the next one is a function of the last two, most of the time
        rule = self.rng.randint(VOCAB, size=(VOCAB, VOCAB))
        tokens = [0, 1]
        for _ in range(5 * BATCH * STEPS + BATCH):
            tokens.append(rule[tokens[-2] % 3, tokens[-1]] if self.rng.uniform() < 0.9 else self.rng.randint(VOCAB))
        length = 5 * STEPS
        self.tokens = np.array(tokens)[:BATCH * (length + 1)].reshape(BATCH, length + 1)
        self.model = language_model(self.lib, self.cell, **self.kwargs)
        self.state = None

    def make_optimizer(self):
        return self.lib.optim.SGD(self.model.parameters(), lr=1.0)

    def step(self, i):
        lib, at = self.lib, i % 5 * STEPS
        x = lib.tensor(self.tokens[:, at:at + STEPS].copy())
        y = lib.tensor(self.tokens[:, at + 1:at + 1 + STEPS].copy())
        if at == 0:
            state = None
        elif isinstance(self.state, tuple):
            state = tuple(s.detach() for s in self.state)
        else:
            state = self.state.detach()
        logits, self.state = self.model(x, state)
        loss = lib.nn.functional.cross_entropy(logits, y.T.reshape(-1))
        self.optimizer.zero_grad()
        loss.backward()
        lib.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.optimizer.step()
        return loss.item()


class CharGRU(CharRNN):
    cell = "GRU"


class CharLSTM(CharRNN):
    cell = "LSTM"


class EmbeddingGRU(CharRNN):
    cell, kwargs = "GRU", {"embedding_dim": 19, "num_layers": 2}

    def make_optimizer(self):
        return self.lib.optim.AdamW(self.model.parameters(), lr=5e-3, weight_decay=0.05)


RUNS = {run.__name__: run for run in
        (LinearRegression, SoftmaxRegression, MLP, CharRNN, CharGRU, CharLSTM, EmbeddingGRU)}


def losses(lib, name, steps, dtype):
    """The losses of the first `steps` steps."""
    run = RUNS[name](lib, dtype)
    return [run.step(i) for i in range(steps)]


def digest(run):
    """A checksum of all weights, bit for bit."""
    total = hashlib.sha256()
    for p in run.model.parameters():
        total.update(np.ascontiguousarray(p.detach().numpy()).tobytes())
    return total.hexdigest()


def digests(lib, steps):
    """{model: checksum of its weights after that many steps}."""
    result = {}
    for name, make in RUNS.items():
        run = make(lib, lib.float32)
        last = [run.step(i) for i in range(steps)][-1]
        assert np.isfinite(last), f"{name} diverged"
        result[name] = digest(run)
    return result
