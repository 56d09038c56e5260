"""The book's multilayer perceptron on Fashion-MNIST or on scikit-learn's digits; activations, dropout.

784-256-10 with ReLU, SGD, minibatches of 256, 30 epochs in which the learning rate falls from 0.5 to zero by a cosine.
The book's own setting is --epochs 10 --lr 0.1; up to 10 epochs keep the rate. --dropout 0.2 puts dropout behind the
hidden layer.
--engine torch trains the same model with PyTorch, for comparison. Pictures go to --out: activations.png, mlp.png
(curves), predictions.png.

Fashion-MNIST is looked for in --data FOLDER, in FASTDL_DATA, in the cache, in Debian's package dataset-fashion-mnist,
and then at the book's address.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import parser, run
from tqdm import tqdm

import fastdl
from fastdl import datasets, metrics, vis
from fastdl.nn import functional as F

HIDDEN = 256
BATCH = 256  # digits: 32, as there are few


def arguments() -> argparse.Namespace:
    made = parser(__doc__, quick="one epoch of few images, to see that all works")
    made.add_argument("--data", default="fashion-mnist", metavar="SET",
                        help="fashion-mnist, digits, or a folder with the idx files of Fashion-MNIST (fashion-mnist)")
    made.add_argument("--epochs", type=int, help="passes over the images (30; digits: 60)")
    made.add_argument("--lr", type=float, help="learning rate at the start (0.5; digits: 0.1)")
    made.add_argument("--dropout", type=float, default=0.0, help="rate behind the hidden layer (0)")
    made.add_argument("--engine", choices=["fastdl", "torch"], default="fastdl", help="who computes (fastdl)")
    options = made.parse_args()
    if options.epochs is None:
        options.epochs = 1 if options.quick else 60 if options.data == "digits" else 30
    if options.lr is None:
        options.lr = 0.1 if options.data == "digits" else 0.5
    if options.epochs < 1 or not options.lr > 0 or not 0 <= options.dropout < 1:
        made.error("expected --epochs of at least 1, a positive --lr and --dropout in [0, 1)")
    return options


def read(name: str) -> Any:
    if name == "digits":
        return datasets.digits()
    return datasets.fashion_mnist(None if name == "fashion-mnist" else name)


def batches(images: Any, labels: Any, size: int, rng: np.random.Generator | None = None) -> Any:
    """Minibatches in a new order, or, without `rng`, in order."""
    order = rng.permutation(len(images)) if rng else np.arange(len(images))
    for i in range(0, len(order), size):
        rows = order[i : i + size]
        yield images[rows], labels[rows]


class Training:
    """The model and its data; `engine` is the module fastdl or torch, whose names are the same."""

    def __init__(self, engine: Any, data: Any, options: argparse.Namespace) -> None:
        nn = engine.nn
        self.engine, self.rng = engine, np.random.default_rng(options.seed)
        engine.manual_seed(options.seed)
        count = 2000 if options.quick else None
        images, labels, test_images, test_labels = (part.numpy()[:count] for part in data[:4])
        self.batch = BATCH if len(images) >= 10 * BATCH else 32
        self.train_set, self.test_set = (images, labels), (test_images, test_labels)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(images[0].size, HIDDEN), nn.ReLU(),
                                 nn.Dropout(options.dropout), nn.Linear(HIDDEN, len(data.classes)))
        for layer in (self.net[1], self.net[4]):  # the book's
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = engine.optim.SGD(self.net.parameters(), lr=options.lr)
        schedule = engine.optim.lr_scheduler
        self.schedule = schedule.CosineAnnealingLR(self.optimizer, options.epochs) if options.epochs > 10 else None

    def epoch(self) -> tuple[float, float]:
        """Trains on each image once; gives the mean loss and the accuracy on the way."""
        mean = metrics.Mean()
        self.net.train()
        for x, y in batches(*self.train_set, self.batch, self.rng):
            x, y = self.engine.from_numpy(x), self.engine.from_numpy(y)
            scores = self.net(x)
            loss = self.loss(scores, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            mean.add(loss.item(), metrics.accuracy(scores, y), count=len(y))
        if self.schedule:
            self.schedule.step()
        return mean.values[0], mean.values[1]

    def test(self) -> float:
        """The accuracy on images that were not trained on."""
        mean = metrics.Mean()
        self.net.eval()
        with self.engine.no_grad():
            for x, y in batches(*self.test_set, self.batch):
                mean.add(metrics.accuracy(self.net(self.engine.from_numpy(x)), self.engine.from_numpy(y)), count=len(y))
        return mean.value


def activations(path: Path) -> None:
    """Each activation with its derivative, which backward() gives."""
    functions = {
        "ReLU": F.relu, "LeakyReLU 0.1": lambda x: F.leaky_relu(x, 0.1), "ELU": F.elu, "GELU": F.gelu,
        "tanh": F.tanh, "sigmoid": F.sigmoid, "4 sigmoid(x) - 2": lambda x: 4 * F.sigmoid(x) - 2, "SiLU": F.silu,
    }  # fmt: skip
    figure, axes = vis.panels(2, 4, figsize=(13, 5.5))
    for (name, f), panel in zip(functions.items(), axes.flat):
        x = fastdl.linspace(-5, 5, 401).requires_grad_()
        y = f(x)
        y.sum().backward()
        vis.plot(x, [y, x.grad], legend=[name, "derivative"], xlabel="x", axes=panel)
    vis.show(figure, path)


def predictions(training: Training, classes: tuple[str, ...], path: Path) -> None:
    """Test images with what the model takes them for; mistakes in red."""
    images, labels = (part[:24] for part in training.test_set)
    with fastdl.no_grad():
        found = training.net(fastdl.from_numpy(images)).argmax(1).tolist()
    figure, axes = vis.panels(3, 8, figsize=(11, 5))
    for panel in axes.flat:
        panel.axis("off")
    for panel, image, label, guess in zip(axes.flat, images, labels.tolist(), found):
        panel.imshow(image, cmap="Greys")
        title = classes[guess] if guess == label else f"{classes[guess]}\n({classes[label]})"
        panel.set_title(title, color="black" if guess == label else "tab:red", fontsize=9)
    vis.show(figure, path)


def main(options: argparse.Namespace) -> None:
    data = read(options.data)
    training = Training(importlib.import_module(options.engine), data, options)
    sizes = [len(labels) for _, labels in (training.train_set, training.test_set)]
    print(f"images: {data.source}, {sizes[0]:,} for training, {sizes[1]:,} for tests")
    begin = time.perf_counter()
    with vis.Animator(xlabel="epoch", legend=["train loss", "train accuracy", "test accuracy"],
                      path=options.out / "mlp.png") as animator:
        for epoch in tqdm(range(options.epochs), unit="epoch", dynamic_ncols=True):
            loss, accuracy = training.epoch()
            test = training.test()
            animator.add(epoch + 1, (loss, accuracy, test))
    seconds = time.perf_counter() - begin
    print(f"{options.engine}: test accuracy {test:.4f}, train accuracy {accuracy:.4f}, loss {loss:.4f} after "
          f"{options.epochs} epochs; {seconds:.1f} s")
    if options.engine == "fastdl":
        activations(options.out / "activations.png")
        predictions(training, data.classes, options.out / "predictions.png")
        print(f"pictures: {options.out}/")


if __name__ == "__main__":
    run(main, arguments())
