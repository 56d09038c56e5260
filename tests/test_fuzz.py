"""Tensor semantics against PyTorch, random inputs of fixed seeds: print, index, views, promotion, conversions."""

import copy
import operator
import pickle

import numpy as np
import pytest

import fastdl

torch = pytest.importorskip("torch")

FLOATS = ("float16", "float32", "float64")
TYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")


def random_array(rng, dtype, shape):
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype in FLOATS:
        return np.asarray(rng.standard_normal(shape) * 3).astype(dtype)
    return np.asarray(rng.integers(0 if dtype == "uint8" else -5, 7, shape)).astype(dtype)


def both(array):
    return fastdl.tensor(np.array(array)), torch.tensor(np.array(array))


def name(dtype):
    return str(dtype).rsplit(".", 1)[-1]


def attempt(function, *args):
    """The result, or the error."""
    try:
        return function(*args)
    except (IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        return error


def assert_same(got, want, what=""):
    if isinstance(want, Exception):
        assert isinstance(got, Exception), f"{what}: PyTorch raises {want!r}, got {got!r}"
        return
    assert not isinstance(got, Exception), f"{what}: {got!r}, PyTorch gives {want!r}"
    if isinstance(want, torch.Tensor):
        assert (name(got.dtype), tuple(got.shape)) == (name(want.dtype), tuple(want.shape)), what
        got, want = got.detach().numpy(), want.detach().numpy()
    rtol = 2e-3 if getattr(want, "dtype", None) == np.float16 else 1e-5
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol, err_msg=str(what))


# Printing -----------------------------------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-5, 1e8, 1e9, -3.0, 0.5, 1000.0, 123456.0, 1e-20, 1e30, 2.0, 1.0]


def printed_array(rng, dtype):
    shape = tuple(rng.integers(rng.random() > 0.2, (5, 30, 9)[rng.integers(3)], rng.integers(0, 4)))
    kind = rng.integers(12)
    if kind == 0:
        shape = (int(rng.integers(900, 1300)),)
    elif kind == 1:
        shape = tuple(rng.integers(3, 60, 2))
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype not in FLOATS:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        a = rng.integers(max(low, -(10 ** rng.integers(0, 9))), min(high, 10 ** rng.integers(1, 12)), shape)
        return np.asarray(a).astype(dtype)
    a = (
        lambda: rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 9),
        lambda: rng.integers(-9, 2000, shape),
        lambda: rng.choice(SPECIAL, shape),
        lambda: rng.choice(rng.choice(SPECIAL, 3), shape),
        lambda: rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 9, shape),
    )[rng.integers(5)]()
    with np.errstate(all="ignore"):
        return np.asarray(a).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_prints_as_torch_prints(dtype):
    rng = np.random.default_rng(TYPES.index(dtype))
    for _ in range(150):
        a = printed_array(rng, dtype)
        f, t = both(a)
        kind = rng.integers(5)
        if dtype in FLOATS and kind < 3:
            f.requires_grad_(), t.requires_grad_()
            if kind == 1:
                f, t = f.clone(), t.clone()
            elif kind == 2:
                f, t = f.reshape(-1), t.reshape(-1)
                if a.ndim == 1:
                    continue  # the same tensor
        assert repr(f).replace("ReshapeAliasBackward0", "ViewBackward0") == repr(t)
        assert str(f.shape) == str(t.shape)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_print_options(dtype):
    rng = np.random.default_rng(5)
    try:
        for _ in range(60):
            options = {
                "precision": int(rng.integers(0, 8)), "threshold": int(rng.integers(0, 60)),
                "edgeitems": int(rng.integers(1, 5)), "linewidth": int(rng.integers(30, 120)),
                "sci_mode": (None, True, False)[rng.integers(3)],
            }  # fmt: skip
            fastdl.set_printoptions(**options), torch.set_printoptions(**options)
            f, t = both(printed_array(rng, dtype))
            assert repr(f) == repr(t), options
    finally:
        for library in (fastdl, torch):
            library.set_printoptions(profile="default", sci_mode=None)


