"""Trains a GRU on the characters of The Time Machine, lets it write, and measures it against plain NumPy.

The setting is that of "Dive into Deep Learning", chapter Recurrent Neural Networks: one-hot characters, 256 hidden
units, minibatches of 32 x 35 characters from the first 10,000, SGD with learning rate 1, gradient norm clipped to 1.
The folder --out gets a checkpoint (go on with --resume) and a picture of the training curve. Ctrl-C stops after the
epoch under way and leaves a checkpoint, too.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from _common import fail, natural

BATCH, STEPS, LR, MAX_NORM = 32, 35, 1.0, 1.0
PREFIX, WRITE = "time traveller", 60
# what a checkpoint keeps
SETTINGS: dict[str, Any] = {"hidden": 256, "tokens": 10000, "sampling": "sequential", "seed": 0}
QUICK = {"hidden": 32, "tokens": 4000}
CHECKPOINT, PICTURE = "timemachine.safetensors", "timemachine.png"
SAVE_EVERY = 100  # epochs


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=natural, help="passes over the text in all, resumed ones included (500)")
    parser.add_argument("--hidden", type=natural, help="hidden units (256)")
    parser.add_argument("--tokens", type=natural, help="characters of the text to train on (10000)")
    parser.add_argument("--sampling", choices=["sequential", "random"], help="order of the minibatches (sequential)")
    parser.add_argument("--seed", type=int, help="of the weights and the minibatches (0)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="another text (UTF-8)")
    parser.add_argument("--threads", type=natural, help="threads of fastdl and NumPy (all they may use)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for checkpoint and picture (out)")
    parser.add_argument("--resume", nargs="?", type=Path, const=Path(), metavar="CHECKPOINT",
                        help=f"goes on from this checkpoint (OUT/{CHECKPOINT})")
    parser.add_argument("--quick", action="store_true", help="a small model and few epochs, to see that all works")
    options = parser.parse_args(argv)
    if options.resume == Path():
        options.resume = options.out / CHECKPOINT
    if options.epochs is None:
        options.epochs = 6 if options.quick else 500
    if options.threads:  # BLAS libraries read this when NumPy is imported
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
            os.environ[name] = str(options.threads)
    return options


class StopRequest:
    """Turns the first Ctrl-C into a wish to stop after the epoch; the second one stops at once."""

    def __enter__(self) -> StopRequest:
        self.asked = False
        self.before = signal.signal(signal.SIGINT, self.ask)
        return self

    def ask(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self.before)

    def __exit__(self, *_: Any) -> None:
        signal.signal(signal.SIGINT, self.before)


class Training:
    """Model, text, settings and progress; all of it but the text goes into a checkpoint."""

    def __init__(self, options: argparse.Namespace) -> None:
        checkpoint = self.read(options.resume) if options.resume else None
        self.settings = dict(checkpoint["settings"]) if checkpoint else {**SETTINGS, **(QUICK if options.quick else {})}
        for name in SETTINGS:
            asked = getattr(options, name)
            if checkpoint and asked is not None and asked != self.settings[name]:
                fail(f"{options.resume} was trained with --{name} {self.settings[name]}, not {asked}")
            if asked is not None:
                self.settings[name] = asked
        self.text = self.read_text(options.text)
        try:
            self.corpus, self.vocab = text.load_corpus(text.normalize(self.text.text),
                                                       max_tokens=self.settings["tokens"])
            self.minibatches(0)
        except ValueError as error:
            fail(f"{self.text.source}: {error}")
        self.perplexities: list[float] = []
        if checkpoint and checkpoint["vocab"] != list(self.vocab):
            fail(f"{options.resume} has another vocabulary ({len(checkpoint['vocab'])} tokens) than "
                 f"{self.text.source} ({len(self.vocab)} tokens)")
        fastdl.manual_seed(self.settings["seed"])
        self.model = models.LanguageModel(len(self.vocab), self.settings["hidden"])
        self.optimizer = fastdl.optim.SGD(self.model.parameters(), lr=LR)
        if checkpoint:
            self.model.load_state_dict(checkpoint["model"])
            self.perplexities = list(checkpoint["perplexities"])

    @staticmethod
    def read(path: Path) -> dict[str, Any]:
        try:
            checkpoint = fastdl.load(path)
        except (OSError, ValueError, RuntimeError) as error:
            fail(error)
        if not isinstance(checkpoint, dict) or {"settings", "vocab", "model", "perplexities"} - checkpoint.keys():
            fail(f"{path}: not a checkpoint of this program")
        return checkpoint

    @staticmethod
    def read_text(path: Path | None) -> Any:
        try:
            return datasets.Text(text.read_text(path), str(path)) if path else datasets.time_machine()
        except (OSError, ValueError) as error:
            fail(error)

    def save(self, path: Path) -> None:
        fastdl.save({"settings": self.settings, "vocab": list(self.vocab), "perplexities": self.perplexities,
                     "model": self.model.state_dict()}, path)

    def minibatches(self, epoch: int) -> Any:
        """Those of one epoch: its random numbers depend on the seed and the epoch only, so a resumed run sees them."""
        generator = fastdl.Generator().manual_seed(self.settings["seed"] * 1_000_003 + epoch)
        make = text.seq_data_iter_random if self.settings["sampling"] == "random" else text.seq_data_iter_sequential
        return make(self.corpus, BATCH, STEPS, generator)

    def step(self, x: Any, y: Any, state: Any = None) -> tuple[float, Any]:
        """One step of training; gives the mean loss and the state after the last character."""
        logits, state = self.model(x, state)
        loss = F.cross_entropy(logits, y.T.reshape(-1))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        return loss.item(), state

    def epoch(self) -> tuple[float, int]:
        """One pass over the text; gives its perplexity and the number of characters."""
        total, count, state = 0.0, 0, None
        for x, y in self.minibatches(len(self.perplexities)):
            if state is not None:
                state = None if self.settings["sampling"] == "random" else models.detach(state)
            loss, state = self.step(x, y, state)
            total, count = total + loss * y.numel(), count + y.numel()
        self.perplexities.append(models.perplexity(total / count))
        return self.perplexities[-1], count

    def run(self, epochs: int, path: Path) -> bool:
        """Trains up to that many epochs in all; gives whether it got there (or was stopped by Ctrl-C)."""
        done, characters, begin = len(self.perplexities), 0, time.perf_counter()
        with StopRequest() as stop, tqdm(total=epochs, initial=done, unit="epoch", dynamic_ncols=True) as bar:
            while len(self.perplexities) < epochs and not stop.asked:
                perplexity, count = self.epoch()
                characters += count
                rate = characters / (time.perf_counter() - begin)
                bar.set_postfix_str(f"perplexity {perplexity:.3f}, {rate:,.0f} tokens/s", refresh=False)
                bar.update()
                if len(self.perplexities) % SAVE_EVERY == 0:
                    self.save(path)
        seconds = time.perf_counter() - begin
        self.save(path)
        if characters:
            print(f"perplexity {self.perplexities[-1]:.3f} after {len(self.perplexities)} epochs; {seconds:.1f} s, "
                  f"{characters / seconds:,.0f} tokens/s, {fastdl.get_num_threads()} threads")
        return len(self.perplexities) >= epochs


def compare_with_numpy(training: Training, seconds: float) -> None:
    """The same training step in plain NumPy: first its loss and gradients, then its time."""
    try:
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
        import numpy_baseline
    except ImportError:
        print("benchmarks/numpy_baseline.py is not there: no comparison with NumPy")
        return
    names = {"w_ih": "rnn.weight_ih_l0", "w_hh": "rnn.weight_hh_l0", "b_ih": "rnn.bias_ih_l0", "b_hh": "rnn.bias_hh_l0",
             "w_out": "linear.weight", "b_out": "linear.bias"}
    ours = dict(training.model.named_parameters())
    weights = {short: ours[name].detach().numpy().copy() for short, name in names.items()}
    baseline = numpy_baseline.CharModel("gru", weights)
    x, y = next(training.minibatches(0))
    zeros = (np.zeros((BATCH, training.settings["hidden"]), np.float32),)

    loss, gradients, _ = baseline.loss_and_grads(x.numpy(), y.numpy(), zeros)
    numpy_baseline.clip(gradients, MAX_NORM)
    our_loss, _ = training.step(x, y)
    np.testing.assert_allclose(our_loss, loss, rtol=1e-4)
    largest = max(np.abs(g).max() for g in gradients.values())
    for short, name in names.items():
        np.testing.assert_allclose(ours[name].grad.numpy(), gradients[short], rtol=1e-3, atol=1e-4 * largest,
                                   err_msg=name)

    times: dict[str, list[float]] = {"fastdl": [], "NumPy": []}
    steps = {"fastdl": lambda: training.step(x, y),
             "NumPy": lambda: baseline.step(x.numpy(), y.numpy(), zeros, LR, MAX_NORM)}
    for _ in range(3):  # in turns; each goes on for its share, and the first steps of a turn do not count
        for name, step in steps.items():
            time.sleep(0.05)  # lets the other's threads go to sleep
            turn: list[float] = []
            until = time.perf_counter() + seconds / 6
            while time.perf_counter() < until or len(turn) < 4:
                begin = time.perf_counter()
                step()
                turn.append(time.perf_counter() - begin)
            times[name] += turn[2:]
    fast, slow = (float(np.median(times[name])) * 1e3 for name in ("fastdl", "NumPy"))
    print(f"one training step, {BATCH} x {STEPS} characters, {training.settings['hidden']} hidden units, same loss and "
          f"gradients:\n  fastdl {fast:.2f} ms, plain NumPy {slow:.2f} ms: {slow / fast:.1f} times as fast")


def draw(perplexities: list[float], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no picture of the training curve")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    axes.semilogy(range(1, len(perplexities) + 1), perplexities)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(xlabel="epoch", ylabel="perplexity", title="Character GRU: perplexity of each epoch")
    ticks = [t for t in (1, 1.5, 2, 3, 5, 10, 20, 30) if t <= 1.5 * max(perplexities)]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"training curve: {path}")


def main(options: argparse.Namespace) -> int:
    if options.threads:
        fastdl.set_num_threads(options.threads)
    training = Training(options)
    size = min(len(training.corpus), training.settings["tokens"])
    print(f"text: {training.text.source}\n{size:,} characters, vocabulary of {len(training.vocab)}")
    path = options.out / CHECKPOINT
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        complete = training.run(options.epochs, path)
    except OSError as error:
        fail(error)
    print(f"checkpoint: {path}")
    if not complete:
        print("stopped; go on with --resume")
        return 130
    print(f"written by the model: {models.predict(PREFIX, WRITE, training.model, training.vocab)}")
    draw(training.perplexities, options.out / PICTURE)
    compare_with_numpy(training, seconds=0.2 if options.quick else 3.0)
    return 0


if __name__ == "__main__":
    OPTIONS = arguments(None)  # before the imports: --help is instant, and BLAS reads --threads from the environment

import numpy as np  # noqa: E402
from tqdm import tqdm  # noqa: E402

import fastdl  # noqa: E402
from fastdl import datasets, models, nn, text  # noqa: E402
from fastdl.nn import functional as F  # noqa: E402

if __name__ == "__main__":
    try:
        sys.exit(main(OPTIONS))
    except KeyboardInterrupt:
        sys.exit(130)
