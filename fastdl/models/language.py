"""Recurrent language models: the next token from those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import fastdl
from fastdl import nn
from fastdl.metrics import perplexity as perplexity
from fastdl.text import Vocab

CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Generator(nn.Module):
    """A model whose call on tokens (N, T) and the state of those before gives logits (T * N, V) and the new state."""

    max_length: int | None = None

    def room(self, state: Any) -> int | None:
        """How many tokens may follow in this state; None: as many as one likes."""
        return None

    def generate(self, prefix: Sequence[int], count: int, temperature: float = 0.0, top_k: int | None = None,
                 generator: Any = None) -> list[int]:
        """The `count` tokens that follow `prefix`.

        The prefix is read as a whole (warm-up), then each token costs one step from the state. A model with a
        `max_length` reads the last half of it anew when it is full.

        Args:
            temperature: 0: the likeliest token each time; else one drawn from softmax(logits / temperature).
            top_k: draws among that many likeliest tokens only.
            generator: source of random numbers; default: fastdl's own.
        Raises:
            ValueError: no prefix, a negative temperature, or top_k below 1.
        """
        if not prefix:
            raise ValueError("[generate] prefix: expected at least one token, got none")
        if temperature < 0 or (top_k is not None and top_k < 1):
            raise ValueError("[generate] expected temperature >= 0 and top_k >= 1, "
                             f"got temperature={temperature} and top_k={top_k}")
        ids, training = list(prefix), self.training
        self.eval()
        with fastdl.no_grad():
            logits, state = self(fastdl.tensor([ids[-(self.max_length or 0):]]))
            for i in range(count):
                ids.append(sample(logits[-1], temperature, top_k, generator))
                if i == count - 1:
                    break
                if self.max_length is not None and self.room(state) == 0:
                    logits, state = self(fastdl.tensor([ids[-((self.max_length + 1) // 2):]]))
                else:
                    logits, state = self(fastdl.tensor([ids[-1:]]), state)
        self.train(training)
        return ids[len(prefix):]


def sample(logits: Any, temperature: float = 1.0, top_k: int | None = None, generator: Any = None) -> int:
    """One id by its score: the largest if temperature is 0, else drawn from softmax(logits / temperature).

    Args:
        logits: (V,).
        top_k: only the k largest take part.
        generator: source of random numbers; default: fastdl's own.
    """
    if temperature == 0:
        return int(logits.argmax().item())
    if top_k is not None and top_k < logits.shape[0]:
        values, ids = logits.topk(top_k)
        return int(ids[sample(values, temperature, None, generator)].item())
    return int(fastdl.multinomial((logits / temperature).softmax(-1), 1, generator=generator).item())


class LanguageModel(Generator):
    """One-hot tokens (or embeddings), a recurrent network, a linear layer that scores the next token.

    Args:
        vocab_size: number of tokens (V).
        hidden_size: width of the recurrent layers (H).
        cell: "rnn", "gru" or "lstm".
        num_layers: recurrent layers on top of each other (L).
        embedding_dim: width of the embedding; None: one-hot vectors.
        dropout: rate between the recurrent layers.
        bidirectional: a second row of layers reads from the end. Such a model sees the tokens that it is to score, so
            that its perplexity says nothing and what it generates is poor: the book's wrong use of it.
    """

    def __init__(self, vocab_size: int, hidden_size: int = 256, cell: str = "gru", num_layers: int = 1,
                 embedding_dim: int | None = None, dropout: float = 0.0, bidirectional: bool = False) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"[LanguageModel] cell: expected one of {', '.join(CELLS)}, got {cell!r}")
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.embedding = None if embedding_dim is None else nn.Embedding(vocab_size, embedding_dim)
        self.rnn = CELLS[cell](embedding_dim or vocab_size, hidden_size, num_layers, dropout=dropout,
                               bidirectional=bidirectional)
        self.linear = nn.Linear(hidden_size * (1 + bidirectional), vocab_size)

    def forward(self, tokens: Any, state: Any = None) -> tuple[Any, Any]:
        """Scores of the token that follows each token.

        Args:
            tokens: ids (N, T), int64.
            state: what the call before returned; None: zeros.
        Returns:
            Logits (T * N, V), time first, so that their targets are `y.T.reshape(-1)`; and the state after the last
            token: (L, N, H), twice as many if bidirectional, or a pair of them for the LSTM.
        """
        inputs = tokens.T if self.embedding is None else self.embedding(tokens.T)
        outputs, state = self.rnn(inputs, state)
        return self.linear(outputs.reshape(-1, self.linear.in_features)), state


def detach(state: Any) -> Any:
    """The state cut from the graph that made it, for the next minibatch of a sequence."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def predict(prefix: str, count: int, model: Generator, vocab: Vocab, **options: Any) -> str:
    """The prefix and the `count` characters that the model puts after it; options are those of `generate`.

    Raises:
        ValueError: the vocabulary is not as large as the model's.
    """
    if (size := getattr(model, "vocab_size", len(vocab))) != len(vocab):
        raise ValueError(f"[predict] vocab of {len(vocab)} tokens does not fit the model, which has {size}")
    return prefix + "".join(vocab.to_tokens(model.generate(vocab[list(prefix)], count, **options)))
