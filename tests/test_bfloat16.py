"""bfloat16: a storage type. Conversion, promotion, printing and files against PyTorch; arithmetic is float32's."""

import copy
import io
import pickle

import numpy as np
import pytest

import fastdl
import fastdl.nn.functional as F
from fastdl import nn

BF16 = fastdl.bfloat16


def all_values() -> fastdl.Tensor:
    """A tensor of all 2^16 bit patterns."""
    return fastdl.tensor(np.arange(2**16, dtype=np.uint16).view(BF16.numpy))


def rounded(x: np.ndarray) -> np.ndarray:
    """float32 values rounded to bfloat16, by arithmetic on float64 (no NaN, nothing that overflows)."""
    x = x.astype(np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 8, -133)  # 8 bits; denormals are multiples of 2^-133
    return np.ldexp(np.rint(np.ldexp(x, -exponent)), exponent)


def test_every_value_becomes_the_float_of_its_bits():
    bits = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(all_values().float().numpy(), bits)
    back = fastdl.tensor(bits).bfloat16().float().numpy()
    np.testing.assert_array_equal(back, bits)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(bits))


def test_rounds_to_nearest_even():
    rng = np.random.default_rng(0)
    x = np.ldexp(rng.normal(size=100_000), rng.integers(-140, 120, 100_000)).astype(np.float32)
    ties = (rng.integers(0, 0x7F70, 1000).astype(np.uint32) << 16 | 0x8000).view(np.float32)
    for values in (x, ties, -ties):
        np.testing.assert_array_equal(fastdl.tensor(values).bfloat16().float().numpy(), rounded(values))
    edge = np.array([3.3961775e38, -3.4e38, 3.3895314e38, np.inf, np.nan, -np.nan, -0.0], np.float32)
    found = fastdl.tensor(edge).bfloat16().float().numpy()
    np.testing.assert_array_equal(found, np.float32([np.inf, -np.inf, 3.3895314e38, np.inf, np.nan, np.nan, -0.0]))
    quiet = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF], np.uint32).view(np.float32)  # low bits only, and all ones
    assert np.isnan(fastdl.tensor(quiet).bfloat16().float().numpy()).all()


def test_conversion_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = all_values(), torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    for name in ("float32", "float64", "float16", "bool"):
        with np.errstate(invalid="ignore", over="ignore"):  # signalling NaN, too large for float16
            found, expected = ours.to(getattr(fastdl, name)), theirs.to(getattr(torch, name))
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    found, expected = fastdl.tensor(halves).bfloat16(), torch.from_numpy(halves).bfloat16()
    np.testing.assert_array_equal(found.float().numpy(), expected.float().numpy())
    rng = np.random.default_rng(1)
    floats = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    whole = rng.integers(-(2**62), 2**62, 1000)
    for values in (floats, rng.normal(size=1000), whole, whole.astype(np.int32), whole.astype(np.uint8), whole > 0):
        found, expected = fastdl.tensor(values).to(BF16), torch.from_numpy(values).to(torch.bfloat16)
        np.testing.assert_array_equal(found.float().numpy(), expected.float().numpy())
    inside = rng.normal(size=100) * 50
    for name in ("int64", "int32", "int16", "int8"):
        found = fastdl.tensor(inside).to(BF16).to(getattr(fastdl, name))
        expected = torch.from_numpy(inside).to(torch.bfloat16).to(getattr(torch, name))
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_promotion():
    names = ["bool", "uint8", "int64", "float16", "bfloat16", "float32", "float64"]
    for other, expected in zip(names, ["bfloat16"] * 3 + ["float32", "bfloat16", "float32", "float64"]):
        a, b = fastdl.bfloat16, getattr(fastdl, other)
        assert fastdl.promote_types(a, b) is fastdl.promote_types(b, a) is getattr(fastdl, expected)
        assert (fastdl.ones(2, dtype=a) + fastdl.ones(2, dtype=b)).dtype is getattr(fastdl, expected)
    x = fastdl.ones(2, dtype=BF16)
    assert (x + 1).dtype is (2.5 * x).dtype is (x / 2).dtype is (x + fastdl.tensor(1.0)).dtype is BF16


X = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
CALLS = [
    "x + x.T.reshape(4, 6)", "1 / x", "x.abs() ** 1.5", "x.exp()", "x.abs().sqrt()", "x.sum(1)", "x.mean()",
    "x.var(0)", "x.norm()", "x @ x.T", "x.softmax(1)", "x.max(1).values", "x.argmax(1)", "x.argmin(0)",
    "x.sort(1).indices", "x.topk(2).values", "x.cumsum(0)", "x > 0.25", "t.where(x > 0, x, -x)", "t.cat([x, x])",
    "t.stack([x, -x])", "x[1:, [0, 3]]", "x[x > 0]", "x.clamp(-0.5, 0.5)", "x.relu()", "F.gelu(x)", "x.sigmoid()",
    "F.silu(x)", "x.isnan()", "x.nonzero()", "F.layer_norm(x, (6,))", "x.logsumexp(0)", "x.median()",
    "t.unique((x * 2).round())", "x.repeat(2, 1)", "F.linear(x, x[:3], x[0, :3])", "x.all()", "x.round()",
    "x.masked_fill(x > 0, 3.3)", "x.gather(1, x.argsort(1))", "F.scaled_dot_product_attention(x, x, x)",
    "F.cross_entropy(x, t.tensor([0, 2, 5, 1]))", "F.mse_loss(x, x * 0.5)", "t.outer(x[0], x[1])",
    "F.embedding(t.tensor([0, 2, 2]), x)", "x.prod(1)",
    "F.conv2d(x.reshape(1, 1, 4, 6), x[:2, :2].reshape(1, 1, 2, 2))", "F.max_pool2d(x.reshape(1, 1, 4, 6), 2)",
    "t.maximum(x, -x)", "x // 0.5", "x % 0.5", "x.sign()", "x.diff()", "x.triu()", "x.flip(0)", "x == x.T.T",
    "F.batch_norm(x, None, None, training=True)", "t.lerp(x, -x, 0.25)", "t.addmm(x[:, :4], x, x.T)",
    "t.bmm(x[None], x.T[None])", "x.index_add(0, t.tensor([1, 2]), x[:2])", "x.scatter(1, t.tensor([[0], [1]]), 2.0)",
    "F.conv_transpose2d(x.reshape(1, 2, 4, 3), x.reshape(2, 3, 2, 2), None, (2, 1), 0, (1, 0))",
    "F.avg_pool2d(x.reshape(1, 1, 4, 6), (2, 3), 1, (1, 0))", "F.nll_loss(x, t.tensor([0, 2, 5, 1]))",
    "F.adaptive_avg_pool2d(x.reshape(1, 1, 4, 6), (3, 4))", "F.adaptive_avg_pool2d(x.reshape(1, 1, 4, 6), 1)",
    *(f"F.interpolate(x.reshape(1, 1, 4, 6), None, 1.7, {mode!r})" for mode in ("nearest", "bilinear", "area")),
    "F.interpolate(x.reshape(1, 4, 6), size=5, mode='linear')", "F.binary_cross_entropy_with_logits(x, x.sigmoid())",
    "F.binary_cross_entropy_with_logits(x, x.float().sigmoid())",
    "F.binary_cross_entropy_with_logits(x.double(), x.sigmoid())",
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_function(call):
    """As PyTorch, up to one step of the result (where PyTorch rounds in between)."""
    torch = pytest.importorskip("torch")
    found, expected = (
        eval(call, {"t": t, "F": t.nn.functional, "x": t.tensor(X.tolist(), dtype=t.bfloat16)}) for t in (fastdl, torch)
    )
    assert str(found.dtype) == str(expected.dtype)
    assert tuple(found.shape) == tuple(expected.shape)
    np.testing.assert_allclose(found.double().numpy(), expected.double().numpy(), 2**-7, 2**-7)


def test_gradients():
    torch = pytest.importorskip("torch")
    grads = []
    for t in (fastdl, torch):
        x = t.tensor(X.tolist(), dtype=t.bfloat16, requires_grad=True)
        (t.nn.functional.gelu(x @ x.T).softmax(1) * x[:, :4]).sum().backward()
        assert x.grad.dtype is t.bfloat16
        grads.append(x.grad.double().numpy())
    np.testing.assert_allclose(*grads, 2**-6, 2**-6)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers(name):
    layer = getattr(nn, name)(6, 3, bidirectional=True).to(BF16)
    x = fastdl.tensor(X.tolist(), dtype=BF16, requires_grad=True)
    out = layer(x)[0]
    out.sum().backward()
    assert out.dtype is x.grad.dtype is layer.weight_hh_l0.grad.dtype is BF16
    y = x.detach().float().requires_grad_()
    expected = layer.float()(y)[0]
    expected.sum().backward()
    np.testing.assert_allclose(out.detach().double().numpy(), expected.detach().double().numpy(), 2**-7, 2**-9)
    np.testing.assert_allclose(x.grad.double().numpy(), y.grad.double().numpy(), 2**-6, 2**-7)


def test_packing_has_a_gradient():
    x = fastdl.ones(3, 2, 1, dtype=BF16, requires_grad=True)
    nn.utils.rnn.pack_padded_sequence(x, [3, 1]).data.sum().backward()
    assert x.grad.squeeze(2).tolist() == [[1, 1], [1, 0], [1, 0]]


def test_in_place():
    x = fastdl.zeros(3, dtype=BF16)
    x += 1
    x[1] = 2.5
    x.mul_(fastdl.tensor([2.0, 2.0, 1.0078125]))
    assert x.tolist() == [2.0, 5.0, 1.0078125]
    x.copy_(fastdl.tensor([1, 2, 3]))
    assert x.tolist() == [1, 2, 3]
    assert x.fill_(0.1).tolist() == [0.10009765625] * 3
    x.uniform_().normal_()
    assert fastdl.rand(5, dtype=BF16).dtype is fastdl.randn(5, dtype=BF16).dtype is BF16
    assert F.dropout(fastdl.ones(100, dtype=BF16)).dtype is BF16


def test_printing():
    torch = pytest.importorskip("torch")
    for values in ([1.5, -2.25, 3.1], [[1.0, 2.0]], [], 3.3, [1e10, 1e-10, float("nan")]):
        found = repr(fastdl.tensor(values, dtype=BF16))
        assert found == repr(torch.tensor(values, dtype=torch.bfloat16))
    assert repr(BF16) == "torch.bfloat16"


def test_attributes_and_copies():
    x = fastdl.tensor([1.5, 2.5], dtype=BF16)
    assert x.element_size() == 2 and x.is_floating_point() and x.type() == "torch.BFloat16Tensor"
    assert x.bool().all() and x[0].item() == 1.5
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone(), x.to(BF16), x.new_zeros(2) + x):
        assert y.dtype is BF16 and y.tolist() == [1.5, 2.5]
    assert pickle.loads(pickle.dumps(BF16)) is BF16
    for refuses in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="Got unsupported ScalarType BFloat16"):
            refuses()
    info = fastdl.finfo(BF16)
    assert (info.bits, info.eps, info.max, info.tiny) == (16, 2**-7, 3.3895313892515355e38, 2**-126)


