"""The case table: one list of cases per op drives the value, gradient, ISA, thread and error tests and the benchmarks.

A file `tests/cases/<op>.py` holds CASES and, where there are errors to test, ERRORS. References are NumPy in float64,
independent of fastdl; data is random and asymmetric, sizes are pairwise distinct.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

# around each vector width (2, 4, 8, 16 lanes), the 16 virtual lanes, and empty
EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)


@dataclass
class Case:
    """One operator with one kind of input.

    Args:
        name: unique; shown in the test id.
        op: called with the inputs in their order, tensors for arrays; returns a tensor or a tuple of tensors.
        reference: the same on float64 arrays.
        inputs: inputs(rng, *shape) -> dict of float64 or integer arrays and plain values.
        shapes: arguments for `inputs`; each is a test. Put edge sizes and both sides of every threshold here.
        wrt: names of the inputs to differentiate.
        rtol, atol: for float32 against the float64 reference; say why where they are not the default.
        rtol64: for float64 against the reference.
        grad_shapes: as `shapes`, for the gradient tests; default: those with at most 4096 elements.
        exact_across_isas: AVX2 equals AVX-512 bit for bit; always true for kernels.
    """

    name: str
    op: Callable
    reference: Callable
    inputs: Callable
    shapes: Sequence[tuple] = ((5, 7),)
    wrt: Sequence[str] = ()
    rtol: float = 2e-6
    atol: float = 1e-6
    rtol64: float = 1e-12
    atol64: float = 1e-12
    grad_rtol: float = 1e-5
    grad_shapes: Sequence[tuple] | None = None
    exact_across_isas: bool = True

    def arrays(self, shape: tuple, seed: int = 0) -> dict:
        """The inputs for one shape, the same in every test."""
        return self.inputs(np.random.default_rng([seed, *map(ord, self.name)]), *shape)


@dataclass
class Error:
    """A typical mistake: calling `call()` raises `error` with a message that matches `text` (a regular expression)."""

    name: str
    call: Callable
    error: type[BaseException] | tuple
    text: str


@dataclass
class Table:
    """All cases and errors of tests/cases."""

    cases: list[Case] = field(default_factory=list)
    errors: list[Error] = field(default_factory=list)


def load() -> Table:
    """Reads every module of this package."""
    table = Table()
    for module in pkgutil.iter_modules(__path__):
        found = importlib.import_module(f"{__name__}.{module.name}")
        table.cases += getattr(found, "CASES", [])
        table.errors += getattr(found, "ERRORS", [])
    names = [c.name for c in table.cases]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
    return table


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers that float32 holds exactly, so that both precisions see the same input."""
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def uniform(rng: np.random.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Uniform numbers in [low, high) that float32 holds exactly."""
    return rng.uniform(low, high, shape).astype(np.float32).astype(np.float64)


def integers(rng: np.random.Generator, *shape: int, below: int) -> np.ndarray:
    """Whole numbers in [0, below)."""
    return rng.integers(0, below, shape)
