"""Module: what is registered, found, saved, printed, copied, and what errors say."""

import copy
import pickle
import re

import numpy as np
import pytest

import fastdl
from fastdl import nn


class Block(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.register_buffer("scale", fastdl.ones(1))
        self.register_buffer("scratch", fastdl.zeros(1), persistent=False)
        self.gain = nn.Parameter(fastdl.ones(()))
        self.note = "plain"

    def forward(self, x):
        return self.first(x) * self.gain * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Block(), nn.ReLU())
        self.head = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, x):
        return self.tied(self.head(self.body(x)))


NAMES = ["body.0.gain", "body.0.first.weight", "body.0.first.bias", "head.weight", "head.bias"]


def test_assignment_registers_parameters_buffers_and_modules():
    block = Block()
    assert list(block._parameters) == ["gain"] and list(block._modules) == ["first"]
    assert list(block._buffers) == ["scale", "scratch"] and block.note == "plain" and "note" in block.__dict__
    assert block.gain is block._parameters["gain"] and block.first is block._modules["first"]
    block.scale = fastdl.zeros(1)
    assert block._buffers["scale"].item() == 0
    block.gain = None
    assert block.gain is None and "gain" in block._parameters and next(iter(block.named_parameters()))[0] == "first.weight"  # noqa: E501
    block.gain = nn.Parameter(fastdl.zeros(1))
    assert [n for n, _ in block.named_parameters()] == ["gain", "first.weight", "first.bias"]


def test_a_name_can_change_its_kind():
    block = Block()
    block.note = nn.Parameter(fastdl.ones(1))
    assert "note" in block._parameters and "note" not in block.__dict__
    block.note = nn.ReLU()
    assert "note" in block._modules and "note" not in block._parameters
    del block.note
    assert not hasattr(block, "note")
    block.note = fastdl.ones(1)
    assert "note" in block.__dict__
    del block.gain, block.scale, block.first
    assert not block._parameters and not block._modules and list(block._buffers) == ["scratch"]


def test_walks_find_each_member_once():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)] == [*NAMES, "tied.weight"]
    assert [n for n, _ in net.named_parameters(recurse=False)] == [] and len(list(net.parameters())) == 5
    assert next(n for n, _ in net.named_parameters("net")) == "net.body.0.gain"
    assert [n for n, _ in net.named_modules()] == ["", "body", "body.0", "body.0.first", "body.1", "head", "tied"]
    assert [n for n, _ in net.named_children()] == ["body", "head", "tied"]
    assert [n for n, _ in net.named_buffers()] == ["body.0.scale", "body.0.scratch"] and len(list(net.buffers())) == 2
    shared = nn.ReLU()
    twice = nn.Sequential(shared, nn.Linear(1, 1), shared)
    assert [n for n, _ in twice.named_modules()] == ["", "0", "1"] and len(list(twice.children())) == 2
    assert len(list(twice.modules())) == 3


def test_members_by_dotted_name():
    net = Net()
    assert net.get_submodule("body.0.first") is net.body[0].first and net.get_submodule("") is net
    assert net.get_parameter("head.bias") is net.head.bias
    assert net.get_buffer("body.0.scale") is net.body[0].scale
    for call, text in [
        (lambda: net.get_submodule("body.7"), "Sequential has no attribute `7` .*'body.7'"),
        (lambda: net.get_submodule("head.weight"), "`weight` is not an nn.Module"),
        (lambda: net.get_parameter("head.scale"), "`scale` is not an nn.Parameter of Linear"),
        (lambda: net.nothing, "'Net' object has no attribute 'nothing'"),
    ]:
        with pytest.raises(AttributeError, match=text):
            call()


