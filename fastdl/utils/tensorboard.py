"""Logs for TensorBoard, written by the package tensorboardX, which has to be installed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .._tensor import Tensor

try:
    import tensorboardX  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "[tensorboard] SummaryWriter is that of the package tensorboardX: pip install tensorboardX", name=error.name
    ) from None

__all__ = ["SummaryWriter"]


def _plain(value: Any) -> Any:
    """Tensors as arrays, also in dictionaries."""
    if isinstance(value, Tensor):
        return value.detach().numpy()
    return {key: _plain(v) for key, v in value.items()} if isinstance(value, dict) else value


class SummaryWriter(tensorboardX.SummaryWriter):
    """tensorboardX.SummaryWriter, whose `add_*` take fastdl's Tensors too."""


def _with_tensors(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: SummaryWriter, *args: Any, **options: Any) -> Any:
        return method(self, *map(_plain, args), **_plain(options))

    return call


for _kind in ("scalar", "scalars", "histogram", "image", "images", "embedding", "pr_curve", "hparams"):
    setattr(SummaryWriter, f"add_{_kind}", _with_tensors(getattr(tensorboardX.SummaryWriter, f"add_{_kind}")))
