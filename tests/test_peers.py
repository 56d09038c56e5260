"""The benchmark beside other libraries: that it runs, and that it sees a wrong result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers import costs, models, report
from benchmarks.peers.limits import Limits
from benchmarks.peers.rows import BY_KEY, ROWS
from benchmarks.peers.worker import digest
from tests.process import PACKAGES, ROOT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="rows are timed in forked children")
def test_two_rows_from_the_process_to_the_page(tmp_path: Path):
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--quick", "--seconds", "0.01", "--no-limits", "--engines", "fastdl",
         "--rows", "^(linreg|rnn-inference)$", "--json", figures, "--report", page],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": PACKAGES}, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())["rows"]
    assert set(rows) == {"linreg", "rnn-inference"}
    for row in rows.values():
        (entry,) = row["fastdl"].values()
        assert entry["status"] == "ok" and 0 < entry["best"] <= entry["median"]
    assert "linear regression" in done.stdout and "linear regression" in page.read_text()
    assert page.with_suffix(".png").stat().st_size > 1000


def answer(value: float = 1.0, gradient: Any = (3.0, 4.0)) -> dict[str, Any]:
    return {"status": "ok", "value": digest(value, 0), "gradients": [digest(np.array(gradient), 0)]}


def test_different_results_and_gradients_are_seen():
    assert peers.compare({"torch": answer(), "fastdl": answer(1 + 1e-5, (3.0, 4.0 + 1e-5))}) == {}
    assert "result" in peers.compare({"torch": answer(), "fastdl": answer(1.001)})["fastdl"]
    assert "result" in peers.compare({"torch": answer(), "fastdl": answer(float("nan"))})["fastdl"]
    assert "gradient 0" in peers.compare({"torch": answer(), "fastdl": answer(gradient=(4.0, 3.0))})["fastdl"]
    assert "gradient 0" in peers.compare({"fastdl": answer(gradient=(3.0, 4.1)), "torch": answer()})["fastdl"]
    assert peers.compare({"torch": {"status": "missing"}, "fastdl": answer()}) == {}


def test_every_row_has_a_name_of_its_own_and_a_cost():
    assert len({row.name for row in ROWS}) == len(BY_KEY) == len(ROWS)
    assert all(row.cost.flops > 0 for row in ROWS)


def test_the_limit_is_arithmetic_or_memory():
    limits = Limits(1e9, "", read=[[1e3, 8e9], [1e6, 2e9]], copy=[[1e3, 8e9], [1e6, 2e9]])
    assert limits.seconds(costs.Cost(flops=2e9, read=8, write=8, data=16)) == 2
    assert limits.seconds(costs.Cost(flops=1, read=4e9, write=0, data=1e6)) == pytest.approx(2)
    assert limits.seconds(costs.Cost(flops=1, read=4e9, write=4e9, data=1e6)) == pytest.approx(4)  # a copy
    assert limits.seconds(costs.Cost(flops=1, read=4e9, write=0, data=1e5)) == pytest.approx(0.5)  # from the cache


def test_costs_count_products():
    layer = costs.linear(3, 5, 7)
    assert layer.flops == 3 * 2 * 3 * 5 * 7
    assert layer.read == 4 * (2 * 5 * 7 + 2 * 3 * 5 + 3 * 7) and layer.write == 4 * (5 * 7 + 3 * 7 + 3 * 5)
    assert costs.linear(3, 5, 7, first=True).flops == 2 * 2 * 3 * 5 * 7


def test_runs_are_merged():
    def run(key: str, engine: str) -> dict[str, Any]:
        return {"command": key, "engines": [engine], "threads": [1], "versions": {engine: "1"}, "limits": {},
                "rows": {key: {engine: {"1": {"status": "ok", "median": 1.0}}}}}

    merged = report.merge([run("linreg", "fastdl"), run("linreg", "torch"), run("mlp", "torch")])
    assert set(merged["rows"]["linreg"]) == {"fastdl", "torch"} and set(merged["rows"]["mlp"]) == {"torch"}
    assert merged["engines"] == ["fastdl", "torch"]


def test_the_same_weights_for_every_library():
    shapes = [("a.weight", (3, 4)), ("norm.weight", (50,)), ("norm.bias", (50,))]
    first, second = models.weights(shapes), models.weights(shapes)
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert np.abs(first[0]).max() <= 0.5 and abs(first[1].mean() - 1) < 0.1 and abs(first[2].mean()) < 0.1
