"""What the argument `reduction` of losses may be."""

from __future__ import annotations

import warnings


def reduction_of(op: str, reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """`reduction`, or what the older arguments size_average and reduce stand for.

    Raises: ValueError if it is none of "none", "mean", "sum".
    """
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"[{op}] {reduction} is not a valid value for reduction: expected 'none', 'mean' or 'sum'")
    return reduction
