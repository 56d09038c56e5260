"""PyTorch's .pt and .pth files: read by a list of what may be in them. Nothing is imported, nothing is executed.

torch.save writes a pickle in which each tensor names a storage (its bytes), an offset, a shape and strides. Since
PyTorch 1.6 the pickle (data.pkl) and the storages (data/<key>) are members of a zip archive; before, they followed each
other in one file. Here the pickle's opcodes are carried out on a stack of values; a global is a name that is looked up
in a table of functions of this file, and every other name is an error.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from . import _types
from ._tensor import Tensor, from_numpy, tensor_from
from .nn.parameter import Parameter

__all__ = ["BadFile", "read"]

MAX_DEPTH = 200  # of containers in one another, so that whoever walks through them can

_TYPES = {d._name: d for d in _types.DTYPES}
_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "",
}  # fmt: skip


class BadFile(Exception):
    """What is wrong with a file, to follow its name."""


# Storages ---------------------------------------------------------------------------------------------------------


class _Storage:
    """Bytes in memory, and what views they have been given: tensors that share it share memory."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes
        self.bytes: bytes | bytearray | memoryview = b""
        self.typed: dict[str, Tensor] = {}  # element type -> all the elements

    def elements(self, name: str) -> Tensor:
        found = self.typed.get(name)
        if found is None:
            found = self.typed[name] = tensor_from(_elements(self.bytes, name))
        return found


class _Typed:
    """A storage with an element type, as tensors name it."""

    def __init__(self, storage: _Storage, name: str):
        self.storage, self.name = storage, name


def _elements(data: Any, name: str) -> np.ndarray:
    if name == "bool":
        return np.frombuffer(data, np.uint8) != 0
    return np.frombuffer(data, _TYPES[name].numpy)


def _itemsize(name: str) -> int:
    return _TYPES[name].itemsize if name else 1


# What globals stand for -------------------------------------------------------------------------------------------


class _Global:
    """The value of a GLOBAL: `make` carries out a call of it, None where it is only an argument."""

    def __init__(self, name: str, make: Callable | None = None, value: Any = None):
        self.name, self.make, self.value = name, make, value


class _Later:
    """A tensor as the pickle describes it; it becomes one when all storages are there."""

    def __init__(self, source: _Typed, name: str, offset: int, shape: tuple, stride: tuple, requires_grad: bool):
        self.source, self.name, self.offset, self.shape, self.stride = source, name, offset, shape, stride
        self.requires_grad, self.is_parameter = requires_grad, False
        self.tensor: Tensor | None = None

    def get(self) -> Tensor:
        if self.tensor is None:
            tensor = self.view()
            if self.is_parameter:
                tensor = Parameter(tensor, self.requires_grad)
            elif self.requires_grad:
                tensor.requires_grad_()
            self.tensor = tensor
        return self.tensor

    def view(self) -> Tensor:
        numbers = (self.offset, *self.shape, *self.stride)
        if any(type(n) is not int or n < 0 for n in numbers) or len(self.shape) != len(self.stride):
            raise BadFile(f"has a damaged tensor: offset {self.offset}, shape {self.shape}, stride {self.stride}")
        if len(self.shape) > 32:
            raise BadFile(f"holds a tensor with {len(self.shape)} dimensions; at most 32 can be loaded")
        if 0 in self.shape:
            return tensor_from(np.empty(self.shape, _elements(b"", self.name).dtype))
        base = self.source.storage.elements(self.name)._array
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride))
        if last >= base.size:
            raise BadFile(f"has a damaged tensor: it reaches element {last} of a storage of {base.size}")
        strides = [step * base.itemsize for step in self.stride]
        spread = any(step == 0 and n > 1 for n, step in zip(self.shape, self.stride))
        view = np.lib.stride_tricks.as_strided(base[self.offset :], self.shape, strides, writeable=not spread)
        return from_numpy(view)


