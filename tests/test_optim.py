"""Optimizers, schedules and gradient clipping: against PyTorch's stored runs, NumPy, ISAs, threads, and in use."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import _kernels, nn, optim
from fastdl.ops import optim as ops
from tests import optimizer_runs

RUNS = json.loads(optimizer_runs.FILE.read_text())


def parameter(values, grad=None, dtype=np.float32):
    p = fastdl.tensor(np.asarray(values, dtype)).requires_grad_()
    if grad is not None:
        p.grad = fastdl.tensor(np.asarray(grad, dtype))
    return p


def random_parameters(sizes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [parameter(rng.standard_normal(s), rng.standard_normal(s), dtype) for s in sizes]


@pytest.mark.parametrize("name", optimizer_runs.OPTIMIZERS)
def test_steps_are_those_of_torch(name):
    # 2 ulp a step; where a step nearly cancels the parameter, of the values that cancel
    np.testing.assert_allclose(
        optimizer_runs.run_optimizer(fastdl, name), RUNS["optimizers"][name], rtol=2e-6, atol=1e-6
    )


@pytest.mark.parametrize("name", optimizer_runs.LBFGS)
def test_lbfgs_goes_the_way_of_torch(name):
    np.testing.assert_allclose(optimizer_runs.run_lbfgs(fastdl, name), RUNS["lbfgs"][name], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", optimizer_runs.SCHEDULES)
def test_rates_are_those_of_torch(name):
    np.testing.assert_allclose(
        optimizer_runs.run_schedule(fastdl, name), RUNS["schedules"][name], rtol=1e-12, atol=1e-15
    )


SIZES = [(0,), (1,), (15,), (16, 1), (17,), (3, 11), (4096,), (4097,), (130, 257)]
EVERY = optimizer_runs.OPTIMIZERS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EVERY)
def test_bits_do_not_depend_on_threads_or_isa(name, dtype):
    kind, options = EVERY[name]

    def weights():
        params = random_parameters(SIZES, dtype)
        optimizer = getattr(optim, kind)(params, **options)
        for _ in range(3):
            optimizer.step(max_norm=5.0)
        return [p.detach().numpy() for p in params] + [np.array(optimizer.grad_norm)]

    fma = [isa for isa, usable in _kernels.isas() if usable and isa != "base"] or ["base"]
    before = fastdl.get_num_threads(), _kernels.isa()
    found = []
    try:
        for isa in fma:
            _kernels.set_isa(isa)
            for threads in (1, 2, 3):
                fastdl.set_num_threads(threads)
                found.append(weights())
        _kernels.set_isa("base")
        base = weights()
    finally:
        fastdl.set_num_threads(before[0])
        _kernels.set_isa(before[1])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    for a, b in zip(found[0], base):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_sgd_against_float64():
    params = random_parameters(SIZES)
    before = [p.detach().numpy().astype(np.float64) for p in params]
    optim.SGD(params, lr=0.3, weight_decay=0.1).step()
    for p, b in zip(params, before):
        g = p.grad.numpy().astype(np.float64)
        np.testing.assert_allclose(p.detach().numpy(), b - 0.3 * (g + 0.1 * b), rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop"])
def test_averages_that_fade_become_zero(kind, dtype):
    """Without a gradient they would shrink to denormals and stay there; the parameter does not notice."""
    options = {"SGD": {"momentum": 0.5}, "Adam": {"betas": (0.5, 0.5)}, "RMSprop": {"alpha": 0.5}}[kind]
    p = parameter([1.0, -2.0, 3.0] * 7, [1e-3, 0.5, -1e-18] * 7, dtype)
    optimizer = getattr(optim, kind)([p], lr=0.01, **options)
    optimizer.step()
    p.grad.zero_()
    for _ in range(1200):
        before = p.detach().numpy().copy()
        optimizer.step()
        averages = [s.numpy() for s in optimizer.state[p].values() if isinstance(s, fastdl.Tensor) and s.ndim]
        assert all((abs(a[a != 0]) >= np.finfo(dtype).smallest_normal).all() for a in averages)
    assert averages and all((a == 0).all() for a in averages)
    np.testing.assert_array_equal(p.detach().numpy(), before)


@pytest.mark.parametrize("kind", ["Adam", "RMSprop"])
def test_small_gradients_count_where_eps_is_small(kind):
    p = parameter([1.0] * 5, [1e-18, -1e-18, 1e-16, 1.0, 1e-12])
    getattr(optim, kind)([p], lr=0.125, eps=0).step()
    expected = 0.125 * np.sign(p.grad.numpy()) * (1 if kind == "Adam" else 10)
    np.testing.assert_allclose(p.detach().numpy(), 1 - expected, rtol=1e-3)


# The clip ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 7.0, 1e9])
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_clip_in_the_step_is_the_clip_before_it(kind, max_norm):
    one, two = random_parameters(SIZES), random_parameters(SIZES)
    first, second = getattr(optim, kind)(one, lr=0.1), getattr(optim, kind)(two, lr=0.1)
    norm = nn.utils.clip_grad_norm_(one, max_norm)
    first.step()
    second.step(max_norm=max_norm)
    assert math.isclose(second.grad_norm, norm.item(), rel_tol=1e-6)
    for a, b in zip(one, two):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_clip_grad_norm(norm_type):
    params = [*random_parameters([(3, 5), (7,), (4097,)]), parameter([1.0])]
    grads = [p.grad.numpy().astype(np.float64) for p in params[:-1]]
    expected = np.linalg.norm(np.concatenate([g.reshape(-1) for g in grads]), norm_type)
    norm = nn.utils.clip_grad_norm_(iter(params), 2.0, norm_type)
    assert norm.shape == () and math.isclose(norm.item(), expected, rel_tol=1e-5)
    for p, g in zip(params, grads):
        np.testing.assert_allclose(p.grad.numpy(), g * min(1, 2.0 / (expected + 1e-6)), rtol=1e-5)
    assert params[-1].grad is None


def test_small_gradients_are_not_touched():
    p = parameter([1.0, 2.0], [3.0, 4.0])
    assert nn.utils.clip_grad_norm_(p, 6.0).item() == 5.0
    assert p.grad.tolist() == [3.0, 4.0]


def test_clip_of_nothing():
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    optimizer = optim.SGD([parameter([1.0])], lr=1.0)
    optimizer.step(max_norm=1.0)
    assert optimizer.grad_norm == 0.0


def test_nonfinite_gradients():
    p = parameter([1.0, 2.0], [math.inf, 1.0])
    with pytest.raises(RuntimeError, match="total norm of order 2 of the gradients is inf"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.tolist() == [math.inf, 1.0]
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.step(max_norm=1.0)
    assert optimizer.grad_norm == math.inf
    assert math.isnan(p.tolist()[0]) and p.tolist()[1] == 2.0  # inf * 0, as PyTorch has it
    p = parameter([1.0, 2.0], [math.nan, 1.0])
    optim.SGD([p], lr=1.0).step(max_norm=1.0)
    assert all(math.isnan(x) for x in p.tolist())


def test_clip_grad_value():
    p = parameter([0.0] * 4, [-3.0, -0.5, 0.5, 3.0])
    nn.utils.clip_grad_value_([p], 1.0)
    assert p.grad.tolist() == [-1.0, -0.5, 0.5, 1.0]


@pytest.mark.parametrize("n", [0, 1, 17, 4095, 4096, 4097, 100001])
def test_norm_against_float64(n):
    params = random_parameters([(n,), (33,)])
    expected = math.sqrt(sum(float((p.grad.numpy().astype(np.float64) ** 2).sum()) for p in params))
    assert math.isclose(ops.grad_norm(params), expected, rel_tol=3e-7)


# In use -----------------------------------------------------------------------------------------------------------


def test_parameters_without_gradient_are_skipped():
    a, b = parameter([1.0], [1.0]), parameter([1.0])
    optimizer = optim.Adam([a, b], lr=0.1)
    optimizer.step()
    assert b.tolist() == [1.0] and b not in optimizer.state
    b.grad = fastdl.tensor([1.0])  # its first step beside the other's second
    optimizer.step()
    assert optimizer.state[a]["step"] == 2 and optimizer.state[b]["step"] == 1
    assert math.isclose(b.item(), 0.9, rel_tol=1e-6)


def test_momentum_of_a_parameter_that_joins_later():
    a, b, c = (parameter([0.0], [1.0]) for _ in range(3))
    b.grad = None
    optimizer = optim.SGD([a, b, c], lr=1.0, momentum=0.5)
    optimizer.step()
    b.grad = fastdl.tensor([1.0])
    optimizer.step()
    assert [a.item(), b.item(), c.item()] == [-2.5, -1.0, -2.5]


def test_both_types_and_strided_parameters():
    a, b = parameter([1.0, 2.0], [1.0, 1.0]), parameter([1.0, 2.0], [1.0, 1.0], np.float64)
    c = fastdl.tensor(np.arange(6, dtype=np.float32).reshape(2, 3)).t().detach().requires_grad_()
    c.grad = fastdl.tensor(np.ones((2, 3), np.float32)).t()
    assert not c.is_contiguous()
    optim.Adam([a, b, c], lr=0.5).step(max_norm=100.0)
    np.testing.assert_allclose(a.tolist(), [0.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(b.tolist(), [0.5, 1.5], rtol=1e-7)
    np.testing.assert_allclose(c.tolist(), np.arange(6).reshape(2, 3).T - 0.5, rtol=1e-6)


def test_a_step_spoils_what_was_saved_for_backward():
    p = parameter([1.0, 2.0], [1.0, 1.0])
    y = p * p
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(fastdl.ones(2))


def test_zero_grad():
    p = parameter([1.0], [2.0])
    optimizer = optim.SGD([p], lr=0.1)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert p.grad is None


def test_closure_and_hooks():
    p = parameter([1.0])
    optimizer = optim.SGD([p], lr=0.5)
    calls = []
    handle = optimizer.register_step_pre_hook(lambda *args: calls.append("before"))
    optimizer.register_step_post_hook(lambda *args: calls.append("after"))

    def closure():
        calls.append("closure")
        optimizer.zero_grad()
        loss = p * 3
        loss.backward()
        return loss

    with fastdl.no_grad():
        assert optimizer.step(closure).item() == 3.0
    assert p.tolist() == [-0.5] and calls == ["before", "closure", "after"]
    handle.remove()
    optimizer.step()
    assert calls == ["before", "closure", "after", "after"]


def test_groups_and_names():
    a, b = parameter([1.0], [1.0]), parameter([1.0], [1.0])
    optimizer = optim.SGD([("a", a)], lr=0.5)
    optimizer.add_param_group({"params": b, "lr": 0.25})
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.75)
    assert optimizer.param_groups[0]["param_names"] == ["a"]
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.5)
    assert "lr: 0.25" in repr(optimizer)


# Saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("way", ["state dict", "pickle"])
def test_a_resumed_run_is_the_same_run(name, way):
    kind, options = EVERY[name]
    params = random_parameters([(5, 3), (17,)])
    optimizer = getattr(optim, kind)(params, **options)
    optimizer.step()
    optimizer.step()
    if way == "pickle":
        copies, other = pickle.loads(pickle.dumps((params, optimizer)))
        copies = [p for g in other.param_groups for p in g["params"]]
        for p, q in zip(params, copies):
            q.grad = p.grad.clone()
    else:
        copies = [parameter(p.detach().numpy(), p.grad.numpy()) for p in params]
        other = getattr(optim, kind)(copies, lr=123.0)
        state = copy.deepcopy(optimizer.state_dict())
        assert state["param_groups"][0]["params"] == [0, 1]
        other.load_state_dict(state)
    optimizer.step()
    other.step()
    for p, q in zip(params, copies):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


def test_loading_copies():
    a, b = random_parameters([(3,)]), random_parameters([(3,)])
    first, second = optim.SGD(a, lr=0.1, momentum=0.9), optim.SGD(b, lr=0.1)
    first.step()
    second.load_state_dict(first.state_dict())
    second.step()
    assert first.state[a[0]]["momentum_buffer"].tolist() == a[0].grad.tolist()


def adam_with_state(sizes=((3,),)):
    optimizer = optim.Adam(random_parameters(sizes))
    optimizer.step()
    return optimizer


def without(state, key):
    state = {**state, "state": {k: {n: t for n, t in s.items() if n != key} for k, s in state["state"].items()}}
    return state


@pytest.mark.parametrize(
    "state, text",
    [
        (lambda: {"weight": 1}, r"\[Adam\] state_dict: expected the keys 'state' and 'param_groups', got \['weight'\]"),
        (lambda: [1], r"\[Adam\] state_dict: expected the keys 'state' and 'param_groups', got list"),
        (lambda: adam_with_state(((3,), (2,))).state_dict(), r"group 0: expected 1 parameters, got 2"),
        (lambda: {**adam_with_state().state_dict(), "param_groups": []}, r"parameter groups: expected 1, got 0"),
        (lambda: adam_with_state(((4,),)).state_dict(), r"of parameter 0: expected shape \(3,\), got \(4,\)"),
        (
            lambda: without(adam_with_state().state_dict(), "exp_avg"),
            r"has no 'exp_avg' for parameter 0; it has exp_avg_sq, step",
        ),
    ],
)
def test_wrong_state_dicts(state, text):
    optimizer = adam_with_state()
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=text):
        optimizer.load_state_dict(state())
    assert optimizer.state_dict() == before


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda p: optim.SGD([], lr=1), ValueError, "empty parameter list"),
        (lambda p: optim.SGD(p, lr=1), TypeError, "expected an iterable of Tensors or dicts, got Tensor"),
        (lambda p: optim.SGD({p}, lr=1), TypeError, "expected a list, got a set"),
        (lambda p: optim.SGD([1.0], lr=1), TypeError, "one of them is float"),
        (lambda p: optim.SGD([p * 2], lr=1), ValueError, "non-leaf"),
        (lambda p: optim.SGD([p, p], lr=1), ValueError, "more than once"),
        (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}], lr=1), ValueError, "more than one parameter group"),
        (lambda p: optim.SGD([p], lr=-1), ValueError, r"\[SGD\] lr: expected a number >= 0, got -1"),
        (lambda p: optim.SGD([p], lr=math.nan), ValueError, r"\[SGD\] lr: .* got nan"),
        (lambda p: optim.SGD([p], momentum=-0.1), ValueError, r"\[SGD\] momentum: .* got -0.1"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "Nesterov momentum requires a momentum"),
        (
            lambda p: optim.Adam([p], betas=(0.9, 1.0)),
            ValueError,
            r"\[Adam\] beta at index 1: expected a number in \[0, 1\), got 1.0",
        ),
        (lambda p: optim.AdamW([p], weight_decay=-1), ValueError, r"\[AdamW\] weight_decay: .* got -1"),
        (lambda p: optim.RMSprop([p], alpha=-1), ValueError, r"\[RMSprop\] alpha"),
        (lambda p: optim.Adagrad([p], lr_decay=-1), ValueError, r"\[Adagrad\] lr_decay"),
        (lambda p: optim.Adadelta([p], rho=1.5), ValueError, r"\[Adadelta\] rho: .* got 1.5"),
        (lambda p: optim.SGD([p], differentiable=True), NotImplementedError, "not recorded"),
        (lambda p: optim.SGD([p]).step(max_norm=-1), ValueError, "max_norm: expected a number >= 0, got -1"),
        (lambda p: optim.lr_scheduler.StepLR(p, 3), TypeError, "expected an Optimizer, got Tensor"),
        (
            lambda p: optim.lr_scheduler.ReduceLROnPlateau(optim.SGD([p]), factor=1.0),
            ValueError,
            "factor: expected a number < 1",
        ),
        (lambda p: optim.lr_scheduler.OneCycleLR(optim.SGD([p]), 1.0), ValueError, "expected total_steps, or epochs"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make(parameter([1.0, 2.0]))


def test_a_bad_step_changes_nothing():
    a = parameter([1.0, 2.0], [1.0, 1.0])
    b = fastdl.tensor(np.ones(2, np.float16)).requires_grad_()
    b.grad = fastdl.tensor(np.ones(2, np.float16))
    optimizer = optim.Adam([a, b])
    with pytest.raises(TypeError, match=r"\[Adam\] expected parameters of type float32 or float64, got .*float16"):
        optimizer.step()
    assert a.tolist() == [1.0, 2.0] and not optimizer.state
