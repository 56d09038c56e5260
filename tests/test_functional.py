"""autograd.grad and backward with their options, autograd.functional, gradcheck, modes."""

from __future__ import annotations

import numpy as np
import pytest

import fastdl
from tests.both import on_both, part


def leaf(T, *values):
    return T.tensor(list(values), dtype=T.float64, requires_grad=True)


def close(found, expected):
    assert isinstance(found, tuple) == isinstance(expected, tuple)
    if isinstance(found, tuple):
        assert len(found) == len(expected)
        for f, e in zip(found, expected):
            close(f, e)
    else:
        assert not found.requires_grad
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
        assert found.shape == np.shape(expected)


A, B = np.array([0.5, -1.5, 2.0]), np.array([3.0, 0.25, -1.0])


@on_both
def test_jacobian(T):
    functional = part(T, "autograd").functional
    a, b = leaf(T, *A), leaf(T, *B)
    close(functional.jacobian(lambda x: x**3, a), np.diag(3 * A**2))
    close(functional.jacobian(lambda x, y: (x * y).sum(), (a, b)), (B, A))
    close(
        functional.jacobian(lambda x, y: ((x * y).reshape(3, 1), (y * 2).sum()), (a, b)),
        ((np.diag(B)[:, None], np.diag(A)[:, None]), (np.zeros(3), np.full(3, 2.0))),
    )
    j = functional.jacobian(lambda x: x**3, a, create_graph=True)
    j.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), 6 * A)
    assert b.grad is None


@on_both
def test_hessian(T):
    functional = part(T, "autograd").functional
    a, b = leaf(T, *A), leaf(T, *B)
    close(functional.hessian(lambda x: (x**3).sum(), a), np.diag(6 * A))
    mixed = np.diag(2 * A * 3 * B**2)
    close(
        functional.hessian(lambda x, y: (x**2 * y**3).sum(), (a, b)),
        ((np.diag(2 * B**3), mixed), (mixed, np.diag(6 * A**2 * B))),
    )
    close(functional.hessian(lambda x: x.sum(), a), np.zeros((3, 3)))


@on_both
def test_products_with_vectors(T):
    functional = part(T, "autograd").functional
    a, b, v, w = leaf(T, *A), leaf(T, *B), T.tensor([1.0, 2, 3]).double(), T.tensor([0.5, -1, 4]).double()
    vn, wn = v.numpy(), w.numpy()
    close(functional.vjp(lambda x: x**3, a, v), (A**3, 3 * A**2 * vn))
    close(functional.vjp(lambda x: x.sum(), a), (A.sum(), np.ones(3)))
    close(functional.jvp(lambda x, y: x**3 * y, (a, b), (v, w)), (A**3 * B, 3 * A**2 * B * vn + A**3 * wn))
    product = (6 * A * B * vn + 3 * A**2 * wn, 3 * A**2 * vn)
    for f in (functional.hvp, functional.vhp):
        close(f(lambda x, y: (x**3 * y).sum(), (a, b), (v, w)), ((A**3 * B).sum(), product))
    assert a.grad is None


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda F, a: F.jacobian(lambda x, y: x * 2, (a, a * 1), strict=True), RuntimeError, "input 1 .strict=True"),
        (lambda F, a: F.jacobian(lambda x: a.detach(), a, strict=True), RuntimeError, "does not depend on its inputs"),
        (lambda F, a: F.jacobian(lambda x: 3, a), TypeError, "outputs of the user-provided function given to jacobian"),
        (lambda F, a: F.jacobian(lambda x: x, 3), TypeError, "inputs given to jacobian must be"),
        (lambda F, a: F.jacobian(lambda x: x, a, strategy="forward-mode"), NotImplementedError, "reverse-mode"),
        (lambda F, a: F.vjp(lambda x: x * 2, a), RuntimeError, "v can only be None"),
        (lambda F, a: F.vjp(lambda x: x * 2, a, fastdl.ones(2)), RuntimeError, r"should be \(3,\) but got \(2,\)"),
        (lambda F, a: F.jvp(lambda x: x * 2, a, (a, a)), RuntimeError, "invalid length: should be 1 but got 2"),
        (lambda F, a: F.hessian(lambda x: x * 2, a), RuntimeError, "hessian must be a Tensor with one element"),
        (lambda F, a: F.hvp(lambda x: x * 2, a, a), RuntimeError, "hvp must be a Tensor with one element"),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(fastdl.autograd.functional, leaf(fastdl, *A))


# grad and backward


