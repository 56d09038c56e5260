"""Data sets of the book, found on this machine or fetched once. Nothing is fetched at import."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastdl._files import replacing
from fastdl._tensor import Tensor, from_numpy

TIME_MACHINE_NAME = "timemachine.txt"
TIME_MACHINE_URL = "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt"
TIME_MACHINE_SHA1 = "090b5e7e70c295757f55df93cb0a180b9691891a"
TIMEOUT_SECONDS = 5.0  # for the connection and for each read
TINY_SHAKESPEARE_NAME = "tinyshakespeare.txt"
TINY_SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
TINY_SHAKESPEARE_SHA1 = "04486597058d11dcc2c556b1d0433891eb639d2e"
MAX_BYTES = 2 << 20  # the longest file has 1,115,394; anything longer is not it

FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST_MD5 = {  # as its authors publish them, of the packed files
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
FASHION_MNIST_CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
FASHION_MNIST_DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
FASHION_MNIST_MAX_BYTES = 32 << 20  # of a packed file; the largest has 26,421,880
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class Text(NamedTuple):
    """A text, where it comes from (in words), and whether it only stands in for the text that was asked for."""

    text: str
    source: str
    is_substitute: bool = False


class Images(NamedTuple):
    """Grey images (N, h, w) in [0, 1], float32, with their classes (N,), int64; for training and for testing."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    source: str


def cache_dir() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/fastdl, else ~/.cache/fastdl."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "fastdl"


def time_machine() -> Text:
    """The Time Machine by H. G. Wells, the book's own file.

    Looked for in the folder that FASTDL_DATA names, then in the user's cache, then at the book's address (kept in the
    cache if its checksum is right). If all that fails, English text that comes with Python, pydoc's help topics,
    stands in for it; `is_substitute` and `source` say so.

    Raises:
        ValueError: the file in FASTDL_DATA is empty or not UTF-8 text.
    """
    return _book("The Time Machine", TIME_MACHINE_NAME, TIME_MACHINE_URL, TIME_MACHINE_SHA1)


def tiny_shakespeare() -> Text:
    """Tiny Shakespeare, 1,115,394 characters of his plays; looked for, and replaced, as `time_machine` is."""
    return _book("Tiny Shakespeare", TINY_SHAKESPEARE_NAME, TINY_SHAKESPEARE_URL, TINY_SHAKESPEARE_SHA1)


def _book(title: str, name: str, url: str, sha1: str) -> Text:
    folder = os.environ.get("FASTDL_DATA")
    if folder and (path := Path(folder) / name).is_file():
        return Text(decode_text(path.read_bytes(), path), str(path))
    path = cache_dir() / name
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() == sha1:
            return Text(decode_text(data, path), str(path))
    try:
        data = download(url, sha1)
    except OSError as error:
        return Text(_pydoc_topics(), f"{title} is not in FASTDL_DATA or {cache_dir()} and could not be "
                    f"fetched from {url} ({error}); pydoc's help topics stand in for it", True)
    with contextlib.suppress(OSError):  # a read-only home costs a download next time, nothing else
        _write_atomically(path, data)
    return Text(decode_text(data, path), url)


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> Images:
    """Fashion-MNIST: 60,000 + 10,000 images of 28 x 28, ten classes of clothes.

    Its four idx files, packed with gzip or not, are looked for in `folder`; without it, in the folder that FASTDL_DATA
    names, in the user's cache and where Debian's package dataset-fashion-mnist puts them, and then at the book's
    address (kept in the cache if their checksums are right).

    Raises:
        OSError: they are nowhere. ValueError: a file is damaged or has other contents.
    """
    cache = cache_dir() / "fashion-mnist"
    data = os.environ.get("FASTDL_DATA")
    usual = [*([Path(data), Path(data) / "fashion-mnist"] if data else []), cache, FASHION_MNIST_DEBIAN]
    for place in [Path(folder)] if folder is not None else usual:
        paths = [next(filter(Path.is_file, (place / n, place / n[:-3])), None) for n in FASHION_MNIST_MD5]
        if all(paths):
            break
    else:
        if folder is not None:
            raise FileNotFoundError(f"{folder}: expected the files {', '.join(FASHION_MNIST_MD5)}, packed or not")
        place, paths = cache, [cache / name for name in FASHION_MNIST_MD5]
        try:
            for name, md5 in FASHION_MNIST_MD5.items():
                _write_atomically(cache / name, download(FASHION_MNIST_URL + name, md5, FASHION_MNIST_MAX_BYTES))
        except OSError as error:
            raise FileNotFoundError(
                f"Fashion-MNIST is not in {', '.join(map(str, usual))} and could not be fetched from "
                f"{FASHION_MNIST_URL} ({error}); Debian, Ubuntu: apt install dataset-fashion-mnist") from None
    pixels, labels, test_pixels, test_labels = map(Path, filter(None, paths))
    return Images(*_labelled(pixels, labels), *_labelled(test_pixels, test_labels), FASHION_MNIST_CLASSES, str(place))


