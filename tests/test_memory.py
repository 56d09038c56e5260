"""The caching allocator: counts to the byte, reuses, stays within bounds, and survives having no memory."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading

import numpy as np
import pytest

import fastdl
from fastdl import memory
from tests.process import DEEP, SANITIZED, run

MB = 1 << 20


@pytest.fixture(autouse=True)
def clean():
    gc.collect()
    memory.empty_cache()
    memory.reset_peak()
    yield


def live() -> int:
    return memory.stats()["live_bytes"]


SHAPES = [(1,), (7,), (16,), (17,), (3, 5), (1000,), (33, 1001), (0,), (5, 0, 3), (), (2 * MB,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype, size", [(fastdl.float32, 4), (fastdl.float64, 8)])
def test_live_bytes_are_exact(shape: tuple[int, ...], dtype: object, size: int):
    before = memory.stats()
    x = fastdl.empty(shape, dtype=dtype)
    after = memory.stats()
    expected = int(np.prod(shape)) * size
    assert after["live_bytes"] - before["live_bytes"] == expected
    assert after["live_blocks"] - before["live_blocks"] == 1
    assert after["peak_bytes"] == before["live_bytes"] + expected
    del x
    assert live() == before["live_bytes"]
    assert memory.stats()["live_blocks"] == before["live_blocks"]


def test_views_share_their_memory_and_keep_it():
    before = live()
    x = fastdl.zeros(100, 10)
    view = x[3:5].reshape(20)
    assert live() - before == 4000
    del x
    assert live() - before == 4000
    view[0] = 1
    del view
    assert live() == before


def test_numpy_keeps_the_memory_of_a_tensor():
    before = live()
    array = fastdl.ones(1000).numpy()
    assert live() - before == 4000
    fastdl.zeros(1000)
    assert array.sum() == 1000
    del array
    assert live() == before


def test_memory_of_numpy_arrays_does_not_count():
    array = np.zeros(1000, np.float32)
    before = live()
    x = fastdl.from_numpy(array)
    assert live() == before
    x[0] = 1
    assert array[0] == 1


@pytest.mark.parametrize("n", [1, 16, 1000, 10_000, 30_000, 100_000, 3 * MB])
def test_tensor_data_begins_at_a_cache_line(n: int):
    tensors = [fastdl.empty(n) for _ in range(5)]
    assert {t.data_ptr() % 64 for t in tensors} == {0}


@pytest.mark.parametrize("n", [1, 100, 5000, 100_000, 3 * MB])
def test_freed_blocks_are_reused(n: int):
    x = fastdl.empty(n)
    where = x.data_ptr()
    del x
    before = memory.stats()
    x = fastdl.empty(n)
    after = memory.stats()
    assert x.data_ptr() == where
    assert after["system_blocks"] == before["system_blocks"]
    assert after["total_blocks"] == before["total_blocks"] + 1
    assert after["cached_bytes"] < before["cached_bytes"]


def test_blocks_do_not_overlap():
    sizes = random.Random(0)
    tensors = [fastdl.empty(sizes.choice([0, 1, 15, 16, 17, 100, 1000, 40_000, 70_000])) for _ in range(300)]
    for i, t in enumerate(tensors):
        t.fill_(i)
    del tensors[::3]
    tensors += [fastdl.empty(n).fill_(-1) for n in (1, 16, 100, 40_000) for _ in range(10)]
    kept = [i for i in range(300) if i % 3]
    for i, t in zip(kept, tensors):
        assert (t.numpy() == i).all()


def test_empty_cache_returns_what_was_cached():
    x = [fastdl.empty(n) for n in (10, 1000, 100_000, 2 * MB)]
    del x
    cached = memory.stats()["cached_bytes"]
    assert cached >= 4 * (10 + 1000 + 100_000 + 2 * MB)
    before = live()
    assert memory.empty_cache() == cached
    assert memory.stats()["cached_bytes"] == 0
    assert memory.empty_cache() == 0
    assert live() == before
    assert (fastdl.zeros(2 * MB).numpy() == 0).all()


@pytest.mark.skipif(not sys.platform.startswith("linux") or SANITIZED, reason="reads /proc/self/statm")
def test_empty_cache_gives_the_memory_back_to_the_system():
    code = """
