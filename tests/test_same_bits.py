"""One training of each family of models has one result: for all threads, ISAs and repetitions, and after a resume."""

from __future__ import annotations

import json

import pytest

import fastdl
from fastdl import _kernels
from tests import families
from tests.process import DEEP, run

STEPS = 200 if DEEP > 1 else 3
FMA = [name for name, usable in _kernels.isas() if usable and name != "base"] or ["base"]
THREADS = [1, 2, 3, 4, 8] if DEEP > 1 else [1, 3]
SETTINGS = [(isa, n) for isa in FMA for n in THREADS if isa == FMA[0] or n in (1, 3)]
SETTINGS = SETTINGS if DEEP > 1 else SETTINGS[:: max(len(SETTINGS) - 1, 1)]  # the first and the last


@pytest.fixture(autouse=True)
def same_settings_after():
    isa, why, threads = _kernels.isa(), _kernels.isa_why(), fastdl.get_num_threads()
    yield
    _kernels.set_isa(isa, why)
    fastdl.set_num_threads(threads)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_threads_isas_and_a_resume_change_no_bit(name: str, tmp_path):
    hashes = {}
    for isa, threads in SETTINGS:
        _kernels.set_isa(isa)
        fastdl.set_num_threads(threads)
        hashes[isa, threads] = families.digests(STEPS, [name])[name]
    assert len(set(hashes.values())) == 1, hashes

    second, first = families.Run(name, seed=99), families.Run(name)
    for i in range(STEPS // 2):
        first.step(i)
    fastdl.save(first.state(), tmp_path / "checkpoint")
    second.step(0)
    second.restore(fastdl.load(tmp_path / "checkpoint"))
    for i in range(STEPS // 2, STEPS):
        second.step(i)
    assert second.digest() == next(iter(hashes.values())) != first.digest()


@pytest.mark.skipif(DEEP == 1, reason="a minute")
def test_another_process_finds_the_same():
    code = "import json; from tests import families; print(json.dumps(families.digests(60)))"
    assert json.loads(run(code, timeout=600)) == families.digests(60)