@on_both
def test_grad_outputs_and_unused_inputs(T):
    a, b, c = leaf(T, *A), leaf(T, *B), leaf(T, 1.0)
    found = T.autograd.grad([a * b, a.sum()], [a, b], [T.tensor([1.0, 2, 3]).double(), None])
    close(found, (B * [1, 2, 3] + 1, A * [1, 2, 3]))
    found = T.autograd.grad((a * 2).sum(), [a, c], materialize_grads=True)
    close(found, (np.full(3, 2.0), np.zeros(1)))
    assert T.autograd.grad((a * 2).sum(), [c, a], allow_unused=True)[0] is None
    with pytest.raises(ValueError, match="Expected allow_unused to be True or not passed when materialize_grads=True"):
        T.autograd.grad((a * 2).sum(), [c, a], allow_unused=False, materialize_grads=True)


@on_both
def test_backward_into_given_inputs_only(T):
    a, b = leaf(T, 1.0), leaf(T, 2.0)
    y = a * b
    y.retain_grad()
    z = y * 3
    z.backward(inputs=[b, y])
    assert a.grad is None and b.grad.tolist() == [3] and y.grad.tolist() == [3]
    T.autograd.backward([a * 2, b * 3], [T.ones(1).double(), T.ones(1).double() * 2])
    assert a.grad.tolist() == [2] and b.grad.tolist() == [9]


@on_both
def test_next_functions(T):
    a = leaf(T, 1.0)
    y = (a * 2).exp() + 1
    exp = y.grad_fn.next_functions[0][0]
    assert exp.name() == "ExpBackward0"
    multiply = exp.next_functions[0][0]
    assert multiply.next_functions[0][0].variable is a
    first, second = (a * 2).expand(2).split(1)
    assert (first + second).grad_fn.next_functions[1][0].name() == "SplitBackward0"


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda a: (a * 2).backward(), RuntimeError, r"scalar outputs, this one has shape \(3,\)"),
        (lambda a: (a * 2).backward(a[:2].detach()), RuntimeError, "Mismatch in shape"),
        (lambda a: (a * 2).backward(1.0), TypeError, "got float"),
        (lambda a: fastdl.ones(()).backward(), RuntimeError, "element 0 of tensors does not require grad"),
        (lambda a: (a * 2).sum().backward(inputs=[]), RuntimeError, "cannot be empty"),
        (lambda a: fastdl.autograd.backward([a.sum(), fastdl.ones(())]), RuntimeError, "element 1 of tensors"),
        (lambda a: fastdl.autograd.backward([a.sum()], [None, None]), RuntimeError, "1 tensors and 2 gradients"),
        (lambda a: fastdl.autograd.grad(a.sum(), a, 1.0), TypeError, "float"),
        (lambda a: fastdl.autograd.grad(a.sum(), a, [1.0]), TypeError, "either Tensors or None, but got float"),
        (lambda a: fastdl.autograd.grad(a.sum(), a, is_grads_batched=True), NotImplementedError, "once for each row"),
        (lambda a: fastdl.autograd.grad(a.sum(), [a, fastdl.ones(2)]), RuntimeError, r"inputs\[1\] of shape \(2,\)"),
        (lambda a: fastdl.autograd.grad(a.sum(), [a, a * 1]), RuntimeError, r"inputs\[1\]\. Set allow_unused=True"),
        (lambda a: setattr(a * 2, "requires_grad", False), RuntimeError, "leaf variables"),
        (lambda a: fastdl.ones(2, dtype=fastdl.int64).requires_grad_(), RuntimeError, "floating point"),
        (lambda a: (a * 2)[0].detach_(), RuntimeError, "views in-place"),
        (lambda a: a.numpy(), RuntimeError, r"detach\(\)\.numpy"),
        (lambda a: a.add_(1), RuntimeError, "leaf Variable that requires grad"),
        (lambda a: setattr(a, "grad", a), RuntimeError, "own grad"),
        (lambda a: setattr(a, "grad", a[:2].detach()), RuntimeError, r"\(2,\)"),
        (lambda a: setattr(a, "grad", 3), TypeError, "int"),
    ],
)
def test_mistakes_of_backward(call, error, message):
    with pytest.raises(error, match=message):
        call(leaf(fastdl, *A))


def spoilt(write, op=lambda y: y * y):
    x = fastdl.ones(2, 3, requires_grad=True)
    y = x * 2
    z = op(y)
    write(y)
    with pytest.raises(RuntimeError) as caught:
        z.sum().backward()
    return str(caught.value)