OPERATORS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("spec", ["", "d", ".3f", "8.2e", "g", ">9", "s"])
def test_formats_and_conversions(dtype, spec):
    rng = np.random.default_rng(1)
    for shape in [(), (1,), (1, 1), (3,), (0,), (2, 2)]:
        f, t = both(random_array(rng, dtype, shape))
        for convert in (lambda x: format(x, spec), lambda x: f"{x}", int, float, bool, len, operator.index, round):
            got, want = attempt(convert, f), attempt(convert, t)
            if isinstance(want, Exception):
                assert isinstance(got, Exception), (convert, f, got, want)
            elif not isinstance(want, torch.Tensor):
                assert got == want and type(got) is type(want), (convert, f)
        got, want = attempt(lambda x: [i.tolist() for i in x], f), attempt(lambda x: [i.tolist() for i in x], t)
        assert isinstance(got, Exception) if isinstance(want, Exception) else got == want
        for again in (copy.copy(f), copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
            assert again.dtype is f.dtype and again.shape == f.shape and again.tolist() == f.tolist()


# Promotion ----------------------------------------------------------------------------------------------------------


def refused(op, left, right):
    """What PyTorch refuses and fastdl computes (docs/torch-compatibility.md)."""
    if op == "-":
        return "bool" in (left, right)
    return op in ("//", "%", "**") and left == right == "bool"


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("left", TYPES)
def test_types_of_all_pairs(op, left):
    rng = np.random.default_rng(3)
    function = OPERATORS[op]
    shapes = [((2, 3), (2, 3)), ((2, 3), ()), ((), (3,)), ((), ()), ((2, 1), (1, 3)), ((0, 3), (3,))]
    for right in TYPES:
        if refused(op, left, right):
            continue
        for a, b in shapes:
            x, y = random_array(rng, left, a), random_array(rng, right, b)
            if op in ("/", "//", "%", "**"):  # no division by zero, no power of a negative number
                x, y = abs(x), np.maximum(abs(y), 1).astype(y.dtype)
            if op == "**":
                y = np.minimum(y, 2).astype(y.dtype)
            (fx, tx), (fy, ty) = both(x), both(y)
            assert_same(attempt(function, fx, fy), attempt(function, tx, ty), f"{left}{a} {op} {right}{b}")
    for number in (True, 2, 2.5):
        if refused(op, left, "bool" if number is True else ""):
            continue
        f, t = both(np.maximum(abs(random_array(rng, left, (2, 3))), 1).astype(left))
        assert_same(attempt(function, f, number), attempt(function, t, number), f"{left} {op} {number}")
        assert_same(attempt(function, number, f), attempt(function, number, t), f"{number} {op} {left}")


@pytest.mark.parametrize("op", ["iadd", "isub", "imul", "itruediv"])
def test_in_place_types_of_all_pairs(op):
    rng = np.random.default_rng(4)
    function = getattr(operator, op)
    for left in TYPES:
        for right in TYPES:
            x, y = random_array(rng, left, (2, 3)), np.maximum(abs(random_array(rng, right, (3,))), 1).astype(right)
            if op == "isub" and right == "bool":
                continue  # PyTorch refuses
            (fx, tx), (fy, ty) = both(x), both(y)
            assert_same(attempt(function, fx, fy), attempt(function, tx, ty), f"{left} {op} {right}")
            assert_same(fx, tx, f"{left} {op} {right}, written")


# Indexing -----------------------------------------------------------------------------------------------------------


def random_index(rng, shape):
    """An index of ints, slices, None, Ellipsis, integer lists and masks in any mix; sometimes out of range."""
    items, dim, ellipsis = [], 0, False
    ragged = (int(rng.integers(1, 4)),) if rng.random() < 0.7 else (2, int(rng.integers(1, 3)))
    for _ in range(rng.integers(1, len(shape) + 3)):
        kind = rng.integers(10)
        if kind == 0:
            items.append(None)
        elif kind == 1 and not ellipsis:
            items.append(Ellipsis)
            ellipsis = True
            dim = max(dim, int(rng.integers(dim, len(shape) + 1)))
        elif dim < len(shape):
            n = shape[dim]
            if kind <= 3 and n:
                items.append(int(rng.integers(-n, n)))
            elif kind <= 6 or not n:
                ends = [None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 3)) for _ in range(2)]
                items.append(slice(*ends, (None, 1, 2, 3)[rng.integers(4)]))
            elif kind == 7:
                items.append(rng.random(n) < 0.6)
            elif kind == 8 and dim + 1 < len(shape) and not ellipsis:
                items.append(rng.random((n, shape[dim + 1])) < 0.5)
                dim += 1
            else:
                items.append(rng.integers(-n, n, ragged))
            dim += 1
    return tuple(items) if len(items) != 1 or rng.random() < 0.5 else items[0]


