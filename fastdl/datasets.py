"""Data sets of the book, found on this machine or fetched once. Nothing is fetched at import."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

TIME_MACHINE_NAME = "timemachine.txt"
TIME_MACHINE_URL = "http://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt"
TIME_MACHINE_SHA1 = "090b5e7e70c295757f55df93cb0a180b9691891a"
TIMEOUT_SECONDS = 5.0  # for the connection and for each read
MAX_BYTES = 1 << 20  # the file has 178,979; anything longer is not it


class Text(NamedTuple):
    """A text, where it comes from (in words), and whether it only stands in for the text that was asked for."""

    text: str
    source: str
    is_substitute: bool = False


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
    folder = os.environ.get("FASTDL_DATA")
    if folder and (path := Path(folder) / TIME_MACHINE_NAME).is_file():
        return Text(decode_text(path.read_bytes(), path), str(path))
    path = cache_dir() / TIME_MACHINE_NAME
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() == TIME_MACHINE_SHA1:
            return Text(decode_text(data, path), str(path))
    try:
        data = download(TIME_MACHINE_URL, TIME_MACHINE_SHA1)
    except OSError as error:
        return Text(_pydoc_topics(), f"The Time Machine is not in FASTDL_DATA or {cache_dir()} and could not be "
                    f"fetched from {TIME_MACHINE_URL} ({error}); pydoc's help topics stand in for it", True)
    with contextlib.suppress(OSError):  # a read-only home costs a download next time, nothing else
        _write_atomically(path, data)
    return Text(decode_text(data, path), TIME_MACHINE_URL)


def download(url: str, sha1: str) -> bytes:
    """The bytes at an address. OSError if they cannot be had in time or have another checksum."""
    from http.client import HTTPException  # here, because they cost 30 ms at import
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            data = response.read(MAX_BYTES + 1)
    except (HTTPException, ValueError) as error:
        raise OSError(str(error)) from None
    found = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    if found != sha1:
        raise OSError(f"sha1 of the {len(data)} bytes received is {found}, not {sha1}")
    return data


def decode_text(data: bytes, name: str | os.PathLike[str]) -> str:
    """The text of UTF-8 bytes. ValueError that names the file, the byte and its position if it is none."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not UTF-8 text: byte 0x{data[error.start]:02x} at position {error.start}") from None
    if not text.strip():
        raise ValueError(f"{name}: no text in it ({len(data)} bytes)")
    return text


def _pydoc_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
