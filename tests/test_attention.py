"""Scaled dot-product attention: memory, masks, NaN behind masks, dropout, layouts, second derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import fastdl
from fastdl import memory
from fastdl.nn import functional as F
from fastdl.ops.attention import masked_attention, packed_attention, scaled_dot_product_attention
from tests.cases.attention import attend

B, H, TQ, TK, D, E = 2, 4, 13, 21, 5, 7


def tensors(seed=0, b=B, h=H, hk=H, tq=TQ, tk=TK, d=D, e=E, dtype=fastdl.float64):
    rng = np.random.default_rng(seed)
    shapes = [(b, h, tq, d), (b, hk, tk, d), (b, hk, tk, e)]
    return [fastdl.tensor(rng.standard_normal(s)).to(dtype).requires_grad_() for s in shapes]


def gradients(out, inputs, seed=1):
    upstream = np.random.default_rng(seed).standard_normal(tuple(out.shape))
    return fastdl.autograd.grad(out, inputs, fastdl.tensor(upstream).to(out.dtype), retain_graph=True)


def assert_same(a, b):
    for x, y in zip(a, b):
        np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())


@pytest.mark.parametrize("causal", [False, True])
def test_no_matrix_of_all_queries_by_all_keys_is_stored(causal: bool):
    t, d = 4096, 16
    q, k, v = tensors(b=1, h=1, hk=1, tq=t, tk=t, d=d, e=d, dtype=fastdl.float32)
    matrix = 4 * t * t
    before = memory.stats()["live_bytes"]
    memory.reset_peak()
    out = scaled_dot_product_attention(q, k, v, is_causal=causal)
    assert memory.stats()["peak_bytes"] - before < matrix / 16
    out.backward(fastdl.ones_like(out))
    assert memory.stats()["peak_bytes"] - before < matrix / 8
    rows = [0, 1, 511, 512, 2000, 4095]
    seen = np.tri(t, dtype=bool)[rows] if causal else None
    wanted = attend(*(x.detach().numpy().astype(np.float64) for x in (q[:, :, rows], k, v)), seen)
    np.testing.assert_allclose(out.detach().numpy()[:, :, rows], wanted, rtol=1e-5, atol=1e-6)


MASKS = [(TQ, TK), (1, TK), (TQ, 1), (1, 1), (TK,), (1,), (), (H, TQ, TK), (H, 1, 1), (H, 1, TK), (B, H, TQ, TK),
         (B, 1, TQ, TK), (B, 1, 1, TK), (1, H, TQ, 1), (B, 1, TQ, 1)]  # fmt: skip


@pytest.mark.parametrize("shape", MASKS, ids=str)
@pytest.mark.parametrize("kind", ["bool", "float", "transposed", "grad"])
def test_masks_of_every_shape_that_can_be_broadcast(shape: tuple, kind: str):
    rng = np.random.default_rng(3)
    q, k, v = tensors()
    arrays = [x.detach().numpy() for x in (q, k, v)]
    if kind == "bool":
        values = rng.random(shape) > 0.3
        mask, wanted = fastdl.tensor(values), attend(*arrays, np.asarray(values))
    else:
        values = np.where(rng.random(shape) > 0.8, -np.inf, rng.standard_normal(shape))
        mask, wanted = fastdl.tensor(values), attend(*arrays, None, values)
        if kind == "transposed" and len(shape) > 1:
            mask = fastdl.tensor(np.ascontiguousarray(np.swapaxes(values, -1, -2))).transpose(-1, -2)
    full = np.broadcast_to(mask.numpy(), (B, H, TQ, TK)).copy()
    if kind == "grad":
        mask.requires_grad_()
    out = scaled_dot_product_attention(q, k, v, mask)
    np.testing.assert_allclose(out.detach().numpy(), wanted, rtol=1e-12, atol=1e-12)
    expanded = fastdl.tensor(full).requires_grad_(kind == "grad")
    other = scaled_dot_product_attention(q, k, v, expanded)
    assert_same([out, *gradients(out, [q, k, v])], [other, *gradients(other, [q, k, v])])
    if kind == "grad":
        (got,) = gradients(out, [mask])
        (whole,) = gradients(other, [expanded])
        np.testing.assert_allclose(got.numpy(), whole.sum_to_size(*shape).numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64])
@pytest.mark.parametrize("tq, tk", [(13, 11), (13, 21), (150, 140), (40, 700)])
def test_what_is_skipped_gives_the_bits_of_a_mask(dtype, tq: int, tk: int):
    q, k, v = tensors(tq=tq, tk=tk, dtype=dtype)
    lengths = [tk // 3, tk - 1]
    by_length = fastdl.tensor(np.arange(tk) < np.array(lengths)[:, None, None, None])
    triangle = fastdl.tensor(np.tri(tq, tk, dtype=bool))
    for skipped, mask in (
        (scaled_dot_product_attention(q, k, v, is_causal=True), triangle),
        (scaled_dot_product_attention(q, k, v, lengths=lengths), by_length & fastdl.tensor(np.ones((tq, 1), bool))),
        (scaled_dot_product_attention(q, k, v, by_length), by_length & fastdl.tensor(np.ones((tq, 1), bool))),
        (masked_attention(q, k, v, by_length, is_causal=True), by_length & triangle),
    ):
        masked = scaled_dot_product_attention(q, k, v, mask)
        assert_same([skipped, *gradients(skipped, [q, k, v])], [masked, *gradients(masked, [q, k, v])])


@pytest.mark.parametrize("tk", [13, 21, 700])
def test_a_query_that_sees_nothing_gives_zeros_and_no_gradient(tk: int):
    q, k, v = tensors(tk=tk)
    keep = np.ones((TQ, tk), bool)
    keep[3] = False
    out = scaled_dot_product_attention(q, k, v, fastdl.tensor(keep))
    dq, dk, dv = gradients(out, [q, k, v])
    assert not out.detach().numpy()[:, :, 3].any() and out.detach().numpy()[:, :, 2].all()
    assert not dq.numpy()[:, :, 3].any() and np.isfinite(dk.numpy()).all() and np.isfinite(dv.numpy()).all()
    out = scaled_dot_product_attention(q, k, v, lengths=[0, 2])
    dq, dk, dv = gradients(out, [q, k, v])
    for x in (out.detach(), dq, dk, dv):
        assert not x.numpy()[0].any() and x.numpy()[1].any()
    assert not dk.numpy()[1, :, 2:].any() and not dv.numpy()[1, :, 2:].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("how", ["bool", "float", "lengths", "causal", "rows"])
@pytest.mark.parametrize("tk", [16, 21, 600])
def test_nan_and_inf_behind_a_mask_do_not_leak(bad: float, how: str, tk: int):
    arrays = [x.detach().numpy().copy() for x in tensors(tk=tk)]
    upstream = np.random.default_rng(1).standard_normal((B, H, TQ, E))
    keep, seen = np.ones((TQ, tk), bool), min(15, tk - 2)
    options: dict = {}
    if how == "rows":  # queries that see nothing, with bad values and upstream gradients
        keep[4] = False
        options["attn_mask"] = fastdl.tensor(keep)
    elif how == "causal":
        keep = np.tri(TQ, tk, dtype=bool)
        options["is_causal"] = True
    else:
        keep[:, seen:] = False
        options = {
            "bool": {"attn_mask": fastdl.tensor(keep)},
            "float": {"attn_mask": fastdl.tensor(np.where(keep, 0.0, -np.inf))},
            "lengths": {"lengths": [seen, seen]},
        }[how]

    def run(q, k, v, g):
        inputs = [fastdl.tensor(x).requires_grad_() for x in (q, k, v)]
        out = scaled_dot_product_attention(*inputs, **options)
        return [out, *fastdl.autograd.grad(out, inputs, fastdl.tensor(g))]

    clean = run(*arrays, upstream)
    spoilt, g = [x.copy() for x in arrays], upstream.copy()
    if how == "rows":
        spoilt[0][:, :, 4], g[:, :, 4] = bad, bad
    else:
        spoilt[1][:, :, seen + 1:], spoilt[2][:, :, seen:] = bad, bad
    assert_same(run(*spoilt, g), clean)


def test_nan_that_is_seen_shows():
    q, k, v = tensors()
    spoilt = v.detach().clone()
    spoilt[0, 1, 5] = float("nan")
    out = scaled_dot_product_attention(q, k, spoilt, is_causal=True).detach().numpy()
    assert np.isnan(out[0, 1, 5:]).all() and np.isfinite(out[0, 1, :5]).all() and np.isfinite(out[0, 0]).all()


def test_large_scores_neither_overflow_nor_lose_the_sum():
    q, k, v = tensors(dtype=fastdl.float32)
    out = scaled_dot_product_attention(q * 300, k * 300, v)
    wanted = attend(*(x.detach().numpy().astype(np.float64) for x in (q * 300, k * 300, v)))
    np.testing.assert_allclose(out.detach().numpy(), wanted, atol=2e-2)
    assert all(np.isfinite(x.numpy()).all() for x in gradients(out, [q, k, v]))


# dropout


def factors(q, tk, p, seed, **options):
    """The dropout's factors, from a call on the unit matrix."""
    b, h = q.shape[:2]
    fastdl.manual_seed(seed)
    unit = fastdl.tensor(np.broadcast_to(np.eye(tk), (b, h, tk, tk)).copy()).to(q.dtype)
    zero = fastdl.zeros(b, h, tk, q.shape[3], dtype=q.dtype)
    return scaled_dot_product_attention(fastdl.zeros_like(q), zero, unit, dropout_p=p).detach().numpy() * tk