def index_for(library, index):
    if isinstance(index, tuple):
        return tuple(index_for(library, i) for i in index)
    return library.tensor(index) if isinstance(index, np.ndarray) else index


def arranged(x, how):
    """x as it is, transposed twice in memory, or every second element of a larger tensor."""
    return (x, x.permute(*reversed(range(x.dim()))), x[1:, ..., ::2] if x.dim() > 1 else x[::2])[how]


@pytest.mark.parametrize("seed", range(6))
def test_indexing(seed):
    rng = np.random.default_rng(seed)
    for _ in range(150):
        base = rng.standard_normal(tuple(rng.integers(1, 5, rng.integers(1, 5))))
        how = int(rng.integers(3))
        probe = arranged(torch.tensor(base), how)
        index = random_index(rng, tuple(probe.shape))
        what = f"x{list(probe.shape)}[{index}], arranged {how}"
        found = []
        written = None
        for library in (torch, fastdl):
            x = library.tensor(base).requires_grad_()
            view = arranged(x, how)
            out = attempt(lambda v, i: v[i], view, index_for(library, index))
            found.append([out])
            if isinstance(out, Exception):
                continue
            up = np.cos(np.arange(out.numel())).reshape(tuple(out.shape))
            out.backward(library.tensor(up))
            found[-1].append(x.grad)
            # writing: a broadcast value with a gradient, into a view of what is computed
            if written is None:
                written = rng.standard_normal(tuple(out.shape)[rng.integers(0, out.dim() + 1):])
            value = library.tensor(written).requires_grad_()
            x = library.tensor(base).requires_grad_()
            y = x * 2
            outcome = attempt(lambda v, i, w: v.__setitem__(i, w), arranged(y, how), index_for(library, index), value)
            found[-1].append(outcome if isinstance(outcome, Exception) else y)
            if not isinstance(outcome, Exception) and not repeats(index, tuple(probe.shape)):
                (y * library.tensor(np.sin(np.arange(base.size)).reshape(base.shape))).sum().backward()
                found[-1] += [x.grad, value.grad]
        assert len(found[0]) == len(found[1]), (what, found)
        if len(found[0]) == 1:
            assert isinstance(found[0][0], Exception) == isinstance(found[1][0], Exception), (what, found)
            continue
        if repeats(index, tuple(probe.shape)):
            found = [f[:2] for f in found]  # which of several values an element takes is not defined
        for want, got in zip(*found):
            if want is None:  # nothing was written
                assert got is None or not got.numpy().any(), what
            else:
                assert_same(got, want, what)


def repeats(index, shape):
    """Whether an index names an element twice."""
    numbered = torch.arange(int(np.prod(shape))).reshape(shape)
    out = numbered[index_for(torch, index)].reshape(-1)
    return len(out.unique()) != len(out)


# Views --------------------------------------------------------------------------------------------------------------


def random_view(rng, x):
    """A function that takes a view of x; not split and unbind, into whose results PyTorch refuses to write."""
    n = x.dim()
    options = [lambda v: v.unsqueeze(0)]
    if n:
        d = int(rng.integers(n))
        options += [lambda v: v.squeeze(d), lambda v: v.unflatten(d, (-1, 1))]
        if x.shape[d]:
            i, length = int(rng.integers(x.shape[d])), int(rng.integers(1, x.shape[d] + 1))
            options += [lambda v: v.select(d, i), lambda v: v.narrow(d, x.shape[d] - length, length),
                        lambda v: v.unfold(d, length, length), lambda v: v[(slice(None),) * d + (slice(i, None, 2),)]]
    if n > 1:
        a, b = (int(k) for k in rng.choice(n, 2, replace=False))
        order = [int(k) for k in rng.permutation(n)]
        k = int(rng.integers(-1, 2))
        options += [lambda v: v.transpose(a, b), lambda v: v.permute(*order), lambda v: v.movedim(a, b),
                    lambda v: v.diagonal(k, a, b), lambda v: v.tensor_split(2, a)[0], lambda v: v.swapaxes(a, b),
                    lambda v: v.reshape(-1, v.shape[-1]) if v.is_contiguous() else v.mT]
    return options[rng.integers(len(options))]


