"""Data for BERT: pairs of segments, masked tokens, next sentences, from any text of paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import fastdl
from fastdl.text.vocab import Vocab

RESERVED = ("<pad>", "<mask>", "<cls>", "<sep>")
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)*|[.!?;:,]")


class BertBatch(NamedTuple):
    """tokens, segments (N, T); lengths (N,); masked (M,): places in tokens.reshape(-1); words (M,): what was there;
    follows (N,): 1 where the second segment follows the first."""

    tokens: Any
    segments: Any
    lengths: Any
    masked: Any
    words: Any
    follows: Any


def tokens_and_segments(first: Sequence[Any], second: Sequence[Any] | None = None) -> tuple[list[Any], list[int]]:
    """<cls> first <sep> (second <sep>) and the segment, 0 or 1, of each token."""
    tokens, segments = ["<cls>", *first, "<sep>"], [0] * (len(first) + 2)
    if second is not None:
        tokens, segments = [*tokens, *second, "<sep>"], segments + [1] * (len(second) + 1)
    return tokens, segments


def split_text(text: str, share: float = 0.1) -> tuple[str, str]:
    """The text cut in two at an empty line, so that about the last `share` of its characters is held out.

    Raises:
        ValueError: there is no empty line to cut at, or share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"[split_text] share: expected between 0 and 1, got {share}")
    cuts = [match.end() for match in re.finditer(r"\n\s*\n", text.rstrip())]
    if not cuts:
        raise ValueError("[split_text] text: expected paragraphs apart by empty lines, got one paragraph")
    at = min(cuts, key=lambda end: abs(end - (1 - share) * len(text)))
    return text[:at], text[at:]


