"""fastdl in torch's place: `import torch`, and what is below it, give fastdl's own modules."""

from __future__ import annotations

import sys
from importlib import import_module, machinery
from types import ModuleType, SimpleNamespace
from typing import Any

import fastdl

VERSION = f"2.13.0+fastdl.{fastdl.__version__}"  # of the PyTorch whose names these are

# where PyTorch's modules are called otherwise or lie deeper; what is below them follows
_NAMES = {"utils.data.dataloader": "utils.data.loader"}

__all__ = ["VERSION", "as_torch"]


def _module(name: str) -> Any:
    """fastdl's counterpart of the module `name` below torch ("nn.functional"), None if there is none."""
    for theirs, ours in _NAMES.items():
        if name == theirs or name.startswith(theirs + "."):
            name = ours + name[len(theirs) :]
    target: Any = fastdl
    for part in name.split(".") if name else []:
        found = getattr(target, part, None)
        if not isinstance(found, (ModuleType, SimpleNamespace)):  # a function may have the name of its module
            path = f"{getattr(target, '__name__', '')}.{part}"
            if machinery.PathFinder.find_spec(path, getattr(target, "__path__", [])) is None:
                return None
            found = import_module(path)
        elif isinstance(found, ModuleType) and not found.__name__.startswith("fastdl"):
            return None
        target = found
    return target


class _Importer:
    """First in sys.meta_path: knows torch and all below it, and what is missing in fastdl."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> machinery.ModuleSpec | None:
        if name == "torch" or name.startswith("torch."):
            if _module(name[6:]) is None:
                raise ModuleNotFoundError(f"fastdl, which runs in torch's place, has no module {name!r}", name=name)
            return machinery.ModuleSpec(name, self)  # type: ignore[arg-type]
        if name.startswith("fastdl.") and machinery.PathFinder.find_spec(name, path) is None:
            # `from torch.nn import Missing` looks for a module of this name before it gives up
            package, _, missing = name.replace("fastdl", "torch", 1).rpartition(".")
            text = f"cannot import name {missing!r} from {package!r}: fastdl, which runs in torch's place, lacks it"
            raise ImportError(text, name=package)
        return None

    def create_module(self, spec: machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = _module(module.__name__[6:])


def _torch_modules() -> dict[str, ModuleType]:
    return {name: m for name, m in sys.modules.items() if name == "torch" or name.startswith("torch.")}


class as_torch:
    """From this call on `import torch` gives fastdl, in this process only; in a `with` block, until its end.

    `torch.nn`, `torch.utils.data` and so on are fastdl's modules themselves. A name that fastdl lacks raises an
    ImportError or AttributeError that says so. `torch.__version__` is that of the PyTorch whose names are followed.
    A torch that was imported before stays what it is for those who hold it, and is back after the block.

    Example:
        >>> with fastdl.as_torch():
        ...     import torch
        ...     from torch import nn
    """

    def __init__(self) -> None:
        self._importer = _Importer()
        self._before = _torch_modules()
        self._version = fastdl.__version__
        for name in self._before:
            del sys.modules[name]
        sys.meta_path.insert(0, self._importer)  # type: ignore[arg-type]
        fastdl.__version__ = VERSION

    def __enter__(self) -> ModuleType:
        return fastdl

    def __exit__(self, *error: object) -> None:
        sys.meta_path.remove(self._importer)  # type: ignore[arg-type]
        for name in _torch_modules():
            del sys.modules[name]
        sys.modules.update(self._before)
        fastdl.__version__ = self._version
