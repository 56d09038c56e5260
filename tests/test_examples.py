"""Every program in examples/ as a user runs it: --help, a --quick run into a folder, a folder that cannot be made.

A new example joins by being there. Its data must not come from the network: small stand-ins lie in FASTDL_DATA here. An
example that needs data or packages which are absent ends with status 3 and a line that says so: its test is skipped.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import fastdl
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


def popen(example: Path, folder: Path, data: Path, *arguments: object, **files: Any) -> subprocess.Popen[str]:
    offline = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # refused at once
    environment = {**os.environ, **offline, "FASTDL_DATA": str(data), "XDG_CACHE_HOME": str(folder / "cache"),
                   "PYTHONPATH": PACKAGES, "FASTDL_NUM_THREADS": "1"}
    # a shell's background jobs ignore Ctrl-C, and so would the example
    return subprocess.Popen([sys.executable, str(example), *map(str, arguments)], env=environment, cwd=folder,
                            text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **files)


def start(example: Path, folder: Path, data: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    process = popen(example, folder, data, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said = process.communicate(timeout=240)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


# program: the option that takes its checkpoint again, of bert_finetune.py for the encoder
CHECKPOINTS = {"language_model": "--load", "translate": "--load", "bert_pretrain": "--checkpoint",
               "bert_finetune": None}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_ctrl_c_leaves_a_checkpoint(name: str, tmp_path: Path, data: Path):
    example, options = ROOT / "examples" / f"{name}.py", ["--quick", "--out", "out"]
    with open(tmp_path / "progress", "w+") as progress:
        process = popen(example, tmp_path, data, *options, "--epochs", 10**6, stdout=subprocess.PIPE, stderr=progress)
        deadline = time.monotonic() + 60
        while "epoch/s" not in (tmp_path / "progress").read_text():  # tqdm says so after the first epoch
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said + (tmp_path / "progress").read_text()
    assert "Traceback" not in (tmp_path / "progress").read_text()
    [checkpoint] = (tmp_path / "out").glob("*.safetensors")
    assert f"checkpoint: {checkpoint.relative_to(tmp_path)}\nstopped early" in said
    assert len(fastdl.load(checkpoint)) > 1
    if CHECKPOINTS[name]:
        reader = ROOT / "examples" / ("bert_finetune.py" if name == "bert_pretrain" else example)
        assert start(reader, tmp_path, data, *options, CHECKPOINTS[name], checkpoint).returncode == 0


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


# unusable input: one line that names the file and the line, the byte or the sizes


def error_of(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    assert done.returncode == status, done.stdout + done.stderr
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if "error: " in line]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


TEXT_OPTIONS = {"language_model": "--data", "ngrams": "--text", "rnn_scratch": "--text", "bert_pretrain": "--text",
                "bert_finetune": "--text", "train_timemachine": "--text"}


@pytest.mark.parametrize("name", TEXT_OPTIONS)
@pytest.mark.parametrize("content, message", [
    (b"First line\nSecond caf\xe9\n", "bad.txt: not UTF-8 text: byte 0xe9 at position 21, line 2"),
    (b"\n\n", "bad.txt: no text in it (2 bytes)"),
    (None, "bad.txt"),
])
def test_unusable_texts(tmp_path: Path, data: Path, name: str, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    done = start(ROOT / "examples" / f"{name}.py", tmp_path, data, "--quick", TEXT_OPTIONS[name], "bad.txt")
    assert message in error_of(done, ABSENT if content is None else 1)


@pytest.mark.parametrize("content, message", [
    (b"go .\tva !\nhi .\n", "line 2: expected source and target with a tab between, got 1 column"),
    (b"go .\tva !\n\nhi .\tsalut !\n", "line 2: empty"),
    (b"go .\tva !\nhi .\tsal\xfbt !\n", "line 2: not UTF-8: byte 0xfb at position 8"),
])
def test_unusable_pairs(tmp_path: Path, data: Path, content: bytes, message: str):
    (tmp_path / "bad.txt").write_bytes(content)
    done = start(ROOT / "examples" / "translate.py", tmp_path, data, "--quick", "--data", "bad.txt")
    assert f"bad.txt: {message}" in error_of(done)


def test_a_translation_checkpoint_of_other_pairs(tmp_path: Path, data: Path):
    def translate(*options: object) -> subprocess.CompletedProcess[str]:
        return start(ROOT / "examples" / "translate.py", tmp_path, data, "--quick", "--epochs", 1, *options)

    assert translate().returncode == 0
    checkpoint = tmp_path / "out" / "translate-gru.safetensors"
    assert "=>" in translate("--load", checkpoint).stdout
    message = error_of(translate("--load", checkpoint, "--pairs", 5))
    assert "its vocabularies (15 and 15 words) do not fit those of the pairs" in message
    assert "made with" in error_of(translate("--load", checkpoint, "--norm-first"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-5])
    assert checkpoint.name in error_of(translate("--load", checkpoint))


def test_bert_goes_on_with_the_vocabulary_and_the_sizes_of_its_checkpoint(tmp_path: Path, data: Path):
    pretrain, finetune = (ROOT / "examples" / f"bert_{name}.py" for name in ("pretrain", "finetune"))
    assert start(pretrain, tmp_path, data, "--quick", "--epochs", 1).returncode == 0
    path = tmp_path / "out" / "bert.safetensors"
    (tmp_path / "other.txt").write_text("A wholly other text. It has other words, too! Yes?\n\n" * 30)
    for task in ("sentence", "pair", "tags"):
        options = ["--quick", "--epochs", 1, "--task", task, "--text", "other.txt", "--checkpoint", path]
        done = start(finetune, tmp_path, data, *options)
        assert done.returncode == 0 and "held out" in done.stdout, done.stderr
    found = fastdl.load(path)

    def refused(**change: object) -> str:
        fastdl.save({**found, **change}, path)
        return error_of(start(finetune, tmp_path, data, "--quick", "--checkpoint", path))

    size = len(found["vocab"])
    message = refused(vocab=found["vocab"][:-3])
    assert f"[{size}, 32]" in message and f"[{size - 3}, 32]" in message, message
    message = refused(sizes={**found["sizes"], "max_positions": 9})
    assert "[64, 32]" in message and "[9, 32]" in message, message
    shorter = {**found["model"], "bert.positions.weight": found["model"]["bert.positions.weight"][:9]}
    assert "more than max_length 9" in refused(sizes={**found["sizes"], "max_positions": 9}, model=shorter)
    fastdl.save({"weights": fastdl.ones(3)}, path)
    assert "expected sizes, vocab, model" in error_of(start(finetune, tmp_path, data, "--checkpoint", path))


def test_data_that_is_absent_has_a_status_of_its_own(tmp_path: Path, data: Path):
    (tmp_path / "empty").mkdir()
    done = start(ROOT / "examples" / "mlp.py", tmp_path, data, "--quick", "--data", "empty")
    assert "empty: expected the files train-images" in error_of(done, ABSENT)
