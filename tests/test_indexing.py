"""Reading, writing, adding and reducing by index: against NumPy and PyTorch; indices of every kind and wrong ones."""

import itertools
import re

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn import functional as F
from fastdl.ops.indexing import add_items_

# widths of rows: one element, around vectors and the limit of what is added without a sort
WIDTHS = [1, 3, 7, 8, 15, 16, 17, 33, 64, 129]


def values(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def added(shape, index, rows):
    """Zeros with rows added in the order of the index."""
    out = np.zeros(shape, rows.dtype)
    for i, row in zip(index, rows):
        out[i] += row
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("n", [0, 1, 5, 400])  # fewer and more than rows, with duplicates
def test_rows_and_their_gradient(n, d, dtype):
    v = 50
    ids = np.random.default_rng(1).integers(-v, v, n)
    x, up = fastdl.tensor(values(v, d, dtype=dtype)).requires_grad_(), values(n, d, seed=2, dtype=dtype)
    out = x[fastdl.tensor(ids)]
    np.testing.assert_array_equal(out.detach().numpy(), x.detach().numpy()[ids])
    out.backward(fastdl.tensor(up))
    np.testing.assert_array_equal(x.grad.numpy(), added((v, d), ids, up))
    base = values(v, d, seed=3, dtype=dtype)
    want = base.copy()
    for i, row in zip(ids % v, up):
        want[i] += row
    found = fastdl.tensor(base).index_add_(0, fastdl.tensor(ids % v), fastdl.tensor(up))
    np.testing.assert_array_equal(found.numpy(), want)


@pytest.mark.parametrize("d", [1, 16, 100, 1000])
def test_sums_have_the_same_bits_for_every_number_of_threads(d):
    n, v = 40000 // d + 60, 90
    ids = np.random.default_rng(0).integers(0, v, n)
    before, found = fastdl.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fastdl.set_num_threads(threads)
            x = fastdl.tensor(values(v, d)).requires_grad_()
            x[fastdl.tensor(ids)].backward(fastdl.tensor(values(n, d, seed=2)))
            y = fastdl.tensor(values(4 * n, d)).index_add_(0, fastdl.tensor(ids), fastdl.tensor(values(n, d, seed=2)))
            found.append((x.grad.numpy(), y.numpy()))
    finally:
        fastdl.set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], added((v, d), ids, values(n, d, seed=2)))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])
        np.testing.assert_array_equal(found[0][1], other[1])


@pytest.mark.parametrize("dtype", [fastdl.int64, fastdl.int32, fastdl.int8, fastdl.uint8, fastdl.bool, fastdl.float16])
def test_other_types(dtype):
    x = fastdl.tensor(np.random.default_rng(0).integers(0, 9, (6, 5))).to(dtype)
    ids = fastdl.tensor([3, -1, 0, 3])
    np.testing.assert_array_equal(x[ids].numpy(), x.numpy()[[3, 5, 0, 3]])
    np.testing.assert_array_equal(x.index_select(1, ids.abs()).numpy(), x.numpy()[:, [3, 1, 0, 3]])
    if dtype not in (fastdl.bool,):
        out = x.index_add(0, ids % 6, x[:4])
        np.testing.assert_array_equal(out.numpy(), x.numpy() + added((6, 5), [3, 5, 0, 3], x[:4].numpy()))


INDICES = [
    np.s_[[0, 2]], np.s_[:, [1, 1]], np.s_[[0, 2], [1, 3]], np.s_[[[0], [2]], [1, 3]], np.s_[[0, 2], :, [1, 1]],
    np.s_[:, [1, 2], [0, 1]], np.s_[..., [0, -1]], np.s_[:, :, [[0, 1], [1, 0]]], np.s_[[0, 0], :, :, [1, 0]],
    np.s_[:, [0, 1], :, [1, 0]], np.s_[np.zeros((0,), int)], np.s_[:, np.zeros((2, 0), int)], np.s_[1:, [1, 0]],
    np.s_[None, [1, 0]], np.s_[[True, False, True]], np.s_[:, np.array([True, False, True, True]), [1, 1, 0]],
]  # fmt: skip


