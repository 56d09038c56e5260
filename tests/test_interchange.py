"""Memory shared with NumPy, PyTorch and whoever knows DLPack or Python's buffers, both ways."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import fastdl
from fastdl import nn

NAMES = ["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def some(name, shape=(3, 4)):
    return fastdl.tensor((np.arange(int(np.prod(shape))).reshape(shape) % 5).astype(name))


@pytest.mark.parametrize("name", NAMES)
def test_numpy_shares_memory_through_each_protocol(name):
    t = some(name).t()[1:]
    for array in (np.asarray(t), np.from_dlpack(t), np.asarray(memoryview(t)), np.array(t, copy=False), t.numpy()):
        assert array.dtype == name and array.shape == (3, 3) and array.strides == t.numpy().strides
        assert array.ctypes.data == t.data_ptr()
    assert t.__dlpack_device__() == (1, 0)
    np.asarray(t)[0, 0] = 1
    assert t[0, 0].item() == 1
    interface = t.__array_interface__
    assert interface["data"][0] == t.data_ptr() and interface["shape"] == (3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_from_dlpack_shares_numpys_memory(name):
    array = np.arange(12).astype(name).reshape(3, 4).T
    t = fastdl.from_dlpack(array)
    assert str(t.dtype) == f"torch.{name}" and t.data_ptr() == array.ctypes.data and tuple(t.stride()) == (1, 4)
    t[0, 0] = 1
    assert array[0, 0] == 1


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (5,)], ids=str)
def test_shapes_at_the_edges(shape):
    t = some("float32", shape)
    for array in (np.asarray(t), np.from_dlpack(t), np.asarray(memoryview(t))):
        assert array.shape == shape and array.tolist() == t.tolist()
    assert fastdl.from_dlpack(np.ones(shape)).shape == shape


def test_memory_lives_as_long_as_a_view():
    fastdl.zeros(1)
    for export in (np.asarray, np.from_dlpack, memoryview, lambda t: t.__dlpack__()):
        gc.collect()
        before = fastdl.memory.stats()["live_bytes"]
        t = fastdl.arange(1000, dtype=fastdl.float32)
        view = export(t)
        del t
        gc.collect()
        for _ in range(5):
            fastdl.full((1000,), -1.0)  # would take the block
        assert fastdl.memory.stats()["live_bytes"] - before == 4000
        if isinstance(view, (np.ndarray, memoryview)):
            assert view[999] == 999.0
        del view
        gc.collect()
        assert fastdl.memory.stats()["live_bytes"] == before


def test_foreign_memory_lives_as_long_as_the_tensor():
    class Array(np.ndarray):
        pass

    array = np.arange(1000.0).view(Array)
    gone = weakref.ref(array)
    t = fastdl.from_dlpack(array)[10:]
    del array
    gc.collect()
    assert gone() is not None and t[0].item() == 10
    del t
    gc.collect()
    assert gone() is None


def test_tensors_with_history_are_not_exported():
    t = fastdl.ones(3, requires_grad=True)
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(t)
    with pytest.raises(BufferError, match="detach"):
        memoryview(t)
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(t)
    assert not hasattr(t, "__array_interface__")
    assert np.asarray(t.detach()).sum() == 3


def test_array_without_a_copy_or_an_error():
    t = fastdl.ones(3)
    assert np.array(t).ctypes.data != t.data_ptr()
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        t.__array__(np.float64, copy=False)


def test_what_cannot_be_taken():
    with pytest.raises(TypeError, match=r"expected an object with __dlpack__, got list"):
        fastdl.from_dlpack([1, 2])
    with pytest.raises(TypeError, match="uint16"):
        fastdl.from_dlpack(np.ones(2, np.uint16))
    t = fastdl.ones(2)
    capsule = fastdl.utils.dlpack.to_dlpack(t)
    assert fastdl.utils.dlpack.from_dlpack(capsule).data_ptr() == t.data_ptr()
    assert fastdl.from_dlpack(t).data_ptr() == t.data_ptr()


def test_numpy_operands_on_either_side():
    t = fastdl.tensor([1.0, 2.0, 4.0])
    for array in (np.ones(3), np.arange(3, dtype=np.float32), np.array(2.0), np.ones((2, 3))):
        for function in (np.multiply, np.add, np.subtract, np.divide):
            operator = {"multiply": "mul", "add": "add", "subtract": "sub", "divide": "truediv"}[function.__name__]
            for a, b in ((array, t), (t, array)):
                out = getattr(__import__("operator"), operator)(a, b)
                assert type(out) is fastdl.Tensor
                with np.errstate(all="ignore"):
                    np.testing.assert_allclose(out.numpy(), function(np.asarray(a), np.asarray(b)), rtol=1e-6)
    assert (np.float64(2) * t).dtype is fastdl.float32
    w = fastdl.ones(3, requires_grad=True)
    (np.arange(3.0) * w).sum().backward()
    assert w.grad.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_torch_both_ways(torch, name):
    t = some(name)
    theirs = torch.from_dlpack(t)
    assert str(theirs.dtype) == str(t.dtype) and theirs.data_ptr() == t.data_ptr()
    assert torch.as_tensor(t).data_ptr() == t.data_ptr() or name == "bool"
    back = fastdl.from_dlpack(theirs[1:].t())
    assert back.data_ptr() == t[1:].data_ptr() and tuple(back.shape) == (4, 2)
    assert fastdl.as_tensor(theirs).data_ptr() == t.data_ptr()
    copy = fastdl.tensor(theirs)
    assert copy.dtype is t.dtype and copy.data_ptr() != t.data_ptr() and fastdl.equal(copy, t)
    back.fill_(1)
    assert (theirs[1:] == 1).all() and not (theirs[0] == 1).all()


def test_torch_keeps_the_memory_alive(torch):
    before = fastdl.memory.stats()["live_bytes"]
    theirs = torch.from_dlpack(fastdl.arange(1000, dtype=fastdl.float32))
    gc.collect()
    for _ in range(5):
        fastdl.full((1000,), -1.0)
    assert theirs.sum().item() == 499500
    assert fastdl.memory.stats()["live_bytes"] - before == 4000
    part = theirs[5:7]
    del theirs
    gc.collect()
    assert part.tolist() == [5, 6]
    del part
    gc.collect()
    assert fastdl.memory.stats()["live_bytes"] == before


def test_torch_tensors_with_history_and_of_other_types(torch):
    w = torch.ones(2, requires_grad=True, dtype=torch.float64)
    t = fastdl.tensor(w)
    assert t.dtype is fastdl.float64 and not t.requires_grad
    assert fastdl.as_tensor(w).data_ptr() == w.data_ptr()
    assert fastdl.as_tensor(w, dtype=fastdl.float32).dtype is fastdl.float32
    with pytest.raises(TypeError, match="cannot make a tensor of complex64"):
        fastdl.tensor(torch.ones(2, dtype=torch.complex64))


def test_a_state_dict_of_torch_goes_in_directly(torch):
    theirs, ours = torch.nn.Linear(3, 2), nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    assert ours.weight.tolist() == theirs.weight.tolist()
    theirs.load_state_dict({name: torch.from_dlpack(value) for name, value in ours.state_dict().items()})
