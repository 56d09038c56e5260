"""One engine in a process of its own: reads rows as JSON lines, works on each in a forked child, and answers.

The child starts with the library imported and nothing else, so no row sees the caches, threads or memory of another, a
row that crashes or hangs costs only itself, and the peak of the resident memory belongs to the row.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import statistics
import sys
import time
import traceback
from typing import Any

import numpy as np

from .models import Work
from .rows import BY_KEY, Row

WARM_UP_SECONDS = 0.05
MOST_STEPS = 2000
# engines whose library can be imported before the fork; the others start threads at import
FORKABLE = {"fastdl": "fastdl", "torch": "torch", "compile": "torch", "numpy": "numpy"}


class Missing(Exception):
    """The engine has no such row."""


def make(engine: str, row: Row, threads: int, drop: float) -> Work:
    """The work of a row with one engine."""
    if engine in ("fastdl", "torch", "compile"):
        lib = importlib.import_module("fastdl" if engine == "fastdl" else "torch")
        lib.set_num_threads(threads)
        lib.manual_seed(0)
        work = row.make(lib, drop)
        if engine == "compile":
            work.forward = lib.compile(work.forward)
        return work
    if engine == "jax" and hasattr(os, "sched_setaffinity"):  # XLA takes as many threads as it may have processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    table = importlib.import_module(f".{engine}_rows", __package__).TABLE
    if row.key not in table:
        raise Missing("not written")
    return table[row.key](drop, threads)


# Comparing -------------------------------------------------------------------------------------------------------


def digest(value: Any, seed: int) -> list[float]:
    """[norm, product with a random vector] of an array: enough to see whether two are the same."""
    x = np.asarray(value.detach() if hasattr(value, "detach") else value, dtype=np.float64).reshape(-1)
    sketch = np.random.default_rng(seed).random(x.size, dtype=np.float32)
    return [float(np.sqrt(x @ x)), float(x @ sketch)]


def check(work: Work) -> dict[str, Any]:
    """The digests of what a step gives and of the gradients behind it."""
    value = digest(work.step(), 0)
    return {"value": value, "gradients": [digest(leaf.grad, i) for i, leaf in enumerate(work.leaves)]}


# Timing ----------------------------------------------------------------------------------------------------------


def memory(field: str) -> int:
    """Bytes, a line of /proc/self/status; 0 where there is none."""
    try:
        with open("/proc/self/status") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)
    except OSError:
        return 0


def settle_memory() -> None:
    """Gives back what is free, and starts the peak anew."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except (OSError, AttributeError):
        pass


def measure(work: Work, seconds: float, least: int, before: int) -> dict[str, Any]:
    """Best and median of a step, and the peak of memory beyond `before`, code not counted."""
    settle_memory()
    begin = time.perf_counter()
    work.step()
    while time.perf_counter() - begin < WARM_UP_SECONDS:
        work.step()
    times: list[float] = []
    begin = start = time.perf_counter()
    while len(times) < least or (start - begin < seconds and len(times) < MOST_STEPS):
        work.step()
        end = time.perf_counter()
        times.append(end - start)
        start = end
    peak = memory("VmHWM") - memory("RssFile") - before
    return {"best": min(times), "median": statistics.median(times), "steps": len(times), "bytes": max(peak, 0)}


def start_library(engine: str, threads: int) -> None:
    """One small training step: what a library loads or sets up once belongs to no row."""
    if engine == "fastdl" or engine == "torch":
        lib = importlib.import_module(engine)
        lib.set_num_threads(threads)
        layer = lib.nn.Linear(256, 256)
        optimizer = lib.optim.SGD(layer.parameters(), lr=0.1)
        layer(lib.ones(256, 256)).sum().backward()
        optimizer.step()
        del layer, optimizer
        if engine == "fastdl":
            lib.memory.empty_cache()
        settle_memory()


# Process ---------------------------------------------------------------------------------------------------------


def answer(engine: str, threads: int, request: dict[str, Any]) -> dict[str, Any]:
    try:
        start_library(engine, threads)
        before = memory("RssAnon")
        work = make(engine, BY_KEY[request["row"]], threads, 0.0 if request["check"] else 1.0)
        if request["check"]:
            return {"status": "ok", **check(work)}
        return {"status": "ok", **measure(work, request["seconds"], request["least"], before)}
    except (Missing, AttributeError, NotImplementedError, ImportError) as error:
        return {"status": "missing", "why": str(error)}
    except Exception as error:
        traceback.print_exc(limit=-3, chain=False)
        return {"status": "failed", "why": " ".join(f"{type(error).__name__}: {error}".split("\n")[:2])[:200]}


def in_child(engine: str, threads: int, request: dict[str, Any]) -> dict[str, Any]:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # what libraries print is no answer
        with os.fdopen(writable, "w") as file:
            json.dump(answer(engine, threads, request), file)
        os._exit(0)
    os.close(writable)
    text, end = b"", time.monotonic() + request["timeout"]
    with os.fdopen(readable, "rb", buffering=0) as pipe:
        while True:
            if not select.select([pipe], [], [], max(0, end - time.monotonic()))[0]:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return {"status": "failed", "why": f"no answer within {request['timeout']:g} s"}
            piece = pipe.read(65536)
            if not piece:
                break
            text += piece
    _, status = os.waitpid(child, 0)
    if status:
        return {"status": "failed", "why": f"ended with status {status}"}
    return json.loads(text)


def main() -> None:
    engine, threads = sys.argv[1], int(sys.argv[2])
    if engine in FORKABLE:
        lib = importlib.import_module(FORKABLE[engine])
        if engine != "numpy":
            lib.optim.SGD(lib.nn.Linear(1, 1).parameters(), lr=0.1)  # imports what waits for its first use
    print(json.dumps({"status": "ready"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(in_child(engine, threads, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