import os
import fastdl
def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
x = [fastdl.ones(1 << 20) for _ in range(50)]
used = resident()
assert used - before >= 190 << 20, used - before
del x
kept = resident()
assert kept - before >= 100 << 20, kept - before
fastdl.memory.empty_cache()
assert resident() - before <= 20 << 20, resident() - before
"""
    run(code)


def test_the_peak_is_the_largest_since_the_last_reset():
    base = live()
    x = fastdl.empty(1000)
    y = fastdl.empty(500)
    del y
    assert memory.stats()["peak_bytes"] == base + 6000
    memory.reset_peak()
    assert memory.stats()["peak_bytes"] == base + 4000
    y = fastdl.empty(10)
    assert memory.stats()["peak_bytes"] == base + 4040
    del x, y


def test_a_training_step_leaves_nothing_behind():
    model = fastdl.nn.Sequential(fastdl.nn.Linear(20, 30), fastdl.nn.Tanh(), fastdl.nn.Linear(30, 1))
    x = fastdl.randn(8, 20)

    def step() -> None:
        model.zero_grad()
        model(x).sum().backward()

    step()
    before = memory.stats()
    gc.disable()
    try:
        for _ in range(50):
            step()
    finally:
        gc.enable()
    after = memory.stats()
    assert after["live_bytes"] == before["live_bytes"]
    assert after["live_blocks"] == before["live_blocks"]
    assert after["system_blocks"] == before["system_blocks"]


def step_of_length(length: int) -> None:
    """Memory traffic of a training step on a sequence of this length."""
    saved = [fastdl.empty(length, 8, 16 << i % 5) for i in range(40)]
    while saved:
        saved.pop(random.randrange(len(saved)))


def blocks(function) -> int:
    """How many blocks a call takes."""
    before = memory.stats()["total_blocks"]
    function()
    return memory.stats()["total_blocks"] - before


def test_a_gradient_that_nobody_else_sees_is_not_copied():
    x, up = fastdl.ones(11, 28).requires_grad_(), fastdl.ones(11, 28)
    assert blocks(lambda: x.relu().backward(up)) == 2  # the output and the gradient
    x.grad = None
    y = x.relu()
    assert blocks(lambda: y.backward(up, retain_graph=True)) == 1
    assert blocks(lambda: ((x * 2) + (x * 3)).backward(up)) == 5  # three outputs, two gradients, summed in place


def test_a_gradient_that_somebody_else_sees_is_copied():
    x, up = fastdl.ones(3, 4).requires_grad_(), fastdl.ones(3, 4)
    kept = []
    x.register_hook(kept.append)
    x.relu().backward(up)
    assert x.grad.data_ptr() != kept[0].data_ptr()
    x.clone().backward(up)  # hands on what it got
    x.grad.add_(1)
    assert up.tolist() == fastdl.ones(3, 4).tolist() and kept[0].tolist() == up.tolist()


def test_random_lengths_settle_on_a_fixed_set_of_blocks():
    random.seed(1)
    for _ in range(150):
        step_of_length(random.randrange(10, 500))
    settled = memory.stats()
    for _ in range(300):
        step_of_length(random.randrange(10, 500))
    after = memory.stats()
    taken = after["total_blocks"] - settled["total_blocks"]
    assert after["system_blocks"] - settled["system_blocks"] < 0.01 * taken
    assert after["cached_bytes"] <= 1.1 * settled["cached_bytes"] + MB


def test_what_is_kept_is_bounded():
    """In a process of its own: the bound follows the peak of what was used before."""
    kept = int(run("""
import fastdl
for mb in range(1, 80, 2):  # each size once: none fits another exactly
    fastdl.empty(mb * (1 << 20) // 4)
print(fastdl.memory.stats()["cached_bytes"])
"""))
    assert kept <= 1.5 * 1.25 * 80 * MB + 64 * MB


def test_too_much_is_a_memory_error_and_all_goes_on():
    before = memory.stats()
    for n in (1 << 44, 1 << 50, 1 << 60):
        with pytest.raises((MemoryError, ValueError, RuntimeError)):
            fastdl.empty(n)
    with pytest.raises(MemoryError):
        fastdl.empty(1 << 30, 1 << 30, 1 << 30)
    assert memory.stats()["live_bytes"] == before["live_bytes"]
    assert float((fastdl.ones(1000) * 2).sum()) == 2000


@pytest.mark.skipif(not sys.platform.startswith("linux") or SANITIZED, reason="needs RLIMIT_AS")
def test_without_memory_the_cache_is_given_up_then_memory_error_then_work_goes_on():
    code = """
import resource
import fastdl
fastdl.set_num_threads(1)
vm = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (vm + (200 << 20), resource.RLIM_INFINITY))
x = [fastdl.ones(10 << 18) for _ in range(12)]   # 120 MB
del x
assert fastdl.memory.stats()["cached_bytes"] >= 100 << 20
y = fastdl.ones(150 << 18)                       # does not fit beside the cache
assert fastdl.memory.stats()["cached_bytes"] < 50 << 20
live = fastdl.memory.stats()["live_bytes"]
for _ in range(3):
    try:
        z = fastdl.ones(100 << 18)
    except MemoryError as error:
        assert "104857600 bytes" in str(error), error
    else:
        raise AssertionError("there is no room for this")
assert fastdl.memory.stats()["live_bytes"] == live
assert float(y.sum()) == 150 << 18
del y
assert float((fastdl.ones(100 << 18)).sum()) == 100 << 18
print("ok")
"""
    assert run(code) == "ok"


def test_several_threads_share_the_allocator():
    before = live()
    wrong: list[int] = []

    def load(seed: int) -> None:
        rng = random.Random(seed)
        kept: list[fastdl.Tensor] = []
        for i in range(400 * DEEP):
            kept.append(fastdl.empty(rng.choice([1, 50, 3000, 60_000])).fill_(seed))
            if len(kept) > 8 and (kept.pop(rng.randrange(len(kept))).numpy() != seed).any():
                wrong.append(i)

    threads = [threading.Thread(target=load, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert live() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_others_allocate_can_allocate():
    code = f"""
import os, signal, threading
import fastdl
stop = False
def load():
    while not stop: [fastdl.empty(n) for n in (1, 1000, 100_000)]
threads = [threading.Thread(target=load) for _ in range(3)]
for t in threads: t.start()
try:
    for i in range({30 * DEEP}):
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            for n in (1, 1000, 100_000): fastdl.empty(n)
            fastdl.memory.empty_cache()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, i
finally:
    stop = True
"""
    run(code, PYTHONWARNINGS="ignore")
