"""Every program in examples/ as a user runs it: --help, a --quick run into a folder, a folder that cannot be made.

A new example joins by being there. Its data must not come from the network: small stand-ins lie in FASTDL_DATA here. An
example that needs data or packages which are absent ends with status 3 and a line that says so: its test is skipped.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import PACKAGES, ROOT, SANITIZED
from tests.test_images import write_set

EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))
CPU_SECONDS = 8
ABSENT = 3
RHYME = "Twinkle, twinkle, little star, how I wonder what you are!\nUp above the world so high...\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What FASTDL_DATA names: stand-ins for the data sets, in their formats."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "timemachine.txt").write_text((RHYME + "\n") * 60)
    write_set(folder / "fashion-mnist", count=600)
    return folder


def start(example: Path, folder: Path, data: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    offline = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # refused at once
    environment = {**os.environ, **offline, "FASTDL_DATA": str(data), "XDG_CACHE_HOME": str(folder / "cache"),
                   "PYTHONPATH": PACKAGES, "FASTDL_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, str(example), *map(str, arguments)], env=environment, cwd=folder,
                          capture_output=True, text=True, timeout=240)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_a_quick_run(example: Path, tmp_path: Path, data: Path):
    before = cpu_seconds()
    done = start(example, tmp_path, data, "--quick", "--seed", 1, "--out", "pictures")
    if done.returncode == ABSENT:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr
    assert done.stdout.strip()
    assert {p.name for p in tmp_path.iterdir()} <= {"pictures", "cache"}
    if not SANITIZED:
        assert cpu_seconds() - before < CPU_SECONDS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_help_and_bad_input(example: Path, tmp_path: Path, data: Path):
    text = start(example, tmp_path, data, "--help").stdout
    assert all(option in text for option in ("--quick", "--seed", "--out"))
    assert start(example, tmp_path, data, "--seed", "seven").returncode == 2
    (tmp_path / "file").write_text("")
    done = start(example, tmp_path, data, "--quick", "--out", "file")
    if done.returncode != ABSENT:
        assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert done.stderr.startswith(f"{example.stem}: error: ") and "file" in done.stderr


def test_a_language_model_refuses_checkpoints_of_another_vocabulary_or_width(tmp_path: Path, data: Path):
    example = ROOT / "examples" / "language_model.py"
    text = tmp_path / "text.txt"
    text.write_text(RHYME * 40)
    options = ["--quick", "--data", text, "--out", "out", "--epochs", 1]
    assert start(example, tmp_path, data, *options).returncode == 0
    checkpoint = tmp_path / "out" / "language_model-gru.safetensors"
    assert "written by the model" in start(example, tmp_path, data, *options, "--load", checkpoint).stdout
    wider = start(example, tmp_path, data, *options, "--load", checkpoint, "--width", 40)
    assert wider.returncode == 1 and "[28, 32]" in wider.stderr and "[28, 40]" in wider.stderr
    text.write_text((RHYME + "0123") * 40)
    other = start(example, tmp_path, data, *options, "--load", checkpoint)
    assert other.returncode == 1 and "its vocabulary" in other.stderr
    text.write_bytes(b"\xff\xfe" * 200)
    assert "byte 0" in start(example, tmp_path, data, *options).stderr
