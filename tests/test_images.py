"""Image sets: idx files as they should be and as they should not, where the files are looked for, the digits."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

import fastdl
from fastdl import datasets
from tests.text.test_datasets import empty, server

__all__ = ["empty", "server"]  # fixtures


def idx(values, kind=0x08):
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_set(folder, pack=True, count=5):
    """The four files of a tiny Fashion-MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for kind, n in (("train", count), ("t10k", count - 2)):
        x, y = rng.integers(0, 256, (n, 4, 3), np.uint8), rng.integers(0, 10, n).astype(np.uint8)
        for name, values in (("images-idx3", x), ("labels-idx1", y)):
            data = idx(values)
            path = folder / f"{kind}-{name}-ubyte{'.gz' if pack else ''}"
            path.write_bytes(gzip.compress(data) if pack else data)
    return folder


@pytest.mark.parametrize("kind, dtype", datasets.IDX_TYPES.items())
def test_idx_files_of_every_type(tmp_path, kind, dtype):
    values = np.arange(-3, 21).reshape(2, 3, 4).astype(dtype)
    for data in (idx(values, kind), gzip.compress(idx(values, kind))):
        (tmp_path / "file").write_bytes(data)
        found = datasets.read_idx(tmp_path / "file")
        assert found.dtype == np.dtype(dtype).newbyteorder("=") and found.dtype.isnative
        assert np.array_equal(found, values) and found.flags.writeable


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("data, message", [
    (b"", "not an idx file: it begins with nothing"),
    (b"PNG and so on", "not an idx file: it begins with 50 4e 47 20, expected 00 00"),
    (b"\0\0\x07\x01" + bytes(9), "not an idx file: it begins with 00 00 07 01"),
    (GOOD[:9], "expected the sizes of 3 dimensions, but it ends after 9 bytes"),
    (GOOD[:-1], r"expected 40 bytes for the shape \(2, 3, 4\), got 39"),
    (GOOD + b"x", r"expected 40 bytes for the shape \(2, 3, 4\), got 41"),
    (idx(np.zeros(0, np.uint8))[:4] + b"\xff" * 4, r"expected 4,294,967,303 bytes"),
    (bytes([0, 0, 0xE, 3, *[0xFF] * 8, *[0] * 4]), r"the shape \(4294967295, 4294967295, 0\): .*array"),
    (bytes([0, 0, 8, 4, *[0x7F] * 12, *[0] * 4]), r"the shape \(2139062143, 2139062143, 2139062143, 0\): .*array"),
    (gzip.compress(GOOD)[:-3], "damaged gzip file"),
    (gzip.compress(GOOD)[:15] + b"zz" + gzip.compress(GOOD)[17:], "damaged gzip file"),
])
def test_bad_idx_files(tmp_path, data, message):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match=f"file: {message}"):
        datasets.read_idx(tmp_path / "file")


@pytest.mark.parametrize("pack", [True, False])
def test_fashion_mnist_from_a_folder(tmp_path, pack):
    found = datasets.fashion_mnist(write_set(tmp_path / "set", pack))
    assert found.train_images.shape == (5, 4, 3) and found.test_images.shape == (3, 4, 3)
    assert found.train_images.dtype is fastdl.float32 and found.test_labels.dtype is fastdl.int64
    assert 0.5 < found.train_images.max().item() <= 1 and found.source == str(tmp_path / "set")


def test_fashion_mnist_in_the_usual_places(empty, monkeypatch):
    monkeypatch.setattr(datasets, "FASHION_MNIST_DEBIAN", empty / "debian")
    monkeypatch.setattr(datasets, "FASHION_MNIST_URL", "http://127.0.0.1:9/")
    with pytest.raises(OSError, match=r"could not be fetched .* apt install dataset-fashion-mnist"):
        datasets.fashion_mnist()
    for place, count in ((empty / "debian", 5), (empty / "cache/fastdl/fashion-mnist", 6), (empty / "mine", 7)):
        write_set(place, count=count)
        monkeypatch.setenv("FASTDL_DATA", str(empty / "mine"))
        found = datasets.fashion_mnist()
        assert len(found.train_labels) == count and found.source == str(place)


def test_a_download_of_images_is_checked_and_kept(empty, server, monkeypatch):
    server.body = gzip.compress(idx(np.arange(3, dtype=np.uint8)))
    digest = hashlib.md5(server.body).hexdigest()
    monkeypatch.setattr(datasets, "FASHION_MNIST_DEBIAN", empty / "debian")
    monkeypatch.setattr(datasets, "FASHION_MNIST_URL", f"http://127.0.0.1:{server.server_port}/")
    with pytest.raises(OSError, match=r"md5 of the \d+ bytes received is .*, not 8d4fb7e6"):
        datasets.fashion_mnist()
    assert not (empty / "cache").exists()
    monkeypatch.setattr(datasets, "FASHION_MNIST_MD5", dict.fromkeys(datasets.FASHION_MNIST_MD5, digest))
    with pytest.raises(ValueError, match=r"expected bytes \(N, h, w\)"):  # fetched, but each file is a row of labels
        datasets.fashion_mnist()
    assert server.asked == 5 and len(list((empty / "cache/fastdl/fashion-mnist").iterdir())) == 4


def test_files_that_do_not_belong_together(tmp_path):
    folder = write_set(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere: expected the files train-images"):
        datasets.fashion_mnist(tmp_path / "nowhere")
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx(np.arange(4, dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"t10k-images.* \(3, 4, 3\) and \(4,\) in .*t10k-labels"):
        datasets.fashion_mnist(folder)
    labels.write_bytes(idx(np.array([1, 10, 0], np.uint8)))
    with pytest.raises(ValueError, match=r"t10k-labels.*: expected classes 0 to 9, got 0 to 10"):
        datasets.fashion_mnist(folder)


def test_digits():
    pytest.importorskip("sklearn")
    found = datasets.digits()
    assert found.train_images.shape == (1438, 8, 8) and found.test_labels.shape == (359,)
    assert found.train_images.min().item() == 0 and found.test_images.max().item() == 1
    assert sorted(set(found.test_labels.tolist())) == list(range(10))
