"""BLEU: how many runs of words a translation shares with its references."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from fastdl.text.vocab import ngrams


def _words(text: str | Sequence[str]) -> list[str]:
    return text.split() if isinstance(text, str) else list(text)


def bleu(prediction: str | Sequence[str], label: str | Sequence[str], k: int = 2) -> float:
    r"""The book's BLEU of one sentence against one label, in [0, 1].

    .. math:: \exp(\min(0, 1 - L_{label} / L_{prediction})) \prod_{n=1}^k p_n^{1/2^n}

    p_n is the share of the prediction's runs of n words that the label has, too; each of the label's runs counts once.
    Runs longer than the prediction do not exist and are left out.

    Args:
        prediction, label: words, or strings that are split at white space.
        k: longest run that counts.
    Raises:
        ValueError: k is below 1.
    """
    if k < 1:
        raise ValueError(f"[bleu] k: expected at least 1, got {k}")
    words, target = _words(prediction), _words(label)
    if not words or not target:
        return float(words == target)
    score = math.exp(min(0.0, 1 - len(target) / len(words)))
    for n in range(1, min(k, len(words)) + 1):
        matches = (Counter(ngrams(words, n)) & Counter(ngrams(target, n))).total()
        score *= (matches / (len(words) - n + 1)) ** 0.5**n
    return score


def corpus_bleu(predictions: Sequence[str | Sequence[str]], references: Sequence[Sequence[str | Sequence[str]]],
                max_n: int = 4) -> float:
    """BLEU of a whole corpus (Papineni et al., 2002), in [0, 1].

    Matches and runs of 1 .. max_n words are counted over all sentences; the score is the geometric mean of the shares,
    times exp(1 - r / c) if the predictions' length c is below r, the sum of the closest lengths among the references.

    Args:
        predictions: sentences, as words or as strings that are split at white space.
        references: for each of them one translation or more; a run counts as often as in the reference that has it
            most often.
    Raises:
        ValueError: the numbers of sentences differ, a sentence has no reference, or max_n is below 1.
    """
    if max_n < 1:
        raise ValueError(f"[corpus_bleu] max_n: expected at least 1, got {max_n}")
    if len(predictions) != len(references):
        raise ValueError(f"[corpus_bleu] expected references for each prediction, got {len(predictions)} predictions "
                         f"and references for {len(references)}")
    matches, runs, length, closest = [0] * max_n, [0] * max_n, 0, 0
    for i, (prediction, given) in enumerate(zip(predictions, references)):
        if isinstance(given, str) or not given:
            raise ValueError(f"[corpus_bleu] references[{i}]: expected a list of translations, got {given!r}")
        words, targets = _words(prediction), [_words(reference) for reference in given]
        length += len(words)
        closest += min((abs(len(t) - len(words)), len(t)) for t in targets)[1]
        for n in range(1, max_n + 1):
            allowed: Counter[tuple[str, ...]] = Counter()
            for target in targets:
                allowed |= Counter(ngrams(target, n))
            found = Counter(ngrams(words, n))
            matches[n - 1] += (found & allowed).total()
            runs[n - 1] += found.total()
    if not all(matches):
        return 0.0
    mean = sum(math.log(m / r) for m, r in zip(matches, runs)) / max_n
    return math.exp(min(0.0, 1 - closest / length) + mean)
