"""Cases of fastdl.ops.shape, fastdl.ops.indexing and fastdl.ops.common: every index form for reading and writing."""

import numpy as np

import fastdl
from tests.cases import Case, Error, integers, normal

SHAPES = [(0, 3, 2), (1, 1, 1), (4, 5, 3), (2, 17, 33)]


def _x(rng, *s):
    return {"x": normal(rng, *s)}


def _case(name, op, reference, inputs=_x, shapes=SHAPES, **kwargs):
    return Case(name, op, reference, inputs, shapes, wrt=kwargs.pop("wrt", ("x",)), rtol=1e-6, **kwargs)


CASES = [
    _case("reshape", lambda x: x.reshape(-1, x.shape[2]) if x.numel() else x.reshape(0, 6), lambda x: x.reshape(-1, x.shape[2]) if x.size else x.reshape(0, 6)),
    _case("reshape_copy", lambda x: x.transpose(0, 1).reshape(-1), lambda x: x.swapaxes(0, 1).reshape(-1)),
    _case("permute", lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    _case("transpose", lambda x: x.transpose(-1, 0), lambda x: x.swapaxes(-1, 0)),
    _case("T", lambda x: x[0].T if len(x) else x.sum(0).T, lambda x: x[0].T if len(x) else x.sum(0).T, shapes=SHAPES[1:]),
    _case("squeeze", lambda x: x.unsqueeze(1).squeeze(1).unsqueeze(-1), lambda x: x[..., None]),
    _case("flatten", lambda x: x.flatten(1), lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2])),
    _case("expand", lambda x: x.unsqueeze(0).expand(3, -1, -1, -1), lambda x: np.broadcast_to(x, (3, *x.shape))),
    _case("repeat", lambda x: x.repeat(2, 1, 3), lambda x: np.tile(x, (2, 1, 3))),
    _case("repeat_interleave", lambda x: x.repeat_interleave(3, dim=1), lambda x: np.repeat(x, 3, 1)),
    _case("flip", lambda x: x.flip(0, 2), lambda x: x[::-1, :, ::-1]),
    _case("roll", lambda x: x.roll(2, 1), lambda x: np.roll(x, 2, 1)),
    _case("cat", lambda x, y: fastdl.cat([x, y, x], 1), lambda x, y: np.concatenate([x, y, x], 1),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "y": normal(rng, a, 2, c)}, wrt=("x", "y")),
    _case("stack", lambda x, y: fastdl.stack([x, y], -1), lambda x, y: np.stack([x, y], -1),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "y": normal(rng, a, b, c)}, wrt=("x", "y")),
    _case("split", lambda x: x.split(2, 1)[0] * 2, lambda x: x[:, :2] * 2),
    _case("chunk_all", lambda x: fastdl.cat([c * (i + 1.0) for i, c in enumerate(x.chunk(2, 1))], 1),
          lambda x: np.concatenate([x[:, : -(-x.shape[1] // 2)], x[:, -(-x.shape[1] // 2):] * 2], 1)),
    _case("unbind", lambda x: x.unbind(1)[0] * 3, lambda x: x[:, 0] * 3),
    _case("narrow", lambda x: x.narrow(1, 1, x.shape[1] - 1), lambda x: x[:, 1:]),
    _case("getitem_int", lambda x: x[-1, :, 0], lambda x: x[-1, :, 0], shapes=SHAPES[1:]),
    _case("getitem_slice", lambda x: x[:, 1::2, None, ..., :2], lambda x: x[:, 1::2, None, ..., :2]),
    _case("getitem_list", lambda x: x[:, [0, -1, 0]], lambda x: x[:, [0, -1, 0]]),
    _case("getitem_two_lists", lambda x: x[[0, 0], :, [0, -1]], lambda x: x[[0, 0], :, [0, -1]], shapes=SHAPES[1:]),
    # an int beside a list: PyTorch takes the int first, so the list's dimension stays where it is
    _case("getitem_int_list", lambda x: x[0, :, [0, -1]], lambda x: x[0][:, [0, -1]], shapes=SHAPES[1:]),
    _case("getitem_tensor", lambda x, i: x[:, i], lambda x, i: x[:, i],
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "i": integers(rng, 3, 2, below=b)}),
    _case("getitem_mask", lambda x, m: x[m], lambda x, m: x[m],
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "m": rng.random((a, b)) > 0.5}),
    _case("index_select", lambda x, i: x.index_select(1, i), lambda x, i: np.take(x, i, 1),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "i": integers(rng, 4, below=b)}),
    _case("gather", lambda x, i: x.gather(1, i), lambda x, i: np.take_along_axis(x, i, 1),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "i": integers(rng, a, 2, c, below=b)}),
    _case("masked_fill", lambda x, m: x.masked_fill(m, -7.5), lambda x, m: np.where(m, -7.5, x),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "m": rng.random((b, 1)) > 0.5}),
    _case("tril", lambda x: x.tril(1) + x.triu(2) * 2, lambda x: np.tril(x, 1) + np.triu(x, 2) * 2),
    _case("sort", lambda x: x.sort(1, descending=True)[0], lambda x: -np.sort(-x, 1)),
    _case("topk", lambda x: x.topk(1, 1)[0], lambda x: x.max(1, keepdims=True)),
    _case("clone", lambda x: x.clone() * x.detach(), lambda x: x * x, wrt=()),
    _case("setitem_slice", lambda x, y: _write(x, (slice(None), slice(1, None)), y), lambda x, y: _write_np(x, (slice(None), slice(1, None)), y),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "y": normal(rng, 1, c)}, wrt=("x", "y")),
    _case("setitem_int", lambda x, y: _write(x, 0, y), lambda x, y: _write_np(x, 0, y),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "y": normal(rng)}, shapes=SHAPES[1:], wrt=("x", "y")),
    _case("setitem_mask", lambda x, m, y: _write(x, m, y), lambda x, m, y: _write_np(x, m, y),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "m": rng.random((a, b)) > 0.4, "y": normal(rng, c)}, wrt=("x", "y")),
    _case("setitem_mixed", lambda x, y: _write(x, (0, slice(None), [0, -1]), y), lambda x, y: _write_np(x, (0, slice(None), [0, -1]), y.T),
          lambda rng, a, b, c: {"x": normal(rng, a, b, max(c, 2)), "y": normal(rng, b, 2)}, shapes=SHAPES[2:], wrt=("x", "y")),
    _case("write_into_view", lambda x, y: _view_write(x, y), lambda x, y: _view_write_np(x, y),
          lambda rng, a, b, c: {"x": normal(rng, a, b, c), "y": normal(rng, c)}, shapes=SHAPES[1:], wrt=("x", "y")),
]