def test_module(tmp_path):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4)).to(fastdl.bfloat16)
    assert {p.dtype for p in net.parameters()} == {BF16}
    out = net(fastdl.ones(2, 3, dtype=BF16))
    assert out.dtype is BF16
    out.sum().backward()
    assert net[0].weight.grad.dtype is BF16
    assert net.float().bfloat16()[0].bias.dtype is BF16
    path = tmp_path / "net.safetensors"
    for target in (path, io.BytesIO()):
        fastdl.save({**net.state_dict(), "single": fastdl.ones(3)}, target)
        loaded = fastdl.load(target if target is path else io.BytesIO(target.getvalue()))
        assert loaded["0.weight"].dtype is BF16 and fastdl.equal(loaded["0.weight"], net[0].weight)
        assert loaded["single"].dtype is fastdl.float32
    safetensors = pytest.importorskip("safetensors.torch")
    pytest.importorskip("torch")
    other = safetensors.load_file(str(path))
    assert str(other["0.bias"].dtype) == "torch.bfloat16" and other["0.bias"].tolist() == net[0].bias.tolist()


def test_from_pytorch():
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    for y in (fastdl.tensor(x), fastdl.from_dlpack(x), fastdl.utils.dlpack.from_dlpack(x)):
        assert y.dtype is BF16 and y.tolist() == [1.5, -2.0]
    fastdl.from_dlpack(x)[0] = 8
    assert x.tolist() == [8, -2]
