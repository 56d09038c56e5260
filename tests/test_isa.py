"""The choice of kernels for this CPU, and the command line that shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastdl
from fastdl import _kernels
from tests.process import run, start

BUILT = [name for name, _ in _kernels.isas()]
USABLE = [name for name, usable in _kernels.isas() if usable]
WHICH = "from fastdl import _kernels; print(_kernels.isa(), _kernels.isa_why(), sep='; ')"


@pytest.fixture(autouse=True)
def same_isa_after():
    before, why = _kernels.isa(), _kernels.isa_why()
    yield
    _kernels.set_isa(before, why)


def test_the_base_is_built_and_usable_everywhere():
    assert BUILT[-1] == "base"
    assert "base" in USABLE


def test_the_best_usable_isa_is_chosen_at_import():
    assert run(WHICH) == f"{USABLE[0]}; best of those that this CPU can run"
    assert run(WHICH, FASTDL_ISA="") == f"{USABLE[0]}; best of those that this CPU can run"


@pytest.mark.parametrize("name", USABLE)
def test_the_environment_variable_chooses(name: str):
    assert run(WHICH, FASTDL_ISA=name) == f"{name}; FASTDL_ISA"


@pytest.mark.parametrize("name", ["sse9", "AVX2", "avx2 ", "base,avx2", "\u00e9"])
def test_a_nonsense_choice_is_an_import_error_that_lists_the_choices(name: str):
    result = start("import fastdl", FASTDL_ISA=name)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: FASTDL_ISA={name}: ")
    for built in BUILT:
        assert built in last


def test_set_isa_refuses_what_is_not_there_and_changes_nothing():
    before = _kernels.isa()
    with pytest.raises(ValueError, match=r"\[set_isa\] expected one of: .*base.*; got 'mmx'"):
        _kernels.set_isa("mmx")
    assert _kernels.isa() == before


@pytest.mark.parametrize("name", USABLE)
def test_kernels_of_each_isa_work_in_both_types(name: str):
    _kernels.set_isa(name)
    assert _kernels.isa() == name
    for dtype in (fastdl.float32, fastdl.float64):
        x = fastdl.ones(37, 53, dtype=dtype)
        assert float((x @ x.T).sum()) == 37 * 37 * 53


def test_every_kernel_gives_the_same_bits_on_every_isa_and_number_of_threads():
    script = Path(__file__).parents[1] / ".ci" / "kernel-hashes"
    if not script.exists() or "FDL_SANITIZED" in os.environ:
        pytest.skip("needs the source tree and the objects of its build")
    result = subprocess.run([script, sys.executable, "built"], capture_output=True, text=True)
    if result.returncode == 77:
        pytest.skip("setup.py's objects are not up to date")
    assert result.returncode == 0, result.stdout + result.stderr


def test_info_tells_what_was_built_and_chosen_and_why():
    text = run("from fastdl.__main__ import main; main(['info'])", FASTDL_NUM_THREADS="2", FASTDL_ISA="base")
    assert re.search(rf"^fastdl +{re.escape(fastdl.__version__)}, ", text, re.M)
    for name in BUILT:
        assert re.search(rf"^ISA +{name} +(chosen: FASTDL_ISA|usable|not on this CPU)$", text, re.M)
        assert _kernels.isa_flags()[name] in text
    assert re.search(r"^ISA +base +chosen: FASTDL_ISA$", text, re.M)
    assert re.search(r"^threads +2: FASTDL_NUM_THREADS$", text, re.M)
    assert re.search(r"^memory +live_bytes \d+, .*cached_bytes \d+", text, re.M)
    assert _kernels.compiler() in text
    assert f"{len(_kernels.kernel_names())}, each in float32 and float64" in text


def test_the_command_without_arguments_prints_help():
    code = "import runpy, sys; sys.argv = ['fastdl'] + sys.argv[1:]; runpy.run_module('fastdl', run_name='__main__')"
    assert "usage: python -m fastdl" in run(code)
    result = start(code.replace("sys.argv[1:]", "['nonsense']"))
    assert result.returncode == 2
    assert "invalid choice: 'nonsense'" in result.stderr
