"""Character language models: RNN, GRU, LSTM, deep and bidirectional ones, and a small causal Transformer.

--data timemachine (the default) has the book's setting: one-hot characters, minibatches of 32 x 35 from the first
10,000 characters, SGD with rate 1, gradient norm clipped to 1, 500 epochs; the figure is the perplexity of the last
epoch. --data shakespeare holds the last tenth of Tiny Shakespeare out and reports the loss per character on it: AdamW,
warm-up, then a cosine to zero. Any other --data is a text file, trained on like Shakespeare's.

--bidirectional shows what the book warns of: a model that reads ahead has a perplexity near 1 and writes nonsense.
The folder --out gets a checkpoint (--load writes with it), after Ctrl-C, too, and the curves.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _common import checkpoint, fail, load_weights, natural, parser, run, saved_after
from tqdm import tqdm

import fastdl
from fastdl import datasets, metrics, models, nn, optim, text, vis
from fastdl.nn import functional as F

MODELS = ("rnn", "gru", "lstm", "transformer")
WRITE = {"timemachine": "time traveller"}  # how the written text begins; else with the text's own first characters


class Setting(NamedTuple):
    """width: of layers; layers; embedding: None: one-hot; batch x steps characters; lr: learning rate."""

    width: int
    layers: int
    embedding: int | None
    batch: int
    steps: int
    lr: float
    epochs: int


BOOK = Setting(256, 1, None, 32, 35, 1.0, 500)
LARGE = {"transformer": Setting(128, 4, None, 32, 128, 4e-3, 11), "other": Setting(512, 1, 64, 64, 64, 4e-3, 8)}
QUICK = {"width": 32, "batch": 8, "steps": 16, "epochs": 2}


def arguments() -> argparse.Namespace:
    made = parser(__doc__, quick="a small model and few epochs, to see that all works")
    made.add_argument("--data", default="timemachine", metavar="TEXT",
                        help="timemachine, shakespeare, or a text file in UTF-8 (timemachine)")
    made.add_argument("--model", choices=MODELS, default="gru", help="(gru)")
    made.add_argument("--bidirectional", action="store_true", help="layers that read from the end, too")
    made.add_argument("--sampling", choices=["sequential", "random"],
                        help="order of the minibatches (sequential; transformer: random)")
    for name, what in (("width", "hidden units"), ("layers", "on top of each other"), ("epochs", "passes over it"),
                       ("batch", "sequences of a minibatch"), ("steps", "characters of a sequence")):
        made.add_argument(f"--{name}", type=natural, help=f"{what} (as the data and the model ask)")
    made.add_argument("--lr", type=float, help="learning rate (as the data and the model ask)")
    made.add_argument("--temperature", type=float, help="of the written text (0: the likeliest; Shakespeare's: 0.8)")
    made.add_argument("--load", type=Path, metavar="CHECKPOINT", help="writes with this model, without training")
    options = made.parse_args()
    if options.bidirectional and options.model == "transformer":
        made.error("--bidirectional goes with rnn, gru and lstm")
    return options


class Training:
    """Text, model and optimizer of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.is_book, self.is_transformer = options.data == "timemachine", options.model == "transformer"
        setting = BOOK if self.is_book else LARGE.get(options.model, LARGE["other"])
        if self.is_book and self.is_transformer:
            setting = setting._replace(width=64, layers=2, lr=2e-3)
        asked = {name: getattr(options, name) for name in Setting._fields if getattr(options, name, None) is not None}
        self.setting = setting._replace(**{**(QUICK if options.quick else {}), **asked})
        self.source, self.text = self.read(options)
        self.sampling = options.sampling or ("random" if self.is_transformer else "sequential")
        corpus, self.vocab = text.load_corpus(text.normalize(self.text) if self.is_book else [self.text],
                                              max_tokens=10_000 if self.is_book else -1)
        ids = np.array(corpus)
        cut = len(ids) if self.is_book else len(ids) - len(ids) // 10
        self.train_ids, self.held_out = ids[:cut], ids[cut:]
        fastdl.manual_seed(options.seed)
        self.model = self.build(options)
        if self.is_book and not self.is_transformer:
            self.optimizer: Any = optim.SGD(self.model.parameters(), lr=self.setting.lr)
            self.schedule = None
        else:
            self.optimizer = optim.AdamW(self.model.parameters(), lr=self.setting.lr, betas=(0.9, 0.98))
            total = self.setting.epochs * ((len(self.train_ids) - 1) // (self.setting.batch * self.setting.steps))
            warm = max(1, min(100, total // 10))
            self.schedule = optim.lr_scheduler.LambdaLR(
                self.optimizer, lambda i: min((i + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * min(i / total, 1))))

    @staticmethod
    def read(options: argparse.Namespace) -> tuple[str, str]:
        if options.data in ("timemachine", "shakespeare"):
            book = datasets.time_machine() if options.data == "timemachine" else datasets.tiny_shakespeare()
            source, content = book.source, book.text
        else:
            source, content = options.data, text.read_text(options.data)
        return source, content[:20_000] if options.quick else content

    def build(self, options: argparse.Namespace) -> Any:
        size, s = len(self.vocab), self.setting
        if self.is_transformer:
            return models.TransformerLM(size, s.width, 4, s.layers, s.steps)
        return models.LanguageModel(size, s.width, options.model, s.layers, s.embedding,
                                    bidirectional=options.bidirectional)

    def epoch(self) -> float:
        """One pass over the text; gives the mean loss per character on the way."""
        cut = text.seq_data_iter_random if self.sampling == "random" else text.seq_data_iter_sequential
        mean, state = metrics.Mean(), None
        for x, y in cut(self.train_ids, self.setting.batch, self.setting.steps):
            logits, after = self.model(x, state)
            state = models.detach(after) if self.sampling == "sequential" and not self.is_transformer else None
            loss = F.cross_entropy(logits, y.T.reshape(-1))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            if self.schedule:
                self.schedule.step()
            mean.add(loss.item(), count=y.numel())
        return mean.value

    def validate(self) -> float:
        """The loss per character held out.

        A recurrent model reads on from window to window; the Transformer is scored on the second half of each window
        only, so that half a window at least stands before every character that counts.
        """
        mean, state, steps = metrics.Mean(), None, self.setting.steps
        half = steps // 2 if self.is_transformer else 0
        self.model.eval()
        if self.is_transformer:
            starts = np.arange(0, len(self.held_out) - steps, steps - half)
            rows = (starts[i : i + 64, None] + np.arange(steps) for i in range(0, len(starts), 64))
            windows: Any = ((fastdl.from_numpy(self.held_out[at]), fastdl.from_numpy(self.held_out[at + 1]))
                            for at in rows)
        else:
            windows = text.seq_data_iter_sequential(self.held_out, min(16, self.setting.batch), steps,
                                                    fastdl.Generator().manual_seed(0))
        with fastdl.no_grad():
            for x, y in windows:
                logits, after = self.model(x, state)
                state = None if self.is_transformer else after
                y = y.T[half:].reshape(-1)
                mean.add(F.cross_entropy(logits[half * len(x):], y).item(), count=y.numel())
        self.model.train()
        return mean.value

    def write(self, options: argparse.Namespace) -> str:
        begin = WRITE.get(options.data, self.text[:20])
        temperature = options.temperature if options.temperature is not None else 0.0 if self.is_book else 0.8
        return models.predict(begin, 60 if self.is_book or options.quick else 400, self.model, self.vocab,
                              temperature=temperature)


def train(training: Training, options: argparse.Namespace) -> None:
    epochs, seconds = training.setting.epochs, 0.0
    legend = ["train"] if training.is_book else ["train", "held out"]
    with vis.Animator(xlabel="epoch", ylabel="loss per character (nats)", legend=legend,
                      path=options.out / "language_model.png") as animator:
        for epoch in tqdm(range(epochs), unit="epoch", dynamic_ncols=True):
            begin = time.perf_counter()
            losses = [training.epoch()]
            seconds += time.perf_counter() - begin
            if not training.is_book:
                losses.append(training.validate())
            animator.add(epoch + 1, tuple(losses))
    characters = epochs * len(training.train_ids)
    held_out = "" if training.is_book else f", held out {losses[1]:.3f} nats per character"
    print(f"perplexity {models.perplexity(losses[0]):.3f}{held_out} after {epochs} epochs; {seconds:.1f} s of "
          f"training, {characters / seconds:,.0f} characters/s, {fastdl.get_num_threads()} threads")


def main(options: argparse.Namespace) -> None:
    path = options.out / f"language_model-{options.model}.safetensors"
    training = Training(options)
    print(f"text: {training.source}\n{len(training.train_ids):,} characters, vocabulary of {len(training.vocab)}, "
          f"{sum(p.numel() for p in training.model.parameters()):,} parameters")
    if options.load:
        found = checkpoint(options.load, "vocab", "model")
        if found["vocab"] != list(training.vocab):
            fail(f"{options.load}: its vocabulary ({len(found['vocab'])} characters) is not that of the text "
                 f"({len(training.vocab)})")
        load_weights(training.model, found["model"], options.load)
    else:
        with saved_after(path, lambda: {"vocab": list(training.vocab), "model": training.model.state_dict()}):
            train(training, options)
    print(f"written by the model:\n{training.write(options)}")


if __name__ == "__main__":
    run(main, arguments())
