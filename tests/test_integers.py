"""Operators of layers on integers: they keep their type, as in PyTorch."""

import pytest

import fastdl

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