WRITES = {
    "copy_": lambda v, w: v.copy_(w), "add_": lambda v, w: v.add_(w), "mul_": lambda v, w: v.mul_(w),
    "[...] =": lambda v, w: v.__setitem__(..., w), "zero_": lambda v, w: v.zero_(), "fill_": lambda v, w: v.fill_(3),
    "sub": operator.isub, "div": lambda v, w: v.div_(w + 9), "tanh_": lambda v, w: v.tanh_(),
    "clamp_": lambda v, w: v.clamp_(-0.5, 0.7), "exp_": lambda v, w: v.exp_(), "sigmoid_": lambda v, w: v.sigmoid_(),
    "masked_fill_": lambda v, w: v.masked_fill_(v.detach() > 0, 2.0), "neg_": lambda v, w: v.neg_(),
    "addcmul_": lambda v, w: v.addcmul_(w, w, value=0.5), "lerp_": lambda v, w: v.lerp_(w, 0.3),
    "pow_": lambda v, w: v.pow_(2), "relu_": lambda v, w: v.relu_(), "square_": lambda v, w: v.square_(),
}  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_writes_into_views_of_views(write):
    rng = np.random.default_rng(sorted(WRITES).index(write))
    for _ in range(60):
        base = rng.standard_normal(tuple(rng.integers(1, 5, rng.integers(1, 4))))
        views, probe = [], torch.tensor(base)
        for _ in range(rng.integers(1, 4)):
            views.append(random_view(rng, probe))
            probe = views[-1](probe)
        value = rng.standard_normal(tuple(probe.shape)[rng.integers(0, probe.dim() + 1):])
        found = []
        for library in (torch, fastdl):
            x, w = library.tensor(base).requires_grad_(), library.tensor(value).requires_grad_()
            y = x * 2
            v = y
            for view in views:
                v = view(v)
            outcome = attempt(WRITES[write], v, w)
            if isinstance(outcome, Exception):
                found.append([outcome])
                continue
            (y * library.tensor(np.sin(np.arange(base.size)).reshape(base.shape)) * y).sum().backward()
            found.append([y, v, x.grad, w.grad])
        what = f"{write} {base.shape} -> {tuple(probe.shape)}"
        assert len(found[0]) == len(found[1]), (what, found)
        for want, got in zip(*found):
            if want is None or (got is None and not want.detach().numpy().any()):
                assert got is None or not got.numpy().any(), what
            else:
                assert_same(got, want, what)


VIEWS = {
    "split": lambda y: y.split(2)[1], "split sizes": lambda y: y.split([1, 3])[0], "chunk": lambda y: y.chunk(2)[1],
    "unbind": lambda y: y.unbind(1)[2], "iter": lambda y: list(y)[1], "piece of a piece": lambda y: y.split(2)[1][0],
    "tensor_split": lambda y: y.tensor_split(3)[1], "split_with_sizes": lambda y: y.split_with_sizes([1, 3])[1],
    "hsplit": lambda y: y.hsplit(2)[1], "vsplit": lambda y: y.vsplit(2)[0],
    "unflatten": lambda y: y.unflatten(1, (2, 3)),
    "narrow": lambda y: y.narrow(1, 1, 3), "select": lambda y: y.select(1, 2), "movedim": lambda y: y.movedim(0, 1),
    "swapaxes": lambda y: y.swapaxes(0, 1), "T": lambda y: y.T, "mT": lambda y: y.mT, "t": lambda y: y.t(),
    "diagonal": lambda y: y.diagonal(1), "unfold": lambda y: y.unfold(1, 2, 3), "view": lambda y: y.view(-1),
    "as_strided": lambda y: y.as_strided((3, 2), (6, 2), 1), "squeeze": lambda y: y[:1].squeeze(0),
    "[]": lambda y: y[2],
    "overlapping": lambda y: y.unfold(1, 3, 2), "strided twice": lambda y: y[1:].as_strided((2, 2), (5, 3)),
}  # fmt: skip