def _write(x, index, value):
    x = x * 2
    x[index] = value
    return x * x


def _write_np(x, index, value):
    x = x * 2
    x[index] = value
    return x * x


def _view_write(x, y):
    """In-place work on a view of a view changes the base and its history."""
    base = x * 1
    row = base[-1].reshape(-1)[: y.shape[0]]
    row *= 3
    row += y
    return base * base


def _view_write_np(x, y):
    base = x * 1
    row = base[-1].reshape(-1)[: y.shape[0]]
    row *= 3
    row += y
    return base * base


ERRORS = [
    Error("reshape size", lambda: fastdl.ones(2, 3).reshape(4, 2), RuntimeError, r"\[reshape\] shape \(4, 2\) is invalid for input of size 6"),
    Error("reshape two -1", lambda: fastdl.ones(2, 3).reshape(-1, -1), RuntimeError, r"only one size can be -1"),
    Error("view of transposed", lambda: fastdl.ones(2, 3).T.view(6), RuntimeError, r"\[view\].*Use \.reshape"),
    Error("cat sizes", lambda: fastdl.cat([fastdl.ones(2, 3), fastdl.ones(2, 4)]), RuntimeError, r"tensor 0 has shape \(2, 3\), tensor 1 has \(2, 4\)"),
    Error("cat nothing", lambda: fastdl.cat([]), ValueError, "non-empty list"),
    Error("stack shapes", lambda: fastdl.stack([fastdl.ones(2), fastdl.ones(3)]), RuntimeError, r"\(2,\) at entry 0 and \(3,\) at entry 1"),
    Error("index range", lambda: fastdl.ones(2, 3)[0, 5], IndexError, r"index 0, 5 .*\(2, 3\).*5.*size 3"),
    Error("index float", lambda: fastdl.ones(2)[fastdl.ones(1)], IndexError, "integer or bool"),
    Error("index step", lambda: fastdl.ones(4)[::-1], ValueError, "step must be greater than zero"),
    Error("setitem shape", lambda: fastdl.ones(2, 3).__setitem__(0, fastdl.ones(2)), RuntimeError, r"\[setitem\].*\(2,\).*\(2, 3\)"),
    Error("gather range", lambda: fastdl.ones(2, 3).gather(1, fastdl.tensor([[0, 3]])), RuntimeError, r"index\[0, 1\] = 3 is outside \[0, 3\)"),
    Error("permute count", lambda: fastdl.ones(2, 3).permute(0), RuntimeError, "expected 2 dimensions"),
    Error("dim range", lambda: fastdl.ones(2, 3).transpose(0, 2), IndexError, r"\[transpose\] dim 2 is outside \[-2, 1\]"),
    Error("expand", lambda: fastdl.ones(2, 3).expand(2, 4), RuntimeError, r"dimension 1 is 3, not 4"),
    Error("topk", lambda: fastdl.ones(2, 3).topk(4), RuntimeError, r"k = 4 is outside \[0, 3\]"),
    Error("numpy of grad", lambda: fastdl.ones(2, requires_grad=True).numpy(), RuntimeError, "Use tensor.detach"),
    Error("bool of many", lambda: bool(fastdl.ones(2)), RuntimeError, "ambiguous"),
    Error("item of many", lambda: fastdl.ones(2).item(), RuntimeError, "2 elements"),
    Error("ragged list", lambda: fastdl.tensor([[1, 2], [3]]), ValueError, "expected sequence of length 2 at dim 1"),
    Error("int requires grad", lambda: fastdl.ones(2, dtype=fastdl.int64, requires_grad=True), RuntimeError, "floating point"),
    Error("cuda", lambda: fastdl.ones(2, device="cuda"), RuntimeError, "CPU only"),
    Error("negative size", lambda: fastdl.zeros(2, -1), RuntimeError, "negative size"),
    Error("33 dimensions", lambda: fastdl.zeros([1] * 33), ValueError, "at most 32 dimensions, got 33"),
    Error("33 dimensions by views", lambda: fastdl.zeros([1] * 32).unsqueeze(0), ValueError, "at most 32 dimensions"),
    Error("33 dimensions expanded", lambda: fastdl.zeros(1).expand([2] * 33), ValueError, "at most 32 dimensions"),
    Error("33 dimensions from NumPy", lambda: fastdl.from_numpy(np.zeros([1] * 33)), ValueError, "at most 32 dimensions"),
    Error("too large", lambda: fastdl.zeros(2**40, 2**40), MemoryError, "too large"),
]
