"""In-place forms of Tensor methods that have none of their own: the result is written into the tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .._tensor import Tensor, register_method, reshape_inplace

# their methods have to be there
from . import composed, elementary, elementwise, indexing, matmul, reduce, statistics  # noqa: F401

_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge", "not_equal", "less", "less_equal", "greater", "greater_equal"}


def _in_place(name: str, function: Callable) -> None:
    def method(self: Tensor, *args, **kwargs) -> Tensor:
        if kwargs.get("dtype", self.dtype) not in (None, self.dtype):
            raise RuntimeError(f"[{name}_] dtype: expected that of the tensor, {self.dtype}, got {kwargs['dtype']}")
        # a copy goes in where the function may save its input: writing over it would spoil the gradient
        out = function(self.clone() if self.requires_grad else self, *args, **kwargs)
        if out.shape != self.shape:
            raise RuntimeError(f"[{name}_] output with shape {list(self.shape)} doesn't match the broadcast shape "
                               f"{list(out.shape)}")
        if out.is_floating_point() and not self.is_floating_point():
            raise RuntimeError(f"[{name}_] result type {out.dtype} can't be cast to the desired output type "
                               f"{self.dtype}")
        if name in _COMPARISONS and self.is_floating_point():
            other = args[0] if args else kwargs["other"]
            if isinstance(other, Tensor) and other.requires_grad:
                self.copy_(other)  # overwritten at once: a gradient of zeros for `other`, as in PyTorch
        return self.copy_(out)

    method.__name__ = f"{name}_"
    method.__doc__ = f"`{name}` with the result written into the tensor itself."
    register_method(f"{name}_", method)


_IN_PLACE = """absolute acos acosh addbmm addcdiv addcmul addmm addmv addr arccos arccosh arcsin arcsinh arctan arctan2
arctanh asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
bitwise_xor ceil clamp_max clamp_min clip copysign cos cosh cumprod cumsum deg2rad divide eq erf erfc exp2 expm1 fix
float_power floor floor_divide fmod frac gcd ge greater greater_equal gt heaviside hypot lcm ldexp le lerp less
less_equal lgamma log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill multiply
nan_to_num ne negative nextafter not_equal rad2deg remainder renorm round rsqrt sgn sign sin sinc sinh subtract tan
tril triu true_divide trunc xlogy"""


for _name in _IN_PLACE.split():
    if not hasattr(Tensor, f"{_name}_"):
        _in_place(_name, getattr(Tensor, _name))


def _in_place_view(name: str) -> None:
    function = getattr(Tensor, name)

    def method(self: Tensor, *args, **kwargs) -> Tensor:
        return reshape_inplace(self, f"{name}_", lambda x: function(x, *args, **kwargs), ())

    method.__name__ = f"{name}_"
    method.__doc__ = f"The tensor itself becomes its `{name}`."
    register_method(f"{name}_", method)


for _name in ("as_strided", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze"):
    _in_place_view(_name)


def resize_(self: Tensor, *sizes, memory_format=None) -> Tensor:
    """The tensor itself gets another shape; elements keep their places in row-major order, new ones are not set.

    Raises: RuntimeError for a tensor that requires grad.
    """
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    shape = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    count = math.prod(shape)
    flat = self.reshape(-1)
    if count > len(flat):
        larger = self.new_empty(count)
        larger[: len(flat)] = flat
        flat = larger
    self.data = flat[:count].view(shape)
    return self


def set_(
    self: Tensor,
    source: Tensor | None = None,
    storage_offset: int = 0,
    size: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
) -> Tensor:
    """The tensor itself takes over the memory of `source`: as it is, or seen with another offset, size and stride.

    Without `source` it becomes empty. Raises: RuntimeError for another type or for places outside of the memory.
    """
    if self.requires_grad:
        raise RuntimeError("a Variable that requires grad is being used in an in-place operation: set_")
    source = self.new_empty(0) if source is None else source
    if source.dtype is not self.dtype:
        raise RuntimeError(f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}")
    if size is not None:
        steps = tuple(math.prod(size[i + 1 :]) for i in range(len(size))) if stride is None else stride
        source = source.as_strided(size, steps, storage_offset)
    self.data = source.detach()
    return self


register_method("resize_", resize_)
register_method("resize_as_", lambda self, other, memory_format=None: resize_(self, other.shape))
register_method("set_", set_)
