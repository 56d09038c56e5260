"""Worker processes of the DataLoader: the same batches in the same order, and no hang whatever a worker does."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
import time
from multiprocessing import active_children

import numpy as np
import pytest

import fastdl
from fastdl.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, get_worker_info
from tests.process import DEEP, SANITIZED, run, start

linux = sys.platform.startswith("linux")
pytestmark = pytest.mark.skipif(not linux or SANITIZED, reason="forks processes and times them")


@pytest.fixture(autouse=True)
def nothing_is_left():
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert active_children() == []
    assert len(os.listdir("/proc/self/fd")) == files


class Numbers(Dataset):
    """Sample i, after an optional act of its own."""

    def __init__(self, n=20, act=None):
        self.n, self.act = n, act

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if self.act is not None:
            self.act(i)
        return fastdl.tensor([float(i), -1.0]), i


class Who(Numbers):
    def __getitem__(self, i):
        worker = get_worker_info()
        return worker.id, worker.num_workers, worker.seed, os.getpid(), len(worker.dataset)


class Noise(Numbers):
    def __getitem__(self, i):
        return fastdl.rand(3), random.random(), np.random.rand()


class Stream(IterableDataset):
    """0 .. n, shared out among the workers unless `whole`."""

    def __init__(self, n, whole=False):
        self.n, self.whole = n, whole

    def __iter__(self):
        worker = get_worker_info()
        if worker is None or self.whole:
            return iter(range(self.n))
        return iter(range(worker.id, self.n, worker.num_workers))


def numbers_of(loader):
    return [y.tolist() for _, y in loader]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (fastdl.Tensor, np.ndarray)):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    return a == b


# Order and contents -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("prefetch", [1, 3])
def test_order_is_kept_however_long_a_worker_takes(workers, prefetch):
    slow = Numbers(23, lambda i: time.sleep(0.02 if i % 7 == 0 else 0))
    fastdl.manual_seed(3)
    expected = numbers_of(DataLoader(Numbers(23), 3, shuffle=True)), fastdl.rand(4).tolist()
    fastdl.manual_seed(3)
    loader = DataLoader(slow, 3, shuffle=True, num_workers=workers, prefetch_factor=prefetch)
    assert (numbers_of(loader), fastdl.rand(4).tolist()) == expected


CONTENTS = {
    "every type": lambda i: {
        "f": fastdl.full((3, i + 1), i / 3.0), "d": fastdl.full((2,), i, dtype=fastdl.float64),
        "h": fastdl.full((5,), i, dtype=fastdl.bfloat16), "n": np.arange(i + 1, dtype=np.int32),
        "b": fastdl.tensor([i > 2]), "T": fastdl.arange(6).reshape(2, 3).T, "empty": fastdl.empty(0, 4),
        "scalar": fastdl.tensor(i), "s": f"sample {i}", "none": None, "text": np.array(["a", "bc"]),
    },
    "nothing": lambda i: None,
    "large": lambda i: (fastdl.arange(10_000 * (i + 1)), "x" * 300_000),
}  # fmt: skip


class Contents(Numbers):
    def __init__(self, kind):
        self.n, self.kind = 8, kind

    def __getitem__(self, i):
        return CONTENTS[self.kind](i)


@pytest.mark.parametrize("kind", CONTENTS)
def test_batches_arrive_as_they_were_made(kind):
    alone = list(DataLoader(Contents(kind), 3, collate_fn=list))
    assert same(list(DataLoader(Contents(kind), 3, collate_fn=list, num_workers=2)), alone)  # kept: no slot is shared
    samples = list(DataLoader(Contents(kind), None))
    assert same(list(DataLoader(Contents(kind), None, num_workers=2)), samples)


def test_batches_are_writable_and_of_one_owner():
    first, second = DataLoader(Numbers(4), 2, num_workers=1)
    first[0].zero_()
    assert second[0].tolist() == [[2, -1], [3, -1]]
    (array,), _ = DataLoader([np.zeros(3), np.ones(3)], 1, collate_fn=list, num_workers=1)
    array += 1
    parameter = DataLoader([fastdl.ones(3, requires_grad=True)], None, num_workers=1)
    assert next(iter(parameter)).requires_grad


def test_gathered_batches():
    data = TensorDataset(fastdl.randn(50, 3), fastdl.arange(50))
    for dataset in (data, Subset(data, range(49, 0, -2))):
        for shuffle in (False, True):
            fastdl.manual_seed(1)
            alone = list(DataLoader(dataset, 7, shuffle=shuffle))
            fastdl.manual_seed(1)
            assert same(list(DataLoader(dataset, 7, shuffle=shuffle, num_workers=3)), alone)


def test_samplers_and_empty_data():
    assert numbers_of(DataLoader(Numbers(), batch_sampler=[[5, 1], [7]], num_workers=2)) == [[5, 1], [7]]
    assert [y for _, y in DataLoader(Numbers(), None, sampler=[3, 1], num_workers=2)] == [3, 1]
    assert list(DataLoader(Numbers(0), 3, num_workers=2)) == []

    def broken():
        yield from [0, 1]
        raise ZeroDivisionError("sampler")

    with pytest.raises(ZeroDivisionError, match="sampler"):
        list(DataLoader(Numbers(), 1, sampler=broken(), num_workers=2, prefetch_factor=1))


def test_whoever_is_ready_comes_first_if_not_in_order():
    slow = Numbers(6, lambda i: time.sleep(0.3 if i == 0 else 0))
    got = numbers_of(DataLoader(slow, 1, num_workers=2, in_order=False))
    assert sorted(got) == [[i] for i in range(6)] and got[0] != [0]


def test_batches_are_made_ahead_but_not_all():
    loader = DataLoader(Numbers(40), None, num_workers=2, prefetch_factor=3, collate_fn=lambda _: time.monotonic())
    batches = iter(loader)
    time.sleep(0.3)
    now = time.monotonic()
    assert sum(made < now for made in batches) == 2 * 3


# Workers ----------------------------------------------------------------------------------------------------------


def test_what_a_worker_knows_of_itself():
    ids, counts, seeds, pids, lengths = zip(*DataLoader(Who(6), None, num_workers=3))
    assert ids == (0, 1, 2, 0, 1, 2) and set(counts) == {3} and set(lengths) == {6}
    assert [seed - seeds[0] for seed in seeds] == list(ids)
    assert len(set(pids)) == 3 and os.getpid() not in pids
    assert get_worker_info() is None


def test_noise_of_workers_follows_the_seed_and_is_new_in_each_pass():
    def passes(seed, generator=None, **options):
        fastdl.manual_seed(seed)
        loader = DataLoader(Noise(4), None, num_workers=2, generator=generator, **options)
        return [[(x.tolist(), a, b) for x, a, b in loader] for _ in range(2)]

    first = passes(5)
    values = [str(sample[part]) for one in first for sample in one for part in range(3)]
    assert len(set(values)) == len(values)
    assert passes(5) == first == passes(5, persistent_workers=True)
    assert passes(6) != first
    assert passes(7, fastdl.Generator().manual_seed(5)) == passes(8, fastdl.Generator().manual_seed(5))


def test_workers_have_one_thread_and_their_own_generator():
    fastdl.set_num_threads(3)
    try:
        (fastdl.ones(400, 400) @ fastdl.ones(400, 400)).sum()

        def look(n):
            product = (fastdl.ones(n, n) @ fastdl.ones(n, n)).sum().item()
            return fastdl.get_num_threads(), len(os.listdir("/proc/self/task")), product

        loader = DataLoader([200, 300], None, num_workers=2, collate_fn=look)
        assert list(loader) == [(1, 1, 200.0**3), (1, 1, 300.0**3)]
    finally:
        fastdl.set_num_threads(1)


def test_persistent_workers_stay_and_others_do_not():
    loader = DataLoader(Who(4), None, num_workers=2, persistent_workers=True)
    pids = [{sample[3] for sample in loader} for _ in range(3)]
    assert pids[0] == pids[1] == pids[2]
    for _ in loader:
        break
    assert {sample[3] for sample in loader} == pids[0] and len(list(loader)) == 4
    one, other = iter(loader), iter(loader)  # a new pass ends the one before
    assert len(list(other)) == 4 and list(one) == []
    del loader, one, other
    fresh = DataLoader(Who(4), None, num_workers=2)
    assert not {sample[3] for sample in fresh} & {sample[3] for sample in fresh}


def test_worker_init_fn_runs_once_in_each_worker(tmp_path):
    def init(i):
        (tmp_path / f"{i}-{os.getpid()}-{get_worker_info().id}").touch()

    loader = DataLoader(Who(4), None, num_workers=2, worker_init_fn=init, persistent_workers=True)
    pids, _ = ({sample[3] for sample in loader} for _ in range(2))
    assert {int(p.name.split("-")[1]) for p in tmp_path.iterdir()} == pids
    assert sorted((p.name[0], p.name[-1]) for p in tmp_path.iterdir()) == [("0", "0"), ("1", "1")]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start_processes(method):
    code = f"""