def _check(condition: bool, what: str) -> None:
    if not condition:
        raise BadFile(f"has a damaged {what}")


def _tensor_v2(storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, *rest: Any) -> _Later:
    _check(isinstance(storage, _Typed) and isinstance(size, tuple) and isinstance(stride, tuple), "tensor")
    _check(storage.name != "", "tensor")
    return _Later(storage, storage.name, offset, size, stride, bool(requires_grad))


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Any:
    if isinstance(dtype, _Global):
        raise BadFile(f"holds a tensor of the type {dtype.name}, which fastdl does not have")
    _check(isinstance(storage, _Typed) and isinstance(dtype, _types.dtype), "tensor")
    return _tensor_v2(_Typed(storage.storage, dtype._name), offset, size, stride, grad)


def _parameter(data: Any, requires_grad: Any = True, *rest: Any) -> _Later:
    _check(isinstance(data, _Later), "parameter")
    later = _Later(data.source, data.name, data.offset, data.shape, data.stride, bool(requires_grad))
    later.is_parameter = True
    return later


def _from_type(function: Any, kind: Any, args: Any, state: Any = None) -> Any:
    """A tensor with attributes of its own, which are left out."""
    _check(isinstance(function, _Global) and function.make is not None and isinstance(args, tuple), "tensor")
    _check(isinstance(kind, _Global) and kind.name in ("torch.Tensor", "torch.nn.parameter.Parameter"), "tensor")
    later = function.make(*args)
    _check(isinstance(later, _Later), "tensor")
    return later


def _bytes(text: Any, encoding: Any = "latin1") -> bytes:
    _check(isinstance(text, str) and encoding in ("latin1", "latin-1"), "byte string")
    return text.encode("latin1")


def _bytearray(text: Any = "", encoding: Any = "latin1") -> bytearray:
    return bytearray(text if isinstance(text, bytes) else _bytes(text, encoding))


def _numpy_type(code: Any, align: Any = False, copy: Any = True) -> np.dtype:
    _check(isinstance(code, str) and len(code) <= 4, "NumPy type")
    found = np.dtype(code)
    if found.num not in _types.BY_NUM or not found.isnative:
        raise BadFile(f"holds NumPy values of the type {found}, which fastdl does not have")
    return found


def _numpy_scalar(kind: Any, data: Any) -> Any:
    _check(isinstance(kind, np.dtype) and isinstance(data, bytes) and len(data) == kind.itemsize, "NumPy number")
    return np.frombuffer(data, kind)[0]


class _Array:
    """A NumPy array that its BUILD completes."""

    array: np.ndarray | None = None


def _numpy_array(kind: Any, shape: Any = (), code: Any = b"") -> _Array:
    _check(isinstance(kind, _Global) and kind.name == "numpy.ndarray", "NumPy array")
    return _Array()