def paragraphs(text: str) -> list[list[list[str]]]:
    """Paragraphs (apart by empty lines) of at least two sentences of lower-case words and marks."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        sentences = [words for s in _SENTENCE_END.split(block.lower()) if (words := _WORD.findall(s))]
        if len(sentences) > 1:
            found.append(sentences)
    return found


def _padded(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    """Rows of ids, filled up to the longest: (N, T) int64."""
    values = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for row, ids in zip(values, rows):
        row[:len(ids)] = ids
    return values


class LabelledBatch(NamedTuple):
    """tokens, segments (N, T); lengths (N,); labels (N,), or (N, T) with -100 where there is none."""

    tokens: Any
    segments: Any
    lengths: Any
    labels: Any


class LabelledData:
    """Minibatches of labelled sentences, pairs or tagged words for fine-tuning, in a new order at each iteration.

    Args:
        examples: (tokens, segments, label) each; the first two as `tokens_and_segments` gives them; label: a class, or
            a list with the class of each token, -100 where it has none (what cross_entropy ignores).
        vocab: has "<pad>".
        batch_size, max_length: rows of a minibatch and most tokens of a row.
        shuffle: False keeps the order.  seed: of the order; the pass over the data adds to it.
    Raises:
        ValueError: no examples, or one that is too long or has more or fewer labels than tokens (the message names it).
    """

    def __init__(self, examples: Sequence[tuple[list[str], list[int], Any]], vocab: Vocab, batch_size: int = 32,
                 max_length: int = 64, shuffle: bool = True, seed: int = 0) -> None:
        if not examples:
            raise ValueError("[LabelledData] examples: expected at least one, got none")
        if "<pad>" not in vocab:
            raise ValueError("[LabelledData] vocab: lacks <pad>")
        for i, (tokens, segments, label) in enumerate(examples):
            if len(tokens) > max_length:
                raise ValueError(f"[LabelledData] example {i} has {len(tokens)} tokens, more than max_length "
                                 f"{max_length}")
            sizes = [len(part) for part in (segments, label) if isinstance(part, list)]
            if any(size != len(tokens) for size in sizes):
                raise ValueError(f"[LabelledData] example {i}: expected a segment and a label for each of its "
                                 f"{len(tokens)} tokens, got {' and '.join(map(str, sizes))}")
        self.examples, self.vocab, self.batch_size = examples, vocab, batch_size
        self.shuffle, self.seed, self.passes = shuffle, seed, 0

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[LabelledBatch]:
        random = np.random.default_rng([self.seed, self.passes])
        self.passes += 1
        count = len(self.examples)
        order = random.permutation(count) if self.shuffle else range(count)
        for begin in range(0, count, self.batch_size):
            tokens, segments, labels = zip(*(self.examples[i] for i in order[begin:begin + self.batch_size]))
            lengths = np.array([len(row) for row in tokens], np.int64)
            values = _padded(labels, -100) if isinstance(labels[0], list) else np.array(labels, np.int64)
            ids = _padded([self.vocab[row] for row in tokens], self.vocab["<pad>"])
            yield LabelledBatch(*(fastdl.from_numpy(x) for x in (ids, _padded(segments, 0), lengths, values)))


class BertData:
    """Examples for pre-training, masked anew at each iteration.

    Args:
        text: paragraphs of sentences, apart by empty lines.
        batch_size, max_length: rows of a minibatch and most tokens of a row; longer pairs are left out.
        min_freq: rarer words become "<unk>".  mask_rate: share of tokens to be predicted, 0: none.
        seed: of the random choices; the pass over the data adds to it.
    Raises:
        ValueError: the text has fewer than two such paragraphs, or no pair is short enough.
    """

    def __init__(self, text: str, batch_size: int = 32, max_length: int = 64, min_freq: int = 2,
                 mask_rate: float = 0.15, vocab: Vocab | None = None, seed: int = 0) -> None:
        self.paragraphs = paragraphs(text)
        if len(self.paragraphs) < 2:
            raise ValueError(f"[BertData] text: expected two paragraphs of two sentences, got {len(self.paragraphs)}")
        self.vocab = vocab or Vocab((w for p in self.paragraphs for s in p for w in s), min_freq, RESERVED)
        if lost := [t for t in RESERVED if t not in self.vocab]:
            raise ValueError(f"[BertData] vocab: lacks {', '.join(lost)}")
        self.batch_size, self.max_length, self.mask_rate = batch_size, max_length, mask_rate
        self.seed, self.passes = seed, 0
        if not self.pairs(np.random.default_rng(seed)):
            raise ValueError(f"[BertData] max_length: no pair of sentences has at most {max_length} tokens")

    def pairs(self, random: np.random.Generator) -> list[tuple[list[str], list[int], int]]:
        """(tokens, segments, follows): each sentence with the next one, or in half of the cases with any other."""
        found = []
        for paragraph in self.paragraphs:
            for first, second in pairwise(paragraph):
                follows = int(random.random() < 0.5)
                if not follows:
                    other = self.paragraphs[random.integers(len(self.paragraphs))]
                    second = other[random.integers(len(other))]
                if len(first) + len(second) + 3 <= self.max_length:
                    found.append((*tokens_and_segments(first, second), follows))
        return found

    def __iter__(self) -> Iterator[BertBatch]:
        random = np.random.default_rng([self.seed, self.passes])
        self.passes += 1
        pairs = self.pairs(random)
        order = random.permutation(len(pairs))
        for begin in range(0, len(order), self.batch_size):
            yield self._batch([pairs[i] for i in order[begin:begin + self.batch_size]], random)

    def _batch(self, pairs: list[tuple[list[str], list[int], int]], random: np.random.Generator) -> BertBatch:
        lengths = np.array([len(tokens) for tokens, _, _ in pairs], np.int64)
        tokens = _padded([self.vocab[words] for words, _, _ in pairs], self.vocab["<pad>"])
        segments = _padded([kinds for _, kinds, _ in pairs], 0)
        masked = []
        for i, (words, _, _) in enumerate(pairs):
            free = np.array([j for j, w in enumerate(words) if w not in ("<cls>", "<sep>")])
            count = max(1, round(self.mask_rate * len(words))) if self.mask_rate else 0
            masked.append(i * tokens.shape[1] + np.sort(random.permutation(free)[:count]))
        at = np.concatenate(masked)
        flat = tokens.reshape(-1)
        words = flat[at].copy()
        draw = random.random(len(at))  # 80 in 100 become <mask>, 10 another word, 10 stay
        other = random.integers(len(RESERVED) + 1, max(len(self.vocab), len(RESERVED) + 2), len(at))
        flat[at] = np.where(draw < 0.8, self.vocab["<mask>"], np.where(draw < 0.9, other % len(self.vocab), words))
        follows = np.array([f for _, _, f in pairs], np.int64)
        return BertBatch(*(fastdl.from_numpy(x) for x in (tokens, segments, lengths, at, words, follows)))
