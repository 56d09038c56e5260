"""The Transformer for translation, from nn's layers: post-norm as in the book, or pre-norm; decoding with a cache."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastdl import nn
from fastdl.models.attention import CachedAttention, PositionalEncoding
from fastdl.models.seq2seq import Decoder, Encoder, EncoderDecoder


class EncoderBlock(nn.TransformerEncoderLayer):
    """nn.TransformerEncoderLayer, batch first, that takes lengths and whose weights can be looked at."""

    def __init__(self, num_hiddens: int, num_heads: int, ffn_hiddens: int, dropout: float, norm_first: bool) -> None:
        super().__init__(num_hiddens, num_heads, ffn_hiddens, dropout, batch_first=True, norm_first=norm_first)
        self.self_attn = CachedAttention(num_hiddens, num_heads, dropout)

    def forward(self, x: Any, lengths: Any = None) -> Any:  # type: ignore[override]
        x = self._branch(x, 1, lambda y: self.self_attn.over_itself(y, lengths))
        return self._branch(x, 2, self._feed_forward)


class DecoderBlock(nn.TransformerDecoderLayer):
    """nn.TransformerDecoderLayer, batch first, that takes the next steps only and a cache of those before."""

    def __init__(self, num_hiddens: int, num_heads: int, ffn_hiddens: int, dropout: float, norm_first: bool) -> None:
        super().__init__(num_hiddens, num_heads, ffn_hiddens, dropout, batch_first=True, norm_first=norm_first)
        self.self_attn = CachedAttention(num_hiddens, num_heads, dropout)
        self.multihead_attn = CachedAttention(num_hiddens, num_heads, dropout)

    def forward(self, x: Any, memory: tuple[Any, Any], lengths: Any = None,  # type: ignore[override]
                cache: tuple[Any, Any] | None = None) -> tuple[Any, tuple[Any, Any] | None]:
        """The next steps x (N, T, E), given the source's keys and values; and the cache with them (training: None)."""

        def attend(y: Any) -> Any:
            nonlocal cache
            if self.training:  # all steps at once: no cache is needed
                return self.self_attn.over_itself(y, is_causal=True)
            out, cache = self.self_attn.next_steps(y, cache)
            return out

        x = self._branch(x, 1, attend)
        x = self._branch(x, 2, lambda y: self.multihead_attn.over_memory(y, *memory, lengths))
        return self._branch(x, 3, self._feed_forward), cache


class _Embedding(nn.Module):
    """Tokens (N, T) as sqrt(E) times their embeddings, plus positions from `start` on."""

    def __init__(self, vocab_size: int, num_hiddens: int, dropout: float, max_len: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, num_hiddens)
        self.positions = PositionalEncoding(num_hiddens, dropout, max_len)
        self.scale = math.sqrt(num_hiddens)

    def forward(self, tokens: Any, start: int = 0) -> Any:
        return self.positions(self.tokens(tokens) * self.scale, start)


class TransformerEncoder(Encoder):
    """Blocks over the embedded source, and with norm_first a norm at the end.

    Args:
        vocab_size: tokens (V); num_hiddens: E; num_heads divides it; ffn_hiddens: of the feed-forward nets.
        num_layers: blocks; dropout: probability; norm_first: pre-norm blocks; max_len: longest sequence.
    Raises:
        ValueError (forward): a sequence is longer than max_len.
    """

    def __init__(self, vocab_size: int, num_hiddens: int, num_heads: int, ffn_hiddens: int, num_layers: int,
                 dropout: float = 0.1, norm_first: bool = False, max_len: int = 1000) -> None:
        super().__init__()
        self.embedding = _Embedding(vocab_size, num_hiddens, dropout, max_len)
        self.blocks = nn.ModuleList([EncoderBlock(num_hiddens, num_heads, ffn_hiddens, dropout, norm_first)
                                     for _ in range(num_layers)])
        self.norm: nn.Module = nn.LayerNorm(num_hiddens) if norm_first else nn.Identity()

    def forward(self, tokens: Any, lengths: Any = None) -> Any:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, lengths)
        return self.norm(x)


class TransformerState(NamedTuple):
    """Of each block the source's keys and values, and those of the steps so far; lengths (N,); number of steps."""

    memory: list[tuple[Any, Any]]
    lengths: Any
    cache: list[Any]
    steps: int


class TransformerDecoder(Decoder):
    """Blocks over the embedded target, and with norm_first a norm at the end; arguments as TransformerEncoder.

    In training the state that `features` gives back is of no use: all steps are to come at once.
    """

    def __init__(self, vocab_size: int, num_hiddens: int, num_heads: int, ffn_hiddens: int, num_layers: int,
                 dropout: float = 0.1, norm_first: bool = False, max_len: int = 1000) -> None:
        super().__init__()
        self.embedding = _Embedding(vocab_size, num_hiddens, dropout, max_len)
        self.blocks = nn.ModuleList([DecoderBlock(num_hiddens, num_heads, ffn_hiddens, dropout, norm_first)
                                     for _ in range(num_layers)])
        self.norm: nn.Module = nn.LayerNorm(num_hiddens) if norm_first else nn.Identity()
        self.output = nn.Linear(num_hiddens, vocab_size)

    def init_state(self, memory: Any, lengths: Any = None) -> TransformerState:
        keys = [block.multihead_attn.keys_and_values(memory) for block in self.blocks]
        return TransformerState(keys, lengths, [None] * len(keys), 0)

    def features(self, tokens: Any, state: TransformerState) -> tuple[Any, TransformerState]:
        if self.training and state.steps:
            raise RuntimeError("[TransformerDecoder] in training all steps are to come at once: call eval() first")
        x = self.embedding(tokens, state.steps)
        cache = []
        for block, memory, before in zip(self.blocks, state.memory, state.cache):
            x, after = block(x, memory, state.lengths, before)
            cache.append(after)
        return self.norm(x), state._replace(cache=cache, steps=state.steps + tokens.shape[1])

    def select(self, state: TransformerState, rows: Any) -> TransformerState:
        def pick(pairs: list[Any]) -> list[Any]:
            return [pair and tuple(part.index_select(0, rows) for part in pair) for pair in pairs]

        lengths = None if state.lengths is None else state.lengths.index_select(0, rows)
        return TransformerState(pick(state.memory), lengths, pick(state.cache), state.steps)


def transformer_seq2seq(source_size: int, target_size: int, num_hiddens: int = 32, num_heads: int = 4,
                        ffn_hiddens: int = 64, num_layers: int = 2, dropout: float = 0.1, norm_first: bool = False,
                        max_len: int = 1000) -> EncoderDecoder:
    """Transformer encoder and decoder for vocabularies of these sizes; the defaults are the book's."""
    sizes = (num_hiddens, num_heads, ffn_hiddens, num_layers, dropout, norm_first, max_len)
    return EncoderDecoder(TransformerEncoder(source_size, *sizes), TransformerDecoder(target_size, *sizes))
