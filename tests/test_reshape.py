"""reshape gives a view exactly where the strides allow one, as NumPy decides it."""

import random
import warnings

import numpy as np
import pytest

import fastdl
from tests.both import on_both


def strided_array(rng, pick):
    """An array of up to 4 dimensions with steps, gaps and any order of dimensions."""
    shape = [pick.choice([1, 1, 2, 3, 4, 6]) for _ in range(pick.randint(0, 4))]
    a = rng.standard_normal([2 * n for n in shape], np.float32)
    for axis, n in enumerate(shape):
        step = pick.choice([1, 1, 2])
        a = a[(slice(None),) * axis + (slice(0, n * step, step),)]
    return a.transpose(pick.sample(range(len(shape)), len(shape)))


def sizes_for(size, pick):
    """Random sizes with this product, some of them 1."""
    sizes = [1] * pick.choice([0, 0, 1, 2])
    while size > 1:
        n = pick.choice([d for d in range(2, size + 1) if size % d == 0])
        sizes.append(n)
        size //= n
    pick.shuffle(sizes)
    return tuple(sizes)


def has_view(a, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            a.view().shape = shape
        except AttributeError:
            return False
    return True


def test_reshape_is_a_view_where_the_strides_allow_one():
    rng, pick, views = np.random.default_rng(0), random.Random(0), 0
    for _ in range(2000):
        a = strided_array(rng, pick)
        shape = sizes_for(a.size, pick)
        out = fastdl.from_numpy(a).reshape(shape).numpy()
        np.testing.assert_array_equal(out, a.reshape(shape))
        if a.size > 1:
            assert np.shares_memory(out, a) == has_view(a, shape), (a.shape, a.strides, shape)
            views += np.shares_memory(out, a)
    assert 200 < views < 1800


def test_diagonal_of_an_expanded_tensor():
    row = fastdl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (row.expand(3, 3).diagonal() * fastdl.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert row.grad.tolist() == [1.0, 10.0, 100.0]


def test_repeat_never_gives_a_view():
    x = fastdl.tensor([[1.0, 2.0]])
    for out in (x.repeat(1, 1), fastdl.tensor(3.0).repeat(2, 2), x.tile(1)):
        out += 1
    assert x.tolist() == [[1.0, 2.0]]


@on_both
def test_unsafe_pieces_may_be_written(T):
    x = T.arange(5.0).requires_grad_()
    y = x * 1
    a, b = y.unsafe_split(3)
    a.mul_(2)
    assert (a.tolist(), b.tolist(), y.tolist()) == ([0, 2, 4], [3, 4], [0, 2, 4, 3, 4])
    assert [p.shape[0] for p in T.unsafe_split(y, 4)] == [4, 1]
    assert [p.shape[1] for p in T.unsafe_chunk(T.ones(2, 5), 2, 1)] == [3, 2]
    a.sum().backward()
    assert x.grad.tolist() == [2, 2, 2, 0, 0]


@on_both
def test_set_takes_over_memory(T):
    x, source = T.ones(2), T.arange(6.0).reshape(2, 3)
    assert x.set_(source[1]) is x and x.tolist() == [3, 4, 5]
    x[0] = 9
    assert source.tolist() == [[0, 1, 2], [9, 4, 5]]
    assert x.set_(source, 1, (2, 2), (1, 2)).tolist() == [[1, 9], [2, 4]]
    assert x.set_().shape == (0,)
    for refused in (
        lambda: x.set_(T.ones(2, dtype=T.int64)),
        lambda: T.ones(2, requires_grad=True).set_(source),
    ):
        with pytest.raises(RuntimeError):
            refused()
    if T is fastdl:  # PyTorch makes the source's memory larger
        with pytest.raises(RuntimeError, match="places in"):
            x.set_(source, 5, (2,), (1,))


@on_both
def test_plus_and_real_are_the_tensor_itself(T):
    for x in (T.ones(2), T.ones(2, requires_grad=True), T.tensor([1])):
        assert +x is x and x.real is x and T.real(x) is x
    with pytest.raises(RuntimeError, match="bool"):
        +T.tensor([True])


@on_both
def test_filling_what_is_expanded(T):
    row = T.arange(3.0)
    row.expand(2, 3).fill_(2)
    assert row.tolist() == [2, 2, 2]
    wide = T.ones(2, 1, 2)
    wide.expand(2, 4, 2)[:, 1:, 0].zero_()
    assert wide.tolist() == [[[0, 1]], [[0, 1]]]
    version = row._version
    row.expand(2, 3).zero_()
    assert row._version == version + 1
    with pytest.raises(RuntimeError, match="single memory location"):
        row.expand(2, 3).copy_(T.ones(2, 3))
    if T is fastdl:  # PyTorch raises in backward
        with pytest.raises(RuntimeError, match="single memory location"):
            (row.requires_grad_() * 1).expand(2, 3).zero_()


@pytest.mark.parametrize("call", [
    lambda x: x.narrow(1, 1, 2**63 - 1), lambda x: x.narrow(1, 2**63 - 1, 1), lambda x: x.narrow(1, -(2**63), 1),
    lambda x: x.reshape(2**62, 4), lambda x: x.reshape(2**32, 2**32), lambda x: x.view(2**63 - 1, 3, -1),
    lambda x: x[:0].reshape(2**62, 4), lambda x: x[:0].view(2**32, 2**32), lambda x: x[:0].view(2**61, 2**61, 8, 2),
])
def test_sizes_whose_product_or_sum_no_integer_holds(call):
    with pytest.raises(RuntimeError, match=r"exceed dimension|is invalid for input of size"):
        call(fastdl.zeros(3, 4))
