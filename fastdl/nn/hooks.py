"""Handles with which a registered hook is taken away again."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Any

_numbers = itertools.count()


class RemovableHandle:
    """Returned by `register_*_hook`; `remove()`, or leaving a `with` block, takes the hook away."""

    def __init__(self, hooks: OrderedDict):
        self.id = next(_numbers)
        self._hooks = weakref.ref(hooks)

    @classmethod
    def add(cls, hooks: OrderedDict, entry: Any, prepend: bool = False) -> RemovableHandle:
        """Puts `entry` last (or first) into `hooks`."""
        handle = cls(hooks)
        hooks[handle.id] = entry
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def remove(self) -> None:
        """Takes the hook away; a second call does nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
