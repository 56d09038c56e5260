"""Type hints: current, true where they can be tried, and enough for a program that uses fastdl."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastdl
from tests.process import PACKAGES, ROOT

PACKAGE = Path(fastdl.__file__).parent
SCRIPT = ROOT / ".ci" / "make_stubs.py"
STUB = PACKAGE / "_tensor.pyi"


@pytest.mark.skipif(not SCRIPT.exists() or PACKAGE.parent != ROOT, reason="installed without its sources")
def test_stubs_are_current():
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": PACKAGES})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def results() -> dict[str, str]:
    """Methods of Tensor and the results that the stub tells."""
    tensor = next(n for n in ast.parse(STUB.read_text()).body if isinstance(n, ast.ClassDef) and n.name == "Tensor")
    functions = [n for n in reversed(tensor.body) if isinstance(n, ast.FunctionDef) and n.returns]  # getters win
    return {n.name: ast.unparse(n.returns) for n in functions if not n.name.startswith("_")}


TYPES = {"Tensor": fastdl.Tensor, "_bool": bool, "_int": int, "_float": float, "Size": fastdl.Size, "None": type(None),
         "_dtype": fastdl.dtype, "_device": fastdl.device, "str": str}  # fmt: skip


def tries(name: str, wanted: str) -> int:
    """Calls a method with whatever arguments it takes; the number of calls that worked."""
    tried = 0
    for data in (fastdl.tensor([[0.5, 2.0], [1.0, 4.0]]), fastdl.tensor(1.0), fastdl.tensor([[1, 2], [3, 4]])):
        if name == "mT" and data.ndim < 2:
            continue
        value = getattr(data, name)
        for args in ((), (0,), (1,), (data,), (0, 1), (data, data), (0, data), ((1, 2),)):
            try:
                got = value(*args) if callable(value) else value
            except Exception:
                continue
            tried += 1
            if wanted in TYPES:
                assert isinstance(got, TYPES[wanted]), (name, args, got)
            else:
                assert isinstance(got, tuple) and all(isinstance(part, fastdl.Tensor) for part in got), (name, args)
    return tried


def test_results_are_what_the_stub_says():
    told = {name: kind for name, kind in results().items() if kind in TYPES or kind.startswith("tuple[Tensor")}
    tried = [name for name, kind in told.items() if tries(name, kind)]
    assert len(tried) > 0.8 * len(told) > 150


def test_every_method_has_a_hint():
    names = {name for name in dir(fastdl.Tensor) if not name.startswith("_")}
    text = STUB.read_text()
    assert [name for name in sorted(names) if f" {name}(" not in text and f"    {name}: " not in text] == []
    assert (PACKAGE / "py.typed").exists()
    assert sum(p.stat().st_size for p in PACKAGE.rglob("*.pyi")) < 150_000


def test_mypy_understands_a_program(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(
        "import fastdl\nfrom fastdl import nn, optim\nfrom fastdl.utils.data import DataLoader, TensorDataset\n"
        "class Net(nn.Module):\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(3, 2)\n"
        "    def forward(self, x: fastdl.Tensor) -> fastdl.Tensor:\n"
        "        return self.layer(x).relu().float() * 2 + x.shape[0]\n"
        "net = Net()\n"
        "optimizer = optim.SGD(net.parameters(), lr=0.1)\n"
        "for x, y in DataLoader(TensorDataset(fastdl.randn(4, 3), fastdl.zeros(4, 2)), batch_size=2):\n"
        "    loss = ((net(x) - y) ** 2).mean()\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
        "total: float = loss.item() + float(net.layer.weight.grad.abs().max())\n"
        "fastdl.save(net.state_dict(), 'x')\n"
        "print(fastdl.summary(net, fastdl.ones(1, 3)).total_macs, total)\n"
        "reveal_type(fastdl.ones(2).sum())\nreveal_type(net.layer.weight.T)\nreveal_type(fastdl.ones(2).shape)\n"
        "fastdl.ones(2).no_such_method()\nfastdl.no_such_function()\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT,
                          env={**os.environ, "MYPYPATH": PACKAGES})  # fmt: skip
    notes = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if "program.py:" in line]
    kinds = ["_tensor.Tensor", "_tensor.Tensor", "_types.Size"]
    assert notes[:3] == [f'note: Revealed type is "fastdl.{kind}"' for kind in kinds]
    assert [note for note in notes[3:] if "no_such_method" in note], notes
    assert [note for note in notes[3:] if "no_such_function" in note] and len(notes) == 5, notes
