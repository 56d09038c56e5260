"""Builds fastdl: every kernel of csrc once per ISA and element type, then the Cython modules.

Everything else is configured in pyproject.toml.
"""

import os
import platform
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
JOBS = int(os.environ.get("FDL_JOBS", os.cpu_count() or 1))
X86 = platform.machine().lower() in ("x86_64", "amd64")

# The ISA table, best first: name -> (compiler flags, what __builtin_cpu_supports is asked; None: no question).
ISAS = {
    "avx512": (["-march=x86-64-v4", "-mprefer-vector-width=512"], "x86-64-v4"),
    "avx2": (["-march=x86-64-v3"], "x86-64-v3"),
    "base": ([], None),
}
if not X86:
    ISAS = {"base": ISAS["base"]}  # aarch64: NEON is part of the base
DTYPES = {"f32": [], "f64": [("FDL_F64", None)]}

# Compiled once, with the base flags only; every other csrc/*.c is a kernel, compiled per ISA and type.
ONCE = ["parallel.c", "cpus.c", "alloc.c", "dispatch.c"]
C_FLAGS = ["-std=gnu11", "-O3", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
           "-Wall", "-Wextra", "-Wno-psabi", "-Wno-unknown-pragmas", "-g0"]
CYTHON_FLAGS = ["-O2", "-fvisibility=hidden", "-fno-strict-aliasing", "-Wno-unused-function", "-g0"]

NO_COMPILER = """
fastdl: the C compiler does not work, and fastdl is built from source here:
    {error}
Install one and try again:
    Debian, Ubuntu: apt install gcc python3-dev      Fedora: dnf install gcc python3-devel
    Alpine: apk add gcc musl-dev python3-dev         macOS: xcode-select --install
"""


def table_pxi(text: str) -> str:
    """The binding's view of the kernel table, from kernels.def."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    rows = re.findall(r"^FDL_KERNEL\((\w+), ([^,]+), \((.*)\)\)$", text, flags=re.M)
    lines = ["# made by setup.py from csrc/kernels.def", 'cdef extern from "fastdl.h" nogil:',
             "    ctypedef struct fdl_table:"]
    for name, ret, args in rows:
        args = re.sub(r"const real \*const \*", "const void **", args)
        args = re.sub(r"\breal \*const \*", "void **", args)
        args = re.sub(r"\breal\b", "void", args)
        lines.append(f"        {ret} (*{name})({args}) noexcept nogil")
    return "\n".join(lines) + "\n"


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class BuildExt(build_ext):
    """Compiles the kernels into the objects of fastdl._kernels before it is linked."""

    def build_extension(self, ext):
        if ext.name == "fastdl._kernels":
            self.compile_kernels(ext)
        super().build_extension(ext)

    def compile_kernels(self, ext):
        csrc, temp = ROOT / "csrc", Path(self.build_temp)
        isas = {name: row for name, row in ISAS.items() if self.compiles(row[0])}
        rows = [f'FDL_ISA_ROW({name}, "{ask}")' if ask else f"FDL_ISA_BASE({name})" for name, (_, ask) in isas.items()]
        write_if_changed(temp / "isa.def", "\n".join(rows) + "\n")
        headers = [*csrc.glob("*.h"), csrc / "kernels.def", temp / "isa.def"]
        partial = [("FDL_PARTIAL", None)] if os.environ.get("FDL_PARTIAL") else []
        kernels = sorted(p.name for p in csrc.glob("*.c") if p.name not in ONCE)
        jobs = [(name, temp / "once", [], []) for name in ONCE]
        jobs += [(name, temp / f"{dtype}_{isa}", flags, [("FDL_ISA", isa), *macros, *partial])
                 for isa, (flags, _) in isas.items() for dtype, macros in DTYPES.items() for name in kernels]
        newest_header = max(p.stat().st_mtime for p in headers)

        def compile_one(job):
            name, folder, flags, macros = job
            target = folder / "csrc" / name.replace(".c", ".o")
            newest = max(newest_header, (csrc / name).stat().st_mtime)
            if not target.exists() or target.stat().st_mtime < newest:
                self.compiler.compile([f"csrc/{name}"], output_dir=str(folder), macros=macros,
                                      include_dirs=["csrc", str(temp)], extra_postargs=C_FLAGS + flags)
            return str(target)

        with ThreadPoolExecutor(JOBS) as pool:
            ext.extra_objects = list(pool.map(compile_one, jobs))
        ext.depends = [*map(str, headers), *map(str, csrc.glob("*.c"))]

    def compiles(self, flags):
        """Whether the compiler takes these flags. Without any, a failure means that there is no compiler."""
        probe = Path(self.build_temp) / "probe.c"
        write_if_changed(probe, "#include <stdint.h>\nint main(void) { return 0; }\n")
        try:
            self.compiler.compile([str(probe)], output_dir=str(Path(self.build_temp) / "probe"), extra_postargs=flags)
        except Exception as error:
            if not flags:
                raise SystemExit(NO_COMPILER.format(error=error)) from None
            return False
        return True


def extension(path: Path) -> Extension:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return Extension(name, [str(path.relative_to(ROOT))], include_dirs=["csrc", numpy.get_include()],
                     define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")], extra_compile_args=CYTHON_FLAGS,
                     libraries=["m", "pthread"] if path.stem == "_kernels" else [])


write_if_changed(ROOT / "fastdl" / "_table.pxi", table_pxi((ROOT / "csrc" / "kernels.def").read_text()))
setup(
    ext_modules=cythonize(
        [extension(p) for p in sorted((ROOT / "fastdl").rglob("*.pyx"))],
        build_dir="build/cython",
        nthreads=JOBS,
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True,
                             "embedsignature": True, "binding": True, "freethreading_compatible": False},
    ),
    cmdclass={"build_ext": BuildExt},
)
