"""Files of torch.save: made here with zip and pickle opcodes by hand, and with torch where it is installed."""

from __future__ import annotations

import io
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.serialization import CheckpointError
from tests.process import DEEP

KINDS = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage",
    "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage", "bool": "BoolStorage",
}  # fmt: skip


# A writer as torch's, without torch ---------------------------------------------------------------------------------


class Global:
    def __init__(self, module, name):
        self.text = f"c{module}\n{name}\n".encode()


class Call:
    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state


class Storage:
    def __init__(self, kind, key, data, count):
        self.kind, self.key, self.data, self.count = kind, key, data, count


V2 = Global("torch._utils", "_rebuild_tensor_v2")


def storage(array, key="0", kind=None):
    return Storage(Global("torch", kind or KINDS[str(array.dtype)]), key, array.tobytes(), array.size)


def tensor(store, shape, stride, offset=0, grad=False):
    return Call(V2, store, offset, tuple(shape), tuple(stride), grad, Call(Global("collections", "OrderedDict")))


def whole(array, key="0"):
    return tensor(storage(array, key), array.shape, [s // array.itemsize for s in array.strides])


def pickled(obj, view=False) -> bytes:
    """Protocol 2, without a memo but for what is used twice."""
    if isinstance(obj, Global):
        return obj.text
    if isinstance(obj, Storage):
        parts = ("storage", obj.kind, obj.key, "cpu", obj.count)
        return pickled((*parts, None) if view else parts, view) + b"Q"
    if isinstance(obj, Call):
        state = b"" if obj.state is None else pickled(obj.state, view) + b"b"
        return pickled(obj.function, view) + pickled(obj.args, view) + b"R" + state
    if type(obj) is tuple:
        return b"(" + b"".join(pickled(x, view) for x in obj) + b"t"
    if type(obj) is list:
        return b"](" + b"".join(pickled(x, view) for x in obj) + b"e"
    if type(obj) is dict:
        return b"}(" + b"".join(pickled(x, view) for pair in obj.items() for x in pair) + b"u"
    return pickle.dumps(obj, 2)[2:-1]


def storages(obj, found=None) -> dict[str, Storage]:
    found = {} if found is None else found
    if isinstance(obj, Storage):
        found.setdefault(obj.key, obj)
    elif isinstance(obj, Call):
        storages(obj.args, found)
    elif isinstance(obj, (tuple, list)):
        for part in obj:
            storages(part, found)
    elif isinstance(obj, dict):
        storages(list(obj.values()), found)
    return found


def zipped(obj, *, raw=None, order=b"little", compression=zipfile.ZIP_STORED, extra=()) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02" + pickled(obj) + b"." if raw is None else raw)
        archive.writestr("model/byteorder", order)
        for store in storages(obj).values():
            archive.writestr(f"model/data/{store.key}", store.data)
        archive.writestr("model/version", b"3\n")
        for name in extra:
            archive.writestr(name, b"")
    return file.getvalue()


def legacy(obj, little=True, keys=None) -> bytes:
    found = storages(obj)
    out = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    out += pickle.dumps({"protocol_version": 1001, "little_endian": little}, 2)
    out += b"\x80\x02" + pickled(obj, True) + b"." + pickle.dumps(sorted(found) if keys is None else keys, 2)
    return out + b"".join(struct.pack("<q", found[key].count) + found[key].data for key in sorted(found))


def load(data: bytes):
    return fastdl.load(io.BytesIO(data), map_location="cpu", weights_only=True)


WRITERS = [zipped, legacy]


# What comes back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", KINDS)
def test_tensors_of_each_type_and_shape(writer, name):
    for k, shape in enumerate([(), (1,), (0,), (3, 5), (2, 0, 3), (2, 3, 4)]):
        array = (np.random.default_rng(k).integers(0, 100, shape) % 7).astype(name)
        found = load(writer({"x": whole(array)}))["x"]
        assert str(found.dtype) == f"torch.{name}" and tuple(found.shape) == shape
        assert found.numpy().tobytes() == array.tobytes()
        found.zero_()  # writable


@pytest.mark.parametrize("writer", WRITERS)
def test_strides_offsets_and_shared_storages(writer):
    base = np.arange(24, dtype=np.float32)
    store = storage(base)
    parts = {"all": tensor(store, (4, 6), (6, 1)), "T": tensor(store, (6, 4), (1, 6)),
             "part": tensor(store, (3, 2), (6, 3), offset=7), "spread": tensor(store, (3, 4), (0, 1), offset=4),
             "empty": tensor(store, (0, 3), (3, 1), offset=24)}  # fmt: skip
    found = load(writer(parts))
    grid = base.reshape(4, 6)
    for name, expected in {"all": grid, "T": grid.T, "part": grid[1:, 1::3], "spread": np.tile(base[4:8], (3, 1)),
                           "empty": np.empty((0, 3))}.items():  # fmt: skip
        np.testing.assert_array_equal(found[name].numpy(), expected)
    found["all"].mul_(2)
    np.testing.assert_array_equal(found["part"].numpy(), 2 * grid[1:, 1::3])
    np.testing.assert_array_equal(found["T"].numpy(), 2 * grid.T)
    with pytest.raises(RuntimeError, match="single memory location"):
        found["spread"].add_(1)


@pytest.mark.parametrize("writer", WRITERS)
def test_bfloat16(writer):
    values = np.array([1.5, -2.0, 3.0e38, np.inf, 0.0, 1e-40], np.float32)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    store = Storage(Global("torch", "BFloat16Storage"), "0", upper.tobytes(), upper.size)
    found = load(writer([tensor(store, (2, 3), (3, 1))]))[0]
    assert found.dtype is fastdl.bfloat16
    expected = (upper.astype(np.uint32) << 16).view(np.float32).reshape(2, 3)
    np.testing.assert_array_equal(found.float().numpy(), expected)


def test_numbers_strings_and_containers():
    ordered = Global("collections", "OrderedDict")
    obj = {
        "n": [1, -1, 255, 65535, 2**31 - 1, -(2**70), 1.5, float("inf"), True, False, None],
        "text": "Zürich \U0001f600", 5: (), (1, "a"): ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "size": Call(Global("torch", "Size"), (2, 3)), "dtype": Global("torch", "float16"),
        "device": Call(Global("torch", "device"), "cuda", 0),
        "state": Call(ordered, [("a", 1), ("b", 2)], state={"_metadata": Call(ordered)}),
        "counter": Call(Global("collections", "Counter"), {3: 2}),
        "default": Call(Global("collections", "defaultdict"), Global("builtins", "list")),
        "set": Call(Global("__builtin__", "set"), [1, 2]), "bytes": Call(Global("_codecs", "encode"), "a\xff", "latin1"),
    }  # fmt: skip
    found = load(zipped(obj))
    assert found["n"] == obj["n"] and [type(x) for x in found["n"]] == [type(x) for x in obj["n"]]
    assert found["text"] == obj["text"] and found[5] == () and found[1, "a"] == obj[1, "a"]
    assert type(found["size"]) is fastdl.Size and found["size"] == (2, 3)
    assert found["dtype"] is fastdl.float16 and found["device"] == fastdl.device("cpu")
    assert type(found["state"]) is OrderedDict and found["state"] == {"a": 1, "b": 2}
    assert type(found["counter"]) is Counter and found["counter"] == {3: 2}
    assert type(found["default"]) is defaultdict and found["default"]["x"] == []
    assert found["set"] == {1, 2} and found["bytes"] == b"a\xff"


def test_numpy_values():
    for protocol in (2, 3, 4, 5):
        obj = {"a": np.arange(6).reshape(2, 3), "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
               "s": np.float64(2.5), "b": bytearray(b"xy"), "t": frozenset([1]), "u": {2}}  # fmt: skip
        found = load(zipped(None, raw=pickle.dumps(obj, protocol)))
        for name in "af":
            np.testing.assert_array_equal(found[name], obj[name])
            assert found[name].dtype == obj[name].dtype
            found[name][0, 0] = 9
        assert (found["s"], found["b"], found["t"], found["u"]) == (2.5, b"xy", {1}, {2})
    with pytest.raises(CheckpointError, match="NumPy values of the type"):
        load(zipped(None, raw=pickle.dumps(np.array(["a"]), 2)))
    with pytest.raises(CheckpointError, match=r"byte order|type"):
        load(zipped(None, raw=pickle.dumps(np.arange(3, dtype=">i4"), 2)))


def test_parameters_gradients_and_objects_that_occur_twice():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), whole(array), True,
                     Call(Global("collections", "OrderedDict")))  # fmt: skip
    found = load(zipped([parameter, tensor(storage(array), (6,), (1,), grad=True)]))
    assert type(found[0]) is nn.Parameter and found[0].requires_grad and found[0].is_leaf
    assert found[1].requires_grad and type(found[1]) is fastdl.Tensor
    # BINPUT and BINGET: the same list twice
    raw = b"\x80\x02](](" + pickled(whole(array)) + b"eq\x01h\x01e."
    raw = raw.replace(b"e" + b"q\x01", b"eq\x01")
    twice = load(zipped([whole(array)], raw=raw))
    assert twice[0] is twice[1] and twice[0][0].shape == (2, 3)


