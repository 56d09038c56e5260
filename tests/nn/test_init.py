"""Initial values: distributions, bounds, seeds, and what errors say."""

import math

import numpy as np
import pytest

import fastdl
from fastdl.nn import init

FAN_IN, FAN_OUT = 300, 100  # of a (100, 300) weight


def filled(function, *args, shape=(FAN_OUT, FAN_IN), seed=0, **kwargs):
    fastdl.manual_seed(seed)
    tensor = fastdl.empty(shape)
    assert function(tensor, *args, **kwargs) is tensor
    return tensor.numpy().astype(float)


@pytest.mark.parametrize(
    ("function", "args", "bound"),
    [
        (init.uniform_, (-2, 2), 2),
        (init.xavier_uniform_, (), math.sqrt(6 / 400)),
        (init.xavier_uniform_, (2.0,), 2 * math.sqrt(6 / 400)),
        (init.kaiming_uniform_, (), math.sqrt(6 / 300)),
        (init.kaiming_uniform_, (math.sqrt(5),), 1 / math.sqrt(300)),
        (init.kaiming_uniform_, (0, "fan_out", "relu"), math.sqrt(6 / 100)),
    ],
)
def test_uniform_fills_its_interval(function, args, bound):
    values = filled(function, *args)
    assert np.abs(values).max() <= bound * (1 + 1e-6) and np.abs(values).max() > 0.999 * bound
    assert abs(values.mean()) < 5 * bound / math.sqrt(3 * values.size)
    assert abs(values.std() / (bound / math.sqrt(3)) - 1) < 0.02


@pytest.mark.parametrize(
    ("function", "args", "mean", "std"),
    [
        (init.normal_, (), 0, 1),
        (init.normal_, (3, 0.5), 3, 0.5),
        (init.xavier_normal_, (), 0, math.sqrt(2 / 400)),
        (init.kaiming_normal_, (), 0, math.sqrt(2 / 300)),
        (init.kaiming_normal_, (0, "fan_out"), 0, math.sqrt(2 / 100)),
        (init.kaiming_normal_, (0, "fan_in", "tanh"), 0, 5 / 3 / math.sqrt(300)),
        (init.trunc_normal_, (), 0, 0.8796),
        (init.trunc_normal_, (1, 2, 0, 5), 1.8915, 1.2273),  # by numerical integration
    ],
)
def test_normal_has_its_moments(function, args, mean, std):
    values = filled(function, *args)
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size) + 1e-3
    assert abs(values.std() / std - 1) < 0.03


def test_truncated_normal_stays_within_and_follows_the_distribution():
    values = filled(init.trunc_normal_, 0.0, 1.0, -1.0, 3.0)
    assert values.min() >= -1 and values.max() <= 3
    below = math.erf(1 / math.sqrt(2)) / 2
    total = below + math.erf(3 / math.sqrt(2)) / 2
    assert abs((values < 0).mean() - below / total) < 0.015
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(fastdl.empty(3), 10.0)


def test_inverse_error_function():
    x = np.linspace(-0.9999, 0.9999, 401)
    y = init._erfinv(fastdl.tensor(x)).numpy()
    np.testing.assert_allclose([math.erf(v) for v in y], x, atol=4e-7)


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4), (3, 2, 2), (1, 9)], ids=str)
def test_orthogonal_rows_or_columns(shape):
    values = filled(init.orthogonal_, shape=shape).reshape(shape[0], -1)
    product = values @ values.T if values.shape[0] <= values.shape[1] else values.T @ values
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)
    np.testing.assert_allclose(filled(init.orthogonal_, 3.0, shape=shape).ravel(), 3 * values.ravel(), rtol=1e-6)


def test_constants_and_identity():
    assert filled(init.constant_, 0.5, shape=(2,)).tolist() == [0.5, 0.5]
    assert filled(init.zeros_, shape=(2,)).tolist() == [0, 0] and filled(init.ones_, shape=(2,)).tolist() == [1, 1]
    assert filled(init.eye_, shape=(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_sparse_has_zeros_in_each_column():
    values = filled(init.sparse_, 0.3, shape=(10, 4))
    assert (values == 0).sum(0).tolist() == [3, 3, 3, 3]


def test_seed_and_generator_decide_the_values():
    for function in (init.xavier_normal_, init.orthogonal_, init.trunc_normal_, init.kaiming_uniform_):
        assert (filled(function, shape=(6, 5)) == filled(function, shape=(6, 5))).all()
        assert (filled(function, shape=(6, 5)) != filled(function, shape=(6, 5), seed=1)).any()
        a = filled(function, shape=(6, 5), seed=1, generator=fastdl.Generator().manual_seed(7))
        b = filled(function, shape=(6, 5), seed=2, generator=fastdl.Generator().manual_seed(7))
        assert (a == b).all()


def test_nothing_is_recorded_for_parameters():
    weight = fastdl.nn.Parameter(fastdl.ones(3, 2))
    for function in (init.xavier_uniform_, init.orthogonal_, init.trunc_normal_, init.zeros_, init.normal_):
        function(weight)
        assert weight.is_leaf and weight.requires_grad


def test_fans_of_more_dimensions():
    assert init._calculate_fan_in_and_fan_out(fastdl.empty(8, 4, 3, 5)) == (60, 120)


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == pytest.approx(5 / 3) and init.calculate_gain("selu") == 0.75
    assert init.calculate_gain("relu") == pytest.approx(2**0.5)
    assert init.calculate_gain("leaky_relu", 0.5) == pytest.approx((2 / 1.25) ** 0.5)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: init.xavier_uniform_(fastdl.empty(3)), r"fewer than 2 dimensions, got shape \(3,\)"),
        (lambda: init.kaiming_normal_(fastdl.empty(3, 3), mode="fan"), "Mode fan not supported"),
        (lambda: init.kaiming_normal_(fastdl.empty(3, 3), nonlinearity="nothing"), "Unsupported nonlinearity nothing"),
        (lambda: init.calculate_gain("leaky_relu", "x"), "negative_slope x not a valid number"),
        (lambda: init.eye_(fastdl.empty(3)), "Only tensors with 2 dimensions"),
        (lambda: init.orthogonal_(fastdl.empty(3)), "2 or more dimensions"),
        (lambda: init.sparse_(fastdl.empty(3), 0.5), "Only tensors with 2 dimensions"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_empty_tensors_are_left_alone():
    with pytest.warns(UserWarning, match="zero-element"):
        init.kaiming_uniform_(fastdl.empty(0, 3))
    assert init.orthogonal_(fastdl.empty(0, 3)).shape == (0, 3)
