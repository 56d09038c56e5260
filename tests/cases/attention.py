"""Cases of fastdl.ops.attention."""

import numpy as np

import fastdl
from fastdl.ops.attention import masked_attention, packed_attention, scaled_dot_product_attention
from tests.cases import Case, Error, normal


def attend(q, k, v, seen=None, add=0.0, scale=None, factor=1.0):
    """softmax(scale q k^T + add) v over the keys that are seen, heads of k and v repeated to those of q; float64."""
    if q.ndim > 2 and k.shape[-3] != q.shape[-3]:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    s = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale) + np.where(add == -np.inf, 0, add)
    seen = np.broadcast_to(np.logical_and(True if seen is None else seen, add != -np.inf), s.shape)
    top = np.where(seen, s, -np.inf).max(-1, keepdims=True, initial=-np.inf)
    e = np.exp(np.where(seen, s - np.where(top == -np.inf, 0, top), -np.inf))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total) * factor @ v


def inputs(rng, *shape):
    """q, k, v for (B, H, Hk, Tq, Tk, D, E)."""
    b, h, hk, tq, tk, d, e = shape
    return {"q": normal(rng, b, h, tq, d), "k": normal(rng, b, hk, tk, d), "v": normal(rng, b, hk, tk, e)}


def with_mask(make):
    def masked(rng, *shape):
        return {**inputs(rng, *shape), "mask": make(rng, *shape)}

    return masked


def keep_some(rng, b, h, hk, tq, tk, d, e):
    keep = rng.random((b, 1, tq, tk)) > 0.4
    keep[:, :, tq // 2] = False
    return keep


def add_some(rng, b, h, hk, tq, tk, d, e):
    add = normal(rng, h, tq, tk)
    add[rng.random(add.shape) > 0.7] = -np.inf
    return add


def tri(q, k):
    return np.tri(q.shape[-2], k.shape[-2], dtype=bool)


def lengths_for(b, tk):
    return [(7 * i + 3) % (tk + 1) for i in range(b)]


def within(q, k):
    b, tk = k.shape[0], k.shape[-2]
    return (np.arange(tk) < np.array(lengths_for(b, tk))[:, None])[:, None, None]


def gqa(q, k):
    return q.shape[1] != k.shape[1]


# sizes around the vector widths, the short path's (16 everywhere) and one beyond, one and several strips, units and blocks of queries (128) and keys (128, 512), chunks of
# keys (256), packed and unpacked rows, shared key heads, empty
SHAPES = [
    (2, 4, 4, 10, 10, 8, 8),
    (1, 2, 2, 1, 1, 1, 1),
    (2, 4, 2, 16, 13, 15, 16),
    (2, 4, 4, 9, 16, 16, 7),
    (1, 2, 2, 17, 15, 16, 12),
    (2, 2, 1, 12, 17, 7, 16),
    (1, 2, 2, 11, 14, 17, 10),
    (1, 3, 3, 13, 16, 9, 17),
    (2, 4, 2, 13, 21, 5, 7),
    (1, 1, 1, 15, 17, 16, 3),
    (3, 2, 2, 1, 40, 9, 33),
    (1, 2, 1, 49, 127, 64, 64),
    (1, 1, 1, 130, 260, 20, 65),
    (2, 3, 1, 70, 150, 17, 16),
    (1, 1, 1, 35, 1100, 4, 6),
    (1, 2, 2, 200, 600, 8, 8),
    (1, 9, 9, 2, 300, 3, 2),
    (2, 2, 2, 0, 5, 4, 4),
    (2, 2, 2, 5, 0, 4, 4),
    (0, 2, 2, 5, 3, 4, 4),
]
FEW = [(3, 4, 2, 11, 13, 9, 6), (2, 4, 2, 13, 21, 5, 7), (1, 1, 1, 150, 300, 17, 16), (1, 1, 1, 40, 1100, 4, 6), (2, 2, 2, 33, 10, 8, 8)]
GRAD = [s for s in SHAPES if s[3] * s[4] < 10000]
TOLERANCES = {"rtol": 1e-5, "atol": 5e-6}  # sums over up to 1100 keys


def packed_inputs(rng, b, t, h, d):
    return {"qkv": normal(rng, b, t, 3 * h * d)}


def packed_reference(h, causal):
    def reference(qkv):
        b, t, width = qkv.shape
        q, k, v = qkv.reshape(b, t, 3, h, width // (3 * h)).transpose(2, 0, 3, 1, 4)
        out = attend(q, k, v, tri(q, k) if causal else None)
        return out.transpose(0, 2, 1, 3).reshape(b, t, width // 3)

    return reference


CASES = [
    Case("attention", lambda q, k, v: scaled_dot_product_attention(q, k, v, enable_gqa=gqa(q, k)), attend, inputs, SHAPES,
         wrt=("q", "k", "v"), grad_shapes=GRAD, **TOLERANCES),
    Case("attention_scale", lambda q, k, v: scaled_dot_product_attention(q, k, v, scale=-0.3),
         lambda q, k, v: attend(q, k, v, scale=-0.3), inputs, [(2, 3, 3, 7, 9, 5, 4)], wrt=("q", "k", "v")),
    Case("attention_causal", lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa(q, k)),
         lambda q, k, v: attend(q, k, v, tri(q, k)), inputs, SHAPES, wrt=("q", "k", "v"), grad_shapes=GRAD, **TOLERANCES),
    Case("attention_lengths",
         lambda q, k, v: scaled_dot_product_attention(q, k, v, enable_gqa=gqa(q, k), lengths=lengths_for(k.shape[0], k.shape[2])),
         lambda q, k, v: attend(q, k, v, within(q, k)), inputs, FEW, wrt=("q", "k", "v"), **TOLERANCES),
    Case("attention_bool_mask", lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m, enable_gqa=gqa(q, k)), attend,
         with_mask(keep_some), FEW, wrt=("q", "k", "v"), **TOLERANCES),
    Case("attention_key_mask", lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m, enable_gqa=gqa(q, k)), attend,
         with_mask(lambda rng, b, h, hk, tq, tk, d, e: np.arange(tk) < rng.integers(0, tk + 1, (b, 1, 1, 1))), FEW,
         wrt=("q", "k", "v"), **TOLERANCES),
    Case("attention_additive_mask", lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m, enable_gqa=gqa(q, k)),
         lambda q, k, v, m: attend(q, k, v, None, m), with_mask(add_some), FEW, wrt=("q", "k", "v"), **TOLERANCES),
    Case("attention_learned_bias", lambda q, k, v, m: scaled_dot_product_attention(q, k, v, m, enable_gqa=gqa(q, k)),
         lambda q, k, v, m: attend(q, k, v, None, m), with_mask(lambda rng, b, h, hk, tq, tk, d, e: normal(rng, h, 1, tk)), FEW,
         wrt=("q", "k", "v", "mask"), **TOLERANCES),
    Case("attention_mask_and_causal", lambda q, k, v, m: masked_attention(q, k, v, m, is_causal=True),
         lambda q, k, v, m: attend(q, k, v, np.logical_and(m, tri(q, k))), with_mask(keep_some), [FEW[2], FEW[4]],
         wrt=("q", "k", "v"), **TOLERANCES),
    Case("packed_attention", lambda x: packed_attention(x, 3), packed_reference(3, False), packed_inputs,
         [(2, 7, 3, 5), (1, 130, 3, 16), (2, 0, 3, 4)], wrt=("qkv",), **TOLERANCES),
    Case("packed_attention_causal", lambda x: packed_attention(x.transpose(0, 1), 2, is_causal=True, batch_first=False).transpose(0, 1),
         packed_reference(2, True), packed_inputs, [(2, 7, 2, 5), (3, 40, 2, 8)], wrt=("qkv",), **TOLERANCES),
]