@pytest.mark.parametrize("tq, tk", [(13, 11), (13, 21), (150, 140), (9, 600)])
def test_dropout_drops_the_same_weights_forward_and_backward(tq: int, tk: int):
    q, k, v = tensors(tq=tq, tk=tk)
    f = factors(q, tk, 0.3, 5)
    fastdl.manual_seed(5)
    out = scaled_dot_product_attention(q, k, v, dropout_p=0.3)
    a, b, c = (x.detach().numpy() for x in (q, k, v))
    np.testing.assert_allclose(out.detach().numpy(), attend(a, b, c, factor=f), rtol=1e-10, atol=1e-10)
    rng = np.random.default_rng(4)
    upstream = np.random.default_rng(1).standard_normal(out.shape)
    for i, g in enumerate(gradients(out, [q, k, v])):
        direction = rng.standard_normal(g.shape)
        moved = [[x + s * direction if j == i else x for j, x in enumerate((a, b, c))] for s in (1e-6, -1e-6)]
        slope = np.subtract(*[(attend(*m, factor=f) * upstream).sum() for m in moved]) / 2e-6
        assert abs(slope - (g.numpy() * direction).sum()) < 1e-5 * max(1, np.abs(g.numpy() * direction).sum())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_as_many_as_it_should_and_their_mean(p: float):
    q, _, _ = tensors(tq=100, tk=100, dtype=fastdl.float32)
    f = factors(q, 100, p, 6)
    kept = f != 0
    n = f.size
    assert abs(kept.mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / n)
    np.testing.assert_allclose(f[kept], 1 / (1 - p), rtol=1e-5)
    columns = kept.reshape(-1, 100).astype(float) - kept.mean()
    correlation = columns.T @ columns / len(columns) / (p * (1 - p))
    assert np.abs(correlation - np.diag(np.diag(correlation))).max() < 6 / np.sqrt(len(columns))
    assert (factors(q, 100, p, 7) != f).any()


