"""Whole trainings: the losses of ten steps, the same bits for all threads and ISAs, and after a resume."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import _kernels
from tests import train_runs

ROOT = Path(__file__).resolve().parents[1]
STORED = json.loads((ROOT / "tests" / "data" / "losses.json").read_text())["losses"]
USABLE = [name for name, usable in _kernels.isas() if usable]
MODELS = sorted(train_runs.RUNS)

# Rounding errors of 1e-7 per operation grow along ten steps; the largest difference seen is 1.5e-6.
RTOL = {fastdl.float32: 1e-5, fastdl.float64: 1e-11}


def test_every_model_has_stored_losses():
    assert sorted(STORED) == MODELS
    assert all(len(losses) == 10 and losses[-1] < losses[0] for losses in STORED.values())


@pytest.mark.parametrize("dtype", RTOL, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_ten_steps_give_the_stored_losses(name, dtype):
    np.testing.assert_allclose(train_runs.losses(fastdl, name, 10, dtype), STORED[name], rtol=RTOL[dtype])


def in_process(code, isa, threads):
    """Runs code in a fresh process with this ISA and thread count; what it printed, as JSON."""
    env = {**os.environ, "FASTDL_ISA": isa, "FASTDL_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    code = "import json, fastdl\nfrom fastdl import _kernels\nfrom tests import train_runs\n" + code
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def weights_after_200_steps(isa, threads):
    code = "print(json.dumps([_kernels.isa(), fastdl.get_num_threads(), train_runs.digests(fastdl, 200)]))"
    *setting, weights = in_process(code, isa, threads)
    assert setting == [isa, threads]
    return weights


@pytest.fixture(scope="module")
def one_thread():
    return weights_after_200_steps(USABLE[0], 1)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_bit_of_the_weights(one_thread, threads):
    assert weights_after_200_steps(USABLE[0], threads) == one_thread


@pytest.mark.skipif(not {"avx512", "avx2"} <= set(USABLE), reason="needs both, to compare them")
def test_avx2_and_avx512_give_the_same_weights(one_thread):
    assert USABLE[0] == "avx512"
    assert weights_after_200_steps("avx2", 1) == one_thread


@pytest.mark.parametrize("isa", USABLE)
def test_each_isa_gives_the_stored_losses(isa):
    code = "print(json.dumps({m: train_runs.losses(fastdl, m, 10, fastdl.float32) for m in train_runs.RUNS}))"
    result = in_process(code, isa, 2)
    for name in MODELS:
        np.testing.assert_allclose(result[name], STORED[name], rtol=RTOL[fastdl.float32], err_msg=name)


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_run_equals_the_uninterrupted_one(name, tmp_path):
    make = train_runs.RUNS[name]
    whole, first, second = (make(fastdl, fastdl.float32) for _ in range(3))
    for i in range(20):
        whole.step(i)
    for i in range(10):
        first.step(i)
    path = tmp_path / "checkpoint.safetensors"
    fastdl.save({"model": first.model.state_dict(), "optimizer": first.optimizer.state_dict()}, path)
    loaded = fastdl.load(path)
    second.model.load_state_dict(loaded["model"])
    second.optimizer.load_state_dict(loaded["optimizer"])
    for i in range(10, 20):  # a pass over the tokens begins at step 10, so no state is carried over
        second.step(i)
    assert train_runs.digest(second) == train_runs.digest(whole) != train_runs.digest(first)
