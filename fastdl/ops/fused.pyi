# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean') -> Tensor: """-(target log(input) + (1 - target) log(1 - input)), the logarithms kept >= -100, times `weight`, reduced."""
def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean', pos_weight: Tensor | None = None) -> Tensor: """Binary cross-entropy of sigmoid(input), from the logits, so that nothing overflows."""
def both_ways(*args: Any, **kwargs: Any) -> Any: ...
def bounded(*args: Any, **kwargs: Any) -> Any: ...
def celu(input: Tensor, alpha: _float = 1.0, inplace: _bool = False) -> Tensor: """input where positive, else alpha * (exp(input / alpha) - 1)"""
def cross_entropy_of(*args: Any, **kwargs: Any) -> Any: ...
def cross_entropy_slope(*args: Any, **kwargs: Any) -> Any: ...
def glu(input: Tensor, dim: _int = -1) -> Tensor: """a * sigmoid(b), where a and b are the halves of `input` along `dim`."""
def hardshrink(input: Tensor, lambd: _float = ...) -> Tensor: """input, 0 where |input| <= lambd"""
def hardsigmoid(input: Tensor, inplace: _bool = False) -> Tensor: """input / 6 + 1/2 limited to [0, 1]"""
def hardswish(input: Tensor, inplace: _bool = False) -> Tensor: """input * hardsigmoid(input)"""
def hardtanh(input: Tensor, min_val: _float = ..., max_val: _float = 1.0, inplace: _bool = False) -> Tensor: """input limited to [min_val, max_val]; the gradient is 0 also at the limits."""
def huber_loss(input: Tensor, target: Tensor, reduction: Any = 'mean', delta: _float = 1.0) -> Tensor: """0.5 d^2 for d = |input - target| <= delta, else delta (d - 0.5 delta), reduced."""
def kl_div(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean', log_target: _bool = False) -> Tensor: """target * (log(target) - input), reduced ("batchmean": the sum divided by the first size)."""
def l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean') -> Tensor: """|input - target|, reduced."""
def logit_slope(*args: Any, **kwargs: Any) -> Any: ...
def logsigmoid(input: Tensor) -> Tensor: """log(sigmoid(input)) = -softplus(-input), without overflow"""
def mish(input: Tensor, inplace: _bool = False) -> Tensor: """input * tanh(softplus(input))"""
def mse_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean') -> Tensor: """(input - target)^2, reduced: "mean", "sum" or "none"."""
def outside(*args: Any, **kwargs: Any) -> Any: ...
def relu6(input: Tensor, inplace: _bool = False) -> Tensor: """input limited to [0, 6]"""
def selu(input: Tensor, inplace: _bool = False) -> Tensor: """scale * input where positive, else scale * alpha * (exp(input) - 1); the two keep mean 0 and variance 1."""
def smooth_l1_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean', beta: _float = 1.0) -> Tensor: """0.5 d^2 / beta for d = |input - target| < beta, else d - 0.5 beta, reduced."""
def soft_margin_loss(input: Tensor, target: Tensor, size_average: Any = None, reduce: Any = None, reduction: Any = 'mean') -> Tensor: """log(1 + exp(-target * input)) for targets of 1 and -1, reduced."""
def softshrink(input: Tensor, lambd: _float = ...) -> Tensor: """input moved towards zero by lambd, 0 where |input| <= lambd"""
def softsign(input: Tensor) -> Tensor: """input / (1 + |input|)"""
def tanhshrink(input: Tensor) -> Tensor: """input - tanh(input)"""
def threshold(input: Tensor, threshold: _float, value: _float, inplace: _bool = False) -> Tensor: """input where it is above `threshold`, else `value`"""
