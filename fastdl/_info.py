"""What fastdl was built with, what this machine offers and what was chosen: `python -m fastdl info`."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import numpy

import fastdl
from fastdl import _kernels, memory


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model", "cpu model")):
                return line.split(":", 1)[1].strip()
    except (OSError, IndexError):
        pass
    return platform.processor() or platform.machine()


def isa_lines() -> list[str]:
    flags = _kernels.isa_flags()
    lines = []
    for name, usable in _kernels.isas():
        if name == _kernels.isa():
            note = f"chosen: {_kernels.isa_why()}"
        else:
            note = "usable" if usable else "not on this CPU"
        lines.append(f"{name:<8} {note}\n{'':<22}{flags[name]}")
    return lines


def python_version() -> str:
    """With the GIL's state, where Python can do without."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return platform.python_version()
    gil = sys._is_gil_enabled()  # type: ignore[attr-defined]
    return f"{platform.python_version()} free-threaded, GIL {'on' if gil else 'off'}"


def package_versions() -> str:
    """The packages that fastdl uses, or would use if they were there."""
    found = []
    for name in ("safetensors", "tqdm", "matplotlib", "tokenizers", "torch"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def settings() -> str:
    """Variables of the environment that change what fastdl does or how fast it is."""
    names = sorted(name for name in os.environ if name.startswith(("FASTDL_", "OMP_", "OPENBLAS_", "MKL_")))
    return ", ".join(f"{name}={os.environ[name]}" for name in names) or "none"


def info() -> str:
    """All of it as text, one fact per line."""
    threads = _kernels.get_num_threads()
    default, why = _kernels.default_num_threads()
    stats = memory.stats()
    facts = [
        ("fastdl", f"{fastdl.__version__}, {Path(fastdl.__file__).parent}"),
        ("Python", f"{python_version()}, {sys.executable}"),
        ("NumPy", numpy.__version__),
        ("packages", package_versions()),
        ("environment", settings()),
        ("platform", platform.platform()),
        ("CPU", cpu_model()),
        ("compiler", _kernels.compiler()),
        *(("ISA", line) for line in isa_lines()),
        ("kernels", f"{len(_kernels.kernel_names())}, each in float32 and float64"),
        ("threads", f"{threads}: {_kernels.threads_why()}"),
        ("", f"default here {default}: {why}"),
        ("", f"{_kernels.pool_size()} workers running now"),
        ("memory", ", ".join(f"{name} {value}" for name, value in stats.items())),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in facts)
