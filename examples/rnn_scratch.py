"""A character RNN from scratch: one-hot characters, its own step, clipping, perplexity, prediction with warm-up.

The book's setting: minibatches of 32 x 35 from the first 10,000 characters of The Time Machine, SGD with rate 1, the
norm of all gradients clipped to 1. The state goes on from minibatch to minibatch, cut from its graph, so that
gradients reach back 35 steps and no further.

The same weights in nn.RNN give the same losses and gradients on the first minibatch, and the same text at the end; the
program checks it and says how long a step takes both ways. language_model.py has the other layers: GRU, LSTM, deep and
bidirectional ones. The picture rnn_scratch.png goes to --out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import natural, parser, run
from tqdm import tqdm

import fastdl
from fastdl import datasets, metrics, models, text, vis
from fastdl.nn import functional as F

BATCH, STEPS, LR, MAX_NORM = 32, 35, 1.0, 1.0
PREFIX, WRITE = "time traveller", 50


class ScratchRNN:
    """h = tanh(x W_xh + h W_hh + b_h) and scores h W_hq + b_q of the next token, in tensors alone."""

    def __init__(self, vocab_size: int, hidden: int) -> None:
        self.vocab_size, self.hidden = vocab_size, hidden
        self.W_xh = self.parameter(0.01 * fastdl.randn(vocab_size, hidden))
        self.W_hh = self.parameter(0.01 * fastdl.randn(hidden, hidden))
        self.b_h = self.parameter(fastdl.zeros(hidden))
        self.W_hq = self.parameter(0.01 * fastdl.randn(hidden, vocab_size))
        self.b_q = self.parameter(fastdl.zeros(vocab_size))
        self.parameters = [self.W_xh, self.W_hh, self.b_h, self.W_hq, self.b_q]

    @staticmethod
    def parameter(values: Any) -> Any:
        return values.requires_grad_()

    def begin(self, batch: int) -> Any:
        return fastdl.zeros(batch, self.hidden)

    def __call__(self, tokens: Any, h: Any) -> tuple[Any, Any]:
        """Scores (T * N, V), time first, that follow the tokens (N, T); and the state (N, H) behind them."""
        scores = []
        for x in F.one_hot(tokens.T, self.vocab_size).float():  # (N, V), a step at a time
            h = fastdl.tanh(x @ self.W_xh + h @ self.W_hh + self.b_h)
            scores.append(h @ self.W_hq + self.b_q)
        return fastdl.cat(scores), h

    @fastdl.no_grad()
    def predict(self, prefix: str, count: int, vocab: text.Vocab) -> str:
        """The prefix, which is read for the state alone (warm-up), and the likeliest `count` characters behind it."""
        ids, h = vocab[list(prefix)], self.begin(1)
        for i in range(len(prefix) + count - 1):
            scores, h = self(fastdl.tensor([[ids[i]]]), h)
            if i + 1 == len(ids):  # the prefix is read: from here on its own characters
                ids.append(int(scores.argmax().item()))
        return "".join(vocab.to_tokens(ids))


def clip(parameters: list[Any], most: float) -> float:
    """Scales all gradients by one number so that their common norm is at most `most`; gives the norm before."""
    norm = float(sum(p.grad.square().sum().item() for p in parameters)) ** 0.5
    if norm > most:
        for p in parameters:
            p.grad *= most / norm
    return norm


def step(net: ScratchRNN, x: Any, y: Any, h: Any) -> tuple[float, float, Any]:
    """One step of training: the loss, the norm of the gradient before clipping, the state cut from the graph."""
    scores, h = net(x, h)
    loss = F.cross_entropy(scores, y.T.reshape(-1))
    for p in net.parameters:
        p.grad = None
    loss.backward()
    norm = clip(net.parameters, MAX_NORM)
    with fastdl.no_grad():
        for p in net.parameters:
            p -= LR * p.grad
    return loss.item(), norm, h.detach()


def with_nn(net: ScratchRNN) -> models.LanguageModel:
    """nn.RNN and nn.Linear with the same weights: theirs are transposed, and nn.RNN has a second bias."""
    model = models.LanguageModel(net.vocab_size, net.hidden, "rnn")
    ours = {"rnn.weight_ih_l0": net.W_xh.T, "rnn.weight_hh_l0": net.W_hh.T, "rnn.bias_ih_l0": net.b_h,
            "rnn.bias_hh_l0": fastdl.zeros(net.hidden), "linear.weight": net.W_hq.T, "linear.bias": net.b_q}
    model.load_state_dict({name: value.detach().clone() for name, value in ours.items()})
    return model


def compare(net: ScratchRNN, x: Any, y: Any) -> None:
    """Loss and gradients of one minibatch, both ways, and how long they take."""
    model = with_nn(net)
    ways: dict[str, Any] = {"from scratch": lambda: net(x, net.begin(len(x))), "with nn": lambda: model(x)}
    losses, times = [], {}
    for name, forward in ways.items():
        for _ in range(4):
            for p in net.parameters if name == "from scratch" else model.parameters():
                p.grad = None
            begin = time.perf_counter()
            loss = F.cross_entropy(forward()[0], y.T.reshape(-1))
            loss.backward()
            times[name] = time.perf_counter() - begin  # the first is slower, the last counts
        losses.append(loss.item())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    theirs = [model.rnn.weight_ih_l0.grad.T, model.rnn.weight_hh_l0.grad.T, model.rnn.bias_ih_l0.grad,
              model.linear.weight.grad.T, model.linear.bias.grad]
    for p, grad in zip(net.parameters, theirs):
        np.testing.assert_allclose(p.grad.numpy(), grad.numpy(), rtol=1e-3, atol=1e-4 * float(grad.abs().max()))
    print("one minibatch has the same loss and gradients with nn.RNN; forward and backward: "
          + ", ".join(f"{1e3 * seconds:.1f} ms {name}" for name, seconds in times.items()))


def main(options: argparse.Namespace) -> None:
    fastdl.manual_seed(options.seed)
    hidden = options.hidden or (32 if options.quick else 256)
    epochs = options.epochs or (3 if options.quick else 500)
    if options.text:
        source, content = str(options.text), text.read_text(options.text)
    else:
        book = datasets.time_machine()
        source, content = book.source, book.text
    corpus, vocab = text.load_corpus(text.normalize(content), max_tokens=4_000 if options.quick else 10_000)
    print(f"text: {source}\n{len(corpus):,} characters, vocabulary of {len(vocab)}")
    net = ScratchRNN(len(vocab), hidden)
    print(f"before training: {net.predict(PREFIX, WRITE, vocab)}")
    compare(net, *next(iter(text.seq_data_iter_random(corpus, BATCH, STEPS))))

    perplexities, norms = [], []
    begin = time.perf_counter()
    with tqdm(total=epochs, unit="epoch", dynamic_ncols=True) as bar:
        for _ in range(epochs):
            mean, h = metrics.Mean(), net.begin(BATCH)
            for x, y in text.seq_data_iter_sequential(corpus, BATCH, STEPS):
                loss, norm, h = step(net, x, y, h)
                mean.add(loss, norm)
            perplexities.append(metrics.perplexity(mean.values[0]))
            norms.append(mean.values[1])
            bar.set_postfix_str(f"perplexity {perplexities[-1]:.3f}", refresh=False)
            bar.update()
    written = net.predict(PREFIX, WRITE, vocab)
    print(f"perplexity {perplexities[-1]:.3f} after {epochs} epochs; {time.perf_counter() - begin:.1f} s")
    print(f"written by the model: {written}")
    print(f"the same by nn.RNN: {models.predict(PREFIX, WRITE, with_nn(net), vocab) == written}")

    figure, axes = vis.panels(1, 2)
    vis.plot(range(1, epochs + 1), perplexities, xlabel="epoch", ylabel="perplexity", yscale="log", axes=axes[0, 0])
    vis.plot(range(1, epochs + 1), norms, xlabel="epoch", ylabel="gradient norm before clipping",
             axes=axes[0, 1])
    vis.show(figure, options.out / "rnn_scratch.png")
    print(f"picture: {options.out}/rnn_scratch.png")


if __name__ == "__main__":
    PARSER = parser(__doc__, quick="a small net and few epochs, to see that all works")
    PARSER.add_argument("--text", type=Path, metavar="FILE", help="another text in UTF-8 (The Time Machine)")
    PARSER.add_argument("--hidden", type=natural, help="hidden units (256)")
    PARSER.add_argument("--epochs", type=natural, help="passes over the text (500)")
    run(main, PARSER.parse_args())
