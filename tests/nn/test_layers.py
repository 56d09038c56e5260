"""Linear, Identity, Flatten, Unflatten, Dropout, Embedding: values, parameters, printed forms, errors."""

import copy
import math
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import nn


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)], ids=str)
def test_linear_equals_numpy(shape, bias):
    layer = nn.Linear(5, 4, bias=bias)
    x = normal(*shape)
    expected = x @ layer.weight.detach().numpy().T.astype(float)
    if bias:
        expected += layer.bias.detach().numpy()
    out = layer(fastdl.tensor(x, dtype=fastdl.float32))
    assert out.shape == (*shape[:-1], 4)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_linear_initial_values_and_names():
    fastdl.manual_seed(0)
    layer = nn.Linear(100, 50)
    assert list(layer.state_dict()) == ["weight", "bias"] and layer.weight.shape == (50, 100)
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert np.abs(values).max() <= 0.1 and np.abs(values).max() > 0.09 and np.unique(values).size > 40
    again = layer.weight.tolist()
    fastdl.manual_seed(0)
    assert nn.Linear(100, 50).weight.tolist() == again
    assert nn.Linear(2, 2, dtype=fastdl.float64).weight.dtype == fastdl.float64
    layer = nn.Linear(3, 2, bias=False)
    assert layer.bias is None and list(layer.state_dict()) == ["weight"]
    assert repr(layer) == "Linear(in_features=3, out_features=2, bias=False)"


def test_linear_gradients():
    layer = nn.Linear(3, 2).double()
    x = fastdl.tensor(normal(4, 3), requires_grad=True)
    upstream = normal(4, 2, seed=1)
    (layer(x) * fastdl.tensor(upstream)).sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), upstream.T @ x.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(layer.bias.grad.numpy(), upstream.sum(0), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), upstream @ layer.weight.detach().numpy(), rtol=1e-12)


def test_linear_with_a_replaced_weight():
    layer = nn.Linear(2, 2, bias=False)
    del layer.weight
    layer.weight = fastdl.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert layer(fastdl.tensor([1.0, 1.0])).tolist() == [3, 7] and list(layer.parameters()) == []


def test_linear_of_no_inputs_or_outputs():
    with pytest.warns(UserWarning, match="zero-element"):
        layer = nn.Linear(0, 3)
    assert layer(fastdl.ones(2, 0)).tolist() == [[0, 0, 0]] * 2 and layer.bias.tolist() == [0, 0, 0]


def test_identity_takes_any_arguments():
    x = fastdl.ones(1)
    assert nn.Identity(3, unused=4)(x) is x and repr(nn.Identity(3)) == "Identity()"


def test_flatten_and_unflatten():
    x = fastdl.zeros(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60) and nn.Flatten(0)(x).shape == (120,)
    assert nn.Flatten(1, 2)(x).shape == (2, 12, 5) and nn.Flatten(start_dim=2)(x).shape == (2, 3, 20)
    assert nn.Unflatten(1, (3, -1))(fastdl.zeros(2, 12)).shape == (2, 3, 4)
    assert nn.Unflatten(-1, [2, 6])(fastdl.zeros(2, 12)).shape == (2, 2, 6)
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"
    assert repr(nn.Unflatten(1, (2, 5))) == "Unflatten(dim=1, unflattened_size=(2, 5))"
    with pytest.raises(IndexError, match="dim 2 is out of range"):
        nn.Unflatten(2, (1,))(fastdl.zeros(2, 2))
    with pytest.raises(TypeError, match="tuple of ints"):
        nn.Unflatten(1, (2.5,))


