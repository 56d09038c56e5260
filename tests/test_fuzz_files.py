"""A short run of tests/fuzz_files.py, and what its long runs have found."""

import gzip
import io
import tracemalloc

import pytest

import fastdl
from fastdl import datasets, serialization
from tests.fuzz_files import run
from tests.process import DEEP


def test_damaged_files_give_what_they_hold_or_the_documented_error():
    found, failures = run(seed=5, count=2400 * DEEP)
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
