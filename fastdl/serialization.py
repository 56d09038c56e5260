"""save and load: tensors in the safetensors format, the structure around them as JSON in its metadata, no pickle.

The file is one that any safetensors reader opens. Its metadata has the one entry "fastdl": a JSON object with the
format's version, the CRC-32 of the whole file (with these eight digits as zeros), and the saved object, in which
{"$": kind, ...} stands for what JSON does not know. Containers that occur twice are written twice; tensors that share
memory are written once and share memory again after loading.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import stat
import zlib
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from . import _types
from ._files import replacing
from ._tensor import Tensor, from_numpy, tensor_from
from .nn.parameter import Parameter

__all__ = ["CheckpointError", "CheckpointNotFoundError", "load", "load_tensors", "save"]

VERSION = 1
MAX_TEXT = 40_000_000  # the format's header ends at 100 MB, and quotes are escaped in it
CHUNK = 1 << 22  # bytes read at a time for the checksum

# The library writes compact JSON; quotes inside a string are escaped, so no name or text can contain this.
_MARK = b'{"fastdl":"{\\"version\\":' + str(VERSION).encode() + b',\\"crc32\\":\\"'
_NO_CRC = "00000000"

_SAFETENSORS_TYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_, "BF16": _types.bfloat16.numpy,
}  # fmt: skip


class CheckpointError(RuntimeError, ValueError):
    """A file that cannot be loaded or written. The message names the file and what is wrong with it."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such file."""

    __str__ = RuntimeError.__str__


# Saving -----------------------------------------------------------------------------------------------------------