def _labelled(pixels: Path, labels: Path) -> tuple[Tensor, Tensor]:
    x, y = read_idx(pixels), read_idx(labels)
    if x.ndim != 3 or x.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise ValueError(f"{pixels}: expected bytes (N, h, w) and as many labels, got {x.dtype} {x.shape} and "
                         f"{y.shape} in {labels}")
    if y.size and not 0 <= y.min() <= y.max() < len(FASHION_MNIST_CLASSES):
        raise ValueError(f"{labels}: expected classes 0 to 9, got {y.min()} to {y.max()}")
    return from_numpy(np.divide(x, 255, dtype=np.float32)), from_numpy(y.astype(np.int64))


def digits() -> Images:
    """The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8; every fifth one is for testing.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("[datasets.digits] the digits come with scikit-learn: pip install scikit-learn") from None
    found = load_digits()
    x, y = (found.images / 16).astype(np.float32), found.target.astype(np.int64)
    test = np.arange(len(y)) % 5 == 4
    return Images(from_numpy(x[~test]), from_numpy(y[~test]), from_numpy(x[test]), from_numpy(y[test]),
                  tuple("0123456789"), "scikit-learn's digits")


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an idx file, the format of MNIST's files, packed with gzip or not.

    Raises:
        OSError: it cannot be read. ValueError: it is no idx file, or damaged, or its size is not what its head says.
    """
    import gzip
    import zlib

    data = Path(path).read_bytes()
    packed = len(data)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:  # no more than its head says: a small file may hold a lot
                data = file.read(4)
                data += file.read(4 * data[3]) if len(data) == 4 else b""
                sizes = np.frombuffer(data, ">u4", (len(data) - 4) // 4, 4).tolist() if len(data) >= 4 else []
                data += file.read(min(math.prod(sizes) * 8, 1100 * packed) + 1)  # no file shrinks to less than 1/1032
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from None
    kind = IDX_TYPES.get(data[2]) if len(data) >= 4 and data[:2] == b"\0\0" else None
    if kind is None:
        raise ValueError(f"{path}: not an idx file: it begins with {data[:4].hex(' ') or 'nothing'}, expected 00 00, "
                         f"the type (08 for bytes) and the number of dimensions")
    head = 4 + 4 * data[3]
    if len(data) < head:
        raise ValueError(f"{path}: expected the sizes of {data[3]} dimensions, but it ends after {len(data)} bytes")
    shape = tuple(np.frombuffer(data, ">u4", data[3], 4).tolist())
    need = head + math.prod(shape) * np.dtype(kind).itemsize
    if len(data) != need:
        raise ValueError(f"{path}: expected {need:,} bytes for the shape {shape}, got {len(data):,}")
    try:
        values = np.frombuffer(data, kind, offset=head).reshape(shape)
    except ValueError as error:  # sizes with a zero among them can be beyond what an array may have
        raise ValueError(f"{path}: the shape {shape}: {error}") from None
    return values.astype(values.dtype.newbyteorder("="))


def download(url: str, digest: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes at an address. OSError if they cannot be had in time or have another checksum.

    `digest` is the sha1 of the bytes, or their md5, in hexadecimal digits.
    """
    from http.client import HTTPException  # here, because they cost 30 ms at import
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            data = response.read(max_bytes + 1)
    except (HTTPException, ValueError) as error:
        raise OSError(str(error)) from None
    algorithm = "md5" if len(digest) == 32 else "sha1"
    found = hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()
    if found != digest:
        raise OSError(f"{algorithm} of the {len(data)} bytes received is {found}, not {digest}")
    return data


def decode_text(data: bytes, name: str | os.PathLike[str]) -> str:
    """The text of UTF-8 bytes. ValueError that names the file, the byte, its position and line if it is none."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 text: byte 0x{data[error.start]:02x} at position {error.start}, "
                         f"line {data.count(10, 0, error.start) + 1}") from None
    if not text.strip():
        raise ValueError(f"{name}: no text in it ({len(data)} bytes)")
    return text


def _pydoc_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        Path(new).write_bytes(data)
