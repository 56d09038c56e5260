"""Hooks on tensors' gradients and on modules, the same script on fastdl and on PyTorch."""

from __future__ import annotations

import gc

import pytest

import fastdl
from tests.both import on_both


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


@on_both
def test_a_leaf_hook_sees_the_whole_gradient_once(T):
    a, seen = leaf(T, 1.0, 2.0), []
    handle = a.register_hook(lambda g: seen.append(g.tolist()))
    (a * 2 + a * 3 + a.exp() * 0).sum().backward()
    assert seen == [[5, 5]]
    handle.remove()
    handle.remove()
    a.sum().backward()
    assert len(seen) == 1


@on_both
def test_hooks_replace_gradients_in_the_order_of_registration(T):
    a = leaf(T, 1.0, 2.0)
    y = a * 2
    y.register_hook(lambda g: g + 1)
    y.register_hook(lambda g: g * 10)
    with a.register_hook(lambda g: -g):
        y.sum().backward()
    assert a.grad.tolist() == [-40, -40]
    y = a * 2
    (g,) = T.autograd.grad(y.sum(), a)
    assert g.tolist() == [2, 2]


@on_both
def test_hooks_run_in_autograd_grad(T):
    a = leaf(T, 1.0)
    a.register_hook(lambda g: g * 10)
    (g,) = T.autograd.grad(a * 2 + a, a)
    assert g.tolist() == [30] and a.grad is None


@on_both
def test_post_accumulate_hooks(T):
    a, b, seen = leaf(T, 1.0), leaf(T, 1.0), []
    a.register_post_accumulate_grad_hook(lambda p: seen.append(("a", p is a, p.grad.tolist())))
    b.register_post_accumulate_grad_hook(lambda p: seen.append(("b", p is b, a.grad is None)))
    ((a * 2).exp() * 0 + a * 3 + b * 2).sum().backward()
    assert sorted(seen)[0] == ("a", True, [3])
    (a * 1).backward()
    assert seen[-1] == ("a", True, [4])
    with pytest.raises(RuntimeError, match="non-leaf"):
        (a * 2).register_post_accumulate_grad_hook(print)


def test_post_accumulate_hooks_run_while_the_pass_goes_on():
    """A layer's gradient is final, and its hook runs, before those of the layers below are computed."""
    layers = [fastdl.nn.Linear(4, 4) for _ in range(3)]
    seen = []
    for i, layer in enumerate(layers):
        layer.weight.register_post_accumulate_grad_hook(
            lambda p, i=i: seen.append((i, [other.weight.grad is None for other in layers]))
        )
    fastdl.nn.Sequential(*layers)(fastdl.ones(2, 4)).sum().backward()
    assert seen == [(2, [True, True, False]), (1, [True, False, False]), (0, [False, False, False])]


@on_both
def test_a_hooked_leaf_whose_other_user_gets_no_gradient(T):
    a, seen = leaf(T, 1.0), []
    a.register_hook(lambda g: seen.append(g.tolist()))
    p, _ = (T.stack([a * 2, a * 3])).unbind(0)
    q, _ = (a * 5).expand(2).split(1)
    (p + q).sum().backward()
    assert seen == [[7]]


@on_both
def test_retain_grad(T):
    a = leaf(T, 1.0)
    y = a * 2
    assert not y.retains_grad and not a.retains_grad
    y.retain_grad()
    y.retain_grad()
    a.retain_grad()
    assert y.retains_grad and not a.retains_grad
    y.register_hook(lambda g: g * 5)
    y.backward(retain_graph=True)
    assert y.grad.tolist() == [5]
    y.backward()
    assert y.grad.tolist() == [10]
    assert a.grad.tolist() == [20]


@on_both
def test_retain_grad_follows_a_write(T):
    a = leaf(T, 1.0)
    y = a * 2
    y.retain_grad()
    y.mul_(3)
    assert y.retains_grad
    y.backward()
    assert y.grad.tolist() == [1] and a.grad.tolist() == [6]