def test_dropout_of_everything_and_of_nothing():
    q, k, v = tensors()
    assert not scaled_dot_product_attention(q, k, v, dropout_p=1.0).detach().numpy().any()
    before = fastdl.get_rng_state().numpy().copy()
    assert_same([scaled_dot_product_attention(q, k, v, dropout_p=0.0)], [scaled_dot_product_attention(q, k, v)])
    np.testing.assert_array_equal(fastdl.get_rng_state().numpy(), before)


def test_dropout_decides_by_the_number_of_the_element():
    q, k, v = tensors(tq=30, tk=40, dtype=fastdl.float32)
    found = []
    before = fastdl.get_num_threads()
    for n in (1, 2, 3):
        fastdl.set_num_threads(n)
        fastdl.manual_seed(8)
        out = scaled_dot_product_attention(q, k, v, dropout_p=0.4, is_causal=True)
        found.append([out, *gradients(out, [q, k, v])])
    fastdl.set_num_threads(before)
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


# layouts


def test_results_lie_as_the_next_layer_wants_them():
    q, k, v = tensors()
    out = scaled_dot_product_attention(q, k, v)
    joined = out.transpose(1, 2).reshape(B, TQ, H * E)
    assert joined.data_ptr() == out.data_ptr() and out.transpose(1, 2).is_contiguous()
    assert all(g.is_contiguous() for g in gradients(out, [q, k, v]))
    views = [x.detach().transpose(1, 2).contiguous().requires_grad_() for x in (q, k, v)]
    inner = [x.transpose(1, 2) for x in views]
    out = scaled_dot_product_attention(*inner)
    assert all(g.transpose(1, 2).is_contiguous() for g in gradients(out, inner))


