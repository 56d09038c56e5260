"""Each op against NumPy: small tensors (the cost of a call) and large ones (the speed of the kernel)."""

from __future__ import annotations

import numpy as np

import fastdl
from benchmarks import numpy_baseline as nb
from benchmarks.case import Case, cases
from fastdl.nn import functional as F

SMALL, LARGE = (8,), (1120, 768)
ROWS, CLASSES = 1120, 28


def normal(*shape):
    """The same numbers each time, as an array."""
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape, dtype=np.float32)


def leaf(array):
    return fastdl.tensor(array, requires_grad=True)


def elementwise(name, ours, theirs, inputs=1, positive=False, rtol=1e-5):
    """A case for each of the two sizes."""
    def make(shape):
        xs = [normal(*shape) + np.float32(i) for i in range(inputs)]
        xs = [np.abs(x) + np.float32(0.1) for x in xs] if positive else xs
        ts = [fastdl.tensor(x) for x in xs]
        return lambda: ours(*ts), lambda: theirs(*xs)

    return [Case(f"{name} {shape}", lambda shape=shape: make(shape), rtol=rtol,
                 bytes=4 * (inputs + 1) * int(np.prod(shape))) for shape in (SMALL, LARGE)]


ELEMENTWISE = [
    *elementwise("add", lambda a, b: a + b, np.add, 2),
    *elementwise("mul", lambda a, b: a * b, np.multiply, 2),
    *elementwise("div", lambda a, b: a / b, np.divide, 2, positive=True),
    *elementwise("mul scalar", lambda a: a * 1.5, lambda a: a * np.float32(1.5)),
    *elementwise("exp", fastdl.exp, np.exp),
    *elementwise("log", fastdl.log, np.log, positive=True),
    *elementwise("sqrt", fastdl.sqrt, np.sqrt, positive=True),
    *elementwise("tanh", fastdl.tanh, np.tanh),
    *elementwise("sigmoid", fastdl.sigmoid, nb.sigmoid),
    *elementwise("relu", F.relu, nb.relu),
    *elementwise("gelu tanh", lambda a: F.gelu(a, approximate="tanh"), nb.gelu, rtol=1e-4),
]


@cases(ELEMENTWISE)
def bench_elementwise(measure, case, provider):
    measure(case, provider)


def broadcast_row():
    x, b = normal(*LARGE), normal(LARGE[1])
    tx, tb = fastdl.tensor(x), fastdl.tensor(b)
    return lambda: tx + tb, lambda: x + b


def broadcast_column():
    x, b = normal(*LARGE), normal(LARGE[0], 1)
    tx, tb = fastdl.tensor(x), fastdl.tensor(b)
    return lambda: tx * tb, lambda: x * b


def transposed_copy():
    x = normal(*LARGE)
    t = fastdl.tensor(x)
    return lambda: t.T.contiguous(), lambda: np.ascontiguousarray(x.T)


def reduction(ours, theirs):
    def make():
        x = normal(*LARGE)
        t = fastdl.tensor(x)
        return lambda: ours(t), lambda: theirs(x)

    return make


LAYOUT_AND_REDUCTION = [
    Case("add row vector", broadcast_row, bytes=8 * LARGE[0] * LARGE[1]),
    Case("mul column vector", broadcast_column, bytes=8 * LARGE[0] * LARGE[1]),
    Case("transposed copy", transposed_copy, bytes=8 * LARGE[0] * LARGE[1]),
    Case("sum of all", reduction(lambda t: t.sum(), lambda x: x.sum()), rtol=1e-3),
    Case("sum over columns", reduction(lambda t: t.sum(1), lambda x: x.sum(1)), atol=1e-5),
    Case("sum over rows", reduction(lambda t: t.sum(0), lambda x: x.sum(0)), atol=1e-5),
    Case("mean over columns", reduction(lambda t: t.mean(1), lambda x: x.mean(1)), atol=1e-5),
    Case("max over columns", reduction(lambda t: t.amax(1), lambda x: x.max(1))),
    Case("argmax over columns", reduction(lambda t: t.argmax(1), lambda x: x.argmax(1))),
]


@cases(LAYOUT_AND_REDUCTION)
def bench_layout_and_reduction(measure, case, provider):
    measure(case, provider)


def softmax_pair(ours, theirs):
    return reduction(lambda t: ours(t, dim=-1), theirs)


def cross_entropy(rows, classes):
    def make():
        x, target = normal(rows, classes), np.arange(rows) * 7 % classes
        t, k = leaf(x), fastdl.tensor(target)

        def ours():
            t.grad = None
            loss = F.cross_entropy(t, k)
            loss.backward()
            return loss, t.grad

        return ours, lambda: nb.cross_entropy(x, target)

    return make


def softmax_bwd():
    x, dy = normal(*LARGE), normal(*LARGE)[::-1].copy()
    t, d = leaf(x), fastdl.tensor(dy)

    def ours():
        t.grad = None
        F.softmax(t, dim=-1).backward(d)
        return t.grad

    return ours, lambda: nb.softmax_bwd(dy, nb.softmax(x))


