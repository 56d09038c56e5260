"""The layers: what may import what, that each kernel is defined and used, and that only vec.h knows the hardware."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastdl import _kernels
from tests.process import ROOT

SOURCE = ROOT / "fastdl"
CSRC = ROOT / "csrc"

# Lowest first. A module may import from its own layer and from those before it; a package stands for all inside it.
LAYERS = [
    ["_version", "_kernels"],
    ["_types", "_files"],
    ["_tensor", "_interchange", "memory", "_print", "autograd"],
    ["ops"],
    [""],  # fastdl itself: names of the layers below, tensors as PyTorch spells them
    ["nn.functional", "nn.init", "nn.parameter", "nn.utils", "serialization", "_pt", "utils", "datasets", "_info",
     "metrics", "vis", "random", "cuda", "distributed", "onnx", "backends", "jit", "amp", "distributions", "_as_torch",
     "_run"],
    ["nn", "optim", "text"],
    ["models", "_summary", "__main__"],
]


def layer_of(module: str) -> int:
    """The number of the layer that "fastdl.<module>" belongs to."""
    parts = module.split(".")
    for size in range(len(parts), 0, -1):
        for number, names in enumerate(LAYERS):
            if ".".join(parts[:size]) in names:
                return number
    raise AssertionError(f"fastdl.{module} is in no layer: put it into LAYERS (and docs/architecture.md)")


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def absolute(name: str, level: int, package: list[str]) -> str:
    """Name inside fastdl of what a relative import with `level` dots in `package` means."""
    base = package[: len(package) - (level - 1)]
    return ".".join([*base, *([name] if name else [])])


def python_imports(path: Path, package: list[str]) -> set[str]:
    """Modules of fastdl that a Python file imports when it is imported itself; imports within functions are later."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or is_type_checking(node):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("fastdl").lstrip(".") for alias in node.names if is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                name = absolute(name, node.level, package)
            elif is_ours(name):
                name = name.removeprefix("fastdl").lstrip(".")
            else:
                continue
            found |= {submodule(name, alias.name) for alias in node.names}
        waiting += ast.iter_child_nodes(node)
    return found


def is_ours(name: str) -> bool:
    return name == "fastdl" or name.startswith("fastdl.")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def submodule(package: str, name: str) -> str:
    """"package.name" if that is a module, else the package, which has a function or class of this name."""
    full = f"{package}.{name}" if package else name
    base = SOURCE.joinpath(*full.split("."))
    return full if base.is_dir() or any(base.with_suffix(end).exists() for end in (".py", ".pyx", ".pxi")) else package


def cython_imports(path: Path, package: list[str]) -> set[str]:
    """The same for a Cython file, by lines: imports and cimports."""
    found: set[str] = set()
    text = re.sub(r'"""[\s\S]*?"""', "", path.read_text())
    pattern = r"^(?:from +(\.*)([\w.]*) +c?import +(\([^)]*\)|[^\n]*)|c?import +(fastdl[\w.]*))"
    for dots, name, names, plain in re.findall(pattern, text, re.M):
        if plain:
            found.add(plain.removeprefix("fastdl").lstrip("."))
        elif dots or is_ours(name):
            base = absolute(name, len(dots), package) if dots else name.removeprefix("fastdl").lstrip(".")
            for item in re.sub(r"#.*", "", names).strip("()").split(","):
                found.add(submodule(base, item.split(" as ")[0].strip()))
    return found


def modules() -> list[Path]:
    return sorted(p for end in ("*.py", "*.pyx", "*.pxd") for p in SOURCE.rglob(end))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_imports_upward(path: Path):
    module = module_of(path)
    package = list(path.relative_to(SOURCE).parts[:-1])
    read = python_imports if path.suffix == ".py" else cython_imports
    own = layer_of(module)
    upward = {name or "fastdl" for name in read(path, package) if layer_of(name) > own}
    assert not upward, f"fastdl.{module} (layer {own}) imports from layers above: {sorted(upward)}"