@pytest.mark.parametrize("layout", ["bhtd", "bthd", "packed", "tbhd", "reversed", "columns"])
def test_strided_inputs_are_read_in_place(layout: str):
    q, k, v = tensors(tq=64, tk=64, d=32, e=32, dtype=fastdl.float32)
    arrays = np.stack([x.detach().numpy() for x in (q, k, v)])
    if layout == "bthd":
        views = fastdl.tensor(arrays.transpose(0, 1, 3, 2, 4).copy()).permute(0, 1, 3, 2, 4)
    elif layout == "packed":
        views = fastdl.tensor(arrays.transpose(1, 3, 0, 2, 4).copy()).permute(2, 0, 3, 1, 4)
    elif layout == "tbhd":
        views = fastdl.tensor(arrays.transpose(0, 3, 1, 2, 4).copy()).permute(0, 2, 3, 1, 4)
    elif layout == "reversed":
        views = fastdl.from_numpy(arrays[:, ::-1, :, ::-1].copy()[:, ::-1, :, ::-1])
    elif layout == "columns":  # needs a copy
        views = fastdl.tensor(arrays.swapaxes(-1, -2).copy()).transpose(-1, -2)
    else:
        views = fastdl.tensor(arrays)
    inputs = [views[i].detach().requires_grad_() for i in range(3)]
    scaled_dot_product_attention(*inputs)
    before = memory.stats()["live_bytes"]
    memory.reset_peak()
    with fastdl.no_grad():
        out = scaled_dot_product_attention(*inputs)
    scratch = memory.stats()["peak_bytes"] - before - 4 * out.numel()
    copies = 3 * 4 * out.numel()
    assert scratch > copies if layout == "columns" else scratch < copies
    out = scaled_dot_product_attention(*inputs)
    plain = scaled_dot_product_attention(q, k, v)
    assert_same([out, *gradients(out, inputs)], [plain, *gradients(plain, [q, k, v])])


def test_leading_dimensions_are_broadcast():
    rng = np.random.default_rng(2)
    for shapes in [((5, 3), (6, 3), (6, 2)), ((2, 5, 3), (6, 3), (1, 6, 2)),
                   ((2, 1, 4, 5, 3), (3, 1, 6, 3), (3, 4, 6, 2)),
                   ((1, 2, 2, 5, 3), (7, 1, 2, 6, 3), (1, 1, 1, 6, 2))]:  # fmt: skip
        arrays = [rng.standard_normal(s) for s in shapes]
        inputs = [fastdl.tensor(x).requires_grad_() for x in arrays]
        out = scaled_dot_product_attention(*inputs)
        lead = np.broadcast_shapes(*(s[:-2] for s in shapes))
        full = [np.broadcast_to(x, lead + x.shape[-2:]) for x in arrays]
        np.testing.assert_allclose(out.detach().numpy(), attend(*full), rtol=1e-12, atol=1e-12)
        whole = [fastdl.tensor(x.copy()).requires_grad_() for x in full]
        other = scaled_dot_product_attention(*whole)
        for g, w, s in zip(gradients(out, inputs), gradients(other, whole), shapes):
            np.testing.assert_allclose(g.numpy(), w.sum_to_size(*s).numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"lengths": [4, 11]}, {"dropout_p": 0.3}], ids=str)
def test_the_packed_form_is_the_plain_one(options: dict):
    t, h, d = 11, 3, 5
    x = fastdl.tensor(np.random.default_rng(0).standard_normal((2, t, 3 * h * d))).requires_grad_()
    fastdl.manual_seed(1)
    packed = packed_attention(x, h, **options)
    q, k, v = x.unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4).unbind(0)
    fastdl.manual_seed(1)
    plain = scaled_dot_product_attention(q, k, v, **options).transpose(1, 2).flatten(2)
    assert_same([packed, *gradients(packed, [x])], [plain, *gradients(plain, [x])])
    fastdl.manual_seed(1)
    other = packed_attention(x.transpose(0, 1), h, batch_first=False, **options)
    assert_same([packed], [other.transpose(0, 1)])


