"""Recurrent layers: whole sequences, packed sequences, layers and directions."""

from dataclasses import replace

import numpy as np

import fastdl
from fastdl.ops import rnn

from . import Case, Error, integers, normal

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cell(mode, x, h, c, w_ih, w_hh, b_ih, b_hh):
    """One step of one sequence."""
    i, r = w_ih @ x + b_ih, w_hh @ h + b_hh
    if mode == "gru":
        (i_r, i_z, i_n), (h_r, h_z, h_n) = np.split(i, 3), np.split(r, 3)
        z = sigmoid(i_z + h_z)
        return (1 - z) * np.tanh(i_n + sigmoid(i_r + h_r) * h_n) + z * h, c
    if mode == "lstm":
        i, f, g, o = np.split(i + r, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    return (np.tanh(i + r) if mode == "rnn_tanh" else np.maximum(i + r, 0)), c


def reference(mode, layers, directions, sizes):
    """One sequence after another, one step after another. `sizes`: sequences of each step, for packed data."""

    def run(x, h0, c0, *params):
        steps, batch = (len(sizes), sizes[0]) if sizes else x.shape[:2]
        n = sizes or [batch] * steps
        starts = np.cumsum([0, *n])
        data = x.reshape(-1, x.shape[-1])
        hn, cn = [], []
        for layer in range(layers):
            parts = []
            for d in range(directions):
                p = params[4 * (layer * directions + d) :][:4]
                out = np.zeros((len(data), h0.shape[-1]))
                h, c = h0[layer * directions + d].copy(), c0[layer * directions + d].copy()
                for b in range(batch):
                    length = sum(size > b for size in n)
                    for t in range(length)[:: -1 if d else 1]:
                        h[b], c[b] = cell(mode, data[starts[t] + b], h[b], c[b], *p)
                        out[starts[t] + b] = h[b]
                parts.append(out)
                hn.append(h)
                cn.append(c)
            data = np.concatenate(parts, -1)
        y = data if sizes else data.reshape(steps, batch, -1)
        return (y, np.stack(hn), np.stack(cn)) if mode == "lstm" else (y, np.stack(hn))

    return run


def inputs(mode, layers, directions, sizes):
    def make(rng, t, b, i, h):
        found = {"input": normal(rng, sum(sizes), i) if sizes else normal(rng, t, b, i)}
        b = sizes[0] if sizes else b
        found["h0"], found["c0"] = normal(rng, layers * directions, b, h), normal(rng, layers * directions, b, h)
        for layer in range(layers):
            for d in range(directions):
                shapes = {"w_ih": (h * directions if layer else i,), "w_hh": (h,), "b_ih": (), "b_hh": ()}
                for name, tail in shapes.items():
                    scale = np.float32(1 / np.sqrt(tail[0] if tail else 1))
                    w = (scale * normal(rng, GATES[mode] * h, *tail)).astype(np.float32)
                    found[f"{name}_{layer}_{d}"] = w.astype(np.float64)
        return found

    return make


def operator(mode, layers, directions, sizes):
    def run(input, h0, c0, *params):
        c0 = c0 if mode == "lstm" else None
        y, hn, cn = rnn.recurrent(mode, input, sizes, h0, c0, params, True, layers, 0.0, True, directions == 2)
        return (y, hn) if cn is None else (y, hn, cn)

    return run


def case(mode, layers, directions, sizes, shapes):
    names = ["input", "h0"] + ["c0"] * (mode == "lstm")
    names += [
        f"{w}_{n}_{d}" for n in range(layers) for d in range(directions) for w in ("w_ih", "w_hh", "b_ih", "b_hh")
    ]
    return Case(
        f"{mode}_{layers}x{directions}" + "_packed" * bool(sizes),
        op=operator(mode, layers, directions, sizes),
        reference=reference(mode, layers, directions, sizes),
        inputs=inputs(mode, layers, directions, sizes),
        wrt=names,
        shapes=shapes,
        rtol=2e-5,  # errors of a step feed the next ones
        atol=1e-5,
        rtol64=1e-11,
        atol64=1e-11,
        grad_shapes=shapes[:6],
    )


def padded_case(mode, layers, directions, lengths, batch_first, shapes):
    """A padded batch with lengths: each sequence alone, zeros behind its end."""
    alone = reference(mode, layers, directions, None)

    def run(x, h0, c0, *params):
        x = x if batch_first else x.swapaxes(0, 1)
        y = np.zeros((*x.shape[:2], directions * h0.shape[-1]))
        states = [np.zeros(h0.shape) for _ in range(2 if mode == "lstm" else 1)]
        for b, n in enumerate(lengths):
            out, *last = alone(x[b, :n, None], h0[:, b : b + 1], c0[:, b : b + 1], *params)
            y[b, :n] = out[:, 0]
            for state, found in zip(states, last):
                state[:, b] = found[:, 0]
        return (y if batch_first else y.swapaxes(0, 1), *states)

    def make(rng, t, i, h):
        found = inputs(mode, layers, directions, None)(rng, t, len(lengths), i, h)
        found["input"] = found["input"].swapaxes(0, 1).copy() if batch_first else found["input"]
        return found

    def op(input, h0, c0, *params):
        c0, n = c0 if mode == "lstm" else None, np.array(lengths)
        y, hn, cn = rnn.recurrent(
            mode, input, None, h0, c0, params, True, layers, 0.0, True, directions == 2, n, batch_first
        )
        return (y, hn) if cn is None else (y, hn, cn)

    plain = case(mode, layers, directions, None, shapes)
    name = f"{mode}_{layers}x{directions}_lengths" + "_batch_first" * batch_first
    return replace(plain, name=name, op=op, reference=run, inputs=make)


def token_case(mode, layers, sizes, shapes):
    """Tokens are the one-hot vectors of their numbers."""
    plain = case(mode, layers, 1, sizes, shapes)

    def make(rng, t, b, v, h):
        found = plain.inputs(rng, t, b, v, h)
        found["input"] = integers(rng, *found["input"].shape[:-1], below=v)
        return found

    def run(tokens, h0, c0, *params):
        return plain.reference(np.eye(params[0].shape[1])[tokens], h0, c0, *params)

    wrt = [n for n in plain.wrt if n != "input"]
    return replace(plain, name=f"{plain.name}_tokens", reference=run, inputs=make, wrt=wrt)


# (T, B, I, H): around the vector widths, one row and several tiles of rows, one step; the last ones use both ways of
# sharing the work between threads, with weights that stay in L2 and ones that do not
SHAPES = [
    (3, 2, 4, 5),
    (1, 1, 1, 1),
    (2, 3, 5, 15),
    (4, 1, 2, 16),
    (3, 5, 1, 17),
    (2, 13, 3, 33),
    (3, 17, 5, 64),
    (9, 16, 6, 130),
    (20, 2, 3, 250),
    (2, 9, 3, 660),
]
FEW = [(3, 2, 4, 5), (2, 5, 3, 17)]
SIZES = [7, 7, 4, 3, 3, 1]
CASES = [case(mode, 1, 1, None, SHAPES) for mode in GATES]
CASES += [case(mode, *form, None, FEW) for mode in GATES for form in ((1, 2), (2, 1), (2, 2), (3, 2))]
CASES += [case(mode, *form, SIZES, [(0, 0, 3, 5), (0, 0, 4, 33)]) for mode in GATES for form in ((1, 1), (2, 2))]
CASES += [case("lstm", 3, 1, [5, 5, 5], [(0, 0, 3, 6)])]
LONG = [16] * 4 + [9, 9, 8, 7, 7, 5, 3, 2, 1]  # threads share the first steps by rows and the last ones by units
CASES += [replace(case(mode, 1, 2, LONG, [(0, 0, 3, 170)]), name=f"{mode}_many_sizes") for mode in GATES]
LENGTHS = [3, 5, 1, 3, 4]
CASES += [padded_case(mode, *form, LENGTHS, first, [(6, 3, 5), (5, 4, 17)])
          for mode in GATES for form in ((1, 1), (2, 2)) for first in (False, True)]
# one row per token or a column of the weight for each row, around the switch at a quarter of the vocabulary
TOKENS = [(5, 3, 4, 5), (1, 1, 3, 1), (3, 5, 16, 17), (2, 3, 23, 9), (2, 3, 24, 9), (1, 2, 70, 33)]
CASES += [token_case(mode, 1, None, TOKENS) for mode in GATES]
CASES += [token_case(mode, 2, SIZES, [(0, 0, 4, 5)]) for mode in GATES]


def call(
    mode="gru",
    input=(3, 2, 4),
    h0=None,
    c0=None,
    sizes=None,
    layers=1,
    hidden=5,
    dropout=0.0,
    drop=0,
    dtype=fastdl.float32,
):
    gates = GATES[mode]
    params = []
    for layer in range(layers):
        size = hidden if layer else 4
        params += [(gates * hidden, size), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,)]
    params = [fastdl.zeros(*s) for s in params][: len(params) - drop]
    states = [None if s is None else fastdl.zeros(*s) for s in (h0, c0)]
    return lambda: rnn.recurrent(
        mode, fastdl.zeros(*input, dtype=dtype), sizes, *states, params, True, layers, dropout, True, False
    )