import fastdl
from fastdl.utils.data import DataLoader, TensorDataset
data = TensorDataset(fastdl.arange(20))
for options in ({{}}, {{"num_workers": 1, "multiprocessing_context": "{method}"}}):
    fastdl.manual_seed(0)
    print([x.tolist() for x, in DataLoader(data, 6, shuffle=True, **options)])
"""
    expected, batches = run(code).splitlines()  # helpers of multiprocessing stay as long as their process
    assert batches == expected


# Streams ----------------------------------------------------------------------------------------------------------


def test_streams():
    assert [b.tolist() for b in DataLoader(Stream(7), 2, num_workers=2)] == [[0, 2], [1, 3], [4, 6], [5]]
    assert [b.tolist() for b in DataLoader(Stream(7), 2, num_workers=2, drop_last=True)] == [[0, 2], [1, 3], [4, 6]]
    assert list(DataLoader(Stream(3, whole=True), None, num_workers=2)) == [0, 0, 1, 1, 2, 2]
    assert list(DataLoader(Stream(2), None, num_workers=4)) == [0, 1]
    loader = DataLoader(Stream(5), None, num_workers=3, persistent_workers=True)
    assert list(loader) == list(loader) == [0, 1, 2, 3, 4]


# Trouble ----------------------------------------------------------------------------------------------------------


def raising(make):
    def act(i):
        if i == 5:
            raise make()

    return Numbers(act=act)


@pytest.mark.parametrize("make, kind", [
    (lambda: ValueError("bad sample"), ValueError), (lambda: KeyError("bad sample"), KeyError),
    (lambda: StopIteration("bad sample"), RuntimeError), (lambda: MemoryError("bad sample"), MemoryError),
    (lambda: UnicodeDecodeError("ascii", b"x", 0, 1, "bad sample"), RuntimeError),
    (lambda: type("Own", (Exception,), {})("bad sample"), RuntimeError),
])  # fmt: skip
def test_an_exception_comes_with_its_traceback(make, kind):
    got = []
    with pytest.raises(kind) as caught:
        for _, y in DataLoader(raising(make), 2, num_workers=2):
            got.append(y.tolist())
    assert got == [[0, 1], [2, 3]]
    text = str(caught.value)
    assert type(caught.value) is kind
    assert "in DataLoader worker process 0.\nTraceback" in text and "raise make()" in text and "bad sample" in text


def test_exceptions_of_init_collate_and_streams():
    def fail(*_):
        raise ValueError("told so")

    class Bad(IterableDataset):
        def __iter__(self):
            yield 1
            fail()

    class Worse(IterableDataset):
        __iter__ = fail

    for options in ({"worker_init_fn": fail}, {"collate_fn": fail}, {"collate_fn": lambda _: lambda: 0}):
        with pytest.raises((ValueError, AttributeError, pickle.PicklingError), match=r"told so|Can't (get|pickle)"):
            list(DataLoader(Numbers(), 2, num_workers=2, **options))
    for data in (Bad(), Worse()):
        with pytest.raises(ValueError, match="told so"):
            list(DataLoader(data, 1, num_workers=2))


@pytest.mark.parametrize("end, how", [
    (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
    (lambda: os.kill(os.getpid(), signal.SIGTERM), "was killed by SIGTERM"),
    (lambda: os._exit(3), "ended with status 3"), (lambda: sys.exit(4), "ended with status 4"),
])  # fmt: skip
@pytest.mark.parametrize("in_order", [True, False])
def test_a_worker_that_dies_is_an_error_and_no_hang(end, how, in_order):
    loader = DataLoader(Numbers(act=lambda i: end() if i == 6 else None), 2, num_workers=2, in_order=in_order)
    with pytest.raises(RuntimeError, match=rf"\[DataLoader\] worker \d \(pid \d+\) {how}"):
        list(loader)
    loader = DataLoader(Numbers(), 2, num_workers=2, persistent_workers=True)
    list(loader)
    os.kill(active_children()[0].pid, signal.SIGKILL)
    time.sleep(0.05)
    with pytest.raises(RuntimeError, match="was killed by SIGKILL"):
        list(loader)
    assert len(list(loader)) == 10  # with new workers


def test_timeout():
    begin = time.monotonic()
    loader = DataLoader(Numbers(act=lambda i: time.sleep(60 if i == 3 else 0)), 1, num_workers=2, timeout=0.5)
    with pytest.raises(RuntimeError, match=r"timed out after 0.5 seconds waiting for worker 1 \(pid \d+\)"):
        list(loader)
    assert 0.4 < time.monotonic() - begin < 20


@pytest.mark.parametrize("persistent", [False, True])
def test_leaving_early_ends_the_workers_soon(persistent):
    loader = DataLoader(Numbers(1000), 1, num_workers=3, persistent_workers=persistent)
    for i, _ in enumerate(loader):
        if i == 4:
            break
    begin = time.monotonic()
    del loader, _
    gc.collect()
    assert time.monotonic() - begin < 5 and active_children() == []


def test_ctrl_c_while_waiting(request):
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    loader = iter(DataLoader(Numbers(act=lambda i: time.sleep(60)), 1, num_workers=2))
    sent = []

    def press():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.3, press).start()
    with pytest.raises(KeyboardInterrupt):
        next(loader)
    assert time.monotonic() - sent[0] < 5 and active_children() == []  # samples take a minute
    assert len(numbers_of(DataLoader(Numbers(), 2, num_workers=2))) == 10


@pytest.mark.parametrize(("chosen", "used"), [(None, "fork"), ("forkserver", "fork"), ("spawn", "spawn")])
def test_workers_are_forked_unless_another_way_was_chosen(chosen, used, monkeypatch):
    """The default of Python 3.14, forkserver, is there as soon as anybody has used multiprocessing: no choice."""
    context, names = multiprocessing.get_context, []
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["forkserver", "spawn", "fork"])
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: chosen)
    monkeypatch.setattr(multiprocessing, "get_context", lambda name=None: names.append(name) or context("fork"))
    assert numbers_of(DataLoader(Numbers(4), 2, num_workers=1)) == [[0, 1], [2, 3]] and names == [used]


def test_workers_go_when_the_main_process_is_killed():
    code = """
import os, signal
from fastdl.utils.data import DataLoader
batches = iter(DataLoader(range(100), 1, num_workers=2, collate_fn=lambda b: os.getpid()))
print(next(batches), next(batches), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    pids = [int(pid) for pid in start(code).stdout.split()]
    assert len(pids) == 2

    def is_alive(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().split(")")[1].split()[0] != "Z"
        except OSError:
            return False

    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_forked_workers_after_parallel_work_while_a_thread_computes():
    code = f"""
import threading
import fastdl
from fastdl.utils.data import DataLoader
fastdl.set_num_threads(2)
stop = False
def load():
    while not stop: fastdl.ones(300, 300) @ fastdl.ones(300, 300)
thread = threading.Thread(target=load)
thread.start()
def make(i):
    x = fastdl.full((50, 50), float(i), requires_grad=True)
    (x @ x).sum().backward()
    return float(x.grad.sum())
for _ in range({5 * DEEP}):
    got = list(DataLoader(range(8), None, num_workers=2, collate_fn=make, timeout=30))
    assert got == [2.0 * i * 50**3 for i in range(8)], got
stop = True
thread.join()
print("ok")
"""
    assert run(code, timeout=600, PYTHONWARNINGS="ignore") == "ok"
