"""torch.amp as it is without a GPU: switched off. Nothing is computed in other types than the tensors'."""

from __future__ import annotations

import warnings
from typing import Any

from ._tensor import Tensor


class autocast:
    """A `with` block or decorator that changes nothing.

    As in PyTorch without a GPU, device_type "cuda" is switched off with a warning.

    Raises:
        NotImplementedError: enabled for the CPU.
    """

    def __init__(self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: Any = None):
        if enabled and device_type == "cuda":
            warnings.warn("User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2)
        elif enabled:
            raise NotImplementedError(f"[autocast] there is no mixed precision for {device_type!r}: pass enabled=False")

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, function: Any) -> Any:
        return function


class GradScaler:
    """Scales nothing, as PyTorch's without a GPU: `step(optimizer)` is optimizer.step()."""

    def __init__(self, device: str = "cuda", *args: Any, enabled: bool = True, **options: Any):
        if enabled:
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)

    def scale(self, outputs: Tensor) -> Tensor:
        """The outputs themselves."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step()."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Nothing."""

    def get_scale(self) -> float:
        """1."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Empty."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing."""