def test_what_cannot_be_registered():
    class Late(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    class LateParameter(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(fastdl.ones(1))

    with pytest.raises(AttributeError, match=r"cannot assign module before Module.__init__\(\) call"):
        Late()
    with pytest.raises(AttributeError, match="cannot assign parameters before"):
        LateParameter()
    block = Block()
    with pytest.raises(TypeError, match=r"cannot assign 'torch.Tensor' as parameter 'gain' \(torch.nn.Parameter or None"):  # noqa: E501
        block.gain = fastdl.ones(1)
    with pytest.raises(TypeError, match="as child module 'first'"):
        block.first = 3
    with pytest.raises(TypeError, match="as buffer 'scale'"):
        block.scale = 3
    with pytest.raises(TypeError, match="is not a Module subclass"):
        block.add_module("x", 3)
    with pytest.raises(KeyError, match="attribute 'forward' already exists"):
        block.register_buffer("forward", None)
    with pytest.raises(KeyError, match="contain"):
        block.add_module("a.b", nn.ReLU())
    with pytest.raises(KeyError, match="be empty string"):
        block.register_parameter("", None)
    with pytest.raises(TypeError, match="should be a string"):
        block.add_module(1, nn.ReLU())
    with pytest.raises(ValueError, match="non-leaf Tensor"):
        block.register_parameter("made", _non_leaf_parameter())


def _non_leaf_parameter():
    parameter = nn.Parameter(fastdl.ones(1), requires_grad=False)
    parameter.mul_(fastdl.ones(1, requires_grad=True))
    return parameter


def test_parameter_is_a_leaf_that_shares_memory():
    data = fastdl.ones(2)
    parameter = nn.Parameter(data)
    assert parameter.requires_grad and parameter.is_leaf and isinstance(parameter, fastdl.Tensor)
    data[0] = 5
    assert parameter.tolist() == [5, 1]
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert type(parameter * 1) is fastdl.Tensor and type(parameter.data) is fastdl.Tensor
    assert repr(nn.Parameter(fastdl.ones(2))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    twin = copy.deepcopy(parameter)
    assert type(twin) is nn.Parameter and twin.requires_grad and twin is not parameter
    twin.data[0] = -1
    assert parameter.tolist() == [5, 1]
    back = pickle.loads(pickle.dumps(parameter))
    assert type(back) is nn.Parameter and back.requires_grad and back.tolist() == [5, 1]


def test_state_dict_has_the_names_and_shares_memory():
    net = Net()
    state = net.state_dict()
    assert list(state) == [
        "body.0.gain", "body.0.scale", "body.0.first.weight", "body.0.first.bias", "head.weight", "head.bias", "tied.weight",  # noqa: E501
    ]  # fmt: skip
    assert all(type(t) is fastdl.Tensor and not t.requires_grad for t in state.values())
    assert type(net.state_dict(keep_vars=True)["head.bias"]) is nn.Parameter
    assert next(iter(net.state_dict(prefix="x."))) == "x.body.0.gain"
    state["head.bias"].fill_(7)
    assert net.head.bias.tolist() == [7, 7]


def test_load_state_dict_copies_and_keeps_identity():
    a, b = Net(), Net()
    parameters = list(b.parameters())
    result = b.load_state_dict(a.state_dict())
    assert repr(result) == "<All keys matched successfully>" and result.missing_keys == []
    assert all(p is q for p, q in zip(parameters, b.parameters())) and b.tied.weight is b.head.weight
    assert all((p == q).all() for p, q in zip(a.state_dict().values(), b.state_dict().values()))
    a.head.bias.data.fill_(3)
    assert b.head.bias.tolist() != [3, 3]


def test_load_state_dict_of_arrays_other_types_and_assign():
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": fastdl.tensor([3])})
    assert layer.weight.tolist() == [[1, 2]] and layer.weight.dtype == fastdl.float32 and layer.bias.tolist() == [3]
    given = {"weight": fastdl.zeros(1, 2, dtype=fastdl.float64), "bias": fastdl.zeros(1)}
    layer.load_state_dict(given, assign=True)
    assert type(layer.weight) is nn.Parameter and layer.weight.dtype == fastdl.float64 and layer.weight.requires_grad
    given["bias"][0] = 4
    assert layer.bias.item() == 4
    with pytest.raises(TypeError, match=r'state_dict\["bias"\] should be a tensor, got str'):
        layer.load_state_dict({"weight": given["weight"], "bias": "x"})
    with pytest.raises(TypeError, match="dict-like"):
        layer.load_state_dict([1])


def test_load_state_dict_not_strict_returns_the_differences():
    layer = nn.Linear(2, 1)
    result = layer.load_state_dict({"weight": fastdl.ones(1, 2), "x": fastdl.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"] and result.unexpected_keys == ["x"] and layer.weight.tolist() == [[1, 1]]
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict({"weight": fastdl.ones(2, 2)}, strict=False)


def test_mismatch_report_is_short_says_what_and_loads_nothing():
    net = nn.Sequential(*[nn.Linear(2, 2) for _ in range(50)])
    before = net[0].weight.tolist()
    state = {f"layers.{i}.{kind}": fastdl.ones(1) for i in range(40) for kind in "abcdefgh"}
    state |= {f"{i}.weight": fastdl.ones(3, 2) for i in range(20)} | {"0.bias": fastdl.ones(2)}
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    text = str(error.value)
    assert len(text.splitlines()) <= 20
    assert text.startswith("Error(s) in loading state_dict for Sequential (100 keys, given 341):\n")
    assert 'Missing key(s) in state_dict: 79\n    49 like "*.bias", the first is "1.bias"' in text
    assert 'Unexpected key(s) in state_dict: 320\n    40 like "layers.*.a", the first is "layers.0.a"' in text
    assert (
        "size mismatch for 0.weight: copying a param with shape torch.Size([3, 2]) from checkpoint, "
        "the shape in current model is torch.Size([2, 2])" in text
    )
    assert net[0].weight.tolist() == before and net[0].bias.tolist() != [1, 1]


def test_mismatch_report_gives_hints():
    net = nn.Sequential(nn.Linear(2, 3))
    state = net.state_dict()
    for given, hint in [
        ({f"module.{k}": v for k, v in state.items()}, 'the given keys begin with "module.": strip it'),
        ({k[2:]: v for k, v in state.items()}, 'the module\'s keys begin with "0.": add it'),
        ({"epoch": 3, "model": state}, r'in the entry "model": load_state_dict\(d\["model"\]\)'),
        ({"0.weight": state["0.weight"].t(), "0.bias": state["0.bias"]}, r"transposed: load value.T"),
    ]:
        with pytest.raises(RuntimeError, match="Hint: .*" + hint):
            net.load_state_dict(given)


def test_apply_train_eval_and_requires_grad():
    net = Net()
    order = []
    assert net.apply(lambda m: order.append(type(m).__name__)) is net
    assert order == ["Linear", "Block", "ReLU", "Sequential", "Linear", "Linear", "Net"]
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    with pytest.raises(ValueError, match="boolean"):
        net.train(1)
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_zero_grad():
    layer = nn.Linear(2, 1)
    layer(fastdl.ones(1, 2)).sum().backward()
    assert layer.weight.grad is not None
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0, 0]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_casts_keep_identity_and_leave_integers():
    net = Net()
    net.register_buffer("steps", fastdl.zeros(1, dtype=fastdl.int64))
    weight = net.head.weight
    assert net.double() is net and net.head.weight is weight and weight.dtype == fastdl.float64
    assert net.body[0].scale.dtype == fastdl.float64 and net.steps.dtype == fastdl.int64
    assert net.tied.weight is weight
    assert net.to("cpu") is net and net.to(fastdl.float32).head.weight.dtype == fastdl.float32
    assert net.to(fastdl.device("cpu"), fastdl.float64).head.weight.dtype == fastdl.float64
    assert net.to(fastdl.ones(1)).head.weight.dtype == fastdl.float32
    assert net.to(dtype=fastdl.float64).float().cpu().head.weight.dtype == fastdl.float32
    with pytest.raises(TypeError, match="floating point dtypes"):
        net.to(fastdl.int64)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        net.to(nonsense=1)
    for call in (lambda: net.to("cuda"), net.cuda):
        with pytest.raises(RuntimeError, match="CPU only"):
            call()


def test_gradient_is_cast_with_its_parameter():
    layer = nn.Linear(2, 1)
    layer(fastdl.ones(1, 2)).sum().backward()
    layer.double()
    assert layer.weight.grad.dtype == fastdl.float64 and layer.weight.grad.tolist() == [[1, 1]]


def test_hooks_see_and_replace_arguments_and_output():
    layer = nn.Identity()
    seen = []
    first = layer.register_forward_pre_hook(lambda m, args: seen.append(("pre", m is layer, args[0].item())))
    second = layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    third = layer.register_forward_hook(lambda m, args, out: seen.append(("post", args[0].item(), out.item())))
    fourth = layer.register_forward_hook(lambda m, args, out: out * 10)
    assert layer(fastdl.tensor(1.0)).item() == 20
    assert seen == [("pre", True, 1.0), ("post", 2.0, 2.0)]
    for handle in (first, second, third, fourth):
        handle.remove()
        handle.remove()
    assert layer(fastdl.tensor(1.0)).item() == 1 and len(seen) == 2
    with layer.register_forward_hook(lambda m, args, out: out + 5):
        assert layer(fastdl.tensor(1.0)).item() == 6
    assert layer(fastdl.tensor(1.0)).item() == 1


def test_hooks_with_keywords_order_and_errors():
    class Scaled(nn.Module):
        def forward(self, x, factor=1):
            if factor < 0:
                raise ValueError("negative")
            return x * factor

    layer = Scaled()
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"factor": kwargs["factor"] + 1}), with_kwargs=True)
    calls = []
    layer.register_forward_hook(lambda m, args, kwargs, out: calls.append(kwargs["factor"]), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, out: calls.append("first"), prepend=True)
    layer.register_forward_hook(lambda m, args, out: calls.append(out is None), always_call=True)
    assert layer(fastdl.tensor(2.0), factor=2).item() == 6
    assert calls == ["first", 3, False]
    with pytest.raises(ValueError, match="negative"):
        layer(fastdl.tensor(2.0), factor=-5)
    assert calls[3:] == [True]
    layer.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="None or"):
        layer(fastdl.tensor(2.0), factor=2)


