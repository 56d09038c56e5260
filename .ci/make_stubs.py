"""Writes the .pyi files of the compiled modules from their signatures and docstrings: `make stubs`.

`python .ci/make_stubs.py --check` only says which are not current, with status 1. What signatures do not tell, results
above all, is in the tables here; tests/test_stubs.py tries them.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import fastdl
import fastdl.nn.functional
import fastdl.ops
from fastdl import Tensor
from fastdl._tensor import FunctionNode, Node

HEAD = """\
# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
"""

# C types of arguments, as docstrings show them
C_TYPES = {
    "Tensor": "Tensor", "bool": "_bool", "bint": "_bool", "double": "_float", "float": "_float", "int": "_int",
    "int64_t": "_int", "Py_ssize_t": "_int", "list": "list", "tuple": "tuple", "str": "str", "dict": "dict",
    "ndarray": "ndarray",
}  # fmt: skip
# arguments that have no C type but mean the same everywhere
ARGUMENTS = {
    "requires_grad": "_bool", "keepdim": "_bool", "keepdims": "_bool | None", "inplace": "_bool",
}  # fmt: skip

TENSORS = "tuple[Tensor, ...]"
# results of public functions and methods that are not a Tensor
RESULTS = {
    **dict.fromkeys(["split", "split_with_sizes", "chunk", "unbind", "tensor_split", "meshgrid"], TENSORS),
    **dict.fromkeys(["var_mean", "std_mean"], "tuple[Tensor, Tensor]"),
    **dict.fromkeys(["allclose", "equal", "is_tensor", "is_contiguous", "is_floating_point", "is_grad_enabled",
                     "set_grad_mode"], "_bool"),
    **dict.fromkeys(["numel", "nelement", "dim", "ndimension", "element_size", "data_ptr", "seed", "initial_seed"], "_int"),
    **dict.fromkeys(["backward", "retain_grad", "set_rng_state", "cuda"], "None"),
    **dict.fromkeys(["promote_types", "result_type", "result_type_of"], "_dtype"),
    "numpy": "ndarray", "register_hook": "Any", "manual_seed": "Generator",
    # several kinds of results, named tuples, numbers
    **dict.fromkeys(["max", "min", "median", "mode", "sort", "topk", "kthvalue", "cummax", "cummin", "unique", "type",
                     "unique_consecutive", "nonzero", "size", "stride", "item", "tolist", "grad_of", "rebuild",
                     "max_pool1d", "max_pool2d", "where", "where_", "tensor_from"], "Any"),
}  # fmt: skip
ATTRIBUTES = {
    "shape": "Size", "dtype": "_dtype", "device": "_device", "ndim": "_int", "itemsize": "_int", "nbytes": "_int",
    "is_leaf": "_bool", "T": "Tensor", "mT": "Tensor", "is_cuda": "_bool", "is_sparse": "_bool", "layout": "str",
}  # fmt: skip
SETTABLE = {"requires_grad": "_bool", "grad": "Tensor | Any", "data": "Tensor"}  # Any: None, without an error at each use
SELF = {"requires_grad_"}  # return the tensor of the class that they were called on

BINARY = [*(side + name for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
            for side in ("", "r")), "iadd", "isub", "imul", "itruediv", "ipow", "ifloordiv", "imod", "iand", "ior",
          "ixor", "lt", "le", "gt", "ge"]  # fmt: skip
SPECIAL = [
    *(f"def __{name}__(self, other: Any) -> Tensor: ..." for name in BINARY),
    *(f"def __{name}__(self, other: Any) -> Tensor: ...  # type: ignore[override]" for name in ("eq", "ne")),
    *(f"def __{name}__(self) -> Tensor: ..." for name in ("neg", "abs", "invert")),
    "def __getitem__(self, index: Any) -> Tensor: ...", "def __setitem__(self, index: Any, value: Any) -> None: ...",
    "def __iter__(self) -> Iterator[Tensor]: ...", "def __contains__(self, value: Any) -> _bool: ...",
    *(f"def __{name}__(self) -> {kind}: ..." for name, kind in
      (("len", "_int"), ("hash", "_int"), ("bool", "_bool"), ("int", "_int"), ("float", "_float"), ("index", "_int"))),
    "def __array__(self, dtype: Any = None, copy: Any = None) -> ndarray: ...",
    "def __dlpack__(self, **kwargs: Any) -> Any: ...", "def __dlpack_device__(self) -> tuple[_int, _int]: ...",
    "def __deepcopy__(self, memo: dict) -> Tensor: ...", "def __init__(self, *args: Any, device: Any = None) -> None: ...",
]  # fmt: skip


def documented(value: object) -> tuple[dict[str, str], str]:
    """The C types of a function's arguments and the first line of its description, both from its docstring."""
    text = inspect.getdoc(value) or ""
    first, _, rest = text.partition("\n")
    if re.match(r"[\w.]+\(.*\)", first):
        types = {name: kind for kind, name in re.findall(r"(?:\(|, )(\w+) (\w+)(?=[,=)])", first)}
        return types, rest.strip().split("\n")[0]
    return {}, first


