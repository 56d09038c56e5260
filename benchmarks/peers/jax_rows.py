"""Some rows in JAX: pure functions, compiled as a whole by XLA, the recurrence as lax.scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import models as m
from .rows import ATTENTIONS, ENTROPIES

Params = dict[str, Any]


def normal(*shape: int, seed: int = 1) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def integers(below: int, *shape: int, seed: int = 1) -> Any:
    return jnp.asarray(np.random.default_rng(seed).integers(below, size=shape))


def parameters(shapes: dict[str, tuple[int, ...]]) -> Params:
    return dict(zip(shapes, map(jnp.asarray, m.weights(shapes.items()))))


def mean_loss(scores: Any, target: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(scores), target[:, None], 1).mean()


def clipped(grads: Params, limit: float) -> Params:
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in grads.values()))
    factor = jnp.minimum(1.0, limit / (norm + 1e-6))
    return {name: g * factor for name, g in grads.items()}


def sgd(params: Params, grads: Params, state: Any, lr: float) -> tuple[Params, Any]:
    return {name: p - lr * grads[name] for name, p in params.items()}, state


def adam(params: Params, grads: Params, state: Any, lr: float) -> tuple[Params, Any]:
    (first, second, count), b1, b2 = state, 0.9, 0.999
    count += 1
    first = {n: b1 * v + (1 - b1) * grads[n] for n, v in first.items()}
    second = {n: b2 * v + (1 - b2) * grads[n] ** 2 for n, v in second.items()}
    size, scale = lr / (1 - b1**count), 1 / (1 - b2**count)
    new = {n: p - size * first[n] / (jnp.sqrt(second[n] * scale) + 1e-8) for n, p in params.items()}
    return new, (first, second, count)


def training(params: Params, loss_of: Callable[[Params, Any], Any], optimizer: Callable[..., Any], lr: float,
             clip: float | None = None) -> m.Work:
    """loss_of takes the parameters and a key for dropout."""
    zeros = {name: jnp.zeros_like(p) for name, p in params.items()}
    state = (zeros, {name: jnp.zeros_like(p) for name, p in params.items()}, jnp.zeros(()))

    def compiled(params: Params, state: Any, key: Any) -> Any:
        key, used = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_of)(params, used)
        params, state = optimizer(params, clipped(grads, clip) if clip else grads, state, lr)
        return params, state, key, loss

    step, now = jax.jit(compiled, donate_argnums=(0, 1, 2)), [params, state, jax.random.key(0)]

    def forward() -> Any:
        *now[:], loss = jax.block_until_ready(step(*now))
        return loss

    return m.Work(forward)


def gradient(f: Callable[..., Any], *inputs: Any) -> m.Work:
    """The value of f and its gradients."""
    compiled = jax.jit(f)
    return m.Work(lambda: jax.block_until_ready(compiled(*inputs))[0])


def mlp(sizes: Sequence[int], batch: int, optimizer: Callable[..., Any]) -> m.Work:
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        shapes |= {f"{i}.weight": (outputs, inputs), f"{i}.bias": (outputs,)}
    x, y, layers = normal(batch, sizes[0]), integers(sizes[-1], batch), len(sizes) - 1

    def loss_of(params: Params, key: Any) -> Any:
        h = x
        for i in range(layers):
            h = h @ params[f"{i}.weight"].T + params[f"{i}.bias"]
            h = jax.nn.relu(h) if i < layers - 1 else h
        return mean_loss(h, y)

    return training(parameters(shapes), loss_of, optimizer, 1e-3)


def char_model(cell: str, hidden: int) -> m.Work:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[cell]
    shapes = {"weight_ih_l0": (gates * hidden, m.VOCAB), "weight_hh_l0": (gates * hidden, hidden),
              "bias_ih_l0": (gates * hidden,), "bias_hh_l0": (gates * hidden,), "linear.weight": (m.VOCAB, hidden),
              "linear.bias": (m.VOCAB,)}
    text = np.random.default_rng(1).integers(m.VOCAB, size=(m.STEPS + 1, m.BATCH))
    x, y = jnp.asarray(text[:-1]), jnp.asarray(text[1:].reshape(-1))

    def loss_of(params: Params, key: Any) -> Any:
        w_hh, b_hh = params["weight_hh_l0"].T, params["bias_hh_l0"]
        inputs = jax.nn.one_hot(x, m.VOCAB) @ params["weight_ih_l0"].T + params["bias_ih_l0"]
        zeros = jnp.zeros((m.BATCH, hidden))

        def rnn(h: Any, a: Any) -> Any:
            h = jnp.tanh(a + h @ w_hh + b_hh)
            return h, h

        def gru(h: Any, a: Any) -> Any:
            (ar, az, an), (br, bz, bn) = jnp.split(a, 3, 1), jnp.split(h @ w_hh + b_hh, 3, 1)
            z = jax.nn.sigmoid(az + bz)
            h = (1 - z) * jnp.tanh(an + jax.nn.sigmoid(ar + br) * bn) + z * h
            return h, h

        def lstm(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(a + h @ w_hh + b_hh, 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        step: Any = {"RNN": rnn, "GRU": gru, "LSTM": lstm}[cell]
        _, outputs = lax.scan(step, (zeros, zeros) if cell == "LSTM" else zeros, inputs)
        return mean_loss(outputs.reshape(-1, hidden) @ params["linear.weight"].T + params["linear.bias"], y)

    return training(parameters(shapes), loss_of, sgd, 1e-3, clip=1)


def transformer(drop: float, heads: int, inner: int) -> m.Work:
    batch, steps, vocab, width, layers = (int(m.PAIRS[k]) for k in ("batch", "steps", "vocab", "width", "layers"))
    rate = m.PAIRS["dropout"] * drop
    shapes: dict[str, tuple[int, ...]] = {}
    for side in ("encoder", "decoder"):
        shapes[f"{side}.embedding"] = (vocab, width)
        for i in range(layers):
            at = f"{side}.{i}"
            for number, kind in enumerate(("attention", "cross")[: 1 if side == "encoder" else 2], 1):
                shapes |= {f"{at}.{kind}.{w}": (width, width) for w in "qkvo"}
                shapes |= {f"{at}.norm{number}.weight": (width,), f"{at}.norm{number}.bias": (width,)}
            shapes |= {f"{at}.dense1.weight": (inner, width), f"{at}.dense1.bias": (inner,),
                       f"{at}.dense2.weight": (width, inner), f"{at}.dense2.bias": (width,),
                       f"{at}.norm3.weight": (width,), f"{at}.norm3.bias": (width,)}
    shapes |= {"dense.weight": (vocab, width), "dense.bias": (vocab,)}
    source, target = integers(vocab, batch, steps), integers(vocab, batch, steps + 1, seed=2)
    lengths = jnp.asarray(m.random_lengths(batch, steps))
    real = (jnp.arange(steps) < lengths[::-1, None]).astype(jnp.float32)
    seen = (jnp.arange(steps) < lengths[:, None])[:, None, None, :]
    past = jnp.tril(jnp.ones((steps, steps), bool))
    angle = np.arange(steps)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    where = jnp.asarray(np.stack((np.sin(angle), np.cos(angle)), -1).reshape(1, steps, width).astype(np.float32))

    def loss_of(params: Params, key: Any) -> Any:
        keys = iter(jax.random.split(key, 64))

        def dropout(x: Any) -> Any:
            return jnp.where(jax.random.bernoulli(next(keys), 1 - rate, x.shape), x / (1 - rate), 0.0) if rate else x

        def norm(at: str, x: Any) -> Any:
            centred = x - x.mean(-1, keepdims=True)
            scale = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
            return centred * scale * params[at + ".weight"] + params[at + ".bias"]

        def attend(at: str, x: Any, keys_of: Any, mask: Any) -> Any:
            q, k, v = ((inputs @ params[f"{at}.{w}"].T).reshape(batch, steps, heads, -1).transpose(0, 2, 1, 3)
                       for w, inputs in (("q", x), ("k", keys_of), ("v", keys_of)))
            scores = jnp.where(mask, q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads), -jnp.inf)
            y = dropout(jax.nn.softmax(scores)) @ v
            return y.transpose(0, 2, 1, 3).reshape(batch, steps, width) @ params[f"{at}.o"].T

        def run(side: str, tokens: Any, mask: Any, encoded: Any = None) -> Any:
            x = dropout(params[f"{side}.embedding"][tokens] * math.sqrt(width) + where)
            for i in range(layers):
                at = f"{side}.{i}"
                x = norm(at + ".norm1", x + dropout(attend(at + ".attention", x, x, mask)))
                if encoded is not None:
                    x = norm(at + ".norm2", x + dropout(attend(at + ".cross", x, encoded, seen)))
                h = jax.nn.relu(x @ params[at + ".dense1.weight"].T + params[at + ".dense1.bias"])
                y = h @ params[at + ".dense2.weight"].T + params[at + ".dense2.bias"]
                x = norm(at + ".norm3", x + dropout(y))
            return x

        x = run("decoder", target[:, :-1], past, run("encoder", source, seen))
        scores = jax.nn.log_softmax(x @ params["dense.weight"].T + params["dense.bias"])
        losses = -jnp.take_along_axis(scores, target[:, 1:, None], 2)[..., 0]
        return (losses * real).sum() / real.sum()

    return training(parameters(shapes), loss_of, adam, 0.005, clip=1)


def cross_entropy(rows: int, classes: int) -> m.Work:
    return gradient(jax.value_and_grad(mean_loss), normal(rows, classes), integers(classes, rows))


def attention(batch: int, heads: int, steps: int, width: int, causal: bool) -> m.Work:
    q, k, v, dy = (normal(batch, heads, steps, width, seed=seed) for seed in range(4))

    def forward(q: Any, k: Any, v: Any) -> Any:
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(width)
        if causal:
            scores = jnp.where(jnp.tril(jnp.ones((steps, steps), bool)), scores, -jnp.inf)
        return jax.nn.softmax(scores) @ v

    def both(q: Any, k: Any, v: Any, dy: Any) -> Any:
        y, backward = jax.vjp(forward, q, k, v)
        return y, backward(dy)

    return gradient(both, q, k, v, dy)


TABLE: dict[str, Callable[[float, int], m.Work]] = {
    "mlp": lambda drop, threads: mlp([784, 256, 10], 256, sgd),
    "mlp-wide": lambda drop, threads: mlp([1024, 2048, 2048, 1000], 128, adam),
    "char-rnn": lambda drop, threads: char_model("RNN", 512),
    "char-gru": lambda drop, threads: char_model("GRU", 256),
    "char-lstm": lambda drop, threads: char_model("LSTM", 256),
    "transformer": lambda drop, threads: transformer(drop, 4, 64),
    **{key: lambda drop, threads, sizes=sizes: cross_entropy(*sizes) for key, sizes in ENTROPIES.items()},
    **{key: lambda drop, threads, sizes=sizes: attention(*sizes) for key, sizes in ATTENTIONS.items()},
}