def test_a_state_dict_goes_into_a_module(tmp_path):
    w, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    path = tmp_path / "linear.pt"
    path.write_bytes(zipped(Call(Global("collections", "OrderedDict"), [("weight", whole(w)), ("bias", whole(b, "1"))])))
    net = nn.Linear(3, 2)
    net.load_state_dict(fastdl.load(path))
    np.testing.assert_array_equal(net.weight.detach().numpy(), w)


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [("os.system", "needs 'os.system', which is not among the names"), ("builtins.eval", "builtins.eval"),
     ("builtins.getattr", "builtins.getattr"), ("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.Linear"),
     ("torch._utils._rebuild_sparse_tensor", "_rebuild_sparse_tensor"), ("torch.load", "torch.load"),
     ("torch.ComplexFloatStorage", "holds tensors of torch.ComplexFloatStorage, a type that fastdl does not have"),
     ("numpy.core.multiarray.fromfile", "numpy.core.multiarray.fromfile"), ("torch.Tensor", "calls 'torch.Tensor'"),
     ("torch.FloatStorage", "calls 'torch.FloatStorage'")],
)  # fmt: skip
@pytest.mark.parametrize("writer", WRITERS)
def test_other_globals_are_named_and_nothing_is_imported(writer, name, text, tmp_path, monkeypatch):
    module, _, function = name.rpartition(".")
    monkeypatch.setattr("os.system", lambda command: pytest.fail("executed"))
    with pytest.raises(CheckpointError, match=text):
        load(writer({"a": Call(Global(module, function), "touch x")}))


