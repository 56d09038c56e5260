"""One small training of every family of models, for the tests of reliability.

`Run(name)` holds model, optimizer, schedule and data; `step(i)` trains on minibatch i. Weights come from fastdl's seed,
minibatch i from a frozen NumPy stream: a run can begin anywhere. Sizes are such that kernels use all threads.
"""

from __future__ import annotations

import hashlib
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastdl
from fastdl import models, nn
from fastdl.nn import functional as F

VOCAB, HIDDEN, ROWS, STEPS = 40, 72, 32, 20
BOS, PAD = 1, 0


class Recurrent(nn.Module):
    def __init__(self, cell: str, **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 48)
        self.rnn = getattr(nn, cell)(48, HIDDEN, **options)
        self.head = nn.Linear(HIDDEN * (2 if options.get("bidirectional") else 1), VOCAB)

    def forward(self, tokens: Any, lengths: Any = None) -> Any:
        return self.head(self.rnn(self.embedding(tokens.T), lengths=lengths)[0])


def conv_net() -> Any:
    return nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(8, 16, 3), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(16 * 25, 10))  # fmt: skip


def mlp() -> Any:
    return nn.Sequential(nn.Flatten(), nn.Linear(576, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 96), nn.Tanh(),
                         nn.Dropout(0.1), nn.Linear(96, 10))  # fmt: skip


def next_token(model: Any, b: Any) -> Any:
    logits = model(b.tokens)
    return F.cross_entropy(logits.reshape(-1, VOCAB), b.target.T.reshape(-1))


def masked_tokens(model: Any, b: Any) -> Any:
    logits = model(b.tokens, b.lengths)
    return F.cross_entropy(logits.reshape(-1, VOCAB), b.padded.T.reshape(-1), ignore_index=PAD)


def translate(model: Any, b: Any) -> Any:
    return model.loss(b.tokens, b.lengths, b.padded, BOS, PAD)


def classify(model: Any, b: Any) -> Any:
    return F.cross_entropy(model(b.image), b.label)


# name: (model, loss, optimizer)
FAMILIES: dict[str, tuple[Any, Any, Any]] = {
    "linear": (lambda: nn.Linear(576, 3), lambda m, b: F.mse_loss(m(b.image.flatten(1)), b.y),
               lambda p: fastdl.optim.SGD(p, 0.002)),
    "mlp": (mlp, classify, lambda p: fastdl.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3)),
    "conv": (conv_net, classify, lambda p: fastdl.optim.Adam(p, 2e-3)),
    "rnn": (lambda: Recurrent("RNN"), next_token, lambda p: fastdl.optim.SGD(p, 0.5)),
    "gru": (lambda: Recurrent("GRU", num_layers=2, dropout=0.2), next_token, lambda p: fastdl.optim.AdamW(p, 3e-3)),
    "lstm": (lambda: Recurrent("LSTM"), next_token, lambda p: fastdl.optim.RMSprop(p, 2e-3)),
    "bidirectional": (lambda: Recurrent("LSTM", bidirectional=True), masked_tokens,
                      lambda p: fastdl.optim.Adagrad(p, 0.02)),
    "seq2seq": (lambda: models.gru_seq2seq(VOCAB, VOCAB, 48, HIDDEN, 2, 0.1), translate,
                lambda p: fastdl.optim.Adam(p, 3e-3)),
    "bahdanau": (lambda: models.gru_seq2seq(VOCAB, VOCAB, 48, HIDDEN, 1, 0.0, attention=True), translate,
                 lambda p: fastdl.optim.Adam(p, 3e-3)),
    "transformer": (lambda: models.transformer_seq2seq(VOCAB, VOCAB, 64, 4, 96, 2, 0.1), translate,
                    lambda p: fastdl.optim.Adam(p, 1e-3)),
    "bert": (lambda: models.BertPretraining(models.BertModel(VOCAB, 64, 2, 4, 96, 64)),
             lambda m, b: sum(m.loss(b)), lambda p: fastdl.optim.NAdam(p, 1e-3)),
}  # fmt: skip


def batch(i: int, steps: int = STEPS) -> SimpleNamespace:
    """Minibatch i: images and sentences of at most `steps` tokens."""
    rng = np.random.RandomState(1000 + i)
    image = rng.uniform(-1, 1, (ROWS, 1, 24, 24)).astype(np.float32)
    label = rng.randint(10, size=ROWS)
    image[np.arange(ROWS), 0, label, label] += 3
    tokens = rng.randint(2, VOCAB, (ROWS, steps + 1))
    tokens[:, 1::2] = (tokens[:, ::2][:, : tokens[:, 1::2].shape[1]] * 7 + 3) % (VOCAB - 2) + 2  # something to learn
    lengths = rng.randint(1, steps + 1, ROWS)
    padded = np.where(np.arange(steps) < lengths[:, None], tokens[:, 1:], PAD)
    masked = np.flatnonzero(rng.uniform(size=ROWS * steps) < 0.2)
    arrays = {
        "image": image, "label": label, "y": image.reshape(ROWS, -1)[:, :3] + 1, "tokens": tokens[:, :-1],
        "target": tokens[:, 1:], "padded": padded, "lengths": lengths, "segments": tokens[:, :-1] % 2, "masked": masked,
        "words": tokens[:, 1:].reshape(-1)[masked], "follows": label % 2,
    }  # fmt: skip
    return SimpleNamespace(**{name: fastdl.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()})


class Run:
    def __init__(self, name: str, seed: int = 3) -> None:
        make, self.loss, optimizer = FAMILIES[name]
        fastdl.manual_seed(seed)
        self.model = make()
        self.optimizer = optimizer(self.model.parameters())
        self.schedule = fastdl.optim.lr_scheduler.StepLR(self.optimizer, 30, 0.8)

    def step(self, i: int, steps: int = STEPS) -> float:
        loss = self.loss(self.model, batch(i, steps))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.item()

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "random": fastdl.get_rng_state()}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        fastdl.set_rng_state(state["random"])

    def digest(self) -> str:
        """A hash of everything in the state, bit for bit."""

        def plain(value: Any) -> Any:
            if isinstance(value, fastdl.Tensor):
                a = value.detach().numpy()
                return a.dtype.str, a.shape, a.tobytes()
            if isinstance(value, dict):
                return [(key, plain(v)) for key, v in value.items()]
            return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

        return hashlib.sha256(pickle.dumps(repr(plain(self.state())))).hexdigest()[:16]


def digests(steps: int, names: Any = FAMILIES) -> dict[str, str]:
    """{family: hash after that many steps}."""
    found = {}
    for name in names:
        run = Run(name)
        losses = [run.step(i) for i in range(steps)]
        assert np.isfinite(losses).all(), f"{name} diverged"
        assert steps < 100 or np.mean(losses[-10:]) < np.mean(losses[:10]), f"{name} learned nothing"
        found[name] = run.digest()
    return found
