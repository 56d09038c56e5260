"""torch.jit's marks. Nothing is compiled: a function or module that is handed over comes back as it is."""

from __future__ import annotations

from typing import Any


def script(obj: Any, *args: Any, **options: Any) -> Any:
    """The object itself, which runs as Python."""
    return obj


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def ignore(function: Any = None, **options: Any) -> Any:
    """The function itself."""
    return function if callable(function) else lambda f: f


def unused(function: Any) -> Any:
    """The function itself."""
    return function


def export(function: Any) -> Any:
    """The function itself."""
    return function