def test_an_unknown_module_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"needs 'evil_module\.f'"):
        load(zipped(Global("evil_module", "f")))
    with pytest.raises(CheckpointError, match=r"needs 'evil_module\.f'"):  # STACK_GLOBAL
        load(zipped(None, raw=b"\x80\x04\x8c\x0bevil_module\x8c\x01f\x93."))


def one(shape=(2, 3), stride=(3, 1), offset=0, **options):
    return [tensor(storage(np.arange(6, dtype=np.float32), **options), shape, stride, offset)]


@pytest.mark.parametrize(
    ("data", "text"),
    [(zipped(one(), order=b"big"), "big-endian"), (legacy(one(), little=False), "big-endian"),
     (zipped(one((2, 4))), r"reaches element 6 of a storage of 6"), (zipped(one(offset=1)), "reaches element 6"),
     (zipped(one(stride=(-3, 1))), "damaged tensor"), (zipped(one((2, -3))), "damaged tensor"),
     (zipped(one(offset=-1)), "damaged tensor"), (zipped(one((2, 3, 1))), "damaged tensor"),
     (zipped(one((10**30, 1))), "reaches element"), (zipped(one((1.5, 1))), "damaged tensor"),
     (zipped(one((1,) * 40, (1,) * 40)), "40 dimensions"), (zipped(one(kind="DoubleStorage")), "24 bytes .* 48 are expected"),
     (zipped(one(), compression=zipfile.ZIP_DEFLATED), "compressed"), (zipped(one(), extra=["model/constants.pkl"]), "TorchScript"),
     (zipped(one(), extra=["b/data.pkl"]), "no data.pkl"), (zipped(one())[:-30], "truncated or damaged: a zip archive"),
     (legacy(one())[:-5], "truncated: at least 5 bytes"), (legacy(one(), keys=["9"]), "list of storages"),
     (zipped(one(), raw=b"\x80\x02]."), None), (zipped(one(), raw=b"\x80\x02]"), "damaged"),
     (zipped(one(), raw=b"\x80\x02h\x05."), "damaged"), (zipped(one(), raw=b"\x80\x02e."), "damaged"),
     (zipped(one(), raw=b"\x80\x02cos\nsystem\n(S'x'\ntR."), "os.system"), (zipped(one(), raw=b"\x80\x02Pabc\n."), "PERSID"),
     (zipped(one(), raw=b"\x80\x02(ios\nsystem\n."), "INST"), (zipped(one(), raw=b"\x80\x02" + b"(" * 9 + b"."), "damaged"),
     (zipped(one(), raw=b"\x80\x02" + b"](" * 5000 + b"e" * 5000 + b"."), "nested more than"),
     (zipped(one(), raw=b"\x80\x02X\xff\xff\xff\x7fabc."), "damaged"), (zipped([Global("torch", "complex64")]), "not data")],
)  # fmt: skip
def test_damaged_files_say_what_is_wrong(data, text):
    if text is None:
        assert load(data) == []
        return
    with pytest.raises(CheckpointError, match=text):
        load(data)