@on_both
def test_a_kept_gradient_is_not_shared(T):
    a = leaf(T, 1.0, 2.0)
    upstream = T.ones(2)
    y = a * 2
    y.retain_grad()
    y.backward(upstream)
    y.grad.zero_()
    assert upstream.tolist() == [1, 1] and a.grad.tolist() == [2, 2]


@on_both
def test_reading_grad_of_a_tensor_that_is_no_leaf_warns(T):
    y = leaf(T, 1.0) * 2
    with pytest.warns(UserWarning, match=r"not a leaf Tensor is being accessed.*retain_grad"):
        assert y.grad is None
    y.retain_grad()
    assert y.grad is None


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda a: fastdl.ones(2).register_hook(print), RuntimeError, "doesn't require gradient"),
        (lambda a: fastdl.ones(2).register_post_accumulate_grad_hook(print), RuntimeError, "doesn't require gradient"),
        (lambda a: fastdl.ones(2).retain_grad(), RuntimeError, "requires_grad=False"),
        (lambda a: a.register_hook(3), TypeError, "expected a function"),
        (lambda a: a.register_hook(lambda g: 3), TypeError, "'<lambda>' returned 3"),
        (lambda a: a.register_hook(lambda g: g[:1]), RuntimeError, r"changed the size of value: \(1,\).*\(2,\)"),
        (lambda a: a.register_post_accumulate_grad_hook(lambda p: p), RuntimeError, "should return None"),
    ],
)
def test_mistakes(call, error, message):
    a = leaf(fastdl, 1.0, 2.0)
    with pytest.raises(error, match=message):
        call(a)
        (a * 2).sum().backward()


def test_hooks_make_no_garbage_for_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        a = fastdl.ones(2, requires_grad=True)
        y = a * 2
        y.retain_grad()
        handle = y.register_hook(lambda g: g * 2)
        y.sum().backward()
        del y
        handle.remove()
        assert gc.collect() == 0
    finally:
        gc.enable()


# Modules


def halves(T, inputs=2, outputs=3):
    layer = T.nn.Linear(inputs, outputs)
    with T.no_grad():
        layer.weight.fill_(0.5)
        layer.bias.zero_()
    return layer


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@on_both
def test_full_backward_hooks(T):
    layer, seen = halves(T), []
    layer.register_full_backward_hook(
        lambda m, gi, go: seen.append((m is layer, [None if g is None else g.tolist() for g in gi], [go[0].tolist()]))
    )
    handle = layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    layer(T.ones(1, 2)).sum().backward()
    x = T.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert seen == [(True, [None], [[[2, 2, 2]]]), (True, [[[3, 3]]], [[[2, 2, 2]]])]
    assert layer.weight.grad.tolist() == [[4, 4]] * 3 and x.grad.tolist() == [[3, 3]]
    handle.remove()
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 7,))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,), prepend=True)
    x.grad = None
    layer(x).sum().backward()
    assert x.grad.tolist() == [[17.5, 17.5]]


@on_both
def test_full_backward_hooks_of_several_arguments_and_results(T):
    class Pair(T.nn.Module):
        def forward(self, a, k, b):
            return a * k, a + b, k

    seen = []
    pair = Pair()
    pair.register_full_backward_hook(
        lambda m, gi, go: seen.append([[g if g is None else g.tolist() for g in gs] for gs in (gi, go)])
    )
    a, b = leaf(T, 1.0), leaf(T, 2.0)
    p, q, k = pair(a, 3, b)
    assert k == 3
    (p + q * 2).backward()
    assert seen == [[[[5], None, [2]], [[1], [2], None]]]
    assert a.grad.tolist() == [5] and b.grad.tolist() == [2]


@on_both
def test_forward_hooks(T):
    layer, seen = halves(T), []
    layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    layer.register_forward_hook(lambda m, args, out: seen.append(args[0].tolist()))
    layer.register_forward_hook(lambda m, args, kwargs, out: out + len(kwargs), with_kwargs=True)
    handle = layer.register_forward_hook(lambda m, args, out: out * 10, prepend=True)
    assert layer(T.ones(1, 2)).tolist() == [[20, 20, 20]]
    handle.remove()
    layer.register_forward_pre_hook(lambda m, args, kwargs: ((kwargs["x"],), {}), with_kwargs=True, prepend=True)
    assert layer(x=T.ones(1, 2)).tolist() == [[2, 2, 2]]
    assert seen == [[[2, 2]]] * 2


