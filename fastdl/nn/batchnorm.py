"""Batch and instance normalisation."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from . import functional as F
from .normalization import _Affine


class _BatchNorm(_Affine):
    dims: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__((num_features,), {"weight": affine, "bias": affine and bias}, device, dtype)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        statistics: dict[str, Tensor | None] = dict.fromkeys(("running_mean", "running_var", "num_batches_tracked"))
        if track_running_stats:
            statistics["running_mean"] = F.full((num_features,), 0.0, device=device, dtype=dtype)
            statistics["running_var"] = F.full((num_features,), 1.0, device=device, dtype=dtype)
            statistics["num_batches_tracked"] = F.full((), 0)
        for name, value in statistics.items():
            self.register_buffer(name, value)

    def reset_running_stats(self) -> None:
        """Forgets the batches seen so far."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Ones and zeros, and no batches seen."""
        self.reset_running_stats()
        super().reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in self.dims:
            wanted = " or ".join(f"{n}D" for n in self.dims)
            raise ValueError(f"[{type(self).__name__}] expected {wanted} input (got {input.dim()}D input)")
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        kept = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            by_batch,
            momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance of each channel over the batch.

    Args:
        num_features: channels, C.
        momentum: how far a batch moves the running statistics; None: they are the mean over all batches.
        affine: whether there are parameters; `bias`: whether one of them is the bias.
        track_running_stats: keep running statistics, which evaluation uses; without, it uses the batch's.
    Parameters:
        weight: (C,), ones.
        bias: (C,), zeros.
    Shape:
        (N, C) or (N, C, L) -> the same.
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """BatchNorm1d for images.

    Shape:
        (N, C, H, W) -> the same.
    """

    dims = (4,)


class BatchNorm3d(_BatchNorm):
    """BatchNorm1d for volumes.

    Shape:
        (N, C, D, H, W) -> the same.
    """

    dims = (5,)


class _InstanceNorm(_BatchNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in self.dims:
            wanted = " or ".join(f"{n}D" for n in self.dims)
            raise ValueError(f"[{type(self).__name__}] expected {wanted} input (got {input.dim()}D input)")
        batched = input.dim() == self.dims[1]
        by_sample = self.training or not self.track_running_stats
        x = input if batched else input.unsqueeze(0)
        if x.shape[1] != self.num_features and self.affine:
            raise ValueError(
                f"expected input's size at dim={1 if batched else 0} to match num_features ({self.num_features}), "
                f"but got: {x.shape[1]}."
            )
        out = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, by_sample, self.momentum or 0.0, self.eps
        )
        return out if batched else out.squeeze(0)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class InstanceNorm1d(_InstanceNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and variance of each channel of each sample.

    Arguments and parameters as BatchNorm1d's; there are none of the latter unless `affine`.

    Shape:
        (N, C, L) or (C, L) -> the same.
    """

    dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """InstanceNorm1d for images: (N, C, H, W) or (C, H, W) -> the same."""

    dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """InstanceNorm1d for volumes: (N, C, D, H, W) or (C, D, H, W) -> the same."""

    dims = (4, 5)
