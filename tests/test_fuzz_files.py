"""A short run of tests/fuzz_files.py, and what its long runs have found."""

import gzip
import io
import json
import tracemalloc

import numpy as np
import pytest

import fastdl
from fastdl import datasets, serialization
from tests import test_pt as pt
from tests.fuzz_files import run, with_checksum
from tests.process import DEEP


def test_damaged_files_give_what_they_hold_or_the_documented_error():
    found, failures = run(seed=5, count=1400 * DEEP, every=1 if DEEP > 1 else 5)
    assert not failures
    for kind, counts in found.items():
        assert counts["refused"] > 50, kind
    assert found["zip"]["taken"] and found["safetensors"]["taken"]


@pytest.mark.parametrize("data", [b"\x80", b"\x80\x02", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"])
def test_the_first_bytes_of_a_pickle(data):
    with pytest.raises(serialization.CheckpointError):
        fastdl.load(io.BytesIO(data))


@pytest.mark.parametrize("end", ["Infinity", "-Infinity", "NaN", "1e999", "1" * 5000])
def test_a_header_with_an_end_that_is_no_number(end):
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,%s]}}' % end.encode()
    for load in (fastdl.load, serialization.load_tensors):
        with pytest.raises(serialization.CheckpointError, match="damaged header"):
            load(io.BytesIO(len(header).to_bytes(8, "little") + header + bytes(4)))


def test_a_packed_idx_file_is_unpacked_no_further_than_its_head_says(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 4]) + bytes(100_000_000)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected 12 bytes"):
        datasets.read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


HUGE = 2**60


def safetensors(shape, end, tree=None):
    """16 bytes of tensor w, which claims to have that shape and end."""
    structure = json.dumps({"version": 1, "crc32": "00000000", "object": tree}, separators=(",", ":"))
    entries = {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    header = json.dumps({"__metadata__": {"fastdl": structure}, **entries}, separators=(",", ":")).encode()
    return with_checksum(len(header).to_bytes(8, "little") + header + bytes(16))


def of_torch(writer, shape, stride, count=4):
    storage = pt.storage(np.arange(4, dtype=np.float32))
    storage.count = count
    return writer(pt.tensor(storage, shape, stride))


def view(shape, stride):
    return {"$": "tensor", "t": "w", "offset": 0, "shape": shape, "stride": stride}


CLAIMS = {  # name: (file, how it is refused)
    "header": (HUGE.to_bytes(8, "little") + b"{}" + bytes(100), "header alone takes"),
    "end": (safetensors([HUGE], 4 * HUGE), "is truncated: expected"),
    "shape": (safetensors([HUGE], 16), "not a valid safetensors file"),
    "overflow": (safetensors([2**32, 2**32, 4], 16), "not a valid safetensors file"),
    "view": (safetensors([4], 16, view([HUGE], [1])), "damaged structure: .*a view of elements up to"),
    "view without steps": (safetensors([4], 16, view([HUGE, HUGE], [0, 0])), "damaged structure: .*too big"),
    "archive's tensor": (of_torch(pt.zipped, (HUGE,), (1,)), "it reaches element"),
    "archive's empty tensor": (of_torch(pt.zipped, (0, HUGE, HUGE), (1, 1, 1)), "is damaged: .*too big"),
    "archive's storage": (of_torch(pt.zipped, (4,), (1,), HUGE), "are expected"),
    "old storage": (of_torch(pt.legacy, (4,), (1,), HUGE), "its tensors take"),
    "old text": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02X\0\0\0\xf0" + bytes(50), "is damaged"),
    "idx": (bytes([0, 0, 8, 3, *[0, 16, 0, 0] * 3]) + bytes(100), "expected 1,152,921,504,606,846,992 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_2_60_elements_are_refused_before_there_is_memory_for_them(name, tmp_path):
    data, text = CLAIMS[name]
    path = tmp_path / "file"
    path.write_bytes(data)
    tracemalloc.start()
    fastdl.memory.reset_peak()
    live = fastdl.memory.stats()["live_bytes"]
    with pytest.raises(ValueError, match=text):
        datasets.read_idx(path) if name == "idx" else fastdl.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fastdl.memory.stats()["peak_bytes"] - live < 1000 and peak < 10_000_000


@pytest.mark.parametrize("data", [safetensors([4], 16, view([HUGE], [0])), of_torch(pt.zipped, (HUGE,), (0,))])
def test_an_expanded_tensor_takes_no_memory(data):
    fastdl.memory.reset_peak()
    live = fastdl.memory.stats()["live_bytes"]
    assert fastdl.load(io.BytesIO(data)).shape == (HUGE,)
    assert fastdl.memory.stats()["peak_bytes"] - live < 1000
