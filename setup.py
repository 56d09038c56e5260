"""Builds fastdl: every kernel of csrc once per ISA and element type, then the Cython modules.

Everything else is configured in pyproject.toml.
"""

import os
import platform
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sysconfig import get_platform

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
TAG = os.environ.get("FDL_BUILD_TAG", "")  # a build for debugging, with other CFLAGS, kept apart
JOBS = int(os.environ.get("FDL_JOBS", os.cpu_count() or 1))
X86 = platform.machine().lower() in ("x86_64", "amd64")

# The ISA table, best first: name -> (compiler flags, level of x86-64 that they ask for; 0: none beyond the base).
ISAS = {
    "avx512": (["-march=x86-64-v4", "-mprefer-vector-width=512"], 4),
    "avx2": (["-march=x86-64-v3"], 3),
    "base": ([], 0),
}
if not X86:
    ISAS = {"base": ISAS["base"]}  # aarch64: NEON is part of the base
if "FDL_ISAS" in os.environ:  # a build for debugging: some of them are enough
    ISAS = {name: row for name, row in ISAS.items() if name in os.environ["FDL_ISAS"].split()}
DTYPES = {"f32": [], "f64": [("FDL_F64", None)]}
# Double, and the base of x86, which only old machines use, are compiled for size, a third less at the same speed,
# except for register tiles, which -Os spills.
TILED = ["gemm_tile.c", "matmul.c", "recurrent.c", "attention.c", "conv.c", "conv_weight.c"]

# Compiled once, with the base flags only; every other csrc/*.c is a kernel, compiled per ISA and type.
ONCE = ["parallel.c", "cpus.c", "alloc.c", "dispatch.c"]
NO_UNWIND = [] if TAG else ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]  # a twentieth of the size
# what gcc 14 and clang 16 refuse by themselves, refused by older ones; clang counts lost consts among the first
STRICT = ["-Werror=incompatible-pointer-types", "-Wno-incompatible-pointer-types-discards-qualifiers",
          "-Werror=int-conversion", "-Werror=implicit-function-declaration"]
C_FLAGS = ["-std=gnu11", "-O1" if TAG else "-O3", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno",
           "-fno-trapping-math", "-Wall", "-Wextra", "-Wno-psabi", "-Wno-unknown-pragmas", "-g1" if TAG else "-g0",
           *STRICT, *NO_UNWIND]
# Modules that are called once in a while are compiled for size: a fifth smaller, a call 5 to 25 % slower.
SMALL = ("_cyutility", "additive_attention", "attention", "chain", "conv", "creation", "embedding", "fused",
         "linear_loss", "loss", "optim", "pool", "random", "window")
UNALIGNED = [f"-fno-align-{what}" for what in ("functions", "jumps", "labels", "loops")]  # 3 % of the wheel
CYTHON_FLAGS = ["-fvisibility=hidden", "-fno-strict-aliasing", "-Wno-unused-function", "-g0", *UNALIGNED,
                *STRICT, *NO_UNWIND]
# no symbol tables: half the size; FDL_SYMBOLS=1 keeps them, for a profiler. Segments need no pages of their own.
STRIP = ["-Wl,-x"] if platform.system() == "Darwin" else ["-Wl,-s", "-Wl,-z,noseparate-code"]
LINK_FLAGS = [] if TAG or os.environ.get("FDL_SYMBOLS") else STRIP

NO_COMPILER = """
fastdl: a small test program cannot be compiled, and fastdl is built from source here:
    {error}
Install a C compiler and Python's headers, and try again:
    Debian, Ubuntu: apt install gcc python3-dev      Fedora: dnf install gcc python3-devel
    Alpine: apk add gcc musl-dev python3-dev         macOS: xcode-select --install
"""


