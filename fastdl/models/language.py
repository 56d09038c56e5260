"""Recurrent language models: the next token from those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastdl
from fastdl import nn
from fastdl.metrics import perplexity as perplexity
from fastdl.text import Vocab

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class LanguageModel(nn.Module):
    """One-hot tokens (or embeddings), a recurrent network, a linear layer that scores the next token.

    Args:
        vocab_size: number of tokens (V).
        hidden_size: width of the recurrent layers (H).
        cell: "rnn", "gru" or "lstm".
        num_layers: recurrent layers on top of each other (L).
        embedding_dim: width of the embedding; None: one-hot vectors.
        dropout: rate between the recurrent layers.
    """

    def __init__(self, vocab_size: int, hidden_size: int = 256, cell: str = "gru", num_layers: int = 1,
                 embedding_dim: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"[LanguageModel] cell: expected one of {', '.join(CELLS)}, got {cell!r}")
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.embedding = None if embedding_dim is None else nn.Embedding(vocab_size, embedding_dim)
        self.rnn = CELLS[cell](embedding_dim or vocab_size, hidden_size, num_layers, dropout=dropout)
        self.linear = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens: Any, state: Any = None) -> tuple[Any, Any]:
        """Scores of the token that follows each token.

        Args:
            tokens: ids (N, T), int64.
            state: what the call before returned; None: zeros.
        Returns:
            Logits (T * N, V), time first, so that their targets are `y.T.reshape(-1)`; and the state after the last
            token: (L, N, H), or a pair of them for the LSTM.
        """
        inputs = tokens.T if self.embedding is None else self.embedding(tokens.T)
        outputs, state = self.rnn(inputs, state)
        return self.linear(outputs.reshape(-1, self.hidden_size)), state

    def generate(self, prefix: Sequence[int], count: int) -> list[int]:
        """The `count` tokens that follow `prefix` if the likeliest is taken each time."""
        if not prefix:
            raise ValueError("[LanguageModel.generate] prefix: expected at least one token, got none")
        ids: list[int] = []
        with fastdl.no_grad():
            logits, state = self(fastdl.tensor([list(prefix)]))  # warm-up: the state after the whole prefix
            for _ in range(count):
                ids.append(int(logits[-1].argmax().item()))
                logits, state = self(fastdl.tensor([ids[-1:]]), state)
        return ids


def detach(state: Any) -> Any:
    """The state cut from the graph that made it, for the next minibatch of a sequence."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def predict(prefix: str, count: int, model: LanguageModel, vocab: Vocab) -> str:
    """The prefix and the `count` characters that the model puts after it."""
    return prefix + "".join(vocab.to_tokens(model.generate(vocab[list(prefix)], count)))