@on_both
def test_always_called_hooks(T):
    class Fails(T.nn.Module):
        def forward(self):
            raise ZeroDivisionError

    module, seen = Fails(), []
    module.register_forward_hook(lambda m, args, out: seen.append("never"))
    module.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ZeroDivisionError):
        module()
    assert seen == [None]


@on_both
def test_state_dict_hooks(T):
    seen, net = [], T.nn.Sequential(halves(T), halves(T, 3, 1))
    net[0].register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
    net[0].register_state_dict_post_hook(lambda m, d, prefix, meta: d.__delitem__("0.bias"))
    net[1].register_load_state_dict_pre_hook(
        lambda m, d, prefix, meta, strict, missing, unexpected, errors: d.update({f"{prefix}bias": d.pop(f"{prefix}b")})
    )
    net.register_load_state_dict_post_hook(
        lambda m, keys: seen.append(("missing", list(keys.missing_keys))) or keys.missing_keys.clear()
    )
    d = net.state_dict()
    assert sorted(d) == ["0.weight", "1.bias", "1.weight"]
    d["1.b"] = d.pop("1.bias") + 4
    before = dict(d)
    assert net.load_state_dict(d) == ([], [])
    assert list(before) == list(d)
    assert net[1].bias.tolist() == [4]
    assert seen == [("pre", "0.", False), ("missing", ["0.bias"])]
    net[1].register_load_state_dict_pre_hook(lambda *args: args[-1].append("not today"))
    with pytest.raises(RuntimeError, match="not today"):
        net.load_state_dict(before)


@pytest.mark.parametrize(
    "hook, message",
    [(lambda m, gi, go: gi + gi, "backward hook returned 2 gradients, expected 1"),
     (lambda m, gi, go: 3, "gradient 1 is of type int")],
)  # fmt: skip
def test_wrong_results_of_backward_hooks(hook, message):
    layer = halves(fastdl)
    layer.register_full_backward_hook(hook)
    with pytest.raises(RuntimeError, match=message):
        layer(fastdl.ones(1, 2, requires_grad=True)).sum().backward()


# hooks on operators -----------------------------------------------------------------------------------------------


@on_both
def test_node_hooks_see_and_replace_gradients(T):
    x, seen = leaf(T, 1.0, 2.0), []

    def note(*what):
        seen.append([[None if g is None else g.tolist() for g in grads] for grads in what])

    y = (x * 2) * 3
    y.register_hook(lambda g: note((g,)))
    after = y.grad_fn.register_hook(lambda inputs, outputs: note(inputs, outputs))
    y.grad_fn.register_prehook(lambda outputs: note(outputs) or (outputs[0] * 10,))
    y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] + 1, *inputs[1:]))
    (g,) = T.autograd.grad(y.sum(), y, retain_graph=True)
    assert g.tolist() == [1, 1] and len(seen) == 1  # of y itself: the hook on it, not those on the operator
    y.sum().backward(retain_graph=True)
    assert [s[:1] for s in seen[1:3]] == [[[[1, 1]]], [[[1, 1]]]]
    assert seen[3][0][0] == [30, 30] and seen[3][1] == [[10, 10]] and x.grad.tolist() == [62, 62]
    after.remove()
    y.sum().backward()
    assert len(seen) == 6 and x.grad.tolist() == [124, 124]


@on_both
def test_node_hooks_of_several_outputs(T):
    x, seen = leaf(T, 1.0, 2.0, 3.0, 4.0), []
    a = (x * 1).split(2)[0]
    a.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].tolist(), len(outputs), outputs[1])))
    a.grad_fn.register_prehook(lambda outputs: (outputs[0] * 3, None))
    a.sum().backward()
    assert seen == [([3, 3, 0, 0], 2, None)] and x.grad.tolist() == [3, 3, 0, 0]


