"""detect_anomaly and check_finite: which operator of the program made the first NaN.

While one of them is on, the engine (`_autograd.pxi`) asks `watcher.place()` for the place of every operator that it
records, and reports values that are not finite. While none is on, it compares one pointer per operator.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .._tensor import Tensor, is_finite, is_grad_enabled, set_watcher
from .grad_mode import Block

# Operators that only put values into place: infinities in their results are meant, or were reported earlier.
MOVES = {"where", "fill", "masked_fill", "index_fill", "index_put", "setitem", "copy", "clone", "to_copy", "cat"}
MOVES |= {"stack", "scatter", "gather", "index", "index_select", "repeat", "flip", "roll", "constant_pad_nd", "expand"}
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Place(NamedTuple):
    """Where an operator was called: the line of the user's program, the modules around it, all lines if wanted."""

    code: CodeType | None
    instruction: int
    modules: tuple
    stack: traceback.StackSummary | None

    def __str__(self) -> str:
        lines = []
        if self.code is not None:
            number = _line(self.code, self.instruction)
            text = linecache.getline(self.code.co_filename, number).strip()
            lines.append(f"at {self.code.co_filename}:{number} in {self.code.co_name}" + (f": {text}" if text else ""))
        if self.modules:
            from ..nn._report import path_of

            lines.append(f"in module {path_of(self.modules)}")
        if self.stack is not None:
            lines.append("Traceback of the forward call:\n" + "".join(self.stack.format()).rstrip())
        return "\n  ".join(lines)


def _line(code: CodeType, instruction: int) -> int:
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            return number
    return code.co_firstlineno


class _Calls(threading.local):
    """The modules that are being called in this thread, the outermost first (kept while a watcher is on)."""

    def __init__(self) -> None:
        self.modules: list = []


class Watcher:
    """What is on, and what is done when a value is not finite."""

    active = False      # anything
    forward = False     # results of operators are looked at
    backward = False    # gradients are looked at
    anomaly = False     # detect_anomaly is on
    nan = False         # and looks at gradients
    inf = True          # check_finite looks for infinities, too

    def __init__(self) -> None:
        self.calls = _Calls()

    def settings(self) -> tuple[bool, bool, bool, bool]:
        """What is on, for `set`."""
        return self.anomaly, self.nan, self.forward, self.inf

    def set(self, anomaly: bool, nan: bool, finite: bool, inf: bool) -> None:
        """Switches."""
        self.anomaly, self.nan, self.forward, self.inf = anomaly, nan, finite, inf
        self.backward = finite or (anomaly and nan)
        self.active = anomaly or finite
        set_watcher(self if self.active else None)

    # Called by the engine

    def place(self) -> Place:
        """Where the program is."""
        frame = sys._getframe(1)
        while frame.f_code.co_filename.startswith(PACKAGE):
            if frame.f_back is None:
                break
            frame = frame.f_back
        stack = traceback.extract_stack(frame) if self.anomaly else None
        return Place(frame.f_code, frame.f_lasti, tuple(self.calls.modules), stack)

    def excused(self, op: str, out: Tensor) -> bool:
        """Whether there are only infinities, and these pass: operators that put values into place mean them."""
        return (not self.inf or op in MOVES) and not np.isnan(out.numpy(force=True)).any()

    def made(self, node: Any, out: Tensor) -> None:
        """An operator has made `out`, which is not finite."""
        if self.excused(op_name(node.name()), out):
            return
        raise FloatingPointError(
            f"check_finite: {op_name(node.name())} gave {_first_bad(out, 'its result')}\n  {node._trace}"
            + _blame(node._inputs, "an input")
        )

    def written(self, out: Tensor, op: str) -> None:
        """An operator that is not recorded wrote to `out`."""
        if self.forward and not is_finite(out) and not self.excused(op_name(op).rstrip("_"), out):
            raise FloatingPointError(
                f"check_finite: {op_name(op, True)} wrote {_first_bad(out, 'a tensor')}\n  {self.place()}"
            )

    def gradient(self, node: Any, grad: Tensor, index: int) -> None:
        """The derivative of `node` has given `grad`, which is not finite."""
        if self.forward and not self.excused("", grad):
            raise FloatingPointError(
                f"check_finite: the derivative of {op_name(node.name())} ({node.name()}) gave "
                f"{_first_bad(grad, f'the gradient of its input {index}')}"
            )
        if self.anomaly and np.isnan(grad.numpy(force=True)).any():
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {index}th output.")

    def explain(self, error: BaseException, node: Any) -> None:
        """Adds to an error that the derivative of `node` raised where `node` was made."""
        if node._trace is not None and error.args and isinstance(error.args[0], str):
            error.args = (f"{error.args[0]}\n  {node._trace}", *error.args[1:])

    # Called by Module.__call__

    def call(self, module: Any, function: Callable, *args: Any) -> Any:
        """function(*args), a call of the module; without recording, this is where its result is looked at."""
        modules = self.calls.modules
        modules.append(module)
        try:
            result = function(*args)
            if self.forward and not is_grad_enabled():
                for out in result if isinstance(result, (tuple, list)) else (result,):
                    if isinstance(out, Tensor) and not is_finite(out) and not self.excused("", out):
                        raise FloatingPointError(
                            f"check_finite: {type(module).__name__} gave {_first_bad(out, 'its result')}\n"
                            f"  {self.place()}" + _blame(module.parameters(recurse=False), "a parameter")
                        )
            return result
        finally:
            modules.pop()


