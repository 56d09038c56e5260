"""What a user installs: small, quick to import, and without what is not needed at once."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fastdl
from tests.process import ROOT, SANITIZED, run, start

PACKAGE = Path(fastdl.__file__).parent
IMPORT_MS = 40  # beyond NumPy
INSTALLED_MB = 8


@pytest.mark.skipif(SANITIZED, reason="sizes")
def test_the_installed_size_is_small():
    compiled = list(PACKAGE.rglob(f"*.{sys.implementation.cache_tag}-*.so")) + list(PACKAGE.rglob("*.abi3.so"))
    assert compiled or sys.platform != "linux"
    size = sum(p.stat().st_size for p in [*compiled, *PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")])
    assert size <= INSTALLED_MB * 1e6, f"{size / 1e6:.1f} MB"


@pytest.mark.skipif(SANITIZED, reason="another runtime")
def test_compiled_modules_name_no_folder_of_the_build_and_no_openmp():
    for path in PACKAGE.rglob("*.so"):
        data = path.read_bytes()
        for text in (str(ROOT).encode(), b"libgomp", b"libomp.", b"libiomp"):
            assert text not in data, f"{path.name}: {text!r}"


def beyond_sse2(paths: list[Path]) -> set[str]:
    """Instructions of objects and modules that no x86-64 of the base has: VEX and EVEX encoded ones, wide registers,
    and those of SSE3, SSSE3, SSE4, BMI and FMA."""
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", *map(str, paths)], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    later = (r"v[a-z]\w+|p?h(?:add|sub)\w+|addsub\w+|mov[sd]l?[hd]dup|movddup|lddqu|pshufb|pmulhrsw|palignr|pabs\w"
             r"|psign\w|pmaddubsw|p?blend\w+|dpp[sd]|round[ps][sd]|p(?:insr|extr)[bdq]|extractps|insertps|ptest"
             r"|pm(?:in|ax)(?:s[bd]|u[wd])|pmov[sz]x\w+|pmuldq|pmulld|pcmpeqq|pcmpgtq|packusdw|pcmp[ei]str\w|crc32\w*"
             r"|popcnt\w?|[lt]zcnt\w?|andn[lq]?|bextr\w?|bls\w+|mulx\w?|pdep\w?|pext\w?|rorx\w?|s[ah][lr]x\w?|movbe\w?")
    known = {"verr", "verw"}  # of the 80286
    words = set(re.findall(rf"^\s+[0-9a-f]+:\t(?:\w+ )*?({later})(?=\s)", listing, flags=re.M))
    return (words - known) | set(re.findall(r"%[yz]mm\d+|%k[0-7]", listing))


@pytest.mark.skipif(SANITIZED, reason="another build")
@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.skipif(sysconfig.get_platform() != "linux-x86_64", reason="instructions of x86-64")
def test_only_the_kernels_of_an_isa_contain_its_instructions():
    modules = [path for path in PACKAGE.rglob("*.so") if "_kernels" not in path.name]
    assert modules
    assert beyond_sse2(modules) == set()
    objects = ROOT / "build" / f"temp-{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    base = [path for folder in ("once", "f32_base", "f64_base") for path in objects.glob(f"{folder}/csrc/*.o")]
    if not base:
        pytest.skip("the objects of the build are not here")
    assert beyond_sse2(base) == set()
    wide = beyond_sse2([objects / "f32_avx2" / "csrc" / "gru.o"])
    assert {"vmovups", "%ymm0"} <= wide, "what this test looks for is found where it is"


def import_ms(module: str) -> float:
    """Milliseconds that a new interpreter takes to import a module on top of NumPy, with compiled bytecode."""
    code = f"import time, numpy\nbegin = time.perf_counter()\nimport {module}\nprint(time.perf_counter() - begin)"
    return float(run(code, OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="")) * 1e3


@pytest.mark.skipif(SANITIZED, reason="times")
def test_import_is_quick():
    import_ms("fastdl")  # writes the bytecode
    times = sorted(import_ms("fastdl") for _ in range(7))
    # the machine may be busy with other work: the quickest three of seven say what the import costs
    assert statistics.median(times[:3]) <= IMPORT_MS, f"{[round(t, 1) for t in times]} ms"


def test_import_loads_nothing_that_is_not_needed_at_once():
    code = "import sys, numpy; before = set(sys.modules); import fastdl; print(*sorted(set(sys.modules) - before))"
    loaded = {name.split(".")[0] for name in run(code).split()}
    heavy = {"tqdm", "safetensors", "matplotlib", "tokenizers", "torch", "asyncio", "multiprocessing", "unittest",
             "concurrent", "ssl", "http", "email", "urllib", "pydoc_data", "distutils", "setuptools"}
    assert loaded & heavy == set()


def test_info_tells_packages_and_settings():
    said = run("import sys; from fastdl.__main__ import main; sys.exit(main(['info']))", OMP_NUM_THREADS="1")
    assert re.search(r"^packages +safetensors [\d.]+, tqdm [\d.]+", said, re.M)
    assert re.search(r"^environment .*\bOMP_NUM_THREADS=1\b", said, re.M)


def test_dir_offers_the_public_names():
    names = dir(fastdl)
    wanted = {"Tensor", "tensor", "nn", "optim", "manual_seed", "set_num_threads", "no_grad", "save", "load", "memory"}
    assert wanted - set(names) == set()
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", fastdl.__version__)


def test_the_version_is_the_one_that_was_installed():
    try:
        installed = importlib.metadata.version("fastdl")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("built in place, not installed")
    assert installed == fastdl.__version__


def test_the_licence_is_apache_2():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PATH without a compiler")
def test_without_a_compiler_the_build_says_what_to_install(tmp_path: Path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    code = f"""
import os, runpy, sys
os.chdir({str(ROOT)!r})
sys.argv = ["setup.py", "-q", "build_ext", "--build-lib", {str(tmp_path / "lib")!r}, "--inplace"]
runpy.run_path("setup.py", run_name="__main__")
"""
    result = start(code, CC="/nonexistent/cc", FDL_BUILD_TAG="-nocompiler", FDL_JOBS="1", PYTHONWARNINGS="ignore")
    assert result.returncode != 0
    assert "apt install gcc python3-dev" in result.stderr
    assert "xcode-select --install" in result.stderr
    assert "Traceback" not in result.stderr