@on_both
def test_node_hooks_see_slices_as_a_whole(T):
    x, seen = leaf(T, 1.0, 2.0, 3.0), []
    y = (x * 1)[1:]
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].tolist(), outputs[0].tolist())))
    (y * y).sum().backward()
    assert seen == [([0, 4, 6], [4, 6])] and x.grad.tolist() == [0, 4, 6]


@on_both
def test_hooks_where_a_leaf_accumulates(T):
    x, seen = leaf(T, 1.0, 2.0), []
    y = x * 2 + x * 3
    (first, _), (second, _) = y.grad_fn.next_functions
    leaf_node = first.next_functions[0][0]
    assert leaf_node == second.next_functions[0][0] and leaf_node.name() == "torch::autograd::AccumulateGrad"
    assert leaf_node.variable is x and isinstance(leaf_node, T.autograd.graph.Node)
    leaf_node.register_hook(lambda inputs, outputs: seen.append((inputs, outputs[0].tolist(), x.grad.tolist())))
    leaf_node.register_prehook(lambda outputs: seen.append(x.grad) or (outputs[0] * 10,))
    assert T.autograd.grad(y.sum(), x, retain_graph=True)[0].tolist() == [5, 5] and not seen
    y.sum().backward()
    assert seen == [None, ((), [50, 50], [50, 50])]


@on_both
def test_metadata_and_names(T):
    y = (leaf(T, 1.0) * 2).exp()
    assert y.grad_fn.metadata == {} and y.grad_fn.name() == "ExpBackward0"
    y.grad_fn.metadata["from"] = 3
    assert y.grad_fn.metadata == {"from": 3}
    y.backward()
    assert isinstance(y.grad_fn, T.autograd.graph.Node)


@pytest.mark.parametrize(
    ("result", "error"),
    [((fastdl.ones(3),), "size of value"), ((fastdl.ones(2),) * 3, "incorrect number"), (3, "expected tuple")],
)
@pytest.mark.parametrize("kind", ["register_hook", "register_prehook"])
def test_wrong_results_of_node_hooks(result, error, kind):
    y = leaf(fastdl, 1.0, 2.0) + leaf(fastdl, 1.0, 2.0)
    getattr((y + 0).grad_fn, kind)(lambda *grads: result)
    z = y.exp()
    getattr(z.grad_fn, kind)(lambda *grads: result)
    with pytest.raises((RuntimeError, TypeError), match=error):
        z.sum().backward()


@on_both
def test_a_hook_on_several_gradients(T):
    a, b, c, seen, first = leaf(T, 1.0), leaf(T, 2.0), leaf(T, 3.0), [], []
    y = b * 2
    tensors = [a, y, c]
    handle = T.autograd.graph.register_multi_grad_hook(
        tensors, lambda grads: seen.append([None if g is None else g.tolist() for g in grads])
    )
    T.autograd.graph.register_multi_grad_hook(tensors, lambda g: first.append(g.tolist()), mode="any")
    (a * y * c).backward()
    assert seen == [[[12], [3], [4]]] and len(first) == 1
    y = b * 2
    (a * 5).backward()
    assert seen[1:] == [[[5], None, None]] and len(first) == 2
    handle.remove()
    (a * c).backward()
    assert len(seen) == 2 and len(first) == 3
    with pytest.raises(ValueError, match="mode"):
        T.autograd.graph.register_multi_grad_hook([a], print, mode="some")


def test_a_hook_on_several_gradients_after_a_pass_that_failed():
    a, b, seen = leaf(fastdl, 1.0), leaf(fastdl, 2.0), []
    fastdl.autograd.graph.register_multi_grad_hook([a, b], seen.append)
    y = a * 1
    y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        (y + b).backward()
    b.sum().backward()
    assert [g is None for g in seen[0]] == [True, False] and len(seen) == 1


def test_a_counted_write_spoils_what_is_saved():
    x = leaf(fastdl, 1.0)
    w = fastdl.ones(1)
    y = x * w
    fastdl.autograd.graph.increment_version([w])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
