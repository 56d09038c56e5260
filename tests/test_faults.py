"""A fault at every system call of a save, or a full disk, leaves the old file whole, or the new one, and no other."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import fastdl
from fastdl import datasets, nn
from fastdl.serialization import CheckpointError
from fastdl.text import Vocab
from tests import faults
from tests.process import DEEP, SANITIZED


def checkpoint(n: int) -> Callable[[Path], None]:
    """Of a trainer: weights, the optimizer's state, progress."""
    fastdl.manual_seed(n)
    model = nn.Linear(200, 100)
    adam = fastdl.optim.Adam(model.parameters())
    model(fastdl.ones(3, 200)).sum().backward()
    adam.step()
    return lambda path: fastdl.save({"model": model.state_dict(), "optimizer": adam.state_dict(), "epoch": n}, path)


def vocabulary(n: int) -> Callable[[Path], None]:
    return Vocab([f"token {i}" for i in range(900 + n)]).save


def data(n: int) -> Callable[[Path], None]:
    return lambda path: datasets._write_atomically(path, bytes([n]) * 100_000)


def size_of(kind: str, path: Path) -> object:
    """What tells the old file from the new one; it is read as a whole."""
    if kind == "checkpoint":
        found = fastdl.load(path)
        assert found["model"]["weight"].shape == (100, 200) and found["optimizer"]["state"][0]["step"] == 1
        return found["epoch"]
    return len(Vocab.load(path)) if kind == "vocabulary" else path.read_bytes()


KINDS = {"checkpoint": checkpoint, "vocabulary": vocabulary, "data": data}


@pytest.fixture(autouse=True)
def one_thread():
    before = fastdl.get_num_threads()
    fastdl.set_num_threads(1)
    yield
    fastdl.set_num_threads(before)


@pytest.mark.skipif(not faults.WORKS or SANITIZED, reason="needs ptrace on x86-64")
@pytest.mark.parametrize("what", ["kill", "full", "broken", "short"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_every_call_of_a_save(kind: str, what: str, tmp_path: Path):
    path = tmp_path / "file"
    save_old, save_new = KINDS[kind](1), KINDS[kind](2)
    save_old(path)
    old, old_bytes = size_of(kind, path), path.read_bytes()
    try:
        names, status = faults.run(lambda: save_new(path))
    except PermissionError:
        pytest.skip("no ptrace here")
    new, new_bytes = size_of(kind, path), path.read_bytes()
    assert status == 0 and old != new
    assert names.count("fsync") == 2 and names.count("rename") == 1 and names.count("write") >= 1, names
    renamed, outcomes = names.index("rename"), Counter()
    every = 1 if DEEP > 1 or what == "short" else 3
    for at in range(list(KINDS).index(kind) % every, len(names), every):
        if what == "short" and names[at] != "write":
            continue
        path.write_bytes(old_bytes)
        _, status = faults.run(lambda: save_new(path), (OSError, CheckpointError), at, what)
        outcomes[status] += 1
        place = f"call {at} of {len(names)}, {names[at]}"
        assert status in ((-9,) if what == "kill" else (0,) if what == "short" else (0, 1)), place
        found = path.read_bytes()
        assert found in (old_bytes, new_bytes), place
        assert size_of(kind, path) == (new if status == 0 or (status == -9 and at > renamed) else old), place
        left = set(os.listdir(tmp_path)) - {"file"}
        assert len(left) <= (what == "kill"), place
        if what == "kill":
            save_new(path)
            assert path.read_bytes() == new_bytes, place
            for name in left:
                os.unlink(tmp_path / name)
    print(kind, what, dict(outcomes))


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_full_at_any_size(kind: str, tmp_path: Path):
    import resource

    path, (soft, hard) = tmp_path / "file", resource.getrlimit(resource.RLIMIT_FSIZE)
    save_old, save_new = KINDS[kind](1), KINDS[kind](2)
    save_new(path)
    size = path.stat().st_size
    save_old(path)
    old = path.read_bytes()
    for limit in [*range(0, size, max(size // (20 * DEEP), 1)), 1, 8, 9, size - 9, size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises((OSError, CheckpointError)):
                save_new(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == old and os.listdir(tmp_path) == ["file"], limit
    save_new(path)
    assert path.stat().st_size == size


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_as_long_as_the_system_allows(kind: str, tmp_path: Path):
    for name in ("\u8a9e" * 85, "x" * 255):
        KINDS[kind](1)(tmp_path / name)
        assert size_of(kind, tmp_path / name)
        assert os.listdir(tmp_path) == [name]
        os.unlink(tmp_path / name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs pipes of a size")
@pytest.mark.parametrize("kind", KINDS)
def test_links_modes_and_devices_stay_what_they_are(kind: str, tmp_path: Path):
    import fcntl

    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    KINDS[kind](1)(real)
    old = size_of(kind, real)
    real.chmod(0o640)
    link.symlink_to(real)
    KINDS[kind](2)(link)
    assert link.is_symlink() and size_of(kind, real) != old and real.stat().st_mode & 0o777 == 0o640
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)
    KINDS[kind](2)(pipe)
    assert pipe.is_fifo() and os.read(reader, 1 << 20) == real.read_bytes()
    os.close(reader)
