"""Pairs of sentences in two languages: reading, normalising, ids of one length, minibatches."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastdl
from fastdl.text.vocab import Vocab

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
_PUNCTUATION = re.compile(r"(?<=[^ ])([,.!?])")


def _member(path: Path) -> bytes:
    """The one text of a zip archive; files whose names begin with "_" (notes) do not count."""
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [n for n in archive.namelist() if n.endswith((".txt", ".tsv")) and not Path(n).name.startswith("_")]
            if len(texts) != 1:
                raise ValueError(f"{path}: expected one text in the archive, got {', '.join(texts) or 'none'}")
            return archive.read(texts[0])
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a zip archive, or a broken one: {error}") from None


def read_pairs(path: str | os.PathLike[str], max_pairs: int | None = None) -> list[tuple[str, str]]:
    """The (source, target) sentences of a file with one tab-separated pair a line, as manythings.org/anki gives them.

    Args:
        path: a UTF-8 text, or a zip archive with one .txt or .tsv in it. A third column (its origin) is not read.
        max_pairs: only the first so many lines.
    Raises:
        ValueError: the file holds no pair, or a line is empty, is not UTF-8, or has not 2 or 3 columns; the message
            names the line.
    """
    path = Path(path)
    data = _member(path) if path.suffix == ".zip" else path.read_bytes()
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(lines[:max_pairs], 1):
        try:
            columns = line.decode("utf-8").rstrip("\r").split("\t")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: line {number}: not UTF-8: byte 0x{line[error.start]:02x} at position "
                             f"{error.start}") from None
        if not line.strip():
            raise ValueError(f"{path}: line {number}: empty, expected source and target with a tab between")
        if len(columns) not in (2, 3):
            raise ValueError(f"{path}: line {number}: expected source and target with a tab between, got "
                             f"{len(columns)} column{'s' * (len(columns) != 1)}")
        if not columns[0].strip() or not columns[1].strip():
            raise ValueError(f"{path}: line {number}: the {'target' if columns[0].strip() else 'source'} is empty")
        pairs.append((columns[0], columns[1]))
    if not pairs:
        raise ValueError(f"{path}: no pairs in it")
    return pairs


def normalize_sentence(sentence: str) -> str:
    """Lower case, plain spaces, and a space before each of , . ! ? that follows something else."""
    return _PUNCTUATION.sub(r" \1", sentence.replace("\u202f", " ").replace("\xa0", " ").lower())


def truncate_pad(ids: Sequence[int], num_steps: int, pad: int) -> list[int]:
    """The ids cut off, or filled up with `pad`, to num_steps."""
    return [*ids[:num_steps], *[pad] * (num_steps - len(ids))]


def build_array(sentences: Sequence[Sequence[str]], vocab: Vocab, num_steps: int) -> tuple[Any, Any]:
    """Ids of sentences, each with "<eos>" behind it.

    Args:
        sentences: lists of words.
        vocab: has "<pad>" and "<eos>".
        num_steps: T; what is longer is cut off, what is shorter is padded.
    Returns:
        Ids (N, T) and valid lengths (N,), int64; "<eos>" counts, unless it was cut off.
    Raises:
        ValueError: num_steps is below 1, or the vocabulary lacks a token.
    """
    if num_steps < 1:
        raise ValueError(f"[build_array] num_steps: expected at least 1, got {num_steps}")
    if missing := [token for token in (PAD, EOS) if token not in vocab]:
        raise ValueError(f"[build_array] vocab: no {' and no '.join(missing)} among its {len(vocab)} tokens")
    pad, eos = vocab[PAD], vocab[EOS]
    rows = [truncate_pad([*vocab[list(words)], eos], num_steps, pad) for words in sentences]
    lengths = [min(len(words) + 1, num_steps) for words in sentences]
    ids = np.array(rows, np.int64).reshape(len(rows), num_steps)
    return fastdl.from_numpy(ids), fastdl.from_numpy(np.array(lengths, np.int64))


class Batch(NamedTuple):
    """Sentences in both languages: ids (N, T) and valid lengths (N,), "<eos>" included."""

    source: Any
    source_lengths: Any
    target: Any
    target_lengths: Any


class PairLoader:
    """Minibatches of pairs, in a new random order at each iteration; the last one may be smaller.

    Attributes:
        source_words, target_words: the sentences, as lists of words.
        source_vocab, target_vocab: made from the pairs unless given; reserved tokens are "<pad>", "<bos>", "<eos>".
        batch: all pairs, as ids.

    Args:
        pairs: sentences as read; `normalize_sentence` is applied to them, then they are split at white space.
        batch_size: pairs per minibatch (N).
        num_steps: ids per sentence (T).
        min_freq: rarer words become "<unk>".
        vocabs: takes these two vocabularies.
        shuffle: False keeps the order of the pairs.
        generator: source of random numbers; default: fastdl's own.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], batch_size: int = 64, num_steps: int = 10, min_freq: int = 2,
                 vocabs: tuple[Vocab, Vocab] | None = None, shuffle: bool = True, generator: Any = None) -> None:
        if batch_size < 1:
            raise ValueError(f"[PairLoader] batch_size: expected at least 1, got {batch_size}")
        if not pairs:
            raise ValueError("[PairLoader] pairs: expected at least one pair, got none")
        self.source_words = [normalize_sentence(source).split() for source, _ in pairs]
        self.target_words = [normalize_sentence(target).split() for _, target in pairs]
        if vocabs is None:
            vocabs = (Vocab(self.source_words, min_freq, (PAD, BOS, EOS)),
                      Vocab(self.target_words, min_freq, (PAD, BOS, EOS)))
        self.source_vocab, self.target_vocab = vocabs
        self.batch_size, self.num_steps, self.shuffle, self.generator = batch_size, num_steps, shuffle, generator
        self.batch = Batch(*build_array(self.source_words, self.source_vocab, num_steps),
                           *build_array(self.target_words, self.target_vocab, num_steps))

    def __len__(self) -> int:
        return -(-len(self.source_words) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.source_words)
        order = fastdl.randperm(count, generator=self.generator) if self.shuffle else fastdl.arange(count)
        for start in range(0, count, self.batch_size):
            rows = order[start:start + self.batch_size]
            yield Batch(*(part[rows] for part in self.batch))


def load_data_nmt(path: str | os.PathLike[str], batch_size: int, num_steps: int,
                  num_examples: int | None = 600) -> tuple[PairLoader, Vocab, Vocab]:
    """Minibatches of the first `num_examples` pairs of a file and both vocabularies, as the book names it."""
    loader = PairLoader(read_pairs(path, num_examples), batch_size, num_steps)
    return loader, loader.source_vocab, loader.target_vocab
