"""Recurrent modules: PyTorch's results, forms of input, lengths, what is saved, and errors. Values and gradients of the
operator itself are in tests/cases/rnn.py."""

import copy

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)
from fastdl.ops import rnn as ops
from tests import rnn_runs

LAYERS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


def normal(*shape, seed=0):
    return fastdl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def states(layer, *shape):
    hx = tuple(normal(*shape, seed=s) for s in (1, 2))
    return hx if layer is nn.LSTM else hx[0]


def assert_close(a, b):
    """Equal but for the input's product, whose order of summation depends on its number of rows."""
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def arrays(state):
    return [s.detach().numpy() for s in (state if isinstance(state, tuple) else (state,))]


@pytest.mark.parametrize("name", rnn_runs.RUNS)
def test_values_and_gradients_are_those_of_pytorch(name):
    stored = np.load(rnn_runs.FILE)[name]
    found = rnn_runs.run(fastdl, name)
    assert sum(a.size for a in found.values()) == stored.size
    for key, a in found.items():
        wanted, stored = stored[: a.size].reshape(a.shape), stored[a.size :]
        np.testing.assert_allclose(a, wanted, rtol=1e-5, atol=2e-6 * max(1, np.abs(wanted).max()), err_msg=key)


@pytest.mark.parametrize("layer", LAYERS.values())
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_give_what_each_sequence_gives_alone(layer, batch_first):
    net = layer(3, 5, num_layers=2, bidirectional=True, batch_first=batch_first)
    lengths = [2, 6, 1, 6, 3]
    x, hx = normal(6, 5, 3), states(layer, 4, 5, 5)
    y, last = net(x.transpose(0, 1) if batch_first else x, hx, lengths=lengths)
    y = y.transpose(0, 1) if batch_first else y
    for b, n in enumerate(lengths):
        h = tuple(s[:, b : b + 1] for s in hx) if isinstance(hx, tuple) else hx[:, b : b + 1]
        alone = x[:n, b : b + 1]
        wanted, wanted_last = net(alone.transpose(0, 1) if batch_first else alone, h)
        wanted = wanted.transpose(0, 1) if batch_first else wanted
        assert_close(y.detach().numpy()[:n, b], wanted.detach().numpy()[:, 0])
        assert not y.detach().numpy()[n:, b].any()
        for s, w in zip(arrays(last), arrays(wanted_last)):
            assert_close(s[:, b], w[:, 0])


@pytest.mark.parametrize("layer", LAYERS.values())
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_give_the_bits_of_packed_sequences(layer, batch_first):
    """Values, last states and all gradients; what stands in the padding does not matter."""
    net = layer(3, 21, num_layers=2, bidirectional=True, batch_first=batch_first)
    lengths, found = [2, 6, 1, 6, 3], []
    behind = np.arange(7)[:, None] >= lengths
    behind = behind.T if batch_first else behind
    upstream = normal(*behind.shape, 42, seed=7)
    for packed in (False, True):
        x = normal(*behind.shape, 3)
        if not packed:
            x[fastdl.tensor(behind)] = np.nan
        hx = states(layer, 4, 5, 21)
        for t in (x, *(hx if layer is nn.LSTM else (hx,))):
            t.requires_grad_()
        if packed:
            y, last = net(pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False), hx)
            y, _ = pad_packed_sequence(y, batch_first, total_length=7)
        else:
            y, last = net(x, hx, lengths=lengths)
        net.zero_grad()
        parts = last if layer is nn.LSTM else (last,)
        (y * upstream).sum().backward(retain_graph=True)
        sum((s * s).sum() for s in parts).backward()
        assert not y.detach().numpy()[behind].any() and not x.grad.numpy()[behind].any()
        grads = [t.grad for t in (x, *(hx if layer is nn.LSTM else (hx,)), *net.parameters())]
        found.append([t.detach().numpy().tobytes() for t in (y, *parts, *grads)])
    assert found[0] == found[1]


