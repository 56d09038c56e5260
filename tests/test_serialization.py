"""save and load: what comes back, what stays whole when something fails, and what damaged files say."""

import io
import json
import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections import ChainMap, Counter, OrderedDict, namedtuple

import numpy as np
import pytest
import safetensors.numpy

import fastdl
from fastdl import nn, serialization
from fastdl.serialization import CheckpointError, CheckpointNotFoundError, load_tensors

DTYPES = [fastdl.float32, fastdl.float64, fastdl.int64, fastdl.int32, fastdl.int16, fastdl.int8, fastdl.uint8, fastdl.bool]  # noqa: E501


def there_and_back(obj):
    file = io.BytesIO()
    fastdl.save(obj, file)
    return fastdl.load(io.BytesIO(file.getvalue()))


def same(a, b):
    """Equality of nested objects with types, order of keys, and tensors bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, fastdl.Tensor):
        x, y = a.detach().numpy(), b.detach().numpy()
        return a.requires_grad == b.requires_grad and x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()  # noqa: E501
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b or (a != a and b != b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 3)], ids=str)
def test_a_tensor_of_each_type_comes_back_bit_for_bit(dtype, shape):
    values = np.random.default_rng(0).integers(0, 100, shape)
    tensor = fastdl.tensor(values, dtype=dtype)
    back = there_and_back(tensor)
    assert same(tensor, back)
    back.zero_()  # writable


def test_special_float_values_come_back_bit_for_bit():
    tensor = fastdl.tensor(np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32))
    assert same(tensor, there_and_back(tensor))


def test_nested_structure_comes_back_with_its_types():
    obj = {
        "list": [1, -2.5, None, True, "text", "日本", "\ud800", 2**80],
        "tuple": (1, (2,), ()),
        "floats": [float("inf"), float("-inf"), float("nan"), -0.0, 1e-310],
        "keys": {0: "a", None: "b", (1, "x"): "c", True: 1, 2.5: 2},
        "dollar": {"$": "tensor", "t": 1},
        "ordered": OrderedDict([("b", 1), ("a", fastdl.ones(2))]),
        "counter": Counter("abca"),
        "sets": [{1, 2}, frozenset({"a"}), set()],
        "bytes": b"\x00\xff",
        "types": [fastdl.float64, fastdl.bool, fastdl.Size([2, 3]), fastdl.device("cpu")],
        "numpy": [np.arange(3), np.float32(1.5), np.bool_(True), np.zeros((2, 0))],
        "": fastdl.ones(1),
        "__metadata__": fastdl.ones(2),
        "a.b": fastdl.ones(3),
        "a": {"b": fastdl.ones(4)},
        "leaf": fastdl.ones(2, requires_grad=True),
        "parameter": nn.Parameter(fastdl.ones(2)),
        "frozen": nn.Parameter(fastdl.ones(2), requires_grad=False),
    }
    assert same(obj, there_and_back(obj))


def test_state_dicts_of_module_and_optimizer_come_back():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer_state = {
        "state": {0: {"step": fastdl.tensor(3.0), "exp_avg": fastdl.ones(4, 3)}, 1: {"step": 2}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1]}],
    }
    obj = {"net": net.state_dict(), "optimizer": optimizer_state, "epoch": 7}
    back = there_and_back(obj)
    assert same(obj, back)
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    other.load_state_dict(back["net"])
    assert same(net.state_dict(), other.state_dict())


def test_tensors_that_share_memory_share_it_again_and_are_stored_once():
    x = fastdl.tensor(np.arange(12.0, dtype=np.float32)).reshape(3, 4)
    file = io.BytesIO()
    fastdl.save({"x": x, "again": x, "t": x.t(), "row": x[1], "block": x[1:, 1:3]}, file)
    data = file.getvalue()
    assert len(data) == 8 + int.from_bytes(data[:8], "little") + 12 * 4
    assert load_tensors(io.BytesIO(data))["x"].shape == (3, 4)  # the whole one keeps its shape for other readers
    back = fastdl.load(io.BytesIO(data))
    assert same(back["t"], x.t()) and same(back["row"], x[1]) and same(back["block"], x[1:, 1:3])
    back["x"][1, 1] = 99
    assert back["again"][1, 1] == back["t"][1, 1] == back["row"][1] == back["block"][0, 0] == 99


def test_neighbouring_columns_share_memory_again():
    x = fastdl.tensor(np.arange(12.0)).reshape(3, 4)
    left, right = there_and_back([x[:, 0:3], x[:, 1:4]])
    assert left.tolist() == x[:, 0:3].tolist() and right.tolist() == x[:, 1:4].tolist()
    left[0, 1] = -1
    assert right[0, 0] == -1


def test_a_view_alone_is_stored_without_the_rest_of_its_base():
    base = fastdl.zeros(1000, 1000)
    for view in (base[3], base[:, 3], base[::2, :2].t()):
        file = io.BytesIO()
        fastdl.save(view, file)
        assert len(file.getvalue()) < 10_000
        assert same(fastdl.load(io.BytesIO(file.getvalue())), view)


def test_file_is_the_same_each_time_and_readable_by_the_library(tmp_path):
    obj = {"w": fastdl.ones(2, 3), "n": fastdl.arange(3), "more": [1, 2]}
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        fastdl.save(obj, path)
    file = io.BytesIO()
    fastdl.save(obj, file)
    assert paths[0].read_bytes() == paths[1].read_bytes() == file.getvalue()
    arrays = safetensors.numpy.load_file(paths[0])
    assert sorted(arrays) == ["n", "w"] and arrays["w"].tolist() == [[1, 1, 1]] * 2
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_paths_file_objects_and_pytorch_arguments(tmp_path):
    path = tmp_path / "m.pt"
    fastdl.save([1], str(path))
    assert fastdl.load(str(path), map_location="cpu", weights_only=True) == [1]
    assert fastdl.load(path, map_location=lambda storage, location: storage) == [1]
    with open(path, "rb") as file:
        assert fastdl.load(file) == [1]
    with pytest.raises(RuntimeError, match="cuda"):
        fastdl.load(path, map_location="cuda")
    with pytest.raises(TypeError, match="binary mode"):
        fastdl.load(io.StringIO("x"))


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"a": [1, lambda: 0]}, r"obj\['a'\]\[1\]: builtins.function is not data"),
        (nn.Linear(1, 1), r"obj: fastdl.nn.linear.Linear is not data; save its state_dict\(\)"),
        ([ChainMap()], r"obj\[0\]: collections.ChainMap is not data; save dict"),
        ([namedtuple("P", "x")(1)], "convert it to a plain tuple"),
        ([1j], "builtins.complex is not data"),
        ([np.array(["a"])], "a NumPy array of the type <U1"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, obj, text):
    path = tmp_path / "m"
    fastdl.save(1, path)
    with pytest.raises(TypeError, match=text):
        fastdl.save(obj, path)
    assert fastdl.load(path) == 1 and os.listdir(tmp_path) == ["m"]


def test_object_that_contains_itself_is_refused():
    loop = []
    loop.append([loop])
    with pytest.raises(ValueError, match="contains itself"):
        fastdl.save(loop, io.BytesIO())
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        fastdl.save(deep, io.BytesIO())
    twice = [1]
    assert there_and_back([twice, twice]) == [[1], [1]]


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fastdl.save(1, tmp_path / "no" / "m")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fastdl.save(1, tmp_path)
    fastdl.save(1, os.devnull)
    assert not stat.S_ISREG(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()], ids=repr)  # noqa: E501
@pytest.mark.parametrize("step", ["save_file", "checksum", "fsync", "replace"])
def test_failure_at_any_step_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, step, error):
    path = tmp_path / "m"
    fastdl.save({"w": fastdl.ones(3)}, path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        if step == "save_file":
            with open(args[1], "wb") as file:
                file.write(b"half")
        raise error

    owner, name = {
        "save_file": (safetensors.numpy, "save_file"),
        "checksum": (serialization, "_checksum"),
        "fsync": (os, "fsync"),
        "replace": (os, "replace"),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(type(error)):
            fastdl.save({"w": fastdl.zeros(3)}, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m"]
    fastdl.save({"w": fastdl.zeros(3)}, path)
    assert fastdl.load(path)["w"].tolist() == [0, 0, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_process_leaves_the_old_or_the_new_file(tmp_path):
    path = tmp_path / "m"
    fastdl.save({"n": 0, "w": fastdl.zeros(50_000)}, path)
    code = f"""
        import fastdl
        n = 0
        while True:
            n += 1
            fastdl.save({{"n": n, "w": fastdl.full((50_000,), float(n))}}, {str(path)!r})
            print(n, flush=True)
    """
    rng = random.Random(0)
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        back = fastdl.load(path)
        assert (back["w"] == back["n"]).all() and back["n"] >= 1


def test_tensors_changed_by_another_thread_do_not_spoil_the_file(tmp_path):
    w = fastdl.zeros(300_000)
    stop = threading.Event()

    def change():
        array = w.numpy()
        while not stop.is_set():
            array += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            fastdl.save(w, tmp_path / "m")
            assert fastdl.load(tmp_path / "m").shape == (300_000,)
    finally:
        stop.set()
        thread.join()


# Damaged files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint():
    file = io.BytesIO()
    fastdl.save({"w": fastdl.arange(20, dtype=fastdl.float32), "n": [1, 2.5], "v": fastdl.zeros(2, 2)}, file)
    return file.getvalue()


def test_every_truncation_is_an_error_that_counts_bytes(tmp_path, checkpoint):
    for n in range(len(checkpoint)):
        with pytest.raises(CheckpointError) as error:
            fastdl.load(io.BytesIO(checkpoint[:n]))
        if n == 0:
            assert "is empty (0 bytes)" in str(error.value)
        elif n > 8 + int.from_bytes(checkpoint[:8], "little"):
            assert f"is truncated: expected {len(checkpoint)} bytes, the file has {n}, {len(checkpoint) - n} are missing" in str(  # noqa: E501
                error.value
            )
    path = tmp_path / "short.fdl"
    path.write_bytes(checkpoint[:-3])
    with pytest.raises(CheckpointError, match=r"short.fdl' is truncated: expected \d+ bytes.* 3 are missing"):
        fastdl.load(path)
    path.write_bytes(checkpoint + b"12")
    with pytest.raises(CheckpointError, match="2 too many"):
        fastdl.load(path)


def test_every_changed_byte_is_an_error(checkpoint):
    rng = random.Random(1)
    for position in range(len(checkpoint)):
        damaged = bytearray(checkpoint)
        damaged[position] ^= rng.randrange(1, 256)
        with pytest.raises(CheckpointError):
            fastdl.load(io.BytesIO(bytes(damaged)))


def test_random_damage_is_an_error(checkpoint):
    rng = random.Random(2)
    for _ in range(2000):
        damaged = bytearray(checkpoint)
        for _ in range(rng.randrange(1, 6)):
            start = rng.randrange(len(damaged))
            length = rng.randrange(0, 20)
            damaged[start : start + length] = rng.randbytes(rng.choice([length, length, rng.randrange(20)]))
        if damaged != checkpoint:
            with pytest.raises(CheckpointError):
                fastdl.load(io.BytesIO(bytes(damaged)))


def test_other_formats_are_recognised(tmp_path):
    path = tmp_path / "m.pt"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("member", b"")
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content, text in [
        (b"<!DOCTYPE html><html>404</html>", "is an HTML or XML page"),
        (b"\n <html>", "is an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer"),
        (archive.getvalue(), r"is a zip archive, but not one that torch.save has written"),
        (pickle.dumps({"a": 1}), "is a pickle, which fastdl does not load because pickles can run code"),
        (array.getvalue(), "is a NumPy .npy file"),
        (b"hello, this is no checkpoint", "is not a fastdl checkpoint: it begins with b'hello, this "),
        (b"abc", "has only 3 bytes"),
        ((50).to_bytes(8, "little") + b"{" + b"x" * 49, "has a damaged header"),
        ((10**18).to_bytes(8, "little") + b"{}", r"is truncated: its header alone takes 1000000000000000008 bytes"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=text) as error:
            fastdl.load(path)
        assert str(path) in str(error.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"there is no file .*m.fdl"):
        fastdl.load(tmp_path / "m.fdl")
    with pytest.raises(FileNotFoundError):
        fastdl.load(tmp_path / "m.fdl")
    with pytest.raises(CheckpointError, match="is a folder"):
        fastdl.load(tmp_path)


def test_safetensors_file_of_others_has_no_structure_but_tensors(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"w": np.ones((2, 2), np.float32), "b": np.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"with 2 tensors, but without fastdl's structure.*load_tensors"):
        fastdl.load(path)
    assert {name: t.shape for name, t in load_tensors(path).items()} == {"w": (2, 2), "b": (1,)}
    safetensors.numpy.save_file({"w": np.ones(2, np.uint64)}, path)
    with pytest.raises(CheckpointError, match="tensor 'w' of the type U64"):
        load_tensors(path)


def test_newer_version_is_named(checkpoint):
    newer = checkpoint.replace(b'\\"version\\":1', b'\\"version\\":9')
    with pytest.raises(CheckpointError, match="has the format version 9, this fastdl reads version 1"):
        fastdl.load(io.BytesIO(newer))


@pytest.mark.parametrize(
    "tree",
    [
        {"$": "tensor", "t": "w", "offset": 5, "shape": [20], "stride": [1]},
        {"$": "tensor", "t": "w", "offset": -1, "shape": [2], "stride": [1]},
        {"$": "tensor", "t": "w", "offset": 0, "shape": [2], "stride": [-1]},
        {"$": "tensor", "t": "w", "offset": 0, "shape": [2**62, 4], "stride": [2**62, 1]},
        {"$": "tensor", "t": "w", "offset": 0, "shape": [1] * 50, "stride": [1] * 50},
        {"$": "tensor", "t": "nothing"},
        {"$": "tensor"},
        {"$": "tuple"},
        {"$": "dict", "v": [[{"$": "dict", "v": []}, 1]]},
        {"$": "os.system", "v": "true"},
        {"$": "bytes", "v": "*"},
        {"$": ["tensor"], "v": 1},
    ],
    ids=str,
)
def test_nonsense_with_a_right_checksum_is_an_error(tree):
    text = json.dumps({"version": 1, "crc32": "00000000", "object": tree}, separators=(",", ":"))
    data = serialization._to_bytes({"w": np.zeros(20, np.float32)}, {"fastdl": text})
    with pytest.raises(CheckpointError, match="has a damaged structure"):
        fastdl.load(io.BytesIO(bytes(data)))


def test_import_of_fastdl_does_not_import_safetensors():
    code = "import sys, fastdl; sys.exit('safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