def test_dropout_scales_in_training_and_does_nothing_else():
    fastdl.manual_seed(0)
    layer = nn.Dropout(0.25)
    x = fastdl.ones(10_000)
    out = layer(x)
    kept = out.numpy() != 0
    assert abs(kept.mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 10_000)
    np.testing.assert_allclose(out.numpy()[kept], 1 / 0.75, rtol=1e-6)
    assert layer.eval()(x).tolist() == x.tolist()
    assert nn.Dropout(0)(x).tolist() == x.tolist() and not nn.Dropout(1)(x).any()
    fastdl.manual_seed(0)
    assert (nn.Dropout(0.25)(x) == out).all()
    assert repr(layer) == "Dropout(p=0.25, inplace=False)"
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"between 0 and 1, but got {p}"):
            nn.Dropout(p)


def test_dropout_gradient_has_the_same_mask():
    x = fastdl.ones(1000, requires_grad=True)
    out = nn.Dropout(0.5)(x)
    out.sum().backward()
    assert x.grad.tolist() == out.tolist()


def test_embedding_rows_gradient_and_padding():
    layer = nn.Embedding(5, 3, padding_idx=-3)
    assert layer.padding_idx == 2 and layer.weight[2].tolist() == [0, 0, 0] and layer.weight[1].tolist() != [0, 0, 0]
    index = fastdl.tensor([[1, 2], [1, 4]])
    out = layer(index)
    assert out.shape == (2, 2, 3) and (out[1, 1] == layer.weight[4]).all()
    out.sum().backward()
    assert layer.weight.grad.tolist() == [[0] * 3, [2] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert repr(layer) == "Embedding(5, 3, padding_idx=2)" and repr(nn.Embedding(4, 2)) == "Embedding(4, 2)"
    assert list(layer.state_dict()) == ["weight"]
    assert layer(fastdl.tensor([], dtype=fastdl.int64)).shape == (0, 3)


def test_embedding_from_a_given_table():
    table = fastdl.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer = nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad and layer(fastdl.tensor(1)).tolist() == [3, 4]
    table[1, 0] = 9
    assert layer.weight[1, 0].item() == 9
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad


def test_embedding_options():
    index = fastdl.tensor([[1, 3, 1], [0, 2, 1]])
    weight = fastdl.tensor(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))
    layer = nn.Embedding(4, 3, padding_idx=2, max_norm=0.5, norm_type=1.0, scale_grad_by_freq=True, sparse=True,
                         _weight=weight.clone())
    out = layer(index)
    rows = weight.numpy() * np.minimum(1, 0.5 / (np.abs(weight.numpy()).sum(1, keepdims=True) + 1e-7))
    np.testing.assert_allclose(out.detach().numpy(), rows[index.numpy()], rtol=1e-5)
    out.sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[1] * 3, [1] * 3, [0] * 3, [1] * 3])
    assert repr(layer) == ("Embedding(4, 3, padding_idx=2, max_norm=0.5, norm_type=1.0, scale_grad_by_freq=True, "
                           "sparse=True)")
    assert repr(nn.Embedding(4, 3, padding_idx=0)) == "Embedding(4, 3, padding_idx=0)"


def test_embedding_errors_name_the_values():
    with pytest.raises(IndexError, match="5"):
        nn.Embedding(5, 3)(fastdl.tensor([1, 5]))
    with pytest.raises(ValueError, match="within num_embeddings"):
        nn.Embedding(5, 3, padding_idx=5)
    with pytest.raises(ValueError, match=r"should have the shape \(5, 3\), got \(3, 5\)"):
        nn.Embedding(5, 3, _weight=fastdl.ones(3, 5))
    with pytest.raises(ValueError, match="2 dimensions"):
        nn.Embedding.from_pretrained(fastdl.ones(3))


def test_every_layer_can_be_copied_and_pickled():
    layers = [nn.Linear(2, 3), nn.Embedding(4, 2, padding_idx=0), nn.Dropout(0.1), nn.Flatten(), nn.PReLU()]
    for layer in [*layers, nn.CrossEntropyLoss(fastdl.ones(3)), nn.Sequential(*layers[:1]), nn.ModuleList(layers)]:
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert repr(twin) == repr(layer) and list(twin.state_dict()) == list(layer.state_dict())
            assert all((a == b).all() for a, b in zip(twin.state_dict().values(), layer.state_dict().values()))