def embedding():
    weight, index = normal(10000, 256), np.arange(ROWS) ** 2 % 10000
    t, i, dout = leaf(weight), fastdl.tensor(index), normal(ROWS, 256)
    d = fastdl.tensor(dout)

    def ours():
        t.grad = None
        out = F.embedding(i, t)
        out.backward(d)
        return out, t.grad

    return ours, lambda: (weight[index], nb.embedding_bwd(dout, index, 10000))


def linear(rows, features, outputs):
    def make():
        x, w, b, dy = normal(rows, features), normal(outputs, features), normal(outputs), normal(rows, outputs)
        tx, tw, tb, d = leaf(x), leaf(w), leaf(b), fastdl.tensor(dy)

        def ours():
            tx.grad = tw.grad = tb.grad = None
            y = F.linear(tx, tw, tb)
            y.backward(d)
            return y, tx.grad, tw.grad, tb.grad

        return ours, lambda: (x @ w.T + b, dy @ w, dy.T @ x, dy.sum(0))

    return Case(f"linear fwd+bwd ({rows}, {features}) -> {outputs}", make, flops=6 * rows * features * outputs,
                rtol=1e-4, atol=1e-5)


def conv2d(n, channels, outputs, size):
    """3 x 3, same size."""
    def make():
        x, w, dy = normal(n, channels, size, size), normal(outputs, channels, 3, 3), normal(n, outputs, size, size)
        tx, tw, d = leaf(x), leaf(w), fastdl.tensor(dy)

        def ours():
            tx.grad = tw.grad = None
            y = F.conv2d(tx, tw, padding=1)
            y.backward(d)
            return y, tx.grad, tw.grad

        return ours, lambda: nb.conv2d(x, w, dy)

    return Case(f"conv2d fwd+bwd {n} x ({channels}, {size}, {size}) -> {outputs}", make,
                flops=6 * n * channels * outputs * 9 * size * size, rtol=1e-4, atol=1e-5)


def logit_loss(size):
    def make():
        x, target = normal(size), (normal(size + 1)[1:] > 0).astype(np.float32)
        t, k = leaf(x), fastdl.tensor(target)

        def ours():
            t.grad = None
            loss = F.binary_cross_entropy_with_logits(t, k)
            loss.backward()
            return loss, t.grad

        return ours, lambda: nb.logit_loss(x, target)

    return Case(f"bce with logits fwd+bwd {size}", make, bytes=12 * size, rtol=1e-4)


LAYERS = [
    Case("softmax", softmax_pair(F.softmax, nb.softmax)),
    Case("log_softmax", softmax_pair(F.log_softmax, nb.log_softmax)),
    Case("softmax fwd+bwd", softmax_bwd),
    Case("cross_entropy fwd+bwd (1120, 28)", cross_entropy(ROWS, CLASSES)),
    Case("cross_entropy fwd+bwd (256, 10)", cross_entropy(256, 10)),
    Case("cross_entropy fwd+bwd (256, 10000)", cross_entropy(256, 10000)),
    Case("embedding fwd+bwd", embedding),
    conv2d(64, 6, 16, 14), conv2d(16, 64, 64, 32),
    logit_loss(10), logit_loss(1_000_000),
    linear(32, 256, 28), linear(256, 784, 256), linear(1120, 256, 768),
]


@cases(LAYERS)
def bench_layers(measure, case, provider):
    measure(case, provider)


SHAPES = {"w_ih": (768, 28), "w_hh": (768, 256), "b_ih": (768,), "b_hh": (768,), "w_out": (28, 256), "b_out": (28,)}


def parameters():
    """The parameters of the GRU language model and gradients for them, for fastdl and for NumPy."""
    values = {name: normal(*shape) for name, shape in SHAPES.items()}
    grads = {name: normal(*shape) * np.float32(1e-3) for name, shape in SHAPES.items()}
    ours = [fastdl.nn.Parameter(fastdl.tensor(v)) for v in values.values()]
    for p, g in zip(ours, grads.values()):
        p.grad = fastdl.tensor(g)
    return ours, {name: v.copy() for name, v in values.items()}, grads


def adam():
    ours, theirs, grads = parameters()
    mine, other = fastdl.optim.Adam(ours, lr=1e-6), nb.Adam(theirs, lr=1e-6)

    def step():
        mine.step()
        return ours

    def numpy_step():
        other.step(grads)
        return list(theirs.values())

    return step, numpy_step


def clip_and_sgd():
    ours, theirs, grads = parameters()
    mine = fastdl.optim.SGD(ours, lr=1e-6)
    scratch = {name: g.copy() for name, g in grads.items()}
    originals = [fastdl.tensor(g) for g in grads.values()]

    def step():
        with fastdl.no_grad():
            for p, g in zip(ours, originals):
                p.grad.copy_(g)
        fastdl.nn.utils.clip_grad_norm_(ours, 0.1)
        mine.step()
        return ours

    def numpy_step():
        for name, g in grads.items():
            scratch[name][...] = g
        nb.clip(scratch, 0.1)
        nb.sgd(theirs, scratch, 1e-6)
        return list(theirs.values())

    return step, numpy_step


COUNT = sum(int(np.prod(shape)) for shape in SHAPES.values())
OPTIMIZERS = [Case("Adam step, GRU", adam, bytes=28 * COUNT), Case("clip and SGD step, GRU", clip_and_sgd)]


@cases(OPTIMIZERS)
def bench_optimizers(measure, case, provider):
    measure(case, provider)
