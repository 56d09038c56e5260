"""A causal Transformer language model that keeps keys and values, so that each new token costs one position."""

from __future__ import annotations

from typing import Any

import fastdl
from fastdl import nn
from fastdl.models.language import Generator
from fastdl.nn import functional as F

State = list[tuple[Any, Any]]  # of each block: keys and values (N, heads, length, E)


class Rotary(nn.Module):
    """Turns the pair (i, i + E/2) of a vector at position p by p * 10000^(-2i/E): scores then depend on distances.

    Args:
        size: E, even.
        max_length: positions that the table holds.
    """

    cos: Any
    sin: Any

    def __init__(self, size: int, max_length: int) -> None:
        super().__init__()
        speed = 10000.0 ** -(fastdl.arange(0, size, 2, dtype=fastdl.float32) / size)
        angle = fastdl.arange(max_length, dtype=fastdl.float32).reshape(-1, 1) * speed
        self.register_buffer("cos", fastdl.cat([angle.cos(), angle.cos()], 1), persistent=False)
        self.register_buffer("sin", fastdl.cat([-angle.sin(), angle.sin()], 1), persistent=False)

    def forward(self, x: Any, start: int) -> Any:
        """x (.., T, E) whose first position is `start`, turned."""
        stop, half = start + x.shape[-2], x.shape[-1] // 2
        swapped = fastdl.cat([x[..., half:], x[..., :half]], -1)
        return x * self.cos[start:stop] + swapped * self.sin[start:stop]


class Block(nn.Module):
    """Causal self-attention and a GELU net of 4 times the width; norms stand before, residual connections around."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Any, rotary: Rotary, past: tuple[Any, Any] | None) -> tuple[Any, tuple[Any, Any]]:
        """x (N, T, D), and keys and values of the positions before; gives the result and those of all positions."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        start = 0 if past is None else past[0].shape[2]
        q, k = rotary(q, start), rotary(k, start)
        if past is not None:
            k, v = fastdl.cat([past[0], k], 2), fastdl.cat([past[1], v], 2)
        # the last query sees every key, so a single one needs no mask
        mask = fastdl.ones(t, start + t).tril(start) == 1 if start and t > 1 else None
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=start == 0)
        x = x + self.dropout(self.out(y.transpose(1, 2).reshape(n, t, width)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x))))), (k, v)


class TransformerLM(Generator):
    """Embedded tokens, causal blocks, a norm, and scores by the transposed embedding.

    Args:
        vocab_size: number of tokens (V).
        width: of every position's vector (D); heads: of the attention, each of an even width D / heads.
        num_layers: blocks.
        max_length: positions that it can look at, the new one included.
        dropout: rate of the embedding and of both branches of a block.
    """

    max_length: int

    def __init__(self, vocab_size: int, width: int = 128, heads: int = 4, num_layers: int = 4, max_length: int = 128,
                 dropout: float = 0.0) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"[TransformerLM] width: expected a multiple of 2 x {heads} heads, got {width}")
        self.vocab_size, self.max_length = vocab_size, max_length
        self.embedding = nn.Embedding(vocab_size, width)
        self.rotary = Rotary(width // heads, max_length)
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(num_layers)])
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.embedding.weight, 0.0, 0.02)
        for block in self.blocks:
            for layer in (block.qkv, block.up):
                nn.init.normal_(layer.weight, 0.0, width ** -0.5)
            for layer in (block.out, block.down):  # 2 L branches are added up: their sum shall not grow with L
                nn.init.normal_(layer.weight, 0.0, (2 * num_layers * layer.in_features) ** -0.5)

    def forward(self, tokens: Any, state: State | None = None) -> tuple[Any, State]:
        """Scores of the token that follows each token.

        Args:
            tokens: ids (N, T), int64.
            state: what the call for the tokens before returned: their keys and values; None: there are none.
        Returns:
            Logits (T * N, V), time first like those of `LanguageModel`; and the state.
        Raises:
            ValueError: more tokens, those before included, than `max_length`.
        """
        n, t = tokens.shape
        before = state[0][0].shape[2] if state else 0
        if before + t > self.max_length:
            raise ValueError(f"[TransformerLM] {before} + {t} tokens are more than max_length {self.max_length}")
        x = self.dropout(self.embedding(tokens))
        after: State = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, self.rotary, state[i] if state else None)
            after.append(pair)
        x = self.norm(x).transpose(0, 1).reshape(t * n, -1)
        return F.linear(x, self.embedding.weight), after

    def room(self, state: State) -> int:
        """How many tokens may still follow."""
        return self.max_length - state[0][0].shape[2]
