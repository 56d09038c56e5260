"""The words of nn's error reports: where in a model an error arose, how a state dictionary differs from a module."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .._interchange import from_dlpack
from .._tensor import Tensor

MAX_GROUPS = 5  # lines per section: three sections with their heads, a first line and a hint stay within 20 lines


def note_module(error: Exception, module: Any) -> None:
    """Adds the path of `module` to an operator's error as it travels outwards through the modules' calls.

    Operators' messages begin with "[op]", those of argument types with "Argument"; others are left alone.
    """
    trail = getattr(error, "_fastdl_trail", None)
    if trail is None:
        if not (error.args and isinstance(error.args[0], str) and error.args[0].startswith(("[", "Argument '"))):
            return
        trail = (error.args[0], [])
        error._fastdl_trail = trail  # type: ignore[attr-defined]
    message, modules = trail
    if modules and modules[-1] is module:  # forward called its parent's __call__
        return
    modules.append(module)
    error.args = (f"{message}\n  in module {path_of(modules[::-1])}", *error.args[1:])


def path_of(modules: Sequence[Any]) -> str:
    """The place of the last of these modules, each of which calls the next: Net.layers.2.linear1 (Linear(...))."""
    inner = modules[-1]
    text = repr(inner) if not inner._modules else type(inner).__name__
    if len(modules) == 1:
        return type(inner).__name__ if "\n" in text else text
    path = [type(modules[0]).__name__]
    for outer, child in pairwise(modules):
        path.append(_name_in(outer, child))
    return f"{'.'.join(path)} ({text})"


def _name_in(outer: Any, child: Any) -> str:
    for name, module in outer.named_modules():
        if module is child:
            return name or type(child).__name__
    return f"<{type(child).__name__}>"  # held in a list or a closure


def as_tensor(name: str, value: Any) -> Tensor:
    """A state dictionary's value as a tensor."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "__dlpack__"):  # arrays, and tensors of other libraries
        return from_dlpack(value)
    raise TypeError(f'state_dict["{name}"] should be a tensor, got {type(value).__name__}')


def _groups(keys: Iterable[str]) -> list[str]:
    """Keys that differ only in their numbers become one line: layers.*.weight (12 keys: layers.0.weight, ...)."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", str(key)), []).append(str(key))
    if sum(map(len, found.values())) <= MAX_GROUPS:
        lines = [f'"{key}"' for members in found.values() for key in members]
    else:
        lines = [
            f'"{members[0]}"' if len(members) == 1 else f'{len(members)} like "{pattern}", the first is "{members[0]}"'
            for pattern, members in found.items()
        ]
    if len(lines) > MAX_GROUPS:
        rest = len(lines) - MAX_GROUPS + 1
        lines = [*lines[: MAX_GROUPS - 1], f"and {rest} more groups of keys"]
    return lines


def mismatch(
    owner: str,
    state_dict: Mapping[str, Any],
    own: list[str],
    missing: list[str],
    unexpected: list[str],
    sizes: list[tuple[str, tuple, tuple]],
    strict: bool,
) -> str:
    """The report of `load_state_dict`: at most 20 lines however many keys differ."""
    lines = [f"Error(s) in loading state_dict for {owner} ({len(own)} keys, given {len(state_dict)}):"]
    if strict and missing:
        lines.append(f"  Missing key(s) in state_dict: {len(missing)}")
        lines += [f"    {text}" for text in _groups(missing)]
    if strict and unexpected:
        lines.append(f"  Unexpected key(s) in state_dict: {len(unexpected)}")
        lines += [f"    {text}" for text in _groups(unexpected)]
    for name, given, wanted in sizes[: MAX_GROUPS - 1 if len(sizes) > MAX_GROUPS else MAX_GROUPS]:
        lines.append(
            f"  size mismatch for {name}: copying a param with shape torch.Size({list(given)}) from checkpoint, "
            f"the shape in current model is torch.Size({list(wanted)})"
        )
    if len(sizes) > MAX_GROUPS:
        lines.append(f"  size mismatch for {len(sizes) - MAX_GROUPS + 1} more")
    hint = _hint(state_dict, own, missing, unexpected, sizes)
    return "\n".join([*lines, f"  Hint: {hint}"] if hint else lines)


def _hint(state_dict: Mapping, own: list[str], missing: list[str], unexpected: list[str], sizes: list) -> str:
    if missing and unexpected:
        prefix = _common_prefix(unexpected, set(missing))
        if prefix:
            strip = f'{{k.removeprefix("{prefix}"): v for k, v in d.items()}}'
            return f'the given keys begin with "{prefix}": strip it, {strip}'
        prefix = _common_prefix(missing, set(unexpected))
        if prefix:
            return f'the module\'s keys begin with "{prefix}": add it, {{"{prefix}" + k: v for k, v in d.items()}}'
    wanted = set(own)
    for key, value in state_dict.items():
        if isinstance(value, Mapping) and wanted & set(value):
            return f'the state dictionary seems to be in the entry "{key}": load_state_dict(d["{key}"])'
    if sizes and all(given == wanted[::-1] and len(given) == 2 for _, given, wanted in sizes):
        return "the matrices are transposed: load value.T"
    return ""


def _common_prefix(keys: list[str], wanted: set[str]) -> str:
    """The dotted prefix that all of `keys` have and without which most of them are in `wanted`."""
    first = str(keys[0])
    for cut in (i + 1 for i, c in enumerate(first) if c == "."):
        prefix = first[:cut]
        if all(str(key).startswith(prefix) for key in keys):
            hits = sum(str(key)[cut:] in wanted for key in keys)
            if 2 * hits >= min(len(keys), len(wanted)) and hits:
                return prefix
    return ""
