"""Numbers that say how well a model does. (BLEU is in fastdl.text.)"""

from __future__ import annotations

import math
from typing import Any


def accuracy(predicted: Any, target: Any) -> float:
    """The fraction of rows that are classified right.

    Args:
        predicted: scores (N, ..., C), of which the largest counts, or class ids in the shape of `target`.
        target: class ids (N, ...).
    Raises:
        ValueError: the shapes do not belong together, or there are no rows.
    """
    shape = tuple(target.shape)
    if tuple(predicted.shape) != shape:
        if tuple(predicted.shape[:-1]) != shape:
            raise ValueError(f"[accuracy] predicted: expected shape {shape} or {(*shape, 'C')}, "
                             f"got {tuple(predicted.shape)}")
        predicted = predicted.argmax(-1)
    if 0 in shape:
        raise ValueError(f"[accuracy] target: expected at least one row, got shape {shape}")
    return float((predicted == target).sum()) / math.prod(shape)


def f1(predicted: Any, target: Any, none: int = 0) -> float:
    """The harmonic mean of precision and recall over all classes but `none`, which says that there is nothing.

    Precision: the share of the places tagged that are tagged right; recall: the share of the places to be tagged that
    are. Both count a place that got another class than its own as wrong. 0 if no place is tagged right.

    Args:
        predicted, target: class ids of the same shape.
    Raises:
        ValueError: the shapes differ.
    """
    if tuple(predicted.shape) != tuple(target.shape):
        raise ValueError(f"[f1] predicted: expected shape {tuple(target.shape)}, got {tuple(predicted.shape)}")
    right = int(((predicted == target) & (target != none)).sum())
    found = int((predicted != none).sum()) + int((target != none).sum())
    return 2 * right / found if right else 0.0


def perplexity(mean_loss: float) -> float:
    """exp of the mean cross-entropy: how many tokens the model hesitates between."""
    try:
        return math.exp(mean_loss)
    except OverflowError:
        return math.inf


class Mean:
    """Running means of one or more numbers, each weighted by the rows it stands for.

    Example:
        >>> mean = Mean()
        >>> mean.add(0.5, 1.0, count=30)
        >>> mean.add(0.1, 0.0, count=10)
        >>> mean.values
        (0.4, 0.75)
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.count = 0.0
        self._sums: list[float] = []

    def add(self, *values: Any, count: float = 1) -> None:
        """Takes in the means of `count` more rows: numbers or tensors of one element."""
        if self._sums and len(values) != len(self._sums):
            raise ValueError(f"[Mean.add] values: expected {len(self._sums)} as before, got {len(values)}")
        sums = self._sums or [0.0] * len(values)
        self._sums = [s + float(v) * count for s, v in zip(sums, values)]
        self.count += count

    @property
    def values(self) -> tuple[float, ...]:
        """The mean of each number; empty before the first `add`."""
        return tuple(s / self.count if self.count else math.nan for s in self._sums)

    @property
    def value(self) -> float:
        """The mean of the first number, NaN before the first `add`."""
        return self.values[0] if self._sums else math.nan
