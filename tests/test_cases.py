"""Runs every case of tests/cases: values, gradients, ISAs, threads, errors."""

import contextlib

import numpy as np
import pytest

import fastdl
from fastdl import _kernels
from tests import cases

TABLE = cases.load()
PAIRS = [pytest.param(c, s, id=f"{c.name}-{'x'.join(map(str, s))}") for c in TABLE.cases for s in c.shapes]


def grad_shapes(case):
    if case.grad_shapes is not None:
        return case.grad_shapes
    return [s for s in case.shapes if np.prod([n for n in s if isinstance(n, int)] or [1]) <= 4096]


GRADIENTS = [
    pytest.param(c, s, id=f"{c.name}-{'x'.join(map(str, s))}") for c in TABLE.cases if c.wrt for s in grad_shapes(c)
]


def as_tensors(arrays, dtype, wrt=()):
    """Tensors for arrays (floating ones of type `dtype`); those named in `wrt` require grad."""
    out = {}
    for name, value in arrays.items():
        if isinstance(value, np.ndarray):
            t = fastdl.tensor(value)
            out[name] = t.to(dtype).requires_grad_(name in wrt) if value.dtype.kind == "f" else t
        elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            out[name] = [fastdl.tensor(v).to(dtype) for v in value]
        else:
            out[name] = value
    return out


def results(outputs):
    """The outputs as a list of arrays."""
    if not isinstance(outputs, (tuple, list)):
        outputs = [outputs]
    return [o.detach().numpy() if isinstance(o, fastdl.Tensor) else np.asarray(o) for o in outputs]


def run(case, arrays, dtype, rng=None):
    """Outputs, and with `rng` the gradients for random upstream gradients."""
    tensors = as_tensors(arrays, dtype, case.wrt if rng is not None else ())
    outputs = case.op(*tensors.values())
    values = results(outputs)
    if rng is None:
        return values, [], []
    tensor_outputs = [o for o in (outputs if isinstance(outputs, (tuple, list)) else [outputs]) if o.requires_grad]
    upstream = [cases.normal(rng, *o.shape) for o in tensor_outputs]
    fastdl.autograd.backward(tensor_outputs, [fastdl.tensor(u).to(dtype) for u in upstream])
    return values, [tensors[n].grad.numpy() for n in case.wrt], upstream


def assert_close(got, wanted, rtol, atol):
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted):
        w = np.asarray(w)
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=rtol, atol=atol)


@pytest.mark.parametrize("case, shape", PAIRS)
def test_value(case, shape):
    arrays = case.arrays(shape)
    reference = case.reference(*arrays.values())
    reference = list(reference) if isinstance(reference, (tuple, list)) else [reference]
    assert_close(run(case, arrays, fastdl.float32)[0], reference, case.rtol, case.atol)
    assert_close(run(case, arrays, fastdl.float64)[0], reference, case.rtol64, case.atol64)


@pytest.mark.parametrize("case, shape", GRADIENTS)
def test_gradient(case, shape):
    """Along random directions, against central differences of the float64 reference; float32 against float64."""
    arrays = case.arrays(shape)
    _, grads, upstream = run(case, arrays, fastdl.float64, np.random.default_rng(1))
    _, grads32, _ = run(case, arrays, fastdl.float32, np.random.default_rng(1))
    rng = np.random.default_rng(2)

    def objective(step, directions):
        moved = {**arrays, **{n: arrays[n] + step * d for n, d in zip(case.wrt, directions)}}
        out = case.reference(*moved.values())
        out = [o for o in (out if isinstance(out, (tuple, list)) else [out]) if np.asarray(o).dtype.kind == "f"]
        return sum(float((o * u).sum()) for o, u in zip(out, upstream))

    for name, g, g32 in zip(case.wrt, grads, grads32):
        assert g.shape == arrays[name].shape
        scale = max(1.0, np.abs(g).max(initial=0.0))
        atol = scale * max(case.rtol, 2e-6) * 10
        np.testing.assert_allclose(g32, g, rtol=case.rtol * 50, atol=atol, err_msg=f"float32 {name}")
    for name in case.wrt:  # one input at a time, then
        directions = [cases.normal(rng, *arrays[n].shape) * (n == name) for n in case.wrt]
        slope = (objective(1e-6, directions) - objective(-1e-6, directions)) / 2e-6
        got = sum(float((g * d).sum()) for g, d in zip(grads, directions))
        size = sum(float(np.abs(g * d).sum()) for g, d in zip(grads, directions))
        assert abs(got - slope) <= case.grad_rtol * max(1.0, size), (name, got, slope)


@contextlib.contextmanager
def isa(name):
    before = _kernels.isa()
    _kernels.set_isa(name)
    try:
        yield
    finally:
        _kernels.set_isa(before)


USABLE = [name for name, usable in _kernels.isas() if usable]


def everything(case, arrays, dtype):
    values, grads, _ = run(case, arrays, dtype, np.random.default_rng(1) if case.wrt else None)
    return values + grads


@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("case, shape", PAIRS)
def test_isas(case, shape, dtype):
    """All ISAs with FMA give the same bits; the base without FMA agrees within the case's tolerance."""
    arrays = case.arrays(shape)
    found = {}
    for name in USABLE:
        with isa(name):
            found[name] = everything(case, arrays, dtype)
    fma = [name for name in USABLE if name != "base"]
    for name in fma[1:] if case.exact_across_isas else []:
        for a, b in zip(found[fma[0]], found[name]):
            np.testing.assert_array_equal(a, b, err_msg=f"{fma[0]} against {name}")
    rtol, atol = (case.rtol * 10, case.atol * 10) if dtype is fastdl.float32 else (1e-10, 1e-10)
    for a, b in zip(found[USABLE[0]], found["base"]):
        largest = np.abs(np.nan_to_num(a, posinf=0, neginf=0)).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=max(atol, rtol * largest))


@pytest.mark.parametrize("case, shape", PAIRS)
def test_threads(case, shape):
    """1, 2 and 3 threads give the same bits."""
    arrays = case.arrays(shape)
    before = fastdl.get_num_threads()
    try:
        found = []
        for n in (1, 2, 3):
            fastdl.set_num_threads(n)
            found.append(everything(case, arrays, fastdl.float32))
    finally:
        fastdl.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("error", [pytest.param(e, id=e.name) for e in TABLE.errors])
def test_errors(error):
    with pytest.raises(error.error, match=error.text):
        error.call()
