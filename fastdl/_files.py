"""How files are written: beside their place, then moved there."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """Gives the name of a new file that takes the place of `path`, with its mode, when the block has written it and it
    is on the disk. An error or a crash at any moment leaves the old file as it was; a crash leaves the new one, too.

    What is no regular file, such as a pipe, cannot be replaced: its own name is given.
    """
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{secrets.token_hex(6)}.{name[-50:]}")  # the end: it says what kind of file it is
    try:
        yield new
        with open(new, "r+b") as file:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(new, stat.S_IMODE(os.stat(path).st_mode))
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Puts the renaming on the disk too, where the system lets folders be opened."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
