"""How tensors print: PyTorch's form, with 4 digits, aligned columns and a summary of large ones."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np

from . import _types

_options: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None
) -> None:
    """Sets digits, the size from which tensors are summarised, how much of them is shown, and the line width."""
    if profile is not None:
        _options.update(_PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options.update({k: v for k, v in given.items() if v is not None})
    _options["sci_mode"] = sci_mode


class _Format:
    """One width and notation for all elements of a tensor."""

    def __init__(self, shown: np.ndarray):
        self.floating = shown.dtype.kind == "f"
        self.whole = self.scientific = False
        digits = _options["precision"]
        if not self.floating:
            self.width = max([len(str(v)) for v in shown.ravel().tolist()], default=1)
            return
        # as PyTorch: zeros and values that are not finite do not widen a column
        shown = shown[np.isfinite(shown) & (shown != 0)]
        values = np.abs(shown.astype(np.float64))
        self.whole = bool((values == np.ceil(values)).all())
        if values.size:
            largest, smallest = values.max(), values.min()
            self.scientific = bool(largest / smallest > 1000 or largest > 1e8 or (not self.whole and smallest < 1e-4))
        if _options["sci_mode"] is not None:
            self.scientific = _options["sci_mode"]
        self.digits = digits
        texts = [self.text(v) for v in shown.ravel().tolist()]
        self.width = max(map(len, texts), default=1)

    def text(self, v) -> str:
        if not self.floating:
            return str(v)
        if self.scientific:
            return f"{v:.{self.digits}e}"
        if self.whole:
            return f"{v:.0f}." if math.isfinite(v) else str(v)
        return f"{v:.{self.digits}f}"

    def __call__(self, v) -> str:
        return self.text(v).rjust(self.width)


def _edges(a: np.ndarray) -> np.ndarray:
    """The elements that a summary shows."""
    n = _options["edgeitems"]
    for axis in range(a.ndim):
        if a.shape[axis] > 2 * n:
            lead = (slice(None),) * axis
            a = np.concatenate([a[(*lead, slice(n))], a[(*lead, slice(-n, None))]], axis)
    return a


def _body(a: np.ndarray, form: _Format, indent: int, summary: bool) -> str:
    n = _options["edgeitems"]
    if a.ndim == 0:
        return form(a.item())
    short = summary and len(a) > 2 * n
    if a.ndim == 1:
        per_line = max(1, (_options["linewidth"] - indent) // (form.width + 2))
        if short:
            cells = [form(v) for v in a[:n].tolist()] + [" ..."] + [form(v) for v in a[-n:].tolist()]
        else:
            cells = [form(v) for v in a.tolist()]
        lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    if short:
        parts = [_body(x, form, indent + 1, summary) for x in a[:n]] + ["..."]
        parts += [_body(x, form, indent + 1, summary) for x in a[-n:]]
    else:
        parts = [_body(x, form, indent + 1, summary) for x in a]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _prefix(t) -> str:
    return "Parameter containing:\n" if type(t).__name__ == "Parameter" else ""


def tensor_repr(t) -> str:
    """What repr(t) gives."""
    a = t._array
    indent = len("tensor(")
    notes = []
    if a.size == 0:
        body = "[]"
        if a.ndim != 1:
            notes.append(f"size={tuple(a.shape)}")
    else:
        summary = a.size > _options["threshold"]
        body = _body(a, _Format(_edges(a) if summary else a), indent, summary)
    default = t.dtype in (_types.get_default_dtype(), _types.int64, _types.bool_)
    if not default or (a.size == 0 and t.dtype is not _types.get_default_dtype()):
        notes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    text = f"tensor({body}"
    line = len(text) - text.rfind("\n") + 1  # PyTorch leaves two columns free
    for note in notes:
        if line + len(note) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + note
            line = indent + len(note)
        else:
            text += ", " + note
            line += len(note) + 2
    return _prefix(t) + text + ")"


def indented(text: str, spaces: int) -> str:
    """`text` with every line but the first indented (module trees)."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(textwrap.indent(line, " " * spaces) for line in rest)])
