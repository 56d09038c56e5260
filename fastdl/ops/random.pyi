# made by .ci/make_stubs.py: `make stubs`
from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Iterator
from typing import Any

from numpy import ndarray

from fastdl._types import Size, device as _device, dtype as _dtype
from fastdl._tensor import Tensor

class Generator:
    """A source of random numbers; its whole state is (seed, next stream)."""
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None) -> Tensor: """1 with the probability that `input` holds (or p), else 0; the type is input's. Not differentiable."""
def bernoulli_(input: Tensor, p: Any = ..., *, generator: Any = None) -> Tensor: """Fills the tensor with 1 with probability p, a number or a tensor, else 0."""
default_generator: Generator
def dropout(input: Tensor, p: Any = ..., training: Any = True, inplace: _bool = False) -> Tensor: """Sets each element to 0 with probability p and divides the others by 1 - p; `input` itself when not training."""
def exponential_(input: Tensor, lambd: Any = 1.0, *, generator: Any = None) -> Tensor: """Fills the tensor with numbers > 0 of the exponential distribution with rate `lambd`."""
def _generator(*args: Any, **kwargs: Any) -> Any: ...
def get_rng_state() -> Tensor: """The state of the default generator, as bytes."""
def initial_seed() -> _int: """The seed of the default generator."""
def manual_seed(seed: Any) -> Generator: """Seeds the default generator; the same seed gives the same numbers on every machine. Returns the generator."""
def multinomial(input: Tensor, num_samples: Any, replacement: Any = False, *, generator: Any = None) -> Tensor: """Draws class ids with probabilities proportional to `input`, rows by themselves."""
def next_stream(*args: Any, **kwargs: Any) -> Any: ...
def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """Normal numbers: normal(0, 1, (2, 3)) by numbers and a shape, or mean and std (or one of them) as tensors."""
def normal_(input: Tensor, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Tensor: """Fills the tensor with normal numbers."""
def rand(*args: Any, size: Any = None, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """A tensor of shape `size` with numbers uniform in [0, 1): rand(2, 3) or rand((2, 3))."""
def rand_like(input: Tensor, *, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """rand with the shape and type of `input`."""
def randint(*args: Any, low: Any = 0, high: Any = None, size: Any = None, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """Whole numbers uniform in [low, high): randint(high, size) or randint(low, high, size), int64 by default."""
def randint_like(input: Tensor, *args: Any, low: Any = 0, high: Any = None, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """randint with the shape and type of `input`."""
def randn(*args: Any, size: Any = None, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """A tensor of shape `size` with standard normal numbers. Arguments as rand."""
def randn_like(input: Tensor, *, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """randn with the shape and type of `input`."""
def random_(input: Tensor, low: Any = 0, high: Any = None, *, generator: Any = None, **names: Any) -> Tensor: """Fills the tensor with whole numbers: random_(low, high) in [low, high), random_(high) in [0, high), random_() in"""
def randperm(n: Any, *, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: _bool = False) -> Tensor: """The numbers 0 .. n-1 in random order (Fisher and Yates), int64 by default."""
def seed() -> _int: """Seeds the default generator from the operating system; returns the seed."""
def set_rng_state(new_state: Any) -> None: """Puts the default generator into a state from get_rng_state."""
def uniform_(input: Tensor, low: Any = 0.0, high: Any = 1.0, *, generator: Any = None, **names: Any) -> Tensor: """Fills the tensor with numbers uniform in [low, high); PyTorch's names `from` and `to` do as well."""
