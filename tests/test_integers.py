"""Operators of layers on integers: they keep their type, as in PyTorch."""

import pytest

import fastdl
from tests.both import on_both

CALLS = [
    "F.conv1d(x, w)", "F.conv1d(x, w, w[0, 0, :2], 2, 1)", "F.conv2d(x, w.unsqueeze(0).mT)",
    "F.max_pool1d(x, 2, 1, return_indices=True)[0]",
    "F.max_pool2d(x, 2, 1, return_indices=True)[1]", "F.max_pool2d(x, (2, 3))", "F.embedding(x[0].long() % 3, x[0])",
    "F.hardtanh(x, 2, 4)", "F.relu6(x)", "F.threshold(x, 1.5, 2.5)", "F.l1_loss(x, x + 3, reduction='none')",
    "F.l1_loss(x, x * 2, reduction='sum')", "F.dropout(x, 0.5, False)",
    "F.hinge_embedding_loss(x, x % 2 * 2 - 1, 2.5, reduction='none')", "torch.einsum('ijk,l->ljk', x, w[0, 0])",
    "torch.addbmm(x[0, :, :3], x[:, :, :2], x[:, :2, :3])",
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("call", CALLS)
def test_as_pytorch(call, dtype):
    torch = pytest.importorskip("torch")

    def result(t):
        x = (t.arange(40).reshape(2, 4, 5) * 7 % 11).to(getattr(t, dtype))
        w = (t.arange(24).reshape(2, 4, 3) % 5).to(getattr(t, dtype))
        try:
            y = eval(call, {"torch": t, "F": t.nn.functional, "x": x, "w": w})
        except RuntimeError:
            return "RuntimeError"
        return str(y.dtype), y.tolist()

    assert result(fastdl) == result(torch)


def test_large_integers_wrap():
    x = fastdl.full((1, 1, 4), 200, dtype=fastdl.uint8)
    assert fastdl.nn.functional.conv1d(x, x[..., :2]).tolist() == [[[80000 % 256] * 3]]


def test_means_of_windows_are_cut_to_whole_numbers():
    x, pools = fastdl.tensor([[[-3, -1, -5, 8]]]), fastdl.nn.functional
    for dtype in (fastdl.int32, fastdl.int64):  # PyTorch has int64 only
        assert pools.avg_pool1d(x.to(dtype), 2, 1).tolist() == [[[-2, -3, 1]]]
        found = pools.avg_pool2d(x.to(dtype), (1, 2), padding=(0, 1), divisor_override=3)
        assert found.dtype is dtype and found.tolist() == [[[-1, -2, 2]]]


# What a type does not hold ----------------------------------------------------------------------------------------


@on_both
def test_numbers_that_integers_do_not_hold(T):
    u, c = T.tensor([1, 2], dtype=T.uint8), T.tensor([1, 2], dtype=T.int8)
    # arithmetic wraps
    assert [(u + 300).tolist(), (u + -1).tolist(), (u * 300).tolist(), (u - 300).tolist()] == [
        [45, 46], [0, 1], [44, 88], [213, 214]]  # fmt: skip
    assert (c + 200).tolist() == [-55, -54] and (c * 200).tolist() == [-56, -112]
    # a number that is stored has to fit; a negative one wraps in an unsigned type
    mask = u > 1
    assert u.masked_fill(mask, -1).tolist() == [1, 255] and T.full((1,), -1, dtype=T.uint8).tolist() == [255]
    assert T.tensor([-1], dtype=T.uint8).tolist() == [255] and u.clone().fill_(-3).tolist() == [253, 253]
    x = u.clone()
    x[0] = -1
    x[mask] = -2
    assert x.tolist() == [255, 254]
    for store in (
        lambda: u.masked_fill(mask, 300),
        lambda: u.masked_fill_(mask, -300),
        lambda: c.masked_fill(mask, 200),
        lambda: c.clone().fill_(-129),
        lambda: T.full((2,), 300, dtype=T.uint8),
        lambda: T.full_like(c, 128),
        lambda: T.tensor(300, dtype=T.uint8),
        lambda: u.clamp(0, 300),
        lambda: u**300,
        lambda: u.__setitem__(0, 300),
    ):
        with pytest.raises(RuntimeError, match="without overflow"):
            store()


@on_both
def test_writing_tensors_of_another_type(T):
    x, mask = T.zeros(3, 2), T.tensor([True, False, True])
    for value in (T.ones(2, 2, dtype=T.float64), T.ones(2, 2, dtype=T.int64)):
        for index in (mask, T.tensor([0, 2]), [0, 2]):
            with pytest.raises(RuntimeError, match="source and destination dtypes match"):
                x[index] = value
        x[1:] = value  # a slice is copied into
        x[mask] = value[0, 0] * 2  # one element fills
        x[mask] = 3
    assert x.tolist() == [[3, 3], [1, 1], [3, 3]]
    n = T.zeros(2, dtype=T.int64)
    n.copy_(T.tensor([1.5, 2.5], requires_grad=True))
    n[0] = T.tensor(7.9, requires_grad=True)
    assert n.tolist() == [7, 2] and not n.requires_grad


@on_both
def test_types_that_must_agree(T):
    x, y, n = T.ones(2), T.ones(2, dtype=T.float64), T.ones(2, dtype=T.int64)
    for refused in (
        lambda: T.isclose(x, y),
        lambda: T.allclose(x, n),
        lambda: T.lerp(x, y, 0.5),
        lambda: T.lerp(x, x, y),
        lambda: T.meshgrid(x, y, indexing="ij"),
    ):
        with pytest.raises(RuntimeError):
            refused()
    assert T.lerp(x, x * 3, T.tensor(0.5, dtype=T.float64)).tolist() == [2, 2]