def table_pxi(header: str, kernels: str) -> str:
    """The binding's view of the enums, argument structs and kernel table, from fastdl.h and kernels.def."""
    header, kernels = (re.sub(r"/\*.*?\*/", "", text, flags=re.S) for text in (header, kernels))
    rows = re.findall(r"^FDL_KERNEL\((\w+), ([^,]+), \((.*)\)\)$", kernels, flags=re.M)
    lines = ["# made by setup.py from csrc/fastdl.h and csrc/kernels.def", 'cdef extern from "fastdl.h" nogil:']
    bodies = "".join(re.findall(r"enum \w* ?\{(.*?)\}", header, flags=re.S))
    lines += ["    enum:", *(f"        {name}" for name in re.findall(r"FDL_\w+", bodies))]
    sizes = dict(re.findall(r"(FDL_\w+) = (\d+)", header))
    for name, body in re.findall(r"typedef struct (\w+_(?:args|rows)) \{(.*?)\}", header, flags=re.S):
        lines.append(f"    ctypedef struct {name}:")
        for base, declarators in re.findall(r"((?:const )?\w+) ([^;]+);", re.sub(r"\breal\b", "void", body)):
            declarators = re.sub(r"\bFDL_\w+", lambda size: sizes[size[0]], declarators)
            lines += [f"        {base} {declarator.strip()}" for declarator in declarators.split(",")]
    lines.append("    ctypedef struct fdl_table:")
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

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or JOBS
        # pip's editable installs would compile into fresh folders, that is everything, each time
        where = f"{get_platform()}-{sys.implementation.cache_tag}{TAG}"
        self.build_temp = str(Path("build") / f"temp-{where}")
        if self.inplace:
            self.build_lib = str(Path("build") / f"inplace-{where}")

    def build_extensions(self):
        self.require_compiler()
        # Python's own folders, which some of them ask every extension to look into for libraries
        self.compiler.linker_so = [word for word in self.compiler.linker_so if "-rpath" not in word]
        for ext in self.extensions:
            if ext.name == "fastdl._kernels":
                self.compile_kernels(ext)
        super().build_extensions()

    def compile_kernels(self, ext):
        csrc, temp = ROOT / "csrc", Path(self.build_temp)
        isas = {name: row for name, row in ISAS.items() if self.compiles(row[0])}
        rows = [f'FDL_ISA_ROW({name}, {level}, "{" ".join(C_FLAGS[:2] + flags)}")'
                for name, (flags, level) in isas.items()]
        write_if_changed(temp / "isa.def", "\n".join([*rows, ""]))
        headers = [*csrc.glob("*.h"), csrc / "kernels.def", temp / "isa.def", Path(__file__)]
        kernels = sorted(p.name for p in csrc.glob("*.c") if p.name not in ONCE)
        jobs = [(name, temp / "once", [], []) for name in ONCE]

        def size_flags(isa, dtype, name):
            small = dtype == "f64" or (isa == "base" and X86)
            return ["-O2" if name in TILED else "-Os"] if small else []

        jobs += [(name, temp / f"{dtype}_{isa}", flags + size_flags(isa, dtype, name), [("FDL_ISA", isa), *macros])
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

    def compiles(self, flags, source="int main(void) { return 0; }\n"):
        return self.compile_error(flags, source) is None

    def compile_error(self, flags, source):
        probe = Path(self.build_temp) / "probe.c"
        write_if_changed(probe, source)
        try:
            self.compiler.compile([str(probe)], output_dir=str(Path(self.build_temp) / "probe"),
                                  include_dirs=self.include_dirs, extra_postargs=flags)
        except Exception as error:  # the compiler classes of setuptools and distutils raise their own kinds
            return error
        return None

    def require_compiler(self):
        error = self.compile_error([], "#include <stdint.h>\n#include <Python.h>\nint main(void) { return 0; }\n")
        if error is not None:
            raise SystemExit(NO_COMPILER.format(error=error))


def extension(name: str, source: str) -> Extension:
    stem = name.rpartition(".")[2]
    return Extension(name, [source], include_dirs=["csrc", numpy.get_include()],
                     define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                                    ("CYTHON_USE_DICT_VERSIONS", "0"),  # for size
                                    ("CYTHON_COMPRESS_STRINGS", "0")],  # the wheel does it better, and once
                     extra_compile_args=["-O1" if TAG else "-Os" if stem in SMALL else "-O2", *CYTHON_FLAGS],
                     extra_link_args=LINK_FLAGS,
                     libraries=["m", "pthread"] if stem == "_kernels" else [])


CSRC = ROOT / "csrc"
SHARED = "fastdl._cyutility"  # what Cython would else put into each module: 0.4 MB less
write_if_changed(ROOT / "fastdl" / "_table.pxi",
                 table_pxi((CSRC / "fastdl.h").read_text(), (CSRC / "kernels.def").read_text()))
setup(
    ext_modules=cythonize(
        [extension(SHARED, "fastdl/_cyutility.c"),
         *(extension(".".join(p.relative_to(ROOT).with_suffix("").parts), str(p.relative_to(ROOT)))
           for p in sorted((ROOT / "fastdl").rglob("*.pyx")))],
        build_dir="build/cython",
        nthreads=JOBS,
        shared_utility_qualified_name=SHARED,
        shared_utility_features_disabled={"MemoryView"},
        compiler_directives={"language_level": 3, "cdivision": True, "allow_none_for_extension_args": False,
                             "embedsignature": True, "binding": True, "auto_pickle": False,  # 10 KB a class
                             "freethreading_compatible": False},
    ),
    cmdclass={"build_ext": BuildExt},
)