def as_index(index, make):
    items = index if isinstance(index, tuple) else (index,)
    return tuple(make(np.array(i)) if isinstance(i, (list, np.ndarray)) else i for i in items)


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("contiguous", [True, False])
def test_advanced_indices_read_write_and_differentiate(index, contiguous):
    base = values(3, 4, 5, 2, dtype=np.float64)
    x = fastdl.tensor(base if contiguous else base.transpose(2, 3, 0, 1).copy()).requires_grad_()
    view = x if contiguous else x.permute(2, 3, 0, 1)
    where = as_index(index, np.array)
    out = view[as_index(index, fastdl.tensor)]
    np.testing.assert_array_equal(out.detach().numpy(), base[where])
    up = values(*out.shape, seed=1, dtype=np.float64)
    out.backward(fastdl.tensor(up))
    want = np.zeros_like(base)
    np.add.at(want, where, up)
    np.testing.assert_allclose(x.grad.numpy() if contiguous else x.grad.numpy().transpose(2, 3, 0, 1), want, atol=1e-14)

    y = view.detach().clone()
    add_items_(y, as_index(index, fastdl.tensor), fastdl.tensor(up))
    want = base.copy()
    np.add.at(want, where, up)
    np.testing.assert_allclose(y.numpy(), want, atol=1e-14)


def test_true_and_false_add_a_dimension():
    x = fastdl.tensor(values(3, 2))
    assert x[True].shape == (1, 3, 2) and x[False].shape == (0, 3, 2)
    assert x[fastdl.tensor(True)].tolist() == [x.tolist()]


def test_second_derivatives():
    """f = sum(w[i] x[i]^3): df/dx = 3 w x^2 summed over duplicates; its derivative along u is 6 w x u."""
    ids = np.array([2, 0, 2, 4])
    w, u = values(4, 3, seed=1, dtype=np.float64), values(5, 3, seed=2, dtype=np.float64)
    forms = [
        lambda x: x[fastdl.tensor(ids)],
        lambda x: x.index_select(0, fastdl.tensor(ids)),
        lambda x: x.gather(0, fastdl.tensor(np.repeat(ids[:, None], 3, 1))),
        lambda x: x[fastdl.tensor(ids)[:, None], fastdl.tensor([0, 1, 2])],
    ]
    for form in forms:
        x = fastdl.tensor(values(5, 3, dtype=np.float64)).requires_grad_()
        f = (form(x) ** 3 * fastdl.tensor(w)).sum()
        (g,) = fastdl.autograd.grad(f, x, create_graph=True)
        np.testing.assert_allclose(g.detach().numpy(), 3 * x.detach().numpy() ** 2 * added((5, 3), ids, w), rtol=1e-12)
        (g * fastdl.tensor(u)).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), 6 * x.detach().numpy() * added((5, 3), ids, w) * u, rtol=1e-12)


def test_second_derivatives_of_adding_and_writing():
    a, b = values(5, 3, dtype=np.float64), values(2, 3, seed=1, dtype=np.float64)
    ids = fastdl.tensor([4, 1])
    for name in ("index_add", "index_copy"):
        x, y = fastdl.tensor(a).requires_grad_(), fastdl.tensor(b).requires_grad_()
        out = getattr(x, name)(0, ids, y)
        gx, gy = fastdl.autograd.grad((out**3).sum(), (x, y), create_graph=True)
        ((gx**2).sum() + (gy**2).sum()).backward()
        z = a.copy()
        z[[4, 1]] = a[[4, 1]] + b if name == "index_add" else b
        chain = 36 * z**3  # of 9 z^4
        if name == "index_add":
            want_y = 2 * chain[[4, 1]]
            want_x = chain.copy()
            want_x[[4, 1]] *= 2
        else:
            want_y, want_x = chain[[4, 1]], chain.copy()
            want_x[[4, 1]] = 0
        np.testing.assert_allclose(x.grad.numpy(), want_x, rtol=1e-12)
        np.testing.assert_allclose(y.grad.numpy(), want_y, rtol=1e-12)


