"""Recurrent layers in every form, written once for fastdl and PyTorch alike.

`python tests/rnn_runs.py`, with PyTorch installed, writes what PyTorch gets into tests/data/rnn_runs.npz; test_rnn.py
compares. Sizes are pairwise distinct: 5 steps, 4 sequences, 3 values, 6 hidden units.
"""

import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "rnn_runs.npz"
STEPS, BATCH, INPUTS, HIDDEN = 5, 4, 3, 6
LENGTHS = [3, 5, 1, 3]

# name: (layer, its options, form of the input, whether first states are given)
RUNS = {
    "rnn": ("RNN", {}, "padded", False),
    "rnn relu": ("RNN", {"nonlinearity": "relu", "num_layers": 2}, "padded", True),
    "gru": ("GRU", {}, "padded", False),
    "gru batch first": ("GRU", {"batch_first": True, "num_layers": 2}, "padded", True),
    "gru one sequence": ("GRU", {"num_layers": 2, "bidirectional": True}, "single", True),
    "gru no bias": ("GRU", {"bias": False, "bidirectional": True}, "padded", True),
    "lstm": ("LSTM", {}, "padded", False),
    "lstm no bias": ("LSTM", {"bias": False}, "padded", True),
    "lstm one sequence": ("LSTM", {"batch_first": True}, "single", True),
    "lstm stacked": ("LSTM", {"num_layers": 2, "bidirectional": True}, "padded", True),
    "rnn packed": ("RNN", {"bidirectional": True, "batch_first": True}, "packed", True),
    "gru packed": ("GRU", {"num_layers": 2, "bidirectional": True}, "packed", True),
    "lstm packed": ("LSTM", {"num_layers": 2, "bidirectional": True}, "packed", True),
    "lstm packed, sorted": ("LSTM", {}, "sorted", False),
    "rnn cell": ("RNNCell", {"nonlinearity": "relu"}, "cell", True),
    "gru cell": ("GRUCell", {}, "cell", True),
    "lstm cell": ("LSTMCell", {"bias": False}, "cell", True),
    "lstm cell, one": ("LSTMCell", {}, "single cell", False),
}


def numbers(name, *shape):
    """Numbers that depend on the name and shape alone."""
    rng = np.random.RandomState([*name.encode(), *shape])
    return rng.standard_normal(shape).astype(np.float32)


def run(torch, name):
    """Names and arrays: outputs, last states, gradients of the input, the first states and all parameters."""
    layer, options, form, has_state = RUNS[name]
    module = getattr(torch.nn, layer)(INPUTS, HIDDEN, **options)
    with torch.no_grad():
        for key, p in module.named_parameters():
            p.copy_(torch.tensor(numbers(key, *p.shape) * 0.5))
    batch_first = options.get("batch_first", False)
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    shape = {"single": (STEPS, INPUTS), "cell": (BATCH, INPUTS), "single cell": (INPUTS,)}.get(
        form, (BATCH, STEPS, INPUTS) if batch_first else (STEPS, BATCH, INPUTS)
    )
    state_shape = {"single": (rows, HIDDEN), "cell": (BATCH, HIDDEN), "single cell": (HIDDEN,)}.get(
        form, (rows, BATCH, HIDDEN)
    )
    x = torch.tensor(numbers("input", *shape)).requires_grad_()
    names = ["h", "c"] if layer.startswith("LSTM") else ["h"]
    states = [torch.tensor(numbers(n, *state_shape)).requires_grad_() for n in names] if has_state else []
    hx = None if not has_state else tuple(states) if len(names) == 2 else states[0]
    if form in ("packed", "sorted"):
        pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
        lengths = sorted(LENGTHS, reverse=True) if form == "sorted" else LENGTHS
        packed = pack(x, torch.tensor(lengths), batch_first, enforce_sorted=form == "sorted")
        y, state = module(packed, hx)
        y, _ = pad(y, batch_first, padding_value=-0.5, total_length=STEPS + 1)
        last = list(state) if isinstance(state, tuple) else [state]
    elif "cell" in form:
        out = module(x, hx)
        y, last = (out[0], [out[1]]) if isinstance(out, tuple) else (out, [])
    else:
        y, state = module(x, hx)
        last = list(state) if isinstance(state, tuple) else [state]
    found = {"y": y, **{f"last {i}": s for i, s in enumerate(last)}}
    loss = sum((t * torch.tensor(numbers("weights", *t.shape))).sum() for t in found.values())
    loss.backward()
    found = {k: v.detach().numpy() for k, v in found.items()}
    found["dx"] = x.grad.numpy()
    found.update({f"d{n}": s.grad.numpy() for n, s in zip(names, states)})
    found.update({key: p.grad.numpy() for key, p in module.named_parameters()})
    return found


if __name__ == "__main__":
    import torch

    runs = {name: np.concatenate([a.ravel() for a in run(torch, name).values()]) for name in RUNS}
    np.savez_compressed(FILE, **runs)
    sys.stdout.write(f"{FILE} written\n")
