"""summary: a model's tree with shapes, parameters, multiplications, memory and time of each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from . import nn
from ._tensor import Tensor
from .autograd import no_grad
from .ops.random import get_rng_state, set_rng_state

__all__ = ["Row", "Summary", "summary"]


@dataclass
class Row:
    """One module: its own figures and those of what is below it together, except `parameters`."""

    path: str  # dotted name; "" for the model itself
    type: str
    depth: int
    output_shape: Any = None  # of its last call: a tuple, a list of tuples for several tensors; None: never called
    parameters: int = 0  # its own, without its children's; shared ones count where they come first
    trainable: int = 0
    macs: int = 0  # multiplications that are added up, in products of matrices and convolutions
    activation_bytes: int = 0  # of the results of layers without children
    seconds: float = 0.0
    calls: int = 0


@dataclass
class Summary:
    """What `summary` returns; prints as a table."""

    rows: list[Row] = field(default_factory=list)
    total_parameters: int = 0
    trainable_parameters: int = 0
    parameter_bytes: int = 0
    total_macs: int = 0
    activation_bytes: int = 0
    seconds: float = 0.0

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, path: str) -> Row:
        """The row of the module with this dotted name."""
        for row in self.rows:
            if row.path == path:
                return row
        raise KeyError(path)

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "MACs", "activations", "time")
        table = [head]
        for row in self.rows:
            name = "  " * row.depth + (f"{row.path.rpartition('.')[2]}: {row.type}" if row.path else row.type)
            called = row.calls > 0
            table.append((name, _shape_text(row.output_shape), f"{row.parameters:,}" if row.parameters else "",
                          f"{row.macs:,}" if row.macs else "", _bytes_text(row.activation_bytes) if called else "",
                          f"{row.seconds * 1e3:.3f} ms" if called else ""))  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*table)]
        lines = ["  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))).rstrip()
                 for cells in table]  # fmt: skip
        rule = "-" * max(map(len, lines))
        return "\n".join([
            lines[0], rule, *lines[1:], rule,
            f"parameters {self.total_parameters:,}, trainable {self.trainable_parameters:,}, "
            f"{_bytes_text(self.parameter_bytes)}",
            f"forward pass: {self.total_macs:,} MACs, activations {_bytes_text(self.activation_bytes)}, "
            f"{self.seconds * 1e3:.3f} ms",
        ])  # fmt: skip

    __repr__ = __str__


def _shape_text(shape: Any) -> str:
    if shape is None:
        return ""
    return str(list(shape)) if isinstance(shape, tuple) else ", ".join(map(_shape_text, shape))


def _bytes_text(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [t for part in value for t in _tensors(part)]


def _shapes(value: Any) -> Any:
    shapes = [tuple(t.shape) for t in _tensors(value)]
    return shapes[0] if len(shapes) == 1 else shapes or None


def _macs(module: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """Multiplications of one call, by the layer's kind; 0 for all that multiplies no matrices itself."""
    inputs, outputs = _tensors(args), _tensors(out)
    if not inputs or not outputs:
        return 0
    x, y = inputs[0], outputs[0]
    if isinstance(module, nn.Linear):
        return y.numel() * module.in_features
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return y.numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        return x.numel() * math.prod(module.weight.shape[1:])
    if isinstance(module, nn.MultiheadAttention):
        return _attention_macs(module, args, kwargs)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        weights = sum(p.numel() for name, p in module.named_parameters(recurse=False) if "weight" in name)
        rows = x.numel() // x.shape[-1]  # steps x sequences; of a PackedSequence those that are there
        return rows * weights
    return 0


def _attention_macs(module: nn.MultiheadAttention, args: tuple, kwargs: dict) -> int:
    given = dict(zip(("query", "key", "value"), args)) | kwargs
    query, key, value = given["query"], given["key"], given["value"]
    e = module.embed_dim
    projections = query.numel() * e + key.numel() * e + value.numel() * e + query.numel() * e
    axis = 1 if module.batch_first and query.dim() == 3 else 0
    pairs = query.numel() // e * key.shape[axis]
    return projections + 2 * pairs * e


class _Watch:
    """Measures the calls of a module's hooks: time from before to after, and what came out."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def before(self, module: Any, args: tuple) -> None:
        self.starts.append(perf_counter())

    def after(self, row: Row, leaf: bool) -> Any:
        def hook(module: Any, args: tuple, kwargs: dict, out: Any) -> None:
            row.seconds += perf_counter() - self.starts.pop()
            row.calls += 1
            row.output_shape = _shapes(out)
            row.macs += _macs(module, args, kwargs, out)
            if leaf:
                row.activation_bytes += sum(t.nbytes for t in _tensors(out))

        return hook


def summary(model: nn.Module, *inputs: Any, **kwargs: Any) -> Summary:
    """Runs model(*inputs, **kwargs), and tells of each layer what came out, what it took and what it has.

    Two passes, of which the second is measured, in evaluation mode and without recording. The model's modes, buffers
    and hooks and the random generator are afterwards as they were.

    Returns:
        A Summary, which prints as a table; `summary(..)["encoder.0"].macs` and the totals are numbers.

    Example:
        >>> print(summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), fastdl.ones(2, 4)))
    """
    result = Summary()
    watch = _Watch()
    hooks: list[Any] = []
    handles: list[Any] = []
    places: dict[str, Row] = {}
    seen: set[int] = set()
    modules = list(model.named_modules())
    state = get_rng_state()
    before = [(module, module.training, dict(module._buffers)) for _, module in modules]
    values = [(b, b._version, b.clone()) for b in model.buffers()]
    for path, module in modules:
        row = Row(path, type(module).__name__, path.count(".") + 1 if path else 0)
        for p in module.parameters(recurse=False):
            if id(p) not in seen:
                seen.add(id(p))
                row.parameters += p.numel()
                row.trainable += p.numel() if p.requires_grad else 0
                result.parameter_bytes += p.nbytes
        places[path] = row
        result.rows.append(row)
        # a module that computes with its children's weights, as attention does, is a leaf, too
        leaf = not module._modules or isinstance(module, nn.MultiheadAttention)
        hooks.append((module, watch.before, watch.after(row, leaf)))
    try:
        for module, _, _ in before:
            module.training = False
        with no_grad():
            model(*inputs, **kwargs)  # threads and memory are there afterwards
            for module, enter, leave in hooks:
                handles.append(module.register_forward_pre_hook(enter, prepend=True))
                handles.append(module.register_forward_hook(leave, with_kwargs=True))
            begin = perf_counter()
            model(*inputs, **kwargs)
            result.seconds = perf_counter() - begin
    finally:
        for handle in handles:
            handle.remove()
        for module, training, buffers in before:
            module.training = training
            module._buffers.update(buffers)
        set_rng_state(state)
        with no_grad():
            for buffer, version, value in values:
                if buffer._version != version:
                    buffer.copy_(value)
    for row in reversed(result.rows):  # children come after their parents: sums go upwards
        if row.path:
            parent = places[row.path.rpartition(".")[0]]
            parent.macs += row.macs
            parent.activation_bytes += row.activation_bytes
    first = result.rows[0]
    result.total_macs, result.activation_bytes = first.macs, first.activation_bytes
    result.total_parameters = sum(row.parameters for row in result.rows)
    result.trainable_parameters = sum(row.trainable for row in result.rows)
    return result
