"""Transformer layers, stacks of them, and the whole encoder-decoder model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor, is_grad_enabled
from ..autograd.watch import watcher
from ..ops.attention import packed_attention
from ..ops.creation import full, ones
from ..ops.indexing import triu
from ..ops.matmul import linear, linear_activation
from ..ops.norm import add_layer_norm
from . import functional as F
from . import init
from .attention import MultiheadAttention, NonDynamicallyQuantizableLinear
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

Activation = str | Callable[[Tensor], Tensor]


def _activation(which: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(which, str):
        return which
    if which in ("relu", "gelu"):
        return getattr(F, which)
    raise RuntimeError(f"activation should be relu/gelu, not {which}")


def _is_plain(module: Module, kind: type) -> bool:
    """Whether a call of the module is its kind's own forward and nothing else."""
    return type(module) is kind and not (
        module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    )


def _copies(layer: Module, n: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(n)])


def _is_causal(mask: Tensor | None, hint: bool | None) -> bool:
    """The hint, or whether the mask (L, L) hides exactly the keys behind each query."""
    if hint is not None:
        return hint
    if mask is None or mask.dim() != 2 or mask.shape[0] != mask.shape[1]:
        return False
    hidden = triu(ones(*mask.shape, dtype=F._bool), 1)
    values = mask if mask.dtype is F._bool else mask == float("-inf")
    if not bool((values == hidden).all()):
        return False
    return mask.dtype is F._bool or bool(((mask == 0) | hidden).all())


