"""Corpora as ids, and minibatches of neighbouring subsequences of them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastdl
from fastdl import datasets
from fastdl.text.vocab import Vocab, tokenize

_NOT_LETTERS = re.compile("[^A-Za-z]+")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file.

    Raises:
        ValueError: the file holds no text, or bytes that are not UTF-8 (the message says which and where).
    """
    return datasets.decode_text(Path(path).read_bytes(), path)


def normalize(text: str) -> list[str]:
    """Lines in lower case in which every run of anything but a-z is one space (The Time Machine of the book)."""
    return [_NOT_LETTERS.sub(" ", line).strip().lower() for line in text.splitlines()]


def load_corpus(lines: Sequence[str], token: str | Callable[[str], list[Any]] = "char", max_tokens: int = -1,
                vocab: Vocab | None = None) -> tuple[list[int], Vocab]:
    """Ids of all tokens of all lines in one row, and the vocabulary.

    Args:
        lines: the text.
        token: "char", "word" or a function that gives the tokens of a line.
        max_tokens: only that many tokens are kept, if positive; the vocabulary is that of the whole text.
        vocab: takes this one; default: made from the lines.
    Raises:
        ValueError: the lines hold no token.
    """
    tokens = tokenize(lines, token)
    if not any(tokens):
        raise ValueError(f"[load_corpus] no {token if isinstance(token, str) else ''} tokens in {len(tokens)} lines")
    if vocab is None:
        vocab = Vocab(tokens)
    corpus = [i for line in tokens for i in vocab[line]]
    return (corpus[:max_tokens] if max_tokens > 0 else corpus), vocab


def load_corpus_time_machine(max_tokens: int = -1,
                             token: str | Callable[[str], list[Any]] = "char") -> tuple[list[int], Vocab]:
    """Ids and vocabulary of The Time Machine (see `fastdl.datasets.time_machine`), by characters as in the book.

    Warns if the novel could not be had and another text stands in for it.
    """
    book = datasets.time_machine()
    if book.is_substitute:
        warnings.warn(book.source, stacklevel=2)
    return load_corpus(normalize(book.text), token, max_tokens)


def _offset(limit: int, generator: Any) -> int:
    return int(fastdl.randint(0, limit + 1, (1,), generator=generator).item())


def _ids(name: str, corpus: Any, batch_size: int, num_steps: int) -> np.ndarray:
    """The corpus as int64, after checking that one minibatch at least can be cut from it."""
    if batch_size < 1 or num_steps < 1:
        raise ValueError(f"[{name}] batch_size and num_steps: expected at least 1, got {batch_size} and {num_steps}")
    ids = np.asarray(corpus)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise TypeError(f"[{name}] corpus: expected one row of integer ids, got {ids.dtype} of shape {ids.shape}")
    need = batch_size * num_steps + 1
    if len(ids) < need:
        raise ValueError(f"[{name}] corpus of {len(ids)} tokens is too short: batch_size {batch_size} x num_steps "
                         f"{num_steps} needs {need}")
    return ids.astype(np.int64, copy=False)


def seq_data_iter_random(corpus: Any, batch_size: int, num_steps: int,
                         generator: Any = None) -> Iterator[tuple[Any, Any]]:
    """Minibatches of subsequences in random order, from a random start.

    Every token belongs to at most one subsequence. Neighbouring minibatches have nothing to do with each other, so
    the state of a recurrent network begins anew with each.

    Args:
        corpus: ids (list, array or tensor of one dimension).
        batch_size: subsequences per minibatch (N).
        num_steps: tokens per subsequence (T).
        generator: source of random numbers; default: fastdl's own, which `manual_seed` sets.
    Yields:
        Inputs (N, T) and the tokens that follow each of them (N, T), int64.
    Raises:
        ValueError: the corpus has fewer than N * T + 1 tokens.
    """
    ids = _ids("seq_data_iter_random", corpus, batch_size, num_steps)

    def batches() -> Iterator[tuple[Any, Any]]:
        spare = len(ids) - 1 - batch_size * num_steps  # a later start would leave no whole minibatch
        start = _offset(min(num_steps - 1, spare), generator)
        count = (len(ids) - 1 - start) // num_steps
        order = np.asarray(fastdl.randperm(count, generator=generator))
        rows = start + order[:, None] * num_steps + np.arange(num_steps)
        for i in range(0, count - batch_size + 1, batch_size):
            at = rows[i:i + batch_size]
            yield fastdl.from_numpy(ids[at]), fastdl.from_numpy(ids[at + 1])

    return batches()


def seq_data_iter_sequential(corpus: Any, batch_size: int, num_steps: int,
                             generator: Any = None) -> Iterator[tuple[Any, Any]]:
    """Minibatches in which row i goes on where row i of the minibatch before ended.

    So the state of a recurrent network can be handed on (detached). Arguments, results and errors are those of
    `seq_data_iter_random`.
    """
    ids = _ids("seq_data_iter_sequential", corpus, batch_size, num_steps)

    def batches() -> Iterator[tuple[Any, Any]]:
        spare = len(ids) - 1 - batch_size * num_steps
        start = _offset(min(num_steps, spare), generator)
        length = (len(ids) - 1 - start) // batch_size
        x = ids[start:start + batch_size * length].reshape(batch_size, length)
        y = ids[start + 1:start + 1 + batch_size * length].reshape(batch_size, length)
        for i in range(0, length - num_steps + 1, num_steps):
            at = slice(i, i + num_steps)
            yield fastdl.from_numpy(x[:, at].copy()), fastdl.from_numpy(y[:, at].copy())

    return batches()


class SeqDataLoader:
    """Minibatches of a corpus, anew (from another start) at each iteration.

    Args:
        batch_size, num_steps: as in `seq_data_iter_random`.
        use_random_iter: random order instead of sequential minibatches.
        max_tokens: only that many tokens of The Time Machine (no `corpus` given).
        corpus, vocab: any other corpus.
        generator: source of random numbers; default: fastdl's own.
    """

    def __init__(self, batch_size: int, num_steps: int, use_random_iter: bool = False, max_tokens: int = 10000, *,
                 corpus: Any = None, vocab: Vocab | None = None, generator: Any = None) -> None:
        if corpus is None:
            corpus, vocab = load_corpus_time_machine(max_tokens)
        self.data_iter_fn: Callable[..., Iterator[tuple[Any, Any]]] = (
            seq_data_iter_random if use_random_iter else seq_data_iter_sequential)
        self.corpus = _ids("SeqDataLoader", corpus, batch_size, num_steps)
        self.vocab = vocab
        self.batch_size, self.num_steps, self.generator = batch_size, num_steps, generator

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self.data_iter_fn(self.corpus, self.batch_size, self.num_steps, self.generator)


def load_data_time_machine(batch_size: int, num_steps: int, use_random_iter: bool = False,
                           max_tokens: int = 10000) -> tuple[SeqDataLoader, Vocab]:
    """Minibatches of The Time Machine, and its vocabulary."""
    loader = SeqDataLoader(batch_size, num_steps, use_random_iter, max_tokens)
    assert loader.vocab is not None
    return loader, loader.vocab
