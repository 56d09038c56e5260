"""Times fastdl beside its peers, row by row.

Each engine works in processes of its own. A round starts one per engine and number of threads, and goes through the
rows; in each row all engines have their turn at once, so that a change of the machine's pace meets all of them. Before
a row is timed, its results are compared. A second program on the machine spoils the figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from . import limits, report
from .rows import BY_KEY, ROWS, Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"  # a new one brings its figures to the READMEs
PACKAGES = {"fastdl": ["fastdl"], "torch": ["torch"], "compile": ["torch"], "jax": ["jax"], "numpy": ["numpy"],
            "onnx": ["onnxruntime", "onnx", "torch"]}
THREAD_VARIABLES = ("FASTDL_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS")
TOLERANCE = 1e-4  # of results and of gradients, relative to their norms
NEGLIGIBLE = 1e-3  # part of the norm of all gradients: smaller ones are compared as if they had this norm
DEFAULT = {"rounds": 3, "seconds": 0.25, "least": 3}
QUICK = {"rounds": 1, "seconds": 0.1, "least": 2}


class Worker:
    """An engine's process; see worker.py."""

    def __init__(self, engine: str, threads: int, timeout: float) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": path,
               "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self.timeout = timeout
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.peers.worker", engine, str(threads)],
                                        env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait(self) -> None:
        """Until it has imported its library: nothing is timed before."""
        self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended: {self.process.args}")
        return json.loads(line)

    def ask(self, row: str, check: bool, seconds: float = 0, least: int = 0) -> dict[str, Any]:
        assert self.process.stdin
        request = {"row": row, "check": check, "seconds": seconds, "least": least, "timeout": self.timeout}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.read()

    def close(self) -> None:
        self.process.communicate()


# Comparing -------------------------------------------------------------------------------------------------------


def difference(ours: list[float], theirs: list[float], least: float = 0.0) -> float:
    """Between two digests, relative to the norm, or to `least` where that is larger."""
    scale = max(ours[0], theirs[0], least)
    return max(abs(a - b) for a, b in zip(ours, theirs)) / scale if scale else 0.0


def compare(answers: dict[str, dict[str, Any]]) -> dict[str, str]:
    """{engine: what differs} from PyTorch's result, or from the first engine's; engines that agree do not appear."""
    working = {engine: answer for engine, answer in answers.items() if answer["status"] == "ok"}
    if not working:
        return {}
    base = "torch" if "torch" in working else next(iter(working))
    wrong = {}
    for engine, answer in working.items():
        far = difference(answer["value"], working[base]["value"])
        if not far <= TOLERANCE:
            wrong[engine] = f"result differs from {base}'s by {far:.1e}"
        # some gradients are rounding errors alone, such as those of the biases of keys
        least = NEGLIGIBLE * math.hypot(*(norm for norm, _ in working[base]["gradients"]))
        for i, (a, b) in enumerate(zip(answer["gradients"], working[base]["gradients"])):
            far = difference(a, b, least)
            if not far <= TOLERANCE:
                wrong.setdefault(engine, f"gradient {i} differs from {base}'s by {far:.1e}")
    return wrong


# Running ---------------------------------------------------------------------------------------------------------


def run(rows: list[Row], engines: list[str], threads: list[int], options: argparse.Namespace) -> dict[str, Any]:
    """{row: {engine: {threads: times, or why there are none}}}"""
    results: dict[str, Any] = {row.key: {engine: {} for engine in engines} for row in rows}
    for number in range(options.rounds):
        workers = {(engine, n): Worker(engine, n, options.timeout) for engine in engines for n in threads}
        for worker in workers.values():
            worker.wait()
        for i, row in enumerate(rows):
            print(f"round {number + 1} of {options.rounds}, row {i + 1} of {len(rows)}: {row.name}",
                  file=sys.stderr, flush=True)
            if number == 0:
                check_row(row, workers, engines, threads, results[row.key])
            for (engine, n), worker in workers.items():
                entry = results[row.key][engine][str(n)]
                if entry["status"] != "ok":
                    continue
                answer = worker.ask(row.key, False, options.seconds, options.least)
                if answer["status"] == "ok":
                    entry["runs"].append({k: answer[k] for k in ("best", "median", "steps", "bytes")})
                else:
                    entry.update(answer)
        for worker in workers.values():
            worker.close()
    for engine_results in results.values():
        for by_threads in engine_results.values():
            for entry in by_threads.values():
                if entry["status"] == "ok":
                    runs = entry["runs"]
                    entry["best"] = min(r["best"] for r in runs)
                    entry["median"] = statistics.median(r["median"] for r in runs)
                    entry["bytes"] = max(r["bytes"] for r in runs)
    return results