def test_an_index_that_has_changed_is_noticed():
    x, ids = fastdl.tensor(values(4, 3)).requires_grad_(), fastdl.tensor([1, 2])
    out = x[ids]
    ids[0] = 3
    with pytest.raises(RuntimeError, match=r"modified|in-place|inplace"):
        out.sum().backward()


WRONG = [
    (lambda x: x[fastdl.tensor([0, 5])], r"index\[1\] = 5 is outside \[-4, 4\) of dimension 0"),
    (lambda x: x[fastdl.tensor([[0, -5]])], r"index\[0, 1\] = -5 is outside \[-4, 4\)"),
    (lambda x: x[:, fastdl.tensor([0, 3])], r"index\[1\] = 3 is outside \[-3, 3\) of dimension 1"),
    (lambda x: x[fastdl.tensor([0]), fastdl.tensor([9])], r"index\[0\] = 9 is outside \[-3, 3\) of dimension 1"),
    (lambda x: x[fastdl.tensor([0, 1]), fastdl.tensor([0, 1, 2])], "cannot be broadcast"),
    (lambda x: x[fastdl.tensor([True, False])], "mask of shape"),
    (lambda x: x[0, 0, fastdl.tensor([0])], "too many indices"),
    (lambda x: x.index_select(1, fastdl.tensor([-1])), r"index\[0\] = -1 is outside \[0, 3\)"),
    (lambda x: x.index_add(0, fastdl.tensor([1, 4]), x[:2]), r"index\[1\] = 4 is outside \[0, 4\)"),
    (lambda x: x.index_copy(1, fastdl.tensor([-1]), x[:, :1]), r"index\[0\] = -1 is outside \[0, 3\)"),
    (lambda x: x.index_fill(1, fastdl.tensor([-4]), 0), r"index\[0\] = -4 is outside \[-3, 3\)"),
    (lambda x: x.take(fastdl.tensor([12])), r"index\[0\] = 12 is outside \[-12, 12\)"),
    (lambda x: x.put(fastdl.tensor([12]), x[0, :1]), r"index\[0\] = 12 is outside \[-12, 12\)"),
    (lambda x: x.index_put((fastdl.tensor([4]),), x[:1], True), r"index\[0\] = 4 is outside \[-4, 4\)"),
    (lambda x: fastdl.Tensor.__setitem__(x, fastdl.tensor([4]), 0.0), r"index\[0\] = 4 is outside \[-4, 4\)"),
]
WRONG_ALONG = [  # gather and scatter
    (lambda x: x.gather(1, fastdl.tensor([[0, 3]])), r"index\[0, 1\] = 3 is outside \[0, 3\) of dimension 1"),
    (lambda x: x.scatter_add(0, fastdl.tensor([[-1]]), x), r"index\[0, 0\] = -1 is outside \[0, 4\)"),
    (lambda x: x.scatter(0, fastdl.tensor([[4]]), x), r"index\[0, 0\] = 4 is outside \[0, 4\)"),
    (lambda x: x.scatter_reduce(0, fastdl.tensor([[4]]), x, "amax"), r"index\[0, 0\] = 4 is outside \[0, 4\)"),
]


