"""The functions behind nn's modules: operators under PyTorch's names."""

from __future__ import annotations

import warnings
from typing import Any

from .._tensor import Tensor
from .._types import bool_ as _bool
from ..ops.adaptive import adaptive_max_pool1d, adaptive_max_pool2d
from ..ops.additive_attention import additive_attention_score
from ..ops.attention import masked_attention as _masked_attention
from ..ops.attention import packed_attention as _packed_attention
from ..ops.attention import scaled_dot_product_attention
from ..ops.batch_norm import batch_norm, group_norm, instance_norm
from ..ops.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from ..ops.creation import empty_ as empty
from ..ops.creation import full
from ..ops.ctc import ctc_loss
from ..ops.distance import bilinear, cosine_similarity, normalize, pairwise_distance, pdist
from ..ops.elementwise import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from ..ops.embedding import embedding, one_hot
from ..ops.fused import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    celu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    huber_loss,
    kl_div,
    l1_loss,
    logsigmoid,
    mish,
    mse_loss,
    relu6,
    selu,
    smooth_l1_loss,
    soft_margin_loss,
    softshrink,
    softsign,
    tanhshrink,
    threshold,
)
from ..ops.indexed import embedding_bag
from ..ops.linear_loss import linear_cross_entropy
from ..ops.loss import cross_entropy, nll_loss
from ..ops.margin_loss import (
    cosine_embedding_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from ..ops.matmul import linear
from ..ops.noise import (
    alpha_dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    gumbel_softmax,
    rrelu,
)
from ..ops.norm import layer_norm, rms_norm
from ..ops.pool import adaptive_avg_pool1d, adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from ..ops.random import dropout
from ..ops.resize import channel_shuffle, interpolate, pixel_shuffle, pixel_unshuffle
from ..ops.shape import cat as _cat
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from ..ops.window import fold, pad, unfold

# activations -----------------------------------------------------------------------------------------------------


def _softmax_dim(op: str, dim: int | None, ndim: int) -> int:
    if dim is not None:
        return dim
    warnings.warn(f"[{op}] implicit dimension choice is deprecated: pass dim", stacklevel=3)
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    if dim is None:
        dim = _softmax_dim("softmax", dim, input.dim())
    return _softmax(input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    if dim is None:
        dim = _softmax_dim("log_softmax", dim, input.dim())
    return _log_softmax(input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> Tensor:
    """softmax(-x) along `dim`."""
    if dim is None:
        dim = _softmax_dim("softmin", dim, input.dim())
    return _softmax(-input, dim, dtype)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x for x > 0, else weight * x; `weight` has one entry, or one for each entry of dimension 1."""
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if weight.dim() != 1 or weight.numel() != channels:
            raise RuntimeError(f"[prelu] weight: expected {channels} entries or 1, got shape {tuple(weight.shape)}")
        weight = weight.reshape(-1, *[1] * (input.dim() - 2))
    elif input.dim() == 0:
        weight = weight.reshape(())
    return input.where(input > 0, weight * input)


_threshold = threshold  # where an argument has that name


def relu_(input: Tensor) -> Tensor:
    """`relu` written into the input."""
    return relu(input, inplace=True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` written into the input."""
    return leaky_relu(input, negative_slope, inplace=True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` written into the input."""
    return elu(input, alpha, inplace=True)


def selu_(input: Tensor) -> Tensor:
    """`selu` written into the input."""
    return selu(input, inplace=True)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` written into the input."""
    return celu(input, alpha, inplace=True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` written into the input."""
    return hardtanh(input, min_val, max_val, inplace=True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` written into the input."""
    return _threshold(input, threshold, value, inplace=True)


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The older name of interpolate."""
    return interpolate(input, size, scale_factor, mode, align_corners)


# attention -------------------------------------------------------------------------------------------------------


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    _batch_first: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What nn.MultiheadAttention computes; see there for the arguments it has, too.

    Args:
        embed_dim_to_check: the size E that the query must have.
        in_proj_weight, in_proj_bias: (3E, E), (3E,): projections of query, key and value on top of each other; with
            use_separate_proj_weight q_proj_weight, k_proj_weight and v_proj_weight take the weight's place.
        bias_k, bias_v: (1, 1, E): one more key and value, or None.
        add_zero_attn: one more key and value of zeros.
        static_k, static_v: (N * num_heads, S, E / num_heads): these instead of projected keys and values.
    Shape:
        query (L, N, E), key (S, N, ..), value (S, N, ..) -> (L, N, E) and weights (N, L, S), or (N, num_heads, L, S)
        unless average_attn_weights; without N for 2-D arguments.
    Raises:
        AssertionError, RuntimeError: shapes that do not fit together.
    """
    batched = _is_batched(query, key, value, key_padding_mask, attn_mask, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    if not batched:
        same = query is key and key is value
        query = query.unsqueeze(1 - _batch_first)
        key, value = (query, query) if same else (key.unsqueeze(1 - _batch_first), value.unsqueeze(1 - _batch_first))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    batch, time = (0, 1) if _batch_first else (1, 0)
    n, length, e = query.shape[batch], query.shape[time], query.shape[2]
    d = e // num_heads
    if e != embed_dim_to_check:
        raise AssertionError(
            f"[multi_head_attention] was expecting embedding dimension of {embed_dim_to_check}, but got {e}"
        )
    if d * num_heads != e:
        raise AssertionError(f"embed_dim {e} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")

    source = length if query is key else key.shape[time]
    more = (bias_k is not None) + bool(add_zero_attn)
    if static_k is not None:
        source = static_k.shape[1]
    causal = is_causal and not need_weights and not more  # the kernel cuts off what attn_mask is known to hide
    keep, add = _merge_masks(None if causal else attn_mask, key_padding_mask, n, num_heads, length, source, more)
    dropout_p = dropout_p if training else 0.0
    mask = keep if add is None else add
    fused = (
        query is key and key is value and not use_separate_proj_weight and not need_weights and more == 0
        and static_k is None and static_v is None and (mask is None or not mask.requires_grad)
    )  # fmt: skip
    weights = None
    if fused:
        assert in_proj_weight is not None
        qkv = linear(query, in_proj_weight, in_proj_bias)
        out = _packed_attention(qkv, num_heads, mask, dropout_p, causal, batch_first=_batch_first)
    else:
        q, k, v = _project(
            query, key, value, in_proj_weight, in_proj_bias, use_separate_proj_weight, q_proj_weight, k_proj_weight,
            v_proj_weight,
        )  # fmt: skip
        if bias_k is not None:
            assert bias_v is not None
            shape = (n, 1, e) if _batch_first else (1, n, e)
            k, v = _cat([k, bias_k.expand(*shape)], time), _cat([v, bias_v.expand(*shape)], time)
        q = _split_heads(q, num_heads, _batch_first)
        if static_k is None:
            k = _split_heads(k, num_heads, _batch_first)
        else:
            k = _given("static_k", static_k, n, num_heads, d)
        if static_v is None:
            v = _split_heads(v, num_heads, _batch_first)
        else:
            v = _given("static_v", static_v, n, num_heads, d)
        if add_zero_attn:
            zeros = k.new_zeros((n, num_heads, 1, d))
            k, v = _cat([k, zeros], 2), _cat([v, zeros], 2)
        if need_weights:
            scores = q @ k.mT * d**-0.5
            if add is not None:
                scores = scores + add
            elif keep is not None:
                scores = scores.where(keep, scores.new_full((), float("-inf")))
            weights = _softmax(scores, -1)
            if dropout_p > 0:
                weights = dropout(weights, dropout_p)
            out = weights @ v
        else:
            out = _masked_attention(q, k, v, mask, dropout_p, causal)
        out = out.permute(0, 2, 1, 3) if _batch_first else out.permute(2, 0, 1, 3)
        out = out.reshape(*out.shape[:2], e)
    out = linear(out, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        out = out.squeeze(batch)
        weights = None if weights is None else weights.squeeze(0)
    return out, weights


def _is_batched(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, heads: int
) -> bool:
    ndim = query.dim()
    if ndim not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {ndim}-D query tensor")
    for name, x, wanted in (("key", key, ndim), ("value", value, ndim), ("key_padding_mask", padding, ndim - 1)):
        if x is not None and x.dim() != wanted:
            raise AssertionError(f"For a {ndim}-D `query`, expected `{name}` to be {wanted}-D but found {x.dim()}-D")
    if mask is not None and mask.dim() not in (2, 3):
        raise AssertionError(f"Expected `attn_mask` to be 2-D or 3-D but found {mask.dim()}-D tensor instead")
    return ndim == 3


def _merge_masks(
    mask: Tensor | None,
    padding: Tensor | None,
    n: int,
    heads: int,
    length: int,
    source: int,
    more: int,
) -> tuple[Tensor | None, Tensor | None]:
    """One mask for (N, heads, L, S + more): bools of what is seen, or numbers to add; at most one is not None."""
    parts: list[Tensor] = []
    for name, x in (("attn_mask", mask), ("key_padding_mask", padding)):
        if x is not None and not x.is_floating_point() and x.dtype is not _bool:
            raise AssertionError(
                f"[multi_head_attention] only bool and floating types of {name} are supported, got {x.dtype}"
            )
    if mask is not None:
        wanted = (length, source) if mask.dim() == 2 else (n * heads, length, source)
        if tuple(mask.shape) != wanted:
            raise RuntimeError(
                f"The shape of the {mask.dim()}D attn_mask is {tuple(mask.shape)}, but should be {wanted}."
            )
        parts.append(mask if mask.dim() == 2 else mask.unflatten(0, (n, heads)))
    if padding is not None:
        if tuple(padding.shape) != (n, source):
            raise AssertionError(
                f"[multi_head_attention] expecting key_padding_mask shape of {(n, source)}, but got "
                f"{tuple(padding.shape)}"
            )
        parts.append(padding.unflatten(0, (n, 1, 1)))
    if more:
        parts = [_cat([p, p.new_zeros((*p.shape[:-1], more))], -1) for p in parts]
    if not parts:
        return None, None
    if all(p.dtype is _bool for p in parts):
        return ~(parts[0] if len(parts) == 1 else parts[0] | parts[1]), None
    floats = [_as_numbers(p) for p in parts]
    return None, floats[0] if len(floats) == 1 else floats[0] + floats[1]


def _as_numbers(mask: Tensor) -> Tensor:
    if mask.dtype is not _bool:
        return mask
    zeros = full(tuple(mask.shape), 0.0)
    return zeros.where(~mask, full((), float("-inf")))


def _project(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    separate: bool,
    wq: Tensor | None,
    wk: Tensor | None,
    wv: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    e = query.shape[2]
    if separate:
        if wq is None or wk is None or wv is None:
            raise AssertionError("use_separate_proj_weight is True but a projection's weight is None")
        biases = (None, None, None) if bias is None else (bias[:e], bias[e : 2 * e], bias[2 * e :])
        return linear(query, wq, biases[0]), linear(key, wk, biases[1]), linear(value, wv, biases[2])
    if weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")

    def part(x: Tensor, first: int, end: int) -> Tensor:
        whole = first == 0 and end == 3
        return linear(
            x,
            weight if whole else weight[first * e : end * e],
            bias if whole or bias is None else bias[first * e : end * e],
        )

    if key is not value:
        return part(query, 0, 1), part(key, 1, 2), part(value, 2, 3)
    if query is key:
        q, k, v = part(query, 0, 3).unflatten(-1, (3, e)).unbind(2)
        return q, k, v
    k, v = part(key, 1, 3).unflatten(-1, (2, e)).unbind(2)
    return part(query, 0, 1), k, v


def _split_heads(x: Tensor, heads: int, batch_first: bool) -> Tensor:
    x = x.unflatten(-1, (heads, x.shape[2] // heads))
    return x.permute(0, 2, 1, 3) if batch_first else x.permute(1, 2, 0, 3)


def _given(name: str, x: Tensor, n: int, heads: int, d: int) -> Tensor:
    if x.shape[0] != n * heads or x.shape[2] != d:
        raise AssertionError(f"expecting {name} of shape ({n * heads}, S, {d}), but got {tuple(x.shape)}")
    return x.unflatten(0, (n, heads))
