"""The demo as a user runs it: a process, its output, its files, its errors."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastdl

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "examples" / "train_timemachine.py"
CHECKPOINT = "timemachine.safetensors"
RHYME = "Twinkle, twinkle, little star, how I wonder what you are!\nUp above the world so high...\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder for FASTDL_DATA, so that no test asks the network for the novel."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "timemachine.txt").write_text(RHYME * 60)
    return folder


@pytest.fixture
def environment(data):
    return {**os.environ, "FASTDL_DATA": str(data), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def demo(environment, tmp_path):
    def run(*arguments, code=0):
        done = subprocess.run([sys.executable, str(PROGRAM), *map(str, arguments)], env=environment, cwd=tmp_path,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def error_of(done):
    """The one line that says what was wrong."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("train_timemachine: error: ")


def test_quick_run_does_all_of_it(demo, tmp_path, data):
    done = demo("--quick", "--threads", 2)
    assert f"text: {data / 'timemachine.txt'}" in done.stdout
    assert re.search(r"perplexity [\d.]+ after 6 epochs; [\d.]+ s, [\d,]+ tokens/s, 2 threads", done.stdout)
    assert re.search(r"written by the model: time traveller.{60}\n", done.stdout)
    assert re.search(r"same loss and gradients:\n  fastdl [\d.]+ ms, plain NumPy [\d.]+ ms: [\d.]+ times", done.stdout)
    assert "6/6" in done.stderr and "tokens/s" in done.stderr
    checkpoint = fastdl.load(tmp_path / "out" / CHECKPOINT)
    assert len(checkpoint["perplexities"]) == 6 and checkpoint["perplexities"][-1] < checkpoint["perplexities"][0]
    picture = tmp_path / "out" / "timemachine.png"
    if f"training curve: {Path('out') / 'timemachine.png'}" in done.stdout:
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000
    else:
        assert "matplotlib is not installed" in done.stdout


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_a_resumed_run_equals_the_uninterrupted_one(demo, tmp_path, sampling):
    common = ("--quick", "--sampling", sampling)
    demo(*common, "--epochs", 7, "--out", tmp_path / "whole")
    demo(*common, "--epochs", 3, "--out", tmp_path / "parts")
    demo("--quick", "--epochs", 7, "--out", tmp_path / "parts", "--resume", "--threads", 1)
    whole, parts = (fastdl.load(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert whole["perplexities"] == parts["perplexities"] and len(whole["perplexities"]) == 7
    assert whole["settings"] == parts["settings"] and whole["vocab"] == parts["vocab"]
    for name, value in whole["model"].items():
        np.testing.assert_array_equal(value.numpy(), parts["model"][name].numpy(), err_msg=name)


def test_the_seed_decides(demo, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        demo("--quick", "--epochs", 2, "--seed", seed, "--out", tmp_path / name)
    a, b, c = (fastdl.load(tmp_path / name / CHECKPOINT)["perplexities"] for name in "abc")
    assert a == b != c


def test_ctrl_c_leaves_a_checkpoint(environment, tmp_path):
    with subprocess.Popen([sys.executable, str(PROGRAM), "--quick", "--epochs", "1000000"], env=environment,
                          cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:  # training begins after the line about the text
            if "vocabulary of" in line:
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped; go on with --resume" in out and "Traceback" not in err
    checkpoint = fastdl.load(tmp_path / "out" / CHECKPOINT)
    assert 0 < len(checkpoint["perplexities"]) < 1000000


def test_help_is_short_and_complete(demo):
    text = demo("--help").stdout
    options = "--epochs --hidden --tokens --sampling --seed --text --threads --out --resume --quick"
    assert [option for option in options.split() if option not in text] == []


@pytest.mark.parametrize("content, message", [
    (b"", r"empty\.txt: no text in it \(0 bytes\)"),
    (b"12 34\n56\n", r"empty\.txt: \[load_corpus\] no char tokens in 2 lines"),
    (b"too short", r"corpus of 9 tokens is too short: batch_size 32 x num_steps 35 needs 1121"),
    (b"fianc\xe9e", r"empty\.txt: not UTF-8 text: byte 0xe9 at position 5, line 1"),
])
def test_unusable_texts(demo, tmp_path, content, message):
    (tmp_path / "empty.txt").write_bytes(content)
    assert re.search(message, error_of(demo("--text", "empty.txt", code=1)))
    assert not (tmp_path / "out").exists()


def test_a_missing_text(demo):
    assert "nowhere.txt" in error_of(demo("--text", "nowhere.txt", code=3))


@pytest.mark.parametrize("arguments, message", [
    (("--epochs", 0), "--epochs: expected at least 1, got 0"),
    (("--hidden", "many"), "--hidden: invalid"),
    (("--sampling", "other"), "--sampling: invalid choice"),
])
def test_unusable_arguments(demo, arguments, message):
    assert message in demo(*arguments, code=2).stderr


def test_unusable_checkpoints(demo, tmp_path):
    assert "nowhere" in error_of(demo("--resume", "nowhere", code=3))
    assert CHECKPOINT in error_of(demo("--resume", code=3))
    demo("--quick", "--epochs", 1)
    path = tmp_path / "out" / CHECKPOINT
    whole = path.read_bytes()

    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert CHECKPOINT in error_of(demo("--quick", "--resume", code=1)), f"cut off after {size} bytes"
    path.write_bytes(b"something else entirely\n" * 100)
    assert CHECKPOINT in error_of(demo("--quick", "--resume", code=1))
    fastdl.save({"weights": fastdl.ones(3)}, path)
    assert "not a checkpoint of this program" in error_of(demo("--resume", code=1))

    path.write_bytes(whole)
    assert "--hidden 32, not 64" in error_of(demo("--resume", "--hidden", 64, code=1))
    (tmp_path / "other.txt").write_text("abc " * 2000)
    assert re.search(r"another vocabulary \(\d+ tokens\) than other.txt \(5 tokens\)",
                     error_of(demo("--resume", "--text", "other.txt", code=1)))
    demo("--resume", "--quick", "--epochs", 2)


def test_a_folder_that_cannot_be_made(demo, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in error_of(demo("--quick", "--out", "file", code=1))