def _array_from(data: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
    _check(isinstance(kind, np.dtype) and isinstance(data, (bytes, bytearray)), "NumPy array")
    _check(isinstance(shape, tuple) and order in ("C", "F"), "NumPy array")
    return np.frombuffer(data, kind).reshape(shape, order=order).copy()


def _build(target: Any, state: Any) -> None:
    """BUILD: the attributes of an object. Only those of NumPy arrays matter."""
    if isinstance(target, _Array):
        _check(isinstance(state, tuple) and len(state) == 5, "NumPy array")
        _, shape, kind, fortran, data = state
        target.array = _array_from(data, kind, shape, "F" if fortran else "C")
    elif isinstance(target, np.dtype):
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            raise BadFile("holds NumPy values of the other byte order")
    elif not isinstance(target, (OrderedDict, defaultdict, _Later)):  # _metadata of a state dictionary and the like
        raise BadFile(f"holds attributes of a {type(target).__name__}, which cannot be")


def _default_dict(factory: Any = None, *args: Any) -> defaultdict:
    kinds: dict[str, Any] = {"list": list, "dict": dict, "int": int, "float": float, "set": set}
    name = factory.name.rpartition(".")[2] if isinstance(factory, _Global) else ""
    _check(factory is None or name in kinds, "defaultdict")
    return defaultdict(kinds.get(name), *args)


def _device(kind: Any, index: Any = None) -> _types.device:
    """The CPU, whatever the file says: that is where its tensors are now."""
    return _types.device("cpu")


_GLOBALS: dict[str, Callable | None] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "collections.defaultdict": _default_dict,
    "torch._utils._rebuild_tensor": _tensor_v2,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Tensor": None,
    "torch.nn.parameter.Parameter": None,
    "torch.Size": _types.Size,
    "torch.device": _device,
    "_codecs.encode": _bytes,
    "numpy.dtype": _numpy_type,
    "numpy.ndarray": None,
    **{f"{m}.{n}": f for m in ("numpy.core.multiarray", "numpy._core.multiarray")
       for n, f in (("scalar", _numpy_scalar), ("_reconstruct", _numpy_array))},
    "numpy.core.numeric._frombuffer": _array_from,
    "numpy._core.numeric._frombuffer": _array_from,
    **{f"{m}.{n}": f for m in ("builtins", "__builtin__")
       for n, f in (("set", set), ("frozenset", frozenset), ("bytearray", _bytearray), ("list", None),
                    ("dict", None), ("int", None), ("float", None))},
}  # fmt: skip


def _global(module: str, name: str) -> Any:
    full = f"{module}.{name}"
    if full in _GLOBALS:
        return _Global(full, _GLOBALS[full])
    if module in ("torch", "torch.storage") and name in _STORAGES:
        return _Global(full, value=_STORAGES[name])
    if module == "torch" and name in _TYPES:
        return _TYPES[name]
    if module == "torch" and name in ("uint16", "uint32", "uint64", "complex64", "complex128"):
        return _Global(full)
    if module in ("torch", "torch.storage") and name.endswith("Storage"):
        raise BadFile(f"holds tensors of {full}, a type that fastdl does not have")
    raise BadFile(
        f"needs {full!r}, which is not among the names that may be in a file: only tensors, numbers, strings and "
        "containers of them are loaded, no objects; save a state_dict() instead of a model or an optimizer"
    )


# The pickle machine -----------------------------------------------------------------------------------------------

_MARK = object()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple, "EMPTY_LIST": list,
    "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
_NUMBERS_AND_TEXTS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _unpickle(file: IO[bytes], size: int, persistent: Callable[[Any], Any]) -> Any:
    """The object of the pickle at the position of a file of `size` bytes. Tensors are still _Later, arrays _Array."""
    budget = 4 * size + 1000  # of what calls may copy: each byte is in the file once, but can be named again and again
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] is _MARK:
                items = stack[at + 1 :]
                del stack[at:]
                return items
        raise BadFile("has a damaged pickle: no mark")

    def spend(args: Any) -> None:
        nonlocal budget
        budget -= sum(len(x) for x in args if hasattr(x, "__len__"))
        if budget < 0:
            raise BadFile("has a pickle that asks for much more memory than the file has bytes")

    arg: Any
    for opcode, arg, _ in pickletools.genops(file):
        name = opcode.name
        if name in _NUMBERS_AND_TEXTS:
            stack.append(arg)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[arg] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[arg])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(to_mark()))
        elif name in _TUPLES:
            n = _TUPLES[name]
            _check(len(stack) >= n, "pickle")
            stack[-n:] = [tuple(stack[-n:])]
        elif name == "GLOBAL":
            module, _, attribute = arg.partition(" ")
            stack.append(_global(module, attribute))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            _check(type(attribute) is str and type(module) is str, "pickle")
            stack.append(_global(module, attribute))
        elif name == "BINPERSID":
            stack.append(persistent(stack.pop()))
        elif name in ("REDUCE", "NEWOBJ"):
            args, function = stack.pop(), stack.pop()
            if not isinstance(function, _Global) or function.make is None:
                raise BadFile(f"calls {getattr(function, 'name', type(function).__name__)!r}, which is not allowed")
            _check(isinstance(args, tuple), "pickle")
            spend(args)
            stack.append(function.make(*args))
        elif name == "BUILD":
            state = stack.pop()
            spend(state if isinstance(state, tuple) else ())
            _build(stack[-1], state)
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else to_mark()
            if name == "ADDITEMS":
                _check(type(stack[-1]) is set, "pickle")
                stack[-1].update(items)
            else:
                _check(type(stack[-1]) is list, "pickle")
                stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else to_mark()
            _check(isinstance(stack[-1], dict) and len(items) % 2 == 0, "pickle")
            stack[-1].update(zip(items[::2], items[1::2]))
        elif name == "FROZENSET":
            stack.append(frozenset(to_mark()))
        elif name == "STOP":
            _check(len(stack) == 1 and stack[0] is not _MARK, "pickle")
            return stack[0]
        elif name not in ("PROTO", "FRAME"):
            raise BadFile(f"has the pickle opcode {name}, which torch.save does not write")
    raise BadFile("has a pickle without an end")