@pytest.mark.parametrize("layer", LAYERS.values())
@pytest.mark.parametrize("form", ["plain", "batch_first", "lengths", "packed", "few"])
def test_tokens_give_the_bits_of_one_hot_vectors(layer, form):
    """The gradients may differ by rounding: tokens are summed in another order than a product's."""
    first, vocab = form == "batch_first", 90 if form == "few" else 11
    net = layer(vocab, 19, num_layers=2, batch_first=first)
    tokens = fastdl.tensor(np.random.default_rng(3).integers(vocab, size=(4, 5)))
    one_hot = nn.functional.one_hot(tokens, vocab).float()
    found = []
    for x in (tokens, one_hot):
        options = {"lengths": [4, 1, 2, 4, 3]} if form == "lengths" else {}
        if form == "packed":
            x = pack_padded_sequence(x, [4, 4, 2, 1, 1])
        y, last = net(x, **options)
        y = y.data if form == "packed" else y
        net.zero_grad()
        (y * normal(*y.shape, seed=4)).sum().backward()
        found.append(([y.detach().numpy(), *arrays(last)], [p.grad.numpy() for p in net.parameters()]))
    for a, b in zip(found[0][0], found[1][0]):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(found[0][1], found[1][1]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS.values())
@pytest.mark.parametrize("form", ["plain", "lengths", "packed"])
@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64])
def test_one_hot_vectors_are_taken_as_tokens(layer, form, dtype):
    """With all bits, gradients too; but not where a row is no such vector, or the input wants a gradient."""
    net = layer(7, 19, dtype=dtype)
    tokens = fastdl.tensor(np.random.default_rng(3).integers(7, size=(35, 5)))
    hot = nn.functional.one_hot(tokens, 7).to(dtype)
    lengths = np.array([35, 1, 12, 35, 30])

    def run(x):
        options = {"lengths": lengths} if form == "lengths" else {}
        x = pack_padded_sequence(x, lengths, enforce_sorted=False) if form == "packed" else x
        y, _ = net(x, **options)
        y = y.data if form == "packed" else y
        net.zero_grad()
        (y * normal(*y.shape, seed=4).to(dtype)).sum().backward()
        return [y.detach().numpy(), *(p.grad.numpy() for p in net.parameters())]

    def product(x):
        return run(x.clone().requires_grad_())

    wanted, multiplied = run(tokens), product(hot)
    for a, b in zip(wanted, run(hot)):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(wanted[0], multiplied[0])
    for a, b in zip(wanted[1:], multiplied[1:]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for value in ([0] * 7, [1, 0, 0, 0, 0, 0, 1], [0, 0, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, float("nan")]):
        x = hot.clone()
        x[-1, 0] = fastdl.tensor(value, dtype=dtype)
        for a, b in zip(run(x), product(x)):
            np.testing.assert_array_equal(a, b)
    if form == "lengths":  # what stands behind an end does not count
        x = hot.clone()
        x[1:, 1] = 0.5
        for a, b in zip(wanted, run(x)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layer", LAYERS.values())
def test_step_by_step_gives_the_whole_sequence(layer):
    net, x = layer(4, 17, num_layers=2), normal(7, 3, 4)
    whole, last = net(x)
    state, parts = None, []
    for t in range(7):
        y, state = net(x[t : t + 1], state)
        parts.append(y.detach().numpy())
    assert_close(np.concatenate(parts), whole.detach().numpy())
    for s, w in zip(arrays(state), arrays(last)):
        assert_close(s, w)


@pytest.mark.parametrize("layer", LAYERS.values())
def test_batch_rows_do_not_depend_on_each_other(layer):
    net, x = layer(4, 33), normal(5, 21, 4)
    whole = net(x)[0].detach().numpy()
    for b in (0, 7, 20):
        assert_close(net(x[:, b : b + 1])[0].detach().numpy()[:, 0], whole[:, b])


@pytest.mark.parametrize("layer", LAYERS.values())
def test_inference_gives_the_bits_of_training(layer):
    net, x = layer(4, 19, num_layers=2, bidirectional=True), normal(5, 3, 4)
    y, last = net(x)
    with fastdl.no_grad():
        quiet, quiet_last = net(x)
    assert y.requires_grad and not quiet.requires_grad
    for a, b in zip([y, *arrays(last)], [quiet, *arrays(quiet_last)]):
        np.testing.assert_array_equal(np.asarray(a.detach() if hasattr(a, "detach") else a), np.asarray(b))


@pytest.mark.parametrize("steps", [1, 1025])  # kept up to 1024 rows
@pytest.mark.parametrize("layer", LAYERS.values())
def test_kept_packed_weights_change_no_bit_and_are_dropped_by_writes(layer, steps):
    def calls():
        return [np.concatenate([a.ravel() for a in (net(x)[0].numpy(), *arrays(net(x, hx)[1]))]) for _ in range(3)]

    net, x, hx = layer(4, 19), normal(steps, 1, 4), states(layer, 1, 1, 19)
    with fastdl.no_grad():
        first = calls()
        assert all(np.array_equal(found, first[0]) for found in first)
        for write in (
            lambda: net.weight_hh_l0.mul_(2.0),
            lambda: net.weight_ih_l0.data.__setitem__(0, 0.5),
            lambda: net.weight_hh_l0.detach().numpy().__setitem__(1, 0.5),  # bumps no version
            lambda: net.weight_ih_l0.detach().numpy().__setitem__(2, 0.5),
        ):
            before = calls()[0]
            write()
            found, fresh = calls(), copy.deepcopy(net)
            assert not np.array_equal(found[0], before)
            assert all(np.array_equal(again, found[0]) for again in found)
            assert np.array_equal(fresh(x, hx)[0].numpy(), net(x, hx)[0].numpy())


@pytest.mark.parametrize("hidden", [16, 17, 48, 72, 100])  # panels of one and two vectors, in even and odd numbers
@pytest.mark.parametrize("layer", LAYERS.values())
def test_one_row_gives_the_bits_of_many(layer, hidden):
    net, whole, at = layer(4, hidden), states(layer, 1, 9, hidden), 5
    net.weight_ih_l0.data.zero_()  # the order of the input's product depends on its number of rows

    def run(rows):
        hx = [s[:, rows].clone().requires_grad_() for s in (whole if layer is nn.LSTM else (whole,))]
        y = net(normal(6, hx[0].shape[1], 4), tuple(hx) if layer is nn.LSTM else hx[0])[0]
        y.square().sum().backward()
        return y.detach().numpy(), *(s.grad.numpy() for s in hx)

    for many, one in zip(run(slice(None)), run(slice(at, at + 1))):
        np.testing.assert_array_equal(many[:, at : at + 1], one)


@pytest.mark.parametrize("layer", LAYERS.values())
def test_zeros_as_first_state_give_the_bits_of_none(layer):
    net, x = layer(4, 9), normal(3, 2, 4)
    zeros = fastdl.zeros(1, 2, 9)
    y, z = net(x), net(x, (zeros, zeros) if layer is nn.LSTM else zeros)
    np.testing.assert_array_equal(y[0].detach().numpy(), z[0].detach().numpy())


@pytest.mark.parametrize("layer", LAYERS.values())
def test_frozen_parameters_get_no_gradient_and_change_no_other(layer):
    x = normal(3, 2, 4)
    nets = [layer(4, 5, num_layers=2)]
    nets.append(copy.deepcopy(nets[0]))
    for name, p in nets[1].named_parameters():
        p.requires_grad_(name == "bias_hh_l1")
    for net in nets:
        net(x)[0].sum().backward()
    for name, p in nets[1].named_parameters():
        if name == "bias_hh_l1":
            np.testing.assert_array_equal(p.grad.numpy(), dict(nets[0].named_parameters())[name].grad.numpy())
        else:
            assert p.grad is None


def test_gradient_of_the_last_state_alone():
    net, x = nn.LSTM(4, 5), normal(3, 2, 4).requires_grad_()
    _, (_, cn) = net(x)
    cn.sum().backward()
    first = x.grad.numpy().copy()
    x.grad = None
    y, (hn, cn) = net(x)
    (cn.sum() + 0 * y.sum() + 0 * hn.sum()).backward()
    np.testing.assert_allclose(first, x.grad.numpy(), rtol=1e-6, atol=1e-8)


def test_backward_twice_needs_retain_graph():
    net, x = nn.GRU(4, 5), normal(3, 2, 4)
    y = net(x)[0].sum()
    y.backward(retain_graph=True)
    once = net.weight_hh_l0.grad.numpy().copy()
    y.backward()
    np.testing.assert_array_equal(net.weight_hh_l0.grad.numpy(), 2 * once)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_in_place_changes_of_saved_tensors_are_found():
    net, x = nn.GRU(4, 5), normal(3, 2, 4)
    y = net(x)[0]
    with fastdl.no_grad():
        net.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_second_derivatives_are_refused():
    x = normal(3, 2, 4).requires_grad_()
    y = nn.GRU(4, 5)(x)[0]
    with pytest.raises(NotImplementedError, match="create_graph=True through GruBackward0"):
        fastdl.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize("layer", LAYERS.values())
def test_empty_batch(layer):
    net = layer(4, 5)
    x = fastdl.zeros(3, 0, 4).requires_grad_()
    y, last = net(x)
    assert y.shape == (3, 0, 5) and arrays(last)[0].shape == (1, 0, 5)
    y.sum().backward()
    assert x.grad.shape == (3, 0, 4) and not net.weight_hh_l0.grad.numpy().any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layer", LAYERS.values())
def test_nan_and_inf_stay_in_their_sequence(layer, value):
    net, x = layer(4, 5), normal(4, 3, 4)
    clean = net(x)[0].detach().numpy()
    x[1, 2, 0] = value
    y = net(x)[0].detach().numpy()
    np.testing.assert_array_equal(y[:, :2], clean[:, :2])
    np.testing.assert_array_equal(y[0], clean[0])
    if np.isnan(value):
        assert np.isnan(y[1:, 2]).all()


def test_names_and_shapes_of_parameters():
    net = nn.LSTM(3, 6, num_layers=2, bidirectional=True)
    names = [
        f"{k}_l{n}{r}"
        for n in (0, 1)
        for r in ("", "_reverse")
        for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    assert list(net.state_dict()) == names == net._flat_weights_names
    assert (
        net.weight_ih_l0.shape == (24, 3)
        and net.weight_ih_l1_reverse.shape == (24, 12)
        and net.bias_hh_l1.shape == (24,)
    )
    assert len(net.all_weights) == 4 and net.all_weights[3][1] is net.weight_hh_l1_reverse
    assert max(float(p.abs().max()) for p in net.parameters()) <= 6**-0.5
    assert repr(net) == "LSTM(3, 6, num_layers=2, bidirectional=True)"
    net.flatten_parameters()


def test_nonlinearity_is_the_fourth_argument():
    assert nn.RNN(3, 4, 2, "relu", False).mode == "RNN_RELU"
    assert nn.RNN(3, 4, nonlinearity="tanh").mode == "RNN_TANH"
    assert repr(nn.RNNCell(3, 4, nonlinearity="relu")) == "RNNCell(3, 4, nonlinearity=relu)"


def test_dropout_is_between_layers_while_training():
    net, x = nn.GRU(4, 64, num_layers=2, dropout=0.5), normal(3, 2, 4)
    fastdl.manual_seed(1)
    a = net(x)[0].detach().numpy()
    b = net(x)[0].detach().numpy()
    fastdl.manual_seed(1)
    c = net(x)[0].detach().numpy()
    assert (a != b).any()
    np.testing.assert_array_equal(a, c)
    net.eval()
    np.testing.assert_array_equal(net(x)[0].detach().numpy(), net(x)[0].detach().numpy())
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        nn.GRU(4, 5, dropout=0.1)


def test_gradient_of_dropout_uses_the_same_mask():
    """Against the slope along a random direction, with the same random numbers."""
    net = nn.LSTM(4, 8, num_layers=3, dropout=0.4).double()
    x, d = normal(3, 2, 4).double(), normal(3, 2, 4, seed=5).double()

    def value(x):
        fastdl.manual_seed(3)
        return (net(x)[0] ** 2).sum()

    x.requires_grad_()
    value(x).backward()
    with fastdl.no_grad():
        slope = float(value(x + 1e-5 * d) - value(x - 1e-5 * d)) / 2e-5
    assert float((x.grad * d).sum()) == pytest.approx(slope, rel=1e-6)


def test_functions_take_both_of_pytorchs_forms():
    net, x = nn.GRU(3, 5, batch_first=True), normal(2, 4, 3)
    wanted, last = net(x)
    h0 = fastdl.zeros(1, 2, 5)
    y, hn = ops.gru(x, h0, net._flat_weights, True, 1, 0.0, True, False, True)
    np.testing.assert_array_equal(y.detach().numpy(), wanted.detach().numpy())
    packed = pack_padded_sequence(x, [4, 4], batch_first=True)
    y, hn = ops.gru(packed.data, packed.batch_sizes, h0, net._flat_weights, True, 1, 0.0, True, False)
    np.testing.assert_array_equal(y.detach().numpy().reshape(4, 2, 5), wanted.detach().numpy().transpose(1, 0, 2))
    np.testing.assert_array_equal(hn.detach().numpy(), last.detach().numpy())


def test_packing_and_back():
    x = normal(4, 3, 2)
    packed = pack_padded_sequence(x, [2, 4, 3], enforce_sorted=False)
    assert packed.batch_sizes.tolist() == [3, 3, 2, 1] and packed.sorted_indices.tolist() == [1, 2, 0]
    assert packed.unsorted_indices.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(packed.data.numpy()[:3], x.numpy()[0, [1, 2, 0]])
    y, lengths = pad_packed_sequence(packed, padding_value=7.0, total_length=5)
    assert lengths.tolist() == [2, 4, 3]
    for b, n in enumerate([2, 4, 3]):
        np.testing.assert_array_equal(y.numpy()[:n, b], x.numpy()[:n, b])
        assert (y.numpy()[n:, b] == 7).all()
    whole = pack_padded_sequence(x, fastdl.tensor([4, 3, 3]))
    assert whole.sorted_indices is None and isinstance(whole, PackedSequence) and whole.data.shape == (10, 2)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("tail", [(), (3,), (2, 3)])
def test_gradient_of_packing_and_back(batch_first, tail):
    lengths, real = [2, 4, 1], np.arange(5)[:, None] < [2, 4, 1]
    real = real.T if batch_first else real
    x = normal(*real.shape, *tail).requires_grad_()
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    weights = normal(*packed.data.shape, seed=1)
    (dx,) = fastdl.autograd.grad((packed.data**2 * weights).sum(), x, create_graph=True)
    padded, _ = pad_packed_sequence(packed._replace(data=packed.data * weights), batch_first, total_length=5)
    np.testing.assert_allclose(dx.detach().numpy(), (2 * padded).detach().numpy(), rtol=1e-6)
    (ddx,) = fastdl.autograd.grad(dx.sum(), x)
    ones = fastdl.ones(*packed.data.shape)
    wanted, _ = pad_packed_sequence(packed._replace(data=2 * weights * ones), batch_first, total_length=5)
    np.testing.assert_array_equal(ddx.numpy(), wanted.numpy())
    (dy,) = fastdl.autograd.grad((padded * normal(*padded.shape, seed=2)).sum(), packed.data)
    again = pack_padded_sequence(normal(*padded.shape, seed=2), lengths, batch_first, enforce_sorted=False)
    np.testing.assert_array_equal(dy.numpy(), (again.data * weights).numpy())


def test_packing_of_other_types():
    for x in (fastdl.arange(8).reshape(4, 2), fastdl.arange(8).reshape(4, 2) > 2):
        packed = pack_padded_sequence(x, [1, 3], enforce_sorted=False)
        assert packed.data.tolist() == [x[0, 1].item(), x[0, 0].item(), x[1, 1].item(), x[2, 1].item()]
        y, _ = pad_packed_sequence(packed, padding_value=1, total_length=4)
        assert y.dtype is x.dtype and y[:3, 1].tolist() == x[:3, 1].tolist() and y[1:, 0].tolist() == [1, 1, 1]


def test_lists_of_sequences():
    parts = [fastdl.arange(n) + 10 * n for n in (2, 4, 1)]
    padded = pad_sequence(parts, batch_first=True, padding_value=-1)
    assert padded.tolist() == [[20, 21, -1, -1], [40, 41, 42, 43], [10, -1, -1, -1]]
    assert pad_sequence(parts, padding_side="left").tolist() == [[0, 40, 0], [0, 41, 0], [20, 42, 0], [21, 43, 10]]
    assert [p.tolist() for p in unpad_sequence(padded, [2, 4, 1], batch_first=True)] == [p.tolist() for p in parts]
    packed = pack_sequence(parts, enforce_sorted=False)
    assert packed.data.tolist() == [40, 20, 10, 41, 21, 42, 43]
    assert [p.tolist() for p in unpack_sequence(packed)] == [p.tolist() for p in parts]


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: nn.GRU(3, 4)(fastdl.zeros(2, 2, 5)), RuntimeError, "Expected 3, got 5"),
        (lambda: nn.GRU(3, 4)(fastdl.zeros(3)), ValueError, "Expected input to be 2D or 3D, got 1D"),
        (
            lambda: nn.GRU(3, 4)(fastdl.zeros(2, 2, 3), fastdl.zeros(1, 4)),
            RuntimeError,
            "hx should also be 3-D but got 2-D",
        ),
        (
            lambda: nn.GRU(3, 4)(fastdl.zeros(2, 2, 3), fastdl.zeros(2, 2, 4)),
            RuntimeError,
            r"expected shape \(1, 2, 4\)",
        ),
        (lambda: nn.LSTM(3, 4)(fastdl.zeros(2, 2, 3), fastdl.zeros(1, 2, 4)), TypeError, r"pair \(h0, c0\)"),
        (lambda: nn.LSTM(3, 4)(fastdl.zeros(2, 2, 3).double()), ValueError, "must have the type torch.float32"),
        (lambda: nn.LSTM(3, 4, proj_size=2), NotImplementedError, "proj_size"),
        (lambda: nn.GRU(3, 0), ValueError, "greater than zero"),
        (lambda: nn.GRU(3, 4.0), TypeError, "hidden_size should be of type int, got: float"),
        (lambda: nn.RNN(3, 4, nonlinearity="sine"), ValueError, "Unknown nonlinearity 'sine'"),
        (lambda: nn.GRU(3, 4, dropout=2), ValueError, "dropout should be a number in range"),
        (lambda: nn.GRU(3, 4)(fastdl.zeros(2, 2, 3), lengths=[2]), RuntimeError, "one for each of 2 sequences, got 1"),
        (lambda: nn.GRU(3, 4)(fastdl.zeros(2, 2, 3), lengths=[2, 0]), RuntimeError, r"lengths\[1\]: .* got 0"),
        (lambda: nn.GRUCell(3, 4)(fastdl.zeros(2, 5)), RuntimeError, "got 5 expected 3"),
        (lambda: nn.GRUCell(3, 4)(fastdl.zeros(2, 3), fastdl.zeros(4)), ValueError, "Expected hx to be 2D"),
        (lambda: pack_padded_sequence(fastdl.zeros(3, 2, 1), [1, 3]), RuntimeError, "enforce_sorted=False"),
        (lambda: pack_padded_sequence(fastdl.zeros(3, 2, 0), [3, 1]), RuntimeError, "empty tensor"),
        (
            lambda: pad_packed_sequence(PackedSequence(fastdl.zeros(3, 1), fastdl.tensor([2, 2]))),
            ValueError,
            "expected the 4 rows that batch_sizes count",
        ),
        (lambda: pad_sequence([]), RuntimeError, "at least one"),
    ],
)
def test_errors_name_what_is_wrong(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_backward_that_keeps_the_graph(kind):
    """The pass that frees the graph overwrites what was saved: same gradients, and no pass after it."""
    fastdl.manual_seed(5)
    layers = kind(7, 19, num_layers=2, bidirectional=True)
    x = fastdl.randn(6, 3, 7, requires_grad=True)
    y, _ = layers(x)
    weights = fastdl.randn(*y.shape)
    found = []
    for retain in (True, True, False):
        layers.zero_grad()
        x.grad = None
        y.backward(weights, retain_graph=retain)
        found.append([x.grad.numpy().tobytes()] + [p.grad.numpy().tobytes() for p in layers.parameters()])
    assert found[0] == found[1] == found[2]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward(weights)