def test_forward_is_required():
    with pytest.raises(NotImplementedError, match=r'Module \[Empty\] is missing the required "forward" function'):
        type("Empty", (nn.Module,), {})()(1)


def test_error_in_a_layer_names_the_path_to_it():
    net = Net()
    net.body[0].first = nn.Linear(5, 2)
    with pytest.raises(Exception) as error:
        net(fastdl.ones(1, 3))
    text = str(error.value)
    assert text.startswith("[")
    assert text.endswith("in module Net.body.0.first (Linear(in_features=5, out_features=2, bias=True))")
    assert text.count("in module") == 1
    with pytest.raises(type(error.value), match=re.escape("in module Linear(in_features=5, out_features=2, bias=True)")):  # noqa: E501
        net.body[0].first(fastdl.ones(1, 3))


def test_errors_of_others_are_left_alone():
    class Bad(nn.Module):
        def forward(self, x):
            raise ValueError("mine", x)

    with pytest.raises(ValueError, match="mine") as error:
        nn.Sequential(Bad())(3)
    assert error.value.args == ("mine", 3)


def test_layer_outside_the_tree_is_shown_by_its_class():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(2, 2)]

        def forward(self, x):
            return self.layers[0](x)

    with pytest.raises(Exception, match=re.escape("in module Hidden.<Linear> (Linear(")):
        Hidden()(fastdl.ones(1, 3))


