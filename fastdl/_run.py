"""`python -m fastdl run`: a PyTorch script on fastdl, otherwise as Python itself runs it."""

from __future__ import annotations

import builtins
import io
import os
import runpy
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType
from typing import NoReturn

from ._as_torch import as_torch


def run(script: str, args: list[str]) -> None:
    """Runs `script` as __main__ with fastdl in torch's place; what it raises goes on to the caller.

    sys.argv, sys.path[0], __file__, tracebacks and the exit status are those of `python script args`.

    Raises:
        SystemExit: status 2, the file cannot be read.
    """
    path = os.path.abspath(script)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        _no_file(path, error)
    _begin([script, *args], os.path.dirname(os.path.realpath(script)))
    main = ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=builtins, __loader__=SourceFileLoader("__main__", path),
                         __cached__=None)  # fmt: skip
    sys.modules["__main__"] = main
    try:
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    except BaseException:
        _hide_frames()
        raise


def run_module(name: str, args: list[str]) -> None:
    """The same for `python -m name args`."""
    _begin([name, *args], os.getcwd())
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except BaseException:
        _hide_frames()
        raise


def _begin(argv: list[str], folder: str) -> None:
    as_torch()
    sys.argv = argv
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def _no_file(path: str, error: OSError) -> NoReturn:
    print(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
    raise SystemExit(2)


def _hide_frames() -> None:
    """Makes the traceback of the exception under way begin in the script."""
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        show(kind, error.with_traceback(trace), trace)

    sys.excepthook = hook


def _is_ours(file: str) -> bool:
    return file.startswith("<frozen ") or file in (__file__, runpy.__file__, _MAIN)


_MAIN = os.path.join(os.path.dirname(__file__), "__main__.py")