def check_row(row: Row, workers: dict[tuple[str, int], Worker], engines: list[str], threads: list[int],
              results: dict[str, Any]) -> None:
    """Compares the engines' results of a row, with the first number of threads."""
    answers = {engine: workers[engine, threads[0]].ask(row.key, True) for engine in engines}
    wrong = compare(answers)
    for engine, answer in answers.items():
        if engine in wrong:
            answer = {"status": "wrong", "why": wrong[engine]}
        if answer["status"] != "ok":
            print(f"  {engine}: {answer['status']}: {answer['why']}", file=sys.stderr)
        for n in threads:
            entry = {key: answer[key] for key in ("status", "why") if key in answer}
            results[engine][str(n)] = {**entry, "runs": []} if entry["status"] == "ok" else entry


def machine() -> dict[str, Any]:
    from fastdl import _info, _kernels

    return {"cpu": _info.cpu_model(), "cpus": os.cpu_count(), "isa": _kernels.isa(),
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d")}


def versions(engines: list[str]) -> dict[str, str]:
    names = sorted({name for engine in engines for name in PACKAGES[engine]})
    return {name: metadata.version(name) for name in names}


def main() -> None:
    options, begin = parse(), time.monotonic()
    if options.load:
        data = report.merge([json.loads(Path(name).read_text()) for name in options.load])
    else:
        rows = [row for row in ROWS if re.search(options.rows, row.key) or re.search(options.rows, row.name)]
        if not rows:
            raise SystemExit(f"no row matches {options.rows!r}; there are: {' '.join(BY_KEY)}")
        engines = []
        for engine in options.engines:
            absent = [name for name in PACKAGES[engine] if importlib.util.find_spec(name) is None]
            if absent:
                print(f"{engine}: left out, {', '.join(absent)} not installed (the extra `peers`)", file=sys.stderr)
            else:
                engines.append(engine)
        measured = {} if options.no_limits else limits.measure_all(options.threads)
        data = {"command": "python -m benchmarks.peers " + " ".join(sys.argv[1:]), "machine": machine(),
                "versions": versions(engines), "engines": engines, "threads": options.threads, "limits": measured,
                "rows": run(rows, engines, options.threads, options)}
        if measured:  # the machine may have been busy with other work at the start
            data["limits"] = limits.merge(measured, limits.measure_all(options.threads))
        print(f"{time.monotonic() - begin:.0f} s in all", file=sys.stderr)
    if options.json:
        write(options.json, json.dumps(data, indent=1) + "\n")
    for n in data["threads"]:
        print("\n".join(["", *report.table(data, n)]))
    print("\n".join(report.demands(data)))
    if options.plot:
        report.plot(data, options.plot)
    if options.report:
        picture = options.report.with_suffix(".png")
        write(options.report, report.markdown(data, picture.name))
        report.plot(data, picture)
        if options.report.resolve() == PAGE:
            for readme in ROOT.glob("README*.md"):
                readme.write_text(report.with_figures(readme.read_text(), PAGE.read_text()))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", default="", metavar="REGEX", help="rows whose key or name it matches")
    parser.add_argument("--engines", nargs="+", choices=list(PACKAGES), default=["fastdl", "torch"])
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, min(2, os.cpu_count() or 1)}))
    parser.add_argument("--quick", action="store_true", help="one round of few steps with the most threads only")
    parser.add_argument("--rounds", type=int, help="processes per engine and number of threads")
    parser.add_argument("--seconds", type=float, help="per row, engine and round")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one row of one engine")
    parser.add_argument("--no-limits", action="store_true", help="do not measure the machine")
    parser.add_argument("--load", nargs="+", metavar="JSON", help="earlier runs, merged: show them, run nothing")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--plot", type=Path, help="draw the picture there (.png, .svg)")
    parser.add_argument("--report", type=Path, help="write a page there (.md), and its picture beside it")
    options = parser.parse_args()
    defaults = QUICK if options.quick else DEFAULT
    options.rounds = options.rounds or defaults["rounds"]
    options.seconds = defaults["seconds"] if options.seconds is None else options.seconds
    options.least = defaults["least"]
    if options.quick:
        options.threads = [max(options.threads)]
    return options


if __name__ == "__main__":
    main()
