"""Times the cases, and writes into the JSON what machine they were timed on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if threads := os.environ.get("FASTDL_NUM_THREADS"):  # NumPy gets as many; BLAS libraries read this at import
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, threads)

import numpy as np
import pytest

import fastdl
from benchmarks.case import Case, check
from fastdl import _kernels

PAUSE_SECONDS = 0.02  # the threads of the provider before go to sleep


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def description() -> dict[str, Any]:
    return {"cpu": cpu_name(), "isa": _kernels.isa(), "threads": fastdl.get_num_threads(),
            "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"), "numpy": np.__version__,
            "fastdl": fastdl.__version__}


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info["fastdl"] = description()


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Prints, for each file, the geometric mean of NumPy's median divided by fastdl's."""
    medians: dict[str, dict[str, dict[str, float]]] = {}
    for entry in output_json["benchmarks"]:
        groups = medians.setdefault(entry["fullname"].split("::")[0], {})
        groups.setdefault(entry["group"], {})[entry["extra_info"]["provider"]] = entry["stats"]["median"]
    for file, groups in medians.items():
        ratios = [both["numpy"] / both["fastdl"] for both in groups.values() if len(both) == 2]
        if ratios:
            print(f"\n{file}: NumPy / fastdl {statistics.geometric_mean(ratios):.2f}, geometric mean of {len(ratios)}")


def pytest_report_header() -> str:
    return "benchmark: " + ", ".join(f"{key} {value}" for key, value in description().items())


@pytest.fixture
def measure(benchmark: Any) -> Callable[[Case, str], None]:
    """Checks a case, then times one provider's side of it."""

    def measure(case: Case, provider: str) -> None:
        ours, theirs = case.make()
        check(case, ours(), theirs())
        run = ours if provider == "fastdl" else theirs
        benchmark.group = case.name
        benchmark.extra_info.update(description(), provider=provider, flops=case.flops, bytes=case.bytes)
        time.sleep(PAUSE_SECONDS)
        benchmark.pedantic(run, **plan(run)) if benchmark.enabled else benchmark(run)

    return measure


def plan(run: Callable[[], Any], seconds: float = 0.4, rounds: int = 40) -> dict[str, int]:
    """How often to call, so that a benchmark takes about `seconds` whatever the call costs."""
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds / 8:
        run()
        calls += 1
    once = (time.perf_counter() - begin) / calls
    iterations = max(1, int(seconds / rounds / once))
    return {"rounds": max(5, min(rounds, int(seconds / (iterations * once)))), "iterations": iterations,
            "warmup_rounds": 1}