@pytest.mark.parametrize(
    "call, text, error", [(*w, IndexError) for w in WRONG] + [(*w, RuntimeError) for w in WRONG_ALONG],
    ids=range(len(WRONG) + len(WRONG_ALONG)),
)
def test_wrong_numbers_are_named(call, text, error):
    with pytest.raises(error, match=text):
        call(fastdl.tensor(values(4, 3)))


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda x: x.index_add(0, fastdl.tensor([0]), x), "source: expected shape"),
        (lambda x: x.index_add(0, fastdl.tensor([0]), x[:1].double()), r"source: expected .*float32"),
        (lambda x: x.scatter_add(0, fastdl.tensor([[0, 1, 2, 0]]), x), "sizes of at most"),
        (lambda x: x.scatter_add(0, fastdl.tensor([[0, 1, 2]]), x[:, :2]), "src: expected at least"),
        (lambda x: x.scatter(0, fastdl.tensor([[0, 1, 2]]), x[:, :2]), "src: expected at least"),
        (lambda x: x.scatter_reduce(0, fastdl.tensor([[0]]), x, "max"), "expected sum, prod"),
        (lambda x: x.gather(0, fastdl.tensor([0])), "2 dimensions"),
        (lambda x: x.masked_scatter(x > 0, x.double()), r"source: expected .*float32"),
        (lambda x: x[0, 0].index_copy(0, fastdl.tensor([0, 1]), x[:2]), r"source: expected shape \(2,\)"),
        (lambda x: x[0, 0].index_select(0, fastdl.tensor([0, 0])), "one number for a 0-d tensor"),
        (lambda x: x.long().index_fill(0, fastdl.tensor([0]), fastdl.tensor(2.0, requires_grad=True)), "no gradient"),
        (lambda x: x.masked_scatter(x > 99, x[:0]) + x.masked_scatter(x < 99, x[0]), "at least 12 elements"),
    ],
    ids=range(12),
)
def test_what_does_not_fit_is_named(call, text):
    with pytest.raises(RuntimeError, match=text):
        call(fastdl.tensor(values(4, 3)))


# against PyTorch: one function of (library, tensors), run in both -------------------------------------------------


def _reduces():
    for reduce, include_self, dim in itertools.product(
        ("sum", "prod", "mean", "amax", "amin"), (True, False), (0, 1, -1)
    ):
        yield f"scatter_reduce-{reduce}-{include_self}-{dim}", (
            lambda t, x, s, i, r=reduce, k=include_self, d=dim: x.scatter_reduce(
                d, i % x.shape[d], s, r, include_self=k
            )
        )


FAMILY = {
    "gather0": lambda t, x, s, i: x.gather(0, i % 5),
    "gather2": lambda t, x, s, i: t.gather(x, -1, i % 4),
    "take_along_dim": lambda t, x, s, i: t.take_along_dim(x, i[:1, :1] % 5, 0),
    "take_along_dim-none": lambda t, x, s, i: t.take_along_dim(x.contiguous(), i),
    "take": lambda t, x, s, i: t.take(x, i - 30),
    "index_select": lambda t, x, s, i: x.index_select(1, i[0, 0] % 6),
    "index_add": lambda t, x, s, i: x.index_add(1, i[0, 0] % 6, x[:, 2:] * 3, alpha=2.5),
    "index_add_": lambda t, x, s, i: (x * 1).index_add_(2, i[0, 0] % 4, x * 3),
    "index_copy": lambda t, x, s, i: x.index_copy(2, t.tensor([2, 0]), x[:, :, :2] * 3),
    "index_copy_": lambda t, x, s, i: (x * 2).index_copy_(0, t.tensor([1]), x[:1] * 3),
    "index_fill": lambda t, x, s, i: x.index_fill(1, t.tensor([0, -2]), 7.5),
    "index_fill_": lambda t, x, s, i: (x * 2).index_fill_(0, t.tensor([3]), t.tensor(2.0, dtype=x.dtype)),
    "index_put": lambda t, x, s, i: x.index_put((t.tensor([1, 3]), t.tensor([0, 5])), s[0, :2, 0].reshape(2, 1)),
    "index_put-add": lambda t, x, s, i: x.index_put((i[0, 0] % 5,), s[0, 0] * 2, accumulate=True),
    "index_put_-add": lambda t, x, s, i: (x * 2).index_put_((i[0] % 5, i[1] % 6), s[0, :, :, None], accumulate=True),
    "masked_scatter": lambda t, x, s, i: x.masked_scatter(x[0] > 0, s.repeat(3, 2, 1)),
    "masked_scatter_": lambda t, x, s, i: (x * 2).masked_scatter_(x > 1, x * 3),
    "scatter-value": lambda t, x, s, i: x.scatter(1, i % 6, 2.5),
    "scatter-src": lambda t, x, s, i: x.scatter(0, t.arange(4)[:, None, None].expand(4, 2, 2), s[:, :2, :2]),
    "scatter_-larger": lambda t, x, s, i: (x * 2).scatter_(2, t.tensor([[[3, 1]]]), s.detach()),
    "scatter_add-larger": lambda t, x, s, i: x.scatter_add(1, i[:2, :, :3] % 6, s.detach()),
    "scatter_reduce-larger": lambda t, x, s, i: x.detach().scatter_reduce(1, i[:2, :, :3] % 6, s.detach(), "mean"),
    "scatter_-add": lambda t, x, s, i: (x * 2).detach().scatter_(2, i % 4, s.detach(), reduce="add"),
    "scatter-multiply": lambda t, x, s, i: x.detach().scatter(1, i % 6, 3.0, reduce="multiply"),
    "scatter_add": lambda t, x, s, i: t.scatter_add(x, 0, i % 5, s),
    "scatter_add_": lambda t, x, s, i: (x * 2).scatter_add_(2, i % 4, s),
    "scatter_add_-view": lambda t, x, s, i: (lambda y: (y[1:].scatter_add_(1, i % 6, s), y)[1])(x * 2),
    "put": lambda t, x, s, i: x.put(t.tensor([3, -1]), s[0, 0, :2]),
    "put_-add": lambda t, x, s, i: (x * 2).put_(i, s, accumulate=True),
    "scatter_reduce_": lambda t, x, s, i: (x * 2).scatter_reduce_(0, i % 5, s, "amax"),
    "repeat_interleave": lambda t, x, s, i: x.repeat_interleave(t.tensor([2, 0, 1, 3]), 2),
    "flip": lambda t, x, s, i: x.flip(0, 2),
    "roll": lambda t, x, s, i: x.roll((2, -1), (0, 1)),
    **dict(_reduces()),
}


@pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter")
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("name", FAMILY)
def test_the_family_is_pytorchs(name, contiguous):
    torch = pytest.importorskip("torch")
    found = []
    for t in (fastdl, torch):
        rng = np.random.default_rng(3)
        x, s = (t.tensor(np.round(rng.standard_normal(shape), 1)) for shape in ((5, 6, 4), (4, 3, 4)))
        if not contiguous:
            x = t.tensor(x.permute(2, 0, 1).numpy().copy()).permute(1, 2, 0)
        x, s = x.requires_grad_(), s.requires_grad_()
        i = t.tensor(rng.integers(0, 60, (4, 3, 4)))
        if name.startswith("scatter_reduce-"):
            x.data[1, 2, 3] = x.data[0, 0, 0] = 0.0  # factors of 0
            s.data[0, 1, 2] = 0.0
        if "-False-" in name:  # PyTorch lets the old value take a share of the gradient, where it happens to be equal
            x.data += 0.013
        out = FAMILY[name](t, x, s, i)
        up = t.tensor(np.random.default_rng(4).standard_normal(tuple(out.shape)))
        grads = [None, None]
        if out.requires_grad:
            (out * out * up).sum().backward()
            grads = [None if g.grad is None else g.grad.numpy() for g in (x, s)]
        found.append([out.detach().numpy(), *grads])
    for ours, theirs in zip(*found):
        if theirs is not None or ours is not None:
            ours = np.zeros_like(theirs) if ours is None else ours
            theirs = np.zeros_like(ours) if theirs is None else theirs
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_empty_and_scalar():
    x, none = fastdl.tensor(values(3, 2)), fastdl.tensor(np.zeros(0, np.int64))
    for out in (x.index_add(0, none, x[:0]), x.index_copy(0, none, x[:0]), x.index_fill(1, none, 3.0),
                x.scatter_add(0, none.reshape(0, 2), x), x.scatter(0, none.reshape(0, 2), x), x.put(none, x[0, :0]),
                x.scatter_reduce(0, none.reshape(0, 2), x, "mean"), x.index_put((none,), x[:0], True)):  # fmt: skip
        np.testing.assert_array_equal(out.numpy(), x.numpy())
    assert x.gather(0, none.reshape(0, 2)).shape == (0, 2) and x.take(none).shape == (0,)
    assert fastdl.zeros(0, 3).index_select(1, fastdl.tensor([2, 0])).shape == (0, 2)
    s, zero = fastdl.tensor(2.0), fastdl.tensor(0)
    assert s.gather(0, zero).item() == 2 and s.index_add(0, zero, fastdl.tensor(3.0)).item() == 5
    assert s.scatter_add(0, zero, fastdl.tensor(3.0)).item() == 5 and s.index_fill(0, zero, 4.0).item() == 4
    assert s.scatter(0, zero, 7.0).item() == 7 and s.scatter_reduce(0, zero, fastdl.tensor(3.0), "prod").item() == 6
    assert s.scatter_reduce(0, zero, fastdl.tensor(3.0), "amax").item() == 3 and s.take(zero).item() == 2


