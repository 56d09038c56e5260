"""Decoding: the likeliest sequences that a decoder gives, by greedy and by beam search.

A decoder is anything with `decoder(tokens, state) -> (logits, state)`, tokens (M, T) and logits (M, T, V), that takes
the next tokens only and keeps in the state what it needs of those before them; and `decoder.select(state, rows)`, the
state of these rows (int64, any number of times, in any order). Every `fastdl.models.Decoder` is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import fastdl
from fastdl.nn import functional as F


class Hypothesis(NamedTuple):
    """Tokens without the one that ends the sequence, the score, and whether that token came within max_steps."""

    tokens: list[int]
    score: float
    is_finished: bool


class _Prefix(NamedTuple):
    tokens: list[int]  # with the start
    log_prob: float  # sum over the tokens
    row: int  # of the state that has seen all tokens but the last


def _column(tokens: Sequence[int]) -> Any:
    return fastdl.tensor(list(tokens), dtype=fastdl.int64).reshape(-1, 1)


def _check(name: str, max_steps: int, beam_size: int = 1) -> None:
    if max_steps < 1 or beam_size < 1:
        raise ValueError(f"[{name}] max_steps and beam_size: expected at least 1, got {max_steps} and {beam_size}")


@fastdl.no_grad()
def greedy_search(decoder: Any, state: Any, starts: Sequence[int], eos: int, max_steps: int) -> list[list[int]]:
    """The likeliest token each time, for a batch of sequences.

    Args:
        state: the decoder's first state, of N rows.
        starts: the first token of each of the N sequences, "<bos>" in translation.
        eos: the token that ends a sequence.
        max_steps: a sequence without eos is cut off at this length.
    Returns:
        The tokens of each sequence, without start and eos.
    Raises:
        ValueError: max_steps is below 1.
    """
    _check("greedy_search", max_steps)
    found: list[list[int]] = [[] for _ in starts]
    active, tokens = list(range(len(starts))), list(starts)
    for _ in range(max_steps):
        if not active:
            break
        logits, state = decoder(_column(tokens), state)
        best = logits[:, -1].argmax(-1).tolist()
        rows = [row for row, token in enumerate(best) if token != eos]
        if len(rows) < len(active):
            state = decoder.select(state, fastdl.tensor(rows, dtype=fastdl.int64))
        active, tokens = [active[row] for row in rows], [best[row] for row in rows]
        for i, token in zip(active, tokens):
            found[i].append(token)
    return found


@fastdl.no_grad()
def beam_search(decoder: Any, state: Any, starts: Sequence[int], eos: int, max_steps: int, beam_size: int = 4,
                length_penalty: float = 0.75) -> list[list[Hypothesis]]:
    """The best sequences of a batch, found by carrying the `beam_size` likeliest prefixes of each along.

    The score of a sequence of L tokens (eos included) is the sum of their log-probabilities divided by
    L ** length_penalty: 0 takes the likeliest sequence, larger values longer ones. A sentence is done when no prefix
    that is carried along can still beat the best sequence found. With beam_size 1 and length_penalty 0 that is greedy
    search; with a beam of all prefixes it is exhaustive.

    Args:
        beam_size: prefixes carried along, and sequences given at most, for each of the N.
        Others as in `greedy_search`.
    Returns:
        For each of the N the sequences found until then, the best first.
    Raises:
        ValueError: max_steps or beam_size is below 1, or length_penalty is negative.
    """
    _check("beam_search", max_steps, beam_size)
    if not length_penalty >= 0:
        raise ValueError(f"[beam_search] length_penalty: expected a number >= 0, got {length_penalty}")
    kept: list[list[Hypothesis]] = [[] for _ in starts]
    live = [[_Prefix([token], 0.0, i)] for i, token in enumerate(starts)]
    for length in range(1, max_steps + 1):
        prefixes = [prefix for beam in live for prefix in beam]
        if not prefixes:
            break
        if length > 1:
            state = decoder.select(state, fastdl.tensor([p.row for p in prefixes], dtype=fastdl.int64))
        logits, state = decoder(_column([p.tokens[-1] for p in prefixes]), state)
        log_probs = F.log_softmax(logits[:, -1], -1)
        # the best 2 * beam_size of a sentence are among these, and at most beam_size of those end it
        values, ids = log_probs.topk(min(2 * beam_size, log_probs.shape[1]), -1)
        candidates = iter(zip(values.double().tolist(), ids.tolist()))
        row = 0
        for i, beam in enumerate(live):
            found: list[_Prefix] = []
            for prefix in beam:
                found += [_Prefix([*prefix.tokens, token], prefix.log_prob + value, row)
                          for value, token in zip(*next(candidates))]
                row += 1
            found.sort(key=lambda p: -p.log_prob)
            for p in found[:beam_size]:
                if (ends := p.tokens[-1] == eos) or length == max_steps:
                    score = p.log_prob / length**length_penalty
                    kept[i].append(Hypothesis(p.tokens[1:-1] if ends else p.tokens[1:], score, ends))
            kept[i] = sorted(kept[i], key=lambda h: -h.score)[:beam_size]
            live[i] = [p for p in found if p.tokens[-1] != eos][:beam_size]
            # log-probabilities are <= 0: no continuation scores above the sum so far over the greatest length
            if kept[i] and live[i] and live[i][0].log_prob / max_steps**length_penalty <= kept[i][0].score:
                live[i] = []
    return kept