class _Finish:
    """Puts tensors in the place of their descriptions, in the containers themselves: those may be shared."""

    def __init__(self) -> None:
        self.done: dict[int, tuple[Any, Any]] = {}  # before, which has to stay alive for its id, and after

    def __call__(self, obj: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise BadFile(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(obj, _Later):
            return obj.get()
        if isinstance(obj, _Array):
            _check(obj.array is not None, "NumPy array")
            return obj.array
        if isinstance(obj, (_Global, _Typed)):
            raise BadFile(f"holds {getattr(obj, 'name', 'a storage')!r} itself, which is not data")
        if not isinstance(obj, (list, dict, tuple, set, frozenset)):
            return obj
        if id(obj) in self.done:
            return self.done[id(obj)][1]
        if isinstance(obj, tuple):
            items = [self(x, depth + 1) for x in obj]
            changed = any(a is not b for a, b in zip(items, obj))
            result: Any = (type(obj)(items)) if changed else obj
        else:
            result = obj
            self.done[id(obj)] = obj, result
            if isinstance(obj, list):
                obj[:] = [self(x, depth + 1) for x in obj]
            elif isinstance(obj, dict):
                for key in obj:
                    self.check_key(key)
                    obj[key] = self(obj[key], depth + 1)
            else:
                for item in obj:
                    self.check_key(item)
        self.done[id(obj)] = obj, result
        return result

    @staticmethod
    def check_key(key: Any) -> None:
        """Of a dictionary or in a set: tensors there are left aside."""
        while isinstance(key, tuple) and key:
            key = key[0]
        if isinstance(key, (_Later, _Array, _Global, _Typed)):
            raise BadFile("has a tensor or an object as the key of a dictionary")


def _finish(obj: Any) -> Any:
    return _Finish()(obj)


def _persistent_id(key: Any) -> tuple[str, str, int]:
    """Element type, key and number of elements of the storage that a persistent id names."""
    _check(isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage", "reference to a storage")
    _, kind, name, _, count = key[:5]
    _check(isinstance(kind, _Global) and isinstance(kind.value, str), "reference to a storage")
    _check(isinstance(name, str) and type(count) is int and count >= 0, "reference to a storage")
    return kind.value, name, count


# The zip archive --------------------------------------------------------------------------------------------------


def _read_zip(file: IO[bytes], size: int) -> Any:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        text = f"is truncated or damaged: a zip archive of {size} bytes without its directory at the end"
        raise BadFile(text) from None
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        npz = "; numpy.load reads what numpy.savez has written" if any(n.endswith(".npy") for n in members) else ""
        raise BadFile(f"is a zip archive, but not one that torch.save has written: it has no data.pkl{npz}")
    root = pickles[0][: -len("data.pkl")]
    if root + "constants.pkl" in members:
        raise BadFile("is a TorchScript archive, which holds a program; save a state_dict() instead")
    total = 0

    def read(name: str) -> bytes:
        nonlocal total
        info = members.get(root + name)
        if info is None:
            raise BadFile(f"lacks its part {name!r}")
        total += info.file_size
        if info.compress_type != zipfile.ZIP_STORED or total > size:
            raise BadFile(f"has the part {name!r} compressed, or longer than the file; torch.save does neither")
        return archive.read(info)

    if root + "byteorder" in members and read("byteorder") != b"little":
        raise BadFile("was written on a big-endian machine; only little-endian files are read")
    storages: dict[str, _Storage] = {}

    def persistent(key: Any) -> _Typed:
        kind, name, count = _persistent_id(key)
        found = storages.get(name)
        if found is None:
            found = storages[name] = _Storage(count * _itemsize(kind))
            found.bytes = read(f"data/{name}")
        if len(found.bytes) != count * _itemsize(kind):
            expected = count * _itemsize(kind)
            raise BadFile(f"has {len(found.bytes)} bytes in its part 'data/{name}', where {expected} are expected")
        return _Typed(found, kind)

    return _finish(_unpickle(io.BytesIO(read("data.pkl")), size, persistent))


# Before PyTorch 1.6 -----------------------------------------------------------------------------------------------


class _Bounded:
    """A file that is never asked for more bytes than it has: the answer would be allocated before."""

    def __init__(self, file: IO[bytes], size: int):
        self.file, self.size, self.readline, self.tell = file, size, file.readline, file.tell

    def read(self, n: int) -> bytes:
        return self.file.read(max(min(n, self.size - self.file.tell()), 0))


def _read_legacy(source: IO[bytes], size: int) -> Any:
    file: Any = _Bounded(source, size)
    storages: dict[str, _Storage] = {}
    total = 0

    def nothing(key: Any) -> None:
        raise BadFile("has a damaged head")

    def persistent(key: Any) -> _Typed:
        nonlocal total
        kind, name, count = _persistent_id(key)
        _check(len(key) < 6 or key[5] is None, "reference to a storage: views of storages")
        nbytes = count * _itemsize(kind)
        if name not in storages:
            total += nbytes
            if total > size:
                raise BadFile(f"is truncated or damaged: its tensors take {total} bytes, the file has {size}")
            storages[name] = _Storage(nbytes)
        _check(storages[name].nbytes == nbytes, "reference to a storage")
        return _Typed(storages[name], kind)

    _unpickle(file, size, nothing)  # the number that says what this is
    _check(_unpickle(file, size, nothing) == 1001, "head: an unknown protocol")
    system = _unpickle(file, size, nothing)
    _check(isinstance(system, dict), "head")
    if system.get("little_endian") is not True:
        raise BadFile("was written on a big-endian machine; only little-endian files are read")
    obj = _unpickle(file, size, persistent)
    keys = _unpickle(file, size, nothing)
    _check(isinstance(keys, list) and set(keys) == set(storages), "list of storages")
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little")
        itemsize = storage.nbytes // count if count else 0
        _check(count * itemsize == storage.nbytes, "storage")
        storage.bytes = file.read(storage.nbytes)
        if len(storage.bytes) != storage.nbytes:
            missing = storage.nbytes - len(storage.bytes)
            raise BadFile(f"is truncated: at least {missing} bytes are missing")
    return _finish(obj)


def read(file: IO[bytes], size: int) -> Any:
    """The object in a file of `size` bytes that torch.save has written.

    Raises:
        BadFile: damaged, or something else in it than data. Other exceptions come from zipfile, pickletools and NumPy.
    """
    start = file.read(2)
    file.seek(0)
    return _read_zip(file, size) if start == b"PK" else _read_legacy(file, size)
