"""Random numbers: published vectors of the generator, distributions, states, independence of sizes and threads."""

import pickle

import numpy as np
import pytest
from fastdl._kernels import isa, isas, set_isa

import fastdl
from fastdl import Generator
from fastdl.nn.functional import dropout

M0, M1, W0, W1, MASK = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 0xFFFFFFFF
SIZES = [*range(35), 63, 64, 65, 127, 128, 129, 4095, 4097]


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = M0 * c[0], M1 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + W0) & MASK, (k[1] + W1) & MASK]
    return c


def words(n, seed, stream=0):
    blocks = [philox([i, 0, stream, 0], [seed & MASK, seed >> 32]) for i in range(-(-n // 4))]
    return np.array(blocks, np.uint64).reshape(-1)[:n]


def test_reference_gives_the_published_vectors():
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([MASK] * 4, [MASK] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert philox(pi, [0xA4093822, 0x299F31D0]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_kernels_follow_the_reference():
    seed = 0x0123456789ABCDEF
    fastdl.manual_seed(seed)
    w = words(1000, seed)
    expected = (w >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)
    np.testing.assert_array_equal(fastdl.rand(1000).numpy(), expected)
    w = words(1000, seed, stream=1)
    high = (w[0::2] << np.uint64(32) | w[1::2]) >> np.uint64(11)
    np.testing.assert_array_equal(fastdl.rand(500, dtype=fastdl.float64).numpy(), high.astype(np.float64) * 2.0**-53)
    u = (words(1000, seed, stream=2) >> np.uint64(8)).astype(np.float64) * 2.0**-24
    r, a = np.sqrt(-2 * np.log(u[0::2] + 2.0**-24)), 2 * np.pi * u[1::2]
    expected = np.stack([r * np.cos(a), r * np.sin(a)], 1).reshape(-1)
    np.testing.assert_allclose(fastdl.randn(1000).numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [fastdl.rand, fastdl.randn], ids=["rand", "randn"])
@pytest.mark.parametrize("dtype", [fastdl.float32, fastdl.float64], ids=["float32", "float64"])
def test_element_does_not_depend_on_size_threads_or_isa(make, dtype):
    fastdl.manual_seed(7)
    whole = make(70001, dtype=dtype).numpy()
    for n in SIZES:
        fastdl.manual_seed(7)
        np.testing.assert_array_equal(make(n, dtype=dtype).numpy(), whole[:n])
    threads, chosen = fastdl.get_num_threads(), isa()
    try:
        for n in (1, 2, 3):
            fastdl.set_num_threads(n)
            fastdl.manual_seed(7)
            np.testing.assert_array_equal(make(70001, dtype=dtype).numpy(), whole)
        for name in [name for name, usable in isas() if usable and name != "base"]:
            set_isa(name)
            fastdl.manual_seed(7)
            np.testing.assert_array_equal(make(70001, dtype=dtype).numpy(), whole)
    finally:
        fastdl.set_num_threads(threads)
        set_isa(chosen)


def test_distributions():
    fastdl.manual_seed(1)
    u, z = fastdl.rand(10**6).numpy().astype(float), fastdl.randn(10**6).numpy().astype(float)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 2e-3 and abs(u.var() * 12 - 1) < 5e-3
    assert abs(z.mean()) < 5e-3 and abs(z.std() - 1) < 5e-3
    assert abs((z**3).mean()) < 0.02 and abs((z**4).mean() - 3) < 0.05
    counts = np.bincount(fastdl.randint(3, 10, (70000,)).numpy(), minlength=10)
    assert counts[:3].sum() == 0 and (abs(counts[3:] - 10000) < 500).all()
    np.testing.assert_array_equal(np.sort(fastdl.randperm(1000).numpy()), np.arange(1000))
    hits = fastdl.multinomial(fastdl.tensor([1.0, 0, 3]), 40000, replacement=True).numpy()
    np.testing.assert_allclose(np.bincount(hits) / 40000, [0.25, 0, 0.75], atol=0.01)
    firsts = [fastdl.multinomial(fastdl.tensor([1.0, 0, 3]), 2)[0].item() for _ in range(2000)]
    assert abs(firsts.count(2) / 2000 - 0.75) < 0.05 and 1 not in firsts
    assert abs(fastdl.bernoulli(fastdl.full((10000,), 0.3)).mean().item() - 0.3) < 0.02


def test_states():
    fastdl.manual_seed(3)
    assert fastdl.initial_seed() == 3
    first = fastdl.rand(5).numpy()
    state = fastdl.get_rng_state()
    second = fastdl.randn(5).numpy()
    fastdl.set_rng_state(state)
    np.testing.assert_array_equal(fastdl.randn(5).numpy(), second)
    own = Generator().manual_seed(3)
    np.testing.assert_array_equal(fastdl.rand(5, generator=own).numpy(), first)
    copy = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(fastdl.rand(3, generator=own).numpy(), fastdl.rand(3, generator=copy).numpy())


@pytest.mark.parametrize("n", [0, 1, 17, 64, 65, 70001])
def test_dropout_is_its_own_gradient(n):
    fastdl.manual_seed(5)
    x = fastdl.rand(n) + 1
    x.requires_grad = True
    y = dropout(x, 0.3)
    y.backward(fastdl.ones(n))
    kept = words(min(n, 100), 5, stream=1) < round(0.7 * 2**32)
    np.testing.assert_array_equal(x.grad.numpy()[:100] != 0, kept)
    np.testing.assert_allclose(y.detach().numpy(), x.detach().numpy() * x.grad.numpy(), rtol=1e-6)
    assert n < 70000 or abs((y.detach().numpy() != 0).mean() - 0.7) < 0.01


def test_dropout_limits():
    x = fastdl.ones(100)
    assert dropout(x, 0.0) is x and dropout(x, 0.9, training=False) is x
    assert not dropout(x, 1.0).numpy().any()
    assert dropout(x, 0.5, inplace=True) is x and set(x.numpy().tolist()) == {0.0, 2.0}


def test_strided_tensors_are_filled():
    x = fastdl.zeros(6, 4)
    x.t().uniform_(1, 2)
    assert ((x.numpy() >= 1) & (x.numpy() < 2)).all()
    x[:, 1].normal_(100, 1)
    assert (x.numpy()[:, 1] > 50).all() and (x.numpy()[:, 0] < 2).all()


@pytest.mark.parametrize("call, error, text", [
    (lambda: fastdl.rand(-1), RuntimeError, "size"),
    (lambda: fastdl.randn(2, dtype=fastdl.int64), RuntimeError, "floating-point.*int64"),
    (lambda: fastdl.randint(3, 3, (2,)), RuntimeError, "low = 3 and high = 3"),
    (lambda: fastdl.randperm(-2), RuntimeError, "-2"),
    (lambda: fastdl.normal(0, -1, (2,)), RuntimeError, "std -1"),
    (lambda: fastdl.manual_seed(2**64), RuntimeError, "seed"),
    (lambda: dropout(fastdl.ones(2), 1.5), ValueError, "1.5"),
    (lambda: fastdl.multinomial(fastdl.tensor([1.0, 0.0]), 2), RuntimeError, "2 different"),
    (lambda: fastdl.multinomial(fastdl.tensor([1.0, -1.0]), 1), RuntimeError, "element < 0"),
    (lambda: fastdl.bernoulli(fastdl.tensor([1.5])), RuntimeError, "probabilities"),
    (lambda: fastdl.rand(2, generator=3), TypeError, "int"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