def test_files_cannot_ask_for_much_memory():
    """Repeated copies, claimed sizes, and expansion by references."""
    text = pickled("x" * 100_000)
    copies = b"\x80\x02](" + text + b"q\x01" + b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R" * 20_000 + b"e."
    doubling = b"\x80\x02]()q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(99)) + b"e."
    storage_of = Storage(Global("torch", "DoubleStorage"), "0", b"12345678", 10**12)
    tracemalloc.start()
    begin = time.perf_counter()
    assert len(load(zipped(None, raw=doubling))) == 100
    for data, text in [(zipped(None, raw=copies), "asks for much more memory"),
                       (zipped([tensor(storage_of, (1,), (1,))]), "8 bytes .* where 8000000000000 are expected"),
                       (legacy([tensor(storage_of, (1,), (1,))]), "its tensors take 8000000000000 bytes")]:  # fmt: skip
        with pytest.raises(CheckpointError, match=text):
            load(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6 and time.perf_counter() - begin < 20


@pytest.mark.parametrize("writer", WRITERS)
def test_random_damage_never_does_more_than_raise(writer):
    ordered = Call(Global("collections", "OrderedDict"), [("w", whole(np.arange(6.0))), ("b", whole(np.ones(3), "1"))])
    good = writer({"model": ordered, "epoch": 3, "list": [1.5, "text", (1, None)]})
    draw = random.Random(0)
    for _ in range(300 * DEEP):
        data = bytearray(good)
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data))]
        for _ in range(draw.choice([1, 1, 3, 20])):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            load(bytes(data))
        except CheckpointError as error:
            assert str(error).startswith("[load]")


# With torch ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def saved(torch, obj, **options) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file, **options)
    return file.getvalue()