def test_whole_numbers_have_no_gradient():
    x, value = fastdl.arange(4), fastdl.tensor(2.0, requires_grad=True)
    x[1] = value
    assert not x.requires_grad and x.tolist() == [0, 2, 2, 3]


@pytest.mark.parametrize("shape, dim", [((), 0), ((7,), -1), ((5, 3), 1), ((3, 4, 2), 1), ((2, 3, 4), -1)])
def test_index_add_adds_in_order(shape, dim):
    for dtype in (np.float32, np.float64, np.int64, np.float16):
        x = np.round(values(*shape) * 8).astype(dtype)
        wide = x.reshape(x.shape or (1,))
        ids = np.random.default_rng(2).integers(0, wide.shape[dim], 6)
        source = np.round(values(*np.take(wide, ids, dim).shape, seed=1) * 8).astype(dtype)
        expected = wide.copy()
        np.add.at(np.moveaxis(expected, dim, 0), ids, np.moveaxis(source, dim, 0) * np.array(2, dtype))
        for index in (ids, ids.astype(np.int32)):
            found = fastdl.tensor(x).index_add(dim, fastdl.tensor(index), fastdl.tensor(source), alpha=2)
            assert tuple(found.shape) == shape
            np.testing.assert_array_equal(found.numpy(), expected.reshape(shape))


def test_nan_and_infinity_go_through():
    x = fastdl.tensor([np.inf, 1.0, np.nan])
    out = x.scatter_reduce(0, fastdl.tensor([1, 1, 0]), fastdl.tensor([np.nan, 5.0, 2.0]), "amax")
    np.testing.assert_array_equal(out.numpy(), [np.inf, np.nan, np.nan])
    out = x.index_add(0, fastdl.tensor([0]), fastdl.tensor([-np.inf]))
    np.testing.assert_array_equal(out.numpy(), [np.nan, 1, np.nan])
    np.testing.assert_array_equal(x[fastdl.tensor([2, 0])].numpy(), [np.nan, np.inf])


def test_adding_a_tensor_to_itself():
    x = fastdl.tensor([[1.0, 2.0], [3.0, 4.0]])
    x.index_add_(0, fastdl.tensor([1, 0]), x)
    assert x.tolist() == [[4, 6], [4, 6]]


def test_a_leaf_is_not_written():
    x = fastdl.tensor(values(3, 2)).requires_grad_()
    ids = fastdl.tensor([0])
    for write in (lambda: x.index_add_(0, ids, x[:1]), lambda: x.index_fill_(0, ids, 1.0)):
        with pytest.raises(RuntimeError, match="leaf"):
            write()