def test_the_reader_of_imports_finds_them(tmp_path: Path):
    cython, python = tmp_path / "a.pyx", tmp_path / "a.py"
    cython.write_text("from .._kernels cimport (F32,\n  F64)\nfrom . cimport common\nimport os\ncimport fastdl.nn\n")
    assert cython_imports(cython, ["ops"]) == {"_kernels", "ops.common", "nn"}
    python.write_text("import fastdl.nn\nfrom ..ops import common\nfrom . import x\ndef f():\n  import fastdl.text\n")
    assert python_imports(python, ["optim"]) == {"nn", "ops.common", "optim"}


# kernels


def kernels() -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", (CSRC / "kernels.def").read_text(), flags=re.S)
    return re.findall(r"^FDL_KERNEL\((\w+),", text, re.M)


def test_the_table_is_the_list():
    assert _kernels.kernel_names() == kernels()
    assert len(set(kernels())) == len(kernels())


@pytest.mark.parametrize("name", kernels())
def test_each_kernel_is_defined_once_and_used(name: str):
    sources = [p.name for p in CSRC.glob("*.c") if re.search(rf"^\w[\w *]*\bFDL_FN\({name}\)\(", p.read_text(), re.M)]
    assert len(sources) == 1, f"defined in {sources}"
    users = [p for end in ("*.pyx", "*.pxi") for p in SOURCE.rglob(end) if p.name != "_table.pxi"]
    assert any(re.search(rf"\b(?:K|F32|F64)\.{name}\b", p.read_text()) for p in users), "unused"


# hardware

INTRINSICS = (
    r"\b_mm\d*_\w+|\b__m(?:128|256|512)[di]?\b|immintrin\.h"
    r"|arm_neon\.h|\bv\w+q_f(?:32|64)\b|\bfloat(?:32x4|64x2)_t"
)


@pytest.mark.parametrize("path", sorted(CSRC.glob("*.[ch]")), ids=lambda p: p.name)
def test_intrinsics_and_questions_about_the_isa_are_in_one_file(path: Path):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    if path.name == "vec.h":
        assert re.search(INTRINSICS, text)
        return
    assert re.findall(INTRINSICS, text) == []
    assert re.findall(r"__AVX\w*__|__FMA__|__ARM_\w+", text) == []


ONCE = {"parallel.c", "cpus.c", "alloc.c", "dispatch.c"}  # compiled once: no kernels


@pytest.mark.parametrize("path", [p for p in sorted(CSRC.glob("*.c")) if p.name not in ONCE], ids=lambda p: p.name)
def test_kernels_allocate_nothing_and_keep_no_state(path: Path):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.S)
    assert re.findall(r"\b(?:malloc|calloc|realloc|free|fdl_alloc|fdl_free|printf|Py\w+)\s*\(", text) == []
    assert re.findall(r"\b(?:expf?|logf?|tanhf?|erff?|powf?|sinf?|cosf?|log1pf?|expm1f?)\s*\(", text) == [], "libm"
    assert "atomic" not in text
    mutable = [line for line in re.findall(r"^\s*static [^()\n]*[=;]", text, re.M) if "const" not in line]
    assert mutable == []


def objects() -> list[Path]:
    """The object files of the kernels, where the tree was built in place."""
    return sorted(p for p in (ROOT / "build").glob("temp-*/f??_*/csrc/*.o") if "-sanitized" not in str(p))


@pytest.mark.skipif(not shutil.which("nm"), reason="needs nm")
def test_objects_of_an_isa_export_only_names_with_its_suffix():
    if not objects():
        pytest.skip("no object files: built elsewhere")
    command = ["nm", "-A", "-g", "--defined-only", *map(str, objects())]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [(line.split(":")[0].split("/")[-3], line.split()[-1]) for line in lines]
    assert names
    assert [name for where, name in names if not (name.startswith("fdl_") and name.endswith("_" + where))] == []
