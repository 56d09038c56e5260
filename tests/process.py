"""Other Python processes: what depends on the environment, or could break the process, is tried in one of these."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fastdl

ROOT = Path(__file__).parent.parent
PACKAGES = str(Path(fastdl.__file__).parent.parent)  # where this process found fastdl
SANITIZED = bool(os.environ.get("FDL_SANITIZED"))  # sizes, times and limits mean nothing then
DEEP = int(os.environ.get("FDL_DEEP", "1"))  # factor for the number of rounds


def start(
    code: str, *, before: Sequence[str] = (), timeout: float = 120, **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a new interpreter, after the words of `before` (say, taskset); the caller looks at the result."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FASTDL_")}
    inherited["PYTHONPATH"] = os.pathsep.join([PACKAGES, str(ROOT)])
    return subprocess.run([*before, sys.executable, "-c", code], env={**inherited, **env}, timeout=timeout,
                          capture_output=True, text=True)


def run(code: str, *, before: Sequence[str] = (), timeout: float = 120, **env: str) -> str:
    """The same for code that has to succeed; returns what it printed."""
    result = start(code, before=before, timeout=timeout, **env)
    assert result.returncode == 0, f"status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout.strip()