class _Layer(Module):
    """What encoder and decoder layers share: attentions, the feed-forward net, norm and dropout of each branch."""

    _attentions: tuple[str, ...] = ()  # names, in the order of their branches

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        new = {"device": device, "dtype": dtype}
        for name in self._attentions:
            setattr(
                self, name, MultiheadAttention(d_model, nhead, dropout, bias=bias, batch_first=batch_first, **new)
            )
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **new)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **new)
        self.norm_first = norm_first
        branches = range(1, len(self._attentions) + 2)
        for i in branches:
            setattr(self, f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **new))
        for i in branches:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _branch(self, x: Tensor, i: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        """x + dropout(function(x)) with branch i's norm before the function or after the sum."""
        norm, drop = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
        if self.norm_first:
            return x + drop(function(norm(x)))
        y = drop(function(x))
        if _is_plain(norm, LayerNorm):
            return add_layer_norm(y, x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        return norm(x + y)

    def _feed_forward(self, x: Tensor) -> Tensor:
        linear, f = self.linear1, self.activation
        name = _FUSED.get(f, "")
        if name and _is_plain(linear, Linear):
            hidden = linear_activation(x, linear.weight, linear.bias, name)
        else:
            hidden = f(linear(x))
        return self.linear2(self.dropout(hidden))


# what `TransformerEncoderLayer.infer` runs by its parts' parameters
_KINDS = (MultiheadAttention, NonDynamicallyQuantizableLinear, Linear, Linear, LayerNorm, LayerNorm)
_FUSED: dict[Any, str] = {F.relu: "relu", F.gelu: "gelu"}


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward net, each with dropout, a residual connection and layer norm.

    Args:
        d_model: E, size of the input; nhead: number of heads; dim_feedforward: hidden size of the feed-forward net.
        dropout: probability, of weights of the attention, hidden values and both results.
        activation: "relu", "gelu" or a function of a tensor.
        norm_first: norms stand before attention and net, not after the sums.
        bias: whether linear layers and norms add a bias.
    Shape:
        (L, N, E) -> the same; (N, L, E) with batch_first; or (L, E).
    """

    _attentions = ("self_attn",)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Runs the layer; masks as in MultiheadAttention, is_causal says that src_mask is the causal one."""
        if src_mask is None and src_key_padding_mask is None and not is_causal and src.dim() == 3:
            parts = self.inference_parts()
            if parts is not None:
                return self.infer(src, parts)

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, src_key_padding_mask, need_weights=False, attn_mask=src_mask, is_causal=is_causal
            )[0]

        x = self._branch(src, 1, attend)
        return self._branch(x, 2, self._feed_forward)


    def inference_parts(self) -> tuple[dict[str, Any], ...] | None:
        """Parameters of the layer's parts for `infer`; None if anything is recorded, dropped, hooked or replaced."""
        if is_grad_enabled() or self.norm_first or self._hooked or watcher.active or self.activation not in _FUSED:
            return None
        parts: dict[str, Any] = self._modules
        if self.training and any(parts[name].p for name in ("dropout", "dropout1", "dropout2")):
            return None
        attention = parts["self_attn"]
        if attention.training and attention.dropout:
            return None
        found = (attention, attention._modules["out_proj"], parts["linear1"], parts["linear2"], parts["norm1"],
                 parts["norm2"])  # fmt: skip
        for module, kind in zip(found, _KINDS):
            if type(module) is not kind or "forward" in module.__dict__:
                return None
        return tuple(module._parameters for module in found)

    def infer(self, x: Tensor, parts: tuple[dict[str, Any], ...], lengths: Any = None) -> Tensor:
        """The layer in seven calls, without autograd. x as in `forward`, or with `lengths` (rows, E): all sequences one
        after another, without padding."""
        attention, project, linear1, linear2, norm1, norm2 = parts
        a: Any = self._modules["self_attn"]
        y = linear(x, attention["in_proj_weight"], attention["in_proj_bias"])
        y = packed_attention(y, a.num_heads, lengths=lengths, batch_first=a.batch_first)
        size = x.shape[-1:]
        y = linear(y, project["weight"], project["bias"])
        x = add_layer_norm(y, x, size, norm1["weight"], norm1["bias"], self.norm1.eps)
        y = linear_activation(x, linear1["weight"], linear1["bias"], _FUSED[self.activation])
        y = linear(y, linear2["weight"], linear2["bias"])
        return add_layer_norm(y, x, size, norm2["weight"], norm2["bias"], self.norm2.eps)


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after another, and a norm at the end if one is given.

    enable_nested_tensor and mask_check are accepted and change nothing: padded positions are computed like the others.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Runs all layers; with is_causal=None the mask itself is looked at."""
        causal = _is_causal(mask, is_causal)
        for layer in self.layers:
            src = layer(src, src_mask=mask, is_causal=causal, src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output, feed-forward net; arguments as TransformerEncoderLayer."""

    _attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Runs the layer on `tgt`, with `memory` as keys and values of the second attention."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, tgt_key_padding_mask, need_weights=False, attn_mask=tgt_mask, is_causal=tgt_is_causal
            )[0]

        def attend_memory(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, need_weights=False, attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip

        x = self._branch(tgt, 1, attend)
        x = self._branch(x, 2, attend_memory)
        return self._branch(x, 3, self._feed_forward)


class TransformerDecoder(Module):
    """`num_layers` copies of a layer, one after another, and a norm at the end if one is given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Runs all layers; with tgt_is_causal=None the mask itself is looked at."""
        causal = _is_causal(tgt_mask, tgt_is_causal)
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """Encoder and decoder, each a stack of layers with a norm at the end.

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, norm_first, bias: as in the layers.
        custom_encoder, custom_decoder: modules to take instead.
    Shape:
        src (S, N, E), tgt (T, N, E) -> (T, N, E); (N, S, E) and so on with batch_first; or without N.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)

        if custom_encoder is not None:
            self.encoder = custom_encoder
        else:
            layer: Module = TransformerEncoderLayer(*sizes, device=device, dtype=dtype)
            self.encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        if custom_decoder is not None:
            self.decoder = custom_decoder
        else:
            layer = TransformerDecoderLayer(*sizes, device=device, dtype=dtype)
            self.decoder = TransformerDecoder(layer, num_decoder_layers, norm())
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Encodes src and decodes tgt; masks as in the layers.

        Raises:
            RuntimeError: src and tgt differ in their batch size, or in size from d_model.
        """
        if src.dim() == 3 and src.shape[0 if self.batch_first else 1] != tgt.shape[0 if self.batch_first else 1]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """(sz, sz) with -inf above the diagonal and 0 elsewhere: query i sees the keys 0 .. i."""
        return triu(full((sz, sz), float("-inf"), device=device, dtype=dtype), 1)
