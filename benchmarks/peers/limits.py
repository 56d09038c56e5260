"""What this machine can do at most, measured by limits.c, and the least time of a row that follows.

Without a C compiler fastdl's own product of two 2048 x 2048 matrices and NumPy's copy stand for the machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .costs import Cost

SOURCE = Path(__file__).with_name("limits.c")
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-lpthread"]


@dataclass
class Limits:
    """flops per second; [bytes of the working set, bytes per second], rising, for reading and for copying."""

    flops: float
    source: str
    read: list[list[float]] = field(default_factory=list)
    copy: list[list[float]] = field(default_factory=list)

    def seconds(self, cost: Cost) -> float:
        """What a piece of work takes at least: its arithmetic or its traffic, whatever takes longer."""
        return max(self.arithmetic(cost), self.traffic(cost))

    def arithmetic(self, cost: Cost) -> float:
        return cost.flops / self.flops

    def traffic(self, cost: Cost) -> float:
        read, copy = rate_at(self.read, cost.data), rate_at(self.copy, cost.data)
        # a copy reads one byte and writes one in 2 / copy seconds; reading alone takes 1 / read
        write = max(2 / copy - 1 / read, 0)
        return cost.read / read + cost.write * write

    def best(self, other: Limits) -> Limits:
        """The higher of each rate: a machine that is busy for a moment has no lower limit."""
        def higher(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
            return [[size, max(rate, more)] for (size, rate), (_, more) in zip(a, b)]

        return Limits(max(self.flops, other.flops), self.source, higher(self.read, other.read),
                      higher(self.copy, other.copy))


def rate_at(table: list[list[float]], data: float) -> float:
    """The rate of the largest measured working set not larger than `data`: it may be too high, not too low."""
    return max((entry for entry in table if entry[0] <= data), default=table[0])[1]


def merge(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The best of two sets of limits, {threads: fields of Limits}, as they stand in the JSON."""
    both = {threads: Limits(**ours[threads]).best(Limits(**theirs[threads])) for threads in ours.keys() & theirs.keys()}
    return {**ours, **theirs, **{threads: asdict(limits) for threads, limits in both.items()}}


def measure_all(threads: list[int]) -> dict[str, Any]:
    return {str(n): asdict(measure(n)) for n in threads}


def measure(threads: int) -> Limits:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "limits"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        try:
            subprocess.run([*compiler, str(SOURCE), *FLAGS, "-o", str(program)], check=True, capture_output=True)
            lines = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return measure_without_compiler(threads)
    limits = Limits(0, "multiply-adds in registers, streams through memory (limits.c)")
    for kind, *numbers in map(str.split, lines.splitlines()):
        if kind == "flops":
            limits.flops = float(numbers[0])
        else:
            getattr(limits, kind).append([float(n) for n in numbers])
    return limits


def measure_without_compiler(threads: int) -> Limits:
    import fastdl

    before, n = fastdl.get_num_threads(), 2048
    fastdl.set_num_threads(threads)
    a = fastdl.ones(n, n)
    flops = 2 * n**3 / best_seconds(lambda: a @ a)
    fastdl.set_num_threads(before)
    limits = Limits(flops, "no C compiler: fastdl's matrix product and NumPy's copy on one thread")
    for size in (1 << 18, 1 << 22, 1 << 28):
        x, y = np.ones((2, size // 8), np.float32)
        rate = size / best_seconds(lambda x=x, y=y: np.copyto(y, x))
        limits.read.append([size, rate])
        limits.copy.append([size, rate])
    return limits


def best_seconds(run: Callable[[], Any], tries: int = 5) -> float:
    times = []
    for _ in range(tries):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
