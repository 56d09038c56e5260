"""Layers that learn their input's size from the first input."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..autograd import no_grad
from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter


class LazyModuleMixin(Module):
    """A module some of whose parameters get their shapes, and it its proper class, at the first call.

    Before that call, `load_state_dict` gives them the shapes of what is loaded.
    """

    cls_to_become: type
    _size = ""  # the attribute that the input decides
    _axis = -1  # the input's dimension that does

    def _defer(self) -> None:
        """Takes the shapes away that were made for an input of size 0."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name != "num_batches_tracked":
                later = UninitializedParameter if name in self._parameters else UninitializedBuffer
                setattr(self, name, later(dtype=value.dtype))
        self.register_load_state_dict_pre_hook(_take_shapes)
        self.register_forward_pre_hook(_begin, with_kwargs=True)

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter and buffer."""
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (size,))

    def _uninitialized(self) -> dict[str, Any]:
        members = {**self._parameters, **self._buffers}
        return {n: t for n, t in members.items() if isinstance(t, (UninitializedParameter, UninitializedBuffer))}

    def has_uninitialized_params(self) -> bool:
        """Whether there is a parameter or buffer without a shape."""
        return bool(self._uninitialized())

    def reset_parameters(self) -> None:
        """As the proper class does, once there is something to reset."""
        if not self.has_uninitialized_params() and getattr(self, self._size):
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor) -> None:
        """Gives the parameters the shapes that `input` asks for, and first values."""
        later = self._uninitialized()
        if not getattr(self, self._size):
            setattr(self, self._size, input.shape[self._axis])
        if later:
            shapes = self._shapes(getattr(self, self._size))
            with no_grad():
                for name, value in later.items():
                    value.materialize(shapes[name])
                self.reset_parameters()


def _take_shapes(module: Any, state_dict: dict, prefix: str, *rest: Any) -> None:
    for name, value in module._uninitialized().items():
        given = state_dict.get(prefix + name)
        if given is not None:
            with no_grad():
                value.materialize(tuple(given.shape))


def _begin(module: Any, args: tuple, kwargs: dict) -> None:
    module.initialize_parameters(*args, **kwargs)
    # not by their handles: a copy of the module has those of the original
    for hooks, done in ((module._load_state_dict_pre_hooks, _take_shapes), (module._forward_pre_hooks, (_begin, True))):
        for number, hook in list(hooks.items()):
            if hook == done:
                del hooks[number]
    module.__class__ = module.cls_to_become
    if not (module._forward_pre_hooks or module._forward_hooks or module._backward_hooks
            or module._backward_pre_hooks):  # fmt: skip
        del module.__dict__["_hooked"]


class LazyLinear(LazyModuleMixin, Linear):
    """Linear whose in_features is the last size of the first input."""

    cls_to_become, _size = Linear, "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, out_features, bias, device, dtype)
        self._defer()

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, size), "bias": (self.out_features,)}


class _LazyConv(LazyModuleMixin):
    _size = "in_channels"

    def __init__(self, out_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, out_channels, *args, **kwargs)  # type: ignore[call-arg]
        self._defer()

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        layer: Any = self
        if size % layer.groups:
            raise ValueError(f"in_channels {size} must be divisible by groups {layer.groups}")
        sizes = (size, layer.out_channels) if layer._transposed else (layer.out_channels, size)
        return {"weight": (sizes[0], sizes[1] // layer.groups, *layer.kernel_size), "bias": (layer.out_channels,)}


class LazyConv1d(_LazyConv, Conv1d):
    """Conv1d whose in_channels are those of the first input."""

    cls_to_become, _axis = Conv1d, -2


class LazyConv2d(_LazyConv, Conv2d):
    """Conv2d whose in_channels are those of the first input."""

    cls_to_become, _axis = Conv2d, -3


class LazyConvTranspose1d(_LazyConv, ConvTranspose1d):
    """ConvTranspose1d whose in_channels are those of the first input."""

    cls_to_become, _axis = ConvTranspose1d, -2


class LazyConvTranspose2d(_LazyConv, ConvTranspose2d):
    """ConvTranspose2d whose in_channels are those of the first input."""

    cls_to_become, _axis = ConvTranspose2d, -3


class _LazyNorm(LazyModuleMixin):
    _size, _axis = "num_features", 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, *args, **kwargs)  # type: ignore[call-arg]
        self._defer()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """BatchNorm1d whose num_features are the channels of the first input."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """BatchNorm2d whose num_features are the channels of the first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """BatchNorm3d whose num_features are the channels of the first input."""

    cls_to_become = BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    def initialize_parameters(self, input: Tensor) -> None:
        layer: Any = self
        self._axis = 1 if input.dim() == layer.dims[1] else 0  # without a batch, channels come first
        super().initialize_parameters(input)


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """InstanceNorm1d whose num_features are the channels of the first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """InstanceNorm2d whose num_features are the channels of the first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """InstanceNorm3d whose num_features are the channels of the first input."""

    cls_to_become = InstanceNorm3d
