"""Layers that learn their input's size at the first call; hooks on all modules."""

import copy

import pytest

import fastdl
from fastdl import nn
from fastdl.nn.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)

LAYERS = [
    (nn.LazyLinear, nn.Linear, (7,), (3, 2, 5), 5),
    (nn.LazyConv1d, nn.Conv1d, (4, 3), (2, 6, 9), 6), (nn.LazyConv1d, nn.Conv1d, (4, 3), (6, 9), 6),
    (nn.LazyConv2d, nn.Conv2d, (4, (3, 2)), (2, 3, 5, 6), 3),
    (nn.LazyConvTranspose1d, nn.ConvTranspose1d, (4, 3), (2, 6, 9), 6),
    (nn.LazyConvTranspose2d, nn.ConvTranspose2d, (4, 3), (2, 3, 5, 6), 3),
    (nn.LazyBatchNorm1d, nn.BatchNorm1d, (), (4, 3), 3), (nn.LazyBatchNorm2d, nn.BatchNorm2d, (), (2, 3, 4, 5), 3),
    (nn.LazyBatchNorm3d, nn.BatchNorm3d, (), (2, 3, 4, 5, 2), 3),
    (nn.LazyInstanceNorm1d, nn.InstanceNorm1d, (), (2, 3, 4), 3),
    (nn.LazyInstanceNorm1d, nn.InstanceNorm1d, (), (3, 4), 3),
    (nn.LazyInstanceNorm2d, nn.InstanceNorm2d, (), (2, 3, 4, 5), 3),
    (nn.LazyInstanceNorm3d, nn.InstanceNorm3d, (), (2, 3, 4, 5, 2), 3),
]  # fmt: skip


@pytest.mark.parametrize("lazy, proper, args, shape, size", LAYERS)
def test_first_call_makes_the_proper_layer(lazy, proper, args, shape, size):
    layer = lazy(*args)
    x = fastdl.randn(*shape)
    parameters = list(layer.parameters())
    assert all(repr(p) == "<UninitializedParameter>" for p in parameters)
    twin = copy.deepcopy(layer)
    fastdl.manual_seed(3)
    y = layer(x)
    assert type(layer) is proper and all(p is q for p, q in zip(parameters, layer.parameters()))
    assert all(type(p) is nn.Parameter and p.requires_grad for p in parameters)
    fastdl.manual_seed(3)
    expected = proper(size, *args)
    assert repr(layer) == repr(expected) and not layer._hooked
    assert fastdl.equal(y, expected(x)) and fastdl.equal(layer(x), expected(x))

    twin.load_state_dict(expected.state_dict())
    assert type(twin) is lazy and not twin.has_uninitialized_params()
    for _ in range(2):
        assert fastdl.equal(twin.eval()(x), expected.eval()(x))
    assert type(twin) is proper and repr(twin) == repr(expected)


def test_an_optimizer_made_before_trains_them():
    net = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1, bias=False))
    optimizer = fastdl.optim.SGD(net.parameters(), lr=0.1)
    x = fastdl.randn(8, 3)
    net(x).square().mean().backward()
    before = net[0].weight.detach().clone()
    optimizer.step()
    assert not fastdl.equal(before, net[0].weight) and net[2].bias is None


def test_what_is_without_a_shape():
    layer = nn.LazyConv2d(4, 3, groups=2)
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter"):
        print(layer.weight.shape)
    with pytest.raises(ValueError, match="in_channels 3 must be divisible by groups 2"):
        layer(fastdl.zeros(1, 3, 4, 4))
    with pytest.raises(RuntimeError, match="Can't access the shape"):
        nn.Linear(2, 3).load_state_dict(nn.LazyLinear(3).state_dict(keep_vars=True))


def test_hooks_on_all_modules():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    told = []
    handles = [
        register_module_forward_pre_hook(lambda m, args: told.append(("pre", type(m).__name__, len(args)))),
        register_module_forward_hook(lambda m, args, out: told.append(("post", type(m).__name__, tuple(out.shape)))),
        register_module_forward_hook(lambda m, args, out: out * 2 if isinstance(m, nn.Tanh) else None),
        register_module_full_backward_pre_hook(lambda m, g: told.append(("back", type(m).__name__, len(g)))),
        register_module_full_backward_hook(lambda m, i, o: told.append(("done", type(m).__name__, len(i)))),
    ]
    x = fastdl.randn(2, 3, requires_grad=True)
    net.register_forward_pre_hook(lambda m, args: told.append("own"))
    y = net(x)
    y.sum().backward()
    for handle in handles:
        handle.remove()
    assert told == [
        ("pre", "Sequential", 1), "own", ("pre", "Linear", 1), ("post", "Linear", (2, 3)), ("pre", "Tanh", 1),
        ("post", "Tanh", (2, 3)), ("post", "Sequential", (2, 3)), ("back", "Sequential", 1), ("back", "Tanh", 1),
        ("done", "Tanh", 1), ("back", "Linear", 1), ("done", "Linear", 1), ("done", "Sequential", 1),
    ]  # fmt: skip
    assert fastdl.equal(y, 2 * net(x)) and told.count("own") == 2 and len(told) == 14
