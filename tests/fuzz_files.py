"""Damaged files: each gives what it holds or the documented error, never another one, a crash, a hang or much memory.

python -m tests.fuzz_files --count 100000 --seed 1

Checkpoints (also with a checksum that is right again), safetensors files of others, torch.save's files of both kinds,
vocabularies, idx files packed or not. What can be loaded goes into a module, which takes all of it or nothing.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import fastdl
from fastdl import datasets, nn, serialization
from fastdl.text import Vocab
from tests import test_pt as pt

LIMIT_BYTES = 3 << 30
LIMIT_SECONDS = 5
NUMBERS = [0, -1, 1, 2**31, 2**32, 2**62, 2**63, 2**64, -(2**63), 1e400, -1e400, 1.5, None, True, "", "w", [], {}, [2**62, 4], {"$": "x"}]


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def originals(folder: Path) -> dict[str, bytes]:
    fastdl.manual_seed(0)
    state = model().state_dict()
    file, flat = io.BytesIO(), io.BytesIO()
    extra = {"n": [1, 2.5, None], "s": "text", "t": (1, b"x"), "view": fastdl.arange(6.0).reshape(2, 3).T, 3: {1, 2}}
    fastdl.save({"model": state, **extra}, file)
    fastdl.save(state, flat)
    arrays = {name: value.numpy() for name, value in state.items()}
    saved = {name: pt.whole(np.array(a), str(i)) for i, (name, a) in enumerate(arrays.items())}
    ordered = pt.Call(pt.Global("collections", "OrderedDict"), [*saved.items()])
    Vocab(["a", "b", "b", "\u00e9", "\U0001f600"], reserved_tokens=("<pad>",)).save(folder / "vocab")
    images = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + bytes(range(24))
    return {
        "checkpoint": file.getvalue(), "state": flat.getvalue(), "checksum": file.getvalue(), "structure": file.getvalue(),
        "safetensors": flat.getvalue(), "zip": pt.zipped(ordered), "legacy": pt.legacy(ordered), "pickle": pt.zipped(ordered),
        "vocab": (folder / "vocab").read_bytes(), "idx": images, "gzip": gzip.compress(images, mtime=0),
        "unpacked": images,
    }  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        at, n = rng.randrange(len(out) + 1), rng.choice([1, 1, 2, 4, 8, 20])
        kind = rng.randrange(8)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            del out[at : at + n]
        elif kind == 2:
            out[at:at] = rng.randbytes(n)
        elif kind == 3:
            source = rng.randrange(len(out) + 1)
            out[at:at] = out[source : source + n]
        elif kind == 4 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 5:
            out[at : at + n] = bytes([rng.choice([0, 0xFF, 0x7F, 0x80])]) * n
        elif kind == 6:  # digits become others
            digits = [i for i, byte in enumerate(out) if 48 <= byte <= 57]
            if digits:
                out[rng.choice(digits)] = rng.choice(b"0123456789-.eE")
        else:
            out[at : at + n] = rng.randbytes(n)
    return bytes(out)


def other_tree(tree, rng: random.Random):
    """A JSON value with one part of it changed."""
    if isinstance(tree, (dict, list)) and tree and rng.random() < 0.85:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = rng.choice(keys)
        tree[key] = other_tree(tree[key], rng)
        if isinstance(tree, dict) and rng.random() < 0.05:
            del tree[key]
        return tree
    return rng.choice(NUMBERS)


def with_checksum(data: bytes) -> bytes:
    """A checkpoint whose checksum is right again, if it still has one."""
    at = data.find(serialization._MARK)
    if at < 0:
        return data
    at += len(serialization._MARK)
    head = bytearray(data)
    head[at : at + 8] = b"00000000"
    head[at : at + 8] = b"%08x" % zlib.crc32(head)
    return bytes(head)


def one(kind: str, data: bytes, rng: random.Random) -> bytes:
    if kind == "checksum":
        return with_checksum(damaged(data, rng))
    if kind in ("structure", "safetensors"):  # right lengths, wrong contents
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        if kind == "structure":
            text = json.loads(header["__metadata__"]["fastdl"])
            text["object"] = other_tree(text["object"], rng)
            text["crc32"] = "00000000"
            header["__metadata__"]["fastdl"] = json.dumps(text, separators=(",", ":"))
        if kind == "safetensors" or rng.random() < 0.2:
            header = other_tree(header, rng)
        new = json.dumps(header, separators=(",", ":")).encode()
        return with_checksum(len(new).to_bytes(8, "little") + new + data[8 + size :])
    if kind == "pickle":  # in a sound archive
        content = pt.zipfile.ZipFile(io.BytesIO(data))
        file = io.BytesIO()
        with pt.zipfile.ZipFile(file, "w") as archive:
            for name in content.namelist():
                part = content.read(name)
                archive.writestr(name, damaged(part, rng) if name.endswith("data.pkl") else part)
        return file.getvalue()
    if kind == "gzip" and rng.random() < 0.5:
        return gzip.compress(damaged(gzip.decompress(data), rng), mtime=0)
    return damaged(data, rng)


def read(kind: str, data: bytes, path: Path, by_name: bool = False):
    """What is in the file, or the documented error. `by_name`: from the disk, which checkpoints need not be."""
    if kind in ("vocab", "idx", "gzip", "unpacked"):
        path.write_bytes(data)
        try:
            return Vocab.load(path) if kind == "vocab" else datasets.read_idx(path)
        except ValueError as error:
            assert str(path) in str(error), error
            return error
    file: Any = io.BytesIO(data)
    if by_name:
        path.write_bytes(data)
        file = path
    try:
        return serialization.load_tensors(file) if kind == "safetensors" else fastdl.load(file)
    except serialization.CheckpointError as error:
        assert str(error).startswith("[load]") and (not by_name or str(path) in str(error)), error
        return error


def into_a_module(state) -> bool:
    """Whether a module took it; if not, it is as it was."""
    module = model()
    before = [value.clone() for value in module.state_dict().values()]
    try:
        module.load_state_dict(state)
        return True
    except (RuntimeError, TypeError, ValueError, AttributeError):
        after = list(module.state_dict().values())
        assert all(fastdl.equal(a, b) for a, b in zip(before, after, strict=True)), "half loaded"
        return False


def run(seed: int, count: int, every: int = 1) -> tuple[dict[str, dict[str, int]], list[str]]:
    """(how often which kind was refused, loaded, and taken by a module; what went wrong), of every truncation, or one
    in so many, and `count` other damages."""
    warnings.simplefilter("ignore")
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        good = originals(Path(folder))
        found = {kind: {"refused": 0, "loaded": 0, "taken": 0} for kind in good}
        path = Path(folder, "file")
        for kind, data in good.items():
            assert not isinstance(read(kind, data, path), Exception), kind
        jobs = [(kind, n) for kind in ("checkpoint", "zip", "legacy", "vocab", "idx", "gzip") for n in range(seed % every, len(good[kind]), every)]
        for index in range(len(jobs) + count):  # every truncation, then at random
            rng = random.Random(f"{seed} {index}")
            if index < len(jobs):
                kind, n = jobs[index]
                data = good[kind][:n]
            else:
                kind = list(good)[index % len(good)]
                data = one(kind, good[kind], rng)
            begin = time.process_time()
            try:
                result = read(kind, data, path, by_name=index % 3 == 0)
                if isinstance(result, Exception):
                    found[kind]["refused"] += 1
                else:
                    assert index >= len(jobs) or kind == "zip", "a part of a file was loaded"
                    found[kind]["loaded"] += 1
                    if kind in ("state", "safetensors", "zip", "legacy", "pickle"):
                        found[kind]["taken"] += into_a_module(result)
            except Exception as error:
                failures.append(f"seed {seed} file {index} ({kind}): {type(error).__name__}: {error}"[:300])
            if time.process_time() - begin > LIMIT_SECONDS:
                failures.append(f"seed {seed} file {index} ({kind}): {time.process_time() - begin:.1f} s")
    return found, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    begin = time.monotonic()
    found, failures = run(args.seed, args.count)
    for kind, counts in found.items():
        print(f"{kind:12} {counts}")
    for failure in failures[:40]:
        print(failure)
    print(f"{sum(c['refused'] + c['loaded'] for c in found.values())} files in {time.monotonic() - begin:.0f} s, "
          f"{len(failures)} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
