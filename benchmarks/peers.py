"""Times training steps of fastdl beside PyTorch (and NumPy), each in processes of its own, in turns.

Two engines in one process would compete with their threads. So this program starts itself as a worker, once per
engine, thread count and round, and prints the medians; the loss of each first step must agree.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VOCAB, BATCH, STEPS, HIDDEN = 28, 32, 35, 256
ENGINES = ["fastdl", "torch", "numpy"]
THREAD_VARIABLES = ("FASTDL_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS")


def fill(model: Any, lib: Any) -> None:
    """The same weights for every engine."""
    import numpy as np

    rng = np.random.RandomState(0)
    with lib.no_grad():
        for p in model.parameters():
            bound = p.shape[-1] ** -0.5
            p.copy_(lib.tensor(rng.uniform(-bound, bound, tuple(p.shape)).astype(np.float32)))


def char_step(lib: Any, cell: str) -> Callable[[], float]:
    """One step of a character model: forward, cross-entropy, backward, clip, SGD."""
    import numpy as np

    nn = lib.nn
    rnn, linear = getattr(nn, cell)(VOCAB, HIDDEN), nn.Linear(HIDDEN, VOCAB)
    model = nn.ModuleList([rnn, linear])
    fill(model, lib)
    parameters = list(model.parameters())
    optimizer = lib.optim.SGD(parameters, lr=1e-3)
    tokens = np.random.RandomState(1).randint(VOCAB, size=(BATCH, STEPS + 1)).astype(np.int64)
    x, y = lib.tensor(tokens[:, :-1].copy()), lib.tensor(tokens[:, 1:].copy())

    def step() -> float:
        inputs = nn.functional.one_hot(x.T, VOCAB).to(lib.float32)
        outputs, _ = rnn(inputs)
        loss = nn.functional.cross_entropy(linear(outputs.reshape(-1, HIDDEN)), y.T.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.item()

    return step


def mlp_step(lib: Any, batch: int) -> Callable[[], float]:
    import numpy as np

    nn = lib.nn
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    fill(model, lib)
    optimizer = lib.optim.SGD(model.parameters(), lr=1e-3)
    rng = np.random.RandomState(1)
    x = lib.tensor(rng.normal(size=(batch, 784)).astype(np.float32))
    y = lib.tensor(rng.randint(10, size=batch).astype(np.int64))

    def step() -> float:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def small_add(lib: Any) -> Callable[[], float]:
    """1000 recorded additions of 8 floats."""
    x = lib.tensor([1.0] * 8, requires_grad=True)
    y = lib.tensor([2.0] * 8)

    def step() -> float:
        for _ in range(1000):
            z = x + y
        return z[0].item()

    return step


def numpy_char_step(cell: str) -> Callable[[], float]:
    import numpy as np
    import numpy_baseline as nb

    gates, rng = nb.GATES[cell.lower()], np.random.RandomState(0)
    params = {}
    for name, shape in (("w_ih", (gates * HIDDEN, VOCAB)), ("w_hh", (gates * HIDDEN, HIDDEN)),
                        ("b_ih", (gates * HIDDEN,)), ("b_hh", (gates * HIDDEN,)),
                        ("w_out", (VOCAB, HIDDEN)), ("b_out", (VOCAB,))):
        bound = shape[-1] ** -0.5
        params[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    model = nb.CharModel(cell.lower(), params)
    tokens = np.random.RandomState(1).randint(VOCAB, size=(BATCH, STEPS + 1)).astype(np.int64)
    x, y = tokens[:, :-1].copy(), tokens[:, 1:].copy()
    zeros = (np.zeros((BATCH, HIDDEN), np.float32),) * 2
    return lambda: model.step(x, y, zeros, 1e-3, 1.0)[0]


def numpy_mlp_step(batch: int) -> Callable[[], float]:
    import numpy as np
    import numpy_baseline as nb

    rng = np.random.RandomState(0)
    params = {}
    for name, shape in (("w1", (256, 784)), ("b1", (256,)), ("w2", (10, 256)), ("b2", (10,))):
        bound = shape[-1] ** -0.5
        params[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    model, rng = nb.MLP(params), np.random.RandomState(1)
    x, y = rng.normal(size=(batch, 784)).astype(np.float32), rng.randint(10, size=batch)
    return lambda: model.step(x, y, 1e-3)


CASES: dict[str, tuple[Callable[[Any], Callable[[], float]], Callable[[], Callable[[], float]] | None]] = {
    "char GRU step": (lambda lib: char_step(lib, "GRU"), lambda: numpy_char_step("GRU")),
    "char LSTM step": (lambda lib: char_step(lib, "LSTM"), lambda: numpy_char_step("LSTM")),
    "char RNN step": (lambda lib: char_step(lib, "RNN"), lambda: numpy_char_step("RNN")),
    "MLP step, batch 256": (lambda lib: mlp_step(lib, 256), lambda: numpy_mlp_step(256)),
    "MLP step, batch 32": (lambda lib: mlp_step(lib, 32), lambda: numpy_mlp_step(32)),
    "1000 adds of 8 floats": (small_add, None),
}


def work(engine: str, threads: int, seconds: float) -> None:
    """Times all cases with one engine in this process; prints {case: [first loss, median seconds]}."""
    result = {}
    if engine != "numpy":
        lib = importlib.import_module(engine)
        lib.set_num_threads(threads)
    for name, (make, make_numpy) in CASES.items():
        if engine == "numpy" and make_numpy is None:
            continue
        step = make_numpy() if engine == "numpy" and make_numpy else make(lib)
        first, times, begin = step(), [], time.perf_counter()
        while time.perf_counter() - begin < seconds or len(times) < 5:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        result[name] = [first, statistics.median(times[len(times) // 5:])]
    print(json.dumps(result))


def start_worker(engine: str, threads: int, options: argparse.Namespace) -> dict[str, list[float]]:
    here = Path(__file__).resolve()
    path = os.pathsep.join(filter(None, [str(here.parent.parent), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": path}
    python = options.torch_python if engine == "torch" else sys.executable
    done = subprocess.run([python, str(here), "--worker", engine, "--threads", str(threads), "--seconds",
                           str(options.seconds)], env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, min(2, os.cpu_count() or 1)}))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--rounds", type=int, default=3, help="processes per engine")
    parser.add_argument("--seconds", type=float, default=0.3, help="per case and process")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch, if this one has not")
    parser.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.threads[0], options.seconds)
        return
    for threads in options.threads:
        runs: dict[str, list[dict[str, list[float]]]] = {engine: [] for engine in options.engines}
        for _ in range(options.rounds):
            for engine in options.engines:
                runs[engine].append(start_worker(engine, threads, options))
        print(f"\n{threads} thread{'s' * (threads > 1)}, medians in ms" +
              "".join(f"{engine:>12}" for engine in options.engines))
        for name in CASES:
            medians, losses = {}, []
            for engine, results in runs.items():
                if name in results[0]:
                    medians[engine] = statistics.median(r[name][1] for r in results) * 1e3
                    losses.append(results[0][name][0])
            if max(losses) - min(losses) > 1e-4 * abs(losses[0]):
                raise SystemExit(f"{name}: the first losses differ: {losses}")
            own = medians.get("fastdl")
            cells = [f"{medians[e]:12.3f}" if e in medians else " " * 12 for e in options.engines]
            ratios = [f"{medians[e] / own:.1f} x {e}" for e in medians if own and e != "fastdl"]
            print(f"{name:<26}{''.join(cells)}    {', '.join(ratios)}")


if __name__ == "__main__":
    main()
