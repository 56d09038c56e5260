"""The graph of recorded operators: its nodes, and hooks on several gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Node, Tensor, mark_written, queue_callback
from .hooks import RemovableHandle

__all__ = ["Node", "increment_version", "register_multi_grad_hook"]


class _Handles:
    """The handles of several hooks as one."""

    def __init__(self, handles: tuple[RemovableHandle, ...]):
        self.handles = handles

    def remove(self) -> None:
        """Takes the hooks away."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: str = "all"
) -> _Handles:
    """Calls fn once per backward pass that reaches one of the tensors.

    Args:
        tensors: tensors that require grad.
        fn: with mode "all" gets the gradients of all tensors as a list, as soon as the last is known, or, where some
            get none, at the end of the pass with None for these. With "any" it gets the first gradient that is known.
    Returns:
        A handle with `remove()`.
    Raises:
        ValueError: an unknown mode.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    passes: dict[int, dict[int, Tensor]] = {}  # what has arrived in the passes that are under way

    def finish(number: int) -> None:
        with lock:
            found = passes.pop(number, None)
        if found is not None and mode == "all":
            fn([found.get(i) for i in range(len(tensors))])

    def arrived(i: int, grad: Tensor) -> None:
        with lock:
            number = queue_callback(finish)
            new = number not in passes
            found = passes.setdefault(number, {})
            found[i] = grad
            complete = len(found) == len(tensors)
        if mode == "any" and new:
            fn(grad)
        elif complete:
            finish(number)

    return _Handles(tuple(t.register_hook(lambda g, i=i: arrived(i, g)) for i, t in enumerate(tensors)))


def increment_version(tensor: Tensor | Sequence[Tensor]) -> None:
    """Counts a write to the tensor, or to several, that fastdl did not see: who needs it for backward then fails."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        mark_written(t, "", False)