def _first_bad(tensor: Tensor, what: str) -> str:
    """"nan at [0, 2] of <what> of shape (3, 4)", and how many there are."""
    values = tensor.numpy(force=True)
    bad = ~np.isfinite(values)
    index = [int(i) for i in np.unravel_index(int(bad.argmax()), values.shape)]
    count = int(bad.sum())
    more = f", the first of {count} such values" if count > 1 else ""
    return f"{values[tuple(index)]} at {index} of {what} of shape {tuple(values.shape)}{more}"


def _blame(tensors: Any, what: str) -> str:
    for tensor in tensors:
        if tensor.is_floating_point() and not is_finite(tensor):
            return f"\n  {what} was not finite either: {_first_bad(tensor, 'a tensor')}"
    return ""


def op_name(name: str, in_place: bool = False) -> str:
    """What the user calls the operator of the node `name`: LeakyReluBackward0 -> leaky_relu."""
    short = re.sub(r"Backwards?\d*$", "", name)
    if short == name:
        return name
    short = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()
    return short + "_" if in_place else short


def written_over(tensor: Tensor, version: int, role: str, name: str) -> RuntimeError:
    """The error that reports a tensor which the node `name` had saved as its `role` and which has a new version."""
    writer = f"{op_name(tensor._writer, True)} wrote to it" if tensor._writer else "it was written to"
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"a tensor of shape {tuple(tensor.shape)} and type {tensor.dtype}, {role} of {name}: {writer} after {name} had "
        f"saved it, and it is at version {tensor._version}; expected version {version} instead. "
        "Write `x = x + y` instead of `x += y`, or clone() the tensor first."
    )


watcher = Watcher()


class detect_anomaly(Block):
    """Finds the operator whose derivative is NaN, or fails: the error shows where in the program it was called.

    As a context manager or decorator, around the forward and the backward pass. It records a traceback with every
    operator and is meant for debugging; `check_finite` is cheap, and looks at results, too.

    Args:
        check_nan: look at gradients; False: only show where an operator was called whose derivative raises an error.
    """

    def __init__(self, check_nan: bool = True):
        self.check_nan = check_nan

    def clone(self):
        return type(self)(self.check_nan)

    def __enter__(self):
        self.before = watcher.settings()
        watcher.set(True, self.check_nan, *self.before[2:])
        return self

    def __exit__(self, *error) -> None:
        watcher.set(*self.before)


class set_detect_anomaly(detect_anomaly):
    """Turns detect_anomaly on or off at once; as a context manager, until the end of the block."""

    def __init__(self, mode: bool, check_nan: bool = True):
        self.mode, self.check_nan = bool(mode), bool(check_nan)
        self.before = watcher.settings()
        watcher.set(self.mode, self.check_nan, *self.before[2:])

    def clone(self):
        return type(self)(self.mode, self.check_nan)

    def __call__(self, function):
        watcher.set(*self.before)
        return super().__call__(function)

    def __enter__(self):
        return self


def is_anomaly_enabled() -> bool:
    """Whether detect_anomaly is on."""
    return watcher.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether detect_anomaly looks for NaN."""
    return watcher.nan


class check_finite(Block):
    """Stops at the first NaN or infinity, forward or backward: a context manager or decorator.

    The error names operator, module, shape, line of the program, and the first bad index. Results are looked at where
    operators are recorded; under no_grad, those of modules and of in-place operators. It costs a few per cent of a
    training step, so it may stay on. Infinities that masked_fill, where or assignments put into a tensor are no error.

    Args:
        inf: False: only NaN is an error.
    Example:
        >>> with fastdl.check_finite():
        ...     loss = criterion(net(x), y)
        ...     loss.backward()
    Raises:
        FloatingPointError: in the block, where a value is not finite.
    """

    def __init__(self, inf: bool = True):
        self.inf = inf

    def clone(self):
        return type(self)(self.inf)

    def __enter__(self):
        self.before = watcher.settings()
        watcher.set(*self.before[:2], True, self.inf)
        return self

    def __exit__(self, *error) -> None:
        watcher.set(*self.before)


def set_check_finite(mode: bool, inf: bool = True) -> None:
    """Turns check_finite on or off for the whole program."""
    watcher.set(watcher.anomaly, watcher.nan, bool(mode), inf)