def test_half_precision_goes_through_float32():
    q, k, v = (x.detach().to(fastdl.float16) for x in tensors())
    out = F.scaled_dot_product_attention(q, k, v)
    assert out.dtype is fastdl.float16
    wanted = attend(*(x.numpy().astype(np.float64) for x in (q, k, v)))
    np.testing.assert_allclose(out.numpy(), wanted, atol=2e-3)


# second derivatives


@pytest.mark.parametrize("dtype", [fastdl.float16, fastdl.bfloat16])
def test_the_packed_form_in_half_precision(dtype):
    x = fastdl.tensor(np.random.default_rng(0).standard_normal((2, 5, 3 * 4)), dtype=dtype).requires_grad_()
    mask = fastdl.tensor(np.random.default_rng(1).standard_normal((5, 5)), dtype=dtype)
    out = packed_attention(x, 2, mask)
    wide = packed_attention(x.float(), 2, mask.float())
    assert out.dtype is dtype
    found, expected = ([y, *gradients(y, [x])] for y in (out, wide.to(dtype)))
    assert_same([y.float() for y in found], [y.float() for y in expected])
    rows = x.detach().reshape(10, 12)
    found, expected = (packed_attention(r, 2, lengths=[4, 6]) for r in (rows, rows.float()))
    assert_same([found.float()], [expected.to(dtype).float()])


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.4}, {"lengths": [2, 6]}, {"dropout_p": 0.4}, {"enable_gqa": True},
     {"mask": "bool"}, {"mask": "float"}, {"mask": "learned"}, {"packed": True}],
    ids=str,
)  # fmt: skip
def test_second_derivatives_are_those_of_the_first(options: dict):
    options = dict(options)
    kind, packed = options.pop("mask", None), options.pop("packed", False)
    rng = np.random.default_rng(6)
    arrays = [x.detach().numpy() for x in tensors(h=4, hk=2 if "enable_gqa" in options else 4, tq=6, tk=7, d=3, e=2)]
    if kind == "bool":
        keep = rng.random((6, 7)) > 0.4
        keep[2] = False
        options["attn_mask"] = fastdl.tensor(keep)
    elif kind == "float":
        options["attn_mask"] = fastdl.tensor(np.where(rng.random((6, 7)) > 0.6, -np.inf, rng.standard_normal((6, 7))))
    elif kind == "learned":
        arrays.append(rng.standard_normal((4, 1, 7)))
    if packed:
        arrays = [rng.standard_normal((2, 6, 3 * 4 * 2))]

    def call(*inputs):
        fastdl.manual_seed(3)
        if packed:
            return packed_attention(inputs[0], 4, **options)
        return scaled_dot_product_attention(*inputs, **options)

    weights = None

    def first(values, create_graph):
        nonlocal weights
        inputs = [fastdl.tensor(x).requires_grad_() for x in values]
        out = call(*inputs)
        if weights is None:
            weights = [rng.standard_normal(out.shape), *(rng.standard_normal(x.shape) for x in values)]
        upstream = fastdl.tensor(weights[0]).requires_grad_()
        grads = fastdl.autograd.grad(out, inputs, upstream, create_graph=create_graph)
        return inputs, upstream, sum((g * fastdl.tensor(w)).sum() for g, w in zip(grads, weights[1:]))

    fused = first(arrays, False)[2]
    inputs, upstream, value = first(arrays, True)
    np.testing.assert_allclose(value.item(), fused.item(), rtol=1e-10)
    second = fastdl.autograd.grad(value, [*inputs, upstream])
    for i, g in enumerate(second[:-1]):
        direction = rng.standard_normal(g.shape)
        moved = [[x + s * direction if i == j else x for j, x in enumerate(arrays)] for s in (1e-5, -1e-5)]
        ends = [first(values, False)[2].item() for values in moved]
        slope = (ends[0] - ends[1]) / 2e-5
        assert abs((g.numpy() * direction).sum() - slope) < 1e-6 * max(1, np.abs(g.numpy() * direction).sum())


def test_a_mask_that_was_written_to_is_noticed():
    q, k, v = tensors()
    mask = fastdl.zeros(TQ, TK, dtype=q.dtype)
    out = scaled_dot_product_attention(q, k, v, mask)
    mask += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation: the mask"):
        out.sum().backward()