def zeros(*shape, dtype=None):
    return fastdl.zeros(*shape, dtype=dtype)


def sdpa(q=(2, 3, 4), k=(2, 5, 4), v=(2, 5, 6), mask=None, **options):
    tensors = [zeros(*s) for s in (q, k, v)]
    return lambda: scaled_dot_product_attention(*tensors, mask, **options)


ERRORS = [
    Error("attention_dtypes", lambda: scaled_dot_product_attention(zeros(2, 3), zeros(2, 3, dtype=fastdl.float64), zeros(2, 3)),
          RuntimeError, "query, key, and value to have the same dtype.*float32.*float64"),
    Error("attention_integers", lambda: scaled_dot_product_attention(*[zeros(2, 3, dtype=fastdl.int64)] * 3), RuntimeError,
          "expected floating-point tensors, got .*int64"),
    Error("attention_1d", sdpa(q=(3,)), RuntimeError, "at least 2 dimensional, but got query.dim: 1"),
    Error("attention_sizes", sdpa(q=(2, 3, 7)), RuntimeError, r"same last size.*query \(2, 3, 7\), key \(2, 5, 4\)"),
    Error("attention_values", sdpa(v=(2, 6, 4)), RuntimeError, r"as many values as keys.*value \(2, 6, 4\)"),
    Error("attention_batch", sdpa(q=(3, 3, 4)), RuntimeError, "cannot be broadcast together"),
    Error("attention_mask_shape", sdpa(mask=zeros(2, 5)), RuntimeError, r"broadcast to \(2, 3, 5\), got \(2, 5\)"),
    Error("attention_mask_dims", sdpa(mask=zeros(1, 1, 3, 5)), RuntimeError, r"broadcast to \(2, 3, 5\), got \(1, 1, 3, 5\)"),
    Error("attention_mask_dtype", sdpa(mask=zeros(3, 5, dtype=fastdl.int64)), RuntimeError, "Expected attn_mask dtype to be bool or float"),
    Error("attention_mask_causal", sdpa(mask=zeros(3, 5), is_causal=True), RuntimeError, "Explicit attn_mask should not be set"),
    Error("attention_dropout", sdpa(dropout_p=1.5), RuntimeError, "between 0 and 1, but got 1.5"),
    Error("attention_heads", sdpa(q=(4, 3, 4), k=(3, 5, 4), v=(3, 5, 4), enable_gqa=True), RuntimeError, "must divide the number of heads"),
    Error("attention_lengths", sdpa(lengths=[1, 6]), ValueError, r"expected numbers in \[0, 5\], got \[1, 6\]"),
    Error("attention_lengths_count", sdpa(lengths=[1]), ValueError, "expected 2 whole numbers"),
    Error("attention_lengths_type", sdpa(lengths=[1.0, 2.0]), ValueError, "got shape .* of float64"),
    Error("packed_attention_size", lambda: packed_attention(zeros(2, 3, 10), 3), RuntimeError, r"\(B, T, 3 \* 3 \* D\), got .* \(2, 3, 10\)"),
]
