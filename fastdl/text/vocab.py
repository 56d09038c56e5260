"""Tokens and their ids: splitting lines, counting, vocabularies, n-grams. Subword tokenizers are not here."""

from __future__ import annotations

import json
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._files import replacing

UNK = "<unk>"
FORMAT = "fastdl.vocab.1"


def tokenize(lines: Iterable[str], token: str | Callable[[str], list[Any]] = "word") -> list[list[Any]]:
    """Splits each line into words (at white space), characters, or as a function says.

    Args:
        lines: strings; one string alone is refused, because its "lines" would be its characters.
        token: "word", "char" or a function that gives the tokens of a line.
    Returns:
        One list of tokens per line.
    Raises:
        ValueError: another `token`.  TypeError: `lines` is one string.
    """
    if isinstance(lines, (str, bytes)):
        raise TypeError(f"[tokenize] lines: expected a list of strings, got one {type(lines).__name__}; "
                        "use text.splitlines()")
    if callable(token):
        return [list(token(line)) for line in lines]
    if token == "word":
        return [line.split() for line in lines]
    if token == "char":
        return [list(line) for line in lines]
    raise ValueError(f"[tokenize] token: expected 'word', 'char' or a function, got {token!r}")


def ngrams(tokens: Sequence[Any], n: int) -> list[tuple[Any, ...]]:
    """All runs of `n` neighbouring tokens, as tuples, in order; none if there are fewer than `n`."""
    if n < 1:
        raise ValueError(f"[ngrams] n: expected at least 1, got {n}")
    return list(zip(*(tokens[i:] for i in range(n))))


class Vocab:
    """Tokens numbered by falling frequency.

    Id 0 is "<unk>" (every token that is not in the vocabulary), then come the reserved tokens in their order, then the
    others, the most frequent first; tokens of equal frequency stand in the order of their first appearance.

    Args:
        tokens: tokens, or lists of tokens (as `tokenize` gives them).
        min_freq: tokens that occur less often are left out.
        reserved_tokens: tokens that are there whether they occur or not, for instance ("<pad>", "<bos>", "<eos>").
    Example:
        >>> vocab = Vocab(tokenize(["a b a"]), reserved_tokens=("<pad>",))
        >>> len(vocab), vocab["a"], vocab[["b", "zebra"]], vocab.to_tokens([1, 2])
        (4, 2, [3, 0], ['<pad>', 'a'])
    """

    def __init__(self, tokens: Iterable[Any] = (), min_freq: int = 0, reserved_tokens: Sequence[str] = ()) -> None:
        if isinstance(reserved_tokens, str):
            raise TypeError(f"[Vocab] reserved_tokens: expected a list of strings, got the string {reserved_tokens!r}")
        if isinstance(tokens, str):
            raise TypeError("[Vocab] tokens: expected a list of tokens, got one string; use tokenize")
        counter: Counter[Any] = Counter()
        for item in tokens or ():
            if isinstance(item, list):
                counter.update(item)
            else:
                counter[item] += 1
        # sorted() is stable and a Counter remembers the order of insertion, so ties need no rule of their own
        self._token_freqs = sorted(counter.items(), key=lambda pair: -pair[1])
        first = [UNK, *(reserved_tokens or ())]
        known = set(first)
        self._set_tokens(first + [t for t, n in self._token_freqs if n >= min_freq and t not in known], "[Vocab]")

    def _set_tokens(self, tokens: list[Any], where: str) -> None:
        self.idx_to_token = tokens
        self.token_to_idx = {token: i for i, token in enumerate(tokens)}
        if len(self.token_to_idx) != len(tokens):
            twice = next(token for token, n in Counter(tokens).items() if n > 1)
            raise ValueError(f"{where} token {twice!r} is listed twice")

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __contains__(self, token: object) -> bool:
        return token in self.token_to_idx

    def __iter__(self) -> Iterator[Any]:
        return iter(self.idx_to_token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and self.idx_to_token == other.idx_to_token

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocab({len(self)} tokens)"

    def __getitem__(self, tokens: Any) -> Any:
        """Id of a token, or ids of a list of tokens; unknown tokens give 0."""
        if isinstance(tokens, (list, tuple)):
            get, unk = self.token_to_idx.get, self.unk
            return [self[t] if isinstance(t, (list, tuple)) else get(t, unk) for t in tokens]
        return self.token_to_idx.get(tokens, self.unk)

    def to_tokens(self, indices: Any) -> Any:
        """Token of an id, or tokens of a list, array or tensor of ids.

        Raises:
            IndexError: an id is outside [0, len(self)).  TypeError: an id is not an integer.
        """
        if hasattr(indices, "tolist"):
            indices = indices.tolist()
        if isinstance(indices, (list, tuple)):
            return [self.to_tokens(i) for i in indices]
        try:
            index = operator.index(indices)
        except TypeError:
            raise TypeError(f"[Vocab.to_tokens] expected an integer id, got {indices!r}") from None
        if not 0 <= index < len(self.idx_to_token):
            raise IndexError(f"[Vocab.to_tokens] id {index} is outside [0, {len(self)})")
        return self.idx_to_token[index]

    @property
    def unk(self) -> int:
        """Id of the unknown token."""
        return 0

    @property
    def token_freqs(self) -> list[tuple[Any, int]]:
        """(token, number of occurrences) of everything counted, the most frequent first."""
        return self._token_freqs

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary as JSON; a crash leaves the old file or the new one, never half of one."""
        content = {"format": FORMAT, "tokens": self.idx_to_token, "frequencies": self._token_freqs}
        with replacing(path) as new, open(new, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocab:
        """Reads what `save` wrote. ValueError, with the file's name and the reason, if it is not such a file."""
        try:
            content = json.loads(Path(path).read_bytes().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a vocabulary: not UTF-8 at byte {error.start}") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: not a vocabulary, or cut off: {error}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path}: not a vocabulary: the entry 'format' is not {FORMAT!r}")
        tokens, freqs = content.get("tokens"), content.get("frequencies")
        strings = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        if not isinstance(tokens, list) or not strings or tokens[:1] != [UNK]:
            raise ValueError(f"{path}: not a vocabulary: 'tokens' is not a list of strings that begins with {UNK!r}")
        if not isinstance(freqs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in freqs):
            raise ValueError(f"{path}: not a vocabulary: 'frequencies' is not a list of pairs")
        vocab = cls()
        vocab._token_freqs = [(token, n) for token, n in freqs]
        vocab._set_tokens(tokens, f"{path}:")
        return vocab