def test_printed_form():
    net = Net()
    assert (
        repr(net)
        == """Net(
  (body): Sequential(
    (0): Block(
      (first): Linear(in_features=3, out_features=2, bias=True)
    )
    (1): ReLU()
  )
  (head): Linear(in_features=2, out_features=2, bias=True)
  (tied): Linear(in_features=2, out_features=2, bias=False)
)"""
    )

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.ReLU()

        def extra_repr(self):
            return "one\ntwo"

    assert repr(Both()) == "Both(\n  one\n  two\n  (a): ReLU()\n)"
    assert repr(nn.Sequential()) == "Sequential()"


def test_deep_copy_and_pickle_are_whole_and_apart():
    net = Net()
    x = fastdl.ones(1, 3)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(twin) == repr(net) and (twin(x) == net(x)).all()
        assert twin.tied.weight is twin.head.weight and twin.head.weight is not net.head.weight
        twin.head.bias.data.fill_(9)
        assert net.head.bias.tolist() != [9, 9]


def test_book_style_modules():
    class MySequential(nn.Module):
        def __init__(self, *args):
            super().__init__()
            for i, module in enumerate(args):
                self._modules[str(i)] = module

        def forward(self, x):
            for block in self._modules.values():
                x = block(x)
            return x

    net = MySequential(nn.Linear(3, 2), nn.ReLU())
    assert net(fastdl.ones(2, 3)).shape == (2, 2) and len(list(net.parameters())) == 2
    net._modules["0"]._parameters["weight"].data.zero_()
    net._modules["0"].bias.data[:] += 1
    assert "(0): Linear" in repr(net)
    assert "weight" in dir(net._modules["0"]) and "0" not in dir(net)


def test_module_has_no_reference_cycle():
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        net = Net()
        net(fastdl.ones(1, 3))
        watch = weakref.ref(net)
        del net
        assert watch() is None
    finally:
        gc.enable()


def test_buffer():
    net = nn.Module()
    net.kept = nn.Buffer(fastdl.ones(2))
    net.passing = nn.Buffer(fastdl.zeros(3), persistent=False)
    net.weight = nn.Parameter(fastdl.ones(2))
    net.weight = nn.Buffer(fastdl.ones(4))  # takes the parameter's place
    assert [name for name, _ in net.named_buffers()] == ["kept", "passing", "weight"]
    assert list(net.state_dict()) == ["kept", "weight"] and not list(net.parameters())
    net.kept = fastdl.zeros(2)
    assert list(net.state_dict()) == ["kept", "weight"]
    assert not net.kept.any() and not net.passing.requires_grad
    copied = copy.deepcopy(net)
    assert copied.passing.tolist() == [0, 0, 0] and list(copied.state_dict()) == ["kept", "weight"]

    class Early(nn.Module):
        def __init__(self):
            self.kept = nn.Buffer(fastdl.ones(1))

    with pytest.raises(AttributeError, match="cannot assign buffer before"):
        Early()