def summary(value: object) -> str:
    line = documented(value)[1].strip().replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{line}{" " if line.endswith(chr(34)) else ""}"""' if line else "..."


def argument(p: inspect.Parameter, types: dict[str, str]) -> str:
    if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
        return f"{'*' if p.kind is p.VAR_POSITIONAL else '**'}{p.name}: Any"
    kind = C_TYPES.get(types.get(p.name, ""), ARGUMENTS.get(p.name, "Any"))
    if p.default is p.empty:
        return f"{p.name}: {kind}"
    if p.default is None and kind != "Any" and "None" not in kind:
        kind += " | None"
    plain = p.default in (None, True, False) or type(p.default) in (int, str)
    return f"{p.name}: {kind} = {repr(p.default) if plain else '...'}"


def function(name: str, value: object, result: str, method: bool = False) -> str:
    if not method and not public(name, value):
        return f"def {name}(*args: Any, **kwargs: Any) -> {result}: ..."
    try:
        parameters = list(inspect.signature(value).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return f"def {name}({'self, ' if method else ''}*args: Any, **kwargs: Any) -> {result}: {summary(value)}"
    types, _ = documented(value)
    words = [argument(p, types) for p in parameters]
    if method:
        words[:1] = ["self"]
    for i, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and not any(q.kind is q.VAR_POSITIONAL for q in parameters):
            words.insert(i, "*")
            break
    return f"def {name}({', '.join(words)}) -> {result}: {summary(value)}"


def public(name: str, value: object) -> bool:
    spaces = (fastdl, fastdl.nn.functional)
    return any(getattr(space, n, None) is value for space in spaces for n in (name, name.rstrip("_")))


def result_of(name: str, value: object) -> str:
    return RESULTS.get(name, "Tensor" if public(name, value) else "Any")


def declared(method: object) -> str:
    """The result that a method written in Python says it has; those of the compiled modules return tensors."""
    said = getattr(method, "__annotations__", {}).get("return", "Tensor")
    said = re.sub(r"\b(bool|int|float)\b", r"_\1", str(said))
    return said if re.fullmatch(r"(Tensor|_bool|_int|_float|None|tuple\[Tensor(, (Tensor|\.\.\.))+\])", said) else "Any"


def tensor_class() -> list[str]:
    lines = ["class Tensor:", f"    {summary(Tensor)}"]
    for name, value in sorted(vars(Tensor).items()):
        if name.startswith("__"):
            continue
        if name == "_make_subclass":
            lines += ["    @staticmethod", "    def _make_subclass(cls: Any, data: Tensor, require_grad: _bool = False) -> Any: ..."]
        elif name in SETTABLE:
            kind = SETTABLE[name]
            lines += ["    @property", f"    def {name}(self) -> {kind}: {summary(value)}", f"    @{name}.setter",
                      f"    def {name}(self, value: {kind}) -> None: ..."]  # fmt: skip
        elif inspect.isdatadescriptor(value) or isinstance(value, property):
            lines += ["    @property", f"    def {name}(self) -> {ATTRIBUTES.get(name, 'Any')}: {summary(value)}"]
        elif callable(value):
            result = "Any" if name in SELF else RESULTS.get(name) or declared(value)
            lines.append("    " + function(name, value, result, method=True))
        else:
            lines.append(f"    {name}: {ATTRIBUTES.get(name, 'Any')}")
    return lines + [f"    {line}" for line in SPECIAL]


def stub(module: object) -> str:
    name = module.__name__  # type: ignore[attr-defined]
    lines = [] if name in ("fastdl._tensor", "fastdl._kernels") else ["from fastdl._tensor import Tensor"]
    lines += ["from fastdl.ops.random import Generator"] if name == "fastdl._tensor" else []
    lines += ["from fastdl._tensor import Tensor"] if name == "fastdl._kernels" else []
    lines.append("")
    for key, value in sorted(vars(module).items(), key=lambda item: item[0].lstrip("_")):
        if key.startswith("__"):
            continue
        if value is Tensor and name == "fastdl._tensor":
            lines += tensor_class()
        elif isinstance(value, type):
            if value.__module__ == name and (value in (Node, FunctionNode) or not issubclass(value, Node)):
                lines += [f"class {key}:", f"    {summary(value)}", "    def __init__(self, *args: Any, **kwargs: Any) -> None: ...",
                          "    def __getattr__(self, name: str) -> Any: ..."]  # fmt: skip
        elif callable(value):
            if getattr(value, "__module__", None) == name:
                lines.append(function(key, value, result_of(key, value)))
        elif isinstance(value, fastdl.Generator):
            lines.append(f"{key}: Generator")
    return HEAD + "\n".join(lines) + "\n"


def stubs() -> dict[Path, str]:
    """The text of each file."""
    names = ["fastdl._kernels", "fastdl._tensor"]
    names += [f"fastdl.ops.{m.name}" for m in pkgutil.iter_modules(fastdl.ops.__path__)]
    root = Path(fastdl.__file__).parent.parent
    modules = [importlib.import_module(name) for name in names]
    return {
        root.joinpath(*m.__name__.split(".")).with_suffix(".pyi"): stub(m)
        for m in modules if not str(m.__file__).endswith(".py")
    }  # fmt: skip


def main() -> int:
    stale = [(path, text) for path, text in stubs().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path, _ in stale:
            print(f"{path} is not current: make stubs")
        return bool(stale)
    for path, text in stale:
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
