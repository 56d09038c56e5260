"""Multi-head attention."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """Linear, under the name by which PyTorch shows the output projection of attention."""


class MultiheadAttention(Module):
    r"""Attention of several heads: each projects query, key and value, attends, and all results are projected together.

    Args:
        embed_dim: E, size of queries and results; num_heads divides it.
        dropout: probability with which a weight is dropped in training.
        bias: whether the projections add a bias.
        add_bias_kv: one more key and value, learned.
        add_zero_attn: one more key and value of zeros.
        kdim, vdim: sizes of keys and values, by default E.
        batch_first: sequences are (N, L, ..) and not (L, N, ..).
    Parameters:
        in_proj_weight: (3E, E), the projections of query, key and value on top of each other; if kdim or vdim is not E
            q_proj_weight (E, E), k_proj_weight (E, kdim) and v_proj_weight (E, vdim). Xavier-uniform.
        in_proj_bias: (3E,), zeros.
        out_proj.weight: (E, E), as in Linear; out_proj.bias: (E,), zeros.
        bias_k, bias_v: (1, 1, E), Xavier-normal, with add_bias_kv.
    """

    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} "
                "instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError(f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}")

        def new(*shape: int) -> Parameter:
            return Parameter(F.empty(*shape, device=device, dtype=dtype))

        same = self._qkv_same_embed_dim
        for name, size in (("q_proj_weight", embed_dim), ("k_proj_weight", self.kdim), ("v_proj_weight", self.vdim)):
            self.register_parameter(name, None if same else new(embed_dim, size))
        self.register_parameter("in_proj_weight", new(3 * embed_dim, embed_dim) if same else None)
        self.register_parameter("in_proj_bias", new(3 * embed_dim) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, new(1, 1, embed_dim) if add_bias_kv else None)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends.

        Args:
            key_padding_mask: (N, S), True: this key takes no part; or numbers that are added to its scores.
            need_weights: also return the weights; without them nothing of size L x S is stored.
            attn_mask: (L, S) or (N * num_heads, L, S), True: this query does not see this key; or numbers.
            average_attn_weights: weights are averaged over the heads.
            is_causal: attn_mask is known to hide the keys behind each query's own position: the work for them is saved.
        Shape:
            query (L, N, E), key (S, N, kdim), value (S, N, vdim), or (N, L, E) and so on with batch_first; without N
            for a single sequence -> (L, N, E), and weights (N, L, S) or (N, num_heads, L, S).
        """
        return F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, not self._qkv_same_embed_dim, self.q_proj_weight,
            self.k_proj_weight, self.v_proj_weight, None, None, average_attn_weights, is_causal, self.batch_first,
        )  # fmt: skip
