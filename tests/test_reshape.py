"""reshape gives a view exactly where the strides allow one, as NumPy decides it."""

import random
import warnings

import numpy as np

import fastdl


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