def call_lengths(*lengths):
    params = [fastdl.zeros(*s) for s in ((15, 4), (15, 5), (15,), (15,))]
    x = fastdl.zeros(3, 2, 4)
    return lambda: rnn.recurrent("gru", x, None, None, None, params, True, 1, 0.0, True, False, np.array(lengths))


def call_tokens(tokens):
    params = [fastdl.zeros(*s) for s in ((15, 4), (15, 5), (15,), (15,))]
    return rnn.recurrent("gru", fastdl.tensor(tokens), None, None, None, params, True, 1, 0.0, True, False)


ERRORS = [
    Error(
        "rnn_dimensions", call(input=(3, 4)), RuntimeError, r"\[gru\] input: expected shape \(T, B, I\), got \(3, 4\)"
    ),
    Error("rnn_packed_dimensions", call(sizes=[2, 1]), RuntimeError, r"expected shape \(rows, I\), got \(3, 2, 4\)"),
    Error(
        "rnn_input_size",
        call(input=(3, 2, 6)),
        RuntimeError,
        r"weight_ih of layer 0: expected shape \(15, 6\).*got \(15, 4\)",
    ),
    Error("rnn_state", call(h0=(1, 3, 5)), RuntimeError, r"h0: expected shape \(1, 2, 5\).*got \(1, 3, 5\)"),
    Error(
        "rnn_cell_state", call("lstm", c0=(2, 2, 5)), RuntimeError, r"c0: expected shape \(1, 2, 5\).*got \(2, 2, 5\)"
    ),
    Error("rnn_no_steps", call(input=(0, 2, 4)), RuntimeError, "at least one step"),
    Error(
        "rnn_dtype", call(dtype=fastdl.float64), RuntimeError, "parameter: expected float64 like the input, got .*float32"
    ),
    Error("rnn_integers", call(dtype=fastdl.int64), RuntimeError, "input: expected float32 or float64"),
    Error("rnn_token", lambda: call_tokens([[0, 4]]), IndexError, r"\[gru\] input: expected tokens in \[0, 4\), got 4"),
    Error("rnn_lengths", call_lengths(3, 4), RuntimeError, r"\[gru\] lengths: expected 2 numbers in \[1, 3\], got \[3, 4\]"),
    Error("rnn_lengths_count", call_lengths(3, 2, 1), RuntimeError, r"expected 2 numbers in \[1, 3\]"),
    Error("rnn_negative_token", lambda: call_tokens([[0], [-1]]), IndexError, "got -1"),
    Error(
        "rnn_growing_sizes",
        call(input=(4, 4), sizes=[1, 3]),
        ValueError,
        r"never grow and sum to the 4 rows .*got \[1, 3\]",
    ),
    Error("rnn_sizes_sum", call(input=(4, 4), sizes=[2, 1]), ValueError, r"sum to the 4 rows"),
    Error("rnn_sizes_type", call(input=(4, 4), sizes=[2.0, 2.0]), TypeError, "batch_sizes: expected a row of integers"),
    Error("rnn_parameters", call(drop=1), RuntimeError, "expected 4 for each of 1 layers and 1 directions, got 3"),
    Error("rnn_dropout", call(dropout=1.5), ValueError, "dropout: expected a probability, got 1.5"),
]
