"""The matrix product beyond its cases: exact on whole numbers, error bounds, equal bits, NaN, second derivatives."""

from contextlib import contextmanager

import numpy as np
import pytest

import fastdl
from fastdl import _kernels
from fastdl.nn import functional as F
from fastdl.ops.matmul import linear_activation, linear_residual

USABLE = [name for name, usable in _kernels.isas() if usable]
LAYOUTS = ["nn", "nt", "tn", "tt"]
DTYPES = [np.float32, np.float64]

# (m, n, k) on both sides of each threshold: k blocks of 512, packing, scalar products up to 8 rows, threads
BLOCKED = [(9, 9, 511), (9, 17, 512), (10, 9, 513), (33, 70, 1025), (300, 5, 600), (5, 300, 600), (48, 1100, 90),
           (150, 1030, 70), (47, 1030, 300), (130, 1500, 1300), (7, 130, 20000), (300, 200, 900)]
VARIED = [(1, 2048, 512), (2048, 1, 512), (1, 512, 2048), (4, 900, 300), (8, 700, 300), (9, 700, 300), (13, 200, 64),
          (28, 256, 1120), (32, 1024, 256), (64, 300, 257), (300, 64, 1100), (200, 330, 700), (1120, 28, 256)]


@pytest.fixture(autouse=True)
def restored():
    isa, threads = _kernels.isa(), fastdl.get_num_threads()
    yield
    _kernels.set_isa(isa)
    fastdl.set_num_threads(threads)


@contextmanager
def on(isa, threads=1):
    _kernels.set_isa(isa)
    fastdl.set_num_threads(threads)
    yield


def operand(array, transposed, pad):
    """A tensor equal to `array`, in memory transposed and with `pad` columns of NaN beside it."""
    stored = array.T if transposed else array
    whole = np.full((stored.shape[0], stored.shape[1] + pad), np.nan, array.dtype)
    whole[:, : stored.shape[1]] = stored
    part = fastdl.tensor(whole)[:, : stored.shape[1]]
    return part.t() if transposed else part


def product(a, b, layout, pad=(0, 0)):
    return (operand(a, layout[0] == "t", pad[0]) @ operand(b, layout[1] == "t", pad[1])).numpy()


