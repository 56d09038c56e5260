"""autograd.Function: values and gradients as PyTorch has them, second derivatives, memory, errors."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import fastdl
from tests.both import on_both, part


def function(T, forward, backward, setup=None):
    """A Function from functions."""
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    if setup is not None:
        members["setup_context"] = staticmethod(setup)
    return type("My", (T.autograd.Function,), members)


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


@on_both
def test_several_inputs_and_outputs(T):
    def forward(ctx, a, b, k, unused=None):
        ctx.save_for_backward(a, b)
        ctx.k = k
        assert not (a * 1).requires_grad
        return a * b * k, a + b, "text"

    def backward(ctx, g, h, nothing):
        a, b = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False, False)
        assert nothing is None
        return g * b * ctx.k + h, g * a * ctx.k + h, None

    a, b = leaf(T, 1.0, 2.0), T.tensor([3.0, 4.0])
    p, q, text = function(T, forward, backward).apply(a, b, 3)
    assert text == "text"
    assert p.tolist() == [9, 24]
    assert p.grad_fn is q.grad_fn and p.output_nr == 0 and q.output_nr == 1
    assert type(p.grad_fn).__name__ == p.grad_fn.name() == "MyBackward"
    (p.sum() + (q * q).sum()).backward()
    assert a.grad.tolist() == [9 + 8, 12 + 12]
    assert b.grad is None


@on_both
def test_setup_context_with_default_and_keyword_arguments(T):
    def setup(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.k = inputs[1]

    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y * ctx.k, None

    my = function(T, lambda x, k=2: (x * k).exp(), backward, setup)
    x = leaf(T, 0.5)
    my.apply(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 * np.e], rtol=1e-6)
    my.apply(x, k=1).backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 * np.e + np.exp(0.5)], rtol=1e-6)


@on_both
def test_second_derivatives_go_through_backward(T):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp() * x

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x.exp() * x + x.exp())

    x = T.tensor([0.5, -1.0], dtype=T.float64, requires_grad=True)
    my = function(T, forward, backward)
    (g,) = T.autograd.grad(my.apply(x).sum(), x, create_graph=True)
    (gg,) = T.autograd.grad(g.sum(), x)
    v = x.detach().numpy()
    np.testing.assert_allclose(gg.numpy(), np.exp(v) * (v + 2), rtol=1e-12)
    assert T.autograd.gradcheck(my.apply, (x,)) and T.autograd.gradgradcheck(my.apply, (x,))


@on_both
def test_a_saved_output_carries_history(T):
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    x = T.tensor([0.5, -1.0], dtype=T.float64, requires_grad=True)
    my = function(T, forward, lambda ctx, g: g * ctx.saved_tensors[0])
    assert T.autograd.gradgradcheck(my.apply, (x,))


@on_both
def test_gradients_that_are_absent_are_zeros_or_none(T):
    for materialize, want in ((True, [[1, 1], [0, 0]]), (False, [[1, 1], None])):
        seen = []

        def forward(ctx, x, materialize=materialize):
            ctx.set_materialize_grads(materialize)
            return x * 1, x * 2

        def backward(ctx, *grads, seen=seen):
            seen.extend(None if g is None else g.tolist() for g in grads)
            return grads[0]

        p, _ = function(T, forward, backward).apply(leaf(T, 1.0, 2.0))
        p.sum().backward()
        assert seen == want


@on_both
def test_outputs_without_derivative(T):
    def forward(ctx, x):
        mask = (x > 1).float()
        ctx.mark_non_differentiable(mask)
        return x * 1, mask, x.long()

    seen = []

    def backward(ctx, *grads):
        seen.extend([g.tolist(), g.dtype] for g in grads)
        return grads[0]

    y, mask, index = function(T, forward, backward).apply(leaf(T, 1.0, 2.0))
    assert [t.requires_grad for t in (y, mask, index)] == [True, False, False]
    y.sum().backward()
    assert seen == [[[1, 1], T.float32], [[0, 0], T.float32], [[0, 0], T.int64]]


@on_both
def test_an_input_that_is_returned_becomes_another_tensor(T):
    x = leaf(T, 1.0)
    y = function(T, lambda ctx, x: x, lambda ctx, g: g * 5).apply(x)
    assert y is not x and y.grad_fn is not None
    y.backward()
    assert x.grad.tolist() == [5]


@on_both
def test_in_place(T):
    def forward(ctx, x):
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    my = function(T, forward, lambda ctx, g: g * 2)
    x = leaf(T, 1.0, 2.0)
    y = x * 3
    z = my.apply(y)
    assert z is y and y.tolist() == [6, 12] and y._version > 0
    z.sum().backward()
    assert x.grad.tolist() == [6, 6]
    x.grad = None
    y = x * 3
    my.apply(y[:1])
    y.sum().backward()
    assert y.tolist() == [6, 6] and x.grad.tolist() == [6, 3]
    with pytest.raises(RuntimeError, match=r"a leaf Variable that requires grad .* in-place"):
        my.apply(x)


@on_both
def test_gradients_are_summed_to_the_shape_and_cast_to_the_type(T):
    x = leaf(T, 1.0, 2.0)
    my = function(T, lambda ctx, x: x * 1, lambda ctx, g: g.double().expand(3, 2))
    my.apply(x).sum().backward()
    assert x.grad.tolist() == [3, 3] and x.grad.dtype is T.float32


@on_both
def test_more_gradients_than_arguments_if_they_are_none(T):
    x = leaf(T, 1.0)
    function(T, lambda ctx, x: x * 1, lambda ctx, g: (g, None, None)).apply(x).backward()
    assert x.grad.tolist() == [1]


@on_both
def test_nothing_is_recorded_where_nothing_requires_grad(T):
    my = function(T, lambda ctx, x: x * 1, lambda ctx, g: g)
    assert not my.apply(T.ones(2)).requires_grad
    with T.no_grad():
        assert not my.apply(leaf(T, 1.0)).requires_grad


@on_both
def test_once_differentiable(T):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    def backward(ctx, g):
        assert not T.is_grad_enabled()
        return 2 * g * ctx.saved_tensors[0]

    my = function(T, forward, part(T, "autograd.function").once_differentiable(backward))
    x = leaf(T, 3.0)
    my.apply(x).backward()
    assert x.grad.tolist() == [6]
    (g,) = T.autograd.grad(my.apply(x), x, leaf(T, 1.0), create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        g.backward()


@on_both
def test_a_backward_pass_inside_of_backward(T):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    def backward(ctx, g):
        with T.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            return T.autograd.grad(x.sin(), x, g)

    x = leaf(T, 0.5)
    (function(T, forward, backward).apply(x * 2) + x).backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 * np.cos(1) + 1], rtol=1e-6)


def test_graphs_are_no_garbage_for_the_cycle_collector():
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(x, y)
        return y

    my = function(fastdl, forward, lambda ctx, g: g * ctx.saved_tensors[1])
    x = fastdl.ones(3, requires_grad=True)
    my.apply(x).sum().backward()
    gc.collect()
    gc.disable()
    try:
        for run_backward in (True, False):
            y = my.apply(x)
            seen = weakref.ref(y)
            if run_backward:
                y.sum().backward()
            del y
            assert seen() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_backward_frees_what_was_saved():
    def forward(ctx, x):
        ctx.save_for_backward(x.exp())
        return x * 1

    x = fastdl.ones(100_000, requires_grad=True)
    y = function(fastdl, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(x).sum()
    before = fastdl.memory.stats()["live_bytes"]
    y.backward()
    x.grad = None
    assert fastdl.memory.stats()["live_bytes"] <= before - 400_000


@pytest.mark.parametrize(
    "backward, message",
    [
        (lambda ctx, g: (g, g), r"function MyBackward returned an incorrect number of gradients \(expected 1, got 2\)"),
        (lambda ctx, g: (), r"incorrect number of gradients \(expected 1, got 0\)"),
        (lambda ctx, g: g[:1].repeat(3), r"Function MyBackward returned an invalid gradient at index 0 - got \[3\] but "
                                         r"expected shape compatible with \[2\]"),
        (lambda ctx, g: g[:1], r"invalid gradient at index 0 - got \[1\]"),
        (lambda ctx, g: 1.0, "MyBackward.* gradient 0 is of type float"),
        (lambda ctx, g: [g], "MyBackward.* gradient 0 is of type list"),
    ],
)  # fmt: skip
def test_wrong_gradients(backward, message):
    x = leaf(fastdl, 1.0, 2.0)
    with pytest.raises(RuntimeError, match=message):
        function(fastdl, lambda ctx, x: x * 1, backward).apply(x).sum().backward()


def my_version_error():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 1

    x = leaf(fastdl, 1.0) * 1
    y = function(fastdl, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(x)
    x.add_(1)
    y.backward()


def freed_error():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 1

    y = function(fastdl, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(leaf(fastdl, 1.0))
    y.backward()
    y.backward()


def dirty_error():
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x * 1

    function(fastdl, forward, lambda ctx, g: g).apply(leaf(fastdl, 1.0) * 1)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (my_version_error, RuntimeError, "input of MyBackward: add_ wrote to it after MyBackward had saved it, and it "
                                         "is at version 1; expected version 0"),
        (freed_error, RuntimeError, "through the graph a second time"),
        (dirty_error, RuntimeError, "marked as dirty .* of My were not returned"),
        (lambda: function(fastdl, lambda ctx, x: ctx.save_for_backward(3), None).apply(leaf(fastdl, 1.0)),
         TypeError, "argument is of type int; set an attribute of ctx"),
        (lambda: function(fastdl, lambda ctx, x, k: x * 1, lambda ctx, g: (g, g)).apply(leaf(fastdl, 1.0), 3)
            .backward(), RuntimeError, "different than None at position 2, but .* input was not a Variable"),
        (lambda: function(fastdl, lambda ctx, x: x, None)(), RuntimeError, r"My\.apply\(\.\.\.\)"),
        (lambda: fastdl.autograd.Function.apply(1), NotImplementedError, "must implement the forward function"),
        (lambda: type("Half", (fastdl.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x * 1)})
            .apply(leaf(fastdl, 1.0)).backward(), NotImplementedError, "must implement the backward method of Half"),
    ],
)  # fmt: skip
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call()
