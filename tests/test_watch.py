"""detect_anomaly and check_finite: what their errors name, that they see the first bad value and nothing else."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fastdl
from fastdl import nn
from tests.both import on_both

HERE = __file__


def line_of(text: str) -> int:
    """The number of the one line of this file that ends in the comment `text`."""
    with open(HERE) as file:
        (number,) = [i for i, line in enumerate(file, 1) if line.rstrip().endswith("# " + text)]
    return number


def caught(function, *args, inf=True):
    """The message of the error that check_finite raises."""
    with pytest.raises(FloatingPointError) as error, fastdl.check_finite(inf):
        function(*args)
    assert not fastdl.autograd.watch.watcher.active
    return str(error.value)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear1 = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(self.linear1(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Identity(), Block())

    def forward(self, x):
        return self.encoder(x)  # Net.forward


def test_forward():
    x = fastdl.ones(3, 4, requires_grad=True)
    y = x * fastdl.arange(12.0).reshape(3, 4)[:, [1, 2, 0, 3]]

    def step():
        return y.log()  # forward

    text = caught(step)
    assert text.startswith("check_finite: log gave -inf at [0, 2] of its result of shape (3, 4)\n")
    assert f"at {HERE}:{line_of('forward')} in step: return y.log()" in text
    assert "in module" not in text and "either" not in text


def test_backward():
    x = fastdl.tensor([4.0, 0.0, 0.0], requires_grad=True)
    text = caught(lambda: x.sqrt().sum().backward())  # backward
    assert text.startswith("check_finite: the derivative of sqrt (SqrtBackward0) gave inf at [1] of the gradient of ")
    assert "its input 0 of shape (3,), the first of 2 such values\n" in text
    assert f"{HERE}:{line_of('backward')} in <lambda>" in text
    assert x.grad is None


def test_the_path_of_the_module_forward():
    net = Net()
    net.encoder[1].linear1.weight.data[2, 1] = np.inf
    text = caught(net, fastdl.ones(2, 3))
    assert text.startswith("check_finite: addmm gave inf at [0, 2] of its result of shape (2, 4), the first of 2")
    assert "in module Net.encoder.1.linear1 (Linear(in_features=3, out_features=4, bias=True))" in text
    assert f"{HERE}:" in text and "in forward: return self.norm(self.linear1(x))" in text
    assert "an input was not finite either: inf at [2, 1] of a tensor of shape (4, 3)" in text


def test_the_path_of_the_module_backward():
    net = Net()
    y = []

    def step():
        y.append(net(fastdl.ones(2, 3, requires_grad=True)))
        y[0].backward(fastdl.full((2, 4), 3e38) * fastdl.tensor([1.0, -1, 1, -1]))

    net.encoder[1].norm.weight.data.fill_(1e5)
    text = caught(step)
    assert "the derivative of native_layer_norm" in text
    assert "in module Net.encoder.1.norm (LayerNorm(" in text


def test_without_recording_modules_are_looked_at():
    net = Net()
    net.encoder[1].linear1.bias.data[1] = np.nan
    with fastdl.no_grad():
        text = caught(net, fastdl.ones(2, 3))
    assert text.startswith("check_finite: Linear gave nan at [0, 1] of its result of shape (2, 4)")
    assert "Net.encoder.1.linear1" in text
    assert "a parameter was not finite either: nan at [1] of a tensor of shape (4,)" in text


def test_in_place_operators():
    x = fastdl.zeros(3)
    text = caught(lambda: x.div_(0))  # div_
    assert text.startswith("check_finite: div_ wrote nan at [0] of a tensor of shape (3,), the first of 3")
    assert f"{HERE}:{line_of('div_')}" in text
    w = fastdl.ones(3, requires_grad=True)

    def recorded():
        y = w * 2
        y.div_(fastdl.tensor([1.0, 1, 0]))

    assert "inf at [2] of its result" in caught(recorded)


def test_several_outputs_and_custom_functions():
    class Pair(fastdl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1, x / 0

        @staticmethod
        def backward(ctx, g, h):
            return g * np.inf

    x = fastdl.ones(2, requires_grad=True)
    assert caught(Pair.apply, x).startswith("check_finite: pair gave inf at [0] of its result of shape (2,)")

    class One(Pair):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g * np.inf

    assert "the derivative of one (OneBackward) gave inf" in caught(lambda: One.apply(x).sum().backward())


@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64, fastdl.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 4097, 70_001])
def test_one_bad_element_is_seen_anywhere(dtype, value, n):
    for at in sorted({0, n // 2, n - 1}):
        x = fastdl.ones(n, dtype=dtype)
        x[at] = value
        assert not fastdl._tensor.is_finite(x)
        assert not fastdl._tensor.is_finite(x[::1].reshape(1, n).expand(2, n))
        assert fastdl._tensor.is_finite(x[at + 1 :]) and fastdl._tensor.is_finite(x[:at])


def test_finite_values_whose_sum_is_not():
    x = fastdl.full((1000,), 3e38, requires_grad=True)
    with fastdl.check_finite():
        (x * 1).tanh().sum().backward()
    assert fastdl._tensor.is_finite(fastdl.arange(5))
    assert fastdl._tensor.is_finite(fastdl.zeros(0))


def test_infinities_that_are_meant():
    x = fastdl.ones(3, 3, requires_grad=True)
    mask = fastdl.ones(3, 3).triu(1).bool()
    with fastdl.check_finite():
        x.masked_fill(mask, float("-inf")).softmax(-1)[:, 0].sum().backward()
        y = x * 2
        y[mask] = float("-inf")
        fastdl.where(mask, x, fastdl.tensor(float("inf")))
        fastdl.zeros(3).fill_(float("inf"))
        fastdl.cat([y, y])
    assert "nan" in caught(lambda: x.masked_fill(mask, float("nan")))
    scores = x + fastdl.zeros(3, 3)
    assert "inf" in caught(lambda: scores + fastdl.where(mask, float("-inf"), fastdl.zeros(3, 3)))
    with fastdl.check_finite(inf=False):
        (scores + fastdl.where(mask, float("-inf"), fastdl.zeros(3, 3))).softmax(-1).sum().backward()
    assert "nan" in caught(lambda: (scores * np.inf - np.inf).sum(), inf=False)


def test_forms():
    x = fastdl.zeros(1, requires_grad=True)

    @fastdl.check_finite()
    def decorated():
        return x.log()

    @fastdl.check_finite(inf=False)
    def only_nan():
        return x.log()

    with pytest.raises(FloatingPointError):
        decorated()
    only_nan()
    x.log()
    fastdl.set_check_finite(True)
    try:
        with pytest.raises(FloatingPointError):
            x.log()
    finally:
        fastdl.set_check_finite(False)
    x.log()
    with fastdl.check_finite():
        with fastdl.check_finite(inf=False):
            x.log()
        with pytest.raises(FloatingPointError):
            x.log()


def test_modules_of_other_threads_are_not_mixed_up():
    inside, go, messages = threading.Event(), threading.Event(), []

    class Waits(nn.Module):
        def forward(self):
            inside.set()
            go.wait(30)

    def other():
        inside.wait(30)
        try:
            Block()(fastdl.full((1, 3), np.nan))
        except FloatingPointError as error:
            messages.append(str(error))
        go.set()

    thread = threading.Thread(target=other)
    thread.start()
    with fastdl.check_finite():
        Waits()()
        thread.join()
    assert "in module Block.linear1" in messages[0] and "Waits" not in messages[0]


def test_training_under_check_finite_gives_the_same_bits():
    def run(watch):
        fastdl.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.LSTM(7, 3))
        optimizer = fastdl.optim.Adam(net.parameters(), lr=0.01)
        x = fastdl.randn(4, 2, 5)
        for _ in range(3):
            optimizer.zero_grad()
            if watch:
                with fastdl.check_finite(), fastdl.autograd.detect_anomaly():
                    net(x)[0].square().sum().backward()
            else:
                net(x)[0].square().sum().backward()
            optimizer.step()
        return [p.detach().numpy().tobytes() for p in net.parameters()]

    assert run(True) == run(False)


def test_the_data_was_bad():
    text = caught(nn.Linear(3, 2), fastdl.tensor([[1.0, float("nan"), 2.0]]))
    assert "an input was not finite either: nan at [0, 1] of a tensor of shape (1, 3)" in text


# detect_anomaly


@on_both
def test_anomaly_names_the_operator(T):
    x = T.zeros(1, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"Function '(Sqrt|Mul)Backward0' returned nan values in its 0th output"):
        T.autograd.set_detect_anomaly(True)
        try:
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (x.sqrt() * 0).sum().backward()
        finally:
            T.autograd.set_detect_anomaly(False)
    assert not T.is_anomaly_enabled()


def test_anomaly_shows_the_forward_traceback():
    def outer(x):
        return inner(x)  # outer

    def inner(x):
        return x.sqrt()  # inner

    x = fastdl.zeros(1, requires_grad=True)
    with pytest.raises(RuntimeError) as error, fastdl.autograd.detect_anomaly():
        (outer(x) * 0).sum().backward()
    text = str(error.value)
    assert text.startswith("Function 'SqrtBackward0' returned nan values in its 0th output.")
    assert "Traceback of the forward call:" in text
    for number in ("outer", "inner"):
        assert f'File "{HERE}", line {line_of(number)}, in {number}' in text
    assert not fastdl.is_anomaly_enabled()
    x.grad = None
    (outer(x) * 0).sum().backward()
    assert np.isnan(x.grad.item())


def test_anomaly_shows_where_a_failing_derivative_was_called():
    x = fastdl.ones(2, requires_grad=True)

    def step():
        y = x * 2
        z = y * y  # saved
        y.add_(1)
        z.sum().backward()

    with pytest.raises(RuntimeError) as error, fastdl.autograd.detect_anomaly():
        step()
    assert "add_ wrote to it" in str(error.value) and f"{HERE}:{line_of('saved')} in step" in str(error.value)
    with pytest.raises(RuntimeError) as error:
        step()
    assert HERE not in str(error.value)


def test_anomaly_settings():
    x = fastdl.zeros(1, requires_grad=True)
    with fastdl.autograd.detect_anomaly(check_nan=False):
        assert fastdl.is_anomaly_enabled() and not fastdl.autograd.is_anomaly_check_nan_enabled()
        (x.sqrt() * 0).sum().backward()
        x.log()
        with fastdl.autograd.set_detect_anomaly(False):
            assert not fastdl.is_anomaly_enabled()
        assert fastdl.is_anomaly_enabled()
    assert not fastdl.is_anomaly_enabled()


# The path of a module in other errors


def test_a_shape_error_names_the_module():
    with pytest.raises(RuntimeError, match=r"(?s)^\[linear\].*in module Net\.encoder\.1\.linear1 \(Linear\(in_f"):
        Net()(fastdl.ones(2, 5))