BAGS = [
    {"mode": "sum"}, {"mode": "mean"}, {"mode": "max"}, {"mode": "sum", "weights": True},
    {"mode": "sum", "padding_idx": 2}, {"mode": "mean", "padding_idx": -1}, {"mode": "max", "padding_idx": 2},
    {"mode": "mean", "include_last_offset": True}, {"mode": "sum", "weights": True, "padding_idx": 2},
]  # fmt: skip


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("options", BAGS, ids=str)
def test_embedding_bag_is_pytorchs(options, flat):
    torch = pytest.importorskip("torch")
    options = dict(options)
    weighted = options.pop("weights", False)
    if not flat and "include_last_offset" in options:
        return
    found = []
    for t in (fastdl, torch):
        rng = np.random.default_rng(0)
        layer = t.nn.EmbeddingBag(7, 5, _weight=t.tensor(values(7, 5, dtype=np.float64)), **options)
        ids, psw = rng.integers(0, 7, 12), t.tensor(values(12, seed=3, dtype=np.float64)).requires_grad_()
        offsets = t.tensor([0, 4, 4, 9, 12] if "include_last_offset" in options else [0, 4, 4, 9])
        args = (t.tensor(ids), offsets) if flat else (t.tensor(ids.reshape(4, 3)), None)
        out = layer(*args, psw.reshape(args[0].shape)) if weighted else layer(*args)
        up = t.tensor(values(*out.shape, seed=5, dtype=np.float64))
        (out * up).sum().backward()
        found.append([out.detach().numpy(), layer.weight.grad.numpy(), psw.grad.numpy() if weighted else np.zeros(1)])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_embedding_bag_errors():
    table, ids = fastdl.tensor(values(4, 3)), fastdl.tensor([0, 1, 2])
    with pytest.raises(ValueError, match="1D Tensor"):
        F.embedding_bag(ids, table)
    with pytest.raises(ValueError, match="rising numbers from 0"):
        F.embedding_bag(ids, table, fastdl.tensor([1]))
    with pytest.raises(ValueError, match="has to be None"):
        F.embedding_bag(ids.reshape(1, 3), table, fastdl.tensor([0]))
    with pytest.raises(IndexError, match="got 4"):
        F.embedding_bag(ids + 2, table, fastdl.tensor([0]))
    assert repr(nn.EmbeddingBag(4, 3, mode="sum")) == "EmbeddingBag(4, 3, mode='sum')"
    assert F.embedding_bag(ids[:0], table, fastdl.tensor([0, 0]), mode="max").tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float16, fastdl.int64])
def test_diagonals_far_outside(dtype):
    x = fastdl.ones(3, 1, dtype=dtype)
    for offset in (-(2**31), -4, 2, 2**31 - 1):
        assert fastdl.diagonal(x, offset).shape == fastdl.diag(x, offset).shape == (0,)
    assert fastdl.equal(fastdl.triu(x, -(2**31)), x) and not fastdl.tril(x, -(2**31)).any()


@pytest.mark.parametrize("shape", [(2,), (0,), (2, 3), (0, 3), (3, 0), (4, 1, 3)])
@pytest.mark.parametrize("accumulate", [True, False])
def test_values_that_do_not_fit_what_is_named(shape, accumulate):
    x, index = fastdl.ones(4), (fastdl.tensor([0, 1, 1]),)
    for put in (x.index_put_, x.index_put):
        with pytest.raises(RuntimeError, match=f"{re.escape(str(shape))} cannot be"):
            put(index, fastdl.zeros(shape), accumulate=accumulate)
    assert x.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("shape", [(3,), (1,), (), (1, 3), (1, 1, 1)])
def test_values_that_fit_what_is_named(shape):
    x, index = fastdl.zeros(4), fastdl.tensor([0, 1, 1])
    values = (fastdl.arange(3.0) + 1 if 3 in shape else fastdl.ones(1)).reshape(shape).requires_grad_()
    y = x.index_put((index,), values, accumulate=True)
    assert y.tolist() == ([1, 5, 0, 0] if 3 in shape else [1, 2, 0, 0])
    (y * fastdl.tensor([1.0, 10, 100, 1000])).sum().backward()
    assert values.grad.shape == values.shape
    assert values.grad.reshape(-1).tolist() == ([1, 10, 10] if 3 in shape else [21])


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1])
def test_numbers_at_the_ends_of_int64(number):
    x, index = fastdl.zeros(3, 4), fastdl.tensor([0, number])
    for call in (lambda: x[index], lambda: x[:0][index[1:]], lambda: x.index_select(0, index), lambda: x.take(index),
                 lambda: x.put(index, fastdl.ones(2)), lambda: x.index_fill(1, index, 2)):
        with pytest.raises((IndexError, RuntimeError), match=f"{number}"):
            call()