def save(
    obj: Any,
    f: str | os.PathLike | IO[bytes],
    pickle_module: Any = None,
    pickle_protocol: Any = None,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Writes tensors, numbers, strings, None and lists, tuples, dicts and sets of them; state dicts are such.

    A file is written beside its place and moved there when it is complete and on the disk: an interruption or a full
    disk at any moment leaves the old file as it was. The arguments about pickle change nothing.

    Args:
        obj: what to save. Modules and optimizers are saved by their state_dict().
        f: path, or a binary file object.
    Raises:
        TypeError: something else is in `obj`; the message says where.
        CheckpointError: the file could not be written.
    """
    tensors, text = _Encoder().encode(obj)
    metadata = {"fastdl": text}
    if hasattr(f, "write"):
        f.write(_to_bytes(tensors, metadata))
        return
    path = os.path.realpath(os.fspath(f))
    if os.path.isdir(path):
        raise IsADirectoryError(f"[save] {os.fspath(f)!r} is a folder, expected the name of a file")
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"[save] {os.fspath(f)!r}: there is no folder {folder!r}")
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device
        with open(path, "wb") as out:
            out.write(_to_bytes(tensors, metadata))
        return
    _write_file(path, tensors, metadata)


def _to_bytes(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytearray:
    import safetensors.numpy

    data = bytearray(safetensors.numpy.save(tensors, metadata))
    at = data.index(_MARK) + len(_MARK)
    data[at : at + 8] = b"%08x" % zlib.crc32(data)
    return data


def _write_file(path: str, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    import safetensors.numpy

    try:
        with replacing(path) as new:
            safetensors.numpy.save_file(tensors, new, metadata)
            with open(new, "r+b") as file:
                # The checksum is of what the file holds, not of the tensors, which another thread may be training.
                crc, at = _checksum(file)
                file.seek(at)
                file.write(b"%08x" % crc)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"[save] {path!r} could not be written: {error}") from None


def _checksum(file: IO[bytes]) -> tuple[int, int]:
    """CRC-32 of a file with its checksum field as zeros, and where the field is (-1: the file has none)."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    file.seek(0)
    head = bytearray(file.read(8 + size))
    at = head.find(_MARK)
    if at >= 0:
        at += len(_MARK)
        head[at : at + 8] = _NO_CRC.encode()
    crc = zlib.crc32(head)
    while chunk := file.read(CHUNK):
        crc = zlib.crc32(chunk, crc)
    return crc, at


class _Encoder:
    """Turns an object into arrays by name and a JSON text."""

    def __init__(self) -> None:
        self.found: list[tuple[str, np.ndarray, dict]] = []  # name wanted, data, its JSON entry to be completed
        self.open: set[int] = set()  # containers that are being written
        self.path: list[Any] = []

    def encode(self, obj: Any) -> tuple[dict[str, np.ndarray], str]:
        try:
            tree = self.tree(obj)
        except RecursionError:
            raise ValueError("[save] the object is nested too deeply") from None
        tensors = self.place()
        # version and crc32 come first: _MARK
        text = json.dumps({"version": VERSION, "crc32": _NO_CRC, "object": tree}, separators=(",", ":"))
        if len(text) > MAX_TEXT:
            raise ValueError(f"[save] all but the tensors takes {len(text)} bytes, at most {MAX_TEXT} can be saved: "
                             "make tensors of long lists of numbers")  # fmt: skip
        return tensors, text

    def tree(self, obj: Any) -> Any:
        kind = type(obj)
        if obj is None or kind in (bool, int, str):
            return obj
        if kind is float:
            return obj if math.isfinite(obj) else {"$": "float", "v": repr(obj)}
        if isinstance(obj, Tensor):
            return self.array("parameter" if isinstance(obj, Parameter) else "tensor", obj._array, obj)
        if isinstance(obj, (np.ndarray, np.generic)):
            if np.asarray(obj).dtype.num not in _types.BY_NUM:
                raise TypeError(f"[save] cannot save {self.where()}: a NumPy array of the type {obj.dtype}")
            return self.array("ndarray" if isinstance(obj, np.ndarray) else "scalar", np.asarray(obj))
        if kind is bytes:
            return {"$": "bytes", "v": base64.b64encode(obj).decode()}
        if kind is _types.dtype:
            return {"$": "dtype", "v": str(obj).rpartition(".")[2]}
        if kind is _types.device:
            return {"$": "device", "v": str(obj)}
        if kind in (list, tuple, set, frozenset, dict, OrderedDict, Counter, _types.Size):
            if id(obj) in self.open:
                raise ValueError(f"[save] cannot save {self.where()}: it contains itself")
            self.open.add(id(obj))
            result = self.container(obj, kind)
            self.open.discard(id(obj))
            return result
        hint = ""
        if hasattr(obj, "state_dict"):
            hint = "; save its state_dict()"
        elif isinstance(obj, Mapping):
            hint = "; save dict(...) of it"
        elif isinstance(obj, (tuple, list, str, int, float)):
            plain = next(t for t in (tuple, list, str, int, float) if isinstance(obj, t))
            hint = f"; convert it to a plain {plain.__name__}"
        raise TypeError(f"[save] cannot save {self.where()}: {kind.__module__}.{kind.__qualname__} is not data{hint}")

    def container(self, obj: Any, kind: type) -> Any:
        if kind is dict and all(type(key) is str for key in obj) and "$" not in obj:
            return {key: self.part(key, value) for key, value in obj.items()}
        if kind in (dict, OrderedDict, Counter):
            pairs = [[self.part(key, key), self.part(key, value)] for key, value in obj.items()]
            return {"$": kind.__name__, "v": pairs}
        if kind is set or kind is frozenset:
            obj = sorted(obj, key=lambda item: (type(item).__name__, item))
        parts = [self.part(i, value) for i, value in enumerate(obj)]
        return parts if kind is list else {"$": kind.__name__, "v": parts}

    def part(self, key: Any, value: Any) -> Any:
        self.path.append(key)
        result = self.tree(value)
        self.path.pop()
        return result

    def where(self) -> str:
        return "obj" + "".join(f"[{key!r}]" for key in self.path)

    def array(self, kind: str, array: np.ndarray, tensor: Tensor | None = None) -> dict:
        entry: dict[str, Any] = {"$": kind}
        if tensor is not None and tensor.requires_grad != (kind == "parameter"):
            entry["requires_grad"] = tensor.requires_grad
        name = ".".join(map(str, self.path)).encode("utf-8", "replace").decode() or "tensor"
        self.found.append((name, array, entry))
        return entry

    def place(self) -> dict[str, np.ndarray]:
        """Decides how each array is stored, and completes the entries; arrays with memory in common stay together."""
        tensors: dict[str, np.ndarray] = {"__metadata__": None}  # type: ignore[dict-item]  # a reserved name
        for group in _overlapping(self.found):
            views = {_place_of(array): array for _, array, _ in group}
            span = None if len(views) == 1 else _span(list(views.values()))
            names: dict[tuple, str] = {}
            if span is not None:
                shared = names[_place_of(span)] = _free_name(group[0][0], tensors)
                tensors[shared] = span
            for name, array, entry in group:
                key = _place_of(array)
                if key in names:
                    entry["t"] = names[key]
                elif span is not None:
                    entry["t"] = shared
                    entry["offset"] = (array.ctypes.data - span.ctypes.data) // array.itemsize
                    entry["shape"] = list(array.shape)
                    entry["stride"] = [step // array.itemsize for step in array.strides]
                else:
                    entry["t"] = names[key] = _free_name(name, tensors)
                    tensors[names[key]] = np.ascontiguousarray(array).reshape(array.shape)
        del tensors["__metadata__"]
        return tensors


def _place_of(array: np.ndarray) -> tuple:
    return array.ctypes.data, array.shape, array.strides, array.dtype.num


def _free_name(name: str, used: Mapping[str, Any]) -> str:
    if name not in used:
        return name
    return next(f"{name}~{i}" for i in range(2, len(used) + 3) if f"{name}~{i}" not in used)


def _byte_bounds(array: np.ndarray) -> tuple[int, int]:
    """Addresses of an array's first byte and of the byte after its last."""
    steps = [(n - 1) * step for n, step in zip(array.shape, array.strides)]
    low = array.ctypes.data + sum(step for step in steps if step < 0)
    return low, array.ctypes.data + sum(step for step in steps if step > 0) + array.itemsize


def _overlapping(found: list) -> list[list]:
    """Groups arrays whose memory ranges overlap; groups and members in the order in which they were found."""
    ranges = []
    for i, (_, array, _) in enumerate(found):
        low, high = _byte_bounds(array) if array.size else (-1 - i, -1 - i)
        ranges.append((low, high, i))
    groups: list[list[int]] = []
    end = None
    for low, high, i in sorted(ranges):
        if end is not None and low < end:
            groups[-1].append(i)
            end = max(end, high)
        else:
            groups.append([i])
            end = high
    return [[found[i] for i in sorted(group)] for group in sorted(groups, key=min)]


def _span(arrays: list[np.ndarray]) -> np.ndarray | None:
    """One array of which all these overlapping ones are views: one of them, or their memory from the first to the last
    byte; None if their types do not allow it."""
    first = arrays[0]
    bounds = [_byte_bounds(a) for a in arrays]
    low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
    for a in arrays:
        if a.dtype != first.dtype or (a.ctypes.data - low) % a.itemsize or low % a.itemsize:
            return None
        if any(step < 0 or step % a.itemsize for step in a.strides):
            return None
    for a in arrays:
        if a.flags.c_contiguous and a.nbytes == high - low:
            return a
    holder = type("Memory", (), {})()
    holder.owners = arrays
    holder.__array_interface__ = {
        "data": (low, True), "shape": ((high - low) // first.itemsize,), "typestr": first.dtype.str, "version": 3,
    }  # fmt: skip
    return np.asarray(holder)


# Loading ----------------------------------------------------------------------------------------------------------


def load(
    f: str | os.PathLike | IO[bytes],
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
) -> Any:
    """Reads what `save` wrote. Nothing in a file is executed; the whole file is checked before anything is returned.

    Files of torch.save are read too, if they hold data only: tensors NumPy arrays, numbers,
    strings and containers of them, such as state dicts.

    Args:
        f: path, or a binary file object.
        map_location, pickle_module, weights_only, mmap: taken for PyTorch's sake; everything is on the CPU.
    Raises:
        CheckpointError: no file (CheckpointNotFoundError), truncated, changed, of another format, or with objects.
    """
    if isinstance(map_location, (str, _types.device)):
        _types.device(map_location)
    return _read(f, with_structure=True)


def load_tensors(f: str | os.PathLike | IO[bytes]) -> dict[str, Tensor]:
    """The tensors of any safetensors file by name, without structure.

    Raises:
        CheckpointError: as `load`.
    """
    return _read(f, with_structure=False)


def _read(f: Any, with_structure: bool) -> Any:
    if hasattr(f, "read"):
        import io

        data = f.read()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"[load] expected a file opened in binary mode, got one that reads {type(data).__name__}")
        name = getattr(f, "name", None) or type(f).__name__
        return _read_open(name, io.BytesIO(data), len(data), data, with_structure)
    path = os.fspath(f)
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return _read(file, with_structure)
            return _read_open(path, file, os.fstat(file.fileno()).st_size, None, with_structure)
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"[load] there is no file {path!r}") from None
    except IsADirectoryError:
        raise CheckpointError(f"[load] {path!r} is a folder, expected a file") from None


def _read_open(name: Any, file: IO[bytes], size: int, data: Any, with_structure: bool) -> Any:
    def fail(text: str) -> CheckpointError:
        return CheckpointError(f"[load] {name!r} {text}")

    head = file.read(64)
    file.seek(0)
    if with_structure and (head.startswith(b"PK\x03\x04") or _is_legacy_pt(head)):
        return _read_pt(file, size, fail)
    header = _read_header(file, size, fail)
    metadata = header.pop("__metadata__", None)
    text = metadata.get("fastdl") if isinstance(metadata, dict) else None
    tree = None
    if with_structure:
        tree = _check_structure(text, len(header), file, fail)
    for key, entry in header.items():
        if entry["dtype"] not in _SAFETENSORS_TYPES:
            raise fail(f"holds the tensor {key!r} of the type {entry['dtype']}, which fastdl does not have")
    try:
        if data is None and any(entry["dtype"] == "BF16" for entry in header.values()):  # the library has no NumPy type
            file.seek(0)
            data = file.read()
        tensors = _read_tensors(name, data)
    except MemoryError:
        raise
    except Exception as error:  # whatever the library finds wrong
        raise fail(f"is not a valid safetensors file: {error}") from None
    if not with_structure:
        return tensors
    try:
        return _decode(tree, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OverflowError) as error:
        raise fail(f"has a damaged structure: {type(error).__name__}: {error}") from None


def _is_legacy_pt(head: bytes) -> bool:
    return head.startswith(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # the number with which PyTorch < 1.6 begins


def _read_pt(file: IO[bytes], size: int, fail: Any) -> Any:
    from . import _pt

    try:
        return _pt.read(file, size)
    except _pt.BadFile as error:
        raise fail(str(error)) from None
    except (MemoryError, Warning):
        raise
    except Exception as error:  # whatever zipfile, pickletools and NumPy find wrong
        raise fail(f"is damaged: {type(error).__name__}: {error}") from None


_OTHERS = [
    (b"PK\x03\x04", "is a zip archive; load reads those of torch.save, numpy.load those of numpy.savez"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"\x93NUMPY", "is a NumPy .npy file: read it with numpy.load"),
    (b"\x89HDF", "is an HDF5 file"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
]  # fmt: skip


def _read_header(file: IO[bytes], size: int, fail: Any) -> dict:
    """The checked header of a safetensors file of `size` bytes."""
    if size == 0:
        raise fail("is empty (0 bytes)")
    head = file.read(64)
    for start, text in _OTHERS:
        if head.startswith(start):
            raise fail(text)
    if head[8:9] != b"{":
        if head.lstrip()[:1] == b"<":
            raise fail("is an HTML or XML page, not a checkpoint: was the download an error message?")
        if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
            raise fail("is a pickle, which fastdl does not load because pickles can run code")
        if size < 9:
            raise fail(f"has only {size} bytes, too few for a checkpoint")
        raise fail(f"is not a fastdl checkpoint: it begins with {head[:12]!r}")
    length = int.from_bytes(head[:8], "little")
    if 8 + length > size:
        raise fail(f"is truncated: its header alone takes {8 + length} bytes, the file has {size}, "
                   f"at least {8 + length - size} are missing")  # fmt: skip
    file.seek(8)
    try:
        header = json.loads(file.read(length))
        ends = [int(e["data_offsets"][1]) for name, e in header.items() if name != "__metadata__"]
        assert all(isinstance(e["dtype"], str) for name, e in header.items() if name != "__metadata__")
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError, OverflowError) as error:
        raise fail(f"has a damaged header: {type(error).__name__}: {error}") from None
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        raise fail(f"is truncated: expected {expected} bytes, the file has {size}, {expected - size} are missing")
    if size > expected:
        raise fail(f"is too long: expected {expected} bytes, the file has {size}, {size - expected} too many")
    return header


def _check_structure(text: Any, count: int, file: IO[bytes], fail: Any) -> Any:
    """The saved object's description, after the check of the file's version and checksum."""
    if not isinstance(text, str):
        raise fail(
            f"is a safetensors file with {count} tensors, but without fastdl's structure in its metadata; "
            "load_tensors reads it as a flat dictionary"
        )
    try:
        structure = json.loads(text)
        version, stored, tree = structure["version"], structure["crc32"], structure["object"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise fail(f"has a damaged structure: {type(error).__name__}: {error}") from None
    if version != VERSION:
        raise fail(f"has the format version {version}, this fastdl reads version {VERSION}")
    crc, at = _checksum(file)
    if at < 0 or stored != f"{crc:08x}":
        raise fail(f"is damaged: its checksum is {crc:08x}, and {stored} was stored when it was written")
    return tree


def _read_tensors(path: Any, data: Any) -> dict[str, Tensor]:
    if data is None:
        import safetensors

        with safetensors.safe_open(path, "np") as file:
            return {name: tensor_from(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    import safetensors

    def array(entry: dict) -> np.ndarray:
        return np.frombuffer(entry["data"], _SAFETENSORS_TYPES[entry["dtype"]]).reshape(entry["shape"])

    return {name: tensor_from(array(entry)) for name, entry in safetensors.deserialize(bytes(data))}


def _decode(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(part, tensors) for part in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree.get("$")
    if kind is None:
        return {key: _decode(value, tensors) for key, value in tree.items()}
    if kind in ("tensor", "parameter", "ndarray", "scalar"):
        return _decode_array(kind, tree, tensors)
    value = tree["v"]
    if kind in ("dict", "OrderedDict", "Counter"):
        pairs = {_decode(key, tensors): _decode(part, tensors) for key, part in value}
        return {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}[kind](pairs)
    if kind in ("tuple", "set", "frozenset", "Size"):
        types = {"tuple": tuple, "set": set, "frozenset": frozenset, "Size": _types.Size}
        return types[kind]([_decode(part, tensors) for part in value])
    if kind == "float":
        return float(value)
    if kind == "bytes":
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None
    if kind == "dtype":
        return _types.as_dtype(value)
    if kind == "device":
        return _types.device(value)
    raise ValueError(f"unknown kind {kind!r}")


def _decode_array(kind: str, entry: dict, tensors: dict[str, Tensor]) -> Any:
    array = tensors[entry["t"]]._array
    if "offset" in entry:
        array = _view(array, entry["offset"], entry["shape"], entry["stride"])
    if kind == "scalar":
        return array[()]
    if kind == "ndarray":
        return array
    requires_grad = bool(entry.get("requires_grad", kind == "parameter"))
    tensor = from_numpy(array)
    return Parameter(tensor, requires_grad) if kind == "parameter" else tensor.requires_grad_(requires_grad)


def _view(base: np.ndarray, offset: int, shape: list[int], stride: list[int]) -> np.ndarray:
    """A view by numbers from a file, which are not trusted."""
    numbers = [offset, *shape, *stride]
    if any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(stride) or len(shape) > 32:
        raise ValueError(f"not a view: {numbers}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride))
    if 0 in shape or last >= base.size:
        raise ValueError(f"a view of elements up to {last} of a tensor of {base.size}")
    return np.lib.stride_tricks.as_strided(base.reshape(-1)[offset:], shape, [step * base.itemsize for step in stride])
