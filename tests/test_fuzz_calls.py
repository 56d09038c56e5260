"""A short run of tests/fuzz_calls.py, and what its long runs have found."""

import time

import numpy as np
import pytest

import fastdl
from fastdl.nn import functional
from tests.fuzz_calls import watched
from tests.process import DEEP, SANITIZED, run


@pytest.mark.skipif(SANITIZED, reason="limits of memory")
def test_random_calls_end_in_a_result_or_an_exception():
    result = watched(seed=7, first=0, count=4000 * DEEP)
    assert not result["failures"]
    assert sum(result["outcomes"].values()) == 4000 * DEEP
    assert result["outcomes"]["ok"] > 1700 * DEEP  # most calls are good ones


@pytest.mark.skipif(SANITIZED, reason="limits of memory")
def test_calls_chosen_by_hypothesis():
    code = "import sys; from tests.fuzz_calls import main; sys.argv[1:] = ['--hypothesis', '{}']; main()"
    assert run(code.format(600 * DEEP)) == f"{600 * DEEP} calls chosen by hypothesis"


@pytest.mark.parametrize("repeats", [2**62, [2**62], [2**61, 2**62, 1], 2**63 - 1])
def test_repeats_beyond_memory(repeats):
    with pytest.raises((MemoryError, OverflowError, RuntimeError)):
        fastdl.ones(4).repeat_interleave(repeats)
    with pytest.raises((MemoryError, OverflowError, RuntimeError)):
        fastdl.ones(3, 2).repeat_interleave(repeats, 0)


@pytest.mark.parametrize("cut", [lambda x: x.tensor_split(2**63), lambda x: x.split(3, 1), lambda x: x.unbind(1),
                                 lambda x: x.chunk(2**31 - 1)])
def test_more_pieces_than_memory(cut):
    with pytest.raises(MemoryError, match=r"\d{10,20} pieces"):
        cut(fastdl.zeros(0, 2**40))


@pytest.mark.parametrize("offset", [-(2**31), 2**31 - 1, -7, 5])
def test_diagonals_far_away(offset):
    x = fastdl.arange(6.0).reshape(2, 3)
    assert x.diagonal_scatter(fastdl.zeros(0), offset).equal(x)
    assert x.diagonal(offset).shape == (0,)


@pytest.mark.parametrize("size, stride, offset", [((2**31 - 1, -(2**63)), "mn", 0), ((2, 2), (1, None), 0),
                                                  ((2, 2), (1, 1), -1.0), ((2.5, 2), (1, 1), 0)])
def test_strided_views_take_whole_numbers(size, stride, offset):
    begin = time.process_time()
    with pytest.raises((TypeError, RuntimeError)):
        fastdl.ones(6).as_strided(size, stride, offset)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("largest", [2**40, 2**60, 2**62, 2**63 - 2, 2**63 - 1])
@pytest.mark.parametrize("weights", [None, fastdl.ones(2)])
def test_more_counts_than_memory(largest, weights):
    with pytest.raises(MemoryError):
        fastdl.tensor([1, largest]).bincount(weights)


@pytest.mark.parametrize("size", [2**40, 2**61, 2**63 - 1, 2**64])
@pytest.mark.parametrize("pool", [functional.adaptive_max_pool1d, functional.adaptive_max_pool2d,
                                  functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d])
def test_more_windows_than_memory(pool, size):
    begin = time.process_time()
    with pytest.raises((MemoryError, OverflowError, RuntimeError)):
        pool(fastdl.ones(3, 4, 5), size)
    assert time.process_time() - begin < 1


def test_more_combinations_than_memory():
    begin = time.process_time()
    with pytest.raises(MemoryError):
        fastdl.combinations(fastdl.ones(33), 33, True)
    with pytest.raises(MemoryError):
        fastdl.combinations(fastdl.ones(100), 50)
    assert time.process_time() - begin < 1
    assert fastdl.combinations(fastdl.arange(3), 4).shape == (0, 4)
    assert fastdl.combinations(fastdl.arange(0), 2, True).shape == (0, 2)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("number", [2**31, 2**62, 2**63 - 1, 2**63])
def test_windows_of_a_size_that_overflows(name, number):
    arguments = {"kernel_size": 2, "stride": 1, "padding": 0, name: number}
    for pool in (functional.avg_pool1d, functional.max_pool1d, functional.avg_pool2d, functional.max_pool2d):
        if name == "dilation" and "avg" in pool.__name__:
            continue
        for ceil_mode in (False, True):
            with pytest.raises(RuntimeError, match=f"{name}: expected at least . and less than 2"):
                pool(fastdl.ones(1, 2, 3, 4)[0] if pool.__name__.endswith("1d") else fastdl.ones(1, 2, 3, 4),
                     ceil_mode=ceil_mode, **arguments)
    if name != "kernel_size":
        with pytest.raises(RuntimeError, match=name):
            functional.conv1d(fastdl.ones(1, 1, 5), fastdl.ones(1, 1, 2), **{name: number})
        with pytest.raises(RuntimeError, match=name):
            functional.conv_transpose1d(fastdl.ones(1, 1, 5), fastdl.ones(1, 1, 2), **{name: number})


@pytest.mark.parametrize("mode", ["replicate", "circular", "reflect", "constant"])
@pytest.mark.parametrize("number", [2**62, 2**63 - 1])
def test_padding_of_a_size_that_overflows(mode, number):
    for pads in [(0, number), (number, 0), (number, number)]:
        with pytest.raises((MemoryError, OverflowError, RuntimeError, ValueError)):
            functional.pad(fastdl.from_numpy(np.ones((1, 2, 3))), pads, mode)


@pytest.mark.parametrize("shift", [0.5, np.float64(1), np.ones((3, 1)), None])
def test_shifts_are_whole_numbers(shift):
    for shifts in (shift, [shift, shift]):
        with pytest.raises((TypeError, RuntimeError)):
            fastdl.ones(3, 1).roll(shifts, [0, 1])
    assert fastdl.arange(3).roll(2**63 + 1, 0).tolist() == fastdl.arange(3).roll((2**63 + 1) % 3, 0).tolist()
