"""Containers behave as lists and dictionaries, and print and name their members as PyTorch does."""

from collections import OrderedDict

import pytest

import fastdl
from fastdl import nn


def keys(module):
    return list(module._modules)


def test_sequential_calls_in_order():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    x = fastdl.ones(2, 3)
    assert (net(x) == net[2](net[1](net[0](x)))).all()
    assert len(net) == 3 and [type(m).__name__ for m in net] == ["Linear", "ReLU", "Linear"]
    assert nn.Sequential()(x) is x


def test_sequential_indexing_and_slices():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b, c)
    assert net[-1] is c and net[0] is a and isinstance(net[1:], nn.Sequential) and keys(net[1:]) == ["1", "2"]
    net[1] = c
    assert net[1] is c
    del net[0]
    assert keys(net) == ["0", "1"] and net[0] is c
    assert net.pop(0) is c and len(net) == 1
    for index in (1, -2):
        with pytest.raises(IndexError, match=f"index {index} is out of range"):
            net[index]


def test_sequential_growing():
    net = nn.Sequential(nn.ReLU())
    tanh = nn.Tanh()
    assert net.append(tanh) is net and net[1] is tanh
    net.insert(0, nn.Sigmoid())
    net.extend([nn.ReLU(), nn.Identity()])
    net += [nn.ELU()]
    assert [type(m).__name__ for m in net] == ["Sigmoid", "ReLU", "Tanh", "ReLU", "Identity", "ELU"]
    assert keys(net) == list("012345") and len(net + nn.Sequential(nn.ReLU())) == 7
    with pytest.raises(TypeError, match="is not a Module subclass"):
        net.insert(0, 3)
    with pytest.raises(TypeError, match="is not a Module subclass"):
        nn.Sequential(3)


def test_sequential_with_names():
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 2), act=nn.ReLU()))
    net.add_module("last", nn.Linear(2, 1))
    assert keys(net) == ["first", "act", "last"] and net.first is net[0] and net[-1] is net.last
    assert list(net.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    del net[1]
    assert keys(net) == ["first", "last"]


def test_a_layer_used_twice_shares_its_weights():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    assert len(list(net.parameters())) == 2
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    net(fastdl.ones(1, 2)).sum().backward()
    net[0].weight.data[0, 0] = 100
    assert (net[0].weight.data[0] == net[2].weight.data[0]).all()


def test_module_list():
    net = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    net.append(nn.ReLU())
    net.insert(1, nn.Tanh())
    assert keys(net) == list("01234") and isinstance(net[1:3], nn.ModuleList) and len(net[1:3]) == 2
    del net[1]
    del net[-1]
    assert len(net) == 3 and all(isinstance(m, nn.Linear) for m in net) and net[1] in net and nn.ReLU() not in net
    assert repr(net) == "ModuleList(\n  (0-2): 3 x Linear(in_features=1, out_features=1, bias=True)\n)"
    with pytest.raises(NotImplementedError, match=r"Module \[ModuleList\] is missing"):
        net(1)
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_module_list_prints_runs_of_equal_layers():
    net = nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Tanh(), nn.ReLU()])
    assert repr(net) == "ModuleList(\n  (0): ReLU()\n  (1-2): 2 x Tanh()\n  (3): ReLU()\n)"


def test_module_dict():
    net = nn.ModuleDict({"a": nn.Linear(1, 1)})
    net["b"] = nn.ReLU()
    net.update([("c", nn.Tanh())])
    assert list(net) == list(net.keys()) == ["a", "b", "c"] and "b" in net and len(net) == 3
    assert isinstance(net.pop("b"), nn.ReLU) and [k for k, _ in net.items()] == ["a", "c"]
    del net["c"]
    assert list(net.state_dict()) == ["a.weight", "a.bias"] and len(net.values()) == 1
    net.clear()
    assert len(net) == 0
    with pytest.raises(KeyError):
        net["a"]


def test_parameter_list():
    net = nn.ParameterList([fastdl.zeros(2, 3), nn.Parameter(fastdl.ones(1))])
    net.append(fastdl.ones(2))
    net += ["text"]
    assert len(net) == 4 and all(isinstance(net[i], nn.Parameter) for i in range(3)) and net[-1] == "text"
    assert list(net.state_dict()) == ["0", "1", "2"] and len(list(net.parameters())) == 3
    net[0] = fastdl.ones(1)
    assert net[0].tolist() == [1] and isinstance(net[0], nn.Parameter) and len(net[1:3]) == 2
    assert (
        repr(nn.ParameterList([fastdl.zeros(2, 3), 5]))
        == "ParameterList(\n    (0): Parameter containing: [torch.float32 of size 2x3]\n    (1): Object of type: int\n)"
    )
    with pytest.raises(IndexError, match="index 4"):
        net[4]


def test_parameter_dict():
    net = nn.ParameterDict({"w": fastdl.zeros(2)})
    net["b"] = nn.Parameter(fastdl.ones(1))
    assert list(net) == ["w", "b"] and "w" in net and net.get("x") is None and len(net) == 2
    assert list(net.state_dict()) == ["w", "b"] and isinstance(net["w"], nn.Parameter)
    assert net.pop("w").tolist() == [0, 0] and [k for k, _ in net.items()] == ["b"] and len(list(net.values())) == 1
    assert repr(nn.ParameterDict({"w": fastdl.zeros(2)})) == (
        "ParameterDict(  (w): Parameter containing: [torch.FloatTensor of size 2])"
    )
    with pytest.raises(KeyError):
        net["w"]


def test_data_parallel_is_its_module():
    net = nn.DataParallel(nn.Linear(3, 2), device_ids=[0, 1])
    x = fastdl.ones(4, 3)
    assert (net(x) == net.module(x)).all() and list(net.state_dict()) == ["module.weight", "module.bias"]