@pytest.mark.parametrize(
    "writer, write",
    [
        ("add_", lambda y: y.add_(1)),
        ("mul_", lambda y: y.__imul__(2)),
        ("relu_", lambda y: y.relu_()),
        ("zero_|fill_", lambda y: y.zero_()),
        ("setitem", lambda y: y.__setitem__((0, 1), 5)),
        ("mul_", lambda y: y[0].mul_(2)),
        ("copy_", lambda y: y.detach().copy_(fastdl.zeros(3))),
        ("normal_", lambda y: y.detach().normal_()),
    ],
)
def test_a_spoilt_tensor_names_both_operators(writer, write):
    text = spoilt(write)
    assert "a tensor of shape (2, 3) and type torch.float32, input of MulBackward0" in text
    assert any(f": {name} wrote to it after MulBackward0 had saved it" in text for name in writer.split("|")), text
    assert "expected version 0" in text


def test_an_optimizer_that_spoils_a_weight_is_named():
    layer, x = fastdl.nn.Linear(3, 2), fastdl.ones(1, 3, requires_grad=True)
    y = layer(x).sum()
    y.backward(retain_graph=True)
    fastdl.optim.SGD(layer.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="SGD wrote to it after AddmmBackward0 had saved it"):
        y.backward()


def test_gradients_of_a_failed_pass_do_not_reach_the_next():
    """Operators with several outputs, too, forget what had arrived."""
    x = fastdl.ones(4, requires_grad=True)
    p, q = (x * 1).split(2)
    r = p * 1

    def fail(g):
        raise ZeroDivisionError

    handle = r.register_hook(fail)
    y = (r + q * 5).sum()
    with pytest.raises(ZeroDivisionError):
        y.backward(retain_graph=True)
    handle.remove()
    y.backward()
    assert x.grad.tolist() == [1, 1, 5, 5]


# gradcheck


@on_both
def test_gradcheck(T):
    x, y = leaf(T, 0.3, 0.7), leaf(T, 1.3)
    good = lambda x, y: (x * y.exp(), (x**2).sum())  # noqa: E731
    assert T.autograd.gradcheck(good, (x, y)) and T.autograd.gradgradcheck(good, (x, y))
    assert T.autograd.gradcheck(lambda x, n: x**n, (x, 3))

    class Wrong(T.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0]

    with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"):
        T.autograd.gradcheck(Wrong.apply, (x,))
    assert not T.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        T.autograd.gradcheck(good, (x.detach(), y.detach()))
    assert x.grad is None and x.tolist() == [0.3, 0.7]


def test_gradcheck_finds_wrong_second_derivatives():
    class Wrong(fastdl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0].detach()

    x = leaf(fastdl, 0.3, 0.7)
    assert fastdl.autograd.gradcheck(Wrong.apply, (x,))
    with pytest.raises(fastdl.autograd.GradcheckError):
        fastdl.autograd.gradgradcheck(Wrong.apply, (x,))
    with pytest.raises(TypeError, match="unexpected keyword argument 'epsilon'"):
        fastdl.autograd.gradcheck(Wrong.apply, (x,), epsilon=1)


def test_gradcheck_warns_of_single_precision():
    with pytest.warns(UserWarning, match="not a double precision"):
        fastdl.autograd.gradcheck(lambda x: x * 2, (fastdl.ones(2, requires_grad=True),), atol=1, eps=1e-2)


# modes


@on_both
def test_modes_as_decorators_of_functions_and_generators(T):
    @T.no_grad()
    def generator():
        received = yield T.is_grad_enabled()
        try:
            yield received, T.is_grad_enabled()
        except ValueError:
            yield "caught", T.is_grad_enabled()
        return 5

    items = generator()
    assert next(items) is False and T.is_grad_enabled()
    assert items.send(3) == (3, False) and T.is_grad_enabled()
    assert items.throw(ValueError()) == ("caught", False)
    with pytest.raises(StopIteration) as stop:
        next(items)
    assert stop.value.value == 5 and T.is_grad_enabled()

    closed = []

    @T.no_grad
    def closing():
        try:
            yield 1
        finally:
            closed.append(T.is_grad_enabled())

    items = closing()
    next(items)
    items.close()
    assert closed == [False] and T.is_grad_enabled()

    @T.set_grad_enabled(False)
    def off():
        return T.is_grad_enabled()

    assert T.is_grad_enabled() and not off() and T.is_grad_enabled()
    with T.set_grad_enabled(False), T.enable_grad():
        assert T.is_grad_enabled()
    T.set_grad_enabled(False)
    assert not T.is_grad_enabled()
    T.set_grad_enabled(True)

    @T.inference_mode(False)
    def as_before():
        return T.is_grad_enabled()

    assert as_before()
    with T.inference_mode():
        assert not (T.ones(1, requires_grad=True) * 2).requires_grad
