"""dtype, device and Size: the small value types of PyTorch's API. They print as PyTorch's do."""

from __future__ import annotations

import math

import numpy as np

from . import _kernels


class dtype:
    """Element type of a tensor. One object per type: compare with `is` or `==`."""

    __slots__ = ("_name", "is_floating_point", "itemsize", "numpy")

    def __init__(self, name: str, numpy_type: type):
        self._name = name
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize
        self.is_floating_point = self.numpy.kind == "f"

    is_complex = False

    @property
    def is_signed(self) -> bool:
        return self.numpy.kind in "if"

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self) -> str:
        return self._name


float32 = dtype("float32", np.float32)
float64 = dtype("float64", np.float64)
float16 = dtype("float16", np.float16)
bfloat16 = dtype("bfloat16", _kernels.bfloat16)
int64 = dtype("int64", np.int64)
int32 = dtype("int32", np.int32)
int16 = dtype("int16", np.int16)
int8 = dtype("int8", np.int8)
uint8 = dtype("uint8", np.uint8)
bool_ = dtype("bool", np.bool_)

DTYPES = (float32, float64, float16, bfloat16, int64, int32, int16, int8, uint8, bool_)
BY_NUM = {d.numpy.num: d for d in DTYPES}
BY_NUM[np.dtype(np.longlong).num] = int64  # NumPy has two 64-bit integers on Linux

PYTHON_TYPES = {float: float32, int: int64, bool: bool_}


def as_dtype(t: object) -> dtype:
    """The dtype that a user's value names: a dtype, a Python type or a NumPy type.

    Raises:
        TypeError: a type that no tensor has.
    """
    if type(t) is dtype:
        return t
    if t in PYTHON_TYPES:
        return PYTHON_TYPES[t] if t is not float else _default
    found = BY_NUM.get(np.dtype(t).num)  # type: ignore[call-overload]
    if found is None:
        raise TypeError(f"no tensor has the type {t!r}; there are {', '.join(map(repr, DTYPES))}")
    return found


def check_stored(kind: np.dtype, low: float, high: float) -> np.iinfo:
    """The limits of an integer type that is to store numbers from `low` to `high`; in unsigned ones negatives wrap.

    Raises:
        RuntimeError: it cannot store them.
    """
    info = np.iinfo(kind)
    least = info.min or -info.max
    if not least <= low <= high <= info.max:
        raise RuntimeError(f"value cannot be converted to type {info.dtype} without overflow: "
                           f"{low if not least <= low <= info.max else high}")
    return info


_default = float32


def get_default_dtype() -> dtype:
    """The type of `tensor(1.5)`, `zeros(3)` and of integer division."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Makes float32 or float64 the default.

    Raises:
        TypeError: not a floating-point dtype.
    """
    global _default
    d = as_dtype(d)
    if not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


class device:
    """Where a tensor lives: always the CPU."""

    __slots__ = ("index", "type")

    def __init__(self, type: str | device = "cpu", index: int | None = None):
        if isinstance(type, device):
            type, index = type.type, type.index  # type: ignore[has-type, assignment]
        name, _, number = str(type).partition(":")
        if name != "cpu":
            raise RuntimeError(f"fastdl runs on the CPU only, got device {str(type)!r}")
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple:
        return device, (self.type, self.index)


CPU = device("cpu")


class Size(tuple):
    """Shape of a tensor: a tuple that prints as `torch.Size([2, 3])`."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __getitem__(self, i):
        item = tuple.__getitem__(self, i)
        return Size(item) if isinstance(i, slice) else item

    def __add__(self, other):
        return Size(tuple.__add__(self, tuple(other)))

    def __reduce__(self) -> tuple:
        return Size, (tuple(self),)


class finfo:
    """Limits of a floating-point type: `bits`, `eps`, `max`, `min`, `tiny`, `resolution`."""

    def __init__(self, d: dtype | None = None):
        if d is bfloat16:
            self.bits, self.dtype, self.max, self.resolution = 16, "bfloat16", 2.0**128 - 2.0**120, 0.01
            self.eps, self.min, self.tiny = 2.0**-7, -self.max, 2.0**-126
            self.smallest_normal = self.tiny
            return
        info = np.finfo((d or _default).numpy)
        self.bits, self.dtype = info.bits, str(info.dtype)
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(info.resolution)


class iinfo:
    """Limits of an integer type: `bits`, `max`, `min`."""

    def __init__(self, d: dtype):
        info = np.iinfo(d.numpy)  # type: ignore[type-var]
        self.bits, self.dtype, self.max, self.min = info.bits, str(info.dtype), int(info.max), int(info.min)