OPTIONS = [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}, {"pickle_protocol": 5}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_torch_saves(torch, options):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    net(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    x = torch.arange(12.0).reshape(3, 4)
    types = [torch.float16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
    obj = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "views": [x, x.T, x[1:, ::2]], "half": x.half(),
           "types": [x.to(t) for t in types], "parameter": net[0].weight, "size": x.shape, "best": np.float64(0.5),
           "expanded": torch.ones(3).expand(2, 3), "scalar": torch.tensor(3), "epoch": 7,
           "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]).state_dict()}  # fmt: skip
    found = load(saved(torch, obj, **options))

    def check(ours, theirs):
        if isinstance(theirs, torch.Tensor):
            assert str(ours.dtype) == str(theirs.dtype) and ours.stride() == theirs.stride()
            assert ours.requires_grad == theirs.requires_grad
            np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())
        elif isinstance(theirs, dict):
            assert list(ours) == list(theirs)
            for key in theirs:
                check(ours[key], theirs[key])
        elif isinstance(theirs, (list, tuple)):
            assert len(ours) == len(theirs)
            for a, b in zip(ours, theirs):
                check(a, b)
        else:
            assert ours == theirs

    check(found, obj)
    found["views"][0].zero_()
    assert not found["views"][1].any() and not found["views"][2].any()


def test_a_whole_module_is_refused(torch):
    with pytest.raises(CheckpointError, match=r"needs 'torch\.nn\.modules\.linear\.Linear'.*save a state_dict"):
        load(saved(torch, torch.nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("name", "args", "options", "inputs"),
    [("LSTM", (3, 5), {"num_layers": 2, "bidirectional": True}, [(4, 2, 3)]), ("GRU", (3, 5), {}, [(4, 2, 3)]),
     ("RNN", (3, 5), {"batch_first": True}, [(4, 2, 3)]), ("LayerNorm", (6,), {}, [(2, 6)]),
     ("MultiheadAttention", (8, 2), {}, [(5, 2, 8)] * 3), ("Conv2d", (2, 3, 3), {}, [(1, 2, 5, 6)]),
     ("TransformerEncoderLayer", (8, 2, 12), {"dropout": 0.0}, [(5, 2, 8)]), ("BatchNorm1d", (4,), {}, [(6, 4)]),
     ("Transformer", (8, 2, 1, 1, 12), {"dropout": 0.0, "batch_first": True}, [(2, 5, 8), (2, 3, 8)])],
)  # fmt: skip
def test_state_dicts_of_torchs_layers_give_equal_outputs(torch, name, args, options, inputs):
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(*args, **options)
    ours = getattr(nn, name)(*args, **options)
    ours.load_state_dict(load(saved(torch, theirs.state_dict())))
    values = [np.random.default_rng(i).standard_normal(shape).astype(np.float32) for i, shape in enumerate(inputs)]
    a = ours(*[fastdl.tensor(v) for v in values])
    b = theirs(*[torch.tensor(v) for v in values])
    a, b = (x[0] if isinstance(x, tuple) else x for x in (a, b))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["Adam", "SGD", "AdamW", "RMSprop", "Adagrad"])
def test_training_goes_on_from_torchs_optimizer(torch, name):
    options = {"lr": 0.05, **({"momentum": 0.9} if name == "SGD" else {})}
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    a, b = getattr(torch.optim, name)(theirs.parameters(), **options), getattr(fastdl.optim, name)(ours.parameters(), **options)
    x = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)

    def step(lib, net, optimizer):
        optimizer.zero_grad()
        (net(lib.tensor(x)) ** 2).mean().backward()
        optimizer.step()

    for _ in range(3):
        step(torch, theirs, a)
    both = load(saved(torch, {"net": theirs.state_dict(), "optimizer": a.state_dict()}))
    ours.load_state_dict(both["net"])
    b.load_state_dict(both["optimizer"])
    for _ in range(3):
        step(torch, theirs, a)
        step(fastdl, ours, b)
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-5, atol=1e-6)
