"""Calls of tests/torch_calls.py: what fastdl gets, against PyTorch's stored results."""

import numpy as np
import pytest

import fastdl
from tests import torch_calls

with np.load(torch_calls.FILE) as _stored:
    _ends = np.cumsum(_stored["sizes"])
    STORED = {key: (str(line), numbers) for key, line, numbers in zip(
        _stored["keys"], _stored["lines"], np.split(_stored["numbers"], _ends[:-1]))}

# float32: in parts of the largest number; a sum of some hundred terms at most
TOLERANCE = {fastdl.float32: 1e-5, fastdl.float64: 1e-11}


@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("call", [call for calls in torch_calls.CALLS.values() for call in calls])
def test_call_gives_what_torch_gives(call, dtype):
    lines, numbers = STORED[call]
    got_line, got = torch_calls.run(fastdl, call, dtype)
    line = lines.split("; ")[dtype is fastdl.float64]
    assert got_line == line
    tolerance = TOLERANCE[fastdl.float32 if "float32" in line else dtype]
    finite = np.abs(numbers[np.isfinite(numbers)])
    scale = max(1.0, finite.max(initial=0.0))
    np.testing.assert_allclose(got, numbers, rtol=tolerance, atol=tolerance * scale)
