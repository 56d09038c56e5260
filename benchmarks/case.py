"""What is timed: one piece of work done twice, with fastdl and with NumPy, and the check that both agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

PROVIDERS = ["fastdl", "numpy"]


class Case(NamedTuple):
    """The same work twice.

    name: also the group of the benchmark.
    make: gives two functions without arguments, fastdl's and NumPy's; both return an array or a tuple of arrays
        (numbers and tensors count as arrays), which must agree.
    flops, bytes: of one call, where they say something.
    rtol, atol: how far the results may lie apart; atol is relative to the largest element.
    """

    name: str
    make: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]]
    flops: int | None = None
    bytes: int | None = None
    rtol: float = 1e-5
    atol: float = 1e-6


def arrays(result: Any) -> list[np.ndarray]:
    """All parts of a result, as arrays."""
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in arrays(part)]
    return [np.asarray(result.detach() if hasattr(result, "detach") else result)]


def check(case: Case, ours: Any, theirs: Any) -> None:
    """Fails unless both results have the same parts, shapes and, within the tolerance of the case, values."""
    left, right = arrays(ours), arrays(theirs)
    assert len(left) == len(right), f"{case.name}: {len(left)} results against {len(right)}"
    for i, (a, b) in enumerate(zip(left, right)):
        assert a.shape == b.shape, f"{case.name}: result {i} has shape {a.shape} against {b.shape}"
        scale = float(np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, rtol=case.rtol, atol=case.atol * scale, err_msg=f"{case.name}: result {i}")


def cases(make: list[Case]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrises a benchmark over cases and providers."""
    one = pytest.mark.parametrize("provider", PROVIDERS)
    other = pytest.mark.parametrize("case", make, ids=[case.name for case in make])
    return lambda function: other(one(function))