def written(library, kind, view):
    """What a write into a view does; kind: where view and write stand."""
    x = library.arange(24.0).reshape(4, 6).clone().requires_grad_(kind != "no gradient")
    y = x if kind in ("leaf", "no gradient") else x * 2
    if kind == "view in no_grad":
        with library.no_grad():
            view(y).add_(1), view(y).mul_(view(y))
            v = view(y)
    else:
        v = view(y)
        assert kind != "recorded" or v._base is y
    if kind == "base first":
        y.mul_(2)
    w = library.ones(v.shape).cumsum(-1).requires_grad_()
    v.mul_(w)
    (y * y).sum().backward()
    return v.detach(), x.grad if kind != "no gradient" else None, w.grad


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_a_view_and_may_be_written(view):
    for kind in ("recorded", "leaf", "no gradient", "base first", "view in no_grad"):
        if view == "overlapping":
            continue  # which of several writes wins is not defined
        want, got = (attempt(written, library, kind, VIEWS[view]) for library in (torch, fastdl))
        if isinstance(want, Exception):
            assert isinstance(got, RuntimeError), (kind, got, want)
            if kind != "no gradient":
                assert str(got) == str(want), kind
        else:
            assert not isinstance(got, Exception), (kind, got)
            for g, w in zip(got, want):
                assert w is None or np.array_equal(g.numpy(), w.numpy()), kind


@pytest.mark.parametrize("view", VIEWS)
def test_derivatives_of_views(view):
    rng = np.random.default_rng(2)
    a = rng.standard_normal((4, 6))
    x = fastdl.tensor(a).requires_grad_()
    assert fastdl.autograd.gradcheck(lambda t: VIEWS[view](t * 1.0), (x,))
    assert fastdl.autograd.gradgradcheck(lambda t: VIEWS[view](t * t), (x,))
    names = [VIEWS[view](library.tensor(a).requires_grad_() * 2).grad_fn.name() for library in (torch, fastdl)]
    assert names[0].rstrip("0123") == names[1].rstrip("0123")


SHAPED = {
    "t_": lambda y: y.t_(), "squeeze_": lambda y: y.squeeze_(), "unsqueeze_": lambda y: y.unsqueeze_(1),
    "transpose_": lambda y: y.transpose_(0, 1), "swapaxes_": lambda y: y.swapaxes_(0, 1),
    "swapdims_": lambda y: y.swapdims_(0, 1), "as_strided_": lambda y: y.as_strided_((2, 2), (1, 2), 1),
    "resize_": lambda y: y.resize_(3, 2), "resize_as_": lambda y: y.resize_as_(y[:2]),
    "larger": lambda y: y.resize_((4, 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPED)
def test_views_in_place(name):
    def of_result(library):
        y = library.arange(24.0).reshape(4, 6).requires_grad_(name[0] not in "rl") * 2
        v = y[1:3]
        same = SHAPED[name](y) is y
        if y.requires_grad:
            if name != "as_strided_":
                v.mul_(2)
            (y * y).sum().backward()
        return same, tuple(y.shape), y.stride(), v.detach(), y.detach().reshape(-1)[:24]

    def of_view(library):
        x = library.arange(24.0).reshape(4, 6)
        v = x[1:3] if name != "larger" else x
        SHAPED[name](v).add_(1)
        return tuple(v.shape), x.reshape(-1)[:24]

    def of_leaf(library):
        x = library.ones(4, 6, requires_grad=True)
        if name[0] not in "rl":
            with library.no_grad():
                SHAPED[name](x)
        return tuple(SHAPED[name](x).shape)

    def of_saved(library):
        y = library.ones(4, 6, requires_grad=True) * 2
        z = y * y
        SHAPED[name](y)
        z.sum().backward()

    for function in (of_result, of_view, of_leaf, of_saved):
        want, got = (attempt(function, library) for library in (torch, fastdl))
        if not isinstance(want, tuple):
            assert_same(got, want, function.__name__)
        else:
            for g, w in zip(got, want):
                assert_same(g, w, function.__name__) if isinstance(w, torch.Tensor) else None
                assert isinstance(w, torch.Tensor) or g == w, function.__name__