def whole(rng, dtype, *shape):
    return rng.integers(-8, 9, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", USABLE)
def test_exact_on_whole_numbers_for_all_small_sizes(isa, dtype):
    rng = np.random.default_rng(0)
    with on(isa, 2):
        for m in range(71):
            for n in range(71):
                k = int(rng.integers(0, 71))
                layout, pad = LAYOUTS[rng.integers(4)], rng.integers(0, 4, 2)
                a, b = whole(rng, dtype, m, k), whole(rng, dtype, k, n)
                assert np.array_equal(product(a, b, layout, pad), a @ b), (m, n, k, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("isa", USABLE)
def test_exact_around_blocks_of_k_and_packing(isa, layout):
    rng = np.random.default_rng(1)
    with on(isa, 2):
        for m, n, k in BLOCKED:
            a, b = whole(rng, np.float32, m, k), whole(rng, np.float32, k, n)
            assert np.array_equal(product(a, b, layout, (1, 3)), a.astype(np.float64) @ b), (m, n, k)


@pytest.mark.parametrize("isa", USABLE)
def test_linear_is_exact_on_whole_numbers(isa):
    rng = np.random.default_rng(2)
    with on(isa, 2):
        for m in (0, 1, 2, 3, 4, 5, 8, 9, 12, 13, 31, 63, 64, 65):
            for n, k in [(1, 1), (3, 15), (17, 16), (70, 33), (130, 600)]:
                x, w, b = whole(rng, np.float32, m, k), whole(rng, np.float32, n, k), whole(rng, np.float32, n)
                assert np.array_equal(F.linear(*map(fastdl.tensor, (x, w, b))).numpy(), x @ w.T + b), (m, n, k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", USABLE)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_error_is_bounded(layout, isa, dtype):
    rng = np.random.default_rng(3)
    unit = np.finfo(dtype).eps / 2
    with on(isa):
        for m, n, k in [(1, 40, 700), (7, 9, 64), (30, 50, 1200), (130, 70, 513)]:
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
            bound = 2 * k * unit * (np.abs(a).astype(np.float64) @ np.abs(b))
            assert (np.abs(product(a, b, layout) - exact) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bits_do_not_depend_on_threads_or_isa(layout, dtype):
    rng = np.random.default_rng(4)
    same = [name for name in USABLE if name != "base"] or ["base"]
    for m, n, k in VARIED:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        first = None
        for isa in same:
            for threads in (1, 2, 3):
                with on(isa, threads):
                    got = product(a, b, layout)
                first = got if first is None else first
                assert np.array_equal(got, first), (m, n, k, isa, threads)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("isa", USABLE)
@pytest.mark.parametrize("size", [(2, 5, 20), (20, 30, 40), (70, 80, 90)])
def test_nan_and_inf_travel_as_in_plain_loops(size, isa, layout):
    m, n, k = size
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    a[0, 1], a[1, 2], b[k - 1, 3] = np.nan, 0, -np.inf
    a[1, k - 1], b[2, 4] = 0, np.inf  # 0 * inf = NaN
    with on(isa), np.errstate(invalid="ignore"):
        got, wanted = product(a, b, layout), a.astype(np.float64) @ b
    assert np.array_equal(np.isnan(got), np.isnan(wanted))
    assert np.array_equal(np.isinf(got), np.isinf(wanted))
    assert np.isnan(got[1, 4])


def test_other_dtypes_go_through_numpy():
    a, b = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    out = fastdl.tensor(a) @ fastdl.tensor(b)
    assert out.dtype == fastdl.int64
    assert np.array_equal(out.numpy(), a @ b)


def test_transposed_operands_are_read_without_a_copy():
    a, b = fastdl.zeros(64, 256), fastdl.zeros(64, 256)
    fastdl.memory.reset_peak()
    before = fastdl.memory.stats()["total_blocks"]
    a @ b.t()
    assert fastdl.memory.stats()["total_blocks"] - before <= 2  # the result and scratch


def test_second_derivatives():
    rng = np.random.default_rng(6)
    a, b = [fastdl.tensor(rng.standard_normal(s), requires_grad=True) for s in [(3, 4), (4, 5)]]
    loss = ((a @ b) ** 2).sum()
    (da,) = fastdl.autograd.grad(loss, [a], create_graph=True)
    (db,) = fastdl.autograd.grad((da * da).sum(), [b])

    def norm(values):
        return ((2 * (a.detach().numpy() @ values) @ values.T) ** 2).sum()

    base, step = b.detach().numpy(), 1e-6
    for i in range(4):
        for j in range(5):
            move = np.zeros((4, 5))
            move[i, j] = step
            slope = (norm(base + move) - norm(base - move)) / (2 * step)
            assert abs(db.numpy()[i, j] - slope) < 1e-5 * max(1, abs(slope))


ACTIVATIONS = {"relu": F.relu, "tanh": F.tanh, "sigmoid": F.sigmoid, "gelu": F.gelu,
               "gelu_tanh": lambda z: F.gelu(z, approximate="tanh")}


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_activation_has_the_bits_of_the_separate_operators(dtype, activation, has_bias):
    rng = np.random.default_rng(7)
    for m, n, k in [(2, 5, 20), (9, 40, 17), (33, 70, 600), (70, 130, 515), (100, 17, 33), (300, 20, 90)]:
        arrays = [rng.standard_normal(s).astype(dtype) for s in ((m, k), (n, k), (n,))][: 2 + has_bias]
        g, results = rng.standard_normal((m, n)).astype(dtype), []
        for op in (lambda *t: linear_activation(*t, activation=activation),
                   lambda *t: ACTIVATIONS[activation](F.linear(*t))):
            tensors = [fastdl.tensor(v, requires_grad=True) for v in arrays]
            out = op(*tensors)
            out.backward(fastdl.tensor(g))
            results.append([out.detach().numpy(), *[t.grad.numpy() for t in tensors]])
        assert all(np.array_equal(x, y) for x, y in zip(*results, strict=True)), (m, n, k)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_linear_activation_has_second_derivatives(activation):
    rng = np.random.default_rng(8)
    tensors = [fastdl.tensor(rng.standard_normal(s), requires_grad=True) for s in ((3, 4), (5, 4), (5,))]
    results = []
    for out in (linear_activation(*tensors, activation=activation), ACTIVATIONS[activation](F.linear(*tensors))):
        dx, dw, db = fastdl.autograd.grad((out * out).sum(), tensors, create_graph=True)
        again = fastdl.autograd.grad((dx * dx).sum() + (dw ** 3).sum() + db.sum(), tensors)
        results.append([t.numpy() for t in again])
    assert all(np.allclose(x, y, rtol=1e-10, atol=1e-10) for x, y in zip(*results, strict=True))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_residual_has_the_bits_of_the_separate_operators(dtype, has_bias):
    rng = np.random.default_rng(11)
    for *rows, n, k in [(2, 5, 20), (9, 40, 17), (3, 5, 70, 600), (70, 130, 515), (300, 20, 90)]:
        arrays = [rng.standard_normal(s).astype(dtype) for s in ((*rows, k), (n, k), (*rows, n), (n,))][: 3 + has_bias]
        results = []
        for fused in (True, False):
            x, w, r, *b = tensors = [fastdl.tensor(v, requires_grad=True) for v in arrays]
            out = linear_residual(x, w, *(b or [None]), r) if fused else F.linear(x, w, *b) + r
            (out * out).sum().backward()
            with fastdl.no_grad():
                again = linear_residual(x, w, *(b or [None]), r)
            results.append([out.detach().numpy(), again.numpy(), *[t.grad.numpy() for t in tensors]])
        assert all(np.array_equal(x, y) for x, y in zip(*results, strict=True)), (rows, n, k)


# (outputs, inputs, rows) on both sides of packing and of its vectors; several groups of panels, several blocks of rows
@pytest.mark.parametrize("m,n,k", [(2, 70, 40000), (13, 65, 6001), (37, 130, 3000), (101, 300, 1100), (130, 66, 505),
                                   (20, 30, 9000), (205, 1100, 640)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_gradient_is_that_of_an_input_of_ones(m, n, k, dtype):
    rng = np.random.default_rng(n)
    x, g = rng.standard_normal((k, n)).astype(dtype), rng.standard_normal((k, m)).astype(dtype)
    x[:, 3], g[-1, -1] = 1, 1e4
    for isa in USABLE:
        _kernels.set_isa(isa)
        for threads in (1, 3):
            fastdl.set_num_threads(threads)
            w, b = (fastdl.zeros(*s, dtype=fastdl.tensor(x[:1]).dtype).requires_grad_() for s in ((m, n), (m,)))
            F.linear(fastdl.tensor(x), w, b).backward(fastdl.tensor(g))
            np.testing.assert_array_equal(w.grad.numpy()[:, 3], b.grad.numpy())


def test_bias_gradient_is_exact_and_does_not_depend_on_threads_or_isa():
    rng = np.random.default_rng(9)
    x, w, b = whole(rng, np.float32, 1100, 70), whole(rng, np.float32, 130, 70), whole(rng, np.float32, 130)
    normal = rng.standard_normal((1100, 130), dtype=np.float32)
    for g, exact in [(whole(rng, np.float32, 1100, 130), True), (normal, False)]:
        found = []
        for isa in [name for name in USABLE if name != "base"] or ["base"]:
            for threads in (1, 2):
                with on(isa, threads):
                    tensors = [fastdl.tensor(v, requires_grad=True) for v in (x, w, b)]
                    F.linear(*tensors).backward(fastdl.tensor(g))
                    found.append(tensors[2].grad.numpy())
        assert all(np.array_equal(v, found[0]) for v in found)
        assert not exact or np.array_equal(found[0], g.sum(0))
        np.testing.assert_allclose(found[0], g.sum(0, dtype=np.float64), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("m", [8, 9, 16, 63, 64, 72, 73, 512, 513])
def test_a_kept_packed_weight_changes_no_bit_and_is_dropped_by_writes(m):
    rng = np.random.default_rng(10)
    x, w = [fastdl.tensor(rng.standard_normal(shape, np.float32)) for shape in ((m, 90), (70, 90))]
    first = F.linear(x, w).numpy()
    for _ in range(3):
        assert np.array_equal(F.linear(x, w).numpy(), first)
    w.mul_(2.0)
    for _ in range(3):
        assert np.array_equal(F.linear(x, w).numpy(), 2 * first)
    w.data[0] = 0
    assert (F.linear(x, w).numpy()[:, 0] == 0).all()
    F.linear(x, w)
    w.numpy()[1] = 0  # NumPy's writes bump no version
    assert (F.linear(x, w).numpy()[:, 1] == 0).all()
    for isa in USABLE:
        with on(isa):
            assert (F.linear(x, w).numpy()[:, :2] == 0).all()


def test_a_kept_packed_weight_is_counted_and_freed_with_its_tensor():
    x, w = fastdl.randn(64, 784), fastdl.randn(256, 784)
    before = fastdl.memory.stats()["live_bytes"]
    F.linear(x, w)
    F.linear(x, w)
    kept = fastdl.memory.stats()["live_bytes"]
    assert kept - before >= w.nbytes
    nbytes = w.nbytes
    del w
    assert kept - fastdl.memory.stats()["live_bytes"] >= 2 * nbytes


def test_gradients_of_empty_stacks():
    a = fastdl.ones(0, 5, requires_grad=True)
    b = fastdl.ones(0, 4, 5, requires_grad=True)
    (a @ b.mT).sum().backward()
    assert a.grad.shape == (0, 5) and b.grad.shape == (0, 4, 5)


NAN_SHAPES = {"addmm": ((3, 4), (3, 5), (5, 4)), "baddbmm": ((2, 3, 4), (2, 3, 5), (2, 5, 4)),
              "addbmm": ((3, 4), (2, 3, 5), (2, 5, 4)), "addr": ((3, 4), (3,), (4,)),
              "addmv": ((3,), (3, 5), (5,))}  # fmt: skip


@pytest.mark.parametrize("name", NAN_SHAPES)
def test_what_is_added_is_not_read_where_beta_is_0(name):
    rng = np.random.default_rng(0)
    x, a, b = (fastdl.tensor(rng.standard_normal(shape)) for shape in NAN_SHAPES[name])
    expected = getattr(x, name)(a, b, alpha=2) - x
    for shape in (tuple(x.shape), ()):
        hole = fastdl.full(shape, float("nan"), dtype=fastdl.float64)
        found = getattr(fastdl, name)(hole, a, b, beta=0, alpha=2)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)
        out = getattr(hole.requires_grad_(), name)(a, b, beta=0, alpha=2)
        np.testing.assert_array_equal(out.detach().numpy(), found.numpy())
        out.sum().backward()
        assert (hole.grad == 0).all()


@pytest.mark.parametrize("name", [name for name in NAN_SHAPES if name != "addr"])
def test_what_is_added_fits_the_product(name):
    x, a, b = (fastdl.ones(shape) for shape in NAN_SHAPES[name])
    with pytest.raises(RuntimeError, match=rf"\[{name}\] input: expected torch.float32 as the product, got .*64"):
        getattr(fastdl, name)(x.double(), a, b)
    with pytest.raises(RuntimeError, match="expand"):
        getattr(fastdl, name)(fastdl.ones(2, *x.shape), a, b)
