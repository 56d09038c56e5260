"""torch.onnx, which scripts import at their top: there is no export."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["export", "is_in_onnx_export"]


def export(*args: Any, **options: Any) -> NoReturn:
    """Raises NotImplementedError; `fastdl.save` writes safetensors files, which PyTorch and others read."""
    raise NotImplementedError("[onnx] there is no export; save(model.state_dict()) writes safetensors files")


def is_in_onnx_export() -> bool:
    """False."""
    return False
